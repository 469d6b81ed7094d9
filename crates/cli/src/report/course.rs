//! What the page says of how a run went: errors, deletions, attempts, and under which names it is found elsewhere.

use std::collections::BTreeMap;

use pathling_import_core::http;
use pathling_import_core::progress::Software;
use pathling_import_core::report::phases::read;
use pathling_import_core::sync::SUCCEEDED;

use super::facts::{Facts, moment, number};
use super::files;
use super::html::Html;
use super::page::section;
use super::tables::{Column, pairs, row, table};

/// What went wrong, as far as the run knows.
pub(super) fn errors(html: &mut Html, facts: &Facts<'_>) {
    section(html, "errors", "Errors", |html| {
        let record = facts.record();
        let files = facts.report.files.as_ref();
        let failed = files.map_or(0, |files| files.failed);
        let refused = record.attempts.iter().filter(|it| it.message.is_some());
        let ended = record
            .ended()
            .filter(|it| it.step.is_some() || it.name.ends_with("Error"));
        if record.export_issues.is_none()
            && failed == 0
            && refused.clone().count() == 0
            && ended.is_none()
        {
            let none = if facts.reservations().is_empty() {
                "None is known."
            } else {
                "None beside what is said at the top."
            };
            html.leaf("p", &[], none);
            return;
        }
        if let Some(ended) = ended {
            let step = ended.step.as_deref().map(|step| format!(" in {step}"));
            let at = format!(
                "The run ended with {}{}:",
                ended.name,
                step.unwrap_or_default()
            );
            html.leaf("p", &[], &at);
            html.leaf(
                "p",
                &[("class", "said")],
                ended.message.as_deref().unwrap_or_default(),
            );
        }
        if let Some(issues) = &record.export_issues {
            html.element("div", &[("class", "beside-each-other")], |html| {
                let caption = "Issues that the source reports, by severity";
                issues_by(html, caption, "Severity", &issues.by_severity);
                issues_by(html, "The same, by code", "Code", &issues.by_code);
            });
            html.leaf("p", &[("class", "note")], &format!("In all: {}. What they say may name patients, and stands in the run's record alone (exportIssues.first).", issues.words()));
        }
        for attempt in refused {
            let outcome = attempt.outcome.as_deref().unwrap_or("under way");
            html.leaf(
                "p",
                &[],
                &format!("Attempt {} to import: {outcome}", attempt.number),
            );
            html.leaf(
                "p",
                &[("class", "said")],
                attempt.message.as_deref().unwrap_or_default(),
            );
        }
        if let Some(files) = files.filter(|files| files.failed > 0) {
            files::failures(html, files);
        }
    });
}

fn issues_by(html: &mut Html, caption: &str, by: &'static str, counts: &BTreeMap<String, u64>) {
    let columns: &[Column] = &[(by, false), ("Issues", true)];
    if counts.is_empty() {
        return;
    }
    table(html, caption, columns, |html| {
        for (name, count) in counts {
            row(html, columns, &[name, &number(*count)]);
        }
    });
}

/// What the source has deleted.
pub(super) fn deletions(html: &mut Html, facts: &Facts<'_>) {
    section(html, "deletions", "Deletions", |html| {
        let Some(deleted) = &facts.record().deleted else {
            let none = if facts.record().transfer.is_some() {
                "The source reports none."
            } else {
                "Not known: what the source reports was not looked at."
            };
            html.leaf("p", &[], none);
            return;
        };
        let mut told = vec![
            ("Files", number(deleted.files as u64)),
            ("Policy", format!("DELETIONS={}", deleted.policy)),
        ];
        if deleted.is_unread() {
            pairs(html, &told);
            let why = "Nobody looked into them, so the target may hold what the source deleted.";
            html.leaf("p", &[("class", "note")], why);
            return;
        }
        told.extend([
            ("Found", number(deleted.found as u64)),
            ("Applied", number(deleted.applied() as u64)),
            ("Left", number(deleted.rest() as u64)),
        ]);
        for (name, count) in [
            ("Files that could not be had", deleted.missing),
            ("Entries that name no single resource", deleted.unclear),
        ] {
            if count > 0 {
                told.push((name, number(count as u64)));
            }
        }
        pairs(html, &told);
        if deleted.needless {
            let why = "The import replaces what was there, so nothing needs deleting.";
            html.leaf("p", &[("class", "note")], why);
        }
    });
}

/// Each try to import.
pub(super) fn attempts(html: &mut Html, facts: &Facts<'_>) {
    const COLUMNS: &[Column] = &[
        ("Attempt", true),
        ("Began", false),
        ("Ended", false),
        ("Outcome", false),
        ("Counted", false),
    ];
    section(html, "attempts", "Attempts", |html| {
        let all = &facts.record().attempts;
        if all.is_empty() {
            html.leaf("p", &[], "The target was not asked to import.");
            return;
        }
        table(html, "Each try to import", COLUMNS, |html| {
            for attempt in all {
                let at = |it: Option<&String>| {
                    let at = read(it);
                    at.map(|at| moment(at, false)).unwrap_or_default()
                };
                let counted = match (&attempt.outcome, &attempt.unverified) {
                    (Some(outcome), None) if outcome == SUCCEEDED => {
                        "the target holds what was staged"
                    }
                    (_, Some(_)) => "no",
                    _ => "",
                };
                let cells = [
                    &*number(u64::from(attempt.number)),
                    &at(Some(&attempt.at)),
                    &at(attempt.ended.as_ref()),
                    attempt.outcome.as_deref().unwrap_or("under way"),
                    counted,
                ];
                row(html, COLUMNS, &cells);
            }
        });
    });
}

/// Under which names it is found elsewhere, and who was at it.
pub(super) fn names(html: &mut Html, facts: &Facts<'_>) {
    section(html, "names", "Names and versions", |html| {
        let record = facts.record();
        let mut told = Vec::new();
        let mut tell = |name, value: Option<String>| {
            if let Some(value) = value.filter(|it| !it.is_empty()) {
                told.push((name, value));
            }
        };
        let begun = facts.begun();
        tell("Asked for because", begun.map(|it| it.why.clone()));
        tell("Types asked for", begun.map(|it| it.types.join(", ")));
        tell("Level", begun.map(|it| it.level.clone()));
        tell("Imported by", facts.mode().map(str::to_owned));
        let seen = record.manifest.as_ref();
        tell("As of", seen.map(|it| it.transaction_time.clone()));
        tell(
            "Status URL",
            begun.map(|it| http::shown_str(&it.status_url)),
        );
        tell(
            "Requests (X-Request-Id)",
            begun.and_then(|it| it.request_id.clone()),
        );
        tell("Synchronisation", begun.map(|it| it.key.clone()));
        tell("Staged in", Some(facts.report.folder.clone()));
        tell(
            "Source",
            begun.and_then(|it| it.software.as_ref()).map(software),
        );
        let target = facts.last_attempt().and_then(|it| it.software.as_ref());
        tell("Target", target.map(software));
        tell("pathling-import", Some(record.programs.join(", ")));
        pairs(html, &told);
    });
}

fn software(told: &Software) -> String {
    let words = [&told.name, &told.version].into_iter().flatten();
    let mut text = words.cloned().collect::<Vec<_>>().join(" ");
    if let Some(fhir) = &told.fhir_version {
        let with = if text.is_empty() { "FHIR" } else { ", FHIR" };
        text = format!("{text}{with} {fhir}");
    }
    text
}
