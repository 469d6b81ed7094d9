//! Files that are too large to be read whole.

use std::io;
use std::path::PathBuf;

use bytes::BytesMut;
use futures_util::stream::{self, StreamExt};
use tokio::fs::File;
use tokio::io::AsyncReadExt;

use super::{Folder, fault, there};
use crate::error::Result;
use crate::staging::Chunks;

/// How much of a file is read at once, in bytes.
const CHUNK: usize = 256 * 1024;

impl Folder {
    /// See [`crate::staging::Staging::read_stream`].
    pub(in crate::staging) async fn read_stream(&self, key: &str) -> Result<Option<Chunks>> {
        let path = self.path(key)?;
        let opened = there(File::open(&path).await);
        let opened = opened.map_err(|error| fault(&error, &path))?;
        Ok(opened.map(|file| chunks(file, path)))
    }
}

fn chunks(mut file: File, path: PathBuf) -> Chunks {
    file.set_max_buf_size(CHUNK);
    let next = |open: Option<(File, PathBuf)>| async {
        let (mut file, path) = open?;
        let mut chunk = BytesMut::with_capacity(CHUNK);
        let read: io::Result<usize> = file.read_buf(&mut chunk).await;
        match read {
            Ok(0) => None,
            Ok(_) => Some((Ok(chunk.freeze()), Some((file, path)))),
            Err(error) => Some((Err(fault(&error, &path)), None)),
        }
    };
    stream::unfold(Some((file, path)), next).boxed()
}
