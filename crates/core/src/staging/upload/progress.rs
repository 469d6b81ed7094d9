//! How far an upload is, written down for another process to go on with; and that process's look at what is left.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use super::{Sink, Stored, Upload};
use crate::error::{Kind, Result};
use crate::staging::done::PartState;
use crate::staging::state::jitter;
use crate::staging::under_way::{Part, Position, UnderWay};
use crate::staging::{Backend, Created, DoneRecord, Replaced, Staging, Version, layout, s3};

/// How often a state is written against others before that is given up.
const ATTEMPTS: u32 = 12;

/// What became of [`Upload::save`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Saved {
    /// The next process goes on with our upload, or there is none to go on with.
    Ours,
    /// Another process has staged the file; this is its record.
    Done(DoneRecord),
    /// Another process keeps its state there, and we write none any more, but look whether it has staged the file.
    Theirs,
}

impl Staging {
    /// Goes on with a file that another process has begun, after a look at what is left of it. `None` where it is gone, is
    /// another process's, or was begun with another checksum: then it is begun anew.
    pub async fn resume(
        &self,
        key: &str,
        part_key: &str,
        state: UnderWay,
    ) -> Result<Option<Upload>> {
        let (sink, parts) = match &self.inner.backend {
            Backend::Folder(folder) => {
                let Some(sink) = folder.parts_left(key, &state.upload).await? else {
                    return Ok(None);
                };
                if state.algorithm != self.algorithm() {
                    sink.abort().await;
                    return Ok(None);
                }
                let named = state.parts.len();
                let parts = sink.whole(state.parts).await?;
                if parts.len() < named {
                    tracing::warn!(
                        file = self.url(key),
                        parts = named,
                        whole = parts.len(),
                        "what is there of a file is not what was written down of it; it is fetched anew from there on"
                    );
                }
                (Sink::Folder(sink), parts)
            }
            Backend::S3(store) => {
                let upload = store.multipart_of(key, &state.upload, state.told);
                if state.algorithm != self.algorithm() || (state.told && !store.tells()) {
                    upload.give_up().await;
                    return Ok(None);
                }
                let parts = match upload.look(state.algorithm).await? {
                    s3::Found::Parts(found) => merged(state.parts, found),
                    s3::Found::Unsaid => state.parts,
                    s3::Found::Gone => return Ok(None),
                };
                (Sink::S3(Box::new(upload)), parts)
            }
        };
        let upload = Upload::new(self, key, part_key, sink);
        upload
            .parts()
            .extend(parts.into_iter().map(|part| (part.number, part)));
        upload.inner.stored.lock().await.version = state.version;
        upload.inner.kept.store(true, Ordering::Release);
        Ok(Some(upload))
    }
}

impl Upload {
    /// Writes down what is stored and from where to go on, so that another process can do so.
    ///
    /// What is stored of a folder's file is on the disk before that. Of an upload that is not begun, or is lost, there is
    /// nothing to write.
    pub async fn save(&self, position: &Position, part_limit: u64) -> Result<Saved> {
        let inner = &*self.inner;
        let mut stored = inner.stored.lock().await;
        if stored.quiet {
            return self.look_at_theirs().await;
        }
        let Some(state) = self
            .under_way(position, part_limit)
            .filter(|_| !self.lost())
        else {
            return Ok(Saved::Ours);
        };
        if let Sink::Folder(parts) = &inner.sink {
            parts.sync().await?;
        }
        let id = state.upload.clone();
        let (staging, part_key) = (&inner.staging, inner.part_key.as_str());
        let bytes = PartState::UnderWay(state).bytes(&staging.url(part_key))?;
        if let Some(version) = &stored.version
            && let Replaced::Done(version) =
                staging.replace(part_key, bytes.clone(), version).await?
        {
            return Ok(self.saved(&mut stored, version));
        }
        for attempt in 0..ATTEMPTS {
            let there = match staging
                .create(part_key, bytes.clone(), layout::JSON)
                .await?
            {
                Created::New(version) => return Ok(self.saved(&mut stored, version)),
                Created::Exists(there) if there.bytes == bytes => {
                    return Ok(self.saved(&mut stored, there.version));
                }
                Created::Exists(there) => there,
            };
            let (record, theirs) = PartState::of(&there).taken_apart();
            if let Some(theirs) = theirs.filter(|theirs| theirs.writer != inner.writer)
                && self.alive(&theirs, &id).await?
            {
                stored.quiet = true;
                inner.kept.store(theirs.upload == id, Ordering::Release);
                return self.look_at_theirs().await;
            }
            // Asked after that: what ended their upload may have been that it is complete.
            if let Some(record) = record
                && staging.all_there(&record).await?
            {
                return Ok(Saved::Done(record));
            }
            let replaced = staging.replace(part_key, bytes.clone(), &there.version);
            match replaced.await? {
                Replaced::Done(version) => return Ok(self.saved(&mut stored, version)),
                Replaced::Conflict => tokio::time::sleep(jitter(attempt)).await,
            }
        }
        Err(Kind::StagingUnavailable.error(format!(
            "{} was changed by others {ATTEMPTS} times while it was being written here",
            staging.url(part_key)
        )))
    }

    /// What has become of the file in the hands of the process that keeps its state.
    async fn look_at_theirs(&self) -> Result<Saved> {
        let inner = &*self.inner;
        let there = inner.staging.read(&inner.part_key).await?;
        let record = there.and_then(|there| PartState::of(&there).taken_apart().0);
        match record {
            Some(record) if inner.staging.all_there(&record).await? => Ok(Saved::Done(record)),
            _ => Ok(Saved::Theirs),
        }
    }

    /// Writes down that there is an upload, before anything is in it: what a process that dies now leaves would be nobody's.
    pub(super) async fn note_begun(&self) {
        if let Err(error) = self.save(&Position::default(), 0).await {
            tracing::debug!(
                key = self.inner.key,
                error = error.what(),
                "an upload that was begun is not written down"
            );
        }
    }

    fn saved(&self, stored: &mut Stored, version: Version) -> Saved {
        stored.version = Some(version);
        self.inner.kept.store(true, Ordering::Release);
        Saved::Ours
    }

    pub(super) fn under_way(&self, position: &Position, part_limit: u64) -> Option<UnderWay> {
        let (upload, told) = self.id()?;
        Some(UnderWay {
            upload: upload.to_owned(),
            algorithm: self.inner.staging.algorithm(),
            told,
            writer: self.inner.writer.clone(),
            parts: self.parts().values().cloned().collect(),
            position: position.clone(),
            part_limit,
            version: None,
        })
    }

    /// Whether somebody may still be at work on an upload that another process has written down.
    async fn alive(&self, theirs: &UnderWay, ours: &str) -> Result<bool> {
        if theirs.upload == ours {
            return Ok(true);
        }
        let key = &self.inner.key;
        match &self.inner.staging.inner.backend {
            Backend::Folder(folder) => folder.taken(key, &theirs.upload).await,
            Backend::S3(store) => {
                let upload = store.multipart_of(key, &theirs.upload, theirs.told);
                let found = upload.look(theirs.algorithm).await?;
                Ok(!matches!(found, s3::Found::Gone))
            }
        }
    }
}

/// What is certain of parts that S3 lists, with what was written down of them.
///
/// A part that nobody has written down lies where the ones before it end, if these are all known.
fn merged(written: Vec<Part>, found: Vec<s3::FoundPart>) -> Vec<Part> {
    let mut written: BTreeMap<u32, Part> = written
        .into_iter()
        .map(|part| (part.number, part))
        .collect();
    let mut parts: Vec<Part> = Vec::with_capacity(found.len());
    let mut end = Some(0);
    for found in found {
        let follows = parts.last().map_or(0, |part| part.number) + 1 == found.number;
        end = end.filter(|_| follows);
        let known = written.remove(&found.number).filter(|known| {
            let sums = known.sum.zip(found.sum);
            known.size == found.size
                && found.etag.as_ref().is_none_or(|etag| *etag == known.etag)
                && sums.is_none_or(|(known, found)| known == found)
        });
        let part = match (known, end, found.etag) {
            (Some(mut known), _, _) => {
                known.sum = known.sum.or(found.sum);
                known
            }
            (None, Some(offset), Some(etag)) => Part {
                number: found.number,
                offset,
                size: found.size,
                sum: found.sum,
                etag,
            },
            _ => {
                end = None;
                continue;
            }
        };
        end = Some(part.offset + part.size);
        parts.push(part);
    }
    parts
}
