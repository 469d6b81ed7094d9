//! The checks of NDJSON as it streams by, and the bytes that are staged for it.
//!
//! Blank lines and a byte-order mark are dropped, a missing last newline is added, CRLF is kept; every other byte passes
//! unchanged. How closely the rest is looked at is [`Validate`]'s to say:
//!
//! - `lines`: the file is UTF-8, every line begins with `{` and ends with `}`, its `resourceType` is the declared one, and
//!   its `id` is a string that is not empty, for Pathling is harmed by anything else. A line is read as JSON only until
//!   both keys are found; of what follows them only its end is looked at, and whether a second object was joined to it.
//!   What else is wrong there passes: a bracket that is missing, a key that stands twice.
//! - `json`: every line is parsed. One that is longer than 4 MiB is not, but read to its end for its strings, its brackets
//!   and the two keys, in constant memory.
//! - `none`: lines are counted.
//!
//! Under `lines` and `json`, a carriage return within a line is an error unless a line feed follows it: Spark, with which
//! Pathling reads, ends the line there too, and would make two broken lines of a resource, or two resources of one line. At
//! the end of the file it is the line's end, as a line feed is added to it; and a blank line may hold some, for it is dropped.
//!
//! The checker is a state machine that bytes run through: what is kept is handed on at once as slices of the chunk,
//! before its line has ended and been judged. That is safe because an object appears only after all checks have
//! passed. The verdict is the same however a file is cut into chunks: the problem that comes first in the file wins. It
//! names the line's number and byte offset in the source file, never its content.

mod brackets;
mod json;
mod keys;
mod scan;
mod token;
mod utf8;

use std::fmt;

use bytes::{Bytes, BytesMut};
use memchr::memchr;
use serde::{Deserialize, Serialize};

use crate::config::Validate;
use crate::transfer::ids::Hashes;
pub(crate) use json::PARSE_LIMIT;
use json::Parser;
use scan::Scanner;
use utf8::Utf8;

/// The white space at the beginning of a line that is held until it is known whether the line is blank.
const SPACE_LIMIT: usize = 64 << 10;

/// So much is looked at in one go: it stays in the processor's nearest cache from one search to the next.
const BLOCK: usize = 16 << 10;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// The line's number in the source file, counted from 1, blank lines included.
    pub line: u64,
    /// Where it begins in the source file, in bytes from 0.
    pub offset: u64,
    /// What is wrong, without the line's content.
    pub why: String,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "line {} (at byte {}) {}",
            self.line, self.offset, self.why
        )
    }
}

/// The beginning of a line, from which [`Checker::at`] can go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineMark {
    /// Where the line begins in the source file, in bytes from 0.
    pub source_offset: u64,
    /// Where it begins in what is staged.
    pub staged_offset: u64,
    /// How many lines of the source file lie before it, blank ones included.
    pub line: u64,
    /// How many resources lie before it.
    pub resources: u64,
}

/// Checks one file's lines, however its bytes are cut into chunks. After an error it is of no use.
#[derive(Debug)]
pub struct Checker {
    resource_type: String,
    rules: Rules,
    /// Where the current line begins.
    mark: LineMark,
    /// The bytes of the source file that were looked at.
    source: u64,
    /// The bytes that were handed on.
    staged: u64,
    /// How much of a byte-order mark has come, while there can still be one.
    bom: Option<usize>,
    /// White space that the current line begins with, as long as it may be blank.
    space: BytesMut,
    /// Whether the current line is known not to be blank.
    open: bool,
    /// Where in the source file a carriage return is, with which what was looked at of the current line ends, or which is
    /// part of the white space that it begins with. In a line that is not blank only a line feed may follow it.
    carriage_return: Option<u64>,
    /// Where the hashes of ids go, where anybody wants them.
    hashes: Option<Hashes>,
}

/// What was seen in a block, by one search over many lines.
#[derive(Clone, Copy, Default)]
struct Seen {
    /// What stands where two objects on one line meet.
    joint: bool,
    carriage_return: bool,
}

#[derive(Debug)]
enum Rules {
    Lines(Utf8, Scanner),
    Json(Utf8, Parser),
    None,
}

impl Checker {
    /// A checker for a file of resources of this type, from its beginning.
    #[must_use]
    pub fn new(resource_type: &str, validate: Validate) -> Self {
        Self::at(resource_type, validate, LineMark::default())
    }

    /// A checker for the rest of such a file, from the beginning of a line.
    #[must_use]
    pub fn at(resource_type: &str, validate: Validate, mark: LineMark) -> Self {
        Self {
            resource_type: resource_type.to_owned(),
            rules: match validate {
                Validate::Lines => Rules::Lines(Utf8::default(), Scanner::lazy(resource_type)),
                Validate::Json => Rules::Json(Utf8::default(), Parser::new(resource_type)),
                Validate::None => Rules::None,
            },
            mark,
            source: mark.source_offset,
            staged: mark.staged_offset,
            bom: (mark.source_offset == 0).then_some(0),
            space: BytesMut::new(),
            open: false,
            carriage_return: None,
            hashes: None,
        }
    }

    /// Has the ids of all lines remembered, where lines are looked at.
    #[must_use]
    pub fn looking(mut self, hashes: Hashes) -> Self {
        match &mut self.rules {
            Rules::Lines(_, scanner) => scanner.hash_with(hashes.hasher()),
            Rules::Json(_, parser) => parser.hash_with(hashes.hasher()),
            Rules::None => return self,
        }
        self.hashes = Some(hashes);
        self
    }

    /// What was remembered of the ids.
    pub fn hashes(&mut self) -> Option<Hashes> {
        self.hashes.take()
    }

    /// How many resources passed so far.
    #[must_use]
    pub fn resources(&self) -> u64 {
        self.mark.resources
    }

    /// Where the unfinished line begins, or else the next one.
    #[must_use]
    pub fn mark(&self) -> LineMark {
        self.mark
    }

    /// The bytes of memory that the unfinished line takes: under `json` up to 4 MiB, and white space at a line's
    /// beginning, up to 64 KiB.
    #[must_use]
    pub fn held(&self) -> usize {
        let parser = match &self.rules {
            Rules::Json(_, parser) => parser.held(),
            Rules::Lines(..) | Rules::None => 0,
        };
        parser + self.space.capacity()
    }

    /// Takes the next bytes of the source file and hands the bytes to stage to `keep`, in order.
    ///
    /// Gives the first line that is not as it must be. What was handed on by then is of no use.
    pub fn chunk(&mut self, mut chunk: Bytes, mut keep: impl FnMut(Bytes)) -> Result<(), BadLine> {
        if let Some(seen) = self.bom {
            let wanted = &BOM[seen..];
            let same = chunk.iter().zip(wanted).take_while(|(a, b)| a == b).count();
            if same == wanted.len() {
                self.bom = None;
                self.source += BOM.len() as u64;
                chunk = chunk.slice(same..);
            } else if same == chunk.len() {
                self.bom = Some(seen + same);
                return Ok(());
            } else {
                self.no_mark(&mut keep)?;
            }
        }
        self.plain(&chunk, &mut keep)
    }

    /// Says that the source file ended: a last line without a newline gets one.
    pub fn finish(&mut self, mut keep: impl FnMut(Bytes)) -> Result<(), BadLine> {
        self.no_mark(&mut keep)?;
        if let Rules::Lines(utf8, _) | Rules::Json(utf8, _) = &self.rules
            && let Some(pending) = utf8.pending()
        {
            return Err(self.not_utf8(self.source - pending));
        }
        if self.open {
            let place = self.source;
            self.piece(b"", place, true, Seen::default())?;
            self.hand_on(Bytes::from_static(b"\n"), &mut keep);
            self.resource();
        }
        if self.source > self.mark.source_offset {
            self.next_line(self.source, self.staged);
        }
        Ok(())
    }

    /// What looked like the beginning of a byte-order mark is text.
    fn no_mark(&mut self, keep: &mut impl FnMut(Bytes)) -> Result<(), BadLine> {
        let seen = self.bom.take().unwrap_or(0);
        self.plain(&Bytes::from_static(&BOM[..seen]), keep)
    }

    /// Takes bytes that are no byte-order mark. What is kept side by side is handed on as one slice.
    fn plain(&mut self, chunk: &Bytes, keep: &mut impl FnMut(Bytes)) -> Result<(), BadLine> {
        let mut run = 0;
        let mut from = 0;
        while from < chunk.len() {
            let to = chunk.len().min(from + BLOCK);
            run = self.block(chunk, from, to, run, keep)?;
            from = to;
        }
        if run < chunk.len() {
            self.hand_on(chunk.slice(run..), keep);
        }
        self.source += chunk.len() as u64;
        Ok(())
    }

    /// Looks at the bytes from `from` to `to`, of which those from `run` on are kept but not handed on. Gives the new
    /// `run`.
    fn block(
        &mut self,
        chunk: &Bytes,
        from: usize,
        to: usize,
        mut run: usize,
        keep: &mut impl FnMut(Bytes),
    ) -> Result<usize, BadLine> {
        let mut position = from;
        let mut valid = to;
        let mut bad = None;
        if let Rules::Lines(utf8, _) | Rules::Json(utf8, _) = &mut self.rules {
            let looked = utf8.look(&chunk[from..to], self.source + from as u64);
            position += looked.taken;
            valid = from + looked.valid;
            bad = looked.bad;
            if let Some(character) = looked.carried() {
                // Its line is open since its first byte came.
                let place = self.source + from as u64;
                self.piece(character, place, false, Seen::default())?;
            }
        }
        let text = &chunk[position..valid];
        let seen = Seen {
            joint: match &self.rules {
                Rules::Lines(_, scanner) => scanner.may_be_joined(text),
                Rules::Json(..) | Rules::None => false,
            },
            carriage_return: memchr(b'\r', text).is_some(),
        };
        loop {
            let newline = memchr(b'\n', &chunk[position..valid]);
            let end = newline.map_or(valid, |length| position + length);
            let text = &chunk[position..end];
            if !self.open {
                let space = text
                    .iter()
                    .position(|byte| !byte.is_ascii_whitespace())
                    .unwrap_or(text.len());
                if self.space.len() + space > SPACE_LIMIT {
                    let why = format!(
                        "begins with more than {} KiB of white space",
                        SPACE_LIMIT >> 10
                    );
                    return Err(self.bad(why));
                }
                if space < text.len() {
                    self.open(keep)?;
                } else {
                    if run < position {
                        self.hand_on(chunk.slice(run..position), keep);
                    }
                    if newline.is_some() {
                        run = end + 1;
                    } else {
                        run = end;
                        self.space.extend_from_slice(text);
                        if seen.carriage_return {
                            let place = memchr(b'\r', text).map(|at| at + position);
                            let place = place.map(|place| self.source + place as u64);
                            self.carriage_return = self.carriage_return.or(place);
                        }
                    }
                }
            }
            let ends = newline.is_some();
            if self.open {
                self.piece(text, self.source + position as u64, ends, seen)?;
                if ends {
                    self.resource();
                }
            }
            if !ends {
                break;
            }
            position = end + 1;
            self.next_line(
                self.source + position as u64,
                self.staged + (position - run) as u64,
            );
        }
        if let Some(place) = bad {
            return Err(self.not_utf8(place));
        }
        if valid < to && !self.open {
            // The beginning of a character is no white space.
            self.open(keep)?;
        }
        Ok(run)
    }

    /// The current line is not blank.
    fn open(&mut self, keep: &mut impl FnMut(Bytes)) -> Result<(), BadLine> {
        self.open = true;
        if !self.space.is_empty() {
            let space = std::mem::take(&mut self.space).freeze();
            self.judge(&space, false, false)?;
            self.hand_on(space, keep);
        }
        Ok(())
    }

    /// Looks at a piece of the current line, which begins at `place` of the source file, up to a carriage return that no line
    /// feed follows. One at its end waits for what comes next.
    fn piece(&mut self, text: &[u8], place: u64, ends: bool, seen: Seen) -> Result<(), BadLine> {
        if matches!(self.rules, Rules::None) {
            return Ok(());
        }
        let mut text = text;
        if self.carriage_return.is_some() {
            if !text.is_empty() {
                return self.refuse_carriage_return();
            }
            if ends {
                self.carriage_return = None;
                text = b"\r";
            }
        } else if seen.carriage_return
            && let Some(at) = memchr(b'\r', text)
            && !(ends && at + 1 == text.len())
        {
            self.judge(&text[..at], false, seen.joint)?;
            self.carriage_return = Some(place + at as u64);
            return if at + 1 == text.len() {
                Ok(())
            } else {
                self.refuse_carriage_return()
            };
        }
        self.judge(text, ends, seen.joint)
    }

    /// Nothing but a line feed may follow a carriage return that has come.
    fn refuse_carriage_return(&self) -> Result<(), BadLine> {
        match self.carriage_return {
            Some(place) if !matches!(self.rules, Rules::None) => Err(self.bad(format!(
                "has a carriage return at byte {place} of the file that no line feed follows, where Pathling would end the line"
            ))),
            _ => Ok(()),
        }
    }

    /// Judges a piece of the current line.
    fn judge(&mut self, text: &[u8], ends: bool, suspicious: bool) -> Result<(), BadLine> {
        match &mut self.rules {
            Rules::Lines(_, scanner) => scanner.piece(text, ends, suspicious),
            Rules::Json(_, parser) => parser.piece(text, ends),
            Rules::None => Ok(()),
        }
        .map_err(|flaw| self.bad(flaw.words(&self.resource_type)))
    }

    /// The current line has passed.
    fn resource(&mut self) {
        self.mark.resources += 1;
        if let Some(hashes) = &mut self.hashes {
            match &self.rules {
                Rules::Lines(_, scanner) => hashes.push(scanner.id_hash()),
                Rules::Json(_, parser) => hashes.push(parser.id_hash()),
                Rules::None => {}
            }
        }
    }

    fn next_line(&mut self, source_offset: u64, staged_offset: u64) {
        self.mark.source_offset = source_offset;
        self.mark.staged_offset = staged_offset;
        self.mark.line += 1;
        self.open = false;
        self.carriage_return = None;
        if self.space.capacity() > 0 {
            self.space = BytesMut::new();
        }
    }

    fn hand_on(&mut self, bytes: Bytes, keep: &mut impl FnMut(Bytes)) {
        self.staged += bytes.len() as u64;
        keep(bytes);
    }

    fn not_utf8(&self, place: u64) -> BadLine {
        self.bad(format!("is not UTF-8 at byte {place} of the file"))
    }

    fn bad(&self, why: String) -> BadLine {
        BadLine {
            line: self.mark.line + 1,
            offset: self.mark.source_offset,
            why,
        }
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
