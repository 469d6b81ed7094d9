//! A manifest that is read while it arrives, by a thread that may block: of its bytes, no more than a few chunks are held,
//! and no more than [`ITEM`] of them make one value of it.

use std::cell::Cell;
use std::io::{self, BufReader, Cursor, ErrorKind, Read};
use std::rc::Rc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use serde_json::de::IoRead;
use tokio::sync::{mpsc, oneshot};
use url::Url;

use super::beside::Beside;
use super::read::{self, Found, Keep, wrong};
use super::{BYTE_ORDER_MARK, Head, LIMIT, too_large};
use crate::error::{Error, Kind, Result};

/// How many chunks wait between who receives them and who reads them.
const WAITING: usize = 2;

/// How much of a manifest may be one file of its lists, or one member beside them, in bytes: while it is read, it is held.
const ITEM: usize = 4 << 20;

/// A manifest as it is read, chunk after chunk, of which only what it says beside its files is kept.
pub struct Reading(Parsing<(Result<Head>, ())>);

impl Reading {
    /// Begins with one that was found at `base`.
    #[must_use]
    pub fn begin(base: Option<&Url>) -> Self {
        Self(begin(base, ()))
    }

    /// Reads a chunk. `false` says that no more of them are wanted: what was read is no JSON.
    ///
    /// Gives [`Kind::Manifest`] where they are too many.
    pub async fn add(&mut self, chunk: Bytes) -> Result<bool> {
        self.0.add(chunk).await
    }

    /// What there is to say of the whole. `not_json` says what it is to be if that is no JSON.
    ///
    /// Gives [`Kind::Manifest`] with what is wrong with the manifest.
    pub async fn end(self, not_json: impl FnOnce() -> Error) -> Result<Head> {
        self.0.end(not_json).await?.0
    }
}

/// Reads a manifest that was found at `base`. `not_json` says what it is to be if that is no JSON.
///
/// Errors: those of the stream; [`Kind::Manifest`] with what is wrong with the manifest, its size included.
pub(super) async fn read<K: Keep + Send + 'static>(
    chunks: impl Stream<Item = Result<Bytes>>,
    base: Option<&Url>,
    keep: K,
    not_json: impl FnOnce() -> Error,
) -> Result<(Head, K)> {
    let mut parsing = begin(base, keep);
    parsing.add_all(chunks).await?;
    let (head, keep) = parsing.end(not_json).await?;
    Ok((head?, keep))
}

fn begin<K: Keep + Send + 'static>(base: Option<&Url>, mut keep: K) -> Parsing<(Result<Head>, K)> {
    let base = base.cloned();
    Parsing::begin(move |json, meter| {
        let mut metered = Metered {
            keep: &mut keep,
            meter,
        };
        let head = read::read(json, base.as_ref(), &mut metered)?;
        Ok((head, keep))
    })
}

/// JSON that arrives in chunks, and a thread that makes something of it.
pub(super) struct Parsing<T> {
    sender: mpsc::Sender<Bytes>,
    made: oneshot::Receiver<serde_json::Result<T>>,
    received: usize,
}

/// What one who reads JSON is given.
pub(super) type Json =
    serde_json::Deserializer<IoRead<BufReader<io::Chain<Cursor<Vec<u8>>, Chunks>>>>;

impl<T: Send + 'static> Parsing<T> {
    /// Begins to read, in a thread of its own. Whoever reads says to the meter where a value ends that nothing is held of any
    /// more.
    ///
    /// It is none of the runtime's threads. What the allocator had for one that has ended it gives to the next that begins,
    /// so that manifest after manifest takes the same memory; each of many that wait for work would keep some of its own.
    pub(super) fn begin(
        work: impl FnOnce(&mut Json, Meter) -> serde_json::Result<T> + Send + 'static,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        let (tell, made) = oneshot::channel();
        let read = move || {
            let meter = Meter::default();
            let mut json = json(Chunks {
                receiver,
                current: Bytes::new(),
                meter: meter.clone(),
            })?;
            let made = work(&mut json, meter)?;
            json.end()?;
            Ok(made)
        };
        let thread = std::thread::Builder::new().name("manifest".to_owned());
        // Where none can be had, nobody will ever tell, which is what `end` says then.
        let _ = thread.spawn(move || tell.send(read()).is_ok());
        Self {
            sender,
            made,
            received: 0,
        }
    }

    /// How many bytes came so far.
    pub(super) fn received(&self) -> usize {
        self.received
    }

    /// Reads a chunk; `false` says that no more are wanted.
    pub(super) async fn add(&mut self, chunk: Bytes) -> Result<bool> {
        self.received += chunk.len();
        if self.received > LIMIT {
            return Err(too_large());
        }
        // A reader that is gone has seen what is wrong.
        Ok(self.sender.send(chunk).await.is_ok())
    }

    /// Reads all of a stream, or as much of it as is wanted.
    pub(super) async fn add_all(
        &mut self,
        chunks: impl Stream<Item = Result<Bytes>>,
    ) -> Result<()> {
        let mut chunks = std::pin::pin!(chunks);
        while let Some(chunk) = chunks.next().await {
            if !self.add(chunk?).await? {
                break;
            }
        }
        Ok(())
    }

    /// What was made of all of it.
    pub(super) async fn end(self, not_json: impl FnOnce() -> Error) -> Result<T> {
        drop(self.sender);
        match self.made.await {
            Ok(Ok(made)) => Ok(made),
            Ok(Err(error)) if error.io_error_kind() == Some(ErrorKind::FileTooLarge) => {
                let most = ITEM >> 20;
                Err(wrong(&format!(
                    "a single entry of it has more than {most} MiB"
                )))
            }
            Ok(Err(_)) => Err(not_json()),
            Err(_) => Err(Kind::SourceUnavailable.error(
                "the reading of the manifest was stopped: its thread has ended, or there was none to be had".to_owned(),
            )),
        }
    }
}

fn json(mut chunks: Chunks) -> serde_json::Result<Json> {
    let mut begin = Vec::new();
    let mark = BYTE_ORDER_MARK.len() as u64;
    (&mut chunks)
        .take(mark)
        .read_to_end(&mut begin)
        .map_err(serde_json::Error::io)?;
    if begin == BYTE_ORDER_MARK {
        begin.clear();
    }
    let chunks = BufReader::new(Cursor::new(begin).chain(chunks));
    Ok(serde_json::Deserializer::from_reader(chunks))
}

/// How many bytes came since something ended that is not held any more.
#[derive(Clone, Default)]
pub(super) struct Meter(Rc<Cell<usize>>);

impl Meter {
    /// What was read so far is not held any more.
    pub(super) fn passed(&self) {
        self.0.set(0);
    }
}

/// The chunks as one run of bytes.
pub(super) struct Chunks {
    receiver: mpsc::Receiver<Bytes>,
    current: Bytes,
    meter: Meter,
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
        let held = &self.meter.0;
        held.set(held.get() + length);
        if held.get() > ITEM {
            return Err(ErrorKind::FileTooLarge.into());
        }
        into[..length].copy_from_slice(&self.current.split_to(length));
        Ok(length)
    }
}

/// Keeps what another does, and says to the meter what has passed.
struct Metered<'a, K> {
    keep: &'a mut K,
    meter: Meter,
}

impl<K: Keep> Keep for Metered<'_, K> {
    fn keep(&mut self, found: Found) {
        self.keep.keep(found);
    }

    fn forget(&mut self) {
        self.keep.forget();
    }

    fn keep_beside(&mut self, what: Beside, url: Option<Url>) {
        self.keep.keep_beside(what, url);
    }

    fn forget_beside(&mut self, what: Beside) {
        self.keep.forget_beside(what);
    }

    fn passed(&mut self) {
        self.meter.passed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_manifest_may_have_a_gibibyte_and_no_byte_more() {
        let mut reading = Reading::begin(None);
        let text = Bytes::from(r#"{"transactionTime": "t"}"#);
        reading.0.received = LIMIT - text.len();
        assert!(reading.add(text).await.unwrap());
        let error = reading.add(Bytes::from(" ")).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Manifest);
        assert!(error.what().contains("1073741824 bytes"), "{error}");
    }
}
