//! The thing that is measured: the step `transfer-to-s3`, as the Lambda and the command call it.

use std::path::PathBuf;
use std::time::Instant;

use pathling_import_core::config::{Settings, Step};
use pathling_import_core::steps::{self, Context};
use pathling_import_core::telemetry::{self, LogFormat, TelemetryOptions};
use serde_json::Value;

use crate::usage::Took;
use crate::{Outcome, answer};

/// Does the step once, with the event in the file and settings from the environment, and says what it took.
pub(crate) async fn run(event: PathBuf) -> Outcome<()> {
    let begin = Instant::now();
    let settings = Settings::load(Step::TransferToS3, &std::env::vars().collect(), None)?;
    let _telemetry = telemetry::start(&TelemetryOptions {
        format: LogFormat::Human,
        level: "warn",
        colours: false,
        output: telemetry::to_stderr,
        sentry: None,
    });
    let event: Value = serde_json::from_slice(&std::fs::read(event)?)?;
    let context = Context::new(settings);
    steps::run(Step::TransferToS3, &context, event).await?;
    answer(serde_json::to_string(&Took::since(begin)?)?)?;
    Ok(())
}
