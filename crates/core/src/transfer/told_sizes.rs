//! Sizes that the manifest tells of files (`fileSize`) and that are not what came: told, and no error.
//!
//! The member is not of the specification, and a server may mean the size of what it compresses. But where HTTP says that a
//! file is whole and the manifest says otherwise, one of them is wrong, and a person may know which.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How many files are told by name.
const NAMED: usize = 10;

/// The files whose size is another one than the manifest tells.
#[derive(Default)]
pub(super) struct ToldSizes {
    other: AtomicUsize,
}

impl ToldSizes {
    /// A file came whole, with so many bytes.
    pub(super) fn came(&self, url: &str, promised: Option<u64>, came: u64) {
        let Some(promised) = promised.filter(|promised| *promised != came) else {
            return;
        };
        if self.other.fetch_add(1, Ordering::Relaxed) < NAMED {
            tracing::warn!(
                url,
                promised,
                came,
                "a file that came whole does not have the bytes that the manifest promises (fileSize)"
            );
        }
    }

    /// Nothing comes any more: says how many they are, where not all were named.
    pub(super) fn end(&self) {
        let files = self.other.load(Ordering::Relaxed);
        if files > NAMED {
            tracing::warn!(
                files,
                "so many files do not have the bytes that the manifest promises (fileSize)"
            );
        }
    }
}
