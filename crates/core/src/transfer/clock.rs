//! How long parts, and files of one part, take to be stored: the time that has to be left before a deadline.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The clock of all parts of a transfer.
#[derive(Debug, Default)]
pub(super) struct PartClock {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When the parts in flight began, by a number of their own.
    in_flight: HashMap<u64, Instant>,
    begun: u64,
    stored: usize,
    slowest: Duration,
}

/// A part on its way. Dropped, it was not stored.
pub(super) struct OnItsWay<'a> {
    clock: &'a PartClock,
    number: u64,
}

impl PartClock {
    /// A part begins.
    pub(super) fn begin(&self) -> OnItsWay<'_> {
        let mut state = self.state();
        state.begun += 1;
        let number = state.begun;
        state.in_flight.insert(number, Instant::now());
        OnItsWay {
            clock: self,
            number,
        }
    }

    /// How many parts were stored.
    pub(super) fn stored(&self) -> usize {
        self.state().stored
    }

    /// The longest that a part took, those that are still on their way included.
    pub(super) fn slowest(&self) -> Duration {
        let state = self.state();
        let oldest = state.in_flight.values().map(Instant::elapsed).max();
        state.slowest.max(oldest.unwrap_or_default())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in it depends on anything else in it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OnItsWay<'_> {
    /// The part is stored.
    pub(super) fn stored(self) {
        let mut state = self.clock.state();
        if let Some(begun) = state.in_flight.get(&self.number).copied() {
            state.slowest = state.slowest.max(begun.elapsed());
        }
        state.stored += 1;
    }
}

impl Drop for OnItsWay<'_> {
    fn drop(&mut self) {
        self.clock.state().in_flight.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_is_still_on_its_way_counts_and_one_that_was_given_up_no_longer_does() {
        let clock = PartClock::default();
        assert_eq!((clock.stored(), clock.slowest()), (0, Duration::ZERO));
        let (quick, lost) = (clock.begin(), clock.begin());
        std::thread::sleep(Duration::from_millis(5));
        quick.stored();
        assert_eq!(clock.stored(), 1);
        let slowest = clock.slowest();
        assert!(slowest >= Duration::from_millis(5));
        std::thread::sleep(Duration::from_millis(5));
        assert!(clock.slowest() > slowest);
        drop(lost);
        assert!(clock.slowest() <= slowest);
        assert_eq!(clock.stored(), 1);
    }
}
