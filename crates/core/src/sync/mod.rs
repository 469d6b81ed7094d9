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
mod state;
mod watermark;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::{ExportSettings, ImportMode, Settings};
use crate::error::Result;
use crate::software::Software;
use crate::staging::{Staging, layout};

pub use self::deletions::Deleted;
pub use self::duplicates::{Duplicates, Repeated, StagedLine};
pub use self::effort::Effort;
pub use self::issues::{ExportIssues, FirstIssue, HELD};
pub use self::job::{CANCELLED, JobDeleted, StagedEarly};
pub use self::lease::{Gate, Lease};
pub use self::next::is_instant;
pub use self::published::{FromManifest, SUCCEEDED};
pub use self::state::{Ended, InProgress, SyncState};
pub use self::watermark::{Due, FullRun, Next, Watermark};

/// The outcome of a run that was imported.
pub const IMPORTED: &str = "imported";

/// The outcome of a run that had nothing to import.
pub const NOTHING: &str = "nothing to import";

/// The outcome of a run that came too late: a newer one had arrived.
pub const SUPERSEDED: &str = "superseded";

/// The form of the records that this version writes.
const FORM: u32 = 1;

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

/// The run's record: everything that outlives a step, and what a person wants to know afterwards.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RunRecord {
    /// The form of this record; 1 so far.
    pub version: u32,
    /// The run's name.
    pub run: String,
    /// Every kick-off that led to this run, the oldest first.
    pub kick_offs: Vec<KickOff>,
    /// Kick-offs that were recorded here and turned out to belong to another run: `(kick-off's time, run)`.
    pub moved: Vec<(String, String)>,
    /// When a manifest was last seen, and which.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<ManifestSeen>,
    /// When the transfer began that followed the newest kick-off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transfer_began: Option<String>,
    /// When the transfer last came further, as far as is known; before its first file, when the manifest was first seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moved_at: Option<String>,
    /// Another synchronisation's run has the same job at the source, so that neither ends it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
    /// What was staged before the manifest was complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub early: Option<StagedEarly>,
    /// What is staged may be of another publication of the manifest, and is removed before anything else is staged.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub replaced: bool,
    /// What was staged, once all was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transfer: Option<Transferred>,
    /// What the source reported of the export in files of errors, where it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub export_issues: Option<ExportIssues>,
    /// What came more than once, where anything did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicates: Option<Duplicates>,
    /// What the source reported as deleted, and what became of that at the target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted: Option<Deleted>,
    /// That the source was asked to delete the export's job, once everything was staged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_deleted: Option<JobDeleted>,
    /// Every try to import what was staged, the oldest first.
    pub attempts: Vec<Attempt>,
    /// How the run ended, once it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// What it took beside its work; absent where nobody counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effort: Option<Effort>,
    /// The versions of this program that changed the record, in their order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub programs: Vec<String>,
    /// What this version does not know.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

/// One kick-off of an export.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KickOff {
    /// When it was answered, by this machine's clock.
    pub at: String,
    /// The answer's `Date`, where it had one.
    pub date: Option<String>,
    /// The export's status URL.
    pub status_url: String,
    /// What was asked for: an instant, or null for a full export.
    pub since: Option<String>,
    /// Why that was asked for.
    pub why: String,
    /// The import mode, where it was decided.
    pub mode: Option<String>,
    /// The types that were asked for; empty means all.
    pub types: Vec<String>,
    /// Up to when changes were asked for, where that was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Whose data was asked for: `system`, `patient` or `group/[id]`.
    pub level: String,
    /// The HTTP method that the source took.
    pub method: String,
    /// Under which name it and the run's other requests go out (`X-Request-Id`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// When earlier kick-offs were sent that nobody answered: each may have begun an export that nobody knows of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unanswered: Vec<String>,
    /// The synchronisation's name.
    pub key: String,
    /// When the source was first seen to know the job, by this machine's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen: Option<String>,
    /// What the source said that it is, where it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub software: Option<Software>,
    /// Where no export was asked for, because a manifest takes its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<FromManifest>,
}

/// That a manifest was seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ManifestSeen {
    /// When it was seen last, by this machine's clock.
    pub at: String,
    /// When the export was first seen to be complete, since the newest kick-off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub complete: Option<String>,
    /// The manifest's own time.
    pub transaction_time: String,
    /// How many files it names.
    pub outputs: usize,
    /// Until when the source has its files, by this machine's clock, where it says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
}

/// What a transfer brought.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Transferred {
    /// When all was last found staged, by this machine's clock.
    pub at: String,
    /// When all was first found staged, since the newest kick-off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub staged: Option<String>,
    /// How long the last call took, in seconds.
    pub seconds: f64,
    /// How many files the manifest names.
    pub files: usize,
    /// How many of them the last call fetched; the others were there.
    pub fetched: usize,
    /// The staged bytes.
    pub bytes: u64,
    /// The staged bytes by type.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub bytes_by_type: BTreeMap<String, u64>,
    /// Resources by type.
    pub resources: BTreeMap<String, u64>,
    /// Types with resources that no target can hold, left out of `parameters`.
    pub unsupported: Vec<String>,
    /// How many files of deletions there were, which were not applied.
    pub deletions: usize,
    /// How many files of errors the export had.
    pub export_errors: usize,
    /// How it is imported: `merge` or `overwrite`.
    pub mode: String,
    /// Types that were there at the last full run, or asked for, and of which nothing came.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// Whether those are emptied.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub emptied: bool,
    /// What the import is told.
    pub parameters: Value,
}

/// One try to import a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Attempt {
    /// Its number, counted from 1: the nonce is `<run>-<number>`.
    pub number: u32,
    /// When it began, by this machine's clock.
    pub at: String,
    /// What was to be imported, in the dialect of the contract.
    pub parameters: Value,
    /// When the target has taken it on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<String>,
    /// The import's status URL, once the target gave one.
    pub status_url: Option<String>,
    /// What the target said that it is, where it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub software: Option<Software>,
    /// Types that the target cannot hold, left out of what was sent.
    pub unsupported: Vec<String>,
    /// When the target was seen to have done it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done: Option<String>,
    /// When counting had proved that all arrived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified: Option<String>,
    /// When it ended.
    pub ended: Option<String>,
    /// `succeeded`, `failed`, `lost` or `superseded` (by an attempt with other Parameters), once it ended.
    pub outcome: Option<String>,
    /// What the target said about a failure.
    pub message: Option<String>,
    /// How many resources of each type the target held before it, where they were counted.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub before: BTreeMap<String, u64>,
    /// How many it held afterwards.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub after: BTreeMap<String, u64>,
    /// Why its success is not proved by counting, where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unverified: Option<String>,
}

/// The outcome of an attempt that the target says has failed.
pub const FAILED: &str = "failed";

/// The outcome of an attempt that the target no longer knows.
pub const LOST: &str = "lost";

impl Attempt {
    /// Whether it has ended, and brought nothing that is known of.
    #[must_use]
    pub fn is_without_success(&self) -> bool {
        matches!(self.outcome.as_deref(), Some(FAILED | LOST))
    }
}

impl Transferred {
    /// Whether the import leaves nothing of what was there of its types.
    #[must_use]
    pub fn replaces(&self) -> bool {
        self.mode == ImportMode::Overwrite.as_str()
    }
}

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Outcome {
    /// When, by this machine's clock.
    pub at: String,
    /// `imported`, `nothing to import`, `superseded`, `cancelled`, or an error's name.
    pub name: String,
    /// The error's text.
    pub message: Option<String>,
    /// The step that it ended in, where an error ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
}

impl RunRecord {
    /// The record of `run`; an empty one where there is none yet.
    pub async fn load(staging: &Staging, run: &str) -> Result<Self> {
        staging
            .read_json(&layout::record_key(run))
            .await
            .map(Option::unwrap_or_default)
    }

    /// Changes the record of `run` by a conditional write, and gives it as it is then. `change` may be called again on
    /// newer content; it says whether there is anything to write.
    pub async fn update(
        staging: &Staging,
        run: &str,
        mut change: impl FnMut(&mut Self) -> bool + Send,
    ) -> Result<Self> {
        staging
            .update_json(&layout::record_key(run), |record: &mut Self| {
                // A later version's form stays what it is, for all that this one changes is in both.
                record.version = record.version.max(FORM);
                run.clone_into(&mut record.run);
                let changed = change(record);
                if changed {
                    record.sign();
                }
                Ok(changed)
            })
            .await
    }

    /// How the run ended, unless a newer kick-off has begun it anew: some servers answer one with an old job.
    #[must_use]
    pub fn ended(&self) -> Option<&Outcome> {
        let newest = self.newest_kick_off();
        self.outcome
            .as_ref()
            .filter(|outcome| newest.is_none_or(|kick_off| outcome.at >= kick_off.at))
    }

    /// Whether everything was found staged since the newest kick-off.
    #[must_use]
    pub fn is_staged(&self) -> bool {
        let newest = self.newest_kick_off();
        let is_since =
            |transfer: &Transferred| newest.is_none_or(|kick_off| transfer.at >= kick_off.at);
        self.transfer.as_ref().is_some_and(is_since)
    }

    /// The newest kick-off.
    #[must_use]
    pub fn newest_kick_off(&self) -> Option<&KickOff> {
        self.kick_offs.last()
    }

    /// Whether the target was asked to put what it brought in the place of what was there.
    #[must_use]
    pub fn may_have_replaced(&self) -> bool {
        let replaces = self.transfer.as_ref().is_some_and(Transferred::replaces);
        replaces && !self.attempts.is_empty()
    }

    /// Whether its kick-offs are another synchronisation's than that of this key.
    #[must_use]
    pub fn is_of_another(&self, key: &str) -> bool {
        let newest = self.newest_kick_off();
        newest.is_some_and(|newest| newest.key != key)
    }
}

impl Outcome {
    /// The end that comes at this moment.
    #[must_use]
    pub fn at(at: String, name: &str, message: Option<&str>) -> Self {
        Self {
            at,
            name: name.to_owned(),
            message: message.map(str::to_owned),
            step: None,
        }
    }
}

/// Writes down how a run ended, in its record and in the state of its key. Told again, nothing changes.
pub async fn end_run(
    staging: &Staging,
    run: &str,
    key: Option<&str>,
    name: &str,
    message: Option<&str>,
) -> Result<()> {
    let ended = Outcome::at(staging.clock().moment(), name, message);
    end_run_after(staging, run, key, ended, &Effort::default()).await
}

/// The same, with what this process has counted of the run.
pub async fn end_run_after(
    staging: &Staging,
    run: &str,
    key: Option<&str>,
    ended: Outcome,
    effort: &Effort,
) -> Result<()> {
    let record = RunRecord::update(staging, run, |record| {
        let known = record.ended();
        // What comes of a run because it was cancelled is not how it ended; only an import that was on its way is.
        let follows = record.cancelled().is_some() && ended.name != IMPORTED;
        if follows || known.is_some_and(|known| known.name == ended.name) {
            return false;
        }
        record.outcome = Some(ended.clone());
        if !effort.is_none() {
            record.took(effort);
        }
        true
    })
    .await?;
    if let Some(key) = key {
        let outcome = record.outcome.as_ref().unwrap_or(&ended);
        SyncState::update(staging, key, |state| {
            let before = state.clone();
            state.end(&record, outcome, staging.clock().now());
            *state != before
        })
        .await?;
    }
    Ok(())
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
