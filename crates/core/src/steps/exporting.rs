//! `fhir-export`: an export is asked for, and that it was is written down.

use serde_json::Value;

use super::contract::{self, Carried, ExportStarted};
use super::published;
use super::told::KickOffTold;
use super::{Context, Deadline};
use crate::config::{Settings, Step};
use crate::error::Result;
use crate::export::{self, Capability, Patience, Wanted};
use crate::staging::{Staging, layout};
use crate::sync::{self, InProgress, KickOff, Next, RunRecord, SyncState};

/// Asks the source for an export, and gives its status URL.
///
/// With staging, the kick-off is written into the run's record, and the run becomes the one in progress of its key.
pub(super) async fn fhir_export(
    context: &Context,
    event: &Value,
    deadline: Deadline,
) -> Result<ExportStarted> {
    let settings = context.settings();
    let execution = contract::execution(event).map(str::to_owned);
    if let Some(manifest) = &settings.manifest {
        return published::begin(context, manifest, execution).await;
    }
    if let Some(begun) = resume(context, execution.as_deref()).await? {
        return Ok(begun);
    }
    let (client, endpoint) = context.source().await?;
    let next = next(context).await?;
    let mut wanted = Wanted {
        types: settings.types.clone(),
        since: next.since.clone(),
        export: settings.export.clone(),
        separate_status: settings.job.separate_status,
        partial_manifests: settings.job.partial_manifests,
    };
    let capability = match context.capability(&wanted).await {
        Ok(capability) => capability,
        Err(error) => {
            context.tell(KickOffTold::new(endpoint, &wanted, None).with(Err(error.clone())));
            return Err(error);
        }
    };
    // What is wrong with the source is told first, and nothing is exported for what is no target.
    super::look_at_target(context).await?;
    let lacks_pieces = capability.is_some_and(Capability::lacks_partial_manifests);
    wanted.partial_manifests &= !lacks_pieces;
    let told = KickOffTold::new(endpoint, &wanted, capability);
    let state = match context.staging_if_any().await? {
        Some(staging) => Some((staging, announce(staging, settings).await?)),
        None => None,
    };
    let patience = Patience {
        deadline: deadline.0,
        retry_after_max: settings.retry_after_max,
    };
    let sent = export::kick_off(client, endpoint, &wanted, capability, patience).await;
    let accepted = match sent {
        Ok(accepted) => accepted,
        Err(failed) => {
            context.tell(told.with(Err(failed.error.clone())));
            // Whoever says no has begun no job; of one who did not answer that is not known.
            if !failed.may_run
                && let Some((staging, announced)) = &state
            {
                retract(staging, announced).await;
            }
            return Err(failed.error);
        }
    };
    let status_url = accepted.status_url.to_string();
    let mode = next.mode.map(|mode| mode.as_str().to_owned());
    let since = next.since.clone();
    let why = next.why.clone();
    let written = match state {
        Some((staging, announced)) => {
            let kick_off = KickOff {
                at: staging.clock().moment(),
                date: accepted.date,
                status_url: status_url.clone(),
                since: next.since,
                why: next.why,
                mode: mode.clone(),
                until: settings.export.until.clone(),
                types: settings.types.clone(),
                level: settings.export.level.to_string(),
                method: accepted.method.as_str().to_owned(),
                request_id: context.request_id(),
                unanswered: announced.unanswered,
                key: announced.key,
                seen: None,
                software: capability.and_then(|told| told.software().if_any()),
                manifest: None,
            };
            let setting = settings.since_setting();
            let run = layout::run_of(&status_url);
            let key = kick_off.key.clone();
            let run = write_down(staging, run, Some(&announced.at), kick_off, setting).await;
            run.map(|run| (run, Some(key)))
        }
        None => Ok((layout::run_of(&status_url), None)),
    };
    if let Ok((run, _)) = &written {
        context.of_run(run, None);
    }
    // Whatever became of that in staging: the source has begun a job.
    context.tell(told.with(Ok(accepted.answered)));
    let (run, key) = written?;
    tracing::info!(run, since, why, "export kicked off");
    let carried = Carried {
        run,
        since: Some(since.into()),
        mode,
        key,
        execution,
    };
    Ok(ExportStarted {
        status_url,
        carried,
    })
}

/// What is to be asked for: what the settings say, or what follows from the runs before.
async fn next(context: &Context) -> Result<Next> {
    let settings = context.settings();
    if !settings.sync.auto {
        let why = match settings.since {
            Some(_) => "SINCE is set",
            None => "SINCE is not set",
        };
        return Ok(Next {
            since: settings.since.clone(),
            why: why.to_owned(),
            mode: None,
        });
    }
    let staging = context.staging().await?;
    let state = SyncState::load(staging, &sync::key(settings)).await?;
    Ok(state.next(&settings.sync, staging.clock().now()))
}

/// The run that an earlier execution did not finish, where `RESUME` has it gone on with. The steps after this one find what
/// of it is done.
async fn resume(context: &Context, execution: Option<&str>) -> Result<Option<ExportStarted>> {
    if !context.settings().sync.resume || context.settings().staging.is_none() {
        return Ok(None);
    }
    let Some(left) = super::unfinished(context).await? else {
        return Ok(None);
    };
    let carried = Carried::read(Step::FhirExport, &left.event)?;
    let status_url = left.event.get("statusUrl").and_then(Value::as_str);
    tracing::info!(run = left.run, "going on with an unfinished run");
    Ok(status_url.map(|status_url| ExportStarted {
        status_url: status_url.to_owned(),
        carried: Carried {
            execution: execution.map(str::to_owned),
            ..carried
        },
    }))
}

/// That a kick-off is about to be sent was written down.
struct Announced {
    /// The synchronisation's key.
    key: String,
    /// When, which tells it from those of other processes.
    at: String,
    /// When earlier ones were sent of which nobody knows what became.
    unanswered: Vec<String>,
}

/// Writes down that a kick-off is about to be sent. So whatever is wrong with staging
/// shows before a job runs at the source, and a kick-off whose answer got lost is not forgotten.
async fn announce(staging: &Staging, settings: &Settings) -> Result<Announced> {
    let key = sync::key(settings);
    let at = staging.clock().moment();
    let state = SyncState::update(staging, &key, |state| {
        // A write whose answer got lost is done again.
        if !state.has_announced(&at) {
            state.announce(&at);
        }
        true
    })
    .await?;
    let mut unanswered = state.unanswered;
    unanswered.retain(|earlier| *earlier != at);
    for earlier in &unanswered {
        tracing::warn!(
            earlier,
            "the answer to an earlier kick-off got lost; a second export may be running at the source"
        );
    }
    Ok(Announced {
        key,
        at,
        unanswered,
    })
}

/// Takes back that a kick-off was sent. Best effort: it only saves a warning.
async fn retract(staging: &Staging, announced: &Announced) {
    let Announced { key, at, .. } = announced;
    let change = SyncState::update(staging, key, |state| state.answered(at));
    if let Err(error) = change.await {
        tracing::debug!(
            key,
            error = error.what(),
            "that a kick-off was refused could not be written down"
        );
    }
}

/// Writes a kick-off, which was announced at the moment `announced` if it was, into the record of its run, and makes that run
/// the one in progress. Gives the run's name, which is another one where the run of this name is another synchronisation's:
/// some sources answer alike questions with one job.
pub(super) async fn write_down(
    staging: &Staging,
    mut run: String,
    announced: Option<&str>,
    mut kick_off: KickOff,
    since_setting: Option<String>,
) -> Result<String> {
    if !kick_off.unanswered.is_empty() {
        // Some may have been answered meanwhile: to processes that began at the same time.
        let state = SyncState::load(staging, &kick_off.key).await?;
        kick_off.unanswered.retain(|at| state.has_announced(at));
    }
    let mut shares = false;
    let mut add = |record: &mut RunRecord| {
        if record.is_of_another(&kick_off.key) {
            // That one may still need the job; and this one may, when that one is done.
            shares = record.ended().is_none();
            return shares && !std::mem::replace(&mut record.shared, true);
        }
        record.shared |= shares;
        if !record.kick_offs.contains(&kick_off) {
            record.kick_offs.push(kick_off.clone());
        }
        true
    };
    let record = RunRecord::update(staging, &run, &mut add).await?;
    if record.is_of_another(&kick_off.key) {
        run = layout::beside_run(&run, &kick_off.key);
        RunRecord::update(staging, &run, &mut add).await?;
    }
    SyncState::update(staging, &kick_off.key, |state| {
        if let Some(announced) = announced {
            state.answered(announced);
        }
        // They are told of in the run's record from now on.
        for told in &kick_off.unanswered {
            state.answered(told);
        }
        state.last_error = None;
        state.in_progress = Some(InProgress {
            run: run.clone(),
            kick_off: kick_off.at.clone(),
            since_setting: since_setting.clone(),
        });
        true
    })
    .await?;
    Ok(run)
}
