//! A file on its way into staging.
//!
//! Bytes are appended as they come and kept in bounded memory. The object appears when [`Staging::finish`] publishes it,
//! which is the only way: so no file can appear before its record says what it is.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Backend, Staging, folder, s3};
use crate::error::Result;

/// An object that does not exist yet. Dropped, it leaves nothing behind as far as that can be had; [`Writer::abort`] waits
/// for that.
#[derive(Debug)]
pub struct Writer {
    key: String,
    size: u64,
    sink: Sink,
}

#[derive(Debug)]
enum Sink {
    Folder(folder::Upload),
    S3(s3::Upload),
}

impl Writer {
    pub(super) fn begin(staging: &Staging, key: &str) -> Result<Self> {
        let sink = match &staging.inner.backend {
            Backend::Folder(folder) => Sink::Folder(folder.upload(key)?),
            Backend::S3(store) => Sink::S3(store.upload(key)),
        };
        Ok(Self {
            key: key.to_owned(),
            size: 0,
            sink,
        })
    }

    /// The key that the object will have.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// How many bytes were written so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends bytes. After an error the writer is of no more use.
    pub async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.size += bytes.len() as u64;
        match &mut self.sink {
            Sink::Folder(upload) => upload.write(bytes).await,
            Sink::S3(upload) => upload.write(bytes).await,
        }
    }

    /// Gives the file up, and what was stored of it.
    pub async fn abort(self) {
        match self.sink {
            Sink::Folder(upload) => upload.abort().await,
            Sink::S3(upload) => upload.abort().await,
        }
    }

    /// Whether the object can carry its record as its own metadata: it is small enough to be written in one request.
    pub(super) fn carries_metadata(&self) -> bool {
        match &self.sink {
            Sink::Folder(_) => false,
            Sink::S3(upload) => upload.single(),
        }
    }

    /// Makes the object appear, whole. `false` says that another object has the key already, which only `replace`
    /// overrules; the writer can then be published again.
    pub(super) async fn publish(
        &mut self,
        metadata: &BTreeMap<String, String>,
        replace: bool,
    ) -> Result<bool> {
        match &mut self.sink {
            Sink::Folder(upload) => {
                debug_assert!(metadata.is_empty(), "a folder has no metadata");
                upload.publish(replace).await
            }
            Sink::S3(upload) => upload.publish(metadata, replace).await,
        }
    }
}
