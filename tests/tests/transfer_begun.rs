//! A process that dies when it has just begun a file, and nothing of it is stored: what it began is not nobody's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use pathling_import_tests::moment::until;
use pathling_import_tests::staged::{
    assert_no_upload_open, assert_nothing_temporary, assert_staged, assert_staged_in,
};
use pathling_import_tests::traffic::{Traffic as _, assert_appeared_once, assert_parts_once};
use pathling_import_tests::{CommandRun, pathling_import};
use sandbox::{Answer, Dataset, Fault, Place, Sandbox};

const PART: u64 = 5 << 20;

const PARTS: usize = 4;

/// A file of some parts, and no import.
async fn one_file() -> Sandbox {
    let answer = Answer::new(400).outcome("invalid", "No imports today");
    Sandbox::builder()
        .data(Dataset::empty())
        .synthetic_file("Observation", PARTS as u64 * PART)
        .fault(Fault::answers(Place::ImportKickOff, answer))
        .start()
        .await
        .unwrap()
}

fn command(sandbox: &Sandbox) -> CommandRun {
    pathling_import(sandbox).env("TRANSFER_MEMORY", "20MiB")
}

/// How many uploads were begun.
fn begun(sandbox: &Sandbox) -> usize {
    sandbox.to_s3("POST", "uploads").len()
}

/// Kills a run whose upload is begun, and whose parts S3 does not take.
async fn killed_before_the_first_part(sandbox: &Sandbox) {
    let fails = Fault::S3PartFails(1);
    sandbox.faults().on(fails.clone());
    let run = command(sandbox).spawn();
    // More than are in flight at once: one has been tried again, so that its first attempt is over.
    until("a part was tried again", || {
        let requests = sandbox.part_requests();
        let first = requests.iter().filter(|it| {
            let number = it.parameter("partNumber");
            number.as_deref() == Some("1") && it.status == Some(500)
        });
        // The client of S3 tries as often by itself.
        first.count() > 3
    })
    .await;
    run.kill().await;
    sandbox.faults().off(fails);
    assert_eq!(sandbox.parts_stored().len(), 0);
    assert_eq!(begun(sandbox), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_was_begun_and_has_no_part_is_gone_on_with() {
    let sandbox = one_file().await;
    killed_before_the_first_part(&sandbox).await;
    let finished = command(&sandbox).run().await;
    finished.expect_error("ImportFailedError", &[]);
    assert_eq!(begun(&sandbox), 1, "the same upload");
    assert_staged(&sandbox);
    assert_appeared_once(&sandbox);
    assert_parts_once(&sandbox, PARTS);
    assert_no_upload_open(&sandbox).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_was_begun_with_another_checksum_does_not_stay_open() {
    let sandbox = one_file().await;
    killed_before_the_first_part(&sandbox).await;
    // Nobody can look for uploads that no state names; this one's state names it.
    sandbox.faults().on(Fault::S3RefusesList);
    let run = command(&sandbox).env("STAGING_CHECKSUM", "crc32");
    run.run().await.expect_error("ImportFailedError", &[]);
    assert_eq!(begun(&sandbox), 2);
    assert_staged(&sandbox);
    assert_appeared_once(&sandbox);
    assert_no_upload_open(&sandbox).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_temporary_file_that_was_begun_in_a_folder_does_not_stay() {
    for _ in 0..8 {
        let sandbox = one_file().await;
        let folder = tempfile::tempdir().unwrap();
        let command = || command(&sandbox).env("STAGING_URL", folder.path().to_str().unwrap());
        let run = command().spawn();
        until("a temporary file of resources is there", || {
            has_temporary(folder.path())
        })
        .await;
        run.kill().await;
        let finished = command().run().await;
        finished.expect_error("ImportFailedError", &[]);
        assert_staged_in(&sandbox, folder.path());
        assert_nothing_temporary(folder.path());
    }
}

/// Whether a file of observations is on its way.
fn has_temporary(staging: &Path) -> bool {
    let runs = std::fs::read_dir(staging.join("runs"));
    let mut names = runs.into_iter().flatten().flatten().flat_map(|run| {
        let folder = std::fs::read_dir(run.path().join("Observation"));
        folder
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name())
    });
    names.any(|name| name.as_encoded_bytes().ends_with(b".tmp"))
}
