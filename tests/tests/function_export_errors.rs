//! Errors that the source reports of its export: fetched as outputs are, kept, counted and told, and what follows from them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pathling_import_core::config::Step;
use pathling_import_tests::check::{
    assert_arrived, assert_import_never_asked, assert_no_token_leaks, assert_nothing_half_staged,
};
use pathling_import_tests::staged::assert_staged;
use pathling_import_tests::{Records as _, Story, Transferring};
use sandbox::{Answer, Builder, Dataset, ErrorContent, Fault, Place, Sandbox};
use serde_json::{Value, json};

/// What the diagnostics of the sandbox's errors name.
const PATIENT: &str = "Anna Muster";

fn source() -> Builder {
    Sandbox::builder()
        .data(Dataset::of(&[("Patient", 5), ("Condition", 3)]))
        .resources_per_file(2)
}

async fn with(contents: &[ErrorContent]) -> Sandbox {
    let sandbox = source().start().await.unwrap();
    for content in contents {
        sandbox.faults().on(Fault::ExportErrors(*content));
    }
    sandbox
}

/// The run's record, and its files of errors by name.
fn kept(sandbox: &Sandbox) -> (Value, Vec<(String, String)>) {
    let mut record = Value::Null;
    let mut files = Vec::new();
    for (key, _) in sandbox.s3_objects() {
        let read = || sandbox.s3_object(&key).unwrap();
        if key.ends_with("/_run.json") {
            record = serde_json::from_slice(&read()).unwrap();
        } else if let Some((_, name)) = key.split_once("/_errors/") {
            files.push((name.to_owned(), String::from_utf8(read()).unwrap()));
        }
    }
    (record, files)
}

#[tokio::test]
async fn errors_are_kept_counted_and_held_against_the_run_which_is_imported_all_the_same() {
    for as_outcome in [false, true] {
        let sandbox = with(&[ErrorContent::Errors, ErrorContent::Fatal]).await;
        if as_outcome {
            sandbox.faults().on(Fault::ErrorsAsOutcome);
        }
        let mut story = Story::of(&sandbox);
        story.tell().await.unwrap();
        let (record, files) = kept(&sandbox);
        let issues = &record["exportIssues"];
        assert_eq!(issues["files"], 2);
        assert_eq!(issues["missing"], 0);
        assert_eq!(
            issues["bySeverity"],
            json!({"error": 2, "fatal": 1, "warning": 1})
        );
        assert_eq!(
            issues["byCode"],
            json!({"exception": 1, "not-found": 1, "processing": 1, "timeout": 1})
        );
        assert_eq!(issues["policy"], "hold");
        assert_eq!(issues["watermark"], "held");
        assert!(
            issues["first"][0]["text"]
                .as_str()
                .unwrap()
                .contains(PATIENT)
        );
        assert_eq!(files.len(), 2);
        assert!(files[0].0.starts_with("00000-") && files[0].1.contains(PATIENT));
        assert!(files[1].0.starts_with("00001-") && files[1].1.contains("half-way"));
        let requests = sandbox.file_requests();
        let mut of_errors = requests.iter().filter(|it| it.path.contains("/error."));
        assert!(
            of_errors.all(|it| it.has_token() && it.accept.as_deref().unwrap().contains("ndjson"))
        );
        // Counts are for everyone, names are not.
        let logs = story.logs();
        assert!(
            logs.contains("4 issues: 1 fatal, 2 error, 1 warning"),
            "{logs}"
        );
        assert!(logs.contains("\"watermark\":\"held\""), "{logs}");
        assert!(
            !logs.contains(PATIENT) && !logs.contains("half-way"),
            "{logs}"
        );
        assert_arrived(&sandbox);
        assert_nothing_half_staged(&sandbox);
        assert_no_token_leaks(&sandbox);
    }
}

#[tokio::test]
async fn warnings_hold_nothing_and_warn_only_says_what_there_is() {
    let sandbox = with(&[ErrorContent::Warnings, ErrorContent::Nothing]).await;
    let mut story = Story::of(&sandbox);
    story.tell().await.unwrap();
    let (record, _) = kept(&sandbox);
    assert_eq!(
        record["exportIssues"]["bySeverity"],
        json!({"information": 1, "warning": 1})
    );
    assert_eq!(record["exportIssues"]["watermark"], Value::Null);
    assert!(
        !story.logs().contains("\"level\":\"WARN\""),
        "{}",
        story.logs()
    );

    let sandbox = with(&[ErrorContent::Fatal]).await;
    let mut story = Story::of(&sandbox).with("EXPORT_ERRORS", "warn");
    story.tell().await.unwrap();
    let (record, _) = kept(&sandbox);
    assert_eq!(record["exportIssues"]["policy"], "warn");
    assert_eq!(record["exportIssues"]["watermark"], Value::Null);
    assert!(
        story
            .logs()
            .contains("the source reports errors of the export")
    );
    assert_arrived(&sandbox);
}

#[tokio::test]
async fn fail_ends_the_run_before_anything_is_fetched_or_imported() {
    let sandbox = with(&[ErrorContent::Errors]).await;
    let mut story = Story::of(&sandbox).with("EXPORT_ERRORS", "fail");
    let failed = story.tell().await.unwrap_err();
    assert_eq!(
        (failed.step, failed.error_type.as_str()),
        (Step::TransferToS3, "ExportFailedError")
    );
    for word in ["2 error, 1 warning", "EXPORT_ERRORS", "_run.json"] {
        assert!(failed.error_message.contains(word), "{word}: {failed:?}");
    }
    assert!(!failed.error_message.contains(PATIENT));
    let (record, files) = kept(&sandbox);
    assert_eq!(record["outcome"]["name"], "ExportFailedError");
    assert_eq!(record["exportIssues"]["bySeverity"]["error"], 2);
    assert_eq!(files.len(), 1);
    assert_eq!(sandbox.file_requests().len(), 1, "no file of resources");
    assert_eq!(sandbox.deletions().len(), 0);
    assert_import_never_asked(&sandbox);
    // Where there is no error, it is no failure.
    let sandbox = with(&[ErrorContent::Warnings]).await;
    let mut story = Story::of(&sandbox).with("EXPORT_ERRORS", "fail");
    story.tell().await.unwrap();
    assert_arrived(&sandbox);
}

#[tokio::test]
async fn what_is_no_outcome_is_counted_and_may_be_an_error() {
    let sandbox = with(&[ErrorContent::Garbage]).await;
    Story::of(&sandbox).tell().await.unwrap();
    let issues = kept(&sandbox).0["exportIssues"].clone();
    assert_eq!(issues["notOutcomes"], 2);
    assert_eq!(issues["bySeverity"], json!({"information": 1}));
    assert_eq!(issues["watermark"], "held");
    assert_arrived(&sandbox);
}

#[tokio::test]
async fn a_line_of_any_length_is_counted_in_little_memory() {
    let mut transferring = Transferring::of(
        source().fault(Fault::ExportErrors(ErrorContent::LongLine(96 << 20))),
        &[],
    )
    .await;
    transferring.succeed().await;
    let (record, files) = kept(&transferring.sandbox);
    let issues = &record["exportIssues"];
    assert_eq!(issues["tooLong"], 1);
    assert_eq!(issues["bySeverity"], json!({"information": 1}));
    assert_eq!(issues["watermark"], "held");
    assert!(files[0].1.len() > 96 << 20);
    let memory = transferring.memory().await;
    assert!(memory < 90 << 20, "{memory} bytes");
}

#[tokio::test]
async fn a_file_that_cannot_be_had_is_a_warning_and_counts_as_an_error_and_under_fail_it_is_one() {
    let gone = || Fault::answers(Place::ErrorFile, Answer::new(404));
    let sandbox = with(&[ErrorContent::Warnings, ErrorContent::Warnings]).await;
    sandbox.faults().on(gone());
    let mut story = Story::of(&sandbox);
    story.tell().await.unwrap();
    let issues = kept(&sandbox).0["exportIssues"].clone();
    assert_eq!(
        (&issues["missing"], &issues["watermark"]),
        (&json!(2), &json!("held"))
    );
    assert!(
        story
            .logs()
            .contains("a file of the export's errors cannot be had")
    );
    assert!(story.logs().contains("2 files that could not be had"));
    assert_arrived(&sandbox);

    // Of two, one is there.
    let sandbox = with(&[ErrorContent::Warnings, ErrorContent::Warnings]).await;
    sandbox.faults().on(Fault::ErrorFileWithoutUrl);
    Story::of(&sandbox).tell().await.unwrap();
    let (record, files) = kept(&sandbox);
    assert_eq!(record["exportIssues"]["missing"], 1);
    assert_eq!(record["exportIssues"]["bySeverity"]["warning"], 1);
    assert_eq!(files.len(), 1);

    let sandbox = with(&[ErrorContent::Warnings]).await;
    sandbox.faults().on(gone());
    let mut story = Story::of(&sandbox).with("EXPORT_ERRORS", "fail");
    let failed = story.tell().await.unwrap_err();
    assert_eq!(failed.error_type, "TransferError");
    for word in ["/error.0.ndjson", "404", "EXPORT_ERRORS"] {
        assert!(failed.error_message.contains(word), "{word}: {failed:?}");
    }
    assert_import_never_asked(&sandbox);
    assert_eq!(kept(&sandbox).0["outcome"]["name"], "TransferError");
}

#[tokio::test]
async fn they_are_fetched_with_the_patience_that_outputs_get_and_not_again() {
    let sandbox = with(&[ErrorContent::Errors, ErrorContent::Warnings]).await;
    let busy = Fault::answers(Place::ErrorFile, Answer::new(503).retry_after(0));
    sandbox.faults().times(3, busy);
    sandbox
        .faults()
        .once(Fault::answers(Place::ErrorFile, Answer::new(500)));
    let mut story = Story::of(&sandbox);
    let told = story.tell().await.unwrap();
    assert_eq!(kept(&sandbox).0["exportIssues"]["missing"], 0);
    let asked = sandbox.file_requests().len();
    story.restart().await;
    story
        .finish(Step::TransferToS3, &told.complete)
        .await
        .unwrap();
    assert_eq!(sandbox.file_requests().len(), asked);
    assert_eq!(kept(&sandbox).0["exportIssues"]["bySeverity"]["error"], 2);
}

#[tokio::test]
async fn files_at_another_origin_get_no_token_and_expired_links_are_had_anew() {
    let sandbox = source().files_elsewhere().start().await.unwrap();
    sandbox
        .faults()
        .on(Fault::ExportErrors(ErrorContent::Errors));
    Story::of(&sandbox).tell().await.unwrap();
    assert_eq!(kept(&sandbox).0["exportIssues"]["missing"], 0);
    assert_no_token_leaks(&sandbox);

    let sandbox = source().signed_links(true).start().await.unwrap();
    sandbox
        .faults()
        .on(Fault::ExportErrors(ErrorContent::Errors));
    let mut story = Story::of(&sandbox);
    let event = story.until(Step::TransferToS3).await.unwrap();
    sandbox.expire_links(403);
    story.finish(Step::TransferToS3, &event).await.unwrap();
    assert_eq!(kept(&sandbox).0["exportIssues"]["missing"], 0);
}

#[tokio::test]
async fn files_of_errors_that_hang_take_a_share_of_the_time_and_what_is_exported_is_staged_in_the_rest()
 {
    for contents in [1, 2] {
        let mut builder = source().fault(Fault::Hang(Place::ErrorFile));
        for _ in 0..contents {
            builder = builder.fault(Fault::ExportErrors(ErrorContent::Errors));
        }
        let mut transfer = Transferring::of(builder, &[]).await;
        // They would hang for longer than this call may take.
        let output = transfer.call(12_000).await.unwrap();
        assert!(output["parameters"].is_object(), "{output}");
        let (record, files) = kept(&transfer.sandbox);
        assert_eq!(record["exportIssues"]["missing"], contents);
        assert!(files.is_empty());
        assert_staged(&transfer.sandbox);
    }
}
