//! The five steps: one function each, called by the Lambdas and by the command, and by nothing else.
//!
//! [`run`] is the one way in: a step and its event lead to the output that is the next step's event.

mod batches;
mod beside;
mod brought;
mod cancelling;
mod checking;
mod context;
pub mod contract;
mod counting;
pub(crate) mod deletions;
mod duplicates;
mod early;
mod ending;
mod expiry;
mod exporting;
mod failures;
mod finding;
mod import_status;
mod importing;
pub(crate) mod issues;
mod keeping;
mod leaving;
mod missing;
mod mode;
mod published;
mod renewal;
mod run;
mod standing;
mod suspects;
mod tally;
mod told;
mod transferring;
mod turn;
mod verifying;

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use crate::config::Step;
use crate::error::{Error, Kind, Result};
use crate::http::TokenUse;
use crate::pathling::{self, Who};
use crate::staging::layout;
use crate::sync::{self, SyncState};
use contract::{Carried, ManifestPlace};
use failures::Concerned;

pub use cancelling::{AtSource, Cancelled, GivenUp, cancel};
pub use context::{Context, Deadline};
pub use early::ahead;
pub use leaving::{LeftBehind, left_behind};
pub use standing::{Standing, standing};
pub use verifying::{OfType, ReadBack, Sample, read_back};

/// How long after its deadline a transfer may take to say how far it is.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// How long the end of a call's audit log may take to be written.
const LOGGING: Duration = Duration::from_secs(5);

/// The same where the call's time is over.
const LAST_LINES: Duration = Duration::from_millis(100);

/// Does one step: takes its event, gives its output, both as the public contract has them.
///
/// An error that the run cannot survive is written down in the run's record, and the run is then no longer the one in
/// progress.
pub async fn run(step: Step, context: &Context, event: Value) -> Result<Value> {
    run_until(step, context, event, Deadline::default()).await
}

/// As [`run`], for a caller that has to answer by `deadline`.
pub async fn run_until(
    step: Step,
    context: &Context,
    event: Value,
    deadline: Deadline,
) -> Result<Value> {
    let concerned = Concerned::of(step, &event);
    begin(step, context, &event);
    // Each step is a large future, and only one of them runs: they live on the heap, not in every caller.
    let work = async {
        match step {
            Step::FhirExport => {
                json(&Box::pin(exporting::fhir_export(context, &event, deadline)).await?)
            }
            Step::CheckExportStatus => {
                json(&Box::pin(checking::check_export_status(context, &event)).await?)
            }
            Step::TransferToS3 => {
                Box::pin(transferring::transfer_to_s3(context, event, deadline)).await
            }
            Step::PathlingImport => {
                json(&Box::pin(importing::pathling_import(context, &event, deadline)).await?)
            }
            Step::CheckImportStatus => {
                json(&Box::pin(import_status::check_import_status(context, &event)).await?)
            }
            Step::Command => Err(Kind::Input.error("the command is no single step")),
        }
    };
    let outcome = match deadline.0 {
        Some(at) => tokio::time::timeout_at(last_moment(step, at), work)
            .await
            .unwrap_or_else(|_| Err(out_of_time(step))),
        None => work.await,
    };
    if let Err(error) = &outcome
        && error.kind() == Kind::JobInProgress
    {
        context.tally().waited(step);
    }
    let polled = step == Step::CheckExportStatus
        && matches!(&outcome, Err(error) if error.kind() == Kind::JobInProgress);
    // A poll has begun nothing, and whoever stages ahead is in the middle of it.
    if outcome.is_err() && !polled {
        // One file that fails drops the others half-way, and a Lambda may not run again for hours.
        context.settle().await;
    }
    let left = || {
        let left = deadline
            .0
            .map(|at| at.saturating_duration_since(Instant::now()));
        left.unwrap_or(LOGGING).clamp(LAST_LINES, LOGGING)
    };
    if let Err(error) = &outcome {
        Box::pin(failures::write_down(
            step,
            context,
            concerned,
            error,
            left(),
        ))
        .await;
    }
    // A store that has just failed has its chance with the next call.
    if !outcome.as_ref().is_err_and(Error::is_of_staging) {
        context.keep_log(left()).await;
    }
    outcome
}

/// Says whose work begins. The requests of a run have one name from its kick-off on, which the run's record remembers.
fn begin(step: Step, context: &Context, event: &Value) {
    if step == Step::FhirExport {
        return context.begin(Some(&Uuid::new_v4().to_string()), None);
    }
    context.begin(None, event.get("run").and_then(Value::as_str));
}

/// A run that was begun and has not ended.
#[derive(Clone, Debug)]
pub struct Unfinished {
    /// Its name.
    pub run: String,
    /// The step with which it goes on.
    pub step: Step,
    /// That step's event.
    pub event: Value,
}

/// The run of the same synchronisation and the same `SINCE` setting that an earlier start did not finish.
///
/// It goes on with the transfer where the manifest is staged (what is complete is not fetched again), else with the
/// export's status. One whose export has expired meanwhile is ended, unless everything is staged.
pub async fn unfinished(context: &Context) -> Result<Option<Unfinished>> {
    let staging = context.staging().await?;
    let settings = context.settings();
    let key = sync::key(settings);
    let Some(in_progress) = SyncState::load(staging, &key).await?.in_progress else {
        return Ok(None);
    };
    if in_progress.since_setting != settings.since_setting() {
        return Ok(None);
    }
    let Some((record, kick_off)) = run::of_kick_off(staging, &in_progress).await? else {
        return Ok(None);
    };
    let age = staging.clock().since(&kick_off.at);
    let too_old = age.is_some_and(|age| age > settings.sync.resume_within);
    if record.ended().is_some() || too_old {
        return Ok(None);
    }
    // A manifest that was seen before the kick-off may be an earlier job's.
    let seen = record
        .manifest
        .as_ref()
        .is_some_and(|manifest| manifest.at >= kick_off.at);
    if seen && expiry::leave_behind(staging, &record, &key).await? {
        return Ok(None);
    }
    let run = record.run.clone();
    let mut event = json!({"statusUrl": kick_off.status_url, "run": run, "key": key});
    if kick_off.manifest.is_none() {
        event["since"] = json!(kick_off.since);
    }
    if let Some(mode) = &kick_off.mode {
        event["mode"] = json!(mode);
    }
    let key = layout::manifest_key(&run);
    let base = crate::export::parse_status_url(&kick_off.status_url).ok();
    let step = match record.manifest {
        // Another publication may have taken its place, to which some of the files may belong.
        Some(_) if kick_off.manifest.is_some() && record.transfer.is_none() => {
            Step::CheckExportStatus
        }
        Some(manifest) if seen && run::is_stored_whole(staging, &run, base.as_ref()).await? => {
            event["result"] = json(&ManifestPlace {
                manifest: staging.url(&key),
                transaction_time: manifest.transaction_time,
                outputs: manifest.outputs,
                deleted: None,
                errors: None,
            })?;
            Step::TransferToS3
        }
        _ => Step::CheckExportStatus,
    };
    Ok(Some(Unfinished { run, step, event }))
}

/// How long the target has to say who it is before anything is exported.
const FIRST_LOOK: Duration = Duration::from_secs(5);

/// Sees that the target is a Pathling that imports, before anything is exported in vain.
///
/// It is asked without credentials, for both Pathlings tell that to anybody, and whatever else it answers, or fails to, is for
/// the steps that need it. Gives [`Kind::Configuration`] for what says that it is something else.
async fn look_at_target(context: &Context) -> Result<()> {
    let settings = context.settings();
    // The function that exports knows the target's address alone.
    if settings.dialect.is_some() || settings.target.is_none() {
        return Ok(());
    }
    // What is wrong with its settings is told where they are needed.
    let Ok((client, endpoint)) = context.target().await else {
        return Ok(());
    };
    let asking = pathling::who(client, endpoint, TokenUse::Never);
    match tokio::time::timeout(FIRST_LOOK, asking).await {
        Ok(Ok(Who::Other(error))) => return Err(error),
        Ok(Ok(Who::Pathling(dialect, software))) => context.knows_target(dialect, software),
        Ok(Err(error)) => {
            tracing::debug!(error = error.what(), "the target does not say who it is");
        }
        Err(_) => tracing::debug!("the target does not answer yet"),
    }
    Ok(())
}

/// When a step is cut off. The transfer of files keeps to its deadline by itself and says then how far it is, for which it
/// is left a moment; what comes before and after it, in staging, does not.
fn last_moment(step: Step, deadline: Instant) -> Instant {
    match step {
        Step::TransferToS3 => deadline + LAST_WORDS,
        _ => deadline,
    }
}

/// What is said of a server that answers too slowly for the time that a step has.
fn out_of_time(step: Step) -> Error {
    let (kind, server) = match step {
        Step::PathlingImport | Step::CheckImportStatus => (Kind::TargetUnavailable, "target"),
        Step::TransferToS3 => (Kind::StagingUnavailable, "store under STAGING_URL"),
        _ => (Kind::SourceUnavailable, "source"),
    };
    kind.error(format!(
        "{}: the {server} did not answer in the time that this call had",
        step.name()
    ))
}

fn json(output: &impl Serialize) -> Result<Value> {
    serde_json::to_value(output)
        .map_err(|error| Kind::Input.error(format!("the step's output cannot be written: {error}")))
}

/// A step that is told the synchronisation's key must be able to move its state: otherwise a night would run that can
/// never be remembered.
fn require_staging_for_key(context: &Context, carried: &Carried) -> Result<()> {
    if carried.key.is_some() && context.settings().staging.is_none() {
        return Err(Kind::Configuration
            .error("the event carries a \"key\", so an earlier step keeps state, and STAGING_URL is missing here")
            .next("Set STAGING_URL to the same place for all five functions."));
    }
    Ok(())
}

fn fail_on(unsupported: &BTreeSet<&str>) -> Result<()> {
    if unsupported.is_empty() {
        return Ok(());
    }
    let types: Vec<&str> = unsupported.iter().copied().collect();
    Err(Kind::Configuration
        .error(format!(
            "the export has types that the target cannot hold: {}",
            types.join(", ")
        ))
        .next("Leave them out by TYPES, or set UNSUPPORTED_TYPES=skip to import the rest."))
}
