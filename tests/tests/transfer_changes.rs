//! A file that is another one when it is asked for again: what is staged is the new one whole, never some of each.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use pathling_import_tests::check::assert_nothing_half_staged;
use pathling_import_tests::moment::until_asked;
use pathling_import_tests::staged::{only_run, staging_folder};
use pathling_import_tests::traffic::{Traffic as _, assert_appeared_once};
use pathling_import_tests::{Transferring, side_by_side};
use sandbox::{Builder, Dataset, Fault, Place, Sandbox, Switch};
use serde_json::Value;

const PART: u64 = 5 << 20;

const SMALL_PARTS: (&str, &str) = ("TRANSFER_MEMORY", "20MiB");

/// A file of twenty lines of a MiB each; changed, it has them from the last to the first.
fn one_file() -> Builder {
    Sandbox::builder()
        .data(Dataset::padded("Patient", 20, 1 << 20))
        .fault(Switch {
            fault: Fault::FilesChangeMidway,
            times: Some(1),
        })
}

/// The new version, and nothing of the old one.
fn assert_changed(sandbox: &Sandbox) {
    let mut lines = sandbox.resources("Patient");
    lines.reverse();
    let mut wanted = lines.join(&b'\n');
    wanted.push(b'\n');
    let staged = only_run(&staging_folder(sandbox));
    assert_eq!(staged.len(), 1);
    let found = std::fs::read(&staged[&0].path).unwrap();
    assert_eq!(found.len(), wanted.len());
    let differs = found
        .iter()
        .zip(&wanted)
        .position(|(one, other)| one != other);
    assert_eq!(
        differs, None,
        "the first byte that is not the new version's"
    );
    assert_appeared_once(sandbox);
    assert_nothing_half_staged(sandbox);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_changes_while_it_is_fetched_is_staged_as_it_is_now() {
    // By its ETag where there is a strong one, by its parts' sums where there is none.
    let marks = [None, Some(Fault::FilesWeakEtag), Some(Fault::FilesNoEtag)];
    let cuts = [1, PART - 1, 2 * PART, 2 * PART + 1_234_567, 4 * PART - 1];
    let cases = marks
        .into_iter()
        .flat_map(|mark| cuts.map(|at| (mark.clone(), at)));
    side_by_side(3, cases, |(mark, at)| async move {
        let mut builder = one_file().fault(Switch {
            fault: Fault::FileCutAt(at),
            times: Some(1),
        });
        if let Some(fault) = mark {
            builder = builder.fault(fault);
        }
        let mut transfer = Transferring::of(builder, &[SMALL_PARTS]).await;
        transfer.succeed().await;
        assert_changed(&transfer.sandbox);
        assert_eq!(transfer.sandbox.downloads().len(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_changes_between_two_processes_is_staged_as_it_is_now() {
    side_by_side(2, [None, Some(Fault::FilesNoEtag)], |mark| async move {
        let mut builder = one_file().fault(Switch {
            fault: Fault::FileCutAt(3 * PART + 1_234_567),
            times: Some(1),
        });
        if let Some(fault) = mark {
            builder = builder.fault(fault);
        }
        let mut transfer = Transferring::of(builder, &[SMALL_PARTS]).await;
        // The second attempt and all after it find nobody, until the process is another one.
        transfer.sandbox.faults().off(Fault::FilesChangeMidway);
        transfer.sandbox.faults().on(Fault::FileCutAt(0));
        transfer.fail("TransferError", &[]).await;
        transfer.sandbox.faults().off(Fault::FileCutAt(0));
        transfer.sandbox.faults().once(Fault::FilesChangeMidway);
        transfer.restart().await;
        transfer.succeed().await;
        assert_changed(&transfer.sandbox);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_was_staged_for_another_export_is_not_taken_for_one_of_this() {
    let refusals = [None, Some(Fault::S3RefusesList)];
    let sizes = [(1 << 10, false), (1 << 20, true)];
    let cases = refusals
        .into_iter()
        .flat_map(|refusal| sizes.map(|size| (refusal.clone(), size)));
    for (refusal, (length, parts)) in cases {
        let mut builder = Sandbox::builder().data(Dataset::padded("Patient", 20, length));
        if let Some(refusal) = refusal {
            builder = builder.fault(refusal);
        }
        let mut transfer = Transferring::of(builder, &[SMALL_PARTS]).await;
        transfer.succeed().await;
        assert_eq!(transfer.sandbox.parts_stored().is_empty(), !parts);
        // Somebody, or a lifecycle rule, removes the manifest alone, and the source counts its jobs anew.
        let staged = only_run(&staging_folder(&transfer.sandbox));
        let run = staged[&0].path.parent().unwrap().parent().unwrap();
        for (member, value) in [
            ("/output/0/count", Value::from(19)),
            ("/transactionTime", "2031-01-01T00:00:00Z".into()),
        ] {
            let _ = std::fs::remove_file(run.join("_manifest.json"));
            let event = transfer.event_mut();
            let there = event["result"].pointer_mut(member).unwrap();
            let before = std::mem::replace(there, value);
            let words = [
                "is staged already, with 20 resources",
                "of another export",
                "Remove the run's folder",
            ];
            transfer.fail("StagingDeniedError", &words).await;
            *transfer.event_mut()["result"].pointer_mut(member).unwrap() = before;
        }
    }
}

/// The folder of the only run below a folder.
fn run_below(folder: &Path) -> std::path::PathBuf {
    let mut runs = std::fs::read_dir(folder.join("runs")).unwrap();
    runs.next().unwrap().unwrap().path()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_another_export_that_appears_meanwhile_is_not_taken_for_one_of_this() {
    let folder = tempfile::tempdir().unwrap();
    let env = ("STAGING_URL", folder.path().to_str().unwrap());
    let builder = Sandbox::builder().data(Dataset::of(&[("Patient", 20)]));
    // The files are asked for once more after all is done.
    let kept = ("DELETE_EXPORT_JOB", "false");
    let mut transfer = Transferring::of(builder, &[env, kept]).await;
    transfer.succeed().await;
    let (run, away) = (run_below(folder.path()), folder.path().join("away"));
    std::fs::create_dir(&away).unwrap();
    std::fs::remove_file(run.join("_manifest.json")).unwrap();
    for name in ["Patient", "_parts"] {
        std::fs::rename(run.join(name), away.join(name)).unwrap();
    }
    let time = &mut transfer.event_mut()["result"]["transactionTime"];
    *time = "2031-01-01T00:00:00Z".into();
    let sandbox = std::sync::Arc::clone(&transfer.sandbox);
    sandbox.faults().on(Fault::Delay(Place::File, 2_000));
    let asked = sandbox.downloads().len();
    let returns = async {
        until_asked(&sandbox, asked + 1, |it| it.path.contains("/files/")).await;
        for name in ["Patient", "_parts"] {
            let _ = std::fs::remove_dir_all(run.join(name));
            std::fs::rename(away.join(name), run.join(name)).unwrap();
        }
    };
    let words = ["is staged already, with 20 resources of another export"];
    let fails = transfer.fail("StagingDeniedError", &words);
    tokio::join!(fails, returns);
}
