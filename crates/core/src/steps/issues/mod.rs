//! The errors that a source reports of its export: fetched as outputs are, kept beside them, read once, and what follows.

pub(crate) mod lines;

use std::sync::Arc;

use futures_util::StreamExt as _;
use tokio::time::Instant;

use self::lines::Counting;
use super::Context;
use super::beside::Fetching;
use super::published::ManifestAt;
use crate::config::ExportErrors;
use crate::error::{Error, Kind, Result};
use crate::manifest::{Beside, Manifest};
use crate::staging::{Staging, layout};
use crate::sync::{ExportIssues, HELD, RunRecord};
use crate::transfer::Plan;

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
        let fetching = Fetching {
            context,
            staging,
            manifest_at,
            deadline,
            what: Beside::Errors,
            needed_by: (policy == ExportErrors::Fail).then_some("EXPORT_ERRORS=fail"),
        };
        read(&fetching, run, stored).await?
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

/// Reads what the files of a manifest say of errors.
async fn read(fetching: &Fetching<'_>, run: &str, stored: &Arc<Manifest>) -> Result<ExportIssues> {
    let plan = Plan::beside(run, Arc::clone(stored), Beside::Errors);
    let mut issues = ExportIssues {
        at: fetching.staging.clock().moment(),
        files: stored.head.errors,
        missing: stored.head.errors - plan.len(),
        ..ExportIssues::default()
    };
    if issues.missing > 0 && fetching.needed_by.is_some() {
        return Err(Kind::Manifest.error(
            "the manifest names a file of errors without an http or https URL to fetch it at; EXPORT_ERRORS is fail",
        ));
    }
    let (there, missing) = fetching.fetch(&plan).await?;
    issues.missing += missing;
    for slot in there {
        let file = plan.file(slot)?;
        // A file without a line is not staged.
        let Some(mut chunks) = fetching.staging.read_stream(&file.key).await? else {
            continue;
        };
        let mut lines = Counting::new(&mut issues);
        while let Some(chunk) = chunks.next().await {
            lines.take(&chunk?);
        }
        lines.finish();
    }
    Ok(issues)
}
