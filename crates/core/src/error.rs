//! The one error type: the names that Step Functions matches and the command prints, and what a person should do next.
//!
//! An error is a [`Kind`] (a row of the table in `docs/errors.md`), a sentence about what happened that names the URL,
//! object or setting concerned, and a sentence about what to do. Neither sentence ever holds a secret, a token or the
//! content of a resource: URLs go through [`crate::http::shown`] first.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::answered::Answered;

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, as one of the names in the public contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The job, the transfer or another run's import still goes on.
    JobInProgress,
    /// A setting is missing, wrong or contradicts another.
    Configuration,
    /// The event lacks what the step needs.
    Input,
    /// Credentials were refused: 401 after one renewal, 403, or a refused token request.
    Authentication,
    /// The source cannot be reached or answers like a broken gateway.
    SourceUnavailable,
    /// The target cannot be reached or answers like a broken gateway.
    TargetUnavailable,
    /// The source says that the export failed.
    ExportFailed,
    /// What the source calls a manifest is not one.
    Manifest,
    /// A file could not be had after all attempts.
    Transfer,
    /// A file is not what was promised: length, count, sum, type, id or JSON.
    Integrity,
    /// Staging answers 5xx, throttles or cannot be reached.
    StagingUnavailable,
    /// Staging refuses: access denied, no such bucket, read-only folder, full disk.
    StagingDenied,
    /// The target says that the import failed.
    ImportFailed,
    /// The target holds less than what was imported, after it reported success.
    ImportIncomplete,
}

/// One row of the table of errors, from which matching, exit codes and `docs/errors.md` come.
#[derive(Debug)]
pub struct Row {
    /// The kind that the row describes.
    pub kind: Kind,
    /// The name in Lambda's `errorType` and in front of the command's message.
    pub name: &'static str,
    /// What leads to it, in a few words.
    pub cause: &'static str,
    /// Whether another try of the same step can mend it.
    pub retried: bool,
    /// The command's exit code.
    pub exit_code: u8,
    /// What a person should do about it when the error itself says nothing better.
    pub advice: &'static str,
}

/// Every kind of error, in the order of `docs/errors.md`.
pub const TABLE: &[Row] = &[
    Row {
        kind: Kind::JobInProgress,
        name: "JobInProgressError",
        cause: "the job, the transfer, the deletions or another run's import go on",
        retried: true,
        exit_code: 4,
        advice: "Call the same step again later; a new start goes on where this one stopped.",
    },
    Row {
        kind: Kind::Configuration,
        name: "ConfigurationError",
        cause: "settings",
        retried: false,
        exit_code: 2,
        advice: "Correct the settings that are named and start again.",
    },
    Row {
        kind: Kind::Input,
        name: "InputError",
        cause: "the event lacks what the step needs",
        retried: false,
        exit_code: 2,
        advice: "Pass the previous step's output to this step, whole.",
    },
    Row {
        kind: Kind::Authentication,
        name: "AuthenticationError",
        cause: "401 after one renewal; 403; a refused token request",
        retried: false,
        exit_code: 3,
        advice: "Check the client's id, secret and scopes, and what the server allows it.",
    },
    Row {
        kind: Kind::SourceUnavailable,
        name: "SourceUnavailableError",
        cause: "the source: connection errors, timeouts, 502, 504, any 5xx without an OperationOutcome; 429 and 503 on a kick-off after its waits",
        retried: true,
        exit_code: 1,
        advice: "See whether the source is up and can be reached from here, then start again.",
    },
    Row {
        kind: Kind::TargetUnavailable,
        name: "TargetUnavailableError",
        cause: "the target: connection errors, timeouts, 429, 502, 503, 504, any 5xx without an OperationOutcome",
        retried: true,
        exit_code: 1,
        advice: "See whether the target is up and can be reached from here, then start again.",
    },
    Row {
        kind: Kind::ExportFailed,
        name: "ExportFailedError",
        cause: "a 4xx, or a 5xx with an OperationOutcome, on kick-off or status (not 429, 503, or issue code `transient`)",
        retried: false,
        exit_code: 1,
        advice: "Read what the source says, correct its cause and start a new export.",
    },
    Row {
        kind: Kind::Manifest,
        name: "ManifestError",
        cause: "what the source calls a manifest is not one",
        retried: false,
        exit_code: 1,
        advice: "Report it to whoever runs the source: its answer breaks the Bulk Data specification.",
    },
    Row {
        kind: Kind::Transfer,
        name: "TransferError",
        cause: "a file could not be had after all attempts",
        retried: true,
        exit_code: 1,
        advice: "Start again: files that are complete are not fetched twice.",
    },
    Row {
        kind: Kind::Integrity,
        name: "IntegrityError",
        cause: "a file is not what was promised: length, count, sum, type, id, JSON",
        retried: false,
        exit_code: 1,
        advice: "Nothing was imported. Have the source's data or export mended, then start a new export.",
    },
    Row {
        kind: Kind::StagingUnavailable,
        name: "StagingUnavailableError",
        cause: "S3 answers 5xx, throttles or cannot be reached",
        retried: true,
        exit_code: 1,
        advice: "Start again when the store answers: what is staged stays.",
    },
    Row {
        kind: Kind::StagingDenied,
        name: "StagingDeniedError",
        cause: "access denied, no such bucket, read-only folder, full disk",
        retried: false,
        exit_code: 1,
        advice: "Check that STAGING_URL names an existing place with room, which this program may read and write.",
    },
    Row {
        kind: Kind::ImportFailed,
        name: "ImportFailedError",
        cause: "the target says so, on kick-off or poll (Pathling 2's 403 on the poll included)",
        retried: false,
        exit_code: 1,
        advice: "Read what the target says and its log, and mend it there; a new start imports the same staged files again.",
    },
    Row {
        kind: Kind::ImportIncomplete,
        name: "ImportIncompleteError",
        cause: "counts differ after a success",
        retried: false,
        exit_code: 1,
        advice: "Compare the types that are named with the source before you trust the target.",
    },
];

impl Kind {
    /// The kind's row of the table.
    #[must_use]
    pub fn row(self) -> &'static Row {
        // Every kind has a row: a test walks them all. The fallback keeps this total without a panic.
        TABLE
            .iter()
            .find(|row| row.kind == self)
            .unwrap_or(&TABLE[0])
    }

    /// The name in the public contract, e.g. `JobInProgressError`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// An error of this kind: `what` happened, with the row's own advice.
    #[must_use]
    pub fn error(self, what: impl Into<String>) -> Error {
        Error {
            kind: self,
            what: what.into(),
            next: Cow::Borrowed(self.row().advice),
            retry_after: None,
            final_answer: false,
            unsent: false,
            throttled: false,
            answered: None,
        }
    }
}

/// What happened, to which URL, object or setting, and what a person should do next.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.sentences())]
pub struct Error {
    kind: Kind,
    what: String,
    next: Cow<'static, str>,
    retry_after: Option<Duration>,
    final_answer: bool,
    unsent: bool,
    throttled: bool,
    answered: Option<Arc<Answered>>,
}

impl Error {
    /// Replaces the advice of the kind's row by a better one for this case.
    #[must_use]
    pub fn next(mut self, advice: impl Into<Cow<'static, str>>) -> Self {
        self.next = advice.into();
        self
    }

    /// Says when the server asked to be called again.
    #[must_use]
    pub fn retry_after(mut self, wait: Option<Duration>) -> Self {
        self.retry_after = wait;
        self
    }

    /// Says that asking for the same thing again will give the same answer (a file that is gone, for instance).
    #[must_use]
    pub fn for_good(mut self) -> Self {
        self.final_answer = true;
        self
    }

    /// Says that the request never left: no connection came about, or no token for it was to be had.
    #[must_use]
    pub fn unsent(mut self) -> Self {
        self.unsent = true;
        self
    }

    /// Whether it is certain that the server never saw the request.
    #[must_use]
    pub fn was_unsent(&self) -> bool {
        self.unsent
    }

    /// Says that the server has too much to do: 429, 503, or S3's `SlowDown`.
    #[must_use]
    pub fn throttle(mut self) -> Self {
        self.throttled = true;
        self
    }

    /// Whether the server asked for fewer requests: then whoever paces them sends fewer.
    #[must_use]
    pub fn throttled(&self) -> bool {
        self.throttled
    }

    /// Says which answer it is about.
    #[must_use]
    pub fn of_answer(mut self, answered: Answered) -> Self {
        self.answered = Some(Arc::new(answered));
        self
    }

    /// The answer that it is about, where there was one.
    #[must_use]
    pub fn answer(&self) -> Option<&Answered> {
        self.answered.as_deref()
    }

    /// The same error with a sentence in front of what happened: the step or file that it happened to.
    #[must_use]
    pub fn within(mut self, context: &str) -> Self {
        self.what = format!("{context}: {}", self.what);
        self
    }

    /// What kind of error it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The name in the public contract.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.kind.name()
    }

    /// What happened, without the advice.
    #[must_use]
    pub fn what(&self) -> &str {
        &self.what
    }

    /// What to do next.
    #[must_use]
    pub fn advice(&self) -> &str {
        &self.next
    }

    /// When the server asked to be called again, where it did.
    #[must_use]
    pub fn wait(&self) -> Option<Duration> {
        self.retry_after
    }

    /// What happened, then what to do.
    fn sentences(&self) -> String {
        let what = &self.what;
        match (self.next.is_empty(), what.ends_with(['.', '!', '?', '\n'])) {
            (true, _) => what.clone(),
            (false, true) => format!("{what} {}", self.next),
            (false, false) => format!("{what}. {}", self.next),
        }
    }

    /// Whether the store under `STAGING_URL` is what failed.
    #[must_use]
    pub fn is_of_staging(&self) -> bool {
        matches!(self.kind, Kind::StagingUnavailable | Kind::StagingDenied)
    }

    /// Whether the run that met this error is over: its export or its files will never be other than they are. All other
    /// errors leave a run that the next start goes on with; one of a file or of the import does so until it is said to be
    /// [`Error::for_good`].
    #[must_use]
    pub fn ends_the_run(&self) -> bool {
        match self.kind {
            Kind::ExportFailed | Kind::Manifest | Kind::Integrity => true,
            Kind::Transfer | Kind::ImportFailed | Kind::ImportIncomplete => self.final_answer,
            _ => false,
        }
    }
}

/// The Lambda runtime logs every handler error with Debug, so Debug shows no more than Display does.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {self}", self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_one_row_with_a_name_of_its_own() {
        for row in TABLE {
            assert_eq!(row.kind.row().name, row.name);
            assert!(row.name.ends_with("Error"));
            assert_eq!(
                TABLE.iter().filter(|other| other.name == row.name).count(),
                1
            );
            assert_eq!(
                TABLE.iter().filter(|other| other.kind == row.kind).count(),
                1
            );
        }
        assert_eq!(TABLE.len(), 14);
    }

    #[test]
    fn an_error_says_what_happened_and_what_to_do() {
        let error = Kind::StagingDenied.error("s3://b/runs/x: access denied");
        assert_eq!(
            error.to_string(),
            "s3://b/runs/x: access denied. Check that STAGING_URL names an existing place with room, which this program may read and write."
        );
        assert_eq!(format!("{error:?}"), format!("StagingDeniedError: {error}"));
    }
}
