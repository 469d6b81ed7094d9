//! The run's record (`_run.json`): what it holds, and how it is read and changed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    Deleted, Duplicates, Effort, ExportIssues, FromManifest, IMPORTED, JobDeleted, StagedEarly,
};
use crate::config::ImportMode;
use crate::error::{Error, Kind, Result};
use crate::software::Software;
use crate::staging::{Staging, layout};

/// The form of the records that this version writes.
const FORM: u32 = 1;

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

    /// The record of the run that a person has named.
    ///
    /// Gives [`Kind::Configuration`] where there is none, or where that is no name of a run.
    pub async fn named(staging: &Staging, run: &str) -> Result<Self> {
        if !layout::is_run_name(run) {
            let run: String = run.chars().take(80).collect();
            return Err(Kind::Configuration
                .error(format!("--run {run:?} is not the name of a run"))
                .next("pathling-import history lists the last runs by their names."));
        }
        let record = Self::load(staging, run).await?;
        if record.run.is_empty() {
            return Err(Self::absent(staging, run));
        }
        Ok(record)
    }

    /// The error of a run whose record is not there.
    pub(crate) fn absent(staging: &Staging, run: &str) -> Error {
        Kind::Configuration
            .error(format!(
                "there is no record of run {run}: {} does not exist",
                staging.url(&layout::record_key(run))
            ))
            .next("pathling-import history lists the last runs; the folders of older ones may have expired.")
    }

    /// Takes in how the run ended, and gives whether that was not known.
    pub(crate) fn end(&mut self, ended: &Outcome) -> bool {
        let known = self.ended();
        // What comes of a run because it was cancelled is not how it ended; only an import that was on its way is.
        let follows = self.cancelled().is_some() && ended.name != IMPORTED;
        if follows || known.is_some_and(|known| known.name == ended.name) {
            return false;
        }
        self.outcome = Some(ended.clone());
        true
    }

    /// How the run ended, unless a newer kick-off has begun it anew: some servers answer one with an old job.
    #[must_use]
    pub fn ended(&self) -> Option<&Outcome> {
        let outcome = self.outcome.as_ref();
        outcome.filter(|outcome| self.is_of_newest(&outcome.at))
    }

    /// Whether everything was found staged since the newest kick-off.
    #[must_use]
    pub fn is_staged(&self) -> bool {
        let transfer = self.transfer.as_ref();
        transfer.is_some_and(|transfer| self.is_of_newest(&transfer.at))
    }

    /// The newest kick-off.
    #[must_use]
    pub fn newest_kick_off(&self) -> Option<&KickOff> {
        self.kick_offs.last()
    }

    /// Whether a moment is not before the newest kick-off.
    pub(super) fn is_of_newest(&self, moment: &str) -> bool {
        let newest = self.newest_kick_off();
        newest.is_none_or(|kick_off| moment >= kick_off.at.as_str())
    }

    /// Whether resources of this type are left out of the import, because no target can hold them, or this one cannot.
    #[must_use]
    pub fn is_left_out(&self, resource_type: &str) -> bool {
        let transfer = self.transfer.iter().flat_map(|it| &it.unsupported);
        let attempt = self.attempts.last().into_iter();
        let mut all = transfer.chain(attempt.flat_map(|it| &it.unsupported));
        all.any(|name| name == resource_type)
    }

    /// Whether the target was asked to put what it brought in the place of what was there.
    #[must_use]
    pub fn may_have_replaced(&self) -> bool {
        let replaces = self.transfer.as_ref().is_some_and(Transferred::replaces);
        replaces && !self.attempts.is_empty()
    }

    /// Whether the target may still be at what it was asked to import.
    #[must_use]
    pub fn is_being_imported(&self) -> bool {
        let last = self.attempts.last();
        last.is_some_and(|attempt| attempt.outcome.is_none())
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
