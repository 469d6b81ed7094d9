//! How a job, or a request, fails at Pathling.

use crate::call::{Reply, outcome};

/// A failure: the status of the answer, and what its `OperationOutcome` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) diagnostics: String,
}

impl Failure {
    pub(super) fn new(status: u16, diagnostics: impl Into<String>) -> Self {
        Self {
            status,
            code: if status == 403 {
                "forbidden"
            } else {
                "processing"
            },
            diagnostics: diagnostics.into(),
        }
    }

    /// What Pathling says where it does not say what happened.
    pub(super) fn unexpected() -> Self {
        Self::new(500, "Unexpected error occurred")
    }

    pub(super) fn reply(&self) -> Reply {
        outcome(self.status, self.code, &self.diagnostics)
    }
}
