//! An export job: the files it cut, and the jobs by number.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::json;

use super::body::Content;
use super::content::{File, lines_to_file};
use super::document::InS3;
use super::errors;
use super::links::Links;
use super::store::Snapshot;
use crate::synthetic::Group;
use crate::world::World;

/// How many deletions one Bundle lists.
const DELETIONS_PER_BUNDLE: usize = 100;

/// What a manifest tells of an output.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) count: u64,
    pub(super) length: u64,
}

/// How a manifest may come while its job goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pieces {
    /// Not at all.
    None,
    /// As far as it is there.
    Some,
}

/// One export.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: String,
    pub(super) request: String,
    /// All that tells one kick-off from another.
    asked: String,
    pub(super) time: Timestamp,
    /// When it was first told as complete.
    pub(super) ended: Option<Timestamp>,
    pub(super) polls: usize,
    outputs: Vec<File>,
    /// Outputs that are made as they are read, after the others.
    synthetic: Vec<Arc<Group>>,
    pub(super) deleted: Vec<File>,
    pub(super) errors: Vec<File>,
    pub(super) links: Links,
    /// Whether the manifest said that its files want no token.
    pub(super) files_are_open: bool,
    /// When its files are gone.
    pub(super) expires: Option<Timestamp>,
    /// Whether its own status stands in `X-Export-Status`.
    pub(super) separate_status: bool,
    pub(super) pieces: Pieces,
    /// Where its kick-off wanted the files to be put.
    pub(super) put_to: Option<InS3>,
    /// Whether somebody has deleted it: it and its files are gone, and only what it held is remembered.
    is_deleted: bool,
}

impl Job {
    /// Cuts the snapshot into files. What they hold is settled here, so a file is the same however often it is fetched.
    pub(super) fn new(
        world: &World,
        request: String,
        asked: String,
        time: Timestamp,
        snapshot: Snapshot,
        synthetic: Vec<Arc<Group>>,
    ) -> Self {
        let mut outputs = Vec::new();
        let per_file = world.settings.resources_per_file.max(1);
        if snapshot.by_patient {
            outputs = mixed(world, per_file, &snapshot);
        } else {
            for (kind, lines) in snapshot.types {
                for (index, lines) in lines.chunks(per_file).enumerate() {
                    let name = format!("{kind}.{index}.ndjson");
                    outputs.push(lines_to_file(&world.faults, &kind, name, lines));
                }
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
            asked,
            time,
            ended: None,
            polls: 0,
            outputs,
            synthetic,
            deleted,
            errors: errors::files(&world.faults),
            links: Links::default(),
            files_are_open: false,
            expires: None,
            separate_status: false,
            pieces: Pieces::None,
            put_to: None,
            is_deleted: false,
        }
    }

    /// The bytes of the file of that name, and what tells them from those of every other file.
    pub(super) fn content(&self, name: &str) -> Option<(Content, String)> {
        let kept = self.outputs.iter().chain(&self.deleted);
        let kept = kept.chain(&self.errors);
        for file in kept {
            if file.name == name {
                let content = Content::Kept(file.pieces.clone());
                return Some((content, format!("{}-{name}", self.id)));
            }
        }
        self.synthetic.iter().find_map(|group| {
            let content = Content::Synthetic {
                group: Arc::clone(group),
                index: group.index(name)?,
                reversed: false,
            };
            Some((content, name.to_owned()))
        })
    }

    /// The names of all its files.
    pub(super) fn names(&self) -> impl Iterator<Item = String> {
        let beside = self.deleted.iter().chain(&self.errors);
        let beside: Vec<_> = beside.map(|file| file.name.clone()).collect();
        self.listed().map(|listed| listed.name).chain(beside)
    }

    /// What the manifest's outputs are, one after the other.
    pub(super) fn listed(&self) -> impl Iterator<Item = Listed> + Send + 'static {
        let kept: Vec<_> = self
            .outputs
            .iter()
            .map(|file| Listed {
                kind: file.kind.clone(),
                name: file.name.clone(),
                count: file.count as u64,
                length: file.length(),
            })
            .collect();
        let synthetic = self.synthetic.clone().into_iter().flat_map(|group| {
            (0..group.files).map(move |index| Listed {
                kind: group.kind.clone(),
                name: group.name(index),
                count: group.count,
                length: group.length,
            })
        });
        kept.into_iter().chain(synthetic)
    }
}

/// Files of several types: blocks of resources in turn from each type, each behind a header.
fn mixed(world: &World, per_file: usize, snapshot: &Snapshot) -> Vec<File> {
    let most = snapshot.types.iter().map(|(_, lines)| lines.len()).max();
    let blocks: Vec<Vec<Bytes>> = (0..most.unwrap_or_default())
        .map(|index| {
            let lines = snapshot
                .types
                .iter()
                .filter_map(|(_, lines)| lines.get(index));
            lines.cloned().collect()
        })
        .collect();
    let mut files = Vec::new();
    for (index, blocks) in blocks.chunks(per_file).enumerate() {
        let resources = blocks.iter().map(Vec::len).sum();
        let lines: Vec<Bytes> = blocks
            .iter()
            .enumerate()
            .flat_map(|(number, block)| [vec![header(number)], block.clone()].concat())
            .collect();
        let name = format!("block.{index}.ndjson");
        let mut file = lines_to_file(&world.faults, "", name, &lines);
        file.count = resources;
        files.push(file);
    }
    files
}

/// The line before a block.
fn header(number: usize) -> Bytes {
    let reference = json!({"reference": format!("Patient/{number}")});
    let parameter = json!([{"name": "header", "valueReference": reference}]);
    let header = json!({"resourceType": "Parameters", "parameter": parameter});
    Bytes::from(header.to_string())
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
        self.0.get(id).filter(|job| !job.is_deleted)
    }

    /// Whether there was a job of this id that somebody has deleted.
    pub(super) fn was_deleted(&self, id: &str) -> bool {
        self.0.get(id).is_some_and(|job| job.is_deleted)
    }

    /// All of them.
    pub(super) fn all(&mut self) -> impl Iterator<Item = &mut Job> {
        self.0.values_mut()
    }

    /// Whether one of those that nobody has deleted is like that.
    pub(super) fn any_alive(&self, is_like: impl Fn(&Job) -> bool) -> bool {
        self.any_ever(|job| !job.is_deleted && is_like(job))
    }

    /// Whether one is like that, deleted or not.
    pub(super) fn any_ever(&self, is_like: impl Fn(&Job) -> bool) -> bool {
        self.0.values().any(is_like)
    }

    /// The newest, even where it has been deleted since.
    pub(super) fn newest(&self) -> Option<&Job> {
        self.0.values().max_by_key(|job| job.time)
    }

    pub(super) fn get_mut(&mut self, id: &str) -> Option<&mut Job> {
        self.0.get_mut(id).filter(|job| !job.is_deleted)
    }

    /// Forgets a job, as a server does that lost its memory.
    pub(super) fn remove(&mut self, id: &str) -> bool {
        self.0.remove(id).is_some()
    }

    /// Deletes a job; tells whether there was one.
    pub(super) fn delete(&mut self, id: &str) -> bool {
        let job = self.get_mut(id);
        job.map(|job| job.is_deleted = true).is_some()
    }

    /// The job that was asked for in these words.
    pub(super) fn find(&self, asked: &str) -> Option<String> {
        self.0
            .values()
            .find(|job| job.asked == asked && !job.is_deleted)
            .map(|job| job.id.clone())
    }
}
