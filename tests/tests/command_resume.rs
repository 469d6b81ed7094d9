//! `kill -9` in every phase: the next run ends with everything imported exactly once, asks the source for no second export,
//! and fetches no complete file again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use pathling_import_tests::check::{assert_arrived, assert_folder_whole, assert_no_token_leaks};
use pathling_import_tests::moment::{until, until_asked};
use pathling_import_tests::{CommandRun, Finished, Records as _, pathling_import};
use sandbox::{Builder, Dataset, Fault, PathlingVersion, Place, Recorded, Sandbox, Service};

const BOTH: [PathlingVersion; 2] = [PathlingVersion::Seven, PathlingVersion::Two];

/// Twelve files.
fn hospital(version: PathlingVersion) -> Builder {
    Sandbox::builder()
        .pathling(version)
        .data(Dataset::of(&[("Condition", 24), ("Patient", 24)]))
        .resources_per_file(4)
}

/// With waits that no test outlives: whoever waits is killed, or wakes in another process.
fn patient(sandbox: &Sandbox) -> CommandRun {
    pathling_import(sandbox)
        .env("EXPORT_RETRY_WAIT", "600")
        .env("IMPORT_RETRY_WAIT", "600")
}

/// Everything is in the target after this run, exactly once, however it was before.
async fn ends_well(sandbox: &Sandbox) -> Finished {
    sandbox.faults().clear();
    let finished = pathling_import(sandbox).run().await.expect_code(0);
    assert_arrived(sandbox);
    assert_no_token_leaks(sandbox);
    assert_folder_whole(&sandbox.bucket());
    finished
}

/// The same, and it was the run of before that went on.
async fn goes_on(sandbox: &Sandbox) -> Finished {
    let finished = ends_well(sandbox).await;
    let said = "going on with the unfinished run ";
    assert!(finished.stderr.starts_with(said), "{}", finished.stderr);
    assert_eq!(sandbox.export_kick_offs().len(), 1, "kick-offs of exports");
    finished
}

fn is_poll_of_export(request: &Recorded) -> bool {
    request.service == Service::Source
        && request.path.contains("/jobs/")
        && !request.path.contains("/files/")
}

fn is_poll_of_import(request: &Recorded) -> bool {
    request.service == Service::Target && request.path.ends_with("$job")
}

/// How often each file was asked for.
fn file_requests(sandbox: &Sandbox) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    for request in sandbox.file_requests() {
        *times.entry(request.path).or_default() += 1;
    }
    times
}

/// How many files are staged whole.
fn staged(sandbox: &Sandbox) -> usize {
    let objects = sandbox.s3_objects().into_iter();
    objects
        .filter(|(key, _)| {
            key.contains("/runs/") && key.ends_with(".ndjson") && !key.contains("/_")
        })
        .count()
}

#[tokio::test]
async fn killed_while_it_asks_for_the_export() {
    let fault = Fault::Hang(Place::KickOff);
    let builder = hospital(PathlingVersion::Seven).fault(fault);
    let sandbox = builder.start().await.unwrap();
    let run = patient(&sandbox).spawn();
    until_asked(&sandbox, 1, |it| it.path.ends_with("$export")).await;
    run.kill().await;
    let finished = ends_well(&sandbox).await;
    assert!(!finished.stderr.contains("going on"), "{}", finished.stderr);
    assert_eq!(sandbox.export_kick_offs().len(), 2, "the first was cut");
}

#[tokio::test]
async fn killed_right_after_the_export_was_accepted() {
    // Whether or not it still wrote down that it was accepted, the next run ends well.
    let sandbox = hospital(PathlingVersion::Two).start().await.unwrap();
    let run = patient(&sandbox).spawn();
    until_asked(&sandbox, 1, |it| {
        it.path.ends_with("$export") && it.status == Some(202)
    })
    .await;
    run.kill().await;
    ends_well(&sandbox).await;
}

#[tokio::test]
async fn killed_while_it_waits_for_the_export() {
    for version in BOTH {
        let sandbox = hospital(version).polls(2).start().await.unwrap();
        let run = patient(&sandbox).spawn();
        until_asked(&sandbox, 1, |it| {
            is_poll_of_export(it) && it.status == Some(202)
        })
        .await;
        run.kill().await;
        goes_on(&sandbox).await;
    }
}

#[tokio::test]
async fn killed_while_a_poll_of_the_export_is_not_answered() {
    let sandbox = hospital(PathlingVersion::Seven)
        .fault(Fault::Hang(Place::Status))
        .start()
        .await
        .unwrap();
    let run = patient(&sandbox).spawn();
    until_asked(&sandbox, 1, is_poll_of_export).await;
    run.kill().await;
    goes_on(&sandbox).await;
}

#[tokio::test]
async fn killed_in_mid_transfer_it_fetches_only_what_is_not_complete() {
    // So many of the twelve files hang, before their first byte or in their middle, and the others are complete.
    for fault in [Fault::Hang(Place::File), Fault::FileHangsMidway] {
        for hanging in [1, 3, 4] {
            let sandbox = hospital(PathlingVersion::Seven).start().await.unwrap();
            sandbox.faults().times(hanging, fault.clone());
            let run = patient(&sandbox).env("TRANSFER_CONCURRENCY", "4").spawn();
            // With four that hang, none of the others has its turn.
            let complete = if hanging == 4 { 0 } else { 12 - hanging };
            until("the other files are staged", || {
                sandbox.file_requests().len() >= complete + hanging && staged(&sandbox) == complete
            })
            .await;
            run.kill().await;
            goes_on(&sandbox).await;
            let times = file_requests(&sandbox);
            assert_eq!(times.len(), 12);
            let twice = times.values().filter(|times| **times == 2).count();
            assert_eq!(twice, hanging, "{times:?}");
            assert!(times.values().all(|times| *times <= 2), "{times:?}");
        }
    }
}

#[tokio::test]
async fn killed_in_the_middle_of_a_file_that_goes_up_in_parts() {
    let sandbox = Sandbox::builder()
        .data(Dataset::padded("Patient", 24, 1 << 20))
        .fault(Fault::FileHangsMidway)
        .start()
        .await
        .unwrap();
    let run = patient(&sandbox).spawn();
    until_asked(&sandbox, 1, |it| {
        it.query.contains("partNumber=1") && it.status == Some(200)
    })
    .await;
    run.kill().await;
    assert_eq!(staged(&sandbox), 0, "nobody sees half a file");
    goes_on(&sandbox).await;
}

#[tokio::test]
async fn killed_in_mid_transfer_to_a_folder() {
    let sandbox = hospital(PathlingVersion::Two).start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}", folder.path().display());
    sandbox.faults().times(2, Fault::FileHangsMidway);
    let run = patient(&sandbox).env("STAGING_URL", &url).spawn();
    until("the ten that do not hang are staged", || {
        staged_below(folder.path()) == 10
    })
    .await;
    run.kill().await;
    sandbox.faults().clear();
    let finished = pathling_import(&sandbox).env("STAGING_URL", &url).run();
    let _ = finished.await.expect_code(0);
    assert_arrived(&sandbox);
    assert_eq!(sandbox.export_kick_offs().len(), 1);
    let times = file_requests(&sandbox);
    assert_eq!(times.len(), 12);
    let twice = times.values().filter(|times| **times > 1).count();
    assert_eq!(twice, 2, "{times:?}");
}

/// How many files have their name below a folder.
fn staged_below(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    let count = |entry: std::fs::DirEntry| {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if path.is_dir() {
            staged_below(&path)
        } else {
            usize::from(name.ends_with(".ndjson") && !name.starts_with(['.', '_']))
        }
    };
    entries.filter_map(Result::ok).map(count).sum()
}

#[tokio::test]
async fn killed_while_it_asks_for_the_import() {
    for version in BOTH {
        let sandbox = hospital(version).start().await.unwrap();
        sandbox.faults().on(Fault::Hang(Place::ImportKickOff));
        let run = patient(&sandbox).spawn();
        until_asked(&sandbox, 1, |it| it.path.ends_with("$import")).await;
        run.kill().await;
        goes_on(&sandbox).await;
        assert_eq!(file_requests(&sandbox).values().max(), Some(&1));
        let asked = sandbox.import_kick_offs();
        let nonces: Vec<_> = asked.iter().map(|it| it.parameter("_nonce")).collect();
        assert_eq!(nonces.len(), 2);
        assert_eq!(nonces[0], nonces[1], "the same attempt");
    }
}

#[tokio::test]
async fn killed_right_after_the_import_was_accepted() {
    for version in BOTH {
        let sandbox = hospital(version).start().await.unwrap();
        let run = patient(&sandbox).spawn();
        until_asked(&sandbox, 1, |it| {
            it.path.ends_with("$import") && it.status == Some(202)
        })
        .await;
        run.kill().await;
        ends_well(&sandbox).await;
        assert_eq!(file_requests(&sandbox).values().max(), Some(&1));
    }
}

#[tokio::test]
async fn killed_while_the_import_runs_it_joins_the_same_import() {
    for version in BOTH {
        let builder = hospital(version).import_delay(Duration::from_millis(700));
        let sandbox = builder.start().await.unwrap();
        let run = patient(&sandbox).spawn();
        until_asked(&sandbox, 1, |it| {
            is_poll_of_import(it) && it.status == Some(202)
        })
        .await;
        run.kill().await;
        goes_on(&sandbox).await;
        assert_eq!(sandbox.nonces().len(), 1, "one import");
        assert_eq!(file_requests(&sandbox).values().max(), Some(&1));
    }
}

#[tokio::test]
async fn killed_after_the_import_was_done_and_before_it_heard_of_it() {
    for version in BOTH {
        let sandbox = hospital(version).import_polls(1).start().await.unwrap();
        let run = patient(&sandbox).spawn();
        until_asked(&sandbox, 1, is_poll_of_import).await;
        until("the rows are there", || sandbox.rows("Patient").len() == 24).await;
        run.kill().await;
        goes_on(&sandbox).await;
        assert_eq!(sandbox.nonces().len(), 1, "one import");
    }
}

#[tokio::test]
async fn killed_right_after_it_heard_that_the_import_is_done() {
    for version in BOTH {
        let sandbox = hospital(version).start().await.unwrap();
        let run = patient(&sandbox).spawn();
        until_asked(&sandbox, 1, |it| {
            is_poll_of_import(it) && it.status == Some(200)
        })
        .await;
        run.kill().await;
        ends_well(&sandbox).await;
    }
}

#[tokio::test]
async fn killed_again_and_again_it_still_ends_well() {
    let sandbox = hospital(PathlingVersion::Two)
        .polls(2)
        .import_polls(2)
        .start()
        .await
        .unwrap();
    for requests in [3, 6, 9, 14, 20, 26, 32, 40, 50] {
        sandbox.clear_requests();
        let mut run = pathling_import(&sandbox).spawn();
        // Each is killed a little later, wherever it is then, unless it ends first.
        until("it is time", || {
            !run.runs() || sandbox.requests().len() >= requests
        })
        .await;
        if !run.runs() {
            break;
        }
        run.kill().await;
    }
    ends_well(&sandbox).await;
}
