//! A file of several types, as `organizeOutputBy` makes them (Bulk Data Access IG 3, "Bulk Data Output File
//! Organization"): its lines go, in the one pass over its bytes, to objects of their own type, as many as the memory asks
//! for. The header lines, which say where the block of a patient begins, are no resources and are left out.
//!
//! Nobody goes on in the middle of such a file: an attempt begins at its beginning, and the same bytes with the same
//! `TRANSFER_MEMORY` make the same objects again. Those of another memory have other names, so that two processes do not
//! write over each other's. The file is done when its record says so, which comes last and names them all; who finds that
//! another process was first takes its own objects away, and [`super::pieces`] does when the run is whole.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use memchr::memchr;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::budget::Buffer;
use super::check::BadLine;
use super::engine::{Engine, Halt, name_of};
use super::ids::Hashes;
use super::pieces;
use super::plan::File;
use super::sizes::PartSizes;
use crate::config::Validate;
use crate::error::{Kind, Result};
use crate::manifest::is_type_name;
use crate::staging::layout;
use crate::staging::{DoneRecord, Hint, StagedObject, Sum};

const BOM: &[u8] = b"\xef\xbb\xbf";

/// What is wrong with a line that has a carriage return elsewhere than at its end.
const TORN: &str =
    "has a carriage return that no line feed follows, where Pathling would end the line";

/// A file has no more types than this: each takes memory that no budget knows of. FHIR has some 160.
const MOST_TYPES: usize = 1000;

/// What is wrong with a line that has one more.
const TOO_MANY: &str = "is of one more resourceType than the 1000 that a file may hold";

/// One attempt at a file of several types.
pub(super) struct Splitter {
    engine: Arc<Engine>,
    file: Arc<File>,
    /// The leave to hold so many bytes.
    leave: Option<Buffer>,
    /// How many bytes may be held, the unfinished line with them.
    limit: usize,
    line: Vec<u8>,
    /// Whole lines so far, and where the next one begins in the source file.
    lines: u64,
    offset: u64,
    types: BTreeMap<String, Pile>,
    /// The bytes of all piles.
    held: usize,
    headers: u64,
    objects: Vec<StagedObject>,
    /// The ids of each of these.
    hashes: Vec<(String, Hashes)>,
    others: Others,
}

/// What is known of other processes at the same file, and of what this one stored in all its attempts.
#[derive(Default)]
struct Others {
    /// How the file is cut here is written down.
    noted: bool,
    stored: BTreeSet<String>,
    /// The record of another process, which was first.
    record: Option<DoneRecord>,
    /// There is a record, and not all that it names: this process's own will take its place.
    untrue: bool,
}

/// The resources of one type.
#[derive(Default)]
struct Pile {
    /// Those that are not stored yet, one on each line.
    text: Vec<u8>,
    resources: u64,
    /// How many objects are stored.
    pieces: usize,
    /// The ids of those that are not stored yet.
    hashes: Option<Hashes>,
}

/// What a line is that holds a resource.
#[derive(Debug, PartialEq)]
pub(crate) struct Resource<'a> {
    /// Its type.
    pub(crate) name: Cow<'a, str>,
    /// Its id.
    pub(crate) id: Cow<'a, str>,
}

/// The top-level keys of a line. All else is read for its form alone.
#[derive(Deserialize)]
struct Top<'a> {
    #[serde(borrow, rename = "resourceType")]
    resource_type: Option<Text<'a>>,
    #[serde(borrow)]
    id: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Text<'a> {
    Is(#[serde(borrow)] Cow<'a, str>),
    IsNot(IgnoredAny),
}

impl Splitter {
    pub(super) fn new(engine: Arc<Engine>, file: Arc<File>) -> Self {
        let limit = PartSizes::limit_of(engine.settings.memory);
        Self {
            engine,
            file,
            leave: None,
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            line: Vec::new(),
            lines: 0,
            offset: 0,
            types: BTreeMap::new(),
            held: 0,
            headers: 0,
            objects: Vec::new(),
            hashes: Vec::new(),
            others: Others::default(),
        }
    }

    /// Takes memory before the file is asked for.
    pub(super) async fn reserve(&mut self) -> Result<(), Halt> {
        if self.leave.is_none() {
            let engine = Arc::clone(&self.engine);
            self.leave = Some(
                engine
                    .unless_stopped(engine.budget.take(self.limit))
                    .await?,
            );
        }
        Ok(())
    }

    /// Forgets what came, for it comes again from the beginning.
    pub(super) fn begin(&mut self) {
        let (leave, others) = (self.leave.take(), std::mem::take(&mut self.others));
        *self = Self::new(Arc::clone(&self.engine), Arc::clone(&self.file));
        (self.leave, self.others) = (leave, others);
    }

    /// Gives the memory back.
    pub(super) fn rest(&mut self) {
        self.begin();
        self.leave = None;
    }

    /// Whether it holds memory.
    pub(super) fn holds_memory(&self) -> bool {
        self.leave.is_some()
    }

    /// How many bytes of the file came.
    pub(super) fn seen(&self) -> u64 {
        self.offset + self.line.len() as u64
    }

    /// Takes the next bytes of the file.
    pub(super) async fn take(&mut self, chunk: &[u8]) -> Result<(), Halt> {
        let mut rest = chunk;
        while let Some(end) = memchr(b'\n', rest) {
            let (text, after) = (&rest[..end], &rest[end + 1..]);
            if self.line.is_empty() {
                self.whole_line(text)?;
            } else {
                self.line.extend_from_slice(text);
                let line = std::mem::take(&mut self.line);
                self.whole_line(&line)?;
            }
            rest = after;
            while self.held > self.limit / 2 {
                self.store_largest().await?;
            }
        }
        self.line.extend_from_slice(rest);
        if self.line.len() > self.limit / 2 {
            let memory = self.engine.settings.memory;
            return Err(Kind::Configuration
                .error(format!(
                    "{}: line {} has more than the {} bytes that a line of a mixed file may have with TRANSFER_MEMORY={memory}",
                    name_of(&self.file.url),
                    self.lines + 1,
                    self.limit / 2
                ))
                .next("Set TRANSFER_MEMORY to eight times the longest line, and start again.")
                .into());
        }
        Ok(())
    }

    /// Every byte has come: stores the rest, and the record.
    pub(super) async fn finish(&mut self) -> Result<DoneRecord, Halt> {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.whole_line(&line)?;
        }
        let resources: BTreeMap<String, u64> = self
            .types
            .iter()
            .map(|(name, pile)| (name.clone(), pile.resources))
            .collect();
        let found: u64 = resources.values().sum();
        // The specification does not say whether the headers count.
        let counts = [found, found + self.headers];
        if let Some(promised) = self.file.broken_promise(|count| counts.contains(&count)) {
            return Err(Kind::Integrity
                .error(format!(
                    "{} holds {found} resources, and the manifest promises {promised}",
                    name_of(&self.file.url)
                ))
                .into());
        }
        while self.held > 0 {
            self.store_largest().await?;
        }
        if let Some(theirs) = self.others.record.take() {
            self.leave = None;
            return Ok(theirs);
        }
        let mut done = DoneRecord::new(&self.engine.export, resources, BTreeMap::new());
        done.size = self.objects.iter().map(|object| object.size).sum();
        done.objects = std::mem::take(&mut self.objects);
        let (staging, part_key) = (&self.engine.staging, &self.file.part_key);
        let send = || staging.record_pieces(part_key, done.clone());
        let what = staging.url(part_key);
        let done = Box::pin(self.engine.to_store(&what, 0, send, || false)).await;
        self.leave = None;
        let done = done?;
        self.take_away_but(&done).await?;
        for (key, hashes) in self.hashes.drain(..) {
            self.engine.ids.keep(&key, hashes);
        }
        Ok(done)
    }

    /// Puts a line to its type.
    fn whole_line(&mut self, line: &[u8]) -> Result<(), Halt> {
        let text = match self.lines {
            0 => line.strip_prefix(BOM).unwrap_or(line),
            _ => line,
        };
        if !text.trim_ascii().is_empty() {
            match self.resource_of(text) {
                Ok(Some(Resource { name, id })) => {
                    if !self.types.contains_key(name.as_ref()) {
                        self.types
                            .insert(name.clone().into_owned(), Pile::default());
                    }
                    if let Some(pile) = self.types.get_mut(name.as_ref()) {
                        pile.text.extend_from_slice(text);
                        pile.text.push(b'\n');
                        pile.resources += 1;
                        let hashes = pile
                            .hashes
                            .get_or_insert_with(|| self.engine.ids.of(&name, 0));
                        hashes.push(hashes.hasher().whole(&id));
                    }
                    self.held += text.len() + 1;
                }
                Ok(None) => self.headers += 1,
                Err(why) => {
                    let bad = BadLine {
                        line: self.lines + 1,
                        offset: self.offset,
                        why,
                    };
                    let url = name_of(&self.file.url);
                    return Err(Kind::Integrity.error(format!("{url}: {bad}")).into());
                }
            }
        }
        self.lines += 1;
        self.offset += line.len() as u64 + 1;
        Ok(())
    }

    /// The resource on a line, as [`resource_of`] says, if the line is none that a reader would tear.
    fn resource_of<'a>(&self, line: &'a [u8]) -> Result<Option<Resource<'a>>, String> {
        let (_, inside) = line.split_last().unwrap_or((&0, b""));
        let torn = memchr(b'\r', inside).is_some();
        if torn && self.engine.settings.validate != Validate::None {
            return Err(TORN.to_owned());
        }
        let resource = resource_of(line)?;
        let is_new = |it: &Resource<'_>| !self.types.contains_key(it.name.as_ref());
        if self.types.len() == MOST_TYPES && resource.as_ref().is_some_and(is_new) {
            return Err(TOO_MANY.to_owned());
        }
        Ok(resource)
    }

    /// Stores what is held of the type of which that is most; of two, that of the name that comes later.
    async fn store_largest(&mut self) -> Result<(), Halt> {
        let largest = self
            .types
            .iter_mut()
            .max_by_key(|(_, pile)| pile.text.len());
        let Some((name, pile)) = largest else {
            return Ok(());
        };
        let File {
            run, index, url, ..
        } = &*self.file;
        let cut = self.limit as u64;
        let key = layout::piece_key(run, name, *index, url.as_str(), cut, pile.pieces);
        let bytes = Bytes::from(std::mem::take(&mut pile.text));
        pile.pieces += 1;
        let hashes = pile.hashes.take();
        self.held -= bytes.len();
        if self.others.record.is_some() {
            return Ok(());
        }
        let engine = Arc::clone(&self.engine);
        if !self.others.noted {
            let cuts = layout::cuts_key(run, *index);
            let note = || pieces::note_cut(&engine.staging, &cuts, cut);
            let what = engine.staging.url(&cuts);
            let noted = Box::pin(engine.to_store(&what, 0, note, || false));
            engine.unless_stopped(noted).await??;
            self.others.noted = true;
        }
        let sum = Sum::of(engine.staging.algorithm(), &bytes);
        let send = || engine.staging.put_piece(&key, bytes.clone(), sum);
        let what = engine.staging.url(&key);
        let stored = Box::pin(engine.to_store(&what, sum.length, send, || false));
        self.others.stored.insert(key.clone());
        engine.unless_stopped(stored).await??;
        self.hashes
            .extend(hashes.map(|hashes| (key.clone(), hashes)));
        self.objects.push(StagedObject {
            key,
            size: sum.length,
        });
        self.look_for_others().await
    }

    /// Whether another process has the file done by now, after each object: the import would read what is stored here
    /// besides. What comes of the file from then on is looked at and stored no more.
    async fn look_for_others(&mut self) -> Result<(), Halt> {
        if self.others.untrue {
            return Ok(());
        }
        let engine = Arc::clone(&self.engine);
        let (staging, part_key) = (&engine.staging, &self.file.part_key);
        let what = staging.url(part_key);
        let head = || staging.head(part_key);
        let there = Box::pin(engine.to_store(&what, 0, head, || false)).await?;
        if there.is_none() {
            return Ok(());
        }
        let ask = || staging.recorded_pieces(part_key, Hint::Unknown);
        match Box::pin(engine.to_store(&what, 0, ask, || false)).await? {
            Some(theirs) => {
                self.take_away_but(&theirs).await?;
                self.others.record = Some(theirs);
            }
            None => self.others.untrue = true,
        }
        Ok(())
    }

    /// Takes away what this process stored and the record does not name.
    async fn take_away_but(&mut self, done: &DoneRecord) -> Result<(), Halt> {
        for object in &done.objects {
            self.others.stored.remove(&object.key);
        }
        while let Some(key) = self.others.stored.pop_last() {
            pieces::remove_left_over(&self.engine.staging, &key).await?;
        }
        Ok(())
    }
}

/// The resource on a line; `None` for a header; or what is wrong with it, without its content.
pub(crate) fn resource_of(line: &[u8]) -> Result<Option<Resource<'_>>, String> {
    let text = simdutf8::basic::from_utf8(line).map_err(|_| "is not UTF-8".to_owned())?;
    let top: Top<'_> = serde_json::from_str(text)
        .map_err(|error| format!("is not one JSON object (at column {})", error.column()))?;
    let name = match top.resource_type {
        Some(Text::Is(name)) if is_type_name(&name) => name,
        _ => return Err("has no resourceType that is a type's name".to_owned()),
    };
    match top.id {
        Some(Text::Is(id)) if id.is_empty() => Err("has an id that is empty".to_owned()),
        Some(Text::Is(id)) => Ok(Some(Resource { name, id })),
        None if name == "Parameters" => Ok(None),
        _ => Err("has no id that is a string".to_owned()),
    }
}

#[cfg(test)]
#[path = "split_tests.rs"]
mod tests;
