//! How a synchronisation stands: what its state says, for a person or for whoever watches.

use jiff::Timestamp;

use super::Context;
use crate::error::Result;
use crate::staging::layout;
use crate::sync::{self, Next, SyncState};

/// How a synchronisation stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Standing {
    /// The synchronisation's name.
    pub key: String,
    /// Where its state is kept.
    pub place: String,
    /// Its state; an empty one where nothing was synchronised.
    pub state: SyncState,
    /// What the next run is to ask for, where the state decides that (`SINCE=auto`).
    pub next: Option<Next>,
    /// How long ago the watermark is, in seconds, where there is one.
    pub freshness: Option<u64>,
}

/// Reads how the synchronisation of the settings stands. Nothing is asked of source or target.
pub async fn standing(context: &Context) -> Result<Standing> {
    let key = sync::key(context.settings());
    let staging = context.staging().await?;
    let state = SyncState::load(staging, &key).await?;
    let at = state
        .watermark
        .as_ref()
        .and_then(|reached| reached.at.parse::<Timestamp>().ok());
    let (settings, now) = (&context.settings().sync, context.clock().now());
    let age = at.map(|at| now.duration_since(at).as_secs());
    Ok(Standing {
        next: settings.auto.then(|| state.next(settings, now)),
        place: staging.url(&layout::sync_key(&key)),
        freshness: age.map(|age| u64::try_from(age).unwrap_or_default()),
        key,
        state,
    })
}
