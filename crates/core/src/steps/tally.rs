//! What a process counts of a run's work until its record is changed anyway, and then written with that: no write is made for
//! it, so a process that ends before takes its counts along.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::config::Step;
use crate::progress::Event;
use crate::sync::Effort;

/// The counts of the run that a process is at work on.
#[derive(Default)]
pub(super) struct Tally(Mutex<Counted>);

#[derive(Default)]
struct Counted {
    run: Option<String>,
    effort: Effort,
    /// The step whose wait was counted before its call has answered.
    ahead: Option<Step>,
}

impl Tally {
    /// Says which run it is. What was counted of another is nobody's.
    pub(super) fn of_run(&self, run: Option<&str>) {
        let mut counted = self.counted();
        if counted.run.is_some() && counted.run.as_deref() != run {
            *counted = Counted::default();
        }
        counted.run = run.map(str::to_owned);
    }

    /// Says that the run has another name.
    pub(super) fn moved(&self, to: &str) {
        self.counted().run = Some(to.to_owned());
    }

    /// Counts what happened.
    pub(super) fn count(&self, event: &Event) {
        if event.is_retry() {
            self.counted().effort.retries += 1;
        }
    }

    /// Counts that a call of the step is going to be answered by `JobInProgressError`, before it is.
    pub(super) fn will_wait(&self, step: Step) {
        self.waited(step);
        self.counted().ahead = Some(step);
    }

    /// Counts that a call of the step was answered by `JobInProgressError`.
    pub(super) fn waited(&self, step: Step) {
        let mut counted = self.counted();
        if counted.ahead.take() != Some(step) {
            let waits = counted.effort.waits.entry(step.name().to_owned());
            *waits.or_default() += 1;
        }
    }

    /// What was counted since this was called last.
    pub(super) fn take(&self) -> Effort {
        std::mem::take(&mut self.counted().effort)
    }

    /// Takes back what could not be written.
    pub(super) fn give_back(&self, effort: &Effort) {
        self.counted().effort.add(effort);
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_that_was_counted_ahead_is_not_counted_twice() {
        let tally = Tally::default();
        tally.of_run(Some("a"));
        tally.will_wait(Step::TransferToS3);
        tally.waited(Step::TransferToS3);
        tally.waited(Step::TransferToS3);
        assert_eq!(tally.take().waits(), 2);
        assert!(tally.take().is_none());
    }

    #[test]
    fn what_was_counted_of_one_run_is_not_written_into_anothers_record() {
        let tally = Tally::default();
        tally.waited(Step::CheckExportStatus);
        tally.of_run(Some("a"));
        tally.moved("a-b");
        tally.of_run(Some("a-b"));
        let own = tally.take();
        assert_eq!(own.waits(), 1);
        tally.give_back(&own);
        tally.of_run(Some("c"));
        assert!(tally.take().is_none());
    }
}
