//! The functions' log: one line says how each call ended, every line names its run, and nothing is said twice or that must
//! not be said.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::{get, post};
use pathling_import_core::config::Step;
use pathling_import_tests::check::assert_no_secrets;
use pathling_import_tests::{NAMESPACE, Story, Telemetry, binary};
use sandbox::{Dataset, Fault, Place, Sandbox};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::mpsc;

#[tokio::test]
async fn each_call_ends_with_one_line_that_says_what_it_came_to() {
    let sandbox = Sandbox::builder()
        .polls(1)
        .data(Dataset::of(&[("Patient", 3)]));
    let sandbox = sandbox.start().await.unwrap();
    let mut story = Story::of(&sandbox);
    let export = story
        .call(Step::FhirExport, &json!({"execution": "nightly-1"}))
        .await
        .unwrap();
    assert_eq!(export["execution"], "nightly-1");
    story.tell_from(export.clone()).await.unwrap();
    let telemetry = Telemetry::of(&story, 6).await;
    let mut summaries = telemetry.summaries();
    let steps: Vec<_> = summaries
        .iter()
        .map(|line| {
            (
                line["step"].as_str().unwrap(),
                line["outcome"].as_str().unwrap(),
                line["cold_start"] == true,
            )
        })
        .collect();
    assert_eq!(
        steps,
        [
            ("fhir-export", "success", true),
            ("check-export-status", "wait", true),
            ("check-export-status", "success", false),
            ("transfer-to-s3", "success", true),
            ("pathling-import", "success", true),
            ("check-import-status", "success", true),
        ]
    );
    let mut requests: Vec<_> = summaries
        .iter()
        .map(|line| line["aws_request_id"].to_string())
        .collect();
    requests.dedup();
    assert_eq!(requests.len(), 6, "each is an invocation of its own");
    for line in &summaries {
        assert!(line["seconds"].is_f64(), "{line}");
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["run"], export["run"]);
        assert_eq!(line["execution"], "nightly-1");
    }
    let transfer = summaries.remove(3);
    assert_eq!(transfer["files"], 1);
    assert_eq!(transfer["resources"], 3);
    assert_eq!(transfer["retries"], 0);
    assert!(transfer["bytes"].as_u64() > Some(0), "{transfer}");
}

#[tokio::test]
async fn every_line_names_the_run_once_it_is_known_and_none_names_another() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let level = |level: &str| Story::of(&sandbox).with("AWS_LAMBDA_LOG_LEVEL", level);
    let mut story = level("DEBUG");
    let first = story.tell().await.unwrap();
    let second = story.tell().await.unwrap();
    let (first, second) = (&first.export["run"], &second.export["run"]);
    assert_ne!(first, second);
    let telemetry = Telemetry::of(&story, 10).await;
    // One function's lines stand together, those of one call before the line that says how it ended.
    let calls = telemetry
        .lines
        .split_inclusive(|line| line.get("outcome").is_some());
    let mut runs = Vec::new();
    for call in calls {
        let end = call.last().unwrap();
        let named = call.iter().skip_while(|line| line["run"].is_null());
        for line in named.clone() {
            assert_eq!(line["run"], end["run"], "{line}");
        }
        if end["step"] != "fhir-export" {
            assert_eq!(named.count(), call.len(), "{call:#?}");
        }
        assert!(call.len() > 1, "{call:#?}");
        runs.push(&end["run"]);
    }
    assert_eq!(runs, [first, second].repeat(5));
    for line in telemetry.text.lines() {
        assert!(
            line.matches("\"run\":\"").count() <= 1,
            "named twice: {line}"
        );
    }
}

#[tokio::test]
async fn lambdas_level_is_the_logs_and_metrics_pass_at_any() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    for (level, summaries, failures) in [
        ("DEBUG", 1, 1),
        ("INFO", 1, 1),
        ("WARN", 0, 1),
        ("FATAL", 0, 1),
    ] {
        let mut story = Story::of(&sandbox)
            .with("METRICS_NAMESPACE", NAMESPACE)
            .with("AWS_LAMBDA_LOG_LEVEL", level);
        story.call(Step::FhirExport, &json!({})).await.unwrap();
        sandbox.faults().once(Fault::answers(Place::KickOff, 404));
        story.call(Step::FhirExport, &json!({})).await.unwrap_err();
        let telemetry = Telemetry::of(&story, summaries + failures).await;
        assert_eq!(telemetry.of_metric("Seconds").len(), 2, "{level}");
        let debug = telemetry.lines.iter().any(|line| line["level"] == "DEBUG");
        assert_eq!(debug, level == "DEBUG", "{}", telemetry.text);
        // Lambda's own filter takes a line without a level for INFO.
        let metrics = telemetry
            .text
            .lines()
            .filter(|line| line.contains("\"_aws\""));
        for line in metrics {
            let line: Value = serde_json::from_str(line).unwrap();
            assert_eq!(line["level"], level);
            assert!(line["timestamp"].is_string());
        }
    }
}

#[tokio::test]
async fn a_failure_is_one_line_at_level_error() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let mut story = Story::of(&sandbox);
    let event = story.until(Step::TransferToS3).await.unwrap();
    sandbox.faults().on(Fault::answers(Place::File, 403));
    let failed = story.call(Step::TransferToS3, &event).await.unwrap_err();
    let telemetry = Telemetry::of(&story, 3).await;
    let errors: Vec<_> = telemetry
        .lines
        .iter()
        .filter(|line| line["level"] == "ERROR")
        .collect();
    let [line] = errors[..] else {
        panic!("{errors:#?}")
    };
    assert_eq!(line["outcome"], "failure");
    assert_eq!(line["error"], failed.error_type.as_str());
    assert_eq!(line["what"], failed.error_message.as_str());
    assert_eq!(line["run"], event["run"]);
}

#[tokio::test]
async fn no_line_holds_a_secret_a_signature_or_a_resource() {
    let sandbox = Sandbox::builder()
        .data(Dataset::of(&[("Patient", 4), ("Condition", 4)]))
        .files_elsewhere()
        .signed_links(true)
        .polls(1)
        .start()
        .await
        .unwrap();
    let mut story = Story::of(&sandbox)
        .with("METRICS_NAMESPACE", NAMESPACE)
        .with("AWS_LAMBDA_LOG_LEVEL", "TRACE");
    let event = story.until(Step::TransferToS3).await.unwrap();
    sandbox.faults().once(Fault::answers(Place::File, 503));
    story.finish(Step::TransferToS3, &event).await.unwrap();
    let telemetry = Telemetry::of(&story, 4).await;
    assert_no_secrets(&sandbox, &telemetry.text);
    let manifest = event["result"]["output"].to_string();
    let signatures: Vec<_> = manifest
        .split(['?', '&', '"'])
        .filter_map(|part| part.split_once('='))
        .map(|(_, value)| value)
        .filter(|value| value.len() >= 16)
        .collect();
    assert!(!signatures.is_empty(), "{manifest}");
    for signature in signatures {
        assert!(
            !telemetry.text.contains(signature),
            "{signature} is in\n{}",
            telemetry.text
        );
    }
    for kind in ["Patient", "Condition"] {
        for resource in sandbox.resources(kind) {
            let resource: Value = serde_json::from_slice(&resource).unwrap();
            let id = resource["id"].as_str().unwrap();
            assert!(!telemetry.text.contains(&format!("\"{id}\"")), "{id}");
        }
    }
    assert!(!telemetry.text.contains("resourceType"));
}

/// What a function answers to an event that is these bytes, and what it writes. Lambda itself takes JSON alone.
async fn given(event: &'static str, story: &Story) -> (Value, Telemetry) {
    let (answered, mut answers) = mpsc::channel::<String>(1);
    let given = Arc::new(AtomicBool::new(false));
    let next = get(async move || {
        if given.swap(true, Ordering::SeqCst) {
            return std::future::pending().await;
        }
        let mut headers = HeaderMap::new();
        headers.insert("lambda-runtime-aws-request-id", "r1".parse().unwrap());
        headers.insert(
            "lambda-runtime-deadline-ms",
            "99999999999999".parse().unwrap(),
        );
        headers.insert(
            "lambda-runtime-invoked-function-arn",
            "arn".parse().unwrap(),
        );
        (headers, event)
    });
    let error = post(async move |body: String| answered.send(body).await.unwrap());
    let api = Router::new()
        .route("/2018-06-01/runtime/invocation/next", next)
        .route("/2018-06-01/runtime/invocation/r1/error", error);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, api).await.unwrap() });
    let step = Step::CheckExportStatus;
    let mut child = Command::new(binary(&format!("{}-lambda", step.name())));
    child.env_clear().envs(story.environment(step).iter());
    for (name, value) in [
        ("FUNCTION_NAME", "f"),
        ("FUNCTION_MEMORY_SIZE", "256"),
        ("FUNCTION_VERSION", "1"),
    ] {
        child.env(format!("AWS_LAMBDA_{name}"), value);
    }
    child.env("AWS_LAMBDA_RUNTIME_API", address.to_string());
    let child = child.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.kill_on_drop(true).spawn().unwrap();
    let answer = answers.recv().await.unwrap();
    child.start_kill().unwrap();
    let written = child.wait_with_output().await.unwrap();
    let text = [written.stderr, written.stdout].concat();
    let answer = serde_json::from_str(&answer).unwrap();
    (answer, Telemetry::read(String::from_utf8(text).unwrap()))
}

#[tokio::test]
async fn an_event_that_is_no_json_is_one_failure_like_any_other() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let story = Story::of(&sandbox).with("METRICS_NAMESPACE", NAMESPACE);
    for event in ["no JSON, Anna Muster", "{\"statusUrl\": ", ""] {
        let (answer, telemetry) = given(event, &story).await;
        assert_eq!(answer["errorType"], "InputError", "{answer}");
        let said = answer["errorMessage"].as_str().unwrap();
        assert!(said.contains("no JSON") && !said.contains("Anna"), "{said}");
        let [line] = telemetry.summaries()[..] else {
            panic!("{}", telemetry.text)
        };
        assert_eq!(
            (&line["outcome"], &line["level"]),
            (&json!("failure"), &json!("ERROR"))
        );
        assert_eq!(line["error"], "InputError");
        assert_eq!(line["aws_request_id"], "r1");
        assert_eq!(telemetry.of_metric("Errors"), [("InputError", 1.0)]);
    }
    assert_eq!(sandbox.requests(), []);
}
