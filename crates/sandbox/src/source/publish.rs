//! What the source publishes (`$bulk-publish`): a manifest that is there without a kick-off, and until when the files of one
//! are there.

use std::sync::PoisonError;
use std::time::Duration;

use jiff::Timestamp;

use super::asked::Wanted;
use super::job::Job;
use super::{BASE, Source};
use crate::call::{Call, Reply, outcome, set};
use crate::faults::Fault;
use crate::world::World;

impl Source {
    /// The manifest of everything, published anew when anything was changed.
    pub(super) fn publish(&self, call: &Call) -> Reply {
        if let Err(refusal) = self.authorise(call) {
            return refusal;
        }
        let changed = self.store().changed().unwrap_or(self.began);
        let mut published = self
            .published
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let known = published.as_ref().filter(|(_, of)| *of == changed);
        let id = if let Some((id, _)) = known {
            id.clone()
        } else {
            let request = format!("{}{BASE}/$bulk-publish", self.world.origins.source);
            let job = self.cut(&Wanted::default(), request.clone(), request);
            let id = self.add(job, false);
            *published = Some((id.clone(), changed));
            id
        };
        let mut jobs = self.jobs();
        let Some(job) = jobs.get_mut(&id) else {
            return outcome(404, "not-found", "What was published is gone");
        };
        let mut reply = job.manifest_reply(&self.world, 1);
        job.tell_expiry(&self.world, &mut reply);
        reply
    }
}

impl Job {
    /// Says with the manifest until when the files are there.
    pub(super) fn tell_expiry(&mut self, world: &World, reply: &mut Reply) {
        let told = world.faults.take(|fault| match fault {
            Fault::ManifestExpires(text) => Some(text.clone()),
            _ => None,
        });
        let Some(text) = told else { return };
        let (sign, seconds) = text.split_at(usize::from(text.starts_with(['+', '-'])));
        let now = world.clock.system_time();
        let seconds = seconds.parse().map(Duration::from_secs);
        let date = match (sign, seconds) {
            ("+", Ok(seconds)) => now.checked_add(seconds),
            ("-", Ok(seconds)) => now.checked_sub(seconds),
            _ => None,
        };
        let said = date.map_or(text.clone(), httpdate::fmt_http_date);
        // The files are gone at the second that was said.
        self.expires = date
            .filter(|_| sign == "+")
            .and_then(|_| httpdate::parse_http_date(&said).ok())
            .and_then(|date| Timestamp::try_from(date).ok());
        set(reply, "expires", &said);
    }
}
