//! A run as a page of its own: one file without anything from elsewhere, and without a script.

use jiff::Timestamp;
use pathling_import_core::report::phases::{End, What};

use super::course;
use super::drawing::{self, Axis, Bar};
use super::facts::{Facts, State, between, end, moment, name, number, rate, took};
use super::files;
use super::html::Html;
use super::tables::{Column, row, table};
use super::text::effort_in_words;
use crate::words;

/// How the page looks, in light and in dark.
const STYLE: &str = include_str!("style.css");

/// Nothing is loaded, nothing is run, and nothing is sent, whatever a value may look like to a browser.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// The whole page.
pub(super) fn page(facts: &Facts<'_>) -> String {
    let run = &facts.record().run;
    let (state, how) = facts.state();
    Html::document(&[("lang", "en")], |html| {
        html.element("head", &[], |html| {
            html.void("meta", &[("charset", "utf-8")]);
            let policy = [
                ("http-equiv", "Content-Security-Policy"),
                ("content", POLICY),
            ];
            html.void("meta", &policy);
            let viewport = [
                ("name", "viewport"),
                ("content", "width=device-width, initial-scale=1"),
            ];
            html.void("meta", &viewport);
            html.void(
                "meta",
                &[("name", "color-scheme"), ("content", "light dark")],
            );
            html.void("meta", &[("name", "referrer"), ("content", "no-referrer")]);
            html.leaf("title", &[], &format!("Run {run}: {state}"));
            html.style(STYLE);
        });
        html.element("body", &[], |html| {
            html.element("main", &[], |html| {
                head(html, facts, &state, how);
                parts(html, facts);
                sizes(html, facts);
                files::files(html, facts);
                course::errors(html, facts);
                course::deletions(html, facts);
                course::attempts(html, facts);
                course::names(html, facts);
            });
            html.element("footer", &[], |html| {
                html.leaf("p", &[], &written());
            });
        });
    })
}

fn written() -> String {
    let now = moment(Timestamp::now(), false);
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "Written by pathling-import {version} on {now}, from the run's record and its audit log."
    )
}

/// A part of the page with a heading.
pub(super) fn section(
    html: &mut Html,
    id: &'static str,
    heading: &str,
    inside: impl FnOnce(&mut Html),
) {
    let heading_id = format!("{id}-heading");
    let attributes = [("id", id), ("aria-labelledby", heading_id.as_str())];
    html.element("section", &attributes, |html| {
        html.leaf("h2", &[("id", heading_id.as_str())], heading);
        inside(html);
    });
}

/// What is to be seen first.
fn head(html: &mut Html, facts: &Facts<'_>, state: &str, how: State) {
    let record = facts.record();
    html.element("header", &[], |html| {
        let class = match how {
            State::Well => "state well",
            State::Look => "state look",
            State::Bad => "state bad",
            State::Open => "state open",
        };
        html.element("h1", &[], |html| {
            html.text("Run ");
            html.leaf("span", &[("class", "name")], &record.run);
        });
        html.element("p", &[("class", "standing")], |html| {
            html.leaf("strong", &[("class", class)], state);
            html.text(" ");
            html.leaf("span", &[], &facts.extent());
        });
        let ended = record.ended();
        if let Some(message) = ended.and_then(|it| it.message.as_deref()) {
            html.leaf("p", &[("class", "said")], message);
        }
        let reservations = facts.reservations();
        if !reservations.is_empty() {
            html.element("ul", &[("class", "reservations")], |html| {
                for reservation in &reservations {
                    html.leaf("li", &[], reservation);
                }
            });
        }
        figures(html, facts);
    });
}

fn figures(html: &mut Html, facts: &Facts<'_>) {
    let record = facts.record();
    let transfer = record.transfer.as_ref();
    let unknown = || "not known".to_owned();
    let (bytes, pace) = facts.bytes().unzip();
    let pace = pace.flatten().map(|it| format!("{} on average", rate(it)));
    let files = transfer.map(|it| words::count(it.files as u64, "file", "files"));
    let types = facts.types.iter().filter(|it| it.resources > 0).count();
    let types = words::count(types as u64, "type", "types");
    let effort = record.effort.as_ref();
    let attempts = record.attempts.len() as u64;
    let of_resources = transfer.map(|_| number(facts.resources()));
    let figures = [
        ("Resources", of_resources.unwrap_or_else(unknown), types),
        (
            "Staged",
            bytes.map_or_else(unknown, words::bytes),
            files.unwrap_or_default(),
        ),
        (
            "Took",
            facts.took().map_or_else(unknown, words::duration),
            pace.unwrap_or_default(),
        ),
        (
            "Attempts to import",
            number(attempts),
            effort.map(effort_in_words).unwrap_or_default(),
        ),
    ];
    html.element("dl", &[("class", "figures")], |html| {
        for (name, figure, beside) in figures {
            html.element("div", &[], |html| {
                html.leaf("dt", &[], name);
                html.element("dd", &[], |html| {
                    html.leaf("span", &[("class", "figure")], &figure);
                    html.leaf("span", &[("class", "beside")], &beside);
                });
            });
        }
    });
}

/// When each part of the run was at work.
fn parts(html: &mut Html, facts: &Facts<'_>) {
    const COLUMNS: &[Column] = &[
        ("Step", false),
        ("Began", false),
        ("Ended", false),
        ("Took", true),
        ("How", false),
    ];
    section(html, "steps", "Steps", |html| {
        let Some((began, ended)) = facts.span() else {
            html.leaf("p", &[], "The record has no times.");
            return;
        };
        let axis = Axis::new(began, ended);
        let all = record_attempts(facts);
        html.element("div", &[("class", "gantt")], |html| {
            for phase in &facts.phases {
                let lasted = took(between(phase.began, phase.ended));
                let name = name(phase.what, all);
                let bar = Bar {
                    began: phase.began,
                    ended: phase.ended,
                    class: class(phase.what, phase.end),
                    title: format!("{name}: {lasted}, {}", end(phase.end)),
                };
                lane(html, &name, &lasted, |html| {
                    drawing::track(html, &axis, &bar);
                });
            }
            lane(html, "", "", |html| scale(html, began, ended));
        });
        let finely = between(began, ended).as_secs() < 120;
        table(html, "When each step was at work", COLUMNS, |html| {
            for phase in &facts.phases {
                let open = phase.end == End::Open;
                let ended = moment(phase.ended, finely);
                let cells = [
                    &*name(phase.what, all),
                    &moment(phase.began, finely),
                    if open { "" } else { &ended },
                    &took(between(phase.began, phase.ended)),
                    end(phase.end),
                ];
                row(html, COLUMNS, &cells);
            }
        });
    });
}

fn record_attempts(facts: &Facts<'_>) -> usize {
    facts.record().attempts.len()
}

/// A drawing between its name and what it comes to.
pub(super) fn lane(html: &mut Html, label: &str, comes_to: &str, inside: impl FnOnce(&mut Html)) {
    html.element("div", &[("class", "lane")], |html| {
        html.leaf("span", &[("class", "label")], label);
        inside(html);
        html.leaf("span", &[("class", "took")], comes_to);
    });
}

/// What stands below a drawing over time: how long after its beginning that is.
pub(super) fn scale(html: &mut Html, began: Timestamp, ended: Timestamp) {
    let all = between(began, ended);
    html.element("div", &[("class", "scale")], |html| {
        html.leaf("span", &[], "0");
        html.leaf("span", &[], &took(all / 2));
        html.leaf("span", &[], &took(all));
    });
}

fn class(what: What, end: End) -> &'static str {
    match (end, what) {
        (End::Failed, _) => "failed",
        (End::GivenUp, _) => "open",
        (_, What::Export) => "export",
        (_, What::Transfer) => "file",
        (_, What::Deletions) => "deletions",
        (_, What::Import(_)) => "import",
        (_, What::Count) => "count",
    }
}

/// What came of each type.
fn sizes(html: &mut Html, facts: &Facts<'_>) {
    const COLUMNS: &[Column] = &[
        ("Type", false),
        ("Size", false),
        ("Bytes", true),
        ("Resources", true),
        ("Target before", true),
        ("Target after", true),
        ("What became of it", false),
    ];
    section(html, "types", "Types", |html| {
        if facts.types.is_empty() {
            html.leaf(
                "p",
                &[],
                "Not all is staged yet, so nothing is known of types.",
            );
            return;
        }
        let bytes = facts.types.iter().filter_map(|it| it.bytes);
        let most = bytes.max();
        table(html, "What came of each type", COLUMNS, |html| {
            let optional = |count: Option<u64>| count.map_or_else(|| "–".to_owned(), number);
            for of_type in &facts.types {
                html.element("tr", &[], |html| {
                    html.leaf("th", &[("scope", "row")], &of_type.name);
                    html.element("td", &[("class", "drawn")], |html| {
                        if let (Some(bytes), Some(most)) = (of_type.bytes, most) {
                            let label = format!("{}: {}", of_type.name, words::bytes(bytes));
                            drawing::share(html, bytes, most, &label);
                        }
                    });
                    for cell in [
                        of_type.bytes.map_or_else(|| "–".to_owned(), words::bytes),
                        number(of_type.resources),
                        optional(of_type.before),
                        optional(of_type.after),
                    ] {
                        html.leaf("td", &[("class", "number")], &cell);
                    }
                    html.leaf("td", &[], of_type.fate);
                });
            }
        });
        if most.is_none() {
            html.leaf(
                "p",
                &[("class", "note")],
                "The record does not tell the bytes of each type.",
            );
        }
    });
}
