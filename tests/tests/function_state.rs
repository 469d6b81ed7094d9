//! What outlives a step: every step may die at any instant and be run again, and an import is one attempt of one run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::time::Duration;

use pathling_import_core::config::Step;
use pathling_import_tests::check::{
    assert_arrived, assert_no_token_leaks, assert_nothing_half_staged, assert_nothing_imported,
};
use pathling_import_tests::{Env, Function, Records as _, Story};
use sandbox::{Dataset, Fault, PathlingVersion, Place, Sandbox, Service};
use serde_json::{Value, json};

async fn sandbox(version: PathlingVersion) -> Sandbox {
    Sandbox::builder()
        .pathling(version)
        .data(Dataset::synthetic(6))
        .resources_per_file(4)
        .start()
        .await
        .unwrap()
}

/// A piece of state, read below the staging prefix.
fn state(sandbox: &Sandbox, key: &str) -> Value {
    let object = sandbox.s3_object(&format!("pathling/{key}"));
    let object = object.unwrap_or_else(|| panic!("{key} is not there"));
    serde_json::from_slice(&object).unwrap()
}

fn record(sandbox: &Sandbox, run: &str) -> Value {
    state(sandbox, &format!("runs/{run}/_run.json"))
}

fn outcomes(record: &Value) -> Vec<&str> {
    let attempts = record["attempts"].as_array().unwrap();
    attempts
        .iter()
        .map(|attempt| attempt["outcome"].as_str().unwrap_or("open"))
        .collect()
}

#[tokio::test]
async fn a_second_run_over_the_same_status_url_fetches_nothing_and_still_imports_as_a_new_attempt()
{
    for version in [PathlingVersion::Seven, PathlingVersion::Two] {
        let sandbox = sandbox(version).await;
        let mut story = Story::of(&sandbox);
        let first = story.tell().await.unwrap();
        let fetched = sandbox.file_requests().len();
        story.restart().await;
        let second = story.tell_from(first.export.clone()).await.unwrap();
        assert_eq!(sandbox.file_requests().len(), fetched, "fetched again");
        assert_eq!(second.staged, first.staged, "all files are named again");
        let run = first.export["run"].as_str().unwrap();
        assert_eq!(sandbox.nonces(), [format!("{run}-1"), format!("{run}-2")]);
        assert_ne!(second.import["statusUrl"], first.import["statusUrl"]);
        assert_arrived(&sandbox);
        assert_no_token_leaks(&sandbox);
        assert_eq!(outcomes(&record(&sandbox, run)), ["succeeded", "succeeded"]);
    }
}

#[tokio::test]
async fn the_record_of_a_run_tells_what_it_asked_for_what_it_brought_and_how_it_ended() {
    let sandbox = sandbox(PathlingVersion::Seven).await;
    let told = Story::of(&sandbox).tell().await.unwrap();
    let run = told.export["run"].as_str().unwrap();
    let record = record(&sandbox, run);
    assert_eq!(record["outcome"]["name"], "imported");
    assert_eq!(record["kickOffs"][0]["statusUrl"], told.export["statusUrl"]);
    assert_eq!(record["kickOffs"][0]["since"], Value::Null);
    assert_eq!(record["transfer"]["parameters"], told.staged["parameters"]);
    assert_eq!(record["transfer"]["resources"]["Observation"], 18);
    assert_eq!(record["attempts"][0]["statusUrl"], told.import["statusUrl"]);
    let manifest = state(&sandbox, &format!("runs/{run}/_manifest.json"));
    assert_eq!(manifest, told.complete["result"]);
    let key = told.export["key"].as_str().unwrap();
    let sync = state(&sandbox, &format!("sync/{key}.json"));
    assert_eq!(sync["inProgress"], Value::Null);
    assert_eq!(sync["runs"][0]["run"], run);
    assert_eq!(sync["runs"][0]["outcome"], "imported");
}

#[tokio::test]
async fn a_job_that_the_target_lost_is_imported_anew() {
    for version in [PathlingVersion::Seven, PathlingVersion::Two] {
        let sandbox = sandbox(version).await;
        let mut story = Story::of(&sandbox);
        let import = story.until(Step::CheckImportStatus).await.unwrap();
        sandbox.restart_target();
        let failed = story
            .call(Step::CheckImportStatus, &import)
            .await
            .unwrap_err();
        assert_eq!(failed.error_type, "JobInProgressError");
        assert!(
            failed.error_message.contains("imported again"),
            "{failed:?}"
        );
        story
            .finish(Step::CheckImportStatus, &import)
            .await
            .unwrap();
        assert_arrived(&sandbox);
        let run = import["run"].as_str().unwrap();
        assert_eq!(sandbox.nonces(), [format!("{run}-1"), format!("{run}-2")]);
        assert_eq!(outcomes(&record(&sandbox, run)), ["lost", "succeeded"]);
    }
}

#[tokio::test]
async fn a_failed_import_that_is_called_again_is_the_next_attempt() {
    for version in [PathlingVersion::Seven, PathlingVersion::Two] {
        let sandbox = sandbox(version).await;
        sandbox.faults().once(Fault::ImportFails(500));
        let mut story = Story::of(&sandbox);
        let import = story.until(Step::CheckImportStatus).await.unwrap();
        let failed = story
            .finish(Step::CheckImportStatus, &import)
            .await
            .unwrap_err();
        assert_eq!(failed.error_type, "ImportFailedError");
        let said = "The sandbox was told to fail this import";
        assert!(failed.error_message.contains(said), "{failed:?}");
        assert_nothing_imported(&sandbox);
        // A redrive of the workflow calls the failed step again.
        let again = story.call(Step::CheckImportStatus, &import).await;
        assert_eq!(again.unwrap_err().error_type, "JobInProgressError");
        story
            .finish(Step::CheckImportStatus, &import)
            .await
            .unwrap();
        assert_arrived(&sandbox);
        let run = import["run"].as_str().unwrap();
        assert_eq!(sandbox.nonces(), [format!("{run}-1"), format!("{run}-2")]);
        assert_eq!(outcomes(&record(&sandbox, run)), ["failed", "succeeded"]);
    }
}

#[tokio::test]
async fn a_failed_import_is_imported_by_the_next_run_over_the_same_export() {
    let sandbox = sandbox(PathlingVersion::Seven).await;
    sandbox.faults().once(Fault::ImportFails(400));
    let mut story = Story::of(&sandbox);
    let export = story.until(Step::CheckExportStatus).await.unwrap();
    let failed = story.tell_from(export.clone()).await.unwrap_err();
    assert_eq!(failed.error_type, "ImportFailedError");
    story.restart().await;
    story.tell_from(export).await.unwrap();
    assert_arrived(&sandbox);
    assert_eq!(sandbox.nonces().len(), 2);
}

#[tokio::test]
async fn a_retry_of_pathling_import_joins_its_attempt() {
    let sandbox = sandbox(PathlingVersion::Two).await;
    let mut story = Story::of(&sandbox);
    let staged = story.until(Step::PathlingImport).await.unwrap();
    let first = story.call(Step::PathlingImport, &staged).await.unwrap();
    story.restart().await;
    let again = story.call(Step::PathlingImport, &staged).await.unwrap();
    assert_eq!(again, first);
    assert_eq!(sandbox.import_kick_offs().len(), 1);
}

#[tokio::test]
async fn a_pathling_import_that_was_killed_while_it_asked_joins_its_own_job() {
    let sandbox = sandbox(PathlingVersion::Seven).await;
    let mut story = Story::of(&sandbox);
    let staged = story.until(Step::PathlingImport).await.unwrap();
    sandbox.faults().once(Fault::Hang(Place::ImportKickOff));
    let mut function = Function::start("pathling-import", &Env::of(&sandbox)).await;
    tokio::select! {
        answer = function.invoke(staged.clone()) => panic!("{answer:?}"),
        () = async {
            while sandbox.import_kick_offs().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        } => {}
    }
    function.kill().await;
    let import = story.call(Step::PathlingImport, &staged).await.unwrap();
    story
        .finish(Step::CheckImportStatus, &import)
        .await
        .unwrap();
    assert_arrived(&sandbox);
    let nonces: BTreeSet<_> = sandbox
        .import_kick_offs()
        .iter()
        .map(|request| request.parameter("_nonce").unwrap())
        .collect();
    let run = staged["run"].as_str().unwrap();
    assert_eq!(nonces, BTreeSet::from([format!("{run}-1")]));
}

#[tokio::test]
async fn a_transfer_that_was_killed_goes_on_where_it_stood() {
    let sandbox = sandbox(PathlingVersion::Seven).await;
    let mut story = Story::of(&sandbox);
    let event = story.until(Step::TransferToS3).await.unwrap();
    let files = event["result"]["output"].as_array().unwrap().len();
    sandbox.faults().once(Fault::FileHangsMidway);
    let mut function = Function::start("transfer-to-s3", &Env::of(&sandbox)).await;
    // What S3 has answered: a moment before that, an object lies there without its metadata.
    let staged = || {
        let requests = sandbox.requests();
        let puts = requests.iter().filter(|request| {
            request.service == Service::S3
                && request.method == "PUT"
                && request.path.ends_with(".ndjson")
                && !request.path.contains("/_")
                && request.status == Some(200)
        });
        puts.count()
    };
    tokio::select! {
        answer = function.invoke(event.clone()) => panic!("{answer:?}"),
        () = async {
            while staged() < files - 1 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        } => {}
    }
    function.kill().await;
    assert_nothing_half_staged(&sandbox);
    sandbox.clear_requests();
    let staged = story.call(Step::TransferToS3, &event).await.unwrap();
    assert_eq!(sandbox.file_requests().len(), 1, "the one that was missing");
    let import = story.call(Step::PathlingImport, &staged).await.unwrap();
    story
        .finish(Step::CheckImportStatus, &import)
        .await
        .unwrap();
    assert_arrived(&sandbox);
}

#[tokio::test]
async fn a_status_url_that_the_server_counts_anew_is_another_run() {
    let sandbox = sandbox(PathlingVersion::Seven).await;
    sandbox.faults().on(Fault::JobNumbersRepeat);
    let mut story = Story::of(&sandbox);
    let first = story.tell().await.unwrap();
    let patient = json!({"resourceType": "Patient", "id": "patient-new"});
    assert!(sandbox.source_put(&patient));
    let second = story.tell().await.unwrap();
    assert_eq!(second.export["statusUrl"], first.export["statusUrl"]);
    let run = first.export["run"].as_str().unwrap();
    let anew = second.complete["run"].as_str().unwrap();
    let suffix = anew.strip_prefix(run).unwrap();
    assert!(suffix.starts_with('-') && suffix.len() == 9, "{anew}");
    for output in [&second.staged, &second.import, &second.imported.unwrap()] {
        assert_eq!(output["run"], anew);
    }
    assert_arrived(&sandbox);
    assert_eq!(sandbox.nonces(), [format!("{run}-1"), format!("{anew}-1")]);
    // Each run keeps its own kick-off.
    for run in [run, anew] {
        let record = record(&sandbox, run);
        assert_eq!(record["kickOffs"].as_array().unwrap().len(), 1, "{run}");
        assert_eq!(outcomes(&record), ["succeeded"], "{run}");
    }
    // The second asked again: it is the same run still.
    let again = story.tell_from(second.export).await.unwrap();
    assert_eq!(again.complete["run"], anew);
}

#[tokio::test]
async fn transfer_to_s3_gives_the_suffix_where_the_status_was_asked_for_without_staging() {
    let sandbox = sandbox(PathlingVersion::Seven).await;
    sandbox.faults().on(Fault::JobNumbersRepeat);
    let mut story = Story::of(&sandbox)
        .lacking(Step::FhirExport, "STAGING_URL")
        .lacking(Step::CheckExportStatus, "STAGING_URL");
    let first = story.tell().await.unwrap();
    let second = story.tell().await.unwrap();
    assert_eq!(second.complete["run"], first.complete["run"]);
    let run = first.staged["run"].as_str().unwrap();
    let anew = second.staged["run"].as_str().unwrap();
    assert!(anew.starts_with(&format!("{run}-")), "{anew}");
    assert_arrived(&sandbox);
}

#[tokio::test]
async fn a_key_without_a_staging_url_is_a_configuration_error() {
    let sandbox = sandbox(PathlingVersion::Seven).await;
    let mut story = Story::of(&sandbox);
    let mut event = json!({});
    for step in Step::FIVE {
        if !matches!(step, Step::FhirExport | Step::TransferToS3) {
            let env = Env::of(&sandbox).without("STAGING_URL");
            let mut function = Function::start(step.name(), &env).await;
            let error = function.invoke(event.clone()).await.unwrap_err();
            assert_eq!(error.error_type, "ConfigurationError", "{}", step.name());
            for word in ["STAGING_URL", "\"key\""] {
                assert!(error.error_message.contains(word), "{error:?}");
            }
        }
        event = story.finish(step, &event).await.unwrap();
    }
}
