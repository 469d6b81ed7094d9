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

    fn http(&self) -> Result<&reqwest::Client, Fault> {
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
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::atomic::{AtomicUsize, Ordering};

    use aws_config::{BehaviorVersion, Region, SdkConfig};
    use aws_credential_types::provider::future;
    use futures_util::future::join_all;
    use sandbox::{ACCESS_KEY, BUCKET, REGION, SECRET_KEY, Sandbox};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::config::Place;

    /// Gives credentials that live for some seconds, and counts how often.
    #[derive(Clone, Debug)]
    struct Counted(Arc<AtomicUsize>, u64);

    impl ProvideCredentials for Counted {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            let (count, seconds) = (Arc::clone(&self.0), self.1);
            future::ProvideCredentials::new(async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                count.fetch_add(1, Ordering::SeqCst);
                let expiry = SystemTime::now() + Duration::from_secs(seconds);
                Ok(Credentials::new(
                    ACCESS_KEY,
                    SECRET_KEY,
                    None,
                    Some(expiry),
                    "test",
                ))
            })
        }
    }

    async fn endpoint(url: &str) -> Endpoint {
        let settings = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .endpoint_url(url)
            .build();
        let place = Place::parse(&format!("s3://{BUCKET}")).unwrap();
        Endpoint::resolve(&settings, &place, BUCKET).await.unwrap()
    }

    async fn wire(url: &str, provider: Counted) -> Wire {
        let provider = SharedCredentialsProvider::new(provider);
        let line = Arc::new(Line::new(Some(provider)));
        Wire::new(line, endpoint(url).await)
    }

    async fn put(wire: &Wire, name: &str) -> Result<String, Fault> {
        wire.put(name, &[], &[], Bytes::from_static(b"body")).await
    }

    #[tokio::test]
    async fn many_who_want_credentials_fetch_them_once_and_again_before_they_expire() {
        let sandbox = Sandbox::builder().start().await.unwrap();
        for (lifetime, again) in [(3600, 1), (5, 2)] {
            let counted = Counted(Arc::default(), lifetime);
            let wire = wire(&sandbox.s3_endpoint(), counted.clone()).await;
            let names = ["a", "b", "c d", "ü/~"];
            if lifetime == 3600 {
                let sent = join_all(names.map(|name| put(&wire, name))).await;
                assert!(sent.iter().all(Result::is_ok), "{sent:?}");
            } else {
                put(&wire, "a").await.unwrap();
                put(&wire, "b").await.unwrap();
            }
            assert_eq!(counted.0.load(Ordering::SeqCst), again);
        }
        assert_eq!(sandbox.s3_object("c d").unwrap(), b"body");
    }

    #[tokio::test]
    async fn a_body_that_has_to_be_signed_is_and_the_store_agrees() {
        let sandbox = Sandbox::builder().start().await.unwrap();
        let provider = SharedCredentialsProvider::new(Counted(Arc::default(), 3600));
        let mut endpoint = endpoint(&sandbox.s3_endpoint()).await;
        endpoint.sign_bodies = true;
        let wire = Wire::new(Arc::new(Line::new(Some(provider))), endpoint);
        let etag = put(&wire, "signed").await.unwrap();
        // printf body | md5sum
        assert_eq!(etag, "\"841a2d689ad86bd1611447453c22c6fc\"");
        let requests = sandbox.requests();
        // printf body | sha256sum
        assert_eq!(
            requests[0].headers["x-amz-content-sha256"],
            "230d8358dc8e8890b4c58deeb62912ee2f20357ae92a5cc861b98e68fe31acb5"
        );
    }

    #[tokio::test]
    async fn missing_credentials_are_denied_with_where_to_look() {
        let wire = Wire::new(
            Arc::new(Line::new(None)),
            endpoint("http://127.0.0.1:1").await,
        );
        let error = put(&wire, "a").await.unwrap_err();
        let error = error.error("s3://b/a", "s3:PutObject");
        assert_eq!(error.kind(), Kind::StagingDenied);
        assert!(error.advice().contains("credentials"), "{error}");
    }

    #[tokio::test]
    async fn a_provider_of_credentials_that_fails_for_now_is_no_refusal_of_the_store() {
        #[derive(Debug)]
        struct Failing(bool);
        impl ProvideCredentials for Failing {
            fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
            where
                Self: 'a,
            {
                future::ProvideCredentials::ready(Err(if self.0 {
                    CredentialsError::provider_error("503 of the metadata service")
                } else {
                    CredentialsError::invalid_configuration("no such profile")
                }))
            }
        }
        for (passes, kind) in [
            (true, Kind::StagingUnavailable),
            (false, Kind::StagingDenied),
        ] {
            let provider = SharedCredentialsProvider::new(Failing(passes));
            let wire = Wire::new(
                Arc::new(Line::new(Some(provider.clone()))),
                endpoint("http://127.0.0.1:1").await,
            );
            let error = put(&wire, "a").await.unwrap_err();
            let error = error.error("s3://b/a", "s3:PutObject");
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.what().contains("no AWS credentials"), "{error}");
            // The SDK, asked for the same, says the same.
            let settings = SdkConfig::builder()
                .behavior_version(BehaviorVersion::latest())
                .region(Region::new(REGION))
                .endpoint_url("http://127.0.0.1:1")
                .credentials_provider(provider)
                .build();
            let asked = aws_sdk_s3::Client::new(&settings).get_object();
            let asked = asked.bucket("b").key("a").send().await.unwrap_err();
            let error = Fault::from(asked).error("s3://b/a", "s3:GetObject");
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.what().contains("no AWS credentials"), "{error}");
        }
    }

    /// A store that answers as many requests of each connection as the list says, then hangs up on the next.
    async fn hanging_up(answers: Vec<usize>) -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        tokio::spawn(async move {
            for answers in answers {
                let (mut socket, _) = listener.accept().await.unwrap();
                for number in 0..=answers {
                    let mut request = Vec::new();
                    while !request.ends_with(b"body") {
                        if socket.read_buf(&mut request).await.unwrap_or(0) == 0 {
                            break;
                        }
                    }
                    count.fetch_add(1, Ordering::SeqCst);
                    if number < answers {
                        let ok = b"HTTP/1.1 200 OK\r\netag: x\r\ncontent-length: 0\r\n\r\n";
                        socket.write_all(ok).await.unwrap();
                    }
                }
            }
        });
        (origin, asked)
    }

    #[tokio::test]
    async fn a_connection_that_was_closed_meanwhile_is_made_up_for_once() {
        let (url, asked) = hanging_up(vec![1, 1]).await;
        let wire = wire(&url, Counted(Arc::default(), 3600)).await;
        assert_eq!(put(&wire, "a").await.unwrap(), "x");
        assert_eq!(put(&wire, "b").await.unwrap(), "x");
        assert_eq!(asked.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn a_store_that_always_hangs_up_is_unavailable_after_two_requests() {
        let (url, asked) = hanging_up(vec![0, 0, 0]).await;
        let wire = wire(&url, Counted(Arc::default(), 3600)).await;
        let fault = put(&wire, "a").await.unwrap_err();
        let error = fault.error("s3://b/a", "s3:PutObject");
        assert_eq!(error.kind(), Kind::StagingUnavailable, "{error}");
        assert!(!error.what().contains(&url), "{error}");
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }
}
