//! Deletions that the source reports with an export: read with it, and applied at the target before the import.

mod applying;
pub(crate) mod bundles;

use std::sync::Arc;

use futures_util::StreamExt as _;
use serde_json::json;
use tokio::time::Instant;

use self::bundles::{Named, Naming};
use super::Context;
use super::beside::Fetching;
use super::published::ManifestAt;
use crate::config::Deletions;
use crate::error::Result;
use crate::manifest::{Beside, Manifest};
use crate::staging::{Staging, layout};
use crate::sync::{Attempt, Deleted, RunRecord};
use crate::transfer::Plan;

pub(super) use applying::{apply, see_to};

/// Reads what the source reports as deleted, writes it into the run's record, and lists in staging what is to be applied.
///
/// `replaces` says that the import leaves nothing of what was there.
///
/// Gives the error of a file that cannot be had only where the call's time is over, or staging fails; otherwise a full run is
/// due, for nobody knows then what was in it.
pub(super) async fn look_at(
    context: &Context,
    record: &RunRecord,
    stored: &Arc<Manifest>,
    replaces: bool,
    manifest_at: Option<&Arc<ManifestAt>>,
    deadline: Option<Instant>,
) -> Result<()> {
    let files = stored.head.deleted;
    if files == 0 {
        return Ok(());
    }
    let (staging, settings) = (context.staging().await?, &context.settings().sync);
    let run = record.run.as_str();
    let policy = settings.deletions;
    let same = |known: &&Deleted| {
        known.policy == policy.as_str() && (known.missing == 0 || record.job_deleted.is_some())
    };
    // Deletions come before the import: once that was asked for, they are what they were.
    let newest = record.newest_kick_off().map_or("", |it| it.at.as_str());
    let is_on_its_way =
        |attempt: &Attempt| attempt.at.as_str() >= newest && !attempt.is_without_success();
    let asked = record.attempts.last().is_some_and(is_on_its_way);
    if asked || record.deleted.as_ref().is_some_and(|known| same(&known)) {
        return Ok(());
    }
    let mut deleted = Deleted {
        at: context.clock().moment(),
        files,
        policy: policy.as_str().to_owned(),
        ..Deleted::default()
    };
    if replaces {
        deleted.needless = true;
    } else if policy != Deletions::Ignore {
        let fetching = Fetching {
            context,
            staging,
            manifest_at,
            deadline,
            what: Beside::Deleted,
            needed_by: None,
        };
        let most = settings.deletions_limit;
        let named = read(&fetching, &mut deleted, run, stored, most).await?;
        deleted.found = named.found + usize::from(named.more);
        deleted.unclear = named.unclear;
        deleted.refresh = refresh(&deleted, &named, policy, most);
        let whole = deleted.missing == 0 && !named.more;
        if policy == Deletions::Apply && whole && named.found > 0 {
            write(staging, run, &named).await?;
            deleted.listed = true;
        }
    }
    say(run, &deleted);
    RunRecord::update(staging, run, |record| {
        record.deleted = Some(deleted.clone());
        true
    })
    .await?;
    Ok(())
}

async fn read(
    fetching: &Fetching<'_>,
    deleted: &mut Deleted,
    run: &str,
    stored: &Arc<Manifest>,
    most: usize,
) -> Result<Named> {
    let plan = Plan::beside(run, Arc::clone(stored), Beside::Deleted);
    let (there, missing) = fetching.fetch(&plan).await?;
    deleted.missing = deleted.files - plan.len() + missing;
    let mut named = Named::default();
    for slot in there {
        let file = plan.file(slot)?;
        // A file without a line is not staged.
        let Some(mut chunks) = fetching.staging.read_stream(&file.key).await? else {
            continue;
        };
        let mut lines = Naming::new(&mut named, most);
        while let Some(chunk) = chunks.next().await {
            lines.take(&chunk?);
        }
        lines.finish();
    }
    Ok(named)
}

/// Why a full run is due because of what is deleted, where one is.
fn refresh(deleted: &Deleted, named: &Named, policy: Deletions, most: usize) -> Option<String> {
    let (missing, unclear, found) = (deleted.missing, deleted.unclear, named.found);
    if missing > 0 {
        return Some(format!("{missing} files of deletions could not be had"));
    }
    if named.more {
        return Some(format!(
            "the source deleted more than {most} resources (DELETIONS_LIMIT)"
        ));
    }
    if policy == Deletions::Refresh && found + unclear > 0 {
        return Some("the source deleted resources (DELETIONS=refresh)".to_owned());
    }
    (unclear > 0).then(|| format!("{unclear} deletions name no single resource"))
}

/// Lists what is to be applied: a line for each resource, in an order that never changes.
async fn write(staging: &Staging, run: &str, named: &Named) -> Result<()> {
    let mut text = staging.write(&layout::deletions_key(run), layout::JSON_LINES);
    for (resource_type, ids) in &named.ids {
        for id in ids {
            text.add(format!("{}\n", json!([resource_type, id])).as_bytes())
                .await?;
        }
    }
    // One that is there was made of the same files.
    text.finish().await.map(|_| ())
}

fn say(run: &str, deleted: &Deleted) {
    let (files, found) = (deleted.files, deleted.found);
    let due = deleted.refresh.as_deref();
    if deleted.needless || due.is_none() && deleted.policy != Deletions::Ignore.as_str() {
        tracing::info!(run, files, found, "the source reports deletions");
    } else if let Some(why) = due {
        tracing::warn!(
            run,
            files,
            found,
            why,
            "the source reports deletions that are not applied, or not all of them: a full run has to bring them"
        );
    } else {
        tracing::warn!(
            run,
            files,
            "the source reports deletions, which are not applied (DELETIONS=ignore)"
        );
    }
}
