//! gzip, decoded as it arrives: bounded pieces, whatever it expands to.

use std::io::{self, BufRead, ErrorKind, Read};

use bytes::{Buf, Bytes, BytesMut};
use flate2::bufread::MultiGzDecoder;

/// How much is decoded at a time: it stays in the processor's cache until the checks have seen it.
const PIECE: usize = 128 << 10;

/// A decoder of one body, of any number of members.
pub(super) struct Gunzip {
    decoder: MultiGzDecoder<Feed>,
    /// The last piece: its memory is used again when nobody else holds it any more.
    last: Bytes,
}

/// What comes next of a body.
pub(super) enum Step {
    /// Decoded bytes, at least one.
    Piece(Bytes),
    /// More of the encoded bytes are needed.
    Hungry,
    /// The body is complete.
    End,
}

impl Gunzip {
    pub(super) fn new() -> Self {
        Self {
            decoder: MultiGzDecoder::new(Feed::default()),
            last: Bytes::new(),
        }
    }

    /// Gives it the next bytes, when it is hungry.
    pub(super) fn feed(&mut self, chunk: Bytes) {
        self.decoder.get_mut().chunk = chunk;
    }

    /// Says that no more bytes come.
    pub(super) fn end(&mut self) {
        self.decoder.get_mut().ended = true;
    }

    /// Decodes on. An error of the kind `UnexpectedEof` is an early end; every other one is bytes that are not gzip.
    pub(super) fn step(&mut self) -> io::Result<Step> {
        let mut piece = std::mem::take(&mut self.last)
            .try_into_mut()
            .unwrap_or_default();
        piece.resize(PIECE, 0);
        let mut filled = 0;
        let step = loop {
            match self.decoder.read(&mut piece[filled..]) {
                Ok(0) => break Step::End,
                Ok(more) if filled + more < PIECE => filled += more,
                Ok(more) => {
                    filled += more;
                    break Step::Hungry;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break Step::Hungry,
                Err(error) => return Err(error),
            }
        };
        if filled == 0 {
            return Ok(step);
        }
        piece.truncate(filled);
        self.last = BytesMut::freeze(piece);
        // An end is told by the next step.
        Ok(Step::Piece(self.last.clone()))
    }
}

/// What the decoder reads from: the chunk at hand, then no more for now, or for good.
#[derive(Default)]
struct Feed {
    chunk: Bytes,
    ended: bool,
}

impl BufRead for Feed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.chunk.is_empty() && !self.ended {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(&self.chunk)
    }

    fn consume(&mut self, bytes: usize) {
        self.chunk.advance(bytes);
    }
}

impl Read for Feed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(into)?;
        self.consume(read);
        Ok(read)
    }
}
