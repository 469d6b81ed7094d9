//! Client certificates (mTLS): shown to the server itself and to origins that are trusted like it, and to nobody else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pathling_import_core::config::Step;
use pathling_import_tests::check::{
    assert_arrived, assert_import_never_asked, assert_no_secrets, assert_no_token_leaks,
};
use pathling_import_tests::{Authority, CommandRun, Env, Function, Records as _, pathling_import};
use sandbox::{Builder, Dataset, Demand, Fault, Sandbox, Service};
use serde_json::json;

const SETTING: &str = "SOURCE_CLIENT_CERTIFICATE";
const KEY: &str = "SOURCE_CLIENT_CERTIFICATE_KEY";

async fn start(builder: Builder) -> Sandbox {
    let data = Dataset::of(&[("Condition", 3), ("Patient", 3)]);
    builder.data(data).start().await.unwrap()
}

fn by_tls() -> Builder {
    Sandbox::builder().client_certificates(Demand::ByTls)
}

async fn ends_well(sandbox: &Sandbox, run: CommandRun) {
    let finished = run.arg("-vvv").run().await.expect_code(0);
    assert_arrived(sandbox);
    assert_no_token_leaks(sandbox);
    assert_no_secrets(sandbox, &finished.all());
}

async fn refused(sandbox: &Sandbox, run: CommandRun, error: &str, words: &[&str]) -> String {
    let finished = run.arg("-vvv").run().await;
    let said = finished.expect_error(error, words);
    assert_import_never_asked(sandbox);
    assert_no_token_leaks(sandbox);
    assert_no_secrets(sandbox, &finished.all());
    said
}

/// Who came to a service, and with which certificate.
fn who_came(sandbox: &Sandbox, service: Service) -> Vec<Option<String>> {
    let requests = sandbox.requests();
    let to_it = requests.into_iter().filter(|it| it.service == service);
    to_it.map(|it| it.certificate).collect()
}

fn all_are(who: &[Option<String>], expected: Option<&str>) {
    assert!(!who.is_empty(), "nobody came");
    assert!(
        who.iter().all(|name| name.as_deref() == expected),
        "{who:?}"
    );
}

#[tokio::test]
async fn each_server_sees_its_own_clients_certificate_and_a_token_endpoint_elsewhere_none() {
    let sandbox = start(by_tls()).await;
    ends_well(&sandbox, pathling_import(&sandbox)).await;
    all_are(
        &who_came(&sandbox, Service::Source),
        Some("the source's client"),
    );
    all_are(
        &who_came(&sandbox, Service::Target),
        Some("the target's client"),
    );
    all_are(&who_came(&sandbox, Service::Token), None);
}

#[tokio::test]
async fn a_certificate_may_be_all_that_a_server_wants() {
    let sandbox = start(by_tls().auth(false)).await;
    ends_well(&sandbox, pathling_import(&sandbox)).await;
    assert_eq!(sandbox.token_requests().len(), 0);
}

#[tokio::test]
async fn a_foreign_host_of_files_never_sees_the_certificate_redirects_included() {
    let sandbox = start(by_tls().files_elsewhere()).await;
    ends_well(&sandbox, pathling_import(&sandbox)).await;
    all_are(&who_came(&sandbox, Service::Files), None);
    let sandbox = start(by_tls().fault(Fault::FilesRedirect)).await;
    ends_well(&sandbox, pathling_import(&sandbox)).await;
    all_are(&who_came(&sandbox, Service::Files), None);
}

#[tokio::test]
async fn a_trusted_host_of_files_and_a_token_endpoint_that_the_operator_names_see_it() {
    let sandbox = start(by_tls().files_elsewhere().files_trusted()).await;
    let run = pathling_import(&sandbox)
        .env("SOURCE_TRUSTED_ORIGINS", sandbox.files_origin())
        .env("SOURCE_TOKEN_ENDPOINT", sandbox.token_endpoint());
    ends_well(&sandbox, run).await;
    all_are(
        &who_came(&sandbox, Service::Files),
        Some("the source's client"),
    );
    let at_token = who_came(&sandbox, Service::Token);
    assert!(
        at_token.contains(&Some("the source's client".to_owned())),
        "{at_token:?}"
    );
    assert!(
        !at_token.contains(&Some("the target's client".to_owned())),
        "{at_token:?}"
    );
}

#[tokio::test]
async fn a_certificate_may_stand_in_files_together_with_its_key_or_apart() {
    let sandbox = start(by_tls()).await;
    let identity = sandbox.client_identity(Service::Source).unwrap();
    let bare = || pathling_import(&sandbox).without(SETTING).without(KEY);
    let run = bare()
        .file("client.pem", identity.both())
        .env("SOURCE_CLIENT_CERTIFICATE_FILE", "client.pem");
    ends_well(&sandbox, run).await;
    let run = bare()
        .file("client.pem", &identity.certificate)
        .file("key.pem", &identity.key)
        .env("SOURCE_CLIENT_CERTIFICATE_FILE", "client.pem")
        .env("SOURCE_CLIENT_CERTIFICATE_KEY_FILE", "key.pem");
    let _ = run.run().await.expect_code(0);
}

#[tokio::test]
async fn a_key_may_be_kept_by_aws_and_is_fetched_once() {
    let sandbox = start(by_tls().auth(false).secrets_in_aws()).await;
    ends_well(&sandbox, pathling_import(&sandbox)).await;
    assert_eq!(sandbox.secret_requests().len(), 2);
    let sandbox = start(by_tls().auth(false).secrets_in_aws()).await;
    sandbox.faults().on(Fault::SecretsDenied);
    let words = [KEY, "sandbox/source-key", "secretsmanager:GetSecretValue"];
    refused(
        &sandbox,
        pathling_import(&sandbox),
        "ConfigurationError",
        &words,
    )
    .await;
}

#[tokio::test]
async fn a_server_that_wants_a_certificate_leads_to_the_setting_that_is_missing() {
    for demand in [Demand::ByTls, Demand::ByAnswer] {
        for auth in [true, false] {
            let sandbox = start(Sandbox::builder().client_certificates(demand).auth(auth)).await;
            let run = pathling_import(&sandbox).without(SETTING).without(KEY);
            let words = ["a client certificate was asked for", SETTING];
            refused(&sandbox, run, "AuthenticationError", &words).await;
            assert_eq!(
                sandbox.export_kick_offs().len(),
                usize::from(demand == Demand::ByAnswer && !auth)
            );
        }
    }
    let sandbox = start(by_tls()).await;
    let run = pathling_import(&sandbox)
        .without("TARGET_CLIENT_CERTIFICATE")
        .without("TARGET_CLIENT_CERTIFICATE_KEY");
    let words = ["AuthenticationError", "TARGET_CLIENT_CERTIFICATE"];
    let finished = run.run().await;
    finished.expect_error("AuthenticationError", &words);
}

#[tokio::test]
async fn a_certificate_that_the_server_does_not_believe_is_named_and_nothing_is_sent() {
    let sandbox = start(by_tls()).await;
    let (certificate, key) = Authority::new().client("somebody", 2049);
    let run = pathling_import(&sandbox)
        .env(SETTING, certificate)
        .env(KEY, key);
    let words = ["TLS failed", "was refused", SETTING];
    refused(&sandbox, run, "AuthenticationError", &words).await;
    assert_eq!(who_came(&sandbox, Service::Source), []);
}

#[tokio::test]
async fn what_makes_no_certificate_is_told_before_anything_is_asked_of_anybody() {
    let authority = Authority::new();
    let (certificate, key) = authority.client("somebody", 2049);
    let (expired, its_key) = authority.client("somebody", 2020);
    let (_, other_key) = authority.client("somebody else", 2049);
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIC\n-----END ENCRYPTED PRIVATE KEY-----";
    for (certificate, key, words) in [
        ("MIIC".to_owned(), key.clone(), [SETTING, "is no PEM"]),
        (expired, its_key, [SETTING, "expired at 2020-06-01"]),
        (
            certificate.clone(),
            other_key,
            [KEY, "is not the key of that certificate"],
        ),
        (
            certificate.clone(),
            encrypted.to_owned(),
            [KEY, "passphrase"],
        ),
        (certificate.clone(), "MIIC".to_owned(), [KEY, "is no PEM"]),
        (
            certificate.clone(),
            String::new(),
            [SETTING, "holds no private key"],
        ),
    ] {
        let sandbox = start(by_tls()).await;
        let run = pathling_import(&sandbox)
            .env(SETTING, certificate)
            .env(KEY, &key);
        let said = refused(&sandbox, run, "ConfigurationError", &words).await;
        assert!(
            key.lines()
                .all(|line| !said.contains(line) || line.is_empty()),
            "{said}"
        );
        assert_eq!(sandbox.requests(), []);
    }
}

#[tokio::test]
async fn a_warm_function_takes_the_certificate_that_was_changed_where_it_is_kept() {
    let sandbox = start(by_tls().auth(false).secrets_in_aws()).await;
    let env = Env::of(&sandbox).of_step(Step::FhirExport);
    let env = env
        .with(SETTING, sandbox.client_identity_arn(Service::Source))
        .without(KEY);
    let mut function = Function::start("fhir-export", &env).await;
    function.invoke(json!({})).await.unwrap();
    assert_eq!(sandbox.secret_requests().len(), 1);
    sandbox.rotate_certificates().unwrap();
    function.invoke(json!({})).await.unwrap();
    assert_eq!(sandbox.secret_requests().len(), 2);
    let refused = sandbox.requests().into_iter();
    let kick_offs = refused.filter(|it| it.path.ends_with("$export")).count();
    assert_eq!(kick_offs, 2, "nothing was asked twice");
    assert_no_secrets(&sandbox, &function.logs());
}
