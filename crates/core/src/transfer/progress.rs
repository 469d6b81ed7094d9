//! What a transfer tells while it works, for bars, logs and tests alike.

use std::sync::Arc;
use std::time::Duration;

/// Something that happened in a transfer.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The plan is made.
    Planned {
        /// How many files there are.
        files: usize,
    },
    /// A file is being fetched.
    FileStarted {
        /// Its index in the manifest.
        index: usize,
    },
    /// So many more bytes came from the source.
    Bytes(u64),
    /// A file is staged.
    FileDone {
        /// Its index in the manifest.
        index: usize,
        /// Whether it was fetched now; otherwise an earlier call had staged it.
        fetched: bool,
        /// Its staged bytes.
        bytes: u64,
        /// Its resources.
        resources: u64,
    },
    /// A request failed and will be sent again.
    Retrying {
        /// Which, with its URL less the query's values.
        what: String,
        /// After how long.
        wait: Duration,
        /// What happened.
        why: String,
    },
}

/// Who is told. It is called from the tasks that do the work, so it must be quick.
pub type Observer = Arc<dyn Fn(Event) + Send + Sync>;

/// Tells nobody.
#[must_use]
pub fn nobody() -> Observer {
    Arc::new(|_| {})
}
