//! Types of which the source has no resources any more: a full run that replaces what is there leaves them as they were in
//! the target, unless it is told to empty them.

use super::{Context, brought};
use crate::config::ImportMode;
use crate::error::Result;
use crate::pathling;
use crate::staging::{Staging, layout};
use crate::sync::{RunRecord, SyncState, Transferred};

/// Notes such types in what is written down of a full run's transfer, and has them emptied where that is wanted: one file of
/// no bytes for each, which is what makes `overwrite` empty a type.
pub(super) async fn note(
    context: &Context,
    staging: &Staging,
    key: Option<&str>,
    run: &str,
    transferred: &mut Transferred,
) -> Result<()> {
    let settings = context.settings();
    let Some(key) = key.filter(|_| transferred.replaces()) else {
        return Ok(());
    };
    let state = SyncState::load(staging, key).await?;
    let known = state.types_in_target();
    let mut missing: Vec<String> = settings.types.iter().chain(known).cloned().collect();
    missing.retain(|name| {
        transferred
            .resources
            .get(name)
            .is_none_or(|count| *count == 0)
            && pathling::holds(settings.dialect, name)
    });
    missing.sort_unstable();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    let types = missing.join(",");
    // Of a run that is held, what is missing may be what the source could not export.
    let record = RunRecord::load(staging, run).await?;
    let empties = settings.sync.empty_missing_types && record.issues_hold().is_none();
    if empties {
        let mut locations = pathling::read_parameters(&transferred.parameters)?;
        for name in &missing {
            let file = staging.write(&layout::empty_key(run, name), layout::JSON_LINES);
            file.finish().await?;
            locations.push(brought::location(
                settings,
                run,
                name,
                ImportMode::Overwrite,
            )?);
        }
        transferred.parameters = pathling::parameters(&locations);
        tracing::warn!(
            run,
            types,
            "types of which the source has no resources any more are emptied in the target"
        );
    } else {
        tracing::warn!(
            run,
            types,
            "the source has no resources of these types, and the target may: EMPTY_MISSING_TYPES=true has them emptied"
        );
    }
    transferred.emptied = empties;
    transferred.missing = missing;
    Ok(())
}
