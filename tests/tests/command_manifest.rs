//! What the command makes of manifests that no fault of the sandbox gives: wrong in other ways, or with files beside the
//! exported ones.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pathling_import_tests::check::{assert_import_never_asked, assert_nothing_half_staged};
use pathling_import_tests::{CommandRun, ToldSource, pathling_import};
use sandbox::Sandbox;
use serde_json::{Value, json};

const PATIENT: &str = "{\"resourceType\":\"Patient\",\"id\":\"1\"}\n";

/// A manifest with this output and nothing else that is unusual.
fn manifest(output: &Value) -> Value {
    json!({
        "transactionTime": "2026-01-31T00:00:00Z",
        "request": "{source}/$export",
        "requiresAccessToken": false,
        "output": output,
        "error": [],
    })
}

fn from(source: &ToldSource, sandbox: &Sandbox) -> CommandRun {
    pathling_import(sandbox)
        .env("SOURCE_ENDPOINT", source.endpoint())
        .env("SOURCE_AUTHENTICATION_ENABLED", "false")
        .env("TRANSFER_RETRY_TIMES", "0")
}

#[tokio::test]
async fn a_manifest_that_is_wrong_in_any_member_is_told_with_where_it_came_from_and_what_is_wrong()
{
    let file = |url: &str| manifest(&json!([{"type": "Patient", "url": url}]));
    let with = |member: &str, value: Value| {
        let mut manifest = manifest(&json!([]));
        manifest[member] = value;
        manifest
    };
    for (manifest, says) in [
        (json!(null), "no JSON object"),
        (json!("x"), "no JSON object"),
        (json!({}), "no transactionTime"),
        (json!({"resourceType": "Bundle"}), "FHIR Bundle"),
        (with("transactionTime", json!(5)), "no transactionTime"),
        (with("output", json!({})), "output is no array"),
        (with("output", json!("x")), "output is no array"),
        (
            with("output", json!([5])),
            "output 1 of the manifest has no type",
        ),
        (
            with("output", json!([{"type": 5, "url": "http://h/1"}])),
            "has no type",
        ),
        (with("error", json!({})), "error is no array"),
        (with("deleted", json!("x")), "deleted is no array"),
        (file(""), "has no url"),
        (file("ftp://example.org/1"), "scheme ftp"),
        (file("file:///etc/passwd"), "scheme file"),
        (file("http://"), "has a url that is none"),
        (file("http://[::1/"), "has a url that is none"),
    ] {
        let sandbox = Sandbox::builder().start().await.unwrap();
        let source = ToldSource::start(&manifest, &[]).await;
        let finished = from(&source, &sandbox).run().await;
        let from = format!("GET {}/status", source.endpoint());
        finished.expect_error("ManifestError", &[&from, says, "whoever runs the source"]);
        assert_import_never_asked(&sandbox);
        assert_nothing_half_staged(&sandbox);
    }
}

#[tokio::test]
async fn what_servers_leave_out_or_add_is_no_error() {
    let file =
        json!([{"type": "Patient", "url": "files/1", "count": null, "continuesInFile": "x"}]);
    let mut odd = manifest(&file);
    let members = odd.as_object_mut().unwrap();
    for (name, value) in [
        ("error", json!(null)),
        ("extension", json!({"a": [1, 2]})),
        ("outputOrganizedBy", json!("")),
        ("requiresAccessToken", json!("perhaps")),
        ("request", json!(5)),
    ] {
        members.insert(name.to_owned(), value);
    }
    let sandbox = Sandbox::builder().start().await.unwrap();
    let source = ToldSource::start(&odd, &[("1", PATIENT)]).await;
    let finished = from(&source, &sandbox).run().await.expect_code(0);
    assert_eq!(sandbox.rows("Patient").len(), 1);
    let key = format!("pathling/runs/{}/_manifest.json", finished.run());
    let kept: Value = serde_json::from_slice(&sandbox.s3_object(&key).unwrap()).unwrap();
    assert_eq!(kept, odd, "kept as the source wrote it");
}

#[tokio::test]
async fn a_transaction_time_that_is_no_instant_is_warned_of_and_not_offered_as_a_since() {
    let mut told = manifest(&json!([{"type": "Patient", "url": "{source}/files/1"}]));
    told["transactionTime"] = json!("yesterday");
    let sandbox = Sandbox::builder().start().await.unwrap();
    let source = ToldSource::start(&told, &[("1", PATIENT)]).await;
    let finished = from(&source, &sandbox).run().await.expect_code(0);
    let warned = "has no instant as its transactionTime";
    assert!(finished.stderr.contains(warned), "{}", finished.stderr);
    let said = "As of   yesterday, which is no instant";
    assert!(finished.stdout.contains(said), "{}", finished.stdout);
    let offered = "is the SINCE of";
    assert!(!finished.stdout.contains(offered), "{}", finished.stdout);
}

#[tokio::test]
async fn a_file_of_another_size_than_promised_is_a_warning_that_a_person_sees() {
    let output = json!([{"type": "Patient", "url": "{source}/files/1", "fileSize": 7}]);
    let manifest = json!({"transactionTime": "2026-01-31T00:00:00Z", "requiresAccessToken": false, "output": output});
    let line = "{\"resourceType\":\"Patient\",\"id\":\"1\"}\n";
    let source = ToldSource::start(&manifest, &[("1", line)]).await;
    let sandbox = Sandbox::builder().start().await.unwrap();
    let finished = from(&source, &sandbox).run().await.expect_code(0);
    let words = "does not have the bytes that the manifest promises";
    assert!(finished.stderr.contains(words), "{}", finished.stderr);
}

#[tokio::test]
async fn files_of_errors_and_of_deletions_are_counted_and_named() {
    let mut told = manifest(&json!([{"type": "Patient", "url": "{source}/files/1", "count": 1}]));
    let outcome = json!({"type": "OperationOutcome", "url": "{source}/files/e"});
    told["error"] = json!([outcome, outcome]);
    told["deleted"] = json!([{"type": "Bundle", "url": "{source}/files/d"}]);
    for json in [false, true] {
        let sandbox = Sandbox::builder().start().await.unwrap();
        let source = ToldSource::start(&told, &[("1", PATIENT)]).await;
        let run = from(&source, &sandbox);
        if json {
            let finished = run.arg("--log-format=json").run().await;
            let skipped = json!({"unsupported": {}, "deletions": 1, "exportErrors": 2});
            assert_eq!(finished.summary()["skipped"], skipped);
        } else {
            let finished = run.run().await.expect_code(0);
            for named in [
                "1 file of deletions: not applied",
                "2 files of errors: the source could not export everything",
            ] {
                assert!(finished.stdout.contains(named), "{}", finished.stdout);
            }
        }
        assert_eq!(sandbox.rows("Patient").len(), 1);
    }
}

#[tokio::test]
async fn a_file_that_the_manifest_calls_two_types_or_one_that_it_is_not_is_found_before_the_import()
{
    let file =
        |kind: &str, name: &str| json!({"type": kind, "url": format!("{{source}}/files/{name}")});
    for (output, error, words) in [
        (
            json!([file("Patient", "1"), file("Condition", "1")]),
            "ManifestError",
            &["/files/1", "Patient", "Condition"][..],
        ),
        (
            json!([file("Patient", "1"), file("Condition", "2")]),
            "IntegrityError",
            &[
                "/files/2",
                "line 1 (at byte 0)",
                "a Patient, not a Condition",
            ],
        ),
    ] {
        let sandbox = Sandbox::builder().start().await.unwrap();
        let files = [("1", PATIENT), ("2", PATIENT)];
        let source = ToldSource::start(&manifest(&output), &files).await;
        let finished = from(&source, &sandbox).run().await;
        finished.expect_error(error, words);
        assert_import_never_asked(&sandbox);
        assert_nothing_half_staged(&sandbox);
    }
}
