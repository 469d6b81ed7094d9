//! How a synchronisation stands: what its state says, for a person or for whoever watches.

use jiff::Timestamp;

use super::Context;
use crate::error::Result;
use crate::sync::{self, SyncState};

/// How a synchronisation stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Standing {
    /// The synchronisation's name.
    pub key: String,
    /// Its state; an empty one where nothing was synchronised.
    pub state: SyncState,
    /// How long ago the watermark is, in seconds, where there is one.
    pub freshness: Option<u64>,
}

/// Reads how the synchronisation of the settings stands. Nothing is asked of source or target.
pub async fn standing(context: &Context) -> Result<Standing> {
    let key = sync::key(context.settings());
    let state = SyncState::load(context.staging().await?, &key).await?;
    let at = state
        .watermark
        .as_ref()
        .and_then(|reached| reached.at.parse::<Timestamp>().ok());
    let age = at.map(|at| context.clock().now().duration_since(at).as_secs());
    Ok(Standing {
        freshness: age.map(|age| u64::try_from(age).unwrap_or_default()),
        key,
        state,
    })
}
