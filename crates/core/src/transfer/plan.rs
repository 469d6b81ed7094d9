//! The plan of a transfer: what goes where, and in which order.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use url::Url;

use super::links::Links;
use super::list::List;
use super::weights::Weights;
use crate::error::{Kind, Result};
use crate::http::shown_str;
use crate::manifest::{Manifest, Output};
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
    links: Option<Links>,
}

impl File {
    /// Whether it holds resources of several types.
    #[must_use]
    pub fn is_mixed(&self) -> bool {
        self.resource_type.is_empty()
    }
}

impl Plan {
    /// Plans the files of `stored`, the manifest that the run keeps. One URL twice is one file, the first.
    ///
    /// Large files come first, as far as the manifest tells their size or count, so that none of them is left when all
    /// others are done. Gives [`Kind::Manifest`] for one URL under two types.
    pub fn new(run: &str, stored: Arc<Manifest>) -> Result<Self> {
        let order = by_size(&stored, distinct(&stored)?);
        Ok(Self {
            run: run.to_owned(),
            stored,
            list: List::Outputs,
            order,
            links: None,
        })
    }

    /// Plans the files of errors, in the manifest's order. One of which it does not say where it is has no place here.
    #[must_use]
    pub fn errors(run: &str, stored: Arc<Manifest>) -> Self {
        let all = (0..).take(stored.head.errors);
        let order = all
            .filter(|slot: &u32| stored.error_file(*slot as usize).is_some())
            .collect();
        Self {
            run: run.to_owned(),
            stored,
            list: List::Errors,
            order,
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
            Some(File {
                run: self.run.clone(),
                index,
                key: self.key(index, &output),
                part_key: self.list.part_key(&self.run, index),
                resource_type: output.resource_type.to_owned(),
                url,
                count: output.count,
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

/// The indices of the outputs whose URL no earlier one has.
fn distinct(stored: &Manifest) -> Result<Vec<u32>> {
    let hasher = RandomState::new();
    // By hash, for the URLs themselves are not held whole; the next number is free where two URLs share one.
    let mut seen: HashMap<u64, u32> = HashMap::with_capacity(stored.len());
    let mut first = Vec::with_capacity(stored.len());
    'outputs: for (slot, output) in (0..).zip(stored.outputs()) {
        let mut hash = hasher.hash_one(&output.url);
        while let Some(earlier) = seen
            .get(&hash)
            .and_then(|slot| stored.output(*slot as usize))
        {
            if earlier.url == output.url {
                if earlier.resource_type == output.resource_type {
                    continue 'outputs;
                }
                return Err(Kind::Manifest.error(format!(
                    "the manifest says that {} holds {} and that it holds {}",
                    shown_str(&output.url),
                    earlier.resource_type,
                    output.resource_type
                )));
            }
            hash = hash.wrapping_add(1);
        }
        seen.insert(hash, slot);
        first.push(slot);
    }
    Ok(first)
}

/// The largest first. Those of one size, or of none that is known, stay in the manifest's order.
fn by_size(stored: &Manifest, mut order: Vec<u32>) -> Vec<u32> {
    let weights = Weights::of(stored);
    order.sort_by_key(|slot| Reverse(weights.get(*slot)));
    order
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(outputs: &Value) -> Arc<Manifest> {
        let manifest = json!({"transactionTime": "t", "output": outputs});
        Arc::new(Manifest::read(&manifest, None).unwrap())
    }

    fn manifest(outputs: &[(&str, &str)]) -> Arc<Manifest> {
        let outputs: Vec<_> = outputs
            .iter()
            .map(|(kind, url)| json!({"type": kind, "url": url}))
            .collect();
        of(&json!(outputs))
    }

    fn order(plan: &Plan) -> Vec<u32> {
        plan.order().collect()
    }

    #[test]
    fn one_url_twice_is_one_file_and_other_urls_never_share_a_key() {
        let stored = manifest(&[
            ("Patient", "http://h/1"),
            ("Patient", "http://h/1"),
            ("Patient", "http://h/1?part=2"),
        ]);
        let plan = Plan::new("abc", stored).unwrap();
        assert_eq!(order(&plan), [0, 2]);
        assert_ne!(plan.file(0).unwrap().key, plan.file(2).unwrap().key);
    }

    #[test]
    fn one_url_under_two_types_is_no_manifest_to_follow() {
        let stored = manifest(&[
            ("Patient", "http://h/1?sig=x"),
            ("Condition", "http://h/1?sig=x"),
        ]);
        let error = Plan::new("abc", stored).unwrap_err();
        assert_eq!(error.kind(), Kind::Manifest);
        assert!(
            error
                .what()
                .contains("http://h/1?sig=… holds Patient and that it holds Condition"),
            "{error}"
        );
    }

    #[test]
    fn large_files_begin_first_and_the_others_stay_in_their_order() {
        let file = |n: usize, size: Value, count: Value| json!({"type": "Patient", "url": format!("http://h/{n}"), "fileSize": size, "count": count});
        let null = Value::Null;
        let stored = of(&json!([
            file(0, json!(10), null.clone()),
            file(1, null.clone(), json!(5000)),
            file(2, json!("99999999"), json!(1)),
            file(3, null.clone(), null.clone()),
            file(4, json!(10), json!(900)),
            file(5, json!("many"), json!(-1)),
        ]));
        // Of 3 and 5 nothing is known, so they count as much as the others on average.
        assert_eq!(
            order(&Plan::new("abc", stored).unwrap()),
            [2, 3, 5, 1, 0, 4]
        );
        let huge = of(&json!([
            file(0, json!(u64::MAX - 1), null.clone()),
            file(1, json!(u64::MAX - 1), null.clone()),
        ]));
        assert_eq!(Plan::new("abc", huge).unwrap().bytes(), Some(u64::MAX));
        let unknown = manifest(&[("Patient", "http://h/2"), ("Patient", "http://h/1")]);
        assert_eq!(order(&Plan::new("abc", unknown).unwrap()), [0, 1]);
    }

    #[test]
    fn a_batch_is_just_its_items_under_the_names_that_they_have_in_the_whole() {
        let stored = manifest(&[
            ("Patient", "http://h/1"),
            ("Patient", "http://h/1"),
            ("Condition", "http://h/2"),
            ("Condition", "http://h/3"),
        ]);
        let whole = Plan::new("abc", stored).unwrap();
        let batch = whole.clone().only(&[3, 2, 3]).unwrap();
        assert_eq!(order(&batch), [2, 3]);
        assert_eq!(batch.file(3).unwrap(), whole.file(3).unwrap());
        for index in [1, 4, usize::MAX] {
            let error = whole.clone().only(&[0, index]).unwrap_err();
            assert_eq!(error.kind(), Kind::Input);
            assert!(error.what().contains(&index.to_string()), "{error}");
        }
    }
}
