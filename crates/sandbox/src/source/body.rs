//! The bytes of a file, wherever they are: any piece of them can be had, and none is kept twice.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;

use crate::synthetic::Group;

/// The pieces in which a file is sent.
pub(super) const PIECE: usize = 256 << 10;

/// The bytes of a file. Clones share them.
#[derive(Debug, Clone)]
pub(super) enum Content {
    /// In memory.
    Kept(Vec<Bytes>),
    /// Made as they are read.
    Synthetic {
        group: Arc<Group>,
        index: usize,
        reversed: bool,
    },
    /// On disk, in a file without a name.
    Spooled(Arc<fs::File>, u64),
    /// Another's, with one byte flipped, or with more after them.
    Spoilt {
        of: Arc<Content>,
        flipped: Option<u64>,
        after: &'static [u8],
    },
}

impl Content {
    /// How many bytes there are.
    pub(super) fn length(&self) -> u64 {
        match self {
            Self::Kept(pieces) => pieces.iter().map(|piece| piece.len() as u64).sum(),
            Self::Synthetic { group, .. } => group.length,
            Self::Spooled(_, length) => *length,
            Self::Spoilt { of, after, .. } => of.length() + after.len() as u64,
        }
    }

    /// At most `most` bytes from `at` on; none where they have ended.
    pub(super) fn read(&self, at: u64, most: usize) -> Bytes {
        match self {
            Self::Kept(pieces) => {
                let mut before = 0;
                for piece in pieces {
                    let length = piece.len() as u64;
                    if at < before + length {
                        let from = usize::try_from(at - before).unwrap_or(0);
                        return piece.slice(from..piece.len().min(from.saturating_add(most)));
                    }
                    before += length;
                }
                Bytes::new()
            }
            Self::Synthetic {
                group,
                index,
                reversed,
            } => group.read(*index, *reversed, at, most),
            Self::Spooled(file, length) => {
                let rest = usize::try_from(length.saturating_sub(at)).unwrap_or(usize::MAX);
                let mut bytes = vec![0; rest.min(most).min(PIECE)];
                match file.read_at(&mut bytes, at) {
                    Ok(read) => bytes.truncate(read),
                    Err(_) => bytes.clear(),
                }
                Bytes::from(bytes)
            }
            Self::Spoilt { of, flipped, after } => {
                let length = of.length();
                if at >= length {
                    let from = usize::try_from(at - length)
                        .map_or(after.len(), |from| from.min(after.len()));
                    let rest = &after[from..];
                    return Bytes::from_static(&rest[..rest.len().min(most)]);
                }
                let piece = of.read(at, most);
                let within = flipped
                    .and_then(|place| place.checked_sub(at))
                    .and_then(|place| usize::try_from(place).ok())
                    .filter(|place| *place < piece.len());
                match within {
                    Some(place) => {
                        let mut bytes = piece.to_vec();
                        bytes[place] ^= 0x55;
                        Bytes::from(bytes)
                    }
                    None => piece,
                }
            }
        }
    }

    /// Its pieces, one after the other.
    pub(super) fn pieces(&self) -> impl Iterator<Item = Bytes> + '_ {
        let mut at = 0;
        std::iter::from_fn(move || {
            let piece = self.read(at, PIECE);
            at += piece.len() as u64;
            (!piece.is_empty()).then_some(piece)
        })
    }

    /// The same resources in other bytes: the lines from the last to the first; of a single one, with white space inside.
    pub(super) fn changed(&self) -> Self {
        if let Self::Synthetic { group, index, .. } = self
            && group.count > 1
        {
            return Self::Synthetic {
                group: Arc::clone(group),
                index: *index,
                reversed: true,
            };
        }
        let whole: Vec<u8> = self.pieces().flatten().collect();
        let mut lines: Vec<&[u8]> = whole.split(|byte| *byte == b'\n').collect();
        if lines.last().is_some_and(|line| line.is_empty()) {
            lines.pop();
        }
        lines.reverse();
        let spaced = match lines.as_slice() {
            [line] => line.strip_prefix(b"{").map(|rest| [b"{ ", rest].concat()),
            _ => None,
        };
        if let Some(spaced) = &spaced {
            lines = vec![spaced];
        }
        let mut bytes = lines.join(&b'\n');
        bytes.push(b'\n');
        Self::Kept(vec![Bytes::from(bytes)])
    }
}
