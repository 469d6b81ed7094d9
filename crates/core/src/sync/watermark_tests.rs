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
        assert!(matches!(gate, crate::sync::Gate::Open(_)));
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

#[test]
fn an_import_that_replaces_and_fails_makes_a_full_run_due_that_its_next_attempt_does_away_with() {
    let mut state = SyncState::default();
    let full = run("full", T1, None);
    state.give_back(&full);
    assert!(state.due.is_some(), "what it replaced is gone");
    ended(&mut state, &full, IMPORTED);
    assert_eq!(state.due, None);
    state.give_back(&run("delta", T2, Some(T1)));
    assert_eq!(state.due, None, "a merge takes nothing away");
    let mut published = run("published", T1, None);
    published.kick_offs[0].manifest = Some(crate::sync::FromManifest::default());
    state.give_back(&published);
    assert_eq!(state.due, None, "nobody would do away with it");
}
