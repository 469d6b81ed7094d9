//! What a run took beside its work, as its record has it: requests that were sent again, calls that had to wait, and which
//! versions of this program were at it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::RunRecord;

/// How many changes of the program's version a record remembers.
const PROGRAMS_KEPT: usize = 20;

/// What a run took beside its work, over all its calls and starts. Each process counts for itself, and writes that down with its
/// next change of the record, so it is at least so much.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Effort {
    /// Requests of the transfer that were sent again, because one failed or a server asked for patience.
    pub retries: u64,
    /// How many calls of each step were answered by `JobInProgressError`, by the step's name.
    pub waits: BTreeMap<String, u64>,
}

impl Effort {
    /// Whether there was none.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// How many calls were answered by `JobInProgressError`.
    #[must_use]
    pub fn waits(&self) -> u64 {
        self.waits.values().sum()
    }

    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        self.retries += other.retries;
        for (step, waits) in &other.waits {
            *self.waits.entry(step.clone()).or_default() += waits;
        }
    }
}

impl RunRecord {
    /// Takes in what a process has counted.
    pub(crate) fn took(&mut self, effort: &Effort) {
        self.effort.get_or_insert_default().add(effort);
    }

    /// Takes in that this program is about to change the record, and that what is derived has to be right.
    pub(super) fn sign(&mut self) {
        let program = env!("CARGO_PKG_VERSION");
        if self.programs.last().is_none_or(|last| last != program) {
            self.programs.push(program.to_owned());
            let surplus = self.programs.len().saturating_sub(PROGRAMS_KEPT);
            self.programs.drain(..surplus);
        }
        if let Some(deleted) = &mut self.deleted {
            deleted.left = Some(deleted.rest());
        }
    }

    /// When the export was first seen to be complete since its newest kick-off, now that the manifest with this time is seen.
    pub(crate) fn first_complete(&self, transaction_time: &str, now: &str) -> String {
        let seen = self.manifest.as_ref();
        let seen = seen.filter(|seen| seen.transaction_time == transaction_time);
        let first = seen.map(|seen| seen.complete.as_ref().unwrap_or(&seen.at));
        first
            .filter(|first| self.is_of_newest(first))
            .map_or(now, String::as_str)
            .to_owned()
    }

    /// Takes in that the transfer is about to begin, unless it has begun since the newest kick-off.
    pub(crate) fn begin_transfer(&mut self, now: &str) {
        let begun = self.transfer_began.as_deref();
        if !begun.is_some_and(|begun| self.is_of_newest(begun)) {
            self.transfer_began = Some(now.to_owned());
        }
    }

    /// When all was first found staged, since the newest kick-off and since a file of it was fetched last.
    pub(crate) fn first_staged(&self, fetched: usize, now: &str) -> String {
        let known = self.transfer.as_ref().filter(|_| fetched == 0);
        let first = known.map(|known| known.staged.as_ref().unwrap_or(&known.at));
        first
            .filter(|first| self.is_of_newest(first))
            .map_or(now, String::as_str)
            .to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::{Deleted, KickOff, ManifestSeen, Transferred};

    fn begun(at: &str) -> RunRecord {
        RunRecord {
            kick_offs: vec![KickOff {
                at: at.to_owned(),
                ..KickOff::default()
            }],
            ..RunRecord::default()
        }
    }

    #[test]
    fn what_was_seen_first_stays_until_a_newer_kick_off() {
        let mut record = begun("1");
        assert_eq!(record.first_complete("T", "2"), "2");
        record.begin_transfer("3");
        record.begin_transfer("4");
        assert_eq!(record.first_staged(5, "4"), "4");
        // As an older version of this program has left it.
        record.manifest = Some(ManifestSeen {
            at: "2".to_owned(),
            transaction_time: "T".to_owned(),
            ..ManifestSeen::default()
        });
        record.transfer = Some(Transferred {
            at: "4".to_owned(),
            ..Transferred::default()
        });
        assert_eq!(record.first_complete("T", "5"), "2");
        assert_eq!(record.first_complete("U", "5"), "5");
        assert_eq!(record.transfer_began.as_deref(), Some("3"));
        assert_eq!(record.first_staged(0, "5"), "4");
        assert_eq!(record.first_staged(1, "5"), "5");
        record.kick_offs.extend(begun("6").kick_offs);
        assert_eq!(record.first_complete("T", "7"), "7");
        record.begin_transfer("8");
        assert_eq!(record.transfer_began.as_deref(), Some("8"));
        assert_eq!(record.first_staged(0, "9"), "9");
    }

    #[test]
    fn counts_of_several_processes_add_up_and_each_version_is_named_once() {
        let mut record = RunRecord::default();
        let one = Effort {
            retries: 1,
            waits: BTreeMap::from([("transfer-to-s3".to_owned(), 2)]),
        };
        for _ in 0..2 {
            record.took(&one);
            record.sign();
        }
        let all = record.effort.clone().unwrap();
        assert_eq!((all.retries, all.waits()), (2, 4));
        assert_eq!(record.programs, [env!("CARGO_PKG_VERSION")]);
    }

    #[test]
    fn what_is_left_of_deletions_is_written_with_them() {
        let left = |needless| {
            let mut record = RunRecord {
                deleted: Some(Deleted {
                    found: 5,
                    applied: BTreeMap::from([("Patient".to_owned(), 2)]),
                    needless,
                    ..Deleted::default()
                }),
                ..RunRecord::default()
            };
            record.sign();
            record.deleted.unwrap().left
        };
        assert_eq!(left(false), Some(3));
        assert_eq!(left(true), Some(0));
    }
}
