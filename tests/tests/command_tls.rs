//! Whose certificates the command believes: the system's roots', or those of the file that stands in for them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pathling_import_tests::check::{assert_arrived, assert_nothing_half_staged};
use pathling_import_tests::{Authority, CommandRun, Env, pathling_import};
use sandbox::{Dataset, Sandbox, Service};
use url::Url;

async fn start() -> Sandbox {
    let data = Dataset::of(&[("Condition", 3), ("Patient", 3)]);
    Sandbox::builder().data(data).start().await.unwrap()
}

fn url(env: &Env, name: &str) -> Url {
    Url::parse(env.get(name).unwrap()).unwrap()
}

fn assert_source_never_asked(sandbox: &Sandbox) {
    let requests = sandbox.requests();
    assert!(
        requests.iter().all(|it| it.service != Service::Source),
        "{requests:?}"
    );
}

fn believing(run: CommandRun, authority: &Authority) -> CommandRun {
    run.env("SSL_CERT_FILE", authority.roots().to_str().unwrap())
}

#[tokio::test]
async fn target_and_store_may_have_certificates_of_a_private_authority() {
    let (sandbox, authority) = (start().await, Authority::new());
    let run = pathling_import(&sandbox);
    let target = url(run.environment(), "TARGET_ENDPOINT");
    let store = url(run.environment(), "AWS_ENDPOINT_URL_S3");
    let target = authority.serve("localhost", &target).await;
    let store = authority.serve("localhost", &store).await;
    let run = believing(run, &authority)
        .env("TARGET_ENDPOINT", target.url.as_str())
        .env("AWS_ENDPOINT_URL_S3", store.url.as_str());
    let _ = run.run().await.expect_code(0);
    assert_arrived(&sandbox);
}

#[tokio::test]
async fn a_certificate_that_no_root_vouches_for_ends_the_run_before_a_secret_is_sent() {
    let (sandbox, authority) = (start().await, Authority::new());
    let run = pathling_import(&sandbox);
    let source = url(run.environment(), "SOURCE_ENDPOINT");
    let source = authority.serve("localhost", &source).await;
    let other = Authority::new();
    let run = believing(run, &other).env("SOURCE_ENDPOINT", source.url.as_str());
    let finished = run.run().await.expect_code(1);
    assert!(
        finished.stderr.contains("TLS failed"),
        "{}",
        finished.stderr
    );
    assert!(
        finished.stderr.contains("certificate"),
        "{}",
        finished.stderr
    );
    assert_source_never_asked(&sandbox);
}

#[tokio::test]
async fn a_certificate_for_another_host_is_not_believed() {
    let (sandbox, authority) = (start().await, Authority::new());
    let run = pathling_import(&sandbox);
    let source = url(run.environment(), "SOURCE_ENDPOINT");
    let source = authority.serve("fhir.example.org", &source).await;
    let run = believing(run, &authority).env("SOURCE_ENDPOINT", source.url.as_str());
    let finished = run.run().await.expect_code(1);
    assert!(
        finished.stderr.contains("TLS failed"),
        "{}",
        finished.stderr
    );
    assert_source_never_asked(&sandbox);
}

#[tokio::test]
async fn a_store_whose_certificate_is_not_believed_gets_nothing() {
    let (sandbox, authority) = (start().await, Authority::new());
    let run = pathling_import(&sandbox);
    let store = url(run.environment(), "AWS_ENDPOINT_URL_S3");
    let store = authority.serve("localhost", &store).await;
    let run = run.env("AWS_ENDPOINT_URL_S3", store.url.as_str());
    let finished = run.env("AWS_MAX_ATTEMPTS", "1").run().await.expect_code(1);
    assert!(
        finished.stderr.contains("StagingUnavailableError"),
        "{}",
        finished.stderr
    );
    assert!(
        finished.stderr.contains("certificate"),
        "{}",
        finished.stderr
    );
    assert_nothing_half_staged(&sandbox);
}

#[tokio::test]
async fn where_the_machine_has_no_root_certificates_that_is_said_and_not_blamed_on_a_server() {
    for name in ["SOURCE_ENDPOINT", "AWS_ENDPOINT_URL_S3"] {
        let (sandbox, authority) = (start().await, Authority::new());
        let run = pathling_import(&sandbox);
        let server = url(run.environment(), name);
        let server = authority.serve("localhost", &server).await;
        let run = run
            .env("SSL_CERT_FILE", "/no/such/file.pem")
            .env(name, server.url.as_str());
        let finished = run.run().await.expect_code(2);
        for words in ["ConfigurationError", "root certificates", "SSL_CERT_FILE"] {
            assert!(finished.stderr.contains(words), "{}", finished.stderr);
        }
        assert_source_never_asked(&sandbox);
    }
}
