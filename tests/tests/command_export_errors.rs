//! What the command says of errors that the source reports of its export.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pathling_import_tests::check::{assert_arrived, assert_import_never_asked};
use pathling_import_tests::{CommandRun, Finished, Records as _, pathling_import};
use sandbox::{Answer, Dataset, ErrorContent, Fault, Place, Sandbox};
use serde_json::json;

async fn sandbox(content: ErrorContent) -> Sandbox {
    Sandbox::builder()
        .data(Dataset::of(&[("Patient", 5)]))
        .fault(Fault::ExportErrors(content))
        .start()
        .await
        .unwrap()
}

fn says_nothing_of_patients(finished: &Finished) {
    assert!(!finished.all().contains("Anna"), "{}", finished.all());
}

async fn run(run: CommandRun) -> Finished {
    let finished = run.run().await;
    says_nothing_of_patients(&finished);
    finished
}

#[tokio::test]
async fn the_summary_has_the_counts_and_says_what_follows() {
    for (policy, held) in [("hold", true), ("warn", false)] {
        let sandbox = sandbox(ErrorContent::Errors).await;
        let command = pathling_import(&sandbox).env("EXPORT_ERRORS", policy);
        let finished = run(command).await.expect_code(0);
        for words in [
            "1 file of errors: the source could not export everything",
            "3 issues: 2 error, 1 warning (1 not-found, 1 processing, 1 timeout)",
            "/_run.json",
        ] {
            assert!(
                finished.stdout.contains(words),
                "{words}: {}",
                finished.stdout
            );
        }
        let said = finished
            .stdout
            .contains("does not count as complete (EXPORT_ERRORS=hold)");
        assert_eq!(said, held, "{}", finished.stdout);
        let next = finished.stdout.contains("the SINCE of a next delta");
        assert_eq!(next, !held, "{}", finished.stdout);
        assert_arrived(&sandbox);
    }
}

#[tokio::test]
async fn a_program_reads_the_counts_too() {
    let sandbox = sandbox(ErrorContent::Errors).await;
    let command = pathling_import(&sandbox).arg("--log-format").arg("json");
    let summary = run(command).await.summary();
    assert_eq!(
        summary["exportIssues"]["bySeverity"],
        json!({"error": 2, "warning": 1})
    );
    assert_eq!(summary["exportIssues"]["watermark"], "held");
    assert_eq!(summary["skipped"]["exportErrors"], 1);
}

#[tokio::test]
async fn files_of_errors_without_an_error_are_said_to_have_none() {
    let sandbox = sandbox(ErrorContent::Warnings).await;
    let finished = run(pathling_import(&sandbox)).await.expect_code(0);
    let words = "1 file of errors, in which there is none";
    assert!(finished.stdout.contains(words), "{}", finished.stdout);
    assert!(
        !finished.stdout.contains("does not count"),
        "{}",
        finished.stdout
    );
}

#[tokio::test]
async fn under_fail_the_run_is_over_and_the_next_start_asks_for_another_export() {
    let sandbox = sandbox(ErrorContent::Fatal).await;
    let command = || pathling_import(&sandbox).env("EXPORT_ERRORS", "fail");
    let finished = run(command()).await;
    finished.expect_error("ExportFailedError", &["1 fatal", "exportIssues in"]);
    assert_import_never_asked(&sandbox);
    sandbox.faults().clear();
    let _ = run(command()).await.expect_code(0);
    assert_eq!(sandbox.export_kick_offs().len(), 2);
    assert_arrived(&sandbox);
}

#[tokio::test]
async fn a_file_of_errors_that_is_not_there_is_said() {
    let sandbox = sandbox(ErrorContent::Fatal).await;
    sandbox
        .faults()
        .on(Fault::answers(Place::ErrorFile, Answer::new(404)));
    let finished = run(pathling_import(&sandbox)).await.expect_code(0);
    let words = "no issues; 1 file that could not be had";
    assert!(finished.stdout.contains(words), "{}", finished.stdout);
    assert_arrived(&sandbox);
}
