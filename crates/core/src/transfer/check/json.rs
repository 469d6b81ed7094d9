//! Lines that are parsed. A line inside one piece is parsed where it lies; one that comes in several is collected.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::keys::{Flaw, check_type};
use super::scan::Scanner;
use crate::transfer::ids::IdHasher;

/// The longest line that is parsed, in bytes. A longer one goes through the [`Scanner`].
pub(crate) const PARSE_LIMIT: usize = crate::lines::LONGEST;

/// Parses lines of one type, piece by piece.
#[derive(Debug)]
pub(super) struct Parser {
    resource_type: String,
    scanner: Scanner,
    /// The beginning of a line whose end has not come yet.
    line: Vec<u8>,
    /// Whether the line is longer than what is parsed, and so with the scanner.
    long: bool,
    /// What the hash of an id begins with, and that of the last line's.
    ids: IdHasher,
    id: u64,
}

impl Parser {
    pub(super) fn new(resource_type: &str) -> Self {
        Self {
            resource_type: resource_type.to_owned(),
            scanner: Scanner::whole(resource_type),
            line: Vec::new(),
            long: false,
            ids: IdHasher::default(),
            id: 0,
        }
    }

    /// Has the hashes of ids begin so.
    pub(super) fn hash_with(&mut self, ids: IdHasher) {
        self.scanner.hash_with(ids.clone());
        self.ids = ids;
    }

    /// The hash of the last line's id.
    pub(super) fn id_hash(&self) -> u64 {
        self.id
    }

    /// The bytes of memory that the unfinished line takes.
    pub(super) fn held(&self) -> usize {
        self.line.capacity()
    }

    /// Looks at the next piece of a line, of which `before` bytes came already. All of it is UTF-8.
    pub(super) fn piece(&mut self, text: &[u8], ends: bool) -> Result<(), Flaw> {
        if !self.long {
            if self.line.len() + text.len() <= PARSE_LIMIT {
                return self.short(text, ends);
            }
            self.long = true;
            let line = std::mem::take(&mut self.line);
            self.scanner.piece(&line, false, false)?;
        }
        self.long = !ends;
        self.scanner.piece(text, ends, false)?;
        self.id = self.scanner.id_hash();
        Ok(())
    }

    fn short(&mut self, text: &[u8], ends: bool) -> Result<(), Flaw> {
        if ends && self.line.is_empty() {
            return self.parse(text);
        }
        let needed = self.line.len() + text.len();
        if needed > self.line.capacity() {
            // It doubles, but never past the longest line.
            let capacity = needed.max(PARSE_LIMIT.min(2 * self.line.capacity()));
            self.line.reserve_exact(capacity - self.line.len());
        }
        self.line.extend_from_slice(text);
        if !ends {
            return Ok(());
        }
        let line = std::mem::take(&mut self.line);
        self.parse(&line)
    }

    fn parse(&mut self, line: &[u8]) -> Result<(), Flaw> {
        let text = line.trim_ascii_end();
        match text.trim_ascii_start().first() {
            Some(b'{') => {}
            other => return Err(Flaw::Begin(other.copied().unwrap_or_default())),
        }
        // It is UTF-8, as was seen before; one quick look more saves the parser one at each string.
        let text = simdutf8::compat::from_utf8(text)
            .map_err(|error| Flaw::At(error.valid_up_to() as u64))?;
        let found: Found = serde_json::from_str(text).map_err(|error| {
            // The parser's message may quote the line; its column may not.
            if error.is_data() {
                Flaw::Twice
            } else {
                Flaw::At(error.column().saturating_sub(1) as u64)
            }
        })?;
        check_type(found.resource_type.as_deref(), &self.resource_type)?;
        match found.id {
            Some(id) if !id.is_empty() => {
                self.id = self.ids.clone().whole(&id);
                Ok(())
            }
            Some(_) => Err(Flaw::EmptyId),
            None => Err(Flaw::NoId),
        }
    }
}

/// The two top-level keys of a resource that matter here. The rest is checked to be JSON and dropped.
struct Found {
    resource_type: Option<String>,
    id: Option<String>,
}

impl<'de> Deserialize<'de> for Found {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Found;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found, A::Error> {
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
                            return Err(A::Error::custom("a key stands twice"));
                        }
                    }
                }
                Ok(Found {
                    resource_type: resource_type.flatten(),
                    id: id.flatten(),
                })
            }
        }
        deserializer.deserialize_map(Object)
    }
}

enum Key {
    ResourceType,
    Id,
    Other,
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;
        impl Visitor<'_> for Name {
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
        deserializer.deserialize_identifier(Name)
    }
}

/// A value that may be a string. Any other is dropped as it is read, for it may be large.
struct Text(Option<String>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Text;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_str<E>(self, text: &str) -> Result<Text, E> {
                Ok(Text(Some(text.to_owned())))
            }
            fn visit_bool<E>(self, _: bool) -> Result<Text, E> {
                Ok(Text(None))
            }
            fn visit_i64<E>(self, _: i64) -> Result<Text, E> {
                Ok(Text(None))
            }
            fn visit_u64<E>(self, _: u64) -> Result<Text, E> {
                Ok(Text(None))
            }
            fn visit_f64<E>(self, _: f64) -> Result<Text, E> {
                Ok(Text(None))
            }
            fn visit_unit<E>(self) -> Result<Text, E> {
                Ok(Text(None))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Text, A::Error> {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Text(None))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Text, A::Error> {
                while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Text(None))
            }
        }
        deserializer.deserialize_any(Any)
    }
}
