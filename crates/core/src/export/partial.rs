//! The manifest of an export that goes on, as far as the source tells it (Bulk Data Access IG 3, "Response - In-Progress
//! Status").
//!
//! A page that was told stays as it is, but for a link to a further one. So of the pages that are known only the last is
//! asked for again. Nothing depends on what is read here: the whole manifest is read when it is complete.

use std::collections::HashSet;

use url::Url;

use super::pages::{PAGES, chunks};
use super::status::{Answer, ask, no_json};
use crate::error::Result;
use crate::http::{self, Client, Response};
use crate::manifest::Manifest;

/// The pages that are known so far.
#[derive(Debug, Default)]
pub struct Partial {
    /// The pages before the last, as one.
    before: Option<Manifest>,
    last: Option<(Url, Manifest)>,
    trail: HashSet<Url>,
    /// How many outputs were given away.
    given: usize,
    /// How many files of errors were named, at least.
    errors: usize,
}

impl Partial {
    /// Reads what the answer of `url`, the status URL, holds, and what it leads to. What is no manifest is none.
    pub(super) async fn read(
        &mut self,
        client: &Client,
        endpoint: &Url,
        response: Response,
        url: Url,
    ) {
        if let Err(error) = self.go_on(client, endpoint, response, url).await {
            tracing::debug!(
                error = error.what(),
                "the answer that the export goes on has no manifest, or not all of one could be read"
            );
        }
    }

    async fn go_on(
        &mut self,
        client: &Client,
        endpoint: &Url,
        response: Response,
        status_url: Url,
    ) -> Result<()> {
        let (mut url, mut response) = (status_url, response);
        if let Some((last, _)) = &self.last
            && *last != url
        {
            let last = last.clone();
            drop(response);
            let Some(again) = page(client, endpoint, &last).await? else {
                return Ok(());
            };
            (url, response) = (last, again);
        }
        loop {
            let manifest = Manifest::of_stream(chunks(response), Some(&url), no_json).await?;
            let next = manifest.head.next.clone();
            let before = self.before.as_ref().map_or(0, |it| it.head.errors);
            // Of those that every page may repeat, the sum would count some twice.
            self.errors = self.errors.max(before).max(manifest.head.errors);
            self.trail.insert(url.clone());
            self.last = Some((url, manifest));
            let Some(next) = next else { return Ok(()) };
            let next = http::status_url_for_polling(endpoint, &next);
            if self.trail.contains(&next) || self.trail.len() >= PAGES {
                return Ok(());
            }
            let Some(further) = page(client, endpoint, &next).await? else {
                return Ok(());
            };
            self.turn_page()?;
            (url, response) = (next, further);
        }
    }

    /// The last page is no longer the last.
    fn turn_page(&mut self) -> Result<()> {
        let Some((_, last)) = self.last.take() else {
            return Ok(());
        };
        let Some(before) = &mut self.before else {
            self.before = Some(last);
            return Ok(());
        };
        let joined = before.join(&last);
        if joined.is_err() {
            *self = Self {
                given: self.given,
                errors: self.errors,
                ..Self::default()
            };
        }
        joined
    }

    /// How many files of errors were told of, at least.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.errors
    }

    /// All files that are known so far, if they are more than when they were given away last.
    pub fn news(&mut self) -> Option<Manifest> {
        let (_, last) = self.last.as_ref()?;
        let before = self.before.as_ref().map_or(0, Manifest::len);
        if before + last.len() <= self.given {
            return None;
        }
        let manifest = match &self.before {
            None => last.clone(),
            Some(before) => {
                let mut all = before.clone();
                all.join(last).ok()?;
                all
            }
        };
        self.given = manifest.len();
        Some(manifest)
    }
}

/// A page that is there; whether the export is complete says nothing of that.
async fn page(client: &Client, endpoint: &Url, url: &Url) -> Result<Option<Response>> {
    Ok(match ask(client, endpoint, url).await? {
        Answer::Complete(response) | Answer::InProgress(_, Some(response)) => Some(response),
        Answer::InProgress(_, None) | Answer::Absent(_) => None,
    })
}
