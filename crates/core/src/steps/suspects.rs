//! What is known here and the target does not say about an import that it could not do: which staged line it may mean.

use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::Value;
use tokio::time::Instant;

use super::Context;
use super::run::files_of;
use crate::config::ImportMode;
use crate::error::{Error, Result};
use crate::lines::{LONGEST, Line, Lines};
use crate::pathling::{self, Complaint, Failed};
use crate::staging::{Staging, layout};
use crate::sync::{Attempt, RunRecord};

/// How long is looked for a line: whoever polls waits meanwhile.
const LOOKING: Duration = Duration::from_secs(10);

/// How many lines are named.
const NAMED: usize = 3;

/// The error of an import that failed, with what may be behind it.
pub(super) async fn explained(
    context: &Context,
    staging: &Staging,
    record: &RunRecord,
    attempt: &Attempt,
    failed: Failed,
) -> Error {
    let Failed { error, complaint } = failed;
    let Some(complaint) = complaint else {
        return error;
    };
    match complaint {
        Complaint::Unexpected => return unexpected(record, attempt, error),
        Complaint::NotAllowed => return not_allowed(context, error),
        Complaint::Json | Complaint::Value { .. } => {}
    }
    if matches!(complaint, Complaint::Value { value: None, .. }) {
        // Which of its values it is, nobody says.
        return error.next(anew(""));
    }
    let mut looked = Looked::default();
    let last = Instant::now() + LOOKING;
    let looking = look(staging, record, attempt, &complaint, &mut looked);
    let ended = tokio::time::timeout_at(last, looking).await;
    if let Ok(Err(error)) = &ended {
        tracing::debug!(error = error.what(), "the staged lines could not be read");
    }
    let all = matches!(ended, Ok(Ok(()))) && !looked.unread && complaint == Complaint::Json;
    let found = match (looked.found.is_empty(), all) {
        (false, _) => format!("It may mean {}. ", looked.found.join(", ")),
        (true, true) => "Every line that was staged is JSON. ".to_owned(),
        (true, false) => String::new(),
    };
    error.next(anew(&found))
}

/// What to do about a line that the target does not take.
fn anew(found: &str) -> String {
    format!(
        "{found}Have the source mend the resource and export it anew (the command's --fresh): the files that are staged would fail again. VALIDATE=json finds lines that are no JSON before they are imported."
    )
}

/// Pathling compares the beginnings of URLs, letter by letter.
fn not_allowed(context: &Context, error: Error) -> Error {
    let settings = context.settings();
    let place = settings
        .target_staging
        .as_ref()
        .or(settings.staging.as_ref());
    let place = place.map_or_else(
        || "the staging location".to_owned(),
        |it| it.url(layout::RUNS),
    );
    error.next(format!(
        "Add {place} to the sources that Pathling may import from (PATHLING_IMPORT_ALLOWABLESOURCES, or pathling.import.allowableSources), restart it, and start again."
    ))
}

/// A merge fails so on two rows of one id, and Pathling's answer does not say which or why.
fn unexpected(record: &RunRecord, attempt: &Attempt, error: Error) -> Error {
    let locations = pathling::read_parameters(&attempt.parameters);
    let merges = locations.is_ok_and(|all| all.iter().any(|it| it.mode == ImportMode::Merge));
    if !merges {
        return error;
    }
    let known = record.duplicates.as_ref().filter(|it| it.are_any());
    let known = known.map_or_else(
        || "in what was staged, or in the target already".to_owned(),
        |known| format!("as it does here ({})", known.words()),
    );
    error.next(format!(
        "A merge fails so where an id comes twice, {known}; the target's log tells. An id that the target holds twice goes with a full run that replaces everything (IMPORT_MODE=overwrite)."
    ))
}

/// What was found among the staged lines.
#[derive(Default)]
struct Looked {
    /// Those of which the complaint may be, in words.
    found: Vec<String>,
    /// Whether there was one too long to be looked at, or a file that may not be read.
    unread: bool,
}

/// Looks for the staged lines of which the complaint may be.
async fn look(
    staging: &Staging,
    record: &RunRecord,
    attempt: &Attempt,
    complaint: &Complaint,
    looked: &mut Looked,
) -> Result<()> {
    for location in pathling::read_parameters(&attempt.parameters)? {
        let run = record.run.as_str();
        let Some(files) = files_of(staging, run, &location.resource_type).await? else {
            looked.unread = true;
            continue;
        };
        for key in files {
            let Some(mut chunks) = staging.read_stream(&key).await? else {
                looked.unread = true;
                continue;
            };
            let url = staging.url(&key);
            let (mut lines, mut number) = (Lines::new(LONGEST), 0_u64);
            let mut with = |line: Line<'_>| {
                number += 1;
                looked.unread |= matches!(line, Line::TooLong);
                if looked.found.len() < NAMED && is_meant(complaint, line) {
                    looked.found.push(format!("line {number} of {url}"));
                }
            };
            while let Some(chunk) = chunks.next().await {
                lines.take(&chunk?, &mut with);
            }
            lines.finish(&mut with);
            if looked.found.len() == NAMED {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn is_meant(complaint: &Complaint, line: Line<'_>) -> bool {
    let Line::Whole(line) = line else {
        return false;
    };
    let parsed = serde_json::from_slice::<Value>(line);
    match (complaint, parsed) {
        (Complaint::Json, parsed) => parsed.is_err(),
        (
            Complaint::Value {
                element,
                value: Some(value),
            },
            Ok(parsed),
        ) => has(&parsed, element, value),
        _ => false,
    }
}

/// Whether an element of this name has this value anywhere, as a text or as what is written without quotation marks.
fn has(value: &Value, element: &str, wanted: &str) -> bool {
    let is_wanted = |value: &Value| match value {
        Value::String(text) => text == wanted,
        Value::Number(number) => number.to_string() == wanted,
        Value::Bool(flag) => flag.to_string() == wanted,
        _ => false,
    };
    match value {
        Value::Object(members) => members.iter().any(|(name, value)| {
            (name == element && is_wanted(value)) || has(value, element, wanted)
        }),
        Value::Array(items) => items.iter().any(|item| has(item, element, wanted)),
        _ => false,
    }
}
