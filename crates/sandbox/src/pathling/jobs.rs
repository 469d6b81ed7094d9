//! Kick-off and polls of imports, and the jobs: which request gets a job of its own and which an older one's.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::failure::Failure;
use super::importer::Work;
use super::{BASE, Pathling, PathlingVersion, settle, two};
use crate::call::{Call, Reply, empty, fhir, operation_outcome, outcome, plain_json, set, with};
use crate::faults::Fault;
use crate::world::instant;

/// How long a poll waits for a job that should be done, so that tests without waits see it done.
const PATIENCE: Duration = Duration::from_millis(500);

type State = Option<Result<Vec<String>, Failure>>;

/// One import job.
#[derive(Debug)]
struct Job {
    id: String,
    key: String,
    request: String,
    started: String,
    polls: usize,
    state: watch::Receiver<State>,
    task: AbortHandle,
}

/// The jobs, in memory as the real ones keep them.
#[derive(Debug, Default)]
pub(super) struct Jobs(Vec<Job>);

impl Jobs {
    /// Forgets all jobs and ends those that run.
    pub(super) fn clear(&mut self) {
        for job in self.0.drain(..) {
            job.task.abort();
        }
    }

    fn remove(&mut self, id: &str) -> bool {
        let Some(index) = self.0.iter().position(|job| job.id == id) else {
            return false;
        };
        self.0.remove(index).task.abort();
        true
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Pathling {
    /// `POST $import`.
    pub(super) async fn import(&self, call: &Call) -> Reply {
        if let Err(refusal) = self.authorise(call, &["pathling:import"]) {
            return refusal;
        }
        match self.version {
            PathlingVersion::Seven => self.import_seven(call).await,
            PathlingVersion::Two => settle(self.import_two(call)),
        }
    }

    async fn import_seven(&self, call: &Call) -> Reply {
        let content_type = call.header("content-type").unwrap_or_default();
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        let refusal = match media_type {
            "application/fhir+json" | "application/json" => None,
            "application/fhir+ndjson" => Some(Failure::unexpected()),
            _ => Some(Failure::new(400, "HAPI-0449: Unknown Content-Type")),
        };
        if let Some(failure) = refusal {
            return failure.reply();
        }
        let Ok(body) = serde_json::from_slice::<Value>(&call.body) else {
            return Failure::new(400, "HAPI-0450: Failed to parse the body").reply();
        };
        if body.get("resourceType").and_then(Value::as_str) != Some("Parameters") {
            return Failure::unexpected().reply();
        }
        let first = call.headers.get("prefer");
        if first.is_none_or(|prefer| prefer != "respond-async") {
            // Anything else, even a longer list that holds it, is done while the caller waits.
            let result = Arc::clone(&self.importer).run(Work::Seven(body)).await;
            return settle(result.map(|_| completed()));
        }
        self.accept(call, "", Work::Seven(body))
    }

    fn import_two(&self, call: &Call) -> Result<Reply, Failure> {
        two::check_headers(call)?;
        let mut plan = two::plan(call)?;
        plan.may_write = matches!(self.has_authority(call, "pathling:write"), Ok(true));
        let key = plan.key();
        Ok(self.accept(call, &key, Work::Two(plan)))
    }

    /// 202 with the job of this request: a new one, or the one that has the same URL, headers and database key.
    fn accept(&self, call: &Call, more: &str, work: Work) -> Reply {
        let header = |name: &str| call.header(name).unwrap_or_default();
        let key = format!(
            "{}{}?{} {} {} {} {more}",
            header("host"),
            call.path,
            call.raw_query,
            header("prefer"),
            header("authorization"),
            self.tables().key(),
        );
        let mut jobs = self.jobs();
        let known = jobs.0.iter().rev().find(|job| job.key == key);
        let id = if let Some(job) = known {
            job.id.clone()
        } else {
            let (sender, state) = watch::channel(None);
            let running = Arc::clone(&self.importer).run(work);
            let task = tokio::spawn(async move {
                let result = running.await;
                sender.send_replace(Some(result));
            });
            let id = uuid::Uuid::new_v4().to_string();
            jobs.0.push(Job {
                id: id.clone(),
                key,
                request: format!("{}{BASE}/$import", base(call)),
                started: instant(self.world.clock.tick()),
                polls: 0,
                state,
                task: task.abort_handle(),
            });
            id
        };
        let body = operation_outcome(
            "information",
            "informational",
            "Job accepted for processing, see the Content-Location header for the URL at which status can be queried",
        );
        let mut reply = fhir(202, &body);
        set(
            &mut reply,
            "cache-control",
            "no-cache, no-store, max-age=0, must-revalidate",
        );
        if !self
            .world
            .faults
            .fires(&Fault::ImportWithoutContentLocation)
        {
            let location = format!("{}{BASE}/$job?id={id}", base(call));
            set(&mut reply, "content-location", &location);
        }
        reply
    }

    /// `GET $job?id=`.
    pub(super) async fn poll(&self, call: &Call) -> Reply {
        if self.world.settings.target_auth
            && let Err(refusal) = self.authorise(call, &["pathling:import"])
        {
            return refusal;
        }
        let id = call.parameter("id").unwrap_or_default();
        if self.world.faults.fires(&Fault::TargetLosesJob) {
            self.jobs().remove(id);
        }
        let wanted = self.world.settings.import_polls;
        let (mut state, request, started, polls) = {
            let mut jobs = self.jobs();
            let Some(job) = jobs.0.iter_mut().find(|job| job.id == id) else {
                return outcome(404, "not-found", "Job ID not found");
            };
            job.polls += 1;
            (
                job.state.clone(),
                job.request.clone(),
                job.started.clone(),
                job.polls,
            )
        };
        if polls <= wanted {
            return self.running(polls, wanted);
        }
        let done = tokio::time::timeout(PATIENCE, state.wait_for(Option::is_some)).await;
        let Ok(Ok(done)) = done else {
            return self.running(polls, polls);
        };
        match (&*done, self.version) {
            (Some(Err(failure)), _) => {
                let fresh = if self.version == PathlingVersion::Seven {
                    "must-revalidate,max-age=1"
                } else {
                    "max-age=1"
                };
                with(failure.reply(), "cache-control", fresh)
            }
            (Some(Ok(_)), PathlingVersion::Seven) => self.done_seven(call),
            (Some(Ok(urls)), PathlingVersion::Two) => done_two(call, urls, &request, &started),
            (None, _) => self.running(polls, polls),
        }
    }

    /// 202 to a poll. The progress is absent at first, as before the first stage of Spark.
    fn running(&self, polls: usize, wanted: usize) -> Reply {
        let body = operation_outcome("information", "informational", "Job currently processing");
        let mut reply = fhir(202, &body);
        if polls > 1 {
            let percent = (100 * (polls - 1) / (wanted + 1)).min(99);
            set(&mut reply, "x-progress", &format!("{percent}%"));
        }
        if self.version == PathlingVersion::Seven {
            set(&mut reply, "etag", "W/\"0\"");
            set(&mut reply, "cache-control", "no-store");
        } else {
            set(&mut reply, "cache-control", "no-cache");
        }
        reply
    }

    fn done_seven(&self, call: &Call) -> Reply {
        let tag = format!("W/\"{:x}\"", self.tables().key() + 0x5a0d);
        if call
            .header("if-none-match")
            .is_some_and(|known| known == tag)
        {
            return with(empty(304), "etag", &tag);
        }
        let reply = with(completed(), "etag", &tag);
        with(reply, "cache-control", "must-revalidate,max-age=1")
    }

    /// `DELETE $job?id=`, which only 2 knows.
    pub(super) fn delete_job(&self, call: &Call) -> Reply {
        if self.version == PathlingVersion::Seven {
            let refusal = outcome(405, "processing", "HAPI-0427: Only POST and GET");
            return with(refusal, "allow", "POST,GET");
        }
        if let Err(refusal) = self.authorise(call, &["pathling:import"]) {
            return refusal;
        }
        if self.jobs().remove(call.parameter("id").unwrap_or_default()) {
            let text = "The job and its resources will be deleted.";
            fhir(
                202,
                &operation_outcome("information", "informational", text),
            )
        } else {
            outcome(404, "not-found", "Job ID not found")
        }
    }
}

/// The scheme, host and port that the caller used, proxies' headers first.
fn base(call: &Call) -> String {
    let scheme = call
        .header("x-forwarded-proto")
        .unwrap_or_else(|| "http".to_owned());
    let host = call
        .header("x-forwarded-host")
        .or_else(|| call.header("host"))
        .unwrap_or_default();
    format!("{scheme}://{host}")
}

/// What 7 says at the end of an import.
fn completed() -> Reply {
    let text = "Data import completed successfully";
    fhir(
        200,
        &operation_outcome("information", "informational", text),
    )
}

/// What 2 says at the end of an import: the URLs that it was asked for, in one of two shapes.
fn done_two(call: &Call, urls: &[String], request: &str, started: &str) -> Reply {
    let reply =
        if call.accepts("application/fhir+json") {
            let mut parameters = vec![
                json!({"name": "transactionTime", "valueString": started}),
                json!({"name": "request", "valueString": request}),
            ];
            parameters.extend(urls.iter().map(
                |url| json!({"name": "output", "part": [{"name": "inputUrl", "valueUrl": url}]}),
            ));
            fhir(
                200,
                &json!({"resourceType": "Parameters", "parameter": parameters}),
            )
        } else {
            let mut outputs: Vec<Value> = urls.iter().map(|url| json!({"inputUrl": url})).collect();
            let output = if outputs.len() == 1 {
                outputs.remove(0)
            } else {
                Value::Array(outputs)
            };
            plain_json(
                200,
                &json!({"transactionTime": started, "request": request, "output": output}),
            )
        };
    with(reply, "cache-control", "max-age=1")
}
