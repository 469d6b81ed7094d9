//! Memory is bounded by a setting, not by what is moved: neither by a file's size, nor by a slow store, nor by how many files
//! there are.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

use std::time::Duration;

use pathling_import_core::config::Step;
use pathling_import_tests::moment::{until, until_asked};
use pathling_import_tests::staged::{only_run, staging_folder};
use pathling_import_tests::{Story, pathling_import};
use sandbox::{Builder, Dataset, Fault, Place, Sandbox};

const MIB: u64 = 1 << 20;

/// What an optimised build may have.
const BOUND: u64 = 64 * MIB;

/// What a build without optimisation has more than that: its code is several times as large, and is in memory as far as it
/// is used.
const DEBUG: u64 = 32 * MIB;

/// What may differ between two runs of the same: allocators keep some.
const SLACK: u64 = 10 * MIB;

/// How long one run may take.
const PATIENCE: Duration = Duration::from_mins(5);

fn files(sizes: &[(&str, usize, u64)]) -> Builder {
    let builder = Sandbox::builder().data(Dataset::empty());
    sizes.iter().fold(builder, |builder, (kind, files, bytes)| {
        builder.synthetic_files(kind, *files, *bytes)
    })
}

/// The most memory of the command up to its import, with everything staged.
async fn memory_of(builder: Builder, staged: usize) -> u64 {
    let sandbox = builder.start().await.unwrap();
    // It waits there, so that its memory can be looked at.
    let waits = Fault::Hang(Place::ImportKickOff);
    sandbox.faults().once(waits.clone());
    let run = pathling_import(&sandbox).spawn();
    let asked = async {
        while sandbox.faults().active().contains(&waits) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let asked = tokio::time::timeout(PATIENCE, asked).await;
    assert!(asked.is_ok(), "{}", run.stderr.text());
    let memory = run.memory();
    run.kill().await;
    assert_eq!(only_run(&staging_folder(&sandbox)).len(), staged);
    println!("{} MiB", memory / MIB);
    memory
}

fn assert_bounded(what: &str, memory: u64) {
    let most = BOUND + DEBUG;
    assert!(memory <= most, "{what}: {} MiB", memory / MIB);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_1_gib_takes_no_more_memory_than_one_of_100_mib() {
    let small = memory_of(files(&[("Observation", 1, 100 * MIB)]), 1).await;
    // Four times as much takes a while.
    let large = match std::env::var_os("TEST_LARGE") {
        Some(_) => 4096 * MIB,
        None => 1024 * MIB,
    };
    let large = memory_of(files(&[("Observation", 1, large)]), 1).await;
    assert_bounded("100 MiB", small);
    assert_bounded("1 GiB", large);
    assert!(
        large <= small + SLACK,
        "{} and {} MiB",
        small / MIB,
        large / MIB
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_large_files_take_no_more_memory_than_one() {
    let one = memory_of(files(&[("Observation", 1, 50 * MIB)]), 1).await;
    let many = memory_of(files(&[("Observation", 40, 10 * MIB)]), 40).await;
    assert_bounded("40 files of 10 MiB", many);
    assert!(many <= one + SLACK, "{} and {} MiB", one / MIB, many / MIB);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_of_10_mb_a_second_makes_the_source_wait_and_takes_no_more_memory() {
    let sizes = [("Observation", 1, 40 * MIB), ("Patient", 24, MIB)];
    let fast = memory_of(files(&sizes), 25).await;
    let slow = files(&sizes).fault(Fault::S3Rate(10_000_000));
    let slow = memory_of(slow, 25).await;
    assert_bounded("a slow store", slow);
    assert!(
        slow <= fast + SLACK,
        "{} and {} MiB",
        fast / MIB,
        slow / MIB
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gzip_takes_no_more_memory_than_plain_files() {
    let plain = memory_of(files(&[("Observation", 4, 30 * MIB)]), 4).await;
    let gzip = files(&[("Observation", 4, 30 * MIB)]).gzip(true);
    let gzip = memory_of(gzip, 4).await;
    assert_bounded("gzip", gzip);
    assert!(
        gzip <= plain + SLACK,
        "{} and {} MiB",
        plain / MIB,
        gzip / MIB
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_small_files_take_no_more_memory_than_one_large_one() {
    let builder = Sandbox::builder().data(Dataset::empty()).outputs(5_000);
    let many = memory_of(builder, 5_000).await;
    assert_bounded("5,000 files", many);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_of_100_000_outputs_is_planned_in_bounded_memory_by_functions_and_command() {
    let builder = Sandbox::builder()
        .data(Dataset::empty())
        .outputs(100_000)
        .fault(Fault::Hang(Place::File));
    let sandbox = builder.start().await.unwrap();
    let mut story = Story::of(&sandbox);
    let complete = story.until(Step::TransferToS3).await.unwrap();
    assert!(
        complete.to_string().len() < 4_000,
        "it travels as its place"
    );
    assert_eq!(complete["result"]["outputs"], 100_000);
    let memory = story.function(Step::CheckExportStatus).await.memory();
    println!("check-export-status: {} MiB", memory / MIB);
    assert_bounded("check-export-status", memory);
    let function = story.function(Step::TransferToS3).await;
    let planned = until_asked(&sandbox, 1, |it| it.path.contains("/files/"));
    tokio::select! {
        answer = function.invoke(complete) => panic!("no file can be had: {answer:?}"),
        () = planned => {}
    }
    let memory = function.memory();
    println!("transfer-to-s3: {} MiB", memory / MIB);
    assert_bounded("transfer-to-s3", memory);
    story.restart().await;
    let asked = sandbox.downloads().len();
    let run = pathling_import(&sandbox).arg("--fresh").spawn();
    until("the command has its plan", || {
        sandbox.downloads().len() > asked
    })
    .await;
    let memory = run.memory();
    run.kill().await;
    println!("the command: {} MiB", memory / MIB);
    assert_bounded("the command", memory);
}
