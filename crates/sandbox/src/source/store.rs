//! The resources that the source holds, when each was changed, and what was deleted when.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;

use crate::dataset::{Dataset, Resource};

#[derive(Debug, Clone)]
struct Entry {
    id: Option<String>,
    line: Bytes,
    changed: Timestamp,
}

/// What the source holds, by type. Two resources of one id may lie here, as they do in files that people collect.
#[derive(Debug, Default)]
pub(crate) struct Store {
    types: BTreeMap<String, Vec<Entry>>,
    deleted: Vec<(String, String, Timestamp)>,
}

/// What an export delivers.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    /// The lines of each type, none of them empty.
    pub(crate) types: Vec<(String, Vec<Bytes>)>,
    /// Type and id of each resource that is gone.
    pub(crate) deleted: Vec<(String, String)>,
    /// Whether it is organised by patient, in files of several types.
    pub(crate) by_patient: bool,
}

impl Store {
    pub(crate) fn new(dataset: Dataset, changed: Timestamp) -> Self {
        let mut store = Self::default();
        for resource in dataset.0 {
            store
                .types
                .entry(resource.resource_type)
                .or_default()
                .push(Entry {
                    id: resource.id,
                    line: resource.line,
                    changed,
                });
        }
        store
    }

    /// Creates a resource, or changes the one of its type and id.
    pub(crate) fn put(&mut self, resource: Resource, changed: Timestamp) {
        self.deleted.retain(|(kind, id, _)| {
            *kind != resource.resource_type || Some(id) != resource.id.as_ref()
        });
        let entries = self.types.entry(resource.resource_type).or_default();
        let entry = Entry {
            id: resource.id,
            line: resource.line,
            changed,
        };
        match entries.iter().position(|known| known.id == entry.id) {
            Some(index) if entry.id.is_some() => {
                entries[index] = entry;
            }
            _ => entries.push(entry),
        }
    }

    /// When anything was changed or deleted last.
    pub(crate) fn changed(&self) -> Option<Timestamp> {
        let changed = self.types.values().flatten().map(|entry| entry.changed);
        let deleted = self.deleted.iter().map(|(_, _, time)| *time);
        changed.chain(deleted).max()
    }

    /// Deletes a resource; false when there is none.
    pub(crate) fn delete(&mut self, kind: &str, id: &str, time: Timestamp) -> bool {
        let Some(entries) = self.types.get_mut(kind) else {
            return false;
        };
        let before = entries.len();
        entries.retain(|entry| entry.id.as_deref() != Some(id));
        let gone = entries.len() < before;
        if gone {
            self.deleted.push((kind.to_owned(), id.to_owned(), time));
        }
        gone
    }

    /// The lines of a type.
    pub(crate) fn lines(&self, kind: &str) -> Vec<Bytes> {
        self.types
            .get(kind)
            .map(|entries| entries.iter().map(|entry| entry.line.clone()).collect())
            .unwrap_or_default()
    }

    /// The types of which there is a resource.
    pub(crate) fn types(&self) -> Vec<String> {
        self.types
            .iter()
            .filter(|(_, entries)| !entries.is_empty())
            .map(|(kind, _)| kind.clone())
            .collect()
    }

    /// Whether there is such a resource.
    pub(crate) fn contains(&self, kind: &str, id: &str) -> bool {
        self.types
            .get(kind)
            .is_some_and(|entries| entries.iter().any(|entry| entry.id.as_deref() == Some(id)))
    }

    /// What was changed when `is_of` says, of the types that `wanted` wants; and what was deleted, where it is about what
    /// came after `since`.
    pub(crate) fn snapshot(
        &self,
        since: Option<Timestamp>,
        is_of: impl Fn(Timestamp) -> bool,
        wanted: impl Fn(&str) -> bool,
    ) -> Snapshot {
        let types = self
            .types
            .iter()
            .filter(|(kind, _)| wanted(kind))
            .map(|(kind, entries)| {
                let lines = entries
                    .iter()
                    .filter(|entry| is_of(entry.changed))
                    .map(|entry| entry.line.clone())
                    .collect::<Vec<_>>();
                (kind.clone(), lines)
            })
            .filter(|(_, lines)| !lines.is_empty())
            .collect();
        let deleted = self
            .deleted
            .iter()
            .filter(|(kind, _, time)| since.is_some() && wanted(kind) && is_of(*time))
            .map(|(kind, id, _)| (kind.clone(), id.clone()))
            .collect();
        Snapshot {
            types,
            deleted,
            by_patient: false,
        }
    }
}
