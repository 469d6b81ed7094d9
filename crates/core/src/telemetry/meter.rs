//! What one call of a step came to, counted from what is told while it works: there is no other bookkeeping.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::progress::Event;

/// Counts for one call after the other.
#[derive(Debug, Default)]
pub(crate) struct Meter(Mutex<Counts>);

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Counts {
    /// What a transfer moved, where there was one.
    pub(crate) moved: Option<Moved>,
    /// The resources by type of a run of which this call was the first to find all staged.
    pub(crate) resources: BTreeMap<String, u64>,
    /// Whether the target imported a run.
    pub(crate) imported: bool,
    /// Whether a run arrived that does not count as complete.
    pub(crate) held: bool,
    /// Whether a run was imported that is not proved by counting.
    pub(crate) unverified: bool,
    /// How old that is which the target has now. Of a run that is held, nothing: the target lacks something of then.
    pub(crate) freshness: Option<Duration>,
}

/// What a transfer moved in one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moved {
    /// The files that were fetched to their ends.
    pub(crate) files: u64,
    /// The bytes that came from the source, decoded, those of files under way and those that came twice included.
    pub(crate) bytes: u64,
    /// The requests that were sent again, because one failed or a server asked for patience.
    pub(crate) retries: u64,
}

impl Meter {
    /// Counts what happened.
    pub(crate) fn count(&self, event: &Event) {
        self.counts().count(event);
    }

    /// What was counted since this was called last.
    pub(crate) fn take(&self) -> Counts {
        std::mem::take(&mut *self.counts())
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn count(&mut self, event: &Event) {
        if event.is_retry() {
            self.moved().retries += 1;
        }
        match event {
            Event::Planned { .. } => {
                self.moved();
            }
            Event::Bytes(bytes) => self.moved().bytes += bytes,
            Event::FileDone { fetched, .. } => self.moved().files += u64::from(*fetched),
            Event::TransferComplete(total) if !total.again => {
                self.resources.clone_from(&total.resources);
            }
            Event::Arrived(arrival) => {
                self.imported |= arrival.imported;
                self.held |= arrival.held;
                self.unverified |= arrival.unverified;
                let in_step = arrival.in_step.as_deref().filter(|_| !arrival.held);
                self.freshness = in_step.and_then(|at| Clock::default().since(at));
            }
            Event::TransferComplete(_)
            | Event::SentAgain
            | Event::Retrying { .. }
            | Event::Waiting { .. }
            | Event::KickedOff(_)
            | Event::ExportGoesOn { .. }
            | Event::StatusFailed(_)
            | Event::ExportComplete(_)
            | Event::FileAsked { .. }
            | Event::FileFailed { .. }
            | Event::FileStarted { .. }
            | Event::Ahead { .. } => {}
        }
    }

    fn moved(&mut self) -> &mut Moved {
        self.moved.get_or_insert_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::{Arrival, Total};

    #[test]
    fn a_call_counts_what_it_fetched_and_the_next_begins_at_nothing() {
        let meter = Meter::default();
        let tell = |event| meter.count(&event);
        assert_eq!(meter.take(), Counts::default());
        tell(Event::Planned {
            files: 3,
            bytes: None,
        });
        for (fetched, came) in [(true, 7), (false, 0), (true, 5)] {
            tell(Event::Bytes(came));
            tell(Event::FileDone {
                index: 0,
                fetched,
                bytes: 9,
                resources: 1,
            });
        }
        let (what, why) = (String::new(), String::new());
        let wait = Duration::ZERO;
        tell(Event::Retrying {
            what: what.clone(),
            wait,
            why: why.clone(),
        });
        tell(Event::Waiting { what, wait, why });
        // Two were planned, and there was time for one.
        tell(Event::SentAgain);
        let moved = Moved {
            files: 2,
            bytes: 12,
            retries: 1,
        };
        assert_eq!(meter.take().moved, Some(moved));
        assert_eq!(meter.take(), Counts::default());
    }

    #[test]
    fn resources_are_counted_once_a_run_and_an_arrival_tells_how_fresh_it_is() {
        let meter = Meter::default();
        let tell = |event| meter.count(&event);
        let total = |again| Total {
            resources: BTreeMap::from([("Patient".to_owned(), 3)]),
            again,
            ..Total::default()
        };
        tell(Event::TransferComplete(total(true)));
        assert!(meter.take().resources.is_empty());
        tell(Event::TransferComplete(total(false)));
        assert_eq!(meter.take().resources, total(false).resources);
        let hour_ago = jiff::Timestamp::now() - Duration::from_hours(1);
        let arrived = |held| {
            Event::Arrived(Arrival {
                imported: true,
                in_step: Some(crate::clock::moment(hour_ago)),
                held,
                unverified: held,
            })
        };
        tell(arrived(true));
        let counts = meter.take();
        assert!(counts.imported && counts.held && counts.unverified);
        assert_eq!(counts.freshness, None, "the target lacks something");
        tell(arrived(false));
        let counts = meter.take();
        assert!(counts.imported && !counts.held && !counts.unverified);
        let seconds = counts.freshness.unwrap().as_secs();
        assert!((3600..3660).contains(&seconds), "{seconds}");
    }
}
