//! The export at the source: kick-off and status (Bulk Data Access IG, "Bulk Data Kick-off Request" and "Bulk Data
//! Status Request"). What comes back is told as it is; what it means for the run is for the steps to say.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use url::Url;

use crate::error::{Error, Kind, Result};
use crate::http::{self, Client, OperationOutcome, Request, Response, TokenUse, shown};
use crate::manifest::{self, Head, Manifest, Pages};

/// How many pages a manifest may have.
const PAGES: usize = 10_000;

const FHIR_JSON: &str = "application/fhir+json";

/// The largest answer that is looked through for an `OperationOutcome`, in bytes.
const OUTCOME_LIMIT: usize = 1 << 20;

/// What is asked of the source.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The types; empty means all.
    pub types: Vec<String>,
    /// Only what changed after this instant, in UTC.
    pub since: Option<String>,
}

/// An accepted kick-off.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// Where the export's status can be asked for, absolute.
    pub status_url: Url,
    /// The answer's `Date`, as it was written.
    pub date: Option<String>,
}

/// What a status request tells.
#[derive(Clone, Debug)]
pub enum Status {
    /// The job goes on.
    InProgress {
        /// `X-Progress` as it is, or why the server wants to be asked later.
        progress: Option<String>,
        /// When the server wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// The job is done, and this is its manifest.
    Complete(Told),
}

/// A manifest as the source told it.
#[derive(Clone, Debug)]
pub struct Told {
    /// Its text, byte for byte.
    pub text: Bytes,
    /// What it says; all of it was checked.
    pub head: Head,
}

/// How a status request was answered.
enum Answer {
    InProgress {
        progress: Option<String>,
        retry_after: Option<Duration>,
    },
    /// With 200 and a body that should be the manifest.
    Complete(Response),
}

/// The URL of the kick-off at `endpoint`.
#[must_use]
pub fn kick_off_url(endpoint: &Url, wanted: &Wanted) -> Url {
    let mut url = http::below(endpoint, "$export");
    // Form encoding writes a plus as %2B, which some servers insist on.
    let mut query = url.query_pairs_mut();
    query.append_pair("_outputFormat", "application/fhir+ndjson");
    if let Some(since) = &wanted.since {
        query.append_pair("_since", since);
    }
    if !wanted.types.is_empty() {
        query.append_pair("_type", &wanted.types.join(","));
    }
    drop(query);
    url
}

/// Asks the source for an export.
///
/// Expects 202 with a Content-Location. Gives [`Kind::ExportFailed`], [`Kind::SourceUnavailable`] or
/// [`Kind::Authentication`] as the table of errors says.
pub async fn kick_off(client: &Client, endpoint: &Url, wanted: &Wanted) -> Result<Accepted> {
    let url = kick_off_url(endpoint, wanted);
    let request = Request::get(url.clone())
        .accept(FHIR_JSON)
        .header("prefer", "respond-async");
    let response = client.send(request.token(TokenUse::WhereTrusted)).await?;
    let status = response.status();
    if status.as_u16() != 202 {
        if status.is_success() {
            return Err(Kind::ExportFailed
                .error(format!("GET {} answered {status} instead of 202 Accepted", shown(&url)))
                .next("Check that SOURCE_ENDPOINT is the base URL of a FHIR server that supports the Bulk Data $export operation."));
        }
        let error = http::failure(response, "the kick-off of the export").await;
        return Err(if matches!(status.as_u16(), 404 | 405) {
            error.next("Check SOURCE_ENDPOINT, and that the source supports the Bulk Data $export operation.")
        } else {
            error
        });
    }
    let location = response.header("content-location").map(str::to_owned);
    let date = response.header("date").map(str::to_owned);
    let Some(location) = location.filter(|location| !location.is_empty()) else {
        return Err(Kind::ExportFailed
            .error(format!("GET {} answered 202 without a Content-Location, so its status cannot be asked for", shown(&url)))
            .next("Report it to whoever runs the source: its answer breaks the Bulk Data specification."));
    };
    let status_url = response
        .url()
        .join(&location)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"));
    let Some(status_url) = status_url else {
        return Err(Kind::ExportFailed
            .error(format!("GET {} answered 202 with a Content-Location that is no http URL", shown(&url)))
            .next("Report it to whoever runs the source: its answer breaks the Bulk Data specification."));
    };
    Ok(Accepted { status_url, date })
}

/// Asks how the export of `status_url` goes.
pub async fn status(client: &Client, endpoint: &Url, status_url: &Url) -> Result<Status> {
    match ask(client, endpoint, status_url).await? {
        Answer::InProgress {
            progress,
            retry_after,
        } => Ok(Status::InProgress {
            progress,
            retry_after,
        }),
        Answer::Complete(response) => {
            let url = http::status_url_for_polling(endpoint, status_url);
            let first = told(response, &url).await?;
            all_pages(client, endpoint, first, url).await
        }
    }
}

/// The whole of a manifest whose first page was found at `base`. Its later pages may not be there yet.
async fn all_pages(client: &Client, endpoint: &Url, first: Told, base: Url) -> Result<Status> {
    let Some(mut next) = first.head.next else {
        return Ok(Status::Complete(first));
    };
    let mut pages = Pages::default();
    pages.add(&first.text, &base)?;
    drop(first.text);
    let mut trail = Trail::from(&base);
    loop {
        trail.step(&next)?;
        let url = http::status_url_for_polling(endpoint, &next);
        let page = match ask(client, endpoint, &url).await? {
            Answer::Complete(response) => told(response, &url).await?,
            Answer::InProgress {
                progress,
                retry_after,
            } => {
                return Ok(Status::InProgress {
                    progress,
                    retry_after,
                });
            }
        };
        pages.add(&page.text, &url)?;
        match page.head.next {
            Some(further) => next = further,
            None => break,
        }
    }
    let text = pages.text()?;
    let head = Head::of_text(&text, Some(&base), no_json)?;
    tracing::debug!(pages = trail.0.len(), "manifest");
    Ok(Status::Complete(Told { text, head }))
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
        Answer::InProgress {
            progress,
            retry_after,
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

async fn ask(client: &Client, endpoint: &Url, status_url: &Url) -> Result<Answer> {
    let url = http::status_url_for_polling(endpoint, status_url);
    let request = Request::get(url.clone()).accept("application/json, application/fhir+json;q=0.9");
    let response = client.send(request.token(TokenUse::WhereTrusted)).await?;
    let retry_after = response.retry_after();
    match response.status().as_u16() {
        200 => Ok(Answer::Complete(response)),
        202 => Ok(Answer::InProgress {
            progress: response.header("x-progress").map(bounded),
            retry_after,
        }),
        code @ (429 | 503) => {
            let progress = Some(format!("the source answered {code}"));
            Ok(Answer::InProgress {
                progress,
                retry_after,
            })
        }
        code if (200..300).contains(&code) => Err(Kind::ExportFailed.error(format!(
            "GET {} answered {code}, which is no answer of a status request",
            shown(&url)
        ))),
        _ => Err(http::failure(response, "the status of the export").await),
    }
}

/// The whole text of a manifest, checked. Its files are not kept beside it.
async fn told(response: Response, base: &Url) -> Result<Told> {
    let quoter = response.quoter();
    let at = response.described();
    let text = whole(response)
        .await
        .map_err(|error| within_manifest(error, &at))?;
    let base = base.clone();
    let checking = tokio::task::spawn_blocking(move || {
        let other = if text.trim_ascii_start().starts_with(b"<") {
            no_page
        } else {
            no_json
        };
        let head = Head::of_text(&text, Some(&base), other);
        (text, head)
    });
    let (text, head) = checking.await.map_err(|stopped| {
        Kind::SourceUnavailable.error(format!("{at}: the manifest was not read: {stopped}"))
    })?;
    let error = match head {
        Ok(head) => return Ok(Told { text, head }),
        Err(error) => error,
    };
    if text.len() <= OUTCOME_LIMIT
        && let Ok(value) = serde_json::from_slice(manifest::without_mark(&text))
        && let Some(outcome) = OperationOutcome::from_value(&value)
    {
        let says = quoter.quote(&outcome.text());
        return Err(Kind::Manifest.error(format!(
            "{at} with an OperationOutcome instead of a manifest: {says}"
        )));
    }
    Err(within_manifest(error, &at))
}

/// The text of a body, in one piece and no more memory than it has bytes.
async fn whole(response: Response) -> Result<Bytes> {
    let promised = response.content_length().unwrap_or_default();
    let promised = usize::try_from(promised).unwrap_or(usize::MAX);
    if promised > manifest::LIMIT {
        return Err(manifest::too_large());
    }
    let mut body = response.into_body();
    let mut text = Vec::with_capacity(promised);
    while let Some(chunk) = body.chunk().await {
        let chunk = chunk?;
        if text.len() + chunk.len() > manifest::LIMIT {
            return Err(manifest::too_large());
        }
        text.extend_from_slice(&chunk);
    }
    Ok(text.into())
}

/// What is wrong with a manifest, with where it was; other errors say that themselves.
fn within_manifest(error: Error, at: &str) -> Error {
    if error.kind() == Kind::Manifest {
        error.within(at)
    } else {
        error
    }
}

fn no_json() -> Error {
    Kind::Manifest.error("the answer is something else than JSON")
}

fn no_page() -> Error {
    Kind::Manifest.error("the answer is an HTML page, something else than JSON")
}

/// Reads a status URL that came in an event.
pub fn parse_status_url(text: &str) -> Result<Url> {
    Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some())
        .ok_or_else(|| {
            Kind::Input.error("the event's \"statusUrl\" is not an absolute http or https URL")
        })
}

/// A header's text, short enough for a message.
fn bounded(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kick_off_asks_for_ndjson_types_and_since_with_everything_encoded() {
        let endpoint = Url::parse("https://h/fhir").unwrap();
        let wanted = Wanted {
            types: vec!["Patient".into(), "Condition".into()],
            since: Some("2026-01-01T00:00:00Z".into()),
        };
        assert_eq!(
            kick_off_url(&endpoint, &wanted).as_str(),
            "https://h/fhir/$export?_outputFormat=application%2Ffhir%2Bndjson&_since=2026-01-01T00%3A00%3A00Z&_type=Patient%2CCondition"
        );
        assert_eq!(
            kick_off_url(&endpoint, &Wanted::default()).query(),
            Some("_outputFormat=application%2Ffhir%2Bndjson")
        );
    }
}
