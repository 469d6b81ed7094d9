//! The summary for a person.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use pathling_import_core::config::Step;
use pathling_import_core::sync::{Deleted, is_instant};

use super::Summary;
use crate::drive::Extent;
use crate::words;

impl Summary {
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
            } else if self.auto && !is_instant(as_of) {
                ", which is no instant, so the next run begins where this one did"
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
                    "As of   {since}, when the export was asked for, which is the SINCE of a next delta"
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
        deleted.is_unread().then(|| {
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
        if self.is_held() {
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
