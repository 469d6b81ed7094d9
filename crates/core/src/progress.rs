//! What an export and its transfer tell while they go on, for bars, logs, metrics, the audit log and tests alike.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::answered::Answered;
use crate::error::Error;
pub use crate::software::Software;

/// Something that happened. URLs in it are without their query's values.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The source was asked for an export.
    KickedOff(Arc<KickOff>),
    /// The source says that the export goes on.
    ExportGoesOn {
        /// `X-Progress`, where there was one.
        progress: Option<String>,
        /// When the source wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// The export's status could not be had, or is that it failed.
    StatusFailed(Error),
    /// The export is complete, and this is its manifest, page by page.
    ExportComplete(Vec<Page>),
    /// A file is asked for. Told for each attempt.
    FileAsked {
        /// Its index in the manifest.
        index: usize,
        /// The type of its resources; empty where it holds several.
        resource_type: String,
        /// Where.
        url: String,
    },
    /// An attempt at a file failed.
    FileFailed {
        /// Its index in the manifest.
        index: usize,
        /// Where it was asked for.
        url: String,
        /// What happened.
        error: Error,
    },
    /// All files are staged.
    TransferComplete(Total),
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
    /// A request is sent again: what was told to be tried again now is.
    SentAgain,
    /// The target has all that a run brought.
    Arrived(Arrival),
}

/// How a run came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Whether the target imported anything; otherwise there was nothing to import.
    pub imported: bool,
    /// Up to when the target has all that the source had, where that is known.
    pub in_step: Option<String>,
    /// Whether the import is not proved by counting.
    pub unverified: bool,
    /// Whether the run is held: the source reported errors of the export, and so it does not count as complete.
    pub held: bool,
}

impl Event {
    /// Whether a request is sent again, because one failed or a server asked for patience: not that it is going to be.
    #[must_use]
    pub fn is_retry(&self) -> bool {
        matches!(self, Self::SentAgain)
    }
}

/// A kick-off and what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct KickOff {
    /// Where the source was asked, without a query.
    pub url: String,
    /// What it was asked for: what may be written down of it.
    pub parameters: BTreeMap<String, String>,
    /// What the source says that it is.
    pub software: Software,
    /// How it answered, where it accepted, or what happened.
    pub outcome: Result<Answered, Error>,
}

/// What a page of a manifest names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The server's time of the export.
    pub transaction_time: String,
    /// How many exported files.
    pub outputs: usize,
    /// How many files of deletions.
    pub deleted: usize,
    /// How many files of errors.
    pub errors: usize,
}

/// What a transfer came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// How many files there are.
    pub files: usize,
    /// Their resources, by type.
    pub resources: BTreeMap<String, u64>,
    /// Their bytes in staging.
    pub bytes: u64,
    /// Whether an earlier call found all of this run staged.
    pub again: bool,
    /// How long it is since the kick-off, or where nobody knows of one, since this call began.
    pub took: Duration,
}

/// Who is told. It is called from the tasks that do the work, so it must be quick.
pub type Observer = Arc<dyn Fn(Event) + Send + Sync>;

/// Tells nobody.
#[must_use]
pub fn nobody() -> Observer {
    Arc::new(|_| {})
}
