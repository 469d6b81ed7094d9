//! `pathling-import` and `check-import-status`.

use std::collections::BTreeSet;

use serde_json::Value;
use url::Url;
use uuid::Uuid;

use super::contract::{ImportComplete, ImportRequest, ImportStarted, StatusQuery};
use super::{Context, require_staging_for_key};
use crate::config::Step;
use crate::error::{Error, Kind, Result};
use crate::export::parse_status_url;
use crate::pathling::{self, Location, Status};
use crate::staging::{Staging, layout};
use crate::sync::{self, Attempt, Outcome, RunRecord};

/// How many attempts a run has without success before it is given up: those that the target lost, and those that failed
/// and were begun again by a later start.
const ATTEMPTS: usize = 3;

const IMPORTED: &str = "imported";
const SUCCEEDED: &str = "succeeded";
const FAILED: &str = "failed";
const LOST: &str = "lost";

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
    if carried.run.is_empty() {
        carried.run = layout::derived_run("", &parameters.to_string(), []);
    }
    let locations = pathling::read_parameters(&parameters)?;
    let staging = context.staging_if_any().await?;
    let (send, unsupported) = held(context, locations).await?;
    if send.is_empty() {
        tracing::info!(run = carried.run, "nothing needs importing");
        if let Some(staging) = staging {
            sync::end_run(
                staging,
                &carried.run,
                carried.key.as_deref(),
                "nothing to import",
                None,
            )
            .await?;
        }
        return Ok(ImportStarted {
            status_url: None,
            carried,
        });
    }
    let status_url = match staging {
        Some(staging) => attempt(context, staging, &carried.run, &send, &unsupported).await?,
        None => kick_off(context, &Uuid::new_v4().to_string(), &send).await?,
    };
    Ok(ImportStarted {
        status_url: Some(status_url.into()),
        carried,
    })
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
            Status::Complete(result) => Ok(ImportComplete { result, carried }),
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
            &record,
            "the attempt before it ended without success",
        )
        .await);
    }
    let Some(url) = newest
        .status_url
        .as_deref()
        .and_then(|url| Url::parse(url).ok())
    else {
        return Err(next_attempt(
            context,
            staging,
            &record,
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
            close(staging, &record.run, newest.number, SUCCEEDED, None).await?;
            sync::end_run(staging, &record.run, carried.key.as_deref(), IMPORTED, None).await?;
            tracing::info!(
                run = record.run,
                attempt = newest.number,
                "the import is complete"
            );
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
            Err(next_attempt(context, staging, &record, "the target lost the job").await)
        }
        Err(error) if error.kind() == Kind::ImportFailed => {
            Err(unsuccessful(staging, &record.run, newest.number, FAILED, error).await?)
        }
        Err(error) => Err(error),
    }
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

/// Begins the next attempt of a run on its own, and gives what the caller answers then.
async fn next_attempt(
    context: &Context,
    staging: &Staging,
    record: &RunRecord,
    why: &str,
) -> Error {
    let begin = async {
        let parameters = record
            .transfer
            .as_ref()
            .map(|transfer| &transfer.parameters)
            .ok_or_else(|| {
                Kind::ImportFailed
                    .error(format!(
                        "run {} cannot be imported again: its record holds no Parameters",
                        record.run
                    ))
                    .next("Run transfer-to-s3 and pathling-import again for this run.")
            })?;
        let (send, unsupported) = held(context, pathling::read_parameters(parameters)?).await?;
        attempt(context, staging, &record.run, &send, &unsupported).await
    };
    match begin.await {
        Ok(_) => {
            Kind::JobInProgress.error(format!("run {} is being imported again: {why}", record.run))
        }
        Err(error) => error,
    }
}

/// The locations that the target can hold, and the types of the others.
async fn held(context: &Context, locations: Vec<Location>) -> Result<(Vec<Location>, Vec<String>)> {
    if locations.is_empty() {
        return Ok((locations, Vec::new()));
    }
    let dialect = context.dialect().await?;
    let (send, others): (Vec<_>, Vec<_>) = locations
        .into_iter()
        .partition(|location| dialect.holds(&location.resource_type));
    let unsupported: BTreeSet<&str> = others
        .iter()
        .map(|location| location.resource_type.as_str())
        .collect();
    if context.settings().fail_on_unsupported_types {
        super::fail_on(&unsupported)?;
    }
    let unsupported: Vec<String> = unsupported.into_iter().map(str::to_owned).collect();
    if !unsupported.is_empty() {
        tracing::warn!(
            types = unsupported.join(","),
            "types that this target cannot hold are left out of the import"
        );
    }
    Ok((send, unsupported))
}

/// Joins the attempt of `run` that is under way, or begins the next one. The attempt is written down before the target is
/// asked, so that whoever comes after a crash asks for the same job.
async fn attempt(
    context: &Context,
    staging: &Staging,
    run: &str,
    send: &[Location],
    unsupported: &[String],
) -> Result<Url> {
    let record = RunRecord::update(staging, run, |record| {
        if record
            .attempts
            .last()
            .is_some_and(|last| last.outcome.is_none())
        {
            return false;
        }
        let number = record.attempts.last().map_or(1, |last| last.number + 1);
        let unsupported = unsupported.to_vec();
        record.attempts.push(Attempt {
            number,
            at: sync::now(),
            unsupported,
            ..Attempt::default()
        });
        record.outcome = None;
        true
    })
    .await?;
    let Some(current) = record.attempts.last() else {
        return Err(
            Kind::StagingUnavailable.error(format!("the record of run {run} lost its attempt"))
        );
    };
    if let Some(url) = current
        .status_url
        .as_deref()
        .and_then(|url| Url::parse(url).ok())
    {
        return Ok(url);
    }
    let number = current.number;
    match kick_off(context, &format!("{run}-{number}"), send).await {
        Ok(url) => {
            RunRecord::update(staging, run, |record| {
                match record
                    .attempts
                    .iter_mut()
                    .find(|attempt| attempt.number == number)
                {
                    Some(attempt) => {
                        attempt.status_url = Some(url.to_string());
                        true
                    }
                    None => false,
                }
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
