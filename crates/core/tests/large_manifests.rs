//! A manifest of 100,000 files, some 30 MB of JSON, in every step that meets one: what the process takes for it at most.
//!
//! One test alone, for all share one process, and its memory is what is measured. The source is in it too, so it makes the
//! manifest as it sends it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::routing::get;
use futures_util::stream;
use pathling_import_core::config::{Settings, Step};
use pathling_import_core::steps::{self, Context};
use pathling_import_core::transfer::Event;
use serde_json::{Value, json};
use tokio::sync::mpsc::{self, Receiver};

const FILES: usize = 100_000;

/// The most that the process may ever hold of physical memory, in KiB.
const MOST: u64 = 64 * 1024;

/// The manifest, some files at a time. Half of each URL is a signature that nothing shortens.
fn manifest() -> impl Iterator<Item = String> {
    let output = |index: usize| {
        let mut signature = String::new();
        let mut random = index as u64;
        while signature.len() < 128 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            write!(signature, "{random:016x}").unwrap();
        }
        let kind = ["Patient", "Condition", "Observation"][index % 3];
        let comma = if index == 0 { "" } else { "," };
        format!(
            r#"{comma}{{"type":"{kind}","url":"http://127.0.0.1:1/files/of/a/rather/long/path/of/an/export/that/has/a/name/{index:08}/{kind}.ndjson?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=20260101T000000Z&X-Amz-Signature={signature}","count":{}}}"#,
            index % 1000
        )
    };
    let head =
        r#"{"transactionTime":"2026-01-01T00:00:00Z","requiresAccessToken":false,"output":["#;
    let outputs =
        (0..FILES / 500).map(move |block| (block * 500..(block + 1) * 500).map(output).collect());
    [head.to_owned()]
        .into_iter()
        .chain(outputs)
        .chain([r#"],"error":[],"deleted":[]}"#.to_owned()])
}

async fn source() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}/fhir", listener.local_addr().unwrap());
    let status = || async {
        Body::from_stream(stream::iter(
            manifest().map(|text| Ok::<_, std::io::Error>(Bytes::from(text))),
        ))
    };
    let kick_off = || async { (StatusCode::ACCEPTED, [("content-location", "/fhir/status")]) };
    let router = Router::new()
        .route("/fhir/$export", get(kick_off))
        .route("/fhir/status", get(status));
    tokio::spawn(async move { axum::serve(listener, router).await });
    endpoint
}

fn context(endpoint: &str, staging: &Path) -> Context {
    let settings = [
        ("SOURCE_ENDPOINT", endpoint),
        ("SOURCE_AUTHENTICATION_ENABLED", "false"),
        ("TARGET_ENDPOINT", "http://127.0.0.1:1/fhir"),
        ("TARGET_AUTHENTICATION_ENABLED", "false"),
        ("STAGING_URL", staging.to_str().unwrap()),
        ("TRANSFER_CONCURRENCY", "1"),
    ];
    let settings: BTreeMap<_, _> = settings
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    Context::new(Settings::load(Step::Command, &settings, None).unwrap())
}

/// The most physical memory that this process ever held, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Begins a transfer and waits until all is planned, and how many files that are.
async fn planned(context: &Context, plans: &mut Receiver<usize>, event: &Value) -> usize {
    let transfer = steps::run(Step::TransferToS3, context, event.clone());
    tokio::select! {
        outcome = transfer => panic!("nobody has these files: {outcome:?}"),
        files = plans.recv() => files.unwrap(),
    }
}

#[tokio::test]
async fn a_manifest_of_100_000_files_takes_little_memory_in_every_step() {
    let length: usize = manifest().map(|text| text.len()).sum();
    assert!(length > 30_000_000, "{length}");
    let staging = tempfile::tempdir().unwrap();
    let endpoint = source().await;
    let (told, mut plans) = mpsc::channel(1);
    let context = context(&endpoint, staging.path()).observed_by(Arc::new(move |event| {
        if let Event::Planned { files, .. } = event {
            told.try_send(files).unwrap();
        }
    }));
    let base = peak();

    let started = steps::run(Step::FhirExport, &context, json!({}))
        .await
        .unwrap();
    let complete = steps::run(Step::CheckExportStatus, &context, started.clone())
        .await
        .unwrap();
    let after_status = peak();
    assert_eq!(complete["result"]["outputs"], FILES);
    assert!(complete.to_string().len() < 1000, "by its place");
    let run = complete["run"].as_str().unwrap();
    let stored = staging.path().join("runs").join(run).join("_manifest.json");
    let mut sent = manifest();
    let stored = std::fs::File::open(stored).unwrap();
    let mut stored = std::io::BufReader::new(stored);
    assert!(
        sent.all(|text| {
            let mut found = vec![0; text.len()];
            std::io::Read::read_exact(&mut stored, &mut found).is_ok() && found == text.as_bytes()
        }),
        "exactly as the source sent it"
    );

    // Again, now that it is stored.
    let again = steps::run(Step::CheckExportStatus, &context, started)
        .await
        .unwrap();
    assert_eq!(again["result"], complete["result"]);
    assert_eq!(planned(&context, &mut plans, &complete).await, FILES);
    let after_transfer = peak();
    let batch =
        json!({"run": run, "items": [7, 99_999], "manifest": complete["result"]["manifest"]});
    assert_eq!(planned(&context, &mut plans, &batch).await, 2);

    // The command that was stopped, and goes on.
    let unfinished = steps::unfinished(&context).await.unwrap().unwrap();
    assert_eq!(
        (unfinished.step, unfinished.run.as_str()),
        (Step::TransferToS3, run)
    );
    assert_eq!(
        unfinished.event["result"]["manifest"],
        complete["result"]["manifest"]
    );
    assert_eq!(
        planned(&context, &mut plans, &unfinished.event).await,
        FILES
    );

    let most = peak();
    assert!(
        most <= MOST,
        "KiB: {base} before, {after_status} after the status, {after_transfer} after the transfer, {most} at most"
    );
}
