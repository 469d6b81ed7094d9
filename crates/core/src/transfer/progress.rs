//! What a transfer tells while it works, for bars, logs, metrics and tests alike.

use std::sync::Arc;
use std::time::Duration;

/// Something that happened in a transfer.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The plan is made.
    Planned {
        /// How many files there are.
        files: usize,
        /// Their bytes, where the manifest tells the size of all.
        bytes: Option<u64>,
    },
    /// A file begins to come, from its beginning or from where an earlier call stopped. Told once for each file.
    FileStarted {
        /// Its index in the manifest.
        index: usize,
        /// Its length in bytes, where it is known.
        length: Option<u64>,
        /// Where it begins: 0, or how many of its bytes need not come again.
        offset: u64,
    },
    /// So many more bytes came from the source, decoded.
    Bytes(u64),
    /// A file is staged.
    FileDone {
        /// Its index in the manifest.
        index: usize,
        /// Whether it was fetched now; otherwise it had been staged before.
        fetched: bool,
        /// Its staged bytes.
        bytes: u64,
        /// Its resources.
        resources: u64,
    },
    /// Files are staged that a manifest names which is not complete yet.
    Ahead {
        /// How many.
        files: usize,
        /// Their bytes.
        bytes: u64,
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
    /// A server asked to be left alone for a while.
    Waiting {
        /// Which request, with its URL less the query's values.
        what: String,
        /// For how long.
        wait: Duration,
        /// What it said.
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
