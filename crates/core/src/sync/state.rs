//! The state of a synchronisation (`sync/<key>.json`): what outlives its runs.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Due, FullRun, IMPORTED, Lease, Outcome, RunRecord, Watermark};
use crate::error::Result;
use crate::staging::{Staging, layout};

/// How many ended runs the state remembers.
const RUNS_KEPT: usize = 50;

/// How many kick-offs in a row that nobody answered.
pub(super) const UNANSWERED_KEPT: usize = 10;

/// The state of a synchronisation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SyncState {
    /// The form of this state; 1 so far.
    pub version: u32,
    /// The run that has not ended yet.
    pub in_progress: Option<InProgress>,
    /// When a kick-off was sent whose answer has not been written down: a job may run at the source that nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kick_off_sent: Option<String>,
    /// When kick-offs before that were sent whose answers never came, since the last one that was answered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unanswered: Vec<String>,
    /// Everything that the source had up to then is in the target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watermark: Option<Watermark>,
    /// Whose turn it is to import.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// Whose turn it was last, whether or not it still is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub turn_of: String,
    /// How many turns there were.
    #[serde(skip_serializing_if = "is_zero")]
    pub turns: u64,
    /// That the next run has to be a full one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due: Option<Due>,
    /// The last full run that arrived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full: Option<FullRun>,
    /// The types of which the target may have resources since then, or of which that run did not know: whoever had the turn to
    /// import may have brought some, however it ended.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub brought: Vec<String>,
    /// The last error of a step, until a run passes its next milestone: its kick-off, its turn to import, its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LastError>,
    /// The last runs that ended, the oldest first.
    pub runs: Vec<Ended>,
    /// What this version does not know.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands a reference over"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A run that has not ended yet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InProgress {
    /// The run's name, as the kick-off gave it.
    pub run: String,
    /// The time of its kick-off, which names it in the run's record.
    pub kick_off: String,
    /// The `SINCE` setting that it was started with.
    pub since_setting: Option<String>,
}

/// An error that ended no run: the next call or the next start goes on with it, or begins one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LastError {
    /// When.
    pub at: String,
    /// In which step.
    pub step: String,
    /// Its name and text.
    pub error: String,
    /// The run, where there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
}

/// A run that ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Ended {
    /// The run's name.
    pub run: String,
    /// When it ended.
    pub at: String,
    /// As in the run's record.
    pub outcome: String,
}

impl SyncState {
    /// The state of `key`; an empty one where there is none yet.
    pub async fn load(staging: &Staging, key: &str) -> Result<Self> {
        staging
            .read_json(&layout::sync_key(key))
            .await
            .map(Option::unwrap_or_default)
    }

    /// Changes the state of `key` by a conditional write, and gives it as it is then.
    pub async fn update(
        staging: &Staging,
        key: &str,
        mut change: impl FnMut(&mut Self) -> bool + Send,
    ) -> Result<Self> {
        staging
            .update_json(&layout::sync_key(key), |state: &mut Self| {
                state.version = 1;
                Ok(change(state))
            })
            .await
    }

    /// Takes in that a kick-off is about to be sent. One before it, of which nothing is known, went unanswered.
    pub(crate) fn announce(&mut self, at: &str) {
        self.unanswered
            .extend(self.kick_off_sent.replace(at.to_owned()));
        let surplus = self.unanswered.len().saturating_sub(UNANSWERED_KEPT);
        self.unanswered.drain(..surplus);
    }

    /// Takes in that it is known what became of the kick-off that was announced with this time. Others that were sent
    /// meanwhile stay what they are. Gives whether anything changed.
    pub(crate) fn answered(&mut self, at: &str) -> bool {
        let before = self.unanswered.len();
        self.unanswered.retain(|other| other != at);
        let own = self.kick_off_sent.take_if(|sent| sent == at).is_some();
        own || self.unanswered.len() < before
    }

    /// Whether a kick-off was announced with this time, and nothing is known of it yet.
    pub(crate) fn has_announced(&self, at: &str) -> bool {
        let mut announced = self.unanswered.iter().chain(&self.kick_off_sent);
        announced.any(|other| other == at)
    }

    /// The run that was imported last, as far as that is remembered.
    #[must_use]
    pub fn imported_last(&self) -> Option<&str> {
        let mut newest = self.runs.iter().rev();
        let imported = newest.find(|ended| ended.outcome == IMPORTED)?;
        Some(&imported.run)
    }

    /// Takes an ended run's record in; does nothing the second time.
    pub(super) fn end(&mut self, record: &RunRecord, outcome: &Outcome, now: Timestamp) {
        // By the kick-off, for a server may give a newer one the same status URL and so the same name.
        let ends = |in_progress: &InProgress| {
            record
                .kick_offs
                .iter()
                .any(|kick_off| kick_off.at == in_progress.kick_off)
        };
        if self.in_progress.as_ref().is_some_and(ends) {
            self.in_progress = None;
        }
        let ended = Ended {
            run: record.run.clone(),
            at: outcome.at.clone(),
            outcome: outcome.name.clone(),
        };
        if self.runs.contains(&ended) {
            // Who joined it late may have taken its turn anew.
            self.release(&record.run);
        } else {
            self.last_error = None;
            self.runs.push(ended);
            self.conclude(record, outcome, now);
        }
        let surplus = self.runs.len().saturating_sub(RUNS_KEPT);
        self.runs.drain(..surplus);
    }
}
