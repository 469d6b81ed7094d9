//! Discovery, tokens, and where they go.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use futures_util::future::join_all;
use serde_json::json as value;

use super::{answer, json, ok, takes_only};
use crate::config::Origin;
use crate::error::Kind;
use crate::http::fake::{DISCOVERY, Fake, TOKEN, client, discovery, impatient, options};
use crate::http::{Client, ClientOptions, Request, TokenUse};

#[tokio::test]
async fn many_requests_at_once_discover_once_and_share_one_token() {
    let source = Fake::smart(ok).await;
    let client = client(&source.url);
    let answers = join_all((0..8).map(|_| client.send(Request::get(source.at("/fhir/x"))))).await;
    assert!(
        answers
            .iter()
            .all(|answer| answer.as_ref().unwrap().status() == 200)
    );
    assert_eq!(
        (source.seen(DISCOVERY).len(), source.seen(TOKEN).len()),
        (1, 1)
    );
    assert!(
        source
            .seen("GET /fhir/x")
            .iter()
            .all(|seen| seen.authorization() == Some("Bearer t1"))
    );
    assert_eq!(source.seen(DISCOVERY)[0].authorization(), None);
    let asked = &source.seen(TOKEN)[0];
    assert_eq!(asked.authorization(), Some("Basic aWQ6aHVzaC1odXNo"));
    assert_eq!(
        asked.body,
        "grant_type=client_credentials&scope=system%2F*.read"
    );
    assert_eq!(asked.headers["accept"], "application/json");
    assert!(
        asked.headers["user-agent"]
            .to_str()
            .unwrap()
            .starts_with("pathling-import/")
    );
}

#[tokio::test]
async fn many_401_at_once_renew_the_token_once() {
    let source = Fake::smart(|seen| async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        takes_only(&seen, "t2")
    })
    .await;
    let client = client(&source.url);
    let answers = join_all((0..8).map(|_| client.send(Request::get(source.at("/fhir/x"))))).await;
    assert!(
        answers
            .iter()
            .all(|answer| answer.as_ref().unwrap().status() == 200)
    );
    assert_eq!(source.seen(TOKEN).len(), 2);
    assert_eq!(source.seen("GET /fhir/x").len(), 16);
}

#[tokio::test]
async fn a_401_after_the_renewal_is_the_answer() {
    let source = Fake::smart(|_| async { StatusCode::UNAUTHORIZED.into_response() }).await;
    let response = client(&source.url)
        .send(Request::post(source.at("/fhir/x"), "body", "text/plain"))
        .await
        .unwrap();
    assert_eq!(response.status(), 401);
    let asked = source.seen("POST /fhir/x");
    assert_eq!(asked.len(), 2);
    assert!(
        asked
            .iter()
            .all(|seen| seen.body == "body" && seen.headers["content-type"] == "text/plain")
    );
}

#[tokio::test]
async fn a_403_renews_nothing() {
    let source = Fake::smart(|_| async { StatusCode::FORBIDDEN.into_response() }).await;
    client(&source.url)
        .send(Request::get(source.at("/fhir/x")))
        .await
        .unwrap();
    assert_eq!(
        (source.seen(TOKEN).len(), source.seen("GET /fhir/x").len()),
        (1, 1)
    );
}

#[tokio::test]
async fn a_token_that_is_about_to_expire_is_renewed_before_it_is_used() {
    let source = Fake::start(|seen| async move {
        match seen.line.as_str() {
            DISCOVERY => discovery(&seen),
            TOKEN => json(
                200,
                &value!({"access_token": "t", "token_type": "bearer", "expires_in": "0.2"}),
            ),
            _ => "ok".into_response(),
        }
    })
    .await;
    let client = client(&source.url);
    for (tokens, wait) in [(1, 0), (1, 0), (2, 220)] {
        tokio::time::sleep(Duration::from_millis(wait)).await;
        client
            .send(Request::get(source.at("/fhir/x")))
            .await
            .unwrap();
        assert_eq!(source.seen(TOKEN).len(), tokens);
    }
}

#[tokio::test]
async fn no_token_goes_where_it_is_not_wanted_or_not_trusted() {
    let source = Fake::smart(ok).await;
    let files = Fake::start(ok).await;
    let client = client(&source.url);
    client
        .send(Request::get(source.at("/fhir/x")).token(TokenUse::Never))
        .await
        .unwrap();
    assert!(source.seen(TOKEN).is_empty());
    client.send(Request::get(files.at("/f"))).await.unwrap();
    assert!(source.seen(TOKEN).is_empty());
    assert_eq!(source.seen("GET /fhir/x")[0].authorization(), None);
    assert_eq!(files.seen("GET /f")[0].authorization(), None);
}

#[tokio::test]
async fn a_token_goes_to_an_origin_that_the_operator_names() {
    let source = Fake::smart(ok).await;
    let files = Fake::start(ok).await;
    let trusted_origins = vec![Origin::from(&files.url)];
    let client = Client::new(ClientOptions {
        trusted_origins,
        ..options(&source.url)
    })
    .unwrap();
    client.send(Request::get(files.at("/f"))).await.unwrap();
    assert_eq!(files.seen("GET /f")[0].authorization(), Some("Bearer t1"));
}

#[tokio::test]
async fn a_token_goes_to_its_token_endpoints_origin() {
    let login = Fake::smart(ok).await;
    let token_endpoint = login.at("/token");
    let source = Fake::start(move |_| {
        let token_endpoint = token_endpoint.clone();
        async move { json(200, &value!({"token_endpoint": token_endpoint})) }
    })
    .await;
    client(&source.url)
        .send(Request::get(login.at("/f")))
        .await
        .unwrap();
    assert_eq!(login.seen("GET /f")[0].authorization(), Some("Bearer t1"));
}

#[tokio::test]
async fn without_credentials_nobody_is_asked_for_a_token() {
    let source = Fake::smart(ok).await;
    impatient(&source.url)
        .send(Request::get(source.at("/fhir/x")))
        .await
        .unwrap();
    assert_eq!(source.seen("").len(), 1);
}

#[tokio::test]
async fn credentials_in_plain_text_need_the_operators_word() {
    let endpoint = url::Url::parse("http://fhir.example/r4").unwrap();
    let error = Client::new(options(&endpoint)).unwrap_err();
    assert_eq!(error.kind(), Kind::Configuration);
    assert!(
        error.to_string().contains("SOURCE_ENDPOINT")
            && error.to_string().contains("ALLOW_PLAINTEXT"),
        "{error}"
    );
    assert!(
        Client::new(ClientOptions {
            allow_plaintext: true,
            allow_private_hosts: false,
            ..options(&endpoint)
        })
        .is_ok()
    );
    assert!(
        Client::new(ClientOptions {
            credentials: None,
            ..options(&endpoint)
        })
        .is_ok()
    );
    for wrong in ["https://u:pw@fhir.example/r4", "ftp://fhir.example/"] {
        let error = Client::new(options(&url::Url::parse(wrong).unwrap())).unwrap_err();
        assert!(
            error.kind() == Kind::Configuration && !error.to_string().contains("pw"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_refusal_that_echoes_the_secret_does_not_show_it() {
    let source = Fake::start(|seen| async move {
        if seen.line == DISCOVERY {
            return discovery(&seen);
        }
        let echo = format!("wrong secret hush-hush / {}", seen.authorization().unwrap());
        json(
            401,
            &value!({"error": "invalid_client", "error_description": echo}),
        )
    })
    .await;
    let client = client(&source.url);
    let error = client
        .send(Request::get(source.at("/fhir/x")))
        .await
        .err()
        .unwrap();
    assert_eq!(error.kind(), Kind::Authentication);
    let text = error.to_string();
    assert!(
        text.contains("401 Unauthorized")
            && text.contains("invalid_client (wrong secret *** / Basic ***)"),
        "{text}"
    );
    assert!(text.contains("SOURCE_CLIENT_SECRET"), "{text}");
    assert!(!text.contains("hush") && !text.contains("aWQ6"), "{text}");
    assert!(!format!("{client:?} {:?}", options(&source.url)).contains("hush"));
}

#[tokio::test]
async fn a_token_endpoint_that_is_ill_is_unavailable_and_one_that_is_odd_is_not() {
    for (status, body, kind, says) in [
        (503, "{}", Kind::SourceUnavailable, "503"),
        (429, "{}", Kind::SourceUnavailable, "429"),
        (500, "<html>", Kind::SourceUnavailable, "500"),
        (400, "<html>", Kind::Authentication, "without saying why"),
        (404, "{}", Kind::Authentication, "says no OAuth error"),
        (200, "<html>", Kind::Authentication, "an HTML page"),
        (200, "", Kind::Authentication, "nothing instead of JSON"),
        (200, "{}", Kind::Authentication, "without an access_token"),
    ] {
        let source = Fake::start(move |seen| async move {
            match seen.line.as_str() {
                DISCOVERY => discovery(&seen),
                _ => answer(status, ("retry-after", "7"), body),
            }
        })
        .await;
        let error = client(&source.url)
            .send(Request::get(source.at("/fhir/x")))
            .await
            .err()
            .unwrap();
        assert!(
            error.kind() == kind && error.to_string().contains(says),
            "{error:?}"
        );
        assert_eq!(error.wait().is_some(), kind == Kind::SourceUnavailable);
        assert!(source.seen("GET /fhir/x").is_empty());
    }
}

#[tokio::test]
async fn a_server_without_a_usable_configuration_is_told_so() {
    for (status, body, kind, says) in [
        (
            404,
            "<html>",
            Kind::Authentication,
            "SOURCE_AUTHENTICATION_ENABLED=false",
        ),
        (200, "<html>", Kind::Authentication, "an HTML page"),
        (
            200,
            "{\"token_endpoint\":\"token\"}",
            Kind::Authentication,
            "\"token\" is not an absolute",
        ),
        (
            500,
            "{\"resourceType\":\"OperationOutcome\"}",
            Kind::SourceUnavailable,
            "500",
        ),
        (429, "", Kind::SourceUnavailable, "429"),
    ] {
        let source = Fake::start(move |_| async move { answer(status, ("x", "y"), body) }).await;
        let error = client(&source.url)
            .send(Request::get(source.at("/fhir/x")))
            .await
            .err()
            .unwrap();
        assert!(
            error.kind() == kind && error.to_string().contains(says),
            "{error:?}"
        );
        assert!(
            error
                .to_string()
                .contains(".well-known/smart-configuration"),
            "{error}"
        );
        // The CapabilityStatement is asked only where there is no configuration.
        let requests = if status == 404 { 2 } else { 1 };
        assert_eq!(source.seen("").len(), requests);
    }
}

/// Steps run in spawned tasks.
#[test]
fn what_is_awaited_can_move_between_threads() {
    fn sends<T: Send>(_: &T) {}
    let url = url::Url::parse("http://localhost/").unwrap();
    let client = client(&url);
    sends(&client.send(Request::get(url)));
    let unwanted = async |response| crate::http::failure(response, "x").await;
    let _ = |response: crate::http::Response| sends(&unwanted(response));
    let _ = |response: crate::http::Response| sends(&response.json(1));
}
