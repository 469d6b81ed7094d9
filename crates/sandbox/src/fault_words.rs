//! The words that faults take as arguments: places, and what becomes of an export's job and of its errors.

use crate::faults::{DeletedJob, ErrorContent, Place};

/// Places by name.
pub(crate) const PLACES: [(&str, Place); 15] = [
    ("smart-configuration", Place::SmartConfiguration),
    ("source-metadata", Place::SourceMetadata),
    ("token", Place::Token),
    ("kick-off", Place::KickOff),
    ("status", Place::Status),
    ("status-delete", Place::StatusDelete),
    ("file", Place::File),
    ("error-file", Place::ErrorFile),
    (
        "target-smart-configuration",
        Place::TargetSmartConfiguration,
    ),
    ("target-metadata", Place::TargetMetadata),
    ("import-kick-off", Place::ImportKickOff),
    ("import-status", Place::ImportStatus),
    ("secrets", Place::Secrets),
    ("count", Place::Count),
    ("delete", Place::Delete),
];

/// How long the long line is where that is not said, in bytes.
const LONG: usize = 1 << 20;

const DELETED: [(&str, DeletedJob); 4] = [
    ("gone", DeletedJob::Gone),
    ("goes-on", DeletedJob::GoesOn),
    ("empty", DeletedJob::Empty),
    ("bare", DeletedJob::Bare),
];

const ERRORS: [(&str, ErrorContent); 6] = [
    ("errors", ErrorContent::Errors),
    ("fatal", ErrorContent::Fatal),
    ("warnings", ErrorContent::Warnings),
    ("garbage", ErrorContent::Garbage),
    ("nothing", ErrorContent::Nothing),
    ("long-line", ErrorContent::LongLine(LONG)),
];

/// How a deleted job is answered, by its word.
pub(crate) fn deleted_job(word: &str) -> Option<DeletedJob> {
    let found = DELETED.iter().find(|(known, _)| *known == word);
    found.map(|(_, answer)| *answer)
}

/// The word of an answer to a deleted job.
pub(crate) fn deleted_job_name(answer: DeletedJob) -> &'static str {
    let found = DELETED.iter().find(|(_, known)| *known == answer);
    found.map_or("", |(word, _)| word)
}

/// What a file of errors holds, by its word.
pub(crate) fn error_content(word: &str) -> Option<ErrorContent> {
    let long = word.strip_prefix("long-line:");
    if let Some(bytes) = long.and_then(|bytes| bytes.parse().ok()) {
        return Some(ErrorContent::LongLine(bytes));
    }
    let found = ERRORS.iter().find(|(known, _)| *known == word);
    found.map(|(_, content)| *content)
}

/// The word of what a file of errors holds.
pub(crate) fn error_content_name(content: ErrorContent) -> String {
    if let ErrorContent::LongLine(bytes) = content
        && bytes != LONG
    {
        return format!("long-line:{bytes}");
    }
    let found = ERRORS.iter().find(|(_, known)| *known == content);
    found.map_or("", |(word, _)| word).to_owned()
}

/// The place of that name.
pub(crate) fn place(name: &str) -> Option<Place> {
    PLACES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, place)| *place)
}

/// The name of a place.
pub(crate) fn place_name(place: Place) -> &'static str {
    let found = PLACES.iter().find(|(_, known)| *known == place);
    found.map_or("", |(name, _)| name)
}
