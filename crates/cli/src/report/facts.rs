//! What there is to say of a run, in values that words and page have in common.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use pathling_import_core::report::Report;
use pathling_import_core::report::phases::{End, Phase, What, phases, read};
use pathling_import_core::sync::{
    Attempt, CANCELLED, ExportIssues, IMPORTED, KickOff, NOTHING, Outcome, RunRecord, SUPERSEDED,
};

use crate::words;

/// A run, and what follows from it.
pub(super) struct Facts<'a> {
    /// What was read.
    pub(super) report: &'a Report,
    /// When its parts were at work.
    pub(super) phases: Vec<Phase>,
    /// A row for each type.
    pub(super) types: Vec<OfType>,
}

/// How a run stands, at a glance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// All is well.
    Well,
    /// It arrived, and somebody should look.
    Look,
    /// It did not arrive.
    Bad,
    /// It was given up, or goes on.
    Open,
}

/// What came of one type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OfType {
    pub(super) name: String,
    pub(super) resources: u64,
    /// Bytes in staging, where they are known by type.
    pub(super) bytes: Option<u64>,
    /// How many the target held before.
    pub(super) before: Option<u64>,
    /// And afterwards.
    pub(super) after: Option<u64>,
    /// What became of it.
    pub(super) fate: &'static str,
}

impl<'a> Facts<'a> {
    pub(super) fn of(report: &'a Report) -> Self {
        Self {
            phases: phases(&report.record),
            types: types(report),
            report,
        }
    }

    pub(super) fn record(&self) -> &'a RunRecord {
        &self.report.record
    }

    /// The kick-off that it began with.
    pub(super) fn begun(&self) -> Option<&'a KickOff> {
        self.record().newest_kick_off()
    }

    /// The attempt that counts.
    pub(super) fn last_attempt(&self) -> Option<&'a Attempt> {
        self.record().attempts.last()
    }

    /// How it ended, in a word or two, and how that is.
    pub(super) fn state(&self) -> (String, State) {
        let Some(Outcome { name, .. }) = self.record().ended() else {
            return ("Under way".to_owned(), State::Open);
        };
        match name.as_str() {
            IMPORTED if self.wants_a_look() => {
                ("Imported, with reservations".to_owned(), State::Look)
            }
            IMPORTED => ("Imported".to_owned(), State::Well),
            NOTHING => ("Nothing to import".to_owned(), State::Well),
            SUPERSEDED => ("Superseded".to_owned(), State::Open),
            CANCELLED => ("Cancelled".to_owned(), State::Open),
            error => (format!("Failed: {error}"), State::Bad),
        }
    }

    fn wants_a_look(&self) -> bool {
        !self.reservations().is_empty()
    }

    /// Why a run that arrived is not all that it should be.
    pub(super) fn reservations(&self) -> Vec<String> {
        let record = self.record();
        let mut all = Vec::new();
        let issues = record.export_issues.as_ref();
        if record.issues_hold().is_some() {
            all.push(
                "The source reports errors of the export, so the run does not count as complete (EXPORT_ERRORS=hold)."
                    .to_owned(),
            );
        } else if issues.is_some_and(ExportIssues::has_errors) {
            all.push(
                "The source reports errors of the export: something may be missing.".to_owned(),
            );
        }
        if let Some(twice) = record.duplicates.as_ref() {
            if twice.are_any() {
                all.push(format!("{}.", twice.words()));
            }
            if twice.stopped {
                all.push(
                    "Not all that came was looked at for ids that come twice: there was no room or no time for it."
                        .to_owned(),
                );
            }
        }
        if let Some(why) = self.last_attempt().and_then(|it| it.unverified.as_ref()) {
            all.push(format!("What arrived was not counted: {why}"));
        }
        match record.deleted.as_ref() {
            Some(deleted) if deleted.refresh.is_some() => all.push(format!(
                "A full run is due because of deletions: {}.",
                deleted.refresh.as_deref().unwrap_or_default()
            )),
            Some(deleted) if deleted.is_unread() => all.push(
                "What the source deleted is not deleted at the target (DELETIONS=ignore)."
                    .to_owned(),
            ),
            _ => {}
        }
        let left_out = self.types.iter().filter(|it| it.fate == LEFT_OUT);
        let left_out: Vec<&str> = left_out.map(|it| it.name.as_str()).collect();
        if !left_out.is_empty() {
            all.push(format!(
                "The target cannot hold these types: {}.",
                left_out.join(", ")
            ));
        }
        all
    }

    /// What was asked for.
    pub(super) fn extent(&self) -> String {
        match self.begun() {
            None => "unknown: no kick-off is recorded".to_owned(),
            Some(begun) if begun.manifest.is_some() => {
                "a manifest in the place of an export".to_owned()
            }
            Some(KickOff {
                since: Some(since), ..
            }) => format!("changes since {since}"),
            Some(_) => "full export".to_owned(),
        }
    }

    /// `merge` or `overwrite`, where it is known.
    pub(super) fn mode(&self) -> Option<&'a str> {
        let transfer = self.record().transfer.as_ref();
        let decided = || self.begun().and_then(|begun| begun.mode.as_deref());
        transfer.map(|it| it.mode.as_str()).or_else(decided)
    }

    /// From the kick-off to the end, or to the last that is known.
    pub(super) fn span(&self) -> Option<(Timestamp, Timestamp)> {
        let first = self.phases.iter().map(|it| it.began).min()?;
        let ended = self.record().ended().and_then(|it| read(Some(&it.at)));
        let last = self.phases.iter().map(|it| it.ended).max();
        Some((first, last.into_iter().chain(ended).max()?))
    }

    pub(super) fn took(&self) -> Option<Duration> {
        self.span().map(|(began, ended)| between(began, ended))
    }

    pub(super) fn resources(&self) -> u64 {
        self.types.iter().map(|it| it.resources).sum()
    }

    /// Bytes in staging, and how many a second came, where the transfer is done.
    pub(super) fn bytes(&self) -> Option<(u64, Option<u64>)> {
        let transfer = self.record().transfer.as_ref()?;
        let mut transfers = self.phases.iter().filter(|it| it.what == What::Transfer);
        let took = transfers.next().filter(|it| it.end == End::Well);
        let took = took.map(|it| between(it.began, it.ended).as_millis());
        let rate = took.filter(|took| *took > 0).and_then(|took| {
            let rate = u128::from(transfer.bytes) * 1000 / took;
            u64::try_from(rate).ok()
        });
        Some((transfer.bytes, rate))
    }
}

/// What is said of a type that the target cannot hold.
pub(super) const LEFT_OUT: &str = "left out: the target cannot hold it";

fn types(report: &Report) -> Vec<OfType> {
    let record = &report.record;
    let Some(transfer) = &record.transfer else {
        return Vec::new();
    };
    let attempt = record.attempts.last();
    let imported = record.ended().is_some_and(|it| it.name == IMPORTED);
    // Of an older record, the log knows the sizes; but of files of several types it does not know which.
    let logged: BTreeMap<&String, u64> = match &report.files {
        Some(files) if !files.by_type.contains_key("") => files
            .by_type
            .iter()
            .map(|(name, bytes)| (name, *bytes))
            .collect(),
        _ => BTreeMap::new(),
    };
    let count = |of: fn(&Attempt) -> &BTreeMap<String, u64>, name: &String| {
        attempt.and_then(|it| of(it).get(name).copied())
    };
    let names: BTreeSet<&String> = transfer.resources.keys().chain(&transfer.missing).collect();
    names
        .into_iter()
        .map(|name| OfType {
            name: name.clone(),
            resources: transfer.resources.get(name).copied().unwrap_or_default(),
            bytes: transfer
                .bytes_by_type
                .get(name)
                .or_else(|| logged.get(name))
                .copied(),
            before: count(|it| &it.before, name),
            after: count(|it| &it.after, name),
            fate: if record.is_left_out(name) {
                LEFT_OUT
            } else if transfer.missing.contains(name) {
                if transfer.emptied {
                    "emptied in the target"
                } else {
                    "nothing came"
                }
            } else if imported {
                "imported"
            } else {
                "staged"
            },
        })
        .collect()
}

/// How long it is from one moment to another.
pub(super) fn between(began: Timestamp, ended: Timestamp) -> Duration {
    Duration::try_from(ended.duration_since(began)).unwrap_or_default()
}

/// A stretch of time in words, a short one in milliseconds.
pub(super) fn took(took: Duration) -> String {
    if took < Duration::from_millis(100) {
        return format!("{} ms", took.as_millis());
    }
    words::duration(took)
}

/// The name of a part of a run.
pub(super) fn name(what: What, attempts: usize) -> String {
    match what {
        What::Export => "Export".to_owned(),
        What::Transfer => "Transfer".to_owned(),
        What::Deletions => "Deletions".to_owned(),
        What::Import(number) if attempts > 1 => format!("Import, attempt {number}"),
        What::Import(_) => "Import".to_owned(),
        What::Count => "Count".to_owned(),
    }
}

/// How a part ended, in a word.
pub(super) fn end(end: End) -> &'static str {
    match end {
        End::Well => "done",
        End::Failed => "failed",
        End::GivenUp => "given up",
        End::Open => "under way",
    }
}

/// A moment as people read it, to the second, or to the millisecond where that matters.
pub(super) fn moment(at: Timestamp, finely: bool) -> String {
    let text = if finely {
        format!("{at:.3}")
    } else {
        format!("{at:.0}")
    };
    format!("{} UTC", text.replace('T', " ").trim_end_matches('Z'))
}

/// A number with its thousands told apart.
pub(super) fn number(number: u64) -> String {
    indicatif::HumanCount(number).to_string()
}

/// Bytes a second.
pub(super) fn rate(bytes: u64) -> String {
    format!("{}/s", words::bytes(bytes))
}
