//! What was answered: status, headers, and the body on demand.

use std::fmt;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use reqwest::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, DATE, EXPIRES, RETRY_AFTER};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use url::Url;

use super::Side;
use super::body::Body;
use super::certificate;
use super::expires::expires;
use super::shown::{quoted, shown, shown_resource};
use super::transport::Authorization;
use crate::config::Secret;
use crate::error::Result;

/// Which exchange a response or a body belongs to.
#[derive(Clone)]
pub(super) struct About {
    pub(super) side: Side,
    pub(super) method: Method,
    pub(super) url: Url,
    /// Whether the URL ends with a resource's id.
    pub(super) is_of_resource: bool,
    pub(super) idle: Duration,
    pub(super) authorization: Authorization,
    /// How it stands with a client certificate, and whether there is one for other origins than this one.
    pub(super) certificate: (certificate::State, bool),
    /// The values of the operator's headers that were sent.
    pub(super) extra: Vec<Secret>,
}

impl About {
    /// A URL that this exchange is about, as messages and logs show it.
    pub(super) fn shown(&self, url: &Url) -> String {
        if self.is_of_resource {
            shown_resource(url)
        } else {
            shown(url)
        }
    }
}

/// How much of a server's words a message holds, in characters.
const WORDS: usize = 500;

/// Makes a server's words fit for a message: on one line, bounded, without the secrets of the request.
pub struct Quoter {
    secrets: Vec<Secret>,
}

impl Quoter {
    /// The words as a message may hold them, 500 characters at most.
    #[must_use]
    pub fn quote(&self, words: &str) -> String {
        let secrets: Vec<&Secret> = self.secrets.iter().collect();
        quoted(words, WORDS, &secrets)
    }
}

/// An answer of any status, whose body has not been read.
pub struct Response {
    /// Boxed: it is large, and every future that it passes through would hold it.
    exchange: Box<Exchange>,
}

/// What came of a request.
pub(super) struct Exchange {
    pub(super) answer: reqwest::Response,
    pub(super) about: About,
}

impl Response {
    pub(super) fn new(answer: reqwest::Response, about: About) -> Self {
        Self {
            exchange: Box::new(Exchange { answer, about }),
        }
    }

    pub(super) fn about(&self) -> &About {
        &self.exchange.about
    }

    /// What this answer's words are quoted with: servers repeat the token or the signed URL that they refuse.
    #[must_use]
    pub fn quoter(&self) -> Quoter {
        let mut secrets: Vec<Secret> = self.url().query().map(Secret::from).into_iter().collect();
        match &self.exchange.about.authorization {
            Authorization::Token(token) => secrets.extend(token.secrets()),
            Authorization::Signed(signed) => secrets.extend(signed.secrets()),
            _ => {}
        }
        secrets.extend(self.exchange.about.extra.iter().cloned());
        Quoter { secrets }
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.exchange.answer.status()
    }

    /// The request's method.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.exchange.about.method
    }

    /// The URL that answered: after redirects, the last one. A relative Content-Location or Location is relative to it.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.exchange.about.url
    }

    /// Whether the request carried a token or a signature; after redirects, the last one.
    #[must_use]
    pub fn had_token(&self) -> bool {
        matches!(
            self.exchange.about.authorization,
            Authorization::Token(_) | Authorization::Signed(_)
        )
    }

    /// A header's first value, where it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.exchange.answer.headers().get(name)?.to_str().ok()
    }

    /// What a header says in words, as a message may hold it: its first `most` characters.
    #[must_use]
    pub fn words_of(&self, name: &str, most: usize) -> Option<String> {
        let words = self.quoter().quote(self.header(name)?);
        Some(words.chars().take(most).collect())
    }

    /// The URL that answered, as messages and logs show it.
    pub(super) fn shown_url(&self) -> String {
        self.about().shown(self.url())
    }

    /// The beginning of a sentence about this answer: `GET https://h/$export?_type=… answered 404 Not Found`, with the name
    /// that the server gave the request, if it did: ` (X-Request-Id: abc)`.
    #[must_use]
    pub fn described(&self) -> String {
        format!(
            "{} {} answered {}{}",
            self.exchange.about.method,
            self.shown_url(),
            self.status(),
            self.name_at_server()
        )
    }

    /// How long the server asks to be left alone (RFC 9110, section 10.2.3): seconds, or a date, which is taken against
    /// the answer's own `Date` where it has one, so that two clocks need not agree.
    ///
    /// Zero for zero and for a date in the past: the caller has a least wait of its own. `None` for anything negative or
    /// unreadable. A year is a year: the caller has a bound (`RETRY_AFTER_MAX`). What no clock can add is a century.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        retry_after(
            self.header(RETRY_AFTER.as_str())?,
            self.header(DATE.as_str()),
            SystemTime::now(),
        )
    }

    /// Until when the answer says that what it tells of is there (RFC 9111, section 5.3), by this machine's clock. `None`
    /// where it says nothing, or nothing that can be meant.
    #[must_use]
    pub fn expires(&self) -> Option<Timestamp> {
        expires(
            self.header(EXPIRES.as_str())?,
            self.header(DATE.as_str()),
            self.header(CACHE_CONTROL.as_str()),
            SystemTime::now(),
        )
    }

    /// The length of the body as the header says it, in bytes as they are sent.
    #[must_use]
    pub fn content_length(&self) -> Option<u64> {
        self.header(CONTENT_LENGTH.as_str())?.trim().parse().ok()
    }

    /// The whole body, at most `limit` bytes.
    ///
    /// Errors: unavailable where the body breaks off or stalls; failed ([`Side::failed`]) where it is longer.
    pub async fn bytes_limited(self, limit: usize) -> Result<Vec<u8>> {
        let described = self.described();
        let failed = self.exchange.about.side.failed();
        let (bytes, whole) = match self.content_length() {
            Some(length) if length > limit as u64 => (Vec::new(), false),
            _ => self.up_to(limit).await?,
        };
        if whole {
            Ok(bytes)
        } else {
            Err(failed.error(format!(
                "{described} with more than the {limit} bytes that such an answer may have"
            )))
        }
    }

    /// The body, at most `limit` bytes, as JSON.
    ///
    /// Errors: as [`Response::bytes_limited`]; failed ([`Side::failed`]) where it is not JSON.
    pub async fn json(self, limit: usize) -> Result<Value> {
        let described = self.described();
        let failed = self.exchange.about.side.failed();
        let kind = self
            .header(CONTENT_TYPE.as_str())
            .unwrap_or_default()
            .to_owned();
        let bytes = self.bytes_limited(limit).await?;
        let bare = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        serde_json::from_slice(bare).map_err(|error| {
            let found = if is_html(&kind, bare) {
                "an HTML page instead of JSON".to_owned()
            } else if bare.is_empty() {
                "nothing instead of JSON".to_owned()
            } else {
                // The parser's own words never quote the text, which may be a resource.
                format!(
                    "something that is not JSON (line {}, column {})",
                    error.line(),
                    error.column()
                )
            };
            failed.error(format!("{described} with {found}"))
        })
    }

    /// The body as it arrives, undecoded.
    #[must_use]
    pub fn into_body(self) -> Body {
        let promised = self.content_length();
        Body::new(self.exchange, promised)
    }

    /// The body's first `limit` bytes, and whether that is all of it.
    pub(super) async fn up_to(self, limit: usize) -> Result<(Vec<u8>, bool)> {
        let mut body = self.into_body();
        let mut bytes = Vec::new();
        while let Some(chunk) = body.chunk().await {
            let chunk = chunk?;
            let room = limit - bytes.len();
            bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() > room {
                return Ok((bytes, false));
            }
        }
        Ok((bytes, true))
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Response({})", self.described())
    }
}

/// Whether a body is a page for people, by its type or its beginning.
pub(super) fn is_html(content_type: &str, body: &[u8]) -> bool {
    let begins = |with: &[u8]| {
        let body = body.trim_ascii_start();
        body.get(..with.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(with))
    };
    content_type.to_ascii_lowercase().contains("html")
        || begins(b"<!doctype html")
        || begins(b"<html")
}

/// What counts for any longer wait: more than anybody bears, and so little that every clock can add it.
const LONGEST_WAIT: Duration = Duration::from_hours(100 * 365 * 24);

/// What a `Retry-After` says, against the answer's own `Date` where it has one.
pub(crate) fn retry_after(text: &str, date: Option<&str>, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    // Words such as `inf` are numbers to the parser, and to nobody else.
    if text.contains(|c: char| c.is_ascii_digit())
        && let Ok(seconds) = text.parse::<f64>()
    {
        if seconds < 0.0 {
            return None;
        }
        // Fractions are no standard, but some servers send them.
        let wait = Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST_WAIT);
        return Some(wait.min(LONGEST_WAIT));
    }
    let until = httpdate::parse_http_date(text).ok()?;
    let from = date
        .and_then(|date| httpdate::parse_http_date(date).ok())
        .unwrap_or(now);
    Some(
        until
            .duration_since(from)
            .unwrap_or_default()
            .min(LONGEST_WAIT),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_and_never_negative() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let wait = |text: &str| retry_after(text, None, now).map(|wait| wait.as_secs());
        assert_eq!(wait("120"), Some(120));
        assert_eq!(wait(" 1.0 "), Some(1));
        assert_eq!(wait("0"), Some(0));
        assert_eq!(wait("31536000"), Some(31_536_000));
        assert_eq!(wait("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
        assert_eq!(wait("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0));
        for text in [
            "-1",
            "",
            "soon",
            "NaN",
            "inf",
            "infinity",
            "-1e400",
            "2024-01-01T00:00:00Z",
        ] {
            assert_eq!(wait(text), None, "{text}");
        }
        // Longer than anybody waits, whatever the number.
        let most = Some(LONGEST_WAIT.as_secs());
        for text in [
            "18446744073709551616",
            "99999999999999999999999999",
            "1e300",
            "1e400",
        ] {
            assert_eq!(wait(text), most, "{text}");
        }
        assert_eq!(wait("1e18"), most, "no clock adds as much");
    }

    #[test]
    fn a_retry_after_date_is_taken_against_the_servers_own_clock() {
        let date = Some("Sun, 06 Nov 1994 08:50:00 GMT");
        let wait = retry_after("Sun, 06 Nov 1994 08:50:30 GMT", date, SystemTime::now());
        assert_eq!(wait, Some(Duration::from_secs(30)));
    }

    #[test]
    fn a_page_for_people_is_known_by_its_type_or_beginning() {
        assert!(is_html("text/HTML; charset=utf-8", b""));
        assert!(is_html("", b"\n <!DOCTYPE html><html>"));
        assert!(is_html("application/json", b"<HTML>"));
        assert!(!is_html("application/json", b"{\"a\":\"<html>\"}"));
    }
}
