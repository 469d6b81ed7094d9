//! One HTTP request as the sandbox's services see it, and the answers they give.
//!
//! The services decide by method and path; they want the body whole (it is small everywhere but at S3, which does
//! not come through here) and the query both raw and decoded, because an unencoded plus is something to refuse.

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use serde_json::{Value, json};

use crate::record::Entry;
use crate::wire::Flushed;

/// The largest body that a service reads: an import of ten thousand inputs is under two megabytes.
const BODY_LIMIT: usize = 64 << 20;

/// What every service answers with.
pub(crate) type Reply = Response<Body>;

/// A request, its body read.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) method: Method,
    /// The path with percent-encoding undone.
    pub(crate) path: String,
    /// The path as it was sent.
    pub(crate) raw_path: String,
    /// The query as it was sent, without the question mark.
    pub(crate) raw_query: String,
    /// The query as a form: percent-encoding undone, `+` read as a space.
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Where it stands in the record.
    pub(crate) entry: Option<Entry>,
    /// Tells when what was sent on the call's connection has left.
    pub(crate) flushed: Option<Arc<Flushed>>,
}

impl Call {
    /// Reads the request to its end; a body that breaks off or is too long is an empty one.
    pub(crate) async fn read(request: Request<Body>) -> Self {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, BODY_LIMIT)
            .await
            .unwrap_or_default();
        let raw_query = parts.uri.query().unwrap_or_default().to_owned();
        Self {
            method: parts.method,
            path: percent_decode(parts.uri.path()),
            raw_path: parts.uri.path().to_owned(),
            query: form(&raw_query),
            raw_query,
            headers: parts.headers,
            body,
            entry: None,
            flushed: parts.extensions.get().cloned(),
        }
    }

    /// The header's text; several of one name are joined as RFC 9110 says. None when absent.
    pub(crate) fn header(&self, name: impl header::AsHeaderName) -> Option<String> {
        let values: Vec<_> = self
            .headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    /// The query parameter's first value.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The path's segments below `base`, or None when it lies elsewhere.
    pub(crate) fn below(&self, base: &str) -> Option<Vec<&str>> {
        let rest = self.path.strip_prefix(base)?;
        if !(rest.is_empty() || rest.starts_with('/')) {
            return None;
        }
        Some(rest.split('/').filter(|part| !part.is_empty()).collect())
    }

    /// Whether one of the comma-separated elements of the header is the media type, parameters aside.
    pub(crate) fn accepts(&self, media_type: &str) -> bool {
        self.header(header::ACCEPT).is_some_and(|accept| {
            accept.split(',').any(|range| {
                let range = range.split(';').next().unwrap_or_default().trim();
                range.eq_ignore_ascii_case(media_type)
            })
        })
    }

    /// Whether one of the comma-separated elements of `Prefer` is exactly this.
    pub(crate) fn prefers(&self, preference: &str) -> bool {
        self.header("prefer")
            .is_some_and(|prefer| prefer.split(',').any(|part| part.trim() == preference))
    }
}

/// The name-value pairs of a query or a form.
pub(crate) fn form(text: &str) -> Vec<(String, String)> {
    url::form_urlencoded::parse(text.as_bytes())
        .into_owned()
        .collect()
}

/// Undoes percent-encoding; a plus stays a plus.
pub(crate) fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        if let Some(byte) = escaped {
            decoded.push(byte);
            at += 3;
        } else {
            decoded.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// An answer with a status, a media type and a body.
pub(crate) fn reply(status: u16, content_type: &str, body: impl Into<Body>) -> Reply {
    let mut response = Response::new(body.into());
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if !content_type.is_empty() {
        set(&mut response, "content-type", content_type);
    }
    response
}

/// An answer without a body.
pub(crate) fn empty(status: u16) -> Reply {
    reply(status, "", Body::empty())
}

/// A FHIR resource as an answer.
pub(crate) fn fhir(status: u16, resource: &Value) -> Reply {
    reply(
        status,
        "application/fhir+json;charset=UTF-8",
        resource.to_string(),
    )
}

/// Plain JSON as an answer.
pub(crate) fn plain_json(status: u16, value: &Value) -> Reply {
    reply(status, "application/json", value.to_string())
}

/// A page as a proxy or a login form would answer it.
pub(crate) fn html(status: u16) -> Reply {
    reply(
        status,
        "text/html;charset=UTF-8",
        "<!DOCTYPE html><html><head><title>Sign in</title></head><body><h1>Sign in</h1></body></html>",
    )
}

/// An `OperationOutcome` with one issue.
pub(crate) fn operation_outcome(severity: &str, code: &str, diagnostics: &str) -> Value {
    json!({
        "resourceType": "OperationOutcome",
        "issue": [{"severity": severity, "code": code, "diagnostics": diagnostics}],
    })
}

/// A refusal or failure that says why in an `OperationOutcome`.
pub(crate) fn outcome(status: u16, code: &str, diagnostics: &str) -> Reply {
    fhir(status, &operation_outcome("error", code, diagnostics))
}

/// Sets a header; a value that no header can hold is left out.
pub(crate) fn set(response: &mut Reply, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// The same answer with one more header.
pub(crate) fn with(mut response: Reply, name: &'static str, value: &str) -> Reply {
    set(&mut response, name, value);
    response
}
