//! Night after night under `SINCE=auto`: what is asked for follows from what has arrived, deletions too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use pathling_import_tests::check::{assert_arrived, assert_arrived_of};
use pathling_import_tests::{CommandRun, Finished, Nights as _, Records as _, pathling_import};
use sandbox::{Builder, Dataset, ErrorContent, Fault, PathlingVersion, Place, Sandbox};
use serde_json::{Value, json};

fn hospital(version: PathlingVersion) -> Builder {
    let data = Dataset::of(&[("Condition", 12), ("Patient", 12)]);
    Sandbox::builder()
        .pathling(version)
        .data(data)
        .resources_per_file(5)
}

fn nightly(sandbox: &Sandbox) -> CommandRun {
    pathling_import(sandbox).env("SINCE", "auto")
}

/// A night at least a second after whatever was before: the watermark has whole seconds.
async fn night(sandbox: &Sandbox) -> Finished {
    sandbox.clock().advance(std::time::Duration::from_secs(1));
    nightly(sandbox).run().await.expect_code(0)
}

fn patient(id: &str, word: &str) -> Value {
    json!({"resourceType": "Patient", "id": id, "language": word})
}

#[tokio::test]
async fn the_first_night_brings_everything_and_each_one_after_it_what_changed() {
    for version in [PathlingVersion::Seven, PathlingVersion::Two] {
        let sandbox = hospital(version).start().await.unwrap();
        let first = night(&sandbox).await;
        assert_eq!(sandbox.asked_since(), None);
        assert_eq!(sandbox.asked_mode(), "overwrite");
        assert_arrived(&sandbox);
        let reached = sandbox
            .watermark()
            .expect("the first night moves the watermark");
        let next = format!("Next    what changes after {reached}");
        assert!(first.stdout.contains(&next), "{}", first.stdout);
        let counted = "Counted the target holds what was staged";
        assert!(first.stdout.contains(counted), "{}", first.stdout);

        sandbox.source_put(&patient("new", "de"));
        night(&sandbox).await;
        assert_eq!(sandbox.asked_since(), Some(reached.clone()));
        assert_eq!(sandbox.asked_mode(), "merge");
        assert_arrived(&sandbox);
        let moved = sandbox.watermark().unwrap();
        assert!(moved > reached, "{moved} {reached}");
    }
}

#[tokio::test]
async fn a_night_without_anything_new_moves_the_watermark_too() {
    let sandbox = hospital(PathlingVersion::Two).start().await.unwrap();
    night(&sandbox).await;
    let reached = sandbox.watermark().unwrap();
    sandbox.clock().advance(std::time::Duration::from_hours(24));
    let quiet = night(&sandbox).await;
    assert!(
        quiet.stdout.contains("Nothing to import"),
        "{}",
        quiet.stdout
    );
    assert_eq!(sandbox.import_kick_offs().len(), 1);
    assert!(sandbox.watermark().unwrap() > reached);
}

#[tokio::test]
async fn an_overlap_reaches_further_back() {
    let sandbox = hospital(PathlingVersion::Two).start().await.unwrap();
    night(&sandbox).await;
    let reached: jiff::Timestamp = sandbox.watermark().unwrap().parse().unwrap();
    let run = nightly(&sandbox).env("SINCE_OVERLAP", "3600").run();
    let _ = run.await.expect_code(0);
    let asked: jiff::Timestamp = sandbox.asked_since().unwrap().parse().unwrap();
    assert_eq!(reached.duration_since(asked).as_secs(), 3600);
}

#[tokio::test]
async fn what_the_source_deletes_is_deleted_and_what_comes_back_is_there() {
    let sandbox = hospital(PathlingVersion::Two).start().await.unwrap();
    night(&sandbox).await;
    assert!(
        sandbox.source_delete("Patient", "patient-1"),
        "ids are known"
    );
    for id in ["patient-2", "patient-3"] {
        assert!(sandbox.source_delete("Patient", id));
    }
    sandbox.source_put(&patient("patient-3", "back"));
    let finished = night(&sandbox).await;
    assert!(
        finished.stdout.contains("as the source did"),
        "{}",
        finished.stdout
    );
    assert_arrived(&sandbox);
    // A night with nothing but deletions asks for no import, and has them too.
    let imports = sandbox.import_kick_offs().len();
    assert!(sandbox.source_delete("Condition", "condition-1"));
    night(&sandbox).await;
    assert_eq!(sandbox.import_kick_offs().len(), imports);
    assert_arrived(&sandbox);
}

#[tokio::test]
async fn deletions_at_a_target_that_cannot_delete_make_the_next_night_a_full_one() {
    let sandbox = hospital(PathlingVersion::Seven).start().await.unwrap();
    night(&sandbox).await;
    assert!(sandbox.source_delete("Patient", "patient-1"));
    let due = night(&sandbox).await;
    let line = "Due     the next run is a full one: Pathling 7 cannot delete";
    assert!(due.stdout.contains(line), "{}", due.stdout);
    assert_eq!(sandbox.rows("Patient").len(), 12);
    let full = night(&sandbox).await;
    assert_eq!(sandbox.asked_since(), None);
    assert_eq!(sandbox.asked_mode(), "overwrite");
    assert!(!full.stdout.contains("Due  "), "{}", full.stdout);
    assert_arrived(&sandbox);
    assert_eq!(sandbox.state()["due"], Value::Null);
}

#[tokio::test]
async fn too_many_deletions_and_those_that_are_not_wanted_one_by_one_make_a_full_run_due() {
    for (name, value, why) in [
        (
            "DELETIONS_LIMIT",
            "1",
            "more than 1 resources (DELETIONS_LIMIT)",
        ),
        ("DELETIONS", "refresh", "DELETIONS=refresh"),
    ] {
        let sandbox = hospital(PathlingVersion::Two).start().await.unwrap();
        night(&sandbox).await;
        for id in ["patient-1", "patient-2"] {
            assert!(sandbox.source_delete("Patient", id));
        }
        let run = nightly(&sandbox).env(name, value).run().await;
        let due = run.expect_code(0);
        assert!(due.stdout.contains(why), "{}", due.stdout);
        assert_eq!(sandbox.rows("Patient").len(), 12, "none is deleted");
        night(&sandbox).await;
        assert_arrived(&sandbox);
    }
}

#[tokio::test]
async fn deletions_that_are_ignored_are_named_and_nothing_follows() {
    let sandbox = hospital(PathlingVersion::Two).start().await.unwrap();
    night(&sandbox).await;
    assert!(sandbox.source_delete("Patient", "patient-1"));
    let run = nightly(&sandbox).env("DELETIONS", "ignore").run().await;
    let ignored = run.expect_code(0);
    let words = "not applied (DELETIONS=ignore)";
    assert!(ignored.stdout.contains(words), "{}", ignored.stdout);
    assert_eq!(sandbox.rows("Patient").len(), 12);
    assert_eq!(sandbox.state()["due"], Value::Null);
}

#[tokio::test]
async fn errors_of_the_export_keep_the_watermark_where_it_was() {
    let sandbox = hospital(PathlingVersion::Two).start().await.unwrap();
    night(&sandbox).await;
    let reached = sandbox.watermark().unwrap();
    sandbox.source_put(&patient("new", "de"));
    sandbox
        .faults()
        .on(Fault::ExportErrors(ErrorContent::Errors));
    let held = night(&sandbox).await;
    assert!(
        held.stdout.contains("EXPORT_ERRORS=hold"),
        "{}",
        held.stdout
    );
    assert_eq!(sandbox.watermark(), Some(reached.clone()));
    sandbox.faults().clear();
    night(&sandbox).await;
    assert_eq!(sandbox.asked_since(), Some(reached));
    assert_arrived(&sandbox);
}

#[tokio::test]
async fn an_import_that_lost_rows_in_silence_is_found_out_and_done_again() {
    let sandbox = hospital(PathlingVersion::Two).start().await.unwrap();
    sandbox.faults().once(Fault::ImportDropsRows);
    let failed = nightly(&sandbox).run().await;
    failed.expect_error(
        "ImportIncompleteError",
        &["Patient: expected 12, found 0", "goes on"],
    );
    assert_eq!(sandbox.watermark(), None);
    night(&sandbox).await;
    assert_eq!(sandbox.export_kick_offs().len(), 1, "from what is staged");
    assert_arrived(&sandbox);
    assert!(sandbox.watermark().is_some());
}

#[tokio::test]
async fn a_target_that_may_not_be_counted_is_believed_and_that_is_said() {
    let sandbox = hospital(PathlingVersion::Two).start().await.unwrap();
    let scopes = "pathling:import pathling:write";
    let run = nightly(&sandbox).env("TARGET_SCOPES", scopes).run().await;
    let finished = run.expect_code(0);
    assert!(
        finished.stderr.contains("pathling:search"),
        "{}",
        finished.stderr
    );
    assert!(
        finished.stdout.contains("Counted no: "),
        "{}",
        finished.stdout
    );
    let unverified = &sandbox.state()["watermark"]["unverified"];
    assert!(unverified.is_string(), "{unverified}");
    let run = nightly(&sandbox).env("VERIFY_IMPORT", "none").run().await;
    assert!(!run.expect_code(0).stderr.contains("pathling:search"));
}

/// As if the last full run were long ago, in staging that is a folder.
fn age(staging: &Path) {
    let states = std::fs::read_dir(staging.join("sync")).unwrap();
    let mut states = states.map(|it| it.unwrap().path());
    let path = states.find(|it| it.extension().is_some_and(|it| it == "json"));
    let path = path.expect("there is a state");
    let mut state: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert!(state["full"]["at"].is_string(), "{state}");
    state["full"]["at"] = json!("2020-01-01T00:00:00.000000Z");
    std::fs::write(&path, state.to_string()).unwrap();
}

#[tokio::test]
async fn a_full_run_is_due_by_time() {
    let sandbox = hospital(PathlingVersion::Two).start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let run = async || {
        let run = nightly(&sandbox).env("FULL_EVERY", "30d");
        let run = run.env("STAGING_URL", folder.path().to_str().unwrap());
        let _ = run.run().await.expect_code(0);
    };
    run().await;
    run().await;
    assert!(sandbox.asked_since().is_some());
    age(folder.path());
    run().await;
    assert_eq!(sandbox.asked_since(), None);
    assert_eq!(sandbox.asked_mode(), "overwrite");
}

#[tokio::test]
async fn a_type_that_vanishes_is_named_and_emptied_where_that_is_wanted() {
    let sandbox = hospital(PathlingVersion::Two).start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let full = async |empty: &str| {
        let run = nightly(&sandbox).env("FULL_EVERY", "1m");
        let run = run.env("STAGING_URL", folder.path().to_str().unwrap());
        let run = run.env("EMPTY_MISSING_TYPES", empty);
        run.run().await.expect_code(0)
    };
    full("false").await;
    for number in 1..=12 {
        let id = format!("condition-{number}");
        assert!(sandbox.source_delete("Condition", &id), "{id}");
    }
    age(folder.path());
    let named = full("false").await;
    let words = "EMPTY_MISSING_TYPES=true has them emptied";
    assert!(named.stderr.contains(words), "{}", named.stderr);
    assert_eq!(sandbox.rows("Condition").len(), 12);
    // Told until it is done.
    for (empty, left) in [("false", 12), ("true", 0)] {
        age(folder.path());
        let told = full(empty).await;
        assert!(told.stderr.contains("Condition"), "{}", told.stderr);
        assert_eq!(sandbox.rows("Condition").len(), left);
    }
    age(folder.path());
    let quiet = full("false").await;
    assert!(
        !quiet.stderr.contains("EMPTY_MISSING_TYPES"),
        "{}",
        quiet.stderr
    );
    assert_arrived_of(&sandbox, "Patient");
}

#[tokio::test]
async fn a_type_that_came_with_a_delta_and_vanished_is_emptied_too() {
    let sandbox = hospital(PathlingVersion::Seven).start().await.unwrap();
    night(&sandbox).await;
    let observation = json!({"resourceType": "Observation", "id": "new", "language": "de"});
    sandbox.source_put(&observation);
    night(&sandbox).await;
    assert!(sandbox.source_delete("Observation", "new"));
    night(&sandbox).await;
    let run = nightly(&sandbox).env("EMPTY_MISSING_TYPES", "true").run();
    let _ = run.await.expect_code(0);
    assert_eq!(sandbox.asked_since(), None);
    assert_arrived(&sandbox);
}

#[tokio::test]
async fn how_it_stands_is_told_and_an_exit_code_says_when_it_is_too_old() {
    let sandbox = hospital(PathlingVersion::Two).start().await.unwrap();
    let status = |age: &str| nightly(&sandbox).arg("status").arg("--max-age").arg(age);
    let never = status("1w").run().await.expect_code(1);
    let nothing = "Never in step so far: there is no s3://";
    assert!(never.stdout.starts_with(nothing), "{}", never.stdout);
    let finished = night(&sandbox).await;
    let reached = sandbox.watermark().unwrap();
    let fresh = status("1w").run().await.expect_code(0);
    let line = format!("In step up to {reached}, ");
    assert!(fresh.stdout.starts_with(&line), "{}", fresh.stdout);
    let run = finished.run();
    assert!(
        fresh.stdout.contains(&format!("{run}  imported")),
        "{}",
        fresh.stdout
    );
    let history = nightly(&sandbox).arg("history").arg("--log-format=json");
    let history = history.run().await.expect_code(0);
    let history: Value = serde_json::from_str(&history.stdout).unwrap();
    assert_eq!(history[0]["run"], json!(run));
    assert_eq!(sandbox.export_kick_offs().len(), 1, "nobody is asked");
}

#[tokio::test]
async fn the_last_error_is_told_until_a_run_comes_further() {
    let sandbox = hospital(PathlingVersion::Two).start().await.unwrap();
    let status = async |format: &str| {
        let status = nightly(&sandbox).arg("status").arg("--log-format");
        status.arg(format).run().await.expect_code(0).stdout
    };
    let refuses = Fault::answers(Place::KickOff, 500);
    sandbox.faults().on(refuses.clone());
    let failed = nightly(&sandbox).run().await;
    failed.expect_error("SourceUnavailableError", &["500"]);
    let told = status("human").await;
    assert!(told.contains("\nLast error at "), "{told}");
    let why = " in fhir-export: SourceUnavailableError: ";
    assert!(told.contains(why), "{told}");
    sandbox.faults().off(refuses);

    let busy = Fault::answers(Place::ImportKickOff, 503);
    sandbox.faults().on(busy.clone());
    let failed = nightly(&sandbox).run().await;
    failed.expect_error("TargetUnavailableError", &["503"]);
    let told: Value = serde_json::from_str(&status("json").await).unwrap();
    assert_eq!(told["lastError"]["step"], "pathling-import");
    assert_eq!(told["lastError"]["run"], told["inProgress"]["run"]);
    let why = told["lastError"]["error"].as_str().unwrap();
    assert!(why.starts_with("TargetUnavailableError: "), "{why}");
    sandbox.faults().off(busy);

    night(&sandbox).await;
    let told = status("human").await;
    assert!(!told.contains("Last error"), "{told}");
    assert!(!told.contains("Under way"), "{told}");
    assert_arrived(&sandbox);
}

#[tokio::test]
async fn who_only_looks_at_how_it_stands_makes_nothing() {
    let sandbox = hospital(PathlingVersion::Two).start().await.unwrap();
    let look = |word: &str| {
        let look = nightly(&sandbox);
        let folder = look.folder().join("not-there");
        let look = look.env("STAGING_URL", folder.to_str().unwrap());
        (look.arg(word).run(), folder)
    };
    for word in ["status", "history", "report", "verify"] {
        let (looking, folder) = look(word);
        let looked = looking.await;
        match word {
            "status" => {
                let nothing = "Never in step so far: there is no file://";
                assert!(looked.stdout.starts_with(nothing), "{}", looked.stdout);
            }
            "history" => assert_eq!(looked.stdout, "No run has ended so far\n"),
            "report" => {
                looked.expect_error("ConfigurationError", &["nothing is known of a run"]);
            }
            _ => {
                looked.expect_error("ConfigurationError", &["no run of this synchronisation"]);
            }
        }
        assert!(!folder.exists(), "{word}");
    }
}
