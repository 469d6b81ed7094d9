//! AWS Signature Version 4, as headers. Nothing is signed that a proxy may change on the way: the caller chooses the headers.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use url::Url;

pub(crate) use aws_sigv4::http_request::SignableBody;

/// The header that says which session temporary credentials are of.
pub(crate) const SESSION: &str = "x-amz-security-token";

/// How a path is signed, and whether the hash of what is sent goes along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rules {
    /// As nearly every service has it.
    Usual,
    /// As S3 has it.
    S3,
}

/// What a signature is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope<'a> {
    pub(crate) region: &'a str,
    pub(crate) service: &'a str,
    pub(crate) rules: Rules,
}

impl Scope<'_> {
    /// The headers that make a request a signed one; the error is why there are none. `headers` are those of the request that
    /// are signed, beside `Host`.
    pub(crate) fn sign<'a>(
        self,
        credentials: Credentials,
        (method, url): (&'a str, &'a Url),
        headers: impl Iterator<Item = (&'a str, &'a str)>,
        body: SignableBody<'a>,
    ) -> Result<HeaderMap, String> {
        self.sign_at(SystemTime::now(), credentials, (method, url), headers, body)
    }

    fn sign_at<'a>(
        self,
        time: SystemTime,
        credentials: Credentials,
        (method, url): (&'a str, &'a Url),
        headers: impl Iterator<Item = (&'a str, &'a str)>,
        body: SignableBody<'a>,
    ) -> Result<HeaderMap, String> {
        let mut settings = SigningSettings::default();
        if self.rules == Rules::S3 {
            settings.percent_encoding_mode = PercentEncodingMode::Single;
            settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
            settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        }
        let identity = credentials.into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(self.region)
            .name(self.service)
            .time(time)
            .settings(settings)
            .build()
            .map_err(|error| error.to_string())?
            .into();
        let signable = SignableRequest::new(method, url.as_str(), headers, body)
            .map_err(|error| error.to_string())?;
        let (instructions, _) = sign(signable, &params)
            .map_err(|error| error.to_string())?
            .into_parts();
        let mut signed = HeaderMap::new();
        for (name, value) in instructions.headers() {
            let name = HeaderName::from_bytes(name.as_bytes());
            let (Ok(name), Ok(mut value)) = (name, HeaderValue::from_str(value)) else {
                return Err("a header has no valid value".to_owned());
            };
            value.set_sensitive(name == AUTHORIZATION || name == SESSION);
            signed.insert(name, value);
        }
        Ok(signed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The time, the keys and the scope of AWS's own test suite for Signature Version 4.
    fn suite(
        method: &str,
        url: &str,
        headers: &[(&'static str, &'static str)],
        body: &'static [u8],
    ) -> String {
        let time = httpdate::parse_http_date("Sun, 30 Aug 2015 12:36:00 GMT").unwrap();
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        let credentials = Credentials::new("AKIDEXAMPLE", secret, None, None, "test");
        let scope = Scope {
            region: "us-east-1",
            service: "service",
            rules: Rules::Usual,
        };
        let url = Url::parse(url).unwrap();
        let signed = scope.sign_at(
            time,
            credentials,
            (method, &url),
            headers.iter().copied(),
            SignableBody::Bytes(body),
        );
        let signed = signed.unwrap();
        assert!(signed[AUTHORIZATION].is_sensitive());
        assert_eq!(signed["x-amz-date"], "20150830T123600Z");
        signed[AUTHORIZATION].to_str().unwrap().to_owned()
    }

    #[test]
    fn a_signature_is_the_one_of_the_published_test_suite() {
        let root = "https://example.amazonaws.com/";
        let scope =
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request";
        assert_eq!(
            suite("GET", root, &[], b""),
            format!(
                "{scope}, SignedHeaders=host;x-amz-date, Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
            )
        );
        assert_eq!(
            suite("POST", root, &[], b""),
            format!(
                "{scope}, SignedHeaders=host;x-amz-date, Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
            )
        );
        let form = [("content-type", "application/x-www-form-urlencoded")];
        assert_eq!(
            suite("POST", root, &form, b"Param1=value1"),
            format!(
                "{scope}, SignedHeaders=content-type;host;x-amz-date, Signature=ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"
            )
        );
    }
}
