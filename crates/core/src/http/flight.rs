//! One value that many tasks want and one of them fetches, while the others wait for it: discovery, and the token.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

use crate::error::{Error, Result};

/// The value, the lock that its fetcher holds, and how many fetches have ended.
#[derive(Debug)]
pub(crate) struct Flight<T, E = Error> {
    held: Mutex<Held<T, E>>,
    ended: AtomicU64,
}

#[derive(Debug)]
struct Held<T, E> {
    value: Option<T>,
    /// The last fetch's error, and its number.
    failed: Option<(u64, E)>,
}

impl<T: Clone, E: Clone> Flight<T, E> {
    pub(crate) fn new() -> Self {
        Self {
            held: Mutex::new(Held {
                value: None,
                failed: None,
            }),
            ended: AtomicU64::new(0),
        }
    }

    /// The value if it is `usable`, else the one that `fetch` gets.
    ///
    /// Whoever waited while another task's fetch failed gets that failure: thirty waiters for a server that hangs fail
    /// together, not each after its own timeout. Whoever comes later tries anew.
    pub(crate) async fn get(
        &self,
        usable: impl Fn(&T) -> bool,
        fetch: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let came = self.ended.load(Ordering::Acquire);
        let mut held = self.held.lock().await;
        if let Some(value) = held.value.as_ref().filter(|value| usable(value)) {
            return Ok(value.clone());
        }
        if let Some((number, error)) = &held.failed
            && *number > came
        {
            return Err(error.clone());
        }
        let result = fetch.await;
        let number = self.ended.fetch_add(1, Ordering::AcqRel) + 1;
        match &result {
            Ok(value) => {
                *held = Held {
                    value: Some(value.clone()),
                    failed: None,
                }
            }
            Err(error) => held.failed = Some((number, error.clone())),
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use futures_util::future::join_all;

    use super::*;
    use crate::error::Kind;

    #[tokio::test]
    async fn many_who_want_the_same_value_fetch_it_once_and_fail_together() {
        let flight = Flight::<u32>::new();
        let fetches = AtomicUsize::new(0);
        let fetch = |answer: Result<u32>| {
            let fetches = &fetches;
            async move {
                fetches.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(20)).await;
                answer
            }
        };
        let failures = join_all(
            (0..8)
                .map(|_| flight.get(|_| true, fetch(Err(Kind::SourceUnavailable.error("hangs"))))),
        )
        .await;
        assert!(failures.iter().all(Result::is_err));
        assert_eq!(fetches.load(Ordering::SeqCst), 1);
        let values = join_all((0..8).map(|_| flight.get(|_| true, fetch(Ok(7))))).await;
        assert!(values.iter().all(|value| *value == Ok(7)));
        assert_eq!(fetches.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_fetcher_that_is_dropped_leaves_the_way_free() {
        let flight = Flight::<u32>::new();
        let hang = flight.get(|_| true, std::future::pending());
        assert!(
            tokio::time::timeout(Duration::from_millis(10), hang)
                .await
                .is_err()
        );
        assert_eq!(flight.get(|_| true, async { Ok(1) }).await, Ok(1));
    }
}
