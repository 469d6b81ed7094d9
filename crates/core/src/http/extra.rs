//! Headers that the operator wants on every request to a server and to the origins that are trusted like it.
//!
//! They are decided about at each exchange, and so at each hop of a redirect. Their values are secrets like a token's.

use reqwest::header::{HeaderMap, HeaderName};
use url::Url;

use super::address::carries_secrets;
use super::transport::sensitive;
use crate::config::{Header, Origin, Secret};

/// The headers, and where they may go.
pub(super) struct Extra {
    headers: HeaderMap,
    values: Vec<Secret>,
    trusted: Vec<Origin>,
    allow_plaintext: bool,
}

impl Extra {
    /// `headers` for these origins. What no header can hold is left out: reading the settings has refused it.
    pub(super) fn new(headers: &[Header], trusted: Vec<Origin>, allow_plaintext: bool) -> Self {
        let mut map = HeaderMap::new();
        for header in headers {
            let name = HeaderName::try_from(header.name.as_str());
            if let (Ok(name), Some(value)) = (name, sensitive(header.value.reveal())) {
                map.insert(name, value);
            }
        }
        Self {
            headers: map,
            values: headers.iter().map(|header| header.value.clone()).collect(),
            trusted,
            allow_plaintext,
        }
    }

    /// What goes along to `url`.
    pub(super) fn headers_for(&self, url: &Url) -> HeaderMap {
        if self.may_go_to(url) {
            self.headers.clone()
        } else {
            HeaderMap::new()
        }
    }

    /// What no message may repeat of an answer from `url`.
    pub(super) fn secrets_of(&self, url: &Url) -> Vec<Secret> {
        if self.may_go_to(url) {
            self.values.clone()
        } else {
            Vec::new()
        }
    }

    fn may_go_to(&self, url: &Url) -> bool {
        !self.values.is_empty()
            && self.trusted.contains(&Origin::from(url))
            && carries_secrets(url, self.allow_plaintext)
    }
}
