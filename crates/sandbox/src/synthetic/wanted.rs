//! Which files a source is asked to have that are made as they are read.

use std::sync::Arc;

use super::Group;

/// Files that a source is asked to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// So many files of so many bytes each.
    Bytes {
        kind: String,
        files: usize,
        bytes: u64,
    },
    /// So many files of one resource each, over ten types.
    Outputs(usize),
}

/// The groups that stand for what is wanted.
pub(crate) fn groups(wanted: &[Wanted]) -> Vec<Arc<Group>> {
    const KINDS: [&str; 10] = [
        "AllergyIntolerance",
        "Condition",
        "DiagnosticReport",
        "Encounter",
        "Immunization",
        "MedicationRequest",
        "Observation",
        "Patient",
        "Procedure",
        "ServiceRequest",
    ];
    let mut groups = Vec::new();
    let mut first = 0;
    for wanted in wanted {
        match wanted {
            Wanted::Bytes { kind, files, bytes } => {
                groups.push(Arc::new(Group::of_bytes(kind, first, *files, *bytes)));
                first += files;
            }
            Wanted::Outputs(outputs) => {
                for (index, kind) in KINDS.into_iter().enumerate() {
                    let files = (outputs + index) / KINDS.len();
                    if files > 0 {
                        groups.push(Arc::new(Group::of_one_line(kind, first, files)));
                        first += files;
                    }
                }
            }
        }
    }
    groups
}
