//! One file, from the source to staging: asked for, checked as it streams by, and there only when it is whole.
//!
//! What breaks goes on in the middle where the source can be asked for that, and otherwise from the beginning, where the
//! parts that are stored already are not sent again.

mod pass;

use std::sync::Arc;

use url::Url;

use super::check::{Checker, LineMark};
use super::engine::{Engine, Halt, given_up};
use super::fetch::Mark;
use super::links::{NoLink, Verdict};
use super::outbound::Outbound;
use super::pace::Slot;
use super::plan::File;
use super::progress::Event;
use super::split::Splitter;
use crate::error::{Error, Kind, Result};
use crate::http::shown;
use crate::staging::{DoneRecord, FileState, Hint, UnderWay};

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
    /// How many bytes the file has, where it came as it is and HTTP says that this is all of it.
    came: Option<u64>,
    /// How many links in a row led nowhere.
    expired: u32,
    /// The leave of a request that broke, for the next one. It is kept while the file holds memory: others may have all
    /// leaves and wait for just that.
    slot: Option<Slot>,
    /// Whether the next request is one that was told to be tried again.
    again: bool,
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
            checker: engine.checker(&file, LineMark::default()),
            outbound: Outbound::new(Arc::clone(&engine), Arc::clone(&file), upload),
            splitter: file
                .is_mixed()
                .then(|| Splitter::new(Arc::clone(&engine), Arc::clone(&file))),
            engine,
            file,
            at: None,
            furthest: 0,
            came: None,
            expired: 0,
            slot: None,
            again: false,
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
            self.checker = engine.checker(&self.file, mark);
            self.begun = true;
        }
        Ok(())
    }

    async fn until_done(&mut self) -> Result<Outcome> {
        let mut patience = self.engine.patience();
        let (mut broken, mut lost) = (0, 0);
        loop {
            let before = self.furthest;
            let passed = self.pass().await;
            self.tell_failure(&passed);
            let (error, worth_another) = match passed {
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
            self.again = true;
        }
    }

    /// Tells of an attempt that failed, whatever becomes of the file.
    fn tell_failure<T>(&self, passed: &Result<T, Halt>) {
        if let Err(Halt::Failed(error) | Halt::Expired(error)) = passed {
            (self.engine.observer)(Event::FileFailed {
                index: self.file.index,
                url: shown(&self.url),
                error: error.clone(),
            });
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
            Err(NoLink::Over(why)) => return Err(why.into()),
            Err(NoLink::None(why)) => error.within(&why),
        };
        let error = match engine.links.verdict(error) {
            Verdict::Expired(error) => {
                self.expired = EXPIRED_ATTEMPTS;
                error
            }
            Verdict::Unknown(error) => {
                self.expired += 1;
                error
            }
        };
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

    fn holds_memory(&self) -> bool {
        let splits = self.splitter.as_ref().is_some_and(Splitter::holds_memory);
        splits || self.outbound.holds_memory()
    }
}
