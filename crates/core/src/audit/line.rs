//! The lines of the log, in the format of SMART's Bulk Data client: its wiki, "Bulk Data Export Log Items", and what
//! cumulus-etl and smart-fetch write and read. What this program adds begins with `_`, as theirs does.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::Item;
use crate::answered::Answered;
use crate::error::Error;
use crate::progress::{Event, KickOff, Page};
use crate::sync;

/// One line that is not written yet.
pub(super) struct Line {
    event: &'static str,
    detail: Value,
    index: Option<usize>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row<'a> {
    export_id: &'a str,
    timestamp: String,
    event_id: &'static str,
    event_detail: &'a Value,
    #[serde(rename = "_run", skip_serializing_if = "Option::is_none")]
    run: Option<&'a str>,
    #[serde(rename = "_index", skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    #[serde(rename = "_client", skip_serializing_if = "Option::is_none")]
    client: Option<&'static str>,
    #[serde(rename = "_clientVersion", skip_serializing_if = "Option::is_none")]
    client_version: Option<&'static str>,
}

impl Line {
    fn new(event: &'static str, detail: Value) -> Self {
        Self {
            event,
            detail,
            index: None,
        }
    }

    fn of_file(index: usize, event: &'static str, detail: Value) -> Self {
        Self {
            index: Some(index),
            ..Self::new(event, detail)
        }
    }

    /// The line with its end.
    pub(super) fn text(&self, id: &str, run: Option<&str>) -> Option<Vec<u8>> {
        let begins = self.event == "kickoff";
        let row = Row {
            export_id: id,
            timestamp: sync::now(),
            event_id: self.event,
            event_detail: &self.detail,
            run,
            index: self.index,
            client: begins.then_some("pathling-import"),
            client_version: begins.then_some(env!("CARGO_PKG_VERSION")),
        };
        let mut text = serde_json::to_vec(&row).ok()?;
        text.push(b'\n');
        Some(text)
    }
}

/// What is written of an event. `url` is where the file was asked for that is done.
pub(super) fn lines(event: &Event, item: Item, url: &str) -> Vec<Line> {
    let line = match event {
        Event::KickedOff(told) => Line::new("kickoff", kick_off(told)),
        Event::ExportGoesOn {
            progress,
            retry_after,
        } => {
            let retry_after = retry_after.map(|wait| wait.as_secs().to_string());
            let detail = json!({"body": null, "xProgress": progress, "retryAfter": retry_after});
            Line::new("status_progress", detail)
        }
        Event::StatusFailed(error) => Line::new("status_error", failure(error).into()),
        Event::ExportComplete(pages) => return manifest(pages),
        Event::FileAsked {
            index,
            resource_type,
            url,
        } => {
            let resource_type = Some(resource_type).filter(|name| !name.is_empty());
            let item = match item {
                Item::Output => "output",
                Item::Error => "error",
            };
            let detail = json!({"fileUrl": url, "itemType": item, "resourceType": resource_type});
            Line::of_file(*index, "download_request", detail)
        }
        Event::FileFailed { index, url, error } => {
            let mut detail = failure(error);
            detail.insert("fileUrl".to_owned(), url.as_str().into());
            Line::of_file(*index, "download_error", detail.into())
        }
        Event::FileDone {
            index,
            bytes,
            resources,
            ..
        } => {
            let detail = json!({"fileUrl": url, "resourceCount": resources, "fileSize": bytes});
            Line::of_file(*index, "download_complete", detail)
        }
        Event::TransferComplete(total) => Line::new(
            "export_complete",
            json!({
                "files": total.files,
                "resources": total.resources,
                "bytes": total.bytes,
                "attachments": 0,
                "duration": u64::try_from(total.took.as_millis()).unwrap_or(u64::MAX),
            }),
        ),
        Event::Planned { .. }
        | Event::FileStarted { .. }
        | Event::Bytes(_)
        | Event::Retrying { .. }
        | Event::Waiting { .. }
        | Event::Ahead { .. } => return Vec::new(),
    };
    vec![line]
}

fn kick_off(told: &KickOff) -> Value {
    let software = &told.software;
    let (code, body, headers) = match &told.outcome {
        Ok(answered) => (None, None, Some(&answered.headers)),
        Err(error) => {
            let answered = error.answer();
            (
                answered.map(|answered| answered.status),
                Some(error.what()),
                answered.map(|answered| &answered.headers),
            )
        }
    };
    json!({
        "exportUrl": told.url,
        "errorCode": code,
        "errorBody": body,
        "softwareName": software.name,
        "softwareVersion": software.version,
        "softwareReleaseDate": software.release_date,
        "fhirVersion": software.fhir_version,
        "requestParameters": told.parameters,
        "responseHeaders": headers,
    })
}

/// The pages of a manifest, and that all of it is there.
fn manifest(pages: &[Page]) -> Vec<Line> {
    let Some(time) = pages.first().map(|page| &page.transaction_time) else {
        return Vec::new();
    };
    let mut lines: Vec<Line> = pages
        .iter()
        .map(|page| {
            let detail = json!({
                "transactionTime": page.transaction_time,
                "outputFileCount": page.outputs,
                "deletedFileCount": page.deleted,
                "errorFileCount": page.errors,
            });
            Line::new("status_page_complete", detail)
        })
        .collect();
    let all = |of: fn(&Page) -> usize| pages.iter().map(of).sum::<usize>();
    lines.push(Line::new(
        "status_complete",
        json!({"transactionTime": time}),
    ));
    lines.push(Line::new(
        "manifest_complete",
        json!({
            "transactionTime": time,
            "totalOutputFileCount": all(|page| page.outputs),
            "totalDeletedFileCount": all(|page| page.deleted),
            "totalErrorFileCount": all(|page| page.errors),
            "totalManifests": pages.len(),
        }),
    ));
    lines
}

/// What went wrong, in the words of the program's own messages: the body itself may hold anything.
fn failure(error: &Error) -> Map<String, Value> {
    let answered = error.answer();
    let headers = |answered: &Answered| Value::from_iter(answered.headers.clone());
    let mut detail = Map::new();
    detail.insert("body".to_owned(), Value::Null);
    detail.insert(
        "code".to_owned(),
        answered.map(|answered| answered.status).into(),
    );
    detail.insert("message".to_owned(), error.what().into());
    detail.insert(
        "responseHeaders".to_owned(),
        answered.map_or(Value::Null, headers),
    );
    detail
}
