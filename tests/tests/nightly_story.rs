//! One story of some twenty nights, at each Pathling: what is asked for, fetched and imported on each of them, how far the
//! watermark is, what is due, and that the target has what the source has at the end of every one, byte for byte.
//!
//! Nothing waits for a night to pass: the source's clock is let go on. `random_nights` tells stories that nobody has written.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pathling_import_core::config::Step;
use pathling_import_tests::check::{assert_arrived, assert_arrived_of};
use pathling_import_tests::moment::until_asked;
use pathling_import_tests::{Hospital, Nights as _, Records as _, Story};
use sandbox::{Fault, PathlingVersion, Place};
use serde_json::{Value, json};

async fn the_first_one_is_full(hospital: &mut Hospital) {
    let finished = hospital.night().await;
    hospital.was_full();
    let counted = "Counted the target holds what was staged";
    assert!(finished.stdout.contains(counted), "{}", finished.stdout);
}

async fn the_next_ones_bring_what_is_new_and_what_changed(hospital: &mut Hospital) {
    hospital.day();
    hospital.put("Patient", "new", "de");
    hospital.put("Condition", "new", "de");
    hospital.night().await;
    hospital.was_a_delta_of(&["Condition.0.ndjson", "Patient.0.ndjson"]);
    hospital.day();
    hospital.put("Patient", "patient-1", "fr");
    hospital.night().await;
    hospital.was_a_delta_of(&["Patient.0.ndjson"]);
}

async fn what_is_deleted_goes(hospital: &mut Hospital) {
    hospital.day();
    hospital.delete("Patient", "patient-2");
    let finished = hospital.night().await;
    assert_eq!(
        hospital.sandbox.asked_since(),
        Some(hospital.reached.clone())
    );
    assert_eq!(hospital.sandbox.nonces().len(), 0, "there is nothing new");
    if hospital.seven {
        assert_eq!(hospital.sandbox.rows("Patient").len(), 13);
        hospital.next_is_full(&finished).await;
        hospital.was_full();
    } else {
        hospital.is_in_step();
    }
}

async fn what_was_deleted_comes_back_on_the_same_day_or_the_next(hospital: &mut Hospital) {
    hospital.day();
    hospital.put("Patient", "patient-2", "back");
    hospital.delete("Patient", "patient-3");
    hospital.put("Patient", "patient-3", "back");
    hospital.night().await;
    hospital.was_a_delta_of(&["Patient.0.ndjson"]);
    // Beside one that does not come back, at the same time as what is new.
    hospital.day();
    hospital.delete("Patient", "patient-3");
    hospital.put("Patient", "patient-2", "again");
    let finished = hospital.night().await;
    if hospital.seven {
        assert_eq!(hospital.sandbox.asked_mode(), "merge");
        hospital.next_is_full(&finished).await;
        hospital.was_full();
    } else {
        hospital.was_a_delta_of(&["Patient.0.ndjson"]);
    }
}

async fn an_import_that_fails_is_healed_by_the_next_start(hospital: &mut Hospital) {
    hospital.day();
    hospital.put("Patient", "patient-4", "fr");
    let faults = hospital.sandbox.faults();
    faults.once(Fault::ImportFails(500));
    let failed = hospital.nightly().run().await.expect_code(1);
    assert!(
        failed.stderr.contains("ImportFailedError"),
        "{}",
        failed.stderr
    );
    hospital.look();
    hospital.stayed();
    let run = hospital.sandbox.nonces().remove(0);
    let run = run.strip_suffix("-1").expect("the first attempt");
    assert_eq!(
        hospital.sandbox.asked_since(),
        Some(hospital.reached.clone())
    );
    // From what is staged, as another attempt: the same one would be answered with the failure for ever.
    hospital.sandbox.clear_requests();
    hospital.night().await;
    assert_eq!(hospital.sandbox.export_kick_offs().len(), 0);
    hospital.fetched(&[]);
    assert_eq!(hospital.sandbox.nonces(), [format!("{run}-2")]);
    assert_eq!(hospital.sandbox.asked_mode(), "merge");
    hospital.is_in_step();
}

/// The process is killed while it waits for an answer in this step.
async fn dies_in(hospital: &mut Hospital, place: Place, step: Step) {
    hospital.day();
    hospital.put("Patient", "patient-5", step.name());
    let hang = Fault::Hang(place);
    hospital.sandbox.faults().on(hang.clone());
    let run = hospital.nightly().spawn();
    let path = match step {
        Step::FhirExport => "$export",
        Step::TransferToS3 => ".ndjson",
        Step::PathlingImport => "$import",
        Step::CheckImportStatus => "$job",
        _ => "/jobs/",
    };
    until_asked(&hospital.sandbox, 1, |request| {
        request.status.is_none() && request.path.contains(path)
    })
    .await;
    run.kill().await;
    hospital.sandbox.faults().off(hang);
    hospital.stayed();
    let fetched = hospital.sandbox.file_requests().len();
    let imports = hospital.sandbox.nonces();
    // What nobody answered is asked once more.
    hospital.sandbox.clear_requests();
    let finished = hospital.night().await;
    let goes_on = "going on with the unfinished run ";
    let begun = hospital.sandbox.export_kick_offs().len();
    if step == Step::FhirExport {
        assert_eq!(begun, 1, "nobody knows of an export");
    } else {
        assert!(finished.stderr.starts_with(goes_on), "{}", finished.stderr);
        assert_eq!(begun, 0, "exports at {}", step.name());
    }
    match step {
        Step::PathlingImport | Step::CheckImportStatus => {
            assert_eq!(fetched, 1);
            hospital.fetched(&[]);
        }
        _ => hospital.fetched(&["Patient.0.ndjson"]),
    }
    if step == Step::CheckImportStatus {
        assert_eq!(imports.len(), 1);
        assert_eq!(hospital.sandbox.import_kick_offs().len(), 0);
    } else {
        assert_eq!(hospital.sandbox.nonces().len(), 1);
    }
    hospital.is_in_step();
}

async fn a_night_without_anything_new_counts(hospital: &mut Hospital) {
    hospital.day();
    let finished = hospital.night().await;
    let nothing = "Nothing to import";
    assert!(finished.stdout.contains(nothing), "{}", finished.stdout);
    assert_eq!(
        hospital.sandbox.asked_since(),
        Some(hospital.reached.clone())
    );
    hospital.fetched(&[]);
    assert_eq!(hospital.sandbox.import_kick_offs().len(), 0);
    hospital.is_in_step();
}

async fn a_run_that_comes_after_a_newer_one_is_not_imported(hospital: &mut Hospital) {
    hospital.day();
    hospital.put("Patient", "patient-6", "old");
    let mut late = Story::of(&hospital.sandbox).with("SINCE", "auto");
    let staged = late.until(Step::PathlingImport).await.unwrap();
    hospital.look();
    hospital.day();
    hospital.put("Patient", "patient-6", "new");
    hospital.night_of(hospital.nightly().arg("--fresh")).await;
    hospital.was_a_delta_of(&["Patient.0.ndjson"]);
    hospital.sandbox.clear_requests();
    let answer = late.call(Step::PathlingImport, &staged).await.unwrap();
    assert_eq!(answer["statusUrl"], Value::Null);
    assert_eq!(hospital.sandbox.import_kick_offs().len(), 0);
    hospital.stayed();
    assert_eq!(hospital.sandbox.state()["due"], Value::Null);
    assert_arrived(&hospital.sandbox);
    let ended = hospital.sandbox.state()["runs"].as_array().unwrap().clone();
    let last = &ended[ended.len() - 1];
    assert_eq!(
        (&last["run"], &last["outcome"]),
        (&staged["run"], &json!("superseded"))
    );
}

async fn a_type_that_vanishes_is_emptied(hospital: &mut Hospital) {
    hospital.day();
    for condition in hospital.sandbox.resources("Condition") {
        let condition: Value = serde_json::from_slice(&condition).unwrap();
        hospital.delete("Condition", condition["id"].as_str().unwrap());
    }
    let finished = hospital.night().await;
    if hospital.seven {
        hospital.next_is_full(&finished).await;
        hospital.moved_on();
        assert_eq!(
            hospital.sandbox.rows("Condition").len(),
            13,
            "left as it was"
        );
        assert_eq!(hospital.sandbox.state()["due"], Value::Null);
    } else {
        hospital.is_in_step();
    }
    // Told by each full run until one is asked to empty it.
    for (empty, left) in [("false", if hospital.seven { 13 } else { 0 }), ("true", 0)] {
        hospital.day();
        let once = hospital.nightly().env("SINCE", "");
        let once = once.env("IMPORT_MODE", "overwrite");
        let run = once.env("EMPTY_MISSING_TYPES", empty);
        let told = hospital.night_of(run).await;
        assert_eq!(hospital.sandbox.asked_since(), None);
        assert_eq!(hospital.sandbox.asked_mode(), "overwrite");
        assert!(told.stderr.contains("Condition"), "{}", told.stderr);
        assert_eq!(hospital.sandbox.rows("Condition").len(), left);
        hospital.moved_on();
    }
    assert_arrived(&hospital.sandbox);
}

async fn other_types_are_another_synchronisation(hospital: &mut Hospital) {
    hospital.day();
    hospital.put("Observation", "observation-1", "fr");
    hospital.put("Patient", "patient-7", "fr");
    let first = hospital.sandbox.states();
    hospital
        .night_of(hospital.nightly().env("TYPES", "Patient"))
        .await;
    assert_eq!(hospital.sandbox.asked_since(), None);
    assert_eq!(hospital.sandbox.asked_mode(), "overwrite");
    hospital.fetched(&["Patient.0.ndjson", "Patient.1.ndjson", "Patient.2.ndjson"]);
    assert_arrived_of(&hospital.sandbox, "Patient");
    let states = hospital.sandbox.states();
    let others: Vec<_> = states.iter().filter(|it| !first.contains(it)).collect();
    assert_eq!(
        (states.len(), others.len()),
        (2, 1),
        "the first is as it was"
    );
    let reached = &others[0].1["watermark"]["at"];
    let reached = reached.as_str().unwrap().to_owned();
    assert!(reached > hospital.reached);
    // Each goes on where it stood itself.
    hospital.day();
    hospital.put("Patient", "patient-8", "fr");
    hospital
        .night_of(hospital.nightly().env("TYPES", "Patient"))
        .await;
    assert_eq!(hospital.sandbox.asked_since(), Some(reached));
    hospital.fetched(&["Patient.0.ndjson"]);
    hospital.day();
    hospital.night().await;
    assert_eq!(
        hospital.sandbox.asked_since(),
        Some(hospital.reached.clone())
    );
    hospital.fetched(&["Observation.0.ndjson", "Patient.0.ndjson"]);
    assert_arrived(&hospital.sandbox);
}

async fn tell(version: PathlingVersion) {
    let mut hospital = Hospital::with(version).await;
    let told = &mut hospital;
    the_first_one_is_full(told).await;
    the_next_ones_bring_what_is_new_and_what_changed(told).await;
    what_is_deleted_goes(told).await;
    what_was_deleted_comes_back_on_the_same_day_or_the_next(told).await;
    an_import_that_fails_is_healed_by_the_next_start(told).await;
    for (place, step) in [
        (Place::KickOff, Step::FhirExport),
        (Place::Status, Step::CheckExportStatus),
        (Place::File, Step::TransferToS3),
        (Place::ImportKickOff, Step::PathlingImport),
        (Place::ImportStatus, Step::CheckImportStatus),
    ] {
        dies_in(told, place, step).await;
    }
    a_night_without_anything_new_counts(told).await;
    a_run_that_comes_after_a_newer_one_is_not_imported(told).await;
    a_type_that_vanishes_is_emptied(told).await;
    other_types_are_another_synchronisation(told).await;
}

#[tokio::test]
async fn night_after_night_at_a_pathling_that_cannot_delete() {
    tell(PathlingVersion::Seven).await;
}

#[tokio::test]
async fn night_after_night_at_a_pathling_server_that_deletes() {
    tell(PathlingVersion::Two).await;
}
