//! Cases that are tried side by side.

use std::fmt::Debug;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Tries every case, `at_once` of them side by side, and fails where one fails; all of them are tried.
pub async fn side_by_side<C, F>(
    at_once: usize,
    cases: impl IntoIterator<Item = C>,
    prove: impl Fn(C) -> F,
) where
    C: Debug,
    F: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(at_once));
    let mut running = JoinSet::new();
    let mut failed = Vec::new();
    let mut names = Vec::new();
    for case in cases {
        let name = format!("{case:?}");
        let (places, work) = (Arc::clone(&places), prove(case));
        let task = running.spawn(async move {
            let _place = places.acquire_owned().await;
            work.await;
        });
        names.push((task.id(), name));
    }
    while let Some(done) = running.join_next_with_id().await {
        if let Err(error) = done {
            let name = names.iter().find(|(id, _)| *id == error.id());
            failed.push(name.map(|(_, name)| name.clone()).unwrap_or_default());
        }
    }
    assert!(failed.is_empty(), "cases that failed: {failed:#?}");
}
