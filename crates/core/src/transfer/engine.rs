//! What all files of one transfer share: the two servers and how much they bear, the memory, the deadline, and the links
//! that a manifest fetched again lends.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use url::Url;

use super::budget::Budget;
use super::check::{Checker, LineMark};
use super::clock::PartClock;
use super::ids::Ids;
use super::links::Newest;
use super::pace::Pace;
use super::plan::File;
use super::progress::{Event, Observer};
use super::sizes::PartSizes;
use super::told_sizes::ToldSizes;
use super::{Transfer, check};
use crate::config::{Origin, TransferSettings, Validate};
use crate::error::{Error, Kind, Result};
use crate::http::{Backoff, Client, TokenUse, shown};
use crate::staging::{DoneRecord, Staging};

/// How often one thing is tried before it is given up.
pub(super) const ATTEMPTS: u32 = 6;

/// How often a server may ask for patience before that counts as a refusal.
const WAITS: u32 = 40;

/// The first wait between two attempts, at most; each further one may be twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// The longest wait between two attempts, where the server does not ask for more.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// What a file is taken to have before any was seen, in bytes.
const FIRST_LENGTH: u64 = 256 << 10;

/// How many files another process has to have staged before it is taken to be there: an answer that is lost makes one of
/// our own look so.
const COMPANY: usize = 2;

/// Why a file is not staged.
#[derive(Debug)]
pub(super) enum Halt {
    /// The transfer is to stop here, for a while.
    Stopped,
    /// Another process is at the same files in the same order.
    Postponed,
    /// The link no longer allows it.
    Expired(Error),
    /// Another process has staged the file in the meantime.
    Elsewhere(DoneRecord),
    /// It failed.
    Failed(Error),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// What all files share.
pub(super) struct Engine {
    pub(super) source: Client,
    /// Where files go; what waits for it waits here, so that all of them know.
    pub(super) staging: Staging,
    pub(super) token: TokenUse,
    /// The name of the export that all files are of.
    pub(super) export: String,
    pub(super) settings: TransferSettings,
    pub(super) budget: Budget,
    pub(super) observer: Observer,
    /// The ids that came.
    pub(super) ids: Arc<Ids>,
    retry_after_max: Duration,
    /// How many requests the store bears.
    store: Pace,
    /// The same for each origin that files come from.
    origins: Mutex<HashMap<Origin, Pace>>,
    stop: watch::Sender<bool>,
    /// Whether nobody will go on with this run.
    over: AtomicBool,
    /// Links that take the place of expired ones.
    pub(super) links: Newest,
    /// How many of the files another process has staged meanwhile.
    elsewhere: AtomicUsize,
    /// What a server said last that asked to be left alone for a while.
    asked_to_wait: Mutex<Option<Error>>,
    /// How long parts take.
    pub(super) clock: PartClock,
    /// Whether a file was seen of which nothing tells whether it is whole.
    open_end: AtomicBool,
    /// Files that do not have the size that the manifest tells.
    pub(super) told_sizes: ToldSizes,
    /// Bytes stored of files that are not done.
    under_way: AtomicU64,
    /// What files are long, as far as was seen, in bytes.
    typical: AtomicU64,
}

impl Engine {
    pub(super) fn new(transfer: &Transfer, token: TokenUse, export: String) -> Self {
        let settings = transfer.settings.clone();
        let part = PartSizes::limit_of(settings.memory);
        // The longest unfinished line that the checks hold.
        let line = match settings.validate {
            Validate::Json => check::PARSE_LIMIT as u64,
            Validate::Lines | Validate::None => 0,
        };
        Self {
            source: transfer.source.clone(),
            staging: transfer.staging.paced(),
            token,
            export,
            budget: Budget::new(settings.memory, part, line),
            observer: transfer.observer.clone(),
            ids: Arc::clone(&transfer.ids),
            retry_after_max: transfer.retry_after_max,
            store: Pace::new(settings.concurrency, transfer.retry_after_max),
            origins: Mutex::default(),
            stop: watch::Sender::new(false),
            over: AtomicBool::new(false),
            links: Newest::new(transfer.renew.clone(), transfer.retry_after_max)
                .until(transfer.expires, transfer.staging.clock()),
            elsewhere: AtomicUsize::default(),
            asked_to_wait: Mutex::default(),
            clock: PartClock::default(),
            open_end: AtomicBool::new(false),
            told_sizes: ToldSizes::default(),
            under_way: AtomicU64::default(),
            typical: AtomicU64::new(FIRST_LENGTH),
            settings,
        }
    }

    /// The checks of a file from the beginning of a line on, which remember its ids.
    pub(super) fn checker(&self, file: &File, mark: LineMark) -> Checker {
        let checker = Checker::at(&file.resource_type, self.settings.validate, mark);
        checker.looking(self.ids.of(&file.resource_type, mark.resources))
    }

    /// How many requests the origin of a file bears.
    pub(super) fn pace(&self, url: &Url) -> Pace {
        let mut origins = self.origins.lock().unwrap_or_else(PoisonError::into_inner);
        origins
            .entry(Origin::from(url))
            .or_insert_with(|| Pace::new(self.settings.concurrency, self.retry_after_max))
            .clone()
    }

    /// Has every file stop where it is.
    pub(super) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Says that nobody will go on with this run, so that nothing has to stay for that.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// Whether nobody will go on with this run.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Notes that another process has staged a file that was at work here too.
    pub(super) fn saw_elsewhere(&self) {
        if self.elsewhere.fetch_add(1, Ordering::Relaxed) + 1 == COMPANY {
            tracing::info!("another process is at work on the same run");
        }
    }

    /// Whether another process is at work on the same run.
    pub(super) fn in_company(&self) -> bool {
        self.elsewhere.load(Ordering::Relaxed) >= COMPANY
    }

    /// Does `work` unless the transfer is to stop first.
    pub(super) async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Result<T, Halt> {
        let mut stop = self.stop.subscribe();
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => Err(Halt::Stopped),
            done = work => Ok(done),
        }
    }

    /// Sends something to the store until it has it, gives it up, or says that trying is in vain.
    pub(super) async fn to_store<T, S>(
        &self,
        what: &str,
        bytes: u64,
        send: impl Fn() -> S,
        in_vain: impl Fn() -> bool,
    ) -> Result<T>
    where
        S: Future<Output = Result<T>>,
    {
        let mut patience = self.patience();
        let mut again = false;
        loop {
            let slot = self.store.slot().await;
            if again {
                self.tell_again();
            }
            // Neither the wait for the slot nor those between attempts say how long a part takes.
            let clock = (bytes > 0).then(|| self.clock.begin());
            let error = match send().await {
                Ok(stored) => {
                    if let Some(clock) = clock {
                        clock.stored();
                    }
                    slot.moved(bytes);
                    slot.done();
                    return Ok(stored);
                }
                Err(error) => error,
            };
            drop(clock);
            if error.throttled() {
                slot.throttled(error.wait());
            } else {
                drop(slot);
            }
            if error.kind() != Kind::StagingUnavailable || in_vain() {
                return Err(error);
            }
            let Some(wait) = patience.next(&error) else {
                return Err(given_up(&error));
            };
            self.tell(what, &error, wait);
            tokio::time::sleep(wait).await;
            again = true;
        }
    }

    /// The waits between the attempts at one thing.
    pub(super) fn patience(&self) -> Patience {
        let backoff = |times| {
            Backoff::new(FIRST_WAIT, LONGEST_WAIT, times).retry_after_max(self.retry_after_max)
        };
        Patience {
            failures: backoff(ATTEMPTS - 1),
            waits: backoff(WAITS),
        }
    }

    /// Tells that something will be tried again.
    pub(super) fn tell(&self, what: &str, error: &Error, wait: Duration) {
        tracing::warn!(
            // Who shows them otherwise wants them in no log.
            target: "pathling_import_core::retries",
            what,
            error = error.what(),
            wait_s = wait.as_secs_f64(),
            "will be tried again"
        );
        let (what, why) = (what.to_owned(), error.what().to_owned());
        if error.throttled() || error.wait().is_some() {
            *self.last_wait() = Some(error.clone());
            (self.observer)(Event::Waiting { what, wait, why });
        } else {
            (self.observer)(Event::Retrying { what, wait, why });
        }
    }

    /// Tells that it now is.
    pub(super) fn tell_again(&self) {
        (self.observer)(Event::SentAgain);
    }

    /// What a file whose length is not known yet may be expected to have.
    pub(super) fn typical_length(&self) -> u64 {
        self.typical.load(Ordering::Relaxed)
    }

    /// Notes a file's length.
    pub(super) fn saw_length(&self, length: u64) {
        // Two at once may lose one of them, which does no harm.
        let before = self.typical.load(Ordering::Relaxed);
        let mean = before - before / 8 + length / 8 + 1;
        self.typical.store(mean, Ordering::Relaxed);
    }

    /// Warns, once, that nothing tells whether a file is whole.
    pub(super) fn saw_open_end(&self, url: &str) {
        if !self.open_end.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                url,
                "the source tells neither how long its files are nor how many resources are in them: one that was cut off at the end of a line would look whole"
            );
        }
    }

    /// Notes that so many bytes of a file are stored that is not done yet.
    pub(super) fn left_under_way(&self, bytes: u64) {
        self.under_way.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The bytes stored of files that are not done.
    pub(super) fn under_way(&self) -> u64 {
        self.under_way.load(Ordering::Relaxed)
    }

    /// Whether anything was stored, here or by another process.
    pub(super) fn came_further(&self) -> bool {
        self.clock.stored() > 0 || self.elsewhere.load(Ordering::Relaxed) > 0
    }

    /// What a server said last that asked for patience.
    pub(super) fn last_wait(&self) -> MutexGuard<'_, Option<Error>> {
        let waits = &self.asked_to_wait;
        waits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long before a deadline the work has to stop: time for the parts in flight to be stored, and to write down how
    /// far it is.
    pub(super) fn winding_down(&self, time: Duration) -> Duration {
        (self.clock.slowest() * 2 + Duration::from_millis(500)).min(time / 3)
    }
}

/// How long to wait before the next attempt. Being asked for patience is no failure, and has a count of its own.
pub(super) struct Patience {
    failures: Backoff,
    waits: Backoff,
}

impl Patience {
    /// The wait before the next attempt, or `None` when there is none left.
    pub(super) fn next(&mut self, error: &Error) -> Option<Duration> {
        if error.throttled() {
            self.waits.next(error.wait())
        } else {
            self.failures.next(error.wait())
        }
    }

    /// Begins anew after progress: what comes further with each attempt is not given up.
    pub(super) fn renewed(&mut self) {
        self.failures.reset();
        self.waits.reset();
    }
}

/// What is said of something that was tried in vain.
pub(super) fn given_up(last: &Error) -> Error {
    let tried = if last.throttled() {
        format!("after {WAITS} waits in a row that the server had asked for")
    } else {
        format!("after {ATTEMPTS} attempts")
    };
    match last.kind() {
        Kind::Transfer | Kind::StagingUnavailable => last.clone().within(&tried),
        _ => Kind::Transfer.error(format!("a file could not be had {tried}: {}", last.what())),
    }
}

/// The URL as messages show it.
pub(super) fn name_of(url: &Url) -> String {
    shown(url)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::{Checksum, Headers, Place};
    use crate::http::{ClientOptions, Side};
    use crate::staging::Options;

    /// With memory for parts of 8 MiB.
    pub(in crate::transfer) async fn engine(folder: &std::path::Path) -> Engine {
        let source = Client::new(ClientOptions {
            side: Side::Source,
            endpoint: Url::parse("http://127.0.0.1:1/fhir").unwrap(),
            credentials: None,
            certificate: None,
            token_endpoint: None,
            trusted_origins: Vec::new(),
            buckets: Vec::new(),
            allow_plaintext: false,
            allow_private_hosts: false,
            headers: Headers::default(),
            connect_timeout: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(1),
        });
        let place = Place::Folder(folder.to_owned());
        let transfer = Transfer {
            source: source.unwrap(),
            staging: Staging::open(&place, Options::default()).await.unwrap(),
            observer: super::super::progress::nobody(),
            deadline: None,
            settings: TransferSettings {
                memory: 32 << 20,
                concurrency: None,
                deadline: None,
                validate: Validate::Lines,
                checksum: Checksum::Crc64Nvme,
                fail_on_duplicates: false,
            },
            retry_after_max: Duration::from_hours(1),
            renew: None,
            expires: None,
            listing: None,
            patient: true,
            ids: Arc::new(Ids::beside(0)),
        };
        Engine::new(&transfer, TokenUse::Never, "e".to_owned())
    }

    #[tokio::test]
    async fn what_is_stored_is_clocked_whatever_its_size_without_the_waits_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let engine = engine(folder.path()).await;
        let (time, wait) = (Duration::from_millis(20), Duration::from_secs(2));
        let attempts = AtomicUsize::default();
        let send = || async {
            tokio::time::sleep(time).await;
            if attempts.fetch_add(1, Ordering::Relaxed) > 0 {
                return Ok(());
            }
            let busy = Kind::StagingUnavailable.error("busy").throttle();
            Err(busy.retry_after(Some(wait)))
        };
        engine.to_store("f", 7, send, || false).await.unwrap();
        assert_eq!(engine.clock.stored(), 1);
        let slowest = engine.clock.slowest();
        assert!(slowest >= time && slowest < wait, "{slowest:?}");
    }
}
