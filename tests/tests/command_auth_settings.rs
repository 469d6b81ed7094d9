//! Settings about who asks that cannot be meant: one error that names them, before anything is asked of anybody.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pathling_import_tests::check::assert_no_secrets;
use pathling_import_tests::{CommandRun, pathling_import};
use sandbox::{KeyForm, KeyKind, Sandbox, Way};

async fn refused(sandbox: &Sandbox, run: CommandRun, words: &[&str]) -> String {
    let finished = run.arg("-vvv").run().await;
    let said = finished.expect_error("ConfigurationError", words);
    assert_no_secrets(sandbox, &finished.all());
    said
}

#[tokio::test]
async fn ways_that_contradict_each_other_are_named_together() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let key = Sandbox::builder()
        .way(Way::Jwt(KeyKind::P384))
        .start()
        .await
        .unwrap();
    let key = key.source_proof(KeyForm::Jwk);
    for (env, words) in [
        (
            vec![("SOURCE_PRIVATE_KEY", key.as_str())],
            vec![
                "SOURCE_CLIENT_SECRET in the environment and SOURCE_PRIVATE_KEY in the environment contradict",
            ],
        ),
        (
            vec![
                ("TARGET_BEARER_TOKEN", "x-token"),
                ("TARGET_USERNAME", "me"),
            ],
            vec![
                "TARGET_CLIENT_SECRET",
                "TARGET_BEARER_TOKEN",
                "TARGET_USERNAME",
                "contradict",
            ],
        ),
        (
            vec![
                ("SOURCE_BEARER_TOKEN", "x-token"),
                ("SOURCE_CLIENT_SECRET", ""),
            ],
            vec![
                "SOURCE_CLIENT_ID in the environment does nothing beside SOURCE_BEARER_TOKEN",
                "SOURCE_SCOPES",
            ],
        ),
        (
            vec![
                ("SOURCE_USERNAME", "me"),
                ("SOURCE_CLIENT_SECRET", ""),
                ("SOURCE_CLIENT_ID", ""),
                ("SOURCE_SCOPES", ""),
            ],
            vec!["SOURCE_USERNAME in the environment wants SOURCE_PASSWORD"],
        ),
        (
            vec![("SOURCE_USERNAME", "m:e")],
            vec!["SOURCE_USERNAME", "colon"],
        ),
        (
            vec![("SOURCE_PRIVATE_KEY_ID", "k")],
            vec![
                "SOURCE_PRIVATE_KEY_ID",
                "does nothing without SOURCE_PRIVATE_KEY",
            ],
        ),
        (
            vec![("SOURCE_TOKEN_ENDPOINT", "http://login.example.org/t")],
            vec!["SOURCE_TOKEN_ENDPOINT", "plain http"],
        ),
        (
            vec![("SOURCE_CLIENT_SECRET", "arn:aws:s3:::bucket")],
            vec!["SOURCE_CLIENT_SECRET", "neither AWS Secrets Manager"],
        ),
        (
            vec![
                ("SOURCE_CLIENT_SECRET", ""),
                ("SOURCE_PRIVATE_KEY_FILE", "absent.pem"),
            ],
            vec!["SOURCE_PRIVATE_KEY_FILE", "absent.pem", "cannot be read"],
        ),
        (
            vec![("SOURCE_CLIENT_SECRET", "")],
            vec![
                "SOURCE_CLIENT_SECRET is missing",
                "SOURCE_PRIVATE_KEY",
                "SOURCE_BEARER_TOKEN",
                "SOURCE_USERNAME",
            ],
        ),
    ] {
        let mut run = pathling_import(&sandbox);
        for (name, value) in env {
            run = run.env(name, value);
        }
        let said = refused(&sandbox, run, &words).await;
        assert!(!said.contains("x-token"), "{said}");
    }
    assert_eq!(sandbox.requests(), [], "nothing is asked of anybody");
}

#[tokio::test]
async fn a_signature_for_aws_is_one_way_among_the_others() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    for (env, words) in [
        (
            vec![("SOURCE_AWS_SERVICE", "healthlake")],
            vec![
                "SOURCE_CLIENT_SECRET in the environment and SOURCE_AWS_SERVICE in the environment contradict",
            ],
        ),
        (
            vec![
                ("TARGET_AWS_SERVICE", "execute-api"),
                ("TARGET_CLIENT_SECRET", ""),
            ],
            vec!["TARGET_CLIENT_ID in the environment does nothing beside TARGET_AWS_SERVICE"],
        ),
        (
            vec![("SOURCE_AWS_SERVICE", "Health Lake")],
            vec!["SOURCE_AWS_SERVICE", "no name of a service"],
        ),
    ] {
        let mut run = pathling_import(&sandbox);
        for (name, value) in env {
            run = run.env(name, value);
        }
        refused(&sandbox, run, &words).await;
    }
    assert_eq!(sandbox.requests(), [], "nothing is asked of anybody");
}
