//! What is told of an answer: the few headers that help whoever looks into it, and the name that the server gave it.

use std::collections::BTreeMap;

use url::Url;

use super::response::Response;
use super::shown::{bounded, shown, shown_str};
use crate::answered::Answered;

/// Headers under which servers and gateways say how their own logs name a request, the most telling first.
const NAMES: &[&str] = &[
    "x-request-id",
    "x-correlation-id",
    "request-id",
    "x-amz-request-id",
    "x-amzn-requestid",
    "x-ms-request-id",
];

/// The longest such name that is repeated, in characters.
const LONGEST_NAME: usize = 100;

/// Other headers that are kept. None of them is a place for secrets; cookies and whatever else there is are left out.
const KEPT: &[&str] = &[
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "etag",
    "expires",
    "last-modified",
    "retry-after",
    "server",
    "x-export-status",
    "x-progress",
];

/// Headers that hold a URL, which is shown as every URL is.
const PLACES: &[&str] = &["content-location", "location"];

impl Response {
    /// What is kept of this answer.
    #[must_use]
    pub fn answered(&self) -> Answered {
        let quoter = self.quoter();
        let mut headers = BTreeMap::new();
        for name in KEPT {
            if let Some(value) = self.header(name) {
                headers.insert((*name).to_owned(), quoter.quote(value));
            }
        }
        for name in PLACES {
            if let Some(value) = self.header(name) {
                let value = Url::parse(value).map_or_else(|_| shown_str(value), |url| shown(&url));
                headers.insert((*name).to_owned(), value);
            }
        }
        for name in NAMES {
            if let Some(value) = self.named_by(name) {
                headers.insert((*name).to_owned(), value);
            }
        }
        Answered {
            status: self.status().as_u16(),
            headers,
        }
    }

    /// How the server's own log names this request, for a sentence about the answer: ` (X-Request-Id: abc)`, or nothing.
    #[must_use]
    pub fn name_at_server(&self) -> String {
        NAMES
            .iter()
            .find_map(|name| Some(format!(" ({}: {})", title(name), self.named_by(name)?)))
            .unwrap_or_default()
    }

    /// The header's value, as far as it may be a name: one word that can be printed.
    fn named_by(&self, header: &str) -> Option<String> {
        let value = self.quoter().quote(self.header(header)?);
        // What is too long was cut.
        let word = value.strip_suffix('…').unwrap_or(&value);
        let is_word = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic());
        is_word.then(|| bounded(word, LONGEST_NAME).into_owned())
    }
}

/// A header's name as people write it.
fn title(name: &str) -> String {
    let words = name.split('-').map(|word| {
        let (first, rest) = word.split_at(word.len().min(1));
        format!("{}{rest}", first.to_uppercase())
    });
    words.collect::<Vec<_>>().join("-")
}
