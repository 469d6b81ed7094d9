//! Which file is begun next, and how many of those that are not look complete.
//!
//! What a listing shows as complete comes last: its record is read, which takes a request for each, and where the time is
//! short, that would be all that every call does.

use std::collections::VecDeque;

use super::listing::Listing;

/// The files that are not begun, and what a listing showed of those that are not done.
pub(super) struct Rest<'a> {
    listing: Option<&'a Listing>,
    missing: VecDeque<u32>,
    complete: VecDeque<u32>,
    /// How many files look complete of which nobody has seen yet that they are, and their bytes.
    unseen: (usize, u64),
}

impl<'a> Rest<'a> {
    /// These files, which are to be begun in this order as far as they are alike.
    pub(super) fn of(order: impl Iterator<Item = u32>, listing: Option<&'a Listing>) -> Self {
        let mut rest = Self {
            listing,
            missing: VecDeque::new(),
            complete: VecDeque::new(),
            unseen: (0, 0),
        };
        for slot in order {
            match rest.listed(slot as usize) {
                Some(bytes) => {
                    rest.complete.push_back(slot);
                    rest.unseen.0 += 1;
                    rest.unseen.1 += bytes;
                }
                None => rest.missing.push_back(slot),
            }
        }
        rest
    }

    /// What a listing tells of the file, if it looks complete.
    fn listed(&self, index: usize) -> Option<u64> {
        self.listing?.complete(index)
    }

    /// The file to begin next: of those that are left the first. Beside another process, which takes them in the same order,
    /// it is any: so they seldom fetch the same.
    pub(super) fn next(&mut self, in_company: bool) -> Option<u32> {
        let files = if self.missing.is_empty() {
            &mut self.complete
        } else {
            &mut self.missing
        };
        if in_company && !files.is_empty() {
            return files.swap_remove_front(rand::random_range(0..files.len()));
        }
        files.pop_front()
    }

    /// The file is to come another time.
    pub(super) fn postpone(&mut self, index: usize) {
        self.missing.extend(u32::try_from(index));
    }

    /// The file is done, as is seen now.
    pub(super) fn seen(&mut self, index: usize) {
        if let Some(bytes) = self.listed(index) {
            self.unseen.0 = self.unseen.0.saturating_sub(1);
            self.unseen.1 = self.unseen.1.saturating_sub(bytes);
        }
    }

    /// How many files look complete of which nobody has seen yet that they are, and their bytes.
    pub(super) fn unseen(&self) -> (usize, u64) {
        self.unseen
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::super::plan::Plan;
    use super::*;
    use crate::manifest::Manifest;
    use crate::staging::Listed;

    /// A plan of six files, and a listing that has these of them.
    fn plan(there: &[u32]) -> (Plan, Listing) {
        let file = |n: u32| json!({"type": "Patient", "url": format!("http://h/{n}"), "fileSize": 100 - n});
        let outputs: Vec<_> = (0..6).map(file).collect();
        let manifest = json!({"transactionTime": "t", "output": outputs});
        let manifest = Arc::new(Manifest::read(&manifest, None).unwrap());
        let plan = Plan::new("a1", manifest).unwrap();
        let listed = there.iter().map(|slot| Listed {
            key: plan.file(*slot).unwrap().key,
            size: 10,
        });
        let listing = Listing::of(&plan, listed.collect());
        (plan, listing)
    }

    fn all(rest: &mut Rest<'_>, in_company: bool) -> Vec<u32> {
        std::iter::from_fn(|| rest.next(in_company)).collect()
    }

    #[test]
    fn what_is_missing_comes_first_and_both_in_the_order_of_the_plan() {
        let (plan, listing) = plan(&[0, 3, 1]);
        let rest = || Rest::of(plan.order(), Some(&listing));
        assert_eq!(all(&mut rest(), false), [2, 4, 5, 0, 1, 3]);
        let mut found = all(&mut rest(), true);
        assert!(
            found[..3].iter().all(|slot| [2, 4, 5].contains(slot)),
            "{found:?}"
        );
        found.sort_unstable();
        assert_eq!(found, [0, 1, 2, 3, 4, 5]);
        assert_eq!(
            all(&mut Rest::of(plan.order(), None), false),
            [0, 1, 2, 3, 4, 5]
        );
    }

    #[test]
    fn what_looks_complete_counts_until_it_is_seen() {
        let (plan, listing) = plan(&[0, 3, 1]);
        let mut rest = Rest::of(plan.order(), Some(&listing));
        assert_eq!(rest.unseen(), (3, 30));
        rest.seen(2);
        rest.seen(3);
        assert_eq!(rest.unseen(), (2, 20));
        rest.postpone(5);
        assert_eq!(all(&mut rest, false), [2, 4, 5, 5, 0, 1, 3]);
    }
}
