//! The audit log: what was asked of the source, when, and what came of it, in the format that Bulk Data clients share.
//!
//! It is made from [`crate::progress`] alone, so it says nothing that is not told elsewhere, and nothing that must not be
//! told: URLs are without their query's values, of an answer there are a few chosen headers, and no line holds a resource.
//! `line` knows the format. Where the lines go is a [`Sink`] of the caller's, and, where there is staging, the run's own
//! folder (`journal`), in which every process that works on the run adds what it did. The log never decides anything: what
//! cannot be written is a warning.

mod journal;
mod line;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use self::journal::Journal;
use crate::clock::Clock;
use crate::http::RequestId;
use crate::progress::{Event, Observer};
use crate::staging::Staging;

/// Who else is given each line, its end included. It is called from the tasks that do the work.
pub type Sink = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// What a file is to the export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Item {
    /// One of exported resources.
    Output,
    /// One of errors.
    Error,
    /// One of deletions.
    Deleted,
}

/// The log of the run that a process is at work on.
pub struct Audit {
    /// The name of the run's requests, which names the export here too.
    id: RequestId,
    sink: OnceLock<Sink>,
    clock: OnceLock<Clock>,
    /// Where the files that are under way were asked for.
    asked: Mutex<HashMap<(Item, usize), String>>,
    journal: Journal,
}

impl Audit {
    /// A log of nothing so far. `has_staging` says whether the run's folder will take it too.
    #[must_use]
    pub fn new(has_staging: bool) -> Self {
        Self {
            id: RequestId::default(),
            sink: OnceLock::new(),
            clock: OnceLock::new(),
            asked: Mutex::default(),
            journal: Journal::new(has_staging),
        }
    }

    /// Gives each line to `sink` too. The first that is set stays.
    pub fn also_to(&self, sink: Sink) {
        let _ = self.sink.set(sink);
    }

    /// Has each line tell the time by this clock, instead of the machine's. The first that is set stays.
    pub fn goes_by(&self, clock: Clock) {
        let _ = self.clock.set(clock);
    }

    /// The name of the run's requests.
    #[must_use]
    pub fn id(&self) -> &RequestId {
        &self.id
    }

    /// Begins with the work on a run whose requests have this name, as far as either is known. The run that the last call was
    /// of goes on under the same name, and what that call could not write is written yet.
    pub fn begin(&self, id: Option<&str>, run: Option<&str>) {
        if id.is_some() || run.is_none() || self.journal.run().as_deref() != run {
            self.id.set(id);
        }
        if self.journal.run().as_deref() != run {
            // What one run's files were asked for is not another's.
            self.asked().clear();
        }
        self.journal.begin(run);
    }

    /// Says which run it is, and under which name its requests go out. Where that is not known, and they have none yet, it is
    /// the run's own.
    pub fn of_run(&self, run: &str, id: Option<&str>) {
        if let Some(id) = id {
            self.id.set(Some(id));
        } else if self.id.get().is_none() {
            self.id.set(Some(run));
        }
        self.journal.of_run(run);
    }

    /// Writes down what is told of files of this kind, and all else.
    pub fn observer(self: &Arc<Self>, item: Item) -> Observer {
        let audit = Arc::clone(self);
        Arc::new(move |event| audit.take(item, &event))
    }

    /// Writes down what happened, if it belongs into the log.
    pub fn take(&self, item: Item, event: &Event) {
        match event {
            Event::FileAsked { index, url, .. } => {
                self.asked().insert((item, *index), url.clone());
            }
            Event::FileDone { index, fetched, .. } => {
                let url = self.asked().remove(&(item, *index));
                // One that was there before was written down by whoever fetched it.
                if *fetched && let Some(url) = url {
                    self.write(event, item, &url);
                }
                return;
            }
            // The frequent ones first go no further.
            Event::Bytes(_)
            | Event::Planned { .. }
            | Event::FileStarted { .. }
            | Event::Retrying { .. }
            | Event::Waiting { .. }
            | Event::SentAgain
            | Event::Arrived(_) => return,
            _ => {}
        }
        self.write(event, item, "");
    }

    fn write(&self, event: &Event, item: Item, url: &str) {
        let (id, sink) = (self.id.get().unwrap_or_default(), self.sink.get());
        let at = self.clock.get_or_init(Clock::default).moment();
        line::lines(event, item, url, |line| {
            self.journal
                .add(|text, run| line.add_to(text, &id, run, &at), sink);
        });
    }

    /// Does `work`, and meanwhile brings to the run's folder what there is a lot of.
    pub async fn beside<T>(&self, staging: &Staging, work: impl Future<Output = T>) -> T {
        self.journal.beside(staging, work).await
    }

    /// Brings to the run's folder what is not there yet. What cannot be written is a warning.
    pub async fn keep(&self, staging: &Staging) {
        self.journal.keep(staging).await;
    }

    /// Whether there is anything to bring to the run's folder.
    #[must_use]
    pub fn has_unwritten(&self) -> bool {
        self.journal.has_unwritten()
    }

    /// Takes what was written under another run's name along: the kick-off, of which it was not known yet that the source
    /// counts its jobs anew.
    pub async fn moved(&self, staging: &Staging, from: &str, to: &str) {
        if let Some(id) = self.id.get() {
            self.journal.take_along(staging, from, &id).await;
        }
        self.of_run(to, None);
    }

    fn asked(&self) -> std::sync::MutexGuard<'_, HashMap<(Item, usize), String>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
