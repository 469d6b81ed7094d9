//! Nothing to import: an explicit null, and never an emptied table.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pathling_import_core::config::Step;
use pathling_import_tests::check::{
    assert_import_never_asked, assert_no_token_leaks, assert_nothing_half_staged,
};
use pathling_import_tests::{Records as _, Story, Told};
use sandbox::{Dataset, Fault, PathlingVersion, Sandbox};
use serde_json::{Value, json};

/// Told by functions that would overwrite.
async fn told(sandbox: &Sandbox) -> Told {
    let mut story = Story::of(sandbox).with("IMPORT_MODE", "overwrite");
    let told = story.tell().await.unwrap();
    assert_no_token_leaks(sandbox);
    assert_nothing_half_staged(sandbox);
    told
}

fn assert_null(told: &Told) {
    let import = told.import.as_object().unwrap();
    // For the workflow's Choice, absent is not null.
    assert_eq!(import.get("statusUrl"), Some(&Value::Null));
    assert_eq!(import["run"], told.staged["run"]);
    let empty = json!({"resourceType": "Parameters", "parameter": []});
    assert_eq!(told.staged["parameters"], empty);
    assert!(told.imported.is_none());
}

fn outcome(sandbox: &Sandbox, told: &Told) -> Value {
    let run = told.import["run"].as_str().unwrap();
    let record = sandbox.s3_object(&format!("pathling/runs/{run}/_run.json"));
    let record: Value = serde_json::from_slice(&record.unwrap()).unwrap();
    record["outcome"]["name"].clone()
}

#[tokio::test]
async fn an_empty_export_needs_no_import() {
    let data = Dataset::empty();
    let sandbox = Sandbox::builder().data(data).start().await.unwrap();
    let told = told(&sandbox).await;
    assert_null(&told);
    assert_import_never_asked(&sandbox);
    assert_eq!(outcome(&sandbox, &told), "nothing to import");
}

#[tokio::test]
async fn an_export_without_an_output_needs_no_import() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    sandbox.faults().on(Fault::OutputAbsent);
    let told = told(&sandbox).await;
    assert_null(&told);
    assert_import_never_asked(&sandbox);
}

#[tokio::test]
async fn files_with_no_resources_in_them_never_empty_a_table() {
    for version in [PathlingVersion::Seven, PathlingVersion::Two] {
        for fault in [Fault::FileEmpty, Fault::FileOnlyBlankLines] {
            let sandbox = Sandbox::builder().pathling(version);
            let sandbox = sandbox.data(Dataset::synthetic(3)).start().await.unwrap();
            told(&sandbox).await;
            let before: Vec<_> = sandbox
                .target_types()
                .iter()
                .map(|kind| sandbox.rows(kind))
                .collect();
            sandbox.clear_requests();
            sandbox.faults().on(fault);
            assert_null(&told(&sandbox).await);
            assert_eq!(sandbox.import_kick_offs(), []);
            let after: Vec<_> = sandbox
                .target_types()
                .iter()
                .map(|kind| sandbox.rows(kind))
                .collect();
            assert_eq!(after, before);
        }
    }
}

#[tokio::test]
async fn one_type_without_resources_is_left_out_and_the_others_are_imported() {
    let data = Dataset::of(&[("Condition", 2), ("Patient", 2)]);
    let sandbox = Sandbox::builder().data(data).start().await.unwrap();
    told(&sandbox).await;
    assert!(sandbox.source_delete("Patient", "patient-1"));
    sandbox.faults().once(Fault::FileEmpty);
    let told = told(&sandbox).await;
    let sources = told.staged["parameters"]["parameter"].as_array().unwrap();
    assert_eq!(sources.len(), 1);
    assert_eq!(sandbox.rows("Condition").len(), 2, "untouched");
    assert_eq!(sandbox.rows("Patient").len(), 1, "replaced");
    let empty = sandbox.s3_objects();
    assert!(empty.iter().all(|(_, size)| *size > 0), "{empty:?}");
}

#[tokio::test]
async fn an_export_of_nothing_but_types_that_no_target_holds_needs_no_import() {
    let data = Dataset::of(&[("Bundle", 2), ("StructureMap", 1)]);
    let sandbox = Sandbox::builder().data(data).start().await.unwrap();
    assert_null(&told(&sandbox).await);
    assert_import_never_asked(&sandbox);
}

#[tokio::test]
async fn an_export_of_nothing_but_a_type_that_this_target_does_not_hold_needs_no_import() {
    // Pathling Server 2 has no encoder for it, Pathling 7 has: only the target's metadata can tell.
    let data = Dataset::of(&[("StructureDefinition", 2)]);
    let sandbox = Sandbox::builder().data(data).pathling(PathlingVersion::Two);
    let sandbox = sandbox.start().await.unwrap();
    let told = told(&sandbox).await;
    assert_eq!(told.import["statusUrl"], Value::Null);
    assert_import_never_asked(&sandbox);
    let sources = told.staged["parameters"]["parameter"].as_array().unwrap();
    assert_eq!(sources.len(), 1, "for a target that holds it");
}

#[tokio::test]
async fn a_null_status_url_is_no_event_for_check_import_status() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let mut story = Story::of(&sandbox);
    let event = json!({"statusUrl": null, "run": "abc"});
    let failed = story.call(Step::CheckImportStatus, &event).await;
    let failed = failed.unwrap_err();
    assert_eq!(failed.error_type, "InputError");
    assert!(failed.error_message.contains("nothing needed importing"));
}
