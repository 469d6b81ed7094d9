//! Runs of one synchronisation that are under way at the same time: they are imported one after the other, and what comes
//! too late is not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use pathling_import_core::config::Step;
use pathling_import_tests::check::assert_arrived;
use pathling_import_tests::{Records as _, Story};
use sandbox::{Builder, Dataset, Fault, Sandbox};
use serde_json::{Value, json};

fn hospital() -> Builder {
    Sandbox::builder().data(Dataset::of(&[("Patient", 12)]))
}

fn nightly(sandbox: &Sandbox) -> Story {
    Story::of(sandbox).with("SINCE", "auto")
}

/// The source's clock tells whole seconds in its answers.
async fn a_second_later() {
    tokio::time::sleep(Duration::from_millis(1100)).await;
}

/// Up to the event of `pathling-import`.
async fn staged(story: &mut Story) -> Value {
    let export = story.finish(Step::FhirExport, &json!({})).await.unwrap();
    let complete = story
        .finish(Step::CheckExportStatus, &export)
        .await
        .unwrap();
    story.finish(Step::TransferToS3, &complete).await.unwrap()
}

fn object(sandbox: &Sandbox, part: &str) -> Value {
    let objects = sandbox.s3_objects();
    let (key, _) = objects.iter().find(|(key, _)| key.contains(part)).unwrap();
    serde_json::from_slice(&sandbox.s3_object(key).unwrap()).unwrap()
}

#[tokio::test]
async fn a_run_waits_until_the_one_before_it_is_imported() {
    let sandbox = hospital().import_polls(1).start().await.unwrap();
    let (mut first, mut second) = (nightly(&sandbox), nightly(&sandbox));
    let first_staged = staged(&mut first).await;
    a_second_later().await;
    let second_staged = staged(&mut second).await;
    let importing = first
        .call(Step::PathlingImport, &first_staged)
        .await
        .unwrap();
    let waits = second.call(Step::PathlingImport, &second_staged).await;
    let waits = waits.unwrap_err();
    assert_eq!(waits.error_type, "JobInProgressError");
    let run = first_staged["run"].as_str().unwrap();
    assert!(waits.error_message.contains(run), "{waits:?}");
    assert_eq!(sandbox.import_kick_offs().len(), 1);
    first
        .finish(Step::CheckImportStatus, &importing)
        .await
        .unwrap();
    let importing = second
        .call(Step::PathlingImport, &second_staged)
        .await
        .unwrap();
    second
        .finish(Step::CheckImportStatus, &importing)
        .await
        .unwrap();
    assert_arrived(&sandbox);
    let state = object(&sandbox, "/sync/");
    assert_eq!(state["watermark"]["run"], second_staged["run"]);
    assert_eq!(
        (&state["lease"], &state["due"]),
        (&Value::Null, &Value::Null)
    );
}

#[tokio::test]
async fn a_run_that_comes_after_a_newer_one_is_superseded() {
    let sandbox = hospital().start().await.unwrap();
    let (mut late, mut newer) = (nightly(&sandbox), nightly(&sandbox));
    let late_staged = staged(&mut late).await;
    a_second_later().await;
    sandbox.source_put(&json!({"resourceType": "Patient", "id": "patient-1", "language": "de"}));
    let told = newer.tell().await.unwrap();
    let answer = late.call(Step::PathlingImport, &late_staged).await.unwrap();
    assert_eq!(answer["statusUrl"], Value::Null);
    assert_eq!(sandbox.import_kick_offs().len(), 1);
    assert_arrived(&sandbox);
    let run = late_staged["run"].as_str().unwrap();
    let record = object(&sandbox, &format!("/runs/{run}/_run.json"));
    assert_eq!(record["outcome"]["name"], "superseded");
    let newer_run = told.import["run"].as_str().unwrap();
    let by = format!("superseded by run {newer_run}");
    assert_eq!(record["outcome"]["message"], json!(by));
    assert!(
        late.logs().contains("superseded: a newer run"),
        "{}",
        late.logs()
    );
}

#[tokio::test]
async fn a_run_that_lost_its_turn_makes_a_full_run_due() {
    let sandbox = hospital().import_polls(1).start().await.unwrap();
    let mut first = nightly(&sandbox).with("LEASE_SECONDS", "1");
    let mut second = nightly(&sandbox);
    let first_staged = staged(&mut first).await;
    let importing = first
        .call(Step::PathlingImport, &first_staged)
        .await
        .unwrap();
    // As if it were frozen, or its machine's clock were.
    a_second_later().await;
    second.tell().await.unwrap();
    first
        .finish(Step::CheckImportStatus, &importing)
        .await
        .unwrap();
    let state = object(&sandbox, "/sync/");
    let why = state["due"]["why"].as_str().unwrap();
    assert!(why.contains("imported at the same time as"), "{why}");
    a_second_later().await;
    let third = nightly(&sandbox).tell().await.unwrap();
    assert_eq!(third.export["since"], Value::Null);
    assert_eq!(third.export["mode"], "overwrite");
    assert_eq!(object(&sandbox, "/sync/")["due"], Value::Null);
    assert_arrived(&sandbox);
}

#[tokio::test]
async fn an_execution_goes_on_with_a_run_that_another_did_not_finish_where_that_is_wanted() {
    let sandbox = hospital().start().await.unwrap();
    let left = staged(&mut nightly(&sandbox)).await;
    let mut next = nightly(&sandbox).with("RESUME", "true");
    let told = next.tell().await.unwrap();
    assert_eq!(told.export["run"], left["run"]);
    assert_eq!(told.export["mode"], "overwrite");
    assert_eq!(sandbox.export_kick_offs().len(), 1);
    assert_arrived(&sandbox);
    // One that has ended is not gone on with.
    let told = next.tell().await.unwrap();
    assert_ne!(told.export["run"], left["run"]);
    let left = staged(&mut nightly(&sandbox)).await;
    a_second_later().await;
    let mut late = nightly(&sandbox)
        .with("RESUME", "true")
        .with("RESUME_WITHIN", "1");
    assert_ne!(late.tell().await.unwrap().export["run"], left["run"]);
}

#[tokio::test]
async fn an_import_that_replaces_and_fails_makes_a_full_run_due_until_it_succeeds() {
    for again in [false, true] {
        let sandbox = hospital().start().await.unwrap();
        nightly(&sandbox).tell().await.unwrap();
        sandbox.source_put(&json!({"resourceType": "Patient", "id": "new"}));
        a_second_later().await;
        let mut anew = nightly(&sandbox)
            .with("SINCE", "")
            .with("IMPORT_MODE", "overwrite");
        sandbox.faults().once(Fault::ImportDropsRows);
        let importing = anew.until(Step::CheckImportStatus).await.unwrap();
        let failed = anew.finish(Step::CheckImportStatus, &importing).await;
        assert_eq!(failed.unwrap_err().error_type, "ImportIncompleteError");
        let why = &object(&sandbox, "/sync/")["due"]["why"];
        assert!(why.as_str().unwrap().contains("did not bring all"), "{why}");
        if again {
            // As a redrive does.
            anew.finish(Step::CheckImportStatus, &importing)
                .await
                .unwrap();
        } else {
            a_second_later().await;
            let told = nightly(&sandbox).tell().await.unwrap();
            assert_eq!(told.export["mode"], "overwrite");
        }
        assert_eq!(object(&sandbox, "/sync/")["due"], Value::Null);
        assert_arrived(&sandbox);
    }
}

#[tokio::test]
async fn a_run_that_is_to_be_imported_again_after_a_newer_one_names_that_one() {
    let sandbox = hospital().start().await.unwrap();
    let (mut late, mut newer) = (nightly(&sandbox), nightly(&sandbox));
    let staged = staged(&mut late).await;
    sandbox.faults().once(Fault::ImportFails(500));
    let importing = late.call(Step::PathlingImport, &staged).await.unwrap();
    let failed = late.finish(Step::CheckImportStatus, &importing).await;
    assert_eq!(failed.unwrap_err().error_type, "ImportFailedError");
    a_second_later().await;
    let told = newer.tell().await.unwrap();
    // As a redrive does.
    let answer = late
        .call(Step::CheckImportStatus, &importing)
        .await
        .unwrap();
    assert_eq!(answer["result"]["supersededBy"], told.import["run"]);
    assert_eq!(sandbox.import_kick_offs().len(), 2);
    assert_arrived(&sandbox);
}

#[tokio::test]
async fn a_run_that_was_imported_is_not_imported_again_after_another_had_its_turn() {
    let sandbox = hospital().start().await.unwrap();
    let mut early = nightly(&sandbox);
    let told = early.tell().await.unwrap();
    a_second_later().await;
    sandbox.source_put(&json!({"resourceType": "Patient", "id": "patient-1", "language": "de"}));
    a_second_later().await;
    let mut next = nightly(&sandbox);
    let staged = staged(&mut next).await;
    sandbox.faults().once(Fault::ImportFails(500));
    let importing = next.call(Step::PathlingImport, &staged).await.unwrap();
    let failed = next.finish(Step::CheckImportStatus, &importing).await;
    assert_eq!(failed.unwrap_err().error_type, "ImportFailedError");
    // As Lambda's queue may do. What the next one has deleted must not come back.
    let late = early
        .call(Step::PathlingImport, &told.staged)
        .await
        .unwrap();
    assert_eq!(late, told.import);
    assert_eq!(sandbox.import_kick_offs().len(), 2);
    next.finish(Step::CheckImportStatus, &importing)
        .await
        .unwrap();
    assert_arrived(&sandbox);
    assert_eq!(object(&sandbox, "/sync/")["due"], Value::Null);
}
