//! Whose turn it is to import: one run of a synchronisation at a time, and none that comes too late (design, decisions 13
//! and 14).

use jiff::Timestamp;

use super::Context;
use crate::error::{Kind, Result};
use crate::staging::Staging;
use crate::sync::{self, Gate, RunRecord, SUPERSEDED, SyncState};

/// Whether a run may import.
pub(super) enum Turn {
    /// It is its turn, until it ends or does not renew that for too long.
    Ours,
    /// It comes too late: what this newer run brought is in the target. The run has ended.
    Superseded(String),
}

/// Takes the run's turn, or ends the run where it comes too late. One that keeps no state has nobody to wait for.
///
/// Gives [`Kind::JobInProgress`] while it is another run's turn.
pub(super) async fn take(
    context: &Context,
    staging: &Staging,
    key: Option<&str>,
    record: &RunRecord,
) -> Result<Turn> {
    let Some(key) = key else {
        return Ok(Turn::Ours);
    };
    let lease = context.settings().sync.lease;
    let mut gate = Gate::Open;
    let asked = asked(staging, key, record).await?;
    SyncState::update(staging, key, |state| {
        let before = state.clone();
        gate = state.enter(record, Timestamp::now(), lease, asked.as_deref());
        *state != before
    })
    .await?;
    let run = record.run.as_str();
    match gate {
        Gate::Open => Ok(Turn::Ours),
        Gate::Held { run: other, until } => Err(Kind::JobInProgress.error(format!(
            "run {run} waits for its turn to be imported: it is that of run {other}, until that has ended or {until}"
        ))),
        Gate::Superseded(newer) => {
            tracing::warn!(run, newer, "superseded: a newer run has been imported, so this one is not");
            let message = format!("superseded by run {newer}");
            sync::end_run(staging, run, Some(key), SUPERSEDED, Some(&message)).await?;
            Ok(Turn::Superseded(newer))
        }
    }
}

/// The run whose turn it was before, where it is known to have asked the target for all that it will: another attempt of it
/// would come too late.
async fn asked(staging: &Staging, key: &str, record: &RunRecord) -> Result<Option<String>> {
    let Some(lease) = SyncState::load(staging, key).await?.lease else {
        return Ok(None);
    };
    if lease.run == record.run {
        return Ok(None);
    }
    let other = RunRecord::load(staging, &lease.run).await?;
    let last = other.attempts.last();
    let has_asked = last.is_some_and(|it| it.status_url.is_some() || it.outcome.is_some());
    Ok(has_asked.then_some(lease.run))
}

/// Gives the run's turn back where its import has ended without success: nothing of it is on its way any more.
pub(super) async fn give_back(staging: &Staging, key: Option<&str>, run: &str) -> Result<()> {
    let Some(key) = key else {
        return Ok(());
    };
    SyncState::update(staging, key, |state| {
        let before = state.lease.clone();
        state.release(run);
        state.lease != before
    })
    .await
    .map(|_| ())
}

/// Renews the run's turn where a good part of it is over. One that was lost is found at the end.
pub(super) async fn renew(
    context: &Context,
    staging: &Staging,
    key: Option<&str>,
    record: &RunRecord,
) -> Result<()> {
    let Some(key) = key else {
        return Ok(());
    };
    let (lease, run) = (context.settings().sync.lease, record.run.as_str());
    let left = SyncState::load(staging, key)
        .await?
        .lease_left(run, Timestamp::now());
    if left.is_none_or(|left| left > lease * 2 / 3) {
        return Ok(());
    }
    SyncState::update(staging, key, |state| {
        let now = Timestamp::now();
        let is_ours = state.lease_left(run, now).is_some();
        is_ours && state.enter(record, now, lease, None) == Gate::Open
    })
    .await
    .map(|_| ())
}
