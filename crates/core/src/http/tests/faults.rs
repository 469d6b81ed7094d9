//! Transport failures and broken bodies, in words and within time.

use std::time::{Duration, Instant};

use axum::response::IntoResponse as _;
use url::Url;

use crate::error::{Error, Kind};
use crate::http::fake::{Fake, impatient, raw};
use crate::http::{Body, ClientOptions, Request};

/// What comes of asking there, without patience.
async fn error_of(url: &Url) -> Error {
    let begun = Instant::now();
    let asked = url.join("x?secret=hush").unwrap();
    let error = impatient(url)
        .send(Request::get(asked))
        .await
        .err()
        .unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(error.kind(), Kind::SourceUnavailable);
    let text = error.to_string();
    assert!(
        text.starts_with("GET http") && text.contains("x?secret=…") && !text.contains("hush"),
        "{text}"
    );
    error
}

fn tls(url: &Url) -> Url {
    Url::parse(&url.as_str().replace("http://", "https://")).unwrap()
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_after_the_idle_timeout() {
    let text = error_of(&raw("", false).await).await.to_string();
    assert!(
        text.contains("no answer within 250 ms (IDLE_TIMEOUT)"),
        "{text}"
    );
}

#[tokio::test]
async fn a_connection_that_hangs_is_given_up_after_the_connect_timeout() {
    let text = error_of(&tls(&raw("", false).await)).await.to_string();
    assert!(
        text.contains("no connection within 150 ms (CONNECT_TIMEOUT)"),
        "{text}"
    );
}

#[tokio::test]
async fn a_refused_connection_is_named_so() {
    // Nobody listens at port 1; one that was free a moment ago may be somebody's by now.
    let text = error_of(&Url::parse("http://127.0.0.1:1/").unwrap())
        .await
        .to_string();
    assert!(text.contains("the connection was refused"), "{text}");
}

#[tokio::test]
async fn a_connection_that_is_closed_without_an_answer_is_named_so() {
    let text = error_of(&raw("", true).await).await.to_string();
    assert!(text.contains("closed before an answer came"), "{text}");
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_named_so() {
    let text = error_of(&tls(&raw("HTTP/1.1 400 Bad Request\r\n\r\n", true).await))
        .await
        .to_string();
    assert!(text.contains("TLS failed"), "{text}");
}

#[tokio::test]
async fn a_server_that_speaks_no_http_is_named_so() {
    let text = error_of(&raw("SSH-2.0-OpenSSH_9.6\r\n", true).await)
        .await
        .to_string();
    assert!(text.contains("the exchange failed (invalid HTTP"), "{text}");
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_named_so() {
    let text = error_of(&Url::parse("http://no-such-host.invalid/").unwrap())
        .await
        .to_string();
    // A resolver that has nobody to ask may take its time.
    assert!(
        text.contains("cannot be resolved") || text.contains("CONNECT_TIMEOUT"),
        "{text}"
    );
}

async fn body_of(url: &Url) -> Body {
    impatient(url)
        .send(Request::get(url.clone()))
        .await
        .unwrap()
        .into_body()
}

/// The bytes until the error, and the error's text.
async fn broken(mut body: Body) -> (String, String) {
    let mut bytes = Vec::new();
    loop {
        match body.chunk().await.unwrap() {
            Ok(chunk) => bytes.extend_from_slice(&chunk),
            Err(error) => {
                assert_eq!(error.kind(), Kind::SourceUnavailable);
                assert!(body.chunk().await.is_none());
                return (String::from_utf8(bytes).unwrap(), error.to_string());
            }
        }
    }
}

#[tokio::test]
async fn a_body_shorter_than_promised_ended_early() {
    let url = raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", true).await;
    let (bytes, text) = broken(body_of(&url).await).await;
    assert_eq!(bytes, "half");
    assert!(
        text.contains("the body ended early, after 4 of 10 bytes"),
        "{text}"
    );
}

#[tokio::test]
async fn a_body_without_its_last_chunk_ended_early() {
    let url = raw(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        true,
    )
    .await;
    let (bytes, text) = broken(body_of(&url).await).await;
    assert_eq!(bytes, "half");
    assert!(text.contains("after 4 bytes"), "{text}");
}

#[tokio::test]
async fn a_body_that_stalls_is_given_up_after_the_idle_timeout() {
    let url = raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", false).await;
    let (bytes, text) = broken(body_of(&url).await).await;
    assert_eq!(bytes, "half");
    assert!(
        text.contains("nothing came for 250 ms (IDLE_TIMEOUT) after 4 of 10 bytes"),
        "{text}"
    );
}

#[tokio::test]
async fn a_compressed_body_comes_as_it_is() {
    let url = raw(
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nbytes",
        true,
    )
    .await;
    let mut body = body_of(&url).await;
    assert_eq!(body.chunk().await.unwrap().unwrap(), "bytes");
    assert!(body.chunk().await.is_none());
}

#[tokio::test]
async fn a_server_is_not_idle_while_nobody_asks_for_more() {
    let source = Fake::start(|_| async { vec![b'x'; 4 << 20].into_response() }).await;
    let mut body = body_of(&source.url).await;
    let mut length = body.chunk().await.unwrap().unwrap().len();
    // More than the idle timeout, as when the store is slow.
    tokio::time::sleep(Duration::from_millis(400)).await;
    while let Some(chunk) = body.chunk().await {
        length += chunk.unwrap().len();
    }
    assert_eq!(length, 4 << 20);
}

#[tokio::test]
async fn a_body_that_drips_is_given_up_although_it_is_never_silent() {
    let source = Fake::start(|_| async {
        let drops = futures_util::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Some((Ok::<_, std::io::Error>("x"), ()))
        });
        axum::body::Body::from_stream(drops).into_response()
    })
    .await;
    let mut body = body_of(&source.url).await;
    let error = loop {
        match body.chunk().await {
            Some(Ok(_)) => {}
            Some(Err(error)) => break error,
            None => panic!("it ends by itself"),
        }
    };
    assert_eq!(error.kind(), Kind::SourceUnavailable);
    assert!(error.what().contains("bytes came in 250 ms"), "{error}");
}

#[tokio::test]
async fn a_body_is_read_up_to_its_limit_and_no_further() {
    let sized = raw("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfull", true).await;
    let unsized_ = raw("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nfull", true).await;
    for url in [&sized, &unsized_] {
        let send = async || {
            impatient(url)
                .send(Request::get(url.clone()))
                .await
                .unwrap()
        };
        assert_eq!(send().await.bytes_limited(4).await.unwrap(), b"full");
        let error = send().await.bytes_limited(3).await.unwrap_err();
        assert_eq!(error.kind(), Kind::ExportFailed);
        assert!(
            error.to_string().contains("more than the 3 bytes"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn what_is_not_json_is_described_and_not_quoted() {
    for (body, says) in [
        (
            "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n<!doctype html>",
            "an HTML page instead of JSON",
        ),
        (
            "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
            "nothing instead of JSON",
        ),
        (
            "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"name\": hush}",
            "not JSON (line 1",
        ),
    ] {
        let url = raw(body, true).await;
        let response = impatient(&url)
            .send(Request::get(url.clone()))
            .await
            .unwrap();
        let error = response.json(1000).await.unwrap_err();
        assert!(
            error.to_string().contains(says) && !error.to_string().contains("hush"),
            "{error}"
        );
    }
    let url = raw(
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n\u{feff}{\"a\":1}",
        true,
    )
    .await;
    let response = impatient(&url)
        .send(Request::get(url.clone()))
        .await
        .unwrap();
    assert_eq!(response.json(1000).await.unwrap()["a"], 1);
}

#[tokio::test]
async fn many_requests_to_a_token_endpoint_that_hangs_wait_once_together() {
    let silent = raw("", false).await;
    let token_endpoint = silent.clone();
    let source = Fake::start(move |_| {
        let token_endpoint = token_endpoint.clone();
        async move { super::json(200, &serde_json::json!({"token_endpoint": token_endpoint})) }
    })
    .await;
    let options = crate::http::fake::options(&source.url);
    let client = crate::http::Client::new(ClientOptions {
        idle_timeout: Duration::from_millis(250),
        ..options
    })
    .unwrap();
    let begun = Instant::now();
    let sent = (0..8).map(|_| client.send(Request::get(source.at("/fhir/x"))));
    for result in futures_util::future::join_all(sent).await {
        assert_eq!(result.err().unwrap().kind(), Kind::SourceUnavailable);
    }
    assert!(begun.elapsed() < Duration::from_millis(1500));
}
