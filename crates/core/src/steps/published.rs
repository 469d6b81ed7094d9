//! A manifest in the place of an export (`SOURCE_MANIFEST`): of a `$bulk-publish`, or of an export that others had made.
//!
//! A run begins without a kick-off, and ends without a deletion: the manifest is somebody else's. It is asked for where the
//! settings say, and each of its publications, told apart by their `transactionTime`, is a run of its own, which is imported
//! once.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;
use url::Url;

use super::brought;
use super::contract::{Carried, ExportStarted};
use super::{Context, exporting};
use crate::answered::Answered;
use crate::config::{ImportMode, Settings, SourceManifest};
use crate::error::{Error, Kind, Result};
use crate::export::{self, Partial, Polled, Room};
use crate::http;
use crate::manifest::{Head, Manifest};
use crate::progress::{self, Event};
use crate::staging::{Staging, layout};
use crate::sync::{self, FromManifest, KickOff, RunRecord, SyncState};
use crate::transfer::{Plan, remove_left_over, remove_other_pieces};

/// Begins a run of the manifest, of which nothing is asked yet but whether it is there, where it is a file.
pub(super) async fn begin(
    context: &Context,
    manifest: &SourceManifest,
    execution: Option<String>,
) -> Result<ExportStarted> {
    let settings = context.settings();
    if let Some(file) = manifest.file() {
        export::look_for_file(&file).await?;
    }
    super::look_at_target(context).await?;
    for name in manifest.unheeded() {
        tracing::warn!("{name} changes nothing beside SOURCE_MANIFEST: no export is asked for");
    }
    // It goes into records and the history of the workflow, where no signature belongs.
    let status_url = layout::manifest_source(manifest.url().as_str());
    let key = sync::key(settings);
    let mut carried = Carried {
        // Two synchronisations of one manifest have it in common, and neither its files nor their imports.
        run: layout::run_of(&key),
        execution,
        // What it holds, the manifest alone can say.
        ..Carried::default()
    };
    context.of_run(&carried.run, None);
    // Whoever reads the audit log looks for how it began.
    context.tell(Event::KickedOff(Arc::new(progress::KickOff {
        url: http::shown(manifest.url()),
        parameters: BTreeMap::new(),
        software: progress::Software::default(),
        outcome: Ok(Answered::default()),
    })));
    if let Some(staging) = context.staging_if_any().await? {
        let begun = KickOff {
            at: staging.clock().moment(),
            status_url: status_url.clone(),
            why: "a manifest takes the place of an export".to_owned(),
            types: settings.types.clone(),
            key: key.clone(),
            request_id: context.request_id(),
            manifest: Some(FromManifest {
                anew: context.is_anew(),
                imported_before: None,
            }),
            ..KickOff::default()
        };
        carried.run = exporting::write_down(staging, carried.run, None, begun, None).await?;
        carried.key = Some(key);
    }
    tracing::info!(run = carried.run, "a manifest takes the place of an export");
    Ok(ExportStarted {
        status_url,
        carried,
    })
}

/// The manifest of the settings, where a status URL is its. The signature may have been another one when the run began.
fn manifest_of<'a>(settings: &'a Settings, status_url: &str) -> Option<&'a SourceManifest> {
    let source = layout::manifest_source(status_url);
    let manifest = settings.manifest.as_ref();
    manifest.filter(|manifest| layout::manifest_source(manifest.url().as_str()) == source)
}

/// Where a run's manifest is asked for.
pub(super) struct ManifestAt {
    /// The status URL as it was told, where it is no file's.
    status_url: Option<Url>,
    place: Place,
    /// Whether it takes the place of an export.
    is_published: bool,
}

enum Place {
    Url(Url),
    File(PathBuf),
}

impl ManifestAt {
    /// What a status URL means. That of a file is read only where the settings name the same file.
    pub(super) fn of(settings: &Settings, endpoint: &Url, status_url: &str) -> Result<Self> {
        let manifest = manifest_of(settings, status_url);
        let told = export::parse_status_url(status_url);
        let place = match manifest.map(|manifest| (manifest.file(), manifest.url())) {
            Some((Some(file), _)) => Place::File(file),
            Some((None, url)) => Place::Url(http::status_url_for_polling(endpoint, url)),
            None => {
                let url = told.as_ref().map_err(Clone::clone)?;
                Place::Url(http::status_url_for_polling(endpoint, url))
            }
        };
        Ok(Self {
            status_url: told.ok(),
            place,
            is_published: manifest.is_some(),
        })
    }

    /// The status URL as it was told, where it is no file's.
    pub(super) fn status_url(&self) -> Option<&Url> {
        self.status_url.as_ref()
    }

    /// Where relative URLs of the manifest are taken from: nowhere, for a file.
    pub(super) fn base(&self) -> Option<&Url> {
        match &self.place {
            Place::Url(url) => Some(url),
            Place::File(_) => None,
        }
    }

    /// The name of the run of this publication, where it is one; `run` is the name that it began with, or that of another
    /// publication.
    pub(super) fn run_of(&self, run: &str, head: &Head) -> Option<String> {
        let begun = run.split('-').next().unwrap_or(run);
        // A publisher may mend a manifest without giving it another time.
        let Head {
            transaction_time,
            outputs,
            deleted,
            errors,
            ..
        } = head;
        let publication = format!("{transaction_time} {outputs} {deleted} {errors}");
        let suffixed = || layout::suffixed(begun, &publication);
        self.is_published.then(suffixed)
    }

    /// Whether it takes the place of an export, and each publication of it is a run of its own name.
    pub(super) fn is_published(&self) -> bool {
        self.is_published
    }

    /// Asks.
    pub(super) async fn poll(
        &self,
        client: &http::Client,
        endpoint: &Url,
        room: Option<&Room<'_>>,
        partial: Option<&mut Partial>,
    ) -> Result<Polled> {
        match &self.place {
            Place::Url(url) => export::status(client, endpoint, url, room, partial)
                .await
                .map_err(|error| self.refused(error)),
            Place::File(path) => Ok(Polled {
                status: export::status_in_file(client, endpoint, path, room).await?,
                expires: None,
            }),
        }
    }

    /// A manifest that may not be read is none of an export's, and what lets it be read may have expired.
    fn refused(&self, error: Error) -> Error {
        if !self.is_published || error.kind() != Kind::Authentication {
            return error;
        }
        let advice = format!(
            "If SOURCE_MANIFEST is signed, its signature may have expired: have it signed anew. Otherwise: {}",
            error.advice()
        );
        error.within("SOURCE_MANIFEST cannot be read").next(advice)
    }

    /// The place, for messages.
    pub(super) fn shown(&self) -> String {
        match &self.place {
            Place::Url(url) => format!("GET {}", http::shown(url)),
            Place::File(path) => path.display().to_string(),
        }
    }

    /// Asks for a manifest again that was there before.
    pub(super) async fn again(&self, client: &http::Client, endpoint: &Url) -> Result<Manifest> {
        match &self.place {
            Place::Url(url) => export::manifest_again(client, endpoint, url).await,
            Place::File(path) => export::manifest_in_file(client, endpoint, path).await,
        }
    }

    /// For an export that was asked for, at this URL.
    #[cfg(test)]
    pub(super) fn at(url: Url) -> Self {
        Self {
            status_url: Some(url.clone()),
            place: Place::Url(url),
            is_published: false,
        }
    }

    /// What is said where nothing is there; `None` where it is an export that is not.
    pub(super) fn absent(&self, said: &str) -> Option<Error> {
        if !self.is_published {
            return None;
        }
        let error = Kind::ExportFailed.error(format!("there is no manifest: {said}"));
        Some(
            error.next(
                "Check SOURCE_MANIFEST, and ask whoever publishes it whether it is still there.",
            ),
        )
    }
}

/// Refuses what was staged of a publication that another has taken the place of meanwhile, under the same names of files: some
/// of them may be of either, so all of them are removed.
///
/// Gives [`Kind::SourceUnavailable`] where nobody says whether it is still the same: what is staged stays for another try.
pub(super) async fn refuse_replaced(
    manifest_at: &ManifestAt,
    client: &http::Client,
    endpoint: &Url,
    (staging, plan, stored): (&Staging, &Plan, &Manifest),
) -> Result<()> {
    if !manifest_at.is_published {
        return Ok(());
    }
    let now = match Box::pin(manifest_at.again(client, endpoint)).await {
        Ok(now) => now,
        Err(error) if error.kind() == Kind::Configuration => return Err(error),
        Err(error) => {
            return Err(Kind::SourceUnavailable
                .error(format!(
                    "everything is staged, and whether the manifest is still the one that it was fetched by could not be asked: {}",
                    error.what()
                ))
                .retry_after(error.wait())
                .next("Start again when the manifest can be had: nothing is fetched twice."));
        }
    };
    if now.head.transaction_time == stored.head.transaction_time || !share_a_name(&now, stored) {
        return Ok(());
    }
    RunRecord::update(staging, plan.run(), |record| {
        !std::mem::replace(&mut record.replaced, true)
    })
    .await?;
    remove_replaced(staging, plan).await?;
    Err(Kind::ExportFailed
        .error(format!(
            "{}: another publication took the place of this one while its files were fetched, which may be of either, for they have the same names",
            manifest_at.shown()
        ))
        .next("Start again: the new one is taken."))
}

/// Removes all files of a publication that another took the place of, and only then forgets that: should the same publication
/// come back, nothing that is there is believed to be of it.
pub(super) async fn remove_replaced(staging: &Staging, plan: &Plan) -> Result<()> {
    for slot in plan.order() {
        let file = plan.file(slot)?;
        if !file.is_mixed() {
            remove_left_over(staging, &file.key).await?;
        }
        remove_left_over(staging, &file.part_key).await?;
    }
    remove_other_pieces(staging, plan, &BTreeSet::new()).await?;
    RunRecord::update(staging, plan.run(), |record| {
        // What they held twice went with them.
        record.duplicates = None;
        std::mem::replace(&mut record.replaced, false)
    })
    .await?;
    Ok(())
}

/// Whether the manifests have a file in common, by its URL less the signature.
fn share_a_name(one: &Manifest, other: &Manifest) -> bool {
    let state = RandomState::new();
    let name = |url: &str| state.hash_one(layout::manifest_source(url));
    let names: HashSet<u64> = one.outputs().map(|output| name(&output.url)).collect();
    other
        .outputs()
        .any(|output| names.contains(&name(&output.url)))
}

/// Whether files of this type are taken: where a manifest takes the place of an export, `TYPES` chooses from it.
pub(super) fn takes(settings: &Settings, resource_type: &str) -> bool {
    let chooses = settings.manifest.is_some() && !settings.types.is_empty();
    !chooses || settings.types.iter().any(|name| name == resource_type)
}

/// The files of a plan that are taken.
pub(super) fn chosen(settings: &Settings, stored: &Manifest, plan: Plan) -> Result<Plan> {
    if settings.manifest.is_none() || settings.types.is_empty() {
        return Ok(plan);
    }
    if stored.head.untyped.is_some() {
        return Err(Kind::Configuration
            .error("TYPES cannot choose from the manifest: it names no type for some of its files, which may hold several")
            .next("Leave TYPES out to take all of them."));
    }
    let absent = settings.types.iter().filter(|name| {
        let mut outputs = stored.outputs();
        !outputs.any(|output| output.resource_type == name.as_str())
    });
    let absent: Vec<&str> = absent.map(String::as_str).collect();
    if !absent.is_empty() {
        tracing::warn!(
            types = absent.join(","),
            "the manifest has no files of these types, which TYPES names"
        );
    }
    Ok(plan.of_types(&settings.types))
}

/// When all of this publication was imported by an earlier start, as it would be now; writes down that there is nothing to do.
pub(super) async fn imported_before(
    settings: &Settings,
    staging: &Staging,
    run: &str,
    record: &RunRecord,
    mode: ImportMode,
) -> Result<Option<Value>> {
    let (Some(attempt), Some(transfer)) = (record.imported_before(), &record.transfer) else {
        return Ok(None);
    };
    let at = attempt.ended.as_deref().unwrap_or(&attempt.at);
    if brought::parameters(settings, run, mode, &transfer.resources)? != attempt.parameters {
        return Ok(None);
    }
    // Another publication may have been imported since, of which this one is the correction.
    let key = record.newest_kick_off().map(|begun| begun.key.as_str());
    let state = SyncState::load(staging, key.unwrap_or_default()).await?;
    if state.imported_last() != Some(run) {
        return Ok(None);
    }
    RunRecord::update(staging, run, |record| {
        record.note_imported_before(at);
        true
    })
    .await?;
    tracing::info!(
        run,
        at,
        "the manifest is the one that was imported before: nothing is to be done"
    );
    Ok(Some(crate::pathling::parameters(&[])))
}
