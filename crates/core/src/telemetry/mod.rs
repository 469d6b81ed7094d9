//! Logs and Sentry: set up once a process, flushed before it answers.
//!
//! A failure is one event in Sentry, made from the error itself; log lines only become its breadcrumbs. So nothing is
//! reported twice, and nothing that an error does not say. An address of Sentry's that AWS keeps is fetched for the first report.

mod later;

use std::io::Write as _;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use sentry::ClientInitGuard;
use sentry::integrations::tracing::BreadcrumbLayer;
use sentry::protocol::{Event, Exception};
use tracing::Level;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

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
        let mut options = match &sentry.dsn {
            SecretSource::Given(dsn) => options.dsn(dsn.reveal()),
            SecretSource::Kept(at) => options
                .dsn(later::UNKNOWN)
                .transport(later::Factory(at.clone())),
        };
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
    let breadcrumbs = sentry
        .is_some()
        .then(|| BreadcrumbLayer::new().with_filter(ours));
    // A process has one subscriber: where a test has set one up already, that one stays.
    let _ = tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(breadcrumbs)
        .try_init();
    Telemetry { sentry }
}

impl Telemetry {
    /// Reports the failure of a step as one event. What is merely in progress is no failure.
    pub fn report(&self, error: &Error, step: &str, run: Option<&str>) {
        if self.sentry.is_none() || error.kind() == Kind::JobInProgress {
            return;
        }
        let mut tags = sentry::protocol::Map::new();
        tags.insert("step".to_owned(), step.to_owned());
        tags.insert("error".to_owned(), error.name().to_owned());
        if let Some(run) = run {
            tags.insert("run".to_owned(), run.to_owned());
        }
        let exception = Exception {
            ty: error.name().to_owned(),
            value: Some(error.to_string()),
            ..Exception::default()
        };
        sentry::capture_event(Event {
            level: sentry::Level::Error,
            exception: vec![exception].into(),
            tags,
            ..Event::default()
        });
    }

    /// Waits, a few seconds at most, until what was reported is sent.
    pub fn flush(&self) {
        if let Some(guard) = &self.sentry {
            guard.flush(Some(FLUSH));
        }
    }
}

/// Writes a log line to standard error. Nobody is left to tell when that is gone.
pub fn to_stderr(line: &[u8]) {
    let _ = std::io::stderr().lock().write_all(line);
}

/// The name of the requests of the run that this process is at work on.
static REQUEST_ID: RwLock<Option<String>> = RwLock::new(None);

/// Says under which name the run's requests go out (`X-Request-Id`), so that every line of the log holds it: whoever reads one
/// finds the others, and those in the servers' logs.
pub fn set_request_id(id: Option<String>) {
    *REQUEST_ID.write().unwrap_or_else(PoisonError::into_inner) = id;
}

/// Hands on what is written, with the name of the run's requests: the formatter writes a line at once. No span does that,
/// for most lines come from tasks of their own.
struct Lines {
    output: fn(&[u8]),
    format: LogFormat,
}

impl std::io::Write for Lines {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        let id = REQUEST_ID.read().unwrap_or_else(PoisonError::into_inner);
        match id.as_deref() {
            Some(id) => (self.output)(&with_id(line, id, self.format)),
            None => (self.output)(line),
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The line with one more field.
fn with_id(line: &[u8], id: &str, format: LogFormat) -> Vec<u8> {
    let (before, after) = match format {
        LogFormat::Json if line.starts_with(b"{") => {
            (format!("{{\"request_id\":\"{id}\","), &line[1..])
        }
        LogFormat::Json => (String::new(), line),
        LogFormat::Human => {
            let bare = line.strip_suffix(b"\n").unwrap_or(line);
            return [bare, format!(" request_id={id}\n").as_bytes()].concat();
        }
    };
    [before.as_bytes(), after].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_holds_the_name_of_the_requests_in_either_form() {
        let json = with_id(b"{\"level\":\"INFO\"}\n", "a-1", LogFormat::Json);
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"request_id": "a-1", "level": "INFO"})
        );
        let human = with_id(b"WARN  a thing n=1\n", "a-1", LogFormat::Human);
        assert_eq!(human, b"WARN  a thing n=1 request_id=a-1\n");
    }
}
