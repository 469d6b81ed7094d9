//! The ways in which the command proves who asks: a signed assertion, a given token, HTTP Basic, and where tokens come from.
//! The sandbox verifies what is signed, with other libraries than it was signed with.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use pathling_import_tests::check::{
    assert_arrived, assert_import_never_asked, assert_no_secrets, assert_no_token_leaks,
};
use pathling_import_tests::{CommandRun, Finished, Records as _, pathling_import};
use sandbox::{
    Builder, Dataset, ExpiresIn, Fault, KeyForm, KeyKind, Place, Recorded, Sandbox, Service,
    TokenAuthMethod, Way,
};

const WAYS: [Way; 4] = [
    Way::Jwt(KeyKind::P384),
    Way::Jwt(KeyKind::Rsa),
    Way::Bearer,
    Way::Basic,
];

async fn start(builder: Builder) -> Sandbox {
    let data = Dataset::of(&[("Condition", 3), ("Patient", 3)]);
    builder.data(data).start().await.unwrap()
}

/// The run ends well, everything arrives, no credential went astray, and none is in what was said.
async fn ends_well(sandbox: &Sandbox, run: CommandRun) {
    let finished = run.arg("-vvv").run().await.expect_code(0);
    assert_arrived(sandbox);
    assert_no_token_leaks(sandbox);
    assert_no_secrets(sandbox, &finished.all());
}

/// The run ends with this error, which holds these words and no secret, before anything is imported.
async fn refused(sandbox: &Sandbox, run: CommandRun, error: &str, words: &[&str]) -> String {
    let finished: Finished = run.arg("-vvv").run().await;
    let said = finished.expect_error(error, words);
    assert_import_never_asked(sandbox);
    assert_no_token_leaks(sandbox);
    assert_no_secrets(sandbox, &finished.all());
    said
}

#[tokio::test]
async fn every_way_leads_to_both_servers() {
    for way in WAYS {
        let sandbox = start(Sandbox::builder().way(way)).await;
        ends_well(&sandbox, pathling_import(&sandbox)).await;
        let tokens = match way {
            Way::Jwt(_) => 2,
            _ => 0,
        };
        assert_eq!(sandbox.token_requests().len(), tokens, "{way:?}");
        let files = sandbox.file_requests();
        assert!(files.iter().all(Recorded::has_token), "{way:?}");
    }
}

#[tokio::test]
async fn a_key_may_be_written_in_each_of_its_forms_and_stand_in_a_file() {
    for kind in [KeyKind::P384, KeyKind::Rsa] {
        for form in [
            KeyForm::Jwk,
            KeyForm::Jwks,
            KeyForm::Pkcs8,
            KeyForm::Traditional,
        ] {
            let sandbox = start(Sandbox::builder().way(Way::Jwt(kind))).await;
            let key = sandbox.source_proof(form);
            let kid = sandbox.source_kid().unwrap().to_owned();
            let with_id = |run: CommandRun| run.env("SOURCE_PRIVATE_KEY_ID", &kid);
            ends_well(
                &sandbox,
                with_id(pathling_import(&sandbox)).env("SOURCE_PRIVATE_KEY", &key),
            )
            .await;
            // A variable in which the line ends are two characters, and a file.
            let flat = key.replace('\n', "\\n");
            let run = with_id(pathling_import(&sandbox)).env("SOURCE_PRIVATE_KEY", flat);
            let _ = run.run().await.expect_code(0);
            let run = with_id(pathling_import(&sandbox)).without("SOURCE_PRIVATE_KEY");
            let run = run.file("key", &key).env("SOURCE_PRIVATE_KEY_FILE", "key");
            let _ = run.run().await.expect_code(0);
        }
    }
}

#[tokio::test]
async fn a_key_that_the_server_does_not_know_is_told_with_what_to_check() {
    let another = start(Sandbox::builder().way(Way::Jwt(KeyKind::P384))).await;
    let check = ["SOURCE_PRIVATE_KEY", "SOURCE_PRIVATE_KEY_ID", "clock"];
    for (name, value, says) in [
        (
            "SOURCE_PRIVATE_KEY",
            another.source_proof(KeyForm::Jwk),
            "The signature is wrong",
        ),
        ("SOURCE_CLIENT_ID", "nobody".to_owned(), "Unknown client"),
    ] {
        let sandbox = start(Sandbox::builder().way(Way::Jwt(KeyKind::P384))).await;
        let run = pathling_import(&sandbox).env(name, value);
        let said = refused(&sandbox, run, "AuthenticationError", &check).await;
        assert!(
            said.contains(says) && said.contains("invalid_client"),
            "{said}"
        );
        assert_eq!(sandbox.token_requests().len(), 1);
    }
    let sandbox = start(Sandbox::builder().way(Way::Jwt(KeyKind::P384))).await;
    let run = pathling_import(&sandbox)
        .env("SOURCE_PRIVATE_KEY", sandbox.source_proof(KeyForm::Pkcs8))
        .env("SOURCE_PRIVATE_KEY_ID", "another-id");
    let said = refused(&sandbox, run, "AuthenticationError", &check).await;
    assert!(said.contains("no key of this kid"), "{said}");
}

#[tokio::test]
async fn a_clock_may_be_a_little_wrong_and_not_more() {
    for (ahead, says) in [
        (-50, None),
        (200, None),
        (-90, Some("exp is more than five minutes away")),
        (300, Some("expired")),
    ] {
        let builder = Sandbox::builder().way(Way::Jwt(KeyKind::P384));
        let sandbox = start(builder.fault(Fault::TokenClock(ahead))).await;
        let run = pathling_import(&sandbox);
        match says {
            None => ends_well(&sandbox, run).await,
            Some(says) => {
                refused(&sandbox, run, "AuthenticationError", &[says, "clock"]).await;
            }
        }
    }
}

#[tokio::test]
async fn key_and_server_that_have_no_algorithm_in_common_are_both_named() {
    let builder = Sandbox::builder().way(Way::Jwt(KeyKind::P384));
    let sandbox = start(builder.signing_algorithms(&["RS384"])).await;
    let words = [
        "ES384",
        "only RS384",
        "SOURCE_PRIVATE_KEY",
        "smart-configuration",
    ];
    refused(
        &sandbox,
        pathling_import(&sandbox),
        "AuthenticationError",
        &words,
    )
    .await;
    assert_eq!(sandbox.token_requests().len(), 0);
    // An RSA key does what the server can, even where that is not what SMART prefers.
    let builder = Sandbox::builder().way(Way::Jwt(KeyKind::Rsa));
    let sandbox = start(builder.signing_algorithms(&["PS256", "RS512"])).await;
    ends_well(&sandbox, pathling_import(&sandbox)).await;
}

#[tokio::test]
async fn a_server_that_wants_the_other_way_is_told_with_the_setting_for_it() {
    let keyed = start(Sandbox::builder().source_way(Way::Jwt(KeyKind::P384))).await;
    let run = pathling_import(&keyed)
        .without("SOURCE_PRIVATE_KEY")
        .env("SOURCE_CLIENT_SECRET", "a-secret-of-old");
    let words = [
        "private_key_jwt",
        "SOURCE_CLIENT_SECRET",
        "set SOURCE_PRIVATE_KEY",
    ];
    let said = refused(&keyed, run, "AuthenticationError", &words).await;
    assert!(!said.contains("a-secret-of-old"));
    let secret = start(Sandbox::builder()).await;
    let run = pathling_import(&secret)
        .without("SOURCE_CLIENT_SECRET")
        .env("SOURCE_PRIVATE_KEY", keyed.source_proof(KeyForm::Jwk));
    let words = [
        "client_secret_basic",
        "SOURCE_PRIVATE_KEY",
        "Set SOURCE_CLIENT_SECRET",
    ];
    refused(&secret, run, "AuthenticationError", &words).await;
}

#[tokio::test]
async fn the_token_endpoint_is_found_in_the_capability_statement_where_there_is_no_configuration() {
    for way in [Way::Secret, Way::Jwt(KeyKind::P384)] {
        let builder = Sandbox::builder().way(way);
        let sandbox = start(builder.fault(Fault::OauthUrisOnly)).await;
        ends_well(&sandbox, pathling_import(&sandbox)).await;
        assert_eq!(sandbox.token_requests().len(), 2, "{way:?}");
    }
    // Pathling's statement always names it.
    let fault = Fault::answers(Place::TargetSmartConfiguration, 404);
    let sandbox = start(Sandbox::builder().fault(fault)).await;
    ends_well(&sandbox, pathling_import(&sandbox)).await;
    let fault = Fault::answers(Place::SmartConfiguration, 404);
    let sandbox = start(Sandbox::builder().fault(fault)).await;
    let words = [
        "smart-configuration answered 404",
        "/metadata",
        "oauth-uris",
        "SOURCE_TOKEN_ENDPOINT",
    ];
    refused(
        &sandbox,
        pathling_import(&sandbox),
        "AuthenticationError",
        &words,
    )
    .await;
    let run = pathling_import(&sandbox).env("SOURCE_TOKEN_ENDPOINT", sandbox.token_endpoint());
    ends_well(&sandbox, run).await;
}

#[tokio::test]
async fn a_token_endpoint_that_is_given_is_asked_and_nobody_else_in_each_way_that_it_may_want() {
    for (way, methods, requests) in [
        (Way::Secret, &[TokenAuthMethod::Basic][..], 2),
        // Basic, which is what a server wants that says nothing, then the form.
        (Way::Secret, &[TokenAuthMethod::Post], 4),
        (Way::Jwt(KeyKind::Rsa), &[], 2),
    ] {
        let sandbox = start(Sandbox::builder().way(way).token_auth_methods(methods)).await;
        let run = pathling_import(&sandbox)
            .env("SOURCE_TOKEN_ENDPOINT", sandbox.token_endpoint())
            .env("TARGET_TOKEN_ENDPOINT", sandbox.token_endpoint());
        ends_well(&sandbox, run).await;
        let all = sandbox.requests();
        let asked = all
            .iter()
            .filter(|it| it.path.contains(".well-known"))
            .count();
        assert_eq!(asked, 0, "{way:?}");
        assert_eq!(
            sandbox.token_requests().len(),
            requests,
            "{way:?} {methods:?}"
        );
    }
}

#[tokio::test]
async fn the_life_of_a_token_may_be_a_string_or_not_be_told() {
    for how in [ExpiresIn::Text, ExpiresIn::Absent] {
        let sandbox = start(Sandbox::builder().fault(Fault::ExpiresIn(how))).await;
        ends_well(&sandbox, pathling_import(&sandbox)).await;
        assert_eq!(sandbox.token_requests().len(), 2, "{how:?}");
    }
    // Told as a string, a short life is believed.
    let builder = Sandbox::builder().token_lifetime(Duration::from_secs(1));
    let sandbox = start(builder.polls(2).fault(Fault::ExpiresIn(ExpiresIn::Text))).await;
    let run = pathling_import(&sandbox).env("EXPORT_RETRY_WAIT", "1.1");
    ends_well(&sandbox, run).await;
    assert!(sandbox.token_requests().len() > 2);
    let refusals = sandbox
        .requests()
        .iter()
        .filter(|it| it.status == Some(401))
        .count();
    assert_eq!(refusals, 0, "renewed before it expires");
}

#[tokio::test]
async fn a_token_that_ends_in_the_middle_of_a_transfer_is_renewed_by_one_while_the_others_wait() {
    for way in [Way::Secret, Way::Jwt(KeyKind::P384)] {
        let builder = Sandbox::builder()
            .way(way)
            .token_lifetime(Duration::from_secs(1))
            .latency(Duration::from_millis(200))
            .resources_per_file(1);
        let data = Dataset::of(&[("Condition", 60), ("Patient", 60)]);
        let sandbox = builder.data(data).start().await.unwrap();
        let run = pathling_import(&sandbox).env("TRANSFER_CONCURRENCY", "6");
        ends_well(&sandbox, run).await;
        let files = sandbox.file_requests().len();
        let tokens = sandbox.token_requests().len();
        assert!(tokens > 3, "{tokens} tokens");
        // A renewal for each of six tasks would be as many as a third of the files.
        assert!(tokens < files / 6, "{tokens} tokens for {files} files");
        let twice = sandbox.peak(Service::Token);
        assert_eq!(twice, 1, "token requests at once");
    }
}

#[tokio::test]
async fn a_given_token_or_password_that_is_refused_is_told_and_not_tried_again() {
    for (way, name, setting) in [
        (
            Way::Bearer,
            "SOURCE_BEARER_TOKEN",
            "the token of SOURCE_BEARER_TOKEN",
        ),
        (
            Way::Basic,
            "SOURCE_PASSWORD",
            "SOURCE_USERNAME and SOURCE_PASSWORD",
        ),
    ] {
        let sandbox = start(Sandbox::builder().way(way)).await;
        let run = pathling_import(&sandbox).env(name, "wrong-and-secret");
        let said = refused(&sandbox, run, "AuthenticationError", &["401", setting]).await;
        assert!(!said.contains("wrong-and-secret"), "{said}");
        assert_eq!(sandbox.export_kick_offs().len(), 1, "{way:?}");
    }
}

#[tokio::test]
async fn a_given_token_or_password_goes_no_further_than_a_token_would() {
    for way in [Way::Bearer, Way::Basic] {
        for builder in [
            Sandbox::builder().files_elsewhere(),
            Sandbox::builder().fault(Fault::FilesRedirect),
        ] {
            let sandbox = start(builder.way(way)).await;
            ends_well(&sandbox, pathling_import(&sandbox)).await;
            let files = sandbox.file_requests();
            let elsewhere: Vec<_> = files
                .iter()
                .filter(|it| it.service == Service::Files)
                .collect();
            assert!(!elsewhere.is_empty());
            assert!(
                elsewhere.iter().all(|it| it.credentials.is_empty()),
                "{way:?}"
            );
        }
        let sandbox = start(Sandbox::builder().way(way)).await;
        let run = pathling_import(&sandbox).env("SOURCE_ENDPOINT", "http://fhir.example.org/fhir");
        let words = ["SOURCE_ENDPOINT", "plain http", "ALLOW_PLAINTEXT"];
        refused(&sandbox, run, "ConfigurationError", &words).await;
    }
}
