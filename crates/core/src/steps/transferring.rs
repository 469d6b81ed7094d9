//! `transfer-to-s3`: a whole run, or a batch of its files for one of many machines.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::brought::{self, log};
use super::contract::{BatchStaged, BatchTransfer, Staged, TransferRequest, WholeTransfer};
use super::deletions;
use super::duplicates;
use super::early;
use super::ending::Ending;
use super::finding::{Found, find, manifest_at, plan, referred};
use super::issues;
use super::missing;
use super::mode;
use super::published::{self, ManifestAt};
use super::renewal::renewal;
use super::run::refuse_cancelled;
use super::{Context, Deadline, expiry, require_staging_for_key};
use crate::clock::Clock;
use crate::config::{ImportMode, MixedFiles, Settings, Step};
use crate::error::{Kind, Result};
use crate::manifest::{Asked, Manifest};
use crate::pathling;
use crate::staging::{Staging, layout};
use crate::sync::{RunRecord, Transferred};
use crate::transfer::{Brought, Ids, Plan, Transfer, remove_other_pieces};

/// How long a transfer may stand still, for servers ask for patience, before that counts as a failure.
const PATIENCE: Duration = Duration::from_hours(6);

/// How long clearing away may take at the end.
const SWEEPING: Duration = Duration::from_secs(10);

/// Does what the event asks for: all files of a manifest and then the Parameters, or just a batch of them.
pub(super) async fn transfer_to_s3(
    context: &Context,
    event: Value,
    deadline: Deadline,
) -> Result<Value> {
    match TransferRequest::read(event)? {
        TransferRequest::Whole(request) => super::json(&whole(context, request, deadline).await?),
        TransferRequest::Batch(request) => super::json(&batch(context, request, deadline).await?),
    }
}

/// Moves every file of the manifest to staging, and gives the Parameters that import them.
///
/// Gives [`Kind::JobInProgress`] shortly before `deadline`; the next call goes on.
async fn whole(context: &Context, request: WholeTransfer, deadline: Deadline) -> Result<Staged> {
    let WholeTransfer {
        manifest,
        status_url,
        mut carried,
    } = request;
    require_staging_for_key(context, &carried)?;
    let settings = context.settings();
    let (source, endpoint) = context.source().await?;
    let staging = context.staging().await?;
    let manifest_at = manifest_at(settings, endpoint, staging, &carried.run, status_url).await?;
    let base = manifest_at.as_ref().and_then(|at| at.base());
    let Found {
        run,
        stored,
        fresh,
        record,
    } = find(context, staging, &carried.run, manifest, base).await?;
    refuse_cancelled(&record)?;
    carried.run = run;
    context.of_run(&carried.run, Some(&record));
    let status_url = manifest_at.as_ref().and_then(|at| at.status_url());
    let ending = Ending::of(context, status_url, &record);
    let mode = mode::decide(settings, &mut carried, &record, &stored.head)?;
    refuse(settings, &stored)?;
    let before = published::imported_before(settings, staging, &carried.run, &record, mode);
    if let Some(parameters) = before.await? {
        return Ok(Staged {
            parameters,
            deletions: None,
            carried,
        });
    }
    let until = by(settings, deadline);
    let expires = expiry::of(&record);
    let at = manifest_at.as_ref();
    let is_full = carried.since == Some(Asked::Everything);
    let replaces = is_full && mode == ImportMode::Overwrite;
    let looking = look_beside(context, &record, &stored, replaces, at, until);
    Box::pin(looking).await?;

    let (plan, listing) = plan(settings, staging, &record, &stored, fresh).await?;
    if record.transfer.is_none() {
        expiry::warn(context.clock(), &carried.run, expires, until);
        stored.head.warn_of_odd_number(&carried.run);
    }
    let published = manifest_at.clone();
    let transfer = Transfer {
        source: source.clone(),
        staging: staging.clone(),
        observer: context.observer(),
        deadline: until,
        settings: settings.transfer.clone(),
        retry_after_max: settings.retry_after_max,
        renew: renewal(source, endpoint, staging, manifest_at, &plan),
        expires,
        listing,
        patient: may_stand_still(context.clock(), &record),
        ids: Arc::new(Ids::beside(settings.transfer.memory)),
    };
    let started = std::time::Instant::now();
    let brought = bring(context, &record, &transfer, &plan).await?;
    let published = published.filter(|_| brought.fetched > 0 || record.transfer.is_none());
    refuse_others(context, published.as_deref(), &plan, &stored, &brought).await?;

    let mut transferred =
        brought::transferred(context, &carried.run, mode, &stored, &brought, started)?;
    if is_full {
        let key = carried.key.as_deref();
        missing::note(context, staging, key, &carried.run, &mut transferred).await?;
    }
    let parameters = transferred.parameters.clone();
    let mut to_end = false;
    let staged = |record: &mut RunRecord| {
        let first = record.first_staged(brought.fetched, &transferred.at);
        record.transfer = Some(Transferred {
            staged: Some(first),
            ..transferred.clone()
        });
        let at = staging.clock().moment();
        to_end = ending.as_ref().is_some_and(|it| it.plan(record, at));
        true
    };
    context.update(staging, &carried.run, staged).await?;
    if brought.fetched > 0 || !record.is_staged() {
        context.tell(brought::total(context, &brought, &record, started));
    }
    let ending = ending.filter(|_| to_end);
    clear_away(context, staging, &carried.run, ending, deadline).await;
    let deletions = Some(stored.head.deleted).filter(|deleted| *deleted > 0);
    Ok(Staged {
        parameters,
        deletions,
        carried,
    })
}

/// Brings the files, and looks at what came of them.
async fn bring(
    context: &Context,
    record: &RunRecord,
    transfer: &Transfer,
    plan: &Plan,
) -> Result<Brought> {
    let staging = &transfer.staging;
    let ended = context.audit().beside(staging, transfer.run(plan)).await;
    if let Err(error) = &ended
        && error.kind() == Kind::JobInProgress
        && !error.throttled()
    {
        context.tally().will_wait(Step::TransferToS3);
        note_progress(context, staging, &record.run, transfer.deadline).await;
    }
    let twice = duplicates::look_at(context, record, &transfer.ids, transfer.deadline).await;
    match ended {
        Err(error) if error.kind() == Kind::JobInProgress => twice.and(Err(error)),
        Err(error) => Err(error),
        Ok(brought) => twice.map(|()| brought),
    }
}

/// Reads what the source tells beside its resources: errors of the export, and what it has deleted.
async fn look_beside(
    context: &Context,
    record: &RunRecord,
    stored: &Arc<Manifest>,
    replaces: bool,
    manifest_at: Option<&Arc<ManifestAt>>,
    until: Option<Instant>,
) -> Result<()> {
    issues::look_at(context, &record.run, record, stored, manifest_at, until).await?;
    deletions::look_at(context, record, stored, replaces, manifest_at, until).await
}

/// Sees that what is staged is this export's and nothing else, now that everything has come. `published` is where a manifest
/// was that may have been replaced meanwhile.
async fn refuse_others(
    context: &Context,
    published: Option<&ManifestAt>,
    plan: &Plan,
    stored: &Manifest,
    brought: &Brought,
) -> Result<()> {
    let (source, endpoint) = context.source().await?;
    let staging = context.staging().await?;
    if let Some(published) = published {
        let whose = (staging, plan, stored);
        published::refuse_replaced(published, source, endpoint, whose).await?;
    }
    if stored.head.untyped.is_some() {
        remove_other_pieces(staging, plan, &brought.pieces).await?;
    }
    // Another process may have staged ahead meanwhile, from a manifest that said otherwise.
    if early::settle(staging, plan.run(), plan).await? > 0 {
        return Err(Kind::JobInProgress.error(
            "files that were staged before the manifest was complete are not what it says of them, and are staged anew",
        ));
    }
    Ok(())
}

/// What is left to do when everything is staged: at the source, where it is to end its job, and in staging.
async fn clear_away(
    context: &Context,
    staging: &Staging,
    run: &str,
    ending: Option<Ending>,
    deadline: Deadline,
) {
    if let Some(ending) = ending {
        ending.carry_out(context, staging, run, deadline).await;
    }
    sweep(staging, run, deadline).await;
}

/// Whether the transfer has come further lately, as far as is known.
fn may_stand_still(clock: &Clock, record: &RunRecord) -> bool {
    let still = record.moved_at.as_deref();
    let still = still.and_then(|at| clock.since(at));
    still.is_none_or(|still| still < PATIENCE)
}

/// Clears away what is half-way, as far as that goes in a moment: everything is done, and waits for this.
async fn sweep(staging: &Staging, run: &str, deadline: Deadline) {
    let soon = Instant::now() + SWEEPING;
    let last = deadline.0.map_or(soon, |deadline| deadline.min(soon));
    let folder = layout::run_folder(run);
    let swept = tokio::time::timeout_at(last, staging.sweep(&folder));
    if swept.await.is_err() {
        tracing::debug!(
            run,
            "not everything that is half-way was cleared away in time"
        );
    }
}

/// Notes that this call has brought the transfer further, where there is time for that.
async fn note_progress(context: &Context, staging: &Staging, run: &str, deadline: Option<Instant>) {
    let noted = context.update(staging, run, |record| {
        record.moved_at = Some(staging.clock().moment());
        true
    });
    let last = deadline.unwrap_or_else(Instant::now);
    if !matches!(tokio::time::timeout_at(last, noted).await, Ok(Ok(_))) {
        tracing::debug!(run, "that the transfer came further is not written down");
    }
}

/// Moves a batch's files to staging. Many machines do so at once, so none of them writes into the run's record, unless an id
/// came twice.
///
/// Gives [`Kind::JobInProgress`] shortly before `deadline`; the next call goes on.
async fn batch(
    context: &Context,
    request: BatchTransfer,
    deadline: Deadline,
) -> Result<BatchStaged> {
    let BatchTransfer {
        run,
        items,
        manifest,
        status_url,
        // It is for logs and reports alone.
        execution: _,
    } = request;
    let settings = context.settings();
    let (source, endpoint) = context.source().await?;
    let staging = context.staging().await?;
    let record = RunRecord::load(staging, &run).await?;
    context.of_run(&run, Some(&record));
    let manifest_at = manifest_at(settings, endpoint, staging, &run, status_url).await?;
    let base = manifest_at.as_ref().and_then(|at| at.base());
    let stored = referred(staging, &run, &manifest, base).await?;
    let plan = Arc::new(Plan::new(&run, Arc::new(stored))?.only(&items)?);
    let transfer = Transfer {
        source: source.clone(),
        staging: staging.clone(),
        observer: context.observer(),
        deadline: by(settings, deadline),
        settings: settings.transfer.clone(),
        retry_after_max: settings.retry_after_max,
        renew: renewal(source, endpoint, staging, manifest_at, &plan),
        expires: expiry::of(&record),
        // One listing of all files for each of many batches is more than a request for each file.
        listing: None,
        // Nobody remembers how long a batch has stood still, so each such call counts as a failure, of which the workflow
        // bears some.
        patient: false,
        ids: Arc::new(Ids::beside(settings.transfer.memory)),
    };
    let transferring = context.audit().beside(staging, transfer.run(&plan));
    let ended = transferring.await;
    let twice = duplicates::look_at(context, &record, &transfer.ids, transfer.deadline).await;
    let brought = ended?;
    twice?;
    log(&run, &brought);
    Ok(BatchStaged {
        run,
        files: brought.files,
        bytes: brought.bytes,
    })
}

/// When the transfer has to have stopped: at the caller's deadline or at the settings' own, whichever comes first.
pub(super) fn by(settings: &Settings, deadline: Deadline) -> Option<Instant> {
    let own = settings.transfer.deadline.map(|time| Instant::now() + time);
    own.into_iter().chain(deadline.0).min()
}

/// Stops before anything is fetched where there are mixed files, or types that no target can hold, and they are not wanted.
pub(super) fn refuse(settings: &Settings, manifest: &Manifest) -> Result<()> {
    if settings.mixed_files == MixedFiles::Refuse {
        manifest.head.refuse_untyped()?;
    }
    if !settings.fail_on_unsupported_types {
        return Ok(());
    }
    let types: BTreeSet<&str> = manifest
        .outputs()
        .filter(|output| {
            output.count != Some(0)
                && !output.resource_type.is_empty()
                && published::takes(settings, output.resource_type)
                && !pathling::holds(settings.dialect, output.resource_type)
        })
        .map(|output| output.resource_type)
        .collect();
    super::fail_on(&types)
}
