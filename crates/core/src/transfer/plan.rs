//! The plan of a transfer: what goes where, and in which order.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use url::Url;

use super::links::Links;
use super::list::List;
use super::weights::Weights;
use crate::error::{Kind, Result};
use crate::http::shown_str;
use crate::manifest::{Beside, Manifest, Output};
use crate::staging::layout;

/// One file of the manifest and its place in staging.
#[derive(Clone, Debug, PartialEq)]
pub struct File {
    /// The run that it is of.
    pub run: String,
    /// Its index among all outputs of the stored manifest.
    pub index: usize,
    /// The type of every resource in it; empty where it holds several.
    pub resource_type: String,
    /// Where it is fetched.
    pub url: Url,
    /// How many resources it holds, where the manifest says so.
    pub count: Option<u64>,
    /// Another number, where the manifest names the file several times and does not always say the same.
    pub other_count: Option<u64>,
    /// How many bytes it has, where the manifest says so.
    pub size: Option<u64>,
    /// Its key in staging.
    pub key: String,
    /// The key of its own record, where it needs one.
    pub part_key: String,
}

/// The files of the manifest that a run keeps, each of which is made when it is asked for: a plan of 100,000 files is
/// little more than their compact manifest.
#[derive(Clone)]
pub struct Plan {
    run: String,
    stored: Arc<Manifest>,
    list: List,
    /// Indices of outputs, in the order in which the files should begin.
    order: Vec<u32>,
    /// What later outputs of the same URL say of the number of resources, where it is something else than the first: two of
    /// such numbers, for they cannot both be right.
    other_counts: OtherCounts,
    links: Option<Links>,
}

/// By the index of the first output of a URL.
type OtherCounts = BTreeMap<u32, Vec<u64>>;

impl File {
    /// Whether it holds resources of several types.
    #[must_use]
    pub fn is_mixed(&self) -> bool {
        self.resource_type.is_empty()
    }

    /// What the manifest promises of the number of resources, if any of that is not so, in words.
    #[must_use]
    pub fn broken_promise(&self, is_so: impl Fn(u64) -> bool) -> Option<String> {
        match (self.count?, self.other_count) {
            (count, None) if is_so(count) => None,
            (count, None) => Some(count.to_string()),
            // They differ, so one of them is wrong.
            (count, Some(other)) if is_so(count) && is_so(other) => None,
            (count, Some(other)) => {
                Some(format!("{count} and {other}, for it names the file twice"))
            }
        }
    }
}

impl Plan {
    /// Plans the files of `stored`, the manifest that the run keeps. One URL twice is one file, the first.
    ///
    /// Large files come first, as far as the manifest tells their size or count, so that none of them is left when all
    /// others are done. Gives [`Kind::Manifest`] for one URL under two types.
    pub fn new(run: &str, stored: Arc<Manifest>) -> Result<Self> {
        let (distinct, other_counts) = distinct(&stored)?;
        let order = by_size(&stored, distinct);
        Ok(Self {
            run: run.to_owned(),
            stored,
            list: List::Outputs,
            order,
            other_counts,
            links: None,
        })
    }

    /// Plans the files beside the outputs that hold this, in the manifest's order. One of which it does not say where it is
    /// has no place here.
    #[must_use]
    pub fn beside(run: &str, stored: Arc<Manifest>, what: Beside) -> Self {
        let list = List::Beside(what);
        let all = (0..).take(list.len(&stored));
        let order = all
            .filter(|slot: &u32| stored.beside(what, *slot as usize).is_some())
            .collect();
        Self {
            run: run.to_owned(),
            stored,
            list,
            order,
            other_counts: BTreeMap::new(),
            links: None,
        }
    }

    /// Only the files of these indices, in the plan's order.
    ///
    /// Gives [`Kind::Input`] for an index that the plan does not hold.
    pub fn only(mut self, items: &[usize]) -> Result<Self> {
        let mut wanted: BTreeSet<usize> = items.iter().copied().collect();
        self.order.retain(|slot| wanted.remove(&(*slot as usize)));
        match wanted.first() {
            None => Ok(self),
            Some(index) => Err(Kind::Input.error(format!(
                "the manifest of run {} has no file of the index {index}, or that file's URL has an earlier index too",
                self.run
            ))),
        }
    }

    /// Only the files of these types.
    #[must_use]
    pub fn of_types(mut self, types: &[String]) -> Self {
        let stored = Arc::clone(&self.stored);
        self.order.retain(|slot| {
            let output = stored.output(*slot as usize);
            output.is_some_and(|output| types.iter().any(|name| name == output.resource_type))
        });
        self
    }

    /// The same files, with the URLs that a newer copy of the manifest lends.
    #[must_use]
    pub fn lent(mut self, links: Links) -> Self {
        self.links = Some(links);
        self
    }

    /// Tells of an index and a key whether a file has them.
    pub fn names(&self) -> impl Fn(usize, &str) -> bool {
        let mut files = vec![false; self.indices()];
        for slot in &self.order {
            if let Some(is_file) = files.get_mut(*slot as usize) {
                *is_file = true;
            }
        }
        move |index, key| files.get(index) == Some(&true) && self.is_key(index, key)
    }

    /// The name of the export that they are of.
    #[must_use]
    pub fn export(&self) -> String {
        layout::export_of(&self.stored.head.transaction_time)
    }

    /// How many files there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there is no file.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The files, in the order in which they should begin.
    pub fn order(&self) -> impl Iterator<Item = u32> + Send + use<> {
        self.order.clone().into_iter()
    }

    /// A file of [`Self::order`].
    ///
    /// Gives [`Kind::Input`] for a slot that is not of this plan.
    pub fn file(&self, slot: u32) -> Result<File> {
        let index = slot as usize;
        let planned = self.output(index).and_then(|output| {
            let lent = self.links.as_ref().and_then(|links| links.get(index));
            let url = match lent {
                Some(url) => url,
                None => Url::parse(&output.url).ok()?,
            };
            let others = self.other_counts.get(&slot).into_iter().flatten().copied();
            let mut counts = output.count.into_iter().chain(others);
            Some(File {
                run: self.run.clone(),
                index,
                key: self.key(index, &output),
                part_key: self.list.part_key(&self.run, index),
                resource_type: output.resource_type.to_owned(),
                url,
                count: counts.next(),
                other_count: counts.next(),
                size: output.size,
            })
        });
        planned.ok_or_else(|| {
            Kind::Input.error(format!(
                "the manifest of run {} has no file of the index {index}",
                self.run
            ))
        })
    }

    /// What the manifest says of tokens: `false` means that file requests must not carry one.
    #[must_use]
    pub fn requires_access_token(&self) -> Option<bool> {
        self.stored.head.requires_access_token
    }

    /// The files in their order, and how large each is: its bytes where they are known, else a guess.
    #[must_use]
    pub fn weights(&self) -> Vec<(u32, u64)> {
        let weights = Weights::of(&self.stored);
        let weighed = self.order.iter().map(|slot| (*slot, weights.get(*slot)));
        weighed.collect()
    }

    /// The bytes of all files, where the manifest tells the size of each.
    #[must_use]
    pub fn bytes(&self) -> Option<u64> {
        let mut sizes = self.order.iter().map(|slot| {
            let output = self.output(*slot as usize)?;
            output.size
        });
        sizes.try_fold(0, |sum: u64, size| Some(sum.saturating_add(size?)))
    }

    /// The manifest that is planned.
    pub(super) fn stored(&self) -> &Arc<Manifest> {
        &self.stored
    }

    /// Which of its lists is planned.
    pub(super) fn list(&self) -> List {
        self.list
    }

    /// The run that is planned.
    #[must_use]
    pub fn run(&self) -> &str {
        &self.run
    }

    /// How many outputs the manifest has, those that are no files of their own included.
    pub(super) fn indices(&self) -> usize {
        self.stored.len()
    }

    /// Whether a record alone is all that staging holds of the file of this index once it is done: it holds several types, or
    /// nothing.
    pub(super) fn is_done_without_object(&self, index: usize) -> bool {
        self.output(index).is_some_and(|output| {
            output.resource_type.is_empty() || output.count == Some(0) || output.size == Some(0)
        })
    }

    /// Whether the file of this index has this key.
    pub(super) fn is_key(&self, index: usize, key: &str) -> bool {
        let output = self.output(index);
        output.is_some_and(|output| self.key(index, &output) == key)
    }

    /// Whether a key may be one of the objects that the file of this index becomes, which holds several types.
    pub(super) fn is_piece(&self, index: usize, key: &str) -> bool {
        let output = self.stored.output(index);
        output.is_some_and(|output| {
            output.resource_type.is_empty() && layout::is_piece(index, &output.url, key)
        })
    }

    /// One of these objects.
    pub(super) fn piece_key(
        &self,
        index: usize,
        resource_type: &str,
        cut: u64,
        number: usize,
    ) -> Option<String> {
        let output = self.stored.output(index)?;
        let (run, url) = (&self.run, &output.url);
        Some(layout::piece_key(
            run,
            resource_type,
            index,
            url,
            cut,
            number,
        ))
    }

    fn key(&self, index: usize, output: &Output<'_>) -> String {
        self.list.key(&self.run, index, output)
    }

    fn output(&self, index: usize) -> Option<Output<'_>> {
        self.list.output(&self.stored, index)
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("run", &self.run)
            .field("files", &self.order.len())
            .finish_non_exhaustive()
    }
}

/// The indices of the outputs whose URL no earlier one has, and what later ones say of their number.
fn distinct(stored: &Manifest) -> Result<(Vec<u32>, OtherCounts)> {
    let state = RandomState::new();
    // By hash, for the URLs themselves are not held whole; of one hash, they are compared.
    let mut hashes: Vec<(u64, u32)> = (0..)
        .zip(stored.outputs())
        .map(|(slot, output)| (state.hash_one(&output.url), slot))
        .collect();
    hashes.sort_unstable();
    let mut other_counts: OtherCounts = BTreeMap::new();
    let mut first = Vec::with_capacity(hashes.len());
    for alike in hashes.chunk_by(|one, other| one.0 == other.0) {
        if let [(_, slot)] = alike {
            first.push(*slot);
        } else {
            first.extend(different(stored, alike, &mut other_counts)?);
        }
    }
    drop(hashes);
    first.sort_unstable();
    Ok((first, other_counts))
}

/// Of outputs whose URLs seem to be the same, those that no earlier one is the same as.
fn different(
    stored: &Manifest,
    alike: &[(u64, u32)],
    other_counts: &mut OtherCounts,
) -> Result<Vec<u32>> {
    let mut first: Vec<(u32, Output<'_>)> = Vec::new();
    for (_, slot) in alike {
        let Some(output) = stored.output(*slot as usize) else {
            continue;
        };
        let same = first.iter().find(|(_, earlier)| earlier.url == output.url);
        match same {
            None => first.push((*slot, output)),
            Some((at, earlier)) if earlier.resource_type == output.resource_type => {
                if let Some(count) = output.count.filter(|count| earlier.count != Some(*count)) {
                    let others = other_counts.entry(*at).or_default();
                    if others.len() < 2 && !others.contains(&count) {
                        others.push(count);
                    }
                }
            }
            Some((_, earlier)) => {
                return Err(Kind::Manifest.error(format!(
                    "the manifest says that {} holds {} and that it holds {}",
                    shown_str(&output.url),
                    earlier.resource_type,
                    output.resource_type
                )));
            }
        }
    }
    Ok(first.into_iter().map(|(slot, _)| slot).collect())
}

/// The largest first. Those of one size, or of none that is known, stay in the manifest's order.
fn by_size(stored: &Manifest, mut order: Vec<u32>) -> Vec<u32> {
    let weights = Weights::of(stored);
    order.sort_by_key(|slot| Reverse(weights.get(*slot)));
    order
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
