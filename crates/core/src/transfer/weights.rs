//! How large the files of a manifest are, as far as it tells: who is to begin first, and what makes a batch.

use crate::manifest::Manifest;

/// What a resource takes where only their number is known, in bytes: enough to tell large files from small ones.
const RESOURCE: u64 = 1024;

/// No file counts for as much: nothing is known of it.
const UNKNOWN: u64 = u64::MAX;

/// What is known of the sizes of a manifest's outputs, by index.
pub(super) struct Weights {
    /// [`UNKNOWN`] where nothing is.
    all: Vec<u64>,
    /// What one counts for of which nothing is known.
    mean: u64,
}

impl Weights {
    /// Those of `stored`.
    pub(super) fn of(stored: &Manifest) -> Self {
        let by_count = |count: u64| count.saturating_mul(RESOURCE);
        let weight = |(size, count): (Option<u64>, Option<u64>)| {
            let known = size.or(count.map(by_count));
            known.map_or(UNKNOWN, |weight| weight.min(UNKNOWN - 1))
        };
        let all: Vec<u64> = stored.sizes().map(weight).collect();
        let known = all.iter().filter(|weight| **weight != UNKNOWN);
        let (sum, number) = known.fold((0_u64, 0), |(sum, number), weight| {
            (sum.saturating_add(*weight), number + 1)
        });
        Self {
            all,
            mean: sum.checked_div(number).unwrap_or_default(),
        }
    }

    /// What the output of this index counts for: its bytes where they are known, else a guess.
    pub(super) fn get(&self, slot: u32) -> u64 {
        let weight = self.all.get(slot as usize).copied();
        weight
            .filter(|weight| *weight != UNKNOWN)
            .unwrap_or(self.mean)
    }
}
