//! A line read as JSON just far enough to find its two top-level keys, in pieces cut anywhere and in constant memory.
//!
//! It is no parser: numbers, escapes in other strings and the order of things inside nested values are not looked at.

use memchr::{memchr2, memmem};

use super::brackets::{self, Strings};
use super::keys::{Flaw, check_type};
use super::token::Token;
use crate::transfer::ids::IdHasher;

/// So deep a bracket's kind is remembered. Deeper ones are only counted.
const KINDS: u32 = 128;

/// What stands where two objects on one line meet, before the second one's first key. In JSON no letter can follow it:
/// where it is part of a string, the quotation mark ends that string.
const JOINT: &[u8; 3] = b"}{\"";

/// Reads lines, piece by piece.
#[derive(Debug)]
pub(super) struct Scanner {
    resource_type: String,
    /// Whether a line is read to its end, or only until both keys are found.
    whole: bool,
    /// How the line of a server that writes the two keys first begins, up to the first character of its `id`.
    front: String,
    joint: memmem::Finder<'static>,
    state: State,
    /// The bytes of the line that came before this piece.
    before: u64,
    /// Whether the byte before this piece is a backslash in a string.
    escaped: bool,
    token: Token,
    key: Key,
    /// What the hash of an id begins with, and that of this line's.
    ids: IdHasher,
    id: IdHasher,
    found: Found,
    /// The brackets that are open inside the line's object.
    depth: u32,
    /// A bit for each: one for `{`, none for `[`.
    kinds: u128,
    /// How much of [`JOINT`] the previous piece ended with.
    joined: usize,
    /// The last byte that is no white space.
    last: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the object.
    Begin,
    /// After its `{`.
    First,
    /// After a comma.
    Next,
    /// In a key.
    Name,
    /// After a key.
    Colon,
    /// Before a value.
    Value,
    /// In the value of `resourceType`.
    Type,
    /// Before the first character of `id`.
    Id,
    /// In another string, or in the rest of `id`.
    Text,
    /// In a number, `true`, `false` or `null`.
    Plain,
    /// In an array or an object.
    Nested,
    /// In a string there.
    NestedText,
    /// After a value.
    Comma,
    /// After both keys, where nothing is read any more.
    Rest,
    /// After the object.
    After,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Type,
    Id,
    Other,
}

/// Which of the two keys the line has so far, with values as they must be.
#[derive(Debug, Default)]
struct Found {
    resource_type: bool,
    id: bool,
}

impl Scanner {
    /// Reads lines until both keys are found.
    pub(super) fn lazy(resource_type: &str) -> Self {
        Self::new(resource_type, false)
    }

    /// Reads lines to their end.
    pub(super) fn whole(resource_type: &str) -> Self {
        Self::new(resource_type, true)
    }

    fn new(resource_type: &str, whole: bool) -> Self {
        Self {
            front: format!("{{\"resourceType\":\"{resource_type}\",\"id\":\""),
            resource_type: resource_type.to_owned(),
            whole,
            joint: memmem::Finder::new(JOINT),
            state: State::Begin,
            before: 0,
            escaped: false,
            token: Token::new(),
            key: Key::Other,
            ids: IdHasher::default(),
            id: IdHasher::default(),
            found: Found::default(),
            depth: 0,
            kinds: 0,
            joined: 0,
            last: 0,
        }
    }

    /// Has the hashes of ids begin so.
    pub(super) fn hash_with(&mut self, ids: IdHasher) {
        self.ids = ids;
    }

    /// The hash of the last line's id.
    pub(super) fn id_hash(&self) -> u64 {
        self.id.hash()
    }

    /// Whether two objects may be joined on one line anywhere in these bytes: one search over many lines.
    pub(super) fn may_be_joined(&self, lines: &[u8]) -> bool {
        self.joint.find(lines).is_some()
    }

    /// Looks at the next piece of a line. All of it is UTF-8.
    pub(super) fn piece(
        &mut self,
        text: &[u8],
        ends: bool,
        may_be_joined: bool,
    ) -> Result<(), Flaw> {
        self.read(text, may_be_joined)
            .map_err(|flaw| flaw.after(self.before))?;
        self.before += text.len() as u64;
        if ends { self.end() } else { Ok(()) }
    }

    fn read(&mut self, text: &[u8], may_be_joined: bool) -> Result<(), Flaw> {
        let mut position = 0;
        if self.state == State::Begin && !self.whole {
            position = self.at_the_front(text);
        }
        while position < text.len() && self.state != State::Rest {
            position = self.step(text, position)?;
        }
        if self.state == State::Rest {
            self.rest(text, position, may_be_joined)?;
        }
        Ok(())
    }

    /// Goes past both keys in one comparison where they stand as most servers write them. Otherwise goes nowhere.
    fn at_the_front(&mut self, text: &[u8]) -> usize {
        let front = self.front.len();
        if text.starts_with(self.front.as_bytes())
            && let Some(length) = memchr2(b'"', b'\\', &text[front..])
            && length > 0
            && text[front + length] == b'"'
        {
            let end = front + length + 1;
            self.id.clone_from(&self.ids);
            self.id.take(&text[front..end]);
            self.state = State::Rest;
            return end;
        }
        0
    }

    /// Looks at the line from `position` on, once both keys are found.
    fn rest(&mut self, text: &[u8], mut position: usize, may_be_joined: bool) -> Result<(), Flaw> {
        if let Some(&last) = text[position..].trim_ascii_end().last() {
            self.last = last;
        }
        // A joint that was cut.
        while self.joined > 0
            && let Some(&byte) = text.get(position)
        {
            self.joined = match JOINT.get(self.joined) {
                Some(&wanted) if wanted == byte => self.joined + 1,
                None if byte.is_ascii_alphabetic() => return Err(at(position)),
                _ => usize::from(byte == JOINT[0]),
            };
            position += 1;
        }
        let rest = &text[position..];
        if may_be_joined {
            for joint in self.joint.find_iter(rest) {
                let letter = joint + JOINT.len();
                if rest.get(letter).is_some_and(u8::is_ascii_alphabetic) {
                    return Err(at(position + letter));
                }
            }
        }
        if self.joined == 0 {
            self.joined = (1..=JOINT.len())
                .rev()
                .find(|length| rest.ends_with(&JOINT[..*length]))
                .unwrap_or(0);
        }
        Ok(())
    }

    /// The line ends here. What comes next is another one.
    fn end(&mut self) -> Result<(), Flaw> {
        match self.state {
            State::Rest if self.last != b'}' => return Err(Flaw::End),
            State::Rest | State::After => {}
            _ => return Err(Flaw::Early),
        }
        self.state = State::Begin;
        self.found = Found::default();
        (self.before, self.joined, self.last) = (0, 0, 0);
        Ok(())
    }

    /// Reads on from `position`, by a token or to the end of the piece. Gives the next position.
    fn step(&mut self, text: &[u8], position: usize) -> Result<usize, Flaw> {
        match self.state {
            State::Name => self.name(text, position),
            State::Type => self.type_name(text, position),
            State::Text => Ok(self.text(text, position)),
            State::Nested | State::NestedText => self.nested(text, position),
            State::Plain => Ok(self.plain(text, position)),
            State::Id => {
                if text[position] == b'"' {
                    return Err(Flaw::EmptyId);
                }
                self.found.id = true;
                self.id.clone_from(&self.ids);
                self.state = State::Text;
                Ok(position)
            }
            _ if text[position].is_ascii_whitespace() => Ok(position + 1),
            _ => self.punctuation(text[position], position),
        }
    }

    /// A byte between keys and values that is no white space.
    fn punctuation(&mut self, byte: u8, position: usize) -> Result<usize, Flaw> {
        self.state = match (self.state, byte) {
            (State::Begin, b'{') => State::First,
            (State::Begin, other) => return Err(Flaw::Begin(other)),
            (State::First | State::Next, b'"') => {
                self.token.clear();
                State::Name
            }
            (State::First | State::Comma, b'}') if !self.found.resource_type => {
                return Err(Flaw::Type(None));
            }
            (State::First | State::Comma, b'}') if !self.found.id => return Err(Flaw::NoId),
            (State::First | State::Comma, b'}') => State::After,
            (State::Comma, b',') => State::Next,
            (State::Colon, b':') => State::Value,
            (State::Value, _) => self.value(byte, position)?,
            _ => return Err(at(position)),
        };
        Ok(position + 1)
    }

    /// The first byte of a value. Gives what follows it.
    fn value(&mut self, byte: u8, position: usize) -> Result<State, Flaw> {
        Ok(match (self.key, byte) {
            (Key::Type, b'"') => {
                self.token.clear();
                State::Type
            }
            (Key::Type, _) => return Err(Flaw::Type(None)),
            (Key::Id, b'"') => State::Id,
            (Key::Id, _) => return Err(Flaw::NoId),
            (Key::Other, b'"') => State::Text,
            (Key::Other, b'{' | b'[') => {
                self.bracket(byte).ok_or_else(|| at(position))?;
                State::Nested
            }
            (Key::Other, b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => State::Plain,
            (Key::Other, _) => return Err(at(position)),
        })
    }

    fn value_ends(&mut self) {
        self.state = if self.found.resource_type && self.found.id && !self.whole {
            State::Rest
        } else {
            State::Comma
        };
    }

    fn name(&mut self, text: &[u8], position: usize) -> Result<usize, Flaw> {
        let Some(next) = self.token.read(text, position).map_err(at)? else {
            return Ok(text.len());
        };
        self.key = match self.token.bytes() {
            Some(b"resourceType") if self.found.resource_type => return Err(Flaw::Twice),
            Some(b"resourceType") => Key::Type,
            Some(b"id") if self.found.id => return Err(Flaw::Twice),
            Some(b"id") => Key::Id,
            _ => Key::Other,
        };
        self.state = State::Colon;
        Ok(next)
    }

    fn type_name(&mut self, text: &[u8], position: usize) -> Result<usize, Flaw> {
        let Some(next) = self.token.read(text, position).map_err(at)? else {
            return Ok(text.len());
        };
        check_type(self.token.text(), &self.resource_type)?;
        self.found.resource_type = true;
        self.value_ends();
        Ok(next)
    }

    fn text(&mut self, text: &[u8], position: usize) -> usize {
        let end = self.skip_string(text, position);
        let next = end.unwrap_or(text.len());
        if self.key == Key::Id {
            self.id.take(&text[position..next]);
        }
        if end.is_some() {
            self.value_ends();
        }
        next
    }

    fn plain(&mut self, text: &[u8], position: usize) -> usize {
        let length = text[position..]
            .iter()
            .position(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')));
        length.map_or(text.len(), |length| {
            self.value_ends();
            position + length
        })
    }

    fn nested(&mut self, text: &[u8], position: usize) -> Result<usize, Flaw> {
        let mut strings = Strings {
            inside: self.state == State::NestedText,
            escaped: self.escaped,
        };
        for (block, bytes) in text[position..].chunks(brackets::WIDTH).enumerate() {
            let mut marks = strings.brackets(bytes);
            while marks != 0 {
                let place = position + block * brackets::WIDTH + marks.trailing_zeros() as usize;
                self.bracket(text[place]).ok_or_else(|| at(place))?;
                if self.depth == 0 {
                    self.escaped = false;
                    self.value_ends();
                    return Ok(place + 1);
                }
                marks &= marks - 1;
            }
        }
        self.escaped = strings.escaped;
        self.state = if strings.inside {
            State::NestedText
        } else {
            State::Nested
        };
        Ok(text.len())
    }

    /// Gives the place after the string's closing quotation mark, or `None` where that has not come yet.
    fn skip_string(&mut self, text: &[u8], mut position: usize) -> Option<usize> {
        position += usize::from(self.escaped);
        self.escaped = false;
        while let Some(rest) = text.get(position..) {
            position += memchr2(b'"', b'\\', rest)?;
            if text[position] == b'"' {
                return Some(position + 1);
            }
            position += 2;
        }
        // The escape's second byte is in the next piece.
        self.escaped = true;
        None
    }

    /// Opens a bracket, or closes the one that is open. `None` where it is another one's, or no bracket.
    #[inline]
    fn bracket(&mut self, byte: u8) -> Option<()> {
        let brace = u128::from(matches!(byte, b'{' | b'}'));
        match byte {
            b'{' | b'[' => {
                if self.depth < KINDS {
                    self.kinds &= !(1 << self.depth);
                    self.kinds |= brace << self.depth;
                }
                self.depth += 1;
            }
            b'}' | b']' => {
                self.depth = self.depth.checked_sub(1)?;
                if self.depth < KINDS && self.kinds >> self.depth & 1 != brace {
                    return None;
                }
            }
            _ => return None,
        }
        Some(())
    }
}

fn at(position: usize) -> Flaw {
    Flaw::At(position as u64)
}
