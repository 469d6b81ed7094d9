//! What the page says of files: when each came, how fast, and which attempts failed. All of it is from the audit log, and
//! where that is not there it is said.

use std::collections::BTreeMap;

use pathling_import_core::report::files::{FileTime, Files};

use super::drawing::{self, Axis};
use super::facts::{Facts, between, moment, number, rate, took};
use super::html::Html;
use super::page::{lane, scale, section};
use super::tables::{Column, details, row, table};
use crate::words;

/// Files and throughput.
pub(super) fn files(html: &mut Html, facts: &Facts<'_>) {
    let Some(files) = facts.report.files.as_ref() else {
        section(html, "files", "Files", |html| {
            let why =
                "The run's audit log is not there, so the times of single files are not known.";
            html.leaf("p", &[], why);
        });
        return;
    };
    let first = files.kept.iter().map(|it| it.began).min();
    let last = files.kept.iter().map(|it| it.ended).max();
    let Some((began, ended)) = first.zip(last) else {
        section(html, "files", "Files", |html| {
            html.leaf("p", &[], "The audit log tells of no file that was fetched.");
            remarks(html, files);
        });
        return;
    };
    let axis = Axis::new(began, ended);
    section(html, "files", "Files", |html| {
        let count = words::count(files.staged, "file was", "files were");
        let size = words::bytes(files.bytes);
        let first = moment(began, false);
        let about = format!("{count} fetched, {size}. The drawing begins at {first}.");
        html.leaf("p", &[], &about);
        html.element("div", &[("class", "gantt")], |html| {
            for (resource_type, of_type) in by_type(files) {
                let shown = shown(resource_type);
                let count = words::count(of_type.len() as u64, "file", "files");
                let label = format!("{shown}: when each of {count} came");
                lane(html, shown, &count, |html| {
                    drawing::lanes(html, &axis, &of_type, &label, title);
                });
            }
            lane(html, "", "", |html| scale(html, began, ended));
        });
        if files.kept.iter().any(|it| it.failed > 0) {
            let legend = "Files in the stronger colour came after an attempt that failed.";
            html.leaf("p", &[("class", "note")], legend);
        }
        remarks(html, files);
        details(html, "The files of the drawing as a table", |html| {
            of_each(html, files);
        });
    });
    throughput(html, files);
}

fn by_type(files: &Files) -> BTreeMap<&str, Vec<&FileTime>> {
    let mut by_type: BTreeMap<&str, Vec<&FileTime>> = BTreeMap::new();
    for file in &files.kept {
        let name = match file.item.as_str() {
            "error" => "Files of errors",
            "deleted" => "Files of deletions",
            _ => file.resource_type.as_str(),
        };
        by_type.entry(name).or_default().push(file);
    }
    by_type
}

/// A type's name, for people.
fn shown(resource_type: &str) -> &str {
    if resource_type.is_empty() {
        "Several types"
    } else {
        resource_type
    }
}

fn title(file: &FileTime) -> String {
    let (kind, index) = (shown(&file.resource_type), file.index);
    let lasted = took(between(file.began, file.ended));
    let resources = words::count(file.resources, "resource", "resources");
    let failed = match file.failed {
        0 => String::new(),
        failed => format!(
            ", after {}",
            words::count(failed.into(), "attempt that failed", "attempts that failed")
        ),
    };
    format!(
        "{kind}, file {index}: {}, {resources}, {lasted}{failed}",
        words::bytes(file.bytes)
    )
}

/// What the drawing does not show.
fn remarks(html: &mut Html, files: &Files) {
    let note = &[("class", "note")];
    if files.left_out > 0 {
        let drawn = number(files.kept.len() as u64);
        let left_out = words::count(files.left_out, "file is", "files are");
        let why = format!("Drawn are the {drawn} that took longest; {left_out} left out.");
        html.leaf("p", note, &why);
    }
    if files.without_end > 0 {
        let count = words::count(files.without_end, "file was", "files were");
        let why = format!("{count} asked for without an end in the log: under way, or stopped.");
        html.leaf("p", note, &why);
    }
    if files.unread > 0 {
        let count = words::count(files.unread, "line", "lines");
        html.leaf(
            "p",
            note,
            &format!("{count} of the audit log could not be read."),
        );
    }
}

fn of_each(html: &mut Html, files: &Files) {
    const COLUMNS: &[Column] = &[
        ("Type", false),
        ("File", true),
        ("Began", false),
        ("Took", true),
        ("Bytes", true),
        ("Resources", true),
        ("Failed before", true),
    ];
    table(
        html,
        "Files in the order in which they began",
        COLUMNS,
        |html| {
            for file in &files.kept {
                let cells = [
                    shown(&file.resource_type),
                    &number(file.index),
                    &moment(file.began, true),
                    &took(between(file.began, file.ended)),
                    &words::bytes(file.bytes),
                    &number(file.resources),
                    &number(file.failed.into()),
                ];
                row(html, COLUMNS, &cells);
            }
        },
    );
}

// Bytes a second, of what is no more than a wire carries.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn whole(rate: f64) -> u64 {
    rate.max(0.0).round() as u64
}

fn throughput(html: &mut Html, files: &Files) {
    const COLUMNS: &[Column] = &[("Began", false), ("Throughput", true)];
    let spans = files.pace.spans();
    let (Some(first), Some(last)) = (spans.first(), spans.last()) else {
        return;
    };
    let (began, ended) = (first.began, last.ended);
    let peak = whole(spans.iter().map(|it| it.rate).fold(0.0, f64::max));
    section(html, "throughput", "Throughput", |html| {
        let each = took(between(first.began, first.ended));
        let about = format!(
            "At most {} over {each}. The bytes of a file count as if they had come evenly from when it was asked for to when it was staged.",
            rate(peak)
        );
        html.leaf("p", &[], &about);
        html.element("div", &[("class", "chart-row")], |html| {
            html.element("div", &[("class", "axis")], |html| {
                html.leaf("span", &[], &rate(peak));
                html.leaf("span", &[], &rate(peak / 2));
                html.leaf("span", &[], "0");
            });
            let label = format!("Throughput over time, at most {}", rate(peak));
            drawing::chart(html, &Axis::new(began, ended), &spans, &label);
        });
        html.element("div", &[("class", "chart-row")], |html| {
            html.leaf("div", &[("class", "axis")], "");
            scale(html, began, ended);
        });
        details(html, "The throughput as a table", |html| {
            table(html, "Throughput over time", COLUMNS, |html| {
                for span in &spans {
                    let cells = [&*moment(span.began, true), &rate(whole(span.rate))];
                    row(html, COLUMNS, &cells);
                }
            });
        });
    });
}

/// The attempts at files that failed.
pub(super) fn failures(html: &mut Html, files: &Files) {
    const COLUMNS: &[Column] = &[
        ("When", false),
        ("File", false),
        ("Status", true),
        ("What happened", false),
    ];
    let count = words::count(files.failed, "attempt", "attempts");
    let shown_here = files.failures.len() as u64;
    let first = if shown_here < files.failed {
        format!(", of which the first {shown_here} are here")
    } else {
        String::new()
    };
    html.leaf("p", &[], &format!("{count} at files failed{first}:"));
    table(html, "Attempts at files that failed", COLUMNS, |html| {
        for failure in &files.failures {
            let cells = [
                &*moment(failure.at, true),
                &format!("{} {}", shown(&failure.resource_type), failure.index),
                &failure
                    .code
                    .map(|code| code.to_string())
                    .unwrap_or_default(),
                failure.message.as_str(),
            ];
            row(html, COLUMNS, &cells);
        }
    });
}
