//! How the target is kept in step with the source, run after run.

use std::time::Duration;

use super::read::Reader;
use super::table::Step;

/// What a `SINCE` of this word asks for: what is new since the last run that arrived.
pub(super) const AUTO: &str = "auto";

/// How the target is kept in step with the source, run after run.
// Each is a setting of its own.
#[allow(clippy::struct_excessive_bools)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncSettings {
    /// Whether the watermark says what is asked for (`SINCE=auto`).
    pub auto: bool,
    /// How much further than the watermark a delta reaches back.
    pub overlap: Duration,
    /// After how long a full run is due.
    pub full_every: Option<Duration>,
    /// What becomes of deletions.
    pub deletions: Deletions,
    /// How many deletions a run applies one by one at most.
    pub deletions_limit: usize,
    /// Whether what the target holds is counted before and after an import.
    pub verify: bool,
    /// How long the right to import stays with a run that does not renew it.
    pub lease: Duration,
    /// Whether `fhir-export` goes on with a run that an earlier start did not finish.
    pub resume: bool,
    /// How old a run may be that is gone on with.
    pub resume_within: Duration,
    /// Whether a full overwrite empties types of which the source has no resources any more.
    pub empty_missing_types: bool,
}

/// What becomes of deletions that the source reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletions {
    /// They are applied at the target one by one, before the import.
    Apply,
    /// They make a full run due.
    Refresh,
    /// They are counted, and that is all.
    Ignore,
}

impl Deletions {
    /// The word in the setting and in the run's record.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Refresh => "refresh",
            Self::Ignore => "ignore",
        }
    }
}

impl SyncSettings {
    pub(super) fn read(reader: &mut Reader, step: Step, auto: bool) -> Self {
        let lease = reader.seconds("LEASE_SECONDS");
        let polls = reader.seconds("IMPORT_RETRY_WAIT");
        if auto && step == Step::FhirExport && !reader.is_given("STAGING_URL") {
            reader.contradiction(
                "SINCE=auto needs STAGING_URL, where the watermark is kept".to_owned(),
            );
        }
        if auto && reader.is_given("UNTIL") {
            let written = reader.written("UNTIL");
            reader.contradiction(format!(
                "{written} leaves out what SINCE=auto would take for exported: leave one of them out"
            ));
        }
        Self {
            auto,
            overlap: reader.seconds("SINCE_OVERLAP"),
            full_every: reader.period("FULL_EVERY"),
            deletions: match reader.choice("DELETIONS").as_str() {
                "refresh" => Deletions::Refresh,
                "ignore" => Deletions::Ignore,
                _ => Deletions::Apply,
            },
            deletions_limit: usize::try_from(reader.whole("DELETIONS_LIMIT")).unwrap_or(usize::MAX),
            verify: reader.choice("VERIFY_IMPORT") != "none",
            // The command renews it at each poll, of which none may come too late.
            lease: match step {
                Step::Command => lease.max(polls.saturating_mul(3)),
                _ => lease,
            },
            resume: reader.flag("RESUME"),
            resume_within: reader.seconds("RESUME_WITHIN"),
            empty_missing_types: reader.flag("EMPTY_MISSING_TYPES"),
        }
    }
}
