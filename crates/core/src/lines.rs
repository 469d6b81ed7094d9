//! The lines of an NDJSON file that is read whole by this program itself, as they stream by, in little memory.

use bytes::Bytes;

/// The longest line of a resource that is held whole, in bytes.
pub(crate) const LONGEST: usize = 4 << 20;

/// Cuts what arrives into lines.
pub(crate) struct Lines {
    longest: usize,
    line: Vec<u8>,
    too_long: bool,
}

/// One line.
#[derive(Clone, Copy)]
pub(crate) enum Line<'a> {
    /// Its bytes, without its end.
    Whole(&'a [u8]),
    /// It is longer than what is read of one, and was not held.
    TooLong,
}

impl Lines {
    /// Of a file of which nothing has come; `longest` is how many bytes of a line are read.
    pub(crate) fn new(longest: usize) -> Self {
        Self {
            longest,
            line: Vec::new(),
            too_long: false,
        }
    }

    /// Takes the next bytes, and gives each line that ends with them to `with`.
    pub(crate) fn take(&mut self, chunk: &Bytes, mut with: impl FnMut(Line<'_>)) {
        for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
            let (bytes, ends) = match piece.strip_suffix(b"\n") {
                Some(bytes) => (bytes, true),
                None => (piece, false),
            };
            self.too_long |= self.line.len() + bytes.len() > self.longest;
            if self.too_long {
                self.line.clear();
            } else {
                self.line.extend_from_slice(bytes);
            }
            if ends {
                self.end(&mut with);
            }
        }
    }

    /// No more bytes come: the last line may have no end.
    pub(crate) fn finish(mut self, mut with: impl FnMut(Line<'_>)) {
        self.end(&mut with);
    }

    /// Gives the line where there is anything in it.
    fn end(&mut self, with: &mut impl FnMut(Line<'_>)) {
        if std::mem::take(&mut self.too_long) {
            with(Line::TooLong);
        } else if !self.line.trim_ascii().is_empty() {
            with(Line::Whole(&self.line));
        }
        self.line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&[u8]], longest: usize) -> Vec<Option<Vec<u8>>> {
        let mut all = Vec::new();
        let mut with = |line: Line<'_>| {
            all.push(match line {
                Line::Whole(bytes) => Some(bytes.to_vec()),
                Line::TooLong => None,
            });
        };
        let mut lines = Lines::new(longest);
        for piece in pieces {
            lines.take(&Bytes::copy_from_slice(piece), &mut with);
        }
        lines.finish(&mut with);
        all
    }

    #[test]
    fn lines_are_the_same_however_the_bytes_arrive_and_blank_ones_are_none() {
        let text = b"a\n\n  \r\nbc\nd";
        let wanted: Vec<_> = [&b"a"[..], b"bc", b"d"].map(|it| Some(it.to_vec())).into();
        for at_once in 1..=text.len() {
            let pieces: Vec<_> = text.chunks(at_once).collect();
            assert_eq!(read(&pieces, 10), wanted, "{at_once}");
        }
        assert_eq!(
            read(&[b"abc\nd\nefg"], 2),
            [None, Some(b"d".to_vec()), None]
        );
    }

    #[test]
    fn a_line_of_any_length_is_told_and_not_held() {
        let mut lines = Lines::new(1 << 20);
        for _ in 0..64 {
            lines.take(&Bytes::from(vec![b'x'; 1 << 19]), |_| {});
            assert!(lines.line.capacity() <= 2 << 20);
        }
        let mut too_long = 0;
        lines.finish(|line| too_long += usize::from(matches!(line, Line::TooLong)));
        assert_eq!(too_long, 1);
    }
}
