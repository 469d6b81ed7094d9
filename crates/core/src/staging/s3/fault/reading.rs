//! How a refusal is read: out of an error of the SDK, or out of the answer's status, headers and body on the lean way.
//!
//! The texts hold S3's code and message, which name no secrets, and nothing of the request. What a refusal means is not
//! said here.

use std::fmt::Write as _;
use std::time::SystemTime;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

use super::{Fault, passes};
use crate::http::aws::element;
use crate::http::{retry_after, unreadable_roots};

/// What is said where a request could not be signed.
pub(in crate::staging::s3) const NO_CREDENTIALS: &str = "no AWS credentials could be had";

/// How much of a store's own message is passed on.
const MESSAGE_LIMIT: usize = 300;

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
            (Some(status), message) => said(status, &code, message),
            (None, _) => chain,
        };
        let roots = unreadable_roots(&error);
        let credentials = credentials_fault(&error).filter(|_| status.is_none());
        let unsigned = credentials.is_some_and(|fault| !passes(fault));
        let no_roots = roots.is_some();
        let text = match (roots, credentials) {
            (Some(why), _) => why,
            (None, Some(_)) => format!("{NO_CREDENTIALS}: {}", deepest(&error)),
            (None, None) => text,
        };
        let unbuilt = match &error {
            SdkError::ConstructionFailure(_) => true,
            SdkError::DispatchFailure(failure) => failure.is_user(),
            _ => false,
        };
        Self {
            status,
            code,
            unsigned,
            unbuilt,
            no_roots,
            wait,
            ..Self::broken(text.trim_end())
        }
    }
}

impl Fault {
    /// A fault that the SDK does not know of, such as one while an answer's body was being read.
    pub(in crate::staging::s3) fn broken(text: &str) -> Self {
        Self {
            status: None,
            code: String::new(),
            text: shortened(text),
            unsigned: false,
            unbuilt: false,
            no_roots: false,
            wait: None,
        }
    }

    /// No credentials could be had.
    pub(in crate::staging::s3) fn unsigned(why: &str) -> Self {
        Self {
            unsigned: true,
            ..Self::broken(&format!("{NO_CREDENTIALS}: {why}"))
        }
    }

    /// A request that could not be built.
    pub(in crate::staging::s3) fn unbuilt(why: &dyn std::fmt::Display) -> Self {
        Self {
            unbuilt: true,
            ..Self::broken(&format!("the request cannot be made: {why}"))
        }
    }

    /// A request to which no answer came.
    pub(in crate::staging::s3) fn unanswered(error: reqwest::Error) -> Self {
        match unreadable_roots(&error) {
            Some(why) => Self {
                no_roots: true,
                ..Self::broken(&why)
            },
            // The URL has an upload's id in it, which is nobody's business.
            None => Self::broken(&chain(&error.without_url())),
        }
    }

    /// A refusal, as its status, headers and body have it.
    pub(in crate::staging::s3) fn answered(status: u16, headers: &HeaderMap, body: &str) -> Self {
        let code = element(body, "Code").unwrap_or_default();
        let text = said(status, &code, element(body, "Message").as_deref());
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
        Self {
            status: Some(status),
            code,
            wait: header(RETRY_AFTER)
                .and_then(|asked| retry_after(asked, header(DATE), SystemTime::now())),
            ..Self::broken(text.trim_end())
        }
    }
}

/// What S3 answered.
fn said(status: u16, code: &str, message: Option<&str>) -> String {
    match message {
        Some(message) => format!("S3 answered {status} {code}: {message}"),
        None => format!("S3 answered {status} {code}"),
    }
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
fn deepest(error: &dyn std::error::Error) -> String {
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

    use std::time::Duration;

    use aws_sdk_s3::operation::get_object::GetObjectError;
    use aws_smithy_runtime_api::client::result::ConnectorError;

    use super::*;
    use crate::error::Kind;

    #[test]
    fn who_is_at_fault_where_nothing_was_answered_is_told_by_the_errors_type_and_not_by_its_words()
    {
        let broken = "http://s3/hospital-identity-lake/credentials: connection reset";
        let credentials = |fault: CredentialsError| ConnectorError::other(fault.into(), None);
        for (error, kind, words) in [
            (
                ConnectorError::other(broken.into(), None),
                Kind::StagingUnavailable,
                broken,
            ),
            (
                ConnectorError::io(broken.into()),
                Kind::StagingUnavailable,
                broken,
            ),
            (
                ConnectorError::user("no client".into()),
                Kind::StagingDenied,
                "no client",
            ),
            (
                credentials(CredentialsError::provider_error(
                    "503 of the metadata service",
                )),
                Kind::StagingUnavailable,
                NO_CREDENTIALS,
            ),
            (
                credentials(CredentialsError::invalid_configuration("no such profile")),
                Kind::StagingDenied,
                NO_CREDENTIALS,
            ),
        ] {
            let error: SdkError<GetObjectError> = SdkError::dispatch_failure(error);
            let error = Fault::from(error).error("s3://b/k", "s3:GetObject");
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.what().contains(words), "{error}");
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
}
