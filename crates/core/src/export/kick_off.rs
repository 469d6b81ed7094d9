//! Asking for an export: by which method, how often where the source has too much to do, and what became of it.
//!
//! A kick-off is no request that may be sent twice without a thought: each one that arrives begins a job. It is repeated
//! here only where the source has said that it did not take it (429, 503), and sent by the other method only where that
//! one was refused (405, 501). Of one that nobody answered, [`Failed`] tells whether a job may run.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tracing::{info, warn};
use url::Url;

use super::capability::Capability;
use super::{FHIR_JSON, SEPARATE_STATUS, Wanted};
use crate::answered::Answered;
use crate::config::Method;
use crate::error::{Error, Kind, Result};
use crate::http::{self, Backoff, Client, Request, Response, TokenUse, shown};

/// How long all waits of one kick-off may be together. Whoever is asked for more patience than that says so and lets its
/// caller wait, who holds nothing meanwhile.
const LONGEST: Duration = Duration::from_secs(20);

/// The first wait where the source does not say; each further one is up to twice as long.
const FIRST: Duration = Duration::from_secs(1);

/// How often it is tried again.
const RETRIES: u32 = 3;

/// How long before its deadline the step must know how it ends.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// An accepted kick-off.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// Where the export's status can be asked for, absolute.
    pub status_url: Url,
    /// The answer's `Date`, as it was written.
    pub date: Option<String>,
    /// By which method it was asked for.
    pub method: Method,
    /// What else there is to tell of the answer.
    pub answered: Answered,
}

/// A kick-off that was not accepted.
#[derive(Clone, Debug)]
pub struct Failed {
    /// What happened.
    pub error: Error,
    /// Whether a job may run at the source all the same: the kick-off was sent, and nothing says that it was not taken.
    pub may_run: bool,
}

/// How long a kick-off may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// When the step has to answer.
    pub deadline: Option<Instant>,
    /// The longest that a Retry-After is obeyed.
    pub retry_after_max: Duration,
}

impl Patience {
    /// Whether there is time for this wait, and for an answer after it.
    fn allows(&self, wait: Duration) -> bool {
        self.deadline
            .is_none_or(|at| Instant::now() + wait + FIRST < at)
    }
}

/// Why a request was not accepted.
struct NotAccepted {
    error: Error,
    /// The status, where there was an answer.
    status: Option<u16>,
}

impl NotAccepted {
    /// Whether the source refuses the method as such.
    fn refuses_method(&self) -> bool {
        matches!(self.status, Some(405 | 501))
    }

    fn failed(self) -> Failed {
        let error = self.error;
        let unknown = error.kind() == Kind::SourceUnavailable
            && !error.was_unsent()
            && !error.throttled()
            && self.status != Some(501);
        // It was taken, and nothing says where the job is.
        let taken = self
            .status
            .is_some_and(|status| (200..300).contains(&status));
        if !unknown {
            return Failed {
                error,
                may_run: taken,
            };
        }
        let error = error
            .within("the kick-off may have begun an export that nobody knows of")
            .next("See whether the source is up and can be reached from here, then start again; a second export may then run there beside the first.");
        Failed {
            error,
            may_run: true,
        }
    }
}

/// Asks the source for an export.
///
/// Expects 202 with a Content-Location. The error is [`Kind::ExportFailed`], [`Kind::SourceUnavailable`] or
/// [`Kind::Authentication`] as the table of errors says.
pub async fn kick_off(
    client: &Client,
    endpoint: &Url,
    wanted: &Wanted,
    capability: Option<&Capability>,
    patience: Patience,
) -> Result<Accepted, Failed> {
    let stu4 = capability.is_some_and(Capability::is_stu4);
    let asking = Asking {
        client,
        endpoint,
        wanted,
        stu4,
        patience,
    };
    let needs_post = !wanted.export.patients.is_empty() || wanted.export.body.is_some();
    let usual = if stu4 || needs_post {
        Method::Post
    } else {
        Method::Get
    };
    let first = wanted.export.method.unwrap_or(usual);
    let refused = match asking.patiently(first).await {
        Ok(accepted) => return Ok(accepted),
        Err(refused) => refused,
    };
    let Some(other) = other(first, wanted).filter(|_| refused.refuses_method()) else {
        return Err(refused.failed());
    };
    warn!(
        refused = first.as_str(),
        status = refused.status,
        instead = other.as_str(),
        "the source refuses a kick-off by this method; KICKOFF_METHOD saves the request"
    );
    match asking.patiently(other).await {
        Ok(accepted) => Ok(accepted),
        // Neither: then the usual method's answer says more.
        Err(second) if second.refuses_method() => Err(refused.failed()),
        Err(second) => Err(second.failed()),
    }
}

/// The method to fall back on: none where one was chosen, nor where the other cannot say what is asked for.
fn other(first: Method, wanted: &Wanted) -> Option<Method> {
    match (wanted.export.method, first) {
        (Some(_), _) => None,
        (None, Method::Get) => Some(Method::Post),
        (None, Method::Post) => {
            let export = &wanted.export;
            (export.patients.is_empty() && export.body.is_none()).then_some(Method::Get)
        }
    }
}

struct Asking<'a> {
    client: &'a Client,
    endpoint: &'a Url,
    wanted: &'a Wanted,
    stu4: bool,
    patience: Patience,
}

impl Asking<'_> {
    /// Asks by this method, again after a while where the source has too much to do.
    async fn patiently(&self, method: Method) -> Result<Accepted, NotAccepted> {
        let mut backoff =
            Backoff::new(FIRST, LONGEST, RETRIES).retry_after_max(self.patience.retry_after_max);
        let (mut asked, mut waited) = (0_u32, Duration::ZERO);
        loop {
            asked += 1;
            let mut refused = match self.once(method).await {
                Ok(accepted) => return Ok(accepted),
                Err(refused) => refused,
            };
            if !refused.error.throttled() {
                return Err(refused);
            }
            let wait = backoff
                .next(refused.error.wait())
                .filter(|wait| waited + *wait <= LONGEST && self.patience.allows(*wait));
            let Some(wait) = wait else {
                refused.error = gave_up(refused.error, asked);
                return Err(refused);
            };
            info!(
                status = refused.status,
                milliseconds = wait.as_millis(),
                "the source has too much to do for an export just now; asking again"
            );
            waited += wait;
            sleep(wait).await;
        }
    }

    async fn once(&self, method: Method) -> Result<Accepted, NotAccepted> {
        let (url, request) = self.request(method);
        let sent = match self.patience.deadline {
            Some(at) => timeout_at(at - LAST_WORDS, self.client.send(request))
                .await
                .unwrap_or_else(|_| {
                    Err(Kind::SourceUnavailable.error(format!(
                        "{} {}: no answer in the time that this call had",
                        method.as_str(),
                        shown(&url)
                    )))
                }),
            None => self.client.send(request).await,
        };
        let response = sent.map_err(|error| NotAccepted {
            error,
            status: None,
        })?;
        let status = Some(response.status().as_u16());
        accepted(response, method)
            .await
            .map_err(|error| NotAccepted { error, status })
    }

    fn request(&self, method: Method) -> (Url, Request) {
        let (url, body) = match (method, &self.wanted.export.body) {
            (Method::Get, _) => (self.wanted.url(self.endpoint), None),
            // The source's own document: what is asked for stands in the query.
            (Method::Post, Some(own)) => (self.wanted.url(self.endpoint), Some(own.clone())),
            (Method::Post, None) => {
                let body = self.wanted.body(self.stu4).to_string();
                (self.wanted.address(self.endpoint), Some(body))
            }
        };
        let request = match body {
            None => Request::get(url.clone()),
            Some(body) => Request::post(url.clone(), body, FHIR_JSON),
        };
        let mut prefer = "respond-async".to_owned();
        if let Some(handling) = self.wanted.export.handling {
            prefer = format!("{prefer}, handling={}", handling.as_str());
        }
        if self.wanted.separate_status {
            prefer = format!("{prefer}, {SEPARATE_STATUS}");
        }
        let request = request
            .accept(FHIR_JSON)
            .header("prefer", &prefer)
            .token(TokenUse::WhereTrusted);
        (url, request)
    }
}

/// What is said of a source that had too much to do each time, or for longer than is waited for here.
fn gave_up(error: Error, asked: u32) -> Error {
    let wish = error.wait().map(|wait| {
        let seconds = wait.as_secs();
        format!("the source wants to be asked again in {seconds} s (Retry-After)")
    });
    let tried = (asked > 1).then(|| format!("asked {asked} times"));
    let said: Vec<String> = tried.into_iter().chain(wish).collect();
    if said.is_empty() {
        error
    } else {
        error.within(&said.join(", "))
    }
}

/// What an answer to a kick-off says.
async fn accepted(response: Response, method: Method) -> Result<Accepted> {
    let status = response.status();
    let described = response.described();
    if status.as_u16() != 202 {
        if status.is_success() {
            return Err(Kind::ExportFailed
                .error(format!("{described} instead of 202 Accepted"))
                .of_answer(response.answered())
                .next("Check that SOURCE_ENDPOINT is the base URL of a FHIR server that supports the Bulk Data $export operation."));
        }
        let error = http::failure(response, "the kick-off of the export").await;
        return Err(match status.as_u16() {
            404 | 405 => error.next("Check SOURCE_ENDPOINT, EXPORT_LEVEL and KICKOFF_METHOD, and that the source supports the Bulk Data $export operation."),
            400 | 406 | 422 => error.next("Read what the source says, and set what it wants: docs/servers.md lists what single servers do (EXPORT_LEVEL, OUTPUT_FORMAT, ORGANIZE_OUTPUT_BY, SOURCE_HEADERS, EXPORT_PARAMETERS, KICKOFF_BODY)."),
            _ => error,
        });
    }
    let answered = response.answered();
    let location = response.header("content-location").map(str::to_owned);
    let date = response.header("date").map(str::to_owned);
    let broken = |what: &str| {
        Kind::ExportFailed
            .error(format!("{described} {what}"))
            .of_answer(answered.clone())
            .next("Report it to whoever runs the source: its answer breaks the Bulk Data specification.")
    };
    let Some(location) = location.filter(|location| !location.is_empty()) else {
        return Err(broken(
            "without a Content-Location, so its status cannot be asked for",
        ));
    };
    let Some(mut status_url) = status_url(response.url(), &location) else {
        return Err(broken("with a Content-Location that is no http URL"));
    };
    // Nobody sends them, and the URL goes into records. Both fail only for URLs that cannot have either.
    let _ = status_url.set_username("");
    let _ = status_url.set_password(None);
    Ok(Accepted {
        status_url,
        date,
        method,
        answered,
    })
}

/// Where a Content-Location leads, which may be relative to the URL that answered.
pub(super) fn status_url(answered: &Url, location: &str) -> Option<Url> {
    let url = answered.join(location).ok()?;
    matches!(url.scheme(), "http" | "https").then_some(url)
}

#[cfg(test)]
#[path = "kick_off_tests.rs"]
mod tests;
