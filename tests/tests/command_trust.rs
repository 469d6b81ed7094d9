//! Where the command sends tokens and secrets, and where it does not: the sandbox records every credential that arrives.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use pathling_import_tests::check::{
    assert_arrived, assert_import_never_asked, assert_no_secrets, assert_no_token_leaks,
    assert_nothing_half_staged,
};
use pathling_import_tests::{CommandRun, Finished, Records as _, pathling_import};
use sandbox::{
    Builder, CredentialKind, Dataset, Fault, PathlingVersion, Place, Sandbox, Service,
    TokenAuthMethod, TokenClaim,
};

async fn start(builder: Builder) -> Sandbox {
    let data = Dataset::of(&[("Condition", 3), ("Patient", 3)]);
    builder.data(data).start().await.unwrap()
}

/// The run ends well, everything arrives, and no credential went astray.
async fn ends_well(sandbox: &Sandbox, run: CommandRun) -> Finished {
    let finished = run.arg("-vvv").run().await.expect_code(0);
    assert_arrived(sandbox);
    assert_no_token_leaks(sandbox);
    assert_no_secrets(sandbox, &finished.all());
    finished
}

fn with_token(sandbox: &Sandbox, service: Service) -> usize {
    let files = sandbox.file_requests();
    let there = files.iter().filter(|it| it.service == service);
    there.filter(|it| it.has_token()).count()
}

#[tokio::test]
async fn files_on_another_origin_are_asked_for_without_the_token_whatever_the_manifest_claims() {
    for claim in [
        TokenClaim::True,
        TokenClaim::False,
        TokenClaim::Text,
        TokenClaim::Absent,
    ] {
        let builder = Sandbox::builder().files_elsewhere();
        let sandbox = start(builder.fault(Fault::RequiresAccessToken(claim))).await;
        ends_well(&sandbox, pathling_import(&sandbox)).await;
        assert_eq!(sandbox.file_requests().len(), 2, "{claim:?}");
        assert_eq!(with_token(&sandbox, Service::Files), 0, "{claim:?}");
    }
}

#[tokio::test]
async fn files_of_the_source_itself_get_the_token_unless_the_manifest_says_that_they_want_none() {
    for (claim, tokens) in [
        (TokenClaim::True, 2),
        (TokenClaim::False, 0),
        (TokenClaim::Text, 2),
        (TokenClaim::Absent, 2),
    ] {
        let sandbox = start(Sandbox::builder().fault(Fault::RequiresAccessToken(claim))).await;
        ends_well(&sandbox, pathling_import(&sandbox)).await;
        assert_eq!(with_token(&sandbox, Service::Source), tokens, "{claim:?}");
    }
}

#[tokio::test]
async fn a_redirect_to_another_origin_is_followed_without_the_token() {
    let sandbox = start(Sandbox::builder().fault(Fault::FilesRedirect)).await;
    ends_well(&sandbox, pathling_import(&sandbox)).await;
    assert_eq!(with_token(&sandbox, Service::Source), 2);
    assert_eq!(with_token(&sandbox, Service::Files), 0);
    assert_eq!(sandbox.file_requests().len(), 4, "there and elsewhere");
}

#[tokio::test]
async fn an_origin_that_the_operator_trusts_gets_the_token_directly_and_by_redirect() {
    for redirected in [false, true] {
        let builder = Sandbox::builder().files_trusted();
        let sandbox = start(if redirected {
            builder.fault(Fault::FilesRedirect)
        } else {
            builder.files_elsewhere()
        })
        .await;
        let run = pathling_import(&sandbox).env("SOURCE_TRUSTED_ORIGINS", sandbox.files_origin());
        ends_well(&sandbox, run).await;
        assert_eq!(with_token(&sandbox, Service::Files), 2);
    }
}

#[tokio::test]
async fn a_file_that_wants_the_token_elsewhere_names_the_setting_that_lets_it_go_there() {
    for redirected in [false, true] {
        let builder = Sandbox::builder().files_trusted();
        let sandbox = start(if redirected {
            builder.fault(Fault::FilesRedirect)
        } else {
            builder.files_elsewhere()
        })
        .await;
        let finished = pathling_import(&sandbox).run().await;
        let origin = sandbox.files_origin();
        let words = [
            "401",
            &origin,
            "not a trusted origin",
            "SOURCE_TRUSTED_ORIGINS",
        ];
        finished.expect_error("AuthenticationError", &words);
        assert_no_token_leaks(&sandbox);
        assert_import_never_asked(&sandbox);
        assert_nothing_half_staged(&sandbox);
        // And then the same run goes on.
        let run = pathling_import(&sandbox).env("SOURCE_TRUSTED_ORIGINS", origin);
        ends_well(&sandbox, run).await;
        assert_eq!(sandbox.export_kick_offs().len(), 1);
    }
}

#[tokio::test]
async fn the_targets_trusted_origins_are_not_the_sources() {
    let sandbox = start(Sandbox::builder().files_elsewhere().files_trusted()).await;
    let run = pathling_import(&sandbox).env("TARGET_TRUSTED_ORIGINS", sandbox.files_origin());
    run.run()
        .await
        .expect_error("AuthenticationError", &["SOURCE_TRUSTED_ORIGINS"]);
    assert_no_token_leaks(&sandbox);
}

#[tokio::test]
async fn no_credentials_go_over_plain_http_to_another_host() {
    let sandbox = start(Sandbox::builder()).await;
    for (name, other) in [("SOURCE", "fhir.example.org"), ("TARGET", "192.0.2.1")] {
        let endpoint = format!("{name}_ENDPOINT");
        let plain = format!("http://{other}/fhir");
        let finished = pathling_import(&sandbox).env(&endpoint, &plain).run().await;
        let words = [
            endpoint.as_str(),
            "plain http",
            "https",
            "ALLOW_PLAINTEXT=true",
        ];
        finished.expect_error("ConfigurationError", &words);
    }
    assert_eq!(sandbox.requests(), [], "nothing is asked of anybody");
}

#[tokio::test]
async fn a_token_that_is_refused_in_the_middle_of_the_run_is_renewed_once_and_nothing_fails() {
    for version in [PathlingVersion::Seven, PathlingVersion::Two] {
        for place in [
            Place::KickOff,
            Place::Status,
            Place::File,
            Place::TargetMetadata,
            Place::ImportKickOff,
            Place::ImportStatus,
        ] {
            let sandbox = start(Sandbox::builder().pathling(version)).await;
            // Who the target is, is asked once before that, without a token.
            let times = if place == Place::TargetMetadata { 2 } else { 1 };
            sandbox.faults().times(times, Fault::TokenExpires(place));
            ends_well(&sandbox, pathling_import(&sandbox)).await;
            // One each for source and target, and one instead of the refused one.
            assert_eq!(sandbox.token_requests().len(), 3, "{place:?}");
            assert_eq!(sandbox.nonces().len(), 1, "{place:?}");
        }
    }
}

#[tokio::test]
async fn a_token_that_is_refused_again_and_again_is_renewed_once_and_then_told() {
    let sandbox = start(Sandbox::builder().fault(Fault::TokenExpires(Place::Status))).await;
    let finished = pathling_import(&sandbox).run().await;
    let words = ["401", "/jobs/", "and so was a new one", "SOURCE_SCOPES"];
    finished.expect_error("AuthenticationError", &words);
    assert_eq!(sandbox.token_requests().len(), 2);
    assert_no_secrets(&sandbox, &finished.all());
}

#[tokio::test]
async fn a_token_that_expires_between_two_polls_is_renewed() {
    // Polls that are longer apart than a token lives.
    let builder = Sandbox::builder().token_lifetime(Duration::from_secs(1));
    let sandbox = start(builder.polls(2)).await;
    let run = pathling_import(&sandbox).env("EXPORT_RETRY_WAIT", "1.1");
    ends_well(&sandbox, run).await;
    assert!(sandbox.token_requests().len() > 2);
}

#[tokio::test]
async fn the_secret_goes_by_http_basic_or_in_the_form_as_the_server_says() {
    for (methods, kind) in [
        (&[TokenAuthMethod::Basic][..], CredentialKind::Basic),
        (&[TokenAuthMethod::Post], CredentialKind::Embedded),
        (
            &[TokenAuthMethod::Post, TokenAuthMethod::Basic],
            CredentialKind::Basic,
        ),
    ] {
        let sandbox = start(Sandbox::builder().token_auth_methods(methods)).await;
        ends_well(&sandbox, pathling_import(&sandbox)).await;
        for request in sandbox.token_requests() {
            let kinds: Vec<_> = request.credentials.iter().map(|it| it.kind).collect();
            assert_eq!(kinds, [kind], "{methods:?}");
        }
    }
    let sandbox = start(Sandbox::builder().token_auth_methods(&[])).await;
    let finished = pathling_import(&sandbox).run().await;
    // A server that says nothing is taken to want HTTP Basic (RFC 8414), and this one takes nothing.
    finished.expect_error("AuthenticationError", &["invalid_client", "/token"]);
    assert_no_secrets(&sandbox, &finished.all());
}

#[tokio::test]
async fn without_authentication_nobody_is_asked_for_a_token() {
    let sandbox = start(Sandbox::builder().auth(false)).await;
    ends_well(&sandbox, pathling_import(&sandbox)).await;
    assert_eq!(sandbox.token_requests().len(), 0);
    assert!(sandbox.requests().iter().all(|it| !it.has_token()));

    // Where a token is wanted after all, the settings are named that bring one.
    let sandbox = start(Sandbox::builder()).await;
    let run = pathling_import(&sandbox).env("SOURCE_AUTHENTICATION_ENABLED", "false");
    let words = [
        "401",
        "no token was sent",
        "SOURCE_CLIENT_ID",
        "SOURCE_AUTHENTICATION_ENABLED",
    ];
    run.run().await.expect_error("AuthenticationError", &words);
}
