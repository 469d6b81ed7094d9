//! Where each file of a manifest stands in a newer copy of it: the same type, and the same URL but for what signs it.
//!
//! A server may list its files in any order, and leave some out. Files that differ in nothing but their signature cannot be
//! told apart but by their place, which says something only where both copies have just these at just the same places.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use super::list::List;
use crate::manifest::Manifest;
use crate::staging::layout;

/// There is no such file.
const GONE: u32 = u32::MAX;

/// It is one of several, and nothing tells which.
const UNSURE: u32 = u32::MAX - 1;

/// Where a file stands in the newer copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    At(usize),
    Gone,
    /// It is one of several there, and nothing tells which.
    Unsure,
}

/// Where all of them stand, in four bytes for each.
pub(super) struct Places(Vec<u32>);

/// A file, by hashes: what it is, and its whole URL.
struct Named {
    file: u64,
    url: u64,
    index: u32,
}

impl Places {
    pub(super) fn of(list: List, stored: &Manifest, fresh: &Manifest) -> Self {
        let hasher = RandomState::new();
        let stored_files = by_name(list, stored, &hasher);
        let fresh_files = by_name(list, fresh, &hasher);
        let mut places = vec![GONE; list.len(stored)];
        let mut rest = fresh_files.as_slice();
        for ours in stored_files.chunk_by(|one, next| one.file == next.file) {
            let file = ours.first().map(|named| named.file).unwrap_or_default();
            rest = &rest[rest.partition_point(|named| named.file < file)..];
            let (theirs, others) = rest.split_at(rest.partition_point(|named| named.file == file));
            rest = others;
            for (named, place) in ours.iter().zip(pair(ours, theirs)) {
                if let Some(known) = places.get_mut(named.index as usize) {
                    *known = place;
                }
            }
        }
        Self(places)
    }

    pub(super) fn get(&self, index: usize) -> Place {
        match self.0.get(index).copied().unwrap_or(GONE) {
            GONE => Place::Gone,
            UNSURE => Place::Unsure,
            place => Place::At(place as usize),
        }
    }

    /// How many files are one of several, and nothing tells which.
    pub(super) fn unsure(&self) -> usize {
        self.0.iter().filter(|place| **place == UNSURE).count()
    }
}

/// The files of a manifest, those that differ in nothing but their signature side by side in its order.
fn by_name(list: List, manifest: &Manifest, hasher: &RandomState) -> Vec<Named> {
    let mut all = Vec::with_capacity(list.len(manifest));
    list.each(manifest, |index, output| {
        let source = layout::file_source(&output.url);
        all.push(Named {
            file: hasher.hash_one((output.resource_type, source)),
            url: hasher.hash_one(&output.url),
            index,
        });
    });
    all.sort_unstable_by_key(|named| (named.file, named.index));
    all
}

/// Where each of `ours` stands, which differ in nothing but their signature, as `theirs` do.
fn pair(ours: &[Named], theirs: &[Named]) -> Vec<u32> {
    let is_one = |all: &[Named]| all.iter().all(|named| named.url == all[0].url);
    let place = match theirs.first() {
        None => GONE,
        // However often it is named, it is one file.
        Some(first) if is_one(ours) && is_one(theirs) => first.index,
        Some(_) => {
            let indices = |all: &[Named]| all.iter().map(|named| named.index).collect::<Vec<_>>();
            let (our_places, their_places) = (indices(ours), indices(theirs));
            if our_places == their_places && pattern(ours) == pattern(theirs) {
                return our_places;
            }
            UNSURE
        }
    };
    vec![place; ours.len()]
}

/// For each, the first that has the same URL.
fn pattern(all: &[Named]) -> Vec<u32> {
    let mut first = HashMap::new();
    let named = all.iter();
    named
        .map(|named| *first.entry(named.url).or_insert(named.index))
        .collect()
}
