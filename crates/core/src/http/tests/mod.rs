//! The client against servers in this process: one fault for every promise.

mod answered;
mod extra;
mod faults;
mod redirects;
mod refusals;
mod tokens;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response as Answer};

use super::fake::Seen;

/// An answer with one more header and a body.
fn answer(status: u16, header: (&str, &str), body: &str) -> Answer {
    let mut headers = HeaderMap::new();
    headers.insert(
        HeaderName::try_from(header.0).unwrap(),
        HeaderValue::from_str(header.1).unwrap(),
    );
    (
        StatusCode::from_u16(status).unwrap(),
        headers,
        body.to_owned(),
    )
        .into_response()
}

fn json(status: u16, body: &serde_json::Value) -> Answer {
    answer(
        status,
        ("content-type", "application/fhir+json"),
        &body.to_string(),
    )
}

/// A server that takes only this token.
fn takes_only(seen: &Seen, token: &str) -> Answer {
    match seen.authorization() {
        Some(value) if value == format!("Bearer {token}") => "yes".into_response(),
        _ => StatusCode::UNAUTHORIZED.into_response(),
    }
}

async fn ok(_: Seen) -> Answer {
    "ok".into_response()
}
