//! A manifest that comes in pages, and one that is asked for again.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use url::Url;

use super::status::{Answer, STATUS, Status, ask, no_json, within_manifest};
use super::told::{Intake, Room, Text, Told};
use crate::error::{Kind, Result};
use crate::http::{self, Client, Plain, Response, shown};
use crate::manifest::{Manifest, Pages};
use crate::progress::Page;

/// How many pages a manifest may have.
pub(super) const PAGES: usize = 10_000;

/// How often it is said that there are more pages.
const BETWEEN_WORDS: Duration = Duration::from_secs(10);

/// The whole of a manifest whose first page was found at `base`. Its later pages may not be there yet.
pub(super) async fn all_pages(
    client: &Client,
    endpoint: &Url,
    first: Told,
    base: Url,
    room: Option<&Room<'_>>,
) -> Result<Status> {
    let mut intake = Intake::new(Some(&base), room);
    let mut pages = Pages::default();
    let mut trail = Trail::from(&base);
    // A first page that is not held is asked for once more: before its end nobody knew that it was one of several.
    let mut held = match first.text {
        Text::Held(text) => Some(text),
        Text::OnItsWay(_) | Text::Gone => None,
    };
    let mut url = base.clone();
    loop {
        let chunks = match held.take() {
            Some(text) => stream::iter([Ok(text)]).boxed(),
            None => match ask(client, endpoint, &url).await? {
                Answer::Complete(response) => {
                    url = response.url().clone();
                    chunks(response)
                }
                Answer::Absent(response) => return Err(http::failure(response, STATUS).await),
                Answer::InProgress(goes_on, _) => return Ok(Status::InProgress(goes_on)),
            },
        };
        let at = format!("GET {}", shown(&url));
        let added = add(pages, chunks, &url, &mut intake).await;
        let (with, next) = added.map_err(|error| within_manifest(error, &at))?;
        pages = with;
        let Some(next) = next else { break };
        trail.step(&next)?;
        url = http::status_url_for_polling(endpoint, &next);
    }
    let counts = pages.counts().to_vec();
    intake.take(pages.rest()).await?;
    let mut told = intake.end().await.map_err(|(_, error)| error)?;
    tracing::debug!(pages = counts.len(), "manifest");
    told.pages = counts
        .into_iter()
        .map(|[outputs, deleted, errors]| Page {
            transaction_time: told.head.transaction_time.clone(),
            outputs,
            deleted,
            errors,
        })
        .collect();
    Ok(Status::Complete(Box::new(told)))
}

/// Adds a page to the others, and what it adds to the whole to that.
async fn add(
    pages: Pages,
    chunks: BoxStream<'static, Result<Bytes>>,
    base: &Url,
    intake: &mut Intake<'_>,
) -> Result<(Pages, Option<Url>)> {
    let (reading, mut pieces) = pages.add(chunks, base, no_json);
    let keeping = async {
        while let Some(piece) = pieces.recv().await {
            if !intake.take(piece).await? {
                break;
            }
        }
        Ok(())
    };
    let (read, ()) = tokio::try_join!(reading, keeping)?;
    Ok(read)
}

/// The pages that were read, so that none is read twice.
struct Trail {
    pages: HashSet<Url>,
    /// When it was last said how many they are.
    said: Instant,
}

impl Trail {
    fn from(first: &Url) -> Self {
        Self {
            pages: HashSet::from([first.clone()]),
            said: Instant::now(),
        }
    }

    fn step(&mut self, next: &Url) -> Result<()> {
        if self.said.elapsed() >= BETWEEN_WORDS {
            self.said = Instant::now();
            let pages = self.pages.len();
            tracing::info!(target: "pathling_import_core::news", pages, "the manifest has many pages, and goes on");
        }
        if !self.pages.insert(next.clone()) {
            return Err(Kind::Manifest
                .error(format!("the manifest's pages lead in a circle, to {} again", shown(next)))
                .next("Report it to whoever runs the source: the last page must have no link to a next one."));
        }
        if self.pages.len() > PAGES {
            return Err(Kind::Manifest
                .error(format!("the manifest has more than {PAGES} pages"))
                .next("Export fewer types at a time, by TYPES."));
        }
        Ok(())
    }
}

/// Asks for the manifest of an export that was complete before. [`Kind::SourceUnavailable`] where it is not to be had just
/// now, with the time that the source asks for.
///
/// It is read as it arrives, page after page, and only its compact form is held.
pub async fn manifest_again(client: &Client, endpoint: &Url, status_url: &Url) -> Result<Manifest> {
    let manifest = page_again(client, endpoint, status_url).await?;
    let first = http::status_url_for_polling(endpoint, status_url);
    with_further_pages(client, endpoint, manifest, first).await
}

/// A manifest whose first page was found at `first`, with those that follow.
pub(super) async fn with_further_pages(
    client: &Client,
    endpoint: &Url,
    mut manifest: Manifest,
    first: Url,
) -> Result<Manifest> {
    let mut trail = Trail::from(&first);
    while let Some(next) = manifest.head.next.clone() {
        trail.step(&next)?;
        manifest.join(&page_again(client, endpoint, &next).await?)?;
    }
    Ok(manifest)
}

async fn page_again(client: &Client, endpoint: &Url, url: &Url) -> Result<Manifest> {
    let mut base = http::status_url_for_polling(endpoint, url);
    let response = match ask(client, endpoint, url).await? {
        Answer::Complete(response) => response,
        Answer::Absent(response) => return Err(http::failure(response, STATUS).await),
        Answer::InProgress(goes_on, _) => {
            let progress = goes_on.progress;
            let says = progress.unwrap_or_else(|| "the export is in progress".to_owned());
            let error = Kind::SourceUnavailable.error(format!("GET {}: {says}", shown(&base)));
            return Err(error.retry_after(goes_on.retry_after).throttle());
        }
    };
    base.clone_from(response.url());
    Manifest::of_stream(chunks(response), Some(&base), no_json)
        .await
        .map_err(|error| within_manifest(error, &format!("GET {}", shown(&base))))
}

/// The body of an answer as it arrives.
pub(super) fn chunks(response: Response) -> BoxStream<'static, Result<Bytes>> {
    let chunks = stream::unfold(Plain::of(response), |mut body| async {
        let chunk = body.chunk().await?;
        Some((chunk, body))
    });
    chunks.boxed()
}
