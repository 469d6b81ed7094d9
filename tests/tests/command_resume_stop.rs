//! Being told to stop: the command ends cleanly, leaves nothing half-way, says how to go on, and the next start goes on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pathling_import_tests::check::{
    assert_arrived, assert_folder_whole, assert_import_never_asked, assert_no_secrets,
    assert_nothing_half_staged,
};
use pathling_import_tests::moment::until_asked;
use pathling_import_tests::{CommandRun, Records as _, pathling_import};
use sandbox::{Builder, Dataset, Fault, Place, Recorded, Sandbox, Service};

async fn start(builder: Builder) -> Sandbox {
    builder.start().await.unwrap()
}

/// One file that goes up in several parts, and hangs in its middle.
fn large_file_that_hangs() -> Builder {
    let data = Dataset::padded("Patient", 24, 1 << 20);
    Sandbox::builder().data(data).fault(Fault::FileHangsMidway)
}

fn is_part(request: &Recorded) -> bool {
    request.query.contains("partNumber=") && request.status.is_some()
}

/// A run that was stopped goes on, and everything arrives, without another export.
async fn goes_on(sandbox: &Sandbox, run: CommandRun) {
    sandbox.faults().clear();
    let kick_offs = sandbox.export_kick_offs().len();
    let finished = run.run().await;
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let said = "going on with the unfinished run ";
    assert!(finished.stderr.starts_with(said), "{}", finished.stderr);
    assert_eq!(sandbox.export_kick_offs().len(), kick_offs);
    assert_arrived(sandbox);
}

#[tokio::test]
async fn what_being_stopped_in_the_middle_of_a_large_file_leaves_is_finished_by_the_next_start() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let sandbox = start(large_file_that_hangs()).await;
        let run = pathling_import(&sandbox).spawn();
        until_asked(&sandbox, 1, is_part).await;
        run.signal(signal).await;
        let _ = run.wait().await.expect_code(code);
        assert_import_never_asked(&sandbox);
        goes_on(&sandbox, pathling_import(&sandbox)).await;
        assert_nothing_half_staged(&sandbox);
    }
}

#[tokio::test]
async fn what_being_stopped_leaves_in_a_folder_is_finished_by_the_next_start() {
    let sandbox = start(large_file_that_hangs()).await;
    let folder = tempfile::tempdir().unwrap();
    let command = || pathling_import(&sandbox).env("STAGING_URL", folder.path().to_str().unwrap());
    let run = command().spawn();
    let types = || {
        std::fs::read_dir(folder.path().join("runs"))
            .into_iter()
            .flatten()
    };
    let on_its_way = || {
        let mut files = types()
            .flatten()
            .filter_map(|run| std::fs::read_dir(run.path().join("Patient")).ok())
            .flatten()
            .flatten();
        files.any(|file| file.metadata().is_ok_and(|file| file.len() > 0))
    };
    pathling_import_tests::moment::until("a file was begun", on_its_way).await;
    run.signal("INT").await;
    let _ = run.wait().await.expect_code(130);
    goes_on(&sandbox, command()).await;
    assert_folder_whole(folder.path());
}

#[tokio::test]
async fn a_second_signal_ends_it_even_where_the_store_hangs() {
    let sandbox = start(large_file_that_hangs()).await;
    let run = pathling_import(&sandbox).spawn();
    until_asked(&sandbox, 1, is_part).await;
    sandbox.faults().on(Fault::S3Hangs);
    run.signal("INT").await;
    run.signal("INT").await;
    let _ = run.wait().await.expect_code(130);
    goes_on(&sandbox, pathling_import(&sandbox)).await;
}

#[tokio::test]
async fn it_says_at_which_step_it_was_stopped_and_which_run_goes_on() {
    let hangs = |place, step| (Fault::Hang(place), step);
    for (fault, step) in [
        hangs(Place::Status, "check-export-status"),
        hangs(Place::File, "transfer-to-s3"),
        hangs(Place::ImportKickOff, "pathling-import"),
        hangs(Place::ImportStatus, "check-import-status"),
    ] {
        let sandbox = start(Sandbox::builder().fault(fault)).await;
        let run = pathling_import(&sandbox).spawn();
        let in_flight = |it: &Recorded| it.service != Service::S3 && it.status.is_none();
        run.stderr.wait_for(&format!("\n{step}: ")).await;
        until_asked(&sandbox, 1, in_flight).await;
        run.signal("INT").await;
        let finished = run.wait().await.expect_code(130);
        let last = finished.stderr.lines().last().unwrap();
        let said = format!("stopped by Ctrl-C at {step}. Start the same command again: run ");
        assert!(last.starts_with(&said), "{}", finished.stderr);
        assert!(last.ends_with(" goes on."), "{}", finished.stderr);
        assert_eq!(finished.stdout, "");
        assert_no_secrets(&sandbox, &finished.stderr);
        goes_on(&sandbox, pathling_import(&sandbox)).await;
    }
}

#[tokio::test]
async fn stopped_before_there_is_a_run_it_promises_none() {
    let sandbox = start(Sandbox::builder().fault(Fault::Hang(Place::KickOff))).await;
    let run = pathling_import(&sandbox).spawn();
    until_asked(&sandbox, 1, |it| it.path.ends_with("$export")).await;
    run.signal("INT").await;
    let finished = run.wait().await.expect_code(130);
    let last = finished.stderr.lines().last().unwrap();
    let said = "stopped by Ctrl-C at fhir-export. Start the same command again.";
    assert_eq!(last, said);
    sandbox.faults().clear();
    let finished = pathling_import(&sandbox).run().await.expect_code(0);
    assert!(!finished.stderr.contains("going on"), "{}", finished.stderr);
    assert_arrived(&sandbox);
}
