//! What a step's failure leaves behind: the end of its run, or the error for who asks how the synchronisation stands.

use std::time::Duration;

use serde_json::Value;

use super::Context;
use crate::config::Step;
use crate::error::{Error, Kind};
use crate::staging::layout;
use crate::sync::{self, LastError, Outcome, SyncState};

/// How long the record of a run's end may take: whoever called has waited for the error for as long as it can be.
const WRITING_DOWN: Duration = Duration::from_secs(5);

/// Writes down that a step failed: an error that the run cannot survive ends it. Best effort, for the caller has to hear the
/// error itself.
pub(super) async fn write_down(
    step: Step,
    context: &Context,
    concerned: Option<Concerned>,
    error: &Error,
    within: Duration,
) {
    match concerned {
        Some(concerned) if error.ends_the_run() => concerned.end(step, context, error).await,
        // The run goes on; and a store that failed takes no note.
        _ if error.kind() == Kind::JobInProgress || error.is_of_staging() => {}
        concerned => note_error(step, context, concerned, error, within).await,
    }
}

/// The run that a step's event is about.
pub(super) struct Concerned {
    run: String,
    key: Option<String>,
}

impl Concerned {
    pub(super) fn of(step: Step, event: &Value) -> Option<Self> {
        // The first step's event is ignored, so whatever run that may name has nothing to do with it. A batch is one of
        // many, and none of them speaks for the run.
        if step == Step::FhirExport || event.get("items").is_some() {
            return None;
        }
        let text = |name: &str| {
            event
                .get(name)
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
        };
        let run = text("run")
            .map(str::to_owned)
            .or_else(|| text("statusUrl").map(layout::run_of));
        let key = text("key").filter(|key| layout::is_sync_name(key));
        Some(Self {
            run: run.filter(|run| layout::is_run_name(run))?,
            key: key.map(str::to_owned),
        })
    }

    async fn end(&self, step: Step, context: &Context, error: &Error) {
        let Ok(Some(staging)) = context.staging_if_any().await else {
            return;
        };
        let (run, key) = (&self.run, self.key.as_deref());
        let outcome = Outcome {
            step: Some(step.name().to_owned()),
            ..Outcome::at(context.clock().moment(), error.name(), Some(error.what()))
        };
        let ended = context.end_run(staging, run, key, outcome);
        let why = match tokio::time::timeout(WRITING_DOWN, ended).await {
            Ok(Ok(_)) => return,
            Ok(Err(second)) => second.what().to_owned(),
            Err(_) => "the store does not answer in time".to_owned(),
        };
        tracing::warn!(run, error = why, "the run's end could not be written down");
    }
}

/// Writes an error down that ends no run.
async fn note_error(
    step: Step,
    context: &Context,
    concerned: Option<Concerned>,
    error: &Error,
    within: Duration,
) {
    let (key, run) = match concerned {
        Some(Concerned { run, key }) => (key, Some(run)),
        None if step == Step::FhirExport => (Some(sync::key(context.settings())), None),
        // A batch is one of many.
        None => return,
    };
    let Some(key) = key else {
        return;
    };
    let last = LastError {
        at: context.clock().moment(),
        step: step.name().to_owned(),
        error: format!("{}: {}", error.name(), error.what()),
        run,
    };
    let note = async {
        let Some(staging) = context.staging_if_any().await? else {
            return Ok(());
        };
        let noted = SyncState::update(staging, &key, |state| {
            state.last_error = Some(last.clone());
            true
        });
        noted.await.map(|_| ())
    };
    match tokio::time::timeout(within, note).await {
        Ok(Ok(())) => {}
        Ok(Err(second)) => {
            tracing::debug!(error = second.what(), "the error could not be written down");
        }
        Err(_) => tracing::debug!("the store did not take the error in time"),
    }
}
