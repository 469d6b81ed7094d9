//! What takes long, what is large, and what is asked twice: none of it ends a run or changes what is imported.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pathling_import_core::config::Step;
use pathling_import_tests::check::{assert_arrived, assert_no_token_leaks};
use pathling_import_tests::moment::until_asked;
use pathling_import_tests::{Records as _, Story};
use sandbox::{Answer, Dataset, Fault, PathlingVersion, Place, Sandbox};
use serde_json::{Value, json};

async fn sandbox(data: Dataset, per_file: usize) -> Sandbox {
    Sandbox::builder()
        .pathling(PathlingVersion::Two)
        .data(data)
        .resources_per_file(per_file)
        .start()
        .await
        .unwrap()
}

fn record(sandbox: &Sandbox, run: &Value) -> Value {
    let key = format!("pathling/runs/{}/_run.json", run.as_str().unwrap());
    serde_json::from_slice(&sandbox.s3_object(&key).unwrap()).unwrap()
}

#[tokio::test]
async fn a_source_that_asks_for_patience_beyond_the_deadline_does_not_end_the_run() {
    let sandbox = sandbox(Dataset::synthetic(3), 1000).await;
    let mut story = Story::of(&sandbox);
    let complete = story.until(Step::TransferToS3).await.unwrap();
    sandbox.faults().on(Fault::answers(
        Place::File,
        Answer::new(429).retry_after(3600),
    ));
    let transfer = story.function(Step::TransferToS3).await;
    let error = transfer
        .invoke_with_timeout(complete.clone(), 2_000)
        .await
        .unwrap_err();
    assert_eq!(
        error.error_type, "JobInProgressError",
        "{}",
        error.error_message
    );
    sandbox.faults().clear();
    let staged = story.call(Step::TransferToS3, &complete).await.unwrap();
    let import = story.finish(Step::PathlingImport, &staged).await.unwrap();
    story
        .finish(Step::CheckImportStatus, &import)
        .await
        .unwrap();
    assert_arrived(&sandbox);
    assert_no_token_leaks(&sandbox);
}

#[tokio::test]
async fn a_store_that_asks_for_patience_beyond_the_deadline_gets_its_name_and_the_run_goes_on() {
    let sandbox = sandbox(Dataset::synthetic(3), 1000).await;
    let mut story = Story::of(&sandbox);
    let complete = story.until(Step::TransferToS3).await.unwrap();
    sandbox.faults().on(Fault::S3SlowDown);
    let transfer = story.function(Step::TransferToS3).await;
    let answer = transfer.invoke_with_timeout(complete.clone(), 3_000).await;
    let error = answer.unwrap_err();
    assert_eq!(error.error_type, "StagingUnavailableError", "{error:?}");
    assert!(error.error_message.contains("STAGING_URL"), "{error:?}");
    sandbox.faults().clear();
    story.call(Step::TransferToS3, &complete).await.unwrap();
}

#[tokio::test]
async fn a_server_that_never_answers_gets_its_name_before_the_time_of_the_function_is_over() {
    let sandbox = sandbox(Dataset::synthetic(3), 1000).await;
    let mut story = Story::of(&sandbox);
    for (place, step, name) in [
        (Place::KickOff, Step::FhirExport, "SourceUnavailableError"),
        (
            Place::ImportKickOff,
            Step::PathlingImport,
            "TargetUnavailableError",
        ),
    ] {
        let event = match step {
            Step::PathlingImport => story.until(Step::PathlingImport).await.unwrap(),
            _ => json!({}),
        };
        sandbox.faults().on(Fault::Hang(place));
        let function = story.function(step).await;
        let error = function
            .invoke_with_timeout(event, 1_500)
            .await
            .unwrap_err();
        assert_eq!(error.error_type, name, "{}", error.error_message);
        sandbox.faults().clear();
    }
}

#[tokio::test]
async fn a_store_that_never_answers_does_not_keep_the_error_of_a_run_from_being_told() {
    let builder = Sandbox::builder()
        .data(Dataset::of(&[("Patient", 9)]))
        .fault(Fault::FileLineOtherType);
    let sandbox = builder.start().await.unwrap();
    let mut story = Story::of(&sandbox);
    let complete = story.until(Step::TransferToS3).await.unwrap();
    sandbox.faults().on(Fault::Delay(Place::File, 500));
    let function = story.function(Step::TransferToS3).await;
    let hangs = async {
        until_asked(&sandbox, 1, |it| it.path.contains("/files/")).await;
        sandbox.faults().on(Fault::S3Hangs);
    };
    let call = function.invoke_with_timeout(complete, 60_000);
    let (answer, ()) = tokio::join!(call, hangs);
    let error = answer.unwrap_err();
    assert_eq!(error.error_type, "IntegrityError", "{error:?}");
}

#[tokio::test]
async fn an_import_that_is_called_alone_is_a_new_one_each_time() {
    let sandbox = sandbox(Dataset::synthetic(3), 1000).await;
    let mut story = Story::of(&sandbox);
    let told = story.tell().await.unwrap();
    let alone = json!({"parameters": told.staged["parameters"]});
    let mut status_urls = Vec::new();
    for _ in 0..2 {
        let import = story.call(Step::PathlingImport, &alone).await.unwrap();
        let query = json!({"statusUrl": import["statusUrl"]});
        story.finish(Step::CheckImportStatus, &query).await.unwrap();
        status_urls.push(import["statusUrl"].clone());
    }
    assert_ne!(status_urls[0], status_urls[1]);
    assert_eq!(sandbox.nonces().len(), 3);
}

#[tokio::test]
async fn an_attempt_that_is_open_is_not_joined_with_other_parameters() {
    let sandbox = sandbox(Dataset::synthetic(3), 1000).await;
    let mut story = Story::of(&sandbox);
    let staged = story.until(Step::PathlingImport).await.unwrap();
    let first = story.call(Step::PathlingImport, &staged).await.unwrap();
    let mut changed = staged.clone();
    changed["parameters"]["parameter"]
        .as_array_mut()
        .unwrap()
        .truncate(1);
    let second = story.call(Step::PathlingImport, &changed).await.unwrap();
    assert_ne!(first["statusUrl"], second["statusUrl"]);
    let attempts = record(&sandbox, &staged["run"])["attempts"].clone();
    assert_eq!(attempts[0]["outcome"], "superseded");
    assert_eq!(attempts[1]["parameters"], changed["parameters"]);
}

#[tokio::test]
async fn a_lost_job_is_begun_again_with_what_it_was_to_import() {
    let sandbox = sandbox(Dataset::synthetic(3), 1000).await;
    let mut story = Story::of(&sandbox);
    let staged = story.until(Step::PathlingImport).await.unwrap();
    let mut changed = staged.clone();
    changed["parameters"]["parameter"]
        .as_array_mut()
        .unwrap()
        .truncate(1);
    let import = story.call(Step::PathlingImport, &changed).await.unwrap();
    sandbox.restart_target();
    story
        .finish(Step::CheckImportStatus, &import)
        .await
        .unwrap();
    let attempts = record(&sandbox, &staged["run"])["attempts"].clone();
    assert_eq!(attempts[0]["outcome"], "lost");
    assert_eq!(attempts[1]["parameters"], changed["parameters"]);
    assert_eq!(attempts[1]["outcome"], "succeeded");
}

#[tokio::test]
async fn a_refused_kick_off_is_not_remembered_as_one_that_may_have_begun_a_job() {
    let sandbox = sandbox(Dataset::synthetic(3), 1000).await;
    let mut story = Story::of(&sandbox);
    for (status, remembered) in [(400, false), (502, true)] {
        sandbox
            .faults()
            .once(Fault::answers(Place::KickOff, status));
        story.call(Step::FhirExport, &json!({})).await.unwrap_err();
        let objects = sandbox.s3_objects();
        let (key, _) = objects
            .iter()
            .find(|(key, _)| key.contains("/sync/"))
            .unwrap();
        let state: Value = serde_json::from_slice(&sandbox.s3_object(key).unwrap()).unwrap();
        assert_eq!(
            state["kickOffSent"].is_string(),
            remembered,
            "{status}: {state}"
        );
    }
    let export = story.call(Step::FhirExport, &json!({})).await.unwrap();
    assert!(
        story.logs().contains("a second export may be running"),
        "{export}"
    );
}

#[tokio::test]
async fn a_manifest_too_large_for_step_functions_travels_as_its_place() {
    let sandbox = sandbox(Dataset::of(&[("Patient", 1_500)]), 1).await;
    let mut story = Story::of(&sandbox);
    let complete = story.until(Step::TransferToS3).await.unwrap();
    assert!(complete.to_string().len() < 4_000, "{complete}");
    assert_eq!(complete["result"]["outputs"], 1_500);
    assert!(complete["result"]["transactionTime"].is_string());
    let mut elsewhere = complete.clone();
    elsewhere["result"]["manifest"] = json!("s3://staging/other/_manifest.json");
    let error = story
        .call(Step::TransferToS3, &elsewhere)
        .await
        .unwrap_err();
    assert_eq!(error.error_type, "InputError");
    let staged = story.finish(Step::TransferToS3, &complete).await.unwrap();
    let import = story.call(Step::PathlingImport, &staged).await.unwrap();
    story
        .finish(Step::CheckImportStatus, &import)
        .await
        .unwrap();
    assert_arrived(&sandbox);
}
