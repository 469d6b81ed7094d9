//! A short string of JSON, a key's or a type's name, as what it means and cut anywhere.

use memchr::memchr2;

/// The longest text that matters: a type's name has at most so many letters.
const LIMIT: usize = 64;

/// The text so far.
#[derive(Debug)]
pub(super) struct Token {
    bytes: [u8; LIMIT],
    length: usize,
    /// Whether it is none that matters: too long, or with a character that no name has.
    other: bool,
    escape: Escape,
}

#[derive(Clone, Copy, Debug)]
enum Escape {
    Outside,
    /// After the backslash.
    Begun,
    /// Among the digits after `\u`.
    Digits {
        missing: u8,
        value: u32,
    },
}

impl Token {
    pub(super) fn new() -> Self {
        Self {
            bytes: [0; LIMIT],
            length: 0,
            other: false,
            escape: Escape::Outside,
        }
    }

    /// Begins another string.
    pub(super) fn clear(&mut self) {
        (self.length, self.other, self.escape) = (0, false, Escape::Outside);
    }

    /// What it means, where that is a text that can matter.
    pub(super) fn text(&self) -> Option<&str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// The bytes of what it means.
    pub(super) fn bytes(&self) -> Option<&[u8]> {
        (!self.other).then_some(&self.bytes[..self.length])
    }

    /// Reads on from `position`. Gives the place after the closing quotation mark, or `None` where that has not come yet.
    /// What is no escape is an error, with its place.
    pub(super) fn read(
        &mut self,
        text: &[u8],
        mut position: usize,
    ) -> Result<Option<usize>, usize> {
        while let Some(&byte) = text.get(position) {
            match self.escape {
                Escape::Outside => {
                    let rest = &text[position..];
                    let length = memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
                    self.push(&rest[..length]);
                    position += length + 1;
                    match rest.get(length) {
                        Some(b'"') => return Ok(Some(position)),
                        Some(_) => self.escape = Escape::Begun,
                        None => return Ok(None),
                    }
                    continue;
                }
                Escape::Begun => {
                    self.escape = Escape::Outside;
                    match byte {
                        b'"' | b'\\' | b'/' => self.push(&[byte]),
                        b'b' | b'f' | b'n' | b'r' | b't' => self.other = true,
                        b'u' => {
                            self.escape = Escape::Digits {
                                missing: 4,
                                value: 0,
                            };
                        }
                        _ => return Err(position),
                    }
                }
                Escape::Digits { missing, value } => {
                    let digit = char::from(byte).to_digit(16).ok_or(position)?;
                    let value = value << 4 | digit;
                    let missing = missing - 1;
                    self.escape = Escape::Digits { missing, value };
                    if missing == 0 {
                        self.escape = Escape::Outside;
                        match u8::try_from(value) {
                            Ok(byte) if byte.is_ascii() => self.push(&[byte]),
                            _ => self.other = true,
                        }
                    }
                }
            }
            position += 1;
        }
        Ok(None)
    }

    fn push(&mut self, bytes: &[u8]) {
        let length = self.length + bytes.len();
        if let Some(room) = self.bytes.get_mut(self.length..length) {
            room.copy_from_slice(bytes);
            self.length = length;
        } else {
            self.other = true;
        }
    }
}
