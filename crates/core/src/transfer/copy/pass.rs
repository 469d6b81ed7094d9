//! One attempt at a file: it is asked for from where it is, and its body goes by the checks into staging. What becomes of an
//! attempt that fails is [`super`]'s to say.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::Copy;
use crate::config::Validate;
use crate::error::{Error, Kind, Result};
use crate::staging::{DoneRecord, FileState, Hint, SourceMark};
use crate::transfer::check::{BadLine, LineMark};
use crate::transfer::engine::{Halt, name_of};
use crate::transfer::fetch::{self, Opened, Refused};
use crate::transfer::pace::Slot;
use crate::transfer::progress::Event;

impl Copy {
    /// Asks for the file once, from where it is, and takes it to its end.
    pub(super) async fn pass(&mut self) -> Result<DoneRecord, Halt> {
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
        if std::mem::take(&mut self.again) {
            engine.tell_again();
        }
        (engine.observer)(Event::FileAsked {
            index: self.file.index,
            resource_type: self.file.resource_type.clone(),
            url: name_of(&self.url),
        });
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
                let done = self.conclude(&before).await?;
                if let Some(came) = self.came {
                    let name = name_of(&self.url);
                    engine.told_sizes.came(&name, self.file.size, came);
                }
                Ok(done)
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
        self.came = (opened.plain && !opened.open_ended).then_some(opened.offset + came);
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
        if let Some(promised) = self.file.broken_promise(|count| count == found) {
            return Err(Kind::Integrity
                .error(format!(
                    "{} holds {found} resources, and the manifest promises {promised}",
                    name_of(&self.url)
                ))
                .into());
        }
        let resources = BTreeMap::from([(self.file.resource_type.clone(), found)]);
        let done = self.outbound.finish(resources, before).await?;
        if let Some(hashes) = self.checker.hashes() {
            self.engine.ids.keep(&self.file.key, hashes);
        }
        Ok(done)
    }

    /// Sees where the body begins: where it was asked to, or at the beginning.
    async fn line_up(&mut self, opened: &Opened) -> Result<(), Halt> {
        let from = self.at.as_ref().map(|(offset, _)| *offset);
        let goes_on = from == Some(opened.offset) && self.begun && opened.offset > 0;
        if !goes_on {
            self.checker = self.engine.checker(&self.file, LineMark::default());
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

    fn bad(&self, bad: &BadLine) -> Error {
        Kind::Integrity.error(format!("{}: {bad}", name_of(&self.url)))
    }
}
