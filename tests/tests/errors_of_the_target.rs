//! What bad input from the target gets, through the real functions, and what wrong credentials get at both ends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pathling_import_core::config::Step::{self, CheckImportStatus, PathlingImport};
use pathling_import_tests::check::assert_import_never_asked;
use pathling_import_tests::{Case, Records as _, Story, prove};
use sandbox::{Answer, Dataset, Fault, PathlingVersion, Place, Sandbox};

fn answers(place: Place, answer: impl Into<Answer>) -> Fault {
    Fault::answers(place, answer)
}

/// With the words of a server that knows what it says.
fn outcome(status: u16) -> Answer {
    Answer::new(status).outcome("exception", "The disk of the target is full")
}

#[tokio::test]
async fn answers_to_the_request_for_metadata() {
    let case =
        |fault, error| Case::fault(fault, PathlingImport, error).says(&["{target}/metadata"]);
    let at = Place::TargetMetadata;
    prove([
        case(answers(at, 404), "ImportFailedError").says(&["404", "TARGET_ENDPOINT"]),
        case(Fault::Html(at, 200), "ImportFailedError").says(&["TARGET_ENDPOINT"]),
        case(answers(at, 403), "AuthenticationError").says(&["403", "TARGET_SCOPES"]),
        case(answers(at, 502), "TargetUnavailableError").says(&["502"]),
        case(Fault::Hang(at), "TargetUnavailableError")
            .at_step("IDLE_TIMEOUT", "1")
            .says(&["IDLE_TIMEOUT"]),
    ])
    .await;
}

#[tokio::test]
async fn answers_to_the_kick_off_of_the_import() {
    let case = |fault, error| Case::fault(fault, PathlingImport, error).says(&["{target}/$import"]);
    let at = Place::ImportKickOff;
    prove([
        case(Fault::ImportWithoutContentLocation, "ImportFailedError")
            .and(Fault::ImportDropsRows)
            .says(&["Content-Location"]),
        case(Fault::Html(at, 200), "ImportFailedError").says(&["200", "TARGET_ENDPOINT"]),
        case(answers(at, 200), "ImportFailedError").says(&["200", "202"]),
        case(answers(at, outcome(400)), "ImportFailedError").says(&["400", "The disk"]),
        case(answers(at, 404), "ImportFailedError").says(&["404"]),
        case(answers(at, outcome(500)), "ImportFailedError").says(&["500", "The disk"]),
        case(answers(at, 401), "AuthenticationError").says(&["401", "TARGET_SCOPES"]),
        case(answers(at, 403), "AuthenticationError").says(&["403", "TARGET_SCOPES"]),
        case(answers(at, 500), "TargetUnavailableError").says(&["500"]),
        case(answers(at, 502), "TargetUnavailableError").says(&["502"]),
        case(answers(at, 503), "TargetUnavailableError").says(&["503"]),
        case(Fault::Hang(at), "TargetUnavailableError")
            .at_step("IDLE_TIMEOUT", "1")
            .says(&["IDLE_TIMEOUT"]),
    ])
    .await;
}

#[tokio::test]
async fn answers_to_the_status_request_of_the_import() {
    // The import itself comes to nothing, so that whatever is in the target afterwards came by another way.
    let case = |fault: Fault, error| {
        let what = fault.name();
        Case::of(what, CheckImportStatus, error)
            .and(Fault::ImportDropsRows)
            .and(fault)
            .says(&["{target}/$job"])
    };
    let at = Place::ImportStatus;
    let in_a_second = |case: Case| case.at_step("IDLE_TIMEOUT", "1");
    prove([
        case(Fault::Html(at, 200), "ImportFailedError").says(&["200"]),
        case(answers(at, outcome(400)), "ImportFailedError").says(&["400", "The disk"]),
        case(answers(at, outcome(500)), "ImportFailedError").says(&["500", "The disk"]),
        case(answers(at, outcome(403)), "ImportFailedError").says(&[
            "403",
            "The disk",
            "pathling:write",
        ]),
        case(answers(at, 404), "ImportFailedError")
            .says(&["404", "a proxy in front of the target"]),
        case(answers(at, 401), "AuthenticationError").says(&["401", "TARGET_SCOPES"]),
        case(answers(at, 500), "TargetUnavailableError").says(&["500"]),
        case(answers(at, 502), "TargetUnavailableError").says(&["502"]),
        in_a_second(case(Fault::Hang(at), "TargetUnavailableError")).says(&["IDLE_TIMEOUT"]),
    ])
    .await;
}

#[tokio::test]
async fn an_import_that_the_target_refuses_says_what_the_target_said() {
    let fails = "The sandbox was told to fail this import";
    prove(
        [PathlingVersion::Seven, PathlingVersion::Two].map(|version| {
            Case::of(
                format!("{version:?}"),
                CheckImportStatus,
                "ImportFailedError",
            )
            .sandbox(|sandbox| sandbox.pathling(version))
            .and(Fault::ImportFails(500))
            .says(&["500", fails, "{target}/$job"])
        }),
    )
    .await;
    let outside = |sandbox: sandbox::Builder| sandbox.allow(&["s3://another/"]);
    prove([Case::of(
        "7 may not import from there",
        CheckImportStatus,
        "ImportFailedError",
    )
    .sandbox(outside)
    .says(&["400", "s3a://staging/pathling/runs/"])])
    .await;
}

#[tokio::test]
async fn a_client_that_may_not_write_at_pathling_2_is_told_so_at_the_poll() {
    prove([
        Case::of("no pathling:write", CheckImportStatus, "ImportFailedError")
            .sandbox(|sandbox| sandbox.pathling(PathlingVersion::Two))
            .env("TARGET_SCOPES", "pathling:import pathling:read")
            .says(&["403", "pathling:write"]),
    ])
    .await;
}

#[tokio::test]
async fn a_target_that_is_no_pathling_is_a_configuration_error() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let another = Sandbox::builder().start().await.unwrap();
    let mut story = Story::of(&sandbox)
        .only(PathlingImport, "TARGET_ENDPOINT", another.source_endpoint())
        .only(PathlingImport, "TARGET_AUTHENTICATION_ENABLED", "false");
    let failed = story.tell().await.unwrap_err();
    assert_eq!(failed.step, PathlingImport);
    assert_eq!(failed.error_type, "ConfigurationError");
    for word in ["Sandbox source", "TARGET_ENDPOINT", "TARGET_DIALECT"] {
        assert!(failed.error_message.contains(word), "{failed:?}");
    }
    assert_import_never_asked(&sandbox);
}

#[tokio::test]
async fn a_wrong_secret_fails_at_once_and_is_not_tried_again() {
    let data = || Dataset::of(&[("Patient", 2)]);
    for (side, step) in [("SOURCE", Step::FhirExport), ("TARGET", PathlingImport)] {
        let sandbox = Sandbox::builder().data(data()).start().await.unwrap();
        let secret = "not-the-secret-at-all";
        let mut story = Story::of(&sandbox).with(&format!("{side}_CLIENT_SECRET"), secret);
        let event = story.until(step).await.unwrap();
        sandbox.clear_requests();
        let failed = story.call(step, &event).await.unwrap_err();
        assert_eq!(failed.error_type, "AuthenticationError");
        let token = sandbox.token_endpoint();
        for word in [
            token.as_str(),
            "invalid_client",
            &format!("{side}_CLIENT_SECRET"),
        ] {
            assert!(failed.error_message.contains(word), "{failed:?}");
        }
        assert_eq!(sandbox.token_requests().len(), 1, "{side}");
        assert!(!failed.error_message.contains(secret));
        assert!(!story.logs().contains(secret));
        assert_import_never_asked(&sandbox);
    }
}

#[tokio::test]
async fn answers_to_the_request_for_a_token_or_its_discovery() {
    let case = |fault, error| Case::fault(fault, Step::FhirExport, error);
    let discovery = Place::SmartConfiguration;
    let smart = "{source}/.well-known/smart-configuration";
    prove([
        case(answers(Place::Token, 400), "AuthenticationError").says(&["{token}", "400"]),
        case(answers(Place::Token, 403), "AuthenticationError")
            .says(&["{token}", "SOURCE_CLIENT_ID"]),
        case(Fault::Html(Place::Token, 200), "AuthenticationError").says(&["{token}"]),
        case(answers(Place::Token, 500), "SourceUnavailableError").says(&["{token}", "500"]),
        case(answers(Place::Token, 429), "SourceUnavailableError").says(&["{token}", "429"]),
        case(answers(discovery, 404), "AuthenticationError").says(&[
            smart,
            "404",
            "SOURCE_AUTHENTICATION_ENABLED",
        ]),
        case(Fault::Html(discovery, 200), "AuthenticationError").says(&[smart, "SOURCE_ENDPOINT"]),
        case(answers(discovery, 502), "SourceUnavailableError").says(&[smart, "502"]),
    ])
    .await;
}
