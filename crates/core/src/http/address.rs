//! Addresses: what lies below an endpoint, which URL is polled, and over which way credentials may go.

use url::Url;

use crate::config::is_loopback;

/// Whether credentials may go to a URL as far as its transport is concerned: TLS, loopback, or the operator's word.
pub(super) fn carries_secrets(url: &Url, allow_plaintext: bool) -> bool {
    match url.scheme() {
        "https" => true,
        "http" => allow_plaintext || is_loopback(url),
        _ => false,
    }
}

/// `[endpoint]/path`, whether or not the endpoint ends with a slash. A query or fragment of the endpoint is dropped.
#[must_use]
pub fn below(endpoint: &Url, path: &str) -> Url {
    let mut url = endpoint.clone();
    url.set_query(None);
    url.set_fragment(None);
    if let Ok(mut segments) = url.path_segments_mut() {
        segments
            .pop_if_empty()
            .extend(path.split('/').filter(|part| !part.is_empty()));
    }
    url
}

/// The URL to poll for a job: `status` as the server gave it, but with `https` where it differs from the endpoint's host
/// and port only by `http` in the scheme.
///
/// A server behind a proxy that ends TLS often does not know that its callers use TLS; polled as given, its status URL
/// would leave TLS, and the token behind. The port counts as the same where both are their scheme's own, or where both
/// are the same number.
#[must_use]
pub fn status_url_for_polling(endpoint: &Url, status: &Url) -> Url {
    let mut url = status.clone();
    let (theirs, ours) = (
        status.port_or_known_default(),
        endpoint.port_or_known_default(),
    );
    let same_port = theirs == ours || (theirs, ours) == (Some(80), Some(443));
    if endpoint.scheme() == "https"
        && status.scheme() == "http"
        && endpoint.host() == status.host()
        && same_port
        && url.set_scheme("https").is_err()
    {
        return status.clone();
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn a_path_goes_below_an_endpoint_with_or_without_its_slash() {
        for endpoint in ["https://h/fhir", "https://h/fhir/", "https://h/fhir?x=1#y"] {
            let found = below(&url(endpoint), ".well-known/smart-configuration");
            assert_eq!(
                found.as_str(),
                "https://h/fhir/.well-known/smart-configuration"
            );
        }
        assert_eq!(
            below(&url("https://h"), "$export").as_str(),
            "https://h/$export"
        );
    }

    #[test]
    fn a_status_url_that_lost_its_tls_gets_it_back_on_the_same_host_only() {
        let cases = [
            ("https://h/fhir", "http://h/s?_job=1", "https://h/s?_job=1"),
            ("https://h:8443/fhir", "http://h:8443/s", "https://h:8443/s"),
            ("https://h/fhir", "http://h:443/s", "https://h/s"),
            ("https://h:8443/fhir", "http://h/s", "http://h/s"),
            ("https://h/fhir", "http://h:8080/s", "http://h:8080/s"),
            ("https://h/fhir", "http://other/s", "http://other/s"),
            ("http://h/fhir", "http://h/s", "http://h/s"),
            ("http://h/fhir", "https://h/s", "https://h/s"),
        ];
        for (endpoint, status, expected) in cases {
            assert_eq!(
                status_url_for_polling(&url(endpoint), &url(status)).as_str(),
                expected
            );
        }
    }
}
