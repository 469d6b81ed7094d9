//! When each step of a run was at work, from the moments in its record. What an older record lacks is taken from what it has.

use jiff::Timestamp;

use crate::config::Step;
use crate::sync::{Attempt, LOST, RunRecord, SUCCEEDED, SUPERSEDED};

/// A part of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The source makes the export.
    Export,
    /// Files come to staging.
    Transfer,
    /// What the source has deleted is deleted at the target.
    Deletions,
    /// The target imports; the number of the attempt.
    Import(u32),
    /// The target is counted.
    Count,
}

/// How a part ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// As it should.
    Well,
    /// With an error.
    Failed,
    /// Another took its place, or a person gave the run up.
    GivenUp,
    /// It has not ended, as far as the record knows.
    Open,
}

/// When a part of a run was at work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phase {
    /// Which part.
    pub what: What,
    /// When it began.
    pub began: Timestamp,
    /// When it ended, or when the record was last known to be at it.
    pub ended: Timestamp,
    /// How.
    pub end: End,
}

/// All parts that the record knows of, in their order.
#[must_use]
pub fn phases(record: &RunRecord) -> Vec<Phase> {
    let mut phases = Vec::new();
    let asked = record.newest_kick_off().and_then(|it| read(Some(&it.at)));
    let seen = record.manifest.as_ref();
    let complete = seen.and_then(|seen| read(seen.complete.as_ref().or(Some(&seen.at))));
    let of_now = |at: &Timestamp| asked.is_none_or(|asked| *at >= asked);
    let complete = complete.filter(of_now);
    if let Some(asked) = asked {
        phases.push(phase(record, What::Export, asked, complete));
    }
    let staged = record.transfer.as_ref().filter(|_| record.is_staged());
    let staged = staged.and_then(|it| read(it.staged.as_ref().or(Some(&it.at))));
    let began = read(record.transfer_began.as_ref()).filter(of_now);
    let began = began.or_else(|| seen.and_then(|seen| read(Some(&seen.at))).filter(of_now));
    if let Some(began) = began.filter(|began| staged.is_none_or(|staged| *began <= staged)) {
        phases.push(phase(record, What::Transfer, began, staged));
    }
    let deleted = record.deleted.as_ref().filter(|deleted| deleted.listed);
    if let (Some(deleted), Some(staged)) = (deleted, staged) {
        phases.push(phase(
            record,
            What::Deletions,
            staged,
            read(deleted.done.as_ref()),
        ));
    }
    let attempts = record.attempts.iter();
    phases.extend(attempts.flat_map(|attempt| of_attempt(record, attempt)));
    phases
}

fn phase(record: &RunRecord, what: What, began: Timestamp, ended: Option<Timestamp>) -> Phase {
    if let Some(ended) = ended {
        return Phase {
            what,
            began,
            ended: ended.max(began),
            end: End::Well,
        };
    }
    let outcome = record.ended();
    let until = outcome.map_or(record.moved_at.as_ref(), |outcome| Some(&outcome.at));
    let end = match outcome {
        None => End::Open,
        Some(outcome) if is_of(what, outcome.step.as_deref()) => End::Failed,
        Some(_) => End::GivenUp,
    };
    Phase {
        what,
        began,
        ended: read(until).unwrap_or(began).max(began),
        end,
    }
}

/// Whether an error of this step is one of this part. An older record does not say of which step it was.
fn is_of(what: What, step: Option<&str>) -> bool {
    let Some(step) = step else {
        return false;
    };
    let steps: &[Step] = match what {
        What::Export => &[Step::FhirExport, Step::CheckExportStatus],
        What::Transfer => &[Step::TransferToS3],
        What::Deletions | What::Import(_) => &[Step::PathlingImport, Step::CheckImportStatus],
        What::Count => &[Step::CheckImportStatus],
    };
    steps.iter().any(|known| known.name() == step)
}

/// The import itself, and the count after it.
fn of_attempt(record: &RunRecord, attempt: &Attempt) -> Vec<Phase> {
    let Some(began) = read(Some(&attempt.at)) else {
        return Vec::new();
    };
    let what = What::Import(attempt.number);
    let (done, ended) = (read(attempt.done.as_ref()), read(attempt.ended.as_ref()));
    let mut import = phase(record, what, began, done.or(ended));
    import.end = match attempt.outcome.as_deref() {
        Some(SUCCEEDED) => End::Well,
        // What the target no longer knows may have been done.
        Some(SUPERSEDED | LOST) => End::GivenUp,
        // What the target has done was found out to be too little.
        Some(_) if done.is_some() => End::Well,
        Some(_) => End::Failed,
        None if record.ended().is_some() => import.end,
        None => End::Open,
    };
    let mut phases = vec![import];
    if let (Some(done), Some(ended)) = (done, ended)
        && attempt.unverified.is_none()
    {
        phases.push(Phase {
            what: What::Count,
            began: done,
            ended: ended.max(done),
            end: match attempt.outcome.as_deref() {
                Some(SUCCEEDED) => End::Well,
                _ => End::Failed,
            },
        });
    }
    phases
}

/// A moment of a record, where it is one.
#[must_use]
pub fn read(moment: Option<&String>) -> Option<Timestamp> {
    moment?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::{KickOff, ManifestSeen, Outcome, Transferred};

    fn at(second: u32) -> String {
        format!("2026-01-31T02:00:{second:02}.000000Z")
    }

    fn record() -> RunRecord {
        RunRecord {
            kick_offs: vec![KickOff {
                at: at(0),
                ..KickOff::default()
            }],
            manifest: Some(ManifestSeen {
                at: at(6),
                complete: Some(at(5)),
                ..ManifestSeen::default()
            }),
            transfer_began: Some(at(6)),
            ..RunRecord::default()
        }
    }

    fn told(record: &RunRecord) -> Vec<(What, i64, End)> {
        let took = |phase: &Phase| phase.ended.duration_since(phase.began).as_secs();
        let phases = phases(record);
        let told = phases.iter().map(|it| (it.what, took(it), it.end));
        told.collect()
    }

    #[test]
    fn a_run_that_arrived_has_all_parts() {
        let mut record = record();
        record.transfer = Some(Transferred {
            at: at(59),
            staged: Some(at(20)),
            ..Transferred::default()
        });
        record.attempts.push(Attempt {
            number: 1,
            at: at(21),
            done: Some(at(30)),
            ended: Some(at(32)),
            outcome: Some(SUCCEEDED.to_owned()),
            ..Attempt::default()
        });
        let parts = [
            (What::Export, 5, End::Well),
            (What::Transfer, 14, End::Well),
            (What::Import(1), 9, End::Well),
            (What::Count, 2, End::Well),
        ];
        assert_eq!(told(&record), parts);
        record.attempts[0].outcome = Some("failed".to_owned());
        assert_eq!(
            told(&record)[2..],
            [
                (What::Import(1), 9, End::Well),
                (What::Count, 2, End::Failed),
            ]
        );
        record.attempts[0].outcome = Some(SUCCEEDED.to_owned());
        // As version 0.1.0 has written it before these fields were.
        record.transfer_began = None;
        record.manifest.as_mut().unwrap().complete = None;
        record.transfer.as_mut().unwrap().staged = None;
        record.attempts[0].done = None;
        let parts = [
            (What::Export, 6, End::Well),
            (What::Transfer, 53, End::Well),
            (What::Import(1), 11, End::Well),
        ];
        assert_eq!(told(&record), parts);
    }

    #[test]
    fn a_run_that_goes_on_or_failed_ends_with_the_part_that_it_is_at() {
        let mut record = record();
        assert_eq!(told(&record)[1], (What::Transfer, 0, End::Open));
        record.moved_at = Some(at(9));
        assert_eq!(told(&record)[1], (What::Transfer, 3, End::Open));
        for (step, end) in [(Some("transfer-to-s3"), End::Failed), (None, End::GivenUp)] {
            record.outcome = Some(Outcome {
                at: at(40),
                name: "IntegrityError".to_owned(),
                step: step.map(str::to_owned),
                ..Outcome::default()
            });
            assert_eq!(told(&record)[1], (What::Transfer, 34, end));
        }
        assert_eq!(told(&RunRecord::default()), []);
    }
}
