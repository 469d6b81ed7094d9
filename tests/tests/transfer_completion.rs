//! Large files whose end goes wrong, when all of their parts are stored: what appears is the whole file, once, or nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pathling_import_tests::check::assert_nothing_half_staged;
use pathling_import_tests::staged::{assert_staged, only_run, staging_folder};
use pathling_import_tests::traffic::{Traffic as _, assert_appeared_once};
use pathling_import_tests::{Transferring, side_by_side};
use sandbox::{Builder, Dataset, Fault, Recorded, Sandbox, Switch};

const PART: u64 = 5 << 20;

const PARTS: usize = 3;

/// Two parts and a bit.
const LENGTH: u64 = 2 * PART + 123_456;

const SMALL_PARTS: (&str, &str) = ("TRANSFER_MEMORY", "20MiB");

/// A large file and a small one.
fn files() -> Builder {
    let data = Dataset::of(&[("Condition", 3)]);
    Sandbox::builder()
        .data(data)
        .synthetic_file("Patient", LENGTH)
}

fn times(times: usize, fault: Fault) -> Switch {
    let times = Some(times);
    Switch { fault, times }
}

/// Where the upload stays good after the completion failed, and where all parts have to be sent again.
const ENDS: [(Fault, bool); 5] = [
    (Fault::S3CompleteFails, true),
    (Fault::S3CompleteFailsInBody, true),
    (Fault::S3CompleteAnswerLost, true),
    (Fault::S3CompleteConflicts, false),
    (Fault::S3BadDigestMultipart, false),
];

fn completions(sandbox: &Sandbox) -> Vec<Recorded> {
    sandbox.to_s3("POST", "uploadId=")
}

fn assert_whole(sandbox: &Sandbox) {
    assert_staged(sandbox);
    assert_appeared_once(sandbox);
    assert_nothing_half_staged(sandbox);
}

/// How often the large file was asked for.
fn times_fetched(sandbox: &Sandbox) -> usize {
    let asked = sandbox.times_asked();
    let mut large = asked.iter().filter(|(name, _)| name.starts_with("Patient"));
    large.next().map_or(0, |(_, times)| *times)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_completion_that_fails_once_is_mended_and_the_object_appears_whole_and_once() {
    side_by_side(2, ENDS, |(fault, stays)| async move {
        let mut transfer = Transferring::of(files(), &[SMALL_PARTS]).await;
        transfer.sandbox.faults().once(fault.clone());
        transfer.succeed().await;
        let sandbox = &transfer.sandbox;
        assert_eq!(sandbox.faults().active(), [], "the fault never showed");
        assert_whole(sandbox);
        let again = if stays { 1 } else { 2 };
        assert_eq!(times_fetched(sandbox), again);
        let stored: usize = sandbox.parts_stored().values().sum();
        assert_eq!(stored, again * PARTS);
        assert_eq!(completions(sandbox).len(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_staged_after_a_completion_that_went_wrong_is_not_fetched_by_the_next_process() {
    side_by_side(2, ENDS, |(fault, _)| async move {
        let mut transfer = Transferring::of(files(), &[SMALL_PARTS]).await;
        transfer.sandbox.faults().once(fault);
        transfer.succeed().await;
        transfer.sandbox.clear_requests();
        transfer.restart().await;
        transfer.succeed().await;
        assert_eq!(transfer.sandbox.downloads(), []);
        assert_staged(&transfer.sandbox);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_completion_that_always_fails_is_an_error_and_leaves_no_object() {
    side_by_side(2, ENDS.into_iter().take(2), |(fault, _)| async move {
        let mut transfer = Transferring::of(files(), &[SMALL_PARTS]).await;
        transfer.sandbox.faults().on(fault);
        let words = ["6 attempts", "/Patient/00001-", "InternalError"];
        transfer.fail("StagingUnavailableError", &words).await;
        let sandbox = transfer.sandbox.clone();
        assert!(!only_run(&staging_folder(&sandbox)).contains_key(&1));
        // The SDK asks three times in each attempt.
        let asked = completions(&sandbox).len();
        assert!((6..=18).contains(&asked), "{asked} times");
        assert_eq!(times_fetched(&sandbox), 1, "the source is not to blame");
        sandbox.faults().clear();
        transfer.restart().await;
        transfer.succeed().await;
        assert_whole(&sandbox);
        let stored = sandbox.parts_stored();
        let twice = stored.values().filter(|times| **times > 1).count();
        // The state may not know of the last ones.
        assert!(twice <= 1, "{stored:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_has_to_be_sent_anew_each_time_is_given_up() {
    side_by_side(2, ENDS.into_iter().skip(3), |(fault, _)| async move {
        let mut transfer = Transferring::of(files(), &[SMALL_PARTS]).await;
        transfer.sandbox.faults().on(fault);
        let words = ["/Patient/00001-", "STAGING_CHECKSUM=crc32"];
        transfer.fail("StagingUnavailableError", &words).await;
        let sandbox = transfer.sandbox.clone();
        assert_nothing_half_staged(&sandbox);
        assert!(!only_run(&staging_folder(&sandbox)).contains_key(&1));
        assert_eq!(completions(&sandbox).len(), 3);
        assert_eq!(times_fetched(&sandbox), 3);
        sandbox.faults().clear();
        transfer.succeed().await;
        assert_whole(&sandbox);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_refuses_right_checksums_takes_other_ones_or_none() {
    side_by_side(2, ["crc32", "none"], |checksum| async move {
        let builder = files().fault(Fault::S3BadDigestMultipart);
        let env = [SMALL_PARTS, ("STAGING_CHECKSUM", checksum)];
        let mut transfer = Transferring::of(builder, &env).await;
        transfer.succeed().await;
        assert_whole(&transfer.sandbox);
        assert_eq!(times_fetched(&transfer.sandbox), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_knows_less_than_s3_gets_whole_objects_whatever_happens_at_their_end() {
    let lacks = [
        Fault::S3RefusesConditionalWrites,
        Fault::S3RefusesHead,
        Fault::S3RefusesListParts,
    ];
    let cases = lacks.into_iter().flat_map(|lack| {
        let ends = ENDS.into_iter().map(|(end, _)| end);
        ends.map(move |end| (lack.clone(), end))
    });
    side_by_side(3, cases, |(lack, end)| async move {
        let builder = files().fault(lack).fault(times(1, end));
        let mut transfer = Transferring::of(builder, &[SMALL_PARTS]).await;
        transfer.succeed().await;
        assert_whole(&transfer.sandbox);
        let fetched = transfer.sandbox.downloads().len();
        transfer.restart().await;
        transfer.succeed().await;
        assert_eq!(transfer.sandbox.downloads().len(), fetched);
        assert_staged(&transfer.sandbox);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_refuses_to_abort_gets_whole_objects_too() {
    let ends = [Fault::S3CompleteConflicts, Fault::S3BadDigestMultipart];
    side_by_side(2, ends, |end| async move {
        let builder = files().fault(Fault::S3RefusesAbort).fault(times(1, end));
        let mut transfer = Transferring::of(builder, &[SMALL_PARTS]).await;
        transfer.succeed().await;
        // The bucket's lifecycle rule removes what had to be left.
        assert_staged(&transfer.sandbox);
        assert_appeared_once(&transfer.sandbox);
    })
    .await;
}
