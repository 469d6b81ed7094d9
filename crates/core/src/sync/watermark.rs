//! The watermark: everything that the source had up to it is in the target (design, decision 14).
//!
//! It moves when a run has arrived, only forwards, and only by a run that was full or that began where it stood or earlier.
//! All of it is arithmetic on records: who calls writes the outcome by one conditional write.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

use super::{IMPORTED, KickOff, NOTHING, Outcome, RunRecord, SyncState};
use crate::clock::moment;
use crate::config::{ImportMode, SyncSettings};

/// Up to when the target has everything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Watermark {
    /// The instant, by the source's clock.
    pub at: String,
    /// The run that brought it there.
    pub run: String,
    /// When it was moved, by this program's clock.
    pub moved: String,
    /// Why that is not proved by counting, where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unverified: Option<String>,
    /// Whether a full run that merged has brought it on, which tells nothing of what the source has deleted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub merged: bool,
}

/// That the next run has to be a full one, for something is in the target that no delta mends.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Due {
    /// When that was said last, by this program's clock.
    pub since: String,
    /// Why, as it was said first.
    pub why: String,
}

/// A full run that arrived.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FullRun {
    /// Its name.
    pub run: String,
    /// When it was kicked off, by this program's clock.
    pub at: String,
    /// The types of which the target has resources since.
    pub types: Vec<String>,
}

/// What the next export is to ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Next {
    /// What changed after this instant; `None` is everything.
    pub since: Option<String>,
    /// Why that.
    pub why: String,
    /// How it is to be imported, where that is decided.
    pub mode: Option<ImportMode>,
}

impl SyncState {
    /// What an export under `SINCE=auto` is to ask for.
    #[must_use]
    pub fn next(&self, settings: &SyncSettings, now: Timestamp) -> Next {
        let full = |why: String| Next {
            since: None,
            why,
            mode: Some(ImportMode::Overwrite),
        };
        let Some(watermark) = &self.watermark else {
            return full("nothing was synchronised so far".to_owned());
        };
        if let Some(due) = &self.due {
            return full(format!("a full run is due: {}", due.why));
        }
        if watermark.merged {
            return full(
                "the runs before merged everything, and nobody knows what the source had deleted"
                    .to_owned(),
            );
        }
        if let Some(every) = settings.full_every {
            let last = self.full.as_ref().and_then(|full| full.at.parse().ok());
            let age = last.map(|last: Timestamp| now.duration_since(last));
            let age = age.and_then(|age| Duration::try_from(age).ok());
            if age.is_none_or(|age| age >= every) {
                return full("the last full run is longer ago than FULL_EVERY".to_owned());
            }
        }
        let Ok(at) = watermark.at.parse::<Timestamp>() else {
            return full(format!("the watermark {:?} is no instant", watermark.at));
        };
        if settings.overlap.is_zero() {
            return Next {
                since: Some(watermark.at.clone()),
                why: format!("run {} brought everything up to then", watermark.run),
                mode: None,
            };
        }
        let back = at.checked_sub(settings.overlap).unwrap_or(Timestamp::MIN);
        Next {
            since: Some(back.to_string()),
            why: format!(
                "run {} brought everything up to {}, less SINCE_OVERLAP",
                watermark.run, watermark.at
            ),
            mode: None,
        }
    }

    /// The run that has brought more than this one can, where there is one. Of a manifest in the place of an export nothing
    /// is known: publishers go back on what they published.
    #[must_use]
    pub fn superseding(&self, record: &RunRecord) -> Option<&Watermark> {
        let watermark = self.watermark.as_ref()?;
        if record.is_from_manifest() {
            return None;
        }
        let (_, own) = record.as_of()?;
        let reached: Timestamp = watermark.at.parse().ok()?;
        (own < reached).then_some(watermark)
    }

    /// Takes in that a run has ended: the watermark, what is due, the lease.
    pub(super) fn conclude(&mut self, record: &RunRecord, outcome: &Outcome, now: Timestamp) {
        let had_lease = self
            .lease
            .as_ref()
            .is_some_and(|lease| lease.run == record.run);
        self.release(&record.run);
        if record.is_from_manifest() {
            return;
        }
        let deleted = record.deleted.as_ref().is_some_and(|it| it.applied() > 0);
        if !had_lease && (outcome.name == IMPORTED || deleted) {
            self.require_full(
                "another run may have imported at the same time as this one",
                now,
            );
        }
        let replaces = record.may_have_replaced();
        let whole = outcome.name == IMPORTED && record.issues_hold().is_none();
        if replaces && !whole {
            // What it took the place of is gone, and no delta brings that back.
            self.require_full(
                "a run that replaces what is there did not bring all of it",
                now,
            );
        }
        if !matches!(outcome.name.as_str(), IMPORTED | NOTHING) {
            return;
        }
        let Some(kick_off) = record.newest_kick_off() else {
            return;
        };
        // Before it moves: what a run does not bring, the next one may not be told to skip.
        let superseded = self.superseding(record).is_some();
        if replaces && whole {
            self.note_full(record, kick_off, now);
        }
        if let Some(why) = record.deleted.as_ref().and_then(|it| it.refresh.as_deref()) {
            self.require_full(why, now);
        }
        if !superseded {
            self.advance(record, kick_off, now);
        }
    }

    /// Says that the next run has to be a full one. The first reason is the one that is told; the newest says which runs were
    /// asked for too early to do away with it.
    pub(super) fn require_full(&mut self, why: &str, now: Timestamp) {
        let due = self.due.get_or_insert_with(|| Due {
            why: why.to_owned(),
            ..Due::default()
        });
        due.since = moment(now);
    }

    /// Takes in what a full run brought that replaced what was there: that does away with what was due before it began. One that
    /// is found out late to have ended tells nothing of what a newer one has brought since.
    fn note_full(&mut self, record: &RunRecord, kick_off: &KickOff, now: Timestamp) {
        let Some(transfer) = record
            .transfer
            .as_ref()
            .filter(|_| kick_off.since.is_none())
        else {
            return;
        };
        if self.full.as_ref().is_some_and(|it| it.at > kick_off.at) {
            return;
        }
        let mut types: Vec<String> = transfer.types().cloned().collect();
        // What is left in the target of a type that is gone at the source is told of until it is emptied.
        let left = transfer.missing.iter().filter(|_| !transfer.emptied);
        types.extend(left.cloned());
        types.sort_unstable();
        self.full = Some(FullRun {
            run: record.run.clone(),
            at: kick_off.at.clone(),
            types,
        });
        self.due.take_if(|due| due.since < kick_off.at);
        if !self.knew_all(transfer) {
            // It took the place of nothing of theirs, for when it was staged they had not come.
            self.require_full("types were brought of which a full run did not know", now);
        }
    }

    fn advance(&mut self, record: &RunRecord, kick_off: &KickOff, now: Timestamp) {
        let Some((at, own)) = record.as_of() else {
            return;
        };
        let reached = self.watermark.as_ref().map(|reached| reached.at.parse());
        let reached: Option<Timestamp> = reached.and_then(Result::ok);
        let connects = match (&kick_off.since, reached) {
            (None, _) => true,
            (Some(since), Some(reached)) => {
                since.parse().is_ok_and(|since: Timestamp| since <= reached)
            }
            (Some(_), None) => false,
        };
        let is_full = kick_off.since.is_none();
        let replaced = self.full.as_ref().is_some_and(|it| it.run == record.run);
        if let Some(known) = self.watermark.as_mut().filter(|_| reached == Some(own)) {
            known.merged &= !replaced;
        }
        if !connects || record.issues_hold().is_some() || reached.is_some_and(|it| own <= it) {
            return;
        }
        let merged = self.watermark.as_ref().is_some_and(|it| it.merged);
        self.watermark = Some(Watermark {
            merged: !replaced && (merged || is_full),
            at,
            run: record.run.clone(),
            moved: moment(now),
            unverified: match record.attempts.last() {
                Some(attempt) => attempt.unverified.clone(),
                // Nothing was imported, so nothing is proved by it.
                None => self.watermark.take().and_then(|it| it.unverified),
            },
        });
    }
}

impl RunRecord {
    /// As of when a run has everything that it asked for: the earlier of the manifest's own time and the moment at which the
    /// export was asked for, by the source's clock, and never later than it was told to go. As a text and as a moment.
    #[must_use]
    pub fn as_of(&self) -> Option<(String, Timestamp)> {
        let told = &self.manifest.as_ref()?.transaction_time;
        let told = crate::config::instant_in_utc(told)?;
        let until = self.kick_offs.iter().filter_map(|it| it.until.clone());
        let all = self.next_since().into_iter().chain([told]).chain(until);
        let moments = all.filter_map(|text| Some((text.parse().ok()?, text)));
        let earliest = moments.min_by_key(|(moment, _): &(Timestamp, String)| *moment);
        earliest.map(|(moment, text)| (text, moment))
    }

    /// Why the run does not count as complete, where it does not.
    #[must_use]
    pub fn issues_hold(&self) -> Option<&str> {
        self.export_issues.as_ref()?.watermark.as_deref()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;

    use super::*;
    use crate::sync::{Deleted, ExportIssues, HELD, Lease, ManifestSeen, Transferred};

    const KICK_OFF: &str = "2026-03-01T00:00:00.000000Z";

    /// A run as of this moment, that asked for what changed after another.
    fn run(name: &str, as_of: &str, since: Option<&str>) -> RunRecord {
        RunRecord {
            run: name.to_owned(),
            kick_offs: vec![KickOff {
                at: KICK_OFF.to_owned(),
                since: since.map(str::to_owned),
                ..KickOff::default()
            }],
            manifest: Some(ManifestSeen {
                transaction_time: as_of.to_owned(),
                ..ManifestSeen::default()
            }),
            attempts: vec![crate::sync::Attempt::default()],
            transfer: Some(Transferred {
                mode: if since.is_none() {
                    "overwrite"
                } else {
                    "merge"
                }
                .to_owned(),
                resources: BTreeMap::from([("Patient".to_owned(), 1)]),
                ..Transferred::default()
            }),
            ..RunRecord::default()
        }
    }

    fn ended(state: &mut SyncState, record: &RunRecord, name: &str) {
        state.lease = Some(Lease {
            run: record.run.clone(),
            ..Lease::default()
        });
        let now = Timestamp::now();
        let outcome = Outcome {
            name: name.to_owned(),
            at: moment(now),
            ..Outcome::default()
        };
        state.conclude(record, &outcome, now);
    }

    fn at(state: &SyncState) -> Option<&str> {
        state.watermark.as_ref().map(|reached| reached.at.as_str())
    }

    const T1: &str = "2026-01-01T00:00:00Z";
    const T2: &str = "2026-01-02T00:00:00Z";
    const T3: &str = "2026-01-03T00:00:00Z";

    #[test]
    fn it_moves_forwards_and_never_over_a_gap() {
        let mut state = SyncState::default();
        ended(&mut state, &run("delta", T2, Some(T1)), IMPORTED);
        assert_eq!(at(&state), None, "nobody has brought what was before");
        ended(&mut state, &run("full", T1, None), IMPORTED);
        assert_eq!(at(&state), Some(T1));
        ended(&mut state, &run("gap", T3, Some(T2)), IMPORTED);
        assert_eq!(at(&state), Some(T1));
        ended(&mut state, &run("next", T2, Some(T1)), NOTHING);
        assert_eq!(at(&state), Some(T2), "a quiet night counts");
        ended(&mut state, &run("overlaps", T3, Some(T1)), IMPORTED);
        assert_eq!(at(&state), Some(T3));
        ended(&mut state, &run("late", T2, Some(T1)), IMPORTED);
        assert_eq!(at(&state), Some(T3));
        assert_eq!(state.lease, None);
    }

    #[test]
    fn it_stays_where_a_run_failed_or_is_held() {
        let mut state = SyncState::default();
        ended(&mut state, &run("full", T1, None), "ImportFailedError");
        assert_eq!(at(&state), None);
        assert!(
            state.due.take().is_some(),
            "it may have replaced some types"
        );
        let mut held = run("held", T1, None);
        held.export_issues = Some(ExportIssues {
            watermark: Some(HELD.to_owned()),
            ..ExportIssues::default()
        });
        ended(&mut state, &held, IMPORTED);
        assert_eq!(at(&state), None);
        assert_eq!(state.full, None);
        assert!(state.due.is_some(), "what it replaced is gone");
    }

    #[test]
    fn a_full_run_that_merges_leaves_open_what_was_deleted_until_one_replaces() {
        let mut state = SyncState::default();
        let mut merged = run("merged", T1, None);
        merged.transfer.as_mut().unwrap().mode = "merge".to_owned();
        ended(&mut state, &merged, IMPORTED);
        ended(&mut state, &run("delta", T2, Some(T1)), IMPORTED);
        assert_eq!(at(&state), Some(T2));
        assert!(state.watermark.as_ref().unwrap().merged);
        assert_eq!(state.due, None);
        ended(&mut state, &run("replaces", T3, None), IMPORTED);
        assert!(!state.watermark.as_ref().unwrap().merged);
    }

    #[test]
    fn a_night_with_nothing_to_import_proves_nothing_of_what_was_not_proved_before() {
        let mut state = SyncState::default();
        let mut unproved = run("full", T1, None);
        unproved.attempts.last_mut().unwrap().unverified = Some("no scope".to_owned());
        ended(&mut state, &unproved, IMPORTED);
        let mut quiet = run("quiet", T2, Some(T1));
        quiet.attempts.clear();
        ended(&mut state, &quiet, NOTHING);
        assert_eq!(at(&state), Some(T2));
        let unverified = state.watermark.as_ref().unwrap().unverified.as_deref();
        assert_eq!(unverified, Some("no scope"));
        ended(&mut state, &run("counted", T3, Some(T2)), IMPORTED);
        assert_eq!(state.watermark.unwrap().unverified, None);
    }

    #[test]
    fn a_run_that_replaces_and_is_given_up_makes_a_full_run_due() {
        let now = Timestamp::now();
        let mut state = SyncState::default();
        let mut half = run("half", T1, None);
        assert!(state.set_aside(&half, true, now));
        assert!(state.due.take().is_some(), "what it replaced is gone");
        half.attempts.clear();
        assert!(!state.set_aside(&half, true, now));
        assert!(!state.set_aside(&run("delta", T1, Some(T1)), true, now));
        assert_eq!(state.due, None);
    }

    #[test]
    fn who_joins_a_run_that_is_over_leaves_no_turn_behind() {
        let mut state = SyncState::default();
        let over = run("over", T1, None);
        let now = Timestamp::now();
        let outcome = Outcome {
            name: IMPORTED.to_owned(),
            at: moment(now),
            ..Outcome::default()
        };
        for _ in 0..2 {
            let lease = std::time::Duration::from_mins(1);
            let gate = state.enter(&over, now, lease, None);
            assert_eq!(gate, crate::sync::Gate::Open);
            state.end(&over, &outcome, now);
            assert_eq!(state.lease, None);
        }
        assert_eq!(state.due, None);
    }

    #[test]
    fn it_is_no_later_than_the_kick_off_by_the_sources_clock_and_than_what_was_asked_up_to() {
        let mut told_late = run("a", T3, None);
        told_late.kick_offs[0].date = Some("Thu, 01 Jan 2026 00:00:00 GMT".to_owned());
        assert_eq!(told_late.as_of().unwrap().0, T1);
        let mut until = run("b", T3, None);
        until.kick_offs[0].until = Some(T2.to_owned());
        assert_eq!(until.as_of().unwrap().0, T2);
        assert_eq!(run("c", "yesterday", None).as_of(), None);
    }

    #[test]
    fn a_run_that_is_behind_is_superseded_and_one_at_the_watermark_is_not() {
        let mut state = SyncState::default();
        ended(&mut state, &run("full", T2, None), IMPORTED);
        let late = run("late", T1, None);
        assert_eq!(state.superseding(&late).unwrap().run, "full");
        assert_eq!(state.superseding(&run("same", T2, None)), None);
        assert_eq!(state.superseding(&run("newer", T3, Some(T2))), None);
    }

    #[test]
    fn what_is_due_stays_due_until_a_full_run_replaced_what_was_there() {
        let mut state = SyncState::default();
        ended(&mut state, &run("full", T1, None), IMPORTED);
        let mut deleting = run("deleting", T2, Some(T1));
        deleting.deleted = Some(Deleted {
            refresh: Some("because".to_owned()),
            ..Deleted::default()
        });
        ended(&mut state, &deleting, NOTHING);
        assert_eq!(at(&state), Some(T2));
        let settings = crate::config::SyncSettings {
            auto: true,
            overlap: Duration::ZERO,
            full_every: None,
            deletions: crate::config::Deletions::Apply,
            deletions_limit: 0,
            verify: true,
            lease: Duration::ZERO,
            resume: false,
            resume_within: Duration::ZERO,
            empty_missing_types: false,
        };
        let next = state.next(&settings, Timestamp::now());
        assert_eq!((next.since, next.mode), (None, Some(ImportMode::Overwrite)));
        assert!(next.why.contains("because"), "{}", next.why);
        // One that was asked for before knows nothing of it, and one that merges deletes nothing.
        ended(&mut state, &run("earlier", T2, None), IMPORTED);
        assert!(state.due.is_some());
        let mut merged = run("merged", T3, None);
        merged.kick_offs[0].at = moment(Timestamp::now());
        merged.transfer.as_mut().unwrap().mode = "merge".to_owned();
        ended(&mut state, &merged, IMPORTED);
        assert!(state.due.is_some());
        let mut replaced = run("replaced", T3, None);
        replaced.kick_offs[0].at = moment(Timestamp::now());
        ended(&mut state, &replaced, IMPORTED);
        assert_eq!(state.due, None);
        let next = state.next(&settings, Timestamp::now());
        assert_eq!(next.since.as_deref(), Some(T3));
    }

    #[test]
    fn whoever_lost_its_turn_makes_a_full_run_due() {
        let mut state = SyncState::default();
        let outcome = Outcome {
            name: IMPORTED.to_owned(),
            ..Outcome::default()
        };
        state.conclude(&run("a", T1, None), &outcome, Timestamp::now());
        assert!(state.due.is_some());
    }
}
