//! A manifest that comes in pages, and one that is asked for again.

use std::collections::HashSet;

use futures_util::stream;
use url::Url;

use super::status::{Answer, STATUS, Status, Told, ask, no_json, told, within_manifest};
use crate::error::{Kind, Result};
use crate::http::{self, Client, shown};
use crate::manifest::{Head, Manifest, Pages};

/// How many pages a manifest may have.
const PAGES: usize = 10_000;

/// The whole of a manifest whose first page was found at `base`. Its later pages may not be there yet.
pub(super) async fn all_pages(
    client: &Client,
    endpoint: &Url,
    first: Told,
    base: Url,
) -> Result<Status> {
    let Some(mut next) = first.head.next else {
        return Ok(Status::Complete(first));
    };
    let mut pages = Pages::default();
    let mut told_pages = first.pages;
    pages.add(&first.text, &base)?;
    drop(first.text);
    let mut trail = Trail::from(&base);
    loop {
        trail.step(&next)?;
        let url = http::status_url_for_polling(endpoint, &next);
        let page = match ask(client, endpoint, &url).await? {
            Answer::Complete(response) => told(response, &url).await?,
            Answer::Absent(response) => return Err(http::failure(response, STATUS).await),
            Answer::InProgress {
                progress,
                retry_after,
                known,
            } => {
                return Ok(Status::InProgress {
                    progress,
                    retry_after,
                    known,
                });
            }
        };
        pages.add(&page.text, &url)?;
        told_pages.extend(page.pages);
        match page.head.next {
            Some(further) => next = further,
            None => break,
        }
    }
    let text = pages.text()?;
    let head = Head::of_text(&text, Some(&base), no_json)?;
    tracing::debug!(pages = trail.0.len(), "manifest");
    Ok(Status::Complete(Told {
        text,
        head,
        pages: told_pages,
    }))
}

/// The pages that were read, so that none is read twice.
struct Trail(HashSet<Url>);

impl Trail {
    fn from(first: &Url) -> Self {
        Self(HashSet::from([first.clone()]))
    }

    fn step(&mut self, next: &Url) -> Result<()> {
        if !self.0.insert(next.clone()) {
            return Err(Kind::Manifest
                .error(format!("the manifest's pages lead in a circle, to {} again", shown(next)))
                .next("Report it to whoever runs the source: the last page must have no link to a next one."));
        }
        if self.0.len() > PAGES {
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
    let mut manifest = page_again(client, endpoint, status_url).await?;
    let mut trail = Trail::from(&http::status_url_for_polling(endpoint, status_url));
    while let Some(next) = manifest.head.next.clone() {
        trail.step(&next)?;
        manifest.join(&page_again(client, endpoint, &next).await?)?;
    }
    Ok(manifest)
}

async fn page_again(client: &Client, endpoint: &Url, url: &Url) -> Result<Manifest> {
    let base = http::status_url_for_polling(endpoint, url);
    let response = match ask(client, endpoint, url).await? {
        Answer::Complete(response) => response,
        Answer::Absent(response) => return Err(http::failure(response, STATUS).await),
        Answer::InProgress {
            progress,
            retry_after,
            ..
        } => {
            let says = progress.unwrap_or_else(|| "the export is in progress".to_owned());
            let error = Kind::SourceUnavailable.error(format!("GET {}: {says}", shown(&base)));
            return Err(error.retry_after(retry_after).throttle());
        }
    };
    let chunks = stream::unfold(response.into_body(), |mut body| async {
        let chunk = body.chunk().await?;
        Some((chunk, body))
    });
    Manifest::of_stream(chunks, Some(&base), no_json)
        .await
        .map_err(|error| within_manifest(error, &format!("GET {}", shown(&base))))
}
