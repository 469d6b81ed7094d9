//! `check-export-status`: how an export goes is asked, and what it came to is kept.

use jiff::Timestamp;
use serde_json::Value;
use url::Url;

use super::contract::{Carried, ExportComplete, ManifestPlace, StatusQuery};
use super::keeping::{Large, Whole, keep_manifest};
use super::published::ManifestAt;
use super::run::{refuse_cancelled, since_of, stored_head};
use super::told::ask;
use super::{Context, batches, expiry, require_staging_for_key};
use crate::config::{MixedFiles, Place, Settings, Step};
use crate::error::{Error, Kind, Result};
use crate::export::{GoesOn, Polled, Room, Status, Text, Told};
use crate::manifest::{self, Head};
use crate::progress::Event;
use crate::staging::{Staging, layout};
use crate::sync::{self, KickOff, RunRecord};

/// The largest manifest, in bytes of JSON, that an output holds itself: Step Functions carries 256 KiB in all.
const CARRIED_WHOLE: usize = 192 * 1024;

/// The largest manifest, in bytes of JSON, that is made an output where there is no staging. What is written with many
/// blanks may shrink to what Step Functions carries; the functions look at what comes of it.
const WITHOUT_STAGING: usize = 1 << 20;

/// Asks how the export goes, and gives the manifest when it is complete.
pub(super) async fn check_export_status(
    context: &Context,
    event: &Value,
) -> Result<ExportComplete> {
    let StatusQuery {
        status_url,
        mut carried,
    } = StatusQuery::read(Step::CheckExportStatus, event)?;
    require_staging_for_key(context, &carried)?;
    require_bucket_for_batches(context.settings())?;
    let (_, endpoint) = context.source().await?;
    let manifest_at = ManifestAt::of(context.settings(), endpoint, &status_url)?;
    let base = manifest_at.base();
    if carried.run.is_empty() {
        carried.run = layout::run_of(&status_url);
    }
    let staging = context.staging_if_any().await?;
    let record = match staging {
        Some(staging) => Some(RunRecord::load_newest(staging, &carried.run).await?),
        None => None,
    };
    context.of_run(&carried.run, record.as_ref());
    // Of a job that was deleted after all was staged, the source knows nothing, or what is not so.
    let before = async |record: &RunRecord| match staging {
        Some(staging) => {
            refuse_cancelled(record)?;
            if record.deletion().is_none() {
                return Ok(None);
            }
            Box::pin(told_before(
                context,
                staging,
                record,
                &carried,
                &status_url,
                base,
            ))
            .await
        }
        None => Ok::<_, Error>(None),
    };
    if let Some(record) = &record
        && let Some(complete) = before(record).await?
    {
        return Ok(complete);
    }
    let Polled { status, expires } = poll(context, &manifest_at, staging, &carried.run).await?;
    let told = match status {
        Status::InProgress(goes_on) => {
            if let (true, Some(staging), Some(record)) = (goes_on.known, staging, &record) {
                record.saw_job(staging, &status_url).await;
            }
            return Err(in_progress(goes_on));
        }
        Status::Absent {
            status,
            said,
            answered,
        } => {
            // Another process may have had it deleted since the record was read.
            if let Some(staging) = staging
                && let Some(complete) =
                    before(&RunRecord::load_newest(staging, &carried.run).await?).await?
            {
                return Ok(complete);
            }
            let error = manifest_at
                .absent(&said)
                .unwrap_or_else(|| absent(status, &said, record.as_ref(), &status_url))
                .of_answer(answered);
            context.tell(Event::StatusFailed(error.clone()));
            return Err(error);
        }
        Status::Complete(told) => told,
    };
    if context.settings().mixed_files == MixedFiles::Refuse {
        told.head.refuse_untyped()?;
    }
    let Some(staging) = staging else {
        carried.since = since_of(&carried, None, &told.head);
        return Ok(ExportComplete {
            result: carried_whole(&told)?,
            status_url,
            batches: None,
            carried,
        });
    };
    let complete = keep(
        context,
        staging,
        (*told, expires),
        carried,
        status_url,
        &manifest_at,
    );
    Box::pin(complete).await
}

/// Asks. What there is already of a manifest that is not complete goes to whoever stages ahead.
async fn poll(
    context: &Context,
    manifest_at: &ManifestAt,
    staging: Option<&Staging>,
    run: &str,
) -> Result<Polled> {
    // The name of a publication's run is known at the manifest's end.
    let named = staging.filter(|_| !manifest_at.is_published());
    let room = named.map(|staging| Room {
        staging,
        key: layout::manifest_key(run),
    });
    let ahead = staging.is_some() && context.settings().manifest.is_none();
    let Some(early) = context.early().filter(|_| ahead) else {
        return Box::pin(ask(context, manifest_at, room.as_ref(), None)).await;
    };
    let mut pieces = early.pieces().await;
    let asked = ask(context, manifest_at, room.as_ref(), Some(&mut pieces));
    let polled = Box::pin(asked).await?;
    match &polled.status {
        Status::InProgress(_) => {
            if let Some(manifest) = pieces.news() {
                early.tell(run, manifest);
            }
        }
        Status::Complete(told) if told.head.errors < pieces.errors() => tracing::warn!(
            run,
            before = pieces.errors(),
            now = told.head.errors,
            "the complete manifest names fewer files of errors than the source told of while the export went on: what those say is not known"
        ),
        Status::Complete(_) | Status::Absent { .. } => {}
    }
    Ok(polled)
}

/// Keeps the manifest of an export that is complete, and gives it or its place.
async fn keep(
    context: &Context,
    staging: &Staging,
    (told, expires): (Told, Option<Timestamp>),
    mut carried: Carried,
    status_url: String,
    manifest_at: &ManifestAt,
) -> Result<ExportComplete> {
    let (client, endpoint) = context.source().await?;
    let base = manifest_at.base();
    let with_batches = context.settings().batches;
    let Told {
        head, text, size, ..
    } = told;
    let (text, small) = match text {
        Text::Held(text) => {
            let small = Some(text.clone()).filter(|_| !with_batches && size <= CARRIED_WHOLE);
            (Whole::Here(text), small)
        }
        elsewhere => {
            let written = match elsewhere {
                Text::OnItsWay(written) => Some(written),
                Text::Held(_) | Text::Gone => None,
            };
            let large = Large {
                written,
                client,
                endpoint,
                manifest_at,
            };
            (Whole::Large(large), None)
        }
    };
    let name = manifest_at.run_of(&carried.run, &head);
    let (named, told) = ((carried.run.as_str(), name), (&head, text));
    // Workers begin with their batches as soon as there are some, and none of them writes into the record.
    let kept = keep_manifest(context, staging, named, told, base, with_batches).await?;
    if kept.run != carried.run {
        context.moved(staging, &carried.run, &kept.run).await;
    }
    carried.run = kept.run;
    if !kept.is_new
        && let Some(at) = kept.record.imported_under_an_earlier_kick_off()
    {
        tracing::warn!(
            run = carried.run,
            imported = at,
            "the source answered the kick-off with an export that was imported before: what changed since then is not in it"
        );
    }
    if !sync::is_instant(&head.transaction_time) {
        tracing::warn!(
            run = carried.run,
            "the source's manifest has no instant as its transactionTime, so it does not tell from when on a next delta has to ask"
        );
    }
    expiry::keep(staging, &kept.record, expires).await?;
    carried.since = since_of(&carried, Some(&kept.record), &head);
    let result = match small {
        Some(text) => value(&text)?,
        None => by_reference(staging, &carried.run, &head)?,
    };
    let settings = context.settings();
    let batches = batches::write(settings, staging, &carried, &status_url, base).await?;
    Ok(ExportComplete {
        result,
        status_url,
        batches,
        carried,
    })
}

/// The answer to a call that comes again after the export's job was deleted: from the manifest that the run follows;
/// `None` where that is no longer there.
async fn told_before(
    context: &Context,
    staging: &Staging,
    record: &RunRecord,
    carried: &Carried,
    status_url: &str,
    base: Option<&Url>,
) -> Result<Option<ExportComplete>> {
    let key = layout::manifest_key(&record.run);
    let Some(stored) = staging.head(&key).await? else {
        return Ok(None);
    };
    let Some(head) = stored_head(staging, &key, base).await? else {
        return Ok(None);
    };
    if context.settings().mixed_files == MixedFiles::Refuse {
        head.refuse_untyped()?;
    }
    let mut carried = carried.clone();
    carried.run.clone_from(&record.run);
    carried.since = since_of(&carried, Some(record), &head);
    let with_batches = context.settings().batches;
    let large = stored.size > CARRIED_WHOLE as u64;
    let small = if with_batches || large {
        None
    } else {
        staging.read(&key).await?
    };
    let result = match small {
        Some(object) => value(&object.bytes)?,
        None => by_reference(staging, &record.run, &head)?,
    };
    let settings = context.settings();
    let batches = batches::write(settings, staging, &carried, status_url, base).await?;
    tracing::info!(
        run = record.run,
        "the export's job is deleted, so its stored manifest is given"
    );
    Ok(Some(ExportComplete {
        result,
        status_url: status_url.to_owned(),
        batches,
        carried,
    }))
}

/// What is said of an export that the source does not know.
fn absent(status: u16, said: &str, record: Option<&RunRecord>, status_url: &str) -> Error {
    let kick_off = record.and_then(|record| record.kick_off_of(status_url));
    let was_deleted = record
        .and_then(|record| record.job_deleted.as_ref())
        .is_some_and(|deleted| deleted.status_url == status_url);
    let what = match (status, kick_off) {
        (410, _) => format!("the export was cancelled at the source, or has expired there: {said}"),
        (_, Some(KickOff { seen: Some(at), .. })) => {
            format!("the source lost the export, which it still knew at {at}: {said}")
        }
        (_, Some(_)) if was_deleted => {
            return Kind::ExportFailed
                .error(format!(
                    "the source answered the kick-off with the job of an earlier one, which was deleted when all of it was staged: {said}"
                ))
                .next("Set DELETE_EXPORT_JOB=false for this source, and start again.");
        }
        (_, Some(_)) => {
            format!(
                "the source does not know the export that it had accepted, on the first poll: {said}"
            )
        }
        (_, None) => format!("the source does not know this export, or lost it: {said}"),
    };
    Kind::ExportFailed.error(what).next(
        "Start a new export. If that happens again, ask whoever runs the source what becomes of its export jobs, for instance when it restarts.",
    )
}

fn in_progress(goes_on: GoesOn) -> Error {
    let GoesOn {
        progress,
        retry_after,
        ..
    } = goes_on;
    let progress = progress
        .map(|text| format!(" ({text})"))
        .unwrap_or_default();
    let asked = retry_after
        .map(|wait| {
            format!(
                "; the source wants to be asked again in {} s (Retry-After)",
                wait.as_secs()
            )
        })
        .unwrap_or_default();
    Kind::JobInProgress
        .error(format!("the export is in progress{progress}{asked}"))
        .retry_after(retry_after)
}

/// Batches are read by Step Functions, which reads S3 alone.
fn require_bucket_for_batches(settings: &Settings) -> Result<()> {
    if !settings.batches || matches!(settings.staging, Some(Place::S3 { .. })) {
        return Ok(());
    }
    Err(Kind::Configuration
        .error("TRANSFER_BATCHES is true, and STAGING_URL is not in S3, where Step Functions reads the batches")
        .next("Set STAGING_URL to a place in S3, or leave TRANSFER_BATCHES out: only the distributed workflow uses batches."))
}

/// The manifest itself, where there is no staging that could hold it.
fn carried_whole(told: &Told) -> Result<Value> {
    match &told.text {
        Text::Held(text) if told.size <= WITHOUT_STAGING => value(text),
        _ => Err(Kind::Configuration
            .error(format!("the manifest has {} bytes, and Step Functions carries at most 262144", told.size))
            .next("Set STAGING_URL for this function too, so that what is large can be kept there, or run the command, which has no such limit.")),
    }
}

/// The manifest exactly as the source sent it, as far as that can be told from its JSON.
fn value(text: &[u8]) -> Result<Value> {
    serde_json::from_slice(manifest::without_mark(text)).map_err(|error| {
        Kind::Manifest.error(format!(
            "what the source calls a manifest is not one: {error}"
        ))
    })
}

/// What stands for a manifest that is in staging.
fn by_reference(staging: &Staging, run: &str, head: &Head) -> Result<Value> {
    super::json(&ManifestPlace {
        manifest: staging.url(&layout::manifest_key(run)),
        transaction_time: head.transaction_time.clone(),
        outputs: head.outputs,
        deleted: Some(head.deleted),
        errors: Some(head.errors),
    })
}
