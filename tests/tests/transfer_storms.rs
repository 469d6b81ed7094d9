//! Servers that have too much to do: they are left alone for as long as they ask, and everything is staged in the end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use pathling_import_core::config::Step;
use pathling_import_tests::check::{assert_arrived, assert_nothing_half_staged};
use pathling_import_tests::moment::until_asked;
use pathling_import_tests::staged::{assert_staged, assert_staged_in, only_run, staging_folder};
use pathling_import_tests::traffic::{Traffic as _, assert_appeared_once};
use pathling_import_tests::{Story, Transferring, side_by_side};
use sandbox::{Answer, Builder, Dataset, Fault, Place, Recorded, Sandbox};
use serde_json::{Value, json};

const SECOND: Duration = Duration::from_secs(1);

const SMALL_PARTS: (&str, &str) = ("TRANSFER_MEMORY", "20MiB");

/// How many files there are.
const FILES: usize = 24;

fn files() -> Builder {
    let data = Dataset::of(&[("Condition", 36), ("Patient", 36)]);
    Sandbox::builder().data(data).resources_per_file(3)
}

fn assert_whole(sandbox: &Sandbox) {
    assert_staged(sandbox);
    assert_appeared_once(sandbox);
    assert_nothing_half_staged(sandbox);
}

/// Switches a fault on when the first file is asked for: what is written from then on are files, up to the run's record at
/// the end.
async fn at_the_first_file(sandbox: &Sandbox, fault: Fault) {
    let is_download = |request: &Recorded| request.path.contains("/files/");
    until_asked(sandbox, 1, is_download).await;
    sandbox.faults().on(fault);
}

/// The requests that were made for each path, in the order of their arrival.
fn by_path(requests: Vec<Recorded>) -> BTreeMap<String, Vec<Recorded>> {
    let mut paths: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for request in requests {
        paths.entry(request.path.clone()).or_default().push(request);
    }
    paths
}

/// Nobody whose request was answered so came again before this time was over.
fn assert_left_alone(requests: Vec<Recorded>, status: u16, wait: Duration) {
    let mut refused = 0;
    for (path, requests) in by_path(requests) {
        for pair in requests
            .windows(2)
            .filter(|it| it[0].status == Some(status))
        {
            refused += 1;
            let waited = pair[1].at.saturating_sub(pair[0].at);
            assert!(waited >= wait, "{path} came again after {waited:?}");
        }
    }
    assert!(refused > 0, "nothing was answered {status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_asks_for_patience_gets_it_and_every_file_is_staged_once() {
    const TIMES: usize = 20;
    let storms = [
        (Fault::Files429(TIMES), 429),
        // A date has whole seconds: two from then is at least one.
        (Fault::Files429Date(TIMES), 429),
        (Fault::Files503(TIMES), 503),
    ];
    side_by_side(3, storms, |(storm, status)| async move {
        let mut transfer = Transferring::of(files().fault(storm), &[]).await;
        transfer.succeed().await;
        let sandbox = &transfer.sandbox;
        assert_eq!(sandbox.faults().active(), [], "the storm is not over");
        assert_whole(sandbox);
        let downloads = sandbox.downloads();
        assert_eq!(downloads.len(), FILES + TIMES, "no more than it takes");
        assert_left_alone(downloads, status, SECOND);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_source_wants_to_be_left_alone_no_other_file_is_asked_for_either() {
    let builder = files();
    let env = [("TRANSFER_CONCURRENCY", "1")];
    let mut transfer = Transferring::of(builder, &env).await;
    let wait = Answer::new(503).retry_after(2);
    transfer
        .sandbox
        .faults()
        .times(2, Fault::answers(Place::File, wait));
    transfer.succeed().await;
    assert_whole(&transfer.sandbox);
    let downloads = transfer.sandbox.downloads();
    assert_eq!(downloads.len(), FILES + 2);
    for pair in downloads.windows(2).filter(|it| it[0].status == Some(503)) {
        let waited = pair[1].at.saturating_sub(pair[0].at);
        assert!(waited >= 2 * SECOND, "asked again after {waited:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_after_beyond_the_longest_that_is_obeyed_counts_as_that() {
    let env = [("RETRY_AFTER_MAX", "1")];
    let mut transfer = Transferring::of(files(), &env).await;
    let wait = Answer::new(429).retry_after(100_000);
    let storm = Fault::answers(Place::File, wait);
    transfer.sandbox.faults().times(3, storm);
    transfer.succeed().await;
    assert_whole(&transfer.sandbox);
    assert_left_alone(transfer.sandbox.downloads(), 429, SECOND);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_bears_few_downloads_at_once_is_sent_few() {
    const MANY: usize = 40;
    // A file takes a twentieth of a second, so that they would overlap.
    let builder = Sandbox::builder()
        .data(Dataset::empty())
        .synthetic_files("Observation", MANY, 200_000)
        .source_rate(4_000_000)
        .fault(Fault::FilesAtMost(2));
    let mut transfer = Transferring::of(builder, &[]).await;
    transfer.succeed().await;
    assert_whole(&transfer.sandbox);
    let downloads = transfer.sandbox.downloads();
    let served = downloads.iter().filter(|it| it.status == Some(200)).count();
    assert_eq!(served, MANY, "each was sent once");
    assert!(downloads.len() <= 2 * MANY, "{} requests", downloads.len());
    assert_left_alone(downloads, 429, SECOND);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_slows_down_has_every_file_and_part_in_the_end() {
    let builder = files()
        .synthetic_file("Observation", 18 << 20)
        .fault(Fault::Delay(Place::File, 300));
    let mut transfer = Transferring::of(builder, &[SMALL_PARTS]).await;
    let sandbox = &transfer.sandbox.clone();
    let storm = at_the_first_file(sandbox, Fault::S3SlowDowns(40));
    tokio::join!(transfer.succeed(), storm);
    let storms = sandbox.faults();
    storms.off(Fault::Delay(Place::File, 300));
    assert_eq!(storms.active(), [], "the storm is not over");
    assert_whole(sandbox);
    let asked = sandbox.times_asked();
    assert!(asked.values().all(|times| *times == 1), "{asked:?}");
    let stored = sandbox.parts_stored();
    assert!(stored.values().all(|times| *times == 1), "{stored:?}");
    let refused = sandbox.to_s3("PUT", "").into_iter();
    let refused = refused.filter(|it| it.status == Some(503)).count();
    assert!(refused > 0, "no write was refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_refusals_in_a_row_of_a_store_that_slows_down_end_no_step() {
    // What a step writes first is a small object of our own, and of an export of one small file hardly anything else.
    let data = Dataset::of(&[("Patient", 3)]);
    let sandbox = Sandbox::builder().data(data).start().await.unwrap();
    let mut story = Story::of(&sandbox);
    let mut event = json!({});
    for step in Step::FIVE {
        sandbox.faults().on(Fault::S3SlowDowns(10));
        event = match story.finish(step, &event).await {
            Ok(output) => output,
            Err(failed) => panic!("{failed:?}\n{}", story.logs()),
        };
        sandbox.faults().clear();
    }
    assert_arrived(&sandbox);
    let puts = sandbox.to_s3("PUT", "");
    let refused = |part: &str| {
        let of_part = puts.iter().filter(|it| it.path.contains(part));
        of_part.filter(|it| it.status == Some(503)).count()
    };
    assert!(refused("/sync/") >= 10, "{puts:?}");
    assert!(refused("/_run.json") >= 10, "{puts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_never_has_time_makes_a_transfer_that_goes_on() {
    let storms = [Answer::new(429).retry_after(1), Answer::new(503)];
    side_by_side(2, storms, |storm| async move {
        let mut transfer = Transferring::of(files(), &[]).await;
        let sandbox = transfer.sandbox.clone();
        sandbox.faults().on(Fault::answers(Place::File, storm));
        for _ in 0..2 {
            let error = transfer.call(4_000).await.unwrap_err();
            let message = &error.error_message;
            assert_eq!(error.error_type, "JobInProgressError", "{message}");
            assert!(message.contains("0 of 24 files"), "{message}");
        }
        // Each file came a few times in that time, with waits that become longer.
        let asked = sandbox.downloads().len();
        assert!(asked <= 20 * FILES, "{asked} requests");
        sandbox.faults().clear();
        transfer.succeed().await;
        assert_whole(&sandbox);
    })
    .await;
}

/// Has the run's record say that the transfer last came further some years ago.
fn long_ago(staging: &Path) {
    let runs = std::fs::read_dir(staging.join("runs")).unwrap();
    let record = runs.map(|run| run.unwrap().path().join("_run.json"));
    for path in record.filter(|path| path.exists()) {
        let text = std::fs::read_to_string(&path).unwrap();
        let mut record: Value = serde_json::from_str(&text).unwrap();
        let moved = &mut record["movedAt"];
        assert!(moved.is_string(), "{text}");
        *moved = "2024-01-31T00:00:00.000000Z".into();
        std::fs::write(&path, record.to_string()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_that_has_stood_still_for_hours_fails_with_the_name_of_the_server_that_asked_for_it()
 {
    let storm = Answer::new(429).retry_after(3600);
    let folder = tempfile::tempdir().unwrap();
    let staging = ("STAGING_URL", folder.path().to_str().unwrap());
    let mut transfer = Transferring::of(files(), &[staging]).await;
    let sandbox = transfer.sandbox.clone();
    sandbox.faults().on(Fault::answers(Place::File, storm));
    long_ago(folder.path());
    let error = transfer.call(2_000).await.unwrap_err();
    assert_eq!(error.error_type, "SourceUnavailableError", "{error:?}");
    for word in ["429", "0 of 24 files", "/files/"] {
        assert!(error.error_message.contains(word), "{error:?}");
    }
    // What comes further is no reason to fail, and from then on the time counts anew.
    sandbox.faults().clear();
    sandbox.faults().on(Fault::FilesAtMost(1));
    sandbox.faults().on(Fault::Delay(Place::File, 300));
    let error = transfer.call(2_000).await.unwrap_err();
    assert_eq!(error.error_type, "JobInProgressError", "{error:?}");
    sandbox.faults().clear();
    let storm = Answer::new(429).retry_after(3600);
    sandbox.faults().on(Fault::answers(Place::File, storm));
    let error = transfer.call(2_000).await.unwrap_err();
    assert_eq!(error.error_type, "JobInProgressError", "{error:?}");
    sandbox.faults().clear();
    transfer.succeed().await;
    assert_staged_in(&sandbox, folder.path());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_never_has_time_for_files_makes_a_transfer_that_goes_on_and_for_state_an_error()
 {
    let builder = files().fault(Fault::Delay(Place::File, 300));
    let mut transfer = Transferring::of(builder, &[]).await;
    let sandbox = transfer.sandbox.clone();
    let storm = at_the_first_file(&sandbox, Fault::S3SlowDown);
    let (error, ()) = tokio::join!(transfer.call(5_000), storm);
    let message = error.unwrap_err();
    assert_eq!(message.error_type, "JobInProgressError", "{message:?}");
    sandbox.clear_requests();
    let words = ["/_run.json", "SlowDown"];
    transfer.fail("StagingUnavailableError", &words).await;
    // Seven times, of which the SDK makes three each.
    let asked = sandbox.to_s3("PUT", "").len();
    assert!((7..=21).contains(&asked), "{asked} requests");
    assert_eq!(sandbox.downloads(), [], "before a file is asked for");
    sandbox.faults().clear();
    transfer.succeed().await;
    assert_whole(&sandbox);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_goes_on_failing_gets_the_name_of_its_error() {
    let outcome = Answer::new(500).outcome("exception", "out of order");
    let storms = [
        (
            Fault::answers(Place::File, 500),
            "TransferError",
            "6 attempts",
        ),
        (
            Fault::answers(Place::File, outcome),
            "TransferError",
            "out of order",
        ),
        (
            Fault::answers(Place::File, 502),
            "TransferError",
            "6 attempts",
        ),
        (Fault::FileCutAt(0), "TransferError", "6 attempts"),
        (
            Fault::S3InternalError,
            "StagingUnavailableError",
            "InternalError",
        ),
    ];
    side_by_side(3, storms, |(storm, name, word)| async move {
        let mut transfer = Transferring::of(files(), &[]).await;
        let sandbox = transfer.sandbox.clone();
        sandbox.faults().on(storm);
        transfer.fail(name, &[word]).await;
        let asked = sandbox.times_asked();
        assert!(asked.values().all(|times| *times <= 6), "{asked:?}");
        assert_eq!(only_run(&staging_folder(&sandbox)).len(), 0);
        sandbox.faults().clear();
        transfer.succeed().await;
        assert_whole(&sandbox);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_goes_on_failing_at_parts_is_unavailable_and_what_it_has_stays() {
    let builder = Sandbox::builder()
        .data(Dataset::empty())
        .synthetic_file("Observation", 28 << 20);
    let mut transfer = Transferring::of(builder, &[SMALL_PARTS]).await;
    let sandbox = transfer.sandbox.clone();
    sandbox.faults().on(Fault::S3PartFails(3));
    let words = ["6 attempts", "/Observation/00000-"];
    transfer.fail("StagingUnavailableError", &words).await;
    let failed = sandbox.part_requests().into_iter();
    let failed = failed.filter(|it| it.status != Some(200)).count();
    // Of the four parts that fail, with one more where the store closes the connection before it has read all.
    assert!((6..=4 * 6 * 2).contains(&failed), "{failed} requests");
    sandbox.faults().clear();
    transfer.restart().await;
    transfer.succeed().await;
    assert_whole(&sandbox);
    let stored = sandbox.parts_stored();
    assert!(stored.values().all(|times| *times == 1), "{stored:?}");
}
