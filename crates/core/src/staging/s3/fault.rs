//! What a refusal of S3 means: which refusals are answers, which pass, and which a person must mend.
//!
//! The texts that come out of here name the object and the permission or setting; they hold S3's code and message, which
//! name no secrets, and nothing of the request.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

use crate::error::{Error, Kind};
use crate::http::retry_after;

/// Codes that speak of who we are, not of what we may do.
const CREDENTIALS: &[&str] = &[
    "AccountProblem",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSecurity",
    "InvalidToken",
    "NotSignedUp",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
    "UnrecognizedClientException",
];

/// Codes that say that the bucket is elsewhere.
const REGION: &[&str] = &[
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "PermanentRedirect",
    "TemporaryRedirect",
];

/// Codes of accidents, which may come with a status below 500: even with 200, when S3 had begun to answer before it
/// failed. Sums that differ are an accident on the way: what was sent is what was summed.
const PASSING: &[&str] = &[
    "BadDigest",
    "ConditionalRequestConflict",
    "IncompleteBody",
    "InternalError",
    "OperationAborted",
    "RequestTimeout",
    "XAmzContentChecksumMismatch",
    "XAmzContentSHA256Mismatch",
];

/// Codes that ask for fewer requests.
const THROTTLING: &[&str] = &[
    "RequestLimitExceeded",
    "ServiceUnavailable",
    "SlowDown",
    "SlowDownRead",
    "SlowDownWrite",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
];

/// Codes that say that the parts are not what a completion lists.
const PARTS: &[&str] = &["InvalidPart", "InvalidPartOrder"];

/// Codes that say that the store is full.
const FULL: &[&str] = &["InsufficientCapacity", "QuotaExceeded", "XMinioStorageFull"];

/// Codes that stores without conditional writes answer a condition with, beside a status of 400.
const NO_CONDITIONS: &[&str] = &[
    "",
    "BadRequest",
    "InvalidArgument",
    "InvalidRequest",
    "NotImplemented",
    "UnsupportedHeader",
];

/// What is said where a request could not be signed.
pub(super) const NO_CREDENTIALS: &str = "no AWS credentials could be had";

/// How much of a store's own message is passed on.
const MESSAGE_LIMIT: usize = 300;

/// A request that did not succeed.
#[derive(Debug)]
pub(super) struct Fault {
    /// The HTTP status, where there was an answer.
    status: Option<u16>,
    /// S3's code; empty where there was none, as in every answer to a `HEAD`.
    code: String,
    /// What happened, in the words of S3 or of the SDK.
    text: String,
    /// The request could not even be signed.
    unsigned: bool,
    /// The request could not be built: its input is wrong, not the store.
    unbuilt: bool,
    /// How long the store asks to be left alone.
    wait: Option<Duration>,
}

impl<E> From<SdkError<E>> for Fault
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    fn from(error: SdkError<E>) -> Self {
        let status = error
            .raw_response()
            .map(|response| response.status().as_u16());
        let code = error.code().unwrap_or_default().to_owned();
        let wait = error.raw_response().and_then(|response| {
            let headers = response.headers();
            let asked = headers.get(RETRY_AFTER.as_str())?;
            retry_after(asked, headers.get(DATE.as_str()), SystemTime::now())
        });
        let chain = chain(&error);
        let text = match (status, error.message()) {
            // Told to go on, then told off, or told nothing: whoever reads this wants all that is known.
            (Some(status @ 200..300), _) => {
                format!("S3 answered {status}, but not success: {chain}")
            }
            (Some(status), Some(message)) => format!("S3 answered {status} {code}: {message}"),
            (Some(status), None) => format!("S3 answered {status} {code}"),
            (None, _) => chain.clone(),
        };
        let lower = chain.to_ascii_lowercase();
        let without_credentials =
            status.is_none() && (lower.contains("credential") || lower.contains("identity"));
        let unsigned = without_credentials && !credentials_fault(&error).is_some_and(passes);
        let text = if without_credentials {
            format!("{NO_CREDENTIALS}: {}", deepest(&error))
        } else {
            text
        };
        Self {
            unsigned,
            unbuilt: matches!(error, SdkError::ConstructionFailure(_)),
            status,
            code,
            text: shortened(text.trim_end()),
            wait,
        }
    }
}

impl Fault {
    /// A fault that the SDK does not know of, such as one while an answer's body was being read.
    pub(super) fn broken(text: &str) -> Self {
        Self {
            status: None,
            code: String::new(),
            text: shortened(text),
            unsigned: false,
            unbuilt: false,
            wait: None,
        }
    }

    /// No credentials could be had.
    pub(super) fn unsigned(why: &str) -> Self {
        Self {
            unsigned: true,
            ..Self::broken(&format!("{NO_CREDENTIALS}: {why}"))
        }
    }

    /// A request that could not be built.
    pub(super) fn unbuilt(why: &dyn std::fmt::Display) -> Self {
        Self {
            unbuilt: true,
            ..Self::broken(&format!("the request cannot be made: {why}"))
        }
    }

    /// A request to which no answer came.
    pub(super) fn unanswered(error: reqwest::Error) -> Self {
        // The URL has an upload's id in it, which is nobody's business.
        Self::broken(&chain(&error.without_url()))
    }

    /// A refusal, as its status, headers and body have it.
    pub(super) fn answered(status: u16, headers: &HeaderMap, body: &str) -> Self {
        let code = element(body, "Code").unwrap_or_default();
        let text = match element(body, "Message") {
            Some(message) => format!("S3 answered {status} {code}: {message}"),
            None => format!("S3 answered {status} {code}"),
        };
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
        Self {
            status: Some(status),
            code,
            text: shortened(text.trim_end()),
            unsigned: false,
            unbuilt: false,
            wait: header(RETRY_AFTER)
                .and_then(|asked| retry_after(asked, header(DATE), SystemTime::now())),
        }
    }

    /// There is no such object.
    pub(super) fn absent(&self) -> bool {
        self.status == Some(404) && self.code != "NoSuchBucket"
    }

    /// There is no such object, or it may not be read: without `s3:ListBucket`, S3 does not tell. Wrong credentials are
    /// neither.
    pub(super) fn forbidden(&self) -> bool {
        self.status == Some(403) && !CREDENTIALS.contains(&self.code.as_str())
    }

    /// The condition of a write does not hold.
    pub(super) fn condition_failed(&self) -> bool {
        self.status == Some(412) || self.said_late(&["PreconditionFailed"])
    }

    /// Another conditional write of the same object was under way.
    pub(super) fn collided(&self) -> bool {
        (self.status == Some(409) && self.code != "NoSuchBucket")
            || self.said_late(&["ConditionalRequestConflict", "OperationAborted"])
    }

    /// The store may not know conditional writes. It may also dislike something else; a write without a condition tells.
    pub(super) fn maybe_no_conditions(&self) -> bool {
        match self.status {
            Some(501) => true,
            Some(400) => NO_CONDITIONS.contains(&self.code.as_str()),
            _ => false,
        }
    }

    /// The store, or the policy before it, refuses a `HEAD` or says nothing of use to one, for its answers have no body. A
    /// `GET` may fare better, and says why if it does not.
    pub(super) fn head_refused(&self) -> bool {
        matches!(self.status, Some(400 | 403 | 405 | 501))
    }

    /// The store knows no `HEAD` at all.
    pub(super) fn head_unknown(&self) -> bool {
        matches!(self.status, Some(405 | 501))
    }

    /// A range of an object that has no bytes.
    pub(super) fn no_such_range(&self) -> bool {
        self.status == Some(416)
    }

    /// The multipart upload is gone: completed, aborted or expired.
    pub(super) fn no_such_upload(&self) -> bool {
        (self.status == Some(404) && self.code == "NoSuchUpload")
            || self.said_late(&["NoSuchUpload"])
    }

    /// S3 had begun to answer with 200 before it said one of these codes.
    fn said_late(&self, codes: &[&str]) -> bool {
        matches!(self.status, Some(200..300)) && codes.contains(&self.code.as_str())
    }

    /// The multipart upload is there, but holds other parts than we think, or other bytes in them.
    pub(super) fn other_parts(&self) -> bool {
        PARTS.contains(&self.code.as_str()) || self.code == "BadDigest"
    }

    /// The request is not allowed to us, or not known to the store, which both mean that we do without.
    pub(super) fn not_offered(&self) -> bool {
        self.forbidden() || matches!(self.status, Some(405 | 501))
    }

    /// The store asks for fewer requests.
    fn throttles(&self) -> bool {
        THROTTLING.contains(&self.code.as_str()) || matches!(self.status, Some(429 | 503))
    }

    /// The error that a person reads. `url` is the object, `permission` what the request needed.
    pub(super) fn error(&self, url: &str, permission: &str) -> Error {
        let what = format!("{url}: {}", self.text);
        let denied = |next: String| Kind::StagingDenied.error(&what).next(next);
        let code = self.code.as_str();
        if self.unsigned || CREDENTIALS.contains(&code) {
            return denied(
                "Check the AWS credentials that this program finds (variables, profile or role): that they are there, right and not expired.".to_owned(),
            );
        }
        if code == "NoSuchBucket" {
            return denied("Create the bucket, or correct STAGING_URL.".to_owned());
        }
        if REGION.contains(&code) || matches!(self.status, Some(301 | 307)) {
            return denied("Set AWS_REGION to the region of the bucket.".to_owned());
        }
        if FULL.contains(&code) || self.status == Some(507) {
            return denied("Make room in the store, then start again: files that are complete are not fetched twice.".to_owned());
        }
        if self.throttles() {
            let error = Kind::StagingUnavailable.error(what);
            return error.retry_after(self.wait).throttle();
        }
        if PASSING.contains(&code) {
            return Kind::StagingUnavailable.error(what).retry_after(self.wait);
        }
        if self
            .status
            .is_some_and(|status| (400..500).contains(&status) || status == 501)
            && self.text.to_ascii_lowercase().contains("checksum")
        {
            return denied(
                "The store does not take this checksum: set STAGING_CHECKSUM=crc32, or none."
                    .to_owned(),
            );
        }
        match self.status {
            Some(401 | 403) => denied(format!("Allow {permission} on that key.")),
            Some(501) => denied(
                "The store does not know this request. Where it dislikes checksums, set STAGING_CHECKSUM=none and AWS_REQUEST_CHECKSUM_CALCULATION=when_required.".to_owned(),
            ),
            Some(200..300 | 408 | 500..) => {
                Kind::StagingUnavailable.error(what).retry_after(self.wait)
            }
            Some(_) => denied(
                "See what the store says about the request, and correct STAGING_URL or the store's settings.".to_owned(),
            ),
            None if self.unbuilt => {
                denied("Correct STAGING_URL or the AWS settings.".to_owned())
            }
            None => Kind::StagingUnavailable.error(what),
        }
    }
}

/// The content of the first XML element of that name.
fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (content, _) = rest.split_once(&format!("</{name}>"))?;
    let plain = content
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&#39;", "'")
        .replace("&amp;", "&");
    Some(plain)
}

/// Whether credentials may be had a little later: whoever gives them did not answer, or not well.
pub(super) fn passes(error: &CredentialsError) -> bool {
    matches!(
        error,
        CredentialsError::ProviderTimedOut(_) | CredentialsError::ProviderError(_)
    )
}

/// What the provider of credentials said, where that is why a request was not sent.
fn credentials_fault<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> Option<&'a CredentialsError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// What an error comes from in the end.
pub(super) fn deepest(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(error) = last.source() {
        last = error;
    }
    last.to_string()
}

/// An error and what led to it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let _ = write!(text, ": {error}");
        next = error.source();
    }
    text
}

fn shortened(text: &str) -> String {
    let mut line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MESSAGE_LIMIT)
        .collect();
    if line.len() < text.len() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn fault(status: u16, code: &str) -> Fault {
        Fault {
            status: Some(status),
            code: code.to_owned(),
            text: format!("S3 answered {status} {code}"),
            unsigned: false,
            unbuilt: false,
            wait: None,
        }
    }

    #[test]
    fn what_passes_is_unavailable_and_what_a_person_must_mend_is_denied_with_what_to_do() {
        for (status, code) in [
            (500, "InternalError"),
            (503, "SlowDown"),
            (503, "ServiceUnavailable"),
            (429, "TooManyRequests"),
            (400, "RequestTimeout"),
            (409, "ConditionalRequestConflict"),
            (409, "OperationAborted"),
            (200, "InternalError"),
            (200, ""),
        ] {
            let error = fault(status, code).error("s3://b/k", "s3:PutObject");
            assert_eq!(error.kind(), Kind::StagingUnavailable, "{error}");
        }
        for (status, code, next) in [
            (403, "AccessDenied", "s3:PutObject"),
            (403, "", "s3:PutObject"),
            (404, "NoSuchBucket", "bucket"),
            (403, "InvalidAccessKeyId", "credentials"),
            (403, "SignatureDoesNotMatch", "credentials"),
            (400, "ExpiredToken", "expired"),
            (301, "", "AWS_REGION"),
            (400, "AuthorizationHeaderMalformed", "AWS_REGION"),
            (507, "XMinioStorageFull", "room"),
            (501, "NotImplemented", "AWS_REQUEST_CHECKSUM_CALCULATION"),
        ] {
            let error = fault(status, code).error("s3://b/k", "s3:PutObject");
            assert_eq!(error.kind(), Kind::StagingDenied, "{error}");
            assert!(error.advice().contains(next), "{error}");
            assert!(error.what().starts_with("s3://b/k: "), "{error}");
        }
    }

    #[test]
    fn a_store_that_asks_for_fewer_requests_is_told_from_one_that_fails() {
        for (status, code) in [(503, "SlowDown"), (429, ""), (503, ""), (400, "Throttling")] {
            assert!(fault(status, code).error("u", "p").throttled(), "{code}");
        }
        for (status, code) in [(500, "InternalError"), (403, "AccessDenied"), (200, "")] {
            assert!(!fault(status, code).error("u", "p").throttled(), "{code}");
        }
    }

    #[test]
    fn a_refusal_on_the_lean_way_says_what_one_on_the_sdks_says() {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, "7".parse().unwrap())]);
        let body = "<?xml version=\"1.0\"?><Error><Code>SlowDown</Code><Message>a &lt; b &amp;amp; c</Message></Error>";
        let fault = Fault::answered(503, &headers, body);
        let error = fault.error("s3://b/k", "s3:PutObject");
        assert_eq!(
            error.what(),
            "s3://b/k: S3 answered 503 SlowDown: a < b &amp; c"
        );
        assert_eq!(error.wait(), Some(Duration::from_secs(7)));
        assert!(error.throttled());

        let bare = Fault::answered(403, &HeaderMap::new(), "<html>");
        assert!(bare.forbidden());
        assert_eq!(bare.error("u", "p").what(), "u: S3 answered 403");
    }

    #[test]
    fn only_a_refusal_that_may_mean_an_absent_object_counts_as_one() {
        assert!(fault(404, "NoSuchKey").absent() && fault(404, "").absent());
        assert!(!fault(404, "NoSuchBucket").absent());
        assert!(fault(403, "AccessDenied").forbidden() && fault(403, "").forbidden());
        assert!(!fault(403, "InvalidAccessKeyId").forbidden());
        assert!(!fault(403, "SignatureDoesNotMatch").forbidden());
    }
}
