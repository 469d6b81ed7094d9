//! Ids that came more than once in the files that a call has copied: the lines whose ids have the same hash are read and
//! compared, and what is found is told and written down.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use serde::Deserialize;
use tokio::time::Instant;

use super::Context;
use crate::error::{Kind, Result};
use crate::lines::{LONGEST, Line, Lines};
use crate::staging::{Staging, layout};
use crate::sync::{Duplicates, Repeated, RunRecord, StagedLine};
use crate::transfer::Ids;
use crate::transfer::ids::{Equal, Line as Place};

/// How many groups of lines are compared; more of them are counted.
const COMPARED: usize = 200;

/// How much time a call has to have left to begin to look: what comes at its very end, it does not do.
const LEAST: Duration = Duration::from_millis(400);

/// How long comparing may take.
const COMPARING: Duration = Duration::from_mins(1);

/// The lines of each object that are to be read, and which of which group each is.
type Wanted = BTreeMap<String, BTreeMap<u64, (usize, usize)>>;

#[derive(Deserialize)]
struct Identified {
    id: String,
}

/// Tells what of the files that were copied came twice, and writes it into the run's record.
///
/// Gives [`Kind::Integrity`] where such a run is not wanted, in this call and in those after it.
pub(super) async fn look_at(
    context: &Context,
    record: &RunRecord,
    ids: &Arc<Ids>,
    until: Option<Instant>,
) -> Result<()> {
    let staging = context.staging().await?;
    let run = &record.run;
    let found = if until.is_none_or(|until| until > Instant::now() + LEAST) {
        find(staging, ids, until).await
    } else {
        None
    };
    let mut known = record.duplicates.clone();
    match found {
        None => tracing::warn!(
            run,
            "there was no time to see whether an id comes twice among what this call copied"
        ),
        Some(found) => {
            if found.stopped {
                tracing::warn!(
                    run,
                    "more resources came than there is room for to see whether an id comes twice; twice TRANSFER_MEMORY makes twice the room"
                );
            }
            if found.are_any() {
                tracing::warn!(run, "{}", found.words());
            }
            let was_stopped = known.as_ref().is_some_and(|known| known.stopped);
            if found.are_any() || (found.stopped && !was_stopped) {
                let change = |record: &mut RunRecord| {
                    record.duplicates.get_or_insert_default().add(&found);
                    true
                };
                known = RunRecord::update(staging, run, change).await?.duplicates;
            }
        }
    }
    match known.filter(Duplicates::are_any) {
        Some(known) if context.settings().transfer.fail_on_duplicates => Err(Kind::Integrity
            .error(format!("run {run}: {}", known.words()))
            .next(
                "Pathling fails a merge on them, or keeps both. Have the source mend its export, or set DUPLICATES=warn to import it as it is.",
            )),
        _ => Ok(()),
    }
}

/// `None` where the time was too short even to compare hashes.
async fn find(staging: &Staging, ids: &Arc<Ids>, until: Option<Instant>) -> Option<Duplicates> {
    let at = staging.clock().moment();
    let last = Instant::now() + COMPARING;
    // What is found is to be written down, too.
    let last = until.map_or(last, |until| last.min(until - LEAST / 2));
    let looked = Arc::clone(ids);
    // A processor's work, which waits for nobody: the runtime has others to see to.
    let finding = tokio::task::spawn_blocking(move || looked.equal(COMPARED));
    let (groups, beside) = tokio::time::timeout_at(last, finding).await.ok()?.ok()?;
    let mut found = Duplicates {
        at,
        unread: beside,
        stopped: !ids.looked_at_all(),
        ..Duplicates::default()
    };
    for (group, names) in groups.iter().zip(read(staging, &groups, last).await) {
        if names.iter().any(Option::is_none) {
            found.unread += 1;
            let lines: Vec<_> = group.lines.iter().collect();
            let unread = true;
            found.first.push(told(staging, &lines, group.count, unread));
            continue;
        }
        let mut by_id: BTreeMap<_, Vec<&Place>> = BTreeMap::new();
        for (place, id) in group.lines.iter().zip(names) {
            by_id.entry(id).or_default().push(place);
        }
        let others = group.count - group.lines.len() as u64;
        for places in by_id.into_values().filter(|places| places.len() > 1) {
            found.found += 1;
            let count = places.len() as u64 + others;
            found.first.push(told(staging, &places, count, false));
        }
    }
    Some(found)
}

fn told(staging: &Staging, places: &[&Place], count: u64, unread: bool) -> Repeated {
    let key = places.first().map_or("", |place| place.key.as_str());
    Repeated {
        resource_type: layout::resource_type_of(key).unwrap_or_default().to_owned(),
        count,
        unread,
        lines: places
            .iter()
            .map(|place| StagedLine {
                file: staging.url(&place.key),
                line: place.number,
            })
            .collect(),
    }
}

/// The ids of the lines of these groups, as far as they could be read by then.
async fn read(staging: &Staging, groups: &[Equal], last: Instant) -> Vec<Vec<Option<String>>> {
    let mut ids: Vec<Vec<Option<String>>> = groups
        .iter()
        .map(|group| vec![None; group.lines.len()])
        .collect();
    let mut wanted = Wanted::new();
    for (group, equal) in groups.iter().enumerate() {
        for (place, line) in equal.lines.iter().enumerate() {
            let lines = wanted.entry(line.key.clone()).or_default();
            lines.insert(line.number, (group, place));
        }
    }
    for (key, lines) in wanted {
        let numbers = lines.keys().copied().collect();
        let reading = tokio::time::timeout_at(last, ids_of(staging, &key, numbers));
        let found = match reading.await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                tracing::debug!(key, error = error.what(), "lines could not be compared");
                continue;
            }
            Err(_) => break,
        };
        for (number, id) in found {
            if let Some((group, place)) = lines.get(&number) {
                ids[*group][*place] = Some(id);
            }
        }
    }
    ids
}

/// The ids of some of an object's lines.
async fn ids_of(
    staging: &Staging,
    key: &str,
    mut wanted: BTreeSet<u64>,
) -> Result<Vec<(u64, String)>> {
    let mut found = Vec::new();
    let Some(mut chunks) = staging.read_stream(key).await? else {
        return Ok(found);
    };
    let (mut lines, mut number) = (Lines::new(LONGEST), 0);
    let mut with = |line: Line<'_>| {
        number += 1;
        if wanted.remove(&number)
            && let Line::Whole(text) = line
            && let Ok(resource) = serde_json::from_slice::<Identified>(text)
        {
            found.push((number, resource.id));
        }
        wanted.is_empty()
    };
    while let Some(chunk) = chunks.next().await {
        let mut is_done = false;
        lines.take(&chunk?, |line| is_done = with(line));
        if is_done {
            return Ok(found);
        }
    }
    lines.finish(|line| {
        with(line);
    });
    Ok(found)
}
