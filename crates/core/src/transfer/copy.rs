//! One file, from the source to staging: asked for, checked as it streams by, and there only when it is whole.
//!
//! What breaks goes on in the middle where the source can be asked for that, and otherwise from the beginning, where the
//! parts that are stored already are not sent again.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use url::Url;

use super::check::{BadLine, Checker, LineMark};
use super::engine::{Engine, Halt, given_up, name_of};
use super::fetch::{self, Mark, Opened, Refused};
use super::links::NoLink;
use super::outbound::Outbound;
use super::pace::Slot;
use super::plan::File;
use super::progress::Event;
use super::split::Splitter;
use crate::config::Validate;
use crate::error::{Error, Kind, Result};
use crate::http::shown;
use crate::staging::{DoneRecord, FileState, Hint, SourceMark, UnderWay};

/// How often a file that is not what was promised is fetched: what a proxy cut off cleanly looks just like that, once.
const INTEGRITY_ATTEMPTS: u32 = 2;

/// How many links in a row may lead nowhere, fresh ones included: some servers answer 404 for a moment.
const EXPIRED_ATTEMPTS: u32 = 3;

/// A listing knows nothing of the file.
const NOTHING: Hint = Hint::Listed {
    object: None,
    record: false,
};

/// How often a file is sent whose upload is gone, or does not come to what was sent.
const LOST_ATTEMPTS: u32 = 3;

/// Whether another attempt may fare better.
fn passes(error: &Error) -> bool {
    matches!(error.kind(), Kind::SourceUnavailable | Kind::Transfer)
}

/// What became of a file.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It is staged.
    Done {
        record: DoneRecord,
        /// Whether it was fetched now.
        fetched: bool,
    },
    /// The transfer was to stop first.
    Stopped,
    /// Another process is at the same files in the same order: this one is to come at another time.
    Postponed,
}

/// Makes sure that a file is staged.
pub(super) async fn ensure(engine: &Arc<Engine>, file: Arc<File>, hint: Hint) -> Result<Outcome> {
    let mut copy = Copy::new(Arc::clone(engine), file);
    match copy.state(hint).await? {
        FileState::Done(record) => return copy.as_promised(record, false),
        FileState::Absent => {}
        FileState::UnderWay(state) => copy.take_up(state).await?,
    }
    copy.until_done().await
}

/// One file and how far it is.
struct Copy {
    engine: Arc<Engine>,
    file: Arc<File>,
    url: Url,
    checker: Checker,
    outbound: Outbound,
    /// In the place of checker and outbound, where the file holds several types.
    splitter: Option<Splitter>,
    /// Where the source's next byte is, and what identifies the bytes before it.
    at: Option<(u64, Mark)>,
    /// How many bytes there were at most before something broke.
    furthest: u64,
    /// How many links in a row led nowhere.
    expired: u32,
    /// The leave of a request that broke, for the next one. It is kept while the file holds memory: others may have all
    /// leaves and wait for just that.
    slot: Option<Slot>,
    /// Until something is asked of the source: whether another process was known to be at the same run when this began.
    began_in_company: Option<bool>,
    begun: bool,
    announced: bool,
}

impl Copy {
    fn new(engine: Arc<Engine>, file: Arc<File>) -> Self {
        let upload = engine.staging.upload(&file.key, &file.part_key);
        let began_in_company = Some(engine.in_company());
        Self {
            url: file.url.clone(),
            checker: Checker::new(&file.resource_type, engine.settings.validate),
            outbound: Outbound::new(Arc::clone(&engine), Arc::clone(&file), upload),
            splitter: file
                .is_mixed()
                .then(|| Splitter::new(Arc::clone(&engine), Arc::clone(&file))),
            engine,
            file,
            at: None,
            furthest: 0,
            expired: 0,
            slot: None,
            began_in_company,
            begun: false,
            announced: false,
        }
    }

    /// How far the file is in staging. Where a listing says that nothing is there, nothing is asked.
    async fn state(&self, hint: Hint) -> Result<FileState> {
        let (staging, file) = (&self.engine.staging, &self.file);
        if self.splitter.is_some() {
            let ask = || staging.recorded_pieces(&file.part_key, hint);
            let what = staging.url(&file.part_key);
            let done = self.engine.to_store(&what, 0, ask, || false).await?;
            return Ok(done.map_or(FileState::Absent, FileState::Done));
        }
        let ask = || staging.state(&file.key, &file.part_key, hint);
        if hint == NOTHING {
            return ask().await;
        }
        let what = staging.url(&file.key);
        self.engine.to_store(&what, 0, ask, || false).await
    }

    /// The file is staged, by whomever: it must be the one that the manifest promises.
    fn as_promised(&self, record: DoneRecord, fetched: bool) -> Result<Outcome> {
        let found: u64 = record.resources.values().sum();
        // Whether the count of a mixed file holds its headers was looked at when it came.
        let other_count = self
            .file
            .count
            .filter(|count| *count != found && !self.file.is_mixed());
        let of = match other_count {
            _ if record.export != self.engine.export => String::new(),
            None => return Ok(Outcome::Done { record, fetched }),
            Some(count) => format!(" where the manifest promises {count}: they seem to be"),
        };
        Err(Kind::StagingDenied
            .error(format!(
                "{} is staged already, with {found} resources{of} of another export than the one that the manifest is of",
                self.engine.staging.url(&self.file.key)
            ))
            .next("Remove the run's folder, whose manifest must have been removed before, and start again."))
    }

    /// Goes on with what another process left, as far as it is there.
    async fn take_up(&mut self, state: UnderWay) -> Result<()> {
        let engine = Arc::clone(&self.engine);
        let (key, part_key) = (&self.file.key, &self.file.part_key);
        let look = || engine.staging.resume(key, part_key, state.clone());
        let what = engine.staging.url(key);
        let Some(upload) = engine.to_store(&what, 0, look, || false).await? else {
            return Ok(());
        };
        self.outbound = Outbound::new(Arc::clone(&engine), Arc::clone(&self.file), upload);
        let Some(mark) = self.outbound.take_up(&state) else {
            return Ok(());
        };
        if let Some(source) = &state.position.source {
            let source = Mark {
                etag: source.etag.clone(),
                length: source.length,
            };
            self.at = Some((mark.source_offset, source));
            self.checker = Checker::at(&self.file.resource_type, engine.settings.validate, mark);
            self.begun = true;
        }
        Ok(())
    }

    async fn until_done(&mut self) -> Result<Outcome> {
        let mut patience = self.engine.patience();
        let (mut broken, mut lost) = (0, 0);
        loop {
            let before = self.furthest;
            let (error, worth_another) = match self.pass().await {
                Ok(record) => {
                    if self.outbound.was_elsewhere() {
                        self.engine.saw_elsewhere();
                    }
                    return self.as_promised(record, true);
                }
                Err(Halt::Elsewhere(record)) => {
                    self.engine.saw_elsewhere();
                    self.outbound.abort().await;
                    return self.as_promised(record, false);
                }
                Err(Halt::Postponed) => return Ok(Outcome::Postponed),
                Err(Halt::Stopped) => return self.park().await,
                Err(Halt::Expired(error)) => match self.fresh_link(error).await {
                    Ok(()) => continue,
                    Err(Halt::Failed(error)) => {
                        let again = self.expired < EXPIRED_ATTEMPTS && passes(&error);
                        (error, again)
                    }
                    Err(_) => return self.park().await,
                },
                Err(Halt::Failed(error)) => {
                    let again = match error.kind() {
                        Kind::Integrity => {
                            broken += 1;
                            self.at = None;
                            broken < INTEGRITY_ATTEMPTS
                        }
                        // The store was asked often enough where this comes from; but an upload that is gone can be begun
                        // anew, unless it is gone because another process has staged the file.
                        Kind::StagingUnavailable if self.outbound.lost() => {
                            if let Ok(FileState::Done(record)) = self.state(Hint::Unknown).await {
                                return self.as_promised(record, false);
                            }
                            lost += 1;
                            self.at = None;
                            lost < LOST_ATTEMPTS
                        }
                        _ => !error.ends_the_run() && passes(&error),
                    };
                    (error, again)
                }
            };
            if self.furthest > before {
                patience.renewed();
            }
            if !worth_another {
                return self.unless_staged(error).await;
            }
            let Some(wait) = patience.next(&error) else {
                return self.unless_staged(given_up(&error)).await;
            };
            self.engine.tell(&shown(&self.url), &error, wait);
            self.outbound.rest(self.at.is_none());
            if let Some(splitter) = &mut self.splitter {
                splitter.rest();
            }
            if !self.holds_memory() {
                self.slot = None;
            }
            let engine = Arc::clone(&self.engine);
            if engine
                .unless_stopped(tokio::time::sleep(wait))
                .await
                .is_err()
            {
                return self.park().await;
            }
        }
    }

    /// Another link in the place of one that leads nowhere. Without one, this says why, and that the old one may be tried
    /// once more: some servers answer 404 for a moment.
    async fn fresh_link(&mut self, error: Error) -> Result<(), Halt> {
        let engine = Arc::clone(&self.engine);
        let fresh = engine.links.link(self.file.index, &self.url);
        let error = match engine.unless_stopped(fresh).await? {
            Ok(link) if self.expired + 1 < EXPIRED_ATTEMPTS => {
                self.expired += 1;
                self.url = link;
                return Ok(());
            }
            Ok(_) => error.within("fresh links of the manifest lead nowhere either"),
            // The source has no time for the manifest, which says nothing about the link.
            Err(NoLink::NotNow(why)) => return Err(why.within(error.what()).into()),
            Err(NoLink::None(why)) => error.within(&why),
        };
        self.expired += 1;
        Err(error.for_good().into())
    }

    /// Stops for a while.
    async fn park(&mut self) -> Result<Outcome> {
        if self.engine.is_over() {
            self.outbound.abort().await;
            return Ok(Outcome::Stopped);
        }
        match self.outbound.park().await {
            Err(Halt::Elsewhere(record)) => {
                self.engine.saw_elsewhere();
                self.outbound.abort().await;
                self.as_promised(record, false)
            }
            _ => Ok(Outcome::Stopped),
        }
    }

    /// Gives up a file that cannot be had. But whoever was at the same run may have staged it meanwhile, and then had the
    /// source delete its files.
    async fn unless_staged(&mut self, error: Error) -> Result<Outcome> {
        if passes(&error)
            && let Ok(FileState::Done(record)) = self.state(Hint::Unknown).await
        {
            self.engine.saw_elsewhere();
            self.outbound.abort().await;
            return self.as_promised(record, false);
        }
        self.give_up(error).await
    }

    /// Gives up: what another start may go on with stays, and what it may not is removed.
    async fn give_up(&mut self, error: Error) -> Result<Outcome> {
        // Parts that ran out were too small: with another setting they are cut anew.
        if error.ends_the_run() || error.kind() == Kind::Configuration {
            self.outbound.abort().await;
        } else {
            // The failure is what has to be told, and now: parts in flight may be tried for hours.
            self.outbound.leave().await;
        }
        Err(error)
    }

    /// Asks for the file once, from where it is, and takes it to its end.
    async fn pass(&mut self) -> Result<DoneRecord, Halt> {
        let engine = Arc::clone(&self.engine);
        let pace = engine.pace(&self.url);
        let slot = match self.slot.take() {
            Some(slot) => slot,
            // Its slot went with the server's request to wait.
            None if self.holds_memory() => engine.unless_stopped(pace.again()).await?,
            None => engine.unless_stopped(pace.slot()).await?,
        };
        // While it waited for its turn, another process may have staged it.
        if let Some(began_in_company) = self.began_in_company.take()
            && engine.in_company()
        {
            if !began_in_company {
                return Err(Halt::Postponed);
            }
            if let FileState::Done(record) = self.state(Hint::Unknown).await? {
                return Err(Halt::Elsewhere(record));
            }
        }
        match &mut self.splitter {
            Some(splitter) => splitter.reserve().await?,
            None => self.outbound.reserve().await?,
        }
        let from = self.at.as_ref().filter(|(offset, _)| *offset > 0);
        let from = from.map(|(offset, mark)| (*offset, mark));
        let opening = fetch::open(&engine.source, &self.url, engine.token, from);
        let opened = match engine.unless_stopped(opening).await? {
            Ok(opened) => opened,
            Err(Refused::Expired(error)) => {
                self.slot = Some(slot);
                return Err(Halt::Expired(error));
            }
            Err(Refused::Failed(error)) => {
                if error.throttled() {
                    slot.throttled(error.wait());
                } else {
                    self.slot = Some(slot);
                }
                return Err(error.into());
            }
        };
        self.expired = 0;
        match self.receive(opened, &slot).await {
            Ok(before) => {
                slot.done();
                self.conclude(&before).await
            }
            Err(halt) => {
                self.slot = Some(slot);
                Err(halt)
            }
        }
    }

    /// Takes the body to its end. Gives the last line's beginning that is certainly before the end.
    async fn receive(&mut self, opened: Opened, slot: &Slot) -> Result<LineMark, Halt> {
        let engine = Arc::clone(&self.engine);
        self.line_up(&opened).await?;
        let mut body = opened.body;
        let mut came = 0;
        let mut kept: Vec<Bytes> = Vec::new();
        loop {
            // While the source is silent, what has arrived is written down all the same.
            let chunk = tokio::select! {
                biased;
                arrived = self.outbound.arrival(), if self.outbound.has_flights() => {
                    self.outbound.land(arrived)?;
                    self.outbound.look().await?;
                    continue;
                }
                chunk = engine.unless_stopped(body.next()) => chunk?,
            };
            let Some(chunk) = chunk else { break };
            let chunk = chunk?;
            slot.moved(chunk.len() as u64);
            (engine.observer)(Event::Bytes(chunk.len() as u64));
            let length = chunk.len() as u64;
            came += length;
            if let Some(splitter) = &mut self.splitter {
                splitter.take(&chunk).await?;
                self.furthest = self.furthest.max(splitter.seen());
                continue;
            }
            let before = self.checker.mark();
            self.checker
                .chunk(chunk, |bytes| kept.push(bytes))
                .map_err(|bad| self.bad(&bad))?;
            if let Some((offset, _)) = &mut self.at {
                *offset += length;
                self.furthest = self.furthest.max(*offset);
            }
            self.stage(&mut kept, &before).await?;
        }
        if opened.open_ended {
            self.end_of(came)?;
        }
        if self.splitter.is_some() {
            return Ok(LineMark::default());
        }
        let before = self.checker.mark();
        self.checker
            .finish(|bytes| kept.push(bytes))
            .map_err(|bad| self.bad(&bad))?;
        self.stage(&mut kept, &before).await?;
        Ok(before)
    }

    /// Sees whether a body that only ended may have been cut, as far as the manifest tells.
    fn end_of(&self, came: u64) -> Result<(), Halt> {
        match self.file.size {
            Some(size) if came < size => Err(Kind::SourceUnavailable
                .error(format!(
                    "GET {}: the body ended early, after {came} of the {size} bytes that the manifest promises",
                    name_of(&self.url)
                ))
                .into()),
            None if self.file.count.is_none() => {
                self.engine.saw_open_end(&name_of(&self.url));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Sees whether everything came that was promised, and makes the file appear.
    async fn conclude(&mut self, before: &LineMark) -> Result<DoneRecord, Halt> {
        if let Some(splitter) = &mut self.splitter {
            return splitter.finish().await;
        }
        let found = self.checker.resources();
        if let Some(count) = self.file.count.filter(|count| *count != found) {
            return Err(Kind::Integrity
                .error(format!(
                    "{} holds {found} resources, and the manifest promises {count}",
                    name_of(&self.url)
                ))
                .into());
        }
        let resources = BTreeMap::from([(self.file.resource_type.clone(), found)]);
        self.outbound.finish(resources, before).await
    }

    /// Sees where the body begins: where it was asked to, or at the beginning.
    async fn line_up(&mut self, opened: &Opened) -> Result<(), Halt> {
        let from = self.at.as_ref().map(|(offset, _)| *offset);
        let goes_on = from == Some(opened.offset) && self.begun && opened.offset > 0;
        if !goes_on {
            self.checker = Checker::new(&self.file.resource_type, self.engine.settings.validate);
            let source = opened.mark.clone().map(|mark| SourceMark {
                etag: mark.etag,
                length: mark.length,
            });
            self.at = opened.mark.clone().map(|mark| (0, mark));
            if let Some(length) = opened.length {
                self.engine.saw_length(length);
            }
            self.outbound.begin(source, opened.length).await?;
            self.begun = true;
            if let Some(splitter) = &mut self.splitter {
                self.at = None;
                splitter.begin();
            }
        }
        if !std::mem::replace(&mut self.announced, true) {
            (self.engine.observer)(Event::FileStarted {
                index: self.file.index,
                length: opened.length,
                offset: opened.offset,
            });
        }
        Ok(())
    }

    /// Hands checked bytes on.
    async fn stage(&mut self, kept: &mut Vec<Bytes>, before: &LineMark) -> Result<(), Halt> {
        for bytes in kept.drain(..) {
            self.outbound.keep(bytes, before).await?;
        }
        if self.engine.settings.validate == Validate::Json {
            self.outbound.also(self.checker.held()).await?;
        }
        self.outbound.look().await
    }

    fn holds_memory(&self) -> bool {
        let splits = self.splitter.as_ref().is_some_and(Splitter::holds_memory);
        splits || self.outbound.holds_memory()
    }

    fn bad(&self, bad: &BadLine) -> Error {
        Kind::Integrity.error(format!("{}: {bad}", name_of(&self.url)))
    }
}
