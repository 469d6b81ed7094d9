//! The way of one file's checked bytes into staging: a buffer that fills, parts that go up side by side while the next
//! one fills, and in the end the object. What lets another process go on is the file's [`state`].
//!
//! A part is sent once: when the same file comes a second time, from its beginning, the parts that are there already
//! and have the same sum are left as they are.
//!
//! It knows neither the source nor lines. What is tried anew when something breaks is the copy's business.

mod state;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::budget::Buffer;
use super::check::LineMark;
use super::engine::{Engine, Halt};
use super::plan::File;
use super::sizes::PartSizes;
use crate::error::{Error, Kind, Result};
use crate::staging::{DoneRecord, PARTS, SourceMark, Sum, UnderWay, Upload};
use state::State;

/// With how much memory a file of unknown length begins.
const FIRST_BUFFER: usize = 256 << 10;

/// What a part's task ended with: its number.
type Landed = std::result::Result<Result<u32>, tokio::task::JoinError>;

/// One file on its way into staging.
pub(super) struct Outbound {
    engine: Arc<Engine>,
    file: Arc<File>,
    upload: Upload,
    sizes: PartSizes,
    /// The part that is being filled, counted from 1.
    number: u32,
    /// Where it begins in the staged object.
    begun: u64,
    /// How many bytes that come next are staged already.
    skip: u64,
    buffer: Option<Buffer>,
    /// The sum of all parts before.
    total: Sum,
    flights: JoinSet<Result<u32>>,
    /// How far it is, for whoever goes on.
    state: State,
}

impl Outbound {
    /// A file of which nothing is staged; `upload` may hold parts of it all the same.
    pub(super) fn new(engine: Arc<Engine>, file: Arc<File>, upload: Upload) -> Self {
        let total = Sum::empty(engine.staging.algorithm());
        let limit = PartSizes::limit_of(engine.settings.memory);
        Self {
            engine,
            file,
            upload,
            sizes: PartSizes {
                limit,
                length: None,
            },
            number: 1,
            begun: 0,
            skip: 0,
            buffer: None,
            total,
            flights: JoinSet::new(),
            state: State::new(None),
        }
    }

    /// Goes on where another process stopped: gives the line to go on from, or `None` where that cannot be had.
    pub(super) fn take_up(&mut self, left: &UnderWay) -> Option<LineMark> {
        let position = &left.position;
        let largest = left.parts.iter().map(|part| part.size).max()?;
        if largest > self.sizes.limit {
            return None;
        }
        let length = position.source.as_ref()?.length;
        // With parts as small as before it may run out of them again.
        if length.is_none() && left.part_limit < self.sizes.limit {
            return None;
        }
        let (state, total) = State::take_up(position, &self.upload)?;
        self.skip = total.length.checked_sub(position.staged_offset)?;
        self.begun = total.length;
        self.total = total;
        self.number = position.parts + 1;
        self.sizes = PartSizes {
            limit: left.part_limit.min(self.sizes.limit),
            length,
        };
        let mark = state.mark().copied();
        self.state = state;
        mark
    }

    /// Begins from the file's beginning. What is stored of it is compared with what comes.
    ///
    /// Waits for the parts in flight: one that arrived late could take the place of another.
    pub(super) async fn begin(
        &mut self,
        source: Option<SourceMark>,
        length: Option<u64>,
    ) -> Result<(), Halt> {
        while self.flights.join_next().await.is_some() {}
        if self.upload.lost() {
            self.upload = self
                .engine
                .staging
                .upload(&self.file.key, &self.file.part_key);
        }
        self.buffer.take_if(|buffer| !buffer.is_empty());
        self.sizes.limit = PartSizes::limit_of(self.engine.settings.memory);
        self.sizes.length = length;
        self.total = Sum::empty(self.total.algorithm);
        (self.number, self.begun, self.skip) = (1, 0, 0);
        self.state = State::new(source);
        self.sizes.check(&super::engine::name_of(&self.file.url))?;
        Ok(())
    }

    /// Takes memory before the file is asked for: an open answer that waits for memory holds a large read buffer.
    pub(super) async fn reserve(&mut self) -> Result<(), Halt> {
        if self.buffer.is_some() {
            return Ok(());
        }
        let engine = Arc::clone(&self.engine);
        let expected = self
            .file
            .size
            .map_or_else(|| engine.typical_length(), |size| size.saturating_add(1));
        let expected = usize::try_from(expected).unwrap_or(usize::MAX);
        let bytes = expected.clamp(1, self.part_size());
        self.buffer = Some(engine.unless_stopped(engine.budget.take(bytes)).await?);
        Ok(())
    }

    /// Gives memory back before a wait: that which nothing is in, and all where the file begins anew anyway.
    pub(super) fn rest(&mut self, anew: bool) {
        self.buffer.take_if(|buffer| anew || buffer.is_empty());
    }

    /// Takes the next checked bytes. `mark` is the last line's beginning that is certainly before them.
    pub(super) async fn keep(&mut self, mut bytes: Bytes, mark: &LineMark) -> Result<(), Halt> {
        if self.skip > 0 {
            let skipped = bytes
                .len()
                .min(usize::try_from(self.skip).unwrap_or(usize::MAX));
            self.skip -= skipped as u64;
            let _ = bytes.split_to(skipped);
        }
        while !bytes.is_empty() {
            let target = self.part_size();
            if self.filled() >= target {
                self.ship(mark)?;
                continue;
            }
            let room = self.room(target).await?;
            let now = bytes.split_to(room.min(bytes.len()));
            if let Some(buffer) = &mut self.buffer {
                buffer.push(&now);
            }
        }
        Ok(())
    }

    /// Counts the bytes that the checker holds with those of the buffer.
    pub(super) async fn also(&mut self, held: usize) -> Result<(), Halt> {
        if let Some(buffer) = &mut self.buffer {
            let engine = Arc::clone(&self.engine);
            engine.unless_stopped(buffer.also(held)).await?;
        }
        Ok(())
    }

    /// Makes sure that the buffer has room, and says how much.
    async fn room(&mut self, target: usize) -> Result<usize, Halt> {
        let engine = Arc::clone(&self.engine);
        // A missing last newline is added.
        let left = self
            .sizes
            .length
            .map(|length| (length + 1).saturating_sub(self.begun));
        let left = left.map(|left| usize::try_from(left).unwrap_or(usize::MAX).max(1));
        let first = left.unwrap_or(FIRST_BUFFER).min(target);
        match &mut self.buffer {
            Some(buffer) if buffer.is_empty() && buffer.capacity() < first => {
                engine.unless_stopped(buffer.grow(first)).await?;
            }
            Some(buffer) if buffer.room() > 0 => {}
            Some(buffer) => {
                let more = match buffer.capacity() {
                    0 => first,
                    filled => (filled * 4).min(target),
                };
                engine.unless_stopped(buffer.grow(more)).await?;
            }
            none => {
                *none = Some(engine.unless_stopped(engine.budget.take(first)).await?);
            }
        }
        Ok(self
            .buffer
            .as_ref()
            .map_or(0, |buffer| buffer.room().min(target - buffer.len())))
    }

    /// How many bytes of the part there are.
    fn filled(&self) -> usize {
        self.buffer.as_ref().map_or(0, Buffer::len)
    }

    fn part_size(&self) -> usize {
        usize::try_from(self.sizes.at(self.begun)).unwrap_or(usize::MAX)
    }

    /// Sends the part that is full, and begins the next.
    fn ship(&mut self, mark: &LineMark) -> Result<(), Halt> {
        let Some(buffer) = &mut self.buffer else {
            return Ok(());
        };
        if self.number > PARTS {
            let what = super::engine::name_of(&self.file.url);
            return Err(PartSizes::ran_out(&what, self.begun).into());
        }
        let bytes = buffer.split().bytes();
        let sum = Sum::of(self.total.algorithm, &bytes);
        let (number, offset) = (self.number, self.begun);
        self.begun += sum.length;
        self.number += 1;
        self.total = self.total.and(sum);
        self.state.cut(number, *mark, self.begun);
        let there = self.upload.confirmed(number).is_some_and(|part| {
            part.offset == offset && part.size == sum.length && part.sum == Some(sum)
        });
        if there {
            self.state.landed(number);
            return Ok(());
        }
        let (engine, upload) = (Arc::clone(&self.engine), self.upload.clone());
        let what = engine.staging.url(&self.file.key);
        self.flights.spawn(async move {
            let send = || upload.part(number, offset, bytes.clone(), sum);
            let lost = || upload.lost();
            engine.to_store(&what, sum.length, send, lost).await?;
            Ok(number)
        });
        Ok(())
    }

    /// Whether parts are on their way.
    pub(super) fn has_flights(&self) -> bool {
        !self.flights.is_empty()
    }

    /// Waits for the next part to arrive; [`Self::land`] takes it. May be dropped at any time.
    pub(super) async fn arrival(&mut self) -> Option<Landed> {
        self.flights.join_next().await
    }

    /// Takes a part that has arrived.
    pub(super) fn land(&mut self, arrived: Option<Landed>) -> Result<(), Halt> {
        if let Some(arrived) = arrived {
            let number = arrived.map_err(|error| stopped(&error))??;
            self.state.landed(number);
        }
        Ok(())
    }

    /// Looks at the parts that have arrived, and now and then writes down how far it is.
    pub(super) async fn look(&mut self) -> Result<(), Halt> {
        while let Some(arrived) = self.flights.try_join_next() {
            self.land(Some(arrived))?;
        }
        if self.state.is_due() {
            self.save().await?;
        }
        Ok(())
    }

    async fn save(&mut self) -> Result<(), Halt> {
        let (upload, limit) = (&self.upload, self.sizes.limit);
        self.state.save(upload, limit, &self.file.key).await
    }

    /// Writes down how far it is, and drops the parts in flight.
    pub(super) async fn leave(&mut self) {
        self.buffer = None;
        let saved = self.note_arrived().await;
        self.flights.shutdown().await;
        if let Err(Halt::Elsewhere(_)) = saved {
            self.upload.abort().await;
        }
    }

    /// Takes the parts that have arrived, and writes down how far it is where that is further than before.
    async fn note_arrived(&mut self) -> Result<(), Halt> {
        while let Some(arrived) = self.flights.try_join_next() {
            // One that failed is sent again by whoever goes on.
            let _ = self.land(Some(arrived));
        }
        self.engine.left_under_way(self.state.uncounted());
        if self.state.came_further() {
            self.save().await?;
        }
        Ok(())
    }

    /// Stops for a while: writes down how far it is, at once, for the parts in flight may take longer than there is
    /// time; and again when more have arrived.
    pub(super) async fn park(&mut self) -> Result<(), Halt> {
        self.buffer = None;
        loop {
            self.note_arrived().await?;
            match self.flights.join_next().await {
                None => return Ok(()),
                arrived => {
                    let _ = self.land(arrived);
                }
            }
        }
    }

    /// Makes the object appear: every byte has come and every check has passed.
    pub(super) async fn finish(
        &mut self,
        resources: BTreeMap<String, u64>,
        mark: &LineMark,
    ) -> Result<DoneRecord, Halt> {
        let engine = Arc::clone(&self.engine);
        let what = engine.staging.url(&self.file.key);
        if self.number == 1 {
            return self.finish_small(resources, &what).await;
        }
        if self.filled() > 0 {
            self.ship(mark)?;
        }
        self.buffer = None;
        while let Some(arrived) = engine.unless_stopped(self.flights.join_next()).await? {
            self.land(Some(arrived))?;
            self.look().await?;
        }
        let stored = self.state.position();
        let Some(position) = stored.filter(|at| at.parts == self.number - 1) else {
            return Err(Kind::StagingUnavailable
                .error(format!("{what}: not all parts have arrived"))
                .into());
        };
        let (upload, total, limit) = (&self.upload, self.total, self.sizes.limit);
        let done = record(&engine.export, resources, total);
        let send = || upload.complete(total, done.clone(), &position, limit);
        let done = engine.to_store(&what, 0, send, || upload.lost()).await?;
        Ok(done)
    }

    /// A file of one part is one request, and one without a resource is no object at all.
    async fn finish_small(
        &mut self,
        resources: BTreeMap<String, u64>,
        what: &str,
    ) -> Result<DoneRecord, Halt> {
        let engine = Arc::clone(&self.engine);
        if self.upload.begun() {
            // What another process had begun was of another size.
            self.upload.abort().await;
            self.upload = engine.staging.upload(&self.file.key, &self.file.part_key);
        }
        let buffer = self.buffer.take().filter(|buffer| !buffer.is_empty());
        let Some(buffer) = buffer else {
            let done = record(&engine.export, resources, self.total);
            let staging = &engine.staging;
            let send = || staging.record_empty(&self.file.key, &self.file.part_key, done.clone());
            return Ok(engine.to_store(what, 0, send, || false).await?);
        };
        let bytes = buffer.freeze().bytes();
        let sum = Sum::of(self.total.algorithm, &bytes);
        let (upload, done) = (&self.upload, record(&engine.export, resources, sum));
        let send = || upload.put(bytes.clone(), sum, done.clone());
        let done = engine.to_store(what, sum.length, send, || false).await;
        Ok(done?)
    }

    /// Gives the file up, and what is stored of it.
    pub(super) async fn abort(&mut self) {
        self.flights.shutdown().await;
        self.upload.abort().await;
    }

    /// Whether it holds memory.
    pub(super) fn holds_memory(&self) -> bool {
        self.buffer.is_some()
    }

    /// Whether another process has staged the file while it came here.
    pub(super) fn was_elsewhere(&self) -> bool {
        self.upload.was_elsewhere()
    }

    /// Whether the upload is gone, so that all parts have to be sent again.
    pub(super) fn lost(&self) -> bool {
        self.upload.lost()
    }
}

fn record(export: &str, resources: BTreeMap<String, u64>, sum: Sum) -> DoneRecord {
    let sums = BTreeMap::from([(sum.algorithm.name().to_owned(), sum.base64())]);
    DoneRecord::new(export, resources, sums)
}

fn stopped(error: &tokio::task::JoinError) -> Error {
    Kind::StagingUnavailable.error(format!("a part's upload ended before it was done: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::staging::{FileState, Hint, Position};
    use crate::transfer::engine::tests::engine;

    /// Whether a file is gone on with, of this length, that was begun with parts of this size at most.
    async fn is_taken_up(length: Option<u64>, part_limit: u64) -> bool {
        let folder = tempfile::tempdir().unwrap();
        let engine = Arc::new(engine(folder.path()).await);
        let file = File {
            run: "a1".to_owned(),
            index: 0,
            resource_type: "Patient".to_owned(),
            url: url::Url::parse("http://h/1").unwrap(),
            other_count: None,
            count: None,
            size: None,
            key: "runs/a/Patient/00000-b.ndjson".to_owned(),
            part_key: "runs/a/_parts/00000.json".to_owned(),
        };
        let position = Position {
            source: Some(SourceMark {
                etag: "\"e\"".to_owned(),
                length,
            }),
            parts: 1,
            source_offset: 3,
            staged_offset: 3,
            line: 1,
            resources: 1,
        };
        let upload = engine.staging.upload(&file.key, &file.part_key);
        let bytes = Bytes::from_static(b"{}\n");
        let sum = Sum::of(upload.algorithm(), &bytes);
        upload.part(1, 0, bytes, sum).await.unwrap();
        upload.save(&position, part_limit).await.unwrap();
        drop(upload);
        let state = engine
            .staging
            .state(&file.key, &file.part_key, Hint::Unknown);
        let FileState::UnderWay(left) = state.await.unwrap() else {
            unreachable!("it was begun")
        };
        let upload = engine
            .staging
            .resume(&file.key, &file.part_key, left.clone());
        let upload = upload.await.unwrap().unwrap();
        let mut outbound = Outbound::new(engine, Arc::new(file), upload);
        outbound.take_up(&left).is_some()
    }

    #[tokio::test]
    async fn a_file_of_unknown_length_begins_anew_where_there_is_memory_for_larger_parts() {
        assert!(!is_taken_up(None, 5 << 20).await);
        assert!(is_taken_up(None, 8 << 20).await);
        assert!(is_taken_up(Some(1 << 30), 5 << 20).await);
    }
}
