//! Whose turn it is to import: one run of a synchronisation at a time, and none that comes too late (design, decisions 13
//! and 14).

use super::Context;
use crate::error::{Kind, Result};
use crate::staging::Staging;
use crate::sync::{Deleted, Gate, Outcome, RunRecord, SUPERSEDED, SyncState};

/// Whether a run may import.
pub(super) enum Turn {
    /// It is its turn, until it ends or does not renew that for too long: the turn of this number.
    Ours(u64),
    /// It was imported, and others have had their turn since.
    Over,
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
        return Ok(Turn::Ours(0));
    };
    let lease = context.settings().sync.lease;
    let mut gate = Gate::Open(0);
    let asked = asked(staging, key, record).await?;
    SyncState::update(staging, key, |state| {
        let before = state.clone();
        gate = state.enter(record, staging.clock().now(), lease, asked.as_deref());
        *state != before
    })
    .await?;
    let run = record.run.as_str();
    match gate {
        Gate::Open(turn) => Ok(Turn::Ours(turn)),
        Gate::Over => {
            tracing::info!(run, "the run was imported, and others have been since: it is not imported again");
            Ok(Turn::Over)
        }
        Gate::Held { run: other, until } => Err(Kind::JobInProgress.error(format!(
            "run {run} waits for its turn to be imported: it is that of run {other}, until that has ended or {until}"
        ))),
        Gate::Superseded(newer) => {
            tracing::warn!(run, newer, "superseded: a newer run has been imported, so this one is not");
            let message = format!("superseded by run {newer}");
            let outcome = Outcome::at(context.clock().moment(), SUPERSEDED, Some(&message));
            context.end_run(staging, run, Some(key), outcome).await?;
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
    // Of one that replaces, nobody knows whether the target could do all that it was asked for.
    let is_known = !other.may_have_replaced() || other.ended().is_some();
    // A deletion does not wait for the imports before it.
    let deletes = record.deleted.as_ref().is_some_and(|it| it.listed);
    let in_turn = !deletes || !other.is_being_imported();
    let is_sure = has_asked(&other) && is_known && in_turn;
    Ok(is_sure.then_some(lease.run))
}

/// Whether a run has asked the target for all that it will, as far as its record knows.
fn has_asked(record: &RunRecord) -> bool {
    let last = record.attempts.last();
    let deletes = record.deleted.as_ref().is_some_and(Deleted::is_left);
    last.is_some_and(|it| it.status_url.is_some() || it.outcome.is_some()) && !deletes
}

/// Takes the turn away from a run that a person gives up for another. Where nobody knows whether it has asked the target for
/// all that it will, a full run is due.
pub(super) async fn set_aside(staging: &Staging, key: &str, record: &RunRecord) -> Result<()> {
    // What the target is still importing may come after a deletion of the next run's.
    let over = has_asked(record) && !record.is_being_imported();
    let asked = over || record.ended().is_some();
    SyncState::update(staging, key, |state| {
        state.set_aside(record, asked, staging.clock().now())
    })
    .await
    .map(|_| ())
}

/// Gives the run's turn back where its import has ended without success: nothing of it is on its way any more. One that
/// replaces has taken away what was there, and until it brings that nobody else does but a full run.
pub(super) async fn give_back(
    staging: &Staging,
    key: Option<&str>,
    record: &RunRecord,
) -> Result<()> {
    let Some(key) = key else {
        return Ok(());
    };
    let changed = SyncState::update(staging, key, |state| {
        let before = state.clone();
        state.give_back(record);
        *state != before
    });
    changed.await.map(|_| ())
}

/// Renews the run's turn where a good part of it is over. Gives whether it still is its turn.
pub(super) async fn renew(
    context: &Context,
    staging: &Staging,
    key: Option<&str>,
    record: &RunRecord,
) -> Result<bool> {
    let Some(key) = key else {
        return Ok(true);
    };
    let (lease, run) = (context.settings().sync.lease, record.run.as_str());
    let left = SyncState::load(staging, key)
        .await?
        .lease_left(run, staging.clock().now());
    let Some(left) = left else {
        return Ok(false);
    };
    if left > lease * 2 / 3 {
        return Ok(true);
    }
    let state = SyncState::update(staging, key, |state| {
        let now = staging.clock().now();
        let is_ours = state.lease_left(run, now).is_some();
        is_ours && matches!(state.enter(record, now, lease, None), Gate::Open(_))
    })
    .await?;
    Ok(state.lease_left(run, staging.clock().now()).is_some())
}
