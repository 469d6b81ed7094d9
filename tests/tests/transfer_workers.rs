//! A property: however two workers are interleaved, cut short and lied to, staging comes to the same, and no file of it ever
//! changes once it is there.
//!
//! The workers are a process of their own (`interleaved-workers`), so that its environment can be what S3 needs; in there they
//! are futures, which are dropped at any instant.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use pathling_import_tests::check::assert_no_token_leaks;
use pathling_import_tests::staged::{
    Unchanging, assert_no_upload_open, assert_nothing_temporary, assert_staged_in, staging_folder,
};
use pathling_import_tests::{Random, Transferring, binary};
use sandbox::{Builder, Dataset, Fault, Sandbox, Switch};
use tokio::process::Command;

/// How long both may take together before the test fails.
const PATIENCE: Duration = Duration::from_mins(2);

/// Some large and some small files, of a source that is not too fast for its clients to be interrupted.
fn files(random: &mut Random) -> Builder {
    let mut builder = Sandbox::builder()
        .data(Dataset::empty())
        .synthetic_file("Observation", 22 << 20)
        .synthetic_file("Condition", 7 << 20)
        .synthetic_files("Patient", 6, 100_000)
        .source_rate((12 + random.below(40)) << 20)
        .latency(Duration::from_millis(random.below(5)))
        .gzip(random.below(4) == 0)
        .file_sizes(random.below(2) == 0);
    let marks = [
        Fault::FilesWeakEtag,
        Fault::FilesNoEtag,
        Fault::FilesIgnoreRange,
    ];
    if random.below(2) == 0 {
        builder = builder.fault(random.one_of(&marks).clone());
    }
    builder
}

/// What goes wrong at the source.
fn source_faults(random: &mut Random) -> Vec<Switch> {
    let cut = || Fault::FileCutAt(0);
    let mut faults = Vec::new();
    for _ in 0..random.below(6) {
        faults.push((Fault::FileCutAt(random.below(22 << 20)), 1));
    }
    let others = [
        cut(),
        Fault::FileCutMidway,
        Fault::FilesWrongRange,
        Fault::FilesChunked,
    ];
    faults.push((random.one_of(&others).clone(), 2));
    let mut faults: Vec<Switch> = faults
        .into_iter()
        .map(|(fault, times)| Switch {
            fault,
            times: Some(times),
        })
        .collect();
    faults.push(Fault::Files503(usize::try_from(random.below(3)).unwrap()).into());
    faults
}

/// What goes wrong at S3.
fn store_faults(random: &mut Random) -> Vec<Switch> {
    let all = [
        Fault::S3SlowDown,
        Fault::S3PartFails(1),
        Fault::S3PartFails(3),
        Fault::S3LosesUpload,
        Fault::S3CompleteFails,
        Fault::S3CompleteFailsInBody,
        Fault::S3CompleteConflicts,
        Fault::S3InternalError,
        Fault::S3RefusesListParts,
        Fault::S3RefusesAbort,
    ];
    (0..random.below(5))
        .map(|_| Switch {
            fault: random.one_of(&all).clone(),
            times: Some(1 + usize::try_from(random.below(3)).unwrap()),
        })
        .collect()
}

/// Two workers with this fortune, then one that nobody disturbs.
async fn interleave(seed: u64, folder: Option<&Path>) {
    println!("seed {seed}");
    let mut random = Random::of(seed);
    let builder = files(&mut random);
    let path = folder.map(|folder| folder.display().to_string());
    let mut env = vec![("TRANSFER_MEMORY", "20MiB")];
    env.extend(path.as_deref().map(|path| ("STAGING_URL", path)));
    let mut transfer = Transferring::of(builder, &env).await;
    let mut faults = source_faults(&mut random);
    if folder.is_none() {
        faults.extend(store_faults(&mut random));
    }
    println!("{faults:?}");
    for fault in faults {
        transfer.sandbox.faults().switch(fault);
    }
    let staging = folder.map_or_else(|| staging_folder(&transfer.sandbox), PathBuf::from);
    let mut process = Command::new(binary("interleaved-workers"));
    process
        .args([seed.to_string(), transfer.event().to_string()])
        .env_clear()
        .envs(transfer.env().iter())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let work = tokio::time::timeout(PATIENCE, process.output());
    let mut looked = Unchanging::default();
    let output = looked.during(&staging, work).await;
    let output = output.expect("both end in time").unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = said + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("both workers have ended"), "{said}");
    transfer.sandbox.faults().clear();
    looked.during(&staging, transfer.succeed()).await;
    assert_staged_in(&transfer.sandbox, &staging);
    assert_no_token_leaks(&transfer.sandbox);
    match folder {
        Some(folder) => assert_nothing_temporary(folder),
        None => assert_no_upload_open(&transfer.sandbox).await,
    }
}

/// So many fortunes, from the seed of the environment or a new one on.
async fn many(times: u64, to_folders: bool) {
    let mut random = Random::seeded();
    println!("{random:?}");
    for _ in 0..times {
        let folder = to_folders.then(|| tempfile::tempdir().unwrap());
        let folder = folder.as_ref().map(tempfile::TempDir::path);
        interleave(random.below(1 << 32), folder).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_interleaving_of_two_workers_comes_to_the_same_in_s3() {
    many(12, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_interleaving_of_two_workers_comes_to_the_same_in_a_folder() {
    many(8, true).await;
}
