//! Servers that have too much to do: all files arrive, when the server said, and it is asked less.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use pathling_import_tests::check::assert_nothing_half_staged;
use pathling_import_tests::moment::{until, until_asked};
use pathling_import_tests::staged::assert_staged;
use pathling_import_tests::traffic::{Traffic as _, assert_appeared_once};
use pathling_import_tests::{Transferring, side_by_side};
use sandbox::{Answer, Builder, Dataset, Fault, Place, Sandbox, Service, Switch};

/// Forty small files of a source that is slow enough to be asked for several at once.
fn forty_files() -> Builder {
    Sandbox::builder()
        .data(Dataset::empty())
        .synthetic_files("Patient", 40, 20_000)
        .latency(Duration::from_millis(20))
}

fn assert_all_arrived(transfer: &Transferring) {
    assert_staged(&transfer.sandbox);
    assert_appeared_once(&transfer.sandbox);
    assert_nothing_half_staged(&transfer.sandbox);
}

/// How often a file's request was answered so.
fn answered(transfer: &Transferring, status: u16) -> usize {
    let downloads = transfer.sandbox.downloads();
    let such = downloads.iter().filter(|it| it.status == Some(status));
    such.count()
}

#[tokio::test]
async fn all_files_arrive_through_a_storm_that_says_when_to_come_again() {
    let storms = [
        (Fault::Files429(30), 429),
        (Fault::Files429Date(30), 429),
        (Fault::Files503(30), 503),
    ];
    side_by_side(3, storms, |(fault, status)| async move {
        let mut transfer = Transferring::of(forty_files().fault(fault), &[]).await;
        transfer.succeed().await;
        assert_all_arrived(&transfer);
        assert_eq!(answered(&transfer, status), 30);
        assert_eq!(answered(&transfer, 200), 40, "each file once");
    })
    .await;
}

#[tokio::test]
async fn who_is_told_to_wait_waits_and_does_not_ask_meanwhile() {
    let answer = Answer::new(429).retry_after(2);
    let told = Switch {
        fault: Fault::answers(Place::File, answer),
        times: Some(1),
    };
    let mut transfer = Transferring::of(forty_files().fault(told), &[]).await;
    let begun = std::time::Instant::now();
    transfer.succeed().await;
    // Two seconds are a promise to the server, not a measure of speed.
    assert!(begun.elapsed() >= Duration::from_secs(2));
    assert_all_arrived(&transfer);
    let downloads = transfer.sandbox.downloads();
    let refused = downloads.iter().position(|it| it.status == Some(429));
    // What was asked before the answer came is all that may come after it: the first few.
    let after = downloads.len() - 1 - refused.unwrap();
    assert!(after >= 32, "{after} came when the two seconds were over");
    let parallel = 8;
    assert!(refused.unwrap() < parallel, "the first to be answered");
}

#[tokio::test]
async fn a_server_that_serves_only_so_many_at_once_is_soon_asked_for_no_more() {
    let most = 3;
    // As slow as that, downloads last long enough to be there at once.
    let builder = forty_files()
        .source_rate(1 << 20)
        .fault(Fault::FilesAtMost(most));
    let mut transfer = Transferring::of(builder, &[]).await;
    transfer.succeed().await;
    assert_all_arrived(&transfer);
    let refused = answered(&transfer, 429);
    assert!(refused > 0, "it was asked for more than that at first");
    // Eight at first, of which five are refused; after that few try in vain.
    assert!(refused < 40, "{refused} requests were in vain");
}

#[tokio::test]
async fn the_number_of_requests_at_once_falls_when_the_server_says_that_it_is_too_much() {
    // The same files without and with a storm: with it, there are fewer at once until the end.
    let mut calm = Transferring::of(forty_files(), &[]).await;
    calm.sandbox.reset_peaks();
    calm.succeed().await;
    let usual = calm.sandbox.peak(Service::Source);
    assert!(usual >= 4, "{usual} at once");

    let mut stormy = Transferring::of(forty_files(), &[]).await;
    let answer = Answer::new(503).retry_after(1);
    let storm = Fault::answers(Place::File, answer);
    stormy.sandbox.faults().times(usual * 3, storm);
    let sandbox = Arc::clone(&stormy.sandbox);
    let storm_is_over = async {
        until("the storm is over", || sandbox.faults().active().is_empty()).await;
        sandbox.reset_peaks();
    };
    let (_, ()) = tokio::join!(stormy.succeed(), storm_is_over);
    let after = sandbox.peak(Service::Source);
    assert_all_arrived(&stormy);
    assert!(
        after < usual,
        "{after} at once after the storm, {usual} without one"
    );
}

#[tokio::test]
async fn a_fixed_number_of_requests_is_never_passed() {
    for fixed in ["1", "3"] {
        let env = [("TRANSFER_CONCURRENCY", fixed)];
        let mut transfer = Transferring::of(forty_files(), &env).await;
        transfer.sandbox.reset_peaks();
        transfer.succeed().await;
        assert_all_arrived(&transfer);
        let fixed: usize = fixed.parse().unwrap();
        let peak = transfer.sandbox.peak(Service::Source);
        assert!(peak <= fixed, "{peak} at once instead of {fixed}");
        assert_eq!(peak, fixed);
    }
}

#[tokio::test]
async fn a_storm_that_never_ends_is_an_error_that_another_try_can_mend() {
    let storm = Fault::answers(Place::File, 503);
    let builder = Sandbox::builder().data(Dataset::of(&[("Patient", 2)]));
    let mut transfer = Transferring::of(builder.fault(storm), &[("RETRY_AFTER_MAX", "0")]).await;
    let answer = transfer.call(4_000).await;
    let error = answer.expect_err("nothing arrives");
    let names = ["JobInProgressError", "TransferError"];
    assert!(names.contains(&error.error_type.as_str()), "{error:?}");
    transfer.sandbox.faults().clear();
    transfer.succeed().await;
    assert_all_arrived(&transfer);
}

#[tokio::test]
async fn a_burst_of_slow_down_from_s3_is_waited_out() {
    let large = || {
        Sandbox::builder()
            .data(Dataset::empty())
            .synthetic_file("Observation", 18 << 20)
            .synthetic_files("Patient", 20, 20_000)
            .latency(Duration::from_millis(20))
    };
    side_by_side(2, [1, 25], |times| async move {
        let mut transfer = Transferring::of(large(), &[("TRANSFER_MEMORY", "20MiB")]).await;
        let sandbox = Arc::clone(&transfer.sandbox);
        let burst = async {
            until_asked(&sandbox, 1, |it| it.path.contains("/files/")).await;
            sandbox.faults().on(Fault::S3SlowDowns(times));
        };
        tokio::join!(transfer.succeed(), burst);
        assert_all_arrived(&transfer);
        assert!(transfer.sandbox.faults().active().is_empty());
        // Nothing is fetched twice because S3 was slow to take it.
        let asked = transfer.sandbox.times_asked();
        assert!(asked.values().all(|times| *times == 1), "{asked:?}");
    })
    .await;
}

#[tokio::test]
async fn a_burst_of_slow_down_does_not_end_a_call_before_its_first_file_either() {
    let builder = Sandbox::builder().data(Dataset::of(&[("Patient", 3)]));
    let mut transfer = Transferring::of(builder, &[]).await;
    transfer.sandbox.faults().on(Fault::S3SlowDowns(5));
    transfer.succeed().await;
    assert_all_arrived(&transfer);
}
