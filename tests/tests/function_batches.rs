//! Many machines: `check-export-status` makes batches, `transfer-to-s3` moves one, and a last call finds all of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pathling_import_core::config::Step;
use pathling_import_tests::check::{assert_arrived, assert_nothing_half_staged};
use pathling_import_tests::{Records as _, Story};
use sandbox::{Dataset, Sandbox};
use serde_json::{Value, json};

async fn sandbox(data: Dataset) -> Sandbox {
    Sandbox::builder()
        .data(data)
        .resources_per_file(2)
        .start()
        .await
        .unwrap()
}

/// The batches that an output of `check-export-status` names, as Step Functions reads them.
fn batches(sandbox: &Sandbox, complete: &Value) -> Vec<Value> {
    let place = &complete["batches"];
    assert_eq!(
        sandbox.staging_url().split('/').nth(2),
        place["bucket"].as_str()
    );
    let object = sandbox.s3_object(place["key"].as_str().unwrap());
    let text = String::from_utf8(object.expect("it is there, also where it is empty")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test]
async fn batches_bring_everything_and_the_last_call_fetches_nothing() {
    let sandbox = sandbox(Dataset::of(&[("Patient", 9), ("Condition", 6)])).await;
    let mut story = Story::of(&sandbox).with("TRANSFER_BATCHES", "true");
    let complete = story.until(Step::TransferToS3).await.unwrap();
    let run = &complete["run"];
    let mut names: Vec<_> = complete.as_object().unwrap().keys().collect();
    names.sort();
    assert_eq!(
        names,
        ["batches", "key", "result", "run", "since", "statusUrl"]
    );
    assert_eq!(
        complete["result"]["outputs"], 8,
        "by reference, however small"
    );

    let lines = batches(&sandbox, &complete);
    let mut items = Vec::new();
    for line in &lines {
        let mut names: Vec<_> = line.as_object().unwrap().keys().collect();
        names.sort();
        assert_eq!(names, ["items", "manifest", "run", "statusUrl"]);
        assert!(line.to_string().len() <= 32 * 1024);
        items.extend(line["items"].as_array().unwrap().iter().cloned());
        let answer = story.finish(Step::TransferToS3, line).await.unwrap();
        let files = line["items"].as_array().unwrap().len();
        let bytes = &answer["bytes"];
        assert_eq!(answer, json!({"run": run, "files": files, "bytes": bytes}));
    }
    items.sort_by_key(Value::as_u64);
    assert_eq!(items, (0..8).map(|item| json!(item)).collect::<Vec<_>>());

    let fetched = sandbox.file_requests().len();
    assert_eq!(fetched, 8);
    let staged = story.finish(Step::TransferToS3, &complete).await.unwrap();
    assert_eq!(sandbox.file_requests().len(), fetched, "all was there");
    let import = story.finish(Step::PathlingImport, &staged).await.unwrap();
    story
        .finish(Step::CheckImportStatus, &import)
        .await
        .unwrap();
    assert_arrived(&sandbox);
    assert_nothing_half_staged(&sandbox);
}

#[tokio::test]
async fn the_last_call_copies_what_no_batch_has_brought() {
    let sandbox = sandbox(Dataset::of(&[("Patient", 9)])).await;
    let mut story = Story::of(&sandbox).with("TRANSFER_BATCHES", "true");
    let complete = story.until(Step::TransferToS3).await.unwrap();
    let mut line = batches(&sandbox, &complete).remove(0);
    line["items"] = json!([0, 3]);
    story.finish(Step::TransferToS3, &line).await.unwrap();
    story.finish(Step::TransferToS3, &complete).await.unwrap();
    assert_eq!(sandbox.file_requests().len(), 5, "each once");
}

#[tokio::test]
async fn batches_that_were_written_once_stay_and_an_empty_export_has_none() {
    let sandbox = sandbox(Dataset::of(&[("Patient", 3)])).await;
    let mut story = Story::of(&sandbox)
        .with("TRANSFER_BATCHES", "true")
        .with("SINCE", "2099-01-01T00:00:00Z");
    let export = story.call(Step::FhirExport, &json!({})).await.unwrap();
    for _ in 0..2 {
        let complete = story
            .finish(Step::CheckExportStatus, &export)
            .await
            .unwrap();
        assert_eq!(complete["result"]["outputs"], 0);
        assert!(batches(&sandbox, &complete).is_empty());
        let staged = story.finish(Step::TransferToS3, &complete).await.unwrap();
        assert_eq!(staged["parameters"]["parameter"], json!([]));
    }
}
