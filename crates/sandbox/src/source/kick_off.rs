//! The kick-off of an export: the job that it begins, and the answer.

use super::asked::Wanted;
use super::job::{Job, Pieces};
use super::{BASE, Source};
use crate::call::{Call, Reply, fhir, html, operation_outcome, reply, set};
use crate::faults::Fault;

impl Source {
    /// Begins an export.
    pub(super) fn kick_off(&self, call: &Call, path: &[&str]) -> Reply {
        let wanted = match self.asked(call, path) {
            Ok(wanted) => wanted,
            Err(refusal) => return refusal,
        };
        if let Err(refusal) = self.takes_now(call) {
            return refusal;
        }
        let origin = self.world.told_source();
        let question = if call.raw_query.is_empty() { "" } else { "?" };
        let request = format!("{origin}{}{question}{}", call.path, call.raw_query);
        // The Parameters of a POST are part of what was asked for, and not of the URL that the manifest tells.
        let asked = format!("{request} {}", String::from_utf8_lossy(&call.body));
        let faults = &self.world.faults;

        let separate =
            call.prefers("separate-export-status") && faults.fires(&Fault::SeparateStatus);
        let reused = faults
            .fires(&Fault::KickOffReusesJob)
            .then(|| self.jobs().find(&asked))
            .flatten();
        let id = reused.unwrap_or_else(|| {
            let mut job = self.cut(&wanted, request, asked);
            job.separate_status = separate;
            job.put_to = self.wants_in_s3(call);
            if wanted.in_pieces {
                job.pieces = Pieces::Some;
            }
            self.add(job, faults.fires(&Fault::JobNumbersRepeat))
        });

        if faults.fires(&Fault::KickOffAnswerLost) {
            return html(504);
        }
        let mut accepted = if faults.fires(&Fault::KickOffBodyNotJson) {
            reply(202, "text/plain", "Your export is under way")
        } else {
            fhir(
                202,
                &operation_outcome("information", "informational", "Export accepted"),
            )
        };
        if faults.fires(&Fault::KickOffWithoutContentLocation) {
            return accepted;
        }
        let location = if faults.fires(&Fault::KickOffRelativeContentLocation) {
            format!("{BASE}/jobs/{id}")
        } else {
            format!("{origin}{BASE}/jobs/{id}")
        };
        set(&mut accepted, "content-location", &location);
        if separate {
            let applied = "respond-async, separate-export-status";
            set(&mut accepted, "preference-applied", applied);
        }
        accepted
    }

    /// A job that holds what is wanted, as it is now.
    pub(super) fn cut(&self, wanted: &Wanted, request: String, asked: String) -> Job {
        let time = self.world.clock.tick();
        let mut snapshot = self.store().snapshot(
            wanted.since,
            |changed| wanted.is_of(changed),
            |kind| wanted.includes(kind),
        );
        for (kind, lines) in &mut snapshot.types {
            *lines = wanted.narrow(kind, std::mem::take(lines));
        }
        snapshot.by_patient = wanted.by_patient || self.world.settings.mixed_files;
        snapshot.types.retain(|(_, lines)| !lines.is_empty());
        let synthetic = self
            .synthetic
            .iter()
            .filter(|group| {
                wanted.includes(&group.kind)
                    && wanted.leaves_whole(&group.kind)
                    && wanted.is_of(self.began)
            })
            .cloned()
            .collect();
        Job::new(&self.world, request, asked, time, snapshot, synthetic)
    }
}
