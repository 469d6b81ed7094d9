//! What a complete transfer leads to: what the target is told to import, and what is said and written down of it.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::Value;

use super::Context;
use crate::config::{ImportMode, Settings};
use crate::error::{Kind, Result};
use crate::manifest::Manifest;
use crate::pathling::{self, Location};
use crate::progress::{Event, Total};
use crate::staging::layout;
use crate::sync::{RunRecord, Transferred};
use crate::transfer::Brought;

/// What is written down of a complete transfer that began at `started`. What a person should know is logged.
pub(super) fn transferred(
    context: &Context,
    run: &str,
    mode: ImportMode,
    stored: &Manifest,
    brought: &Brought,
    started: Instant,
) -> Result<Transferred> {
    let settings = context.settings();
    let unsupported = unsupported(settings, &brought.resources)?;
    let parameters = parameters(settings, run, mode, &brought.resources)?;
    warn(&unsupported);
    log(run, brought);
    Ok(Transferred {
        at: context.clock().moment(),
        staged: None,
        seconds: started.elapsed().as_secs_f64(),
        files: brought.files,
        fetched: brought.fetched,
        bytes: brought.bytes,
        bytes_by_type: brought.bytes_by_type.clone(),
        resources: brought.resources.clone(),
        unsupported,
        deletions: stored.head.deleted,
        export_errors: stored.head.errors,
        mode: mode.as_str().to_owned(),
        missing: Vec::new(),
        emptied: false,
        parameters,
    })
}

/// What is told of a complete transfer that this call began at `started`; `record` is as it was then.
pub(super) fn total(
    context: &Context,
    brought: &Brought,
    record: &RunRecord,
    started: Instant,
) -> Event {
    let kick_off = record.newest_kick_off();
    let since = kick_off.and_then(|kick_off| context.clock().since(&kick_off.at));
    Event::TransferComplete(Total {
        files: brought.files,
        resources: brought.resources.clone(),
        bytes: brought.bytes,
        again: record.transfer.is_some(),
        took: since.unwrap_or_else(|| started.elapsed()),
    })
}

/// What the target is told to import of a run that has so many resources of each type.
pub(super) fn parameters(
    settings: &Settings,
    run: &str,
    mode: ImportMode,
    resources: &BTreeMap<String, u64>,
) -> Result<Value> {
    let unsupported = unsupported(settings, resources)?;
    let held = resources.keys();
    let locations: Vec<Location> = held
        .filter(|resource_type| !unsupported.contains(resource_type))
        .map(|resource_type| location(settings, run, resource_type, mode))
        .collect::<Result<_>>()?;
    Ok(pathling::parameters(&locations))
}

/// The types that came and that no target can hold. Those of mixed files are in no manifest, so it is here that they stop
/// the run.
fn unsupported(settings: &Settings, resources: &BTreeMap<String, u64>) -> Result<Vec<String>> {
    let types = resources.keys();
    let unsupported = types.filter(|name| !pathling::holds(settings.dialect, name));
    let unsupported: Vec<String> = unsupported.cloned().collect();
    if settings.fail_on_unsupported_types {
        super::fail_on(&unsupported.iter().map(String::as_str).collect())?;
    }
    Ok(unsupported)
}

/// The glob over a type's files, as the target sees it.
pub(super) fn location(
    settings: &Settings,
    run: &str,
    resource_type: &str,
    mode: ImportMode,
) -> Result<Location> {
    let place = settings
        .target_staging
        .as_ref()
        .or(settings.staging.as_ref());
    let place = place.ok_or_else(|| Kind::Configuration.error("STAGING_URL is missing"))?;
    let url = place.url(&layout::glob_key(run, resource_type));
    Ok(Location {
        resource_type: resource_type.to_owned(),
        url,
        mode,
    })
}

fn warn(unsupported: &[String]) {
    if !unsupported.is_empty() {
        tracing::warn!(
            types = unsupported.join(","),
            "types that the target cannot hold are staged and left out of the import"
        );
    }
}

/// Says that everything is staged.
pub(super) fn log(run: &str, brought: &Brought) {
    let resources: u64 = brought.resources.values().sum();
    tracing::info!(
        run,
        files = brought.files,
        fetched = brought.fetched,
        bytes = brought.bytes,
        resources,
        "everything is staged"
    );
}
