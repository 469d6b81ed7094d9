//! Sentry: a failed step is one event, there when the function answers, with what is needed to find the cause and no
//! secret.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use pathling_import_core::config::Step;
use pathling_import_tests::check::assert_no_secrets;
use pathling_import_tests::{FakeSentry, NOBODY, Records as _, SENTRY_KEY, Story};
use sandbox::{Answer, Fault, Place, Sandbox};
use serde_json::{Value, json};

fn reporting(sandbox: &Sandbox, sentry: &FakeSentry) -> Story {
    Story::of(sandbox)
        .with("SENTRY_DSN", &sentry.dsn)
        .with("SENTRY_ENVIRONMENT", "night shift")
        .with("SENTRY_RELEASE", "pathling-import@test-7")
}

#[tokio::test]
async fn a_failed_step_is_one_event_with_its_name_step_run_environment_and_release() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let sentry = FakeSentry::start().await;
    let mut story = reporting(&sandbox, &sentry);
    let event = story.until(Step::CheckExportStatus).await.unwrap();
    sandbox.faults().on(Fault::ManifestIsArray);
    let failed = story
        .call(Step::CheckExportStatus, &event)
        .await
        .unwrap_err();
    // It is there when the answer is: nobody waits here.
    let reported = sentry.only_event();
    // Absent is Sentry's word for the level "error".
    assert_eq!(reported["level"], Value::Null);
    let exception = &reported["exception"]["values"][0];
    assert_eq!(exception["type"], "ManifestError");
    assert_eq!(exception["value"], failed.error_message);
    assert_eq!(reported["tags"]["error"], "ManifestError");
    assert_eq!(reported["tags"]["step"], "check-export-status");
    assert_eq!(reported["tags"]["run"], event["run"]);
    assert_eq!(reported["environment"], "night shift");
    assert_eq!(reported["release"], "pathling-import@test-7");
    assert_no_secrets(&sandbox, &sentry.raw());
    // The key is in the request, not in what is logged.
    assert!(!story.logs().contains(SENTRY_KEY));
}

#[tokio::test]
async fn each_failure_of_a_warm_function_is_one_event_of_its_own() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let sentry = FakeSentry::start().await;
    let mut story = reporting(&sandbox, &sentry);
    for times in 1..=3 {
        sandbox.faults().once(Fault::answers(Place::KickOff, 404));
        let failed = story.call(Step::FhirExport, &json!({})).await.unwrap_err();
        assert_eq!(failed.error_type, "ExportFailedError");
        assert_eq!(sentry.items().len(), times);
    }
    story.call(Step::FhirExport, &json!({})).await.unwrap();
    assert_eq!(sentry.items().len(), 3, "a success is not reported");
    for (_, event) in sentry.items() {
        assert_eq!(event["tags"]["step"], "fhir-export");
        assert_eq!(event["tags"]["run"], Value::Null, "there was none yet");
    }
}

#[tokio::test]
async fn a_report_names_the_execution_and_holds_what_led_to_it_in_this_call_alone() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let sentry = FakeSentry::start().await;
    // Several threads: what led to it was said on any of them.
    let mut story = reporting(&sandbox, &sentry).with("TOKIO_WORKER_THREADS", "3");
    let named = |name: &str| json!({"execution": name});
    let first = story.call(Step::FhirExport, &named("nightly-1")).await;
    let first = story.finish(Step::CheckExportStatus, &first.unwrap()).await;
    let first = first.unwrap();
    story.finish(Step::TransferToS3, &first).await.unwrap();
    let second = story.call(Step::FhirExport, &named("nightly-2")).await;
    let second = story
        .finish(Step::CheckExportStatus, &second.unwrap())
        .await;
    let second = second.unwrap();
    sandbox.faults().once(Fault::answers(Place::File, 500));
    sandbox.faults().on(Fault::answers(Place::File, 403));
    story.call(Step::TransferToS3, &second).await.unwrap_err();
    let reported = sentry.only_event();
    assert_eq!(reported["tags"]["execution"], "nightly-2");
    assert_eq!(reported["tags"]["run"], second["run"]);
    assert!(reported["tags"]["aws_request_id"].is_string());
    let led_to_it = reported["breadcrumbs"]["values"].as_array().unwrap();
    let said = |text: &str| led_to_it.iter().filter(|it| it["message"] == text).count();
    assert_eq!(said("transfer planned"), 1, "{led_to_it:#?}");
    assert_eq!(said("step failed"), 1, "{led_to_it:#?}");
    // What the call before it said, and what the one of another run did.
    assert_eq!(said("step done"), 0, "{led_to_it:#?}");
    assert_eq!(said("everything is staged"), 0, "{led_to_it:#?}");
    assert_no_secrets(&sandbox, &sentry.raw());
}

#[tokio::test]
async fn what_is_no_name_of_an_execution_goes_no_further() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let mut story = Story::of(&sandbox);
    for execution in [
        json!(7),
        json!(""),
        json!("two words"),
        json!("x".repeat(81)),
    ] {
        let event = json!({"execution": execution});
        let given = story.call(Step::FhirExport, &event).await.unwrap();
        assert_eq!(given.get("execution"), None, "{event}");
    }
}

#[tokio::test]
async fn a_job_in_progress_and_a_story_that_ends_well_are_not_reported() {
    let sandbox = Sandbox::builder().polls(2).import_polls(1).start().await;
    let sandbox = sandbox.unwrap();
    let sentry = FakeSentry::start().await;
    let mut story = reporting(&sandbox, &sentry);
    story.tell().await.unwrap();
    assert_eq!(story.in_progress().len(), 3);
    // As long as a report would take, and longer.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(sentry.items(), []);
}

#[tokio::test]
async fn every_step_reports_and_no_report_holds_a_secret() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let sentry = FakeSentry::start().await;
    let mut story = reporting(&sandbox, &sentry);
    let mut event = json!({});
    for (step, fault) in Step::FIVE.into_iter().zip([
        Fault::answers(Place::KickOff, Answer::new(403)),
        Fault::answers(Place::Status, Answer::new(401)),
        Fault::answers(Place::File, Answer::new(403)),
        Fault::answers(Place::ImportKickOff, Answer::new(401)),
        Fault::answers(Place::ImportStatus, Answer::new(401)),
    ]) {
        sandbox.faults().on(fault.clone());
        let failed = story.call(step, &event).await.unwrap_err();
        assert_eq!(failed.error_type, "AuthenticationError", "{fault}");
        sandbox.faults().off(fault);
        event = story.finish(step, &event).await.unwrap();
    }
    let steps: Vec<_> = sentry
        .items()
        .iter()
        .map(|(_, event)| event["tags"]["step"].clone())
        .collect();
    assert_eq!(steps, Step::FIVE.map(Step::name));
    assert_no_secrets(&sandbox, &sentry.raw());
}

#[tokio::test]
async fn wrong_settings_are_reported_too_under_the_programs_own_release() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let sentry = FakeSentry::start().await;
    let mut story = Story::of(&sandbox)
        .with("SENTRY_DSN", &sentry.dsn)
        .without("SOURCE_ENDPOINT");
    let failed = story.call(Step::FhirExport, &json!({})).await.unwrap_err();
    assert_eq!(failed.error_type, "ConfigurationError");
    let reported = sentry.only_event();
    assert_eq!(
        reported["exception"]["values"][0]["type"],
        "ConfigurationError"
    );
    let release = format!("pathling-import@{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(reported["release"], release);
    assert_no_secrets(&sandbox, &sentry.raw());
}

#[tokio::test]
async fn a_sentry_that_is_not_there_keeps_no_answer_back() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let dsn = format!("http://{SENTRY_KEY}@{NOBODY}/42");
    let mut story = Story::of(&sandbox).with("SENTRY_DSN", dsn);
    sandbox.faults().once(Fault::answers(Place::KickOff, 404));
    let failed = story.call(Step::FhirExport, &json!({})).await.unwrap_err();
    assert_eq!(failed.error_type, "ExportFailedError");
    story.tell().await.unwrap();
}

#[tokio::test]
async fn an_address_that_aws_keeps_is_fetched_once_and_only_for_a_failure() {
    let sandbox = Sandbox::builder().secrets_in_aws().auth(false);
    let sandbox = sandbox.start().await.unwrap();
    let sentry = FakeSentry::start().await;
    let arn = sandbox.keep("sentry", json!({"dsn": sentry.dsn}).to_string());
    let mut story = reporting(&sandbox, &sentry).with("SENTRY_DSN", format!("{arn}#dsn"));
    story.tell().await.unwrap();
    assert_eq!(sandbox.secret_requests().len(), 0, "nothing failed yet");
    for times in 1..=2 {
        sandbox.faults().once(Fault::answers(Place::KickOff, 404));
        let failed = story.call(Step::FhirExport, &json!({})).await.unwrap_err();
        assert_eq!(failed.error_type, "ExportFailedError");
        // It is there when the answer is.
        assert_eq!(sentry.items().len(), times);
        assert_eq!(sandbox.secret_requests().len(), 1);
    }
    let (_, event) = sentry.items().remove(0);
    assert_eq!(event["environment"], "night shift");
    assert_eq!(event["exception"]["values"][0]["type"], "ExportFailedError");
    // What led to it was not forgotten while there was no address.
    let led_to_it = event["breadcrumbs"]["values"].as_array().unwrap();
    assert!(
        led_to_it.iter().any(|it| it["message"] == "step failed"),
        "{event}"
    );
    assert!(!story.logs().contains(SENTRY_KEY));
}

#[tokio::test]
async fn an_address_that_cannot_be_had_is_a_warning_beside_the_failure_itself() {
    let sandbox = Sandbox::builder().secrets_in_aws().auth(false);
    let sandbox = sandbox.start().await.unwrap();
    let sentry = FakeSentry::start().await;
    let kept = sandbox.keep("sentry", "hush-hush");
    for (arn, says) in [
        (kept.clone(), "no Sentry DSN"),
        (kept.replace("sentry", "other"), "no such one"),
    ] {
        let mut story = reporting(&sandbox, &sentry).with("SENTRY_DSN", arn);
        sandbox.faults().once(Fault::answers(Place::KickOff, 404));
        let failed = story.call(Step::FhirExport, &json!({})).await.unwrap_err();
        assert_eq!(failed.error_type, "ExportFailedError");
        let logs = story.logs();
        assert!(
            logs.contains("could not be reported") && logs.contains(says),
            "{logs}"
        );
        assert!(
            logs.contains("SENTRY_DSN") && !logs.contains("hush"),
            "{logs}"
        );
        story.tell().await.unwrap();
    }
    assert_eq!(sentry.items(), []);
}
