//! `pathling-import status` and `history`: how a synchronisation stands, and how its runs ended.

use std::fmt::Write as _;
use std::time::Duration;

use pathling_import_core::steps::Standing;
use pathling_import_core::sync::{Ended, SyncState};
use serde_json::{Value, json};

use crate::args::Format;
use crate::words;

/// How many runs `status` tells of.
const LAST: usize = 5;

/// What is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// How it stands.
    Status,
    /// All runs that are remembered.
    History,
}

/// What there is to tell, as it is to stand on stdout.
pub(crate) fn told(what: What, standing: &Standing, format: Format) -> String {
    match (what, format) {
        (What::Status, Format::Human) => human(standing),
        (What::Status, Format::Json) => format!("{}\n", status_json(standing)),
        (What::History, Format::Human) => {
            let mut out = String::new();
            if standing.state.runs.is_empty() {
                out.push_str("No run has ended so far\n");
            }
            // Writing to a String cannot fail.
            let _ = runs(&mut out, standing.state.runs.iter());
            out
        }
        (What::History, Format::Json) => format!("{}\n", json!(standing.state.runs)),
    }
}

/// Whether the target is further behind than that. One that was never in step is.
pub(crate) fn is_stale(standing: &Standing, most: Duration) -> bool {
    standing
        .freshness
        .is_none_or(|age| Duration::from_secs(age) > most)
}

fn status_json(standing: &Standing) -> Value {
    let state = &standing.state;
    json!({
        "key": standing.key,
        "watermark": state.watermark,
        "freshnessSeconds": standing.freshness,
        "inProgress": state.in_progress,
        "lastError": state.last_error,
        "lease": state.lease,
        "due": state.due,
        "next": standing.next.as_ref().map(|next| json!({"since": next.since, "why": next.why})),
        "lastFullRun": state.full,
        "runs": state.runs.iter().rev().take(LAST).collect::<Vec<_>>(),
    })
}

fn human(standing: &Standing) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_human(&mut out, standing);
    out
}

fn write_human(out: &mut String, standing: &Standing) -> std::fmt::Result {
    let state = &standing.state;
    match (&state.watermark, standing.freshness) {
        (Some(watermark), age) => {
            let age = age.map(|age| words::duration(Duration::from_secs(age)));
            let age = age.map_or(String::new(), |age| format!(", {age} ago"));
            let at = words::one_line(&watermark.at);
            writeln!(out, "In step up to {at}{age}, by run {}", watermark.run)?;
            if let Some(why) = &watermark.unverified {
                let why = words::one_line(why);
                writeln!(out, "Counted   no: {why}")?;
            }
        }
        (None, _) if *state == SyncState::default() => writeln!(
            out,
            "Never in step so far: there is no {}",
            words::one_line(&standing.place)
        )?,
        (None, _) => writeln!(out, "Never in step so far")?,
    }
    if let Some(error) = &state.last_error {
        let run = error.run.as_ref();
        let run = run.map(|run| format!(", run {run}")).unwrap_or_default();
        let what = words::one_line(&error.error);
        writeln!(
            out,
            "Last error at {} in {}{run}: {what}",
            error.at, error.step
        )?;
    }
    if let Some(run) = &state.in_progress {
        writeln!(
            out,
            "Under way run {}, kicked off at {}",
            run.run, run.kick_off
        )?;
    }
    if let Some(lease) = &state.lease {
        writeln!(
            out,
            "Imports   run {}, until {} at the latest",
            lease.run, lease.until
        )?;
    }
    if let Some(due) = &state.due {
        let why = words::one_line(&due.why);
        writeln!(out, "Due       a full run, since {}: {why}", due.since)?;
    }
    let merged = state.watermark.as_ref().is_some_and(|it| it.merged);
    let next = standing.next.as_ref().filter(|next| next.since.is_none());
    if let (Some(next), Some(_), None) = (next, &state.watermark, &state.due) {
        let why = words::one_line(&next.why);
        writeln!(out, "Next      a full run: {why}")?;
    } else if merged && state.due.is_none() {
        writeln!(
            out,
            "Merged    all of it, so that what the source had deleted is not known; the next run under SINCE=auto replaces everything"
        )?;
    }
    if let Some(full) = &state.full {
        writeln!(out, "Last full run {}, kicked off at {}", full.run, full.at)?;
    }
    if !state.runs.is_empty() {
        writeln!(out, "\nThe last runs")?;
        let skipped = state.runs.len().saturating_sub(LAST);
        runs(out, state.runs.iter().skip(skipped))?;
    }
    Ok(())
}

/// A line for each run, the newest first.
fn runs<'a>(
    out: &mut String,
    runs: impl DoubleEndedIterator<Item = &'a Ended>,
) -> std::fmt::Result {
    for run in runs.rev() {
        let outcome = words::one_line(&run.outcome);
        writeln!(out, "  {}  {}  {outcome}", run.at, run.run)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use pathling_import_core::sync::{Due, LastError, Watermark};

    use super::*;

    fn standing() -> Standing {
        let ended = |run: &str, outcome: &str| Ended {
            run: run.to_owned(),
            at: "2026-02-01T00:00:00.000000Z".to_owned(),
            outcome: outcome.to_owned(),
        };
        Standing {
            key: "k".to_owned(),
            state: SyncState {
                watermark: Some(Watermark {
                    at: "2026-02-01T00:00:00Z".to_owned(),
                    run: "a1".to_owned(),
                    ..Watermark::default()
                }),
                due: Some(Due {
                    since: "then".to_owned(),
                    why: "because".to_owned(),
                }),
                runs: vec![ended("a0", "ImportFailedError"), ended("a1", "imported")],
                ..SyncState::default()
            },
            freshness: Some(7200),
            ..Standing::default()
        }
    }

    #[test]
    fn a_person_reads_how_far_it_is_and_what_is_due_and_the_newest_run_first() {
        let said = told(What::Status, &standing(), Format::Human);
        assert_eq!(
            said,
            "In step up to 2026-02-01T00:00:00Z, 2 h ago, by run a1\n\
             Due       a full run, since then: because\n\
             \n\
             The last runs\n  \
             2026-02-01T00:00:00.000000Z  a1  imported\n  \
             2026-02-01T00:00:00.000000Z  a0  ImportFailedError\n"
        );
        let mut merged = standing();
        merged.state.due = None;
        merged.state.watermark.as_mut().unwrap().merged = true;
        let said = told(What::Status, &merged, Format::Human);
        assert!(said.contains("\nMerged    all of it"), "{said}");
        let mut failed = standing();
        failed.state.last_error = Some(LastError {
            at: "2026-02-02T00:00:00Z".to_owned(),
            step: "fhir-export".to_owned(),
            error: "SourceUnavailableError: no\nanswer".to_owned(),
            run: None,
        });
        let said = told(What::Status, &failed, Format::Human);
        let line = "\nLast error at 2026-02-02T00:00:00Z in fhir-export: SourceUnavailableError: no answer\n";
        assert!(said.contains(line), "{said}");
        let nothing = Standing {
            place: "file:///s/sync/k.json".to_owned(),
            ..Standing::default()
        };
        let nothing = told(What::Status, &nothing, Format::Human);
        assert_eq!(
            nothing,
            "Never in step so far: there is no file:///s/sync/k.json\n"
        );
    }

    #[test]
    fn a_program_reads_the_same() {
        let said = told(What::Status, &standing(), Format::Json);
        let said: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(said["watermark"]["at"], "2026-02-01T00:00:00Z");
        assert_eq!(said["freshnessSeconds"], 7200);
        assert_eq!(said["runs"][0]["run"], "a1");
        let history = told(What::History, &standing(), Format::Json);
        let history: Value = serde_json::from_str(&history).unwrap();
        assert_eq!(history.as_array().unwrap().len(), 2);
    }

    #[test]
    fn what_was_never_in_step_is_stale() {
        assert!(is_stale(&Standing::default(), Duration::MAX));
        assert!(is_stale(&standing(), Duration::from_secs(7199)));
        assert!(!is_stale(&standing(), Duration::from_hours(2)));
    }
}
