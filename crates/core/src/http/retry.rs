//! How long to wait before the next attempt: exponential, with full jitter, bounded, and never sooner than the server
//! asks.
//!
//! It only counts and computes; its caller sleeps, knows its deadline, and decides what is worth another attempt.

use std::time::Duration;

/// The waits between the attempts at one thing.
///
/// The n-th wait is drawn evenly from zero up to `first * 2^n`, at most `cap`: attempts that failed together do not come
/// back together. A Retry-After comes on top of that, bounded by `RETRY_AFTER_MAX`.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    retry_after_max: Duration,
    retries: u32,
    done: u32,
}

impl Backoff {
    /// Waits from `first` up to `cap`, for `retries` attempts after the first one; 0 means none.
    #[must_use]
    pub fn new(first: Duration, cap: Duration, retries: u32) -> Self {
        Self {
            first,
            cap,
            retry_after_max: Duration::from_hours(6),
            retries,
            done: 0,
        }
    }

    /// Bounds what a server may ask for; 21,600 s without this.
    #[must_use]
    pub fn retry_after_max(mut self, most: Duration) -> Self {
        self.retry_after_max = most;
        self
    }

    /// How long to wait before the next attempt, or `None` when there is none left.
    pub fn next(&mut self, retry_after: Option<Duration>) -> Option<Duration> {
        self.next_at(retry_after, rand::random_range(0.0..=1.0))
    }

    /// How many waits were given since the beginning or the last [`Backoff::reset`].
    #[must_use]
    pub fn done(&self) -> u32 {
        self.done
    }

    /// Begins anew after progress: a file of which each attempt brings a part is not given up.
    pub fn reset(&mut self) {
        self.done = 0;
    }

    fn next_at(&mut self, retry_after: Option<Duration>, jitter: f64) -> Option<Duration> {
        if self.done >= self.retries {
            return None;
        }
        let most = self
            .first
            .saturating_mul(2u32.saturating_pow(self.done))
            .min(self.cap);
        self.done += 1;
        let asked = retry_after.unwrap_or_default().min(self.retry_after_max);
        Some(asked.saturating_add(most.mul_f64(jitter)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn waits_double_up_to_their_cap_and_then_end() {
        let mut backoff = Backoff::new(SECOND, 5 * SECOND, 4);
        let waits: Vec<_> = std::iter::from_fn(|| backoff.next_at(None, 1.0))
            .map(|wait| wait.as_secs())
            .collect();
        assert_eq!(waits, [1, 2, 4, 5]);
        assert_eq!(backoff.next(None), None);
        backoff.reset();
        assert_eq!(backoff.next_at(None, 0.5), Some(SECOND / 2));
        assert_eq!(Backoff::new(SECOND, SECOND, 0).next(None), None);
    }

    #[test]
    fn a_retry_after_is_respected_within_its_bound() {
        let mut backoff = Backoff::new(SECOND, SECOND, u32::MAX).retry_after_max(60 * SECOND);
        assert!(backoff.next(Some(30 * SECOND)).unwrap() >= 30 * SECOND);
        assert!(backoff.next(Some(Duration::MAX)).unwrap() <= 61 * SECOND);
        backoff.done = u32::MAX - 1;
        assert!(backoff.next(None).unwrap() <= SECOND);
    }

    #[test]
    fn jitter_is_drawn_anew_for_every_wait() {
        let mut backoff = Backoff::new(SECOND, SECOND, 20);
        let waits: std::collections::HashSet<_> =
            std::iter::from_fn(|| backoff.next(None)).collect();
        assert!(waits.len() > 10);
    }
}
