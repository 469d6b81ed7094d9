//! A transfer that is longer than its time: it says how far it is and goes on from there, in the middle of a file too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pathling_import_tests::check::assert_nothing_half_staged;
use pathling_import_tests::staged::assert_staged;
use pathling_import_tests::traffic::{Traffic as _, assert_appeared_once, assert_parts_once};
use pathling_import_tests::{Transferring, pathling_import};
use sandbox::{Answer, Builder, Dataset, Fault, Place, Sandbox};
use serde_json::Value;

const MIB: u64 = 1 << 20;

const LENGTH: u64 = 100 * MIB;

/// What a call cannot bring in its time, whatever the machine: three of them bring less than the file has.
const RATE: u64 = 6 * MIB;

const SMALL_PARTS: (&str, &str) = ("TRANSFER_MEMORY", "20MiB");

fn slow(length: u64) -> Builder {
    Sandbox::builder()
        .data(Dataset::empty())
        .synthetic_file("Observation", length)
        .source_rate(RATE)
}

/// The bytes that a message says are done: `0 of 1 files are staged, 5242880 of 104857600 bytes ...`.
fn bytes_of(message: &str) -> u64 {
    let (_, rest) = message
        .split_once("files are staged, ")
        .unwrap_or_else(|| panic!("no progress in {message}"));
    let number = rest.split(|c: char| !c.is_ascii_digit()).next();
    number
        .unwrap_or_default()
        .parse()
        .expect("a number of bytes")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_splits_a_large_file_over_four_calls_of_the_function() {
    let mut transfer = Transferring::of(slow(LENGTH), &[SMALL_PARTS]).await;
    let mut before = 0;
    for call in 1..=3 {
        // 4.8 s of work at most, in which 29 MiB come.
        let answer = transfer.call(6_000).await;
        let error = answer.expect_err("more than there is time for");
        assert_eq!(error.error_type, "JobInProgressError", "{error:?}");
        let message = error.error_message;
        assert!(message.contains("0 of 1 file"), "{message}");
        let bytes = bytes_of(&message);
        assert!(bytes > before, "call {call} came no further: {message}");
        assert!(bytes <= call * 29 * MIB, "{message}");
        before = bytes;
        let downloads = transfer.sandbox.downloads();
        assert_eq!(downloads.len() as u64, call, "each call asks once");
        assert_eq!(downloads[0].headers.get("range"), None);
        let ranges = downloads[1..].iter();
        let mut ranges = ranges.map(|it| it.headers.contains_key("range"));
        assert!(ranges.all(|range| range), "later ones for the rest");
    }
    let output = transfer.call(60_000).await.unwrap();
    assert!(output["parameters"].is_object(), "{output}");
    assert_staged(&transfer.sandbox);
    assert_appeared_once(&transfer.sandbox);
    assert_parts_once(&transfer.sandbox, 20);
    assert_nothing_half_staged(&transfer.sandbox);
    // What was on its way when a call stopped is all that came again.
    let sent = transfer.sandbox.sent();
    assert!(sent < LENGTH + 3 * 20 * MIB, "{sent}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_processes_go_on_where_the_deadline_stopped_the_last_one() {
    let mut transfer = Transferring::of(slow(40 * MIB), &[SMALL_PARTS]).await;
    let error = transfer.call(6_000).await.unwrap_err();
    assert_eq!(error.error_type, "JobInProgressError", "{error:?}");
    transfer.restart().await;
    transfer.succeed().await;
    assert_staged(&transfer.sandbox);
    assert_parts_once(&transfer.sandbox, 8);
    assert_eq!(transfer.sandbox.downloads().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_stores_few_parts_because_each_takes_long_writes_them_down_all_the_same() {
    let builder = Sandbox::builder()
        .data(Dataset::empty())
        .synthetic_file("Observation", 25 * MIB)
        .fault(Fault::S3Rate(4 * MIB));
    // One part after the other, 1.25 s each: when the time is over, one is on its way.
    let env = [SMALL_PARTS, ("TRANSFER_CONCURRENCY", "1")];
    let mut transfer = Transferring::of(builder, &env).await;
    let error = transfer.call(6_000).await.unwrap_err();
    assert_eq!(error.error_type, "JobInProgressError", "{error:?}");
    let stored = bytes_of(&error.error_message);
    assert!(stored >= 5 * MIB, "{error:?}");
    transfer.succeed().await;
    assert_staged(&transfer.sandbox);
    let downloads = transfer.sandbox.downloads();
    let range = downloads[1].headers.get("range");
    let from = range.and_then(|range| {
        range
            .strip_prefix("bytes=")?
            .strip_suffix('-')?
            .parse()
            .ok()
    });
    // From the last line that begins in the parts before.
    assert!(
        from.is_some_and(|from: u64| from > stored - MIB && from <= stored),
        "{range:?}"
    );
    assert_parts_once(&transfer.sandbox, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_are_staged_are_told_and_not_asked_for_again() {
    let builder = Sandbox::builder()
        .data(Dataset::empty())
        .synthetic_files("Patient", 24, MIB)
        .source_rate(RATE);
    // One after the other: what is of one part and does not come whole in one call has to come again.
    let env = [SMALL_PARTS, ("TRANSFER_CONCURRENCY", "1")];
    let mut transfer = Transferring::of(builder, &env).await;
    let error = transfer.call(4_000).await.unwrap_err();
    assert_eq!(error.error_type, "JobInProgressError", "{error:?}");
    let staged = transfer.sandbox.appearances();
    let said = format!("{} of 24 files are staged", staged.len());
    assert!(error.error_message.contains(&said), "{error:?}");
    assert!((1..24).contains(&staged.len()), "{error:?}");
    transfer.sandbox.clear_requests();
    transfer.succeed().await;
    assert_staged(&transfer.sandbox);
    let asked = transfer.sandbox.times_asked();
    assert_eq!(asked.len(), 24 - staged.len(), "{asked:?}");
}

fn command(sandbox: &Sandbox) -> pathling_import_tests::CommandRun {
    pathling_import(sandbox)
        .env("TRANSFER_MEMORY", "20MiB")
        .env("TRANSFER_DEADLINE", "4.8")
        .arg("--log-format=json")
}

/// What the log says of transfers that go on, one line each.
fn in_progress(log: &str) -> Vec<String> {
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    let progress = lines.filter_map(|line: Value| Some(line["progress"].as_str()?.to_owned()));
    progress
        .filter(|said| said.contains("files are staged"))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_keeps_to_transfer_deadline_and_takes_the_transfer_up_again() {
    let answer = Answer::new(400).outcome("invalid", "No imports today");
    let builder = slow(LENGTH).fault(Fault::answers(Place::ImportKickOff, answer));
    let sandbox = builder.start().await.unwrap();
    let finished = command(&sandbox).run().await;
    assert_eq!(finished.code, Some(1), "{}", finished.stderr);
    assert!(finished.stderr.contains("No imports today"));
    assert_staged(&sandbox);
    assert_appeared_once(&sandbox);
    assert_parts_once(&sandbox, 20);
    let said = in_progress(&finished.stderr);
    assert!(said.len() >= 3, "{said:?} in\n{}", finished.stderr);
    let bytes: Vec<u64> = said.iter().map(|said| bytes_of(said)).collect();
    assert!(bytes.is_sorted_by(|one, next| one < next), "{bytes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_whose_patience_ends_says_how_far_it_is_and_the_next_start_goes_on() {
    let sandbox = slow(40 * MIB).start().await.unwrap();
    let run = command(&sandbox).env("TRANSFER_RETRY_TIMES", "0");
    let finished = run.run().await;
    assert_eq!(finished.code, Some(4), "{}", finished.stderr);
    assert!(
        finished.stderr.contains("0 of 1 files are staged"),
        "{}",
        finished.stderr
    );
    let run = command(&sandbox).without("TRANSFER_DEADLINE");
    let _ = run.run().await.expect_code(0);
    assert_staged(&sandbox);
    assert_parts_once(&sandbox, 8);
    assert_eq!(sandbox.downloads()[1].status, Some(206));
}
