//! `pathling-import cancel`, and the question after Ctrl-C whether to do the same: what is done, and what is said of it.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};

use pathling_import_core::Result;
use pathling_import_core::config::Step;
use pathling_import_core::steps::{self, AtSource, Cancelled, Context, GivenUp};
use serde_json::{Value, json};

use crate::args::Format;
use crate::drive::Position;
use crate::words;

/// Gives the run in progress up, and what there is to say about that, as it is to stand on stdout.
pub(crate) async fn cancel(
    context: &Context,
    only: Option<&str>,
    format: Format,
) -> Result<String> {
    let given_up = Box::pin(steps::cancel(context, only)).await?;
    Ok(match format {
        Format::Human => human(&given_up),
        Format::Json => format!("{}\n", as_json(&given_up)),
    })
}

/// Whether there is somebody to ask, and something to ask about: a person at a terminal, and an export that still runs and
/// was begun here.
pub(crate) fn may_ask(context: &Context, position: &Position) -> bool {
    context.settings().manifest.is_none()
        && position.run.is_some()
        && position.step == Some(Step::CheckExportStatus)
        && std::io::stdin().is_terminal()
}

/// Asks whether the export should end too. Anything but a yes is a no, and so is the end of the input.
pub(crate) async fn ask() -> bool {
    {
        let mut err = std::io::stderr().lock();
        let _ = write!(
            err,
            "The export still runs at the source. Cancel it there, and give this run up? [y/N] "
        );
        let _ = err.flush();
    }
    let answer = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map(|_| line)
    });
    match answer.await {
        Ok(Ok(line)) => is_yes(&line),
        _ => false,
    }
}

fn is_yes(line: &str) -> bool {
    matches!(line.trim().to_lowercase().as_str(), "y" | "yes")
}

fn human(given_up: &GivenUp) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_human(&mut out, given_up);
    out
}

fn write_human(out: &mut String, given_up: &GivenUp) -> std::fmt::Result {
    match &given_up.run {
        None => writeln!(
            out,
            "Nothing to cancel: no run of this synchronisation is in progress"
        )?,
        Some(run) => {
            writeln!(
                out,
                "Cancelled run {}, kicked off at {}: the next start begins a new one",
                run.run, run.kicked_off
            )?;
            writeln!(out, "Source  {}", words::one_line(&run.at_source.words()))?;
            let target = if run.importing {
                "an import has been begun there, which goes on"
            } else {
                "no import of this run is under way there"
            };
            writeln!(out, "Target  {target}")?;
            writeln!(out, "Staged  what there is stays in {}", run.staged)?;
        }
    }
    if let Some(at) = &given_up.kick_off_lost {
        writeln!(
            out,
            "The answer to a kick-off at {at} got lost: its export may run at the source, and cannot be ended from here, because its status URL is not known"
        )?;
    }
    Ok(())
}

fn as_json(given_up: &GivenUp) -> Value {
    let run = given_up.run.as_ref();
    json!({
        "outcome": if run.is_some() { "cancelled" } else { "nothing to cancel" },
        "run": run.map(|run| &run.run),
        "kickedOff": run.map(|run| &run.kicked_off),
        "source": run.map(at_source),
        "importing": run.map(|run| run.importing),
        "staged": run.map(|run| &run.staged),
        "kickOffLost": given_up.kick_off_lost,
    })
}

fn at_source(run: &Cancelled) -> Value {
    match &run.at_source {
        AtSource::Ended(status) => json!({"outcome": "ended", "status": status}),
        AtSource::Unknown(status) => json!({"outcome": "unknown", "status": status}),
        AtSource::Unsupported(status) => json!({"outcome": "unsupported", "status": status}),
        AtSource::NoJob => json!({"outcome": "no job"}),
        AtSource::DeletedBefore(at) => json!({"outcome": "deleted before", "at": at}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_one() {
        for yes in ["y\n", "Y", " yes \r\n", "YES"] {
            assert!(is_yes(yes), "{yes:?}");
        }
        for no in ["", "\n", "n", "no", "yesterday", "да"] {
            assert!(!is_yes(no), "{no:?}");
        }
    }

    #[test]
    fn what_was_done_and_what_there_was_not_to_do_is_said() {
        let nothing = human(&GivenUp::default());
        assert!(nothing.starts_with("Nothing to cancel"), "{nothing}");
        let given_up = GivenUp {
            run: Some(Cancelled {
                run: "a1".into(),
                kicked_off: "t".into(),
                at_source: AtSource::Unsupported(405),
                importing: true,
                staged: "s3://b/runs/a1".into(),
            }),
            kick_off_lost: Some("t0".into()),
        };
        let said = human(&given_up);
        for words in [
            "Cancelled run a1",
            "does not end exports (it answered 405)",
            "which goes on",
            "s3://b/runs/a1",
            "kick-off at t0 got lost",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
    }
}
