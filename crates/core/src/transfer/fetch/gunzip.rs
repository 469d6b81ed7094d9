//! gzip, decoded as it arrives: bounded pieces, whatever it expands to.

use std::io::{self, BufRead, ErrorKind, Read};

use bytes::{Buf, Bytes, BytesMut};
use flate2::bufread::GzDecoder;

/// How much is decoded at a time: it stays in the processor's cache until the checks have seen it.
const PIECE: usize = 128 << 10;

/// What each member begins with: what marks gzip, and its only method.
const BEGINNING: [u8; 3] = [0x1f, 0x8b, 8];

/// A decoder of one body, of any number of members.
pub(super) struct Gunzip {
    /// Of the member at hand.
    decoder: GzDecoder<Feed>,
    /// Whether there is a member before that one.
    again: bool,
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
            decoder: GzDecoder::new(Feed::default()),
            again: false,
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
                Ok(0) => {
                    if let Some(step) = self.behind_member() {
                        break step;
                    }
                }
                Ok(more) if filled + more < PIECE => filled += more,
                Ok(more) => {
                    filled += more;
                    break Step::Hungry;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break Step::Hungry,
                Err(error) => return Err(self.what_is_wrong(error)),
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

impl Gunzip {
    /// What comes behind a member that is complete; `None` for something, which can only be another one.
    fn behind_member(&mut self) -> Option<Step> {
        let feed = self.decoder.get_mut();
        if feed.chunk.is_empty() {
            return Some(if feed.ended { Step::End } else { Step::Hungry });
        }
        let mut feed = std::mem::take(feed);
        feed.begun = 0;
        self.decoder.reset(feed);
        self.again = true;
        None
    }

    /// An error of the decoder, told from bytes behind the gzip that begin no other member: those may be so few that it looks
    /// like an early end.
    fn what_is_wrong(&self, error: io::Error) -> io::Error {
        let feed = self.decoder.get_ref();
        let in_header = self.decoder.header().is_none();
        let may_be_member = BEGINNING.starts_with(&feed.beginning[..feed.begun]);
        if self.again && in_header && !(may_be_member && error.kind() == ErrorKind::UnexpectedEof) {
            let what = "bytes that are none follow the end of the gzip";
            return io::Error::new(ErrorKind::InvalidData, what);
        }
        error
    }
}

/// What the decoder reads from: the chunk at hand, then no more for now, or for good.
#[derive(Default)]
struct Feed {
    chunk: Bytes,
    ended: bool,
    /// The first bytes of the member at hand, and how many of them there are.
    beginning: [u8; BEGINNING.len()],
    begun: usize,
}

impl BufRead for Feed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.chunk.is_empty() && !self.ended {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(&self.chunk)
    }

    fn consume(&mut self, bytes: usize) {
        let room = &mut self.beginning[self.begun..];
        let new = room.len().min(bytes);
        room[..new].copy_from_slice(&self.chunk[..new]);
        self.begun += new;
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
