//! What the kick-off asks for, through the real functions and the command: what the source is sent by GET and by POST, and
//! that what was asked for is what arrives.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;

use pathling_import_core::config::Step::FhirExport;
use pathling_import_tests::check::{assert_arrived, assert_no_token_leaks};
use pathling_import_tests::{Records as _, Story, pathling_import};
use sandbox::{Dataset, Fault, Recorded, Sandbox};
use serde_json::{Value, json};

/// Nine patients, as many encounters, twice as many conditions and three times as many observations.
async fn hospital() -> Sandbox {
    let sandbox = Sandbox::builder().data(Dataset::synthetic(9)).start().await;
    sandbox.unwrap()
}

fn kick_off(sandbox: &Sandbox) -> Recorded {
    let all = sandbox.export_kick_offs();
    let taken: Vec<_> = all
        .into_iter()
        .filter(|asked| asked.status == Some(202))
        .collect();
    assert_eq!(taken.len(), 1, "kick-offs that were taken");
    taken.into_iter().next().unwrap()
}

/// The names and values of the Parameters that were posted.
fn posted(kick_off: &Recorded) -> Vec<(String, Value)> {
    let body = kick_off.body.as_ref().expect("it has a body");
    let entries = body["parameter"].as_array().unwrap().iter();
    entries
        .map(|entry| {
            let mut entry = entry.as_object().unwrap().clone();
            let name = entry.remove("name").unwrap().as_str().unwrap().to_owned();
            (name, entry.into_iter().next().unwrap().1)
        })
        .collect()
}

/// How many resources of each type the target holds.
fn held(sandbox: &Sandbox) -> BTreeMap<String, usize> {
    let types = sandbox.target_types().into_iter();
    types
        .map(|kind| (kind.clone(), sandbox.rows(&kind).len()))
        .collect()
}

async fn told(sandbox: &Sandbox, settings: &[(&str, &str)]) -> Value {
    let mut story = Story::of(sandbox);
    for (name, value) in settings {
        story = story.with(name, *value);
    }
    let told = match story.tell().await {
        Ok(told) => told,
        Err(failed) => panic!("{settings:?}: {failed:?}"),
    };
    assert_no_token_leaks(sandbox);
    told.export
}

#[tokio::test]
async fn without_settings_the_kick_off_is_what_it_always_was() {
    let sandbox = hospital().await;
    told(&sandbox, &[]).await;
    let asked = kick_off(&sandbox);
    assert_eq!(
        (asked.method.as_str(), asked.path.as_str()),
        ("GET", "/fhir/$export")
    );
    assert_eq!(asked.query, "_outputFormat=application%2Ffhir%2Bndjson");
    assert_eq!(asked.prefer.as_deref(), Some("respond-async"));
    assert_arrived(&sandbox);
}

#[tokio::test]
async fn a_group_is_exported_by_its_id_whatever_that_holds_and_nobody_else_is() {
    for method in ["get", "post"] {
        let sandbox = hospital().await;
        let level = [("EXPORT_LEVEL", "group/a_b"), ("KICKOFF_METHOD", method)];
        let failed = Story::of(&sandbox)
            .with("EXPORT_LEVEL", "group/a_b")
            .tell()
            .await;
        let failed = failed.unwrap_err();
        assert_eq!(
            (failed.step, failed.error_type.as_str()),
            (FhirExport, "ExportFailedError")
        );
        assert!(
            failed.error_message.contains("There is no such Group"),
            "{failed:?}"
        );
        let group = json!({"resourceType": "Group", "id": "a_b", "type": "person", "actual": true,
            "member": [{"entity": {"reference": "Patient/patient-2"}}]});
        sandbox.source_put(&group);
        told(&sandbox, &level).await;
        assert_eq!(kick_off(&sandbox).path, "/fhir/Group/a_b/$export");
        // Conditions and encounters name the patient whose number is a third of theirs.
        let wanted = [
            ("Condition", 3),
            ("Encounter", 3),
            ("Group", 1),
            ("Observation", 3),
            ("Patient", 1),
        ];
        let wanted: BTreeMap<_, _> = wanted.map(|(kind, n)| (kind.to_owned(), n)).into();
        assert_eq!(held(&sandbox), wanted, "{method}");
    }
}

#[tokio::test]
async fn all_patients_are_exported_without_what_is_about_none() {
    let sandbox = hospital().await;
    told(&sandbox, &[("EXPORT_LEVEL", "patient")]).await;
    assert_eq!(kick_off(&sandbox).path, "/fhir/Patient/$export");
    let held = held(&sandbox);
    assert_eq!(
        (held.get("Patient"), held.get("Practitioner")),
        (Some(&9), None)
    );
}

#[tokio::test]
async fn patients_are_posted_as_references_and_only_they_arrive() {
    let sandbox = hospital().await;
    let export = [
        ("EXPORT_LEVEL", "patient"),
        ("PATIENTS", "patient-1,Patient/patient-3"),
        ("TYPES", "Patient,Encounter"),
    ];
    told(&sandbox, &export).await;
    let asked = kick_off(&sandbox);
    assert_eq!((asked.method.as_str(), asked.query.as_str()), ("POST", ""));
    assert_eq!(asked.content_type.as_deref(), Some("application/fhir+json"));
    let expected = [
        ("_outputFormat", json!("application/fhir+ndjson")),
        ("_type", json!("Patient,Encounter")),
        ("patient", json!({"reference": "Patient/patient-1"})),
        ("patient", json!({"reference": "Patient/patient-3"})),
    ];
    assert_eq!(
        posted(&asked),
        expected.map(|(name, value)| (name.to_owned(), value))
    );
    let wanted = [("Encounter", 6), ("Patient", 2)];
    assert_eq!(
        held(&sandbox),
        wanted.map(|(kind, n)| (kind.to_owned(), n)).into()
    );
}

#[tokio::test]
async fn searches_with_commas_reach_the_source_whole_by_either_method() {
    let codes = "Condition?code=73211009,http%3A%2F%2Fsnomed.info%2Fsct%7C73211010";
    let filters = format!("{codes}\nPatient?gender=female Patient?_id=patient-1");
    for method in ["get", "post"] {
        let sandbox = hospital().await;
        let export = [
            ("TYPE_FILTER", filters.as_str()),
            ("KICKOFF_METHOD", method),
        ];
        told(&sandbox, &export).await;
        let held = held(&sandbox);
        // Of eighteen conditions, the codes of two in seven; of nine patients, the four with even numbers and the first.
        assert_eq!(
            (held["Condition"], held["Patient"], held["Encounter"]),
            (5, 5, 9),
            "{method}"
        );
        if method == "post" {
            let asked = posted(&kick_off(&sandbox));
            let filters = asked
                .iter()
                .filter(|(name, _)| name == "_typeFilter")
                .count();
            assert_eq!(filters, 3);
        }
    }
}

#[tokio::test]
async fn what_is_asked_of_elements_moments_and_the_vendor_reaches_the_source() {
    let sandbox = hospital().await;
    sandbox
        .faults()
        .on(Fault::KickOffWants("_vendor".to_owned()));
    let export = [
        ("ELEMENTS", "Patient.gender,Encounter.status"),
        ("UNTIL", "2999-01-01T00:00:00+02:00"),
        ("SINCE", "2001-01-01T00:00:00Z"),
        ("TYPES", "Patient,Condition"),
        ("OUTPUT_FORMAT", "ndjson"),
        ("INCLUDE_ASSOCIATED_DATA", "LatestProvenanceResources,_mine"),
        ("EXPORT_PARAMETERS", "_vendor=a%2Bb%20c"),
        ("KICKOFF_HANDLING", "strict"),
    ];
    told(&sandbox, &export).await;
    let asked = kick_off(&sandbox);
    let query = asked.query.as_str();
    for part in [
        "_elements=Patient.gender%2CEncounter.status",
        "_until=2998-12-31T22%3A00%3A00Z",
        "_outputFormat=ndjson&",
        "includeAssociatedData=LatestProvenanceResources%2C_mine",
        "_vendor=a%2Bb%20c",
    ] {
        assert!(query.contains(part), "{part}: {query}");
    }
    assert_eq!(
        asked.prefer.as_deref(),
        Some("respond-async, handling=strict")
    );
    let rows = sandbox.rows("Patient");
    assert_eq!(rows.len(), 9);
    for row in rows {
        let line: Value = serde_json::from_slice(&row.line).unwrap();
        let cut = line.get("gender").is_some() && line.get("birthDate").is_none();
        assert!(
            cut && line["meta"]["tag"][0]["code"] == "SUBSETTED",
            "{line}"
        );
    }
}

#[tokio::test]
async fn nothing_arrives_that_changed_after_until() {
    let sandbox = hospital().await;
    sandbox.source_put(&json!({"resourceType": "Patient", "id": "late"}));
    let before = "2001-01-01T00:00:00Z";
    let mut story = Story::of(&sandbox)
        .with("UNTIL", before)
        .with("TYPES", "Patient");
    let told = story.tell().await.unwrap();
    assert_eq!(told.import["statusUrl"], Value::Null, "nothing is that old");
}

#[tokio::test]
async fn exports_that_differ_in_what_they_ask_for_are_different_synchronisations() {
    let sandbox = hospital().await;
    let all = told(&sandbox, &[]).await;
    let patients = told(&sandbox, &[("EXPORT_LEVEL", "patient")]).await;
    let filtered = told(&sandbox, &[("TYPE_FILTER", "Patient?gender=female")]).await;
    let again = told(
        &sandbox,
        &[("OUTPUT_FORMAT", "ndjson"), ("KICKOFF_METHOD", "post")],
    )
    .await;
    assert_eq!(all["key"], again["key"]);
    assert_ne!(all["key"], patients["key"]);
    assert_ne!(all["key"], filtered["key"]);
    assert_ne!(filtered["key"], patients["key"]);
}

#[tokio::test]
async fn the_command_takes_it_all_from_a_file_too() {
    let sandbox = hospital().await;
    sandbox
        .faults()
        .on(Fault::SourceWantsHeader("Epic-Client-ID".to_owned()));
    let settings = json!({
        "exportLevel": "patient",
        "patients": ["patient-2"],
        "types": ["Patient", "Condition"],
        "typeFilter": ["Condition?code=73211009,73211010,73211011,73211012,73211013,73211014,73211015"],
        "sourceHeaders": {"Epic-Client-ID": "hush-epic"},
    });
    let run = pathling_import(&sandbox)
        .file("my.json", settings.to_string())
        .arg("my.json");
    let finished = run.arg("-v").run().await.expect_code(0);
    let wanted = [("Condition", 3), ("Patient", 1)];
    assert_eq!(
        held(&sandbox),
        wanted.map(|(kind, n)| (kind.to_owned(), n)).into()
    );
    assert!(!finished.all().contains("hush-epic"), "{}", finished.all());
    assert!(!finished.all().contains("patient-2"), "{}", finished.all());
}
