//! HL7's own examples of FHIR R4 (npm `hl7.fhir.r4.examples` 4.0.1): over 5,000 resources of nearly every type, one id
//! twice, an id over 64 characters, types that no Pathling can hold.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pathling_import_tests::check::{
    assert_arrived, assert_folder_whole, assert_no_token_leaks, assert_nothing_half_staged,
};
use pathling_import_tests::{Finished, Records as _, pathling_import};
use sandbox::{PathlingVersion, Sandbox};
use serde_json::{Value, json};

fn examples() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo-data/package");
    assert!(
        folder.join("package.json").is_file(),
        "HL7's examples are not in {}: run `make demo-data` (`make test` does)",
        folder.display()
    );
    folder
}

async fn hospital(version: PathlingVersion) -> Sandbox {
    let sandbox = Sandbox::builder()
        .pathling(version)
        .data_dir(examples())
        .resources_per_file(500)
        .polls(1)
        .import_polls(1)
        .start()
        .await
        .unwrap();
    let all: usize = sandbox
        .source_types()
        .iter()
        .map(|kind| sandbox.resources(kind).len())
        .sum();
    assert!(all > 5000, "{all} resources");
    sandbox
}

/// The number of resources of each type that the target holds, or of each that it does not.
fn counts(sandbox: &Sandbox, held: bool) -> BTreeMap<String, usize> {
    let types = sandbox.source_types().into_iter();
    types
        .filter(|kind| sandbox.holds(kind) == held)
        .map(|kind| {
            let count = sandbox.resources(&kind).len();
            (kind, count)
        })
        .collect()
}

/// Every resource of a type that the target holds is there, byte for byte; the others are named with their numbers.
fn assert_told(sandbox: &Sandbox, finished: &Finished) {
    let summary = finished.summary();
    assert_arrived(sandbox);
    assert_no_token_leaks(sandbox);
    let unsupported = counts(sandbox, false);
    assert!(unsupported.len() >= 3, "{unsupported:?}");
    assert_eq!(summary["skipped"]["unsupported"], json!(unsupported));
    assert_eq!(summary["types"], json!(counts(sandbox, true)));
}

async fn full_and_incremental(version: PathlingVersion, folder: Option<&Path>) {
    let sandbox = hospital(version).await;
    let command = || {
        let run = pathling_import(&sandbox).arg("--log-format=json");
        match folder {
            Some(folder) => run.env("STAGING_URL", folder.display().to_string()),
            None => run,
        }
    };
    let full = command().run().await;
    assert_told(&sandbox, &full);

    let manifest = format!("runs/{}/_manifest.json", full.run());
    let manifest = match folder {
        Some(folder) => std::fs::read(folder.join(&manifest)).unwrap(),
        None => sandbox.s3_object(&format!("pathling/{manifest}")).unwrap(),
    };
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let since = manifest["transactionTime"].as_str().unwrap();
    for (kind, id) in [
        ("Patient", "example"),
        ("Observation", "bmi"),
        ("Basic", "brand-new"),
    ] {
        let changed = json!({"resourceType": kind, "id": id, "language": "en"});
        assert!(sandbox.source_put(&changed));
    }
    let delta = command().env("SINCE", since).run().await;
    let types = json!({"Basic": 1, "Observation": 1, "Patient": 1});
    assert_eq!(delta.summary()["types"], types);
    assert_eq!(delta.summary()["skipped"]["unsupported"], json!({}));
    assert_arrived(&sandbox);
    assert_eq!(sandbox.nonces().len(), 2);
    match folder {
        Some(folder) => assert_folder_whole(folder),
        None => assert_nothing_half_staged(&sandbox),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_that_pathling_7_can_hold_reaches_it_over_s3_byte_for_byte() {
    full_and_incremental(PathlingVersion::Seven, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_that_pathling_2_can_hold_reaches_it_over_a_folder_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    full_and_incremental(PathlingVersion::Two, Some(folder.path())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_hold_what_makes_them_worth_trying() {
    let sandbox = hospital(PathlingVersion::Two).await;
    let mut times: BTreeMap<(String, String), usize> = BTreeMap::new();
    for kind in sandbox.source_types() {
        for line in sandbox.resources(&kind) {
            let resource: Value = serde_json::from_slice(&line).unwrap();
            let id = resource["id"].as_str().unwrap().to_owned();
            *times.entry((kind.clone(), id)).or_default() += 1;
        }
    }
    assert!(times.values().any(|times| *times == 2), "an id twice");
    assert!(times.keys().any(|(_, id)| id.len() > 64), "a long id");
    for kind in ["Bundle", "StructureDefinition", "StructureMap"] {
        assert!(counts(&sandbox, false).contains_key(kind), "{kind}");
    }
}
