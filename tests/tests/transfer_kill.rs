//! `kill -9` of the real command at fifty random instants of a transfer: the next start completes it, byte for byte, and
//! fetches nothing that was complete.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use pathling_import_tests::moment::until_asked;
use pathling_import_tests::staged::{
    assert_nothing_temporary, assert_staged_in, complete, staging_folder,
};
use pathling_import_tests::traffic::Traffic as _;
use pathling_import_tests::{CommandRun, Random, pathling_import};
use sandbox::{Answer, Builder, Dataset, Fault, Place, Sandbox};

/// 200 MiB: a large file, and several that are still in parts.
fn large() -> Builder {
    Sandbox::builder()
        .data(Dataset::empty())
        .synthetic_file("Observation", 96 << 20)
        .synthetic_files("Condition", 4, 17 << 20)
        .synthetic_files("Patient", 36, 1 << 20)
        .fault(no_import())
}

/// Staging is what counts here, and two hundred MiB take their time to import.
fn no_import() -> Fault {
    let answer = Answer::new(400).outcome("invalid", "No imports today");
    Fault::answers(Place::ImportKickOff, answer)
}

fn command(sandbox: &Sandbox, staging: &Path) -> CommandRun {
    let run = pathling_import(sandbox).env("TRANSFER_MEMORY", "20MiB");
    if staging.starts_with(sandbox.bucket()) {
        return run;
    }
    run.env("STAGING_URL", staging.display().to_string())
}

/// Everything is staged, and the command said so: it went on to the import.
async fn ends(sandbox: &Sandbox, staging: &Path) {
    let finished = command(sandbox, staging).run().await;
    finished.expect_error("ImportFailedError", &["No imports today"]);
    assert_staged_in(sandbox, staging);
    if !staging.starts_with(sandbox.bucket()) {
        assert_nothing_temporary(staging);
    }
}

/// How long a transfer takes that nobody disturbs, from its first file on.
async fn undisturbed(builder: Builder, folder: Option<&Path>) -> Duration {
    let sandbox = builder.start().await.unwrap();
    let staging = folder.map_or_else(|| staging_folder(&sandbox), Path::to_path_buf);
    let run = command(&sandbox, &staging).spawn();
    until_asked(&sandbox, 1, |it| it.path.contains("/files/")).await;
    let begun = Instant::now();
    until_asked(&sandbox, 1, |it| it.path.ends_with("$import")).await;
    let took = begun.elapsed();
    run.wait().await.expect_error("ImportFailedError", &[]);
    assert_staged_in(&sandbox, &staging);
    took
}

/// Kills a run after this time in its transfer, and has the next one complete it.
async fn killed_after(wait: Duration, sandbox: &Sandbox, staging: &Path) {
    let run = command(sandbox, staging).spawn();
    until_asked(sandbox, 1, |it| it.path.contains("/files/")).await;
    tokio::time::sleep(wait).await;
    run.kill().await;
    // What is there now was complete; what S3 is still about may be, too.
    let complete = complete(sandbox, staging);
    sandbox.clear_requests();
    ends(sandbox, staging).await;
    let again: BTreeSet<String> = sandbox.times_asked().into_keys().collect();
    let twice: Vec<_> = complete.intersection(&again).collect();
    assert!(twice.is_empty(), "fetched again: {twice:?}");
    let exports = sandbox.requests();
    let exports = exports.iter().filter(|it| it.path.ends_with("$export"));
    assert_eq!(exports.count(), 0, "the second run went on with the first");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_instant_the_next_start_completes_the_transfer_and_fetches_nothing_twice() {
    let took = undisturbed(large(), None).await;
    let mut random = Random::seeded();
    for time in 1..=50 {
        let wait = took.mul_f64(random.fraction());
        println!("kill {time} after {wait:?} of {took:?}; {random:?}");
        let sandbox = large().start().await.unwrap();
        let staging = staging_folder(&sandbox);
        killed_after(wait, &sandbox, &staging).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_instant_a_folder_is_completed_in_the_same_way() {
    let builder = || {
        Sandbox::builder()
            .data(Dataset::empty())
            .synthetic_file("Observation", 40 << 20)
            .synthetic_files("Patient", 10, 1 << 20)
            .fault(no_import())
    };
    let folder = tempfile::tempdir().unwrap();
    let took = undisturbed(builder(), Some(folder.path())).await;
    let mut random = Random::seeded();
    for time in 1..=12 {
        let wait = took.mul_f64(random.fraction());
        println!("kill {time} after {wait:?} of {took:?}; {random:?}");
        let sandbox = builder().start().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        killed_after(wait, &sandbox, folder.path()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_again_and_again_it_comes_a_bit_further_each_time() {
    let builder = large().source_rate(40 << 20);
    let sandbox = builder.start().await.unwrap();
    let staging = staging_folder(&sandbox);
    let mut random = Random::seeded();
    for time in 1..=5 {
        let wait = Duration::from_secs_f64(0.3 + random.fraction());
        println!("kill {time} after {wait:?}; {random:?}");
        sandbox.clear_requests();
        let run = command(&sandbox, &staging).spawn();
        until_asked(&sandbox, 1, |it| it.path.contains("/files/")).await;
        tokio::time::sleep(wait).await;
        run.kill().await;
    }
    ends(&sandbox, &staging).await;
}
