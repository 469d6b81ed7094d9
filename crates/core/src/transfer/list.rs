//! The lists of a manifest whose files a run keeps, and where each of them goes.

use crate::manifest::{Beside, Manifest, Output};
use crate::staging::layout;

/// Which of a manifest's lists of files is planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    /// The exported resources.
    Outputs,
    /// The files beside them that hold this.
    Beside(Beside),
}

impl List {
    /// What the manifest says of the file of this index.
    pub(super) fn output(self, manifest: &Manifest, index: usize) -> Option<Output<'_>> {
        match self {
            Self::Outputs => manifest.output(index),
            Self::Beside(what) => manifest.beside(what, index).map(|url| Output {
                resource_type: match what {
                    Beside::Errors => "OperationOutcome",
                    Beside::Deleted => "Bundle",
                },
                url,
                count: None,
                size: None,
            }),
        }
    }

    /// How many files of it the manifest has.
    pub(super) fn len(self, manifest: &Manifest) -> usize {
        match self {
            Self::Outputs => manifest.len(),
            Self::Beside(Beside::Errors) => manifest.head.errors,
            Self::Beside(Beside::Deleted) => manifest.head.deleted,
        }
    }

    /// What the manifest says of each of them, with its index.
    pub(super) fn each(self, manifest: &Manifest, mut with: impl FnMut(u32, &Output<'_>)) {
        match self {
            // In their order they come cheaper than one by one.
            Self::Outputs => {
                for (index, output) in (0..).zip(manifest.outputs()) {
                    with(index, &output);
                }
            }
            Self::Beside(_) => {
                for (index, slot) in (0..self.len(manifest)).zip(0..) {
                    if let Some(output) = self.output(manifest, index) {
                        with(slot, &output);
                    }
                }
            }
        }
    }

    /// The key of the file of this index.
    pub(super) fn key(self, run: &str, index: usize, output: &Output<'_>) -> String {
        match self {
            Self::Outputs => layout::file_key(run, output.resource_type, index, &output.url),
            Self::Beside(Beside::Errors) => layout::error_key(run, index, &output.url),
            Self::Beside(Beside::Deleted) => layout::deleted_key(run, index, &output.url),
        }
    }

    /// The key of that file's own record.
    pub(super) fn part_key(self, run: &str, index: usize) -> String {
        match self {
            Self::Outputs => layout::part_key(run, index),
            Self::Beside(Beside::Errors) => layout::error_part_key(run, index),
            Self::Beside(Beside::Deleted) => layout::deleted_part_key(run, index),
        }
    }
}
