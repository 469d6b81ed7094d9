//! Objects that are too large to be read whole, chunk by chunk.

use std::io;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::fs::File;
use tokio::io::AsyncReadExt;

use super::{Backend, Staging};
use crate::error::{Error, Result};

/// How much of a file is read at once, in bytes.
const CHUNK: usize = 256 * 1024;

/// An object's bytes as they come. It ends after its first error.
pub type Chunks = BoxStream<'static, Result<Bytes>>;

impl Staging {
    /// Reads an object of any size as a stream, or gives `None` where it is absent (or, on S3, may not be read).
    ///
    /// `StagingUnavailable` from the stream where the object breaks off.
    pub async fn read_stream(&self, key: &str) -> Result<Option<Chunks>> {
        match &self.inner.backend {
            Backend::Folder(folder) => folder.read_stream(key).await,
            Backend::S3(store) => store.read_stream(key).await,
        }
    }
}

/// The chunks of an open file.
pub(super) fn of_file(file: File, path: PathBuf, fault: fn(&io::Error, &Path) -> Error) -> Chunks {
    stream::unfold(Some((file, path)), move |open| async move {
        let (mut file, path) = open?;
        let mut chunk = BytesMut::with_capacity(CHUNK);
        match file.read_buf(&mut chunk).await {
            Ok(0) => None,
            Ok(_) => Some((Ok(chunk.freeze()), Some((file, path)))),
            Err(error) => Some((Err(fault(&error, &path)), None)),
        }
    })
    .boxed()
}
