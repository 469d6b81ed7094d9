//! The checks of NDJSON as it streams by, and the bytes that are staged for it.
//!
//! Blank lines and a byte-order mark are dropped, a missing last newline is added, CRLF is kept; every other byte passes
//! unchanged. Each line must be a JSON object of the declared type with an `id` that is a string and not empty: Pathling
//! is harmed by anything else. What fails names the line's number and byte offset in the source file, never its content.

use std::fmt;

use bytes::{Bytes, BytesMut};
use memchr::memchr;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

/// The largest line: one resource is held in memory while it is checked.
pub const LINE_LIMIT: usize = 64 << 20;

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

/// Checks one file's lines, however its bytes are cut into chunks.
#[derive(Debug)]
pub struct LineChecker {
    resource_type: String,
    /// The beginning of a line whose end has not come yet.
    partial: BytesMut,
    /// Where the partial line, or else the next byte, is in the source file.
    offset: u64,
    line: u64,
    resources: u64,
}

impl LineChecker {
    /// A checker for a file of resources of this type.
    #[must_use]
    pub fn new(resource_type: &str) -> Self {
        Self {
            resource_type: resource_type.to_owned(),
            partial: BytesMut::new(),
            offset: 0,
            line: 0,
            resources: 0,
        }
    }

    /// How many resources passed so far.
    #[must_use]
    pub fn resources(&self) -> u64 {
        self.resources
    }

    /// Takes the next bytes of the source file and hands the bytes to stage to `keep`, in order.
    pub fn chunk(&mut self, mut chunk: Bytes, mut keep: impl FnMut(Bytes)) -> Result<(), BadLine> {
        // Whole lines that lie side by side are handed on as one slice of the chunk, without a copy.
        let mut run_start = 0;
        let mut position = 0;
        if !self.partial.is_empty() {
            let Some(end) = memchr(b'\n', &chunk) else {
                return self.hold(&chunk);
            };
            self.hold(&chunk[..=end])?;
            let line = self.partial.split().freeze();
            self.whole_line(&line, &mut keep)?;
            chunk = chunk.slice(end + 1..);
        }
        while let Some(length) = memchr(b'\n', &chunk[position..]) {
            let end = position + length + 1;
            let line = &chunk[position..end];
            match self.verdict(line)? {
                Verdict::Keep => {}
                Verdict::Drop(bytes) => {
                    if run_start < position {
                        keep(chunk.slice(run_start..position));
                    }
                    run_start = position + bytes;
                }
            }
            self.offset += (end - position) as u64;
            position = end;
        }
        if run_start < position {
            keep(chunk.slice(run_start..position));
        }
        self.hold(&chunk[position..])
    }

    /// Says that the source file ended: a last line without a newline gets one.
    pub fn finish(&mut self, mut keep: impl FnMut(Bytes)) -> Result<(), BadLine> {
        if self.partial.is_empty() {
            return Ok(());
        }
        self.partial.extend_from_slice(b"\n");
        let line = self.partial.split().freeze();
        self.whole_line(&line, &mut keep)
    }

    fn hold(&mut self, bytes: &[u8]) -> Result<(), BadLine> {
        if self.partial.len() + bytes.len() > LINE_LIMIT {
            self.line += 1;
            return Err(self.bad(format!("is longer than {} MiB", LINE_LIMIT >> 20)));
        }
        self.partial.extend_from_slice(bytes);
        Ok(())
    }

    fn whole_line(&mut self, line: &Bytes, keep: &mut impl FnMut(Bytes)) -> Result<(), BadLine> {
        match self.verdict(line)? {
            Verdict::Keep => keep(line.clone()),
            Verdict::Drop(bytes) if bytes < line.len() => keep(line.slice(bytes..)),
            Verdict::Drop(_) => {}
        }
        self.offset += line.len() as u64;
        Ok(())
    }

    /// What to do with a line, its newline included: keep it, or drop so many bytes of its beginning.
    fn verdict(&mut self, line: &[u8]) -> Result<Verdict, BadLine> {
        self.line += 1;
        let (text, mark) = match line.strip_prefix(BOM) {
            Some(rest) if self.line == 1 => (rest, BOM.len()),
            _ => (line, 0),
        };
        if text.iter().all(u8::is_ascii_whitespace) {
            return Ok(Verdict::Drop(line.len()));
        }
        self.resource(text)?;
        self.resources += 1;
        Ok(if mark == 0 {
            Verdict::Keep
        } else {
            Verdict::Drop(mark)
        })
    }

    fn resource(&self, text: &[u8]) -> Result<(), BadLine> {
        // What the parser skips it does not look at closely enough to see this.
        let text = std::str::from_utf8(text.trim_ascii_end())
            .map_err(|_| self.bad("is not UTF-8".to_owned()))?;
        let keys: Keys = serde_json::from_str(text).map_err(|error| {
            // The parser's message may quote the line; its column may not.
            self.bad(if error.is_data() {
                "is no JSON object, or has resourceType or id twice".to_owned()
            } else {
                format!("is not one JSON object (at column {})", error.column())
            })
        })?;
        match keys.resource_type {
            Some(found) if found == self.resource_type => {}
            // A type's name is no patient's data, but what stands in its place could be.
            Some(found) if crate::manifest::is_type_name(&found) => {
                return Err(self.bad(format!("is a {found}, not a {}", self.resource_type)));
            }
            _ => {
                return Err(self.bad(format!(
                    "has no resourceType; {} is expected",
                    self.resource_type
                )));
            }
        }
        match keys.id {
            Some(id) if !id.is_empty() => Ok(()),
            Some(_) => Err(self.bad("has an id that is empty".to_owned())),
            None => Err(self.bad("has no id that is a string".to_owned())),
        }
    }

    fn bad(&self, why: String) -> BadLine {
        BadLine {
            line: self.line,
            offset: self.offset,
            why,
        }
    }
}

enum Verdict {
    Keep,
    Drop(usize),
}

/// The two top-level keys of a resource that matter here. The rest is checked to be JSON and dropped.
struct Keys {
    resource_type: Option<String>,
    id: Option<String>,
}

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeysVisitor;
        impl<'de> Visitor<'de> for KeysVisitor {
            type Value = Keys;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                let (mut resource_type, mut id) = (None, None);
                while let Some(key) = map.next_key::<Key>()? {
                    match key {
                        Key::ResourceType if resource_type.is_none() => {
                            resource_type = Some(map.next_value::<Text>()?.0);
                        }
                        Key::Id if id.is_none() => id = Some(map.next_value::<Text>()?.0),
                        Key::Other => {
                            map.next_value::<IgnoredAny>()?;
                        }
                        // Which of two a reader takes is anybody's guess.
                        Key::ResourceType | Key::Id => {
                            return Err(serde::de::Error::custom("a key is given twice"));
                        }
                    }
                }
                Ok(Keys {
                    resource_type: resource_type.flatten(),
                    id: id.flatten(),
                })
            }
        }
        deserializer.deserialize_map(KeysVisitor)
    }
}

enum Key {
    ResourceType,
    Id,
    Other,
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl Visitor<'_> for KeyVisitor {
            type Value = Key;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_str<E>(self, key: &str) -> Result<Key, E> {
                Ok(match key {
                    "resourceType" => Key::ResourceType,
                    "id" => Key::Id,
                    _ => Key::Other,
                })
            }
        }
        deserializer.deserialize_identifier(KeyVisitor)
    }
}

/// A value that may be a string.
struct Text(Option<String>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        Ok(Self(match value {
            serde_json::Value::String(text) => Some(text),
            _ => None,
        }))
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
