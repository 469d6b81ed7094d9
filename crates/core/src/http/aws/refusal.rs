//! How AWS says no: the codes that mean the same to whoever asked, a service's JSON and S3's XML.

use serde_json::Value;

/// Codes that speak of who we are, not of what we may do.
pub(crate) const WRONG_CREDENTIALS: &[&str] = &[
    "AccountProblem",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "IncompleteSignatureException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSecurity",
    "InvalidSignatureException",
    "InvalidToken",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "NotSignedUp",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
    "UnrecognizedClientException",
];

/// Codes that say that the bucket is elsewhere.
pub(crate) const OTHER_REGION: &[&str] = &[
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "PermanentRedirect",
    "TemporaryRedirect",
];

/// What a service of AWS says no with.
pub(in crate::http) struct Said {
    pub(in crate::http) code: String,
    message: String,
}

impl Said {
    /// Code and message.
    pub(in crate::http) fn text(&self) -> String {
        let both = [self.code.as_str(), self.message.as_str()];
        let there: Vec<&str> = both.into_iter().filter(|text| !text.is_empty()).collect();
        there.join(": ")
    }
}

/// What a service of AWS says, in its JSON and in the header `X-Amzn-ErrorType`, either of which may be absent; `None` where it is
/// nothing of the kind.
pub(in crate::http) fn said_by_service(header: Option<&str>, body: &[u8]) -> Option<Said> {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    let code = header.or_else(|| text("__type")).or_else(|| text("code"));
    let code = code.unwrap_or_default();
    // `namespace#Code` in the body, `Code:http://...` in the header.
    let code = code.split(':').next().unwrap_or_default();
    let code = code.rsplit('#').next().unwrap_or_default();
    let message = text("message").or_else(|| text("Message"));
    let said = Said {
        code: code.to_owned(),
        message: message.unwrap_or_default().to_owned(),
    };
    (!said.text().is_empty()).then_some(said)
}

/// The content of the first XML element of that name.
pub(crate) fn element(xml: &str, name: &str) -> Option<String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_services_refusal_is_read_wherever_it_stands() {
        let said = |header: Option<&str>, body: &str| {
            said_by_service(header, body.as_bytes()).map(|said| said.text())
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            said(
                Some("AccessDeniedException:http://internal.amazon.com/coral/"),
                r#"{"Message":"no"}"#
            ),
            text("AccessDeniedException: no")
        );
        assert_eq!(
            said(
                None,
                r#"{"__type":"com.amazon#ThrottlingException","message":null}"#
            ),
            text("ThrottlingException")
        );
        assert_eq!(said(None, r#"{"message":"Forbidden"}"#), text("Forbidden"));
        for body in ["", "[]", "<html>", r#"{"message":7}"#] {
            assert_eq!(said(None, body), None, "{body}");
        }
    }
}
