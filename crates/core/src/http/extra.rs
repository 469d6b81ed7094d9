//! Headers that go with every request to a server and to the origins that are trusted like it: those that the operator wants,
//! and the run's name among requests.
//!
//! They are decided about at each exchange, and so at each hop of a redirect. The values of the
//! operator's are secrets like a token's, and win over ours.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use super::address::carries_secrets;
use super::request_id::{HEADER, RequestId};
use super::transport::sensitive;
use crate::config::{Header, Origin, Secret};

/// The headers, and where they may go.
pub(super) struct Extra {
    headers: HeaderMap,
    values: Vec<Secret>,
    trusted: Vec<Origin>,
    allow_plaintext: bool,
    id: RequestId,
}

impl Extra {
    /// `headers` for these origins. What no header can hold is left out: reading the settings has refused it.
    pub(super) fn new(
        headers: &[Header],
        trusted: Vec<Origin>,
        allow_plaintext: bool,
        id: RequestId,
    ) -> Self {
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
            id,
        }
    }

    /// What goes along to `url`.
    pub(super) fn headers_for(&self, url: &Url) -> HeaderMap {
        let mut headers = HeaderMap::new();
        // Nobody else's business, and some stores refuse a signed URL that comes with more than was signed.
        if self.is_for(url)
            && let Some(id) = self.id.header()
        {
            headers.insert(HEADER, id);
        }
        if self.may_go_to(url) {
            for (name, value) in &self.headers {
                headers.insert(name.clone(), value.clone());
            }
        }
        headers
    }

    /// The name among requests, where nothing that goes along to `url` says it: a token endpoint elsewhere hears it too.
    pub(super) fn id_for(&self, url: &Url) -> Option<HeaderValue> {
        if self.headers_for(url).contains_key(HEADER) {
            return None;
        }
        self.id.header()
    }

    /// What no message may repeat of an answer from `url`.
    pub(super) fn secrets_of(&self, url: &Url) -> Vec<Secret> {
        if self.may_go_to(url) {
            self.values.clone()
        } else {
            Vec::new()
        }
    }

    /// Whether a URL is the server's own, or of an origin that is trusted like it.
    pub(super) fn is_for(&self, url: &Url) -> bool {
        self.trusted.contains(&Origin::from(url))
    }

    fn may_go_to(&self, url: &Url) -> bool {
        !self.values.is_empty() && self.is_for(url) && carries_secrets(url, self.allow_plaintext)
    }
}
