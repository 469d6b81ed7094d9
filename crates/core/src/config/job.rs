//! How an export's job at the source is dealt with, beside asking for it and moving its files.

use super::read::Reader;

/// How an export's job at the source is dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobSettings {
    /// Whether its own status is to be told apart from that of status requests (STU4).
    pub separate_status: bool,
    /// Whether its manifest may come in pieces while it goes on.
    pub partial_manifests: bool,
    /// Whether it is deleted once everything is staged.
    pub delete: bool,
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

impl JobSettings {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self {
            separate_status: reader.flag("SEPARATE_EXPORT_STATUS"),
            partial_manifests: reader.flag("ALLOW_PARTIAL_MANIFESTS"),
            delete: reader.flag("DELETE_EXPORT_JOB"),
            errors: match reader.choice("EXPORT_ERRORS").as_str() {
                "warn" => ExportErrors::Warn,
                "fail" => ExportErrors::Fail,
                _ => ExportErrors::Hold,
            },
        }
    }
}
