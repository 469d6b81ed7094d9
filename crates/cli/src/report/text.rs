//! A run in words, for a terminal.

use std::fmt::Write as _;

use pathling_import_core::sync::Effort;

use super::facts::{Facts, between, end, moment, name, rate, took};
use crate::words;

/// Lines for a person.
pub(super) fn human(facts: &Facts<'_>) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_human(&mut out, facts);
    out
}

fn write_human(out: &mut String, facts: &Facts<'_>) -> std::fmt::Result {
    let record = facts.record();
    let (state, _) = facts.state();
    writeln!(out, "Run     {}", words::one_line(&record.run))?;
    writeln!(out, "Outcome {}", words::one_line(&state))?;
    let ended = record.ended();
    if let Some(message) = ended.and_then(|it| it.message.as_deref()) {
        writeln!(out, "        {}", words::one_line(message))?;
    }
    for reservation in facts.reservations() {
        writeln!(out, "        {}", words::one_line(&reservation))?;
    }
    let mode = facts.mode().map(|mode| format!(", {mode}"));
    let extent = facts.extent() + &mode.unwrap_or_default();
    writeln!(out, "Asked   {}", words::one_line(&extent))?;
    if let Some(begun) = facts.begun() {
        writeln!(out, "Because {}", words::one_line(&begun.why))?;
    }
    if let Some(seen) = &record.manifest {
        writeln!(out, "As of   {}", words::one_line(&seen.transaction_time))?;
    }
    write_sizes(out, facts)?;
    write_parts(out, facts)?;
    write_beside(out, facts)?;
    writeln!(out, "\nStaged  {}", words::one_line(&facts.report.folder))
}

fn write_sizes(out: &mut String, facts: &Facts<'_>) -> std::fmt::Result {
    let (Some(transfer), Some((bytes, pace))) = (&facts.record().transfer, facts.bytes()) else {
        return Ok(());
    };
    let files = words::count(transfer.files as u64, "file", "files");
    let resources = words::count(facts.resources(), "resource", "resources");
    let pace = pace.map(|pace| format!(", {}", rate(pace)));
    let (bytes, pace) = (words::bytes(bytes), pace.unwrap_or_default());
    writeln!(out, "Brought {resources} in {files}, {bytes}{pace}")?;
    if facts.types.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let name = |it: &super::facts::OfType| words::one_line(&it.name);
    let widest = facts.types.iter().map(|it| name(it).chars().count()).max();
    let width = widest.unwrap_or_default();
    for of_type in &facts.types {
        let (name, count) = (name(of_type), super::facts::number(of_type.resources));
        let size = of_type.bytes.map(words::bytes).unwrap_or_default();
        writeln!(
            out,
            "  {name:width$}  {count:>11}  {size:>10}  {}",
            of_type.fate
        )?;
    }
    Ok(())
}

/// When each part was at work.
fn write_parts(out: &mut String, facts: &Facts<'_>) -> std::fmt::Result {
    if facts.phases.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let attempts = facts.record().attempts.len();
    for phase in &facts.phases {
        let lasted = took(between(phase.began, phase.ended));
        writeln!(
            out,
            "  {:18} {}  {lasted:>11}  {}",
            name(phase.what, attempts),
            moment(phase.began, false),
            end(phase.end),
        )?;
    }
    Ok(())
}

/// What it took beside that, and what else the source told.
fn write_beside(out: &mut String, facts: &Facts<'_>) -> std::fmt::Result {
    let record = facts.record();
    writeln!(out)?;
    if let Some(effort) = &record.effort {
        writeln!(out, "Effort  {}", effort_in_words(effort))?;
    }
    if let Some(issues) = &record.export_issues {
        writeln!(out, "Errors  {}", words::one_line(&issues.words()))?;
    }
    if let Some(deleted) = &record.deleted {
        let found = words::count(deleted.found as u64, "deletion", "deletions");
        let (applied, left) = (deleted.applied(), deleted.rest());
        if deleted.is_unread() {
            let files = words::count(deleted.files as u64, "file", "files");
            writeln!(
                out,
                "Deleted {files} of deletions, into which nobody looked (DELETIONS=ignore)"
            )?;
        } else {
            writeln!(out, "Deleted {found} found, {applied} applied, {left} left")?;
        }
    }
    for attempt in &record.attempts {
        let outcome = attempt.outcome.as_deref().unwrap_or("under way");
        let said = attempt.message.as_deref().map(words::one_line);
        let said = said.map(|said| format!(": {said}")).unwrap_or_default();
        writeln!(
            out,
            "Attempt {} {}{said}",
            attempt.number,
            words::one_line(outcome)
        )?;
    }
    Ok(())
}

/// Retries and waits.
pub(super) fn effort_in_words(effort: &Effort) -> String {
    let retries = words::count(effort.retries, "retry", "retries");
    let waits = words::count(effort.waits(), "wait", "waits");
    format!("{retries}, {waits}")
}
