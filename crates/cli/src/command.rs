//! The command itself: settings, telemetry, and the sequence until it ends or is told to stop.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use pathling_import_core::config::table::SETTINGS;
use pathling_import_core::config::{Settings, Step};
use pathling_import_core::staging::layout;
use pathling_import_core::steps::{self, Context, Sample};
use pathling_import_core::sync::{self, RunRecord, SyncState};
use pathling_import_core::telemetry::{self, LogFormat, TelemetryOptions};
use pathling_import_core::{Kind, Result};

use crate::args::{Args, Format, Instead};
use crate::audit;
use crate::cancel;
use crate::drive::{Drive, Finished, Position};
use crate::ending::{Ending, say};
use crate::progress::{Form, Progress, log_line};
use crate::report::{self, Wanted};
use crate::status::{self, What};
use crate::stop::{self, FirstStop, Stop};
use crate::summary::Summary;
use crate::verify;

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
    let mut context = Context::new(settings).anew(args.sync.fresh);
    if let Some(sink) = sink {
        context = context.audited_to(sink);
    }
    if args.instead.as_ref().is_some_and(Instead::looks_only) {
        context = context.looking_only();
    }
    let format = args.log_format;
    match &args.instead {
        Some(Instead::Cancel { .. }) => cancel(&context, format, &ending, told_to_stop).await,
        Some(instead) => {
            let answer = Box::pin(answer(&context, instead, format));
            tell(answer, &ending, told_to_stop).await
        }
        None => Box::pin(synchronise(context, args, &ending, told_to_stop)).await,
    }
}

/// What there is to say to who only looks, and the exit code of that: 1 where the target is further behind than it may be, or
/// where something is not as it was staged.
async fn answer(context: &Context, asked: &Instead, format: Format) -> Result<(String, u8)> {
    match asked {
        Instead::Status { max_age, .. } => {
            let standing = steps::standing(context).await?;
            let is_stale = max_age.is_some_and(|most| status::is_stale(&standing, most));
            let text = status::told(What::Status, &standing, format);
            Ok((text, u8::from(is_stale)))
        }
        Instead::History { .. } => {
            let standing = steps::standing(context).await?;
            Ok((status::told(What::History, &standing, format), 0))
        }
        Instead::Verify {
            all, sample, run, ..
        } => {
            let sample = if *all {
                Sample::All
            } else {
                Sample::Of(*sample)
            };
            let read = steps::read_back(context, run.as_deref(), sample).await?;
            Ok((verify::told(&read, format), u8::from(!read.is_equal())))
        }
        Instead::Report { html, run, .. } => {
            let wanted = Wanted {
                run: run.clone(),
                html: html.clone(),
            };
            Ok((report::told(context, &wanted, format).await?, 0))
        }
        Instead::Cancel { .. } => Err(Kind::Input.error("who cancels does not only look")),
    }
}

/// Prints an answer. Gives the exit code, which is 1 too where the answer cannot be written: there is nothing else to it.
async fn tell(
    answer: impl Future<Output = Result<(String, u8)>>,
    ending: &Ending<'_>,
    mut told_to_stop: FirstStop,
) -> u8 {
    let nowhere = Position::default();
    let answer = tokio::select! {
        biased;
        answer = answer => answer,
        stop = told_to_stop.told() => return ending.stopped(stop, &nowhere),
    };
    match answer {
        Ok((text, code)) if print(&text, "it was found out") => code,
        Ok(_) => 1,
        Err(error) => ending.failed(&error, &nowhere),
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

/// Writes to stdout, and gives whether that went well; `done` is what has, whatever becomes of that.
fn print(text: &str, done: &str) -> bool {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => true,
        // Whoever read the output has stopped doing so, and does not want it.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => true,
        Err(error) => {
            tracing::warn!(%error, "{done}, but what there is to say of it cannot be written to stdout");
            false
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
