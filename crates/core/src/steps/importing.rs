//! `pathling-import` and `check-import-status`.

use std::collections::BTreeSet;

use serde_json::Value;
use url::Url;
use uuid::Uuid;

use super::contract::{ImportComplete, ImportRequest, ImportStarted, StatusQuery};
use super::run::refuse_cancelled;
use super::{Context, require_staging_for_key};
use crate::config::Step;
use crate::error::{Error, Kind, Result};
use crate::export::parse_status_url;
use crate::pathling::{self, Location, Status};
use crate::progress::{Arrival, Event};
use crate::staging::{Staging, layout};
use crate::sync::{self, Attempt, IMPORTED, Outcome, RunRecord, SUCCEEDED};

/// How many attempts a run has without success before it is given up: those that the target lost, and those that failed
/// and were begun again by a later start.
const ATTEMPTS: usize = 3;

const NOTHING: &str = "nothing to import";
const FAILED: &str = "failed";
const LOST: &str = "lost";
const SUPERSEDED: &str = "superseded";

/// Asks the target to import, and gives the import's status URL, or null where nothing needs importing.
///
/// With staging, a retry of this step joins the attempt that is under way, and a call after an attempt that ended begins
/// the next one.
pub(super) async fn pathling_import(context: &Context, event: &Value) -> Result<ImportStarted> {
    let ImportRequest {
        parameters,
        mut carried,
    } = ImportRequest::read(event)?;
    require_staging_for_key(context, &carried)?;
    // Called alone, this is an import of its own each time: no run whose attempt it could join.
    let staging = match carried.run.as_str() {
        "" => None,
        _ => context.staging_if_any().await?,
    };
    if carried.run.is_empty() {
        carried.run = layout::derived_run("", &parameters.to_string(), [""; 0]);
    }
    let record = match staging {
        Some(staging) => Some(RunRecord::load(staging, &carried.run).await?),
        None => None,
    };
    context.of_run(&carried.run, record.as_ref());
    let sent = Sent::of(context, parameters).await?;
    let status_url = match staging {
        _ if sent.locations.is_empty() => {
            tracing::info!(run = carried.run, "nothing needs importing");
            if let Some(staging) = staging {
                let left_out = sent.left_out();
                sync::end_run(
                    staging,
                    &carried.run,
                    carried.key.as_deref(),
                    NOTHING,
                    left_out.as_deref(),
                )
                .await?;
            }
            tell_arrival(context, false, record.as_ref());
            None
        }
        Some(staging) => Some(attempt(context, staging, &carried.run, &sent).await?),
        None => Some(kick_off(context, &Uuid::new_v4().to_string(), &sent.locations).await?),
    };
    Ok(ImportStarted {
        status_url: status_url.map(Into::into),
        carried,
    })
}

/// What is sent to the target of some Parameters.
struct Sent {
    /// The Parameters, in the dialect of the contract.
    parameters: Value,
    /// The locations whose types the target can hold.
    locations: Vec<Location>,
    /// The types of the others.
    unsupported: Vec<String>,
}

impl Sent {
    async fn of(context: &Context, parameters: Value) -> Result<Self> {
        let mut locations = pathling::read_parameters(&parameters)?;
        let mut unsupported = Vec::new();
        if !locations.is_empty() {
            let dialect = context.dialect().await?;
            let types = locations
                .iter()
                .map(|location| location.resource_type.as_str());
            let others: BTreeSet<&str> = types
                .filter(|resource_type| !dialect.holds(resource_type))
                .collect();
            if context.settings().fail_on_unsupported_types {
                super::fail_on(&others)?;
            }
            unsupported = others.into_iter().map(str::to_owned).collect();
            locations.retain(|location| dialect.holds(&location.resource_type));
        }
        let sent = Self {
            parameters,
            locations,
            unsupported,
        };
        if let Some(left_out) = sent.left_out() {
            tracing::warn!("{left_out}");
        }
        Ok(sent)
    }

    /// What a person should know about types that are not sent.
    fn left_out(&self) -> Option<String> {
        let types = self.unsupported.join(", ");
        (!types.is_empty()).then(|| {
            format!("types that this target cannot hold are left out of the import: {types}")
        })
    }
}

/// Asks how the import goes, and gives what the target answered when it is complete.
///
/// With staging it is the run's newest attempt that is asked for; where that one was lost by the target, or ended as
/// failed before this call, the next attempt begins and the answer is [`Kind::JobInProgress`].
pub(super) async fn check_import_status(
    context: &Context,
    event: &Value,
) -> Result<ImportComplete> {
    let StatusQuery {
        status_url,
        mut carried,
    } = StatusQuery::read(Step::CheckImportStatus, event)?;
    require_staging_for_key(context, &carried)?;
    let url = parse_status_url(&status_url)?;
    let record = match context.staging_if_any().await? {
        Some(staging) if !carried.run.is_empty() => {
            Some((staging, RunRecord::load(staging, &carried.run).await?))
        }
        _ => None,
    };
    if carried.run.is_empty() {
        context.of_run(&layout::run_of(&status_url), None);
    } else {
        let record = record.as_ref().map(|(_, record)| record);
        context.of_run(&carried.run, record);
    }
    // Called alone, or about an import that this program did not begin, it knows the URL and nothing else.
    let Some((staging, record, newest)) = record.and_then(|(staging, record)| {
        record
            .attempts
            .last()
            .cloned()
            .map(|newest| (staging, record, newest))
    }) else {
        if carried.run.is_empty() {
            carried.run = layout::run_of(&status_url);
        }
        return match poll(context, &url).await? {
            Status::Complete(result) => {
                tell_arrival(context, true, None);
                Ok(ImportComplete { result, carried })
            }
            Status::Lost(error) => Err(error),
            Status::InProgress {
                progress,
                retry_after,
            } => Err(in_progress(progress, retry_after)),
        };
    };
    if matches!(newest.outcome.as_deref(), Some(FAILED | LOST)) {
        return Err(next_attempt(
            context,
            staging,
            &record.run,
            &newest,
            "the attempt before it ended without success",
        )
        .await);
    }
    let Some(url) = known_url(&newest) else {
        return Err(next_attempt(
            context,
            staging,
            &record.run,
            &newest,
            "the attempt before it was cut off",
        )
        .await);
    };
    match poll(context, &url).await {
        Ok(Status::InProgress {
            progress,
            retry_after,
        }) => Err(in_progress(progress, retry_after)),
        Ok(Status::Complete(result)) => {
            succeeded(context, staging, &record, &newest, carried.key.as_deref()).await?;
            Ok(ImportComplete { result, carried })
        }
        // Known to have succeeded: the answer of an earlier call got lost, and then the job.
        Ok(Status::Lost(_)) if newest.outcome.as_deref() == Some(SUCCEEDED) => Ok(ImportComplete {
            result: Value::Null,
            carried,
        }),
        Ok(Status::Lost(error)) => {
            let error = unsuccessful(staging, &record.run, newest.number, LOST, error).await?;
            if error.ends_the_run() {
                return Err(error.within(&format!("after {ATTEMPTS} attempts")));
            }
            Err(next_attempt(
                context,
                staging,
                &record.run,
                &newest,
                "the target lost the job",
            )
            .await)
        }
        Err(error) if error.kind() == Kind::ImportFailed => {
            Err(unsuccessful(staging, &record.run, newest.number, FAILED, error).await?)
        }
        Err(error) => Err(error),
    }
}

/// Writes down that a run's attempt has succeeded, and tells so.
async fn succeeded(
    context: &Context,
    staging: &Staging,
    record: &RunRecord,
    attempt: &Attempt,
    key: Option<&str>,
) -> Result<()> {
    let run = record.run.as_str();
    close(staging, run, attempt.number, SUCCEEDED, None).await?;
    sync::end_run(staging, run, key, IMPORTED, None).await?;
    tracing::info!(run, attempt = attempt.number, "the import is complete");
    // Whoever asks once more is told nothing new.
    if attempt.outcome.is_none() {
        tell_arrival(context, true, Some(record));
    }
    Ok(())
}

/// Tells that the target has all that a run brought.
fn tell_arrival(context: &Context, imported: bool, record: Option<&RunRecord>) {
    let manifest = record.and_then(|record| record.manifest.as_ref());
    context.tell(Event::Arrived(Arrival {
        imported,
        transaction_time: manifest.map(|manifest| manifest.transaction_time.clone()),
    }));
}

async fn poll(context: &Context, url: &Url) -> Result<Status> {
    let (client, endpoint) = context.target().await?;
    pathling::status(client, endpoint, url).await
}

fn in_progress(progress: Option<String>, retry_after: Option<std::time::Duration>) -> Error {
    let progress = progress
        .map(|text| format!(" ({text})"))
        .unwrap_or_default();
    Kind::JobInProgress
        .error(format!("the import is in progress{progress}"))
        .retry_after(retry_after)
}

/// Begins the next attempt of a run on its own, with what the last one was to import, and gives what the caller answers.
async fn next_attempt(
    context: &Context,
    staging: &Staging,
    run: &str,
    last: &Attempt,
    why: &str,
) -> Error {
    let begin = async {
        let sent = Sent::of(context, last.parameters.clone()).await?;
        attempt(context, staging, run, &sent).await
    };
    match begin.await {
        Ok(_) => Kind::JobInProgress.error(format!("run {run} is being imported again: {why}")),
        Err(error) => error,
    }
}

/// Joins the attempt of `run` that is under way, or begins the next one. The attempt is written down before the target is
/// asked, so that whoever comes after a crash asks for the same job.
async fn attempt(context: &Context, staging: &Staging, run: &str, sent: &Sent) -> Result<Url> {
    let record = RunRecord::update(staging, run, |record| {
        if record.cancelled().is_some() {
            return false;
        }
        if let Some(last) = record
            .attempts
            .last_mut()
            .filter(|last| last.outcome.is_none())
        {
            if last.parameters == sent.parameters {
                return false;
            }
            // A job is known by its nonce alone: under the same one, the old Parameters would be imported.
            last.outcome = Some(SUPERSEDED.to_owned());
            last.ended = Some(sync::now());
        }
        record.attempts.push(Attempt {
            number: record.attempts.last().map_or(1, |last| last.number + 1),
            at: sync::now(),
            parameters: sent.parameters.clone(),
            unsupported: sent.unsupported.clone(),
            ..Attempt::default()
        });
        record.outcome = None;
        true
    })
    .await?;
    refuse_cancelled(&record)?;
    let Some(current) = record.attempts.last() else {
        return Err(
            Kind::StagingUnavailable.error(format!("the record of run {run} lost its attempt"))
        );
    };
    if let Some(url) = known_url(current) {
        return Ok(url);
    }
    let number = current.number;
    match kick_off(context, &format!("{run}-{number}"), &sent.locations).await {
        Ok(url) => {
            RunRecord::update(staging, run, |record| {
                let attempt = record
                    .attempts
                    .iter_mut()
                    .find(|attempt| attempt.number == number);
                attempt
                    .map(|attempt| attempt.status_url = Some(url.to_string()))
                    .is_some()
            })
            .await?;
            Ok(url)
        }
        Err(error) if error.kind() == Kind::ImportFailed => {
            Err(unsuccessful(staging, run, number, FAILED, error).await?)
        }
        Err(error) => Err(error),
    }
}

fn known_url(attempt: &Attempt) -> Option<Url> {
    Url::parse(attempt.status_url.as_deref()?).ok()
}

async fn kick_off(context: &Context, nonce: &str, send: &[Location]) -> Result<Url> {
    let parameters = pathling::in_dialect(context.dialect().await?, send)?;
    let (client, endpoint) = context.target().await?;
    let url = pathling::kick_off(client, endpoint, nonce, &parameters).await?;
    tracing::info!(nonce, types = send.len(), "import kicked off");
    Ok(url)
}

/// Writes down how an attempt ended without success, and gives the error for its caller: one that ends the run where there
/// have been too many in a row.
async fn unsuccessful(
    staging: &Staging,
    run: &str,
    number: u32,
    outcome: &str,
    error: Error,
) -> Result<Error> {
    let record = close(staging, run, number, outcome, Some(&error)).await?;
    let ended_so = |attempt: &&Attempt| matches!(attempt.outcome.as_deref(), Some(FAILED | LOST));
    let in_a_row = record.attempts.iter().rev().take_while(ended_so).count();
    if in_a_row < ATTEMPTS {
        return Ok(error);
    }
    let advice = "Read what the target says and its log. These files are given up: a new start asks for a new export.";
    Ok(error.next(advice).for_good())
}

/// Writes down how an attempt ended, and gives the run's record.
async fn close(
    staging: &Staging,
    run: &str,
    number: u32,
    outcome: &str,
    error: Option<&Error>,
) -> Result<RunRecord> {
    RunRecord::update(staging, run, |record| {
        let attempt = record
            .attempts
            .iter_mut()
            .find(|attempt| attempt.number == number);
        let Some(attempt) = attempt.filter(|attempt| attempt.outcome.is_none()) else {
            return false;
        };
        attempt.outcome = Some(outcome.to_owned());
        attempt.ended = Some(sync::now());
        attempt.message = error.map(|error| error.what().to_owned());
        if outcome == SUCCEEDED {
            // In one write: a crash right after it must not make the next start import the run again.
            record.outcome = Some(Outcome {
                at: sync::now(),
                name: IMPORTED.to_owned(),
                message: None,
            });
        }
        true
    })
    .await
}
