//! Chance that can be had again: a test that failed is tried with the seed that it printed.

use std::time::{SystemTime, UNIX_EPOCH};

/// The variable that sets the seed.
const SEED: &str = "TEST_SEED";

/// Numbers by chance. Shown, it tells how to have the same ones again.
pub struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    /// With the seed of the environment, or a new one.
    #[must_use]
    pub fn seeded() -> Self {
        let given = std::env::var(SEED).ok();
        let given = given.map(|seed| seed.parse().expect("the seed is a number"));
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.expect("it is after 1970").subsec_nanos();
        Self::of(given.unwrap_or_else(|| u64::from(now)))
    }

    /// With this seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        Self { seed, state: seed }
    }

    /// A number below this one (`SplitMix64`).
    pub fn below(&mut self, end: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % end
    }

    /// A number from 0 to 1.
    pub fn fraction(&mut self) -> f64 {
        let thousandths = u32::try_from(self.below(1001)).unwrap_or_default();
        f64::from(thousandths) / 1000.0
    }

    /// One of these.
    pub fn one_of<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        let index = usize::try_from(self.below(of.len() as u64)).unwrap_or_default();
        &of[index]
    }
}

impl std::fmt::Debug for Random {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{SEED}={}", self.seed)
    }
}
