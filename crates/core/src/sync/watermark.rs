//! The watermark: everything that the source had up to it is in the target (design, decision 14).
//!
//! It moves when a run has arrived, only forwards, and only by a run that was full or that began where it stood or earlier.
//! All of it is arithmetic on records: who calls writes the outcome by one conditional write.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

use super::{CANCELLED, IMPORTED, KickOff, NOTHING, Outcome, RunRecord, SyncState};
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
        if outcome.name == CANCELLED && record.is_being_imported() {
            // It goes on there, and may come after a deletion of the next run's.
            self.require_full("a run was cancelled while the target imported it", now);
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
        due.since = moment(now).max(std::mem::take(&mut due.since));
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
#[path = "watermark_tests.rs"]
mod tests;
