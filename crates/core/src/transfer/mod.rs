//! The transfer: from the files of a manifest to whole, checked objects in staging.
//!
//! [`plan`] says what goes where. For each file, `copy` asks the source ([`fetch`]), looks at every line ([`check`]) and
//! hands the bytes to `outbound`, which sends them to staging in parts (`sizes`). What all files share is in `engine`:
//! how many requests each server bears ([`pace`]), and the memory of all buffers ([`budget`]). [`progress`] tells about it.
//!
//! Nothing touches a disk but a staging folder, and nothing is held but what is on its way: a slow store makes the source
//! wait.

pub mod budget;
pub mod check;
mod clock;
mod copy;
mod engine;
pub mod fetch;
pub mod ids;
pub mod links;
mod list;
pub mod listing;
pub mod logged;
mod outbound;
pub mod pace;
mod pieces;
mod places;
pub mod plan;
mod rest;
mod sizes;
pub(crate) mod split;
mod told_sizes;
mod weights;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::config::TransferSettings;
use crate::error::{Error, Kind, Result};
use crate::http::{Client, TokenUse};
pub use crate::progress::{self, Event, Observer};
use crate::staging::{Hint, Staging, layout};
use copy::Outcome;
use engine::Engine;
pub use ids::Ids;
pub use links::{Links, Renew, Unrenewed};
pub use listing::Listing;
pub use pieces::{remove_left_over, remove_other_pieces};
pub use plan::{File, Plan};
use rest::Rest;

/// How many files are at work at once. Most of them wait for their turn at a server, or for memory.
const AT_WORK: usize = 128;

/// How long the other files have to write down how far they are when one has failed.
const LAST_WORDS: Duration = Duration::from_secs(20);

/// How often it is reckoned anew when to stop: what the parts in flight take is not known before.
const LOOK: Duration = Duration::from_secs(1);

/// What a transfer needs beside its files.
pub struct Transfer {
    /// The source's client.
    pub source: Client,
    /// Where files go.
    pub staging: Staging,
    /// Who is told.
    pub observer: Observer,
    /// By when to have stopped, and answered that the transfer goes on.
    pub deadline: Option<Instant>,
    /// Memory, concurrency, and how closely files are looked at.
    pub settings: TransferSettings,
    /// The longest that a server's Retry-After is obeyed.
    pub retry_after_max: Duration,
    /// Where links can be had anew.
    pub renew: Option<Renew>,
    /// Until when the source has the files, where that is known.
    pub expires: Option<Timestamp>,
    /// What is staged already, where that is known.
    pub listing: Option<Listing>,
    /// Whether a call in which servers only asked for patience is one that goes on.
    pub patient: bool,
    /// Where the ids that come are remembered.
    pub ids: Arc<Ids>,
}

/// What a complete transfer brought.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Brought {
    /// How many files there are.
    pub files: usize,
    /// How many of them were fetched now.
    pub fetched: usize,
    /// The bytes of all of them in staging.
    pub bytes: u64,
    /// The same by type.
    pub bytes_by_type: BTreeMap<String, u64>,
    /// Resources by type.
    pub resources: BTreeMap<String, u64>,
    /// The objects of files of several types.
    pub pieces: BTreeSet<String>,
}

/// One file's end, as its task tells it.
type Ended = (Arc<File>, Result<Outcome>);

impl Transfer {
    /// Stages every file, or fails with the first error. Files that are complete are not fetched again, by any call.
    ///
    /// Gives [`Kind::JobInProgress`] shortly before the deadline; the next call goes on, in the middle of a file too. Where
    /// nothing came further, for servers asked for patience all the time, it is [`Error::throttled`] or, once that has gone
    /// on for too long, the unavailability of the server that asked last.
    pub async fn run(&self, plan: &Plan) -> Result<Brought> {
        (self.observer)(Event::Planned {
            files: plan.len(),
            bytes: plan.bytes(),
        });
        let token = if plan.requires_access_token() == Some(false) {
            TokenUse::Never
        } else {
            TokenUse::WhereTrusted
        };
        let mut work = Work {
            engine: Arc::new(Engine::new(self, token, plan.export())),
            begun: Instant::now(),
            deadline: self.deadline,
            tasks: JoinSet::new(),
            stopping: false,
            failure: None,
            brought: Brought {
                files: plan.len(),
                ..Brought::default()
            },
            done: 0,
            rest: Rest::of(plan.order(), self.listing.as_ref()),
            patient: self.patient,
        };
        loop {
            while !work.stopping && work.tasks.len() < AT_WORK {
                let Some(slot) = work.rest.next(work.engine.in_company()) else {
                    break;
                };
                work.begin(plan.file(slot)?, self.listing.as_ref());
            }
            if work.tasks.is_empty() {
                break;
            }
            work.next().await?;
        }
        work.end(plan)
    }
}

/// A transfer at work.
struct Work<'a> {
    engine: Arc<Engine>,
    begun: Instant,
    deadline: Option<Instant>,
    tasks: JoinSet<Ended>,
    stopping: bool,
    failure: Option<Error>,
    brought: Brought,
    done: usize,
    /// What is not begun.
    rest: Rest<'a>,
    patient: bool,
}

impl Work<'_> {
    fn begin(&mut self, file: File, listing: Option<&Listing>) {
        // What another process has staged since, no listing knows.
        let listing = listing.filter(|_| !self.engine.in_company());
        let hint = listing.map_or(Hint::Unknown, |listing| listing.hint(file.index));
        let (engine, file) = (Arc::clone(&self.engine), Arc::new(file));
        self.tasks.spawn(async move {
            let outcome = copy::ensure(&engine, Arc::clone(&file), hint).await;
            (file, outcome)
        });
    }

    /// Waits for a file's end, or for the time to stop.
    async fn next(&mut self) -> Result<()> {
        let forever = Instant::now() + Duration::from_hours(24 * 365);
        let last = self.deadline.unwrap_or(forever);
        let wind_down = self.engine.winding_down(last.duration_since(self.begun));
        let soon = last.checked_sub(wind_down).unwrap_or(last);
        let look = soon.min(Instant::now() + LOOK);
        tokio::select! {
            biased;
            ended = self.tasks.join_next() => match ended {
                Some(Ok(ended)) => self.take(ended),
                Some(Err(error)) => self.fail(Kind::Transfer.error(format!("a file's task ended before it was done: {error}"))),
                None => {}
            },
            () = tokio::time::sleep_until(last) => {
                self.stop();
                self.tasks.shutdown().await;
            }
            () = tokio::time::sleep_until(look), if !self.stopping => {
                if soon <= Instant::now() {
                    self.stop();
                }
            }
        }
        Ok(())
    }

    fn stop(&mut self) {
        self.stopping = true;
        self.engine.stop();
    }

    /// The first failure is told; the others write down how far they are.
    fn fail(&mut self, error: Error) {
        if error.ends_the_run() {
            self.engine.end();
        }
        if self.failure.is_none() {
            self.failure = Some(error);
            let last = Instant::now() + LAST_WORDS;
            self.deadline = Some(self.deadline.map_or(last, |deadline| deadline.min(last)));
        }
        self.stop();
    }

    fn take(&mut self, (file, outcome): Ended) {
        let (record, fetched) = match outcome {
            Ok(Outcome::Done { record, fetched }) => (record, fetched),
            Ok(Outcome::Stopped) => return,
            Ok(Outcome::Postponed) => return self.rest.postpone(file.index),
            Err(error) => return self.fail(error),
        };
        self.done += 1;
        self.rest.seen(file.index);
        self.brought.fetched += usize::from(fetched);
        self.brought.bytes += record.size;
        if file.is_mixed() {
            let keys = record.objects.iter().map(|object| object.key.clone());
            self.brought.pieces.extend(keys);
        }
        for object in &record.objects {
            let of_type = layout::resource_type_of(&object.key).unwrap_or_default();
            let of_type = self.brought.bytes_by_type.entry(of_type.to_owned());
            *of_type.or_default() += object.size;
        }
        let mut resources = 0;
        for (resource_type, count) in record.resources.iter().filter(|(_, count)| **count > 0) {
            let of_type = self.brought.resources.entry(resource_type.clone());
            *of_type.or_default() += count;
            resources += count;
        }
        (self.engine.observer)(Event::FileDone {
            index: file.index,
            fetched,
            bytes: record.size,
            resources,
        });
    }

    fn end(self, plan: &Plan) -> Result<Brought> {
        self.engine.told_sizes.end();
        if let Some(error) = self.failure {
            return Err(error);
        }
        if self.done == self.brought.files {
            return Ok(self.brought);
        }
        let (unseen, unseen_bytes) = self.rest.unseen();
        let done = self.done + unseen;
        let bytes = self.brought.bytes + unseen_bytes + self.engine.under_way();
        let of_all = plan
            .bytes()
            .map(|all| format!(" of {all}"))
            .unwrap_or_default();
        let progress = format!(
            "{done} of {} files are staged, {bytes}{of_all} bytes with those of files under way",
            self.brought.files,
        );
        let goes_on = Kind::JobInProgress.error(format!("the transfer goes on: {progress}"));
        if self.brought.fetched > 0 || self.engine.came_further() {
            return Err(goes_on);
        }
        let Some(last) = self.engine.last_wait().take() else {
            return Err(self.too_short(done, &progress));
        };
        if self.patient {
            return Err(goes_on.throttle());
        }
        let kind = match last.kind() {
            Kind::StagingUnavailable => Kind::StagingUnavailable,
            _ => Kind::SourceUnavailable,
        };
        let what = last.what();
        Err(kind
            .error(format!("all that came of this call is that a server asked for patience, as all the time before: {what} ({progress})"))
            .retry_after(last.wait())
            .throttle())
    }

    /// The same again would come to the same.
    fn too_short(&self, done: usize, progress: &str) -> Error {
        let what = if done == self.brought.files {
            "not every staged file could be looked at"
        } else {
            "nothing could be staged"
        };
        let next = match self.engine.settings.deadline {
            Some(deadline) => format!(
                "TRANSFER_DEADLINE is {} s: set more, or leave it out, so that the command takes the time that it needs, and a function all of its own.",
                deadline.as_secs_f64()
            ),
            None => "Give the function more time or memory, or run the command, which has no such limit.".to_owned(),
        };
        Kind::Transfer
            .error(format!("{what} in the time that this call had: {progress}"))
            .next(format!("{next} What is staged stays."))
    }
}
