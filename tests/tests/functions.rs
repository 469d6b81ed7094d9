//! The five real Lambda binaries, driven in the workflow's order: they pass each other's outputs along, and end with the
//! resources in the target.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pathling_import_core::config::Step;
use pathling_import_tests::check::{
    assert_arrived, assert_folder_whole, assert_no_secrets, assert_no_token_leaks,
    assert_nothing_half_staged,
};
use pathling_import_tests::{Function, Records as _, Story, Told, binary};
use sandbox::{Answer, Dataset, Fault, PathlingVersion, Place, Sandbox};
use serde_json::json;

/// Twelve patients and what belongs to them, and a type that no target can hold.
async fn hospital(version: PathlingVersion) -> Sandbox {
    Sandbox::builder()
        .pathling(version)
        .data(Dataset::synthetic(12).and(Dataset::of(&[("StructureMap", 2)])))
        .resources_per_file(5)
        .polls(2)
        .import_polls(1)
        .start()
        .await
        .unwrap()
}

async fn told(sandbox: &Sandbox, story: &mut Story) -> Told {
    let told = story.tell().await.unwrap();
    assert_arrived(sandbox);
    assert_no_token_leaks(sandbox);
    assert_no_secrets(sandbox, &story.logs());
    told
}

#[tokio::test]
async fn a_function_that_is_started_by_hand_says_what_it_is_and_ends() {
    for step in Step::FIVE {
        let mut program = tokio::process::Command::new(binary(&format!("{}-lambda", step.name())));
        let output = program.env_clear().output().await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        let start = format!("{}-lambda is an AWS Lambda function", step.name());
        assert!(
            said.starts_with(&start) && said.lines().count() == 1,
            "{said}"
        );
    }
}

#[tokio::test]
async fn the_five_functions_bring_everything_to_pathling_7_over_s3() {
    let sandbox = hospital(PathlingVersion::Seven).await;
    told(&sandbox, &mut Story::of(&sandbox)).await;
    assert_nothing_half_staged(&sandbox);
}

#[tokio::test]
async fn the_five_functions_bring_everything_to_pathling_2_over_s3() {
    let sandbox = hospital(PathlingVersion::Two).await;
    told(&sandbox, &mut Story::of(&sandbox)).await;
    assert_nothing_half_staged(&sandbox);
}

#[tokio::test]
async fn the_five_functions_bring_everything_to_both_pathlings_over_a_folder() {
    for version in [PathlingVersion::Seven, PathlingVersion::Two] {
        let sandbox = hospital(version).await;
        let folder = tempfile::tempdir().unwrap();
        let url = format!("file://{}", folder.path().display());
        let mut story = Story::of(&sandbox).with("STAGING_URL", url.as_str());
        let told = told(&sandbox, &mut story).await;
        let first = &told.staged["parameters"]["parameter"][0]["part"][1]["valueUrl"];
        let run = told.staged["run"].as_str().unwrap();
        assert_eq!(
            first,
            &json!(format!("{url}/runs/{run}/Condition/*.ndjson"))
        );
        assert_folder_whole(folder.path());
        assert_eq!(sandbox.s3_objects(), [], "nothing goes to S3");
    }
}

#[tokio::test]
async fn a_running_job_is_a_job_in_progress_error_with_progress_and_retry_after() {
    let sandbox = Sandbox::builder()
        .polls(1)
        .import_polls(2)
        .retry_after("7")
        .start()
        .await
        .unwrap();
    let mut story = Story::of(&sandbox);
    let export = story.until(Step::CheckExportStatus).await.unwrap();
    let error = story
        .function(Step::CheckExportStatus)
        .await
        .invoke(export.clone())
        .await
        .unwrap_err();
    assert_eq!(error.error_type, "JobInProgressError");
    for word in ["50% complete", "7 s", "Retry-After"] {
        assert!(error.error_message.contains(word), "{error:?}");
    }
    let told = story.tell_from(export).await.unwrap();
    assert!(told.imported.is_some());
    let (step, error) = story.in_progress().last().unwrap();
    assert_eq!(*step, Step::CheckImportStatus);
    assert_eq!(error.error_type, "JobInProgressError");
    assert!(error.error_message.contains("(33%)"), "{error:?}");
}

#[tokio::test]
async fn a_source_that_is_busy_when_asked_for_the_status_is_in_progress() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let mut story = Story::of(&sandbox);
    let export = story.until(Step::CheckExportStatus).await.unwrap();
    for status in [429, 503] {
        let answer = Answer::new(status).outcome("throttled", "Too many polls");
        let faults = sandbox.faults();
        faults.once(Fault::answers(Place::Status, answer.retry_after(120)));
        let failed = story
            .call(Step::CheckExportStatus, &export)
            .await
            .unwrap_err();
        assert_eq!(failed.error_type, "JobInProgressError");
        for word in [&status.to_string(), "120 s"] {
            assert!(failed.error_message.contains(word), "{failed:?}");
        }
    }
    story.tell_from(export).await.unwrap();
    assert_arrived(&sandbox);
}

#[tokio::test]
async fn a_transfer_that_runs_out_of_time_is_in_progress_and_the_next_call_goes_on() {
    let sandbox = Sandbox::builder()
        .data(Dataset::of(&[("Patient", 9)]))
        .resources_per_file(1)
        .start()
        .await
        .unwrap();
    let mut story = Story::of(&sandbox);
    let event = story.until(Step::TransferToS3).await.unwrap();
    sandbox.faults().once(Fault::Hang(Place::File));
    let transfer = story.function(Step::TransferToS3).await;
    let error = transfer
        .invoke_with_timeout(event.clone(), 4000)
        .await
        .unwrap_err();
    assert_eq!(error.error_type, "JobInProgressError");
    let progress = "8 of 9 files are staged";
    assert!(error.error_message.contains(progress), "{error:?}");

    let staged = story.call(Step::TransferToS3, &event).await.unwrap();
    assert_eq!(sandbox.file_requests().len(), 9 + 1, "only one file again");
    let import = story.call(Step::PathlingImport, &staged).await.unwrap();
    story
        .finish(Step::CheckImportStatus, &import)
        .await
        .unwrap();
    assert_arrived(&sandbox);
}

#[tokio::test]
async fn a_warm_function_keeps_its_token_and_what_it_learned() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let env = pathling_import_tests::Env::of(&sandbox);
    let mut function = Function::start("fhir-export", &env).await;
    let first = function.invoke(json!({})).await.unwrap();
    let second = function.invoke(json!({})).await.unwrap();
    assert_ne!(first["statusUrl"], second["statusUrl"]);
    assert_eq!(first["key"], second["key"]);
    assert_eq!(sandbox.token_requests().len(), 1);
    assert_eq!(sandbox.export_kick_offs().len(), 2);
}

#[test]
fn the_main_of_each_function_is_about_ten_lines_over_one_step() {
    for step in Step::FIVE {
        let main = format!("../crates/{}/src/main.rs", step.name());
        let main = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(main);
        let text = std::fs::read_to_string(&main).unwrap();
        assert!(text.lines().count() <= 12, "{}", main.display());
        let call = format!("lambda::serve(Step::{step:?})");
        assert!(text.contains(&call), "{}", main.display());
    }
}
