//! A run for people to look at: its record, when its steps were at work ([`phases`]), and what its audit log tells of its
//! files ([`files`]).
//!
//! It is read from staging alone: nothing is asked of source or target. What it becomes, words or a page, is the caller's.

pub mod files;
pub mod pace;
pub mod phases;

use futures_util::StreamExt as _;

use self::files::{Files, Reader};
use crate::error::{Kind, Result};
use crate::http;
use crate::staging::{Staging, layout};
use crate::sync::{RunRecord, SyncState};

/// A run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Its record.
    pub record: RunRecord,
    /// The URL of its folder in staging.
    pub folder: String,
    /// What its audit log tells of its files; `None` where that was not read, or is not there.
    pub files: Option<Files>,
}

/// Reads the run of this name, or the newest of the synchronisation `key`; with its files where they are wanted.
///
/// Gives [`Kind::Configuration`] where there is no such run.
pub async fn read(
    staging: &Staging,
    key: &str,
    run: Option<&str>,
    with_files: bool,
) -> Result<Report> {
    let record = if let Some(run) = run {
        RunRecord::named(staging, run).await?
    } else {
        let newest = newest(staging, key).await?;
        let record = RunRecord::load_newest(staging, &newest).await?;
        if record.run.is_empty() {
            return Err(RunRecord::absent(staging, &newest));
        }
        record
    };
    let files = if with_files {
        read_files(staging, &record.run).await?
    } else {
        None
    };
    Ok(Report {
        folder: staging.url(&layout::run_folder(&record.run)),
        files,
        record,
    })
}

/// The run at work, else the one that ended last.
async fn newest(staging: &Staging, key: &str) -> Result<String> {
    let state = SyncState::load(staging, key).await?;
    let at_work = state.in_progress.map(|run| run.run);
    let ended = || state.runs.last().map(|ended| ended.run.clone());
    at_work
        .filter(|run| layout::is_run_name(run))
        .or_else(ended)
        .ok_or_else(|| {
            Kind::Configuration
                .error(format!(
                    "nothing is known of a run of this synchronisation: {} names none",
                    staging.url(&layout::sync_key(key))
                ))
                .next("Start a run, or name one of another synchronisation by --run.")
        })
}

/// Reads the log as it streams by, object after object, in little memory.
async fn read_files(staging: &Staging, run: &str) -> Result<Option<Files>> {
    let mut reader = Reader::default();
    let mut number = 0;
    while let Some(mut chunks) = staging.read_stream(&layout::log_key(run, number)).await? {
        while let Some(chunk) = chunks.next().await {
            reader.take(&chunk?);
        }
        reader.end_object();
        number += 1;
    }
    Ok((number > 0).then(|| reader.finish()))
}

impl Report {
    /// The record as JSON, for whoever is no part of the run: without the words of `exportIssues.first`, which may name
    /// patients, and without the values of the queries of URLs.
    pub fn record_to_show(&self) -> Result<serde_json::Value> {
        let mut record = self.record.clone();
        if let Some(issues) = &mut record.export_issues {
            issues.first.clear();
        }
        let kick_offs = record.kick_offs.iter_mut().map(|it| &mut it.status_url);
        let attempts = record.attempts.iter_mut();
        let imports = attempts.filter_map(|it| it.status_url.as_mut());
        let deleted = record.job_deleted.iter_mut().map(|it| &mut it.status_url);
        for url in kick_offs.chain(imports).chain(deleted) {
            *url = http::shown_str(url);
        }
        serde_json::to_value(&record).map_err(|error| {
            Kind::StagingDenied.error(format!("the record cannot be shown: {error}"))
        })
    }
}
