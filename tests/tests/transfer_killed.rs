//! `kill -9` of the real command at fifty random instants of a transfer: the next start completes it, byte for byte, fetches
//! nothing that was complete, and leaves nothing half-way behind.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use pathling_import_tests::moment::{until, until_asked};
use pathling_import_tests::staged::{
    assert_no_upload_open, assert_nothing_temporary, assert_staged_in, bytes_below, complete,
    staging_folder,
};
use pathling_import_tests::traffic::Traffic as _;
use pathling_import_tests::{CommandRun, Random, pathling_import};
use sandbox::{Answer, Dataset, Fault, Place, Sandbox};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

/// What all files come to.
const ALL: u64 = 200 * MIB;

/// How large a part is where `TRANSFER_MEMORY` is as small as it can be.
const PART: u64 = 5 * MIB;

/// A place that a transfer goes to, with its source: S3, or a folder.
struct Stage {
    sandbox: Sandbox,
    folder: Option<TempDir>,
}

impl Stage {
    /// 200 MiB in one large file, some that are still of several parts, and three dozen that are of one.
    async fn set(folder: Option<TempDir>) -> Self {
        let builder = Sandbox::builder()
            .data(Dataset::empty())
            .synthetic_file("Observation", 96 * MIB)
            .synthetic_files("Condition", 4, 17 * MIB)
            .synthetic_files("Patient", 36, MIB);
        Self {
            sandbox: builder.start().await.unwrap(),
            folder,
        }
    }

    async fn in_s3() -> Self {
        Self::set(None).await
    }

    async fn in_a_folder() -> Self {
        Self::set(Some(tempfile::tempdir().unwrap())).await
    }

    fn command(&self) -> CommandRun {
        let run = pathling_import(&self.sandbox).env("TRANSFER_MEMORY", "20MiB");
        match &self.folder {
            Some(folder) => run.env("STAGING_URL", folder.path().to_str().unwrap()),
            None => run,
        }
    }

    /// Where the staged files are.
    fn staging(&self) -> PathBuf {
        let folder = self.folder.as_ref().map(TempDir::path);
        folder.map_or_else(|| staging_folder(&self.sandbox), Path::to_path_buf)
    }

    /// How many bytes are at rest, in whole files and in parts of others.
    fn at_rest(&self) -> u64 {
        match &self.folder {
            Some(folder) => bytes_below(folder.path()),
            // S3 keeps parts beside the bucket.
            None => bytes_below(self.sandbox.bucket().parent().unwrap()),
        }
    }

    /// Kills a run in its transfer, as soon as so many bytes are at rest.
    async fn kill_at(&self, bytes: u64) {
        // Whoever has everything waits here to be killed.
        let waits = Fault::Hang(Place::ImportKickOff);
        self.sandbox.faults().on(waits.clone());
        let run = self.command().spawn();
        until_asked(&self.sandbox, 1, |it| {
            it.path.contains("/files/") || it.path.ends_with("$import")
        })
        .await;
        until(&format!("{bytes} bytes are at rest"), || {
            self.at_rest() >= bytes
        })
        .await;
        run.kill().await;
        self.sandbox.faults().off(waits);
    }

    /// The next run completes the same transfer, and fetches nothing that was complete.
    async fn complete(&self) {
        // What S3 is still about may become complete, too.
        let complete = complete(&self.sandbox, &self.staging());
        self.sandbox.clear_requests();
        // Staging is what counts here, and two hundred MiB take their time to import.
        let answer = Answer::new(400).outcome("invalid", "No imports today");
        let refused = Fault::answers(Place::ImportKickOff, answer);
        self.sandbox.faults().on(refused);
        let finished = self.command().run().await;
        finished.expect_error("ImportFailedError", &["No imports today"]);
        let said = "going on with the unfinished run ";
        assert!(finished.stderr.starts_with(said), "{}", finished.stderr);
        let again: BTreeSet<String> = self.sandbox.times_asked().into_keys().collect();
        let twice: Vec<_> = complete.intersection(&again).collect();
        assert!(twice.is_empty(), "fetched again: {twice:?}");
        assert_staged_in(&self.sandbox, &self.staging());
        match &self.folder {
            Some(folder) => assert_nothing_temporary(folder.path()),
            None => assert_no_upload_open(&self.sandbox).await,
        }
    }
}

/// When to kill: anywhere, and each fifth time before the first part of a file can be there.
fn instant(time: u64, random: &mut Random) -> u64 {
    match time % 5 {
        0 => random.below(PART),
        _ => random.below(ALL),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_of_forty_instants_the_next_start_completes_the_transfer_to_s3() {
    let mut random = Random::seeded();
    for time in 0..40 {
        let bytes = instant(time, &mut random);
        println!("S3: kill {time} at {bytes} bytes; {random:?}");
        let stage = Stage::in_s3().await;
        stage.kill_at(bytes).await;
        stage.complete().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_of_ten_instants_the_next_start_completes_the_transfer_to_a_folder() {
    let mut random = Random::seeded();
    for time in 0..10 {
        let bytes = instant(time, &mut random);
        println!("folder: kill {time} at {bytes} bytes; {random:?}");
        let stage = Stage::in_a_folder().await;
        stage.kill_at(bytes).await;
        stage.complete().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_again_and_again_it_goes_on_each_time() {
    let mut random = Random::seeded();
    let stage = Stage::in_s3().await;
    let mut bytes = 0;
    for time in 1..=4 {
        bytes += random.below(ALL / 4);
        println!("kill {time} at {bytes} bytes; {random:?}");
        stage.sandbox.clear_requests();
        stage.kill_at(bytes).await;
    }
    stage.complete().await;
}
