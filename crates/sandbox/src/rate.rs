//! A limit on bytes a second, shared by everything that passes under it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How many bytes may pass a second.
#[derive(Debug)]
pub(crate) struct Rate {
    per_second: u64,
    /// When what was let through so far will have passed.
    free: Mutex<Instant>,
}

impl Rate {
    /// A limit of so many bytes a second; 0 counts as 1.
    pub(crate) fn new(per_second: u64) -> Self {
        Self {
            per_second: per_second.max(1),
            free: Mutex::new(Instant::now()),
        }
    }

    pub(crate) fn per_second(&self) -> u64 {
        self.per_second
    }

    /// The largest piece that should pass at once: a twentieth of a second's.
    pub(crate) fn piece(&self) -> usize {
        usize::try_from(self.per_second / 20).map_or(usize::MAX, |bytes| bytes.max(1))
    }

    /// Waits until so many bytes have had their time.
    pub(crate) async fn pass(&self, bytes: usize) {
        let nanoseconds = bytes as u128 * 1_000_000_000 / u128::from(self.per_second);
        let takes = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        let until = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            *free = (*free).max(Instant::now()) + takes;
            *free
        };
        tokio::time::sleep_until(until).await;
    }
}
