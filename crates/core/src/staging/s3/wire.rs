//! The lean way to S3 for what is sent by the thousand: whole objects, and parts.
//!
//! A request of the AWS SDK costs more time of the processor than a small file itself, and over plain HTTP a hash of all
//! that is sent (`docs/decisions/0008-*.md` has the figures). So these two requests are signed and sent here; all others go
//! through the SDK. Nothing is tried twice here, but for a connection that turns out to be closed: pace, waits and deadline
//! are the caller's.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Method, Request, Response};

use super::client::{ANSWER, CONNECT};
use super::endpoint::Endpoint;
use super::fault::{Fault, NO_CREDENTIALS, passes};
use super::pieces::Pieces;
use crate::error::{Kind, Result};
use crate::http::{Connections, Flight};

/// Credentials are asked for anew this long before they expire, as the SDK does it.
const BEFORE_EXPIRY: Duration = Duration::from_secs(10);

/// Credentials that say nothing of an expiry are asked for anew after this time, as the SDK does it.
const WITHOUT_EXPIRY: Duration = Duration::from_mins(15);

/// The slowest that a body may go, in bytes a second, before it counts as stuck.
const SLOWEST: u64 = 256 << 10;

/// How much of a refusal is read.
const REFUSAL: usize = 64 << 10;

/// The connections and the credentials, for all buckets of the process.
#[derive(Debug)]
pub(super) struct Line {
    connections: Connections,
    provider: Option<SharedCredentialsProvider>,
    credentials: Flight<Held>,
}

/// Credentials, and until when they are used.
#[derive(Clone, Debug)]
struct Held {
    credentials: Credentials,
    until: SystemTime,
}

/// The way to one bucket.
#[derive(Clone, Debug)]
pub(super) struct Wire {
    line: Arc<Line>,
    endpoint: Arc<Endpoint>,
}

impl Line {
    pub(super) fn new(provider: Option<SharedCredentialsProvider>) -> Self {
        Self {
            connections: Connections::new(CONNECT),
            provider,
            credentials: Flight::new(),
        }
    }

    fn http(&self) -> Result<reqwest::Client, Fault> {
        let client = self.connections.client();
        client.map_err(|why| Fault::unbuilt(&why))
    }

    /// The credentials; fetched by one task while the others wait for it.
    async fn credentials(&self) -> Result<Credentials, Fault> {
        let fetch = async {
            let Some(provider) = &self.provider else {
                return Err(Kind::StagingDenied.error("there is no provider of credentials"));
            };
            let found = tokio::time::timeout(ANSWER, provider.provide_credentials()).await;
            let found = found.unwrap_or_else(|_| Err(CredentialsError::provider_timed_out(ANSWER)));
            let credentials = found.map_err(|error| {
                let kind = if passes(&error) {
                    Kind::StagingUnavailable
                } else {
                    Kind::StagingDenied
                };
                kind.error(super::fault::deepest(&error))
            })?;
            let expiry = credentials.expiry();
            let until = match expiry {
                Some(expiry) => expiry.checked_sub(BEFORE_EXPIRY).unwrap_or(expiry),
                None => SystemTime::now() + WITHOUT_EXPIRY,
            };
            Ok(Held { credentials, until })
        };
        let usable = |held: &Held| SystemTime::now() < held.until;
        match self.credentials.get(usable, fetch).await {
            Ok(held) => Ok(held.credentials),
            Err(error) if error.kind() == Kind::StagingUnavailable => Err(Fault::broken(&format!(
                "{NO_CREDENTIALS}: {}",
                error.what()
            ))),
            Err(error) => Err(Fault::unsigned(error.what())),
        }
    }
}

impl Wire {
    pub(super) fn new(line: Arc<Line>, endpoint: Endpoint) -> Self {
        Self {
            line,
            endpoint: Arc::new(endpoint),
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
        let identity = self.line.credentials().await?.into();
        let url = self
            .endpoint
            .url(name, query)
            .map_err(|error| Fault::unbuilt(&error))?;
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.endpoint.region)
            .name(&self.endpoint.service)
            .time(SystemTime::now())
            .settings(settings)
            .build()
            .map_err(|error| Fault::unbuilt(&error))?
            .into();
        let payload = if self.endpoint.sign_bodies {
            SignableBody::Bytes(body)
        } else {
            SignableBody::UnsignedPayload
        };
        let signable = SignableRequest::new("PUT", url.as_str(), headers.iter().copied(), payload)
            .map_err(|error| Fault::unbuilt(&error))?;
        let (instructions, _) = sign(signable, &params)
            .map_err(|error| Fault::unbuilt(&error))?
            .into_parts();
        let mut request = Request::new(Method::PUT, url);
        let all = request.headers_mut();
        for (name, value) in headers.iter().copied().chain(instructions.headers()) {
            let name = HeaderName::from_bytes(name.as_bytes());
            let (Ok(name), Ok(mut value)) = (name, HeaderValue::from_str(value)) else {
                return Err(Fault::unbuilt(&"a header has no valid value"));
            };
            value.set_sensitive(matches!(
                name.as_str(),
                "authorization" | "x-amz-security-token"
            ));
            all.insert(name, value);
        }
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
