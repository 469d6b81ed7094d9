//! `transfer-to-s3`.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;
use url::Url;

use super::contract::{Carried, Staged, TransferRequest};
use super::run::{keep_manifest, since_of};
use super::{Context, Deadline, require_staging_for_key};
use crate::config::{ImportMode, PARTIAL_OVERWRITE, Settings};
use crate::error::{Kind, Result};
use crate::http;
use crate::manifest::{Asked, Manifest};
use crate::pathling::{self, Location};
use crate::staging::{Staging, layout};
use crate::sync::{self, RunRecord, Transferred};
use crate::transfer::plan::plan;
use crate::transfer::{Brought, Transfer};

/// Moves every file of the manifest to staging, and gives the Parameters that import them.
///
/// Gives [`Kind::JobInProgress`] shortly before `deadline`; the next call goes on.
pub(super) async fn transfer_to_s3(
    context: &Context,
    event: &Value,
    deadline: Deadline,
) -> Result<Staged> {
    let TransferRequest {
        manifest: value,
        status_url,
        mut carried,
    } = TransferRequest::read(event)?;
    require_staging_for_key(context, &carried)?;
    let settings = context.settings();
    let (source, endpoint) = context.source().await?;
    let base = status_url.as_deref().and_then(|url| Url::parse(url).ok());
    let base = base.map(|url| http::status_url_for_polling(endpoint, &url));
    let staging = context.staging().await?;
    let value = referred(staging, &carried, value).await?;
    let fresh = Manifest::read(&value, base.as_ref())?;
    if carried.run.is_empty() {
        let request = fresh.request.as_deref().unwrap_or_default();
        let urls = fresh.output.iter().map(|output| output.url.as_str());
        carried.run = layout::derived_run(&fresh.transaction_time, request, urls);
    }
    let kept = keep_manifest(staging, &carried.run, &value, &fresh, base.as_ref()).await?;
    carried.run = kept.run;
    carried.since = since_of(&carried, Some(&kept.record), &fresh)
        .or_else(|| settings.since.clone().map(Asked::ChangesAfter))
        .or(Some(Asked::Everything));
    carried.mode = carried.mode.or_else(|| {
        kept.record
            .newest_kick_off()
            .and_then(|kick_off| kick_off.mode.clone())
    });
    let mode = import_mode(settings, &carried)?;
    refuse_unsupported(settings, &kept.stored)?;

    let files = plan(&carried.run, &kept.stored, &fresh)?;
    let transfer = Transfer {
        source: source.clone(),
        staging: staging.clone(),
        observer: Arc::clone(context.observer()),
        deadline: deadline.0,
        retry_after_max: settings.retry_after_max,
    };
    let started = std::time::Instant::now();
    let brought = transfer.run(&kept.stored, files).await?;

    let held = |resource_type: &String| pathling::holds(settings.dialect, resource_type);
    let locations: Vec<Location> = brought
        .resources
        .keys()
        .filter(|resource_type| held(resource_type))
        .map(|resource_type| location(settings, &carried.run, resource_type, mode))
        .collect::<Result<_>>()?;
    let unsupported: Vec<String> = brought
        .resources
        .keys()
        .filter(|resource_type| !held(resource_type))
        .cloned()
        .collect();
    let parameters = pathling::parameters(&locations);
    warn(&kept.stored, &unsupported);
    log(&carried.run, &brought);
    let transferred = Transferred {
        at: sync::now(),
        seconds: started.elapsed().as_secs_f64(),
        files: brought.files,
        fetched: brought.fetched,
        bytes: brought.bytes,
        resources: brought.resources,
        unsupported,
        deletions: kept.stored.deleted,
        export_errors: kept.stored.errors,
        parameters: parameters.clone(),
    };
    RunRecord::update(staging, &carried.run, |record| {
        record.transfer = Some(transferred.clone());
        true
    })
    .await?;
    let deletions = Some(kept.stored.deleted).filter(|deleted| *deleted > 0);
    Ok(Staged {
        parameters,
        deletions,
        carried,
    })
}

/// The manifest itself, where the event holds its place instead. Only the place of the run's own manifest will do.
async fn referred(staging: &Staging, carried: &Carried, value: Value) -> Result<Value> {
    let Some(place) = value.get("manifest").and_then(Value::as_str) else {
        return Ok(value);
    };
    let key = layout::manifest_key(&carried.run);
    if carried.run.is_empty() || place != staging.url(&key) {
        return Err(Kind::Input.error(
            "transfer-to-s3: the event's \"result\" names another manifest than that of its \"run\" below STAGING_URL",
        ));
    }
    staging.read_json(&key).await?.ok_or_else(|| {
        Kind::Input.error(format!(
            "transfer-to-s3: {place}, which the event names, does not exist"
        ))
    })
}

/// The glob over a type's files, as the target sees it.
fn location(
    settings: &Settings,
    run: &str,
    resource_type: &str,
    mode: ImportMode,
) -> Result<Location> {
    let place = settings
        .target_staging
        .as_ref()
        .or(settings.staging.as_ref());
    let place = place.ok_or_else(|| Kind::Configuration.error("STAGING_URL is missing"))?;
    let url = place.url(&layout::glob_key(run, resource_type));
    Ok(Location {
        resource_type: resource_type.to_owned(),
        url,
        mode,
    })
}

/// How the run is imported: a delta by merge, a full export as `fhir-export` decided or else as the settings say.
fn import_mode(settings: &Settings, carried: &Carried) -> Result<ImportMode> {
    let decided = carried.mode.as_deref().and_then(ImportMode::parse);
    let asked = decided.unwrap_or(settings.import_mode);
    let is_delta = matches!(carried.since, Some(Asked::ChangesAfter(_)));
    if is_delta && asked == ImportMode::Overwrite && !settings.allow_partial_overwrite {
        return Err(Kind::Configuration.error(PARTIAL_OVERWRITE));
    }
    Ok(asked)
}

/// Stops before anything is fetched where types that no target can hold are not to be left out.
fn refuse_unsupported(settings: &Settings, manifest: &Manifest) -> Result<()> {
    if !settings.fail_on_unsupported_types {
        return Ok(());
    }
    let types: BTreeSet<&str> = manifest
        .output
        .iter()
        .filter(|output| {
            output.count != Some(0) && !pathling::holds(settings.dialect, &output.resource_type)
        })
        .map(|output| output.resource_type.as_str())
        .collect();
    super::fail_on(&types)
}

fn warn(manifest: &Manifest, unsupported: &[String]) {
    if !unsupported.is_empty() {
        tracing::warn!(
            types = unsupported.join(","),
            "types that the target cannot hold are staged and left out of the import"
        );
    }
    if manifest.deleted > 0 {
        tracing::warn!(
            files = manifest.deleted,
            "the export names deletions, which are not applied to the target"
        );
    }
    if manifest.errors > 0 {
        tracing::warn!(
            files = manifest.errors,
            "the source reports errors of the export in files of their own"
        );
    }
}

fn log(run: &str, brought: &Brought) {
    let resources: u64 = brought.resources.values().sum();
    tracing::info!(
        run,
        files = brought.files,
        fetched = brought.fetched,
        bytes = brought.bytes,
        resources,
        "everything is staged"
    );
}
