//! What a run is: its name, its manifest that never changes, and what its export asked for.

use bytes::Bytes;
use serde_json::Value;
use url::Url;

use super::contract::Carried;
use crate::error::{Kind, Result};
use crate::manifest::{Asked, Manifest};
use crate::staging::{Created, Staging, layout};
use crate::sync::{self, ManifestSeen, RunRecord};

/// A run whose manifest is in staging.
pub(super) struct Kept {
    /// The run's name, with a suffix where the server counts its jobs anew.
    pub(super) run: String,
    /// The manifest that the run follows: the first that was written.
    pub(super) stored: Manifest,
    /// The run's record.
    pub(super) record: RunRecord,
}

/// Writes the manifest of `run`, or finds the one that was written before; a manifest of another transaction time there
/// means that the server reused the status URL, and the run gets a suffix.
pub(super) async fn keep_manifest(
    staging: &Staging,
    run: &str,
    value: &Value,
    manifest: &Manifest,
    base: Option<&Url>,
) -> Result<Kept> {
    for candidate in [
        run.to_owned(),
        layout::suffixed(run, &manifest.transaction_time),
    ] {
        let key = layout::manifest_key(&candidate);
        let stored = match staging.read_json::<Value>(&key).await? {
            Some(stored) => stored,
            None => match staging
                .create(&key, Bytes::from(value.to_string()), layout::JSON)
                .await?
            {
                Created::New(_) => value.clone(),
                Created::Exists(object) => serde_json::from_slice(&object.bytes).map_err(|_| {
                    Kind::StagingDenied.error(format!("{} is no JSON", staging.url(&key)))
                })?,
            },
        };
        let stored =
            Manifest::read(&stored, base).map_err(|error| error.within(&staging.url(&key)))?;
        if stored.transaction_time != manifest.transaction_time {
            continue;
        }
        if candidate != run {
            move_newest_kick_off(staging, run, &candidate).await?;
        }
        let record = RunRecord::update(staging, &candidate, |record| {
            record.manifest = Some(ManifestSeen {
                at: sync::now(),
                transaction_time: manifest.transaction_time.clone(),
                outputs: manifest.output.len(),
            });
            true
        })
        .await?;
        return Ok(Kept {
            run: candidate,
            stored,
            record,
        });
    }
    Err(Kind::StagingDenied
        .error(format!(
            "the folders of run {run} hold manifests of other exports"
        ))
        .next("Remove the run's folders below STAGING_URL, or use another place."))
}

/// The kick-off that led to a reused status URL was recorded under the name without the suffix. It is written to its own
/// run first and taken from the other afterwards, so that it is never in neither.
async fn move_newest_kick_off(staging: &Staging, from: &str, to: &str) -> Result<()> {
    let Some(kick_off) = RunRecord::load(staging, from)
        .await?
        .newest_kick_off()
        .cloned()
    else {
        return Ok(());
    };
    // What the other run's manifest was seen for stays there.
    RunRecord::update(staging, to, |record| {
        if record.kick_offs.contains(&kick_off) {
            return false;
        }
        record.kick_offs.push(kick_off.clone());
        true
    })
    .await?;
    RunRecord::update(staging, from, |record| {
        let before = record.kick_offs.len();
        record.kick_offs.retain(|known| known.at != kick_off.at);
        if record.kick_offs.len() == before {
            return false;
        }
        record.moved.push((kick_off.at.clone(), to.to_owned()));
        true
    })
    .await?;
    Ok(())
}

/// What the export asked for, as far as anything tells: `since` beside `run`, else the run's record, else the manifest's
/// `request`.
pub(super) fn since_of(
    carried: &Carried,
    record: Option<&RunRecord>,
    manifest: &Manifest,
) -> Option<Asked> {
    carried
        .since
        .clone()
        .or_else(|| {
            record
                .and_then(RunRecord::newest_kick_off)
                .map(|kick_off| kick_off.since.clone().into())
        })
        .or_else(|| manifest.asked())
}
