//! What a refusal of S3 means: which refusals are answers, which pass, and which a person must mend.
//!
//! The errors that come out of here name the object and the permission or setting. Whether a request is sent again is
//! the callers' business. How a refusal is read out of what the SDK or the lean way gives, [`reading`] knows.

mod reading;

use std::time::Duration;

use crate::error::{Error, Kind};
use crate::http::NO_ROOTS;
use crate::http::aws::{HAVE_CREDENTIALS, OTHER_REGION, WRONG_CREDENTIALS};
use crate::limits;

pub(super) use self::reading::NO_CREDENTIALS;
pub(super) use crate::http::aws::passes;

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
    "BadRequest",
    "InvalidArgument",
    "InvalidRequest",
    "NotImplemented",
    "UnsupportedHeader",
];

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
    /// There are no certificates to know the store by: it was not even told the request.
    no_roots: bool,
    /// How long the store asks to be left alone.
    wait: Option<Duration>,
}

impl Fault {
    /// There is no such object.
    pub(super) fn absent(&self) -> bool {
        self.status == Some(404) && self.code != "NoSuchBucket"
    }

    /// There is no such object, or it may not be read: without `s3:ListBucket`, S3 does not tell. Wrong credentials are
    /// neither.
    pub(super) fn forbidden(&self) -> bool {
        self.status == Some(403) && !WRONG_CREDENTIALS.contains(&self.code.as_str())
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

    /// The store may not know conditional writes. It may also dislike something else: a write without a condition
    /// tells.
    pub(super) fn maybe_no_conditions(&self) -> bool {
        match self.status {
            Some(501) => true,
            Some(400) => NO_CONDITIONS.contains(&self.code.as_str()),
            _ => false,
        }
    }

    /// The store, or the policy before it, refuses a `HEAD` or says nothing of use to one, for its answers have no body.
    /// A `GET` may fare better, and says why if it does not.
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

    /// A part has another `ETag` than we think, or another sum.
    pub(super) fn no_such_part(&self) -> bool {
        self.code == "InvalidPart"
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
        if self.no_roots {
            return Kind::Configuration.error(&what).next(NO_ROOTS);
        }
        if self.status.is_none() && limits::reached_in(&self.text) {
            return denied(limits::ADVICE.to_owned());
        }
        if self.unsigned {
            return denied(HAVE_CREDENTIALS.to_owned());
        }
        if WRONG_CREDENTIALS.contains(&code) {
            return denied(
                "Check the AWS credentials that this program finds (variables, profile or role): that they are there, right and not expired.".to_owned(),
            );
        }
        if code == "NoSuchBucket" {
            return denied("Create the bucket, or correct STAGING_URL.".to_owned());
        }
        if OTHER_REGION.contains(&code) || matches!(self.status, Some(301 | 307)) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(status: u16, code: &str) -> Fault {
        Fault {
            status: Some(status),
            code: code.to_owned(),
            ..Fault::broken(&format!("S3 answered {status} {code}"))
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
    fn an_answer_that_says_nothing_says_nothing_of_conditions() {
        assert!(fault(400, "InvalidArgument").maybe_no_conditions());
        assert!(fault(501, "").maybe_no_conditions());
        assert!(!fault(400, "").maybe_no_conditions());
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
    fn only_a_refusal_that_may_mean_an_absent_object_counts_as_one() {
        assert!(fault(404, "NoSuchKey").absent() && fault(404, "").absent());
        assert!(!fault(404, "NoSuchBucket").absent());
        assert!(fault(403, "AccessDenied").forbidden() && fault(403, "").forbidden());
        assert!(!fault(403, "InvalidAccessKeyId").forbidden());
        assert!(!fault(403, "SignatureDoesNotMatch").forbidden());
    }
}
