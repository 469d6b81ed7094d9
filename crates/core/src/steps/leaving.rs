//! What a new run leaves: the one in progress, where a start does not go on with it. Nobody ends its export.

use crate::error::Result;
use crate::http::shown;
use crate::sync::{self, SyncState};

use super::{Context, run, turn};
use crate::export::parse_status_url;

/// A run that has not ended and that nobody goes on with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftBehind {
    /// Its name.
    pub run: String,
    /// The status URL of its export, as messages show it: who deletes it there ends the export.
    pub status_url: String,
    /// Whether the export was complete when it was asked for last, so that only its files are still there.
    pub complete: bool,
}

/// The run of the same synchronisation that has not ended and whose export is still the source's, whatever its `SINCE`: for a
/// start that does not go on with it. Whose turn it was to import, is then nobody's.
pub async fn left_behind(context: &Context) -> Result<Option<LeftBehind>> {
    let staging = context.staging().await?;
    let key = sync::key(context.settings());
    let Some(in_progress) = SyncState::load(staging, &key).await?.in_progress else {
        return Ok(None);
    };
    let Some((record, kick_off)) = run::of_kick_off(staging, &in_progress).await? else {
        return Ok(None);
    };
    turn::set_aside(staging, &key, &record).await?;
    // Of a manifest in the place of an export there is no job, and of one that was deleted none any more.
    if record.ended().is_some() || kick_off.manifest.is_some() || record.deletion().is_some() {
        return Ok(None);
    }
    let Ok(status_url) = parse_status_url(&kick_off.status_url) else {
        return Ok(None);
    };
    let seen = record.manifest.as_ref();
    Ok(Some(LeftBehind {
        complete: seen.is_some_and(|seen| seen.at >= kick_off.at),
        status_url: shown(&status_url),
        run: record.run,
    }))
}
