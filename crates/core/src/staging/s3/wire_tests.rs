#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use futures_util::future::join_all;
use sandbox::{ACCESS_KEY, BUCKET, REGION, SECRET_KEY, Sandbox};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::error::Kind;

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

async fn bucket(url: &str) -> Bucket {
    let settings = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .endpoint_url(url)
        .build();
    Bucket::find(&settings, BUCKET).await.unwrap()
}

async fn wire(url: &str, provider: Counted) -> Wire {
    let provider = SharedCredentialsProvider::new(provider);
    let line = Arc::new(Line::new(Some(provider)));
    Wire::new(line, bucket(url).await)
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
    let mut bucket = bucket(&sandbox.s3_endpoint()).await;
    bucket.sign_bodies = true;
    let wire = Wire::new(Arc::new(Line::new(Some(provider))), bucket);
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
        bucket("http://127.0.0.1:1").await,
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
            bucket("http://127.0.0.1:1").await,
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
