//! What is known of one source file: nothing, under way, or done. And what of all of them a listing tells at once.

use bytes::Bytes;

use super::done::{PartState, Recorded};
use super::sums::Sum;
use super::under_way::UnderWay;
use super::{Backend, DoneRecord, Head, Staging, patiently};
use crate::error::Result;

/// An object of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its key.
    pub key: String,
    /// Its length in bytes.
    pub size: u64,
}

/// How far a source file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileState {
    /// Nothing of it is of use.
    Absent,
    /// Another process has begun it; see [`Staging::resume`].
    UnderWay(UnderWay),
    /// It is staged.
    Done(DoneRecord),
}

/// What a listing has told of a source file already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// Nothing.
    Unknown,
    /// What there is, and nothing else is.
    Listed {
        /// The length of the object under the file's own key.
        object: Option<u64>,
        /// Whether there is a record below `_parts/`.
        record: bool,
    },
}

impl Staging {
    /// All objects whose keys begin with `prefix`, in no order of note; `None` where listing is not allowed or not known.
    pub async fn list(&self, prefix: &str) -> Result<Option<Vec<Listed>>> {
        match &self.inner.backend {
            Backend::Folder(folder) => folder.list(prefix).await.map(Some),
            Backend::S3(store) => patiently(|| store.list(prefix)).await,
        }
    }

    /// How far a source file is. `file_key` is where its one object would be, `part_key` its place below `_parts/`.
    ///
    /// With a listing, a file that is absent costs no request, and one that is done a single one.
    pub async fn state(&self, file_key: &str, part_key: &str, hint: Hint) -> Result<FileState> {
        let (mut object, record) = match hint {
            Hint::Unknown => (Known::No, true),
            Hint::Listed { object, record } => (Known::Size(object), record),
        };
        // In a folder no object carries its record, and on S3 what is not there carries none.
        let mut looked = !self.has_metadata() || object == Known::Size(None);
        // Where there is no record, or nobody knows, the object is asked first: a small one carries its own.
        if !looked && (object == Known::No || !record) {
            let head = self.head(file_key).await?;
            if let Some(done) = carried(file_key, head.as_ref()) {
                return Ok(FileState::Done(done));
            }
            object = Known::Size(head.map(|head| head.size));
            looked = true;
        }
        if !record {
            return Ok(FileState::Absent);
        }
        let written = self.read(part_key).await?;
        let written = written.as_ref().map_or(PartState::Other, PartState::of);
        let (done, under_way) = written.taken_apart();
        if let Some(done) = done
            && self.is_true(&done, file_key, object).await?
        {
            return Ok(FileState::Done(done));
        }
        if !looked {
            let head = self.head(file_key).await?;
            if let Some(done) = carried(file_key, head.as_ref()) {
                return Ok(FileState::Done(done));
            }
        }
        Ok(under_way.map_or(FileState::Absent, FileState::UnderWay))
    }

    /// The record of a file of several types, where it is done: it has no object of its own.
    pub async fn recorded_pieces(&self, part_key: &str, hint: Hint) -> Result<Option<DoneRecord>> {
        if matches!(hint, Hint::Listed { record: false, .. }) {
            return Ok(None);
        }
        let written = self.read(part_key).await?;
        let written = written.as_ref().map_or(PartState::Other, PartState::of);
        let Some(done) = written.taken_apart().0 else {
            return Ok(None);
        };
        Ok(self.all_there(&done).await?.then_some(done))
    }

    /// Stores one of the objects that a file of several types becomes, in the place of one of an earlier attempt.
    pub async fn put_piece(&self, key: &str, body: Bytes, sum: Sum) -> Result<()> {
        match &self.inner.backend {
            Backend::Folder(folder) => {
                let parts = folder.parts(key);
                parts.part(0, body).await?;
                parts.complete(sum.length, true).await.map(drop)
            }
            Backend::S3(store) => store
                .multipart(key)
                .put(body, sum, None, true)
                .await
                .map(drop),
        }
    }

    /// Writes the record of a file of several types, whose objects are there. Returns the record that stands.
    pub async fn record_pieces(&self, part_key: &str, done: DoneRecord) -> Result<DoneRecord> {
        match self.record(part_key, &done, None, None).await? {
            Recorded::New | Recorded::Same => Ok(done),
            Recorded::Theirs(theirs) => Ok(theirs),
        }
    }

    /// Whether every object that a record names is there. `known` is of the one under the file's own key.
    async fn is_true(&self, done: &DoneRecord, file_key: &str, known: Known) -> Result<bool> {
        for object in &done.objects {
            let size = match known {
                // What was not there may have come since, with the record.
                Known::Size(Some(size)) if object.key == file_key => Some(size),
                _ => self.head(&object.key).await?.map(|head| head.size),
            };
            if size != Some(object.size) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// What is known of an object's size without asking.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    /// Nothing.
    No,
    /// This; `None` where there is no object.
    Size(Option<u64>),
}

fn carried(key: &str, head: Option<&Head>) -> Option<DoneRecord> {
    DoneRecord::carried(key, head?)
}
