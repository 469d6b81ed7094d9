//! Whose turn it is to import: one run of a synchronisation at a time (design, decision 13).
//!
//! Which run may import, and which comes too late, is decided in one conditional write.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;

use super::{IMPORTED, RunRecord, SyncState};
use crate::clock::moment;

/// The right to import, for a while.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Lease {
    /// The run that has it.
    pub run: String,
    /// Until when, by the clock of the machine that took it.
    pub until: String,
}

/// Whether a run may import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gate {
    /// It may: the lease is its own. The number tells this turn from one that the run had before another's.
    Open(u64),
    /// Another run may, until this moment.
    Held {
        /// That run.
        run: String,
        /// Until when, unless it is renewed.
        until: String,
    },
    /// It was imported, and others have had their turn since: nothing of it is to be done once more.
    Over,
    /// It comes too late: the target has what this newer run brought.
    Superseded(String),
}

impl SyncState {
    /// Lets a run in to import, or says why not. Of a run whose lease is its own, the lease is renewed. `asked` is a run that is
    /// known to have asked the target for all that it will: the target does that before what it is asked for from now on.
    pub fn enter(
        &mut self,
        record: &RunRecord,
        now: Timestamp,
        lease: Duration,
        asked: Option<&str>,
    ) -> Gate {
        if let Some(newer) = self.superseding(record) {
            let newer = newer.run.clone();
            self.release(&record.run);
            return Gate::Superseded(newer);
        }
        // Newer ones may have deleted what it would bring back.
        let was_imported = record.ended().is_some_and(|it| it.name == IMPORTED);
        if was_imported && !record.is_from_manifest() && self.turn_of != record.run {
            self.release(&record.run);
            return Gate::Over;
        }
        let now_told = moment(now);
        if let Some(Lease { run, until }) = &self.lease
            && *run != record.run
            && *until > now_told
        {
            return Gate::Held {
                run: run.clone(),
                until: until.clone(),
            };
        }
        let mut lost = self.lease.take_if(|lease| lease.run != record.run);
        // Nobody knows whether it will still ask the target to import, after what this run brings.
        if let Some(lost) = lost.take_if(|lost| asked != Some(lost.run.as_str())) {
            let why = format!(
                "run {} did not end its turn to import, and may have imported at the same time as another",
                lost.run
            );
            self.require_full(&why, now);
        }
        let until = now.checked_add(lease).unwrap_or(Timestamp::MAX);
        self.lease = Some(Lease {
            run: record.run.clone(),
            until: moment(until),
        });
        self.note_brought(record);
        self.last_error = None;
        if self.turn_of != record.run {
            self.turn_of.clone_from(&record.run);
            self.turns += 1;
        }
        Gate::Open(self.turns)
    }

    /// Whether a run's lease is its own, and for how long it would still be.
    #[must_use]
    pub fn lease_left(&self, run: &str, now: Timestamp) -> Option<Duration> {
        let lease = self.lease.as_ref().filter(|lease| lease.run == run)?;
        let until: Timestamp = lease.until.parse().ok()?;
        Some(Duration::try_from(until.duration_since(now)).unwrap_or_default())
    }

    /// Takes the lease away from a run that is given up. One that is not known to have asked for all that it will (`asked`)
    /// makes a full run due, and so does one that replaces and is not known to have brought all of it. Gives whether anything
    /// changed.
    pub fn set_aside(&mut self, record: &RunRecord, asked: bool, now: Timestamp) -> bool {
        let lost = self
            .lease
            .take_if(|lease| lease.run == record.run)
            .is_some();
        if lost && !asked {
            self.require_full("a run was given up in its turn to import", now);
        }
        let halved = record.may_have_replaced() && record.ended().is_none();
        if halved {
            // What it took the place of is gone, and no delta brings that back.
            self.require_full("a run that replaces what is there was given up", now);
        }
        lost || halved
    }

    /// Takes in that a run's import has failed, and that nothing of it is on its way any more. One that replaces makes a full run
    /// due, as which the next attempt of it will do.
    pub fn give_back(&mut self, record: &RunRecord) {
        self.release(&record.run);
        let asked = record.newest_kick_off().and_then(|it| it.at.parse().ok());
        let before =
            asked.and_then(|at: Timestamp| at.checked_sub(SignedDuration::from_micros(1)).ok());
        // After a manifest in the place of an export nothing is due: no run would do away with it.
        let replaces = record.may_have_replaced() && !record.is_from_manifest();
        if let (true, Some(before)) = (replaces, before) {
            self.require_full(
                "a run that replaces what is there did not bring all of it",
                before,
            );
        }
    }

    /// Gives the lease back, where it is the run's.
    pub fn release(&mut self, run: &str) {
        self.lease.take_if(|lease| lease.run == run);
    }
}
