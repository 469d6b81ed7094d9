//! The functions' metrics, in CloudWatch's embedded format: each once, with its value and its dimensions, and nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// What is counted are small whole numbers.
#![allow(clippy::float_cmp, clippy::cast_precision_loss)]

use std::collections::{BTreeMap, BTreeSet};

use pathling_import_core::config::Step;
use pathling_import_tests::check::assert_no_secrets;
use pathling_import_tests::{NAMESPACE, Records as _, Story, Telemetry};
use sandbox::{Answer, Builder, Dataset, ErrorContent, Fault, Place, Sandbox};
use serde_json::{Value, json};

/// Every metric there is, with its unit and its dimension.
const ALL: [&str; 12] = [
    "Bytes in Bytes",
    "ColdStarts in Count",
    "Errors in Count by Error",
    "Files in Count",
    "FreshnessSeconds in Seconds",
    "Resources in Count by Type",
    "Retries in Count",
    "RunsHeld in Count",
    "RunsImported in Count",
    "RunsUnverified in Count",
    "Seconds in Seconds by Step",
    "Waits in Count by Step",
];

/// Alarms and dashboard are checked against the page, so it has to be right.
#[test]
fn the_page_on_telemetry_has_every_metric_and_no_other() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/telemetry.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (_, table) = page
        .split_once("| metric | unit | dimension | what |")
        .unwrap();
    let rows = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let mut told: Vec<String> = rows
        .map(|row| {
            let cells: Vec<&str> = row
                .split('|')
                .map(|cell| cell.trim().trim_matches('`'))
                .collect();
            match cells[3] {
                "" => format!("{} in {}", cells[1], cells[2]),
                dimension => format!("{} in {} by {dimension}", cells[1], cells[2]),
            }
        })
        .collect();
    told.sort();
    assert_eq!(told, ALL);
}

async fn sandbox(builder: Builder) -> Sandbox {
    let data = Dataset::of(&[("Patient", 5), ("Condition", 3)]);
    let builder = builder.data(data).resources_per_file(2);
    builder.start().await.unwrap()
}

fn measured(sandbox: &Sandbox) -> Story {
    Story::of(sandbox).with("METRICS_NAMESPACE", NAMESPACE)
}

/// The bytes of all staged files of resources.
fn staged_bytes(sandbox: &Sandbox) -> f64 {
    let objects = sandbox.s3_objects();
    let of_resources = objects.iter().filter(|(key, _)| key.ends_with(".ndjson"));
    let files = of_resources.filter(|(key, _)| !key.contains("/_"));
    files.map(|(_, size)| *size as f64).sum()
}

#[tokio::test]
async fn a_run_of_five_functions_writes_each_metric_once_with_its_value() {
    let sandbox = sandbox(Sandbox::builder().polls(1).import_polls(1)).await;
    let mut story = measured(&sandbox);
    let told = story.tell().await.unwrap();
    let telemetry = Telemetry::of(&story, 7).await;
    let mut kinds: BTreeSet<String> = ALL.map(str::to_owned).into();
    kinds.remove("Errors in Count by Error");
    kinds.remove("RunsHeld in Count");
    kinds.remove("RunsUnverified in Count");
    assert_eq!(telemetry.kinds(), kinds);

    let mut calls = BTreeMap::<&str, usize>::new();
    for (step, seconds) in telemetry.of_metric("Seconds") {
        assert!((0.0..60.0).contains(&seconds), "{step}: {seconds}");
        *calls.entry(step).or_default() += 1;
    }
    let twice = ["check-export-status", "check-import-status"];
    let wanted =
        Step::FIVE.map(|step| (step.name(), 1 + usize::from(twice.contains(&step.name()))));
    assert_eq!(calls, BTreeMap::from(wanted));
    assert_eq!(telemetry.of_metric("Waits"), twice.map(|step| (step, 1.0)));
    assert_eq!(telemetry.of_metric("ColdStarts"), [("", 1.0); 5]);

    let files = sandbox.file_requests().len();
    assert_eq!(files, 5);
    assert_eq!(telemetry.of_metric("Files"), [("", 5.0)]);
    assert_eq!(telemetry.of_metric("Bytes"), [("", staged_bytes(&sandbox))]);
    assert_eq!(telemetry.of_metric("Retries"), [("", 0.0)]);
    let mut resources = telemetry.of_metric("Resources");
    resources.sort_by_key(|(kind, _)| *kind);
    assert_eq!(resources, [("Condition", 3.0), ("Patient", 5.0)]);

    assert_eq!(telemetry.of_metric("RunsImported"), [("", 1.0)]);
    let [("", fresh)] = telemetry.of_metric("FreshnessSeconds")[..] else {
        panic!("{:?}", telemetry.metrics)
    };
    assert!(told.complete["result"]["transactionTime"].is_string());
    assert!((0.0..300.0).contains(&fresh), "{fresh}");
    assert_no_secrets(&sandbox, &telemetry.text);
}

#[tokio::test]
async fn a_warm_call_is_no_cold_start_and_what_was_counted_is_not_counted_again() {
    let sandbox = sandbox(Sandbox::builder()).await;
    let mut story = measured(&sandbox);
    let told = story.tell().await.unwrap();
    let before = Telemetry::of(&story, 5).await;
    story
        .finish(Step::TransferToS3, &told.complete)
        .await
        .unwrap();
    story
        .finish(Step::CheckImportStatus, &told.import)
        .await
        .unwrap();
    let after = Telemetry::of(&story, 7).await;
    for name in [
        "ColdStarts",
        "Files",
        "Bytes",
        "Resources",
        "RunsImported",
        "FreshnessSeconds",
    ] {
        assert_eq!(before.sum(name), after.sum(name), "{name}");
    }
    assert_eq!(after.of_metric("ColdStarts").len(), 5);
    assert_eq!(after.of_metric("Seconds").len(), 7);
}

#[tokio::test]
async fn a_file_that_was_lost_from_staging_is_fetched_again_and_its_resources_are_not_new() {
    let sandbox = sandbox(Sandbox::builder()).await;
    // The source has it still.
    let mut story = measured(&sandbox).with("DELETE_EXPORT_JOB", "false");
    let complete = story.until(Step::TransferToS3).await.unwrap();
    story.finish(Step::TransferToS3, &complete).await.unwrap();
    let objects = sandbox.s3_objects();
    let is_file = |key: &str| key.ends_with(".ndjson") && !key.contains("/_");
    let (lost, bytes) = objects.iter().find(|(key, _)| is_file(key)).unwrap();
    std::fs::remove_file(sandbox.bucket().join(lost)).unwrap();
    story.finish(Step::TransferToS3, &complete).await.unwrap();
    let telemetry = Telemetry::of(&story, 4).await;
    assert_eq!(telemetry.of_metric("Files"), [("", 5.0), ("", 1.0)]);
    let whole = staged_bytes(&sandbox);
    assert_eq!(
        telemetry.of_metric("Bytes"),
        [("", whole), ("", *bytes as f64)]
    );
    assert_eq!(telemetry.sum("Resources"), 8.0);
}

#[tokio::test]
async fn a_failure_counts_under_its_name_and_under_no_other() {
    let sandbox = sandbox(Sandbox::builder().polls(1)).await;
    let mut story = measured(&sandbox);
    let event = story.call(Step::FhirExport, &json!({})).await.unwrap();
    story
        .call(Step::CheckExportStatus, &event)
        .await
        .unwrap_err();
    sandbox.faults().on(Fault::ManifestIsArray);
    let failed = story
        .call(Step::CheckExportStatus, &event)
        .await
        .unwrap_err();
    assert_eq!(failed.error_type, "ManifestError");
    let telemetry = Telemetry::of(&story, 3).await;
    assert_eq!(telemetry.of_metric("Errors"), [("ManifestError", 1.0)]);
    assert_eq!(telemetry.of_metric("Waits"), [("check-export-status", 1.0)]);
}

#[tokio::test]
async fn settings_that_are_wrong_count_too() {
    let sandbox = sandbox(Sandbox::builder()).await;
    let mut story = measured(&sandbox).without("SOURCE_ENDPOINT");
    let failed = story.call(Step::FhirExport, &json!({})).await.unwrap_err();
    assert_eq!(failed.error_type, "ConfigurationError");
    let telemetry = Telemetry::of(&story, 1).await;
    assert_eq!(telemetry.of_metric("Errors"), [("ConfigurationError", 1.0)]);

    let mut story = measured(&sandbox).with("METRICS_NAMESPACE", "AWS/Lambda");
    let failed = story.call(Step::FhirExport, &json!({})).await.unwrap_err();
    assert_eq!(failed.error_type, "ConfigurationError");
    let said = failed.error_message;
    assert!(
        said.contains("METRICS_NAMESPACE") && said.contains("AWS/"),
        "{said}"
    );
    assert!(Telemetry::of(&story, 1).await.metrics.is_empty());
}

#[tokio::test]
async fn a_request_that_is_sent_again_is_a_retry_and_no_error() {
    let sandbox = sandbox(Sandbox::builder()).await;
    let mut story = measured(&sandbox);
    let event = story.until(Step::TransferToS3).await.unwrap();
    sandbox.faults().once(Fault::answers(Place::File, 500));
    story.finish(Step::TransferToS3, &event).await.unwrap();
    let telemetry = Telemetry::of(&story, 3).await;
    assert_eq!(telemetry.of_metric("Retries"), [("", 1.0)]);
    assert_eq!(telemetry.of_metric("Files"), [("", 5.0)]);
    assert!(telemetry.of_metric("Errors").is_empty());
}

#[tokio::test]
async fn a_retry_for_which_there_is_no_time_is_planned_and_not_made() {
    let sandbox = sandbox(Sandbox::builder()).await;
    let mut story = measured(&sandbox).with("TRANSFER_DEADLINE", "2");
    let event = story.until(Step::TransferToS3).await.unwrap();
    let patience = Answer::new(503).retry_after(60);
    sandbox.faults().on(Fault::answers(Place::File, patience));
    story.call(Step::TransferToS3, &event).await.unwrap_err();
    assert!(story.logs().contains("will be tried again"));
    let telemetry = Telemetry::of(&story, 3).await;
    assert_eq!(telemetry.of_metric("Retries"), [("", 0.0)]);
}

#[tokio::test]
async fn a_run_that_is_held_is_imported_and_counts_as_held_and_not_as_fresh() {
    let sandbox = sandbox(Sandbox::builder()).await;
    sandbox
        .faults()
        .on(Fault::ExportErrors(ErrorContent::Errors));
    let mut story = measured(&sandbox);
    story.tell().await.unwrap();
    let telemetry = Telemetry::of(&story, 5).await;
    assert_eq!(telemetry.of_metric("RunsImported"), [("", 1.0)]);
    assert_eq!(telemetry.of_metric("RunsHeld"), [("", 1.0)]);
    assert!(telemetry.of_metric("FreshnessSeconds").is_empty());
    let held = |line: &&&Value| line["held"] == true;
    let summaries = telemetry.summaries();
    let [line] = summaries.iter().filter(held).collect::<Vec<_>>()[..] else {
        panic!("{summaries:#?}")
    };
    assert_eq!(line["step"], "check-import-status");

    let mut story = measured(&sandbox).with("EXPORT_ERRORS", "warn");
    story.tell().await.unwrap();
    let telemetry = Telemetry::of(&story, 5).await;
    assert!(telemetry.of_metric("RunsHeld").is_empty());
    assert_eq!(telemetry.of_metric("FreshnessSeconds").len(), 1);
}

#[tokio::test]
async fn a_run_whose_import_is_not_proved_counts_as_unverified() {
    let sandbox = sandbox(Sandbox::builder()).await;
    let mut story = measured(&sandbox).with("VERIFY_IMPORT", "none");
    story.tell().await.unwrap();
    let telemetry = Telemetry::of(&story, 5).await;
    assert_eq!(telemetry.of_metric("RunsUnverified"), [("", 1.0)]);
    let unverified = |line: &&Value| line["unverified"] == true;
    assert_eq!(
        telemetry
            .summaries()
            .iter()
            .filter(|line| unverified(line))
            .count(),
        1
    );
}

#[tokio::test]
async fn workers_count_what_they_fetch_and_the_call_that_finds_all_staged_its_resources() {
    let sandbox = sandbox(Sandbox::builder()).await;
    let mut story = measured(&sandbox).with("TRANSFER_BATCHES", "true");
    let complete = story.until(Step::TransferToS3).await.unwrap();
    let key = complete["batches"]["key"].as_str().unwrap();
    let lines = String::from_utf8(sandbox.s3_object(key).unwrap()).unwrap();
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for line in &lines {
        story.finish(Step::TransferToS3, line).await.unwrap();
    }
    let telemetry = Telemetry::of(&story, 2 + lines.len()).await;
    assert_eq!(telemetry.sum("Files"), 5.0);
    assert_eq!(telemetry.sum("Bytes"), staged_bytes(&sandbox));
    assert!(telemetry.of_metric("Resources").is_empty());
    story.finish(Step::TransferToS3, &complete).await.unwrap();
    let telemetry = Telemetry::of(&story, 3 + lines.len()).await;
    assert_eq!(telemetry.sum("Files"), 5.0);
    assert_eq!(telemetry.sum("Resources"), 8.0);
}

#[tokio::test]
async fn a_run_without_anything_to_import_is_fresh_and_is_no_import() {
    let builder = Sandbox::builder().data(Dataset::empty());
    let sandbox = builder.start().await.unwrap();
    let mut story = measured(&sandbox);
    let told = story.tell().await.unwrap();
    assert_eq!(told.import["statusUrl"], Value::Null);
    let telemetry = Telemetry::of(&story, 4).await;
    assert!(telemetry.of_metric("RunsImported").is_empty());
    assert_eq!(telemetry.of_metric("FreshnessSeconds").len(), 1);
}

#[tokio::test]
async fn without_a_namespace_there_are_none() {
    let sandbox = sandbox(Sandbox::builder()).await;
    let mut story = Story::of(&sandbox);
    story.tell().await.unwrap();
    let telemetry = Telemetry::of(&story, 5).await;
    assert!(telemetry.metrics.is_empty(), "{:?}", telemetry.metrics);
    assert_eq!(telemetry.summaries().len(), 5);
}
