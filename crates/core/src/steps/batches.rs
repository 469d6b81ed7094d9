//! The inputs of the distributed workflow's workers: the manifest's files in batches, one on each line of an object.
//!
//! Nothing batches them again: Step Functions gives each worker one line, and gathers all answers into one text of at most
//! 256 KiB. So there are at most as many batches as have room there.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use url::Url;

use super::contract::{BatchStaged, BatchTransfer, BatchesPlace, Carried};
use super::early;
use super::json;
use super::published;
use super::run::stored_manifest;
use crate::config::{Place, Settings};
use crate::error::{Kind, Result};
use crate::staging::{Staging, layout};
use crate::transfer::Plan;

/// The longest line, in bytes.
const LINE: usize = 32 * 1024;

/// What all answers together may have, in bytes.
const ANSWERS: usize = 200 * 1024;

/// What one worker should move, in bytes, where there are not too many workers: a minute or so of a small function. One
/// that is cut off does not lose much.
const BATCH: u64 = 128 << 20;

/// What a file costs beside its bytes, as so many bytes: its requests.
const FILE: u64 = 1 << 20;

/// Writes the batches of a run whose manifest was found at `base`, where they are wanted, and gives their place; those that
/// were written before stay.
pub(super) async fn write(
    settings: &Settings,
    staging: &Staging,
    carried: &Carried,
    status_url: &str,
    base: Option<&Url>,
) -> Result<Option<BatchesPlace>> {
    if !settings.batches {
        return Ok(None);
    }
    let run = carried.run.as_str();
    let key = layout::batches_key(run);
    let place = place(staging, &key)?;
    if staging.head(&key).await?.is_some() {
        return Ok(Some(place));
    }
    let manifest = stored_manifest(staging, run, base).await?;
    let manifest = manifest.ok_or_else(|| {
        let url = staging.url(&layout::manifest_key(run));
        Kind::StagingDenied.error(format!("{url} was written, and cannot be read"))
    })?;
    let manifest = Arc::new(manifest);
    let plan = Plan::new(run, Arc::clone(&manifest))?;
    early::settle(staging, run, &plan).await?;
    let plan = published::chosen(settings, &manifest, plan)?;
    let empty = BatchTransfer {
        run: run.to_owned(),
        items: Vec::new(),
        manifest: staging.url(&layout::manifest_key(run)),
        status_url: Some(status_url.to_owned()),
        execution: carried.execution.clone(),
    };
    let mut lines = String::new();
    for items in batches(&plan.weights(), &empty)? {
        let batch = BatchTransfer {
            items,
            ..empty.clone()
        };
        lines.push_str(&json(&batch)?.to_string());
        lines.push('\n');
    }
    staging
        .create(&key, lines.into(), layout::JSON_LINES)
        .await?;
    Ok(Some(place))
}

fn place(staging: &Staging, key: &str) -> Result<BatchesPlace> {
    let Place::S3 { bucket, prefix, .. } = staging.place() else {
        return Err(Kind::Configuration.error("batches are written to S3 alone"));
    };
    let key = match prefix.as_str() {
        "" => key.to_owned(),
        prefix => format!("{prefix}/{key}"),
    };
    Ok(BatchesPlace {
        bucket: bucket.clone(),
        key,
    })
}

/// Spreads files over batches. `files` are their indices and sizes, the largest first; `empty` is a line without items.
///
/// Each file goes to the batch that has least to do, so that the large ones lie apart and all batches take alike long.
fn batches(files: &[(u32, u64)], empty: &BatchTransfer) -> Result<Vec<Vec<usize>>> {
    let room = LINE.saturating_sub(json(empty)?.to_string().len());
    let cost = |size: u64| size.saturating_add(FILE);
    let sum = files
        .iter()
        .fold(0_u64, |sum, (_, size)| sum.saturating_add(cost(*size)));
    let wanted = usize::try_from(sum.div_ceil(BATCH)).unwrap_or(usize::MAX);
    let number = wanted.min(most(&empty.run)?).min(files.len());
    let mut batches = vec![Vec::new(); number];
    // What each has to do, which it is, and how many bytes its items take on its line.
    let mut open: BinaryHeap<_> = (0..number)
        .map(|batch| Reverse((0_u64, batch, 0)))
        .collect();
    for (slot, size) in files {
        let index = *slot as usize;
        let length = index.to_string().len() + 1;
        loop {
            let Reverse((load, batch, used)) = open.pop().unwrap_or_else(|| {
                batches.push(Vec::new());
                Reverse((0, batches.len() - 1, 0))
            });
            if used + length > room && used > 0 {
                // Its line is full.
                continue;
            }
            batches[batch].push(index);
            open.push(Reverse((
                load.saturating_add(cost(*size)),
                batch,
                used + length,
            )));
            break;
        }
    }
    Ok(batches)
}

/// How many workers' answers have room beside each other.
fn most(run: &str) -> Result<usize> {
    let longest = json(&BatchStaged {
        run: run.to_owned(),
        files: LINE,
        bytes: u64::MAX,
    })?;
    Ok(ANSWERS / (longest.to_string().len() + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty() -> BatchTransfer {
        BatchTransfer {
            run: "0123456789abcdef-01234567".to_owned(),
            items: Vec::new(),
            manifest: "s3://bucket/prefix/runs/0123456789abcdef-01234567/_manifest.json".to_owned(),
            status_url: Some("https://fhir.example.org/status/1".to_owned()),
            execution: Some("e".repeat(80)),
        }
    }

    fn of(files: impl IntoIterator<Item = u64>) -> Vec<Vec<usize>> {
        let files: Vec<_> = (0..).zip(files).collect();
        let batches = batches(&files, &empty()).unwrap();
        let mut all = batches.concat();
        all.sort_unstable();
        assert!(
            all.into_iter().eq(0..files.len()),
            "each file is in one batch"
        );
        batches
    }

    #[test]
    fn every_line_keeps_within_its_limit_and_all_answers_keep_within_theirs() {
        // Many files, much to move, and both.
        for (number, size) in [(1_000_000, 0), (100_000, 1 << 30), (3_000, 1 << 40)] {
            let batches = of(std::iter::repeat_n(size, number));
            for items in &batches {
                let line = BatchTransfer {
                    items: items.clone(),
                    ..empty()
                };
                assert!(json(&line).unwrap().to_string().len() <= LINE);
            }
            let answer = BatchStaged {
                run: empty().run,
                files: 10_000,
                bytes: u64::MAX,
            };
            let answer = json(&answer).unwrap().to_string().len() + 1;
            assert!(batches.len() * answer <= 200 * 1024, "{}", batches.len());
            assert!(batches.len() > 100, "{}", batches.len());
        }
    }

    #[test]
    fn large_files_lie_apart_and_small_ones_fill_up() {
        let gibibyte = 1 << 30;
        let batches = of([gibibyte, gibibyte, gibibyte]
            .into_iter()
            .chain(std::iter::repeat_n(1 << 20, 300)));
        assert!(batches.len() >= 3);
        for large in 0..3 {
            let with: Vec<_> = batches
                .iter()
                .filter(|items| items.contains(&large))
                .collect();
            assert_eq!(*with[0], [large], "it has a batch of its own");
        }
    }

    #[test]
    fn a_small_export_is_one_batch_and_an_empty_one_none() {
        assert_eq!(of([3, 2, 1]), [[0, 1, 2]]);
        assert!(of([]).is_empty());
    }
}
