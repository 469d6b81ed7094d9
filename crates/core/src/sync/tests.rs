use std::collections::BTreeSet;

use std::collections::BTreeMap;

use super::*;
use crate::config::Step;

fn key_with(more: &[(&str, &str)]) -> String {
    let environment: BTreeMap<String, String> = [
        ("SOURCE_ENDPOINT", "https://source.example.org/fhir"),
        ("SOURCE_AUTHENTICATION_ENABLED", "false"),
        ("TARGET_ENDPOINT", "https://target.example.org/fhir"),
    ]
    .iter()
    .chain(more)
    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
    .collect();
    key(&Settings::load(Step::FhirExport, &environment, None).unwrap())
}

#[test]
fn a_key_without_further_settings_is_the_one_it_always_was() {
    let (source, target) = (
        "https://source.example.org/fhir",
        "https://target.example.org/fhir",
    );
    let types = [("TYPES", "Patient,Condition,Patient")];
    let as_before = |types: &str| layout::sync_name(&[source, "system", types, "", target]);
    assert_eq!(key_with(&[]), as_before(""));
    assert_eq!(key_with(&types), as_before("Condition,Patient"));
    for how in [
        ("SINCE", "2026-01-01T00:00:00Z"),
        ("OUTPUT_FORMAT", "ndjson"),
        ("KICKOFF_METHOD", "post"),
        ("KICKOFF_HANDLING", "lenient"),
        ("SOURCE_HEADERS", "X: 1"),
        ("EXPORT_LEVEL", "system"),
    ] {
        assert_eq!(key_with(&[how]), as_before(""), "{how:?}");
    }
}

#[test]
fn a_key_tells_apart_whatever_decides_which_resources_an_export_has() {
    let patients = ("EXPORT_LEVEL", "patient");
    let others: [&[(&str, &str)]; 11] = [
        &[],
        &[patients],
        &[("EXPORT_LEVEL", "group/1")],
        &[("EXPORT_LEVEL", "group/2")],
        &[("UNTIL", "2026-01-01T00:00:00Z")],
        &[("TYPE_FILTER", "Patient?gender=female")],
        &[("TYPE_FILTER", "Patient?gender=female Patient?active=true")],
        &[("ELEMENTS", "id")],
        &[patients, ("PATIENTS", "1")],
        &[("INCLUDE_ASSOCIATED_DATA", "LatestProvenanceResources")],
        &[("EXPORT_PARAMETERS", "a=1")],
    ];
    let keys: BTreeSet<String> = others.iter().map(|more| key_with(more)).collect();
    assert_eq!(keys.len(), others.len());
    let either_way = [
        ("TYPE_FILTER", "Patient?active=true\nPatient?gender=female"),
        ("TYPE_FILTER", "Patient?gender=female Patient?active=true"),
    ];
    assert_eq!(key_with(&either_way[..1]), key_with(&either_way[1..]));
}

#[test]
fn kick_offs_that_nobody_answered_are_kept_in_their_order() {
    let mut state = SyncState::default();
    state.announce("1");
    assert!(state.unanswered.is_empty());
    state.announce("2");
    state.announce("3");
    assert_eq!(state.unanswered, ["1", "2"]);
    for at in 4..40 {
        state.announce(&at.to_string());
    }
    assert_eq!(state.unanswered.len(), state::UNANSWERED_KEPT);
}

/// How a run ends, of which these are the outcomes in turn; a kick-off begins it, and begins it anew where one says so.
async fn ending_with(outcomes: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let place = crate::config::Place::Folder(folder.path().to_owned());
    let options = crate::staging::Options::default();
    let staging = Staging::open(&place, options).await.unwrap();
    let begin = || {
        RunRecord::update(&staging, "a1", |record| {
            record.kick_offs.push(KickOff {
                at: staging.clock().moment(),
                ..KickOff::default()
            });
            true
        })
    };
    begin().await.unwrap();
    for outcome in outcomes {
        if *outcome == "begun anew" {
            begin().await.unwrap();
        } else {
            let ended = end_run(&staging, "a1", Some("b2"), outcome, None);
            ended.await.unwrap();
        }
    }
    let record = RunRecord::load(&staging, "a1").await.unwrap();
    record
        .ended()
        .map(|ended| ended.name.clone())
        .unwrap_or_default()
}

#[tokio::test]
async fn a_run_that_was_cancelled_stays_so_unless_its_import_was_on_its_way() {
    for (outcomes, ends) in [
        (&["cancelled", "nothing to import"][..], "cancelled"),
        (&["cancelled", "ExportFailedError"], "cancelled"),
        (&["cancelled", "imported"], "imported"),
        (&["ExportFailedError", "imported"], "imported"),
    ] {
        assert_eq!(ending_with(outcomes).await, ends, "{outcomes:?}");
    }
}

#[tokio::test]
async fn a_run_that_is_begun_anew_has_not_ended_and_may_be_cancelled_once_more() {
    assert_eq!(ending_with(&["cancelled", "begun anew"]).await, "");
    let twice = ending_with(&["cancelled", "begun anew", "cancelled"]).await;
    assert_eq!(twice, "cancelled");
}
