//! A download that breaks at any byte: it goes on there where the source allows that, and otherwise begins again without
//! sending S3 a part for the second time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pathling_import_tests::check::assert_nothing_half_staged;
use pathling_import_tests::staged::assert_staged;
use pathling_import_tests::traffic::{
    Traffic as _, assert_appeared_once, assert_parts_once, until_sent,
};
use pathling_import_tests::{Transferring, side_by_side};
use sandbox::{Builder, Dataset, Fault, Recorded, Sandbox, Switch};

/// How large a part is where `TRANSFER_MEMORY` is as small as it can be.
const PART: u64 = 5 << 20;

const PARTS: usize = 4;

/// Three parts and most of a fourth.
const LENGTH: u64 = PARTS as u64 * PART - 777_777;

const SMALL_PARTS: (&str, &str) = ("TRANSFER_MEMORY", "20MiB");

/// How many are tried side by side.
const AT_ONCE: usize = 3;

fn one_file() -> Builder {
    let data = Dataset::empty();
    Sandbox::builder()
        .data(data)
        .synthetic_file("Patient", LENGTH)
}

fn cut_at(bytes: u64, times: usize) -> Switch {
    Switch {
        fault: Fault::FileCutAt(bytes),
        times: Some(times),
    }
}

/// At each boundary of parts, a byte before and a byte after it; at both ends; and in the middle of parts.
fn everywhere() -> Vec<u64> {
    let boundaries = (1..PARTS as u64).map(|part| part * PART);
    let around = boundaries.flat_map(|boundary| [boundary - 1, boundary, boundary + 1]);
    let inside = [PART / 2, 2 * PART + 1_234_567];
    around.chain(inside).chain([0, 1, LENGTH - 1]).collect()
}

/// The whole file is staged, each part was sent once, and nothing is left open.
fn assert_whole(transfer: &Transferring) {
    assert_staged(&transfer.sandbox);
    assert_parts_once(&transfer.sandbox, PARTS);
    assert_appeared_once(&transfer.sandbox);
    assert_nothing_half_staged(&transfer.sandbox);
}

fn ranges(downloads: &[Recorded]) -> Vec<Option<&str>> {
    let all = downloads.iter();
    all.map(|it| it.headers.get("range").map(String::as_str))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_before_a_break_at_any_byte_is_fetched_once_and_sent_once() {
    side_by_side(AT_ONCE, everywhere(), |at| async move {
        let builder = one_file().fault(cut_at(at, 1));
        let mut transfer = Transferring::of(builder, &[SMALL_PARTS]).await;
        transfer.succeed().await;
        assert_whole(&transfer);
        until_sent(&transfer.sandbox, LENGTH).await;
        assert_eq!(transfer.sandbox.sent(), LENGTH, "not a byte twice");
        let downloads = transfer.sandbox.downloads();
        let from = format!("bytes={at}-");
        // Before the first byte there is nothing to go on from.
        let range = (at > 0).then_some(from.as_str());
        assert_eq!(ranges(&downloads), [None, range]);
        if at > 0 {
            assert_eq!(downloads[1].status, Some(206));
            assert!(downloads[1].headers["if-range"].starts_with('"'));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_that_breaks_again_and_again_comes_to_its_end_as_long_as_it_gets_further() {
    // More breaks than there are attempts at one thing.
    let breaks = usize::try_from(LENGTH / (2 << 20)).unwrap();
    let builder = one_file().fault(cut_at(2 << 20, breaks));
    let mut transfer = Transferring::of(builder, &[SMALL_PARTS]).await;
    transfer.succeed().await;
    assert_whole(&transfer);
    until_sent(&transfer.sandbox, LENGTH).await;
    assert_eq!(transfer.sandbox.sent(), LENGTH);
    assert_eq!(transfer.sandbox.downloads().len(), breaks + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_that_never_gets_further_is_given_up_and_the_next_call_goes_on_from_there() {
    let at = 2 * PART + 5;
    let builder = one_file().fault(cut_at(at, 1)).fault(Fault::FileCutAt(0));
    let mut transfer = Transferring::of(builder, &[SMALL_PARTS]).await;
    // The first cut comes first, for faults are taken in the order in which they were switched on.
    let message = transfer.fail("TransferError", &["6 attempts"]).await;
    assert!(message.contains("/files/Patient."), "{message}");
    transfer.sandbox.faults().clear();
    transfer.restart().await;
    transfer.succeed().await;
    assert_whole(&transfer);
    let sent = transfer.sandbox.sent();
    // What was stored when it was given up does not come again.
    assert!(sent < LENGTH + PART, "{sent} bytes of {LENGTH}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_source_cannot_go_on_the_file_comes_again_and_no_part_is_sent_twice() {
    let cannot = [
        Fault::FilesWeakEtag,
        Fault::FilesNoEtag,
        Fault::FilesIgnoreRange,
    ];
    let middle = [2 * PART - 1, 2 * PART, 2 * PART + 1, 3 * PART + 1_234_567];
    let cases = cannot
        .into_iter()
        .flat_map(|fault| middle.map(|at| (fault.clone(), at)));
    side_by_side(AT_ONCE, cases, |(fault, at)| async move {
        let builder = one_file().fault(fault.clone()).fault(cut_at(at, 1));
        let mut transfer = Transferring::of(builder, &[SMALL_PARTS]).await;
        transfer.succeed().await;
        assert_whole(&transfer);
        until_sent(&transfer.sandbox, LENGTH + at).await;
        let downloads = transfer.sandbox.downloads();
        assert_eq!(downloads.len(), 2, "one answer brings the whole file");
        // Nobody is asked to go on who cannot prove that the bytes are the same.
        let asked = downloads[1].headers.contains_key("range");
        assert_eq!(asked, fault == Fault::FilesIgnoreRange);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_answers_with_another_part_than_it_was_asked_for_is_not_believed() {
    let cases = [1, 2 * PART, 3 * PART + 1_234_567];
    side_by_side(AT_ONCE, cases, |at| async move {
        let builder = one_file()
            .fault(Fault::FilesWrongRange)
            .fault(cut_at(at, 1));
        let mut transfer = Transferring::of(builder, &[SMALL_PARTS]).await;
        transfer.succeed().await;
        assert_whole(&transfer);
    })
    .await;
}
