//! Until when the source has an export's files, where it says so (`Expires`): kept with the run, said while there is time,
//! and heeded where a run would go on with files that are gone.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::clock::{Clock, moment};
use crate::error::{Kind, Result};
use crate::staging::Staging;
use crate::sync::{self, RunRecord};

/// How little time is worth a warning.
const SOON: Duration = Duration::from_hours(1);

/// Writes down until when the files are there, as the newest answer has it, where the run's record knows it otherwise.
pub(super) async fn keep(
    staging: &Staging,
    record: &RunRecord,
    expires: Option<Timestamp>,
) -> Result<()> {
    let run = record.run.as_str();
    if let Some(expires) = expires {
        tracing::info!(run, %expires, "the source has the export's files until then");
    }
    let expires = expires.map(moment);
    let known = record.manifest.as_ref();
    if known.and_then(|seen| seen.expires.as_ref()) == expires.as_ref() {
        return Ok(());
    }
    RunRecord::update(staging, run, |record| {
        let seen = record.manifest.as_mut();
        seen.map(|seen| seen.expires.clone_from(&expires)).is_some()
    })
    .await?;
    Ok(())
}

/// Until when the files of a run are there, as far as is known.
pub(super) fn of(record: &RunRecord) -> Option<Timestamp> {
    record.manifest.as_ref()?.expires.as_deref()?.parse().ok()
}

/// Warns where the time is over, or may not be enough for a transfer that has to stop at `deadline`.
pub(super) fn warn(
    clock: &Clock,
    run: &str,
    expires: Option<Timestamp>,
    deadline: Option<Instant>,
) {
    let Some(expires) = expires else { return };
    let Ok(left) = Duration::try_from(expires.duration_since(clock.now())) else {
        tracing::warn!(run, %expires, "the export has expired, as the source said: its files may be gone");
        return;
    };
    let deadline = deadline.map(|at| at.saturating_duration_since(Instant::now()));
    if left < SOON || deadline.is_some_and(|deadline| left < deadline) {
        tracing::warn!(
            run,
            %expires,
            minutes_left = left.as_secs() / 60,
            "the export expires soon, as the source said: what is not staged until then may be gone"
        );
    }
}

/// Ends a run in progress whose export has expired before everything was staged: who goes on with it would find nothing.
/// Gives whether it is ended.
pub(super) async fn leave_behind(staging: &Staging, record: &RunRecord, key: &str) -> Result<bool> {
    let over = of(record).filter(|expires| *expires < staging.clock().now());
    let Some(expires) = over.filter(|_| record.transfer.is_none()) else {
        return Ok(false);
    };
    let why = format!(
        "the export expired at {expires}, as the source had said, and not all of it was staged"
    );
    let run = record.run.as_str();
    tracing::warn!(run, "{why}: a new run begins");
    sync::end_run(
        staging,
        run,
        Some(key),
        Kind::Transfer.row().name,
        Some(&why),
    )
    .await?;
    Ok(true)
}
