//! What is told of a transfer while it works: the same events to whoever listens, and what the function and the command make
//! of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pathling_import_core::config::{Settings, Step};
use pathling_import_core::steps::{self, Context};
use pathling_import_core::transfer::Event;
use pathling_import_tests::staged::assert_staged_in;
use pathling_import_tests::{Env, Transferring, pathling_import};
use sandbox::{Answer, Builder, Dataset, Fault, Place, Sandbox};
use serde_json::{Value, json};

/// A transfer into a folder in this process, and what it told.
struct Told {
    sandbox: Sandbox,
    folder: tempfile::TempDir,
    event: Value,
}

impl Told {
    async fn of(builder: Builder) -> Self {
        let sandbox = builder.start().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut told = Self {
            sandbox,
            folder,
            event: json!({}),
        };
        for step in [Step::FhirExport, Step::CheckExportStatus] {
            told.event = told.run(step).await.0;
        }
        told
    }

    async fn run(&self, step: Step) -> (Value, Vec<Event>) {
        let env = Env::of(&self.sandbox)
            .with("STAGING_URL", self.folder.path().to_str().unwrap())
            .with("TRANSFER_MEMORY", "20MiB")
            .of_step(step);
        let env: BTreeMap<String, String> = env
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let events = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&events);
        let settings = Settings::load(step, &env, None).unwrap();
        let context = Context::new(settings)
            .observed_by(Arc::new(move |event| kept.lock().unwrap().push(event)));
        let output = steps::run(step, &context, self.event.clone());
        let output = output.await.unwrap();
        let events = std::mem::take(&mut *events.lock().unwrap());
        (output, events)
    }

    async fn transfer(&self) -> Vec<Event> {
        let (_, events) = self.run(Step::TransferToS3).await;
        assert_staged_in(&self.sandbox, self.folder.path());
        events
    }
}

/// Six files of some size, and a larger one.
fn seven() -> Builder {
    Sandbox::builder()
        .data(Dataset::empty())
        .synthetic_files("Patient", 6, 40_000)
        .synthetic_file("Observation", 12 << 20)
}

fn bytes(events: &[Event]) -> u64 {
    let bytes = events.iter().map(|event| match event {
        Event::Bytes(bytes) => *bytes,
        _ => 0,
    });
    bytes.sum()
}

#[tokio::test]
async fn every_file_is_told_when_it_begins_while_it_comes_and_when_it_is_done() {
    for sizes in [false, true] {
        let told = Told::of(seven().file_sizes(sizes)).await;
        let files = told.sandbox.source_files();
        let all: u64 = files.iter().map(sandbox::SourceFile::length).sum();
        let events = told.transfer().await;
        let planned = Event::Planned {
            files: 7,
            bytes: sizes.then_some(all),
        };
        assert_eq!(events[0], planned);
        assert_eq!(bytes(&events), all);
        for (index, file) in files.iter().enumerate() {
            let started = Event::FileStarted {
                index,
                length: Some(file.length()),
                offset: 0,
            };
            let done = Event::FileDone {
                index,
                fetched: true,
                bytes: file.length(),
                resources: file.count,
            };
            let times = |wanted: &Event| events.iter().filter(|event| *event == wanted).count();
            assert_eq!((times(&started), times(&done)), (1, 1), "{}", file.name);
            let at = |wanted| events.iter().position(|event| event == wanted);
            assert!(at(&started) < at(&done));
        }
        let asked = |event: &&Event| matches!(event, Event::FileAsked { .. });
        assert_eq!(events.iter().filter(asked).count(), 7, "once for each file");
        let whole = |event: &&Event| matches!(event, Event::TransferComplete(_));
        assert_eq!(events.iter().filter(whole).count(), 1);
        assert_eq!(events.len(), 15 + 7 + 1 + count_of_bytes(&events));

        let events = told.transfer().await;
        let fetched = |event: &Event| matches!(event, Event::FileDone { fetched: true, .. });
        assert!(!events.iter().any(fetched), "{events:?}");
        assert_eq!(events.len(), 8, "{events:?}");
    }
}

fn count_of_bytes(events: &[Event]) -> usize {
    let bytes = |event: &&Event| matches!(event, Event::Bytes(_));
    events.iter().filter(bytes).count()
}

#[tokio::test]
async fn what_is_tried_again_is_told_with_its_reason_and_so_is_patience_that_was_asked_for() {
    let builder = seven().signed_links(true);
    let told = Told::of(builder).await;
    let faults = told.sandbox.faults();
    faults.once(Fault::FileCutAt(6 << 20));
    let busy = Answer::new(429).retry_after(1);
    faults.once(Fault::answers(Place::File, busy));
    let events = told.transfer().await;
    let retried = events.iter().filter_map(|event| match event {
        Event::Retrying { what, why, .. } => Some((what, why)),
        _ => None,
    });
    let retried: Vec<_> = retried.collect();
    assert_eq!(retried.len(), 1, "{retried:?}");
    let (what, why) = retried[0];
    assert!(what.contains("/files/Observation."), "{what}");
    assert!(why.contains("early"), "{why}");
    let waited = events.iter().filter_map(|event| match event {
        Event::Waiting { what, why, wait } => Some((what, why, *wait)),
        _ => None,
    });
    let waited: Vec<_> = waited.collect();
    assert_eq!(waited.len(), 1, "{waited:?}");
    let (what, why, wait) = waited[0];
    assert!(what.contains("/files/") && why.contains("429"), "{why}");
    assert!(wait >= Duration::from_secs(1));
    // A link's signature is as good as a password.
    let signature = format!("{events:?}").contains("X-Amz-Signature=0");
    assert!(!signature, "{events:?}");
    let started = |event: &&Event| matches!(event, Event::FileStarted { .. });
    assert_eq!(
        events.iter().filter(started).count(),
        7,
        "once for each file"
    );
}

/// The lines of a log that is JSON.
fn lines(log: &str) -> Vec<Value> {
    let lines = log.lines();
    lines
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

fn said(lines: &[Value], message: &str) -> Vec<Value> {
    let said = lines.iter().filter(|line| line["message"] == message);
    said.cloned().collect()
}

#[tokio::test]
async fn the_functions_log_tells_what_was_tried_again_and_what_is_staged() {
    let builder = seven().fault(Fault::Files503(1));
    let mut transfer = Transferring::of(builder, &[]).await;
    transfer.sandbox.faults().once(Fault::FileCutAt(100));
    transfer.succeed().await;
    let lines = lines(&transfer.logs());
    let again = said(&lines, "will be tried again");
    assert_eq!(again.len(), 2, "{again:?}");
    for line in again {
        assert!(line["what"].as_str().unwrap().contains("/files/"), "{line}");
        assert!(
            line["error"].is_string() && line["wait_s"].is_number(),
            "{line}"
        );
    }
    let all = said(&lines, "everything is staged");
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!(all[0]["files"], 7);
    assert_eq!(all[0]["fetched"], 7);
    let bytes: u64 = transfer
        .sandbox
        .source_files()
        .iter()
        .map(sandbox::SourceFile::length)
        .sum();
    assert_eq!(all[0]["bytes"], bytes);
}

#[tokio::test]
async fn the_command_says_how_far_it_is_and_what_it_tries_again() {
    let sandbox = seven().start().await.unwrap();
    sandbox.faults().once(Fault::FileCutAt(100));
    let finished = pathling_import(&sandbox).run().await.expect_code(0);
    let again = finished.stderr.matches("; again in ").count();
    assert_eq!(again, 1, "{}", finished.stderr);
    assert!(finished.stderr.contains("7 files"), "{}", finished.stderr);
}
