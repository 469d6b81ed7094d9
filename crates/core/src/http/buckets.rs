//! Files at `s3://` URLs, read with this process's AWS credentials.
//!
//! Only from buckets that the operator named: whoever writes a manifest could otherwise have this process read whatever its
//! role may read, and import it. A bucket has a guard, connections and refusals of its own, and no redirect is followed from
//! it: a signature is for one place.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderMap;
use tokio::sync::Mutex;
use url::Url;

use super::address::carries_secrets;
use super::aws::{self, Account, NoBucket, OTHER_REGION, Rules, Scope, WRONG_CREDENTIALS, element};
use super::extra::Extra;
use super::guard::Guard;
use super::request::Request;
use super::request_id::RequestId;
use super::response::Response;
use super::shown::shown;
use super::signer::sign;
use super::transport::{Authorization, Transport};
use super::{Method, Side, StatusCode};
use crate::config::Headers;
use crate::error::{Error, Kind, Result};

/// How much of a refusal is read.
const LONGEST: usize = 64 << 10;

/// How S3 says the region of a bucket that is elsewhere.
const REGION: &str = "x-amz-bucket-region";

/// The buckets that one client may read.
pub(super) struct Buckets {
    pub(super) side: Side,
    /// Those that the operator named.
    pub(super) named: Vec<String>,
    pub(super) allow_plaintext: bool,
    pub(super) connect: Duration,
    pub(super) idle: Duration,
    pub(super) account: Arc<Account>,
    /// Those that were asked for.
    pub(super) known: Mutex<HashMap<String, Arc<Bucket>>>,
}

/// One of them, and the way there.
pub(super) struct Bucket {
    name: String,
    at: aws::Bucket,
    transport: Transport,
}

impl Buckets {
    /// Sends the request for an object of a bucket that the operator named.
    ///
    /// Errors: configuration, where the bucket is not one of them, is in another region, or where there is none;
    /// authentication, where there are no credentials or S3 does not allow it with these; as for any request, where no answer came.
    pub(super) async fn send(&self, mut request: Request) -> Result<Response> {
        let told = shown(&request.url);
        if request.method != Method::GET {
            let what = format!("{} {told}: files in S3 are only read", request.method);
            return Err(self.side.failed().error(what).unsent());
        }
        let Some((name, key)) = object(&request.url) else {
            return Err(Kind::Manifest
                .error(format!(
                    "{told} names no object of S3: s3://bucket/key is expected, without a query"
                ))
                .unsent());
        };
        self.is_named(&name, &told).map_err(Error::unsent)?;
        let bucket = self.bucket(&name).await.map_err(Error::unsent)?;
        request.url = bucket.at.url(&key, &[]).map_err(|error| {
            Kind::Manifest.error(format!("{told} names no object of S3: {error}"))
        })?;
        if !carries_secrets(&request.url, self.allow_plaintext) {
            return Err(Kind::Configuration
                .error(format!(
                    "{told} would be asked for at {}: signed requests go over TLS only",
                    shown(&request.url)
                ))
                .next("Name an https address in AWS_ENDPOINT_URL_S3, or set ALLOW_PLAINTEXT=true if the way there is safe otherwise.")
                .unsent());
        }
        let scope = Scope {
            region: &bucket.at.region,
            service: &bucket.at.service,
            rules: Rules::S3,
        };
        let known = self.account.known().await;
        let signed = sign(known, scope, self.side, &request, &HeaderMap::new()).await;
        let signed = Authorization::Signed(signed.map_err(Error::unsent)?);
        let response = bucket.transport.exchange(&request, signed).await?;
        let status = response.status();
        let refused = status.is_redirection() && status != StatusCode::NOT_MODIFIED
            || matches!(
                status,
                StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
            );
        if refused {
            return Err(bucket.refused(response).await);
        }
        Ok(response)
    }

    /// Refuses a bucket that the operator did not name, before anything is asked of it.
    fn is_named(&self, name: &str, told: &str) -> Result<()> {
        if self.named.iter().any(|named| named == name) {
            return Ok(());
        }
        let side = self.side.name();
        let next = match self.side {
            Side::Source => format!(
                "If s3://{name} is where the {side} exports to, add s3://{name} to {}, and allow this program's role s3:GetObject there.",
                self.side.setting("TRUSTED_ORIGINS")
            ),
            Side::Target => format!("Ask whoever runs the {side} why it names such an address."),
        };
        Err(Kind::Configuration
            .error(format!(
                "{told} is in a bucket that {} does not name: with this program's AWS credentials only those are read that it names",
                self.side.setting("TRUSTED_ORIGINS")
            ))
            .next(next))
    }

    /// The bucket of this name, found once.
    async fn bucket(&self, name: &str) -> Result<Arc<Bucket>> {
        let mut known = self.known.lock().await;
        if let Some(bucket) = known.get(name) {
            return Ok(Arc::clone(bucket));
        }
        let account = self.account.known().await;
        if account.region().is_none() {
            return Err(Kind::Configuration
                .error(format!("files are in s3://{name}, but no AWS region is set"))
                .next("Set AWS_REGION to the region of the bucket; for a store that is not AWS's own, us-east-1 will do."));
        }
        let at = aws::Bucket::find(&account.settings, name).await;
        let at = at.map_err(|why| match why {
            NoBucket::OtherSignature => Kind::Configuration.error(format!(
                "s3://{name} is a directory bucket or a multi-region access point, which this program cannot read"
            )),
            NoBucket::Unusable(why) => Kind::Configuration
                .error(format!("s3://{name} has no address: {why}"))
                .next("Correct the AWS settings for region and endpoint."),
        })?;
        let bucket = Arc::new(Bucket {
            name: name.to_owned(),
            transport: self.transport(&at)?,
            at,
        });
        known.insert(name.to_owned(), Arc::clone(&bucket));
        Ok(bucket)
    }

    /// The way to a bucket: its address is the operator's, and no header of the source's goes there.
    fn transport(&self, at: &aws::Bucket) -> Result<Transport> {
        let url = at.url("", &[]);
        let url = url.map_err(|error| Kind::Configuration.error(error.to_string()))?;
        let guard = Guard::new(&url, &[], false);
        let extra = Extra::new(
            Headers::default(),
            self.side,
            Vec::new(),
            false,
            RequestId::default(),
        );
        Ok(Transport::new(
            self.side,
            self.connect,
            self.idle,
            guard,
            extra,
            None,
        ))
    }
}

impl Bucket {
    /// What S3 says no with, as an error.
    async fn refused(&self, response: Response) -> Error {
        let status = response.status();
        let answered = response.answered();
        let region = response.header(REGION).map(str::to_owned);
        let quoter = response.quoter();
        let described = response.described();
        // A store that drips its complaint does not hold up what follows from its status.
        let most = Duration::from_secs(30);
        let read = tokio::time::timeout(most, response.up_to(LONGEST)).await;
        let bytes = match read {
            Ok(Ok((bytes, _))) => bytes,
            _ => Vec::new(),
        };
        let body = String::from_utf8_lossy(&bytes);
        let code = element(&body, "Code").unwrap_or_default();
        let words = [element(&body, "Code"), element(&body, "Message")];
        let words: Vec<String> = words.into_iter().flatten().collect();
        let said = quoter.quote(&words.join(": "));
        let said = if said.is_empty() {
            described
        } else {
            format!("{described}: {said}")
        };
        let name = &self.name;
        let error = if status.is_redirection() || OTHER_REGION.contains(&code.as_str()) {
            let region = region.or_else(|| element(&body, "Region"));
            let there = region.map_or("another region".to_owned(), |region| {
                quoter.quote(&format!("the region {region}"))
            });
            Kind::Configuration
                .error(format!(
                    "{said}; s3://{name} is in {there}, and this program asks in {}",
                    self.at.region
                ))
                .next("Set AWS_REGION to the region of the bucket; a function on AWS Lambda is deployed there.")
        } else if WRONG_CREDENTIALS.contains(&code.as_str()) {
            Kind::Authentication.error(said).next("Check the AWS credentials that this program finds (variables, profile or role): that they are there, right and not expired, and this machine's clock.")
        } else if status == StatusCode::BAD_REQUEST {
            Kind::Transfer.error(said).for_good()
        } else {
            Kind::Authentication
                .error(format!(
                    "{said}; this program's AWS credentials are not allowed to read it"
                ))
                .next(format!(
                    "Allow their role s3:GetObject on arn:aws:s3:::{name}/*, and kms:Decrypt on the key that encrypts it, where that is one of KMS; see that the bucket's policy allows it too. Without s3:ListBucket, S3 says the same of an object that is not there."
                ))
        };
        error.of_answer(answered)
    }
}

/// The bucket and the key that an `s3://` URL names; `None` where it names none. What is percent-encoded in the URL is not in the key.
fn object(url: &Url) -> Option<(String, String)> {
    let bucket = url.host_str().filter(|name| !name.is_empty())?;
    if url.query().is_some() || url.port().is_some() {
        return None;
    }
    let key = decoded(url.path().strip_prefix('/')?)?;
    // In a URL of HTTP they would lead elsewhere: out of the bucket, where that is a part of the path.
    let climbs = key.split('/').any(|part| matches!(part, "." | ".."));
    (!key.is_empty() && !climbs).then(|| (bucket.to_owned(), key))
}

/// A text without its percent-encoding; `None` where that is not UTF-8.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).filter(|_| *first == b'%');
        let hex = hex.and_then(|hex| std::str::from_utf8(hex).ok());
        let byte = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_s3_url_names_a_bucket_and_a_key_and_nothing_that_leads_elsewhere() {
        let named = |text: &str| object(&Url::parse(text).unwrap());
        let is = |bucket: &str, key: &str| Some((bucket.to_owned(), key.to_owned()));
        assert_eq!(named("s3://lake/a/b.ndjson"), is("lake", "a/b.ndjson"));
        assert_eq!(
            named("s3://lake/a%20b/%C3%BC+100%25.ndjson"),
            is("lake", "a b/ü+100%.ndjson")
        );
        assert_eq!(named("s3://lake/a b"), is("lake", "a b"));
        assert_eq!(named("s3://lake/a/%2e%2e/b"), is("lake", "b"));
        for text in [
            "s3://lake",
            "s3://lake/",
            "s3:///key",
            "s3:key",
            "s3://lake/a?versionId=1",
            "s3://lake:9000/a",
            "s3://lake/%FF",
            "s3://lake/a%2F..%2F..%2Fother/secret",
        ] {
            assert_eq!(named(text), None, "{text}");
        }
    }
}
