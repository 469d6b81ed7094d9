//! Files that come compressed: staged as they are without it, and never half.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pathling_import_tests::check::assert_nothing_half_staged;
use pathling_import_tests::staged::{assert_staged, only_run, staging_folder};
use pathling_import_tests::traffic::{Traffic as _, assert_appeared_once};
use pathling_import_tests::{Transferring, side_by_side};
use sandbox::{Builder, Dataset, Fault, Sandbox, Switch};

const SMALL_PARTS: (&str, &str) = ("TRANSFER_MEMORY", "20MiB");

const LENGTH: u64 = 24 << 20;

/// A file of several parts and a small one, both compressed for who asks for that.
fn compressed() -> Builder {
    Sandbox::builder()
        .data(Dataset::empty())
        .synthetic_file("Observation", LENGTH)
        .synthetic_file("Patient", 100_000)
        .gzip(true)
}

fn once(fault: Fault) -> Switch {
    let times = Some(1);
    Switch { fault, times }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gzip_is_asked_for_and_what_is_staged_is_plain() {
    side_by_side(2, [false, true], |members| async move {
        let mut builder = compressed();
        if members {
            builder = builder.fault(Fault::FileGzipMembers);
        }
        let mut transfer = Transferring::of(builder, &[SMALL_PARTS]).await;
        transfer.succeed().await;
        assert_staged(&transfer.sandbox);
        assert_appeared_once(&transfer.sandbox);
        for download in transfer.sandbox.downloads() {
            let codings = &download.headers["accept-encoding"];
            assert!(codings.contains("gzip"), "{codings}");
        }
        let sent = transfer.sandbox.sent();
        assert!(sent < LENGTH / 2, "{sent} bytes came over the wire");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gzip_that_is_cut_or_spoilt_once_is_mended_by_a_second_attempt() {
    let wrong = [
        Fault::FileGzipTruncated,
        Fault::FileGzipCorrupt,
        Fault::FileCutMidway,
        Fault::FileChunkedCutMidway,
    ];
    side_by_side(2, wrong, |fault| async move {
        let builder = compressed().fault(once(fault));
        let mut transfer = Transferring::of(builder, &[SMALL_PARTS]).await;
        transfer.succeed().await;
        assert_staged(&transfer.sandbox);
        assert_appeared_once(&transfer.sandbox);
        assert_nothing_half_staged(&transfer.sandbox);
        let downloads = transfer.sandbox.downloads();
        assert_eq!(downloads.len(), 3, "two files, one of them twice");
        // A part of what is compressed leads nowhere.
        let range = |it: &sandbox::Recorded| it.headers.contains_key("range");
        assert!(!downloads.iter().any(range));
        let stored = transfer.sandbox.parts_stored();
        assert!(stored.values().all(|times| *times == 1), "{stored:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gzip_that_is_always_cut_or_spoilt_is_an_error_that_names_the_file() {
    let cases = [
        (Fault::FileGzipTruncated, "TransferError", "ended early"),
        (Fault::FileGzipCorrupt, "IntegrityError", "gzip"),
        (Fault::FileGzipTrailingGarbage, "IntegrityError", "gzip"),
    ];
    side_by_side(2, cases, |(fault, error, says)| async move {
        let builder = compressed().fault(fault);
        let mut transfer = Transferring::of(builder, &[SMALL_PARTS]).await;
        transfer.fail(error, &["/files/", ".ndjson", says]).await;
        let staged = only_run(&staging_folder(&transfer.sandbox));
        assert!(staged.is_empty(), "{staged:?}");
        if error == "IntegrityError" {
            assert_nothing_half_staged(&transfer.sandbox);
        }
        transfer.sandbox.faults().clear();
        transfer.succeed().await;
        assert_staged(&transfer.sandbox);
        assert_nothing_half_staged(&transfer.sandbox);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_stored_of_a_compressed_file_is_not_sent_again_by_the_next_process() {
    let builder = compressed().fault(Fault::FileGzipTruncated);
    let mut transfer = Transferring::of(builder, &[SMALL_PARTS]).await;
    transfer.fail("TransferError", &["ended early"]).await;
    transfer.sandbox.faults().clear();
    transfer.restart().await;
    transfer.succeed().await;
    assert_staged(&transfer.sandbox);
    let stored = transfer.sandbox.parts_stored();
    assert!(stored.values().all(|times| *times == 1), "{stored:?}");
}
