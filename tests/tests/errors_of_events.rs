//! What an event gets that lacks what the step needs: an error that names the field, before anybody is asked anything.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pathling_import_core::config::Step::{
    self, CheckExportStatus, CheckImportStatus, PathlingImport, TransferToS3,
};
use pathling_import_tests::Story;
use pathling_import_tests::check::assert_nothing_imported;
use sandbox::Sandbox;
use serde_json::{Value, json};

/// Each event is an `InputError` that says this.
async fn lack(step: Step, events: &[(Value, &str)]) {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let mut story = Story::of(&sandbox);
    for (event, says) in events {
        let failed = story.call(step, event).await.unwrap_err();
        assert_eq!(failed.error_type, "InputError", "{event}: {failed:?}");
        for word in [says, step.name(), "previous step's output"] {
            let message = &failed.error_message;
            assert!(message.contains(word), "{event}: no {word} in {message}");
        }
    }
    assert_eq!(sandbox.requests(), []);
}

#[tokio::test]
async fn a_status_url_that_is_missing_or_none() {
    for step in [CheckExportStatus, CheckImportStatus] {
        let field = "\"statusUrl\"";
        let none = "no JSON object";
        lack(
            step,
            &[
                (json!(null), none),
                (json!("https://h/1"), none),
                (json!([]), none),
                (json!({}), field),
                (json!({"result": {}}), field),
                (json!({"statusUrl": null}), field),
                (json!({"statusUrl": 5}), field),
                (json!({"statusUrl": ""}), field),
                (json!({"statusUrl": {"url": "https://h/1"}}), field),
            ],
        )
        .await;
    }
}

#[tokio::test]
async fn a_result_that_is_missing() {
    let field = "\"result\"";
    lack(
        TransferToS3,
        &[
            (json!(7), "no JSON object"),
            (json!({}), field),
            (json!({"result": null}), field),
            (json!({"statusUrl": "https://h/1", "run": "ab"}), field),
        ],
    )
    .await;
}

#[tokio::test]
async fn parameters_that_are_missing_or_none() {
    let with = |parts: Value| {
        let source = json!({"name": "source", "part": parts});
        json!({"parameters": {"resourceType": "Parameters", "parameter": [source]}})
    };
    let part = |name: &str, kind: &str, value: &str| json!({"name": name, kind: value});
    let (kind, url) = (
        part("resourceType", "valueCode", "Patient"),
        part("url", "valueUrl", "s3://b/x/*.ndjson"),
    );
    let field = "\"parameters\"";
    lack(
        PathlingImport,
        &[
            (json!({}), field),
            (json!({"parameters": null}), field),
            (json!({"parameters": []}), field),
            (json!({"parameters": {"resourceType": "Bundle"}}), field),
            (with(json!([])), "resourceType"),
            (with(json!([kind])), "valueUrl"),
            (with(json!([kind, url])), "mode"),
            (
                with(json!([kind, url, part("mode", "valueCode", "append")])),
                "mode",
            ),
            (
                with(json!([kind, part("url", "valueUri", "s3://b/x")])),
                "valueUrl",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn names_that_would_become_paths() {
    let event = |field: &str, value: Value| {
        let parameters = json!({"resourceType": "Parameters"});
        let mut event = json!({"statusUrl": "https://h/1", "result": {}, "parameters": parameters, "run": "ab"});
        event[field] = value;
        event
    };
    for step in Step::FIVE.into_iter().skip(1) {
        lack(
            step,
            &[
                (event("run", json!("../../x")), "\"run\""),
                (event("run", json!("a/b")), "\"run\""),
                (event("run", json!(7)), "\"run\""),
                (event("key", json!("../x")), "\"key\""),
                (event("mode", json!("destroy")), "\"mode\""),
                (event("since", json!(5)), "\"since\""),
            ],
        )
        .await;
    }
}

#[tokio::test]
async fn a_status_url_of_another_scheme_or_without_a_host() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let mut story = Story::of(&sandbox);
    for step in [CheckExportStatus, CheckImportStatus] {
        for url in [
            "jobs/1",
            "/jobs/1",
            "file:///etc/passwd",
            "s3://b/x",
            "http://",
        ] {
            let event = json!({"statusUrl": url});
            let failed = story.call(step, &event).await.unwrap_err();
            assert_eq!(failed.error_type, "InputError", "{url}: {failed:?}");
            assert!(failed.error_message.contains("\"statusUrl\""), "{failed:?}");
        }
    }
    assert_eq!(sandbox.requests(), []);
}

#[tokio::test]
async fn a_result_that_is_no_manifest() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let mut story = Story::of(&sandbox);
    for (result, says) in [
        (json!("a text"), "no JSON object"),
        (json!([]), "no JSON object"),
        (
            json!({"resourceType": "OperationOutcome"}),
            "OperationOutcome",
        ),
        (json!({"output": []}), "transactionTime"),
        (
            json!({"transactionTime": "2026-01-01T00:00:00Z", "output": "x"}),
            "output",
        ),
    ] {
        let event = json!({"result": result});
        let failed = story.call(TransferToS3, &event).await.unwrap_err();
        assert_eq!(failed.error_type, "ManifestError", "{event}: {failed:?}");
        assert!(failed.error_message.contains(says), "{event}: {failed:?}");
    }
    assert_eq!(sandbox.s3_objects(), []);
    assert_nothing_imported(&sandbox);
}
