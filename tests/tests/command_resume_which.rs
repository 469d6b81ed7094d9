//! Which run goes on: only under the same source, types, target and `SINCE`; and what becomes of one whose import failed, or
//! whose target or source forgot it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use pathling_import_tests::check::{assert_arrived, assert_no_token_leaks};
use pathling_import_tests::moment::{until, until_asked};
use pathling_import_tests::{CommandRun, Finished, Records as _, pathling_import};
use sandbox::{Answer, Builder, Dataset, Fault, PathlingVersion, Place, Recorded, Sandbox};

const BOTH: [PathlingVersion; 2] = [PathlingVersion::Seven, PathlingVersion::Two];

fn hospital(version: PathlingVersion) -> Builder {
    Sandbox::builder()
        .pathling(version)
        .data(Dataset::of(&[("Condition", 8), ("Patient", 8)]))
        .resources_per_file(2)
}

fn is_poll_of_import(request: &Recorded) -> bool {
    request.path.ends_with("$job")
}

async fn ends_well(sandbox: &Sandbox) -> Finished {
    let finished = pathling_import(sandbox).run().await.expect_code(0);
    assert_arrived(sandbox);
    assert_no_token_leaks(sandbox);
    finished
}

fn goes_on(finished: &Finished) -> bool {
    finished
        .stderr
        .starts_with("going on with the unfinished run ")
}

#[tokio::test]
async fn a_run_goes_on_only_under_the_same_types_target_and_since() {
    let sandbox = hospital(PathlingVersion::Seven)
        .polls(1)
        .start()
        .await
        .unwrap();
    let gives_up = |run: CommandRun| run.env("EXPORT_RETRY_TIMES", "0");
    let first = gives_up(pathling_import(&sandbox)).run().await;
    first.expect_error("JobInProgressError", &["50% complete"]);

    // Another name of the same host is another target, and a subset of the types another synchronisation.
    let elsewhere = sandbox.target_endpoint().replace("127.0.0.1", "localhost");
    for (name, value) in [("TYPES", "Patient"), ("TARGET_ENDPOINT", &elsewhere)] {
        let run = pathling_import(&sandbox).env(name, value);
        let finished = run.run().await.expect_code(0);
        assert!(!goes_on(&finished), "{name}: {}", finished.stderr);
    }
    assert_eq!(sandbox.export_kick_offs().len(), 3);
    let finished = pathling_import(&sandbox).run().await.expect_code(0);
    assert!(goes_on(&finished), "{}", finished.stderr);
    assert_eq!(sandbox.export_kick_offs().len(), 3);

    gives_up(pathling_import(&sandbox))
        .run()
        .await
        .expect_error("JobInProgressError", &[]);
    let run = pathling_import(&sandbox).env("SINCE", "2020-01-01T00:00:00Z");
    let finished = run.run().await.expect_code(0);
    assert!(!goes_on(&finished), "{}", finished.stderr);
    assert_eq!(sandbox.export_kick_offs().len(), 5);
    assert_arrived(&sandbox);
}

#[tokio::test]
async fn a_start_that_gives_an_unfinished_run_up_says_what_becomes_of_its_export() {
    let endless = || hospital(PathlingVersion::Seven).polls(1_000_000);
    for format in ["human", "json"] {
        let sandbox = endless().start().await.unwrap();
        let command = || {
            let run = pathling_import(&sandbox).env("EXPORT_RETRY_TIMES", "0");
            run.arg("--log-format").arg(format)
        };
        let first = command().run().await.expect_code(4);
        assert!(!first.stderr.contains("given up"), "{}", first.stderr);
        for run in [
            command().arg("--fresh"),
            command().env("SINCE", "2020-01-01T00:00:00Z"),
        ] {
            let stderr = run.run().await.expect_code(4).stderr;
            let words = match format {
                "human" => [
                    "takes the place of the unfinished run ",
                    "pathling-import cancel",
                ],
                _ => [
                    "a new export takes the place of an unfinished run",
                    "\"complete\":false",
                ],
            };
            for word in words.iter().chain(&["/fhir/jobs/", "until"]) {
                assert!(stderr.contains(word), "{word}: {stderr}");
            }
        }
        // What has ended, or was cancelled, is not given up.
        let cancel = pathling_import(&sandbox).arg("cancel");
        let _ = cancel.run().await.expect_code(0);
        let next = command().arg("--fresh").run().await.expect_code(4);
        assert!(!next.stderr.contains("unfinished"), "{}", next.stderr);
    }
}

#[tokio::test]
async fn the_order_and_the_place_of_settings_do_not_make_another_run() {
    let sandbox = hospital(PathlingVersion::Two)
        .polls(1)
        .start()
        .await
        .unwrap();
    let run = pathling_import(&sandbox)
        .env("TYPES", "Patient,Condition")
        .env("EXPORT_RETRY_TIMES", "0");
    run.run().await.expect_error("JobInProgressError", &[]);
    let run = pathling_import(&sandbox)
        .env("TYPES", " Condition , Patient,Patient ")
        .env("TARGET_ENDPOINT", format!("{}/", sandbox.target_endpoint()))
        .env(
            "SOURCE_ENDPOINT",
            format!("{}//", sandbox.source_endpoint()),
        )
        .env("STAGING_URL", format!("{}/", sandbox.staging_url()));
    let (settings, others) = run.environment().clone().into_file();
    let run = run
        .only_env(others)
        .file("my.json", settings)
        .arg("my.json");
    let finished = run.env("EXPORT_RETRY_WAIT", "0").run().await.expect_code(0);
    assert!(goes_on(&finished), "{}", finished.stderr);
    assert_arrived(&sandbox);
}

#[tokio::test]
async fn an_import_that_failed_is_imported_by_the_next_run_without_another_export() {
    for version in BOTH {
        for status in [400, 500] {
            let sandbox = hospital(version).start().await.unwrap();
            sandbox.faults().once(Fault::ImportFails(status));
            let failed = pathling_import(&sandbox).run().await;
            failed.expect_error("ImportFailedError", &[&status.to_string()]);
            let finished = ends_well(&sandbox).await;
            assert!(goes_on(&finished), "{}", finished.stderr);
            assert_eq!(sandbox.export_kick_offs().len(), 1);
            assert_eq!(sandbox.file_requests().len(), 8, "no file twice");
            assert_eq!(sandbox.nonces().len(), 2, "a new attempt");
            assert!(
                finished.stdout.contains("(attempt 2)"),
                "{}",
                finished.stdout
            );
        }
    }
}

#[tokio::test]
async fn a_target_that_restarts_in_the_middle_of_an_import_is_asked_again() {
    for version in BOTH {
        let builder = hospital(version).import_delay(Duration::from_millis(1500));
        let sandbox = builder.start().await.unwrap();
        let run = pathling_import(&sandbox).spawn();
        until_asked(&sandbox, 1, |it| {
            is_poll_of_import(it) && it.status == Some(202)
        })
        .await;
        sandbox.restart_target();
        let finished = run.wait().await.expect_code(0);
        assert_arrived(&sandbox);
        let said = "is being imported again: the target lost the job";
        assert!(finished.stderr.contains(said), "{}", finished.stderr);
        let nonces = sandbox.nonces();
        assert_eq!(nonces.len(), 2);
        assert_ne!(nonces[0], nonces[1]);
    }
}

#[tokio::test]
async fn a_target_that_restarts_while_nobody_asks_is_asked_again_by_the_next_run() {
    for version in BOTH {
        let sandbox = hospital(version).import_polls(1).start().await.unwrap();
        let run = pathling_import(&sandbox)
            .env("IMPORT_RETRY_WAIT", "600")
            .spawn();
        until_asked(&sandbox, 1, is_poll_of_import).await;
        until("the rows are there", || sandbox.rows("Patient").len() == 8).await;
        run.kill().await;
        sandbox.restart_target();
        let finished = ends_well(&sandbox).await;
        assert!(goes_on(&finished), "{}", finished.stderr);
        assert_eq!(sandbox.nonces().len(), 2);
        assert_eq!(sandbox.file_requests().len(), 8, "no file twice");
    }
}

#[tokio::test]
async fn a_target_that_loses_every_import_is_given_up() {
    let builder = hospital(PathlingVersion::Two).fault(Fault::TargetLosesJob);
    let sandbox = builder.start().await.unwrap();
    let finished = pathling_import(&sandbox).run().await;
    finished.expect_error("ImportFailedError", &["404", "3 attempts", "/$job"]);
    assert_eq!(sandbox.nonces().len(), 3);
    sandbox.faults().clear();
    ends_well(&sandbox).await;
}

#[tokio::test]
async fn an_export_or_a_file_that_the_source_has_lost_meanwhile_leads_to_a_new_export() {
    let gone = Fault::answers(Place::File, Answer::new(404));
    for (fault, error) in [
        (Fault::SourceLosesJob, "ExportFailedError"),
        (gone, "TransferError"),
    ] {
        let sandbox = hospital(PathlingVersion::Seven)
            .polls(1)
            .start()
            .await
            .unwrap();
        let run = pathling_import(&sandbox).env("EXPORT_RETRY_TIMES", "0");
        run.run().await.expect_error("JobInProgressError", &[]);
        sandbox.faults().on(fault);
        let finished = pathling_import(&sandbox).run().await;
        assert!(goes_on(&finished), "{}", finished.stderr);
        finished.expect_error(error, &["404", "/jobs/"]);
        assert!(
            !finished.stderr.contains(" goes on."),
            "{}",
            finished.stderr
        );
        sandbox.faults().clear();
        let finished = ends_well(&sandbox).await;
        assert!(!goes_on(&finished), "{}", finished.stderr);
        assert_eq!(sandbox.export_kick_offs().len(), 2);
    }
}

#[tokio::test]
async fn a_source_that_counts_its_jobs_anew_or_reuses_them_confuses_nobody() {
    for fault in [Fault::JobNumbersRepeat, Fault::KickOffReusesJob] {
        let builder = hospital(PathlingVersion::Two).fault(fault.clone());
        let sandbox = builder.start().await.unwrap();
        let first = ends_well(&sandbox).await;
        if fault == Fault::JobNumbersRepeat {
            sandbox.source_put(&serde_json::json!({"resourceType": "Patient", "id": "new"}));
        }
        let second = ends_well(&sandbox).await;
        // The same status URL with another export is another run; with the same export it is the same run.
        assert_eq!(
            first.run() == second.run(),
            fault == Fault::KickOffReusesJob
        );
        assert_eq!(sandbox.nonces().len(), 2);
    }
}

#[tokio::test]
async fn two_targets_whose_source_answers_with_one_job_have_a_run_each() {
    let builder = hospital(PathlingVersion::Two).fault(Fault::KickOffReusesJob);
    let sandbox = builder.start().await.unwrap();
    let first = ends_well(&sandbox).await;
    // Another address is another target, as far as anybody knows.
    let other = sandbox.target_endpoint().replace("127.0.0.1", "localhost");
    let run = pathling_import(&sandbox).env("TARGET_ENDPOINT", &other);
    let second = run.run().await.expect_code(0);
    let beside = format!("{}-", first.run());
    assert!(second.run().starts_with(&beside), "{}", second.run());
    assert_eq!(sandbox.nonces().len(), 2);
    // Each goes on by its own record from there.
    let again = ends_well(&sandbox).await;
    assert_eq!(again.run(), first.run());
    let run = pathling_import(&sandbox).env("TARGET_ENDPOINT", &other);
    assert_eq!(run.run().await.expect_code(0).run(), second.run());
}

#[tokio::test]
async fn a_job_that_two_targets_have_in_common_is_ended_by_neither() {
    let builder = hospital(PathlingVersion::Two).fault(Fault::KickOffReusesJob);
    let sandbox = builder.start().await.unwrap();
    // The first is not over when the second begins.
    let unavailable = Fault::answers(Place::ImportStatus, Answer::new(502));
    sandbox.faults().on(unavailable.clone());
    let run = pathling_import(&sandbox).env("IMPORT_RETRY_TIMES", "0");
    run.run().await.expect_error("TargetUnavailableError", &[]);
    let known = sandbox.deletions().len();
    sandbox.faults().off(unavailable);
    let other = sandbox.target_endpoint().replace("127.0.0.1", "localhost");
    let run = pathling_import(&sandbox).env("TARGET_ENDPOINT", &other);
    let _ = run.run().await.expect_code(0);
    assert_eq!(sandbox.deletions().len(), known, "the first may need it");
}
