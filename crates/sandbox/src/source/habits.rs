//! What a source's habits mean for a kick-off and for its files.

use std::sync::atomic::Ordering;

use super::asked::{Given, refused};
use super::{BASE, Source};
use crate::call::{Call, Reply, fhir, outcome, plain_json, with};
use crate::habits::Habit;
use crate::record::Service;
use crate::world::World;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// Media types of FHIR resources: who asks for one of them gets a resource.
const RESOURCES: [&str; 3] = ["application/fhir+json", "application/json", "text/json"];

impl World {
    /// The source's origin as it tells it in its URLs.
    pub(crate) fn told_source(&self) -> String {
        let origin = &self.origins.source;
        if self.faults.has(&Habit::InternalHost) {
            origin.replace("127.0.0.1", "localhost")
        } else {
            origin.clone()
        }
    }
}

impl Source {
    /// The refusal of an export at a level that there is none at.
    pub(super) fn takes_level(&self, path: &[&str]) -> Result<(), Reply> {
        let level = match path {
            ["Patient", _] => "patient",
            ["Group", ..] => "group",
            _ => "system",
        };
        let levels = self.world.faults.habit(|habit| match habit {
            Habit::Levels(levels) => Some(levels.clone()),
            _ => None,
        });
        match levels {
            Some(levels) if !levels.split(',').any(|known| known == level) => {
                let what = format!("There is no $export at the level {level}, only at {levels}");
                Err(outcome(404, "not-supported", &what))
            }
            _ => Ok(()),
        }
    }

    /// The refusal of a kick-off with these parameters.
    pub(super) fn takes(&self, call: &Call, given: &[Given], path: &[&str]) -> Result<(), Reply> {
        let faults = &self.world.faults;
        let times = |name: &str| given.iter().filter(|given| given.name == name).count();
        let refusal = faults.habit(|habit| match habit {
            Habit::Format(format) => given
                .iter()
                .find(|given| given.name == "_outputFormat" && given.value != *format)
                .map(|given| {
                    let value = &given.value;
                    let what = format!("The _outputFormat '{value}' is none but '{format}'");
                    refused("not-supported", &what)
                }),
            Habit::GroupWants(name) if path[0] == "Group" && times(name) == 0 => {
                let what = format!("The export of a group wants the parameter '{name}'");
                Some(refused("required", &what))
            }
            // As they were sent: what is given has its lists taken apart.
            Habit::Once(name) if sent(call, name) > 1 => {
                let what = format!("The parameter '{name}' may come once");
                Some(refused("invalid", &what))
            }
            _ => None,
        });
        refusal.map_or(Ok(()), Err)
    }

    /// The refusal of a kick-off that comes too early.
    pub(super) fn takes_now(&self, call: &Call) -> Result<(), Reply> {
        let faults = &self.world.faults;
        let polls = self.world.settings.polls;
        if faults.has(&Habit::OneExportAtATime) && self.jobs().any_alive(|job| job.polls < polls) {
            let what = "Another export of this client is under way";
            return Err(outcome(429, "throttled", what));
        }
        let status = faults.habit(|habit| match habit {
            Habit::GroupOnceADay(status) => Some(*status),
            _ => None,
        });
        let Some(status) = status.filter(|_| call.path.contains("/Group/")) else {
            return Ok(());
        };
        let address = format!("{}{}", self.world.told_source(), call.path);
        if self
            .jobs()
            .any_ever(|job| job.request.split('?').next() == Some(&address))
        {
            let what = "This group was exported less than 24 hours ago";
            return Err(outcome(status, "throttled", what));
        }
        Ok(())
    }

    /// The answer to a download instead of the file.
    pub(super) fn habitual_refusal(&self, call: &Call) -> Option<Reply> {
        self.world.faults.habit(|habit| match habit {
            Habit::FilesWantAccept(kind) if !call.accepts(kind) => Some(outcome(
                406,
                "not-supported",
                &format!("Accept must be {kind}"),
            )),
            Habit::FilesFailEvery(number) => {
                let before = self.downloaded.fetch_add(1, Ordering::SeqCst);
                (before + 1)
                    .is_multiple_of(*number)
                    .then(|| plain_json(500, &json!({"message": "Internal Server Error"})))
            }
            _ => None,
        })
    }

    /// A file that is kept as a `Binary` resource: its bytes for who asks for NDJSON, else the resource.
    pub(super) async fn binary(&self, call: &Call, id: &str) -> Reply {
        let job_and_name = id
            .split_once('.')
            .filter(|_| self.world.faults.has(&Habit::FilesAsBinary));
        let Some((job, name)) = job_and_name else {
            return outcome(404, "not-found", "There is no such Binary");
        };
        if !RESOURCES.into_iter().any(|kind| call.accepts(kind)) {
            return self.file(call, job, name, Service::Source).await;
        }
        if let Err(refusal) = self.authorise(call) {
            return refusal;
        }
        let content = self.jobs().get(job).and_then(|job| job.content(name));
        let Some((content, _)) = content else {
            return outcome(404, "not-found", "There is no such Binary");
        };
        let bytes: Vec<u8> = content.pieces().flatten().collect();
        let binary = json!({
            "resourceType": "Binary",
            "id": id,
            "contentType": "application/fhir+ndjson",
            "data": STANDARD.encode(bytes),
        });
        fhir(200, &binary)
    }

    /// The answer to a poll of a job that goes on, with what a habit says in its headers.
    pub(super) fn going_on(&self, mut reply: Reply, polls: usize) -> Reply {
        let said = |wanted: fn(&Habit) -> Option<String>| self.world.faults.habit(wanted);
        let progress = said(|habit| match habit {
            Habit::Progress(text) => Some(text.clone()),
            _ => None,
        });
        if let Some(text) = progress {
            reply = with(reply, "x-progress", &text);
        }
        let waits = said(|habit| match habit {
            Habit::RetryAfter(values) => Some(values.clone()),
            _ => None,
        });
        let wait = waits.as_deref().and_then(|waits| {
            let waits: Vec<&str> = waits.split('|').collect();
            waits.get(polls.saturating_sub(1)).or(waits.last()).copied()
        });
        // What a person asked for by hand comes first.
        match wait.filter(|_| self.world.settings.retry_after.is_none()) {
            Some(value) => with(reply, "retry-after", value),
            None => reply,
        }
    }
}

/// How often a parameter was sent, in the query or in the body.
fn sent(call: &Call, name: &str) -> usize {
    let in_query = call.query.iter().filter(|(key, _)| key == name).count();
    let body: Value = serde_json::from_slice(&call.body).unwrap_or_default();
    let entries = body["parameter"].as_array().into_iter().flatten();
    in_query + entries.filter(|entry| entry["name"] == name).count()
}

/// What the URLs of a job's files begin with, where a habit says.
pub(super) fn files_base(world: &World, job: &str) -> Option<String> {
    if world.faults.has(&Habit::FilesAsBinary) {
        Some(format!("{}{BASE}/Binary/{job}.", world.told_source()))
    } else {
        None
    }
}
