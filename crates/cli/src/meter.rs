//! What a transfer has done so far, its rate and the time that it may still take.
//!
//! The tasks that transfer tell it, so it is atomics and two short locks; who draws it reads it when it pleases.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::words;

/// The counters of one call of the transfer.
#[derive(Debug)]
pub(crate) struct Meter {
    begun: Mutex<Instant>,
    planned: AtomicU64,
    started: AtomicU64,
    /// The bytes that are to come, of all files whose length is known.
    expected: AtomicU64,
    /// Whether the length of a file is unknown.
    endless: AtomicBool,
    done: AtomicU64,
    fetched: AtomicU64,
    received: AtomicU64,
    staged: AtomicU64,
    resources: AtomicU64,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            begun: Mutex::new(Instant::now()),
            planned: AtomicU64::default(),
            started: AtomicU64::default(),
            expected: AtomicU64::default(),
            endless: AtomicBool::default(),
            done: AtomicU64::default(),
            fetched: AtomicU64::default(),
            received: AtomicU64::default(),
            staged: AtomicU64::default(),
            resources: AtomicU64::default(),
        }
    }
}

impl Meter {
    /// Begins anew with so many files to come.
    pub(crate) fn plan(&self, files: u64) {
        *self.begun.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.planned.store(files, Relaxed);
        self.endless.store(false, Relaxed);
        for counter in [
            &self.started,
            &self.expected,
            &self.done,
            &self.fetched,
            &self.received,
            &self.staged,
            &self.resources,
        ] {
            counter.store(0, Relaxed);
        }
    }

    /// A file begins to come, of which so many bytes are to come.
    pub(crate) fn start_file(&self, bytes: Option<u64>) {
        self.started.fetch_add(1, Relaxed);
        match bytes {
            Some(bytes) => self.expected.fetch_add(bytes, Relaxed),
            None => u64::from(self.endless.fetch_or(true, Relaxed)),
        };
    }

    /// So many bytes came from the source.
    pub(crate) fn receive(&self, bytes: u64) {
        self.received.fetch_add(bytes, Relaxed);
    }

    /// A file is staged. Gives how many are.
    pub(crate) fn finish_file(&self, fetched: bool, bytes: u64, resources: u64) -> u64 {
        self.fetched.fetch_add(u64::from(fetched), Relaxed);
        self.staged.fetch_add(bytes, Relaxed);
        self.resources.fetch_add(resources, Relaxed);
        self.done.fetch_add(1, Relaxed) + 1
    }

    fn elapsed(&self) -> Duration {
        self.begun
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .elapsed()
    }

    /// Bytes from the source per second, on average.
    fn rate(&self, elapsed: Duration) -> Option<u64> {
        let seconds = elapsed.as_secs_f64();
        // Rates are shown to three digits; f64 has fifteen.
        #[allow(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss
        )]
        let rate = (self.received.load(Relaxed) as f64 / seconds) as u64;
        (seconds >= 0.5 && rate > 0).then_some(rate)
    }

    /// How long the rest takes: by its bytes once every file has begun to come, until then if its files are like those that
    /// were fetched.
    fn left(&self, elapsed: Duration) -> Option<Duration> {
        let (done, fetched) = (self.done.load(Relaxed), self.fetched.load(Relaxed));
        let all_began = self.started.load(Relaxed) + done - fetched == self.planned.load(Relaxed);
        if all_began && !self.endless.load(Relaxed) {
            let expected = self.expected.load(Relaxed);
            let to_come = expected.saturating_sub(self.received.load(Relaxed));
            return Some(Duration::from_secs(to_come / self.rate(elapsed)?));
        }
        let fetched = u32::try_from(self.fetched.load(Relaxed)).ok()?;
        let to_come = self
            .planned
            .load(Relaxed)
            .saturating_sub(self.done.load(Relaxed));
        let a_file = elapsed.checked_div(fetched)?;
        a_file.checked_mul(u32::try_from(to_come).ok()?)
    }

    /// What is happening: `12 of 45 files, 340 MB, 12.3 MB/s, 3 min left`.
    pub(crate) fn now(&self) -> String {
        self.after(self.elapsed())
    }

    fn after(&self, elapsed: Duration) -> String {
        let mut text = format!(
            "{} of {}, {}",
            indicatif::HumanCount(self.done.load(Relaxed)),
            words::count(self.planned.load(Relaxed), "file", "files"),
            words::bytes(self.received.load(Relaxed))
        );
        if let Some(rate) = self.rate(elapsed) {
            // Writing to a String cannot fail.
            let _ = write!(text, ", {}/s", words::bytes(rate));
        }
        if let Some(left) = self.left(elapsed) {
            let _ = write!(text, ", {} left", words::duration(left));
        }
        text
    }

    /// What has happened: `45 files (3 fetched now), 18.80 MB, 5,023 resources`; nothing where no plan was made.
    pub(crate) fn total(&self) -> Option<String> {
        let (done, fetched) = (self.done.load(Relaxed), self.fetched.load(Relaxed));
        let now = if fetched == done {
            String::new()
        } else {
            format!(" ({} fetched now)", indicatif::HumanCount(fetched))
        };
        (done > 0).then(|| {
            format!(
                "{}{now}, {}, {}",
                words::count(done, "file", "files"),
                words::bytes(self.staged.load(Relaxed)),
                words::count(self.resources.load(Relaxed), "resource", "resources")
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_time_left_follow_from_what_was_fetched() {
        let meter = Meter::default();
        meter.plan(4);
        assert_eq!(meter.now(), "0 of 4 files, 0 B");
        assert_eq!(meter.finish_file(false, 500, 1), 1);
        meter.start_file(Some(20_000_000));
        meter.receive(20_000_000);
        let now = || meter.after(Duration::from_secs(10));
        assert_eq!(now(), "1 of 4 files, 20.00 MB, 2.00 MB/s");
        meter.finish_file(true, 20_000_000, 6);
        assert_eq!(now(), "2 of 4 files, 20.00 MB, 2.00 MB/s, 20 s left");
        assert_eq!(
            meter.total().as_deref(),
            Some("2 files (1 fetched now), 20.00 MB, 7 resources")
        );
    }

    #[test]
    fn time_left_follows_from_the_bytes_once_every_file_has_begun() {
        let meter = Meter::default();
        meter.plan(3);
        meter.finish_file(false, 500, 1);
        meter.start_file(Some(10_000_000));
        meter.receive(1_000_000);
        let now = || meter.after(Duration::from_secs(1));
        assert_eq!(now(), "1 of 3 files, 1.00 MB, 1.00 MB/s");
        meter.start_file(Some(20_000_000));
        assert_eq!(now(), "1 of 3 files, 1.00 MB, 1.00 MB/s, 29 s left");
        meter.plan(1);
        meter.start_file(None);
        meter.receive(1_000_000);
        assert_eq!(now(), "0 of 1 file, 1.00 MB, 1.00 MB/s");
    }

    #[test]
    fn a_new_plan_begins_anew() {
        let meter = Meter::default();
        meter.receive(5);
        meter.finish_file(true, 5, 1);
        meter.plan(1);
        assert_eq!(meter.now(), "0 of 1 file, 0 B");
        assert_eq!(meter.total(), None);
    }
}
