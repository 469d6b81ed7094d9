//! The kick-off of an export: its headers and parameters, refused as the strictest of the real servers refuse them.

use http::header;
use jiff::Timestamp;

use super::job::Job;
use super::{BASE, Source};
use crate::call::{Call, Reply, fhir, operation_outcome, outcome, reply, set};
use crate::faults::Fault;
use crate::types::{is_about_patients, is_r4};

/// What `_outputFormat` may say.
const FORMATS: [&str; 3] = ["application/fhir+ndjson", "application/ndjson", "ndjson"];

/// What an export is asked for.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) since: Option<Timestamp>,
    types: Vec<String>,
    patients_only: bool,
}

impl Wanted {
    /// Whether resources of this type are asked for.
    pub(super) fn includes(&self, kind: &str) -> bool {
        (self.types.is_empty() || self.types.iter().any(|wanted| wanted == kind))
            && (!self.patients_only || is_about_patients(kind))
    }
}

impl Source {
    /// Begins an export.
    pub(super) fn kick_off(&self, call: &Call, path: &[&str]) -> Reply {
        let wanted = match self.check(call, path) {
            Ok(wanted) => wanted,
            Err(refusal) => return refusal,
        };
        let origin = &self.world.origins.source;
        let question = if call.raw_query.is_empty() { "" } else { "?" };
        let request = format!("{origin}{}{question}{}", call.path, call.raw_query);
        let faults = &self.world.faults;

        let separate =
            call.prefers("separate-export-status") && faults.fires(&Fault::SeparateStatus);
        let reused = faults
            .fires(&Fault::KickOffReusesJob)
            .then(|| self.jobs().find(&request))
            .flatten();
        let id = reused.unwrap_or_else(|| {
            let time = self.world.clock.tick();
            let snapshot = self
                .store()
                .snapshot(wanted.since, |kind| wanted.includes(kind));
            let synthetic = self
                .synthetic
                .iter()
                .filter(|group| {
                    wanted.includes(&group.kind)
                        && wanted.since.is_none_or(|since| self.began > since)
                })
                .cloned()
                .collect();
            let mut job = Job::new(&self.world, request, time, snapshot, synthetic);
            job.separate_status = separate;
            self.jobs().add(job, faults.fires(&Fault::JobNumbersRepeat))
        });

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

    /// What is asked for, or the refusal.
    fn check(&self, call: &Call, path: &[&str]) -> Result<Wanted, Reply> {
        self.authorise(call)?;
        if !call.accepts("application/fhir+json") {
            return Err(outcome(
                406,
                "not-supported",
                "Accept must be application/fhir+json",
            ));
        }
        if !call.prefers("respond-async") {
            return Err(outcome(400, "required", "Prefer must be respond-async"));
        }
        if let ["Group", id, _] = path
            && !self.store().contains("Group", id)
        {
            return Err(outcome(404, "not-found", "There is no such Group"));
        }
        let mut wanted = Wanted {
            patients_only: path.len() > 1,
            ..Wanted::default()
        };
        for (name, value) in &call.query {
            match name.as_str() {
                "_outputFormat" if FORMATS.contains(&value.as_str()) => {}
                "_outputFormat" => {
                    return Err(outcome(
                        400,
                        "not-supported",
                        &format!("The _outputFormat '{value}' is not supported"),
                    ));
                }
                "_since" => {
                    let since = instant(value).ok_or_else(|| {
                        outcome(
                            400,
                            "invalid",
                            &format!("The _since '{value}' is no FHIR instant in UTC"),
                        )
                    })?;
                    wanted.since = Some(since);
                }
                "_type" => {
                    for kind in value.split(',') {
                        if !is_r4(kind) {
                            return Err(outcome(
                                400,
                                "invalid",
                                &format!("The _type '{kind}' is no resource type"),
                            ));
                        }
                        wanted.types.push(kind.to_owned());
                    }
                }
                _ if call.prefers("handling=lenient") => {}
                _ => {
                    return Err(outcome(
                        400,
                        "not-supported",
                        &format!("The parameter '{name}' is not supported"),
                    ));
                }
            }
        }
        if call.headers.contains_key(header::COOKIE) {
            return Err(outcome(400, "security", "Cookies are not wanted"));
        }
        Ok(wanted)
    }
}

/// A FHIR instant in UTC, with `Z`: date, time to the second at least, zone.
fn instant(text: &str) -> Option<Timestamp> {
    let shape = b"0000-00-00T00:00:00";
    let bytes = text.as_bytes();
    let fits = bytes.len() > shape.len()
        && shape.iter().zip(bytes).all(|(wanted, byte)| {
            if *wanted == b'0' {
                byte.is_ascii_digit()
            } else {
                wanted == byte
            }
        });
    (fits && text.ends_with('Z'))
        .then(|| text.parse().ok())
        .flatten()
}
