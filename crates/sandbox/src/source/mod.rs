//! The Bulk Data source: export kick-off, status, manifest, files, and what is published, under the base `/fhir`; and the other origin
//! where its files may lie.

mod asked;
mod body;
mod content;
mod document;
mod download;
mod errors;
mod gzip;
mod habits;
mod job;
mod kick_off;
mod links;
mod manifest;
mod metadata;
mod narrow;
mod publish;
mod range;
mod send;
mod service;
mod store;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::Method;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::call::{
    Call, Reply, empty, fhir, operation_outcome, outcome, plain_json, reply, set, with,
};
use crate::clients::Way;
use crate::dataset::{Dataset, Resource};
use crate::faults::{DeletedJob, Fault, Place};
use crate::rate::Rate;
use crate::record::Service;
use crate::synthetic::{Group, groups};
use crate::token::smart_configuration;
use crate::traffic::Gauge;
use crate::world::World;

pub(crate) use service::{FilesService, SourceService};

use body::Content;
use gzip::Compressed;
use job::Jobs;
use store::Store;

/// The base of every URL of the source.
pub(crate) const BASE: &str = "/fhir";

/// The source's data and its export jobs.
pub(crate) struct Source {
    pub(crate) world: Arc<World>,
    store: Mutex<Store>,
    jobs: Mutex<Jobs>,
    /// Files that are made as they are read, all of them as old as the first resources.
    synthetic: Vec<Arc<Group>>,
    began: Timestamp,
    compressed: Compressed,
    downloads: Arc<Gauge>,
    rate: Option<Arc<Rate>>,
    /// The files that were answered, by job and name, and whether their bytes are others since.
    answered: Mutex<HashMap<(String, String), bool>>,
    /// What is published: its job, and when what it holds was last changed.
    published: Mutex<Option<(String, Timestamp)>>,
    /// How many downloads were asked for, where a habit counts them.
    downloaded: AtomicUsize,
    /// Where S3 keeps its buckets.
    buckets: PathBuf,
}

/// A file that the newest export lists.
#[derive(Debug, Clone)]
pub struct SourceFile {
    /// Its name: the last segment of its URL's path.
    pub name: String,
    /// The type of its resources.
    pub resource_type: String,
    /// How many resources it has.
    pub count: u64,
    content: Content,
}

impl SourceFile {
    /// How many bytes it has, not compressed.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.content.length()
    }

    /// Its bytes as they were first served, in pieces that are made as they are asked for.
    pub fn pieces(&self) -> impl Iterator<Item = bytes::Bytes> + '_ {
        self.content.pieces()
    }
}

impl Source {
    /// A source with these resources, all of them an hour old.
    pub(crate) fn new(world: Arc<World>, dataset: Dataset, buckets: PathBuf) -> Self {
        let began = world.clock.tick() - SignedDuration::from_hours(1);
        Self {
            store: Mutex::new(Store::new(dataset, began)),
            jobs: Mutex::default(),
            synthetic: groups(&world.settings.synthetic),
            began,
            compressed: Compressed::default(),
            downloads: Arc::default(),
            rate: world
                .settings
                .source_rate
                .map(|rate| Arc::new(Rate::new(rate))),
            answered: Mutex::default(),
            published: Mutex::default(),
            downloaded: AtomicUsize::default(),
            buckets,
            world,
        }
    }

    /// The files of the newest export.
    pub(crate) fn files(&self) -> Vec<SourceFile> {
        let jobs = self.jobs();
        let Some(job) = jobs.newest() else {
            return Vec::new();
        };
        job.listed()
            .filter_map(|listed| {
                let (content, _) = job.content(&listed.name)?;
                Some(SourceFile {
                    name: listed.name,
                    resource_type: listed.kind,
                    count: listed.count,
                    content,
                })
            })
            .collect()
    }

    /// Every URL that a manifest told so far answers this status from now on.
    pub(crate) fn expire_links(&self, status: u16) {
        for job in self.jobs().all() {
            job.links.expire(status);
        }
    }

    /// Every export that was kicked off so far is complete from now on, however often it was polled.
    pub(crate) fn complete_exports(&self) {
        for job in self.jobs().all() {
            job.polls = job.polls.max(self.world.settings.polls);
        }
    }

    fn answered(&self) -> MutexGuard<'_, HashMap<(String, String), bool>> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn put(&self, resource: Resource) {
        let time = self.world.clock.tick();
        self.store().put(resource, time);
    }

    pub(crate) fn delete(&self, kind: &str, id: &str) -> bool {
        let time = self.world.clock.tick();
        self.store().delete(kind, id, time)
    }

    pub(crate) fn lines(&self, kind: &str) -> Vec<bytes::Bytes> {
        self.store().lines(kind)
    }

    pub(crate) fn types(&self) -> Vec<String> {
        self.store().types()
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the call may read; the refusal where it may not.
    fn authorise(&self, call: &Call) -> Result<(), Reply> {
        if !self.world.settings.source_auth {
            return Ok(());
        }
        let scopes = self.world.scopes(call, Service::Source)?;
        if scopes.iter().any(|scope| may_read(scope)) {
            return Ok(());
        }
        Err(outcome(403, "forbidden", "The scopes do not allow to read"))
    }

    /// The refusal of a call without a header that the source wants of its clients. What it says of itself is for everybody.
    fn lacks_header(&self, call: &Call) -> Option<Reply> {
        if matches!(
            call.below(BASE).as_deref(),
            Some(["metadata"] | [".well-known", _])
        ) {
            return None;
        }
        self.world.faults.peek(|fault| match fault {
            Fault::SourceWantsHeader(name) if !call.headers.contains_key(name) => {
                let what = format!("The header {name} is required");
                Some(outcome(400, "required", &what))
            }
            _ => None,
        })
    }

    async fn route(&self, call: &Call) -> Reply {
        if let Some(refusal) = self.lacks_header(call) {
            return refusal;
        }
        let Some(path) = call.below(BASE) else {
            return outcome(404, "not-found", "The base is /fhir");
        };
        // A service of AWS answers nothing to whoever does not sign, but for files, of which the manifest says that.
        let is_file = matches!(path.as_slice(), ["jobs", _, "files", _]);
        if self.world.settings.source_way == Way::Aws
            && !is_file
            && let Err(refusal) = self.authorise(call)
        {
            return refusal;
        }
        match (&call.method, path.as_slice()) {
            (&Method::GET, [".well-known", "smart-configuration"]) => {
                if let Some(told) = self.world.gate(Place::SmartConfiguration, call).await {
                    return told;
                }
                match smart_configuration(&self.world, Service::Source) {
                    Some(configuration) => plain_json(200, &configuration),
                    None => outcome(404, "not-found", "There is no such thing here"),
                }
            }
            (&Method::GET, ["metadata"]) => {
                if let Some(told) = self.world.gate(Place::SourceMetadata, call).await {
                    return told;
                }
                self.metadata()
            }
            (&Method::GET, ["OperationDefinition", id]) => self.operation_definition(call, id),
            (
                &Method::GET | &Method::POST,
                ["$export"] | ["Patient", "$export"] | ["Group", _, "$export"],
            ) => {
                if let Some(told) = self.world.gate(Place::KickOff, call).await {
                    return told;
                }
                self.kick_off(call, &path)
            }
            (_, [.., "$export"]) => with(
                outcome(405, "not-supported", "Only GET and POST are supported"),
                "allow",
                "GET, POST",
            ),
            (&Method::GET, ["$bulk-publish"]) => {
                if let Some(told) = self.world.gate(Place::Status, call).await {
                    return told;
                }
                self.publish(call)
            }
            (_, ["$bulk-publish"]) => outcome(
                405,
                "not-supported",
                "What is published is only there to be read",
            ),
            (&Method::GET, ["jobs", id]) => self.status(call, id).await,
            (&Method::DELETE, ["jobs", id]) => self.cancel(call, id).await,
            (&Method::GET, ["jobs", id, "files", name]) => {
                self.file(call, id, name, Service::Source).await
            }
            (&Method::GET, ["Binary", id]) => self.binary(call, id).await,
            _ => outcome(404, "not-found", "There is nothing here"),
        }
    }

    /// A poll of a status URL: so many 202 answers, then the manifest.
    async fn status(&self, call: &Call, id: &str) -> Reply {
        if let Some(told) = self.world.gate(Place::Status, call).await {
            return told;
        }
        if let Err(refusal) = self.authorise(call) {
            return refusal;
        }
        if !["application/json", "application/fhir+json", "*/*"]
            .into_iter()
            .any(|kind| call.accepts(kind))
        {
            return outcome(406, "not-supported", "Accept must allow application/json");
        }
        if self.world.faults.fires(&Fault::SourceLosesJob) {
            self.jobs().remove(id);
        }
        let mut jobs = self.jobs();
        if jobs.get(id).is_some() && self.world.faults.fires(&Fault::SourceCancelsJob) {
            jobs.delete(id);
        }
        let Some(job) = jobs.get_mut(id) else {
            return if jobs.was_deleted(id) {
                self.deleted_job()
            } else {
                outcome(404, "not-found", "There is no such export")
            };
        };
        let ended = self.world.faults.take(|fault| match fault {
            Fault::SeparateStatusSays(status) => Some(*status),
            _ => None,
        });
        if let Some(status) = ended {
            let said = outcome(200, "exception", "The export stopped half-way");
            return with(said, "x-export-status", &status.to_string());
        }
        let page: Option<usize> = call.parameter("page").and_then(|page| page.parse().ok());
        let wanted = self.world.settings.polls;
        if job.polls < wanted {
            if let Some(page) = page {
                return job.page_so_far(&self.world, page);
            }
            job.polls += 1;
            let percent = 100 * job.polls / (wanted + 1);
            let status = if job.separate_status { 200 } else { 202 };
            let mut reply = if self.world.faults.fires(&Fault::StatusBodyNotJson) {
                reply(status, "text/html", "<p>Your export is under way</p>")
            } else if job.tells_pieces(&self.world) {
                let mut so_far = job.page_so_far(&self.world, 1);
                *so_far.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
                so_far
            } else {
                fhir(
                    status,
                    &operation_outcome("information", "informational", "The export is under way"),
                )
            };
            if job.separate_status {
                set(&mut reply, "x-export-status", "202 Accepted");
            }
            set(&mut reply, "x-progress", &format!("{percent}% complete"));
            if let Some(value) = &self.world.settings.retry_after {
                set(&mut reply, "retry-after", value);
            }
            let polls = job.polls;
            return self.going_on(reply, polls);
        }
        job.ended.get_or_insert_with(|| self.world.clock.tick());
        let mut reply = job.manifest_reply(&self.world, page.unwrap_or(1));
        job.tell_expiry(&self.world, &mut reply);
        if job.separate_status {
            set(&mut reply, "x-export-status", "200 OK");
        }
        reply
    }

    /// A poll of a job that was deleted: each vendor has an answer of its own.
    fn deleted_job(&self) -> Reply {
        let answer = self.world.faults.peek(|fault| match fault {
            Fault::DeletedJobAnswers(answer) => Some(*answer),
            _ => None,
        });
        match answer {
            None => outcome(404, "not-found", "There is no such export"),
            Some(DeletedJob::Gone) => outcome(410, "deleted", "The export was cancelled"),
            Some(DeletedJob::GoesOn) => {
                let mut reply = empty(202);
                set(&mut reply, "x-progress", "The export is under way");
                reply
            }
            Some(DeletedJob::Empty) => empty(200),
            Some(DeletedJob::Bare) => plain_json(
                200,
                &json!({"requiresAccessToken": false, "output": [], "error": []}),
            ),
        }
    }

    fn is_complete(&self, id: &str) -> bool {
        let polls = self.world.settings.polls;
        self.jobs().get(id).is_some_and(|job| job.polls >= polls)
    }

    /// DELETE on a status URL: the job and its files are gone.
    async fn cancel(&self, call: &Call, id: &str) -> Reply {
        if let Some(told) = self.world.gate(Place::StatusDelete, call).await {
            return told;
        }
        if let Err(refusal) = self.authorise(call) {
            return refusal;
        }
        // A server that gives jobs again does not let go of a complete one.
        let reuses = |fault: &Fault| matches!(fault, Fault::KickOffReusesJob).then_some(());
        if self.world.faults.peek(reuses).is_some() && self.is_complete(id) {
            return outcome(404, "not-found", "The export is complete: nothing to do");
        }
        if self.jobs().delete(id) {
            empty(202)
        } else {
            outcome(404, "not-found", "There is no such export")
        }
    }
}

/// Whether a SMART scope, version 1 or 2, allows a backend service to read.
fn may_read(scope: &str) -> bool {
    let Some((resources, rights)) = scope.split_once('.') else {
        return false;
    };
    let rights = rights.split('?').next().unwrap_or_default();
    (resources.starts_with("system/") || resources.starts_with("user/"))
        && (matches!(rights, "read" | "*") || rights.contains('r') && rights != "write")
}
