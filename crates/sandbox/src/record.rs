//! The record of every request, and of every credential that went where it must not.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderMap;
use serde::Serialize;
use serde_json::Value;

use crate::credentials::{self, Known};
use crate::leaks::{Rules, sentence};

/// The largest body that is kept in the record, and looked through.
pub(crate) const BODY_KEPT: usize = 256 << 10;

/// The sandbox's listeners, each an origin of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Service {
    /// The Bulk Data source.
    Source,
    /// The token endpoint of both source and target.
    Token,
    /// Another origin that may hold the source's files.
    Files,
    /// The object store.
    S3,
    /// Pathling.
    Target,
    /// What keeps secrets at AWS.
    Secrets,
}

impl Service {
    /// All of them.
    pub(crate) const ALL: [Self; 6] = [
        Self::Source,
        Self::Token,
        Self::Files,
        Self::S3,
        Self::Target,
        Self::Secrets,
    ];
}

impl fmt::Display for Service {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Source => "source",
            Self::Token => "token endpoint",
            Self::Files => "files origin",
            Self::S3 => "S3",
            Self::Target => "target",
            Self::Secrets => "secrets' keeper",
        })
    }
}

/// How a credential was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CredentialKind {
    /// `Authorization: Bearer`.
    Bearer,
    /// `Authorization: Basic`.
    Basic,
    /// An AWS signature in `Authorization`.
    Aws,
    /// `Authorization` of any other scheme.
    Other,
    /// A token or secret in a query, a body or another header.
    Embedded,
    /// A signed assertion anywhere but at the token endpoint, where it belongs and is not noted.
    Assertion,
}

/// A credential that a request carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Credential {
    /// How it was sent.
    pub kind: CredentialKind,
    /// Whether it is an access token (else a client's secret or a signature).
    pub token: bool,
    /// Whose it is: the source's or the target's client, or S3's; None when the sandbox never gave it out.
    pub owner: Option<Service>,
}

/// One request that arrived.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recorded {
    /// The listener it arrived at.
    pub service: Service,
    /// How long after the sandbox's start it arrived.
    pub at: Duration,
    /// The method.
    pub method: String,
    /// The path with percent-encoding undone.
    pub path: String,
    /// The query as it was sent, without the question mark.
    pub query: String,
    /// Every credential it carried.
    pub credentials: Vec<Credential>,
    /// Who the client's certificate says that it is, where one was shown.
    pub certificate: Option<String>,
    /// The header `Accept`.
    pub accept: Option<String>,
    /// The header `Prefer`.
    pub prefer: Option<String>,
    /// The header `Content-Type`.
    pub content_type: Option<String>,
    /// Further headers that tests ask about: `host`, `epic-client-id`, `range`, `if-range`, `if-none-match`, `if-match`, `accept-encoding`, `user-agent`,
    /// `x-request-id`, `content-length`, `x-amz-content-sha256`, `x-amz-checksum-crc32`, `x-amz-checksum-crc64nvme`, `x-amz-trailer`.
    pub headers: HashMap<String, String>,
    /// The status it was answered with; None while it waits for an answer, or when it never got one.
    pub status: Option<u16>,
    /// How many bytes of the answer's body were given to the connection; 0 until the answer is over.
    pub sent: u64,
    /// The body where it was small: JSON as it is, other text as a string.
    pub body: Option<Value>,
    /// The credentials that it should not have carried, a sentence each.
    pub leaks: Vec<String>,
}

impl Recorded {
    /// The query parameter's first value, decoded.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<String> {
        url::form_urlencoded::parse(self.query.as_bytes())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }

    /// Whether an access token came with it.
    #[must_use]
    pub fn has_token(&self) -> bool {
        self.credentials.iter().any(|credential| credential.token)
    }
}

/// The record. Shared by all services.
#[derive(Debug)]
pub(crate) struct Log {
    began: Instant,
    /// Whether nothing is recorded, so that a long run costs no memory.
    off: bool,
    rules: Rules,
    /// Every leak since the start, whatever was forgotten meanwhile.
    leaks: Mutex<Vec<String>>,
    /// Whether leaks are meant.
    leaks_expected: AtomicBool,
    requests: Mutex<(u64, Vec<Recorded>)>,
    known: Mutex<HashMap<String, Known>>,
}

/// Where a request stands in the record, to note its status later.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    generation: u64,
    index: usize,
}

impl Log {
    /// A record, or none.
    pub(crate) fn new(on: bool, rules: Rules) -> Self {
        Self {
            began: Instant::now(),
            off: !on,
            rules,
            leaks: Mutex::default(),
            leaks_expected: AtomicBool::default(),
            requests: Mutex::default(),
            known: Mutex::default(),
        }
    }

    /// Makes a token known, so that it is recognised wherever it turns up.
    pub(crate) fn know_token(&self, token: &str, owner: Service) {
        self.know(token, Known { token: true, owner });
    }

    /// Makes a client's secret known.
    pub(crate) fn know_secret(&self, secret: &str, owner: Service) {
        self.know(
            secret,
            Known {
                token: false,
                owner,
            },
        );
    }

    fn know(&self, secret: &str, known: Known) {
        let encoded: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(encoded, known);
        all.insert(secret.to_owned(), known);
    }

    /// Notes a request.
    pub(crate) fn begin(
        &self,
        (service, certificate): (Service, Option<String>),
        method: &str,
        path: &str,
        query: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Entry {
        let text = |name: &str| {
            headers
                .get(name)
                .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let kept = [
            "host",
            "epic-client-id",
            "x-request-id",
            "range",
            "if-none-match",
            "if-match",
            "if-range",
            "accept-encoding",
            "user-agent",
            "content-length",
            "x-amz-content-sha256",
            "x-amz-checksum-crc32",
            "x-amz-checksum-crc64nvme",
            "x-amz-trailer",
        ];
        let mut recorded = Recorded {
            service,
            at: self.began.elapsed(),
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            credentials: credentials::found(
                &self.known.lock().unwrap_or_else(PoisonError::into_inner),
                service,
                query,
                headers,
                body,
            ),
            certificate,
            accept: text("accept"),
            prefer: text("prefer"),
            content_type: text("content-type"),
            headers: kept
                .into_iter()
                .filter_map(|name| Some((name.to_owned(), text(name)?)))
                .collect(),
            status: None,
            sent: 0,
            leaks: Vec::new(),
            body: (!self.off && !body.is_empty() && body.len() <= BODY_KEPT).then(|| {
                serde_json::from_slice(body)
                    .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).into_owned()))
            }),
        };
        recorded.leaks = self.rules.leaks(&recorded, headers);
        self.leaks().extend_from_slice(&recorded.leaks);
        if self.off {
            return Entry {
                generation: u64::MAX,
                index: 0,
            };
        }
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.1.push(recorded);
        Entry {
            generation: requests.0,
            index: requests.1.len() - 1,
        }
    }

    /// Notes what a request was answered with.
    pub(crate) fn end(&self, entry: Entry, status: u16) {
        self.note(entry, |recorded| recorded.status = Some(status));
    }

    /// Notes how many bytes the answer's body had, when it is over.
    pub(crate) fn sent(&self, entry: Entry, bytes: u64) {
        self.note(entry, |recorded| recorded.sent = bytes);
    }

    /// Notes that a request carried what it should not have, as its answer found.
    pub(crate) fn leaked(&self, entry: Entry, what: &str) {
        let mut told = what.to_owned();
        self.note(entry, |recorded| {
            told = sentence(what, recorded);
            recorded.leaks.push(told.clone());
        });
        self.leaks().push(told);
    }

    /// Every leak since the start.
    pub(crate) fn leaks(&self) -> MutexGuard<'_, Vec<String>> {
        self.leaks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaks are meant from now on, and those so far were.
    pub(crate) fn expect_leaks(&self) {
        self.leaks_expected.store(true, Ordering::SeqCst);
    }

    pub(crate) fn expects_leaks(&self) -> bool {
        self.leaks_expected.load(Ordering::SeqCst)
    }

    /// Whether a text holds a secret or a token.
    pub(crate) fn knows_in(&self, text: &str) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.keys().any(|secret| text.contains(secret.as_str()))
    }

    fn note(&self, entry: Entry, what: impl FnOnce(&mut Recorded)) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        if requests.0 == entry.generation
            && let Some(recorded) = requests.1.get_mut(entry.index)
        {
            what(recorded);
        }
    }

    /// All requests so far, in the order of their arrival.
    pub(crate) fn requests(&self) -> Vec<Recorded> {
        self.requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .1
            .clone()
    }

    /// Forgets them.
    pub(crate) fn clear(&self) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.0 += 1;
        requests.1.clear();
    }
}
