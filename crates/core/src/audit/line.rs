//! The lines of the log, in the format of SMART's Bulk Data client: its wiki, "Bulk Data Export Log Items", and what
//! cumulus-etl and smart-fetch write and read. What this program adds begins with `_`, as theirs does.
//!
//! Two are written for each file, so they are written as they are made, straight from the event.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Item;
use crate::error::Error;
use crate::progress::{Event, KickOff, Page, Total};

/// One line that is not written yet.
pub(super) struct Line<'a> {
    event: &'static str,
    detail: Detail<'a>,
    index: Option<usize>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row<'a> {
    export_id: &'a str,
    timestamp: &'a str,
    event_id: &'static str,
    event_detail: &'a Detail<'a>,
    #[serde(rename = "_run", skip_serializing_if = "Option::is_none")]
    run: Option<&'a str>,
    #[serde(rename = "_index", skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    #[serde(rename = "_client", skip_serializing_if = "Option::is_none")]
    client: Option<&'static str>,
    #[serde(rename = "_clientVersion", skip_serializing_if = "Option::is_none")]
    client_version: Option<&'static str>,
}

/// What is said of each kind of event. The format has `body` for the text of an answer, which may hold anything, so here it
/// is always null.
#[derive(Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
enum Detail<'a> {
    KickOff {
        export_url: &'a str,
        error_code: Option<u16>,
        error_body: Option<&'a str>,
        software_name: Option<&'a str>,
        software_version: Option<&'a str>,
        software_release_date: Option<&'a str>,
        fhir_version: Option<&'a str>,
        request_parameters: &'a BTreeMap<String, String>,
        response_headers: Option<&'a BTreeMap<String, String>>,
    },
    Progress {
        body: (),
        x_progress: Option<&'a str>,
        retry_after: Option<String>,
    },
    Page {
        transaction_time: &'a str,
        output_file_count: usize,
        deleted_file_count: usize,
        error_file_count: usize,
    },
    Complete {
        transaction_time: &'a str,
    },
    Manifest {
        transaction_time: &'a str,
        total_output_file_count: usize,
        total_deleted_file_count: usize,
        total_error_file_count: usize,
        total_manifests: usize,
    },
    Failure(Failure<'a>),
    FileAsked {
        file_url: &'a str,
        item_type: &'static str,
        resource_type: Option<&'a str>,
    },
    FileFailed {
        file_url: &'a str,
        #[serde(flatten)]
        failure: Failure<'a>,
    },
    FileDone {
        file_url: &'a str,
        resource_count: u64,
        file_size: u64,
    },
    Transferred {
        files: usize,
        resources: u64,
        bytes: u64,
        attachments: u64,
        /// In milliseconds.
        duration: u64,
    },
}

/// What went wrong, in the words of the program's own messages.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Failure<'a> {
    body: (),
    code: Option<u16>,
    message: &'a str,
    response_headers: Option<&'a BTreeMap<String, String>>,
}

impl<'a> Line<'a> {
    fn new(event: &'static str, detail: Detail<'a>) -> Self {
        Self {
            event,
            detail,
            index: None,
        }
    }

    fn of_file(index: usize, event: &'static str, detail: Detail<'a>) -> Self {
        Self {
            index: Some(index),
            ..Self::new(event, detail)
        }
    }

    /// Adds the line to a text, with its end.
    pub(super) fn add_to(&self, text: &mut Vec<u8>, id: &str, run: Option<&str>, at: &str) {
        let begins = self.event == "kickoff";
        let row = Row {
            export_id: id,
            timestamp: at,
            event_id: self.event,
            event_detail: &self.detail,
            run,
            index: self.index,
            client: begins.then_some("pathling-import"),
            client_version: begins.then_some(env!("CARGO_PKG_VERSION")),
        };
        let before = text.len();
        match serde_json::to_writer(&mut *text, &row) {
            Ok(()) => text.push(b'\n'),
            Err(_) => text.truncate(before),
        }
    }
}

/// Gives `write` what is written of an event. `url` is where the file was asked for that is done.
pub(super) fn lines(event: &Event, item: Item, url: &str, mut write: impl FnMut(&Line<'_>)) {
    let line = match event {
        Event::KickedOff(told) => Line::new("kickoff", kick_off(told)),
        Event::ExportGoesOn {
            progress,
            retry_after,
        } => {
            let detail = Detail::Progress {
                body: (),
                x_progress: progress.as_deref(),
                retry_after: retry_after.map(|wait| wait.as_secs().to_string()),
            };
            Line::new("status_progress", detail)
        }
        Event::StatusFailed(error) => Line::new("status_error", Detail::Failure(failure(error))),
        Event::ExportComplete(pages) => return manifest(pages, write),
        Event::FileAsked {
            index,
            resource_type,
            url,
        } => {
            let detail = Detail::FileAsked {
                file_url: url,
                item_type: match item {
                    Item::Output => "output",
                    Item::Error => "error",
                    Item::Deleted => "deleted",
                },
                resource_type: Some(resource_type.as_str()).filter(|name| !name.is_empty()),
            };
            Line::of_file(*index, "download_request", detail)
        }
        Event::FileFailed { index, url, error } => {
            let detail = Detail::FileFailed {
                file_url: url,
                failure: failure(error),
            };
            Line::of_file(*index, "download_error", detail)
        }
        Event::FileDone {
            index,
            bytes,
            resources,
            ..
        } => {
            let detail = Detail::FileDone {
                file_url: url,
                resource_count: *resources,
                file_size: *bytes,
            };
            Line::of_file(*index, "download_complete", detail)
        }
        Event::TransferComplete(total) => Line::new("export_complete", transferred(total)),
        Event::Planned { .. }
        | Event::FileStarted { .. }
        | Event::Bytes(_)
        | Event::Retrying { .. }
        | Event::Waiting { .. }
        | Event::SentAgain
        | Event::Ahead { .. }
        | Event::Arrived(_) => return,
    };
    write(&line);
}

fn kick_off(told: &KickOff) -> Detail<'_> {
    let software = &told.software;
    let (answered, failed) = match &told.outcome {
        Ok(answered) => (Some(answered), None),
        Err(error) => (error.answer(), Some(error)),
    };
    Detail::KickOff {
        export_url: &told.url,
        error_code: failed.and(answered).map(|answered| answered.status),
        error_body: failed.map(Error::what),
        software_name: software.name.as_deref(),
        software_version: software.version.as_deref(),
        software_release_date: software.release_date.as_deref(),
        fhir_version: software.fhir_version.as_deref(),
        request_parameters: &told.parameters,
        response_headers: answered.map(|answered| &answered.headers),
    }
}

/// The pages of a manifest, and that all of it is there.
fn manifest(pages: &[Page], mut write: impl FnMut(&Line<'_>)) {
    let Some(first) = pages.first() else {
        return;
    };
    let transaction_time = first.transaction_time.as_str();
    for page in pages {
        let detail = Detail::Page {
            transaction_time: &page.transaction_time,
            output_file_count: page.outputs,
            deleted_file_count: page.deleted,
            error_file_count: page.errors,
        };
        write(&Line::new("status_page_complete", detail));
    }
    let complete = Detail::Complete { transaction_time };
    write(&Line::new("status_complete", complete));
    let all = |of: fn(&Page) -> usize| pages.iter().map(of).sum::<usize>();
    let whole = Detail::Manifest {
        transaction_time,
        total_output_file_count: all(|page| page.outputs),
        total_deleted_file_count: all(|page| page.deleted),
        total_error_file_count: all(|page| page.errors),
        total_manifests: pages.len(),
    };
    write(&Line::new("manifest_complete", whole));
}

fn transferred(total: &Total) -> Detail<'static> {
    Detail::Transferred {
        files: total.files,
        resources: total.resources.values().sum(),
        bytes: total.bytes,
        attachments: 0,
        duration: u64::try_from(total.took.as_millis()).unwrap_or(u64::MAX),
    }
}

fn failure(error: &Error) -> Failure<'_> {
    let answered = error.answer();
    Failure {
        body: (),
        code: answered.map(|answered| answered.status),
        message: error.what(),
        response_headers: answered.map(|answered| &answered.headers),
    }
}
