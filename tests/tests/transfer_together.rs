//! Two processes on one run at once: both end well, every file appears once, and nobody sees it change.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;

use pathling_import_core::config::Step;
use pathling_import_tests::check::{
    assert_arrived, assert_no_token_leaks, assert_nothing_half_staged,
};
use pathling_import_tests::moment::until_asked;
use pathling_import_tests::staged::{
    Unchanging, assert_nothing_temporary, assert_staged, assert_staged_in, staging_folder,
};
use pathling_import_tests::traffic::{Traffic as _, assert_appeared_once};
use pathling_import_tests::{Function, LambdaError, Transferring, pathling_import};
use sandbox::{Builder, Dataset, Fault, Sandbox};
use serde_json::Value;

const SMALL_PARTS: (&str, &str) = ("TRANSFER_MEMORY", "20MiB");

/// Large and small files of a source that is slow enough for both to be at the same ones.
fn slow() -> Builder {
    Sandbox::builder()
        .data(Dataset::empty())
        .synthetic_file("Observation", 24 << 20)
        .synthetic_files("Condition", 3, 6 << 20)
        .synthetic_files("Patient", 20, 40_000)
        .source_rate(24 << 20)
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

/// Two functions with one event, at once, while somebody looks at what appears.
async fn both(transfer: &mut Transferring, staging: PathBuf) {
    let (env, event) = (transfer.env(), transfer.event().clone());
    let name = Step::TransferToS3.name();
    let mut first = Function::start(name, &env).await;
    let mut second = Function::start(name, &env).await;
    let (one, other) = Unchanging::default()
        .during(&staging, async {
            tokio::join!(finish(&mut first, &event), finish(&mut second, &event))
        })
        .await;
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!(one, other, "the same Parameters");
    assert_staged_in(&transfer.sandbox, &staging);
    assert_no_token_leaks(&transfer.sandbox);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_functions_with_one_event_stage_every_file_once() {
    let mut transfer = Transferring::of(slow(), &[SMALL_PARTS]).await;
    let staging = staging_folder(&transfer.sandbox);
    both(&mut transfer, staging).await;
    assert_appeared_once(&transfer.sandbox);
    assert_nothing_half_staged(&transfer.sandbox);
    let asked = transfer.sandbox.times_asked();
    assert!(
        asked.values().any(|times| *times > 1),
        "they were at the same files: {asked:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_functions_over_a_folder_stage_every_file_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let mut transfer = Transferring::of(slow(), &[SMALL_PARTS, ("STAGING_URL", path)]).await;
    both(&mut transfer, folder.path().to_path_buf()).await;
    assert_nothing_temporary(folder.path());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_functions_with_a_source_that_breaks_and_a_store_that_slows_down_end_well_too() {
    let builder = slow()
        .fault("file-cut-at=1000000*20".parse::<sandbox::Switch>().unwrap())
        .fault(Fault::Files503(10));
    let mut transfer = Transferring::of(builder, &[SMALL_PARTS]).await;
    transfer.sandbox.faults().on(Fault::S3SlowDowns(2));
    transfer.sandbox.faults().times(3, Fault::S3PartFails(2));
    let staging = staging_folder(&transfer.sandbox);
    both(&mut transfer, staging).await;
    assert_appeared_once(&transfer.sandbox);
    assert_nothing_half_staged(&transfer.sandbox);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_dies_beside_another_disturbs_nobody() {
    let mut transfer = Transferring::of(slow(), &[SMALL_PARTS]).await;
    let (env, event) = (transfer.env(), transfer.event().clone());
    let sandbox = std::sync::Arc::clone(&transfer.sandbox);
    let mut dying = Function::start(Step::TransferToS3.name(), &env).await;
    let dies = async {
        tokio::select! {
            answer = dying.invoke(event.clone()) => panic!("too soon: {answer:?}"),
            () = until_asked(&sandbox, 3, |it| it.query.contains("partNumber=")) => {}
        }
        dying.kill().await;
    };
    let staging = staging_folder(&transfer.sandbox);
    let work = async { tokio::join!(transfer.succeed(), dies) };
    Unchanging::default().during(&staging, work).await;
    assert_staged(&transfer.sandbox);
    assert_appeared_once(&transfer.sandbox);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_commands_on_one_run_both_end_well() {
    let data = Dataset::padded("Patient", 20, 1 << 20).and(Dataset::of(&[("Condition", 30)]));
    let builder = Sandbox::builder()
        .data(data)
        .resources_per_file(15)
        .source_rate(8 << 20);
    let sandbox = builder.start().await.unwrap();
    let command = || pathling_import(&sandbox).env("TRANSFER_MEMORY", "20MiB");
    let first = command().spawn();
    until_asked(&sandbox, 1, |it| it.path.contains("/files/")).await;
    let second = command().spawn();
    let staging = staging_folder(&sandbox);
    let work = async { tokio::join!(first.wait(), second.wait()) };
    let (first, second) = Unchanging::default().during(&staging, work).await;
    let second = second.expect_code(0);
    let _ = first.expect_code(0);
    let said = "going on with the unfinished run ";
    assert!(second.stderr.starts_with(said), "{}", second.stderr);
    assert_eq!(sandbox.manifests(), 1, "one run");
    assert_staged(&sandbox);
    assert_appeared_once(&sandbox);
    assert_nothing_half_staged(&sandbox);
    assert_arrived(&sandbox);
}
