//! What a person sees on stderr while the sequence is at work: a live line on a terminal, plain lines elsewhere, and
//! log lines where a program reads.
//!
//! Nothing here changes what the program does: a stderr that cannot be written to is no error.

use std::io::{IsTerminal, Write as _};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};
use pathling_import_core::Error;
use pathling_import_core::config::Step;
use pathling_import_core::steps::LeftBehind;
use pathling_import_core::telemetry;
use pathling_import_core::transfer::{Event, Observer};

use crate::args::Format;
use crate::drive::Watch;
use crate::meter::Meter;
use crate::words;

/// A long transfer says this often how far it is, where there is no live line.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// How the live line is redrawn.
const TICK: Duration = Duration::from_millis(200);

/// Everything that lives on this terminal: one line at most.
static SCREEN: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Writes a log line, above the live line where there is one.
pub(crate) fn log_line(line: &[u8]) {
    SCREEN.suspend(|| telemetry::to_stderr(line));
}

/// In what form progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Lines that stay, and below them one that lives.
    Live,
    /// Lines alone.
    Lines,
    /// Log events.
    Log,
}

impl Form {
    /// The form for this stderr: a live line needs a terminal, and no log lines of `-v` between.
    pub(crate) fn choose(format: Format, verbose: u8) -> Self {
        let able = std::io::stderr().is_terminal()
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        match format {
            Format::Json => Self::Log,
            Format::Human if able && verbose == 0 => Self::Live,
            Format::Human => Self::Lines,
        }
    }
}

/// The display. Clones show on the same one.
#[derive(Clone)]
pub(crate) struct Progress {
    inner: Arc<Inner>,
}

struct Inner {
    form: Form,
    /// Whether a manifest takes the place of an export.
    from_manifest: bool,
    meter: Meter,
    live: Mutex<Option<ProgressBar>>,
    asking_again: Mutex<Option<Instant>>,
    next_line: Mutex<Instant>,
}

/// A lock that a panic elsewhere does not close.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a step does, for people who do not know its name.
fn phrase(step: Step, from_manifest: bool) -> &'static str {
    match step {
        Step::FhirExport if from_manifest => "taking a manifest in the place of an export",
        Step::CheckExportStatus if from_manifest => "asking for the manifest",
        Step::FhirExport => "asking the source for an export",
        Step::CheckExportStatus => "asking whether the export is complete",
        Step::TransferToS3 => "transferring files to staging",
        Step::PathlingImport => "asking the target to import",
        Step::CheckImportStatus => "asking whether the import is complete",
        Step::Command => "synchronising",
    }
}

impl Progress {
    /// A display that shows nothing yet.
    pub(crate) fn new(form: Form, from_manifest: bool) -> Self {
        Self {
            inner: Arc::new(Inner {
                form,
                from_manifest,
                meter: Meter::default(),
                live: Mutex::default(),
                asking_again: Mutex::default(),
                next_line: Mutex::new(Instant::now()),
            }),
        }
    }

    /// Whom the transfer tells.
    pub(crate) fn observer(&self) -> Observer {
        let progress = self.clone();
        Arc::new(move |event| progress.observe(event))
    }

    /// Takes the live line away, so that others may write.
    pub(crate) fn clear(&self) {
        if let Some(bar) = lock(&self.inner.live).take() {
            bar.finish_and_clear();
        }
    }

    /// Shows a line that stays.
    fn line(&self, text: &str) {
        match lock(&self.inner.live).as_ref() {
            Some(bar) => bar.println(text),
            None => {
                // Nobody is left to tell that stderr is gone.
                let _ = writeln!(std::io::stderr().lock(), "{text}");
            }
        }
    }

    fn observe(&self, event: Event) {
        let inner = &*self.inner;
        match event {
            Event::Planned { files, .. } => {
                let files = files as u64;
                inner.meter.plan(files);
                *lock(&inner.next_line) = Instant::now() + BETWEEN_LINES;
                if let Some(bar) = lock(&inner.live).as_ref() {
                    bar.set_style(self.transfer_style());
                    bar.set_length(files);
                    bar.set_position(0);
                }
            }
            Event::FileStarted { length, offset, .. } => {
                inner
                    .meter
                    .start_file(length.map(|length| length.saturating_sub(offset)));
            }
            Event::Bytes(bytes) => {
                inner.meter.receive(bytes);
                self.line_now_and_then();
            }
            Event::FileDone {
                fetched,
                bytes,
                resources,
                ..
            } => {
                let done = inner.meter.finish_file(fetched, bytes, resources);
                if let Some(bar) = lock(&inner.live).as_ref() {
                    bar.set_position(done);
                }
                self.line_now_and_then();
            }
            // What else happens at the source is shown by the steps' own lines, and written into the audit log.
            Event::KickedOff(_)
            | Event::ExportGoesOn { .. }
            | Event::StatusFailed(_)
            | Event::ExportComplete(_)
            | Event::FileAsked { .. }
            | Event::FileFailed { .. }
            | Event::TransferComplete(_)
            | Event::SentAgain
            | Event::Arrived(_) => {}
            // The log has it from where it happens.
            Event::Ahead { .. } | Event::Retrying { .. } | Event::Waiting { .. }
                if inner.form == Form::Log => {}
            Event::Ahead { files, bytes } => {
                let files = words::count(files as u64, "file", "files");
                let bytes = words::bytes(bytes);
                self.line(&format!(
                    "staged while the export goes on: {files}, {bytes}"
                ));
            }
            Event::Retrying { what, wait, why } | Event::Waiting { what, wait, why } => {
                let (what, why) = (words::one_line(&what), words::one_line(&why));
                let again = words::duration(wait);
                // Most reasons name the file themselves.
                let what = if why.contains(&what) {
                    String::new()
                } else {
                    format!("{what}: ")
                };
                self.line(&format!("{what}{why}; again in {again}"));
            }
        }
    }

    /// How far the transfer is, where no live line shows it and the last such line is some time ago.
    fn line_now_and_then(&self) {
        let inner = &*self.inner;
        if inner.form == Form::Live {
            return;
        }
        // Many tasks call this; one of them at a time is enough.
        let Ok(mut next) = inner.next_line.try_lock() else {
            return;
        };
        if Instant::now() < *next {
            return;
        }
        *next = Instant::now() + BETWEEN_LINES;
        drop(next);
        let step = Step::TransferToS3.name();
        match inner.form {
            Form::Log => tracing::info!(step, progress = inner.meter.now(), "transfer goes on"),
            _ => self.line(&format!("{step}: {}", inner.meter.now())),
        }
    }

    /// The live line of a step whose extent is unknown: what it does, for how long, and when it is asked again.
    fn step_style(&self) -> ProgressStyle {
        let progress = self.clone();
        let countdown = move |_: &ProgressState, out: &mut dyn std::fmt::Write| {
            if let Some(at) = *lock(&progress.inner.asking_again) {
                let left = at.saturating_duration_since(Instant::now()).as_secs();
                // Whole seconds do not flicker; below one it is as good as asking.
                if left > 0 {
                    let left = words::duration(Duration::from_secs(left));
                    let _ = write!(out, ", again in {left}");
                }
            }
        };
        ProgressStyle::default_spinner()
            .with_key("countdown", countdown)
            .template("{spinner} {prefix} ({elapsed}{countdown}): {wide_msg}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner())
    }

    /// The live line of a transfer.
    fn transfer_style(&self) -> ProgressStyle {
        let progress = self.clone();
        let now = move |_: &ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = out.write_str(&progress.inner.meter.now());
        };
        ProgressStyle::default_bar()
            .with_key("now", now)
            .progress_chars("=> ")
            .template("{spinner} {prefix} [{wide_bar}] {now}")
            .unwrap_or_else(|_| ProgressStyle::default_bar())
    }
}

impl Watch for Progress {
    fn resumed(&self, run: &str, step: Step, since: Option<&str>) {
        if self.inner.form == Form::Log {
            tracing::info!(
                run,
                step = step.name(),
                since,
                "going on with an unfinished run"
            );
            return;
        }
        // Seconds are enough for a person.
        let since = since.map(|since| match since.split_once('.') {
            Some((seconds, _)) => format!(", kicked off at {seconds}Z,"),
            None => format!(", kicked off at {since},"),
        });
        let since = since.unwrap_or_default();
        let step = step.name();
        self.line(&format!(
            "going on with the unfinished run {run}{since} at {step} (--fresh starts anew)"
        ));
    }

    fn left_behind(&self, left: &LeftBehind) {
        let run = left.run.as_str();
        if self.inner.form == Form::Log {
            tracing::warn!(
                run,
                status_url = left.status_url,
                complete = left.complete,
                "a new export takes the place of an unfinished run, whose own stays at the source until it expires"
            );
            return;
        }
        let goes_on = if left.complete {
            "its export's files stay at the source"
        } else {
            "its export goes on at the source"
        };
        let url = words::one_line(&left.status_url);
        self.line(&format!(
            "a new export takes the place of the unfinished run {run}: {goes_on} until the export expires there. \
             What ends it is pathling-import cancel before such a start, or now a DELETE of {url}"
        ));
    }

    fn begun(&self, step: Step) {
        let (name, phrase) = (step.name(), phrase(step, self.inner.from_manifest));
        self.inner.meter.plan(0);
        if self.inner.form == Form::Log {
            tracing::info!(step = name, "step begins");
            return;
        }
        self.line(&format!("{name}: {phrase}"));
        if self.inner.form == Form::Live {
            let bar = SCREEN
                .add(ProgressBar::new_spinner())
                .with_style(self.step_style())
                .with_prefix(name)
                .with_message(phrase);
            bar.enable_steady_tick(TICK);
            *lock(&self.inner.live) = Some(bar);
        }
    }

    fn waiting(&self, step: Step, why: &Error, wait: Duration) {
        let what = words::one_line(why.what());
        *lock(&self.inner.asking_again) = Some(Instant::now() + wait);
        if self.inner.form == Form::Log {
            tracing::info!(
                step = step.name(),
                progress = what,
                wait_seconds = wait.as_secs_f64(),
                "job goes on"
            );
            return;
        }
        self.line(&format!(
            "{}: {what}; asking again in {}",
            step.name(),
            words::duration(wait)
        ));
        self.rest(&what);
    }

    fn retrying(&self, step: Step, why: &Error, wait: Duration) {
        let what = words::one_line(why.what());
        *lock(&self.inner.asking_again) = Some(Instant::now() + wait);
        if self.inner.form == Form::Log {
            let error = why.name();
            tracing::warn!(
                step = step.name(),
                error,
                what,
                wait_seconds = wait.as_secs_f64(),
                "step failed, trying again"
            );
            return;
        }
        self.line(&format!(
            "{}: {}: {what}; trying again in {}",
            step.name(),
            why.name(),
            words::duration(wait)
        ));
        self.rest(&what);
    }

    fn ended(&self, step: Step, took: Duration) {
        self.clear();
        *lock(&self.inner.asking_again) = None;
        let total = self.inner.meter.total();
        if self.inner.form == Form::Log {
            tracing::info!(
                step = step.name(),
                seconds = took.as_secs_f64(),
                total,
                "step done"
            );
            return;
        }
        let total = total.map(|total| format!(": {total}")).unwrap_or_default();
        self.line(&format!(
            "{}: done in {}{total}",
            step.name(),
            words::duration(took)
        ));
    }
}

impl Progress {
    /// Shows on the live line why there is a pause.
    fn rest(&self, why: &str) {
        if let Some(bar) = lock(&self.inner.live).as_ref() {
            bar.set_style(self.step_style());
            bar.set_message(why.to_owned());
        }
    }
}
