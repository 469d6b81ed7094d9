//! A process that dies in the middle of a file: the next one finds its upload and goes on in it, as far as what is there is
//! provably right.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pathling_import_tests::check::assert_nothing_half_staged;
use pathling_import_tests::moment::until;
use pathling_import_tests::staged::{assert_nothing_temporary, assert_staged, assert_staged_in};
use pathling_import_tests::traffic::{Traffic as _, assert_appeared_once};
use pathling_import_tests::{CommandRun, Transferring, pathling_import, side_by_side};
use sandbox::{Answer, Builder, Dataset, Fault, Place, S3Policy, Sandbox, Switch};

const PART: u64 = 5 << 20;

const LENGTH: u64 = 64 << 20;

const SMALL_PARTS: (&str, &str) = ("TRANSFER_MEMORY", "20MiB");

/// A large file whose first download stops half-way, and an import that is refused: the transfer is all that counts.
fn one_file() -> Builder {
    Sandbox::builder()
        .data(Dataset::empty())
        .synthetic_file("Observation", LENGTH)
        .fault(Switch {
            fault: Fault::FileHangsMidway,
            times: Some(1),
        })
        .fault(Fault::answers(
            Place::ImportKickOff,
            Answer::new(400).outcome("invalid", "No imports today"),
        ))
}

fn command(sandbox: &Sandbox) -> CommandRun {
    let (name, value) = SMALL_PARTS;
    pathling_import(sandbox).env(name, value)
}

/// Runs the command until all that it has of the file is stored, and kills it there.
async fn killed_half_way(sandbox: &Sandbox) {
    let run = command(sandbox).spawn();
    let parts = usize::try_from(LENGTH / 2 / PART).unwrap();
    until("the parts of half a file are stored", || {
        sandbox.parts_stored().len() == parts
    })
    .await;
    // Its state is written beside them.
    until("the state of the file is written down", || {
        let requests = sandbox.to_s3("PUT", "");
        let states = requests.iter().filter(|it| it.path.contains("/_parts/"));
        states.filter(|it| it.status == Some(200)).count() > 0
    })
    .await;
    run.kill().await;
}

/// The next start stages everything; that there is no import is not the transfer's business.
async fn goes_on(sandbox: &Sandbox) {
    let finished = command(sandbox).run().await;
    finished.expect_error("ImportFailedError", &["No imports today"]);
    let said = "going on with the unfinished run ";
    assert!(finished.stderr.starts_with(said), "{}", finished.stderr);
    assert_staged(sandbox);
    assert_appeared_once(sandbox);
    assert_nothing_half_staged(sandbox);
    let stored = sandbox.parts_stored();
    assert!(stored.values().all(|times| *times == 1), "{stored:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_process_goes_on_in_the_middle_of_the_file_and_sends_no_part_twice() {
    let sandbox = one_file().start().await.unwrap();
    killed_half_way(&sandbox).await;
    sandbox.clear_requests();
    let finished = command(&sandbox).run().await;
    finished.expect_error("ImportFailedError", &[]);
    assert_staged(&sandbox);
    assert_nothing_half_staged(&sandbox);
    let downloads = sandbox.downloads();
    assert_eq!(downloads.len(), 1);
    let range = downloads[0].headers.get("range");
    let range = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
    let from: u64 = range.expect("only the rest is asked for").parse().unwrap();
    assert!((3 * PART..=LENGTH / 2).contains(&from), "from byte {from}");
    let parts = u64::try_from(sandbox.parts_stored().len()).unwrap();
    assert_eq!(parts, LENGTH.div_ceil(PART) - LENGTH / 2 / PART);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nothing_proves_that_the_bytes_are_the_same_the_file_comes_again_and_only_new_parts_are_sent()
 {
    let cannot = [
        Fault::FilesWeakEtag,
        Fault::FilesNoEtag,
        Fault::FilesIgnoreRange,
    ];
    side_by_side(2, cannot, |fault| async move {
        let sandbox = one_file().fault(fault).start().await.unwrap();
        killed_half_way(&sandbox).await;
        goes_on(&sandbox).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_was_lost_or_may_not_be_looked_at_is_no_reason_to_stop() {
    side_by_side(
        2,
        [Fault::S3RefusesListParts, Fault::S3LosesUpload],
        |fault| async move {
            let sandbox = one_file().start().await.unwrap();
            killed_half_way(&sandbox).await;
            match fault {
                Fault::S3LosesUpload => sandbox.faults().once(fault),
                fault => sandbox.faults().on(fault),
            }
            let finished = command(&sandbox).run().await;
            finished.expect_error("ImportFailedError", &[]);
            assert_staged(&sandbox);
            assert_appeared_once(&sandbox);
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_leave_to_get_and_put_alone_a_large_file_survives_the_death_of_its_process() {
    let builder = one_file().s3_policy(S3Policy::get_and_put());
    let sandbox = builder.start().await.unwrap();
    killed_half_way(&sandbox).await;
    let finished = command(&sandbox).run().await;
    finished.expect_error("ImportFailedError", &[]);
    assert_staged(&sandbox);
    assert_appeared_once(&sandbox);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_memory_than_the_dead_process_had_does_not_mix_up_parts() {
    side_by_side(2, ["32MiB", "64MiB"], |memory| async move {
        let sandbox = one_file().start().await.unwrap();
        killed_half_way(&sandbox).await;
        let run = command(&sandbox).env("TRANSFER_MEMORY", memory);
        run.run().await.expect_error("ImportFailedError", &[]);
        assert_staged(&sandbox);
        assert_appeared_once(&sandbox);
        assert_nothing_half_staged(&sandbox);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_goes_on_in_the_middle_of_the_file_too() {
    let sandbox = one_file().start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let command = || command(&sandbox).env("STAGING_URL", folder.path().to_str().unwrap());
    let run = command().spawn();
    // What is on its way lies under a hidden name, and its state says which parts are there for certain.
    until(
        "half of the file is on disk, and parts are written down",
        || hidden_bytes(folder.path()) >= LENGTH / 2 - PART && can_be_gone_on_with(folder.path()),
    )
    .await;
    run.kill().await;
    sandbox.clear_requests();
    let finished = command().run().await;
    finished.expect_error("ImportFailedError", &[]);
    assert_staged_in(&sandbox, folder.path());
    assert_nothing_temporary(folder.path());
    let downloads = sandbox.downloads();
    assert_eq!(downloads.len(), 1);
    assert_eq!(downloads[0].status, Some(206), "only the rest came");
}

/// Whether the state of the one file that is under way says from where.
fn can_be_gone_on_with(folder: &std::path::Path) -> bool {
    let runs = std::fs::read_dir(folder.join("runs")).into_iter().flatten();
    let mut states = runs.flatten().map(|run| {
        let state = std::fs::read(run.path().join("_parts/00000.json")).unwrap_or_default();
        serde_json::from_slice(&state).unwrap_or(serde_json::Value::Null)
    });
    states.any(|state| state["position"]["parts"].as_u64() > Some(0))
}

/// The bytes of all hidden files below a folder.
fn hidden_bytes(folder: &std::path::Path) -> u64 {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        if metadata.is_dir() {
            bytes += hidden_bytes(&entry.path());
        } else if entry.file_name().to_string_lossy().starts_with('.') {
            bytes += metadata.len();
        }
    }
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_that_this_version_cannot_read_is_no_state() {
    let states = ["{}", "nonsense", r#"{"state": "of the art"}"#];
    side_by_side(2, states, |state| async move {
        let sandbox = one_file().start().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let command = || command(&sandbox).env("STAGING_URL", folder.path().to_str().unwrap());
        let run = command().spawn();
        until("the state of the file is written down", || {
            state_of(folder.path()).is_some()
        })
        .await;
        run.kill().await;
        std::fs::write(state_of(folder.path()).unwrap(), state).unwrap();
        let finished = command().run().await;
        finished.expect_error("ImportFailedError", &[]);
        assert_staged_in(&sandbox, folder.path());
    })
    .await;
}

/// The state of the first file in a folder, where there is one.
fn state_of(staging: &std::path::Path) -> Option<std::path::PathBuf> {
    let run = std::fs::read_dir(staging.join("runs")).ok()?.next()?;
    let state = run.ok()?.path().join("_parts/00000.json");
    state.is_file().then_some(state)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warm_function_and_a_new_one_go_on_alike() {
    side_by_side(2, [true, false], |restarts| async move {
        let builder = Sandbox::builder()
            .data(Dataset::empty())
            .synthetic_file("Observation", LENGTH);
        let mut transfer = Transferring::of(builder, &[SMALL_PARTS]).await;
        transfer.sandbox.faults().once(Fault::FileCutAt(LENGTH / 2));
        transfer.sandbox.faults().on(Fault::FileCutAt(0));
        transfer.fail("TransferError", &["6 attempts"]).await;
        transfer.sandbox.faults().clear();
        if restarts {
            transfer.restart().await;
        }
        transfer.succeed().await;
        assert_staged(&transfer.sandbox);
        let stored = transfer.sandbox.parts_stored();
        assert!(stored.values().all(|times| *times == 1), "{stored:?}");
        assert!(transfer.sandbox.sent() < LENGTH + PART);
    })
    .await;
}
