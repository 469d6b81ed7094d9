//! The token endpoint, and the check that no credential goes astray.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::Duration;

use base64::Engine as _;
use common::{Answer, Client, KICK_OFF};
use sandbox::{Sandbox, TokenAuthMethod};

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

fn encode(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

async fn by_form(
    sandbox: &Sandbox,
    client: &Client,
    secret: &str,
    grant: &str,
    scope: &str,
) -> Answer {
    let id = client.setting("SOURCE_CLIENT_ID");
    let body = format!(
        "grant_type={grant}&client_id={id}&client_secret={}&scope={scope}",
        encode(secret)
    );
    client
        .send("POST", &sandbox.token_endpoint(), &[FORM], Some(body))
        .await
        .unwrap()
}

#[tokio::test]
async fn a_wrong_secret_is_401_invalid_client_and_other_mistakes_400() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let client = Client::new(&sandbox);
    let secret = client.setting("SOURCE_CLIENT_SECRET").to_owned();
    for (secret, grant, scope, status, error) in [
        (
            "wrong",
            "client_credentials",
            "system/*.read",
            401,
            "invalid_client",
        ),
        (
            secret.as_str(),
            "password",
            "system/*.read",
            400,
            "unsupported_grant_type",
        ),
        (
            secret.as_str(),
            "client_credentials",
            "",
            400,
            "invalid_scope",
        ),
    ] {
        let answer = by_form(&sandbox, &client, secret, grant, scope).await;
        assert_eq!(
            (answer.status, answer.json()["error"].as_str()),
            (status, Some(error))
        );
    }
    let right = by_form(
        &sandbox,
        &client,
        &secret,
        "client_credentials",
        "system/*.read",
    )
    .await;
    assert_eq!(
        (right.status, right.json()["token_type"].as_str()),
        (200, Some("Bearer"))
    );
    assert_eq!(right.json()["expires_in"], 3600);
    assert_eq!(right.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn only_the_advertised_method_is_taken() {
    for (method, name, form, basic) in [
        (TokenAuthMethod::Basic, "client_secret_basic", 401, 200),
        (TokenAuthMethod::Post, "client_secret_post", 200, 401),
    ] {
        let sandbox = Sandbox::builder()
            .token_auth_methods(&[method])
            .start()
            .await
            .unwrap();
        sandbox.expect_leaks();
        let client = Client::new(&sandbox);
        let discovery = client.source(".well-known/smart-configuration", &[]);
        if method == TokenAuthMethod::Basic {
            assert_eq!(
                discovery.await.json()["token_endpoint_auth_methods_supported"],
                serde_json::json!([name])
            );
        }
        let secret = client.setting("SOURCE_CLIENT_SECRET").to_owned();
        let answer = by_form(
            &sandbox,
            &client,
            &secret,
            "client_credentials",
            "system/*.read",
        )
        .await;
        assert_eq!(answer.status, form);
        let pair = format!("{}:{}", client.setting("SOURCE_CLIENT_ID"), encode(&secret));
        let basic_header = format!(
            "Basic {}",
            base64::engine::general_purpose::STANDARD.encode(pair)
        );
        let body = "grant_type=client_credentials&scope=system%2F*.read".to_owned();
        let headers = [FORM, ("authorization", basic_header.as_str())];
        let answer = client
            .send("POST", &sandbox.token_endpoint(), &headers, Some(body))
            .await
            .unwrap();
        assert_eq!(answer.status, basic);
    }
}

#[tokio::test]
async fn a_token_ends_with_its_life() {
    let sandbox = Sandbox::builder()
        .token_lifetime(Duration::from_millis(300))
        .start()
        .await
        .unwrap();
    let client = Client::new(&sandbox);
    let token = client.token("SOURCE", None).await.unwrap();
    let bearer = format!("Bearer {token}");
    let headers = [KICK_OFF[0], KICK_OFF[1], ("authorization", bearer.as_str())];
    let url = format!("{}/$export", sandbox.source_endpoint());
    assert_eq!(
        client
            .send("GET", &url, &headers, None)
            .await
            .unwrap()
            .status,
        202
    );
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(
        client
            .send("GET", &url, &headers, None)
            .await
            .unwrap()
            .status,
        401
    );
}

#[tokio::test]
async fn every_credential_that_goes_astray_is_named() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    sandbox.expect_leaks();
    let client = Client::new(&sandbox);
    let source = format!("Bearer {}", client.token("SOURCE", None).await.unwrap());
    let target = format!("Bearer {}", client.token("TARGET", None).await.unwrap());
    let secret = client.setting("TARGET_CLIENT_SECRET").to_owned();
    assert_eq!(sandbox.token_leaks(), Vec::<String>::new());

    let pair = base64::engine::general_purpose::STANDARD.encode(format!("x:{secret}"));
    let basic = format!("Basic {pair}");
    let files = format!("{}/files/1/x", sandbox.files_origin());
    let query = format!("{files}?token={}", source.trim_start_matches("Bearer "));
    for (url, credential, wanted) in [
        (
            files.as_str(),
            source.as_str(),
            "the source's token went to the files origin",
        ),
        (
            &sandbox.target_endpoint(),
            &source,
            "the source's token went to the target",
        ),
        (
            &sandbox.source_endpoint(),
            &target,
            "the target's token went to the source",
        ),
        (
            &sandbox.s3_endpoint(),
            &target,
            "the target's token went to the S3",
        ),
        (
            &sandbox.target_endpoint(),
            &basic,
            "the target's client secret or signature went to the target",
        ),
        (
            &files,
            "Bearer invented",
            "an unknown token went to the files origin",
        ),
        (&query, "", "the source's token went to the files origin"),
    ] {
        sandbox.clear_requests();
        let headers = if credential.is_empty() {
            vec![]
        } else {
            vec![("authorization", credential)]
        };
        client.send("GET", url, &headers, None).await.unwrap();
        let leaks = sandbox.token_leaks();
        assert_eq!(leaks.len(), 1, "{wanted}: {leaks:?}");
        assert!(leaks[0].starts_with(wanted), "{leaks:?}");
    }
    sandbox.clear_requests();
    let body = format!("client_secret={}", encode(&secret));
    client
        .send(
            "POST",
            &format!("{}/x", sandbox.source_endpoint()),
            &[FORM],
            Some(body),
        )
        .await
        .unwrap();
    assert_eq!(
        sandbox.token_leaks().len(),
        1,
        "a secret in a form at the source"
    );
}

#[tokio::test]
async fn a_trusted_files_origin_may_have_the_sources_token_and_wants_it() {
    let sandbox = Sandbox::builder()
        .files_elsewhere()
        .files_trusted()
        .start()
        .await
        .unwrap();
    let client = Client::new(&sandbox);
    let manifest = client.export("").await;
    let url = manifest["output"][0]["url"].as_str().unwrap();
    assert!(url.starts_with(&sandbox.files_origin()));
    assert_eq!(
        client.send("GET", url, &[], None).await.unwrap().status,
        401
    );
    assert_eq!(client.source(url, &[]).await.status, 200);
    assert_eq!(sandbox.token_leaks(), Vec::<String>::new());
}

#[tokio::test]
async fn an_untrusted_files_origin_refuses_a_token() {
    let sandbox = Sandbox::builder().files_elsewhere().start().await.unwrap();
    sandbox.expect_leaks();
    let client = Client::new(&sandbox);
    let manifest = client.export("").await;
    let url = manifest["output"][0]["url"].as_str().unwrap();
    assert_eq!(
        client.send("GET", url, &[], None).await.unwrap().status,
        200
    );
    assert_eq!(client.source(url, &[]).await.status, 400);
    assert_eq!(sandbox.token_leaks().len(), 1);
}
