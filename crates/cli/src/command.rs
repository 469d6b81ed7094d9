//! The command itself: settings, telemetry, the sequence until it ends or is told to stop, and what is said then.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use pathling_import_core::config::table::SETTINGS;
use pathling_import_core::config::{Settings, Step};
use pathling_import_core::staging::layout;
use pathling_import_core::steps::{self, Context, ReadBack, Sample};
use pathling_import_core::sync::{self, RunRecord, SyncState};
use pathling_import_core::telemetry::{self, LogFormat, Telemetry, TelemetryOptions};
use pathling_import_core::{Error, Kind, Result};

use crate::args::{Args, Format, Instead};
use crate::audit;
use crate::cancel;
use crate::drive::{Drive, Finished, Position};
use crate::progress::{Form, Progress, log_line};
use crate::report::{self, Wanted};
use crate::status::{self, What};
use crate::stop::{self, FirstStop, Stop};
use crate::summary::Summary;
use crate::verify;
use crate::words;

/// How long the process waits at its end for what it cannot cut short.
const LETTING_GO: Duration = Duration::from_secs(1);

/// Does what the command line asks, in a runtime of its own.
pub(crate) fn run(args: &Args) -> ExitCode {
    let runtime = match pathling_import_core::runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            say(&format!("error: the program cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(obey(args));
    // A write that is under way removes its temporary file when it is done. One that hangs, or a name look-up, must not
    // keep the process.
    runtime.shutdown_timeout(LETTING_GO);
    ExitCode::from(code)
}

/// Reads the settings and does what is asked with them. Gives the exit code.
async fn obey(args: &Args) -> u8 {
    let told_to_stop = stop::listen();
    let file = match &args.instead {
        Some(instead) => instead.file(),
        None => args.sync.file.as_deref(),
    };
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
        output: log_line,
        sentry: sentry.as_ref(),
    });
    let ending = Ending {
        form,
        fresh: args.sync.fresh,
        telemetry: &telemetry,
    };
    let settings = match settings {
        Ok(settings) => settings,
        Err(error) => return ending.failed(&error, &Position::default()),
    };
    let sink = match args.sync.audit.as_deref().map(audit::open).transpose() {
        Ok(sink) => sink,
        Err(error) => return ending.failed(&error, &Position::default()),
    };
    let context = Context::new(settings).anew(args.sync.fresh);
    let context = match sink {
        Some(sink) => context.audited_to(sink),
        None => context,
    };
    match &args.instead {
        Some(Instead::Cancel { .. }) => {
            cancel(&context, args.log_format, &ending, told_to_stop).await
        }
        Some(Instead::Status { max_age, .. }) => {
            let format = args.log_format;
            tell(&context, What::Status, *max_age, format, &ending).await
        }
        Some(Instead::History { .. }) => {
            let format = args.log_format;
            tell(&context, What::History, None, format, &ending).await
        }
        Some(Instead::Verify {
            all, sample, run, ..
        }) => {
            let sample = if *all {
                Sample::All
            } else {
                Sample::Of(*sample)
            };
            let reading = steps::read_back(&context, run.as_deref(), sample);
            verify(Box::pin(reading), args.log_format, &ending, told_to_stop).await
        }
        Some(Instead::Report { html, run, .. }) => {
            let wanted = Wanted {
                run: run.clone(),
                html: html.clone(),
            };
            match Box::pin(report::told(&context, &wanted, args.log_format)).await {
                Ok(text) => {
                    print(&text, "it was found out");
                    0
                }
                Err(error) => ending.failed(&error, &Position::default()),
            }
        }
        None => Box::pin(synchronise(context, args, &ending, told_to_stop)).await,
    }
}

/// Tells what reading back came to. Gives the exit code: 1 where something is not as it was staged.
async fn verify(
    reading: impl Future<Output = Result<ReadBack>>,
    format: Format,
    ending: &Ending<'_>,
    mut told_to_stop: FirstStop,
) -> u8 {
    let nowhere = Position::default();
    let read = tokio::select! {
        biased;
        read = reading => read,
        stop = told_to_stop.told() => return ending.stopped(stop, &nowhere),
    };
    match read {
        Ok(read) => {
            print(&verify::told(&read, format), "it was read back");
            u8::from(!read.is_equal())
        }
        Err(error) => ending.failed(&error, &nowhere),
    }
}

/// Tells how the synchronisation stands. Gives the exit code: 1 where the target is further behind than it may be.
async fn tell(
    context: &Context,
    what: What,
    max_age: Option<Duration>,
    format: Format,
    ending: &Ending<'_>,
) -> u8 {
    match steps::standing(context).await {
        Ok(standing) => {
            print(&status::told(what, &standing, format), "it was found out");
            let is_stale = max_age.is_some_and(|most| status::is_stale(&standing, most));
            u8::from(is_stale)
        }
        Err(error) => ending.failed(&error, &Position::default()),
    }
}

/// Gives the run in progress up. Gives the exit code.
async fn cancel(
    context: &Context,
    format: Format,
    ending: &Ending<'_>,
    mut told_to_stop: FirstStop,
) -> u8 {
    let nowhere = Position::default();
    let done = tokio::select! {
        biased;
        done = cancel::cancel(context, None, format) => done,
        stop = told_to_stop.told() => return ending.stopped(stop, &nowhere),
    };
    match done {
        Ok(text) => {
            print(&text, "the run is cancelled");
            0
        }
        Err(error) => ending.failed(&error, &nowhere),
    }
}

/// One synchronisation, to its summary. Gives the exit code.
async fn synchronise(
    context: Context,
    args: &Args,
    ending: &Ending<'_>,
    mut told_to_stop: FirstStop,
) -> u8 {
    let progress = Progress::new(ending.form, context.settings().manifest.is_some());
    let context = context.observed_by(progress.observer()).going_ahead();
    let drive = Drive::new(&context, &progress, context.settings());
    let outcome = tokio::select! {
        biased;
        outcome = drive.go(args.sync.fresh) => Ok(outcome),
        stop = told_to_stop.told() => Err(stop),
    };
    progress.clear();
    match outcome {
        Ok(Ok(finished)) => {
            // The run is done, whether or not anybody waits for the summary.
            tokio::select! {
                () = summarise(&context, finished, args.log_format) => {}
                _ = told_to_stop.told() => {}
            }
            0
        }
        Ok(Err(error)) => ending.failed(&error, &drive.position()),
        Err(stop) => {
            context.settle().await;
            context.keep_log(LETTING_GO).await;
            let position = drive.position();
            let ask = stop == Stop::Interrupt && ending.form != Form::Log;
            if ask && cancel::may_ask(&context, &position) && cancel::ask().await {
                return match cancel::cancel(&context, position.run.as_deref(), Format::Human).await
                {
                    Ok(text) => {
                        say(text.trim_end());
                        stop.exit_code()
                    }
                    Err(error) => ending.failed(&error, &position),
                };
            }
            ending.stopped(stop, &position)
        }
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
        // Requests that are sent again are shown as lines of progress, and what takes long should not look as if it hung.
        (Form::Live, _) | (Form::Lines, 0) => {
            "warn,pathling_import_core::news=info,pathling_import_core::retries=error"
        }
        (Form::Log, 0) | (_, 1) => "info",
        (_, 2) => "info,pathling_import=debug,pathling_import_core=debug",
        _ => "debug",
    }
}

/// What is said when the run ends early.
struct Ending<'a> {
    form: Form,
    fresh: bool,
    telemetry: &'a Telemetry,
}

impl Ending<'_> {
    /// Says to the person and to Sentry why the run failed. Gives the exit code.
    fn failed(&self, error: &Error, position: &Position) -> u8 {
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
    fn stopped(&self, stop: Stop, position: &Position) -> u8 {
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

/// Shows the closing summary on stdout.
async fn summarise(context: &Context, finished: Finished, format: Format) {
    let (record, state, staged) = match recorded(context, &finished.run).await {
        Ok(found) => found,
        Err(error) => {
            // The run itself is done, and so says the exit code.
            tracing::warn!(
                error = error.name(),
                what = error.what(),
                "the run is done, but its record cannot be read for the summary"
            );
            (RunRecord::default(), SyncState::default(), String::new())
        }
    };
    let target = context
        .settings()
        .target_address
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default();
    let auto = context.settings().sync.auto;
    let summary = Summary::new(finished, (&record, state), staged, target, auto);
    let text = match format {
        Format::Human => format!("\n{}", summary.human()),
        Format::Json => format!("{}\n", summary.json()),
    };
    print(&text, "the run is done");
}

/// Writes to stdout, of which the exit code does not depend: what was to be done is.
fn print(text: &str, done: &str) {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Whoever read the output has stopped doing so, and does not want it.
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        Err(error) => {
            tracing::warn!(%error, "{done}, but what there is to say of it cannot be written to stdout");
        }
    }
}

/// The run's record, the state of its synchronisation, and where its files are.
async fn recorded(context: &Context, run: &str) -> Result<(RunRecord, SyncState, String)> {
    let staging = context.staging().await?;
    let record = RunRecord::load(staging, run).await?;
    let state = SyncState::load(staging, &sync::key(context.settings())).await?;
    Ok((record, state, staging.url(&layout::run_folder(run))))
}

/// Writes to stderr. Where that is gone, nobody is left to tell.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

#[cfg(test)]
mod tests {
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
