//! The workflow of `step-functions/pathling-import.asl.json` in this process: the same order and the same retries, and no wait.

use std::time::Duration;

use pathling_import_core::config::Step;
use pathling_import_core::{Error, Kind, Result};
use serde_json::{Value, json};

/// How often a step that failed for a passing reason is tried again, as the template's `RetryTimes` has it.
const RETRIES: usize = 5;

/// How often a step is asked again whose job goes on.
const POLLS: usize = 24;

/// What passes between two tries: less than a turn to import lasts, however often it comes.
const PAUSE: Duration = Duration::from_secs(10);

/// What became of a function that was called.
pub enum Called {
    /// It answered.
    Answered(Result<Value>),
    /// Its process ended before that.
    Died,
    /// It was not called: the whole execution stands still.
    StoodStill,
}

/// How an execution ended.
#[derive(Debug)]
pub enum Ended {
    /// At the end of the workflow.
    Well,
    /// At a step that failed for good, or died too often.
    Failed(Step, Option<Error>),
    /// Nowhere: it stands before this step, with this event, and may go on another time.
    Before(Step, Value),
}

/// Goes through the workflow from a step on. `call` calls a function, and `pause` lets time pass.
pub async fn execute(
    from: Step,
    mut event: Value,
    mut call: impl AsyncFnMut(Step, Value) -> Called,
    pause: impl Fn(Duration),
) -> Ended {
    for step in Step::FIVE.into_iter().skip_while(|step| *step != from) {
        let (mut polls, mut failures) = (0, 0);
        event = loop {
            let failed = match call(step, event.clone()).await {
                Called::Answered(Ok(output)) => break output,
                Called::Answered(Err(error)) if error.kind() == Kind::JobInProgress => {
                    polls += 1;
                    (polls > POLLS).then_some(Some(error))
                }
                Called::Answered(Err(error)) => {
                    failures += 1;
                    let over = !error.kind().row().retried || failures > RETRIES;
                    over.then_some(Some(error))
                }
                Called::Died => {
                    failures += 1;
                    (failures > RETRIES).then_some(None)
                }
                Called::StoodStill => return Ended::Before(step, event),
            };
            if let Some(error) = failed {
                return Ended::Failed(step, error);
            }
            pause(PAUSE);
        };
        // As the workflow's Choice has it.
        if step == Step::PathlingImport && event["statusUrl"].is_null() {
            break;
        }
    }
    Ended::Well
}

/// The event of the first step.
#[must_use]
pub fn nothing() -> Value {
    json!({})
}

/// Does `work` until it has waited so often, and drops it then, as a process dies that is killed: at any of its waits.
pub async fn dying<T>(waits: u64, work: impl Future<Output = T>) -> Option<T> {
    let mut work = Box::pin(work);
    let mut left = waits;
    std::future::poll_fn(move |context| {
        if left == 0 {
            return std::task::Poll::Ready(None);
        }
        left -= 1;
        work.as_mut().poll(context).map(Some)
    })
    .await
}
