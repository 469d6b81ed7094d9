//! Files as gzip: compressed for each answer where they are small, once and for all on disk where they are large.

use std::collections::HashMap;
use std::io::{self, BufWriter, Write};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::sync::OnceCell;

use super::body::Content;

/// From how many bytes on a file is compressed once and kept on disk.
const LARGE: u64 = 4 << 20;

/// What comes after a stream that has garbage after it.
pub(super) const GARBAGE: &[u8] = b"\0\0garbage that is no gzip";

/// The large files that were compressed, by name.
#[derive(Debug, Default)]
pub(super) struct Compressed(Mutex<HashMap<String, Arc<OnceCell<Content>>>>);

impl Compressed {
    /// The file as gzip, of one member or of several. `name` must tell it from every other.
    pub(super) async fn of(
        &self,
        content: &Content,
        name: &str,
        members: bool,
    ) -> io::Result<Content> {
        if content.length() < LARGE {
            let mut bytes = Vec::new();
            compress(content, members, &mut bytes)?;
            return Ok(Content::Kept(vec![Bytes::from(bytes)]));
        }
        let cell = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry(format!("{name} {members}")).or_default())
        };
        let content = content.clone();
        cell.get_or_try_init(|| async move {
            tokio::task::spawn_blocking(move || spool(&content, members))
                .await
                .map_err(io::Error::other)?
        })
        .await
        .cloned()
    }
}

fn spool(content: &Content, members: bool) -> io::Result<Content> {
    let file = tempfile::tempfile()?;
    let mut buffer = BufWriter::with_capacity(1 << 20, file);
    compress(content, members, &mut buffer)?;
    let file = buffer
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?;
    let length = file.metadata()?.len();
    Ok(Content::Spooled(Arc::new(file), length))
}

/// Three members, or one; the borders between members are anywhere, not at lines' ends.
fn compress(content: &Content, members: bool, into: &mut impl Write) -> io::Result<()> {
    let third = (content.length() / 3).max(1);
    let mut encoder = GzEncoder::new(into, Compression::fast());
    let mut left = third;
    for mut piece in content.pieces() {
        while members && piece.len() as u64 >= left {
            encoder.write_all(&piece.split_to(usize::try_from(left).unwrap_or(0)))?;
            encoder = GzEncoder::new(encoder.finish()?, Compression::fast());
            left = third;
        }
        left -= if members { piece.len() as u64 } else { 0 };
        encoder.write_all(&piece)?;
    }
    encoder.finish()?;
    Ok(())
}
