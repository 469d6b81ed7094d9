//! The lean way to S3 for what is sent by the thousand: whole objects, and parts.
//!
//! A request of the AWS SDK costs more time of the processor than a small file itself, and over plain HTTP a hash of all
//! that is sent (`docs/decisions/0008-*.md` has the figures). So these two requests are signed and sent here; all others go
//! through the SDK. Nothing is tried twice here, but for a connection that turns out to be closed: pace, waits and deadline
//! are the caller's.

use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use bytes::Bytes;
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Method, Request, Response};

use super::client::{ANSWER, CONNECT};
use super::fault::{Fault, NO_CREDENTIALS};
use super::pieces::Pieces;
use crate::http::Connections;
use crate::http::aws::{Bucket, Keyring, NoCredentials, Rules, Scope, SignableBody};

/// The slowest that a body may go, in bytes a second, before it counts as stuck.
const SLOWEST: u64 = 256 << 10;

/// How much of a refusal is read.
const REFUSAL: usize = 64 << 10;

/// The connections and the credentials, for all buckets of the process.
#[derive(Debug)]
pub(super) struct Line {
    connections: Connections,
    keyring: Keyring,
}

/// The way to one bucket.
#[derive(Clone, Debug)]
pub(super) struct Wire {
    line: Arc<Line>,
    bucket: Arc<Bucket>,
}

impl Line {
    pub(super) fn new(provider: Option<SharedCredentialsProvider>) -> Self {
        Self {
            connections: Connections::new(CONNECT),
            keyring: Keyring::new(provider),
        }
    }

    fn http(&self) -> Result<reqwest::Client, Fault> {
        let client = self.connections.client();
        client.map_err(|why| Fault::unbuilt(&why))
    }

    async fn credentials(&self) -> Result<Credentials, Fault> {
        let found = self.keyring.credentials().await;
        found.map_err(|none| match none {
            NoCredentials::Passing(why) => Fault::broken(&format!("{NO_CREDENTIALS}: {why}")),
            NoCredentials::ForGood(why) => Fault::unsigned(&why),
        })
    }
}

impl Wire {
    pub(super) fn new(line: Arc<Line>, bucket: Bucket) -> Self {
        Self {
            line,
            bucket: Arc::new(bucket),
        }
    }

    /// Sends a `PUT`; gives the object's or the part's `ETag`. `name` is the object's name in the bucket.
    pub(super) async fn put(
        &self,
        name: &str,
        query: &[(&str, &str)],
        headers: &[(&'static str, &str)],
        body: Bytes,
    ) -> Result<String, Fault> {
        let limit = ANSWER + Duration::from_secs(body.len() as u64 / SLOWEST);
        let request = self.signed(name, query, headers, &body).await?;
        match tokio::time::timeout(limit, self.exchange(request, body)).await {
            Ok(answered) => answered,
            Err(_) => Err(Fault::broken(&format!(
                "no answer within {} s",
                limit.as_secs()
            ))),
        }
    }

    async fn exchange(&self, request: Request, body: Bytes) -> Result<String, Fault> {
        let http = self.line.http()?;
        let again = request.try_clone();
        let send = |mut request: Request| {
            *request.body_mut() = Some(Pieces::of(body.clone()));
            http.execute(request)
        };
        let answered = match (send(request).await, again) {
            // A connection of the pool that the store had closed: the next one is new, or as good as new.
            (Err(error), Some(again)) if error.is_request() && !error.is_connect() => {
                send(again).await
            }
            (answered, _) => answered,
        };
        let mut answer = answered.map_err(Fault::unanswered)?;
        if !answer.status().is_success() {
            let body = refusal(&mut answer).await;
            return Err(Fault::answered(
                answer.status().as_u16(),
                answer.headers(),
                &String::from_utf8_lossy(&body),
            ));
        }
        let etag = answer.headers().get(reqwest::header::ETAG);
        let etag = etag.and_then(|etag| etag.to_str().ok());
        let etag = etag.unwrap_or_default().to_owned();
        if answer.content_length() != Some(0) {
            // Read to its end, so that the connection can be used again.
            refusal(&mut answer).await;
        }
        Ok(etag)
    }

    async fn signed(
        &self,
        name: &str,
        query: &[(&str, &str)],
        headers: &[(&'static str, &str)],
        body: &[u8],
    ) -> Result<Request, Fault> {
        let credentials = self.line.credentials().await?;
        let bucket = &*self.bucket;
        let url = bucket
            .url(name, query)
            .map_err(|error| Fault::unbuilt(&error))?;
        let scope = Scope {
            region: &bucket.region,
            service: &bucket.service,
            rules: Rules::S3,
        };
        let payload = if bucket.sign_bodies {
            SignableBody::Bytes(body)
        } else {
            SignableBody::UnsignedPayload
        };
        let signed = scope
            .sign(credentials, ("PUT", &url), headers.iter().copied(), payload)
            .map_err(|why| Fault::unbuilt(&why))?;
        let mut request = Request::new(Method::PUT, url);
        let all = request.headers_mut();
        for (name, value) in headers {
            let Ok(value) = HeaderValue::from_str(value) else {
                return Err(Fault::unbuilt(&"a header has no valid value"));
            };
            all.insert(HeaderName::from_static(name), value);
        }
        all.extend(signed);
        Ok(request)
    }
}

/// What a refusal says, as far as it goes.
async fn refusal(answer: &mut Response) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > REFUSAL {
            break;
        }
    }
    body
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
