//! How long a step is waited for, and when the command gives up: the settings' retries, applied to one step's answers.
//!
//! Pure bookkeeping: nothing here sleeps. [`crate::drive`] does, for as long as [`Waits::after`] says.

use std::time::Duration;

use pathling_import_core::config::{Retry, Settings, Step};
use pathling_import_core::{Error, Kind};

use crate::words;

/// A step that failed is tried again this often at most, as the state machine does.
const TRIES: u32 = 5;

/// The first wait after a failure, where the settings do not ask for less; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_mins(1);

/// The shortest wait that a server can ask for: some ask for none, which would be a storm of requests.
const SHORTEST: Duration = Duration::from_secs(1);

/// What there is to do about an error.
#[derive(Debug)]
pub(crate) enum Then {
    /// The job goes on: ask again after this long.
    Wait(Duration),
    /// Something failed that may mend itself: try again after this long.
    Retry(Duration),
    /// Give up with this error.
    End(Error),
}

/// The waits for one step so far.
#[derive(Debug)]
pub(crate) struct Waits {
    retry: Retry,
    longest: Duration,
    settings: &'static str,
    asked: u32,
    waited: Duration,
    /// How much of the next of the settings' own waits has been used up by shorter ones that the server asked for.
    used: Duration,
    failures: u32,
    paused: Duration,
}

impl Waits {
    /// No waits yet for `step`.
    pub(crate) fn new(step: Step, settings: &Settings) -> Self {
        let retries = &settings.retries;
        let (retry, name) = match step {
            Step::FhirExport | Step::CheckExportStatus | Step::Command => {
                (retries.export, "EXPORT_RETRY")
            }
            Step::TransferToS3 => (retries.transfer, "TRANSFER_RETRY"),
            Step::PathlingImport | Step::CheckImportStatus => (retries.import, "IMPORT_RETRY"),
        };
        Self {
            retry,
            longest: settings.retry_after_max,
            settings: name,
            asked: 0,
            waited: Duration::ZERO,
            used: Duration::ZERO,
            failures: 0,
            paused: Duration::ZERO,
        }
    }

    /// Says what to do after `error`, and counts it.
    pub(crate) fn after(&mut self, error: Error) -> Then {
        if error.kind() == Kind::JobInProgress {
            return self.after_job_in_progress(&error);
        }
        // An error for good is one of a retried kind that no retry can mend.
        if !error.kind().row().retried || error.ends_the_run() {
            return Then::End(error);
        }
        if self.failures >= self.retry.times.min(TRIES) {
            return Then::End(self.gave_up(error));
        }
        let doubled = FIRST_PAUSE.min(self.retry.wait) * 2_u32.pow(self.failures);
        let pause = self.asked_for(&error).unwrap_or(doubled);
        self.failures += 1;
        self.paused += pause;
        Then::Retry(pause)
    }

    fn after_job_in_progress(&mut self, error: &Error) -> Then {
        if self.asked >= self.retry.times {
            return Then::End(self.ran_out(error));
        }
        let own = self.retry.wait_number(self.asked);
        let wait = self.asked_for(error).unwrap_or(own);
        // A server that wants to be asked often does not use up the patience that the settings have.
        self.used += wait;
        if self.used >= own {
            self.asked += 1;
            self.used = Duration::ZERO;
        }
        self.waited += wait;
        // The step answered, so what failed before it has mended.
        self.failures = 0;
        self.paused = Duration::ZERO;
        Then::Wait(wait)
    }

    /// The server's own wish, within bounds.
    fn asked_for(&self, error: &Error) -> Option<Duration> {
        error
            .wait()
            .map(|wait| wait.max(SHORTEST).min(self.longest))
    }

    /// The error for a job that outlasted the waits.
    fn ran_out(&self, error: &Error) -> Error {
        let name = self.settings;
        let waits = match self.asked {
            0 => format!("it is not waited for, because {name}_TIMES is 0"),
            n => format!(
                "gave up after {}, {} in all",
                words::count(n.into(), "wait", "waits"),
                words::duration(self.waited)
            ),
        };
        let what = error.what().trim_end_matches(['.', '\n']);
        Kind::JobInProgress
            .error(format!("{what}; {waits}"))
            .next(format!(
                "{name}_TIMES and {name}_WAIT say how often and how long the command waits."
            ))
            .retry_after(error.wait())
    }

    /// The same error, which further tries did not mend.
    fn gave_up(&self, error: Error) -> Error {
        match self.failures {
            0 => error,
            n => error.within(&format!(
                "tried {} times in {}",
                n + 1,
                words::duration(self.paused)
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::settings;

    const IN_PROGRESS: Kind = Kind::JobInProgress;

    fn waits(step: Step, more: &[(&str, &str)]) -> Waits {
        Waits::new(step, &settings(more))
    }

    fn seconds(then: &Then) -> u64 {
        match then {
            Then::Wait(wait) | Then::Retry(wait) => wait.as_secs(),
            Then::End(error) => panic!("gave up: {error}"),
        }
    }

    fn end(then: Then) -> Error {
        match then {
            Then::End(error) => error,
            other => panic!("went on: {other:?}"),
        }
    }

    #[test]
    fn short_waits_that_a_server_asks_for_do_not_use_up_the_patience_of_the_settings() {
        let more = [("EXPORT_RETRY_TIMES", "2"), ("EXPORT_RETRY_WAIT", "60")];
        let mut waits = waits(Step::CheckExportStatus, &more);
        let wish = || {
            IN_PROGRESS
                .error("goes on")
                .retry_after(Some(Duration::from_secs(5)))
        };
        for _ in 0..24 {
            assert!(matches!(waits.after(wish()), Then::Wait(_)));
        }
        assert!(matches!(waits.after(wish()), Then::End(_)));
    }

    #[test]
    fn a_job_is_waited_for_as_often_and_as_long_as_the_settings_say() {
        let mut waits = waits(
            Step::CheckExportStatus,
            &[
                ("EXPORT_RETRY_TIMES", "3"),
                ("EXPORT_RETRY_WAIT", "10"),
                ("EXPORT_RETRY_BACK_OFF", "2"),
            ],
        );
        for expected in [10, 20, 40] {
            let then = waits.after(IN_PROGRESS.error("the export is at 40 %"));
            assert!(matches!(then, Then::Wait(_)));
            assert_eq!(seconds(&then), expected);
        }
        let error = end(waits.after(IN_PROGRESS.error("the export is at 40 %.")));
        assert_eq!(error.name(), "JobInProgressError");
        assert_eq!(
            error.what(),
            "the export is at 40 %; gave up after 3 waits, 1 min 10 s in all"
        );
        assert!(error.advice().contains("EXPORT_RETRY_TIMES"), "{error}");
    }

    #[test]
    fn each_step_has_its_own_settings() {
        let more = [
            ("EXPORT_RETRY_WAIT", "1"),
            ("TRANSFER_RETRY_WAIT", "2"),
            ("IMPORT_RETRY_WAIT", "3"),
        ];
        let first = Step::FIVE.map(|step| {
            let then = waits(step, &more).after(IN_PROGRESS.error("goes on"));
            seconds(&then)
        });
        assert_eq!(first, [1, 1, 2, 3, 3]);
    }

    #[test]
    fn the_servers_wish_is_obeyed_within_bounds() {
        let mut waits = waits(Step::CheckImportStatus, &[("RETRY_AFTER_MAX", "100")]);
        let wish = |secs| {
            IN_PROGRESS
                .error("goes on")
                .retry_after(Some(Duration::from_secs(secs)))
        };
        assert_eq!(seconds(&waits.after(wish(7))), 7);
        assert_eq!(seconds(&waits.after(wish(0))), 1);
        assert_eq!(seconds(&waits.after(wish(101))), 100);
        let unavailable = Kind::TargetUnavailable
            .error("502")
            .retry_after(Some(Duration::from_secs(500)));
        assert_eq!(seconds(&waits.after(unavailable)), 100);
    }

    #[test]
    fn no_waits_means_none() {
        let mut waits = waits(Step::TransferToS3, &[("TRANSFER_RETRY_TIMES", "0")]);
        let error = end(waits.after(IN_PROGRESS.error("2 of 3 files")));
        assert_eq!(
            error.what(),
            "2 of 3 files; it is not waited for, because TRANSFER_RETRY_TIMES is 0"
        );
        let error = end(waits.after(Kind::Transfer.error("no file")));
        assert_eq!(error.what(), "no file");
    }

    #[test]
    fn what_may_mend_itself_is_tried_five_times_more_each_wait_twice_the_last() {
        let mut waits = waits(Step::FhirExport, &[]);
        for expected in [60, 120, 240, 480, 960] {
            let then = waits.after(Kind::SourceUnavailable.error("connection refused"));
            assert!(matches!(then, Then::Retry(_)));
            assert_eq!(seconds(&then), expected);
        }
        let error = end(waits.after(Kind::SourceUnavailable.error("connection refused")));
        assert_eq!(error.kind(), Kind::SourceUnavailable);
        assert_eq!(error.what(), "tried 6 times in 31 min: connection refused");
    }

    #[test]
    fn an_answer_forgives_the_failures_before_it() {
        let mut waits = waits(Step::CheckExportStatus, &[("EXPORT_RETRY_TIMES", "1")]);
        assert_eq!(
            seconds(&waits.after(Kind::SourceUnavailable.error("502"))),
            60
        );
        assert_eq!(seconds(&waits.after(IN_PROGRESS.error("goes on"))), 900);
        assert_eq!(
            seconds(&waits.after(Kind::SourceUnavailable.error("502"))),
            60
        );
        end(waits.after(Kind::SourceUnavailable.error("502")));
    }

    #[test]
    fn what_no_retry_can_mend_ends_at_once() {
        for row in pathling_import_core::error::TABLE {
            let then = waits(Step::TransferToS3, &[]).after(row.kind.error("x"));
            assert_eq!(matches!(then, Then::End(_)), !row.retried, "{}", row.name);
        }
        let gone = Kind::Transfer.error("404").for_good();
        end(waits(Step::TransferToS3, &[]).after(gone));
    }
}
