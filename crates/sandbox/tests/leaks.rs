//! The check of credentials itself: clients that leak on purpose, each in one way, and a sandbox that ends with a panic or,
//! as a program, with an error.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Client, KICK_OFF};
use sandbox::{BUCKET, Builder, Fault, Sandbox, TokenClaim};

const JSON: (&str, &str) = ("accept", "application/json");

async fn start(builder: Builder) -> (Sandbox, Client) {
    let sandbox = builder.start().await.unwrap();
    let client = Client::new(&sandbox);
    (sandbox, client)
}

async fn bearer(client: &Client, who: &str) -> String {
    format!("Bearer {}", client.token(who, None).await.unwrap())
}

/// The sandbox's end panics, with these words, although the record was forgotten before.
fn ends_with(sandbox: Sandbox, words: &str) {
    sandbox.clear_requests();
    assert_eq!(sandbox.token_leaks(), Vec::<String>::new());
    let panicked = catch_unwind(AssertUnwindSafe(|| drop(sandbox)));
    let panicked = panicked.expect_err(&format!("no panic: {words}"));
    let text = panicked.downcast_ref::<String>().unwrap();
    assert!(text.contains(words), "no {words:?} in {text}");
}

#[tokio::test]
async fn a_token_abroad_fails_the_test_that_did_not_ask() {
    let (sandbox, client) = start(Sandbox::builder()).await;
    let token = bearer(&client, "SOURCE").await;
    let abroad = format!("{}/files/1/x", sandbox.files_origin());
    let headers = [("authorization", token.as_str())];
    client.send("GET", &abroad, &headers, None).await.unwrap();
    ends_with(
        sandbox,
        "the source's token went to the files origin: GET /files/1/x",
    );
}

/// What goes where, to which path, and how that is told.
const WAYS: [(&str, &str, &str, &str); 15] = [
    (
        "target",
        "source",
        "metadata",
        "the target's token went to the source",
    ),
    (
        "source",
        "target",
        "metadata",
        "the source's token went to the target",
    ),
    ("source", "s3", "x", "the source's token went to the S3"),
    (
        "source",
        "token",
        "x",
        "the source's token went to the token endpoint",
    ),
    (
        "source",
        "keeper",
        "",
        "the source's token went to the secrets' keeper",
    ),
    (
        "source",
        "source",
        ".well-known/smart-configuration",
        "the source's token went to the source",
    ),
    (
        "cookie",
        "source",
        "metadata",
        "a cookie went to the source",
    ),
    ("cookie", "files", "x", "a cookie went to the files origin"),
    (
        "cookie",
        "target",
        "metadata",
        "a cookie went to the target",
    ),
    (
        "assertion",
        "source",
        "metadata",
        "a signed assertion went to the source",
    ),
    (
        "assertion",
        "files",
        "x",
        "a signed assertion went to the files origin",
    ),
    (
        "other host",
        "source",
        "metadata",
        "a credential, over plaintext to the host fhir.example.org, went to the source",
    ),
    (
        "header",
        "files",
        "x",
        "the header that names the source's client went",
    ),
    (
        "unknown",
        "files",
        "x",
        "an unknown token went to the files origin",
    ),
    ("unknown", "s3", "x", "an unknown token went to the S3"),
];

#[tokio::test]
async fn each_way_to_leak_is_found() {
    for (what, origin, path, words) in WAYS {
        let (sandbox, client) = start(Sandbox::builder().secrets_in_aws()).await;
        let env: HashMap<String, String> = sandbox.env().into_iter().collect();
        let base = match origin {
            "source" => sandbox.source_endpoint(),
            "target" => sandbox.target_endpoint(),
            "files" => sandbox.files_origin(),
            "token" => sandbox.token_endpoint(),
            "keeper" => env["AWS_ENDPOINT_URL_SSM"].clone(),
            _ => sandbox.s3_endpoint(),
        };
        let token = token(&sandbox, &client, what).await;
        let mut headers = Vec::new();
        let mut url = format!("{base}/{path}");
        match what {
            "source" | "target" => headers.push(("authorization", token.as_str())),
            "unknown" => headers.push(("authorization", "Bearer invented")),
            "cookie" => headers.push(("cookie", "sandbox=tempting")),
            "header" => headers.push(("epic-client-id", "x")),
            "assertion" => url.push_str("?client_assertion=eyJhbGciOiJSUzM4NCJ9.e30.x"),
            _ => {
                headers.push(("authorization", token.as_str()));
                headers.push(("host", "fhir.example.org"));
            }
        }
        client.send("GET", &url, &headers, None).await.unwrap();
        ends_with(sandbox, words);
    }
}

/// A token of the source's or the target's client, had with the secret that the sandbox tells.
async fn token(sandbox: &Sandbox, client: &Client, what: &str) -> String {
    let (id, secret, scope) = if what == "target" {
        ("target-client", sandbox.secrets()[1].clone(), "pathling")
    } else {
        (
            "source-client",
            sandbox.secrets()[0].clone(),
            "system/*.read",
        )
    };
    let encode =
        |text: &str| -> String { url::form_urlencoded::byte_serialize(text.as_bytes()).collect() };
    let form = format!(
        "grant_type=client_credentials&client_id={id}&client_secret={}&scope={}",
        encode(&secret),
        encode(scope)
    );
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let endpoint = sandbox.token_endpoint();
    let answer = client.send("POST", &endpoint, &headers, Some(form)).await;
    let answer = answer.unwrap().json();
    format!("Bearer {}", answer["access_token"].as_str().unwrap())
}

#[tokio::test]
async fn a_token_for_a_file_of_which_the_manifest_said_that_it_wants_none_is_a_leak() {
    let claim = Fault::RequiresAccessToken(TokenClaim::False);
    let (sandbox, client) = start(Sandbox::builder().fault(claim)).await;
    let manifest = client.export("").await;
    let url = manifest["output"][0]["url"].as_str().unwrap();
    let open = client.send("GET", url, &[], None).await.unwrap();
    assert_eq!(open.status, 200);
    assert_eq!(sandbox.all_leaks(), Vec::<String>::new());
    assert_eq!(client.source(url, &[]).await.status, 400);
    assert_eq!(sandbox.token_leaks().len(), 1);
    let words =
        "a token that the manifest had said is not wanted went to the source: GET /fhir/jobs/";
    ends_with(sandbox, words);
}

#[tokio::test]
async fn a_credential_at_a_server_that_wants_none_is_a_leak() {
    let (sandbox, client) = start(Sandbox::builder().source_auth(false)).await;
    let url = format!("{}/$export", sandbox.source_endpoint());
    let headers = [KICK_OFF[0], KICK_OFF[1], ("authorization", "Basic eDp5")];
    client.send("GET", &url, &headers, None).await.unwrap();
    ends_with(
        sandbox,
        "an unknown client secret or signature went to the source",
    );
}

#[tokio::test]
async fn a_secret_in_the_programs_own_state_is_a_leak() {
    let (sandbox, client) = start(Sandbox::builder()).await;
    let token = bearer(&client, "SOURCE").await;
    let put = client.s3().put_object().bucket(BUCKET);
    let put = put
        .key("pathling/runs/1/_run.json")
        .body(token.into_bytes().into());
    put.send().await.unwrap();
    ends_with(
        sandbox,
        "a secret or a token lies in the object pathling/runs/1/_run.json",
    );
}

#[tokio::test]
async fn leaks_are_found_where_nothing_is_recorded_too() {
    let (sandbox, client) = start(Sandbox::builder().record(false)).await;
    let headers = [("cookie", "sandbox=tempting"), JSON];
    let url = format!("{}/metadata", sandbox.source_endpoint());
    client.send("GET", &url, &headers, None).await.unwrap();
    assert!(sandbox.requests().is_empty());
    ends_with(sandbox, "a cookie went to the source");
}

#[tokio::test]
async fn whoever_leaks_on_purpose_says_so() {
    let (sandbox, client) = start(Sandbox::builder()).await;
    let url = format!("{}/x", sandbox.files_origin());
    let headers = [("authorization", "Bearer invented")];
    client.send("GET", &url, &headers, None).await.unwrap();
    sandbox.expect_leaks();
    assert_eq!(sandbox.all_leaks().len(), 1);
    drop(sandbox);
}

#[tokio::test]
async fn every_server_tempts_with_a_cookie() {
    let (sandbox, client) = start(Sandbox::builder()).await;
    for url in [
        format!("{}/metadata", sandbox.source_endpoint()),
        format!("{}/metadata", sandbox.target_endpoint()),
        format!("{}/x", sandbox.files_origin()),
        sandbox.token_endpoint(),
    ] {
        let answer = client.send("GET", &url, &[], None).await.unwrap();
        assert!(answer.header("set-cookie").is_some(), "{url}");
    }
}

#[tokio::test]
async fn the_program_ends_with_an_error_that_names_the_leak() {
    for leaks in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let ready = folder.path().join("ready");
        let program = Command::new(env!("CARGO_BIN_EXE_sandbox"))
            .args(["--format", "json", "--for", "30", "--ready-file"])
            .arg(&ready)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while !ready.exists() && begun.elapsed() < Duration::from_secs(10) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let env: HashMap<String, String> =
            serde_json::from_slice(&std::fs::read(&ready).unwrap()).unwrap();
        let mut request =
            reqwest::Client::new().get(format!("{}/metadata", env["SOURCE_ENDPOINT"]));
        if leaks {
            request = request.header("cookie", "sandbox=tempting");
        }
        request.send().await.unwrap();
        let id = program.id().to_string();
        let interrupted = Command::new("kill").args(["-INT", &id]).status().unwrap();
        assert!(interrupted.success());
        let output = program.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(i32::from(leaks)));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            said.contains("a cookie went to the source"),
            leaks,
            "{said}"
        );
    }
}
