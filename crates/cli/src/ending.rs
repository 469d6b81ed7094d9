//! What is said when the command ends before its work is done, and by which exit code.

use std::fmt::Write as _;
use std::io::Write as _;

use pathling_import_core::config::Step;
use pathling_import_core::telemetry::Telemetry;
use pathling_import_core::{Error, Kind};

use crate::drive::Position;
use crate::progress::Form;
use crate::stop::Stop;
use crate::words;

/// What is said when the run ends early.
pub(crate) struct Ending<'a> {
    pub(crate) form: Form,
    pub(crate) fresh: bool,
    pub(crate) telemetry: &'a Telemetry,
}

impl Ending<'_> {
    /// Says to the person and to Sentry why the run failed. Gives the exit code.
    pub(crate) fn failed(&self, error: &Error, position: &Position) -> u8 {
        let step = position.step.unwrap_or(Step::Command).name();
        let run = position.run.as_deref();
        // A run that has not ended is found by the next start.
        let goes_on = run.filter(|_| !error.ends_the_run());
        if self.form == Form::Log {
            tracing::error!(
                step,
                run,
                error = error.name(),
                what = error.what(),
                advice = error.advice(),
                goes_on,
                "the command failed"
            );
        } else {
            say(&self.failure(error, goes_on));
        }
        self.telemetry
            .report(error, &[("step", Some(step)), ("run", run)]);
        self.telemetry.flush();
        error.kind().row().exit_code
    }

    /// A failure in words: what happened, what to do, and whether the run goes on.
    fn failure(&self, error: &Error, goes_on: Option<&str>) -> String {
        let mut text = format!("error: {}: {}", error.name(), words::tame(error.what()));
        if !error.advice().is_empty() {
            text.push('\n');
            text.push_str(&words::tame(error.advice()));
        }
        if let Some(run) = goes_on {
            let again = match error.kind() {
                // With other settings, it is not the same.
                Kind::Configuration => "Start the command again then",
                _ => self.again(),
            };
            // Writing to a String cannot fail.
            let _ = write!(text, "\n{again}: run {run} goes on.");
        }
        text
    }

    /// Says how to go on after a signal. Gives the exit code.
    pub(crate) fn stopped(&self, stop: Stop, position: &Position) -> u8 {
        let (name, again) = (stop.name(), self.again());
        let run = position.run.as_deref();
        let at = position.step.map(Step::name);
        if self.form == Form::Log {
            tracing::warn!(signal = name, step = at, run, next = again, "stopped");
            return stop.exit_code();
        }
        let at = at.map(|step| format!(" at {step}")).unwrap_or_default();
        say(&match run {
            Some(run) => format!("stopped by {name}{at}. {again}: run {run} goes on."),
            None => format!("stopped by {name}{at}. {again}."),
        });
        stop.exit_code()
    }

    /// How to go on.
    fn again(&self) -> &'static str {
        if self.fresh {
            "Start the same command again without --fresh"
        } else {
            "Start the same command again"
        }
    }
}

/// Writes to stderr. Where that is gone, nobody is left to tell.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use pathling_import_core::telemetry::{self, LogFormat, TelemetryOptions};

    use super::*;

    fn ending(fresh: bool, telemetry: &Telemetry) -> Ending<'_> {
        Ending {
            form: Form::Lines,
            fresh,
            telemetry,
        }
    }

    #[test]
    fn a_failure_says_its_name_what_happened_what_to_do_and_what_goes_on() {
        let telemetry = telemetry::start(&TelemetryOptions {
            format: LogFormat::Human,
            level: "off",
            colours: false,
            output: telemetry::to_stderr,
            sentry: None,
        });
        let error = Kind::Authentication
            .error("GET https://source/$export answered 403")
            .next("Ask for scopes.");
        let text = ending(false, &telemetry).failure(&error, Some("a1"));
        assert_eq!(
            text,
            "error: AuthenticationError: GET https://source/$export answered 403\nAsk for scopes.\nStart the same command again: run a1 goes on."
        );
        let text = ending(true, &telemetry).failure(&error, Some("a1"));
        assert!(
            text.ends_with("again without --fresh: run a1 goes on."),
            "{text}"
        );
        let error = Kind::Configuration
            .error("2 settings are wrong:\n- A\n- B\n")
            .next("Read.");
        let text = ending(false, &telemetry).failure(&error, None);
        assert_eq!(
            text,
            "error: ConfigurationError: 2 settings are wrong:\n- A\n- B\nRead."
        );
    }
}
