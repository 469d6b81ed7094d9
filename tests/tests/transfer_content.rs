//! A file that is not what was promised is never staged, whatever its size, and what is said of it names file, line and byte.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pathling_import_tests::check::assert_nothing_half_staged;
use pathling_import_tests::staged::{only_run, staging_folder};
use pathling_import_tests::traffic::Traffic as _;
use pathling_import_tests::{RawSource, Transferring, side_by_side};
use sandbox::{Builder, Dataset, Fault, Sandbox};

const SMALL_PARTS: (&str, &str) = ("TRANSFER_MEMORY", "20MiB");

/// The depths at which files are looked at.
const DEPTHS: [&str; 3] = ["lines", "json", "none"];

fn line(id: &str) -> String {
    format!(r#"{{"resourceType":"Patient","id":"{id}","gender":"other"}}"#)
}

fn two_lines() -> Vec<u8> {
    format!("{}\n{}\n", line("1"), line("2")).into_bytes()
}

/// A transfer from this source, with these settings too.
async fn from(source: &RawSource, env: &[(&str, &str)]) -> Transferring {
    let env = [&source.env()[..], env].concat();
    let builder = Sandbox::builder().source_auth(false);
    Transferring::of(builder, &env).await
}

fn nothing_is_staged(transfer: &Transferring) {
    let staged = only_run(&staging_folder(&transfer.sandbox));
    assert!(staged.is_empty(), "{staged:?}");
    assert_nothing_half_staged(&transfer.sandbox);
}

/// The bytes of the one file that is staged.
fn staged(transfer: &Transferring) -> Vec<u8> {
    let staged = only_run(&staging_folder(&transfer.sandbox));
    assert_eq!(staged.len(), 1);
    std::fs::read(&staged[&0].path).unwrap()
}

fn with_length(length: usize, body: &[u8]) -> Vec<u8> {
    RawSource::answer(&format!("content-length: {length}"), body)
}

#[tokio::test]
async fn fewer_bytes_than_were_promised_are_no_file_even_where_they_end_with_a_line() {
    let body = two_lines();
    for (depth, count) in [("lines", None), ("json", Some(2)), ("none", None)] {
        let source = RawSource::start(count, vec![with_length(body.len() + 50, &body)]).await;
        let mut transfer = from(&source, &[("VALIDATE", depth)]).await;
        transfer
            .fail("TransferError", &["/files/1", "ended early", "6 attempts"])
            .await;
        assert_eq!(source.asked(), 6);
        nothing_is_staged(&transfer);
    }
}

#[tokio::test]
async fn bytes_after_the_promised_ones_are_not_part_of_the_file() {
    // All that a client can see of it is that the file ends too early.
    let body = two_lines();
    let short = body.len() - 10;
    let source = RawSource::start(None, vec![with_length(short, &body)]).await;
    let mut transfer = from(&source, &[]).await;
    let said = transfer
        .fail("IntegrityError", &["/files/1", "line 2 (at byte 53)"])
        .await;
    assert!(!said.contains("gender"), "{said}");
    assert_eq!(source.asked(), 2, "what a proxy did may be undone once");
    nothing_is_staged(&transfer);

    let one = line("1").len() + 1;
    let source = RawSource::start(Some(2), vec![with_length(one, &body)]).await;
    let mut transfer = from(&source, &[]).await;
    let words = ["/files/1", "1 resources", "promises 2"];
    transfer.fail("IntegrityError", &words).await;
    nothing_is_staged(&transfer);
}

#[tokio::test]
async fn a_body_that_ends_without_its_last_chunk_is_no_file() {
    let body = two_lines();
    let chunk = [format!("{:x}\r\n", body.len()).as_bytes(), &body, b"\r\n"].concat();
    let headers = "transfer-encoding: chunked";
    let whole = RawSource::answer(headers, &[&chunk[..], b"0\r\n\r\n"].concat());
    let cut = RawSource::answer(headers, &chunk);
    let source = RawSource::start(None, vec![cut.clone()]).await;
    let mut transfer = from(&source, &[]).await;
    transfer.fail("TransferError", &["/files/1"]).await;
    nothing_is_staged(&transfer);

    let source = RawSource::start(None, vec![cut, whole]).await;
    let mut transfer = from(&source, &[]).await;
    transfer.succeed().await;
    assert_eq!(staged(&transfer), body);
}

#[tokio::test]
async fn a_body_that_just_ends_is_measured_by_the_manifest_or_warned_of_once() {
    const WARNING: &str = "would look whole";
    let body = two_lines();
    let half = line("1").into_bytes();
    let ends = |body: &[u8]| RawSource::answer("x-length: unknown", body);
    let promised = serde_json::json!({"fileSize": body.len()});
    let source = RawSource::promising(&promised, vec![ends(&half)]).await;
    let mut transfer = from(&source, &[]).await;
    let words = ["/files/1", "ended early", "6 attempts"];
    transfer.fail("TransferError", &words).await;
    nothing_is_staged(&transfer);

    let source = RawSource::promising(&promised, vec![ends(&half), ends(&body)]).await;
    let mut transfer = from(&source, &[]).await;
    transfer.succeed().await;
    assert_eq!(staged(&transfer), body);
    assert!(!transfer.logs().contains(WARNING), "{}", transfer.logs());

    for (count, warned) in [(None, true), (Some(2), false)] {
        let source = RawSource::start(count, vec![ends(&body)]).await;
        let mut transfer = from(&source, &[]).await;
        transfer.succeed().await;
        let logs = transfer.logs();
        assert_eq!(logs.matches(WARNING).count(), usize::from(warned), "{logs}");
    }
}

#[tokio::test]
async fn what_was_wrong_once_is_right_on_the_second_attempt() {
    let body = two_lines();
    let right = with_length(body.len(), &body);
    let half = &body[..body.len() - 10];
    let garbled = body.to_ascii_uppercase();
    for wrong in [
        with_length(half.len(), half),
        with_length(body.len(), half),
        with_length(garbled.len(), &garbled),
    ] {
        let source = RawSource::start(Some(2), vec![wrong, right.clone()]).await;
        let mut transfer = from(&source, &[]).await;
        transfer.succeed().await;
        assert_eq!(staged(&transfer), body);
        assert_eq!(source.asked(), 2);
    }
}

#[tokio::test]
async fn each_depth_refuses_what_it_says_and_lets_the_rest_through() {
    let plain = line("1");
    let open_bracket = r#"{"resourceType":"Patient","id":"2","name":[{"family":"x"}"#;
    let open_bracket = format!("{open_bracket}}}");
    let other_type = plain.replace("Patient", "Basic");
    let no_id = r#"{"resourceType":"Patient"}"#.to_owned();
    for (bad, refused_by, says) in [
        (open_bracket.as_str(), &["json"][..], "line 2"),
        (&other_type, &["lines", "json"], "a Basic, not a Patient"),
        (&no_id, &["lines", "json"], "no id"),
        ("hello", &["lines", "json"], "line 2"),
        (
            r#"{"resourceType":"Patient","id":"3"} x"#,
            &["lines", "json"],
            "line 2",
        ),
    ] {
        let body = format!("{plain}\n{bad}\n").into_bytes();
        for depth in DEPTHS {
            let answer = with_length(body.len(), &body);
            let source = RawSource::start(Some(2), vec![answer]).await;
            let mut transfer = from(&source, &[("VALIDATE", depth)]).await;
            if refused_by.contains(&depth) {
                let at = format!("line 2 (at byte {})", plain.len() + 1);
                let said = transfer
                    .fail("IntegrityError", &["/files/1", &at, says])
                    .await;
                assert!(
                    !said.contains("family") && !said.contains("hello"),
                    "{said}"
                );
                nothing_is_staged(&transfer);
            } else {
                transfer.succeed().await;
                assert_eq!(staged(&transfer), body, "{depth}: {bad}");
            }
        }
    }
}

/// A file of many parts, with this fault at about its middle.
fn large(fault: Fault) -> Builder {
    let data = Dataset::padded("Patient", 41, 1 << 20);
    Sandbox::builder().data(data).fault(fault)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_file_with_a_bad_line_in_its_middle_leaves_no_upload_behind() {
    let cases = [
        (Fault::FileBadJson, "not one JSON object"),
        (Fault::FileLineOtherType, "a Basic, not a Patient"),
        (Fault::FileLineWithoutId, "no id"),
        (Fault::FileInvalidUtf8, "UTF-8"),
    ];
    side_by_side(2, cases, |(fault, says)| async move {
        let mut transfer = Transferring::of(large(fault), &[SMALL_PARTS]).await;
        let lines = transfer.sandbox.resources("Patient");
        let offset: usize = lines[..20].iter().map(|line| line.len() + 1).sum();
        let middle = format!("line 21 (at byte {offset})");
        let words = ["/files/Patient.0.ndjson", &middle, says];
        let said = transfer.fail("IntegrityError", &words).await;
        for content in ["Müller", "Zoë", "quick brown fox", "basic-1"] {
            assert!(!said.contains(content) && !transfer.logs().contains(content));
        }
        assert!(!transfer.sandbox.parts_stored().is_empty());
        assert_eq!(transfer.sandbox.downloads().len(), 2);
        nothing_is_staged(&transfer);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_file_with_fewer_resources_than_promised_leaves_no_upload_behind() {
    let builder = large(Fault::CountWrong);
    let mut transfer = Transferring::of(builder, &[SMALL_PARTS]).await;
    let words = ["/files/Patient.0.ndjson", "41 resources", "promises 42"];
    transfer.fail("IntegrityError", &words).await;
    nothing_is_staged(&transfer);
    let aborted = transfer.sandbox.to_s3("DELETE", "uploadId=");
    assert!(!aborted.is_empty(), "what was uploaded was aborted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_ends_at_a_line_without_being_whole_is_found_out_by_its_count() {
    let sandbox = Sandbox::builder().data(Dataset::of(&[("Patient", 9)]));
    let sandbox = sandbox.start().await.unwrap();
    let end: usize = sandbox.resources("Patient")[..5]
        .iter()
        .map(|line| line.len() + 1)
        .sum();
    let builder = Sandbox::builder()
        .data(Dataset::of(&[("Patient", 9)]))
        .fault(Fault::FileEndsAt(end as u64));
    let mut transfer = Transferring::of(builder, &[]).await;
    let words = ["/files/Patient.0.ndjson", "5 resources", "promises 9"];
    transfer.fail("IntegrityError", &words).await;
    nothing_is_staged(&transfer);
    transfer.sandbox.faults().clear();
    transfer.succeed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_of_100_mb_is_staged_in_little_memory_at_every_depth() {
    // What a debug build needs for itself is seen by a file of small lines.
    let plain = Sandbox::builder()
        .data(Dataset::empty())
        .synthetic_file("Patient", 100 << 20);
    let mut transfer = Transferring::of(plain, &[]).await;
    transfer.succeed().await;
    let usual = transfer.memory().await;
    for depth in DEPTHS {
        let builder = Sandbox::builder()
            .data(Dataset::of(&[("Patient", 5)]))
            .fault(Fault::FileLongLine(100_000_000));
        let mut transfer = Transferring::of(builder, &[("VALIDATE", depth)]).await;
        transfer.succeed().await;
        let (_, length) = transfer
            .sandbox
            .s3_objects()
            .into_iter()
            .find(|(key, _)| key.contains("/Patient/"))
            .unwrap();
        assert!(length > 100_000_000);
        pathling_import_tests::staged::assert_staged(&transfer.sandbox);
        let memory = transfer.memory().await;
        assert!(
            memory < usual + (16 << 20),
            "{depth}: {} MiB, usually {} MiB",
            memory >> 20,
            usual >> 20
        );
    }
}
