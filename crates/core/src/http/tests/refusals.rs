//! The table of errors, applied to answers.

use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use serde_json::{Value, json as value};

use super::{answer, json};
use crate::error::{Error, Kind};
use crate::http::fake::{DISCOVERY, Fake, TOKEN, client, discovery, impatient, options, raw};
use crate::http::{Client, ClientOptions, Request, Side, TokenUse, failure};

async fn error_of(status: u16, body: &Value) -> Error {
    let body = body.clone();
    let source = Fake::start(move |_| {
        let body = body.clone();
        async move { json(status, &body) }
    })
    .await;
    let response = impatient(&source.url)
        .send(Request::get(source.at("/fhir/x?a=hush")))
        .await
        .unwrap();
    let error = failure(response, "kick-off of the export").await;
    let text = error.to_string();
    assert!(
        text.starts_with("kick-off of the export: GET http://127.0.0.1:")
            && text.contains("/fhir/x?a=…"),
        "{text}"
    );
    assert!(
        text.contains(&status.to_string()) && !text.contains("hush"),
        "{text}"
    );
    error
}

fn outcome(code: &str) -> Value {
    value!({"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": code, "diagnostics": "no room for a=hush"}]})
}

#[tokio::test]
async fn every_status_has_its_kind() {
    let (none, said, passing) = (value!({}), outcome("processing"), outcome("transient"));
    for (status, body, kind) in [
        (401, &said, Kind::Authentication),
        (403, &none, Kind::Authentication),
        (400, &none, Kind::ExportFailed),
        (404, &said, Kind::ExportFailed),
        (404, &passing, Kind::SourceUnavailable),
        (408, &none, Kind::SourceUnavailable),
        (429, &said, Kind::SourceUnavailable),
        (500, &none, Kind::SourceUnavailable),
        (500, &said, Kind::ExportFailed),
        (500, &passing, Kind::SourceUnavailable),
        (501, &said, Kind::ExportFailed),
        (502, &said, Kind::SourceUnavailable),
        (503, &said, Kind::SourceUnavailable),
        (504, &none, Kind::SourceUnavailable),
        (200, &passing, Kind::ExportFailed),
        (302, &none, Kind::ExportFailed),
    ] {
        let error = error_of(status, body).await;
        assert_eq!(error.kind(), kind, "{status} {body}");
        // The outcome's words, less the query that they quote.
        assert_eq!(
            error.to_string().contains("no room for ***"),
            !body["issue"].is_null(),
            "{error}"
        );
    }
}

#[tokio::test]
async fn the_target_has_names_of_its_own() {
    let target = Fake::start(|seen| async move {
        json(
            if seen.line.contains("404") { 404 } else { 502 },
            &value!({}),
        )
    })
    .await;
    let client = Client::new(ClientOptions {
        side: Side::Target,
        credentials: None,
        ..options(&target.url)
    })
    .unwrap();
    for (path, kind) in [
        ("/fhir/404", Kind::ImportFailed),
        ("/fhir/502", Kind::TargetUnavailable),
    ] {
        let response = client.send(Request::get(target.at(path))).await.unwrap();
        assert_eq!(failure(response, "x").await.kind(), kind);
    }
}

#[tokio::test]
async fn a_busy_server_is_left_alone_for_as_long_as_it_asks() {
    let source = Fake::start(|_| async { answer(503, ("retry-after", "120"), "") }).await;
    let response = impatient(&source.url)
        .send(Request::get(source.at("/fhir/x")))
        .await
        .unwrap();
    assert_eq!(response.retry_after(), Some(Duration::from_mins(2)));
    assert_eq!(
        failure(response, "x").await.wait(),
        Some(Duration::from_mins(2))
    );
}

#[tokio::test]
async fn an_html_page_is_named_so() {
    let source =
        Fake::start(|_| async { answer(404, ("content-type", "text/html"), "<html>hush</html>") })
            .await;
    let response = impatient(&source.url)
        .send(Request::get(source.at("/fhir/x")))
        .await
        .unwrap();
    let text = failure(response, "x").await.to_string();
    assert!(
        text.contains("an HTML page instead of JSON") && !text.contains("hush"),
        "{text}"
    );
}

#[tokio::test]
async fn a_complaint_that_never_ends_does_not_hold_up_its_status() {
    let stalls = raw(
        "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 99\r\n\r\n{",
        false,
    )
    .await;
    // A byte at a time, each before the idle timeout.
    let drips = Fake::start(|_| async {
        let bytes = futures_util::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Some((Ok::<_, std::io::Error>("x"), ()))
        });
        (StatusCode::BAD_GATEWAY, Body::from_stream(bytes)).into_response()
    })
    .await;
    for url in [stalls, drips.url] {
        let response = impatient(&url)
            .send(Request::get(url.clone()))
            .await
            .unwrap();
        let told = tokio::time::timeout(Duration::from_secs(3), failure(response, "x")).await;
        assert_eq!(told.unwrap().kind(), Kind::SourceUnavailable);
    }
}

#[tokio::test]
async fn a_refusal_says_whether_a_token_was_sent_and_why_not() {
    let refuse = |_| async {
        json(
            403,
            &value!({"resourceType": "OperationOutcome", "issue": [{"diagnostics": "not for t1"}]}),
        )
    };
    let source = Fake::smart(refuse).await;
    let files = Fake::start(refuse).await;
    let with = client(&source.url);
    let without = impatient(&source.url);
    let untrusted = format!(
        "no token was sent, because {} is not a trusted origin (SOURCE_TRUSTED_ORIGINS)",
        crate::config::Origin::from(&files.url)
    );
    for (client, request, says) in [
        (
            &with,
            Request::get(source.at("/fhir/x")),
            "does not allow this. Check SOURCE_SCOPES",
        ),
        (&with, Request::get(source.at("/fhir/x")), "not for ***"),
        (&with, Request::get(files.at("/f")), untrusted.as_str()),
        (
            &with,
            Request::get(files.at("/f")).token(TokenUse::Never),
            "is one that carries none",
        ),
        (
            &without,
            Request::get(source.at("/fhir/x")),
            "Set SOURCE_CLIENT_ID",
        ),
    ] {
        let error = failure(client.send(request).await.unwrap(), "x").await;
        assert_eq!(error.kind(), Kind::Authentication);
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[tokio::test]
async fn a_token_at_the_end_of_what_is_shown_is_not_cut_in_half() {
    let secret = "a-token-of-some-length";
    let source = Fake::start(move |seen| async move {
        match seen.line.as_str() {
            DISCOVERY => discovery(&seen),
            TOKEN => json(200, &value!({"access_token": secret})),
            _ => {
                let words = format!("{} {secret}", "x".repeat(490));
                json(403, &value!({"resourceType": "OperationOutcome", "issue": [{"diagnostics": words}]}))
            }
        }
    })
    .await;
    let response = client(&source.url)
        .send(Request::get(source.at("/fhir/x")))
        .await
        .unwrap();
    let text = failure(response, "x").await.to_string();
    assert!(
        text.contains("xxx ***;") && !text.contains("a-tok"),
        "{text}"
    );
}
