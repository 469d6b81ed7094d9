//! How a run is imported, which follows from what its export asked for: a delta must not take the place of everything.

use super::contract::Carried;
use super::run::since_of;
use crate::config::{ImportMode, PARTIAL_OVERWRITE, Settings};
use crate::error::{Kind, Result};
use crate::manifest::{Asked, Head};
use crate::sync::RunRecord;

/// Decides how the run is imported, and fills in what the event does not say of that.
pub(super) fn decide(
    settings: &Settings,
    carried: &mut Carried,
    record: &RunRecord,
    head: &Head,
) -> Result<ImportMode> {
    learn(carried, settings, record, head);
    let mode = import_mode(settings, carried)?;
    refuse_overwrite(settings, record, head, mode)?;
    Ok(mode)
}

/// What the export asked for and how it is to be imported, where the event does not say it.
fn learn(carried: &mut Carried, settings: &Settings, record: &RunRecord, head: &Head) {
    carried.since = since_of(carried, Some(record), head)
        .or_else(|| settings.since.clone().map(Asked::ChangesAfter))
        .or(Some(Asked::Everything));
    let newest = record.newest_kick_off();
    let decided = newest.and_then(|kick_off| kick_off.mode.clone());
    carried.mode = carried.mode.take().or(decided);
}

/// How the run is imported: a delta by merge, a full export as `fhir-export` decided or else as the settings say.
fn import_mode(settings: &Settings, carried: &Carried) -> Result<ImportMode> {
    let decided = carried.mode.as_deref().and_then(ImportMode::parse);
    let asked = decided.unwrap_or(settings.import_mode);
    let is_delta = matches!(carried.since, Some(Asked::ChangesAfter(_)));
    if is_delta && asked == ImportMode::Overwrite && !settings.allow_partial_overwrite {
        return Err(Kind::Configuration.error(PARTIAL_OVERWRITE));
    }
    Ok(asked)
}

/// Refuses `overwrite` where the manifest is of an export of which nothing tells whether it was one of changes alone: one
/// that was asked for by POST does not show that.
fn refuse_overwrite(
    settings: &Settings,
    record: &RunRecord,
    head: &Head,
    mode: ImportMode,
) -> Result<()> {
    let ours = settings.manifest.is_none() && !record.is_from_manifest();
    if ours || mode != ImportMode::Overwrite || settings.allow_partial_overwrite {
        return Ok(());
    }
    let ends_with = |url: &str, operation: &str| {
        let path = url.split(['?', '#']).next().unwrap_or_default();
        path.trim_end_matches('/').ends_with(operation)
    };
    let newest = record.newest_kick_off();
    let published = newest.is_some_and(|begun| ends_with(&begun.status_url, "$bulk-publish"));
    let why = match head.request.as_deref() {
        None if !published => "it has no \"request\"",
        Some(request) if ends_with(request, "$export") => {
            "its \"request\" is an $export without parameters, which may have been sent by POST"
        }
        _ => return Ok(()),
    };
    if head.asked().is_some() {
        return Ok(());
    }
    Err(Kind::Configuration
        .error(format!(
            "the manifest does not tell whether its export was a full one: {why}"
        ))
        .next(format!(
            "If it was not, {PARTIAL_OVERWRITE}. If it was, set ALLOW_PARTIAL_OVERWRITE=true."
        )))
}
