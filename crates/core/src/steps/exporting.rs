//! `fhir-export` and `check-export-status`.

use serde_json::Value;
use url::Url;

use super::contract::{Carried, ExportComplete, ExportStarted, StatusQuery};
use super::run::{keep_manifest, since_of};
use super::{Context, require_staging_for_key};
use crate::config::{Settings, Step};
use crate::error::{Error, Kind, Result};
use crate::export::{self, Status, Wanted};
use crate::http::{OperationOutcome, shown};
use crate::manifest::Manifest;
use crate::staging::{Staging, layout};
use crate::sync::{self, InProgress, KickOff, RunRecord, SyncState};

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
    let accepted = export::kick_off(client, endpoint, &wanted).await?;
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

/// Writes a kick-off into the record of its run, and makes that run the one in progress.
async fn write_down(staging: &Staging, run: &str, kick_off: KickOff) -> Result<()> {
    RunRecord::update(staging, run, |record| {
        if !record.kick_offs.contains(&kick_off) {
            record.kick_offs.push(kick_off.clone());
            // A server that answers a new kick-off with an old job begins the run anew.
            record.outcome = None;
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
    let url = export::parse_status_url(&status_url)?;
    let (client, endpoint) = context.source().await?;
    let result = match export::status(client, endpoint, &url).await? {
        Status::InProgress {
            progress,
            retry_after,
        } => {
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
            return Err(Kind::JobInProgress
                .error(format!("the export is in progress{progress}{asked}"))
                .retry_after(retry_after));
        }
        Status::Complete(result) => result,
    };
    let manifest =
        Manifest::read(&result, Some(&url)).map_err(|error| told(&error, &url, &result))?;
    if carried.run.is_empty() {
        carried.run = layout::run_of(&status_url);
    }
    match context.staging_if_any().await? {
        Some(staging) => {
            let kept = keep_manifest(staging, &carried.run, &result, &manifest, Some(&url)).await?;
            carried.run = kept.run;
            carried.since = since_of(&carried, Some(&kept.record), &manifest);
        }
        None => carried.since = since_of(&carried, None, &manifest),
    }
    Ok(ExportComplete {
        result,
        status_url,
        carried,
    })
}

/// Where it was that no manifest came from, and what came in its place where that says so itself.
fn told(error: &Error, url: &Url, value: &Value) -> Error {
    let says = OperationOutcome::from_value(value)
        .map(|outcome| outcome.text())
        .filter(|text| !text.is_empty())
        .map(|text| format!(": {text}"))
        .unwrap_or_default();
    let what = format!("GET {}: {}{says}", shown(url), error.what());
    Kind::Manifest.error(what).next(error.advice().to_owned())
}
