//! What the command does when the target answers badly, or not at all: exit code, error, a message that says where and what
//! to do, nothing imported; and that the next start imports.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pathling_import_tests::check::{assert_import_never_asked, assert_no_secrets};
use pathling_import_tests::{NOBODY, Records as _, Refusal, ToldSource, pathling_import, refused};
use sandbox::{Answer, Builder, Dataset, Fault, PathlingVersion, Place, Sandbox};
use serde_json::json;

fn answers(place: Place, answer: impl Into<Answer>) -> Fault {
    Fault::answers(place, answer)
}

/// With the words of a server that knows what it says.
fn outcome(status: u16) -> Answer {
    Answer::new(status).outcome("exception", "The disk of the target is full")
}

fn seven(builder: Builder) -> Builder {
    builder.pathling(PathlingVersion::Seven)
}

fn two(builder: Builder) -> Builder {
    builder.pathling(PathlingVersion::Two)
}

/// The same with each Pathling.
async fn refused_by_both(cases: impl IntoIterator<Item = Refusal>) {
    let cases: Vec<Refusal> = cases.into_iter().collect();
    let with = |change: fn(Builder) -> Builder| {
        cases
            .clone()
            .into_iter()
            .map(move |case| case.sandbox(change))
    };
    refused(with(seven).chain(with(two))).await;
}

#[tokio::test]
async fn metadata_that_does_not_tell_which_pathling_it_is() {
    let at = Place::TargetMetadata;
    let case = |fault, error| Refusal::fault(fault, error).says(&["GET {target}/metadata"]);
    refused([
        case(answers(at, 404), "ImportFailedError").says(&["404", "TARGET_ENDPOINT"]),
        case(Fault::Html(at, 200), "ImportFailedError").says(&["HTML", "TARGET_ENDPOINT"]),
        case(answers(at, outcome(500)), "ImportFailedError").says(&["500", "The disk of"]),
        case(answers(at, 500), "TargetUnavailableError").says(&["500"]),
        case(answers(at, 502), "TargetUnavailableError").says(&["502"]),
        case(answers(at, 401), "AuthenticationError").says(&["401", "TARGET_SCOPES"]),
        case(answers(at, 403), "AuthenticationError").says(&["403", "TARGET_SCOPES"]),
    ])
    .await;
}

#[tokio::test]
async fn a_target_that_is_no_pathling() {
    // The source speaks FHIR too, and says who it is.
    let sandbox = Sandbox::builder().target_auth(false).start().await.unwrap();
    let finished = pathling_import(&sandbox)
        .env("TARGET_ENDPOINT", sandbox.source_endpoint())
        .run()
        .await;
    let words = ["\"Sandbox source\"", "TARGET_ENDPOINT", "TARGET_DIALECT"];
    finished.expect_error("ConfigurationError", &words);
    assert_import_never_asked(&sandbox);
    assert!(
        sandbox.export_kick_offs().is_empty(),
        "nothing is exported in vain"
    );
}

#[tokio::test]
async fn a_target_that_does_not_answer_at_first_keeps_no_export_from_beginning() {
    let sandbox = two(Sandbox::builder()).start().await.unwrap();
    let answer = answers(Place::TargetMetadata, 502);
    sandbox.faults().times(1, answer);
    let _ = pathling_import(&sandbox).run().await.expect_code(0);
    assert_eq!(sandbox.export_kick_offs().len(), 1);
}

#[tokio::test]
async fn a_line_that_the_target_cannot_read_is_looked_for_and_its_value_is_told_nobody() {
    for version in [PathlingVersion::Seven, PathlingVersion::Two] {
        let builder = Sandbox::builder().pathling(version);
        let sandbox = builder
            .data(Dataset::of(&[("Patient", 5)]))
            .start()
            .await
            .unwrap();
        let odd = json!({"resourceType": "Patient", "id": "odd", "gender": "unheard-of"});
        sandbox.source_put(&odd);
        let finished = pathling_import(&sandbox).arg("-vv").run().await;
        let words = [
            "HAPI-1821",
            "gender",
            "It may mean line 6 of ",
            "/Patient/00000-",
            "--fresh",
        ];
        finished.expect_error("ImportFailedError", &words);
        assert!(
            !finished.stderr.contains("unheard-of"),
            "{}",
            finished.stderr
        );
        let records = sandbox.s3_objects().into_iter().map(|(key, _)| key);
        for key in records.filter(|key| key.rsplit('.').next() == Some("json")) {
            let text = sandbox.s3_object(&key).unwrap();
            assert!(
                !String::from_utf8_lossy(&text).contains("unheard-of"),
                "{key}"
            );
        }
    }
}

#[tokio::test]
async fn a_merge_that_the_target_did_not_expect_may_mean_an_id_that_comes_twice() {
    let lines = concat!(
        "{\"resourceType\":\"Patient\",\"id\":\"1\"}\n",
        "{\"resourceType\":\"Patient\",\"id\":\"1\",\"language\":\"de\"}\n",
    );
    let manifest = json!({
        "transactionTime": "2026-01-01T00:00:00Z",
        "requiresAccessToken": false,
        "output": [{"type": "Patient", "url": "{source}/files/1"}],
    });
    let source = ToldSource::start(&manifest, &[("1", lines)]).await;
    let builder = two(Sandbox::builder()).source_auth(false);
    let sandbox = builder.start().await.unwrap();
    let run = || {
        let run = pathling_import(&sandbox).env("SOURCE_ENDPOINT", source.endpoint());
        run.arg("--fresh").run()
    };
    // Where the table is new both rows stay; the next merge finds two that are the same.
    let first = run().await;
    assert!(
        first.stderr.contains("1 ids came more than once"),
        "{}",
        first.stderr
    );
    let words = [
        "500",
        "A merge fails so where an id comes twice, as it does here",
        "line 1",
    ];
    run().await.expect_error("ImportFailedError", &words);
}

#[tokio::test]
async fn a_kick_off_of_the_import_that_is_answered_badly() {
    let at = Place::ImportKickOff;
    let case = |fault, error| {
        let case = Refusal::fault(fault, error).asked();
        case.says(&["POST {target}/$import?_nonce=…"])
    };
    refused_by_both([
        case(answers(at, 404), "ImportFailedError").says(&["404"]),
        case(Fault::Html(at, 200), "ImportFailedError").says(&["200", "TARGET_ENDPOINT"]),
        case(answers(at, outcome(400)), "ImportFailedError").says(&["400", "The disk of"]),
        case(answers(at, outcome(500)), "ImportFailedError").says(&["500", "The disk of"]),
        case(answers(at, 500), "TargetUnavailableError").says(&["500"]),
        case(answers(at, 502), "TargetUnavailableError").says(&["502"]),
        case(answers(at, 503), "TargetUnavailableError").says(&["503"]),
        case(answers(at, 429), "TargetUnavailableError").says(&["429"]),
        case(answers(at, 401), "AuthenticationError").says(&["401", "TARGET_SCOPES"]),
        case(answers(at, 403), "AuthenticationError").says(&["403", "TARGET_SCOPES"]),
    ])
    .await;
}

#[tokio::test]
async fn a_poll_of_the_import_that_is_answered_badly() {
    let at = Place::ImportStatus;
    // The import itself goes on meanwhile, so it is one that would take longer than the command waits.
    let slowly = |builder: Builder| builder.import_delay(std::time::Duration::from_hours(1));
    let case = |fault, error| {
        let case = Refusal::fault(fault, error).sandbox(slowly).asked();
        case.stays().says(&["GET {target}/$job?id=…"])
    };
    refused_by_both([
        case(Fault::Html(at, 200), "ImportFailedError").says(&["200"]),
        case(answers(at, outcome(500)), "ImportFailedError").says(&["500", "The disk of"]),
        case(answers(at, 403), "ImportFailedError").says(&["403", "allow"]),
        case(answers(at, 500), "TargetUnavailableError").says(&["500"]),
        case(answers(at, 502), "TargetUnavailableError").says(&["502"]),
        case(answers(at, 401), "AuthenticationError").says(&["401"]),
    ])
    .await;
}

#[tokio::test]
async fn an_import_that_fails_says_what_the_target_says_and_the_next_start_imports() {
    let fails = |status| {
        Refusal::fault(Fault::ImportFails(status), "ImportFailedError")
            .says(&["{target}/$job", "The sandbox was told to fail this import"])
            .asked()
    };
    refused_by_both([fails(400), fails(500)]).await;
    let not_allowed = |builder: Builder| builder.allow(&["s3://elsewhere/"]);
    refused_by_both(
        [Refusal::of("another place is allowed", "ImportFailedError")
            .sandbox(not_allowed)
            .env("STAGING_URL", "s3://staging/here")
            .says(&["://staging/here/runs/", "llowed"])
            .asked()
            .stays()],
    )
    .await;
}

#[tokio::test]
async fn an_import_without_a_place_to_ask_for_it_is_named_as_one() {
    let fault = Fault::ImportWithoutContentLocation;
    let sandbox = Sandbox::builder().fault(fault).start().await.unwrap();
    let finished = pathling_import(&sandbox).run().await;
    finished.expect_error(
        "ImportFailedError",
        &["Content-Location", "/$import", "proxy"],
    );
    assert_eq!(sandbox.import_kick_offs().len(), 1);
}

#[tokio::test]
async fn discovery_or_a_token_of_the_target_that_cannot_be_had() {
    let discovery = Place::TargetSmartConfiguration;
    let case = |fault, error| {
        let case = Refusal::fault(fault, error).asked();
        case.says(&["{target}/.well-known/smart-configuration"])
    };
    refused([
        case(Fault::Html(discovery, 200), "AuthenticationError").says(&["TARGET_ENDPOINT"]),
        case(answers(discovery, 410), "AuthenticationError").says(&["TARGET_ENDPOINT"]),
        case(answers(discovery, 403), "AuthenticationError").says(&["403"]),
        case(answers(discovery, 500), "TargetUnavailableError").says(&["500"]),
        case(answers(discovery, 502), "TargetUnavailableError").says(&["502"]),
    ])
    .await;
    let sandbox = Sandbox::builder().start().await.unwrap();
    let finished = pathling_import(&sandbox)
        .env("TARGET_CLIENT_SECRET", "wrong-and-secret-8ca")
        .run()
        .await;
    let words = ["invalid_client", "TARGET_CLIENT_SECRET", "/token"];
    finished.expect_error("AuthenticationError", &words);
    assert_eq!(sandbox.token_requests().len(), 2, "the source's, and one");
    assert!(!finished.all().contains("wrong-and-secret"));
    assert_no_secrets(&sandbox, &finished.all());
    assert_import_never_asked(&sandbox);
}

#[tokio::test]
async fn a_target_that_hangs_or_is_not_there() {
    let hangs = |at, words: &[&str]| {
        Refusal::fault(Fault::Hang(at), "TargetUnavailableError")
            .env("IDLE_TIMEOUT", "2")
            .says(words)
            .says(&["no answer within 2 s (IDLE_TIMEOUT)"])
            .asked()
    };
    let nobody = format!("http://{NOBODY}/fhir");
    refused([
        hangs(Place::TargetSmartConfiguration, &["{target}/.well-known"]),
        hangs(Place::TargetMetadata, &["{target}/metadata"]),
        hangs(Place::ImportKickOff, &["{target}/$import"]),
        Refusal::of("connection refused", "TargetUnavailableError")
            .env("TARGET_ENDPOINT", &nobody)
            .says(&[&nobody, "refused"])
            .stays(),
    ])
    .await;
    let slowly = |builder: Builder| builder.import_delay(std::time::Duration::from_hours(1));
    refused([hangs(Place::ImportStatus, &["{target}/$job"])
        .sandbox(slowly)
        .stays()])
    .await;
}
