//! What becomes of events: lines, and where they go.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::answered::Answered;
use crate::config::Place;
use crate::error::Kind;
use crate::progress::{KickOff, Page, Software, Total};
use crate::staging::{Options, layout};

const RUN: &str = "0123456789abcdef";

async fn staging(folder: &Path) -> Staging {
    let place = Place::Folder(folder.to_owned());
    Staging::open(&place, Options::default()).await.unwrap()
}

/// A log, and the lines that it gives.
fn audit() -> (Arc<Audit>, Arc<Mutex<Vec<Value>>>) {
    let audit = Arc::new(Audit::new(true));
    let lines = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&lines);
    audit.also_to(Arc::new(move |line: &[u8]| {
        assert_eq!(line.last(), Some(&b'\n'));
        sink.lock()
            .unwrap()
            .push(serde_json::from_slice(line).unwrap());
    }));
    audit.begin(Some("id-1"), None);
    audit.of_run(RUN, None);
    (audit, lines)
}

/// What is written of an event.
fn written(item: Item, event: Event) -> Vec<(String, Value)> {
    let (audit, lines) = audit();
    audit.observer(item)(event);
    let lines = lines.lock().unwrap();
    lines
        .iter()
        .map(|line| {
            assert_eq!(line["exportId"], "id-1");
            assert_eq!(line["_run"], RUN);
            let time = line["timestamp"].as_str().unwrap();
            assert!(time.parse::<jiff::Timestamp>().is_ok(), "{time}");
            let event = line["eventId"].as_str().unwrap();
            (event.to_owned(), line["eventDetail"].clone())
        })
        .collect()
}

fn answered(status: u16) -> Answered {
    let headers = BTreeMap::from([("date".to_owned(), "then".to_owned())]);
    Answered { status, headers }
}

#[test]
fn a_kick_off_is_written_with_what_was_asked_of_whom_and_what_came_of_it() {
    let kick_off = |outcome| {
        Event::KickedOff(Arc::new(KickOff {
            url: "https://h/Group/7/$export".to_owned(),
            parameters: BTreeMap::from([("_type".to_owned(), "Patient".to_owned())]),
            software: Software {
                name: Some("HAPI".to_owned()),
                fhir_version: Some("4.0.1".to_owned()),
                ..Software::default()
            },
            outcome,
        }))
    };
    let detail = |code: Value, body: Value| {
        json!({
            "exportUrl": "https://h/Group/7/$export",
            "errorCode": code,
            "errorBody": body,
            "softwareName": "HAPI",
            "softwareVersion": null,
            "softwareReleaseDate": null,
            "fhirVersion": "4.0.1",
            "requestParameters": {"_type": "Patient"},
            "responseHeaders": {"date": "then"},
        })
    };
    let good = written(Item::Output, kick_off(Ok(answered(202))));
    assert_eq!(
        good,
        [("kickoff".to_owned(), detail(Value::Null, Value::Null))]
    );
    let error = Kind::ExportFailed.error("no").of_answer(answered(400));
    let bad = written(Item::Output, kick_off(Err(error)));
    assert_eq!(
        bad,
        [("kickoff".to_owned(), detail(json!(400), json!("no")))]
    );
}

#[test]
fn a_complete_export_is_written_page_by_page_and_as_a_whole() {
    let page = |outputs, errors| Page {
        transaction_time: "t".to_owned(),
        outputs,
        deleted: 1,
        errors,
    };
    let lines = written(
        Item::Output,
        Event::ExportComplete(vec![page(3, 0), page(4, 2)]),
    );
    let of_page = |outputs, errors| {
        let detail = json!({"transactionTime": "t", "outputFileCount": outputs, "deletedFileCount": 1, "errorFileCount": errors});
        ("status_page_complete".to_owned(), detail)
    };
    let whole = json!({"transactionTime": "t", "totalOutputFileCount": 7, "totalDeletedFileCount": 2, "totalErrorFileCount": 2, "totalManifests": 2});
    assert_eq!(
        lines,
        [
            of_page(3, 0),
            of_page(4, 2),
            (
                "status_complete".to_owned(),
                json!({"transactionTime": "t"})
            ),
            ("manifest_complete".to_owned(), whole),
        ]
    );
}

#[test]
fn polls_and_failures_and_the_end_are_written_as_the_format_has_them() {
    let goes_on = Event::ExportGoesOn {
        progress: Some("50%".to_owned()),
        retry_after: Some(Duration::from_secs(7)),
    };
    assert_eq!(
        written(Item::Output, goes_on)[0].1,
        json!({"body": null, "xProgress": "50%", "retryAfter": "7"})
    );
    let error = Kind::SourceUnavailable.error("no answer");
    assert_eq!(
        written(Item::Output, Event::StatusFailed(error.clone()))[0].1,
        json!({"body": null, "code": null, "message": "no answer", "responseHeaders": null})
    );
    let failed = Event::FileFailed {
        index: 3,
        url: "u".to_owned(),
        error: error.of_answer(answered(503)),
    };
    assert_eq!(
        written(Item::Output, failed)[0].1,
        json!({"fileUrl": "u", "body": null, "code": 503, "message": "no answer", "responseHeaders": {"date": "then"}})
    );
    let total = Event::TransferComplete(Total {
        files: 2,
        resources: BTreeMap::from([("Patient".to_owned(), 2), ("Group".to_owned(), 1)]),
        bytes: 4,
        again: false,
        took: Duration::from_millis(5),
    });
    assert_eq!(
        written(Item::Output, total)[0].1,
        json!({"files": 2, "resources": 3, "bytes": 4, "attachments": 0, "duration": 5})
    );
}

#[test]
fn a_file_is_written_when_it_is_asked_for_and_when_it_is_done_unless_it_was_there() {
    let (audit, lines) = audit();
    let (outputs, errors) = (audit.observer(Item::Output), audit.observer(Item::Error));
    let asked = |resource_type: &str, url: &str| Event::FileAsked {
        index: 0,
        resource_type: resource_type.to_owned(),
        url: url.to_owned(),
    };
    let done = |index, fetched| Event::FileDone {
        index,
        fetched,
        bytes: 9,
        resources: 2,
    };
    outputs(asked("", "http://h/o"));
    errors(asked("OperationOutcome", "http://h/e"));
    outputs(Event::Bytes(9));
    outputs(done(0, true));
    errors(done(0, true));
    outputs(done(1, false));
    let lines = lines.lock().unwrap();
    let details: Vec<_> = lines.iter().map(|line| &line["eventDetail"]).collect();
    assert_eq!(
        details,
        [
            &json!({"fileUrl": "http://h/o", "itemType": "output", "resourceType": null}),
            &json!({"fileUrl": "http://h/e", "itemType": "error", "resourceType": "OperationOutcome"}),
            &json!({"fileUrl": "http://h/o", "resourceCount": 2, "fileSize": 9}),
            &json!({"fileUrl": "http://h/e", "resourceCount": 2, "fileSize": 9}),
        ]
    );
    assert!(lines.iter().all(|line| line["_index"] == 0));
}

/// Everything in the run's folder that is of its log, in the order of the names.
fn in_folder(folder: &Path) -> Vec<String> {
    let folder = folder.join(layout::run_folder(RUN));
    let mut names: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("_log"))
        .collect();
    names.sort();
    names
        .iter()
        .map(|name| std::fs::read_to_string(folder.join(name)).unwrap())
        .collect()
}

fn goes_on(words: &str) -> Event {
    Event::ExportGoesOn {
        progress: Some(words.to_owned()),
        retry_after: None,
    }
}

#[tokio::test]
async fn each_process_adds_its_lines_to_the_runs_log_and_none_are_there_twice() {
    let folder = tempfile::tempdir().unwrap();
    let staging = staging(folder.path()).await;
    for process in 0..3 {
        let (audit, _) = audit();
        audit.take(Item::Output, &goes_on(&format!("a{process}")));
        audit.keep(&staging).await;
        audit.keep(&staging).await;
        audit.take(Item::Output, &goes_on(&format!("b{process}")));
        audit.keep(&staging).await;
        assert!(!audit.has_unwritten());
    }
    let log = in_folder(folder.path()).concat();
    let said: Vec<_> = log
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["eventDetail"]["xProgress"].clone()
        })
        .collect();
    assert_eq!(said, ["a0", "b0", "a1", "b1", "a2", "b2"]);
}

#[tokio::test]
async fn processes_that_write_at_once_lose_none_of_each_others_lines() {
    let folder = tempfile::tempdir().unwrap();
    let staging = staging(folder.path()).await;
    let writers = (0..6).map(|process| {
        let staging = staging.clone();
        async move {
            let (audit, _) = audit();
            for line in 0..5 {
                audit.take(Item::Output, &goes_on(&format!("{process}-{line}")));
                audit.keep(&staging).await;
            }
            assert!(!audit.has_unwritten());
        }
    });
    futures_util::future::join_all(writers).await;
    let log = in_folder(folder.path()).concat();
    assert_eq!(log.lines().count(), 30);
}

#[tokio::test]
async fn tasks_that_write_at_once_lose_none_of_their_processes_lines() {
    let folder = tempfile::tempdir().unwrap();
    let staging = staging(folder.path()).await;
    let (audit, _) = audit();
    let words = "x".repeat(1000);
    let writers = (0..4).map(|_| async {
        for _ in 0..20 {
            for _ in 0..40 {
                audit.take(Item::Output, &goes_on(&words));
            }
            audit.keep(&staging).await;
        }
    });
    let work = futures_util::future::join_all(writers);
    audit.beside(&staging, work).await;
    assert!(!audit.has_unwritten());
    let log = in_folder(folder.path()).concat();
    assert_eq!(log.lines().count(), 4 * 20 * 40);
}

#[tokio::test]
async fn a_long_log_goes_on_in_further_objects_and_holds_little_memory() {
    let folder = tempfile::tempdir().unwrap();
    let staging = staging(folder.path()).await;
    let words = "x".repeat(1000);
    let (lines, processes) = (3000, 3);
    for _ in 0..processes {
        let (audit, _) = audit();
        let work = async {
            for _ in 0..lines {
                audit.take(Item::Output, &goes_on(&words));
                tokio::task::yield_now().await;
                if audit.journal.held_bytes() > 1 << 20 {
                    // A store has its time too.
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            audit.journal.held_bytes()
        };
        let left = audit.beside(&staging, work).await;
        assert!(left < 2 << 20, "{left} bytes were held to the end");
        audit.keep(&staging).await;
    }
    let objects = in_folder(folder.path());
    assert!(objects.len() > 3, "{}", objects.len());
    for object in &objects {
        assert!(object.len() <= 3 << 20 && object.ends_with('\n'));
    }
    assert_eq!(objects.concat().lines().count(), lines * processes);
}

#[tokio::test]
async fn the_kick_off_comes_along_where_the_source_counts_its_jobs_anew() {
    let folder = tempfile::tempdir().unwrap();
    let staging = staging(folder.path()).await;
    let earlier = "fedcba9876543210";
    for id in ["id-0", "id-1"] {
        let audit = Audit::new(true);
        audit.begin(Some(id), None);
        audit.of_run(earlier, None);
        audit.take(Item::Output, &goes_on(id));
        audit.keep(&staging).await;
    }
    let (audit, _) = audit();
    audit.of_run(earlier, None);
    audit.take(Item::Output, &goes_on("later"));
    audit.moved(&staging, earlier, RUN).await;
    audit.keep(&staging).await;
    let log = in_folder(folder.path()).concat();
    let said: Vec<_> = log
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["eventDetail"]["xProgress"].clone()
        })
        .collect();
    assert_eq!(said, ["id-1", "later"]);
}

#[tokio::test]
async fn a_log_that_cannot_be_written_stays_within_bounds_and_is_written_later() {
    let folder = tempfile::tempdir().unwrap();
    let staging = staging(folder.path()).await;
    let (audit, _) = audit();
    // A file stands where the run's folder should be.
    let runs = folder.path().join("runs");
    std::fs::create_dir_all(&runs).unwrap();
    std::fs::write(runs.join(RUN), "").unwrap();
    let words = "x".repeat(10_000);
    for _ in 0..1000 {
        audit.take(Item::Output, &goes_on(&words));
    }
    audit.keep(&staging).await;
    assert!(audit.has_unwritten() && audit.journal.held_bytes() <= 4 << 20);
    std::fs::remove_file(runs.join(RUN)).unwrap();
    audit.begin(Some("id-1"), Some(RUN));
    audit.keep(&staging).await;
    assert!(!audit.has_unwritten());
    assert!(in_folder(folder.path()).concat().len() > 3 << 20);
    // Of another run, nothing is held.
    audit.of_run("aa", None);
    audit.take(Item::Output, &goes_on("x"));
    audit.begin(None, Some("bb"));
    audit.of_run("bb", None);
    assert!(!audit.has_unwritten());
    assert_eq!(audit.id().get().as_deref(), Some("bb"));
}
