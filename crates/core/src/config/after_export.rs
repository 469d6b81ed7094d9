//! What is done about an export beside moving its files.

use super::read::Reader;

/// What is done about an export beside moving its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AfterExport {
    /// Whether its job is deleted at the source once everything is staged.
    pub delete_job: bool,
    /// What follows from errors that the source reports of it.
    pub errors: ExportErrors,
}

/// What follows from errors that the source reports of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportErrors {
    /// They are told.
    Warn,
    /// The run is imported, and does not count as complete: the watermark stays.
    Hold,
    /// The run ends before anything is imported.
    Fail,
}

impl ExportErrors {
    /// The word in the setting and in the run's record.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warn => "warn",
            Self::Hold => "hold",
            Self::Fail => "fail",
        }
    }
}

impl AfterExport {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self {
            delete_job: reader.flag("DELETE_EXPORT_JOB"),
            errors: match reader.choice("EXPORT_ERRORS").as_str() {
                "warn" => ExportErrors::Warn,
                "fail" => ExportErrors::Fail,
                _ => ExportErrors::Hold,
            },
        }
    }
}
