//! What is asked: method, URL, headers, body, and whether a token may go along.

use std::fmt;

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, COOKIE, HeaderMap, HeaderName,
    HeaderValue, IF_MATCH, IF_NONE_MATCH, IF_RANGE, PROXY_AUTHORIZATION, RANGE,
};
use url::Url;

use super::shown::{shown, shown_resource};
use crate::config::{Origin, has_userinfo};

/// Whether a request carries a token. It is said for every request, because the manifest's `requiresAccessToken` says it
/// for every file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenUse {
    /// Where there are credentials and the URL's origin is trusted.
    #[default]
    WhereTrusted,
    /// Under no circumstances.
    Never,
}

/// A request that has not been sent. It is cheap to clone, so that an attempt can be repeated.
///
/// A user name or password in the URL is not sent: RFC 9110, section 4.2.4, has one in a URL from elsewhere treated as a
/// deception.
#[derive(Clone)]
pub struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Bytes>,
    pub(super) token: TokenUse,
    /// Whether its URL ends with a resource's id.
    pub(super) is_of_resource: bool,
    /// The name of a header that could not be taken.
    pub(super) refused: Option<String>,
}

/// What another origin may see after a redirect: what the answer depends on, and nothing that says who asks.
const FOR_ANYONE: &[HeaderName] = &[
    ACCEPT,
    ACCEPT_ENCODING,
    IF_MATCH,
    IF_NONE_MATCH,
    IF_RANGE,
    RANGE,
];

/// What only this module sets.
const OURS: &[HeaderName] = &[AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION];

impl Request {
    /// A request of any method, without a body.
    #[must_use]
    pub fn new(method: Method, url: Url) -> Self {
        let mut request = Self {
            method,
            url,
            headers: HeaderMap::new(),
            body: None,
            token: TokenUse::default(),
            is_of_resource: false,
            refused: None,
        };
        request.drop_userinfo();
        request
    }

    /// `GET url`.
    #[must_use]
    pub fn get(url: Url) -> Self {
        Self::new(Method::GET, url)
    }

    /// `HEAD url`.
    #[must_use]
    pub fn head(url: Url) -> Self {
        Self::new(Method::HEAD, url)
    }

    /// `POST url` with a body of the given media type.
    #[must_use]
    pub fn post(url: Url, body: impl Into<Bytes>, content_type: &str) -> Self {
        let mut request = Self::new(Method::POST, url).header(CONTENT_TYPE.as_str(), content_type);
        request.body = Some(body.into());
        request
    }

    /// `DELETE url`.
    #[must_use]
    pub fn delete(url: Url) -> Self {
        Self::new(Method::DELETE, url)
    }

    /// Sets a header, in place of one of the same name.
    ///
    /// A name or value that HTTP cannot carry, and `Authorization` and cookies, which are not the caller's to set, make
    /// [`super::Client::send`] answer a `ConfigurationError` that names the header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        match (HeaderName::try_from(name), HeaderValue::from_str(value)) {
            (Ok(name), Ok(value)) if !OURS.contains(&name) => {
                self.headers.insert(name, value);
            }
            _ => self.refused = Some(name.escape_default().to_string()),
        }
        self
    }

    /// Sets `Accept`.
    #[must_use]
    pub fn accept(self, media_type: &str) -> Self {
        self.header(ACCEPT.as_str(), media_type)
    }

    /// Says whether a token may go along; without this, it goes where the origin is trusted.
    #[must_use]
    pub fn token(mut self, token: TokenUse) -> Self {
        self.token = token;
        self
    }

    /// Says that the URL ends with a resource's id, which no message and no log is to hold.
    #[must_use]
    pub fn of_resource(mut self) -> Self {
        self.is_of_resource = true;
        self
    }

    /// The URL as messages and logs show it.
    pub(super) fn shown(&self) -> String {
        if self.is_of_resource {
            shown_resource(&self.url)
        } else {
            shown(&self.url)
        }
    }

    /// The same request at the place that a redirect named. Another origin gets only the headers that are for anyone.
    pub(super) fn moved_to(&mut self, url: Url) {
        if Origin::from(&url) != Origin::from(&self.url) {
            let mut kept = HeaderMap::new();
            for name in FOR_ANYONE {
                if let Some(value) = self.headers.get(name) {
                    kept.insert(name, value.clone());
                }
            }
            self.headers = kept;
        }
        self.url = url;
        self.drop_userinfo();
    }

    fn drop_userinfo(&mut self) {
        if has_userinfo(&self.url) {
            // Both fail only for URLs that cannot have either.
            let _ = self.url.set_username("");
            let _ = self.url.set_password(None);
        }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Request({} {})", self.method, self.shown())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn another_origin_sees_no_header_that_says_who_asks() {
        let asked = Request::get(url("https://h/a"))
            .accept("x/y")
            .header("Range", "bytes=1-")
            .header("Epic-Client-ID", "me");
        let mut same = asked.clone();
        same.moved_to(url("https://h/b"));
        assert_eq!(same.headers.len(), 3);
        let mut other = asked;
        other.moved_to(url("https://files.h/b"));
        assert_eq!(
            other
                .headers
                .keys()
                .map(HeaderName::as_str)
                .collect::<Vec<_>>(),
            ["accept", "range"]
        );
    }

    #[test]
    fn a_user_name_in_a_url_is_not_sent() {
        let mut request = Request::get(url("https://u:p@h/a"));
        assert_eq!(request.url.as_str(), "https://h/a");
        request.moved_to(url("https://v:q@h/b"));
        assert_eq!(request.url.as_str(), "https://h/b");
    }

    #[test]
    fn a_header_that_is_not_the_callers_to_set_is_refused() {
        for (name, value) in [
            ("Authorization", "Bearer x"),
            ("cookie", "a=b"),
            ("X\n", "a"),
            ("X", "a\r\nb"),
        ] {
            let request = Request::get(url("https://h")).header(name, value);
            assert!(
                request.refused.is_some() && request.headers.is_empty(),
                "{name:?}"
            );
        }
    }
}
