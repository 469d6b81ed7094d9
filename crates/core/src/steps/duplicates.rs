//! Ids that came more than once in the files that a call has copied: the lines whose ids have the same hash are read and
//! compared, and what is found is told and written down.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::StreamExt;
use serde::Deserialize;
use tokio::time::Instant;

use super::Context;
use crate::error::{Kind, Result};
use crate::lines::{Line, Lines};
use crate::staging::Staging;
use crate::sync::{Duplicates, Repeated, RunRecord, StagedLine};
use crate::transfer::Ids;
use crate::transfer::ids::Line as Place;

/// How many groups of lines are compared; more of them are counted.
const COMPARED: usize = 200;

/// How long comparing may take.
const COMPARING: Duration = Duration::from_mins(1);

/// The longest line that is read, in bytes.
const LINE: usize = 4 << 20;

/// The lines of one object that are to be read, and of which group each is.
type Wanted = BTreeMap<String, BTreeMap<u64, usize>>;

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
    ids: &Ids,
    until: Option<Instant>,
) -> Result<()> {
    let staging = context.staging().await?;
    let run = &record.run;
    let found = find(staging, ids, until).await;
    if found.stopped {
        tracing::warn!(
            run,
            "more resources came than there is room for to see whether an id comes twice; twice TRANSFER_MEMORY makes twice the room"
        );
    }
    if found.are_any() {
        tracing::warn!(run, "{}", found.words());
    }
    let mut known = record.duplicates.clone();
    if found.are_any() || found.stopped {
        let change = |record: &mut RunRecord| {
            record.duplicates.get_or_insert_default().add(&found);
            true
        };
        known = RunRecord::update(staging, run, change).await?.duplicates;
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

async fn find(staging: &Staging, ids: &Ids, until: Option<Instant>) -> Duplicates {
    let (groups, beside) = ids.equal(COMPARED);
    let last = Instant::now() + COMPARING;
    let last = until.map_or(last, |until| until.min(last));
    let mut compared = Vec::new();
    let mut unread = beside;
    for (group, names) in groups.iter().zip(read(staging, &groups, last).await) {
        if names.iter().any(Option::is_none) {
            unread += 1;
            continue;
        }
        let mut by_id: BTreeMap<_, Vec<&Place>> = BTreeMap::new();
        for (place, id) in group.iter().zip(names) {
            by_id.entry(id).or_default().push(place);
        }
        let repeated = by_id.into_values().filter(|places| places.len() > 1);
        compared.extend(repeated.map(|places| told(staging, &places)));
    }
    Duplicates {
        at: staging.clock().moment(),
        found: compared.len() as u64,
        unread,
        stopped: !ids.looked_at_all(),
        first: compared,
    }
}

fn told(staging: &Staging, places: &[&Place]) -> Repeated {
    let key = places.first().map_or("", |place| place.key.as_str());
    Repeated {
        resource_type: key.rsplit('/').nth(1).unwrap_or_default().to_owned(),
        lines: places
            .iter()
            .map(|place| StagedLine {
                file: staging.url(&place.key),
                line: place.number,
            })
            .collect(),
    }
}

/// The ids of all lines of these groups, as far as they could be read by then.
async fn read(staging: &Staging, groups: &[Vec<Place>], last: Instant) -> Vec<Vec<Option<String>>> {
    let mut ids: Vec<Vec<Option<String>>> =
        groups.iter().map(|group| vec![None; group.len()]).collect();
    let mut wanted = Wanted::new();
    for (number, group) in groups.iter().enumerate() {
        for place in group {
            let lines = wanted.entry(place.key.clone()).or_default();
            lines.insert(place.number, number);
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
            let Some(group) = lines.get(&number) else {
                continue;
            };
            let place = groups[*group]
                .iter()
                .position(|place| place.key == key && place.number == number);
            if let Some(place) = place {
                ids[*group][place] = Some(id);
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
    let (mut lines, mut number) = (Lines::new(LINE), 0);
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
