//! Where a source may lead the program, and where not: this machine, private networks, and what keeps credentials there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pathling_import_tests::check::assert_import_never_asked;
use pathling_import_tests::{CommandRun, Proxy, ToldSource, Transferring, pathling_import};
use sandbox::{Dataset, Sandbox};
use serde_json::json;
use url::Url;

async fn start() -> Sandbox {
    let data = Dataset::of(&[("Condition", 3), ("Patient", 3)]);
    Sandbox::builder()
        .data(data)
        .source_auth(false)
        .start()
        .await
        .unwrap()
}

/// The command, for which the sandbox's source is a server of the world behind a proxy.
async fn behind(sandbox: &Sandbox) -> (Proxy, CommandRun) {
    let run = pathling_import(sandbox);
    let source = Url::parse(run.environment().get("SOURCE_ENDPOINT").unwrap()).unwrap();
    let proxy = Proxy::to(&source).await;
    let endpoint = format!("http://fhir.example.org{}", source.path());
    let run = run
        .env("SOURCE_ENDPOINT", endpoint)
        .env("HTTP_PROXY", proxy.url.clone())
        .env("NO_PROXY", "127.0.0.1,localhost");
    (proxy, run)
}

#[tokio::test]
async fn a_source_of_the_world_does_not_lead_to_this_machine() {
    let sandbox = start().await;
    let (proxy, run) = behind(&sandbox).await;
    // The sandbox answers with a status URL of its own address, which is this machine's.
    let finished = run.run().await.expect_code(1);
    assert!(
        proxy.requests() > 0,
        "the source is asked through the proxy"
    );
    for says in [
        "ExportFailedError",
        "127.0.0.1",
        "this machine's own",
        "ALLOW_PRIVATE_HOSTS",
    ] {
        assert!(finished.stderr.contains(says), "{}", finished.stderr);
    }
    assert_import_never_asked(&sandbox);
}

#[tokio::test]
async fn the_operator_may_allow_it() {
    let sandbox = start().await;
    let (proxy, run) = behind(&sandbox).await;
    let run = run.env("ALLOW_PRIVATE_HOSTS", "true");
    let _ = run.run().await.expect_code(0);
    assert!(proxy.requests() > 0);
}

#[tokio::test]
async fn nobody_leads_to_a_machines_metadata() {
    let sandbox = start().await;
    for url in [
        "http://169.254.169.254/latest/meta-data/iam/security-credentials/role",
        "http://[fd00:ec2::254]/latest/meta-data/",
        "http://[::ffff:169.254.170.2]/v2/credentials",
    ] {
        let manifest = json!({
            "transactionTime": "2026-01-31T00:00:00Z",
            "requiresAccessToken": false,
            "output": [{"type": "Patient", "url": url}],
        });
        let source = ToldSource::start(&manifest, &[]).await;
        let run = pathling_import(&sandbox)
            .env("SOURCE_ENDPOINT", source.endpoint())
            .env("ALLOW_PRIVATE_HOSTS", "true");
        let finished = run.run().await.expect_code(1);
        for says in ["not gone to", "No setting allows it"] {
            assert!(finished.stderr.contains(says), "{}", finished.stderr);
        }
    }
    assert_import_never_asked(&sandbox);
}

#[tokio::test]
async fn a_function_is_not_led_to_its_own_runtime() {
    let data = Dataset::of(&[("Patient", 3)]);
    let mut transfer = Transferring::of(Sandbox::builder().data(data), &[]).await;
    let runtime = transfer.runtime().await;
    let url = format!("http://{runtime}/2018-06-01/runtime/invocation/next");
    let output = json!([{"type": "Patient", "url": url}]);
    let manifest = json!({"transactionTime": "2026-01-31T00:00:00Z", "output": output});
    *transfer.event_mut() = json!({"result": manifest});
    transfer
        .fail("ExportFailedError", &["Lambda Runtime API", "not gone to"])
        .await;
}
