//! Merge or overwrite: what the export asked for decides, and never does a delta replace a table by accident.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pathling_import_core::config::Step;
use pathling_import_tests::check::{assert_arrived, assert_no_token_leaks};
use pathling_import_tests::{Records as _, Story, Told};
use sandbox::{Dataset, PathlingVersion, Sandbox};
use serde_json::{Value, json};

/// A sandbox whose target already holds all of the source, and when it was exported.
async fn synchronised(version: PathlingVersion) -> (Sandbox, String) {
    let sandbox = Sandbox::builder()
        .pathling(version)
        .data(Dataset::of(&[("Patient", 4), ("Condition", 3)]))
        .start()
        .await
        .unwrap();
    let told = Story::of(&sandbox).tell().await.unwrap();
    assert_arrived(&sandbox);
    let time = told.complete["result"]["transactionTime"].as_str().unwrap();
    (sandbox, time.to_owned())
}

fn change_a_patient_and_add_one(sandbox: &Sandbox) {
    for id in ["patient-2", "patient-99"] {
        let patient = json!({"resourceType": "Patient", "id": id, "gender": "other"});
        assert!(sandbox.source_put(&patient));
    }
}

fn modes(told: &Told) -> Vec<Value> {
    let sources = told.staged["parameters"]["parameter"].as_array().unwrap();
    let mode = |source: &Value| source["part"][2]["valueCode"].clone();
    sources.iter().map(mode).collect()
}

#[tokio::test]
async fn with_since_on_fhir_export_alone_the_import_is_a_merge() {
    for version in [PathlingVersion::Seven, PathlingVersion::Two] {
        let (sandbox, since) = synchronised(version).await;
        change_a_patient_and_add_one(&sandbox);
        let mut story = Story::of(&sandbox).only(Step::FhirExport, "SINCE", &since);
        let told = story.tell().await.unwrap();
        assert_eq!(told.staged["since"], since);
        assert_eq!(modes(&told), ["merge"], "one type changed");
        assert_eq!(sandbox.rows("Patient").len(), 5);
        assert_arrived(&sandbox);
        assert_no_token_leaks(&sandbox);
    }
}

#[tokio::test]
async fn an_overwrite_by_a_delta_is_refused_before_anything_is_fetched() {
    let (sandbox, since) = synchronised(PathlingVersion::Seven).await;
    let rows = sandbox.rows("Patient");
    change_a_patient_and_add_one(&sandbox);
    sandbox.clear_requests();
    let mut story = Story::of(&sandbox)
        .only(Step::FhirExport, "SINCE", since)
        .only(Step::TransferToS3, "IMPORT_MODE", "overwrite");
    let failed = story.tell().await.unwrap_err();
    assert_eq!(failed.step, Step::TransferToS3);
    assert_eq!(failed.error_type, "ConfigurationError");
    for word in ["IMPORT_MODE", "ALLOW_PARTIAL_OVERWRITE"] {
        assert!(failed.error_message.contains(word), "{failed:?}");
    }
    assert_eq!(sandbox.file_requests(), []);
    assert_eq!(sandbox.rows("Patient"), rows);
}

#[tokio::test]
async fn an_overwrite_by_a_delta_is_done_where_the_operator_insists() {
    let (sandbox, since) = synchronised(PathlingVersion::Two).await;
    change_a_patient_and_add_one(&sandbox);
    let mut story = Story::of(&sandbox)
        .only(Step::FhirExport, "SINCE", since)
        .only(Step::TransferToS3, "IMPORT_MODE", "overwrite")
        .only(Step::TransferToS3, "ALLOW_PARTIAL_OVERWRITE", "true");
    assert_eq!(modes(&story.tell().await.unwrap()), ["overwrite"]);
    assert_eq!(sandbox.rows("Patient").len(), 2, "nothing but the delta");
    assert_eq!(sandbox.rows("Condition").len(), 3, "another type");
}

#[tokio::test]
async fn a_full_export_is_merged_unless_overwrite_is_set_and_then_replaces() {
    for version in [PathlingVersion::Seven, PathlingVersion::Two] {
        let (sandbox, _) = synchronised(version).await;
        assert!(sandbox.source_delete("Patient", "patient-1"));
        let told = Story::of(&sandbox).tell().await.unwrap();
        assert_eq!(modes(&told), ["merge", "merge"]);
        assert_eq!(sandbox.rows("Patient").len(), 4, "a merge deletes nothing");

        let mut story = Story::of(&sandbox).with("IMPORT_MODE", "overwrite");
        let told = story.tell().await.unwrap();
        assert_eq!(modes(&told), ["overwrite", "overwrite"]);
        assert_eq!(sandbox.rows("Patient").len(), 3);
        assert_arrived(&sandbox);
    }
}

#[tokio::test]
async fn a_mode_that_fhir_export_decided_holds_against_the_setting() {
    let (sandbox, _) = synchronised(PathlingVersion::Seven).await;
    let mut story = Story::of(&sandbox);
    let mut event = story.until(Step::TransferToS3).await.unwrap();
    event["mode"] = json!("overwrite");
    let staged = story.call(Step::TransferToS3, &event).await.unwrap();
    assert_eq!(staged["mode"], "overwrite", "it is passed on");
    let source = &staged["parameters"]["parameter"][0];
    assert_eq!(source["part"][2]["valueCode"], "overwrite");
}

#[tokio::test]
async fn since_of_transfer_to_s3_tells_the_mode_where_nothing_better_does() {
    let (sandbox, since) = synchronised(PathlingVersion::Seven).await;
    let complete = Story::of(&sandbox).until(Step::TransferToS3).await.unwrap();
    let mut manifest = complete["result"].clone();
    manifest.as_object_mut().unwrap().shift_remove("request");
    let mut alone = Story::of(&sandbox)
        .with("SINCE", since)
        .with("IMPORT_MODE", "overwrite");
    let event = json!({"result": manifest});
    let failed = alone.call(Step::TransferToS3, &event).await.unwrap_err();
    assert_eq!(failed.error_type, "ConfigurationError", "it is a delta");
    // What was known better: the run's own word.
    let staged = alone.call(Step::TransferToS3, &complete).await.unwrap();
    assert_eq!(staged["since"], Value::Null);
}

#[tokio::test]
async fn only_the_types_that_are_asked_for_are_imported() {
    let sandbox = Sandbox::builder()
        .data(Dataset::synthetic(5))
        .start()
        .await
        .unwrap();
    let mut story = Story::of(&sandbox).only(Step::FhirExport, "TYPES", "Encounter,Patient");
    story.tell().await.unwrap();
    assert_eq!(sandbox.target_types(), ["Encounter", "Patient"]);
}

#[tokio::test]
async fn a_type_that_the_target_cannot_hold_is_staged_and_left_out_or_stops_the_run() {
    let data = || Dataset::of(&[("Patient", 2), ("Bundle", 1), ("StructureMap", 1)]);
    let sandbox = Sandbox::builder().data(data()).start().await.unwrap();
    let mut story = Story::of(&sandbox);
    story.tell().await.unwrap();
    assert_arrived(&sandbox);
    assert_eq!(sandbox.target_types(), ["Patient"]);
    let staged = sandbox.s3_objects();
    let staged = |kind: &str| staged.iter().any(|(key, _)| key.contains(kind));
    assert!(staged("/Bundle/") && staged("/StructureMap/"));
    assert!(
        story.logs().contains("Bundle,StructureMap"),
        "they are named"
    );

    let sandbox = Sandbox::builder().data(data()).start().await.unwrap();
    let mut story = Story::of(&sandbox).with("UNSUPPORTED_TYPES", "fail");
    let failed = story.tell().await.unwrap_err();
    assert_eq!(failed.step, Step::TransferToS3);
    assert_eq!(failed.error_type, "ConfigurationError");
    for word in ["Bundle, StructureMap", "UNSUPPORTED_TYPES", "TYPES"] {
        assert!(failed.error_message.contains(word), "{failed:?}");
    }
    assert_eq!(sandbox.file_requests(), [], "before anything is fetched");
}
