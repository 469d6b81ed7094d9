//! `fhir-export` and `check-export-status`.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use url::Url;

use super::contract::{Carried, ExportComplete, ExportStarted, ManifestPlace, StatusQuery};
use super::published::{self, ManifestAt};
use super::run::{keep_manifest, refuse_cancelled, since_of, stored_head};
use super::told::{KickOffTold, ask};
use super::{Context, Deadline, batches, expiry, require_staging_for_key};
use crate::config::{MixedFiles, Place, Settings, Step};
use crate::error::{Error, Kind, Result};
use crate::export::{self, Patience, Polled, Status, Told, Wanted};
use crate::manifest::{self, Head};
use crate::progress::Event;
use crate::staging::{Staging, layout};
use crate::sync::{self, InProgress, KickOff, RunRecord, SyncState};

/// The largest manifest, in bytes of JSON, that an output holds itself: Step Functions carries 256 KiB in all.
const CARRIED_WHOLE: usize = 192 * 1024;

/// The largest manifest, in bytes of JSON, that is made an output where there is no staging. What is written with many
/// blanks may shrink to what Step Functions carries; the functions look at what comes of it.
const WITHOUT_STAGING: usize = 1 << 20;

/// Asks the source for an export, and gives its status URL.
///
/// With staging, the kick-off is written into the run's record, and the run becomes the one in progress of its key.
pub(super) async fn fhir_export(context: &Context, deadline: Deadline) -> Result<ExportStarted> {
    let settings = context.settings();
    if let Some(manifest) = &settings.manifest {
        return published::begin(context, manifest).await;
    }
    let (client, endpoint) = context.source().await?;
    let wanted = Wanted {
        types: settings.types.clone(),
        since: settings.since.clone(),
        export: settings.export.clone(),
        separate_status: settings.job.separate_status,
    };
    let (capability, told) = match context.capability(&wanted).await {
        Ok(capability) => (capability, KickOffTold::new(endpoint, &wanted, capability)),
        Err(error) => {
            context.tell(KickOffTold::new(endpoint, &wanted, None).with(Err(error.clone())));
            return Err(error);
        }
    };
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
    let run = layout::run_of(&status_url);
    context.of_run(&run, None);
    context.tell(told.with(Ok(accepted.answered)));
    tracing::info!(run, since = settings.since, "export kicked off");
    let mut carried = Carried {
        run: run.clone(),
        since: Some(settings.since.clone().into()),
        mode: None,
        key: None,
    };
    if let Some((staging, announced)) = state {
        let key = announced.key.clone();
        let why = match settings.since {
            Some(_) => "SINCE is set",
            None => "SINCE is not set",
        };
        let kick_off = KickOff {
            at: sync::now(),
            date: accepted.date,
            status_url: status_url.clone(),
            since: settings.since.clone(),
            why: why.to_owned(),
            mode: None,
            types: settings.types.clone(),
            level: settings.export.level.to_string(),
            method: accepted.method.as_str().to_owned(),
            request_id: context.request_id(),
            unanswered: announced.unanswered,
            key: key.clone(),
            seen: None,
            manifest: None,
        };
        write_down(staging, &run, Some(&announced.at), kick_off).await?;
        carried.key = Some(key);
    }
    Ok(ExportStarted {
        status_url,
        carried,
    })
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
    let at = sync::now();
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
/// the one in progress.
pub(super) async fn write_down(
    staging: &Staging,
    run: &str,
    announced: Option<&str>,
    mut kick_off: KickOff,
) -> Result<()> {
    if !kick_off.unanswered.is_empty() {
        // Some may have been answered meanwhile: to processes that began at the same time.
        let state = SyncState::load(staging, &kick_off.key).await?;
        kick_off.unanswered.retain(|at| state.has_announced(at));
    }
    RunRecord::update(staging, run, |record| {
        if !record.kick_offs.contains(&kick_off) {
            record.kick_offs.push(kick_off.clone());
        }
        true
    })
    .await?;
    SyncState::update(staging, &kick_off.key, |state| {
        if let Some(announced) = announced {
            state.answered(announced);
        }
        // They are told of in the run's record from now on.
        for told in &kick_off.unanswered {
            state.answered(told);
        }
        state.in_progress = Some(InProgress {
            run: run.to_owned(),
            kick_off: kick_off.at.clone(),
            since_setting: kick_off.since.clone(),
        });
        true
    })
    .await?;
    Ok(())
}

/// Asks how the export goes, and gives the manifest when it is complete.
pub(super) async fn check_export_status(
    context: &Context,
    event: &Value,
) -> Result<ExportComplete> {
    let StatusQuery {
        status_url,
        mut carried,
    } = StatusQuery::read(Step::CheckExportStatus, event)?;
    require_staging_for_key(context, &carried)?;
    require_bucket_for_batches(context.settings())?;
    let (_, endpoint) = context.source().await?;
    let manifest_at = ManifestAt::of(context.settings(), endpoint, &status_url)?;
    let base = manifest_at.base();
    if carried.run.is_empty() {
        carried.run = layout::run_of(&status_url);
    }
    let staging = context.staging_if_any().await?;
    let record = match staging {
        Some(staging) => Some(RunRecord::load_newest(staging, &carried.run).await?),
        None => None,
    };
    context.of_run(&carried.run, record.as_ref());
    // Of a job that was deleted after all was staged, the source knows nothing, or what is not so.
    let before = async |record: &RunRecord| match staging {
        Some(staging) => {
            refuse_cancelled(record)?;
            if record.deletion().is_none() {
                return Ok(None);
            }
            Box::pin(told_before(
                context,
                staging,
                record,
                &carried,
                &status_url,
                base,
            ))
            .await
        }
        None => Ok::<_, Error>(None),
    };
    if let Some(record) = &record
        && let Some(complete) = before(record).await?
    {
        return Ok(complete);
    }
    let Polled { status, expires } = ask(context, &manifest_at).await?;
    let told = match status {
        Status::InProgress {
            progress,
            retry_after,
            known,
        } => {
            if let (true, Some(staging), Some(record)) = (known, staging, &record) {
                record.saw_job(staging, &status_url).await;
            }
            return Err(in_progress(progress, retry_after));
        }
        Status::Absent {
            status,
            said,
            answered,
        } => {
            // Another process may have had it deleted since the record was read.
            if let Some(staging) = staging
                && let Some(complete) =
                    before(&RunRecord::load_newest(staging, &carried.run).await?).await?
            {
                return Ok(complete);
            }
            let error = manifest_at
                .absent(&said)
                .unwrap_or_else(|| absent(status, &said, record.as_ref(), &status_url))
                .of_answer(answered);
            context.tell(Event::StatusFailed(error.clone()));
            return Err(error);
        }
        Status::Complete(told) => told,
    };
    if context.settings().mixed_files == MixedFiles::Refuse {
        told.head.refuse_untyped()?;
    }
    let Some(staging) = staging else {
        carried.since = since_of(&carried, None, &told.head);
        return Ok(ExportComplete {
            result: carried_whole(&told)?,
            status_url,
            batches: None,
            carried,
        });
    };
    keep(
        context,
        staging,
        (told, expires),
        carried,
        &status_url,
        &manifest_at,
    )
    .await
}

/// Writes the manifest that was told into the run's folder, and gives what the step answers then.
async fn keep(
    context: &Context,
    staging: &Staging,
    (told, expires): (Told, Option<Timestamp>),
    mut carried: Carried,
    status_url: &str,
    manifest_at: &ManifestAt,
) -> Result<ExportComplete> {
    let text = || told.text.clone();
    let is_instant = sync::is_instant(&told.head.transaction_time);
    let base = manifest_at.base();
    let name = manifest_at.run_of(&carried.run, &told.head);
    let kept = keep_manifest(staging, &carried.run, name, &told.head, text, base).await?;
    if kept.run != carried.run {
        context
            .audit()
            .moved(staging, &carried.run, &kept.run)
            .await;
    }
    carried.run = kept.run;
    if !is_instant {
        tracing::warn!(
            run = carried.run,
            "the source's manifest has no instant as its transactionTime, so it does not tell from when on a next delta has to ask"
        );
    }
    expiry::keep(staging, &kept.record, expires).await?;
    carried.since = since_of(&carried, Some(&kept.record), &told.head);
    let with_batches = context.settings().batches;
    let result = if with_batches || told.text.len() > CARRIED_WHOLE {
        by_reference(staging, &carried.run, &told.head)?
    } else {
        value(&told.text)?
    };
    // Before more is read: a large manifest is not held twice.
    drop(told);
    let (settings, run) = (context.settings(), &carried.run);
    let batches = batches::write(settings, staging, run, status_url, base).await?;
    Ok(ExportComplete {
        result,
        status_url: status_url.to_owned(),
        batches,
        carried,
    })
}

/// The answer to a call that comes again after the export's job was deleted: from the manifest that the run follows;
/// `None` where that is no longer there.
async fn told_before(
    context: &Context,
    staging: &Staging,
    record: &RunRecord,
    carried: &Carried,
    status_url: &str,
    base: Option<&Url>,
) -> Result<Option<ExportComplete>> {
    let key = layout::manifest_key(&record.run);
    let Some(stored) = staging.head(&key).await? else {
        return Ok(None);
    };
    let Some(head) = stored_head(staging, &key, base).await? else {
        return Ok(None);
    };
    if context.settings().mixed_files == MixedFiles::Refuse {
        head.refuse_untyped()?;
    }
    let mut carried = carried.clone();
    carried.run.clone_from(&record.run);
    carried.since = since_of(&carried, Some(record), &head);
    let with_batches = context.settings().batches;
    let large = stored.size > CARRIED_WHOLE as u64;
    let small = if with_batches || large {
        None
    } else {
        staging.read(&key).await?
    };
    let result = match small {
        Some(object) => value(&object.bytes)?,
        None => by_reference(staging, &record.run, &head)?,
    };
    let (settings, run) = (context.settings(), &record.run);
    let batches = batches::write(settings, staging, run, status_url, base).await?;
    tracing::info!(
        run = record.run,
        "the export's job is deleted, so its stored manifest is given"
    );
    Ok(Some(ExportComplete {
        result,
        status_url: status_url.to_owned(),
        batches,
        carried,
    }))
}

/// What is said of an export that the source does not know.
fn absent(status: u16, said: &str, record: Option<&RunRecord>, status_url: &str) -> Error {
    let kick_off = record.and_then(|record| record.kick_off_of(status_url));
    let was_deleted = record
        .and_then(|record| record.job_deleted.as_ref())
        .is_some_and(|deleted| deleted.status_url == status_url);
    let what = match (status, kick_off) {
        (410, _) => format!("the export was cancelled at the source, or has expired there: {said}"),
        (_, Some(KickOff { seen: Some(at), .. })) => {
            format!("the source lost the export, which it still knew at {at}: {said}")
        }
        (_, Some(_)) if was_deleted => {
            return Kind::ExportFailed
                .error(format!(
                    "the source answered the kick-off with the job of an earlier one, which was deleted when all of it was staged: {said}"
                ))
                .next("Set DELETE_EXPORT_JOB=false for this source, and start again.");
        }
        (_, Some(_)) => {
            format!(
                "the source does not know the export that it had accepted, on the first poll: {said}"
            )
        }
        (_, None) => format!("the source does not know this export, or lost it: {said}"),
    };
    Kind::ExportFailed.error(what).next(
        "Start a new export. If that happens again, ask whoever runs the source what becomes of its export jobs, for instance when it restarts.",
    )
}

fn in_progress(progress: Option<String>, retry_after: Option<Duration>) -> Error {
    let progress = progress
        .map(|text| format!(" ({text})"))
        .unwrap_or_default();
    let asked = retry_after
        .map(|wait| {
            format!(
                "; the source wants to be asked again in {} s (Retry-After)",
                wait.as_secs()
            )
        })
        .unwrap_or_default();
    Kind::JobInProgress
        .error(format!("the export is in progress{progress}{asked}"))
        .retry_after(retry_after)
}

/// Batches are read by Step Functions, which reads S3 alone.
fn require_bucket_for_batches(settings: &Settings) -> Result<()> {
    if !settings.batches || matches!(settings.staging, Some(Place::S3 { .. })) {
        return Ok(());
    }
    Err(Kind::Configuration
        .error("TRANSFER_BATCHES is true, and STAGING_URL is not in S3, where Step Functions reads the batches")
        .next("Set STAGING_URL to a place in S3, or leave TRANSFER_BATCHES out: only the distributed workflow uses batches."))
}

/// The manifest itself, where there is no staging that could hold it.
fn carried_whole(told: &Told) -> Result<Value> {
    let size = told.text.len();
    if size > WITHOUT_STAGING {
        return Err(Kind::Configuration
            .error(format!("the manifest has {size} bytes, and Step Functions carries at most 262144"))
            .next("Set STAGING_URL for this function too, so that what is large can be kept there, or run the command, which has no such limit."));
    }
    value(&told.text)
}

/// The manifest exactly as the source sent it, as far as that can be told from its JSON.
fn value(text: &[u8]) -> Result<Value> {
    serde_json::from_slice(manifest::without_mark(text)).map_err(|error| {
        Kind::Manifest.error(format!(
            "what the source calls a manifest is not one: {error}"
        ))
    })
}

/// What stands for a manifest that is in staging.
fn by_reference(staging: &Staging, run: &str, head: &Head) -> Result<Value> {
    super::json(&ManifestPlace {
        manifest: staging.url(&layout::manifest_key(run)),
        transaction_time: head.transaction_time.clone(),
        outputs: head.outputs,
        deleted: Some(head.deleted),
        errors: Some(head.errors),
    })
}
