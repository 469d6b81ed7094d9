//! AWS Signature Version 4, verified as AWS's documentation describes it, with no code of the SDK that signs.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use http::header;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use sha2::{Digest, Sha256};

use crate::call::{Call, Reply, percent_decode, plain_json, with};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// How many seconds a clock may be off.
const SKEW: i64 = 300;

/// Whose signatures are taken, and for what.
pub(crate) struct Signer<'a> {
    pub(crate) access_key: &'a str,
    pub(crate) secret_key: &'a str,
    pub(crate) region: &'a str,
    pub(crate) service: &'a str,
}

/// Why a request is not taken: AWS's code, and its words.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal(pub(crate) &'static str, pub(crate) String);

impl Refusal {
    /// As a service of AWS says it.
    pub(crate) fn reply(&self) -> Reply {
        let Self(code, message) = self;
        let body = serde_json::json!({"message": message});
        with(plain_json(403, &body), "x-amzn-errortype", code)
    }
}

/// What an `Authorization` says.
struct Claim {
    access_key: String,
    date: String,
    scope: String,
    names: Vec<String>,
    signature: String,
}

impl Claim {
    fn read(call: &Call) -> Option<Self> {
        let value = call.header(header::AUTHORIZATION)?;
        let rest = value.strip_prefix(ALGORITHM)?.trim();
        let part = |name: &str| {
            let mut parts = rest.split(',').map(str::trim);
            parts.find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
        };
        let (access_key, scope) = part("Credential")?.split_once('/')?;
        Some(Self {
            access_key: access_key.to_owned(),
            date: scope.split('/').next()?.to_owned(),
            scope: scope.to_owned(),
            names: part("SignedHeaders")?
                .split(';')
                .map(str::to_owned)
                .collect(),
            signature: part("Signature")?.to_owned(),
        })
    }
}

impl Signer<'_> {
    /// Whether the request is signed by this account, for this service, just now.
    pub(crate) fn verify(&self, call: &Call, now: Timestamp) -> Result<(), Refusal> {
        let wrong = |what: &str| Refusal("InvalidSignatureException", what.to_owned());
        let Some(claim) = Claim::read(call) else {
            let what = "Missing Authentication Token";
            return Err(Refusal("MissingAuthenticationTokenException", what.into()));
        };
        if claim.access_key != self.access_key {
            let what = "The security token included in the request is invalid.";
            return Err(Refusal("UnrecognizedClientException", what.into()));
        }
        let scope = format!(
            "{}/{}/{}/aws4_request",
            claim.date, self.region, self.service
        );
        if claim.scope != scope {
            let what = format!("Credential should be scoped to '{scope}'.");
            return Err(wrong(&what));
        }
        let date = call.header("x-amz-date").unwrap_or_default();
        let time = DateTime::strptime("%Y%m%dT%H%M%SZ", &date)
            .and_then(|time| TimeZone::UTC.to_timestamp(time))
            .map_err(|_| wrong("The date is none"))?;
        let off = now.as_second() - time.as_second();
        if off.abs() > SKEW || !date.starts_with(&claim.date) {
            return Err(wrong("Signature expired, or not yet current"));
        }
        if let Some(name) = unsigned(call, &claim.names) {
            return Err(wrong(&format!("The header {name} is not signed")));
        }
        let request = self.canonical_request(call, &claim.names);
        let text = format!("{ALGORITHM}\n{date}\n{scope}\n{}", hash(request.as_bytes()));
        let mut key = format!("AWS4{}", self.secret_key).into_bytes();
        for part in [
            claim.date.as_str(),
            self.region,
            self.service,
            "aws4_request",
        ] {
            key = mac(&key, part);
        }
        if hex(&mac(&key, &text)) == claim.signature {
            Ok(())
        } else {
            Err(wrong(
                "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method.",
            ))
        }
    }

    fn canonical_request(&self, call: &Call, names: &[String]) -> String {
        let mut text = format!("{}\n", call.method);
        // S3 takes a path as it was sent; everybody else encodes it once more.
        if self.service == "s3" {
            text.push_str(&call.raw_path);
        } else {
            encode(&mut text, &call.raw_path, "/");
        }
        text.push('\n');
        let mut pairs: Vec<(String, String)> = call
            .raw_query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (encoded(name), encoded(value))
            })
            .collect();
        pairs.sort();
        let pairs: Vec<String> = pairs
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        text.push_str(&pairs.join("&"));
        text.push('\n');
        for name in names {
            let value = call.header(name.as_str()).unwrap_or_default();
            let words: Vec<&str> = value.split_whitespace().collect();
            let _ = writeln!(text, "{name}:{}", words.join(" "));
        }
        let body = call.header("x-amz-content-sha256");
        let body = body.unwrap_or_else(|| hash(&call.body));
        let _ = write!(text, "\n{}\n{body}", names.join(";"));
        text
    }
}

/// A header that must be signed and is not.
fn unsigned<'a>(call: &'a Call, names: &[String]) -> Option<&'a str> {
    let must = |name: &str| matches!(name, "host" | "content-type") || name.starts_with("x-amz-");
    let mut all = call.headers.keys().map(http::HeaderName::as_str);
    all.find(|name| must(name) && !names.iter().any(|signed| signed == name))
}

/// A part of a query, decoded and encoded as signatures have it.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    encode(&mut out, &percent_decode(text), "");
    out
}

fn encode(to: &mut String, text: &str, kept: &str) {
    for byte in text.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
        if plain || kept.as_bytes().contains(&byte) {
            to.push(char::from(byte));
        } else {
            let _ = write!(to, "%{byte:02X}");
        }
    }
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    // Any length will do.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return Vec::new();
    };
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use axum::body::Body;
    use http::Request;

    use super::*;

    async fn call(method: &str, uri: &str, headers: &[(&str, &str)]) -> Call {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Call::read(request.body(Body::empty()).unwrap()).await
    }

    /// The example of the S3 documentation, "Authenticating Requests", of an object's first bytes.
    const OF_S3: Signer<'static> = Signer {
        access_key: "AKIAIOSFODNN7EXAMPLE",
        secret_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        region: "us-east-1",
        service: "s3",
    };

    async fn object(range: &str, date: &str) -> Call {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let authorization = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
        let headers = [
            ("host", "examplebucket.s3.amazonaws.com"),
            ("range", range),
            ("x-amz-content-sha256", empty),
            ("x-amz-date", date),
            ("authorization", authorization),
        ];
        call("GET", "/test.txt", &headers).await
    }

    #[tokio::test]
    async fn the_documentations_example_for_s3_is_taken_and_nothing_that_differs_from_it() {
        let now: Timestamp = "2013-05-24T00:01:00Z".parse().unwrap();
        let right = object("bytes=0-9", "20130524T000000Z").await;
        assert_eq!(OF_S3.verify(&right, now), Ok(()));
        let later = "2013-05-24T00:06:00Z".parse().unwrap();
        assert!(
            OF_S3
                .verify(&right, later)
                .unwrap_err()
                .1
                .contains("expired")
        );
        let other = object("bytes=0-8", "20130524T000000Z").await;
        assert!(OF_S3.verify(&other, now).unwrap_err().1.contains("match"));
        let secret_key = "another";
        let other = Signer {
            secret_key,
            ..OF_S3
        };
        assert!(other.verify(&right, now).unwrap_err().1.contains("match"));
        let access_key = "another";
        let other = Signer {
            access_key,
            ..OF_S3
        };
        let refused = other.verify(&right, now).unwrap_err();
        assert_eq!(refused.0, "UnrecognizedClientException");
        let service = "healthlake";
        let other = Signer { service, ..OF_S3 };
        assert!(other.verify(&right, now).unwrap_err().1.contains("scoped"));
    }

    #[tokio::test]
    async fn the_published_suites_plain_request_is_taken_and_what_is_not_signed_is_not() {
        let signer = Signer {
            access_key: "AKIDEXAMPLE",
            secret_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            region: "us-east-1",
            service: "service",
        };
        let now: Timestamp = "2015-08-30T12:36:00Z".parse().unwrap();
        let authorization = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
        let mut headers = vec![
            ("host", "example.amazonaws.com"),
            ("x-amz-date", "20150830T123600Z"),
            ("authorization", authorization),
        ];
        let right = call("GET", "/", &headers).await;
        assert_eq!(signer.verify(&right, now), Ok(()));
        headers.push(("x-amz-target", "more"));
        let more = call("GET", "/", &headers).await;
        assert!(
            signer
                .verify(&more, now)
                .unwrap_err()
                .1
                .contains("x-amz-target")
        );
        let bare = call("GET", "/", &headers[..2]).await;
        let refused = signer.verify(&bare, now).unwrap_err();
        assert_eq!(refused.0, "MissingAuthenticationTokenException");
    }
}
