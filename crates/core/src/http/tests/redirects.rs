//! Redirects: followed by hand, with the rule for tokens applied anew.

use axum::response::IntoResponse as _;

use super::{answer, ok};
use crate::error::Kind;
use crate::http::fake::{Fake, client};
use crate::http::{Method, Request};

#[tokio::test]
async fn a_redirect_to_another_origin_leaves_the_token_behind() {
    let files = Fake::start(ok).await;
    let elsewhere = files.at("/f?sig=1").to_string();
    let source = Fake::smart(move |_| {
        let elsewhere = elsewhere.clone();
        async move { answer(307, ("location", &elsewhere), "") }
    })
    .await;
    let asked = Request::get(source.at("/fhir/x"))
        .accept("application/fhir+ndjson")
        .header("Epic-Client-ID", "me");
    let response = client(&source.url).send(asked).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), response.url().clone()),
        (200, files.at("/f?sig=1"))
    );
    assert_eq!(
        source.seen("GET /fhir/x")[0].authorization(),
        Some("Bearer t1")
    );
    let seen = &files.seen("GET /f?sig=1")[0];
    assert_eq!(
        (seen.authorization(), seen.headers.get("epic-client-id")),
        (None, None)
    );
    assert_eq!(seen.headers["accept"], "application/fhir+ndjson");
}

#[tokio::test]
async fn a_redirect_back_to_a_trusted_origin_gets_the_token_there() {
    let source = Fake::smart(ok).await;
    let back = source.at("/fhir/y").to_string();
    let files = Fake::start(move |_| {
        let back = back.clone();
        async move { answer(302, ("location", &back), "") }
    })
    .await;
    client(&source.url)
        .send(Request::get(files.at("/f")))
        .await
        .unwrap();
    assert_eq!(files.seen("GET /f")[0].authorization(), None);
    assert_eq!(
        source.seen("GET /fhir/y")[0].authorization(),
        Some("Bearer t1")
    );
}

#[tokio::test]
async fn five_redirects_are_followed_and_no_sixth() {
    let source = Fake::smart(|seen| async move {
        let left: usize = seen.line.rsplit('/').next().unwrap().parse().unwrap();
        if left == 0 {
            "there".into_response()
        } else {
            answer(301, ("location", &(left - 1).to_string()), "")
        }
    })
    .await;
    let client = client(&source.url);
    let response = client
        .send(Request::get(source.at("/fhir/5")))
        .await
        .unwrap();
    assert_eq!(response.url(), &source.at("/fhir/0"));
    let error = client
        .send(Request::get(source.at("/fhir/6")))
        .await
        .err()
        .unwrap();
    assert_eq!(error.kind(), Kind::SourceUnavailable);
    assert!(error.to_string().contains("redirect number 6"), "{error}");
}

#[tokio::test]
async fn what_is_sent_goes_on_with_its_method_to_the_same_origin_alone() {
    let other = Fake::smart(|_| async move { "there".into_response() }).await;
    let elsewhere = other.at("/fhir/y").to_string();
    let source = Fake::smart(move |seen| {
        let elsewhere = elsewhere.clone();
        async move {
            let place = |name: &str| seen.line.contains(name);
            match () {
                () if place("/kept") => answer(308, ("location", "/fhir/y"), ""),
                () if place("/lost") => answer(302, ("location", "/fhir/y"), ""),
                () if place("/away") => answer(307, ("location", &elsewhere), ""),
                () => "there".into_response(),
            }
        }
    })
    .await;
    let client = client(&source.url);
    for method in [Method::GET, Method::HEAD, Method::DELETE, Method::POST] {
        let asks = matches!(method, Method::GET | Method::HEAD);
        for (path, followed) in [("kept", true), ("lost", asks), ("away", asks)] {
            let request = Request::new(method.clone(), source.at(&format!("/fhir/{path}")));
            match client.send(request).await {
                Ok(response) => assert!(followed && response.status() == 200, "{method} {path}"),
                Err(error) => {
                    assert!(!followed, "{method} {path}: {error}");
                    assert_eq!(error.kind(), Kind::ExportFailed);
                    let text = error.to_string();
                    assert!(
                        text.contains("/fhir/y") && text.contains("SOURCE_ENDPOINT"),
                        "{text}"
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn a_body_goes_on_too() {
    let source = Fake::smart(|seen| async move {
        if seen.line.contains("/x") {
            answer(307, ("location", "/fhir/y"), "")
        } else {
            seen.body.into_response()
        }
    })
    .await;
    let request = Request::post(source.at("/fhir/x"), "what is asked", "text/plain");
    let response = client(&source.url).send(request).await.unwrap();
    let (bytes, _) = response.up_to(100).await.unwrap();
    assert_eq!(bytes, b"what is asked");
}

#[tokio::test]
async fn a_redirect_that_leads_nowhere_is_an_answer_or_an_error() {
    for (location, says) in [
        ("ftp://h/f", "ftp://h/f, which is not followed"),
        ("http://", "not followed"),
    ] {
        let source =
            Fake::smart(move |_| async move { answer(303, ("location", location), "") }).await;
        let error = client(&source.url)
            .send(Request::get(source.at("/fhir/x")))
            .await
            .err()
            .unwrap();
        assert!(error.to_string().contains(says), "{error}");
    }
    for status in [300, 304, 302] {
        let source = Fake::smart(move |_| async move { answer(status, ("x", "y"), "") }).await;
        let response = client(&source.url)
            .send(Request::get(source.at("/fhir/x")))
            .await
            .unwrap();
        assert_eq!(response.status(), status);
    }
}
