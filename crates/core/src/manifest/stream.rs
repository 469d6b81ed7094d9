//! A manifest that is read while it arrives, by a thread that may block: of its bytes, no more than a few chunks are held.

use std::io::{self, BufReader, Cursor, Read};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::sync::mpsc;
use url::Url;

use super::read::{self, Keep};
use super::{BYTE_ORDER_MARK, Head, LIMIT, too_large};
use crate::error::{Error, Kind, Result};

/// How many chunks wait between who receives them and who reads them.
const WAITING: usize = 2;

/// Reads a manifest that was found at `base`. `not_json` says what it is to be if that is no JSON.
///
/// Errors: those of the stream; [`Kind::Manifest`] with what is wrong with the manifest, its size included.
pub(super) async fn read<K: Keep + Send + 'static>(
    chunks: impl Stream<Item = Result<Bytes>>,
    base: Option<&Url>,
    mut keep: K,
    not_json: impl FnOnce() -> Error,
) -> Result<(Head, K)> {
    let (sender, receiver) = mpsc::channel(WAITING);
    let base = base.cloned();
    let reading = tokio::task::spawn_blocking(move || {
        let chunks = Chunks {
            receiver,
            current: Bytes::new(),
        };
        let head = parse(chunks, base.as_ref(), &mut keep)?;
        Ok::<_, serde_json::Error>((head, keep))
    });
    pass_on(chunks, sender).await?;
    match reading.await {
        Ok(Ok((head, keep))) => Ok((head?, keep)),
        Ok(Err(_)) => Err(not_json()),
        Err(stopped) => Err(Kind::SourceUnavailable.error(format!(
            "the reading of the manifest was stopped: {stopped}"
        ))),
    }
}

/// Hands chunk after chunk to the reader, until either side has had enough.
async fn pass_on(
    chunks: impl Stream<Item = Result<Bytes>>,
    sender: mpsc::Sender<Bytes>,
) -> Result<()> {
    let mut chunks = std::pin::pin!(chunks);
    let mut received = 0;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk?;
        received += chunk.len();
        if received > LIMIT {
            return Err(too_large());
        }
        // A reader that is gone has seen what is wrong.
        if sender.send(chunk).await.is_err() {
            break;
        }
    }
    Ok(())
}

fn parse<K: Keep>(
    mut chunks: Chunks,
    base: Option<&Url>,
    keep: &mut K,
) -> serde_json::Result<Result<Head>> {
    let mut begin = Vec::new();
    let mark = BYTE_ORDER_MARK.len() as u64;
    (&mut chunks)
        .take(mark)
        .read_to_end(&mut begin)
        .map_err(serde_json::Error::io)?;
    if begin == BYTE_ORDER_MARK {
        begin.clear();
    }
    let mut json =
        serde_json::Deserializer::from_reader(BufReader::new(Cursor::new(begin).chain(chunks)));
    let head = read::read(&mut json, base, keep)?;
    json.end()?;
    Ok(head)
}

/// The chunks as one run of bytes.
struct Chunks {
    receiver: mpsc::Receiver<Bytes>,
    current: Bytes,
}

impl Read for Chunks {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.receiver.blocking_recv() {
                Some(chunk) => self.current = chunk,
                None => return Ok(0),
            }
        }
        let length = self.current.len().min(into.len());
        into[..length].copy_from_slice(&self.current.split_to(length));
        Ok(length)
    }
}
