//! What was synchronised when: the run's record (`_run.json`) and the run in progress (`sync/<key>.json`).
//!
//! Both are small JSON objects, changed only by conditional writes. Fields that a later version of this program added
//! are kept as they are.

mod brought;
mod deletions;
mod duplicates;
mod effort;
mod issues;
mod job;
mod lease;
mod next;
mod published;
mod record;
mod state;
mod watermark;

use crate::config::{ExportSettings, Settings};
use crate::error::Result;
use crate::staging::{Staging, layout};

pub use self::deletions::Deleted;
pub use self::duplicates::{Duplicates, Repeated, StagedLine};
pub use self::effort::Effort;
pub use self::issues::{ExportIssues, FirstIssue, HELD};
pub use self::job::{CANCELLED, JobDeleted, StagedEarly};
pub use self::lease::{Gate, Lease};
pub use self::next::is_instant;
pub use self::published::{FromManifest, SUCCEEDED};
pub use self::record::{
    Attempt, FAILED, KickOff, LOST, ManifestSeen, Outcome, RunRecord, Transferred,
};
pub use self::state::{Ended, InProgress, LastError, SyncState};
pub use self::watermark::{Due, FullRun, Next, Watermark};

/// The outcome of a run that was imported.
pub const IMPORTED: &str = "imported";

/// The outcome of a run that had nothing to import.
pub const NOTHING: &str = "nothing to import";

/// The outcome of a run that came too late: a newer one had arrived.
pub const SUPERSEDED: &str = "superseded";

/// The name of the synchronisation that these settings describe: what is exported from where, and where it goes.
#[must_use]
pub fn key(settings: &Settings) -> String {
    let endpoint = settings.source.as_ref().map(|source| source.url.as_str());
    let manifest = settings.manifest.as_ref();
    let source = match manifest.map(|manifest| manifest.url().as_str()) {
        // No base URL begins so.
        Some(url) => format!("manifest {}", layout::manifest_source(url)),
        None => endpoint.unwrap_or_default().to_owned(),
    };
    let target = settings
        .target_address
        .as_ref()
        .map(url::Url::as_str)
        .unwrap_or_default();
    let types = sorted(&settings.types).join(",");
    let level = settings.export.level.to_string();
    layout::sync_name(&[&source, &level, &types, &narrowed(&settings.export), target])
}

/// What else decides which resources an export has, as a text; nothing where nothing does. How it is asked for (the format,
/// the method) is no part of it.
fn narrowed(export: &ExportSettings) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, values) in [
        ("_typeFilter", &export.type_filters),
        ("_elements", &export.elements),
        ("patient", &export.patients),
        ("includeAssociatedData", &export.include_associated_data),
    ] {
        for value in sorted(values) {
            query.append_pair(name, value);
        }
    }
    if let Some(until) = &export.until {
        query.append_pair("_until", until);
    }
    query.extend_pairs(&export.parameters);
    query.finish()
}

fn sorted(values: &[String]) -> Vec<&str> {
    let mut values: Vec<&str> = values.iter().map(String::as_str).collect();
    values.sort_unstable();
    values.dedup();
    values
}

/// Writes down how a run ended, in its record and in the state of its key, and gives that state. Told again, nothing changes.
pub async fn end_run(
    staging: &Staging,
    run: &str,
    key: Option<&str>,
    name: &str,
    message: Option<&str>,
) -> Result<Option<SyncState>> {
    let ended = Outcome::at(staging.clock().moment(), name, message);
    let record = RunRecord::update(staging, run, |record| record.end(&ended)).await?;
    take_end_in(staging, key, &record, &ended).await
}

/// Takes the end of a run, as its record has it, into the state of its key, which it gives.
pub(crate) async fn take_end_in(
    staging: &Staging,
    key: Option<&str>,
    record: &RunRecord,
    ended: &Outcome,
) -> Result<Option<SyncState>> {
    let Some(key) = key else {
        return Ok(None);
    };
    let outcome = record.outcome.as_ref().unwrap_or(ended);
    let changed = SyncState::update(staging, key, |state| {
        let before = state.clone();
        state.end(record, outcome, staging.clock().now());
        *state != before
    });
    changed.await.map(Some)
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
