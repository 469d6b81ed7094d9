//! `check-import-status`.

use serde_json::{Value, json};
use url::Url;

use super::contract::{Carried, ImportComplete, StatusQuery};
use super::importing::{
    ATTEMPTS, AttemptEnd, Sent, attempt, close_with, known_url, tell_arrival, unsuccessful,
};
use super::turn::{self, Turn};
use super::{Context, counting, deletions, require_staging_for_key, suspects};
use crate::config::Step;
use crate::error::{Error, Kind, Result};
use crate::export::parse_status_url;
use crate::pathling::{self, Status};
use crate::staging::{Staging, layout};
use crate::sync::{self, Attempt, FAILED, IMPORTED, LOST, RunRecord, SUCCEEDED};

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
        carried,
    } = StatusQuery::read(Step::CheckImportStatus, event)?;
    require_staging_for_key(context, &carried)?;
    let url = parse_status_url(&status_url)?;
    let staging = match context.staging_if_any().await? {
        Some(staging) if !carried.run.is_empty() => Some(staging),
        _ => None,
    };
    let record = match staging {
        Some(staging) => Some(RunRecord::load(staging, &carried.run).await?),
        None => None,
    };
    if carried.run.is_empty() {
        context.of_run(&layout::run_of(&status_url), None);
    } else {
        context.of_run(&carried.run, record.as_ref());
    }
    let is_absent = record.as_ref().is_some_and(|record| record.run.is_empty());
    let newest = record
        .as_ref()
        .and_then(|record| record.attempts.last().cloned());
    // Called alone, or about an import that this program did not begin, it knows the URL and nothing else.
    let (Some(staging), Some(record), Some(newest)) = (staging, record, newest) else {
        let unknown = staging.filter(|_| is_absent);
        return of_nobody(context, unknown, &url, &status_url, carried).await;
    };
    if newest.is_without_success() {
        return next_attempt(
            context,
            staging,
            (&record, &newest),
            carried,
            "the attempt before it ended without success",
        )
        .await;
    }
    let Some(url) = known_url(&newest) else {
        return next_attempt(
            context,
            staging,
            (&record, &newest),
            carried,
            "the attempt before it was cut off",
        )
        .await;
    };
    let key = carried.key.clone();
    let whose = (record.run.as_str(), key.as_deref());
    match poll(context, &url).await {
        Ok(Status::InProgress {
            progress,
            retry_after,
        }) => {
            turn::renew(context, staging, carried.key.as_deref(), &record).await?;
            Err(in_progress(progress, retry_after))
        }
        Ok(Status::Complete(result)) => {
            let key = carried.key.as_deref();
            Box::pin(succeeded(context, staging, &record, &newest, key)).await?;
            Ok(ImportComplete { result, carried })
        }
        // Known to have succeeded: the answer of an earlier call got lost, and then the job.
        Ok(Status::Lost(_)) if newest.outcome.as_deref() == Some(SUCCEEDED) => {
            // Who found that out may have died before it was said in the synchronisation's state too.
            sync::end_run(staging, whose.0, whose.1, IMPORTED, None).await?;
            Ok(ImportComplete {
                result: Value::Null,
                carried,
            })
        }
        Ok(Status::Lost(error)) => {
            let lost = AttemptEnd::of(newest.number, LOST);
            let error = unsuccessful(context, staging, whose, lost, error).await?;
            if error.ends_the_run() {
                return Err(error.within(&format!("after {ATTEMPTS} attempts")));
            }
            next_attempt(
                context,
                staging,
                (&record, &newest),
                carried,
                "the target lost the job",
            )
            .await
        }
        Ok(Status::Failed(failed)) => {
            let error = suspects::explained(context, staging, &record, &newest, failed).await;
            let failed = AttemptEnd::of(newest.number, FAILED);
            Err(unsuccessful(context, staging, whose, failed, error).await?)
        }
        Err(error) if error.kind() == Kind::ImportFailed => {
            let failed = AttemptEnd::of(newest.number, FAILED);
            Err(unsuccessful(context, staging, whose, failed, error).await?)
        }
        Err(error) => Err(error),
    }
}

/// How an import goes that nothing is written down about; `staging` is where a record should be.
async fn of_nobody(
    context: &Context,
    staging: Option<&Staging>,
    url: &Url,
    status_url: &str,
    mut carried: Carried,
) -> Result<ImportComplete> {
    let complete = unrecorded(context, url).await?;
    if carried.run.is_empty() {
        carried.run = layout::run_of(status_url);
    } else if let Some(staging) = staging {
        // One that may not be read looks so too, where S3 may not list. A write tells which, and that the run has ended.
        let key = carried.key.as_deref();
        sync::end_run(staging, &carried.run, key, IMPORTED, None).await?;
    }
    tell_arrival(context, (true, false), None, None);
    Ok(ImportComplete {
        result: complete,
        carried,
    })
}

/// What the target answers about an import that nothing is written down about.
async fn unrecorded(context: &Context, url: &Url) -> Result<Value> {
    match poll(context, url).await? {
        Status::Complete(result) => Ok(result),
        Status::Lost(error) => Err(error),
        Status::Failed(failed) => Err(failed.error),
        Status::InProgress {
            progress,
            retry_after,
        } => Err(in_progress(progress, retry_after)),
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
    let mut unverified = attempt.unverified.is_some();
    if attempt.outcome.is_none() {
        let done = Some(context.clock().moment());
        let proof = match counting::verify(context, record, attempt).await {
            Err(error) if error.kind() == Kind::ImportIncomplete => {
                let failed = AttemptEnd {
                    done,
                    ..AttemptEnd::of(attempt.number, FAILED)
                };
                return Err(unsuccessful(context, staging, (run, key), failed, error).await?);
            }
            ended => ended?,
        };
        let succeeded = AttemptEnd {
            done,
            ..AttemptEnd::of(attempt.number, SUCCEEDED)
        };
        unverified = proof.unverified.is_some();
        close_with(context, staging, run, succeeded, &proof).await?;
    }
    let state = sync::end_run(staging, run, key, IMPORTED, None).await?;
    tracing::info!(run, attempt = attempt.number, "the import is complete");
    // Whoever asks once more is told nothing new.
    if record.ended().is_none() {
        tell_arrival(context, (true, unverified), Some(record), state.as_ref());
    }
    Ok(())
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

/// Begins the next attempt of a run on its own, with what the last one was to import, and gives what the caller answers:
/// that it goes on, or which newer run has taken its place.
async fn next_attempt(
    context: &Context,
    staging: &Staging,
    (record, last): (&RunRecord, &Attempt),
    carried: Carried,
    why: &str,
) -> Result<ImportComplete> {
    let run = record.run.as_str();
    let key = carried.key.as_deref();
    match turn::take(context, staging, key, record).await? {
        Turn::Ours(turn) => deletions::see_to(staging, record, turn).await?,
        Turn::Over => {
            return Ok(ImportComplete {
                result: Value::Null,
                carried,
            });
        }
        Turn::Superseded(newer) => {
            return Ok(ImportComplete {
                result: json!({"supersededBy": newer}),
                carried,
            });
        }
    }
    let sent = Sent::of(context, last.parameters.clone()).await?;
    attempt(context, staging, (run, key), &sent).await?;
    Err(Kind::JobInProgress.error(format!("run {run} is being imported again: {why}")))
}
