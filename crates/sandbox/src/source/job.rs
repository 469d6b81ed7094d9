//! An export job: the files it cut, the manifest that lists them, and the jobs by number.

use std::collections::HashMap;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::BASE;
use super::content::{File, lines_to_file};
use super::store::Snapshot;
use crate::call::{Reply, fhir, operation_outcome, plain_json};
use crate::faults::{Fault, TokenClaim};
use crate::world::{World, instant};

/// How many deletions one Bundle lists.
const DELETIONS_PER_BUNDLE: usize = 100;

/// One export.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: String,
    request: String,
    time: Timestamp,
    pub(super) polls: usize,
    outputs: Vec<File>,
    deleted: Vec<File>,
    /// Whether the manifest said that its files want no token.
    pub(super) files_are_open: bool,
}

impl Job {
    /// Cuts the snapshot into files. What they hold is settled here, so a file is the same however often it is fetched.
    pub(super) fn new(world: &World, request: String, time: Timestamp, snapshot: Snapshot) -> Self {
        let mut outputs = Vec::new();
        for (kind, lines) in snapshot.types {
            let per_file = world.settings.resources_per_file.max(1);
            for (index, lines) in lines.chunks(per_file).enumerate() {
                let name = format!("{kind}.{index}.ndjson");
                outputs.push(lines_to_file(&world.faults, &kind, name, lines));
            }
        }
        let bundles: Vec<Bytes> = snapshot
            .deleted
            .chunks(DELETIONS_PER_BUNDLE)
            .map(deletions)
            .collect();
        let deleted = if bundles.is_empty() {
            Vec::new()
        } else {
            vec![File::plain("Bundle", "deleted.0.ndjson".into(), &bundles)]
        };
        Self {
            id: String::new(),
            request,
            time,
            polls: 0,
            outputs,
            deleted,
            files_are_open: false,
        }
    }

    /// The file of that name.
    pub(super) fn file(&self, name: &str) -> Option<&File> {
        self.outputs
            .iter()
            .chain(&self.deleted)
            .find(|file| file.name == name)
    }

    /// The manifest as an answer, with whatever is wrong with it now.
    pub(super) fn manifest_reply(&mut self, world: &World) -> Reply {
        let faults = &world.faults;
        if faults.fires(&Fault::ManifestIsArray) {
            return plain_json(200, &json!([]));
        }
        if faults.fires(&Fault::ManifestIsOutcome) {
            let body = operation_outcome("error", "exception", "The export did not work");
            return fhir(200, &body);
        }
        let mut manifest = self.manifest(world);
        let lacks = faults.take(|fault| match fault {
            Fault::ManifestLacks(member) => Some(member.clone()),
            _ => None,
        });
        if let Some(member) = lacks {
            manifest.shift_remove(&member);
        }
        plain_json(200, &Value::Object(manifest))
    }

    fn manifest(&mut self, world: &World) -> Map<String, Value> {
        let faults = &world.faults;
        let mut manifest = Map::new();
        manifest.insert("transactionTime".into(), json!(instant(self.time)));
        manifest.insert("request".into(), json!(self.request));
        let claim = faults.take(|fault| match fault {
            Fault::RequiresAccessToken(claim) => Some(*claim),
            _ => None,
        });
        self.files_are_open = claim == Some(TokenClaim::False);
        let claim = match claim {
            None => Some(json!(world.settings.source_auth)),
            Some(TokenClaim::True) => Some(json!(true)),
            Some(TokenClaim::False) => Some(json!(false)),
            Some(TokenClaim::Text) => Some(json!("true")),
            Some(TokenClaim::Absent) => None,
        };
        if let Some(claim) = claim {
            manifest.insert("requiresAccessToken".into(), claim);
        }
        let base = self.files_base(world);
        if !faults.fires(&Fault::OutputAbsent) {
            let outputs = self.outputs(world, &base);
            manifest.insert("output".into(), Value::Array(outputs));
        }
        let deleted: Vec<_> = self
            .deleted
            .iter()
            .map(|file| json!({"type": file.kind, "url": format!("{base}/{}", file.name), "count": file.count}))
            .collect();
        manifest.insert("deleted".into(), Value::Array(deleted));
        manifest.insert("error".into(), json!([]));
        manifest
    }

    fn outputs(&self, world: &World, base: &str) -> Vec<Value> {
        let faults = &world.faults;
        let without_counts = faults.fires(&Fault::CountAbsent);
        let mut outputs: Vec<Value> = self
            .outputs
            .iter()
            .map(|file| {
                let url = format!("{base}/{}", file.name);
                if without_counts {
                    json!({"type": file.kind, "url": url})
                } else {
                    json!({"type": file.kind, "url": url, "count": file.count})
                }
            })
            .collect();
        if let Some(first) = outputs.first_mut().and_then(Value::as_object_mut) {
            if faults.fires(&Fault::OutputWithoutUrl) {
                first.shift_remove("url");
            }
            let kind = faults.take(|fault| match fault {
                Fault::OutputType(kind) => Some(kind.clone()),
                _ => None,
            });
            if let Some(kind) = kind {
                first.insert("type".into(), json!(kind));
            }
            if faults.fires(&Fault::CountWrong) {
                let count = first.get("count").and_then(Value::as_u64).unwrap_or(0);
                first.insert("count".into(), json!(count + 1));
            }
        }
        if faults.fires(&Fault::OutputTwice) {
            outputs.extend(outputs.first().cloned());
        }
        outputs
    }

    /// Where the files are said to be.
    fn files_base(&self, world: &World) -> String {
        let path = format!("{BASE}/jobs/{}/files", self.id);
        if world.settings.files_elsewhere || world.faults.fires(&Fault::FilesElsewhere) {
            format!("{}/files/{}", world.origins.files, self.id)
        } else if world.faults.fires(&Fault::OutputUrlsRelative) {
            path
        } else {
            format!("{}{path}", world.origins.source)
        }
    }
}

/// A Bundle of deletions on one line.
fn deletions(deleted: &[(String, String)]) -> Bytes {
    let entries: Vec<_> = deleted
        .iter()
        .map(|(kind, id)| json!({"request": {"method": "DELETE", "url": format!("{kind}/{id}")}}))
        .collect();
    let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": entries});
    Bytes::from(bundle.to_string())
}

/// The jobs that are known, by id.
#[derive(Debug, Default)]
pub(super) struct Jobs(HashMap<String, Job>);

impl Jobs {
    /// Adds a job under an id of its own, or, where numbers repeat, under the first number; tells the id.
    pub(super) fn add(&mut self, mut job: Job, numbers_repeat: bool) -> String {
        let id = if numbers_repeat {
            "1".to_owned()
        } else {
            uuid::Uuid::new_v4().to_string()
        };
        job.id.clone_from(&id);
        self.0.insert(id.clone(), job);
        id
    }

    pub(super) fn get(&self, id: &str) -> Option<&Job> {
        self.0.get(id)
    }

    pub(super) fn get_mut(&mut self, id: &str) -> Option<&mut Job> {
        self.0.get_mut(id)
    }

    pub(super) fn remove(&mut self, id: &str) -> bool {
        self.0.remove(id).is_some()
    }

    /// The job with that request.
    pub(super) fn find(&self, request: &str) -> Option<String> {
        self.0
            .values()
            .find(|job| job.request == request)
            .map(|job| job.id.clone())
    }
}
