//! An S3 that fails at any point, or knows less than Amazon's: files are staged whole or not at all, and no upload is left.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pathling_import_tests::check::assert_nothing_half_staged;
use pathling_import_tests::staged::{assert_staged, only_run, staging_folder};
use pathling_import_tests::traffic::{Traffic as _, assert_appeared_once, assert_parts_once};
use pathling_import_tests::{Transferring, side_by_side};
use sandbox::{Builder, Dataset, Fault, Recorded, Sandbox, Switch};

const SMALL_PARTS: (&str, &str) = ("TRANSFER_MEMORY", "20MiB");

/// A file of four parts and three small ones.
fn files() -> Builder {
    Sandbox::builder()
        .data(Dataset::empty())
        .synthetic_file("Observation", 18 << 20)
        .synthetic_files("Patient", 3, 50_000)
}

fn assert_whole(transfer: &Transferring) {
    assert_staged(&transfer.sandbox);
    assert_appeared_once(&transfer.sandbox);
    assert_nothing_half_staged(&transfer.sandbox);
}

/// Every file was fetched once.
fn assert_fetched_once(transfer: &Transferring) {
    let asked = transfer.sandbox.times_asked();
    assert!(asked.values().all(|times| *times == 1), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_at_s3_for_a_moment_is_sent_again_and_not_fetched_again() {
    let moments = [
        Fault::S3PartFails(1),
        Fault::S3PartFails(3),
        Fault::S3CompleteFails,
        Fault::S3CompleteFailsInBody,
    ];
    let cases = moments
        .into_iter()
        .flat_map(|fault| [1, 3].map(|times| (fault.clone(), times)));
    side_by_side(3, cases, |(fault, times)| async move {
        let mut transfer = Transferring::of(files(), &[SMALL_PARTS]).await;
        transfer.sandbox.faults().times(times, fault);
        transfer.succeed().await;
        assert_whole(&transfer);
        assert_fetched_once(&transfer);
        assert_parts_once(&transfer.sandbox, 4);
        assert!(transfer.sandbox.faults().active().is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_is_lost_or_told_to_begin_again_is_begun_again() {
    let cases = [
        Fault::S3LosesUpload,
        Fault::S3CompleteConflicts,
        Fault::S3InternalError,
    ];
    side_by_side(3, cases, |fault| async move {
        let mut transfer = Transferring::of(files(), &[SMALL_PARTS]).await;
        transfer.sandbox.faults().once(fault.clone());
        transfer.succeed().await;
        assert_staged(&transfer.sandbox);
        assert_appeared_once(&transfer.sandbox);
        assert!(transfer.sandbox.faults().active().is_empty());
        // What the sandbox lost, it has on its disk.
        if fault != Fault::S3LosesUpload {
            assert_nothing_half_staged(&transfer.sandbox);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_at_s3_for_ever_is_unavailable_and_heals_with_the_next_call() {
    let cases = [
        (Fault::S3PartFails(2), "500"),
        (Fault::S3CompleteFails, "500"),
        (Fault::S3CompleteFailsInBody, "InternalError"),
        (Fault::S3CompleteConflicts, "409"),
    ];
    side_by_side(4, cases, |(fault, says)| async move {
        let mut transfer = Transferring::of(files(), &[SMALL_PARTS]).await;
        transfer.sandbox.faults().on(fault);
        let words = ["s3://staging/pathling/runs/", "/Observation/", says];
        transfer.fail("StagingUnavailableError", &words).await;
        let staged = only_run(&staging_folder(&transfer.sandbox));
        assert!(staged.values().all(|file| file.resource_type == "Patient"));
        transfer.sandbox.faults().clear();
        transfer.restart().await;
        transfer.succeed().await;
        assert_whole(&transfer);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_without_conditional_writes_is_good_enough() {
    let builder = files().fault(Fault::S3RefusesConditionalWrites);
    let mut transfer = Transferring::of(builder, &[SMALL_PARTS]).await;
    transfer.succeed().await;
    assert_whole(&transfer);
    assert_fetched_once(&transfer);
    let warning = "refuses conditional writes";
    assert!(transfer.logs().contains(warning), "{}", transfer.logs());
    // A second call finds everything.
    transfer.restart().await;
    transfer.succeed().await;
    assert_fetched_once(&transfer);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_does_not_know_the_checksum_says_which_setting_helps_and_that_helps() {
    let refusals = [
        Fault::S3RefusesCrc64Nvme(400),
        Fault::S3RefusesCrc64Nvme(501),
        Fault::S3BadDigestMultipart,
    ];
    side_by_side(3, refusals, |fault| async move {
        let mut transfer = Transferring::of(files(), &[SMALL_PARTS]).await;
        transfer.sandbox.faults().on(fault.clone());
        let failed = transfer.finish().await.unwrap_err();
        let message = &failed.error_message;
        assert!(message.contains("STAGING_CHECKSUM"), "{failed:?}");
        assert!(
            message.contains("s3://staging/pathling/runs/"),
            "{failed:?}"
        );
        for checksum in ["crc32", "none"] {
            let env = [SMALL_PARTS, ("STAGING_CHECKSUM", checksum)];
            let builder = files().fault(fault.clone());
            let mut transfer = Transferring::of(builder, &env).await;
            transfer.succeed().await;
            assert_whole(&transfer);
            assert_fetched_once(&transfer);
        }
    })
    .await;
}

/// The requests that made a file of resources appear: small files, and completions of large ones.
fn publications(sandbox: &Sandbox) -> Vec<Recorded> {
    let mut requests = sandbox.to_s3("PUT", "");
    requests.retain(|it| it.path.ends_with(".ndjson") && !it.query.contains("partNumber="));
    requests.extend(sandbox.to_s3("POST", "uploadId="));
    requests
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_is_told_the_checksum_of_every_object_and_compares_it() {
    for (checksum, header) in [
        (None, Some("x-amz-checksum-crc64nvme")),
        (Some("crc64nvme"), Some("x-amz-checksum-crc64nvme")),
        (Some("crc32"), Some("x-amz-checksum-crc32")),
        (Some("none"), None),
    ] {
        let checksum = checksum.map(|checksum| ("STAGING_CHECKSUM", checksum));
        let env: Vec<_> = checksum.into_iter().chain([SMALL_PARTS]).collect();
        let mut transfer = Transferring::of(files(), &env).await;
        transfer.succeed().await;
        assert_whole(&transfer);
        let publications = publications(&transfer.sandbox);
        assert_eq!(publications.len(), 4);
        for request in publications {
            let told: Vec<_> = request.headers.keys().collect();
            let told: Vec<_> = told
                .into_iter()
                .filter(|name| name.starts_with("x-amz-checksum-"))
                .map(String::as_str)
                .collect();
            let wanted: Vec<_> = header.into_iter().collect();
            assert_eq!(told, wanted, "{request:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_object_of_resources_is_made_only_where_there_is_none() {
    let mut transfer = Transferring::of(files(), &[SMALL_PARTS]).await;
    transfer.succeed().await;
    for request in publications(&transfer.sandbox) {
        let condition = request.headers.get("if-none-match");
        assert_eq!(condition.map(String::as_str), Some("*"), "{request:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_files_need_one_request_each() {
    let builder = Sandbox::builder()
        .data(Dataset::empty())
        .synthetic_files("Patient", 30, 50_000);
    let mut transfer = Transferring::of(builder, &[]).await;
    transfer.sandbox.clear_requests();
    transfer.succeed().await;
    assert_whole(&transfer);
    assert_eq!(publications(&transfer.sandbox).len(), 30);
    let parts = transfer.sandbox.to_s3("POST", "uploads");
    assert!(parts.is_empty(), "no multipart upload: {parts:?}");
    let written = transfer.sandbox.to_s3("PUT", "");
    let of_its_own = written.iter().filter(|it| it.path.contains("/_parts/"));
    assert_eq!(of_its_own.count(), 0, "no record of its own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_without_multipart_uploads_says_so() {
    let builder = files().fault(Fault::S3RefusesMultipart);
    let mut transfer = Transferring::of(builder, &[SMALL_PARTS]).await;
    let words = ["s3://staging/pathling/runs/", "/Observation/", "501"];
    transfer.fail("StagingDeniedError", &words).await;
    assert_nothing_half_staged(&transfer.sandbox);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_store_makes_the_source_wait_and_nothing_else() {
    let builder = files().fault(Switch::from(Fault::S3Rate(8 << 20)));
    let mut transfer = Transferring::of(builder, &[SMALL_PARTS]).await;
    transfer.succeed().await;
    assert_whole(&transfer);
    assert_fetched_once(&transfer);
}
