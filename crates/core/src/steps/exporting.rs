//! `fhir-export` and `check-export-status`.

use std::time::Duration;

use serde_json::Value;

use super::contract::{Carried, ExportComplete, ExportStarted, ManifestPlace, StatusQuery};
use super::run::{keep_manifest, since_of};
use super::{Context, batches, require_staging_for_key};
use crate::config::{MixedFiles, Place, Settings, Step};
use crate::error::{Error, Kind, Result};
use crate::export::{self, Status, Told, Wanted};
use crate::http;
use crate::manifest::{self, Head};
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
pub(super) async fn fhir_export(context: &Context) -> Result<ExportStarted> {
    let settings = context.settings();
    let (client, endpoint) = context.source().await?;
    let wanted = Wanted {
        types: settings.types.clone(),
        since: settings.since.clone(),
    };
    let state = match context.staging_if_any().await? {
        Some(staging) => Some((staging, announce(staging, settings).await?)),
        None => None,
    };
    let accepted = match export::kick_off(client, endpoint, &wanted).await {
        Ok(accepted) => accepted,
        Err(error) => {
            // Whoever says no has begun no job; of one who did not answer that is not known.
            if (error.kind() != Kind::SourceUnavailable || error.was_unsent())
                && let Some((staging, key)) = &state
            {
                retract(staging, key).await;
            }
            return Err(error);
        }
    };
    let status_url = accepted.status_url.to_string();
    let run = layout::run_of(&status_url);
    tracing::info!(run, since = settings.since, "export kicked off");
    let mut carried = Carried {
        run: run.clone(),
        since: Some(settings.since.clone().into()),
        mode: None,
        key: None,
    };
    if let Some((staging, key)) = state {
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
            key: key.clone(),
        };
        write_down(staging, &run, kick_off).await?;
        carried.key = Some(key);
    }
    Ok(ExportStarted {
        status_url,
        carried,
    })
}

/// Writes down that a kick-off is about to be sent, and gives the synchronisation's key. So whatever is wrong with staging
/// shows before a job runs at the source, and a kick-off whose answer got lost is not forgotten.
async fn announce(staging: &Staging, settings: &Settings) -> Result<String> {
    let key = sync::key(settings);
    let at = sync::now();
    let mut earlier = None;
    SyncState::update(staging, &key, |state| {
        earlier = state
            .kick_off_sent
            .replace(at.clone())
            .filter(|earlier| *earlier != at);
        true
    })
    .await?;
    if let Some(earlier) = earlier {
        tracing::warn!(
            earlier,
            "the answer to an earlier kick-off got lost; a second export may be running at the source"
        );
    }
    Ok(key)
}

/// Takes back that a kick-off was sent. Best effort: it only saves a warning.
async fn retract(staging: &Staging, key: &str) {
    let change = SyncState::update(staging, key, |state| state.kick_off_sent.take().is_some());
    if let Err(error) = change.await {
        tracing::debug!(
            key,
            error = error.what(),
            "that a kick-off was refused could not be written down"
        );
    }
}

/// Writes a kick-off into the record of its run, and makes that run the one in progress.
async fn write_down(staging: &Staging, run: &str, kick_off: KickOff) -> Result<()> {
    RunRecord::update(staging, run, |record| {
        if !record.kick_offs.contains(&kick_off) {
            record.kick_offs.push(kick_off.clone());
        }
        true
    })
    .await?;
    SyncState::update(staging, &kick_off.key, |state| {
        state.kick_off_sent = None;
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
    let url = export::parse_status_url(&status_url)?;
    let (client, endpoint) = context.source().await?;
    let url = http::status_url_for_polling(endpoint, &url);
    let told = match export::status(client, endpoint, &url).await? {
        Status::InProgress {
            progress,
            retry_after,
        } => return Err(in_progress(progress, retry_after)),
        Status::Complete(told) => told,
    };
    if context.settings().mixed_files == MixedFiles::Refuse {
        told.head.refuse_untyped()?;
    }
    if carried.run.is_empty() {
        carried.run = layout::run_of(&status_url);
    }
    let Some(staging) = context.staging_if_any().await? else {
        carried.since = since_of(&carried, None, &told.head);
        return Ok(ExportComplete {
            result: carried_whole(&told)?,
            status_url,
            batches: None,
            carried,
        });
    };
    let text = || told.text.clone();
    let kept = keep_manifest(staging, &carried.run, &told.head, text, Some(&url)).await?;
    carried.run = kept.run;
    carried.since = since_of(&carried, Some(&kept.record), &told.head);
    let with_batches = context.settings().batches;
    let result = if with_batches || told.text.len() > CARRIED_WHOLE {
        by_reference(staging, &carried.run, &told.head)?
    } else {
        value(&told)?
    };
    // Before more is read: a large manifest is not held twice.
    drop(told);
    let batches = if with_batches {
        Some(batches::write(staging, &carried.run, &status_url, &url).await?)
    } else {
        None
    };
    Ok(ExportComplete {
        result,
        status_url,
        batches,
        carried,
    })
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
    value(told)
}

/// The manifest exactly as the source sent it, as far as that can be told from its JSON.
fn value(told: &Told) -> Result<Value> {
    serde_json::from_slice(manifest::without_mark(&told.text)).map_err(|error| {
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
