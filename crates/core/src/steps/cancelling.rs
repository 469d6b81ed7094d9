//! Giving up the run in progress: its export ends at the source, and its record says that nobody goes on with it.

use crate::error::{Error, Kind, Result};
use crate::export::{self, Deleted, parse_status_url};
use crate::http::shown;
use crate::staging::{Staging, layout};
use crate::sync::{self, CANCELLED, InProgress, RunRecord, SyncState};

use super::{Context, run};

/// What there was to give up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GivenUp {
    /// The run in progress, if there was one.
    pub run: Option<Cancelled>,
    /// When a kick-off was sent whose answer got lost: its export may run at the source, and nobody knows its status URL.
    pub kick_off_lost: Option<String>,
}

/// What was done about a run in progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cancelled {
    /// The run's name.
    pub run: String,
    /// When it was kicked off.
    pub kicked_off: String,
    /// What became of its export's job.
    pub at_source: AtSource,
    /// Whether an import has been begun at the target, which goes on there.
    pub importing: bool,
    /// Where files of it may be staged, which stay.
    pub staged: String,
}

/// What became of the export's job at the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AtSource {
    /// It was ended, as the source says.
    Ended(u16),
    /// The source knows no such job any more.
    Unknown(u16),
    /// The source does not end jobs, so it may go on there.
    Unsupported(u16),
    /// It was deleted before, when everything was staged.
    DeletedBefore(String),
    /// There is none: a manifest took the place of an export.
    NoJob,
}

/// Ends the run in progress of the synchronisation that the settings describe, whatever its `SINCE`; with `only`, where it is
/// the run of that name.
///
/// Errors: where the source cannot be asked to end the job, or refuses, the run stays as it is.
pub async fn cancel(context: &Context, only: Option<&str>) -> Result<GivenUp> {
    let staging = context.staging().await?;
    let key = sync::key(context.settings());
    let state = SyncState::load(staging, &key).await?;
    let run = match state.in_progress {
        Some(in_progress) if only.is_none_or(|only| only == in_progress.run) => {
            give_up(context, staging, &key, &in_progress).await?
        }
        _ => None,
    };
    Ok(GivenUp {
        run,
        kick_off_lost: state.kick_off_sent,
    })
}

async fn give_up(
    context: &Context,
    staging: &Staging,
    key: &str,
    in_progress: &InProgress,
) -> Result<Option<Cancelled>> {
    let Some((record, kick_off)) = run::of_kick_off(staging, in_progress).await? else {
        return Ok(None);
    };
    context.begin(None, Some(&record.run));
    context.of_run(&record.run, Some(&record));
    if let Some(ended) = record.ended() {
        // Who ended it died before it was said here too.
        sync::end_run(staging, &record.run, Some(key), &ended.name, None).await?;
        return Ok(None);
    }
    let at_source = match deleted_before(&record) {
        _ if kick_off.manifest.is_some() => AtSource::NoJob,
        Some(at) => AtSource::DeletedBefore(at),
        None => delete(context, &kick_off.status_url)
            .await
            .map_err(|error| not_cancelled(error, &record.run))?,
    };
    let said = match at_source {
        AtSource::NoJob => at_source.words(),
        _ => format!(
            "{} at {}",
            at_source.words(),
            status_url_shown(&kick_off.status_url)
        ),
    };
    sync::end_run(staging, &record.run, Some(key), CANCELLED, Some(&said)).await?;
    Ok(Some(Cancelled {
        kicked_off: kick_off.at,
        at_source,
        importing: record.is_being_imported(),
        staged: staging.url(&layout::run_folder(&record.run)),
        run: record.run,
    }))
}

/// The run stays as it is where the source did not end its export.
fn not_cancelled(error: Error, run: &str) -> Error {
    let error = error.within(&format!("run {run} was not cancelled"));
    match error.kind() {
        Kind::ExportFailed | Kind::SourceUnavailable => error.next(
            "Cancel it again when the source can end exports. To leave the export there and begin a new run, start with --fresh.",
        ),
        _ => error,
    }
}

fn deleted_before(record: &RunRecord) -> Option<String> {
    let deleted = record.deletion()?;
    deleted.answer.map(|_| deleted.at.clone())
}

async fn delete(context: &Context, status_url: &str) -> Result<AtSource> {
    let (client, endpoint) = context.source().await?;
    let url = parse_status_url(status_url)?;
    Ok(match export::delete(client, endpoint, &url).await? {
        Deleted::Done(status) => AtSource::Ended(status),
        Deleted::Unknown(status) => AtSource::Unknown(status),
        Deleted::Unsupported(status) => AtSource::Unsupported(status),
    })
}

fn status_url_shown(status_url: &str) -> String {
    parse_status_url(status_url).map_or_else(|_| String::new(), |url| shown(&url))
}

impl AtSource {
    /// What became of the job, in a few words.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Ended(status) => {
                format!("the export was ended at the source (it answered {status})")
            }
            Self::Unknown(status) => {
                format!("the source has no such export any more (it answered {status})")
            }
            Self::Unsupported(status) => format!(
                "the source does not end exports (it answered {status}), so this one may go on there"
            ),
            Self::DeletedBefore(at) => {
                format!(
                    "the export was deleted at the source before, at {at}, when all of it was staged"
                )
            }
            Self::NoJob => {
                "there is nothing to end: a manifest takes the place of an export".to_owned()
            }
        }
    }
}
