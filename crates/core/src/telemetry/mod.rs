//! Logs, metrics and Sentry: set up once a process, flushed before it answers.
//!
//! A failure is one event in Sentry, made from the error itself; log lines only become its breadcrumbs. So nothing is
//! reported twice, and nothing that an error does not say. An address of Sentry's that AWS keeps is fetched for the first report.

mod emf;
mod later;
pub(crate) mod meter;
pub(crate) mod metrics;
mod trail;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use sentry::ClientInitGuard;
use sentry::protocol::{Event, Exception};
use tracing::Level;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use self::trail::Trail;
use crate::config::{SecretSource, Sentry};
use crate::error::{Error, Kind};

/// How long an answer waits for a report to be sent.
const FLUSH: Duration = Duration::from_secs(3);

/// Libraries never say more than this, whatever level is asked for: at the finest, some print bodies, which here are
/// patients' data. The runtime would log every error of a handler a second time, and the AWS SDK that it found no credentials,
/// in the form that its programmers know.
const LIBRARIES: &str = "lambda_runtime=off,hyper=off,hyper_util=info,h2=off,rustls=off,reqwest=info,sentry=warn,\
    aws_config=off,aws_runtime=info,aws_sdk_s3=info,aws_sdk_sts=info,aws_sigv4=info,aws_smithy_http_client=info,\
    aws_smithy_runtime=info,aws_smithy_runtime_api=info,aws_smithy_checksums=info";

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For a terminal.
    Human,
    /// One JSON object a line.
    Json,
}

/// What is logged, and how.
#[derive(Clone, Debug)]
pub struct TelemetryOptions<'a> {
    /// How log lines look.
    pub format: LogFormat,
    /// The level that is logged, as `tracing` names it (`warn`, `info`, ...), or a filter of its kind.
    pub level: &'a str,
    /// Whether colours may be used.
    pub colours: bool,
    /// Where log lines go, one call a line: [`to_stderr`], or something that keeps them apart from a live display.
    pub output: fn(&[u8]),
    /// Where failures are reported to.
    pub sentry: Option<&'a Sentry>,
}

/// Keeps the reporting alive; dropped, it sends what is left.
pub struct Telemetry {
    sentry: Option<ClientInitGuard>,
}

/// Sets up logs and reporting for this process.
#[must_use]
pub fn start(options: &TelemetryOptions<'_>) -> Telemetry {
    let sentry = options.sentry.map(|sentry| {
        let release = sentry.release.clone();
        let release = release
            .unwrap_or_else(|| concat!("pathling-import@", env!("CARGO_PKG_VERSION")).to_owned());
        let options = sentry::ClientOptions::new().release(release);
        let options = match &sentry.dsn {
            SecretSource::Given(dsn) => options.dsn(dsn.reveal()),
            SecretSource::Kept(_) => options.dsn(later::UNKNOWN),
        };
        let mut options = options
            .transport(later::Factory(sentry.dsn.clone()))
            .before_send(|mut event| {
                event.breadcrumbs = trail::so_far().into();
                Some(event)
            });
        if let Some(environment) = sentry.environment.clone() {
            options = options.environment(environment);
        }
        sentry::init(options)
    });
    let filter = EnvFilter::try_new(format!("{},{LIBRARIES}", options.level))
        .unwrap_or_else(|_| EnvFilter::new("info"));
    let (output, format) = (options.output, options.format);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(move || Lines { output, format })
        .with_target(false);
    let lines = match options.format {
        LogFormat::Human => lines.with_ansi(options.colours).boxed(),
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .boxed(),
    };
    let ours = filter_fn(|metadata| {
        metadata.target().starts_with("pathling_import") && *metadata.level() <= Level::INFO
    });
    let trail = sentry.is_some().then(|| Trail.with_filter(ours));
    // A process has one subscriber: where a test has set one up already, that one stays.
    let _ = tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(trail)
        .try_init();
    Telemetry { sentry }
}

impl Telemetry {
    /// Reports the failure of a step as one event, with these tags as far as they have values and the lines that led to it. What
    /// is merely in progress is no failure.
    pub fn report(&self, error: &Error, tags: &[(&str, Option<&str>)]) {
        if self.sentry.is_none() || error.kind() == Kind::JobInProgress {
            return;
        }
        let known = tags
            .iter()
            .filter_map(|(name, value)| Some((*name, (*value)?)));
        let tags = known.chain([("error", error.name())]);
        let tags = tags.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let exception = Exception {
            ty: error.name().to_owned(),
            value: Some(error.to_string()),
            ..Exception::default()
        };
        sentry::capture_event(Event {
            level: sentry::Level::Error,
            exception: vec![exception].into(),
            tags: tags.collect(),

            ..Event::default()
        });
    }

    /// Waits, a few seconds at most, until what was reported is sent.
    pub fn flush(&self) {
        self.flush_within(FLUSH);
    }

    /// The same, and no longer than this: who waits may have a deadline.
    pub fn flush_within(&self, within: Duration) {
        if let Some(guard) = &self.sentry {
            guard.flush(Some(within.min(FLUSH)));
        }
    }
}

/// Writes a log line to standard error. Nobody is left to tell when that is gone.
pub fn to_stderr(line: &[u8]) {
    let _ = std::io::stderr().lock().write_all(line);
}

/// Writes a line of metrics to standard output, where CloudWatch wants each as it is.
pub(crate) fn to_stdout(line: &str) {
    let _ = std::io::stdout().lock().write_all(line.as_bytes());
}

/// The work that this process is at.
static AT_WORK: RwLock<AtWork> = RwLock::new(AtWork {
    run: None,
    request_id: None,
});

struct AtWork {
    /// The run's name.
    run: Option<String>,
    /// The name of its requests.
    request_id: Option<String>,
}

/// Begins with other work: nothing is known of it yet, and what led to an earlier failure has nothing to do with it.
pub fn begin() {
    trail::begin();
    set_run(None);
    set_request_id(None);
}

/// Says which run it is, so that every line of a log in JSON holds its name.
pub fn set_run(run: Option<&str>) {
    let mut at_work = AT_WORK.write().unwrap_or_else(PoisonError::into_inner);
    at_work.run = run.map(str::to_owned);
}

/// The run that the process is at work on, where it is known.
#[must_use]
pub fn run() -> Option<String> {
    let at_work = AT_WORK.read().unwrap_or_else(PoisonError::into_inner);
    at_work.run.clone()
}

/// Says under which name the run's requests go out (`X-Request-Id`), so that every line of the log holds it: whoever reads one
/// finds the others, and those in the servers' logs.
pub fn set_request_id(id: Option<String>) {
    let mut at_work = AT_WORK.write().unwrap_or_else(PoisonError::into_inner);
    at_work.request_id = id;
}

/// Hands on what is written, with what is known of the work: the formatter writes a line at once. No span does that, for most
/// lines come from tasks of their own.
struct Lines {
    output: fn(&[u8]),
    format: LogFormat,
}

impl std::io::Write for Lines {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        let at_work = AT_WORK.read().unwrap_or_else(PoisonError::into_inner);
        (self.output)(&at_work.told_in(line, self.format));
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl AtWork {
    /// The line with more fields.
    fn told_in<'a>(&self, line: &'a [u8], format: LogFormat) -> Cow<'a, [u8]> {
        match (format, &self.request_id) {
            (LogFormat::Json, _) if line.starts_with(b"{") => {
                // A line may name the run itself. In JSON, a quotation mark in a text never stands like that.
                let has_run = memchr::memmem::find(line, b"\"run\":").is_some();
                let run = self.run.as_deref().filter(|_| !has_run);
                let mut text = "{".to_owned();
                for (name, value) in [("request_id", self.request_id.as_deref()), ("run", run)] {
                    if let Some(value) = value {
                        let _ = write!(text, "\"{name}\":{},", serde_json::Value::from(value));
                    }
                }
                [text.as_bytes(), &line[1..]].concat().into()
            }
            (LogFormat::Json, _) | (LogFormat::Human, None) => line.into(),
            (LogFormat::Human, Some(id)) => {
                let bare = line.strip_suffix(b"\n").unwrap_or(line);
                [bare, format!(" request_id={id}\n").as_bytes()]
                    .concat()
                    .into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told_in(line: &str, format: LogFormat) -> String {
        let at_work = AtWork {
            run: Some("r-1".to_owned()),
            request_id: Some("a\"1".to_owned()),
        };
        String::from_utf8(at_work.told_in(line.as_bytes(), format).into_owned()).unwrap()
    }

    #[test]
    fn a_line_holds_the_name_of_the_requests_in_either_form_and_in_json_that_of_the_run() {
        let json = told_in("{\"level\":\"INFO\"}\n", LogFormat::Json);
        assert_eq!(
            json,
            "{\"request_id\":\"a\\\"1\",\"run\":\"r-1\",\"level\":\"INFO\"}\n"
        );
        let human = told_in("WARN  a thing n=1\n", LogFormat::Human);
        assert_eq!(human, "WARN  a thing n=1 request_id=a\"1\n");
    }

    #[test]
    fn a_line_that_names_its_run_holds_no_other_and_one_that_quotes_json_names_none() {
        let own = told_in("{\"run\":\"r-2\"}\n", LogFormat::Json);
        assert_eq!(own, "{\"request_id\":\"a\\\"1\",\"run\":\"r-2\"}\n");
        let quoted = told_in("{\"what\":\"{\\\"run\\\":1}\"}\n", LogFormat::Json);
        assert!(quoted.contains("\"run\":\"r-1\""), "{quoted}");
    }
}
