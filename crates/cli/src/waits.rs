//! How long a step is waited for, and when the command gives up: the settings' retries, applied to one step's answers.
//!
//! A job may be done in a moment, so the first wait of the settings is spent in several polls, each after twice as long as
//! the one before. The sum of all waits stays what the settings make it, and a server's own wish comes before both.
//!
//! Pure bookkeeping: nothing here sleeps. [`crate::drive`] does, for as long as [`Waits::after`] says.

use std::time::{Duration, Instant};

use pathling_import_core::config::{Retry, Settings, Step};
use pathling_import_core::{Error, Kind};

use crate::words;

/// A step that failed is tried again this often at most, as the state machine does.
const TRIES: u32 = 5;

/// The first wait after a failure, where the settings do not ask for less; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_mins(1);

/// The first early poll comes after this long.
const FIRST_POLL: Duration = Duration::from_secs(1);

/// By how much of itself an early wait may be longer: clients that began together do not ask together.
const JITTER: f64 = 0.5;

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
    /// How many early polls there were; `None` for a step that has none.
    early: Option<u32>,
    /// How many of the settings' own waits have been used up.
    asked: u32,
    /// How many times it was waited.
    times: u32,
    waited: Duration,
    /// How much of the next of the settings' own waits has been used up by shorter ones: early ones, and those that the server
    /// asked for.
    used: Duration,
    failures: u32,
    paused: Duration,
    /// Since when it is tried that has failed so far.
    since: Instant,
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
            // The others are not polls of a job: a transfer is called again to work on.
            early: matches!(step, Step::CheckExportStatus | Step::CheckImportStatus).then_some(0),
            asked: 0,
            times: 0,
            waited: Duration::ZERO,
            used: Duration::ZERO,
            failures: 0,
            paused: Duration::ZERO,
            since: Instant::now(),
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
        let wait = self.asked_for(error).unwrap_or_else(|| self.own_wait(own));
        // Being asked often does not use up the patience that the settings have.
        self.times += 1;
        self.used += wait;
        if self.used >= own {
            self.asked += 1;
            self.used = Duration::ZERO;
        }
        self.waited += wait;
        // The step answered, so what failed before it has mended.
        self.failures = 0;
        self.paused = Duration::ZERO;
        self.since = Instant::now() + wait;
        Then::Wait(wait)
    }

    /// How long to wait where the server does not say: what is left of the settings' own wait, or in the first of them less,
    /// for an early poll.
    fn own_wait(&mut self, own: Duration) -> Duration {
        let left = own.saturating_sub(self.used);
        let Some(early) = &mut self.early else {
            return left;
        };
        let next = FIRST_POLL.saturating_mul(2_u32.saturating_pow(*early));
        if self.asked > 0 || next >= left {
            return left;
        }
        *early += 1;
        let jitter = rand::random_range(0.0..=JITTER);
        next.mul_f64(1.0 + jitter).min(left)
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
        let waits = match self.times {
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
                // The tries themselves take time too.
                words::duration(self.since.elapsed().max(self.paused))
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

    /// Waits until it is given up, and the end.
    fn all(waits: &mut Waits) -> (Vec<Duration>, Error) {
        let mut all = Vec::new();
        loop {
            match waits.after(IN_PROGRESS.error("the export is at 40 %.")) {
                Then::Wait(wait) => all.push(wait),
                Then::Retry(wait) => panic!("{wait:?}"),
                Then::End(error) => return (all, error),
            }
        }
    }

    #[test]
    fn the_first_wait_is_spent_in_early_polls_and_the_sum_stays_what_the_settings_say() {
        let more = [
            ("EXPORT_RETRY_TIMES", "3"),
            ("EXPORT_RETRY_WAIT", "10"),
            ("EXPORT_RETRY_BACK_OFF", "2"),
        ];
        let (all, error) = all(&mut waits(Step::CheckExportStatus, &more));
        let (early, full) = all.split_at(all.len() - 2);
        assert_eq!(full, [20, 40].map(Duration::from_secs));
        assert_eq!(
            early.iter().sum::<Duration>(),
            Duration::from_secs(10),
            "{early:?}"
        );
        // From one, two and four seconds to half as much more, and what is left of ten.
        for (wait, least) in early.iter().zip([1, 2, 4].map(Duration::from_secs)) {
            let most = least * 3 / 2;
            assert!(
                (least..=most).contains(wait) || wait == early.last().unwrap(),
                "{early:?}"
            );
        }
        assert!((3..=4).contains(&early.len()), "{early:?}");
        let words = format!("gave up after {} waits, 1 min 10 s in all", all.len());
        assert!(error.what().ends_with(&words), "{error}");
    }

    #[test]
    fn early_polls_take_nothing_from_the_six_hours_of_the_defaults() {
        for step in [Step::CheckExportStatus, Step::CheckImportStatus] {
            let (all, _) = all(&mut waits(step, &[]));
            assert_eq!(all.iter().sum::<Duration>(), Duration::from_hours(6));
            assert_eq!(
                all.iter()
                    .filter(|wait| **wait == Duration::from_mins(15))
                    .count(),
                23
            );
            assert_eq!(all[0].as_secs(), 1, "{all:?}");
        }
    }

    #[test]
    fn early_waits_are_drawn_anew_for_every_client() {
        let first = || all(&mut waits(Step::CheckExportStatus, &[])).0[0];
        let drawn: std::collections::HashSet<_> = std::iter::repeat_with(first).take(20).collect();
        assert!(drawn.len() > 10, "{drawn:?}");
    }

    #[test]
    fn waits_below_a_second_have_no_early_polls() {
        let more = [("EXPORT_RETRY_TIMES", "3"), ("EXPORT_RETRY_WAIT", "0.01")];
        let (all, _) = all(&mut waits(Step::CheckExportStatus, &more));
        assert_eq!(all, [Duration::from_millis(10); 3]);
    }

    #[test]
    fn a_transfer_is_called_again_as_often_and_after_as_long_as_the_settings_say() {
        let mut waits = waits(
            Step::TransferToS3,
            &[
                ("TRANSFER_RETRY_TIMES", "3"),
                ("TRANSFER_RETRY_WAIT", "10"),
                ("TRANSFER_RETRY_BACK_OFF", "2"),
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
        assert!(error.advice().contains("TRANSFER_RETRY_TIMES"), "{error}");
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
        // Three seconds of waiting for the import begin with an early poll.
        assert_eq!(first, [1, 1, 2, 3, 1]);
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
    fn what_each_try_took_itself_counts_in_the_time_that_is_told() {
        let more = [
            ("TRANSFER_RETRY_TIMES", "2"),
            ("TRANSFER_RETRY_WAIT", "0.01"),
        ];
        let mut waits = waits(Step::TransferToS3, &more);
        waits.since -= Duration::from_secs(26);
        for _ in 0..2 {
            assert!(matches!(
                waits.after(Kind::Transfer.error("no file")),
                Then::Retry(_)
            ));
        }
        let error = end(waits.after(Kind::Transfer.error("no file")));
        assert_eq!(error.what(), "tried 3 times in 26 s: no file");
    }

    #[test]
    fn an_answer_forgives_the_failures_before_it() {
        let mut waits = waits(Step::CheckExportStatus, &[("EXPORT_RETRY_TIMES", "1")]);
        assert_eq!(
            seconds(&waits.after(Kind::SourceUnavailable.error("502"))),
            60
        );
        assert_eq!(seconds(&waits.after(IN_PROGRESS.error("goes on"))), 1);
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
