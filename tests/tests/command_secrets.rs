//! Secrets that AWS keeps: the settings hold their addresses alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pathling_import_core::config::Step;
use pathling_import_tests::check::{
    assert_arrived, assert_import_never_asked, assert_no_secrets, assert_no_token_leaks,
};
use pathling_import_tests::{CommandRun, Env, Function, Records as _, pathling_import};
use sandbox::{Answer, Builder, Dataset, Fault, KeyKind, Place, Sandbox, Way};
use serde_json::json;

const WAYS: [Way; 4] = [
    Way::Secret,
    Way::Jwt(KeyKind::P384),
    Way::Bearer,
    Way::Basic,
];

async fn start(builder: Builder) -> Sandbox {
    let data = Dataset::of(&[("Condition", 3), ("Patient", 3)]);
    builder.data(data).secrets_in_aws().start().await.unwrap()
}

async fn ends_well(sandbox: &Sandbox, run: CommandRun) {
    let finished = run.arg("-vvv").run().await.expect_code(0);
    assert_arrived(sandbox);
    assert_no_token_leaks(sandbox);
    assert_no_secrets(sandbox, &finished.all());
}

async fn refused(sandbox: &Sandbox, run: CommandRun, error: &str, words: &[&str]) {
    let finished = run.arg("-vvv").run().await;
    finished.expect_error(error, words);
    assert_import_never_asked(sandbox);
    assert_no_secrets(sandbox, &finished.all());
}

#[tokio::test]
async fn every_kind_of_secret_may_be_kept_by_either_service_and_is_fetched_once() {
    for way in WAYS {
        let sandbox = start(Sandbox::builder().way(way)).await;
        ends_well(&sandbox, pathling_import(&sandbox)).await;
        assert_eq!(sandbox.secret_requests().len(), 2, "{way:?}");
    }
}

#[tokio::test]
async fn a_secret_that_was_changed_is_fetched_again_and_the_run_goes_on() {
    let sandbox = start(Sandbox::builder().fault(Fault::SecretRotates)).await;
    ends_well(&sandbox, pathling_import(&sandbox)).await;
    // The source's before and after the change; the target's after it.
    assert_eq!(sandbox.secret_requests().len(), 3);
    assert_eq!(sandbox.token_requests().len(), 3);
}

#[tokio::test]
async fn a_warm_function_takes_the_changed_secret_in_every_way() {
    for way in [Way::Secret, Way::Bearer, Way::Basic] {
        let sandbox = start(Sandbox::builder().way(way)).await;
        let env = Env::of(&sandbox).of_step(Step::FhirExport);
        let mut function = Function::start("fhir-export", &env).await;
        function.invoke(json!({})).await.unwrap();
        function.invoke(json!({})).await.unwrap();
        assert_eq!(sandbox.secret_requests().len(), 1, "{way:?}");
        for changes in 1..3 {
            sandbox.rotate_secrets();
            if way == Way::Secret {
                // The token that it has is good until it is refused.
                sandbox.faults().once(Fault::TokenExpires(Place::KickOff));
            }
            function.invoke(json!({})).await.unwrap();
            assert_eq!(sandbox.secret_requests().len(), 1 + changes, "{way:?}");
        }
        assert_no_secrets(&sandbox, &function.logs());
        assert_no_token_leaks(&sandbox);
    }
}

#[tokio::test]
async fn a_secret_that_is_the_same_after_a_refusal_is_tried_no_further() {
    let sandbox = start(Sandbox::builder().way(Way::Bearer)).await;
    sandbox.faults().on(Fault::TokenExpires(Place::KickOff));
    let words = ["401", "SOURCE_BEARER_TOKEN"];
    refused(
        &sandbox,
        pathling_import(&sandbox),
        "AuthenticationError",
        &words,
    )
    .await;
    assert_eq!(sandbox.export_kick_offs().len(), 1);
    assert_eq!(sandbox.secret_requests().len(), 2);
}

#[tokio::test]
async fn a_secret_that_cannot_be_had_is_told_with_its_address_and_what_it_takes() {
    let secret = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:sandbox/source-AbCdEf";
    let parameter = "arn:aws:ssm:eu-central-1:123456789012:parameter/sandbox/other";
    let manager = "secretsmanager:GetSecretValue";
    for (value, fault, words) in [
        (
            format!("{secret}#secret"),
            Some(Fault::SecretsDenied),
            vec![secret, manager, "kms:Decrypt"],
        ),
        (
            parameter.to_owned(),
            Some(Fault::SecretsDenied),
            vec![parameter, "ssm:GetParameter"],
        ),
        (parameter.to_owned(), None, vec![parameter, "no such one"]),
        (
            secret.replace("source", "other"),
            None,
            vec!["sandbox/other", "no such one"],
        ),
        (
            format!("{secret}#absent"),
            None,
            vec![secret, "#absent", "no such member"],
        ),
    ] {
        let sandbox = start(Sandbox::builder()).await;
        if let Some(fault) = fault {
            sandbox.faults().on(fault);
        }
        let run = pathling_import(&sandbox).env("SOURCE_CLIENT_SECRET", value);
        let mut words = words;
        words.push("SOURCE_CLIENT_SECRET");
        refused(&sandbox, run, "ConfigurationError", &words).await;
        assert_eq!(sandbox.token_requests().len(), 0);
    }
    let sandbox = start(Sandbox::builder()).await;
    let run = pathling_import(&sandbox).env("SOURCE_CLIENT_SECRET", secret);
    let words = [secret, "a JSON object is kept there", "#NAME"];
    refused(&sandbox, run, "ConfigurationError", &words).await;
    // Wrong credentials of AWS's own, where nothing else wants them.
    let sandbox = start(Sandbox::builder()).await;
    let env = Env::of(&sandbox).of_step(Step::FhirExport);
    let env = env
        .without("STAGING_URL")
        .with("AWS_ACCESS_KEY_ID", "other");
    let mut function = Function::start("fhir-export", &env).await;
    let error = function.invoke(json!({})).await.unwrap_err();
    assert_eq!(error.error_type, "ConfigurationError", "{error:?}");
    assert!(
        error.error_message.contains("UnrecognizedClientException"),
        "{error:?}"
    );
    assert_no_secrets(&sandbox, &function.logs());
}

#[tokio::test]
async fn headers_may_be_kept_too_and_are_fetched_once() {
    for text in [
        "Epic-Client-ID: hush-7; X-Other: 1",
        r#"{"Epic-Client-ID": "hush-7"}"#,
    ] {
        let sandbox = start(Sandbox::builder()).await;
        let at = sandbox.keep("sandbox/headers", text);
        ends_well(
            &sandbox,
            pathling_import(&sandbox).env("SOURCE_HEADERS", at),
        )
        .await;
        assert_eq!(sandbox.secret_requests().len(), 3);
        for asked in sandbox.export_kick_offs().iter().chain(&sandbox.polls()) {
            assert_eq!(asked.headers["epic-client-id"], "hush-7", "{text}");
        }
        // These are at another origin, which is not trusted.
        for asked in sandbox.token_requests() {
            assert!(!asked.headers.contains_key("epic-client-id"), "{text}");
        }
    }
}

#[tokio::test]
async fn what_is_kept_in_place_of_headers_and_is_none_ends_the_run_unsent() {
    for text in ["hush-7", "Authorization: hush-7", r#"{"X": {"hush-7": 1}}"#] {
        let sandbox = start(Sandbox::builder()).await;
        let at = sandbox.keep("sandbox/headers", text);
        let run = pathling_import(&sandbox).env("SOURCE_HEADERS", &at);
        let finished = run.arg("-vvv").run().await;
        finished.expect_error("ConfigurationError", &["SOURCE_HEADERS", &at]);
        assert!(!finished.all().contains("hush-7"), "{text}");
        assert_eq!(sandbox.export_kick_offs().len(), 0);
    }
}

#[tokio::test]
async fn a_keeper_that_is_ill_is_asked_three_times_and_the_run_can_be_tried_again() {
    let ill = || Fault::answers(Place::Secrets, Answer::new(503));
    let sandbox = start(Sandbox::builder()).await;
    sandbox.faults().times(2, ill());
    ends_well(&sandbox, pathling_import(&sandbox)).await;
    let sandbox = start(Sandbox::builder()).await;
    sandbox.faults().on(ill());
    let run = || {
        let run = pathling_import(&sandbox);
        ["EXPORT", "TRANSFER", "IMPORT"]
            .into_iter()
            .fold(run, |run, part| {
                run.env(&format!("{part}_RETRY_TIMES"), "0")
            })
    };
    let words = ["503", "SOURCE_CLIENT_SECRET", "cannot be fetched"];
    refused(&sandbox, run(), "SourceUnavailableError", &words).await;
    assert_eq!(sandbox.secret_requests().len(), 3);
    sandbox.faults().clear();
    ends_well(&sandbox, run()).await;
}
