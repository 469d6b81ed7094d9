//! What there is to transfer: the run's manifest, where it can be asked for again, and what of its files is staged already.

use std::sync::Arc;

use bytes::Bytes;
use url::Url;

use super::Context;
use super::contract::ToldManifest;
use super::early;
use super::keeping::{Whole, keep_manifest};
use super::published::{self, ManifestAt};
use super::run::{saw_manifest, stored_manifest};
use crate::config::Settings;
use crate::error::{Kind, Result};
use crate::manifest::Manifest;
use crate::staging::{Staging, layout};
use crate::sync::RunRecord;
use crate::transfer::{Links, Listing, Plan};

/// What is known of a run before its transfer.
pub(super) struct Found {
    /// The run's name.
    pub(super) run: String,
    /// The manifest that the run follows.
    pub(super) stored: Arc<Manifest>,
    /// The one that was told now, where an earlier one is stored.
    pub(super) fresh: Option<Manifest>,
    /// The run's record.
    pub(super) record: RunRecord,
}

/// The run's manifest: that of staging, or the one that is told, which is then kept there.
pub(super) async fn find(
    context: &Context,
    staging: &Staging,
    run: &str,
    told: ToldManifest,
    base: Option<&Url>,
) -> Result<Found> {
    let value = match told {
        ToldManifest::Here(value) => value,
        ToldManifest::At(place) => {
            let stored = referred(staging, run, &place, base).await?;
            let record = saw_manifest(context, staging, run, &stored.head, true).await?;
            return Ok(Found {
                run: run.to_owned(),
                stored: Arc::new(stored),
                fresh: None,
                record,
            });
        }
    };
    let told = Manifest::read(&value, base)?;
    if told.head.next.is_some() {
        return Err(Kind::Input
            .error("transfer-to-s3: the event's manifest is one page of several")
            .next("Pass on what check-export-status gives: it puts the pages together."));
    }
    let run = if run.is_empty() {
        let request = told.head.request.as_deref().unwrap_or_default();
        let urls = told.outputs().map(|output| output.url);
        layout::derived_run(&told.head.transaction_time, request, urls)
    } else {
        run.to_owned()
    };
    let text = Whole::Here(Bytes::from(value.to_string()));
    let (named, whole) = ((run.as_str(), None), (&told.head, text));
    let kept = keep_manifest(context, staging, named, whole, base, true).await?;
    let (stored, fresh) = if kept.is_new {
        (told, None)
    } else {
        let place = staging.url(&layout::manifest_key(&kept.run));
        let stored = referred(staging, &kept.run, &place, base).await?;
        (stored, Some(told))
    };
    Ok(Found {
        run: kept.run,
        stored: Arc::new(stored),
        fresh,
        record: kept.record,
    })
}

/// The manifest that an event names by its place. Only the place of the run's own manifest will do.
pub(super) async fn referred(
    staging: &Staging,
    run: &str,
    place: &str,
    base: Option<&Url>,
) -> Result<Manifest> {
    if run.is_empty() || place != staging.url(&layout::manifest_key(run)) {
        return Err(Kind::Input.error(
            "transfer-to-s3: the event names another manifest than that of its \"run\" below STAGING_URL",
        ));
    }
    let stored = stored_manifest(staging, run, base).await?;
    stored.ok_or_else(|| {
        Kind::Input.error(format!(
            "transfer-to-s3: {place}, which the event names, does not exist"
        ))
    })
}

/// The files that a transfer moves, with the links that a newer copy of the manifest lends, and what is there of them.
pub(super) async fn plan(
    settings: &Settings,
    staging: &Staging,
    record: &RunRecord,
    stored: &Arc<Manifest>,
    fresh: Option<Manifest>,
) -> Result<(Arc<Plan>, Option<Listing>)> {
    let run = record.run.as_str();
    let mut plan = Plan::new(run, Arc::clone(stored))?;
    if let Some(fresh) = fresh {
        let links = Links::of(&plan, fresh);
        plan = plan.lent(links);
    }
    if record.early.is_some() {
        early::settle(staging, run, &plan).await?;
    }
    if record.replaced {
        published::remove_replaced(staging, &plan).await?;
    }
    // Of the whole manifest: a file that is not chosen is the run's own all the same.
    let listing = listing(staging, run, &plan).await?;
    let plan = published::chosen(settings, stored, plan)?;
    Ok((Arc::new(plan), listing))
}

/// Where the manifest can be asked for again: at the status URL of the event, else at that of the run's record.
pub(super) async fn manifest_at(
    settings: &Settings,
    endpoint: &Url,
    staging: &Staging,
    run: &str,
    told: Option<String>,
) -> Result<Option<Arc<ManifestAt>>> {
    let known = match told {
        None if !run.is_empty() => {
            let record = RunRecord::load(staging, run).await?;
            record
                .newest_kick_off()
                .map(|kick_off| kick_off.status_url.clone())
        }
        told => told,
    };
    let at = known.and_then(|url| ManifestAt::of(settings, endpoint, &url).ok());
    Ok(at.map(Arc::new))
}

/// What the run's folder holds already, where it may be listed. Files that are not the run's are refused: Pathling reads
/// whatever its pattern finds.
async fn listing(staging: &Staging, run: &str, plan: &Plan) -> Result<Option<Listing>> {
    let folder = format!("{}/", layout::run_folder(run));
    let Some(listed) = staging.list(&folder).await? else {
        tracing::warn!(
            run,
            "the run's folder cannot be listed (s3:ListBucket), so files that are not the run's would be imported unseen"
        );
        return Ok(None);
    };
    let listing = Listing::of(plan, listed);
    listing.refuse_strays(|key| staging.url(key))?;
    Ok(Some(listing))
}
