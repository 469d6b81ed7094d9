//! The errors that a source reports of its export: fetched as outputs are, kept beside them, read once, and what follows.

pub(crate) mod lines;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::time::Instant;

use self::lines::Lines;
use super::Context;
use super::published::ManifestAt;
use super::renewal::renewal;
use crate::audit::Item;
use crate::config::{ExportErrors, TransferSettings, Validate};
use crate::error::{Error, Kind, Result};
use crate::manifest::Manifest;
use crate::staging::{Staging, layout};
use crate::sync::{self, ExportIssues, HELD, RunRecord};
use crate::transfer::{Plan, Transfer};

/// How long all files of errors may take together in one call: they are told of, and what is exported is waited for.
const MOST: Duration = Duration::from_mins(5);

/// Reads what the source reports of the export, before any of its resources is fetched, and writes it into the run's record.
///
/// Gives [`Kind::ExportFailed`] where `EXPORT_ERRORS=fail` has errors end the run, and the error of a file that cannot be had
/// then; otherwise such a file is a warning.
pub(super) async fn look_at(
    context: &Context,
    run: &str,
    record: &RunRecord,
    stored: &Arc<Manifest>,
    manifest_at: Option<&Arc<ManifestAt>>,
    deadline: Option<Instant>,
) -> Result<()> {
    if stored.head.errors == 0 {
        return Ok(());
    }
    let staging = context.staging().await?;
    let policy = context.settings().job.errors;
    // A run's manifest never changes, and neither do its files; but one that could not be had may be there now, as long as
    // the job is.
    let known = record.export_issues.as_ref();
    let known = known.filter(|known| known.missing == 0 || record.job_deleted.is_some());
    let mut issues = if let Some(known) = known {
        known.clone()
    } else {
        let plan = Plan::errors(run, Arc::clone(stored));
        let fetching = Fetching {
            context,
            staging,
            manifest_at,
            deadline,
            policy,
        };
        fetching.fetch_and_read(&plan, stored).await?
    };
    policy.as_str().clone_into(&mut issues.policy);
    let held = policy == ExportErrors::Hold && issues.has_errors();
    issues.watermark = held.then(|| HELD.to_owned());
    RunRecord::update(staging, run, |record| {
        let changed = record.export_issues.as_ref() != Some(&issues);
        record.export_issues = Some(issues.clone());
        changed
    })
    .await?;
    say(run, &issues);
    if policy == ExportErrors::Fail && issues.has_errors() {
        return Err(fails(staging, run, &issues));
    }
    Ok(())
}

fn say(run: &str, issues: &ExportIssues) {
    let (files, words) = (issues.files, issues.words());
    if !issues.has_errors() {
        tracing::info!(
            run,
            files,
            issues = words,
            "the source reports no errors of the export, but other issues"
        );
    } else if issues.watermark.is_some() {
        tracing::warn!(
            run,
            files,
            issues = words,
            watermark = HELD,
            "the source reports errors of the export; what there is will be imported, and the run does not count as complete (EXPORT_ERRORS=hold)"
        );
    } else {
        tracing::warn!(
            run,
            files,
            issues = words,
            "the source reports errors of the export"
        );
    }
}

fn fails(staging: &Staging, run: &str, issues: &ExportIssues) -> Error {
    let record = staging.url(&layout::record_key(run));
    Kind::ExportFailed
        .error(format!(
            "the source reports errors of the export: {}; EXPORT_ERRORS is fail, so nothing is imported",
            issues.words()
        ))
        .next(format!(
            "Read exportIssues in {record}, have mended at the source what they name, and start a new export; or set EXPORT_ERRORS=hold to import what there is. This one stays at the source until that removes it."
        ))
}

/// How files of errors are had.
struct Fetching<'a> {
    context: &'a Context,
    staging: &'a Staging,
    manifest_at: Option<&'a Arc<ManifestAt>>,
    deadline: Option<Instant>,
    policy: ExportErrors,
}

impl Fetching<'_> {
    async fn fetch_and_read(&self, plan: &Plan, stored: &Manifest) -> Result<ExportIssues> {
        let mut issues = ExportIssues {
            at: sync::now(),
            files: stored.head.errors,
            missing: stored.head.errors - plan.len(),
            ..ExportIssues::default()
        };
        if issues.missing > 0 && self.policy == ExportErrors::Fail {
            return Err(Kind::Manifest.error(
                "the manifest names a file of errors without an http or https URL to fetch it at; EXPORT_ERRORS is fail",
            ));
        }
        for slot in self.fetch(plan, &mut issues).await? {
            let file = plan.file(slot)?;
            // A file without a line is not staged.
            let Some(mut chunks) = self.staging.read_stream(&file.key).await? else {
                continue;
            };
            let mut lines = Lines::new(&mut issues);
            while let Some(chunk) = chunks.next().await {
                lines.take(&chunk?);
            }
            lines.finish();
        }
        Ok(issues)
    }

    /// Stages all files, or all that can be had. Gives those that are there.
    async fn fetch(&self, plan: &Plan, issues: &mut ExportIssues) -> Result<Vec<u32>> {
        let last = self.last();
        let Err(error) = self.stage(plan, last).await else {
            return Ok(plan.order().collect());
        };
        self.bearable(&error)?;
        let mut there = Vec::new();
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
            issues.missing += 1;
            tracing::warn!(
                error = error.what(),
                "a file of the export's errors cannot be had"
            );
        }
        Ok(there)
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
        if of_the_source && in_time && self.policy != ExportErrors::Fail {
            return Ok(());
        }
        Err(if of_the_source && in_time {
            error
                .clone()
                .within("a file of the export's errors, which EXPORT_ERRORS=fail needs")
        } else {
            error.clone()
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
        let transfer = Transfer {
            source: source.clone(),
            staging: self.staging.clone(),
            observer: self.context.observer_of(Item::Error),
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
        };
        transfer.run(plan).await.map(|_| ())
    }
}
