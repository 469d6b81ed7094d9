//! A run's record: what `docs/run-record.schema.json` says of it is so, and records of other versions are read.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};

use pathling_import_core::config::{Place, Step};
use pathling_import_core::staging::{Options, Staging};
use pathling_import_core::sync::RunRecord;
use pathling_import_tests::check::assert_arrived;
use pathling_import_tests::{Schema, Story, pathling_import};
use sandbox::{Answer, Builder, Dataset, ErrorContent, Fault, PathlingVersion, Sandbox, Service};
use serde_json::{Value, json};

/// Run names of the records that version 0.1.0 left, before there was a schema: a full run, and the delta after it.
const OLD: [&str; 2] = ["2dc8e4a69ece8449", "0c4bf3ad49b18d46"];

fn hospital() -> Builder {
    let data = Dataset::of(&[("Condition", 6), ("Patient", 5)]);
    Sandbox::builder()
        .pathling(PathlingVersion::Two)
        .data(data)
        .resources_per_file(3)
}

fn record(sandbox: &Sandbox, run: &str) -> Value {
    record_at(sandbox, &format!("/runs/{run}/_run.json"))
}

/// The record of the one run that there is.
fn only_record(sandbox: &Sandbox) -> Value {
    record_at(sandbox, "/_run.json")
}

fn record_at(sandbox: &Sandbox, end: &str) -> Value {
    let objects = sandbox.s3_objects();
    let mut keys = objects.iter().filter(|(key, _)| key.ends_with(end));
    let (key, _) = keys.next().expect("there is no such record");
    assert!(keys.next().is_none(), "there is one such record");
    serde_json::from_slice(&sandbox.s3_object(key).unwrap()).unwrap()
}

/// The moments of a run, which must be there and in this order.
fn assert_in_order(record: &Value, pointers: &[&str]) {
    let moments: Vec<&str> = pointers
        .iter()
        .map(|pointer| {
            let at = record.pointer(pointer).and_then(Value::as_str);
            at.unwrap_or_else(|| panic!("no {pointer} in {record:#}"))
        })
        .collect();
    assert!(moments.is_sorted(), "{pointers:?}: {moments:?}");
}

const STORY: &[&str] = &[
    "/kickOffs/0/at",
    "/manifest/complete",
    "/transferBegan",
    "/transfer/staged",
    "/attempts/0/at",
    "/attempts/0/asked",
    "/attempts/0/done",
    "/attempts/0/verified",
    "/attempts/0/ended",
    "/outcome/at",
];

#[tokio::test]
async fn a_run_that_arrived_tells_when_what_how_often_and_with_whom() {
    let sandbox = hospital().polls(2).import_polls(1).start().await.unwrap();
    let busy = Fault::answers(sandbox::Place::File, Answer::new(503));
    sandbox.faults().times(2, busy);
    let finished = pathling_import(&sandbox).env("SINCE", "auto").run().await;
    let run = finished.expect_code(0).run();
    assert_arrived(&sandbox);
    let record = record(&sandbox, &run);
    Schema::of_run_records().assert_describes(&record);
    assert_in_order(&record, STORY);
    assert_eq!(record["effort"]["retries"], 2);
    assert_eq!(
        record["effort"]["waits"],
        json!({"check-export-status": 2, "check-import-status": 1})
    );
    assert_eq!(record["programs"], json!([env!("CARGO_PKG_VERSION")]));
    let target = &record["attempts"][0]["software"];
    assert_eq!(target["name"], "Pathling Server");
    let source = &record["kickOffs"][0]["software"];
    assert!(source["name"].is_string(), "{record:#}");
    let by_type = record["transfer"]["bytesByType"].as_object().unwrap();
    let all: u64 = by_type.values().filter_map(Value::as_u64).sum();
    assert_eq!(record["transfer"]["bytes"], json!(all));
    assert_eq!(by_type.len(), 2);
}

#[tokio::test]
async fn what_is_found_staged_again_leaves_the_first_times() {
    let sandbox = hospital().start().await.unwrap();
    let mut story = Story::of(&sandbox);
    let complete = story.until(Step::TransferToS3).await.unwrap();
    let staged = story.finish(Step::TransferToS3, &complete).await.unwrap();
    let run = staged["run"].as_str().unwrap();
    let first = record(&sandbox, run);
    story.restart().await;
    story.finish(Step::TransferToS3, &complete).await.unwrap();
    let again = record(&sandbox, run);
    for field in ["/manifest/complete", "/transferBegan", "/transfer/staged"] {
        assert!(first.pointer(field).unwrap().is_string(), "{first:#}");
        assert_eq!(first.pointer(field), again.pointer(field), "{field}");
    }
    assert!(first["transfer"]["at"].as_str() < again["transfer"]["at"].as_str());
}

#[tokio::test]
async fn what_a_call_of_a_function_counted_comes_with_the_next_write() {
    let sandbox = hospital().polls(3).import_polls(2).start().await.unwrap();
    let mut story = Story::of(&sandbox);
    let told = story.tell().await.unwrap();
    let record = record(&sandbox, told.import["run"].as_str().unwrap());
    Schema::of_run_records().assert_describes(&record);
    assert_eq!(
        record["effort"]["waits"],
        json!({"check-export-status": 3, "check-import-status": 2})
    );
}

#[tokio::test]
async fn a_run_that_failed_says_at_which_step_and_one_that_is_held_what_holds_it() {
    for (policy, code, outcome) in [("fail", 1, "ExportFailedError"), ("hold", 0, "imported")] {
        let errors = Fault::ExportErrors(ErrorContent::Errors);
        let sandbox = hospital().fault(errors).start().await.unwrap();
        let command = pathling_import(&sandbox).env("EXPORT_ERRORS", policy);
        let _ = command.run().await.expect_code(code);
        let record = only_record(&sandbox);
        Schema::of_run_records().assert_describes(&record);
        assert_eq!(record["outcome"]["name"], outcome);
        let step = (code == 1).then_some("transfer-to-s3");
        assert_eq!(record["outcome"]["step"], json!(step));
        assert!(record["effort"].is_object(), "{record:#}");
        let held = (policy == "hold").then_some("held");
        assert_eq!(record["exportIssues"]["watermark"], json!(held));
    }
}

#[tokio::test]
async fn what_the_target_has_done_and_does_not_hold_was_done_and_is_not_verified() {
    let sandbox = hospital()
        .fault(Fault::ImportDropsRows)
        .start()
        .await
        .unwrap();
    let failed = pathling_import(&sandbox).run().await;
    failed.expect_error("ImportIncompleteError", &["expected"]);
    let record = only_record(&sandbox);
    Schema::of_run_records().assert_describes(&record);
    let attempt = &record["attempts"][0];
    assert_eq!(attempt["outcome"], "failed");
    assert!(attempt["done"].is_string(), "{attempt:#}");
    assert_eq!(attempt.get("verified"), None);
}

#[tokio::test]
async fn a_run_that_is_superseded_has_a_record_by_the_schema_too() {
    let sandbox = hospital().start().await.unwrap();
    let story = || Story::of(&sandbox).with("SINCE", "auto");
    let (mut late, mut newer) = (story(), story());
    let late_staged = late.until(Step::PathlingImport).await.unwrap();
    // The source's `Date` has whole seconds.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    sandbox.source_put(&json!({"resourceType": "Patient", "id": "new"}));
    newer.tell().await.unwrap();
    late.call(Step::PathlingImport, &late_staged).await.unwrap();
    let record = record(&sandbox, late_staged["run"].as_str().unwrap());
    Schema::of_run_records().assert_describes(&record);
    assert_eq!(record["outcome"]["name"], "superseded");
    assert_eq!(record["outcome"].get("step"), None, "no error ended it");
}

#[tokio::test]
async fn what_is_left_of_deletions_is_told() {
    for (policy, left) in [("apply", 0), ("refresh", 1)] {
        let sandbox = hospital().start().await.unwrap();
        let night = async || {
            let command = pathling_import(&sandbox).env("SINCE", "auto");
            let finished = command.env("DELETIONS", policy).run().await;
            finished.expect_code(0).run()
        };
        night().await;
        assert!(sandbox.source_delete("Patient", "patient-1"));
        sandbox.source_put(&json!({"resourceType": "Patient", "id": "new"}));
        let record = record(&sandbox, &night().await);
        Schema::of_run_records().assert_describes(&record);
        let deleted = &record["deleted"];
        assert_eq!(
            (&deleted["found"], &deleted["left"]),
            (&json!(1), &json!(left))
        );
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &to);
        } else {
            std::fs::copy(&path, to).unwrap();
        }
    }
}

/// What version 0.1.0 left in staging, as a folder of its own.
fn old_staging() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let old = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/records-of-0.1.0");
    copy(&old, folder.path());
    let path = folder.path().to_owned();
    (folder, path)
}

#[tokio::test]
async fn a_record_of_an_older_form_is_read_by_every_command_that_shows_records() {
    let (_folder, staging) = old_staging();
    let sandbox = hospital().start().await.unwrap();
    // Where nobody listens: none of these asks anybody.
    let command = |words: &[&str]| {
        let mut command = pathling_import(&sandbox)
            .env("SOURCE_ENDPOINT", "http://127.0.0.1:44359/fhir")
            .env("TARGET_ENDPOINT", "http://127.0.0.1:45193/fhir")
            .env("STAGING_URL", staging.to_str().unwrap());
        for word in words {
            command = command.arg(word);
        }
        command
    };
    for (words, says) in [
        (&["status"][..], "In step up to 2026-11-28T20:41:15.445Z"),
        (&["history"], "0c4bf3ad49b18d46  imported"),
        (&["report"], "changes since 2026-11-28T20:41:14.849Z"),
        (&["report", "--run", OLD[0]], "43 resources"),
    ] {
        let told = command(words).run().await.expect_code(0);
        assert!(told.stdout.contains(says), "{words:?}: {}", told.stdout);
    }
    let page = staging.join("page.html");
    for run in OLD {
        let words = ["report", "--html", page.to_str().unwrap(), "--run", run];
        let _ = command(&words).run().await.expect_code(0);
        let page = std::fs::read_to_string(&page).unwrap();
        assert!(page.contains(run) && page.contains("Imported"), "{page}");
    }
    let left = std::fs::read_dir(&staging).unwrap();
    let left = left.filter(|it| it.as_ref().is_ok_and(|it| it.path().is_file()));
    assert_eq!(
        left.count(),
        1,
        "the page, and nothing that it was written in"
    );
    let json = command(&["report", "--log-format", "json"]).run().await;
    assert_eq!(json.summary()["run"], OLD[1]);
}

#[tokio::test]
async fn a_change_of_an_older_record_keeps_it_and_one_of_a_newer_keeps_its_form_and_what_is_not_known()
 {
    let (_folder, path) = old_staging();
    let place = Place::Folder(path.clone());
    let staging = Staging::open(&place, Options::default()).await.unwrap();
    let schema = Schema::of_run_records();
    let file = path.join(format!("runs/{}/_run.json", OLD[0]));
    let read = || serde_json::from_slice::<Value>(&std::fs::read(&file).unwrap()).unwrap();
    schema.assert_describes(&read());
    let old = read();
    RunRecord::update(&staging, OLD[0], |_| true).await.unwrap();
    let mut changed = read();
    schema.assert_describes(&changed);
    changed.as_object_mut().unwrap().remove("programs");
    assert_eq!(changed, old);

    let mut newer = old.clone();
    newer["version"] = json!(7);
    newer["colour"] = json!({"of": ["a", "later", "version"]});
    std::fs::write(&file, newer.to_string()).unwrap();
    let change = RunRecord::update(&staging, OLD[0], |record| {
        record.moved_at = Some("2026-11-29T00:00:00.000000Z".to_owned());
        true
    });
    change.await.unwrap();
    assert_eq!(read()["version"], 7);
    assert_eq!(read()["colour"], newer["colour"]);
}

#[tokio::test]
async fn a_report_of_what_is_not_there_or_to_where_nothing_can_be_says_so() {
    let sandbox = hospital().start().await.unwrap();
    let report = |words: &[&str]| {
        let mut command = pathling_import(&sandbox).arg("report");
        for word in words {
            command = command.arg(word);
        }
        command.run()
    };
    for (words, says) in [
        (&[][..], "nothing is known of a run"),
        (&["--run", "../x"], "is not the name of a run"),
        (&["--run", "abc"], "there is no record of run abc"),
    ] {
        let failed = report(words).await;
        failed.expect_error("ConfigurationError", &[says]);
    }
    let _ = pathling_import(&sandbox).run().await.expect_code(0);
    let asked = sandbox.requests().len();
    let failed = report(&["--html", "/no/such/folder/page.html"]).await;
    failed.expect_error("ConfigurationError", &["--html /no/such/folder/page.html"]);
    report(&["--html", "/dev/full"])
        .await
        .expect_error("ConfigurationError", &["--html /dev/full"]);
    let told = report(&[]).await.expect_code(0);
    assert!(told.stdout.contains("Outcome Imported"), "{}", told.stdout);
    let later = sandbox.requests();
    let others = later[asked..]
        .iter()
        .filter(|request| request.service != Service::S3);
    assert_eq!(others.count(), 0, "nobody is asked but the store");
}
