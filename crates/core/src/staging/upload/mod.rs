//! A source file on its way into staging: whole in one request, or in parts that go side by side, with a state on disk
//! that lets another process go on where this one stopped.
//!
//! The copier decides how large parts are, when the state is written and what is tried again. What it may rely on: nothing
//! is to be seen of the file before [`Upload::put`] or [`Upload::complete`]; and, where the place knows conditional writes,
//! one of several processes at the same file has staged it and all get that one's record, and no state takes the place of
//! a record that is true.

mod progress;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use uuid::Uuid;

use super::done::{PartState, Recorded};
use super::sums::{Algorithm, Sum};
use super::under_way::{Part, Position, UnderWay};
use super::{Backend, DoneRecord, FileState, Hint, PARTS, Staging, Version, folder, layout, s3};
use crate::error::{Kind, Result};

pub use self::progress::Saved;

/// A source file that is not yet there. Clones are the same file; parts may be sent by several tasks.
///
/// When the last clone is dropped and the file is neither complete nor given up, it stays for the next process where its
/// state was saved; otherwise what is stored of it is cleared away.
#[derive(Clone, Debug)]
pub struct Upload {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    staging: Staging,
    key: String,
    part_key: String,
    /// Tells our states from others'.
    writer: String,
    sink: Sink,
    parts: Mutex<BTreeMap<u32, Part>>,
    stored: tokio::sync::Mutex<Stored>,
    /// A state is stored that names this upload.
    kept: AtomicBool,
    /// What is stored does not add up to the file.
    spoilt: AtomicBool,
    /// Another process has staged the file.
    elsewhere: AtomicBool,
    /// Nothing is left to clear away.
    ended: AtomicBool,
    /// Dropped last: by then, what is to be cleared away is under way.
    _open: Open,
}

/// Counts an upload among those that [`Staging::settle`] waits for.
#[derive(Debug)]
pub(super) struct Open(Staging);

impl Open {
    pub(super) fn of(staging: &Staging) -> Self {
        staging.inner.uploads.send_modify(|open| *open += 1);
        Self(staging.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.inner.uploads.send_modify(|open| *open -= 1);
    }
}

/// Where the bytes of an object go.
#[derive(Debug)]
pub(super) enum Sink {
    Folder(folder::Parts),
    S3(Box<s3::Multipart>),
}

impl Sink {
    /// The place of an object of which nothing is there.
    pub(super) fn of(staging: &Staging, key: &str, content_type: &'static str) -> Self {
        match &staging.inner.backend {
            Backend::Folder(folder) => Self::Folder(folder.parts(key)),
            Backend::S3(store) => Self::S3(Box::new(store.multipart(key).of_type(content_type))),
        }
    }
}

/// What we know of the object below `_parts/`.
#[derive(Debug, Default)]
struct Stored {
    /// The state that is ours to replace.
    version: Option<Version>,
    /// Another process keeps its own state there.
    quiet: bool,
}

/// Whose record of a file stands.
enum Standing {
    /// Ours; the object that it is of is to take the place of one that was there before.
    Ours { over: bool },
    /// That of another process, or of another export.
    Theirs(DoneRecord),
}

/// A part that is stored for certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmed {
    /// Where it begins in the object.
    pub offset: u64,
    /// Its length in bytes.
    pub size: u64,
    /// Its sum, where anybody knows it.
    pub sum: Option<Sum>,
}

impl Staging {
    /// Begins a file. Nothing is asked of the place yet.
    #[must_use]
    pub fn upload(&self, key: &str, part_key: &str) -> Upload {
        Upload::new(self, key, part_key, Sink::of(self, key, layout::NDJSON))
    }
}

impl Upload {
    fn new(staging: &Staging, key: &str, part_key: &str, sink: Sink) -> Self {
        Self {
            inner: Arc::new(Inner {
                staging: staging.clone(),
                key: key.to_owned(),
                part_key: part_key.to_owned(),
                writer: Uuid::new_v4().simple().to_string(),
                sink,
                parts: Mutex::default(),
                stored: tokio::sync::Mutex::default(),
                kept: AtomicBool::new(false),
                spoilt: AtomicBool::new(false),
                elsewhere: AtomicBool::new(false),
                ended: AtomicBool::new(false),
                _open: Open::of(staging),
            }),
        }
    }

    /// What the sums of the file and its parts are to be computed with.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.inner.staging.algorithm()
    }

    /// Stages a whole file that no part was sent of, in one request where the place can carry its record beside it.
    ///
    /// Returns the record that stands: where another process has staged the file, its record. Can be called again after an
    /// error.
    pub async fn put(&self, body: Bytes, sum: Sum, done: DoneRecord) -> Result<DoneRecord> {
        let inner = &*self.inner;
        let done = done.of_one(&inner.key, sum);
        if let Sink::S3(upload) = &inner.sink
            && let Some(record) = done.carried_text()
        {
            let put = |replace| upload.put(body.clone(), sum, Some(&record), replace);
            if put(false).await? {
                return Ok(done);
            }
            let there = inner
                .staging
                .state(&inner.key, &inner.part_key, Hint::Unknown);
            if let FileState::Done(theirs) = there.await? {
                return Ok(self.found_elsewhere(theirs));
            }
            inner.staging.expect_readable(&inner.key).await?;
            // Whole, but of no use without a record that is true of it: one whole object takes another's place.
            put(true).await?;
            return Ok(done);
        }
        let over = match self.record(&done, None, None).await? {
            Standing::Ours { over } => over,
            Standing::Theirs(theirs) => return Ok(self.found_elsewhere(theirs)),
        };
        if let Sink::Folder(parts) = &inner.sink {
            parts.part(0, body.clone()).await?;
        }
        self.publish(&[], Some(&body), sum, done, over).await
    }

    /// Stores a part, from 1 to [`PARTS`]. Several may go side by side; the first begins the upload.
    ///
    /// `StagingUnavailable` also where the upload is gone: see [`Self::lost`].
    pub async fn part(&self, number: u32, offset: u64, body: Bytes, sum: Sum) -> Result<()> {
        if !(1..=PARTS).contains(&number) {
            return Err(Kind::StagingDenied
                .error(format!(
                    "{} would have a part number {number}, and S3 takes {PARTS}",
                    self.url()
                ))
                .next("Have the source split that file."));
        }
        let size = body.len() as u64;
        self.forget(number, offset, size);
        let begins = match &self.inner.sink {
            Sink::Folder(parts) => parts.begin().await?,
            Sink::S3(upload) => upload.begin().await?,
        };
        let send = async {
            match &self.inner.sink {
                Sink::Folder(parts) => parts.part(offset, body).await.map(|()| String::new()),
                Sink::S3(upload) => upload.part(number, body, sum).await,
            }
        };
        let etag = if begins {
            tokio::join!(send, self.note_begun()).0?
        } else {
            send.await?
        };
        let part = Part {
            number,
            offset,
            size,
            sum: Some(sum),
            etag,
        };
        self.parts().insert(number, part);
        Ok(())
    }

    /// Until it is stored again, nobody knows what a part holds that is being written; in a folder, parts of an earlier
    /// attempt may lie in its place under other numbers.
    fn forget(&self, number: u32, offset: u64, size: u64) {
        let mut parts = self.parts();
        parts.remove(&number);
        if let Sink::Folder(_) = &self.inner.sink {
            let end = offset + size;
            parts.retain(|_, part| part.offset >= end || part.offset + part.size <= offset);
        }
    }

    /// A part that is stored, by us or by a process before.
    #[must_use]
    pub fn confirmed(&self, number: u32) -> Option<Confirmed> {
        self.parts().get(&number).map(|part| Confirmed {
            offset: part.offset,
            size: part.size,
            sum: part.sum,
        })
    }

    /// Whether there is anything of it in the place: what another process began, even if it holds no part yet.
    #[must_use]
    pub fn begun(&self) -> bool {
        self.id().is_some()
    }

    /// What tells it from others once it is begun, and whether S3 was told of sums.
    fn id(&self) -> Option<(&str, bool)> {
        match &self.inner.sink {
            Sink::Folder(parts) => Some((parts.id()?, false)),
            Sink::S3(upload) => upload.id(),
        }
    }

    /// Whether the upload is gone or of no more use: then the file is to be begun anew.
    #[must_use]
    pub fn lost(&self) -> bool {
        self.inner.lost()
    }

    /// Makes the file appear, of the parts from 1 to those of `position` and no others, after its record; `sum` is of all of
    /// it. Call it after every check has passed. `position` and `part_limit` are for whoever has to complete it instead.
    ///
    /// Returns the record that stands: where another process has staged the file, its record. Can be called again after an
    /// error, unless the upload is [`Self::lost`] then.
    pub async fn complete(
        &self,
        sum: Sum,
        done: DoneRecord,
        position: &Position,
        part_limit: u64,
    ) -> Result<DoneRecord> {
        let inner = &*self.inner;
        let done = done.of_one(&inner.key, sum);
        let parts = self.whole(position.parts, sum)?;
        let mut stored = inner.stored.lock().await;
        let ours = stored.version.take().filter(|_| !stored.quiet);
        let under_way = self.under_way(position, part_limit);
        let over = match self.record(&done, under_way, ours).await? {
            Standing::Ours { over } => over,
            Standing::Theirs(theirs) => {
                self.end().await;
                return Ok(self.found_elsewhere(theirs));
            }
        };
        // The record has taken the state's place, and holds it.
        inner.kept.store(true, Ordering::Release);
        self.publish(&parts, None, sum, done, over).await
    }

    /// Writes the file's record below `_parts/`. An object that is there before any record of it may be of anything.
    async fn record(
        &self,
        done: &DoneRecord,
        under_way: Option<UnderWay>,
        ours: Option<Version>,
    ) -> Result<Standing> {
        let inner = &*self.inner;
        let before = inner.staging.head(&inner.key).await?;
        let carried = before
            .as_ref()
            .and_then(|head| DoneRecord::carried(&inner.key, head));
        if let Some(theirs) = carried {
            return Ok(Standing::Theirs(theirs));
        }
        let record = inner.staging.record(&inner.part_key, done, under_way, ours);
        Ok(match record.await? {
            Recorded::New => Standing::Ours {
                over: before.is_some(),
            },
            Recorded::Same => Standing::Ours { over: false },
            Recorded::Theirs(theirs) => Standing::Theirs(theirs),
        })
    }

    /// The parts of the whole file. What earlier processes have stored must add up to what was checked now.
    fn whole(&self, count: u32, sum: Sum) -> Result<Vec<Part>> {
        let parts: Vec<Part> = self
            .parts()
            .range(1..=count)
            .map(|(_, part)| part.clone())
            .collect();
        if parts.len() != count as usize {
            return Err(Kind::StagingUnavailable.error(format!(
                "{}: only {} of {count} parts are stored",
                self.url(),
                parts.len()
            )));
        }
        let mut length = 0;
        let contiguous = parts.iter().all(|part| {
            let follows = part.offset == length;
            length += part.size;
            follows
        });
        let sums: Option<Vec<Sum>> = parts.iter().map(|part| part.sum).collect();
        let joined = sums.map(|sums| sums.into_iter().fold(Sum::empty(sum.algorithm), Sum::and));
        if contiguous && length == sum.length && joined.is_none_or(|joined| joined == sum) {
            return Ok(parts);
        }
        self.inner.spoilt.store(true, Ordering::Release);
        Err(Kind::StagingUnavailable
            .error(format!(
                "{}: the parts that are stored are not what was checked",
                self.url()
            ))
            .next("Start again: the file is then sent from its beginning."))
    }

    /// Makes the object appear, whose record is below `_parts/` already; `over` one that was there before that.
    async fn publish(
        &self,
        parts: &[Part],
        body: Option<&Bytes>,
        sum: Sum,
        done: DoneRecord,
        over: bool,
    ) -> Result<DoneRecord> {
        let inner = &*self.inner;
        let publish = async |replace| match (&inner.sink, body) {
            (Sink::Folder(parts), _) => parts.complete(sum.length, replace).await,
            (Sink::S3(upload), Some(body)) => upload.put(body.clone(), sum, None, replace).await,
            (Sink::S3(upload), None) => upload.complete(parts, sum, replace).await,
        };
        if publish(over).await? {
            inner.ended.store(true, Ordering::Release);
            return Ok(done);
        }
        let head = inner.staging.expect_readable(&inner.key).await?;
        if let Some(theirs) = DoneRecord::carried(&inner.key, &head) {
            self.end().await;
            return Ok(self.found_elsewhere(theirs));
        }
        // It came after the record, which whoever brought it has found to be the same as his own.
        if head.size == sum.length {
            self.end().await;
            return Ok(self.found_elsewhere(done));
        }
        publish(true).await?;
        inner.ended.store(true, Ordering::Release);
        Ok(done)
    }

    /// The record that another process has left. An answer that was lost on its way makes one of our own look so.
    fn found_elsewhere(&self, record: DoneRecord) -> DoneRecord {
        self.inner.elsewhere.store(true, Ordering::Relaxed);
        record
    }

    /// Whether the record that [`Self::put`] or [`Self::complete`] gave is that of another process.
    #[must_use]
    pub fn was_elsewhere(&self) -> bool {
        self.inner.elsewhere.load(Ordering::Relaxed)
    }

    /// Gives the file up: what is stored of it, and a state of ours.
    pub async fn abort(&self) {
        self.end().await;
        let inner = &*self.inner;
        let mut stored = inner.stored.lock().await;
        if stored.quiet || !inner.kept.swap(false, Ordering::AcqRel) {
            return;
        }
        let Ok(Some(there)) = inner.staging.read(&inner.part_key).await else {
            return;
        };
        let (record, state) = PartState::of(&there).taken_apart();
        let is_ours = state.is_some_and(|state| {
            state.writer == inner.writer
                || (state.version.is_some() && state.version == stored.version)
        });
        let is_true = match record {
            Some(record) => inner.staging.all_there(&record).await.unwrap_or(true),
            None => false,
        };
        if is_ours && !is_true {
            let (key, version) = (inner.part_key.as_str(), &there.version);
            inner.staging.remove_still(key, version).await;
        }
        stored.version = None;
    }

    /// Clears away what is stored.
    async fn end(&self) {
        if self.inner.ended.swap(true, Ordering::AcqRel) {
            return;
        }
        match &self.inner.sink {
            Sink::Folder(parts) => parts.abort().await,
            Sink::S3(upload) => upload.give_up().await,
        }
    }

    fn parts(&self) -> MutexGuard<'_, BTreeMap<u32, Part>> {
        self.inner
            .parts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn url(&self) -> String {
        self.inner.staging.url(&self.inner.key)
    }
}

impl Inner {
    fn lost(&self) -> bool {
        let gone = match &self.sink {
            Sink::Folder(_) => false,
            Sink::S3(upload) => upload.lost(),
        };
        gone || self.spoilt.load(Ordering::Acquire)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.ended.load(Ordering::Acquire) {
            return;
        }
        let stays = self.kept.load(Ordering::Acquire) && !self.lost();
        match &self.sink {
            Sink::Folder(parts) => parts.leave(stays),
            Sink::S3(upload) if !stays => upload.abandon(),
            Sink::S3(_) => {}
        }
    }
}
