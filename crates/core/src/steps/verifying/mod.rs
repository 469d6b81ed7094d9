//! Reading back: resources that a run staged are read at the target, one by one, and compared.
//!
//! Counts say that as many arrived; this says that they are the same. It costs a request a resource, so it is a person's to
//! ask for, and no step does it.

mod compare;
mod pick;

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, stream};
use serde_json::Value;

use super::Context;
use crate::config::Dialect;
use crate::error::{Error, Kind, Result};
use crate::pathling;
use crate::staging::Staging;
use crate::sync::{self, RunRecord, SUCCEEDED, StagedLine, SyncState};
use pick::{Picked, Picking};

/// How many resources are read at once.
const AT_ONCE: usize = 8;

/// How many lines of each type are told that differ or are missing.
const TOLD: usize = 5;

/// How many of the staged resources are read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sample {
    /// Every one.
    All,
    /// About so many of each type, from a few of its files, which chance picks.
    Of(usize),
}

/// What reading back came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReadBack {
    /// The run whose resources they are.
    pub run: String,
    /// By type.
    pub types: BTreeMap<String, OfType>,
}

/// The same for one type.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OfType {
    /// How many resources were staged.
    pub staged: u64,
    /// How many of them were looked for.
    pub read: u64,
    /// How many the target holds as they were staged, less what it is known to drop.
    pub equal: u64,
    /// How many the target does not hold.
    pub absent: u64,
    /// How many it holds with something else in them.
    pub different: u64,
    /// How many staged lines could not be read back: without an id, or longer than 4 MiB.
    pub unread: u64,
    /// Elements that differ, by their names from the resource on, and in how many resources.
    pub elements: BTreeMap<String, u64>,
    /// Some of the lines that differ or are absent.
    pub lines: Vec<StagedLine>,
}

impl ReadBack {
    /// Whether everything that was looked for is there and the same.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        let mut types = self.types.values();
        types.all(|it| it.absent + it.different + it.unread == 0)
    }
}

/// Reads back what a run staged: that of this name, or the one that was imported last.
///
/// What a later run has changed differs from what an earlier one staged. Gives [`Kind::Configuration`] for a run that was not
/// imported and where the target is Pathling 7, which gives no single resource, and [`Kind::Authentication`] where resources may
/// not be read.
pub async fn read_back(context: &Context, run: Option<&str>, sample: Sample) -> Result<ReadBack> {
    let staging = context.staging().await?;
    let record = imported(context, staging, run).await?;
    if context.dialect().await? == Dialect::Seven {
        return Err(Kind::Configuration
            .error("the target is Pathling 7, which does not give single resources, so nothing can be read back")
            .next("The counts by type, which each run compares, are what can be had of it (VERIFY_IMPORT)."));
    }
    let transfer = record.transfer.as_ref().ok_or_else(|| {
        let what = format!(
            "the record of run {} does not tell what was staged",
            record.run
        );
        Kind::StagingDenied.error(what)
    })?;
    let mut types = BTreeMap::new();
    for (resource_type, staged) in transfer.resources.iter().filter(|(_, count)| **count > 0) {
        if record.is_left_out(resource_type) {
            continue;
        }
        let mut of_type = OfType {
            staged: *staged,
            ..OfType::default()
        };
        read_type(context, &record.run, resource_type, sample, &mut of_type).await?;
        types.insert(resource_type.clone(), of_type);
    }
    Ok(ReadBack {
        run: record.run,
        types,
    })
}

/// The record of the run that is meant.
async fn imported(context: &Context, staging: &Staging, run: Option<&str>) -> Result<RunRecord> {
    let record = if let Some(run) = run {
        RunRecord::named(staging, run).await?
    } else {
        let key = sync::key(context.settings());
        let state = SyncState::load(staging, &key).await?;
        let last = state.imported_last().ok_or_else(|| {
            let none = Kind::Configuration.error("no run of this synchronisation was imported so far");
            none.next("Start pathling-import with these settings first, or name a run of others by --run.")
        })?;
        RunRecord::named(staging, last).await?
    };
    let attempt = record.attempts.last();
    if attempt.is_some_and(|it| it.outcome.as_deref() == Some(SUCCEEDED)) {
        return Ok(record);
    }
    Err(Kind::Configuration
        .error(format!("run {} was not imported", record.run))
        .next("pathling-import history lists the runs and how they ended."))
}

async fn read_type(
    context: &Context,
    run: &str,
    resource_type: &str,
    sample: Sample,
    of_type: &mut OfType,
) -> Result<()> {
    let staging = context.staging().await?;
    let (client, endpoint) = context.target().await?;
    let mut picking = Picking::of(staging, run, resource_type, sample).await?;
    loop {
        let picked = picking.next().await?;
        if picked.is_empty() {
            return Ok(());
        }
        let read = picked.into_iter().map(|picked| async move {
            let Some((id, resource)) = &picked.resource else {
                return Ok((picked, Compared::Not));
            };
            let found = pathling::read(client, endpoint, resource_type, id).await?;
            let compared = found.map_or(Compared::Absent, |found| {
                Compared::Found(compare::differences(resource, &found))
            });
            Ok::<_, Error>((picked, compared))
        });
        let mut answers = stream::iter(read).buffered(AT_ONCE);
        while let Some(answer) = answers.next().await {
            let (picked, compared) = answer?;
            of_type.take(staging, &picked, compared);
        }
    }
}

impl OfType {
    fn take(&mut self, staging: &Staging, picked: &Picked, compared: Compared) {
        match compared {
            Compared::Not => self.unread += 1,
            Compared::Absent => (self.read, self.absent) = (self.read + 1, self.absent + 1),
            Compared::Found(elements) if elements.is_empty() => {
                (self.read, self.equal) = (self.read + 1, self.equal + 1);
                return;
            }
            Compared::Found(elements) => {
                (self.read, self.different) = (self.read + 1, self.different + 1);
                for element in elements {
                    *self.elements.entry(element).or_default() += 1;
                }
            }
        }
        if self.lines.len() < TOLD {
            self.lines.push(StagedLine {
                file: staging.url(&picked.key),
                line: picked.line,
            });
        }
    }
}

/// What became of one line.
enum Compared {
    /// It could not be read back.
    Not,
    /// The target does not hold it.
    Absent,
    /// The elements that differ.
    Found(Vec<String>),
}

/// A resource and its id, where a line is one.
fn resource(line: &[u8]) -> Option<(String, Value)> {
    let resource: Value = serde_json::from_slice(line).ok()?;
    let id = resource.get("id")?.as_str()?.to_owned();
    Some((id, resource))
}
