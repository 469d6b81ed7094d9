//! How an export goes (Bulk Data Access IG, "Bulk Data Status Request"), up to its manifest.

use std::time::Duration;

use jiff::Timestamp;
use url::Url;

use crate::answered::Answered;
use crate::error::{Error, Kind, Result};
use crate::http::{
    self, Client, OperationOutcome, Plain, Request, Response, StatusCode, TokenUse, shown,
};
use crate::manifest;

use super::SEPARATE_STATUS;
use super::pages::all_pages;
use super::partial::Partial;
use super::told::{Intake, Room, Told};

/// What a status request is for, in messages.
pub(super) const STATUS: &str = "the status of the export";

/// How much of `X-Progress` is repeated, in characters.
const PROGRESS: usize = 200;

/// The largest answer that is looked through for an `OperationOutcome`, in bytes.
const OUTCOME_LIMIT: usize = 1 << 20;

/// What a status request tells.
#[derive(Debug)]
pub enum Status {
    /// The job goes on.
    InProgress(GoesOn),
    /// The job is done, and this is its manifest.
    Complete(Box<Told>),
    /// There is no such job, or none any more.
    Absent {
        /// The status that was answered: 404, or 410 for one that was cancelled or has expired.
        status: u16,
        /// The answer in words.
        said: String,
        /// What else there is to tell of it.
        answered: Answered,
    },
}

/// An answer to a status request, and until when the source has the files that it tells of, where it says so.
#[derive(Debug)]
pub struct Polled {
    /// What it tells.
    pub status: Status,
    /// From its `Expires`, by this machine's clock.
    pub expires: Option<Timestamp>,
}

/// That a job goes on.
#[derive(Clone, Debug)]
pub struct GoesOn {
    /// `X-Progress` as it is, or why the server wants to be asked later.
    pub progress: Option<String>,
    /// When the server wants to be asked again.
    pub retry_after: Option<Duration>,
    /// Whether that tells that it knows the job.
    pub known: bool,
}

/// How a status request was answered.
pub(super) enum Answer {
    /// With 202, and the answer itself; or with a wish to be asked later.
    InProgress(GoesOn, Option<Response>),
    /// With 200 and a body that should be the manifest.
    Complete(Response),
    /// With 404 or 410.
    Absent(Response),
}

/// Asks how the export of `status_url` goes. A manifest that is too large to be held goes to `room`; where there is none, it
/// is checked and no more. What there is already of one that is not complete goes to `partial`.
pub async fn status(
    client: &Client,
    endpoint: &Url,
    status_url: &Url,
    room: Option<&Room<'_>>,
    partial: Option<&mut Partial>,
) -> Result<Polled> {
    let mut expires = None;
    let status = match ask(client, endpoint, status_url).await? {
        Answer::InProgress(goes_on, answer) => {
            if let (Some(partial), Some(response)) = (partial, answer) {
                let url = http::status_url_for_polling(endpoint, status_url);
                partial.read(client, endpoint, response, url).await;
            }
            Status::InProgress(goes_on)
        }
        Answer::Absent(response) => {
            let (status, at) = (response.status().as_u16(), response.described());
            let (answered, wait) = (response.answered(), response.retry_after());
            let said = http::said(response).await;
            let says = format!("{at}{}", said.text);
            if said.is_transient {
                return Err(Kind::SourceUnavailable
                    .error(format!("{STATUS}: {says}"))
                    .retry_after(wait)
                    .of_answer(answered));
            }
            Status::Absent {
                status,
                said: says,
                answered,
            }
        }
        Answer::Complete(response) => {
            expires = response.expires();
            let asked = http::status_url_for_polling(endpoint, status_url);
            // After a redirect, another one than was asked: relative URLs are taken from there (RFC 3986, section 5.1.3).
            let found = response.url().clone();
            let first = told(response, &found, room).await?;
            if first.head.next.is_none() && found == asked {
                Status::Complete(Box::new(first))
            } else {
                // All URLs are absolute in what comes of that, for nobody knows later where it was found.
                all_pages(client, endpoint, first, found, room).await?
            }
        }
    };
    Ok(Polled { status, expires })
}

pub(super) async fn ask(client: &Client, endpoint: &Url, status_url: &Url) -> Result<Answer> {
    let url = http::status_url_for_polling(endpoint, status_url);
    let request = Request::get(url.clone())
        .accept("application/json")
        // Who does not know it ignores it (RFC 7240, section 2).
        .header("prefer", SEPARATE_STATUS);
    let response = client.send(request.token(TokenUse::WhereTrusted)).await?;
    let of_job = match response.status().as_u16() {
        200 => separate_status(&response).unwrap_or(200),
        code => code,
    };
    let retry_after = response.retry_after();
    match of_job {
        202 => {
            let goes_on = GoesOn {
                progress: response.words_of("x-progress", PROGRESS),
                retry_after,
                known: true,
            };
            Ok(Answer::InProgress(goes_on, Some(response)))
        }
        code @ (429 | 503) => {
            let progress = Some(format!("the source answered {code}"));
            let goes_on = GoesOn {
                progress,
                retry_after,
                known: false,
            };
            Ok(Answer::InProgress(goes_on, None))
        }
        200 => Ok(Answer::Complete(response)),
        _ if response.status().as_u16() == 200 => {
            let status = StatusCode::from_u16(of_job).unwrap_or_default();
            Err(
                http::failure_as(status, response, &format!("the export ended with {of_job}"))
                    .await,
            )
        }
        404 | 410 => Ok(Answer::Absent(response)),
        code if (200..300).contains(&code) => Err(Kind::ExportFailed.error(format!(
            "GET {} answered {code}, which is no answer of a status request",
            shown(&url)
        ))),
        _ => Err(http::failure(response, STATUS).await),
    }
}

/// The job's own status, where the answer's is that of the request alone (STU4, "separate-export-status"): `202 Accepted`.
fn separate_status(response: &Response) -> Option<u16> {
    let words = response.header("x-export-status")?;
    let code = words.split_whitespace().next()?.parse().ok()?;
    (100..600).contains(&code).then_some(code)
}

/// The manifest of an answer, checked; what is too large to be held goes to `room` as it arrives.
pub(super) async fn told(response: Response, base: &Url, room: Option<&Room<'_>>) -> Result<Told> {
    let quoter = response.quoter();
    let at = response.described();
    let promised = response.content_length().unwrap_or_default();
    if promised > manifest::LIMIT as u64 {
        return Err(within_manifest(manifest::too_large(), &at));
    }
    let mut intake = Intake::new(Some(base), room);
    let mut body = Plain::of(response);
    while let Some(chunk) = body.chunk().await {
        let wanted = intake.take(chunk?).await;
        if !wanted.map_err(|error| within_manifest(error, &at))? {
            break;
        }
    }
    let (text, error) = match intake.end().await {
        Ok(told) => return Ok(told),
        Err(failed) => failed,
    };
    let Some(text) = text else {
        return Err(within_manifest(error, &at));
    };
    let text = manifest::without_mark(&text).trim_ascii();
    if text.is_empty() {
        return Err(Kind::Manifest
            .error(format!(
                "{at} with nothing instead of a manifest, which is something else than JSON; some sources do so of an export that was cancelled"
            ))
            .next("If it was cancelled, start a new export; if not, report it to whoever runs the source."));
    }
    if text.len() <= OUTCOME_LIMIT
        && let Ok(value) = serde_json::from_slice(text)
        && let Some(outcome) = OperationOutcome::from_value(&value)
    {
        let says = quoter.quote(&outcome.whole_text());
        return Err(Kind::Manifest.error(format!(
            "{at} with an OperationOutcome instead of a manifest: {says}"
        )));
    }
    Err(within_manifest(error, &at))
}

/// What is wrong with a manifest, with where it was; other errors say that themselves.
pub(super) fn within_manifest(error: Error, at: &str) -> Error {
    if error.kind() == Kind::Manifest {
        error.within(at)
    } else {
        error
    }
}

pub(super) fn no_json() -> Error {
    Kind::Manifest.error("the answer is something else than JSON")
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
