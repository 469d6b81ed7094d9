//! What is told of the export while it is asked for: the kick-off, and each poll.

use std::collections::BTreeMap;
use std::sync::Arc;

use url::Url;

use super::Context;
use super::published::ManifestAt;
use crate::answered::Answered;
use crate::error::Result;
use crate::export::{Capability, Partial, Polled, Room, Status, Wanted};
use crate::http;
use crate::progress::{self, Event, Software};

/// What is told of a kick-off, whatever comes of it.
pub(super) struct KickOffTold {
    url: String,
    parameters: BTreeMap<String, String>,
    software: Software,
}

impl KickOffTold {
    pub(super) fn new(endpoint: &Url, wanted: &Wanted, capability: Option<&Capability>) -> Self {
        Self {
            url: http::shown(&wanted.address(endpoint)),
            parameters: wanted.told(),
            software: capability
                .map(Capability::software)
                .cloned()
                .unwrap_or_default(),
        }
    }

    /// With what came of it.
    pub(super) fn with(self, outcome: Result<Answered>) -> Event {
        Event::KickedOff(Arc::new(progress::KickOff {
            url: self.url,
            parameters: self.parameters,
            software: self.software,
            outcome,
        }))
    }
}

/// Asks the source how an export goes, and tells what it says.
pub(super) async fn ask(
    context: &Context,
    manifest_at: &ManifestAt,
    room: Option<&Room<'_>>,
    partial: Option<&mut Partial>,
) -> Result<Polled> {
    let (client, endpoint) = context.source().await?;
    let polled = manifest_at.poll(client, endpoint, room, partial).await;
    match polled.as_ref().map(|polled| &polled.status) {
        Ok(Status::InProgress(goes_on)) => context.tell(Event::ExportGoesOn {
            progress: goes_on.progress.clone().filter(|_| goes_on.known),
            retry_after: goes_on.retry_after,
        }),
        Ok(Status::Complete(told)) => context.tell(Event::ExportComplete(told.pages.clone())),
        // What that means is for the run's record to say.
        Ok(Status::Absent { .. }) => {}
        Err(error) => context.tell(Event::StatusFailed(error.clone())),
    }
    polled
}
