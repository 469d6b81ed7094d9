//! How much memory the function takes: as much for a file of some GiB as for a small one, and no more where the store is
//! slow.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// How much it was is told where a test fails.
#![allow(clippy::print_stdout)]

use std::path::Path;

use pathling_import_tests::Transferring;
use pathling_import_tests::staged::{only_run, staging_folder};
use pathling_import_tests::traffic::Traffic as _;
use sandbox::{Builder, Dataset, Fault, Sandbox};

const MIB: u64 = 1 << 20;

/// What all buffers may take together.
const BUFFERS: u64 = 32 * MIB;

/// What the process takes beside its buffers, at most: code and stacks, TLS, connections, the SDK. A small transfer takes
/// the most of it.
const BESIDE: u64 = 48 * MIB;

/// How much one run of the same may differ from another.
const NOISE: u64 = 12 * MIB;

/// What is looked at is what moves bytes; the sandbox takes most of the time.
const ENV: [(&str, &str); 2] = [("TRANSFER_MEMORY", "32MiB"), ("VALIDATE", "none")];

fn synthetic(files: usize, bytes: u64) -> Builder {
    Sandbox::builder()
        .data(Dataset::empty())
        .synthetic_files("Observation", files, bytes)
}

/// Transfers all of it, and gives the most memory that the function has had.
async fn peak(builder: Builder) -> u64 {
    let mut transfer = Transferring::of(builder, &ENV).await;
    // A call has five minutes here.
    let output = transfer.call(300_000).await;
    assert!(output.is_ok(), "{output:?}\n{}", transfer.logs());
    let peak = transfer.memory().await;
    let sandbox = &transfer.sandbox;
    let lengths = sandbox.source_files().into_iter().map(|it| it.length());
    let staged = only_run(&staging_folder(sandbox));
    let found = staged.values().map(|it| length(&it.path));
    assert_eq!(found.sum::<u64>(), lengths.sum::<u64>());
    let downloads = sandbox.downloads().len();
    assert_eq!(downloads, sandbox.times_asked().len(), "asked for twice");
    println!("{} MiB", peak / MIB);
    peak
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_four_gib_takes_no_more_memory_than_one_of_a_hundred_mib() {
    let small = peak(synthetic(1, 100 * MIB)).await;
    let large = peak(synthetic(1, 4096 * MIB)).await;
    assert!(
        large <= small + NOISE,
        "{} MiB, and {} MiB for a small file",
        large / MIB,
        small / MIB
    );
    assert!(large <= BUFFERS + BESIDE, "{} MiB", large / MIB);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_store_makes_the_source_wait_and_not_the_memory_grow() {
    // Larger than the buffers by far, in files of one part and in files of some.
    for (files, bytes) in [(60, 2 * MIB), (6, 20 * MIB)] {
        let fast = peak(synthetic(files, bytes)).await;
        let slow = peak(synthetic(files, bytes).fault(Fault::S3Rate(10_000_000))).await;
        assert!(
            slow <= fast + NOISE,
            "{} MiB, and {} MiB with a fast store",
            slow / MIB,
            fast / MIB
        );
        assert!(slow <= BUFFERS + BESIDE, "{} MiB", slow / MIB);
    }
}
