//! What the command reports to Sentry: a failure as one event, and nothing that is none.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pathling_import_tests::check::assert_no_secrets;
use pathling_import_tests::{CommandRun, FakeSentry, Records as _, pathling_import};
use sandbox::{Fault, Place, Sandbox};

fn reporting(sandbox: &Sandbox, sentry: &FakeSentry) -> CommandRun {
    pathling_import(sandbox)
        .env("SENTRY_DSN", sentry.dsn.clone())
        .env("SENTRY_ENVIRONMENT", "night shift")
        .env("SENTRY_RELEASE", "pathling-import@test-7")
        .env("EXPORT_RETRY_WAIT", "0.05")
        .env("IMPORT_RETRY_WAIT", "0.05")
}

#[tokio::test]
async fn a_failed_run_is_one_event_that_has_arrived_when_the_command_ends() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let sentry = FakeSentry::start().await;
    sandbox.faults().on(Fault::ManifestIsArray);
    let finished = reporting(&sandbox, &sentry).run().await.expect_code(1);
    let event = sentry.only_event();
    assert_eq!(event["exception"]["values"][0]["type"], "ManifestError");
    assert_eq!(event["tags"]["step"], "check-export-status");
    assert!(event["tags"]["run"].is_string(), "{event}");
    assert_eq!(event["environment"], "night shift");
    assert_eq!(event["release"], "pathling-import@test-7");
    let led_to_it = event["breadcrumbs"]["values"].as_array().unwrap();
    let said = |text: &str| led_to_it.iter().any(|it| it["message"] == text);
    assert!(said("export kicked off"), "{event}");
    assert_no_secrets(&sandbox, &sentry.raw());
    assert!(
        finished.stderr.contains("ManifestError"),
        "{}",
        finished.stderr
    );
}

#[tokio::test]
async fn settings_that_are_wrong_are_reported_too() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let sentry = FakeSentry::start().await;
    let run = reporting(&sandbox, &sentry).env("IMPORT_MODE", "append");
    let _ = run.run().await.expect_code(2);
    let event = sentry.only_event();
    assert_eq!(
        event["exception"]["values"][0]["type"],
        "ConfigurationError"
    );
}

#[tokio::test]
async fn neither_success_nor_a_job_that_outlasts_the_waits_nor_a_mended_failure_is_reported() {
    let sandbox = Sandbox::builder().polls(3).start().await.unwrap();
    let sentry = FakeSentry::start().await;
    let impatient = reporting(&sandbox, &sentry).env("EXPORT_RETRY_TIMES", "1");
    let _ = impatient.run().await.expect_code(4);
    sandbox.faults().once(Fault::answers(Place::Status, 502));
    let _ = reporting(&sandbox, &sentry).run().await.expect_code(0);
    assert!(sentry.items().is_empty(), "{}", sentry.raw());
}

#[tokio::test]
async fn an_address_that_aws_keeps_is_fetched_where_a_run_fails_and_its_lack_fails_none() {
    let sandbox = Sandbox::builder().secrets_in_aws().auth(false);
    let sandbox = sandbox.start().await.unwrap();
    let sentry = FakeSentry::start().await;
    let arn = sandbox.keep("sentry", sentry.dsn.clone());
    let run = || reporting(&sandbox, &sentry).env("SENTRY_DSN", arn.clone());
    sandbox.faults().on(Fault::ManifestIsArray);
    let _ = run().run().await.expect_code(1);
    let event = sentry.only_event();
    assert_eq!(event["exception"]["values"][0]["type"], "ManifestError");
    sandbox.faults().on(Fault::SecretsDenied);
    let finished = run().run().await.expect_code(1);
    let said = &finished.stderr;
    assert!(said.contains("could not be reported to Sentry"), "{said}");
    assert!(said.contains("ManifestError"), "{said}");
    sandbox.faults().clear();
    sandbox.clear_requests();
    let _ = run().run().await.expect_code(0);
    assert_eq!(sandbox.secret_requests().len(), 0);
}

#[tokio::test]
async fn an_address_that_takes_connections_and_says_nothing_holds_nobody_up_for_long() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dsn = format!("http://key@{}/1", silent.local_addr().unwrap());
    let sandbox = Sandbox::builder().start().await.unwrap();
    sandbox.faults().on(Fault::ManifestIsArray);
    let run = pathling_import(&sandbox).env("SENTRY_DSN", dsn);
    // Without a limit of its own the process would never end.
    let finished = run.patience(std::time::Duration::from_mins(1)).run().await;
    let _ = finished.expect_code(1);
}
