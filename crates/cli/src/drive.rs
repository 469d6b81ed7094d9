//! The sequence: five steps in order, each with its waits, from the start or from where an earlier start stopped.
//!
//! It knows the steps by their public contract alone. What is shown of it is [`Watch`]'s business, and the tests give it
//! steps of their own.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use pathling_import_core::config::{Settings, Step};
use pathling_import_core::steps::{self, Context, LeftBehind, Unfinished};
use pathling_import_core::sync::RunRecord;
use pathling_import_core::{Error, Result};
use serde_json::Value;

use crate::waits::{Then, Waits};

/// What the sequence does its work with: the core's five steps, and time.
pub(crate) trait Steps {
    /// One step by its contract.
    async fn run(&self, step: Step, event: Value) -> Result<Value>;
    /// The run that an earlier start left.
    async fn unfinished(&self) -> Result<Option<Unfinished>>;
    /// The run that has not ended, where nobody goes on with it.
    async fn left_behind(&self) -> Result<Option<LeftBehind>>;
    /// When a run was kicked off, where its record tells.
    async fn kicked_off(&self, run: &str) -> Option<String>;
    /// Waits for the export's end, while what is there of it already is staged.
    async fn ahead<T>(&self, waiting: impl Future<Output = Result<T>>) -> Result<T> {
        waiting.await
    }
    /// Lets time pass.
    async fn pause(&self, wait: Duration);
}

impl Steps for Context {
    async fn run(&self, step: Step, event: Value) -> Result<Value> {
        // Deep futures: on the heap they do not make every caller's deeper.
        Box::pin(steps::run(step, self, event)).await
    }

    async fn unfinished(&self) -> Result<Option<Unfinished>> {
        Box::pin(steps::unfinished(self)).await
    }

    async fn left_behind(&self) -> Result<Option<LeftBehind>> {
        Box::pin(steps::left_behind(self)).await
    }

    async fn kicked_off(&self, run: &str) -> Option<String> {
        let staging = self.staging().await.ok()?;
        let record = RunRecord::load(staging, run).await.ok()?;
        record.newest_kick_off().map(|kick_off| kick_off.at.clone())
    }

    async fn ahead<T>(&self, waiting: impl Future<Output = Result<T>>) -> Result<T> {
        steps::ahead(self, waiting).await
    }

    async fn pause(&self, wait: Duration) {
        tokio::time::sleep(wait).await;
    }
}

/// Who is told how the sequence goes on.
pub(crate) trait Watch {
    /// An earlier start's run goes on, which was kicked off at `since`.
    fn resumed(&self, run: &str, step: Step, since: Option<&str>);
    /// An earlier start's run is given up, for a new one begins.
    fn left_behind(&self, left: &LeftBehind);
    /// A step begins.
    fn begun(&self, step: Step);
    /// A step's job goes on: it is asked again after `wait`.
    fn waiting(&self, step: Step, why: &Error, wait: Duration);
    /// A step failed: it is tried again after `wait`.
    fn retrying(&self, step: Step, why: &Error, wait: Duration);
    /// A step is done.
    fn ended(&self, step: Step, took: Duration);
}

/// How far the sequence has come: what a person must know when it ends early.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Position {
    /// The run's name, once there is one.
    pub(crate) run: Option<String>,
    /// The step at work, once there is one.
    pub(crate) step: Option<Step>,
}

/// What an export asked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Extent {
    /// Everything.
    Full,
    /// What changed after this instant.
    Since(String),
}

/// How the sequence ended well.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Finished {
    /// The run's name.
    pub(crate) run: String,
    /// Whether something was imported; otherwise nothing needed it.
    pub(crate) imported: bool,
    /// Whether an earlier start had begun the run.
    pub(crate) resumed: bool,
    /// What the export asked for, where the steps told.
    pub(crate) extent: Option<Extent>,
    /// How long each step took that was at work now, its waits included.
    pub(crate) phases: Vec<(Step, Duration)>,
}

/// The sequence with all that it needs.
pub(crate) struct Drive<'a, S, W> {
    steps: &'a S,
    watch: &'a W,
    settings: &'a Settings,
    position: RefCell<Position>,
}

impl<'a, S: Steps, W: Watch> Drive<'a, S, W> {
    /// A sequence that has not begun.
    pub(crate) fn new(steps: &'a S, watch: &'a W, settings: &'a Settings) -> Self {
        Self {
            steps,
            watch,
            settings,
            position: RefCell::default(),
        }
    }

    /// How far it has come, also after [`Self::go`] was dropped half-way.
    pub(crate) fn position(&self) -> Position {
        self.position.borrow().clone()
    }

    /// Goes on with the unfinished run, or starts a new one where there is none or `fresh` asks for it.
    ///
    /// Gives the error that ended a step, or [`pathling_import_core::Kind::JobInProgress`] when its waits ran out.
    pub(crate) async fn go(&self, fresh: bool) -> Result<Finished> {
        let left = if fresh {
            None
        } else {
            self.find_unfinished().await?
        };
        let mut finished = Finished {
            run: String::new(),
            imported: true,
            resumed: left.is_some(),
            extent: None,
            phases: Vec::new(),
        };
        let (first, mut event) = if let Some(Unfinished { run, step, event }) = left {
            let since = self.steps.kicked_off(&run).await;
            self.watch.resumed(&run, step, since.as_deref());
            self.position.borrow_mut().run = Some(run);
            (step, event)
        } else {
            self.tell_left_behind().await;
            (Step::FhirExport, Value::Object(serde_json::Map::new()))
        };
        for step in Step::FIVE.into_iter().skip_while(|step| *step != first) {
            let begun = Instant::now();
            self.position.borrow_mut().step = Some(step);
            self.watch.begun(step);
            let attempts = self.patiently(step, || self.steps.run(step, event.clone()));
            let output = match step {
                Step::CheckExportStatus => self.steps.ahead(attempts).await?,
                _ => attempts.await?,
            };
            self.watch.ended(step, begun.elapsed());
            finished.phases.push((step, begun.elapsed()));
            if let Some(run) = output.get("run").and_then(Value::as_str) {
                self.position.borrow_mut().run = Some(run.to_owned());
            }
            if let Some(since) = output.get("since") {
                let since = since.as_str().map(str::to_owned);
                finished.extent = Some(since.map_or(Extent::Full, Extent::Since));
            }
            if step == Step::PathlingImport && output.get("statusUrl").is_none_or(Value::is_null) {
                finished.imported = false;
                break;
            }
            event = output;
        }
        finished.run = self.position().run.unwrap_or_default();
        Ok(finished)
    }

    /// The run to go on with. That state must be read from staging, which may be out of reach for a moment.
    async fn find_unfinished(&self) -> Result<Option<Unfinished>> {
        self.patiently(Step::FhirExport, || self.steps.unfinished())
            .await
    }

    /// Tells of the run that is not gone on with. Best effort: a store that cannot be read says so at the first step.
    async fn tell_left_behind(&self) {
        if let Ok(Some(left)) = self.steps.left_behind().await {
            self.watch.left_behind(&left);
        }
    }

    /// Repeats `attempt` with the waits of `step` until it succeeds or the waits run out.
    async fn patiently<T>(&self, step: Step, attempt: impl AsyncFn() -> Result<T>) -> Result<T> {
        let mut waits = Waits::new(step, self.settings);
        loop {
            let error = match attempt().await {
                Ok(output) => return Ok(output),
                Err(error) => error,
            };
            let wait = match waits.after(error.clone()) {
                Then::Wait(wait) => {
                    self.watch.waiting(step, &error, wait);
                    wait
                }
                Then::Retry(wait) => {
                    self.watch.retrying(step, &error, wait);
                    wait
                }
                Then::End(error) => return Err(error),
            };
            self.steps.pause(wait).await;
        }
    }
}

#[cfg(test)]
#[path = "drive_tests.rs"]
mod tests;
