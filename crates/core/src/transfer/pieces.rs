//! The objects of files of several types that no record names: an attempt with another `TRANSFER_MEMORY` left them, and
//! the import would read them.
//!
//! Where the store may be listed, all are found by their names. Where it may not, they are looked for under the names that
//! they would have: before the first object is stored, each process writes down beside the file's record how it cuts.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::plan::Plan;
use crate::error::{Kind, Result};
use crate::staging::Staging;
use crate::staging::layout::{self, Role};

/// In which ways a file was cut: the memory that each process had for it.
#[derive(Default, Deserialize, Serialize)]
struct Cuts {
    #[serde(default)]
    cuts: BTreeSet<u64>,
}

/// Writes down how a file is cut.
pub(super) async fn note_cut(staging: &Staging, cuts_key: &str, cut: u64) -> Result<()> {
    let note = |cuts: &mut Cuts| Ok(cuts.cuts.insert(cut));
    staging.update_json(cuts_key, note).await.map(drop)
}

/// Removes the objects of mixed files that no record names. `named` are those that records name.
///
/// Gives [`Kind::StagingDenied`] where they may not be removed.
pub async fn remove_other_pieces(
    staging: &Staging,
    plan: &Plan,
    named: &BTreeSet<String>,
) -> Result<()> {
    let folder = format!("{}/", layout::run_folder(plan.run()));
    let Some(listed) = staging.list(&folder).await? else {
        return remove_unlisted(staging, plan, named).await;
    };
    for object in listed {
        let Role::File(index) = layout::role_of(plan.run(), &object.key) else {
            continue;
        };
        if plan.is_piece(index, &object.key) && !named.contains(&object.key) {
            remove_left_over(staging, &object.key).await?;
        }
    }
    Ok(())
}

/// The same where nothing can be listed.
async fn remove_unlisted(staging: &Staging, plan: &Plan, named: &BTreeSet<String>) -> Result<()> {
    // The same bytes have the same types, however they are cut.
    let mut types: BTreeMap<usize, BTreeSet<&str>> = BTreeMap::new();
    for key in named {
        let resource_type = key.rsplit('/').nth(1);
        if let (Role::File(index), Some(name)) = (layout::role_of(plan.run(), key), resource_type) {
            types.entry(index).or_default().insert(name);
        }
    }
    for (index, names) in types {
        let cuts: Option<Cuts> = staging
            .read_json(&layout::cuts_key(plan.run(), index))
            .await?;
        for cut in cuts.unwrap_or_default().cuts {
            for name in &names {
                remove_cut(staging, plan, named, (index, name, cut)).await?;
            }
        }
    }
    Ok(())
}

/// The last first: who is stopped on the way leaves none behind a gap, where nobody would look for it.
async fn remove_cut(
    staging: &Staging,
    plan: &Plan,
    named: &BTreeSet<String>,
    (index, name, cut): (usize, &str, u64),
) -> Result<()> {
    let mut left = Vec::new();
    for number in 0.. {
        let Some(key) = plan.piece_key(index, name, cut, number) else {
            break;
        };
        if named.contains(&key) {
            continue;
        }
        if staging.head(&key).await?.is_none() {
            break;
        }
        left.push(key);
    }
    for key in left.iter().rev() {
        remove_left_over(staging, key).await?;
    }
    Ok(())
}

/// Removes what the import would read, or the transfer believe, and is of no file of the run.
///
/// Gives [`Kind::StagingDenied`] where it may not be removed.
pub async fn remove_left_over(staging: &Staging, key: &str) -> Result<()> {
    staging.remove(key).await;
    if staging.head(key).await?.is_none() {
        return Ok(());
    }
    Err(Kind::StagingDenied
        .error(format!(
            "{} is left over from another attempt, could not be removed, and the import would read it",
            staging.url(key)
        ))
        .next("Remove it, or allow s3:DeleteObject below STAGING_URL, and start again: the run goes on."))
}
