//! `--audit`: what the command writes down of an export, in a file that other Bulk Data tools read too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::Path;

use pathling_import_tests::check::{assert_arrived, assert_no_secrets};
use pathling_import_tests::moment::until;
use pathling_import_tests::{AuditLog, CommandRun, Records as _, pathling_import};
use sandbox::{Answer, Builder, Dataset, ErrorContent, Fault, Place, Sandbox, Service};
use serde_json::{Value, json};

/// Six files with links that are signed.
fn hospital() -> Builder {
    Sandbox::builder()
        .data(Dataset::of(&[("Condition", 6), ("Patient", 6)]))
        .resources_per_file(2)
        .signed_links(true)
}

fn audited(sandbox: &Sandbox, file: &Path) -> CommandRun {
    pathling_import(sandbox).arg("--audit").arg(file)
}

/// The log in a file, in which there must be no secret of any kind.
fn log(sandbox: &Sandbox, file: &Path) -> AuditLog {
    let text = std::fs::read_to_string(file).unwrap();
    assert_no_secrets(sandbox, &text);
    AuditLog::read(&text)
}

fn times(log: &AuditLog) -> BTreeMap<&str, usize> {
    let mut times = BTreeMap::new();
    for event in log.events() {
        *times.entry(event).or_default() += 1;
    }
    times
}

#[tokio::test]
async fn a_run_is_written_down_from_its_kick_off_to_its_last_file_and_so_is_its_folders_log() {
    let sandbox = hospital().polls(2).retry_after("1").start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log.ndjson");
    let run = audited(&sandbox, &file).arg("--log-format=json");
    let finished = run
        .env("EXPORT_LEVEL", "patient")
        .env("TYPES", "Patient,Condition");
    let finished = finished.env("RETRY_AFTER_MAX", "0.01").run().await;
    let summary = finished.summary();
    let log = log(&sandbox, &file);
    let events = log.events();
    assert_eq!(
        events[..6],
        [
            "kickoff",
            "status_progress",
            "status_progress",
            "status_page_complete",
            "status_complete",
            "manifest_complete",
        ]
    );
    assert_eq!(events.last(), Some(&"export_complete"));
    let times = times(&log);
    assert_eq!(
        (times["download_request"], times["download_complete"]),
        (6, 6)
    );
    assert_eq!(events.len(), 6 + 12 + 1);

    let kick_off = log.details("kickoff")[0];
    let url = format!("{}/Patient/$export", sandbox.source_endpoint());
    assert_eq!(kick_off["exportUrl"], url);
    assert_eq!(kick_off["errorCode"], Value::Null);
    assert_eq!(kick_off["fhirVersion"], "4.0.1");
    let asked = json!({"_outputFormat": "application/fhir+ndjson", "_type": "Patient,Condition"});
    assert_eq!(kick_off["requestParameters"], asked);
    let progress = log.details("status_progress");
    assert_eq!(progress[0]["xProgress"], "33% complete");
    assert_eq!(progress[0]["retryAfter"], "1");
    let manifest = log.details("manifest_complete")[0];
    assert_eq!(manifest["transactionTime"], summary["transactionTime"]);
    assert_eq!(manifest["totalOutputFileCount"], 6);
    let whole = log.details("export_complete")[0];
    for (name, of_summary) in [
        ("files", "files"),
        ("resources", "resources"),
        ("bytes", "bytes"),
    ] {
        assert_eq!(whole[name], summary[of_summary], "{name}");
    }
    let sizes = log.details("download_complete").into_iter();
    let sum: u64 = sizes
        .map(|detail| detail["fileSize"].as_u64().unwrap())
        .sum();
    assert_eq!(whole["bytes"], sum);

    // Where the run's files are, there is the same, for whoever comes later.
    let run = summary["run"].as_str().unwrap();
    assert_eq!(AuditLog::staged(&sandbox, run), log);
    assert!(log.0.iter().all(|line| line["_run"] == run));
}

#[tokio::test]
async fn a_run_that_was_killed_and_goes_on_goes_on_in_the_log_and_no_file_is_complete_twice() {
    let sandbox = hospital().start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log.ndjson");
    sandbox.faults().times(2, Fault::FileHangsMidway);
    let run = audited(&sandbox, &file).spawn();
    let complete = || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        text.matches("\"download_complete\"").count() == 4
    };
    until("the files that do not hang are complete", complete).await;
    run.kill().await;
    // A process may die in the middle of a line.
    let mut text = std::fs::read_to_string(&file).unwrap();
    let whole = text.len();
    text.push_str("{\"exportId\":\"");
    std::fs::write(&file, &text).unwrap();
    let finished = audited(&sandbox, &file).run().await.expect_code(0);
    assert_arrived(&sandbox);

    let text = std::fs::read_to_string(&file).unwrap();
    let rest = text[whole..].split_once('\n').unwrap().1;
    let log = AuditLog::read(&format!("{}{rest}", &text[..whole]));
    let times = times(&log);
    assert_eq!((times["kickoff"], times["export_complete"]), (1, 1));
    assert_eq!(
        (times["download_request"], times["download_complete"]),
        (8, 6)
    );
    let mut urls: Vec<_> = log
        .details("download_complete")
        .into_iter()
        .map(|detail| detail["fileUrl"].as_str().unwrap())
        .collect();
    urls.sort_unstable();
    urls.dedup();
    assert_eq!(urls.len(), 6);
    log.export_id();
    // The process that was killed wrote down in the folder what it had when its last step but one ended.
    let staged = AuditLog::staged(&sandbox, &finished.run());
    assert_eq!(staged.export_id(), log.export_id());
    assert_eq!(staged.details("kickoff").len(), 1);
    assert_eq!(staged.details("export_complete").len(), 1);
}

#[tokio::test]
async fn what_failed_is_written_down_with_the_answer_and_the_words_of_the_source() {
    let folder = tempfile::tempdir().unwrap();
    let says = || Answer::new(400).outcome("invalid", "no such group");
    for (place, event, code) in [
        (Place::KickOff, "kickoff", "errorCode"),
        (Place::Status, "status_error", "code"),
        (Place::File, "download_error", "code"),
        (Place::Token, "kickoff", "errorCode"),
    ] {
        let fault = Fault::answers(place, says());
        let sandbox = hospital().fault(fault).start().await.unwrap();
        let file = folder.path().join(format!("{place:?}"));
        let finished = audited(&sandbox, &file).run().await;
        assert_ne!(finished.code, Some(0), "{place:?}");
        let log = log(&sandbox, &file);
        let details = log.details(event);
        assert!(!details.is_empty(), "{place:?}: {log:?}");
        let of_answer = u64::from(place != Place::Token) * 400;
        let told = details[0][code].as_u64().unwrap_or_default();
        assert_eq!(told, of_answer, "{place:?}: {}", details[0]);
        let words = if event == "kickoff" {
            "errorBody"
        } else {
            "message"
        };
        let words = details[0][words].as_str().unwrap();
        let source = if place == Place::Token {
            "/token"
        } else {
            "no such group"
        };
        assert!(words.contains(source), "{place:?}: {words}");
        assert!(log.details("export_complete").is_empty(), "{place:?}");
    }
}

#[tokio::test]
async fn an_attempt_at_a_file_that_failed_is_written_down_beside_the_one_that_did_not() {
    let sandbox = hospital().start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log");
    sandbox.faults().once(Fault::FileCutAt(10));
    let _ = audited(&sandbox, &file).run().await.expect_code(0);
    let log = log(&sandbox, &file);
    let [error] = log.details("download_error")[..] else {
        panic!("{log:?}");
    };
    assert!(
        error["message"].as_str().unwrap().contains("early"),
        "{error}"
    );
    let of_file: Vec<_> = log
        .0
        .iter()
        .filter(|line| line["eventDetail"]["fileUrl"] == error["fileUrl"])
        .map(|line| line["eventId"].as_str().unwrap())
        .collect();
    assert_eq!(
        of_file,
        [
            "download_request",
            "download_error",
            "download_request",
            "download_complete"
        ]
    );
}

#[tokio::test]
async fn files_of_errors_are_written_down_as_such() {
    let fault = Fault::ExportErrors(ErrorContent::Warnings);
    let sandbox = hospital().fault(fault).start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log");
    let _ = audited(&sandbox, &file).run().await.expect_code(0);
    let log = log(&sandbox, &file);
    let items = log.details("download_request").into_iter();
    let errors: Vec<_> = items
        .filter(|detail| detail["itemType"] == "error")
        .collect();
    let counted = log.details("manifest_complete")[0]["totalErrorFileCount"]
        .as_u64()
        .unwrap();
    assert_eq!(errors.len() as u64, counted);
    assert!(counted > 0);
    assert!(
        errors
            .iter()
            .all(|detail| detail["resourceType"] == "OperationOutcome")
    );
    assert_eq!(log.details("download_complete").len() as u64, 6 + counted);
    assert_eq!(log.details("export_complete")[0]["files"], 6);
}

#[tokio::test]
async fn who_is_exported_and_what_the_operator_keeps_to_himself_is_not_written_down() {
    let sandbox = hospital().start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log");
    let run = audited(&sandbox, &file)
        .env("EXPORT_LEVEL", "patient")
        .env("PATIENTS", "Patient-hush-1,Patient-hush-2")
        .env("TYPE_FILTER", "Patient?name=hush-3 Condition?code=hush-4")
        .env("EXPORT_PARAMETERS", "vendor=hush-5")
        .env("SOURCE_HEADERS", "Epic-Client-ID: hush-6");
    let _ = run.run().await;
    assert_eq!(sandbox.export_kick_offs().len(), 1);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains("hush"), "{text}");
    let log = log(&sandbox, &file);
    let asked = &log.details("kickoff")[0]["requestParameters"];
    assert_eq!(asked["_typeFilter"], "Patient?name=…,Condition?code=…");
    assert_eq!(asked["vendor"], "…");
    assert_eq!(asked.get("patient"), None);
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_told_before_anybody_is_asked() {
    let sandbox = hospital().start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("absent/log.ndjson");
    for (file, words) in [
        (folder.path(), "directory"),
        (&absent, "No such file"),
        (Path::new("-"), "where the summary goes"),
    ] {
        let finished = audited(&sandbox, file).run().await;
        let shown = format!("--audit {}", file.display());
        finished.expect_error("ConfigurationError", &[&shown, words]);
    }
    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let finished = audited(&sandbox, &pipe).run().await;
    finished.expect_error("ConfigurationError", &["is a pipe"]);
    let both = audited(&sandbox, &folder.path().join("log")).arg("cancel");
    let finished = both.run().await.expect_code(2);
    assert!(
        finished.stderr.contains("synchronisation alone"),
        "{}",
        finished.stderr
    );
    let bare = pathling_import(&sandbox)
        .arg("--audit")
        .run()
        .await
        .expect_code(2);
    assert!(bare.stderr.contains("--audit <FILE>"), "{}", bare.stderr);
    assert_eq!(sandbox.requests(), []);
}

#[tokio::test]
async fn a_file_that_takes_no_more_is_a_warning_and_the_run_ends_well() {
    let sandbox = hospital().start().await.unwrap();
    let finished = audited(&sandbox, Path::new("/dev/full")).run().await;
    let finished = finished.expect_code(0);
    assert_arrived(&sandbox);
    let warnings = finished
        .stderr
        .matches("audit log cannot be written")
        .count();
    assert_eq!(warnings, 1, "{}", finished.stderr);
    // The run's own log has everything all the same.
    let staged = AuditLog::staged(&sandbox, &finished.run());
    assert_eq!(staged.details("export_complete").len(), 1);
    let puts = sandbox.requests().into_iter();
    let puts = puts
        .filter(|it| it.service == Service::S3 && it.method == "PUT" && it.path.contains("/_log"));
    assert_eq!(
        puts.count(),
        3,
        "one at the end of each step that has something to say"
    );
}

#[tokio::test]
async fn a_run_that_is_stopped_by_a_person_writes_down_what_it_had_done() {
    let sandbox = hospital().start().await.unwrap();
    sandbox.faults().once(Fault::FileHangsMidway);
    let run = pathling_import(&sandbox).spawn();
    until("the others are staged", || {
        let objects = sandbox.s3_objects().into_iter();
        let staged = objects.filter(|(key, _)| key.ends_with(".ndjson") && !key.contains("/_"));
        staged.count() == 5
    })
    .await;
    // The answers to those requests are on their way yet.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    run.signal("INT").await;
    let _ = run.wait().await.expect_code(130);
    let objects = sandbox.s3_objects();
    let log = objects
        .iter()
        .find(|(key, _)| key.ends_with("/_log.ndjson"));
    let run = log.unwrap().0.split('/').rev().nth(1).unwrap().to_owned();
    let log = AuditLog::staged(&sandbox, &run);
    assert_eq!(log.details("download_request").len(), 6);
    let complete = log.details("download_complete").len();
    assert!((1..=5).contains(&complete), "{complete}");
}
