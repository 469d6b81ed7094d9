//! Files of a manifest beside its outputs: fetched as outputs are, and kept beside them.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Context;
use super::published::ManifestAt;
use super::renewal::renewal;
use crate::audit::Item;
use crate::config::{TransferSettings, Validate};
use crate::error::{Error, Kind, Result};
use crate::manifest::Beside;
use crate::staging::Staging;
use crate::transfer::{Ids, Plan, Transfer};

/// How long all such files may take together in one call: they are told of, and what is exported is waited for.
const MOST: Duration = Duration::from_mins(5);

/// How they are had.
pub(super) struct Fetching<'a> {
    pub(super) context: &'a Context,
    pub(super) staging: &'a Staging,
    pub(super) manifest_at: Option<&'a Arc<ManifestAt>>,
    pub(super) deadline: Option<Instant>,
    /// What they hold.
    pub(super) what: Beside,
    /// The setting for which each of them is needed; otherwise one that cannot be had is a warning.
    pub(super) needed_by: Option<&'static str>,
}

impl Fetching<'_> {
    /// Stages all files of the plan, or all that can be had. Gives those that are there, and how many are not.
    pub(super) async fn fetch(&self, plan: &Plan) -> Result<(Vec<u32>, usize)> {
        let last = self.last();
        let Err(error) = self.stage(plan, last).await else {
            return Ok((plan.order().collect(), 0));
        };
        self.bearable(&error)?;
        let (mut there, mut missing) = (Vec::new(), 0);
        for slot in plan.order() {
            // One that is complete is not fetched again.
            let one = plan.clone().only(&[slot as usize])?;
            let staged = match plan.len() {
                1 => Err(error.clone()),
                _ => self.stage(&one, last).await,
            };
            let Err(error) = staged else {
                there.push(slot);
                continue;
            };
            self.bearable(&error)?;
            missing += 1;
            tracing::warn!(error = error.what(), "{} cannot be had", self.name());
        }
        Ok((there, missing))
    }

    /// Whether the run can go on without a file that failed so; gives the error back where it cannot.
    fn bearable(&self, error: &Error) -> Result<()> {
        let of_the_source = matches!(
            error.kind(),
            Kind::Transfer
                | Kind::SourceUnavailable
                | Kind::Authentication
                | Kind::ExportFailed
                | Kind::Integrity
                // Their time is over, or the source wants to be left alone for longer.
                | Kind::JobInProgress
        );
        let in_time = self
            .deadline
            .is_none_or(|deadline| Instant::now() < deadline);
        if of_the_source && in_time && self.needed_by.is_none() {
            return Ok(());
        }
        Err(match self.needed_by {
            Some(setting) if of_the_source && in_time => error
                .clone()
                .within(&format!("{}, which {setting} needs", self.name())),
            _ => error.clone(),
        })
    }

    /// When these files have had their time: what is exported comes first.
    fn last(&self) -> Instant {
        let now = Instant::now();
        let share = self
            .deadline
            .map_or(MOST, |deadline| deadline.duration_since(now) / 4);
        now + share.min(MOST)
    }

    async fn stage(&self, plan: &Plan, last: Instant) -> Result<()> {
        let (source, endpoint) = self.context.source().await?;
        let settings = self.context.settings();
        let item = match self.what {
            Beside::Errors => Item::Error,
            Beside::Deleted => Item::Deleted,
        };
        let transfer = Transfer {
            source: source.clone(),
            staging: self.staging.clone(),
            observer: self.context.observer_of(item),
            deadline: Some(last),
            settings: TransferSettings {
                validate: Validate::None,
                ..settings.transfer.clone()
            },
            retry_after_max: settings.retry_after_max,
            renew: renewal(
                source,
                endpoint,
                self.staging,
                self.manifest_at.cloned(),
                &Arc::new(plan.clone()),
            ),
            expires: None,
            listing: None,
            patient: true,
            // They hold no resources that are imported.
            ids: Arc::new(Ids::beside(0)),
        };
        transfer.run(plan).await.map(|_| ())
    }

    fn name(&self) -> &'static str {
        match self.what {
            Beside::Errors => "a file of the export's errors",
            Beside::Deleted => "a file of deletions",
        }
    }
}
