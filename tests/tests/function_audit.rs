//! The log in the run's folder: each function adds what it did, with few requests, and no run depends on it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pathling_import_core::config::Step;
use pathling_import_tests::check::{assert_arrived, assert_folder_whole, assert_no_secrets};
use pathling_import_tests::{AuditLog, Records as _, Story};
use sandbox::{Builder, Dataset, Fault, PathlingVersion, Sandbox, Service};
use serde_json::Value;

fn hospital() -> Builder {
    Sandbox::builder()
        .data(Dataset::of(&[("Condition", 6), ("Patient", 6)]))
        .resources_per_file(2)
        .signed_links(true)
}

fn run(output: &Value) -> &str {
    output["run"].as_str().unwrap()
}

fn all_text(sandbox: &Sandbox, run: &str) -> String {
    let key = format!("pathling/runs/{run}/_log.ndjson");
    String::from_utf8(sandbox.s3_object(&key).unwrap()).unwrap()
}

/// The requests for the log's objects.
fn of_log(sandbox: &Sandbox, method: &str) -> usize {
    let requests = sandbox.requests().into_iter();
    requests
        .filter(|it| it.service == Service::S3 && it.method == method && it.path.contains("/_log"))
        .count()
}

#[tokio::test]
async fn the_functions_write_one_log_between_them_whose_end_a_restart_does_not_change() {
    for version in [PathlingVersion::Seven, PathlingVersion::Two] {
        let sandbox = hospital().pathling(version).polls(2).start().await.unwrap();
        let mut story = Story::of(&sandbox);
        let export = story.until(Step::CheckExportStatus).await.unwrap();
        story.restart().await;
        let told = story.tell_from(export).await.unwrap();
        assert_arrived(&sandbox);
        let log = AuditLog::staged(&sandbox, run(&told.export));
        log.export_id();
        assert_no_secrets(&sandbox, &all_text(&sandbox, run(&told.export)));
        let events = log.events();
        assert_eq!(
            events[..3],
            ["kickoff", "status_progress", "status_progress"]
        );
        assert_eq!(events.last(), Some(&"export_complete"));
        assert_eq!(events.len(), 6 + 12 + 1);
        // Asked again, the transfer finds everything there, and has nothing to add.
        let before = log;
        story
            .call(Step::TransferToS3, &told.complete)
            .await
            .unwrap();
        assert_eq!(AuditLog::staged(&sandbox, run(&told.export)), before);
    }
}

#[tokio::test]
async fn many_machines_add_their_files_to_the_same_log() {
    let sandbox = hospital().start().await.unwrap();
    let mut story = Story::of(&sandbox).with("TRANSFER_BATCHES", "true");
    let complete = story.until(Step::TransferToS3).await.unwrap();
    let place = complete["batches"]["key"].as_str().unwrap();
    let line = String::from_utf8(sandbox.s3_object(place).unwrap()).unwrap();
    let batch: Value = serde_json::from_str(line.lines().next().unwrap()).unwrap();
    let halves = [[0, 1, 2], [3, 4, 5]].map(|items| {
        let mut half = batch.clone();
        half["items"] = items.to_vec().into();
        half
    });
    let mut other = Story::of(&sandbox);
    let (one, two) = tokio::join!(
        story.finish(Step::TransferToS3, &halves[0]),
        other.finish(Step::TransferToS3, &halves[1]),
    );
    one.unwrap();
    two.unwrap();
    let log = AuditLog::staged(&sandbox, run(&complete));
    assert_eq!(log.details("download_complete").len(), 6);
    assert!(log.details("export_complete").is_empty());
    story.finish(Step::TransferToS3, &complete).await.unwrap();
    let log = AuditLog::staged(&sandbox, run(&complete));
    assert_eq!(log.details("export_complete").len(), 1);
    log.export_id();
}

#[tokio::test]
async fn thousands_of_files_cost_the_log_a_few_requests() {
    let builder = Sandbox::builder().data(Dataset::empty());
    let sandbox = builder.outputs(4000).start().await.unwrap();
    let mut story = Story::of(&sandbox);
    let export = story.until(Step::CheckExportStatus).await.unwrap();
    let complete = story
        .finish(Step::CheckExportStatus, &export)
        .await
        .unwrap();
    let before = of_log(&sandbox, "PUT");
    story.finish(Step::TransferToS3, &complete).await.unwrap();
    let log = AuditLog::staged(&sandbox, run(&export));
    assert_eq!(log.details("download_complete").len(), 4000);
    let puts = of_log(&sandbox, "PUT") - before;
    assert!((2..=12).contains(&puts), "{puts}");
}

#[tokio::test]
async fn a_log_that_cannot_be_written_is_a_warning_and_the_run_ends_well() {
    let sandbox = hospital().start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}", folder.path().display());
    let mut story = Story::of(&sandbox).with("STAGING_URL", url);
    let export = story.until(Step::CheckExportStatus).await.unwrap();
    let file = folder
        .path()
        .join(format!("runs/{}/_log.ndjson", run(&export)));
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(AuditLog::read(&text).events(), ["kickoff"]);
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    story.tell_from(export).await.unwrap();
    assert_arrived(&sandbox);
    let warnings = story
        .logs()
        .matches("audit log could not be written")
        .count();
    assert_eq!(warnings, 2, "one of each step that had something to say");
    std::fs::remove_dir(&file).unwrap();
    assert_folder_whole(folder.path());
}

#[tokio::test]
async fn a_source_that_counts_its_jobs_anew_has_the_kick_off_in_each_runs_log() {
    let fault = Fault::JobNumbersRepeat;
    let sandbox = hospital().fault(fault).start().await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..2 {
        let mut story = Story::of(&sandbox);
        let told = story.tell().await.unwrap();
        let log = AuditLog::staged(&sandbox, run(&told.complete));
        assert_eq!(log.details("kickoff").len(), 1);
        assert_eq!(log.details("export_complete").len(), 1);
        ids.push(log.export_id().to_owned());
        assert_eq!(told.complete["run"], told.staged["run"]);
    }
    assert_ne!(ids[0], ids[1]);
    assert_eq!(sandbox.export_kick_offs().len(), 2);
}

#[tokio::test]
async fn without_staging_there_is_no_log_and_nothing_is_missing() {
    let sandbox = hospital().start().await.unwrap();
    let mut story = Story::of(&sandbox)
        .lacking(Step::FhirExport, "STAGING_URL")
        .lacking(Step::CheckExportStatus, "STAGING_URL");
    let export = story.until(Step::CheckExportStatus).await.unwrap();
    story
        .finish(Step::CheckExportStatus, &export)
        .await
        .unwrap();
    assert_eq!(sandbox.s3_objects(), []);
    assert!(!story.logs().contains("audit"), "{}", story.logs());
}
