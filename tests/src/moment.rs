//! Waiting for a moment in a run, by what the sandbox recorded of it: tests never sleep and hope.

use std::time::{Duration, Instant};

use sandbox::{Recorded, Sandbox};

/// How long is waited: a machine may have much else to do.
const PATIENCE: Duration = Duration::from_mins(3);

/// Waits until `holds` does; panics after a generous while, and says what it waited for.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let last = Instant::now() + PATIENCE;
    while Instant::now() < last {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it never came about that {what}");
}

/// Waits until so many recorded requests are `wanted`.
pub async fn until_asked(sandbox: &Sandbox, times: usize, wanted: impl Fn(&Recorded) -> bool) {
    let enough = || sandbox.requests().iter().filter(|it| wanted(it)).count() >= times;
    until(&format!("the request came {times} times"), enough).await;
}
