//! The public contract of the five functions: what each takes and gives, in the workflow and alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pathling_import_core::config::Step;
use pathling_import_tests::check::{assert_arrived, assert_no_token_leaks};
use pathling_import_tests::{Function, Records as _, Story};
use sandbox::{Dataset, PathlingVersion, Sandbox};
use serde_json::{Value, json};

async fn sandbox(version: PathlingVersion) -> Sandbox {
    Sandbox::builder()
        .pathling(version)
        .data(Dataset::of(&[("Patient", 3), ("Condition", 2)]))
        .start()
        .await
        .unwrap()
}

/// The names of an output's fields, sorted.
fn fields(output: &Value) -> Vec<&str> {
    let mut names: Vec<&str> = output
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    names.sort_unstable();
    names
}

fn is_name(value: &Value) -> bool {
    let name = value.as_str().unwrap_or_default();
    name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn source(kind: &str, url: &str, mode: &str) -> Value {
    json!({"name": "source", "part": [
        {"name": "resourceType", "valueCode": kind},
        {"name": "url", "valueUrl": url},
        {"name": "mode", "valueCode": mode},
    ]})
}

#[tokio::test]
async fn every_output_is_exactly_what_the_contract_says() {
    let sandbox = sandbox(PathlingVersion::Seven).await;
    let told = Story::of(&sandbox).tell().await.unwrap();
    let (run, key) = (&told.export["run"], &told.export["key"]);
    assert!(is_name(run) && is_name(key), "{}", told.export);

    assert_eq!(fields(&told.export), ["key", "run", "since", "statusUrl"]);
    let status_url = told.export["statusUrl"].as_str().unwrap();
    assert!(status_url.starts_with(&sandbox.source_endpoint()));

    let complete = &told.complete;
    assert_eq!(
        fields(complete),
        ["key", "result", "run", "since", "statusUrl"]
    );
    assert_eq!(complete["statusUrl"], told.export["statusUrl"]);
    let manifest = [
        "deleted",
        "error",
        "output",
        "request",
        "requiresAccessToken",
        "transactionTime",
    ];
    assert_eq!(
        fields(&complete["result"]),
        manifest,
        "as the source sent it"
    );

    assert_eq!(fields(&told.staged), ["key", "parameters", "run", "since"]);
    let url = |kind| {
        let run = run.as_str().unwrap();
        format!("{}/runs/{run}/{kind}/*.ndjson", sandbox.staging_url())
    };
    let sources = [
        source("Condition", &url("Condition"), "merge"),
        source("Patient", &url("Patient"), "merge"),
    ];
    let parameters = json!({"resourceType": "Parameters", "parameter": sources});
    assert_eq!(told.staged["parameters"], parameters);

    assert_eq!(fields(&told.import), ["key", "run", "since", "statusUrl"]);
    let status_url = told.import["statusUrl"].as_str().unwrap();
    assert!(status_url.starts_with(&sandbox.target_endpoint()));

    let imported = told.imported.unwrap();
    assert_eq!(fields(&imported), ["key", "result", "run", "since"]);
    assert_eq!(imported["result"]["resourceType"], "OperationOutcome");

    for output in [&told.complete, &told.staged, &told.import, &imported] {
        assert_eq!((&output["run"], &output["key"]), (run, key));
        assert_eq!(output["since"], Value::Null, "a full export");
    }
}

#[tokio::test]
async fn no_step_passes_on_what_it_does_not_know() {
    let sandbox = sandbox(PathlingVersion::Two).await;
    let mut story = Story::of(&sandbox);
    let mut event = json!({});
    for (step, known) in Step::FIVE.into_iter().zip([
        &["key", "run", "since", "statusUrl"][..],
        &["key", "result", "run", "since", "statusUrl"],
        &["key", "parameters", "run", "since"],
        &["key", "run", "since", "statusUrl"],
        &["key", "result", "run", "since"],
    ]) {
        event["comment"] = json!("from a person");
        event["detail"] = json!({"scheduled": true});
        event = story.finish(step, &event).await.unwrap();
        assert_eq!(fields(&event), known, "{}", step.name());
    }
    assert_arrived(&sandbox);
}

#[tokio::test]
async fn fhir_export_takes_any_event_and_passes_on_none_of_its_fields() {
    let sandbox = sandbox(PathlingVersion::Seven).await;
    let mut story = Story::of(&sandbox);
    let function = story.function(Step::FhirExport).await;
    for event in [
        json!(null),
        json!("a text"),
        json!([1, 2]),
        json!(7),
        json!({"run": "../../x", "since": 5, "key": [], "mode": "destroy", "statusUrl": "x"}),
        json!({"source": "aws.events", "detail-type": "Scheduled Event", "run": "abc"}),
    ] {
        let output = function.invoke(event.clone()).await.unwrap();
        assert_eq!(
            fields(&output),
            ["key", "run", "since", "statusUrl"],
            "{event}"
        );
        assert!(is_name(&output["run"]), "{event}");
        assert_eq!(output["since"], Value::Null, "{event}");
    }
}

#[tokio::test]
async fn the_kick_off_asks_in_the_words_of_the_specification() {
    let sandbox = sandbox(PathlingVersion::Seven).await;
    Story::of(&sandbox)
        .call(Step::FhirExport, &json!({}))
        .await
        .unwrap();
    let mut delta = Story::of(&sandbox)
        .with("SINCE", "2026-01-31T01:00:00+01:00")
        .with("TYPES", "Patient, Condition");
    let output = delta.call(Step::FhirExport, &json!({})).await.unwrap();
    let asked = sandbox.export_kick_offs();
    let query = "_outputFormat=application%2Ffhir%2Bndjson";
    assert_eq!(asked[0].query, query);
    let since = output["since"].as_str().unwrap();
    assert_eq!(since, "2026-01-31T00:00:00Z");
    let encoded = since.replace(':', "%3A");
    let query = format!("{query}&_since={encoded}&_type=Patient%2CCondition");
    assert_eq!(asked[1].query, query);
    for request in asked {
        assert_eq!(request.accept.as_deref(), Some("application/fhir+json"));
        assert_eq!(request.prefer.as_deref(), Some("respond-async"));
    }
}

#[tokio::test]
async fn each_pathling_is_asked_to_import_in_its_own_dialect() {
    for version in [PathlingVersion::Seven, PathlingVersion::Two] {
        let sandbox = sandbox(version).await;
        let told = Story::of(&sandbox).tell().await.unwrap();
        let [request] = &sandbox.import_kick_offs()[..] else {
            panic!("one kick-off")
        };
        let nonce = format!("{}-1", told.staged["run"].as_str().unwrap());
        assert_eq!(request.parameter("_nonce"), Some(nonce));
        for header in [&request.accept, &request.content_type] {
            assert_eq!(header.as_deref(), Some("application/fhir+json"));
        }
        assert_eq!(request.prefer.as_deref(), Some("respond-async"));
        let body = request.body.as_ref().unwrap();
        if version == PathlingVersion::Seven {
            assert_eq!(body, &told.staged["parameters"]);
            continue;
        }
        let input = |index: usize| {
            let parts = &told.staged["parameters"]["parameter"][index]["part"];
            json!({"name": "input", "part": [parts[0], parts[1]]})
        };
        let expected = json!({"resourceType": "Parameters", "parameter": [
            input(0),
            input(1),
            {"name": "saveMode", "valueCode": "merge"},
            {"name": "inputFormat", "valueCode": "application/fhir+ndjson"},
        ]});
        assert_eq!(body, &expected);
    }
}

#[tokio::test]
async fn a_dialect_that_is_set_is_not_asked_for() {
    for (version, dialect) in [(PathlingVersion::Seven, "7"), (PathlingVersion::Two, "2")] {
        let sandbox = sandbox(version).await;
        let mut story = Story::of(&sandbox).with("TARGET_DIALECT", dialect);
        story.tell().await.unwrap();
        assert_arrived(&sandbox);
        let asked = sandbox.target_requests();
        assert!(
            asked
                .iter()
                .all(|request| !request.path.ends_with("metadata"))
        );
    }
}

#[tokio::test]
async fn staging_is_named_to_the_target_as_the_target_sees_it() {
    let sandbox = sandbox(PathlingVersion::Seven).await;
    let mut story = Story::of(&sandbox).with("TARGET_STAGING_URL", "s3a://staging/pathling");
    let told = story.tell().await.unwrap();
    let url = &told.staged["parameters"]["parameter"][0]["part"][1]["valueUrl"];
    let run = told.staged["run"].as_str().unwrap();
    assert_eq!(
        url,
        &json!(format!(
            "s3a://staging/pathling/runs/{run}/Condition/*.ndjson"
        ))
    );
    assert_arrived(&sandbox);
}

#[tokio::test]
async fn only_transfer_to_s3_needs_a_staging_url() {
    let sandbox = sandbox(PathlingVersion::Seven).await;
    let mut story = Story::of(&sandbox);
    for step in Step::FIVE {
        if step != Step::TransferToS3 {
            story = story.lacking(step, "STAGING_URL");
        }
    }
    let told = story.tell().await.unwrap();
    assert_arrived(&sandbox);
    assert_no_token_leaks(&sandbox);
    assert_eq!(fields(&told.export), ["run", "since", "statusUrl"]);
    assert_eq!(fields(&told.imported.unwrap()), ["result", "run", "since"]);
    let [nonce] = &sandbox.nonces()[..] else {
        panic!("one kick-off")
    };
    assert!(
        !nonce.contains(told.export["run"].as_str().unwrap()),
        "a random one"
    );
}

#[tokio::test]
async fn each_function_can_be_called_alone_and_derives_the_run_from_what_it_has() {
    let sandbox = sandbox(PathlingVersion::Seven).await;
    // A function without a record has to ask the source again.
    let mut whole = Story::of(&sandbox).with("DELETE_EXPORT_JOB", "false");
    let told = whole.tell().await.unwrap();
    let mut alone = Story::of(&sandbox);
    for step in Step::FIVE {
        if step != Step::TransferToS3 {
            alone = alone.lacking(step, "STAGING_URL");
        }
    }
    let url = |output: &Value| json!({"statusUrl": output["statusUrl"]});

    let complete = alone
        .call(Step::CheckExportStatus, &url(&told.export))
        .await;
    let complete = complete.unwrap();
    assert_eq!(fields(&complete), ["result", "run", "since", "statusUrl"]);
    assert_eq!(
        complete["run"], told.export["run"],
        "a hash of the status URL"
    );
    assert_eq!(
        complete["since"],
        Value::Null,
        "as the manifest's request says"
    );

    let manifest = json!({"result": complete["result"]});
    let staged = alone.call(Step::TransferToS3, &manifest).await.unwrap();
    assert_eq!(fields(&staged), ["parameters", "run", "since"]);
    assert!(is_name(&staged["run"]), "{staged}");
    assert_ne!(
        staged["run"], complete["run"],
        "nothing told it the status URL"
    );
    let again = alone.call(Step::TransferToS3, &manifest).await.unwrap();
    assert_eq!(again, staged, "the same manifest is the same run");

    let parameters = json!({"parameters": staged["parameters"]});
    let import = alone.call(Step::PathlingImport, &parameters).await.unwrap();
    assert_eq!(fields(&import), ["run", "statusUrl"]);
    assert!(is_name(&import["run"]), "{import}");

    let imported = alone.finish(Step::CheckImportStatus, &url(&import)).await;
    let imported = imported.unwrap();
    assert_eq!(fields(&imported), ["result", "run"]);
    assert!(is_name(&imported["run"]), "{imported}");
    assert_arrived(&sandbox);
}

#[tokio::test]
async fn a_delta_is_known_by_the_manifests_request_where_nothing_else_tells() {
    let sandbox = sandbox(PathlingVersion::Seven).await;
    let since = "2020-01-01T00:00:00Z";
    let mut export = Story::of(&sandbox)
        .with("SINCE", since)
        .lacking(Step::FhirExport, "STAGING_URL");
    let export = export.call(Step::FhirExport, &json!({})).await.unwrap();
    let mut alone = Story::of(&sandbox);
    let event = json!({"statusUrl": export["statusUrl"]});
    let complete = alone.finish(Step::CheckExportStatus, &event).await.unwrap();
    assert_eq!(complete["since"], since);
    let staged = json!({"result": complete["result"]});
    let staged = alone.call(Step::TransferToS3, &staged).await.unwrap();
    assert_eq!(staged["since"], since);
}

#[tokio::test]
async fn an_output_too_large_for_step_functions_names_the_setting() {
    let sandbox = Sandbox::builder()
        .data(Dataset::of(&[("Patient", 2200)]))
        .resources_per_file(1)
        .start()
        .await
        .unwrap();
    let mut story = Story::of(&sandbox);
    let event = story.until(Step::CheckExportStatus).await.unwrap();
    let env = pathling_import_tests::Env::of(&sandbox).without("STAGING_URL");
    let mut function = Function::start("check-export-status", &env).await;
    let event = json!({"statusUrl": event["statusUrl"]});
    let error = function.invoke(event).await.unwrap_err();
    assert_eq!(error.error_type, "ConfigurationError");
    for word in ["STAGING_URL", "262144"] {
        assert!(error.error_message.contains(word), "{error:?}");
    }
}
