//! The log in the run's folder. S3 knows no appending, so lines are gathered, and added by few writes: when there are many,
//! and at the end of each call of a step. A crash loses those that are not written yet.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::{Either, select};
use tokio::sync::Notify;

use super::Sink;
use crate::error::Result;
use crate::staging::{LARGE_ADDITION, Staging, layout};

/// So many bytes of lines are written without waiting for the call's end: enough for an object of their own.
const MANY: usize = LARGE_ADDITION;

/// So many bytes of lines are held at most: what a store that does not take them leaves here.
const MOST: usize = 4 << 20;

/// How much of another run's log is looked through for a kick-off.
const KICK_OFFS: usize = 4 << 20;

pub(super) struct Journal {
    on: bool,
    held: Mutex<Held>,
    many: Notify,
    /// One writes at a time: a poll's end and files that are staged beside it have the same block to write.
    writing: tokio::sync::Mutex<()>,
}

/// What is not written yet, and where it goes.
#[derive(Default)]
struct Held {
    run: Option<String>,
    /// What is being written: it may be there already.
    block: Bytes,
    lines: Vec<u8>,
    /// The number of the log's object that was written to last.
    number: Option<u32>,
    left_out: bool,
}

impl Journal {
    pub(super) fn new(on: bool) -> Self {
        Self {
            on,
            held: Mutex::default(),
            many: Notify::new(),
            writing: tokio::sync::Mutex::default(),
        }
    }

    pub(super) fn begin(&self, run: Option<&str>) {
        let mut held = self.held();
        if run.is_none() || held.run.as_deref() != run {
            *held = Held::default();
        }
    }

    pub(super) fn of_run(&self, run: &str) {
        let mut held = self.held();
        if held.run.as_deref() != Some(run) {
            held.run = Some(run.to_owned());
            held.number = None;
        }
    }

    pub(super) fn run(&self) -> Option<String> {
        self.held().run.clone()
    }

    /// Adds the line that `line` adds to a text, given the run, and shows it to `sink`.
    pub(super) fn add(&self, line: impl FnOnce(&mut Vec<u8>, Option<&str>), sink: Option<&Sink>) {
        if !self.on && sink.is_none() {
            return;
        }
        let mut held = self.held();
        let Held { run, lines, .. } = &mut *held;
        let before = lines.len();
        line(lines, run.as_deref());
        if let Some(sink) = sink {
            sink(&lines[before..]);
        }
        let is_too_much = held.block.len() + held.lines.len() > MOST;
        if is_too_much && self.on && !std::mem::replace(&mut held.left_out, true) {
            tracing::warn!(
                run = held.run,
                "the store does not take the audit log as fast as it grows, so events are left out of it"
            );
        }
        if is_too_much || !self.on {
            held.lines.truncate(before);
        }
        if held.lines.len() >= MANY {
            self.many.notify_one();
        }
    }

    pub(super) fn has_unwritten(&self) -> bool {
        let held = self.held();
        held.run.is_some() && !(held.block.is_empty() && held.lines.is_empty())
    }

    /// How much is held.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        let held = self.held();
        held.block.len() + held.lines.len()
    }

    /// Does `work`, and writes whenever there is much to write.
    pub(super) async fn beside<T>(&self, staging: &Staging, work: impl Future<Output = T>) -> T {
        let writing = self.whenever_there_are_many(staging);
        match select(pin!(work), pin!(writing)).await {
            Either::Left((done, _)) => done,
            Either::Right((never, _)) => match never {},
        }
    }

    async fn whenever_there_are_many(&self, staging: &Staging) -> Infallible {
        loop {
            self.many.notified().await;
            if let Err(error) = self.write(staging, MANY).await {
                // The call's end tries once more.
                tracing::debug!(error = error.what(), "the audit log was not written");
            }
        }
    }

    /// Writes all there is. What cannot be written is told, and stays here.
    pub(super) async fn keep(&self, staging: &Staging) {
        if let Err(error) = self.write(staging, 1).await {
            tracing::warn!(
                run = self.run(),
                error = error.what(),
                "the audit log could not be written; the run is not touched by that"
            );
        }
    }

    /// Writes as long as there are so many bytes of lines.
    async fn write(&self, staging: &Staging, least: usize) -> Result<()> {
        let _alone = self.writing.lock().await;
        while let Some((run, block, number)) = self.next(least) {
            let key = |number| layout::log_key(&run, number);
            // A store that has no time gets no more to do for this.
            let number = staging.paced().append(key, &block, number).await?;
            let mut held = self.held();
            held.block = Bytes::new();
            held.number = Some(number);
        }
        Ok(())
    }

    /// What is to be written next, for which run, and where the last was.
    fn next(&self, least: usize) -> Option<(String, Bytes, Option<u32>)> {
        let mut held = self.held();
        let run = held.run.clone()?;
        if held.block.is_empty() && held.lines.len() >= least {
            held.block = std::mem::take(&mut held.lines).into();
        }
        let block = held.block.clone();
        (!block.is_empty()).then_some((run, block, held.number))
    }

    /// Puts the lines of this export from another run's log in front. Best effort: they are there all the same.
    pub(super) async fn take_along(&self, staging: &Staging, from: &str, id: &str) {
        let mark = format!("\"exportId\":\"{id}\"");
        let Ok(Some(mut chunks)) = staging.read_stream(&layout::log_key(from, 0)).await else {
            return;
        };
        let mut text = Vec::new();
        while let Some(Ok(chunk)) = chunks.next().await {
            if text.len() + chunk.len() > KICK_OFFS {
                return;
            }
            text.extend_from_slice(&chunk);
        }
        let mut ours = Vec::new();
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            if memchr::memmem::find(line, mark.as_bytes()).is_some() {
                ours.extend_from_slice(line);
            }
        }
        let mut held = self.held();
        ours.append(&mut held.lines);
        held.lines = ours;
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
