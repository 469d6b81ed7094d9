//! The closing summary: what arrived, what was left out, how long it took and where it rests.
//!
//! Its fields in JSON are a public interface: they may grow, and keep their names.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use pathling_import_core::config::Step;
use pathling_import_core::sync::{
    Deleted, Due, ExportIssues, IMPORTED, NOTHING, RunRecord, SUPERSEDED, SyncState, Watermark,
    is_instant,
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
        let left_out = record
            .attempts
            .last()
            .map(|attempt| attempt.unsupported.as_slice());
        let manifest = record
            .newest_kick_off()
            .and_then(|begun| begun.manifest.as_ref());
        let imported_before = manifest.and_then(|manifest| manifest.imported_before.clone());
        let is_left_out = |name: &String| {
            // A run with nothing to import has no attempt, so nothing of it was imported.
            (!finished.imported && imported_before.is_none())
                || transfer.unsupported.contains(name)
                || left_out.is_some_and(|types| types.contains(name))
        };
        let (unsupported, imported) = transfer
            .resources
            .into_iter()
            .filter(|(_, count)| *count > 0 && imported_before.is_none())
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

    /// Lines for a person.
    pub(crate) fn human(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write_human(&mut out);
        out
    }

    fn write_human(&self, out: &mut String) -> std::fmt::Result {
        let finished = &self.finished;
        if finished.imported {
            let resources = words::count(self.resources(), "resource", "resources");
            let types = words::count(self.imported.len() as u64, "type", "types");
            writeln!(out, "Imported {resources} of {types} into {}", self.target)?;
        } else if let Some(superseded) = &self.superseded {
            let superseded = words::one_line(superseded);
            writeln!(
                out,
                "Nothing imported: {superseded}, which has brought what came later"
            )?;
        } else if let Some(before) = &self.imported_before {
            writeln!(
                out,
                "Nothing to import: the manifest has the transactionTime and as many files as when it was imported at {}; --fresh imports it again",
                words::one_line(before)
            )?;
        } else if self.unsupported.is_empty() {
            let which = match (self.from_manifest, self.of_types) {
                (true, true) => "the manifest names no files of the TYPES that are set",
                (true, false) => "the manifest names no resources",
                (false, true) => "the export holds no resources of the TYPES that are set",
                (false, false) => "the export holds no resources",
            };
            writeln!(out, "Nothing to import: {which}")?;
        } else {
            writeln!(
                out,
                "Nothing to import: the target can hold none of the exported types"
            )?;
        }
        if !self.imported.is_empty() {
            writeln!(out)?;
            table(out, &self.imported)?;
        }
        self.write_skipped(out)?;
        for earlier in &self.unanswered {
            let earlier = words::one_line(earlier);
            writeln!(
                out,
                "\nA kick-off of {earlier} was never answered: a second export may be running at the source"
            )?;
        }
        writeln!(out)?;
        let resumed = if finished.resumed {
            ", begun by an earlier start"
        } else {
            ""
        };
        let kind = match &finished.extent {
            Some(Extent::Since(since)) => format!(" (changes since {since}{resumed})"),
            Some(Extent::Full) => format!(" (full export{resumed})"),
            None => String::new(),
        };
        writeln!(out, "Run     {}{kind}", finished.run)?;
        if let Some(as_of) = &self.as_of {
            let held = self.is_held();
            let next = if self.from_manifest {
                ", by the manifest"
            } else if self.auto && held {
                "; the next run begins where this one did, because the source reports errors"
            } else if self.auto {
                ""
            } else if !is_instant(as_of) {
                ", which is no instant: for a next delta, keep the SINCE before it"
            } else if held && finished.extent == Some(Extent::Full) {
                "; export in full again, because the source reports errors"
            } else if held {
                "; for a next delta, keep the SINCE before it, because the source reports errors"
            } else {
                ", which is the SINCE of a next delta"
            };
            match self.next_since.as_ref().filter(|_| !held && !self.auto) {
                Some(since) => writeln!(
                    out,
                    "As of   {as_of}; the SINCE of a next delta is {since}, when the export was asked for"
                )?,
                None => writeln!(out, "As of   {as_of}{next}")?,
            }
        }
        if let Some(mode) = self.mode.as_ref().filter(|_| finished.imported) {
            let attempt = match self.attempts {
                0 | 1 => String::new(),
                number => format!(" (attempt {number})"),
            };
            writeln!(out, "Mode    {mode}{attempt}")?;
        }
        self.write_step(out)?;
        writeln!(out, "Staged  {} in {}", self.size(), self.staged)?;
        writeln!(out, "Took    {}", self.durations())
    }

    /// How far the target is in step with the source.
    fn write_step(&self, out: &mut String) -> std::fmt::Result {
        match self.deleted.as_ref().map(Deleted::applied) {
            None | Some(0) => {}
            Some(applied) => {
                let resources = words::count(applied as u64, "resource", "resources");
                writeln!(out, "Deleted {resources}, as the source did")?;
            }
        }
        match &self.proof {
            Some(Ok(())) => writeln!(out, "Counted the target holds what was staged")?,
            Some(Err(why)) => writeln!(out, "Counted no: {}", words::one_line(why))?,
            None => {}
        }
        if let (true, Some(watermark)) = (self.auto, &self.watermark) {
            let at = words::one_line(&watermark.at);
            writeln!(out, "Next    what changes after {at}")?;
        }
        if let Some(due) = &self.due {
            let why = words::one_line(&due.why);
            let when = if self.auto {
                "the next run is"
            } else {
                "please run"
            };
            writeln!(out, "Due     {when} a full one: {why}")?;
        }
        Ok(())
    }

    /// What is said of deletions that the target does not have, where there are some.
    fn deletions_left(&self) -> Option<String> {
        let files = words::count(self.deletions as u64, "file", "files");
        let Some(deleted) = &self.deleted else {
            let left = "not applied, so the target may hold what the source deleted";
            return (self.deletions > 0).then(|| format!("{files} of deletions: {left}"));
        };
        if deleted.refresh.is_some() {
            return Some(format!(
                "{files} of deletions: not applied, or not all of them, so a full run is due"
            ));
        }
        (deleted.policy == "ignore").then(|| {
            format!("{files} of deletions: not applied (DELETIONS=ignore), so the target may hold what the source deleted")
        })
    }

    /// What did not reach the target.
    fn write_skipped(&self, out: &mut String) -> std::fmt::Result {
        let deletions = self.deletions_left();
        if self.unsupported.is_empty() && deletions.is_none() && self.export_errors == 0 {
            return Ok(());
        }
        writeln!(out, "\nSkipped")?;
        if !self.unsupported.is_empty() {
            writeln!(out, "  types that the target cannot hold:")?;
            table(out, &self.unsupported)?;
        }
        if let Some(deletions) = deletions {
            writeln!(out, "  {deletions}")?;
        }
        if self.export_errors > 0 {
            let files = words::count(self.export_errors as u64, "file", "files");
            self.write_issues(out, &files)?;
        }
        Ok(())
    }

    /// What the source could not export, as far as it says so.
    fn write_issues(&self, out: &mut String, files: &str) -> std::fmt::Result {
        let Some(issues) = &self.issues else {
            return writeln!(
                out,
                "  {files} of errors: the source could not export everything"
            );
        };
        if issues.has_errors() {
            writeln!(
                out,
                "  {files} of errors: the source could not export everything"
            )?;
        } else {
            writeln!(out, "  {files} of errors, in which there is none")?;
        }
        writeln!(out, "    {}", issues.words())?;
        if issues.watermark.is_some() {
            writeln!(
                out,
                "    So the run does not count as complete (EXPORT_ERRORS=hold)"
            )?;
        }
        writeln!(out, "    The first are in {}/_run.json", self.staged)
    }

    fn size(&self) -> String {
        let files = words::count(self.files as u64, "file", "files");
        let bytes = words::bytes(self.bytes);
        match self.files - self.fetched.min(self.files) {
            0 => format!("{files}, {bytes},"),
            there => format!(
                "{files} ({} there already), {bytes},",
                indicatif::HumanCount(there as u64)
            ),
        }
    }

    /// The time by phase: two steps make the export, and two the import.
    fn durations(&self) -> String {
        let phase = |name: &str, steps: [Step; 2]| {
            let mut of_phase = self
                .finished
                .phases
                .iter()
                .filter(|(step, _)| steps.contains(step))
                .peekable();
            of_phase.peek()?;
            let took: Duration = of_phase.map(|(_, took)| *took).sum();
            Some(format!("{name} {}", words::duration(took)))
        };
        let phases: Vec<String> = [
            phase("export", [Step::FhirExport, Step::CheckExportStatus]),
            phase("transfer", [Step::TransferToS3; 2]),
            phase("import", [Step::PathlingImport, Step::CheckImportStatus]),
        ]
        .into_iter()
        .flatten()
        .collect();
        format!("{} ({})", words::duration(self.took()), phases.join(", "))
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

/// Types and counts in two columns.
fn table(out: &mut String, types: &BTreeMap<String, u64>) -> std::fmt::Result {
    let counts: Vec<String> = types
        .values()
        .map(|count| indicatif::HumanCount(*count).to_string())
        .collect();
    let name_width = types.keys().map(String::len).max().unwrap_or_default();
    let count_width = counts.iter().map(String::len).max().unwrap_or_default();
    for (name, count) in types.keys().zip(counts) {
        writeln!(out, "  {name:name_width$}  {count:>count_width$}")?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "summary_tests.rs"]
mod tests;
