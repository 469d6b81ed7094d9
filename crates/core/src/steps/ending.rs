//! The end of the export's job at the source, once all of it is staged.
//!
//! The run's record says first that the job is going to be deleted: a process that dies right after the source has done so
//! leaves no run that asks in vain for a job that is gone. Whatever the source answers, the run goes on.

use std::time::Duration;

use tokio::time::Instant;
use url::Url;

use super::{Context, Deadline};
use crate::error::{Kind, Result};
use crate::export::{self, Deleted};
use crate::staging::Staging;
use crate::sync::{JobDeleted, RunRecord};

/// How long the source has to answer: nothing depends on it.
const PATIENCE: Duration = Duration::from_secs(30);

/// The deletion of a run's job, as far as it is for this call to ask for it.
pub(super) struct Ending {
    url: Url,
    planned: JobDeleted,
}

impl Ending {
    /// What there is to delete of a run whose record was this when the transfer began: nothing where that is not wanted, the
    /// job is not known, or a manifest took its place, which is not ours.
    pub(super) fn of(context: &Context, url: Option<&Url>, record: &RunRecord) -> Option<Self> {
        let settings = context.settings();
        if !settings.job.delete || settings.manifest.is_some() || record.is_from_manifest() {
            return None;
        }
        let url = url?.clone();
        let at = context.clock().moment();
        let planned = JobDeleted::of(url.as_str(), record, at);
        Some(Self { url, planned })
    }

    /// Writes into the run's record that the job is going to be deleted, unless it has been, or a newer kick-off was
    /// answered with the same job: then that one's transfer deletes it; or unless another synchronisation's run has the same job. `at` is this moment. Gives whether it is to be.
    pub(super) fn plan(&self, record: &mut RunRecord, at: String) -> bool {
        let now = JobDeleted::of(self.url.as_str(), record, at);
        let known = record.job_deleted.as_ref();
        let done = known.is_some_and(|known| known.is_of(&now) && known.answer.is_some());
        if done || record.shared || !self.planned.is_of(&now) {
            return false;
        }
        record.job_deleted = Some(now);
        true
    }

    /// Asks the source to delete the job, and writes down what it answered. What goes wrong is a warning.
    pub(super) async fn carry_out(
        self,
        context: &Context,
        staging: &Staging,
        run: &str,
        deadline: Deadline,
    ) {
        let answer = self.ask(context, deadline).await;
        let (answer, stays) = match answer {
            Some(Ok(deleted)) => {
                let status = deleted.status();
                if deleted.is_gone() {
                    tracing::info!(run, status, "the export's job is deleted at the source");
                } else {
                    tracing::info!(run, status, "the source does not delete export jobs");
                }
                (Some(status), !deleted.is_gone())
            }
            Some(Err(error)) => {
                tracing::warn!(
                    run,
                    error = error.what(),
                    "the export's job could not be deleted at the source; the run is not touched by that"
                );
                // A source that did not answer, or failed, may have deleted it all the same.
                (None, error.kind() != Kind::SourceUnavailable)
            }
            None => {
                tracing::warn!(
                    run,
                    "the source did not answer in time whether the export's job is deleted; the run is not touched by that"
                );
                (None, false)
            }
        };
        let written = RunRecord::update(staging, run, |record| {
            let known = record
                .job_deleted
                .take_if(|known| known.is_of(&self.planned));
            let Some(known) = known else {
                return false;
            };
            if !stays {
                record.job_deleted = Some(JobDeleted { answer, ..known });
            }
            stays || answer.is_some()
        });
        if let Err(error) = written.await {
            tracing::warn!(
                run,
                error = error.what(),
                "what became of the export's job could not be written down"
            );
        }
    }

    /// `None` where no answer came in time.
    async fn ask(&self, context: &Context, deadline: Deadline) -> Option<Result<Deleted>> {
        let (source, endpoint) = match context.source().await {
            Ok(source) => source,
            Err(error) => return Some(Err(error)),
        };
        // What is left of a function's time is for its answer too.
        let left = deadline
            .0
            .map(|at| at.saturating_duration_since(Instant::now()) / 2);
        let patience = left.map_or(PATIENCE, |left| left.min(PATIENCE));
        let asking = export::delete(source, endpoint, &self.url);
        tokio::time::timeout(patience, asking).await.ok()
    }
}
