//! The transfer: from the files of a manifest to whole, checked objects in staging.
//!
//! [`plan`] says what goes where, `copy` moves one file, [`check`] looks at every line, [`progress`] tells about it.

pub mod check;
mod copy;
pub mod links;
pub mod listing;
pub mod plan;
pub mod progress;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::Instant;

use crate::error::{Kind, Result};
use crate::http::{Client, TokenUse};
use crate::staging::Staging;
use copy::Copier;
pub use links::{Links, Renew};
pub use listing::Listing;
pub use plan::{File, Plan};
pub use progress::{Event, Observer};

/// How many files are moved side by side.
const CONCURRENCY: usize = 4;

/// What a transfer needs beside its files.
pub struct Transfer {
    /// The source's client.
    pub source: Client,
    /// Where files go.
    pub staging: Staging,
    /// Who is told.
    pub observer: Observer,
    /// When to stop and answer that the transfer goes on.
    pub deadline: Option<Instant>,
    /// The longest that a server's Retry-After is obeyed.
    pub retry_after_max: Duration,
    /// How to get links anew, where that is possible.
    pub renew: Option<Renew>,
    /// What is there already, where that is known.
    pub listing: Option<Listing>,
}

/// What a complete transfer brought.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Brought {
    /// How many files there are.
    pub files: usize,
    /// How many of them were fetched now.
    pub fetched: usize,
    /// The bytes of all of them in staging.
    pub bytes: u64,
    /// Resources by type.
    pub resources: BTreeMap<String, u64>,
}

impl Transfer {
    /// Stages every file, or fails with the first error. Files that are complete are not fetched again, by any call.
    ///
    /// Gives [`Kind::JobInProgress`] at the deadline.
    pub async fn run(&self, plan: &Plan) -> Result<Brought> {
        let total = plan.len();
        (self.observer)(Event::Planned { files: total });
        let copier = Copier {
            source: self.source.clone(),
            staging: self.staging.clone(),
            token: if plan.requires_access_token() == Some(false) {
                TokenUse::Never
            } else {
                TokenUse::WhereTrusted
            },
            observer: Arc::clone(&self.observer),
            retry_after_max: self.retry_after_max,
            asked_to_wait: Arc::default(),
        };
        let mut brought = Brought {
            files: total,
            ..Brought::default()
        };
        let mut done = 0;
        let mut staged = futures_util::stream::iter(plan.order())
            .map(|slot| {
                let copier = &copier;
                async move {
                    let file = Arc::new(plan.file(slot)?);
                    copier
                        .ensure(Arc::clone(&file))
                        .await
                        .map(|(record, fetched)| (file, record, fetched))
                }
            })
            .buffer_unordered(CONCURRENCY);
        loop {
            let next = match self.deadline {
                None => staged.next().await,
                Some(deadline) => match tokio::time::timeout_at(deadline, staged.next()).await {
                    Ok(next) => next,
                    Err(_) => return Err(Self::out_of_time(done, &brought, &copier)),
                },
            };
            let Some(outcome) = next else { break };
            let (file, record, fetched) = outcome?;
            done += 1;
            brought.fetched += usize::from(fetched);
            brought.bytes += record.size;
            let mut resources = 0;
            for (resource_type, count) in record.resources.iter().filter(|(_, count)| **count > 0) {
                *brought.resources.entry(resource_type.clone()).or_default() += count;
                resources += count;
            }
            (self.observer)(Event::FileDone {
                index: file.index,
                fetched,
                bytes: record.size,
                resources,
            });
        }
        Ok(brought)
    }

    fn out_of_time(done: usize, brought: &Brought, copier: &Copier) -> crate::Error {
        let progress = format!(
            "{done} of {} files are staged, {} bytes",
            brought.files, brought.bytes
        );
        // The same again would come to the same, unless it was the source that asked for patience.
        if brought.fetched == 0 && copier.asked_to_wait.load(Ordering::Relaxed) == 0 {
            return Kind::Transfer
                .error(format!("no file could be staged in the time that this call had: {progress}"))
                .next("Give the function more time or memory, or run the command, which has no such limit.")
                .for_good();
        }
        Kind::JobInProgress.error(format!("the transfer goes on: {progress}"))
    }
}
