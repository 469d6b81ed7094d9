//! Polling an export: what is asked, and what each answer means for the run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pathling_import_core::config::Step;
use pathling_import_tests::check::{assert_arrived, assert_import_never_asked};
use pathling_import_tests::{Failed, Records as _, Story};
use sandbox::{Answer, Dataset, DeletedJob, Fault, Place, Sandbox};
use serde_json::{Value, json};

async fn sandbox() -> Sandbox {
    Sandbox::builder()
        .data(Dataset::of(&[("Patient", 5)]))
        .polls(1)
        .start()
        .await
        .unwrap()
}

/// A story whose export is kicked off, and its event.
async fn kicked_off(sandbox: &Sandbox) -> (Story, Value) {
    let mut story = Story::of(sandbox);
    let export = story.call(Step::FhirExport, &json!({})).await.unwrap();
    (story, export)
}

fn outcome(sandbox: &Sandbox) -> Value {
    let all = sandbox.s3_objects();
    let (key, _) = all
        .iter()
        .find(|(key, _)| key.ends_with("_run.json"))
        .unwrap();
    let record: Value = serde_json::from_slice(&sandbox.s3_object(key).unwrap()).unwrap();
    record["outcome"]["name"].clone()
}

/// The poll fails with the error of this name, in these words, and the run is over.
fn is_over(sandbox: &Sandbox, failed: &Failed, error: &str, words: &[&str]) {
    assert_eq!(failed.error_type, error, "{failed:?}");
    for word in words {
        assert!(failed.error_message.contains(word), "{word}: {failed:?}");
    }
    assert_eq!(outcome(sandbox), error);
    assert_import_never_asked(sandbox);
}

#[tokio::test]
async fn a_poll_asks_for_json_and_for_a_status_of_its_own() {
    let sandbox = sandbox().await;
    Story::of(&sandbox).tell().await.unwrap();
    let polls = sandbox.polls();
    assert_eq!(polls.len(), 2);
    for poll in polls {
        assert_eq!(poll.accept.as_deref(), Some("application/json"));
        assert_eq!(poll.prefer.as_deref(), Some("separate-export-status"));
    }
    let kick_off = sandbox.export_kick_offs().remove(0);
    assert_eq!(kick_off.prefer.as_deref(), Some("respond-async"));
}

#[tokio::test]
async fn a_separate_status_says_how_the_job_is() {
    let sandbox = sandbox().await;
    sandbox.faults().on(Fault::SeparateStatus);
    let mut story = Story::of(&sandbox).with("SEPARATE_EXPORT_STATUS", "true");
    story.tell().await.unwrap();
    let kick_off = sandbox.export_kick_offs().remove(0);
    let prefer = kick_off.prefer.unwrap();
    assert_eq!(prefer, "respond-async, separate-export-status");
    let polls: Vec<_> = sandbox.polls().iter().map(|poll| poll.status).collect();
    assert_eq!(polls, [Some(200), Some(200)]);
    let (_, in_progress) = &story.in_progress()[0];
    assert!(
        in_progress.error_message.contains("(50% complete)"),
        "{in_progress:?}"
    );
    assert_arrived(&sandbox);
}

#[tokio::test]
async fn a_separate_status_says_that_the_job_failed() {
    for (status, error) in [
        (500, "ExportFailedError"),
        (400, "ExportFailedError"),
        (404, "ExportFailedError"),
    ] {
        let sandbox = sandbox().await;
        sandbox.faults().on(Fault::SeparateStatusSays(status));
        let failed = Story::of(&sandbox).tell().await.unwrap_err();
        let status = format!("the export ended with {status}");
        is_over(
            &sandbox,
            &failed,
            error,
            &[&status, "The export stopped half-way", "/jobs/"],
        );
    }
    for status in [429, 503] {
        let sandbox = sandbox().await;
        sandbox.faults().once(Fault::SeparateStatusSays(status));
        Story::of(&sandbox).tell().await.unwrap();
        assert_arrived(&sandbox);
    }
}

#[tokio::test]
async fn a_202_may_have_any_body() {
    let sandbox = sandbox().await;
    sandbox.faults().on(Fault::StatusBodyNotJson);
    Story::of(&sandbox).tell().await.unwrap();
    assert_arrived(&sandbox);
}

#[tokio::test]
async fn a_job_that_was_seen_and_is_gone_is_said_to_be_lost() {
    let sandbox = sandbox().await;
    let (mut story, export) = kicked_off(&sandbox).await;
    let first = story
        .call(Step::CheckExportStatus, &export)
        .await
        .unwrap_err();
    assert_eq!(first.error_type, "JobInProgressError");
    sandbox.faults().on(Fault::SourceLosesJob);
    // Another machine polls: it knows from the record.
    story.restart().await;
    let failed = story
        .call(Step::CheckExportStatus, &export)
        .await
        .unwrap_err();
    let words = [
        "the source lost the export, which it still knew at",
        "404",
        "no such export",
    ];
    is_over(&sandbox, &failed, "ExportFailedError", &words);
}

#[tokio::test]
async fn a_job_that_was_never_seen_has_words_of_its_own() {
    let sandbox = sandbox().await;
    let (mut story, export) = kicked_off(&sandbox).await;
    sandbox.faults().on(Fault::SourceLosesJob);
    let failed = story
        .call(Step::CheckExportStatus, &export)
        .await
        .unwrap_err();
    let words = [
        "does not know the export that it had accepted, on the first poll",
        "404",
    ];
    is_over(&sandbox, &failed, "ExportFailedError", &words);
    // A function that keeps no record cannot tell.
    let sandbox = self::sandbox().await;
    sandbox.faults().on(Fault::SourceLosesJob);
    let mut story = Story::of(&sandbox).without("STAGING_URL");
    let export = story.call(Step::FhirExport, &json!({})).await.unwrap();
    let failed = story
        .call(Step::CheckExportStatus, &export)
        .await
        .unwrap_err();
    assert!(
        failed
            .error_message
            .contains("does not know this export, or lost it"),
        "{failed:?}"
    );
}

#[tokio::test]
async fn a_job_that_was_cancelled_is_said_to_be() {
    for (answer, error, words) in [
        (
            DeletedJob::Gone,
            "ExportFailedError",
            ["cancelled at the source", "410"],
        ),
        (
            DeletedJob::Empty,
            "ManifestError",
            ["nothing instead of a manifest", "was cancelled"],
        ),
        (
            DeletedJob::Bare,
            "ManifestError",
            ["no transactionTime", "was cancelled"],
        ),
    ] {
        let sandbox = sandbox().await;
        sandbox.faults().on(Fault::DeletedJobAnswers(answer));
        let (mut story, export) = kicked_off(&sandbox).await;
        sandbox.faults().once(Fault::SourceCancelsJob);
        let failed = story
            .call(Step::CheckExportStatus, &export)
            .await
            .unwrap_err();
        is_over(&sandbox, &failed, error, &words);
    }
}

#[tokio::test]
async fn an_answer_that_says_transient_is_not_the_jobs_end() {
    for status in [400, 403, 404, 409, 410, 500, 501] {
        let sandbox = sandbox().await;
        let (mut story, export) = kicked_off(&sandbox).await;
        let answer = Answer::new(status).outcome("transient", "Come again");
        sandbox.faults().once(Fault::answers(Place::Status, answer));
        let failed = story
            .call(Step::CheckExportStatus, &export)
            .await
            .unwrap_err();
        assert_eq!(failed.error_type, "SourceUnavailableError", "{failed:?}");
        assert!(failed.error_message.contains("Come again"), "{failed:?}");
        assert_eq!(outcome(&sandbox), Value::Null);
        story.tell_from(export).await.unwrap();
        assert_arrived(&sandbox);
    }
}
