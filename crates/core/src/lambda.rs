//! The runtime harness of the five Lambdas: settings, telemetry, the step, and its error as the runtime wants it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use tokio::time::Instant;

use crate::config::{Settings, Step};
use crate::error::{Error, Kind, Result};
use crate::http;
use crate::progress::{Event, Observer};
use crate::staging::layout;
use crate::steps::{self, Context, Deadline, contract};
use crate::telemetry::meter::Meter;
use crate::telemetry::metrics::{self, Ended};
use crate::telemetry::{self, LogFormat, Telemetry, TelemetryOptions};
use crate::transfer::logged;

/// How long before its deadline a step answers: time to say so, and to let go of what is under way.
const MARGIN: Duration = Duration::from_secs(10);

/// What the answer takes once there is nothing else to do.
const ANSWERING: Duration = Duration::from_millis(300);

/// The largest output that Step Functions carries from one state to the next.
const CARRIED_LIMIT: usize = 256 * 1024;

/// What ends the process instead of an invocation: the Runtime API cannot be reached.
pub use lambda_runtime::Error as RuntimeError;

impl From<Error> for Diagnostic {
    fn from(error: Error) -> Self {
        Self {
            error_type: error.name().to_owned(),
            error_message: error.to_string(),
        }
    }
}

/// Serves one step until the runtime ends this process.
///
/// Settings are read once. What is wrong with them is the answer to every invocation: a function that ended instead would
/// only be called "Runtime.ExitError".
///
/// Started by hand, where there is no Runtime API, it says so and ends the process with 2.
pub fn serve(step: Step) -> std::result::Result<(), RuntimeError> {
    if std::env::var_os("AWS_LAMBDA_RUNTIME_API").is_none() {
        let name = step.name();
        // Where stderr is gone, nobody is left to tell.
        let _ = writeln!(
            std::io::stderr(),
            "{name}-lambda is an AWS Lambda function and runs in AWS Lambda alone: docs/deployment.md says how to deploy it, and pathling-import is the command that does the same elsewhere."
        );
        std::process::exit(2);
    }
    crate::runtime()?.block_on(serve_here(step))
}

async fn serve_here(step: Step) -> std::result::Result<(), RuntimeError> {
    let environment: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let function = Arc::new(Function::new(step, &environment));
    // Behind a pointer: the runtime wraps what it is given in many layers.
    let handler =
        move |event: LambdaEvent<Given>| -> Pin<Box<dyn Future<Output = Result<Value>> + Send>> {
            Box::pin(Arc::clone(&function).answer(event))
        };
    lambda_runtime::run(service_fn(handler)).await
}

/// An event as it was given: JSON, or why it is none. The runtime would answer the latter by itself, and no line would say so.
struct Given(std::result::Result<Value, String>);

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(given: D) -> std::result::Result<Self, D::Error> {
        let event = Value::deserialize(given);
        Ok(Self(event.map_err(|error| error.to_string())))
    }
}

impl Given {
    /// Gives [`Kind::Input`] where it is none.
    fn read(self) -> Result<Value> {
        self.0
            .map_err(|why| Kind::Input.error(format!("the event is no JSON: {why}")))
    }
}

/// What a process keeps between invocations.
struct Function {
    step: Step,
    context: Result<Context>,
    telemetry: Telemetry,
    meter: Arc<Meter>,
    /// Where metrics go.
    namespace: Option<String>,
    level: Level,
    is_warm: AtomicBool,
}

impl Function {
    fn new(step: Step, environment: &BTreeMap<String, String>) -> Self {
        let settings = Settings::load(step, environment, None);
        let (sentry, namespace) = match &settings {
            Ok(settings) => (settings.sentry.clone(), settings.metrics_namespace.clone()),
            Err(_) => (
                Settings::sentry_only(environment, None),
                Settings::metrics_namespace_only(environment),
            ),
        };
        let level = environment.get("AWS_LAMBDA_LOG_LEVEL");
        let level = Level::of(level.map_or("", String::as_str));
        let telemetry = telemetry::start(&TelemetryOptions {
            format: LogFormat::Json,
            level: level.filter,
            colours: false,
            output: telemetry::to_stderr,
            sentry: sentry.as_ref(),
        });
        let meter = Arc::<Meter>::default();
        let (logged, counted) = (logged::observer(), Arc::clone(&meter));
        let observer: Observer = Arc::new(move |event: Event| {
            counted.count(&event);
            logged(event);
        });
        Self {
            step,
            context: settings.map(|settings| Context::new(settings).observed_by(observer)),
            telemetry,
            meter,
            namespace,
            level,
            is_warm: AtomicBool::new(false),
        }
    }

    async fn answer(self: Arc<Self>, event: LambdaEvent<Given>) -> Result<Value> {
        // A process stands still between two invocations, for as long as it pleases Lambda.
        http::leave_connections();
        // What a call that was dropped counted is nobody's.
        self.meter.take();
        let LambdaEvent { payload, context } = event;
        let killed_at = context.deadline();
        let event = payload.read();
        let call = Call::begin(
            self.step,
            event.as_ref().unwrap_or(&Value::Null),
            context.request_id.clone(),
        );
        let cold_start = !self.is_warm.swap(true, Ordering::Relaxed);
        let ready = self.context.as_ref().map_err(Clone::clone);
        let outcome = match ready.and_then(|with| Ok((with, event?))) {
            Ok((with, event)) => {
                let has_staging = with.settings().staging.is_some();
                let deadline = Deadline(Some(deadline(context.deadline())));
                let step = steps::run_until(self.step, with, event, deadline);
                match AssertUnwindSafe(step).catch_unwind().await {
                    Ok(outcome) => outcome.and_then(|output| carried(output, has_staging)),
                    Err(panic) => {
                        call.say_panicked(self.step);
                        self.telemetry.flush_within(left(killed_at));
                        // The runtime answers with it.
                        std::panic::resume_unwind(panic)
                    }
                }
            }
            Err(error) => Err(error),
        };
        let counts = self.meter.take();
        let ended = Ended {
            step: self.step.name(),
            seconds: call.begun.elapsed().as_secs_f64(),
            cold_start,
            error: outcome.as_ref().err(),
            counts: &counts,
        };
        call.summarise(&ended);
        if let Some(namespace) = &self.namespace {
            let run = telemetry::run();
            let level = self.level.told;
            for line in metrics::lines(&ended, namespace, level, run.as_deref()) {
                telemetry::to_stdout(&line);
            }
        }
        if let Err(error) = &outcome
            && error.kind() != Kind::JobInProgress
        {
            let run = telemetry::run();
            let tags = [
                ("step", Some(ended.step)),
                ("run", run.as_deref()),
                ("execution", call.execution.as_deref()),
                ("aws_request_id", Some(call.aws_request_id.as_str())),
            ];
            self.telemetry.report(error, &tags);
            self.telemetry.flush_within(left(killed_at));
        }
        outcome
    }
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Level {
    /// In Lambda's words.
    told: &'static str,
    /// In those of `tracing`, which has nothing above an error.
    filter: &'static str,
}

impl Level {
    /// What `AWS_LAMBDA_LOG_LEVEL` means; INFO, where it is none of Lambda's levels.
    fn of(text: &str) -> Self {
        const LEVELS: [(&str, &str); 6] = [
            ("INFO", "info"),
            ("TRACE", "trace"),
            ("DEBUG", "debug"),
            ("WARN", "warn"),
            ("ERROR", "error"),
            ("FATAL", "error"),
        ];
        let is_it = |(told, _): &&(&str, &str)| told.eq_ignore_ascii_case(text.trim());
        let (told, filter) = *LEVELS.iter().find(is_it).unwrap_or(&LEVELS[0]);
        Self { told, filter }
    }
}

/// An invocation under way.
struct Call {
    begun: Instant,
    aws_request_id: String,
    /// The workflow's execution, where the event names it.
    execution: Option<String>,
}

impl Call {
    fn begin(step: Step, event: &Value, aws_request_id: String) -> Self {
        telemetry::begin();
        // The first step's event has nothing to do with the run that it begins.
        let run = event.get("run").and_then(Value::as_str);
        let run = run.filter(|run| step != Step::FhirExport && layout::is_run_name(run));
        telemetry::set_run(run);
        Self {
            begun: Instant::now(),
            aws_request_id,
            execution: contract::execution(event).map(str::to_owned),
        }
    }

    /// The one line of a call that ended as none should: by a fault of this program, which the process survives.
    fn say_panicked(&self, step: Step) {
        tracing::error!(
            step = step.name(),
            outcome = "failure",
            seconds = self.begun.elapsed().as_secs_f64(),
            aws_request_id = self.aws_request_id,
            execution = self.execution,
            error = "panic",
            "step failed by a fault of this program: please report it"
        );
    }

    /// The one line that says how it ended.
    fn summarise(&self, ended: &Ended<'_>) {
        let Ended {
            step,
            seconds,
            cold_start,
            error,
            counts,
        } = *ended;
        let moved = counts.moved.as_ref();
        let resources: u64 = counts.resources.values().sum();
        // Macros take no level or name that is not known when this is built.
        macro_rules! summary {
            ($macro:ident, $outcome:literal, $text:literal $(, $field:ident = $value:expr)*) => {
                tracing::$macro!(
                    step,
                    outcome = $outcome,
                    seconds,
                    cold_start,
                    aws_request_id = self.aws_request_id,
                    execution = self.execution,
                    $($field = $value,)*
                    files = moved.map(|moved| moved.files),
                    bytes = moved.map(|moved| moved.bytes),
                    retries = moved.map(|moved| moved.retries),
                    resources = Some(resources).filter(|number| *number > 0),
                    held = counts.held.then_some(true),
                    unverified = counts.unverified.then_some(true),
                    freshness_seconds = counts.freshness.map(|age| age.as_secs()),
                    $text
                )
            };
        }
        match error {
            None => summary!(info, "success", "step done"),
            Some(error) if error.kind() == Kind::JobInProgress => {
                summary!(info, "wait", "job in progress", progress = error.what());
            }
            Some(error) => {
                let what = error.to_string();
                summary!(
                    error,
                    "failure",
                    "step failed",
                    error = error.name(),
                    what = what
                );
            }
        }
    }
}

/// How much time there is before the runtime ends the process, less what the answer itself takes.
fn left(killed_at: SystemTime) -> Duration {
    let left = killed_at.duration_since(SystemTime::now());
    left.unwrap_or_default().saturating_sub(ANSWERING)
}

/// The moment at which a step has to answer: the runtime's deadline less a margin, which is never more than a fifth of
/// the time.
fn deadline(runtime: SystemTime) -> Instant {
    let left = runtime
        .duration_since(SystemTime::now())
        .unwrap_or_default();
    Instant::now() + left.saturating_sub(MARGIN.min(left / 5))
}

fn carried(output: Value, has_staging: bool) -> Result<Value> {
    let size = output.to_string().len();
    if size <= CARRIED_LIMIT {
        return Ok(output);
    }
    let advice = if has_staging {
        "Export fewer types at a time, or run the command, which has no such limit."
    } else {
        "Set STAGING_URL for this function too, so that what is large can be kept there, or run the command, which has no such limit."
    };
    Err(Kind::Configuration
        .error(format!("this step's output has {size} bytes, and Step Functions carries at most {CARRIED_LIMIT}"))
        .next(advice))
}

#[cfg(test)]
mod tests {
    use super::Level;

    #[test]
    fn lambdas_levels_are_those_of_the_log_and_what_is_none_is_info() {
        for (text, told, filter) in [
            ("TRACE", "TRACE", "trace"),
            ("debug", "DEBUG", "debug"),
            ("Warn", "WARN", "warn"),
            ("ERROR", "ERROR", "error"),
            ("FATAL", "FATAL", "error"),
            ("", "INFO", "info"),
            ("hyper=trace", "INFO", "info"),
        ] {
            assert_eq!(Level::of(text), Level { told, filter }, "{text}");
        }
    }
}
