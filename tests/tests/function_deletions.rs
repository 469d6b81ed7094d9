//! Deletions in the functions: within the time of a call, in turn with the imports of other runs, and where they cannot be applied.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use pathling_import_core::config::Step;
use pathling_import_tests::check::assert_arrived;
use pathling_import_tests::{Nights as _, Story, ToldSource, pathling_import};
use sandbox::{Builder, Dataset, Fault, PathlingVersion, Place, Sandbox, Service};
use serde_json::{Value, json};

fn hospital() -> Builder {
    Sandbox::builder()
        .pathling(PathlingVersion::Two)
        .data(Dataset::of(&[("Patient", 12)]))
}

fn nightly(sandbox: &Sandbox) -> Story {
    Story::of(sandbox).with("SINCE", "auto")
}

/// Deletes the patients with these numbers at the source, and a second later a run is staged that tells of them.
async fn staged_with_deletions(
    sandbox: &Sandbox,
    story: &mut Story,
    numbers: impl IntoIterator<Item = usize>,
) -> Value {
    for number in numbers {
        let id = format!("patient-{number}");
        assert!(sandbox.source_delete("Patient", &id), "{id}");
    }
    sandbox.clock().advance(Duration::from_secs(1));
    story.until(Step::PathlingImport).await.unwrap()
}

fn deleted(sandbox: &Sandbox, run: &Value) -> Value {
    let key = format!("pathling/runs/{}/_run.json", run["run"].as_str().unwrap());
    let record: Value = serde_json::from_slice(&sandbox.s3_object(&key).unwrap()).unwrap();
    record["deleted"].clone()
}

#[tokio::test]
async fn a_call_that_runs_out_of_time_says_how_far_it_is_and_the_next_one_goes_on() {
    let sandbox = hospital().start().await.unwrap();
    let mut story = nightly(&sandbox);
    story.tell().await.unwrap();
    let staged = staged_with_deletions(&sandbox, &mut story, 1..=9).await;
    sandbox.faults().on(Fault::Delay(Place::Delete, 1000));
    // Ten seconds are left for the last deletion and the note of it.
    let import = story.function(Step::PathlingImport).await;
    let called = import.invoke_with_timeout(staged.clone(), 17_000).await;
    let out_of_time = called.unwrap_err();
    assert_eq!(out_of_time.error_type, "JobInProgressError");
    let applied = deleted(&sandbox, &staged)["applied"]["Patient"].as_u64();
    let applied = applied.unwrap();
    let said = format!("{applied} of 9 deletions are applied at the target");
    assert!(out_of_time.error_message.contains(&said), "{out_of_time:?}");
    assert!((1..9).contains(&applied), "{applied}");
    sandbox.faults().clear();
    story.call(Step::PathlingImport, &staged).await.unwrap();
    let mut asked = sandbox.requests();
    asked.retain(|it| it.service == Service::Target && it.method == "DELETE");
    assert_eq!(asked.len(), 9, "none is done twice");
    assert_eq!(deleted(&sandbox, &staged)["left"], 0);
    assert_arrived(&sandbox);
}

#[tokio::test]
async fn a_run_that_loses_its_turn_while_it_deletes_stops_and_one_that_keeps_it_renews_it() {
    let sandbox = hospital().start().await.unwrap();
    nightly(&sandbox).tell().await.unwrap();
    let mut slow = nightly(&sandbox).with("LEASE_SECONDS", "2");
    let staged = staged_with_deletions(&sandbox, &mut slow, 1..=7).await;
    sandbox.faults().on(Fault::Delay(Place::Delete, 2000));
    let mut next = nightly(&sandbox);
    let others = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        next.tell().await.unwrap();
    };
    let slowly = slow.call(Step::PathlingImport, &staged);
    let (stopped, ()) = tokio::join!(slowly, others);
    let stopped = stopped.unwrap_err();
    assert_eq!(stopped.error_type, "JobInProgressError");
    let lost = "has lost its turn while it applied deletions";
    assert!(stopped.error_message.contains(lost), "{stopped:?}");
    assert!(sandbox.state()["due"]["why"].is_string());
}

#[tokio::test]
async fn a_deletion_that_overtakes_an_import_of_another_run_makes_a_full_run_due() {
    // What the import of the first writes is what the second deletes.
    let changed = json!({"resourceType": "Patient", "id": "patient-1", "language": "de"});
    for given_up in [false, true] {
        let delay = Duration::from_secs(3);
        let sandbox = hospital().import_delay(delay).start().await.unwrap();
        let mut first = nightly(&sandbox);
        if !given_up {
            first = first.with("LEASE_SECONDS", "1");
        }
        first.tell().await.unwrap();
        sandbox.source_put(&changed);
        sandbox.clock().advance(Duration::from_secs(1));
        let staged = first.until(Step::PathlingImport).await.unwrap();
        first.call(Step::PathlingImport, &staged).await.unwrap();
        assert!(sandbox.source_delete("Patient", "patient-1"));
        sandbox.clock().advance(Duration::from_secs(1));
        if given_up {
            let command = pathling_import(&sandbox).env("SINCE", "auto");
            let _ = command.arg("--fresh").run().await.expect_code(0);
        } else {
            tokio::time::sleep(Duration::from_millis(1100)).await;
            nightly(&sandbox).tell().await.unwrap();
            assert!(sandbox.state()["due"]["why"].is_string());
        }
        tokio::time::sleep(delay).await;
        sandbox.clock().advance(Duration::from_secs(1));
        nightly(&sandbox).tell().await.unwrap();
        assert_arrived(&sandbox);
        assert_eq!(sandbox.state()["due"], Value::Null);
    }
}

#[tokio::test]
async fn deletions_before_another_run_was_imported_are_applied_anew() {
    let changed = json!({"resourceType": "Patient", "id": "patient-1", "language": "de"});
    for redrive in [false, true] {
        let sandbox = hospital().start().await.unwrap();
        nightly(&sandbox).tell().await.unwrap();
        sandbox.source_put(&changed);
        sandbox.clock().advance(Duration::from_secs(1));
        let mut older = nightly(&sandbox);
        let older_staged = older.until(Step::PathlingImport).await.unwrap();
        sandbox.source_put(&json!({"resourceType": "Patient", "id": "new"}));
        let mut newer = nightly(&sandbox);
        let staged = staged_with_deletions(&sandbox, &mut newer, [1]).await;
        sandbox.faults().once(Fault::ImportFails(500));
        let importing = newer.call(Step::PathlingImport, &staged).await.unwrap();
        let failed = newer.finish(Step::CheckImportStatus, &importing).await;
        assert_eq!(failed.unwrap_err().error_type, "ImportFailedError");
        // It knows nothing of the deletion.
        let importing_older = older.call(Step::PathlingImport, &older_staged).await;
        let importing_older = importing_older.unwrap();
        older
            .finish(Step::CheckImportStatus, &importing_older)
            .await
            .unwrap();
        if redrive {
            newer
                .finish(Step::CheckImportStatus, &importing)
                .await
                .unwrap();
            let state = sandbox.state();
            let why = state["due"]["why"].as_str().unwrap_or_default();
            assert!(why.contains("after the deletions"), "{state:#}");
            sandbox.clock().advance(Duration::from_secs(1));
            nightly(&sandbox).tell().await.unwrap();
        } else {
            let importing = newer.call(Step::PathlingImport, &staged).await.unwrap();
            newer
                .finish(Step::CheckImportStatus, &importing)
                .await
                .unwrap();
        }
        assert_arrived(&sandbox);
        assert_eq!(sandbox.state()["due"], Value::Null);
    }
}

#[tokio::test]
async fn deletions_that_nobody_can_apply_one_by_one_make_a_full_run_due() {
    let search = json!({"resourceType": "Bundle", "type": "transaction", "entry": [
        {"request": {"method": "DELETE", "url": "Patient?identifier=1"}}
    ]});
    let search = format!("{search}\n");
    let line = "{\"resourceType\":\"Patient\",\"id\":\"1\"}\n";
    for (name, why) in [
        ("search", "1 deletions name no single resource"),
        ("gone", "1 files of deletions could not be had"),
    ] {
        let sandbox = hospital().start().await.unwrap();
        let manifest = json!({
            "transactionTime": "2026-01-31T00:00:00Z",
            "requiresAccessToken": false,
            "output": [{"type": "Patient", "url": "{source}/files/1"}],
            "deleted": [{"type": "Bundle", "url": format!("{{source}}/files/{name}")}],
        });
        let files = [("1", line), ("search", search.as_str())];
        let source = ToldSource::start(&manifest, &files).await;
        let run = pathling_import(&sandbox)
            .env("SOURCE_ENDPOINT", source.endpoint())
            .env("SINCE", "2026-01-01T00:00:00Z")
            .env("SOURCE_AUTHENTICATION_ENABLED", "false")
            .without("SOURCE_CLIENT_ID")
            .without("SOURCE_CLIENT_SECRET")
            .without("SOURCE_SCOPES");
        let finished = run.run().await.expect_code(0);
        let said = format!("please run a full one: {why}");
        assert!(finished.stdout.contains(&said), "{}", finished.stdout);
    }
}
