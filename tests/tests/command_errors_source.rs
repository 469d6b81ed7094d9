//! What the command does when the source answers badly, or not at all, up to the manifest: exit code, error, a message that
//! says where and what to do, nothing imported, nothing half-staged.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pathling_import_tests::check::{assert_import_never_asked, assert_no_secrets};
use pathling_import_tests::{NOBODY, Records as _, Refusal, pathling_import, refused};
use sandbox::{Answer, Fault, Place, Sandbox};

fn answers(place: Place, answer: impl Into<Answer>) -> Fault {
    Fault::answers(place, answer)
}

/// With the words of a server that knows what it says.
fn outcome(status: u16) -> Answer {
    Answer::new(status).outcome("exception", "The disk of the source is full")
}

#[tokio::test]
async fn a_kick_off_that_is_answered_badly() {
    let at = Place::KickOff;
    let case = |fault, error| Refusal::fault(fault, error).says(&["GET {source}/$export"]);
    let busy = |status| answers(at, Answer::new(status).retry_after(30));
    refused([
        case(Fault::KickOffWithoutContentLocation, "ExportFailedError").says(&["Content-Location"]),
        case(Fault::Html(at, 200), "ExportFailedError").says(&["200", "202", "SOURCE_ENDPOINT"]),
        case(answers(at, 404), "ExportFailedError").says(&["404"]),
        case(answers(at, outcome(400)), "ExportFailedError").says(&["400", "The disk of"]),
        case(answers(at, outcome(500)), "ExportFailedError").says(&["500", "The disk of"]),
        case(answers(at, 500), "SourceUnavailableError").says(&["500"]),
        case(answers(at, 502), "SourceUnavailableError").says(&["502"]),
        case(Fault::Html(at, 502), "SourceUnavailableError").says(&["502", "HTML"]),
        case(busy(429), "SourceUnavailableError").says(&["429"]),
        case(busy(503), "SourceUnavailableError").says(&["503"]),
        case(answers(at, 401), "AuthenticationError").says(&["401", "SOURCE_SCOPES"]),
        case(answers(at, 403), "AuthenticationError").says(&["403", "SOURCE_SCOPES"]),
    ])
    .await;
}

#[tokio::test]
async fn a_status_request_that_is_answered_badly() {
    let at = Place::Status;
    let case = |fault, error| Refusal::fault(fault, error).says(&["GET {source}/jobs/"]);
    let transient = Answer::new(500).outcome("transient", "Come again");
    refused([
        case(Fault::Html(at, 200), "ManifestError").says(&["something else than JSON"]),
        case(answers(at, 200), "ManifestError").says(&["something else than JSON"]),
        case(answers(at, 404), "ExportFailedError").says(&["404"]),
        case(Fault::SourceLosesJob, "ExportFailedError").says(&["404", "no such export"]),
        case(answers(at, outcome(500)), "ExportFailedError").says(&["500", "The disk of"]),
        case(answers(at, 500), "SourceUnavailableError").says(&["500"]),
        case(answers(at, transient), "SourceUnavailableError").says(&["500", "Come again"]),
        case(answers(at, 502), "SourceUnavailableError").says(&["502"]),
        case(answers(at, 401), "AuthenticationError").says(&["401"]),
        case(answers(at, 403), "AuthenticationError").says(&["403"]),
    ])
    .await;
    let busy = |status| {
        let answer = Answer::new(status).retry_after(1);
        Refusal::fault(answers(at, answer), "JobInProgressError")
            .says(&[&status.to_string(), "EXPORT_RETRY_TIMES is 0"])
    };
    refused([busy(429), busy(503)]).await;
}

#[tokio::test]
async fn a_manifest_that_is_not_one() {
    let case = |fault, words: &[&str]| {
        let case = Refusal::fault(fault, "ManifestError");
        case.says(words)
            .says(&["GET {source}/jobs/", "whoever runs the source"])
    };
    let kind = |name: &str| Fault::OutputType(name.to_owned());
    let lacks = |member: &str| Fault::ManifestLacks(member.to_owned());
    refused([
        case(Fault::ManifestIsArray, &["no JSON object"]),
        case(
            Fault::ManifestIsOutcome,
            &["OperationOutcome", "The export did not work"],
        ),
        case(lacks("transactionTime"), &["no transactionTime"]),
        case(
            Fault::OutputWithoutUrl,
            &["output 1", "Condition", "no url"],
        ),
        case(
            kind("../../x"),
            &["output 1", "../../x", "no resource type"],
        ),
        case(kind("/etc/passwd"), &["no resource type"]),
        case(kind("_parts"), &["no resource type"]),
        case(kind("Patient/../Condition"), &["no resource type"]),
        case(kind(""), &["no resource type"]),
        case(kind("a\u{1b}[2Jb"), &["no resource type"]),
    ])
    .await;
}

#[tokio::test]
async fn discovery_or_a_token_that_cannot_be_had() {
    let discovery = Place::SmartConfiguration;
    let smart = |fault, error| {
        let well_known = "{source}/.well-known/smart-configuration";
        Refusal::fault(fault, error).says(&[well_known])
    };
    let token = |fault, error| Refusal::fault(fault, error).says(&["POST {token}"]);
    let at = Place::Token;
    refused([
        smart(Fault::Html(discovery, 200), "AuthenticationError")
            .says(&["HTML", "SOURCE_ENDPOINT"]),
        smart(answers(discovery, 404), "AuthenticationError").says(&["SOURCE_ENDPOINT"]),
        smart(answers(discovery, 401), "AuthenticationError").says(&["401"]),
        smart(answers(discovery, 403), "AuthenticationError").says(&["403"]),
        smart(answers(discovery, 500), "SourceUnavailableError").says(&["500"]),
        smart(answers(discovery, 502), "SourceUnavailableError").says(&["502"]),
        token(Fault::Html(at, 200), "AuthenticationError").says(&["HTML"]),
        token(answers(at, 404), "AuthenticationError").says(&["404", "SOURCE_CLIENT_ID"]),
        token(answers(at, 401), "AuthenticationError").says(&["401", "SOURCE_CLIENT_SECRET"]),
        token(answers(at, 403), "AuthenticationError").says(&["403", "SOURCE_CLIENT_SECRET"]),
        token(answers(at, 500), "SourceUnavailableError").says(&["500"]),
        token(answers(at, 502), "SourceUnavailableError").says(&["502"]),
    ])
    .await;
}

#[tokio::test]
async fn a_wrong_secret_fails_at_once_and_is_tried_no_second_time() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let secret = "wrong-and-secret-5b1";
    let finished = pathling_import(&sandbox)
        .env("SOURCE_CLIENT_SECRET", secret)
        .run()
        .await;
    let words = ["invalid_client", "SOURCE_CLIENT_SECRET", "/token"];
    finished.expect_error("AuthenticationError", &words);
    assert_eq!(sandbox.token_requests().len(), 1);
    assert_eq!(sandbox.export_kick_offs().len(), 0);
    assert!(!finished.all().contains(secret), "{}", finished.all());
    assert_no_secrets(&sandbox, &finished.all());
    assert_import_never_asked(&sandbox);
}

#[tokio::test]
async fn a_source_that_hangs() {
    let hangs = |at, words: &[&str]| {
        Refusal::fault(Fault::Hang(at), "SourceUnavailableError")
            .env("IDLE_TIMEOUT", "2")
            .says(words)
            .says(&["no answer within 2 s (IDLE_TIMEOUT)"])
    };
    refused([
        hangs(Place::SmartConfiguration, &["{source}/.well-known"]),
        hangs(Place::Token, &["{token}"]),
        hangs(Place::KickOff, &["{source}/$export"]),
        hangs(Place::Status, &["{source}/jobs/"]),
    ])
    .await;
}

#[tokio::test]
async fn a_source_that_is_not_there() {
    let refusing = format!("http://{NOBODY}/fhir");
    refused([
        Refusal::of("connection refused", "SourceUnavailableError")
            .env("SOURCE_ENDPOINT", &refusing)
            .says(&[&refusing, "refused"])
            .stays(),
        Refusal::of("connection refused to https", "SourceUnavailableError")
            .env("SOURCE_ENDPOINT", refusing.replace("http:", "https:"))
            .says(&["https://127.0.0.1", "refused"])
            .stays(),
    ])
    .await;
}
