//! How the command polls, and what it says of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pathling_import_tests::check::assert_arrived;
use pathling_import_tests::{Records as _, pathling_import};
use sandbox::{Answer, Dataset, DeletedJob, Fault, Place, Sandbox};

async fn sandbox(polls: usize) -> Sandbox {
    Sandbox::builder()
        .data(Dataset::of(&[("Patient", 5)]))
        .polls(polls)
        .import_polls(1)
        .start()
        .await
        .unwrap()
}

#[tokio::test]
async fn a_job_that_is_done_in_a_moment_is_not_waited_for_as_long_as_the_settings_say() {
    let sandbox = sandbox(1).await;
    // Its first full wait is longer than the test would bear.
    let run = pathling_import(&sandbox)
        .env("EXPORT_RETRY_WAIT", "3600")
        .env("IMPORT_RETRY_WAIT", "3600")
        .env("EXPORT_RETRY_TIMES", "1")
        .env("IMPORT_RETRY_TIMES", "1");
    let finished = run.run().await.expect_code(0);
    assert_arrived(&sandbox);
    let said = "the export is in progress (50% complete); asking again in 1";
    assert!(finished.stderr.contains(said), "{}", finished.stderr);
}

#[tokio::test]
async fn early_polls_come_more_often_than_the_settings_have_waits() {
    let sandbox = sandbox(2).await;
    let run = pathling_import(&sandbox)
        .env("EXPORT_RETRY_TIMES", "1")
        .env("EXPORT_RETRY_WAIT", "20");
    let _ = run.run().await.expect_code(0);
    assert_eq!(sandbox.polls().len(), 3);
}

#[tokio::test]
async fn odd_answers_of_the_source_are_no_end_of_the_run() {
    let transient = Answer::new(500).outcome("transient", "Come again");
    for fault in [
        Fault::answers(Place::Status, transient),
        Fault::StatusBodyNotJson,
        Fault::SeparateStatusSays(503),
    ] {
        let sandbox = sandbox(2).await;
        sandbox.faults().times(2, fault);
        let finished = pathling_import(&sandbox).run().await.expect_code(0);
        assert!(!finished.stderr.contains("error:"), "{}", finished.stderr);
        assert_eq!(sandbox.export_kick_offs().len(), 1);
        assert_arrived(&sandbox);
    }
}

#[tokio::test]
async fn a_lost_or_cancelled_job_is_said_and_the_next_start_asks_for_another() {
    for (deleted, error, words) in [
        (
            None,
            "ExportFailedError",
            "lost the export, which it still knew at",
        ),
        (
            Some(DeletedJob::Gone),
            "ExportFailedError",
            "was cancelled at the source",
        ),
        (
            Some(DeletedJob::Empty),
            "ManifestError",
            "an export that was cancelled",
        ),
        (
            Some(DeletedJob::Bare),
            "ManifestError",
            "If the export was cancelled",
        ),
    ] {
        let sandbox = sandbox(1_000_000).await;
        let run = pathling_import(&sandbox)
            .env("EXPORT_RETRY_TIMES", "1000000")
            .spawn();
        run.stderr.wait_for("asking again in").await;
        match deleted {
            None => sandbox.faults().once(Fault::SourceLosesJob),
            Some(answer) => {
                sandbox.faults().on(Fault::DeletedJobAnswers(answer));
                sandbox.faults().once(Fault::SourceCancelsJob);
            }
        }
        run.wait().await.expect_error(error, &[words]);
        let next = pathling_import(&sandbox).env("EXPORT_RETRY_TIMES", "0");
        let _ = next.run().await.expect_code(4);
        assert_eq!(sandbox.export_kick_offs().len(), 2);
    }
}
