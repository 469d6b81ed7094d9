//! Headers that go with every request to a server and to the origins that are trusted like it: those that the operator wants,
//! and the run's name among requests.
//!
//! They are decided about at each exchange, and so at each hop of a redirect. The values of the
//! operator's are secrets like a token's, and win over ours.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use super::address::carries_secrets;
use super::request_id::{HEADER, RequestId};
use super::transport::sensitive;
use super::{Side, secrets};
use crate::config::{Header, Headers, Origin, Reference, Secret};
use crate::error::{Kind, Result};

/// How long headers that are kept elsewhere are believed to be the same. Servers refuse them in many ways, so that no refusal
/// says that they were changed.
const AGE: Duration = Duration::from_mins(5);

/// The headers, and where they may go.
pub(super) struct Extra {
    kept: Option<(Box<Reference>, Side)>,
    wanted: Mutex<Arc<Wanted>>,
    trusted: Vec<Origin>,
    allow_plaintext: bool,
    id: RequestId,
}

/// What the operator wants to go along.
#[derive(Default)]
struct Wanted {
    headers: HeaderMap,
    values: Vec<Secret>,
    /// When they were fetched, where they are kept elsewhere.
    at: Option<Instant>,
}

impl Wanted {
    /// What no header can hold is left out: reading the headers has refused it.
    fn new(headers: &[Header], at: Option<Instant>) -> Self {
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
            at,
        }
    }
}

impl Extra {
    /// `headers` for these origins.
    pub(super) fn new(
        headers: Headers,
        side: Side,
        trusted: Vec<Origin>,
        allow_plaintext: bool,
        id: RequestId,
    ) -> Self {
        let (wanted, kept) = match headers {
            Headers::Given(headers) => (Wanted::new(&headers, None), None),
            Headers::Kept(reference) => (Wanted::default(), Some((reference, side))),
        };
        Self {
            kept,
            wanted: Mutex::new(Arc::new(wanted)),
            trusted,
            allow_plaintext,
            id,
        }
    }

    /// Fetches what goes along to `url`, where it is kept elsewhere and not known, or not lately. To be called before each
    /// exchange.
    ///
    /// Errors: as for any secret that is kept elsewhere; configuration, where what is kept there are no headers.
    pub(super) async fn ready_for(&self, url: &Url) -> Result<()> {
        match &self.kept {
            Some((reference, side)) if self.may_go_to(url) => {
                // Boxed: it is large, and seldom needed.
                let fetch = || Box::pin(secrets::fresh(reference, *side, AGE));
                self.renewed(reference, fetch).await
            }
            _ => Ok(()),
        }
    }

    /// Does so with what `fetch` gives: the text that lies at the reference, and since when it is known.
    async fn renewed<F>(&self, reference: &Reference, fetch: impl FnOnce() -> F) -> Result<()>
    where
        F: Future<Output = Result<(Secret, Instant)>>,
    {
        let is_fresh = |wanted: &Wanted| wanted.at.is_some_and(|at| at.elapsed() < AGE);
        if is_fresh(&self.wanted()) {
            return Ok(());
        }
        let (text, at) = match fetch().await {
            // What was had once is most likely still right, and a keeper that is away for a moment is no reason to stop.
            Err(error) if error.kind().row().retried && self.wanted().at.is_some() => {
                tracing::warn!(
                    error = error.what(),
                    "headers that are kept elsewhere cannot be had anew just now: those that are known are sent"
                );
                return Ok(());
            }
            ended => ended?,
        };
        let headers = Header::read_kept(text.reveal()).map_err(|why| {
            let setting = reference.setting;
            Kind::Configuration
                .error(format!("{setting} names {reference}, which {why}"))
                .next(format!("Correct {setting}, or what is kept there."))
        })?;
        let wanted = Wanted::new(&headers, Some(at));
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(wanted);
        Ok(())
    }

    fn wanted(&self) -> Arc<Wanted> {
        Arc::clone(&self.wanted.lock().unwrap_or_else(PoisonError::into_inner))
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
            for (name, value) in &self.wanted().headers {
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
            self.wanted().values.clone()
        } else {
            Vec::new()
        }
    }

    /// Whether a URL is the server's own, or of an origin that is trusted like it.
    pub(super) fn is_for(&self, url: &Url) -> bool {
        self.trusted.contains(&Origin::from(url))
    }

    fn may_go_to(&self, url: &Url) -> bool {
        self.is_for(url) && carries_secrets(url, self.allow_plaintext)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Keeper;

    fn reference() -> Reference {
        Reference {
            setting: "SOURCE_HEADERS",
            keeper: Keeper::SecretsManager,
            arn: "arn:aws:x".to_owned(),
            partition: "aws",
            region: "eu-central-1".to_owned(),
            member: None,
        }
    }

    /// Headers that are kept elsewhere, for one server.
    fn kept(url: &Url) -> Extra {
        let (headers, trusted) = (
            Headers::Kept(Box::new(reference())),
            vec![Origin::from(url)],
        );
        Extra::new(headers, Side::Source, trusted, true, RequestId::default())
    }

    /// What goes along after something was to be had that is known since so long ago.
    async fn after(extra: &Extra, url: &Url, key: Result<&str>, known: Duration) -> String {
        let at = Instant::now().checked_sub(known).unwrap();
        let text = key.map(|key| (Secret::new(format!("X-Key: {key}")), at));
        let fetch = || std::future::ready(text);
        extra.renewed(&reference(), fetch).await.unwrap();
        let headers = extra.headers_for(url);
        headers["x-key"].to_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn headers_are_fetched_again_after_five_minutes_and_not_before() {
        let url = Url::parse("https://h/fhir").unwrap();
        let extra = kept(&url);
        let minutes = Duration::from_mins;
        assert_eq!(after(&extra, &url, Ok("first"), minutes(4)).await, "first");
        assert_eq!(after(&extra, &url, Ok("other"), minutes(0)).await, "first");
        let extra = kept(&url);
        assert_eq!(after(&extra, &url, Ok("first"), minutes(5)).await, "first");
        assert_eq!(after(&extra, &url, Ok("other"), minutes(0)).await, "other");
    }

    #[tokio::test]
    async fn a_keeper_that_is_away_for_a_moment_changes_nothing_and_is_asked_again() {
        let url = Url::parse("https://h/fhir").unwrap();
        let extra = kept(&url);
        let five = Duration::from_mins(5);
        assert_eq!(after(&extra, &url, Ok("first"), five).await, "first");
        let away = Err(Side::Source.unavailable().error("away"));
        assert_eq!(after(&extra, &url, away, five).await, "first");
        assert_eq!(after(&extra, &url, Ok("other"), five).await, "other");
    }
}
