//! The time that source and target tell: when a resource was changed, an export or an import began, and a file is gone.
//! What lives for a while only (tokens, assertions, signatures) goes by the machine's own.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

/// The machine's clock, and ahead of it by as much as a test has let it go on: nights pass without any wait. A handle: clones
/// share it.
#[derive(Debug, Clone, Default)]
pub struct Clock(Arc<Mutex<Hands>>);

#[derive(Debug, Default)]
struct Hands {
    ahead: Duration,
    /// The last time that was told as the only one of its kind, in milliseconds.
    last: i64,
}

impl Clock {
    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.hands().now()
    }

    /// The same, as HTTP's dates want it.
    pub(crate) fn system_time(&self) -> SystemTime {
        let since_1970 = Duration::try_from(self.now().as_duration());
        SystemTime::UNIX_EPOCH + since_1970.unwrap_or_default()
    }

    /// Lets time pass at once.
    pub fn advance(&self, by: Duration) {
        self.hands().ahead += by;
    }

    /// The time now in whole milliseconds, later than every time told so before: "after" is never in doubt.
    pub(crate) fn tick(&self) -> Timestamp {
        let mut hands = self.hands();
        hands.last = hands.now().as_millisecond().max(hands.last + 1);
        Timestamp::from_millisecond(hands.last).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    fn hands(&self) -> MutexGuard<'_, Hands> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hands {
    fn now(&self) -> Timestamp {
        Timestamp::now()
            .checked_add(self.ahead)
            .unwrap_or(Timestamp::MAX)
    }
}
