//! Manifests of many megabytes, up to one gibibyte: they stream to staging, whole or page by page, and the functions take as
//! much memory as ever.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// How much it was is told where a test fails.
#![allow(clippy::print_stdout)]

use std::path::PathBuf;

use pathling_import_core::config::Step;
use pathling_import_tests::check::{assert_arrived, assert_no_token_leaks};
use pathling_import_tests::staged::{assert_no_upload_open, assert_staged, staging_folder};
use pathling_import_tests::traffic::Traffic as _;
use pathling_import_tests::{Records as _, Story, pathling_import};
use sandbox::{Builder, Dataset, Fault, Sandbox, Switch};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const MIB: u64 = 1 << 20;

/// What a function takes at most that reads and keeps a manifest of any size: some of it are the parts on their way, ten
/// MiB, and most of the rest is taken by a small one too.
const MOST: u64 = 64 * MIB;

/// A source whose manifest has some `files` times `bytes`.
fn source(files: usize, bytes: usize) -> Builder {
    Sandbox::builder()
        .data(Dataset::of(&[("Condition", files)]))
        .resources_per_file(1)
        .fault(Fault::OutputPadding(bytes))
}

/// The manifest of a run in staging.
fn stored(sandbox: &Sandbox, event: &Value) -> PathBuf {
    let run = event["run"].as_str().unwrap();
    staging_folder(sandbox)
        .join("runs")
        .join(run)
        .join("_manifest.json")
}

async fn memory(story: &mut Story, step: Step) -> u64 {
    let memory = story.function(step).await.memory();
    println!("{}: {} MiB", step.name(), memory / MIB);
    memory
}

/// Kicks off, and asks until the manifest is kept; gives the event of the transfer.
async fn kept(story: &mut Story) -> Value {
    let event = story.until(Step::TransferToS3).await;
    event.unwrap_or_else(|failed| panic!("{failed:?}\n{}", story.logs()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_of_eighty_megabytes_takes_no_more_memory_than_a_small_one_whole_or_in_pages() {
    for page in [None, Some(40)] {
        let mut builder = source(200, 400_000);
        if let Some(outputs) = page {
            builder = builder.page_size(outputs);
        }
        let sandbox = builder.start().await.unwrap();
        let mut story = Story::of(&sandbox);
        let event = kept(&mut story).await;
        assert_eq!(event["result"]["outputs"], 200);
        assert!(event.to_string().len() < 1000, "by its place");
        let length = std::fs::metadata(stored(&sandbox, &event)).unwrap().len();
        assert!(length > 80_000_000, "{length}");
        let whole = std::fs::read(stored(&sandbox, &event)).unwrap();
        let whole: Value = serde_json::from_slice(&whole).unwrap();
        assert_eq!(whole["output"].as_array().unwrap().len(), 200);
        assert_eq!(whole.get("link"), None);
        drop(whole);
        assert!(memory(&mut story, Step::CheckExportStatus).await <= MOST);

        let staged = story.finish(Step::TransferToS3, &event).await;
        staged.unwrap_or_else(|failed| panic!("{failed:?}\n{}", story.logs()));
        assert_staged(&sandbox);
        assert_no_upload_open(&sandbox).await;
        assert_no_token_leaks(&sandbox);
    }
}

#[tokio::test]
async fn the_command_bears_it_too_in_a_bucket_and_in_a_folder() {
    for folder in [None, Some(tempfile::tempdir().unwrap())] {
        let sandbox = source(25, 400_000).page_size(13).start().await.unwrap();
        let mut run = pathling_import(&sandbox);
        if let Some(folder) = &folder {
            run = run.env("STAGING_URL", folder.path().to_str().unwrap());
        }
        let _ = run.run().await.expect_code(0);
        assert_arrived(&sandbox);
    }
}

#[tokio::test]
async fn a_call_that_comes_again_reads_what_is_kept_and_sends_nothing() {
    let sandbox = source(20, 400_000).start().await.unwrap();
    let mut story = Story::of(&sandbox);
    let export = story.until(Step::CheckExportStatus).await.unwrap();
    let first = story.finish(Step::CheckExportStatus, &export).await;
    let parts = sandbox.part_requests().len();
    assert!(parts >= 2, "{parts}");
    let again = story.finish(Step::CheckExportStatus, &export).await;
    assert_eq!(first.unwrap(), again.unwrap());
    assert_eq!(sandbox.part_requests().len(), parts);
    assert_no_upload_open(&sandbox).await;
}

#[tokio::test]
async fn a_status_url_that_is_used_again_gets_the_large_manifest_of_each_export_its_own_place() {
    let sandbox = source(20, 400_000)
        .fault(Fault::JobNumbersRepeat)
        .start()
        .await
        .unwrap();
    let mut story = Story::of(&sandbox);
    let first = kept(&mut story).await;
    let second = kept(&mut story).await;
    assert_ne!(first["run"], second["run"]);
    for event in [&first, &second] {
        let whole = std::fs::read(stored(&sandbox, event)).unwrap();
        let whole: Value = serde_json::from_slice(&whole).unwrap();
        assert_eq!(whole["transactionTime"], event["result"]["transactionTime"]);
        assert_eq!(whole["output"].as_array().unwrap().len(), 20);
    }
    assert_no_upload_open(&sandbox).await;
}

#[tokio::test]
async fn a_part_that_the_store_refuses_for_a_moment_is_sent_again() {
    let sandbox = source(30, 400_000).start().await.unwrap();
    sandbox.faults().switch(Switch {
        fault: Fault::S3PartFails(2),
        times: Some(2),
    });
    let mut story = Story::of(&sandbox);
    let event = kept(&mut story).await;
    assert_eq!(event["result"]["outputs"], 30);
    let second = sandbox.to_s3("PUT", "partNumber=2");
    assert_eq!(second.len(), 3, "refused twice, and taken");
    assert_no_upload_open(&sandbox).await;
}

#[tokio::test]
async fn what_turns_out_to_be_no_manifest_is_not_kept_however_large() {
    let sandbox = source(30, 400_000)
        .fault(Fault::ManifestLacks("transactionTime".to_owned()))
        .start()
        .await
        .unwrap();
    let mut story = Story::of(&sandbox);
    let failed = story.until(Step::TransferToS3).await.unwrap_err();
    assert_eq!(failed.error_type, "ManifestError");
    let says = failed.error_message;
    assert!(says.contains("no transactionTime"), "{says}");
    let objects = sandbox.s3_objects();
    assert!(
        !objects
            .iter()
            .any(|(key, _)| key.ends_with("/_manifest.json"))
    );
    assert_no_upload_open(&sandbox).await;
}

#[tokio::test]
async fn without_staging_a_large_manifest_is_an_error_that_names_the_setting() {
    let sandbox = source(30, 400_000).start().await.unwrap();
    let mut story = Story::of(&sandbox).without("STAGING_URL");
    let failed = story.until(Step::TransferToS3).await.unwrap_err();
    assert_eq!(failed.error_type, "ConfigurationError");
    let says = failed.error_message;
    assert!(
        says.contains("STAGING_URL") && says.contains("the manifest has 12"),
        "{says}"
    );
}

#[tokio::test]
async fn one_that_promises_more_than_a_gibibyte_is_refused_before_it_is_read() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}/fhir", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let head = "HTTP/1.1 200 OK\r\ncontent-length: 1073741825\r\n\r\n{";
            let _ = stream.write_all(head.as_bytes()).await;
        }
    });
    let mut story = Story::of(&sandbox)
        .with("SOURCE_ENDPOINT", &endpoint)
        .with("SOURCE_AUTHENTICATION_ENABLED", "false");
    let event = json!({"statusUrl": format!("{endpoint}/status")});
    let failed = story.call(Step::CheckExportStatus, &event).await;
    let failed = failed.unwrap_err();
    assert_eq!(failed.error_type, "ManifestError");
    let says = failed.error_message;
    assert!(
        says.contains("1073741824 bytes") && says.contains("TYPES"),
        "{says}"
    );
    assert!(sandbox.polls().is_empty());
    serving.abort();
}
