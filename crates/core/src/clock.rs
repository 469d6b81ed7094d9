//! Wall time: the moments that records, states and logs write down, and how long ago they were.
//!
//! Whoever makes a [`Context`](crate::steps::Context) may give it a clock of its own, and everything that the steps remember
//! goes by that. What a stranger checks (tokens, signatures, certificates) goes by the machine's, and so does every wait.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

/// Tells the time; the machine's, where nobody says otherwise. Clones are cheap.
#[derive(Clone, Default)]
pub struct Clock(Option<Arc<dyn Fn() -> Timestamp + Send + Sync>>);

impl Clock {
    /// A clock that tells what this does.
    #[must_use]
    pub fn told_by(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(now)))
    }

    /// This moment.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.0.as_ref().map_or_else(Timestamp::now, |now| now())
    }

    /// This moment, as the records write it.
    #[must_use]
    pub fn moment(&self) -> String {
        moment(self.now())
    }

    /// How long ago a moment was that a record names; `None` for one that is none, or is yet to come.
    #[must_use]
    pub fn since(&self, moment: &str) -> Option<Duration> {
        let moment: Timestamp = moment.parse().ok()?;
        Duration::try_from(self.now().duration_since(moment)).ok()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = if self.0.is_some() {
            "given"
        } else {
            "machine's"
        };
        f.debug_tuple("Clock").field(&whose).finish()
    }
}

/// A moment as the records write it: in a fixed width, so that moments compare as texts do.
#[must_use]
pub fn moment(at: Timestamp) -> String {
    format!("{at:.6}")
}
