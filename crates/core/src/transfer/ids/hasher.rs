//! A hash of a resource's id, whatever the pieces in which it comes.

use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;

/// Takes the characters of an id as they are written.
#[derive(Clone, Debug, Default)]
pub(in crate::transfer) struct IdHasher(DefaultHasher);

impl IdHasher {
    /// One that has taken something in already: whose id it is.
    pub(in crate::transfer) fn after(begun: DefaultHasher) -> Self {
        Self(begun)
    }

    /// Takes the next characters, the closing quotation mark with the last of them.
    pub(in crate::transfer) fn take(&mut self, text: &[u8]) {
        self.0.write(text);
    }

    /// The hash of a whole id.
    pub(in crate::transfer) fn whole(mut self, id: &str) -> u64 {
        self.take(id.as_bytes());
        self.take(b"\"");
        self.hash()
    }

    /// The hash of what was taken.
    pub(in crate::transfer) fn hash(&self) -> u64 {
        self.0.finish()
    }
}
