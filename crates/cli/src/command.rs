//! The command itself: settings, telemetry, the sequence until it ends or is told to stop, and what is said then.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;

use pathling_import_core::config::table::SETTINGS;
use pathling_import_core::config::{Settings, Step};
use pathling_import_core::staging::layout;
use pathling_import_core::steps::Context;
use pathling_import_core::sync::RunRecord;
use pathling_import_core::telemetry::{self, LogFormat, Telemetry, TelemetryOptions};
use pathling_import_core::{Error, Kind, Result};

use crate::args::{Args, Format};
use crate::drive::{Drive, Finished, Position};
use crate::progress::{Form, Progress};
use crate::stop::{self, Stop};
use crate::summary::Summary;
use crate::words;

/// Does what the command line asks, in a runtime of its own.
pub(crate) fn run(args: &Args) -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            say(&format!("error: the program cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(synchronise(args));
    // A name look-up or a write that hangs must not keep the process.
    runtime.shutdown_background();
    ExitCode::from(code)
}

/// One synchronisation, from settings to summary. Gives the exit code.
async fn synchronise(args: &Args) -> u8 {
    let mut told_to_stop = stop::listen();
    let file = args.sync.file.as_deref();
    let environment = environment();
    let settings = match &environment {
        Ok(environment) => Settings::load(Step::Command, environment, file),
        Err(error) => Err(error.clone()),
    };
    let sentry = match (&settings, &environment) {
        (Ok(settings), _) => settings.sentry.clone(),
        (Err(_), Ok(environment)) => Settings::sentry_only(environment, file),
        (Err(_), Err(_)) => None,
    };
    let form = Form::choose(args.log_format, args.verbose);
    let telemetry = telemetry::start(&TelemetryOptions {
        format: match args.log_format {
            Format::Human => LogFormat::Human,
            Format::Json => LogFormat::Json,
        },
        level: level(form, args.verbose),
        colours: false,
        sentry: sentry.as_ref(),
    });
    let failing = Failing {
        form,
        telemetry: &telemetry,
    };
    let settings = match settings {
        Ok(settings) => settings,
        Err(error) => return failing.because_of(&error, &Position::default()),
    };
    let progress = Progress::new(form);
    let context = Context::new(settings).observed_by(progress.observer());
    let drive = Drive::new(&context, &progress, context.settings());
    let outcome = tokio::select! {
        outcome = drive.go(args.sync.fresh) => Ok(outcome),
        stop = told_to_stop.told() => Err(stop),
    };
    progress.clear();
    match outcome {
        Ok(Ok(finished)) => {
            summarise(&context, finished, args.log_format).await;
            0
        }
        Ok(Err(error)) => failing.because_of(&error, &drive.position()),
        Err(stop) => stopped(form, stop, &drive.position()),
    }
}

/// The environment as far as it concerns settings.
fn environment() -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for setting in SETTINGS {
        match std::env::var(setting.name) {
            Ok(value) => {
                all.insert(setting.name.to_owned(), value);
            }
            Err(std::env::VarError::NotPresent) => {}
            Err(std::env::VarError::NotUnicode(_)) => {
                return Err(Kind::Configuration
                    .error(format!("{} in the environment is not UTF-8", setting.name)));
            }
        }
    }
    Ok(all)
}

/// What is logged, as a filter of `tracing`.
fn level(form: Form, verbose: u8) -> &'static str {
    match (form, verbose) {
        // What warnings say is in lines and summary too, and they would break the live line.
        (Form::Live, _) => "error",
        // Requests that are sent again are shown as lines of progress.
        (Form::Lines, 0) => "warn,pathling_import_core::transfer=error",
        (Form::Log, 0) | (_, 1) => "info",
        (_, 2) => "info,pathling_import=debug,pathling_import_core=debug",
        _ => "debug",
    }
}

/// What happens when the run fails.
struct Failing<'a> {
    form: Form,
    telemetry: &'a Telemetry,
}

impl Failing<'_> {
    /// Says it to the person and to Sentry. Gives the exit code.
    fn because_of(&self, error: &Error, position: &Position) -> u8 {
        let step = position.step.unwrap_or(Step::Command).name();
        let run = position.run.as_deref();
        // A run that has not ended is found by the next start.
        let goes_on = run.filter(|_| !error.ends_the_run());
        if self.form == Form::Log {
            let (what, advice) = (words::tame(error.what()), words::tame(error.advice()));
            tracing::error!(
                step,
                run,
                error = error.name(),
                what,
                advice,
                goes_on,
                "the command failed"
            );
        } else {
            say(&failure(error, goes_on));
        }
        self.telemetry.report(error, step, run);
        self.telemetry.flush();
        error.kind().row().exit_code
    }
}

/// A failure in words: what happened, what to do, and whether the run goes on.
fn failure(error: &Error, goes_on: Option<&str>) -> String {
    let mut text = format!("error: {}: {}", error.name(), words::tame(error.what()));
    if !error.advice().is_empty() {
        text.push('\n');
        text.push_str(&words::tame(error.advice()));
    }
    if let Some(run) = goes_on {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "\nThe next start of the same command goes on with run {run}."
        );
    }
    text
}

/// Says how to go on after a signal. Gives the exit code.
fn stopped(form: Form, stop: Stop, position: &Position) -> u8 {
    let at = position.step.map(Step::name);
    let run = position.run.as_deref();
    if form == Form::Log {
        tracing::warn!(
            signal = stop.name(),
            step = at,
            run,
            "stopped; the same command goes on with the run"
        );
        return stop.exit_code();
    }
    let at = at.map(|step| format!(" at {step}")).unwrap_or_default();
    say(&match run {
        Some(run) => format!(
            "stopped by {}{at}. Start the same command again: run {run} goes on.",
            stop.name()
        ),
        None => format!(
            "stopped by {}{at}. Start the same command again.",
            stop.name()
        ),
    });
    stop.exit_code()
}

/// Shows the closing summary on stdout.
async fn summarise(context: &Context, finished: Finished, format: Format) {
    let (record, staged) = match recorded(context, &finished.run).await {
        Ok(found) => found,
        Err(error) => {
            // The run itself is done, and so says the exit code.
            tracing::warn!(
                error = error.name(),
                what = error.what(),
                "the run is done, but its record cannot be read for the summary"
            );
            (RunRecord::default(), String::new())
        }
    };
    let target = context
        .settings()
        .target_address
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default();
    let summary = Summary::new(finished, &record, staged, target);
    let text = match format {
        Format::Human => format!("\n{}", summary.human()),
        Format::Json => format!("{}\n", summary.json()),
    };
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Whoever read the output has stopped doing so, and does not want it.
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        Err(error) => {
            tracing::warn!(%error, "the run is done, but the summary cannot be written to stdout");
        }
    }
}

/// The run's record and where its files are.
async fn recorded(context: &Context, run: &str) -> Result<(RunRecord, String)> {
    let staging = context.staging().await?;
    let record = RunRecord::load(staging, run).await?;
    Ok((record, staging.url(&layout::run_folder(run))))
}

/// Writes to stderr. Where that is gone, nobody is left to tell.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_its_name_what_happened_and_what_to_do() {
        let error = Kind::Authentication
            .error("GET https://source/$export answered 403")
            .next("Ask for scopes.");
        assert_eq!(
            failure(&error, Some("a1")),
            "error: AuthenticationError: GET https://source/$export answered 403\nAsk for scopes.\nThe next start of the same command goes on with run a1."
        );
        assert_eq!(
            failure(
                &Kind::Configuration
                    .error("2 settings are wrong:\n- A\n- B\n")
                    .next("Read."),
                None
            ),
            "error: ConfigurationError: 2 settings are wrong:\n- A\n- B\nRead."
        );
    }
}
