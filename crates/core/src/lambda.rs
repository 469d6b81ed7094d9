//! The runtime harness of the five Lambdas: settings, telemetry, the step, and its error as the runtime wants it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use serde_json::Value;
use tokio::time::Instant;

use crate::config::{Settings, Step};
use crate::error::{Error, Kind, Result};
use crate::steps::{self, Context, Deadline};
use crate::telemetry::{self, LogFormat, Telemetry, TelemetryOptions};
use crate::transfer::logged;

/// How long before its deadline a step answers: time to say so, and to let go of what is under way.
const MARGIN: Duration = Duration::from_secs(10);

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
    let settings = Settings::load(step, &environment, None);
    let sentry = match &settings {
        Ok(settings) => settings.sentry.clone(),
        Err(_) => Settings::sentry_only(&environment, None),
    };
    let level = environment
        .get("AWS_LAMBDA_LOG_LEVEL")
        .map_or("info".to_owned(), |level| level.to_lowercase());
    let telemetry = telemetry::start(&TelemetryOptions {
        format: LogFormat::Json,
        level: &level,
        colours: false,
        output: telemetry::to_stderr,
        sentry: sentry.as_ref(),
    });
    let context = settings.map(|settings| Context::new(settings).observed_by(logged::observer()));
    let (context, telemetry) = (Arc::new(context), Arc::new(telemetry));
    // Behind a pointer: the runtime wraps what it is given in many layers.
    let handler =
        move |event: LambdaEvent<Value>| -> Pin<Box<dyn Future<Output = Result<Value>> + Send>> {
            Box::pin(answer(
                step,
                Arc::clone(&context),
                Arc::clone(&telemetry),
                event,
            ))
        };
    lambda_runtime::run(service_fn(handler)).await
}

async fn answer(
    step: Step,
    context: Arc<Result<Context>>,
    telemetry: Arc<Telemetry>,
    event: LambdaEvent<Value>,
) -> Result<Value> {
    let run = event
        .payload
        .get("run")
        .and_then(Value::as_str)
        .map(str::to_owned);
    let outcome = match &*context {
        Ok(context) => {
            let deadline = deadline(event.context.deadline());
            steps::run_until(step, context, event.payload, Deadline(Some(deadline)))
                .await
                .and_then(|output| carried(output, context.settings().staging.is_some()))
        }
        Err(error) => Err(error.clone()),
    };
    match &outcome {
        Ok(output) => {
            let run = output.get("run").and_then(Value::as_str);
            tracing::info!(step = step.name(), run, "step done");
        }
        Err(error) if error.kind() == Kind::JobInProgress => {
            tracing::info!(
                step = step.name(),
                run,
                progress = error.what(),
                "job in progress"
            );
        }
        Err(error) => {
            tracing::error!(step = step.name(), run, error = error.name(), message = %error, "step failed");
            telemetry.report(error, step.name(), run.as_deref());
            telemetry.flush();
        }
    }
    outcome
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
