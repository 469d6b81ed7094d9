//! The closing summary: what arrived, what was left out, how long it took and where it rests.
//!
//! Its fields in JSON are a public interface: they may grow, and keep their names.

mod text;

use std::collections::BTreeMap;
use std::time::Duration;

use pathling_import_core::sync::{
    Deleted, Due, ExportIssues, IMPORTED, NOTHING, RunRecord, SUPERSEDED, SyncState, Watermark,
};
use serde_json::{Value, json};

use crate::drive::{Extent, Finished};
use crate::words;

/// What there is to say about a run that ended well.
#[derive(Debug)]
pub(crate) struct Summary {
    finished: Finished,
    target: String,
    staged: String,
    mode: Option<String>,
    imported: BTreeMap<String, u64>,
    unsupported: BTreeMap<String, u64>,
    files: usize,
    fetched: usize,
    bytes: u64,
    deletions: usize,
    export_errors: usize,
    issues: Option<ExportIssues>,
    attempts: usize,
    unanswered: Vec<String>,
    as_of: Option<String>,
    /// Whether a manifest took the place of an export.
    from_manifest: bool,
    /// When the same manifest was imported, where that was before.
    imported_before: Option<String>,
    /// The `SINCE` of a next delta, where it is another moment.
    next_since: Option<String>,
    /// Whether certain types were asked for.
    of_types: bool,
    /// What became of deletions that the source reported.
    deleted: Option<Deleted>,
    /// Whether counting proves that all arrived, and otherwise why not; `None` where nothing was imported.
    proof: Option<Result<(), String>>,
    /// Whether the watermark says what is asked for.
    auto: bool,
    /// What a run that came too late says of that.
    superseded: Option<String>,
    watermark: Option<Watermark>,
    due: Option<Due>,
}

impl Summary {
    /// Makes the summary from the run's record and the state of its synchronisation. `staged` is the run's folder, `target`
    /// the target's address, and `auto` says whether the watermark decides what is asked for.
    pub(crate) fn new(
        finished: Finished,
        (record, state): (&RunRecord, SyncState),
        staged: String,
        target: String,
        auto: bool,
    ) -> Self {
        let transfer = record.transfer.clone().unwrap_or_default();
        let manifest = record
            .newest_kick_off()
            .and_then(|begun| begun.manifest.as_ref());
        let imported_before = manifest.and_then(|manifest| manifest.imported_before.clone());
        let is_superseded = record
            .outcome
            .as_ref()
            .is_some_and(|outcome| outcome.name == SUPERSEDED);
        let is_left_out = |name: &String| {
            // A run with nothing to import has no attempt, so nothing of it was imported.
            (!finished.imported && imported_before.is_none()) || record.is_left_out(name)
        };
        let (unsupported, imported) = transfer
            .resources
            .into_iter()
            .filter(|(_, count)| *count > 0 && imported_before.is_none() && !is_superseded)
            .partition(|(name, _)| is_left_out(name));
        Self {
            mode: mode(&transfer.parameters),
            target,
            staged,
            imported,
            unsupported,
            files: transfer.files,
            fetched: match imported_before {
                Some(_) => 0,
                None => transfer.fetched,
            },
            bytes: transfer.bytes,
            deletions: transfer.deletions,
            export_errors: transfer.export_errors,
            issues: record.export_issues.clone(),
            attempts: record.attempts.len(),
            unanswered: record
                .newest_kick_off()
                .map(|kick_off| kick_off.unanswered.clone())
                .unwrap_or_default(),
            as_of: record
                .manifest
                .as_ref()
                .map(|manifest| words::one_line(&manifest.transaction_time)),
            from_manifest: manifest.is_some(),
            imported_before,
            next_since: record.next_since(),
            of_types: record
                .newest_kick_off()
                .is_some_and(|kick_off| !kick_off.types.is_empty()),
            deleted: record.deleted.clone(),
            proof: record
                .attempts
                .last()
                .filter(|_| finished.imported)
                .map(|attempt| attempt.unverified.clone().map_or(Ok(()), Err)),
            auto,
            superseded: record
                .outcome
                .as_ref()
                .filter(|outcome| outcome.name == SUPERSEDED)
                .and_then(|outcome| outcome.message.clone()),
            watermark: state.watermark,
            due: state.due,
            finished,
        }
    }

    fn resources(&self) -> u64 {
        self.imported.values().sum()
    }

    /// Whether the next delta has to begin where this one did: something may be missing.
    fn is_held(&self) -> bool {
        let issues = self.issues.as_ref();
        issues.is_some_and(|issues| issues.watermark.is_some())
    }

    fn took(&self) -> Duration {
        self.finished.phases.iter().map(|(_, took)| *took).sum()
    }

    /// One JSON object.
    pub(crate) fn json(&self) -> Value {
        let finished = &self.finished;
        let mut seconds: serde_json::Map<String, Value> = finished
            .phases
            .iter()
            .map(|(step, took)| (step.name().to_owned(), rounded(*took)))
            .collect();
        seconds.insert("total".to_owned(), rounded(self.took()));
        let mut all = json!({
            "outcome": match (&self.superseded, finished.imported) {
                (Some(_), _) => SUPERSEDED,
                (None, true) => IMPORTED,
                (None, false) => NOTHING,
            },
            "complete": !self.is_held(),
            "run": finished.run,
            "resumed": finished.resumed,
            "since": match &finished.extent {
                Some(Extent::Since(since)) => Some(since),
                _ => None,
            },
            "transactionTime": self.as_of,
            "mode": self.mode,
            "target": self.target,
            "types": self.imported,
            "resources": self.resources(),
            "files": self.files,
            "fetched": self.fetched,
            "bytes": self.bytes,
            "staged": self.staged,
            "skipped": {
                "unsupported": self.unsupported,
                "deletions": self.deletions,
                "exportErrors": self.export_errors,
            },
            "attempts": self.attempts,
            "seconds": seconds,
        });
        if let Some(deleted) = &self.deleted {
            all["deletions"] = json!({
                "found": deleted.found,
                "applied": deleted.applied(),
                "policy": deleted.policy,
            });
        }
        if let Some(proof) = &self.proof {
            all["verified"] = json!(proof.is_ok());
        }
        if let Some(watermark) = &self.watermark {
            all["watermark"] = json!(watermark.at);
        }
        if let Some(due) = &self.due {
            all["fullRunDue"] = json!(due.why);
        }
        if let Some(since) = &self.next_since {
            all["nextSince"] = json!(since);
        }
        if !self.unanswered.is_empty() {
            all["unanswered"] = json!(self.unanswered);
        }
        if let Some(before) = &self.imported_before {
            all["importedBefore"] = json!(before);
        }
        if let Some(issues) = &self.issues {
            all["exportIssues"] = json!({
                "files": issues.files,
                "missing": issues.missing,
                "bySeverity": issues.by_severity,
                "byCode": issues.by_code,
                "notOutcomes": issues.not_outcomes,
                "tooLong": issues.too_long,
                "watermark": issues.watermark,
            });
        }
        all
    }
}

/// The import mode that the Parameters ask for.
fn mode(parameters: &Value) -> Option<String> {
    let source = parameters.get("parameter")?.as_array()?.first()?;
    let parts = source.get("part")?.as_array()?;
    let part = parts.iter().find(|part| part["name"] == "mode")?;
    part.get("valueCode")?.as_str().map(str::to_owned)
}

/// Seconds to the millisecond.
fn rounded(duration: Duration) -> Value {
    json!(
        Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
            .as_secs_f64()
    )
}

#[cfg(test)]
mod tests;
