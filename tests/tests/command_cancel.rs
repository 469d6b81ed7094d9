//! Giving a run up: `pathling-import cancel`, and the question after Ctrl-C.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pathling_import_core::config::Step;
use pathling_import_tests::check::{assert_arrived, assert_no_secrets, assert_no_token_leaks};
use pathling_import_tests::moment::until_asked;
use pathling_import_tests::{CommandRun, NOBODY, Records as _, Running, Story, pathling_import};
use sandbox::{Answer, Dataset, DeletedJob, Fault, Place, Sandbox};
use serde_json::Value;

/// A source whose export does not come to an end.
async fn endless() -> Sandbox {
    Sandbox::builder()
        .data(Dataset::of(&[("Patient", 5)]))
        .polls(1_000_000)
        .start()
        .await
        .unwrap()
}

fn cancel(sandbox: &Sandbox) -> CommandRun {
    pathling_import(sandbox).arg("cancel")
}

/// A run that has seen its export under way.
async fn begun(run: CommandRun, sandbox: &Sandbox) -> Running {
    sandbox.clear_requests();
    let run = run.env("EXPORT_RETRY_TIMES", "1000000").spawn();
    until_asked(sandbox, 2, |it| {
        it.status == Some(202) && it.path.starts_with("/fhir/jobs/")
    })
    .await;
    run
}

/// A run that an earlier start has left while its export was under way.
async fn left(sandbox: &Sandbox) {
    begun(pathling_import(sandbox), sandbox).await.kill().await;
}

fn record(sandbox: &Sandbox) -> Value {
    let all = sandbox.s3_objects();
    let found = all.iter().find(|(key, _)| key.ends_with("/_run.json"));
    serde_json::from_slice(&sandbox.s3_object(&found.unwrap().0).unwrap()).unwrap()
}

#[tokio::test]
async fn a_run_that_is_cancelled_ends_at_the_source_and_is_not_gone_on_with() {
    let sandbox = endless().await;
    left(&sandbox).await;
    let finished = cancel(&sandbox).run().await.expect_code(0);
    let record = record(&sandbox);
    let run = record["run"].as_str().unwrap();
    for words in [
        format!("Cancelled run {run}, "),
        "ended at the source (it answered 202)".to_owned(),
        "no import of this run".to_owned(),
        format!("{}/runs/{run}", sandbox.staging_url()),
    ] {
        assert!(
            finished.stdout.contains(&words),
            "{words}: {}",
            finished.stdout
        );
    }
    assert_eq!(sandbox.deletions().len(), 1);
    assert_eq!(record["outcome"]["name"], "cancelled");
    assert_no_secrets(&sandbox, &finished.all());
    assert_no_token_leaks(&sandbox);
    // The next start begins anew, and there is nothing left to cancel.
    let again = cancel(&sandbox).run().await.expect_code(0);
    assert!(
        again.stdout.starts_with("Nothing to cancel"),
        "{}",
        again.stdout
    );
    let next = pathling_import(&sandbox).env("EXPORT_RETRY_TIMES", "1");
    let next = next.run().await.expect_code(4);
    assert!(!next.stderr.contains("unfinished"), "{}", next.stderr);
    assert_eq!(sandbox.export_kick_offs().len(), 2);
    assert_eq!(sandbox.deletions().len(), 1);
}

#[tokio::test]
async fn the_settings_may_be_in_a_file_and_a_program_may_read_what_was_done() {
    let sandbox = endless().await;
    let run = cancel(&sandbox);
    let (settings, others) = run.environment().clone().into_file();
    let run = run
        .only_env(others)
        .file("settings.json", settings)
        .arg("settings.json")
        .arg("--log-format")
        .arg("json");
    left(&sandbox).await;
    let said: Value = serde_json::from_str(&run.run().await.expect_code(0).stdout).unwrap();
    assert_eq!(said["outcome"], "cancelled");
    assert_eq!(
        said["source"],
        serde_json::json!({"outcome": "ended", "status": 202})
    );
    assert_eq!(said["run"], record(&sandbox)["run"]);
    assert_eq!(said["importing"], false);
}

#[tokio::test]
async fn it_is_said_where_the_source_had_nothing_to_end_or_cannot() {
    for (status, words) in [
        (404, "no such export any more (it answered 404)"),
        (405, "does not end exports (it answered 405)"),
        (501, "may go on there"),
    ] {
        let sandbox = endless().await;
        left(&sandbox).await;
        let fault = Fault::answers(Place::StatusDelete, Answer::new(status));
        sandbox.faults().on(fault);
        let finished = cancel(&sandbox).run().await.expect_code(0);
        assert!(
            finished.stdout.contains(words),
            "{status}: {}",
            finished.stdout
        );
        assert_eq!(record(&sandbox)["outcome"]["name"], "cancelled");
    }
}

#[tokio::test]
async fn where_the_source_cannot_be_asked_the_run_stays_and_the_exit_code_says_why() {
    let refuses = |status| Some(Fault::answers(Place::StatusDelete, Answer::new(status)));
    for (fault, error) in [
        (refuses(403), "AuthenticationError"),
        (refuses(400), "ExportFailedError"),
        (refuses(502), "SourceUnavailableError"),
        (
            Some(Fault::Hang(Place::StatusDelete)),
            "SourceUnavailableError",
        ),
    ] {
        let sandbox = endless().await;
        left(&sandbox).await;
        sandbox.faults().on(fault.unwrap());
        let run = cancel(&sandbox).env("IDLE_TIMEOUT", "0.3");
        let finished = run.run().await;
        let advice = match error {
            "AuthenticationError" => "",
            _ => "To leave the export there and begin a new run, start with --fresh",
        };
        finished.expect_error(error, &["was not cancelled", "/jobs/", advice]);
        assert_eq!(record(&sandbox)["outcome"], Value::Null, "{error}");
        sandbox.faults().clear();
        let run = begun(pathling_import(&sandbox), &sandbox).await;
        run.stderr
            .wait_for("going on with the unfinished run")
            .await;
        run.kill().await;
    }
}

#[tokio::test]
async fn wrong_settings_and_an_unreachable_store_end_it_as_they_end_a_run() {
    let sandbox = endless().await;
    let finished = cancel(&sandbox).without("SOURCE_ENDPOINT").run().await;
    finished.expect_error("ConfigurationError", &["SOURCE_ENDPOINT is missing"]);
    let nobody = format!("http://{NOBODY}");
    let finished = cancel(&sandbox)
        .env("AWS_ENDPOINT_URL_S3", nobody)
        .run()
        .await;
    finished.expect_error("StagingUnavailableError", &[]);
}

#[tokio::test]
async fn a_workflow_that_is_at_a_cancelled_run_stops_and_says_so() {
    let sandbox = endless().await;
    sandbox
        .faults()
        .on(Fault::DeletedJobAnswers(DeletedJob::GoesOn));
    let mut story = Story::of(&sandbox);
    let export = story
        .call(Step::FhirExport, &serde_json::json!({}))
        .await
        .unwrap();
    let first = story
        .call(Step::CheckExportStatus, &export)
        .await
        .unwrap_err();
    assert_eq!(first.error_type, "JobInProgressError");
    let _ = cancel(&sandbox).run().await.expect_code(0);
    let failed = story
        .call(Step::CheckExportStatus, &export)
        .await
        .unwrap_err();
    assert_eq!(failed.error_type, "ExportFailedError");
    assert!(failed.error_message.contains("was cancelled"), "{failed:?}");
    assert_eq!(
        record(&sandbox)["outcome"]["name"],
        "cancelled",
        "that stays so"
    );
}

#[tokio::test]
async fn a_cancelled_run_is_neither_transferred_nor_imported() {
    let sandbox = Sandbox::builder()
        .data(Dataset::of(&[("Patient", 5)]))
        .start()
        .await
        .unwrap();
    let mut story = Story::of(&sandbox);
    let complete = story.until(Step::TransferToS3).await.unwrap();
    let staged = story.finish(Step::TransferToS3, &complete).await.unwrap();
    let said = cancel(&sandbox).run().await.expect_code(0).stdout;
    assert!(said.contains("deleted at the source before"), "{said}");
    assert_eq!(sandbox.deletions().len(), 1);
    for (step, event) in [
        (Step::TransferToS3, complete),
        (Step::PathlingImport, staged),
    ] {
        let failed = story.call(step, &event).await.unwrap_err();
        assert!(failed.error_message.contains("was cancelled"), "{failed:?}");
    }
    assert_eq!(sandbox.import_kick_offs().len(), 0);
    // A new run is not touched by that.
    story.tell().await.unwrap();
    assert_arrived(&sandbox);
}

#[tokio::test]
async fn a_transfer_that_is_under_way_stops_and_says_so() {
    let data = Dataset::padded("Patient", 24, 1 << 20);
    let builder = Sandbox::builder().data(data).resources_per_file(1);
    let sandbox = builder.fault(Fault::FileHangsMidway).start().await.unwrap();
    for folder in [None, Some(tempfile::tempdir().unwrap())] {
        sandbox.clear_requests();
        let place = |run: CommandRun| match &folder {
            Some(folder) => run.env("STAGING_URL", folder.path().display().to_string()),
            None => run,
        };
        let run = place(pathling_import(&sandbox)).env("IDLE_TIMEOUT", "3");
        let run = run.spawn();
        until_asked(&sandbox, 4, |it| it.path.contains("/files/")).await;
        let _ = place(cancel(&sandbox)).run().await.expect_code(0);
        let finished = run.wait().await;
        finished.expect_error("ExportFailedError", &["was cancelled", "Start a new run"]);
        for told in ["answered 404", "may have expired", " goes on."] {
            assert!(!finished.stderr.contains(told), "{}", finished.stderr);
        }
    }
}

const QUESTION: &str = "Cancel it there, and give this run up? [y/N] ";

#[tokio::test]
async fn ctrl_c_at_a_terminal_asks_and_a_yes_cancels() {
    let sandbox = endless().await;
    let run = begun(pathling_import(&sandbox).at_a_terminal(), &sandbox).await;
    run.signal("INT").await;
    run.stderr.wait_for(QUESTION).await;
    run.types("y\n");
    let finished = run.wait().await.expect_code(130);
    assert!(
        finished.stderr.contains("Cancelled run "),
        "{}",
        finished.stderr
    );
    assert_eq!(sandbox.deletions().len(), 1);
    assert_eq!(record(&sandbox)["outcome"]["name"], "cancelled");
}

#[tokio::test]
async fn a_yes_is_about_the_run_that_was_asked_about_and_ends_no_other_that_began_meanwhile() {
    let sandbox = endless().await;
    let run = begun(pathling_import(&sandbox).at_a_terminal(), &sandbox).await;
    run.signal("INT").await;
    run.stderr.wait_for(QUESTION).await;
    // Another process begins a run of the same synchronisation while the person thinks.
    let mut story = Story::of(&sandbox);
    let newer = story
        .call(Step::FhirExport, &serde_json::json!({}))
        .await
        .unwrap();
    run.types("y\n");
    let finished = run.wait().await.expect_code(130);
    assert!(
        finished.stderr.contains("Nothing to cancel"),
        "{}",
        finished.stderr
    );
    assert_eq!(sandbox.deletions().len(), 0);
    for (key, _) in sandbox.s3_objects() {
        if key.ends_with("/_run.json") {
            let record = sandbox.s3_object(&key).unwrap();
            let record: Value = serde_json::from_slice(&record).unwrap();
            assert_eq!(record["outcome"], Value::Null, "{record}");
        }
    }
    // The command without a run's name means whichever is in progress.
    let said = cancel(&sandbox).run().await.expect_code(0).stdout;
    let name = newer["run"].as_str().unwrap();
    assert!(said.contains(&format!("Cancelled run {name}")), "{said}");
}

#[tokio::test]
async fn without_a_yes_the_run_goes_on_at_the_next_start() {
    for typed in ["\n", "n\n", "\u{4}"] {
        let sandbox = endless().await;
        let run = begun(pathling_import(&sandbox).at_a_terminal(), &sandbox).await;
        run.signal("INT").await;
        run.stderr.wait_for(QUESTION).await;
        run.types(typed);
        let finished = run.wait().await.expect_code(130);
        assert!(finished.stderr.contains(" goes on."), "{}", finished.stderr);
        assert_eq!(sandbox.deletions().len(), 0);
        assert_eq!(record(&sandbox)["outcome"], Value::Null);
    }
}

#[tokio::test]
async fn a_second_ctrl_c_ends_it_at_the_question() {
    let sandbox = endless().await;
    let run = begun(pathling_import(&sandbox).at_a_terminal(), &sandbox).await;
    run.signal("INT").await;
    run.stderr.wait_for(QUESTION).await;
    run.signal("INT").await;
    let _ = run.wait().await.expect_code(130);
    assert_eq!(sandbox.deletions().len(), 0);
}

#[tokio::test]
async fn nobody_is_asked_without_a_terminal_after_sigterm_or_once_the_export_is_complete() {
    let sandbox = endless().await;
    let run = begun(pathling_import(&sandbox), &sandbox).await;
    run.signal("INT").await;
    let finished = run.wait().await.expect_code(130);
    assert!(!finished.stderr.contains(QUESTION), "{}", finished.stderr);
    let run = begun(pathling_import(&sandbox).at_a_terminal(), &sandbox).await;
    run.signal("TERM").await;
    let finished = run.wait().await.expect_code(143);
    assert!(!finished.stderr.contains(QUESTION), "{}", finished.stderr);

    let data = Dataset::padded("Patient", 24, 1 << 20);
    let sandbox = Sandbox::builder().data(data).fault(Fault::FileHangsMidway);
    let sandbox = sandbox.start().await.unwrap();
    let run = pathling_import(&sandbox).at_a_terminal().spawn();
    until_asked(&sandbox, 1, |it| it.path.contains("/files/")).await;
    run.signal("INT").await;
    let finished = run.wait().await.expect_code(130);
    assert!(!finished.stderr.contains(QUESTION), "{}", finished.stderr);
    assert_eq!(sandbox.deletions().len(), 0);
}
