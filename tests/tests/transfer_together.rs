//! Two processes on one run at once: both end well, every file is there once, nobody sees it change, and nothing of either
//! is left over. One of them may die on the way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use pathling_import_core::config::Step;
use pathling_import_tests::check::{assert_arrived, assert_no_token_leaks};
use pathling_import_tests::moment::{until, until_asked};
use pathling_import_tests::staged::{
    Unchanging, assert_no_upload_open, assert_nothing_temporary, assert_staged, assert_staged_in,
    bytes_below, staging_folder,
};
use pathling_import_tests::traffic::{Traffic as _, assert_appeared_once};
use pathling_import_tests::{
    CommandRun, Function, LambdaError, Transferring, pathling_import, side_by_side,
};
use sandbox::{Builder, Dataset, Fault, Sandbox, Switch};
use serde_json::Value;
use tempfile::TempDir;

const SMALL_PARTS: (&str, &str) = ("TRANSFER_MEMORY", "20MiB");

/// What both have in hand at their beginning and end they fetch both.
const FEW_AT_ONCE: (&str, &str) = ("TRANSFER_CONCURRENCY", "6");

const LARGE: u64 = 24 << 20;

/// Large and small files of a source that is slow enough for both to be at the same ones.
fn slow() -> Builder {
    Sandbox::builder()
        .data(Dataset::empty())
        .synthetic_file("Observation", LARGE)
        .synthetic_files("Condition", 3, 6 << 20)
        .synthetic_files("Patient", 20, 40_000)
        .source_rate(24 << 20)
}

/// A transfer, and where it goes to.
struct Place {
    transfer: Transferring,
    folder: Option<TempDir>,
}

impl Place {
    async fn in_s3(builder: Builder) -> Self {
        Self {
            transfer: Transferring::of(builder, &[SMALL_PARTS, FEW_AT_ONCE]).await,
            folder: None,
        }
    }

    async fn in_a_folder(builder: Builder) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let staging = ("STAGING_URL", folder.path().to_str().unwrap());
        Self {
            transfer: Transferring::of(builder, &[SMALL_PARTS, FEW_AT_ONCE, staging]).await,
            folder: Some(folder),
        }
    }

    fn staging(&self) -> PathBuf {
        let folder = self.folder.as_ref().map(TempDir::path);
        folder.map_or_else(|| staging_folder(&self.transfer.sandbox), Path::to_path_buf)
    }

    /// Another process with the same settings.
    async fn function(&self) -> Function {
        Function::start(Step::TransferToS3.name(), &self.transfer.env()).await
    }

    /// Two functions with one event, at once, until both have an answer.
    async fn both(&self) {
        let event = self.transfer.event();
        let (mut one, mut other) = (self.function().await, self.function().await);
        let answers = tokio::join!(finish(&mut one, event), finish(&mut other, event));
        assert_eq!(
            answers.0.unwrap(),
            answers.1.unwrap(),
            "the same Parameters"
        );
    }

    /// Everything is staged, both were at the same files, and nothing is left over.
    async fn assert_whole(&self) {
        let sandbox = &self.transfer.sandbox;
        assert_staged_in(sandbox, &self.staging());
        assert_no_token_leaks(sandbox);
        match &self.folder {
            Some(folder) => assert_nothing_temporary(folder.path()),
            None => assert_no_upload_open(sandbox).await,
        }
        let asked = sandbox.times_asked();
        assert!(
            asked.values().any(|times| *times > 1),
            "they were at the same files: {asked:?}"
        );
    }
}

/// Calls the function until it has an answer.
async fn finish(function: &mut Function, event: &Value) -> Result<Value, LambdaError> {
    loop {
        match function.invoke(event.clone()).await {
            Err(error) if error.error_type == "JobInProgressError" => {}
            other => return other,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_functions_with_one_event_stage_every_file_in_s3_once() {
    let place = Place::in_s3(slow()).await;
    let staging = place.staging();
    Unchanging::default().during(&staging, place.both()).await;
    place.assert_whole().await;
    assert_appeared_once(&place.transfer.sandbox);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_s3_encrypts_with_keys_of_its_own_two_functions_end_well_too() {
    let place = Place::in_s3(slow().fault(Fault::S3Encrypts)).await;
    place.both().await;
    place.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_s3_knows_no_conditional_writes_two_functions_come_to_the_same_bytes() {
    let place = Place::in_s3(slow().fault(Fault::S3RefusesConditionalWrites)).await;
    place.both().await;
    place.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_functions_with_one_event_stage_every_file_in_a_folder_once() {
    let place = Place::in_a_folder(slow()).await;
    let staging = place.staging();
    Unchanging::default().during(&staging, place.both()).await;
    place.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_functions_whose_source_breaks_and_whose_store_fails_end_well_too() {
    let cuts = Switch {
        fault: Fault::FileCutAt(1_000_000),
        times: Some(20),
    };
    let place = Place::in_s3(slow().fault(cuts).fault(Fault::Files503(10))).await;
    let faults = place.transfer.sandbox.faults();
    faults.on(Fault::S3SlowDowns(2));
    faults.times(3, Fault::S3PartFails(2));
    let staging = place.staging();
    Unchanging::default().during(&staging, place.both()).await;
    place.assert_whole().await;
    assert_appeared_once(&place.transfer.sandbox);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_file_that_appears_meanwhile_is_not_yet_taken_for_another_process_and_two_are() {
    const SAID: &str = "another process is at work on the same run";
    for (appear, met) in [(1, false), (2, true)] {
        let folder = tempfile::tempdir().unwrap();
        let env = ("STAGING_URL", folder.path().to_str().unwrap());
        let data = Dataset::of(&[("Condition", 3), ("Observation", 3), ("Patient", 3)]);
        // Some files are asked for once more after all is done.
        let kept = ("DELETE_EXPORT_JOB", "false");
        let mut transfer = Transferring::of(Sandbox::builder().data(data), &[env, kept]).await;
        transfer.succeed().await;
        let run = std::fs::read_dir(folder.path().join("runs")).unwrap();
        let run = run.map(|entry| entry.unwrap().path()).next().unwrap();
        let away = folder.path().join("away");
        std::fs::create_dir(&away).unwrap();
        let names = ["Condition", "Observation", "_parts", "Patient"];
        for name in names {
            std::fs::rename(run.join(name), away.join(name)).unwrap();
        }
        let sandbox = std::sync::Arc::clone(&transfer.sandbox);
        sandbox
            .faults()
            .on(Fault::Delay(sandbox::Place::File, 2_000));
        let asked = sandbox.downloads().len();
        let appears = async {
            until_asked(&sandbox, asked + 3, |it| it.path.contains("/files/")).await;
            // The records of all, but only some of their objects.
            std::fs::rename(away.join("_parts"), run.join("_parts")).unwrap();
            for name in &names[..appear] {
                std::fs::rename(away.join(name), run.join(name)).unwrap();
            }
        };
        tokio::join!(transfer.succeed(), appears);
        assert_eq!(transfer.logs().contains(SAID), met, "{}", transfer.logs());
        assert_staged_in(&sandbox, folder.path());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_comes_last_ends_well_although_the_first_had_the_source_delete_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let env = ("STAGING_URL", folder.path().to_str().unwrap());
    let data = Dataset::of(&[("Condition", 3), ("Patient", 3)]);
    let mut transfer = Transferring::of(Sandbox::builder().data(data), &[env]).await;
    let first = transfer.succeed().await;
    let run = std::fs::read_dir(folder.path().join("runs")).unwrap();
    let run = run.map(|entry| entry.unwrap().path()).next().unwrap();
    let away = folder.path().join("away");
    std::fs::create_dir(&away).unwrap();
    // So the other sees the folder as it was before.
    let names = ["Condition", "Patient", "_parts"];
    for name in names {
        std::fs::rename(run.join(name), away.join(name)).unwrap();
    }
    let sandbox = std::sync::Arc::clone(&transfer.sandbox);
    let asked = sandbox.downloads().len();
    let appears = async {
        until_asked(&sandbox, asked + 1, |it| it.path.contains("/files/")).await;
        for name in names {
            std::fs::rename(away.join(name), run.join(name)).unwrap();
        }
    };
    let (last, ()) = tokio::join!(transfer.succeed(), appears);
    assert_eq!(last["parameters"], first["parameters"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_functions_that_meet_divide_the_work_between_them() {
    const FILES: usize = 300;
    let builder = Sandbox::builder()
        .data(Dataset::empty())
        .synthetic_files("Patient", FILES, 20_000)
        .latency(Duration::from_millis(20));
    for place in [
        Place::in_s3(builder.clone()).await,
        Place::in_a_folder(builder).await,
    ] {
        place.both().await;
        place.assert_whole().await;
        let asked: usize = place.transfer.sandbox.times_asked().values().sum();
        assert!(asked < FILES * 5 / 4, "{asked} requests for {FILES} files");
    }
}

/// One of the two is killed when so much is there; the other ends well, and nothing of the dead one is left over.
async fn one_dies(place: Place, bytes: u64) {
    let event = place.transfer.event();
    let staging = place.staging();
    let (mut living, mut dying) = (place.function().await, place.function().await);
    let below = match &place.folder {
        Some(folder) => folder.path().to_path_buf(),
        None => place.transfer.sandbox.bucket().parent().unwrap().to_owned(),
    };
    let begun = || until_asked(&place.transfer.sandbox, 1, |it| it.path.contains("/files/"));
    let dies = async {
        let there = async {
            begun().await;
            until("enough is there", || bytes_below(&below) >= bytes).await;
        };
        tokio::select! {
            answer = dying.invoke(event.clone()) => panic!("too soon: {answer:?}"),
            () = there => {}
        }
        dying.kill().await;
    };
    // The dying one comes first, so that the states are its own.
    let lives = async {
        begun().await;
        finish(&mut living, event).await
    };
    let work = Box::pin(async { tokio::join!(lives, dies).0 });
    let answer = Unchanging::default().during(&staging, work).await;
    assert!(answer.unwrap()["parameters"].is_object());
    place.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_dies_beside_another_leaves_nothing_behind() {
    let instants = [0, LARGE / 2, LARGE, 2 * LARGE];
    side_by_side(2, instants, |bytes| async move {
        Box::pin(one_dies(Place::in_s3(slow()).await, bytes)).await;
    })
    .await;
    side_by_side(2, instants, |bytes| async move {
        Box::pin(one_dies(Place::in_a_folder(slow()).await, bytes)).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_commands_on_one_run_both_end_well() {
    let data = Dataset::padded("Patient", 20, 1 << 20).and(Dataset::of(&[("Condition", 30)]));
    let builder = Sandbox::builder()
        .data(data)
        .resources_per_file(15)
        .source_rate(8 << 20);
    let sandbox = builder.start().await.unwrap();
    let command = || {
        let (name, value) = SMALL_PARTS;
        pathling_import(&sandbox).env(name, value)
    };
    let staging = staging_folder(&sandbox);
    let work = async { tokio::join!(command().run(), join_later(&sandbox, command())) };
    let (first, second) = Unchanging::default().during(&staging, work).await;
    let _ = first.expect_code(0);
    let second = second.expect_code(0);
    let said = "going on with the unfinished run ";
    assert!(second.stderr.starts_with(said), "{}", second.stderr);
    assert_eq!(sandbox.manifests(), 1, "one run");
    assert_staged(&sandbox);
    assert_appeared_once(&sandbox);
    assert_no_upload_open(&sandbox).await;
    assert_arrived(&sandbox);
}

/// Starts when the other is at its transfer, and so joins its run.
async fn join_later(sandbox: &Sandbox, command: CommandRun) -> pathling_import_tests::Finished {
    until_asked(sandbox, 1, |it| it.path.contains("/files/")).await;
    command.run().await
}
