//! Proof of arrival: what the target holds, counted before and after an import, against what was staged.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use futures_util::{FutureExt as _, StreamExt as _, stream};

use super::Context;
use crate::config::ImportMode;
use crate::error::{Error, Kind, Result};
use crate::pathling::{self, Count, Location};
use crate::sync::{Attempt, RunRecord};

/// How many types are counted at once.
const AT_ONCE: usize = 4;

/// What there is to know of a count.
pub(super) enum Counted {
    /// Resources by type.
    Counts(BTreeMap<String, u64>),
    /// The target does not let itself be counted, for this reason.
    Unable(String),
}

/// Counts the resources of these types that the target holds.
pub(super) async fn count(context: &Context, types: Vec<&str>) -> Result<Counted> {
    let (client, endpoint) = context.target().await?;
    let mut counts = BTreeMap::new();
    let mut work = Vec::new();
    for resource_type in types {
        let counting = async move {
            let counted = pathling::count(client, endpoint, resource_type).await;
            (resource_type, counted)
        };
        work.push(counting.boxed());
    }
    let mut answers = stream::iter(work).buffer_unordered(AT_ONCE);
    while let Some((resource_type, counted)) = answers.next().await {
        match counted? {
            Count::Of(count) => {
                counts.insert(resource_type.to_owned(), count);
            }
            Count::Refused(why) => return Ok(Counted::Unable(why)),
        }
    }
    Ok(Counted::Counts(counts))
}

/// Whether what is wrong is wrong with whatever else is asked of the target too: it does not answer, or there is no token.
fn concerns_more(error: &Error) -> bool {
    matches!(error.kind(), Kind::TargetUnavailable | Kind::Authentication)
}

/// Counts before an import that merges: afterwards there must be no fewer. One that replaces needs no such count.
pub(super) async fn before(
    context: &Context,
    locations: &[Location],
) -> Result<BTreeMap<String, u64>> {
    let types = locations.iter().filter(|it| it.mode == ImportMode::Merge);
    let types: Vec<&str> = types.map(|it| it.resource_type.as_str()).collect();
    if !context.settings().sync.verify || types.is_empty() {
        return Ok(BTreeMap::new());
    }
    let why = match count(context, types).await {
        Ok(Counted::Counts(counts)) => return Ok(counts),
        Ok(Counted::Unable(why)) => why,
        Err(error) if concerns_more(&error) => return Err(error),
        Err(error) => error.what().to_owned(),
    };
    // What cannot be counted now may be afterwards, and is counted then.
    tracing::debug!(why, "the target cannot be counted before the import");
    Ok(BTreeMap::new())
}

/// What an import that the target calls complete comes to.
pub(super) struct Proof {
    /// Resources by type, where they were counted.
    pub(super) after: BTreeMap<String, u64>,
    /// Why it is not proved, where it is not.
    pub(super) unverified: Option<String>,
}

/// Compares what the target holds after an attempt with what was staged.
///
/// Gives [`Kind::ImportIncomplete`] with what is missing.
pub(super) async fn verify(
    context: &Context,
    record: &RunRecord,
    attempt: &Attempt,
) -> Result<Proof> {
    let unproved = |why: &str| Proof {
        after: BTreeMap::new(),
        unverified: Some(why.to_owned()),
    };
    if !context.settings().sync.verify {
        return Ok(unproved("VERIFY_IMPORT=none"));
    }
    let Some(transfer) = &record.transfer else {
        return Ok(unproved("nothing is known of what was staged"));
    };
    let locations = pathling::read_parameters(&attempt.parameters)?;
    let sent = locations
        .iter()
        .filter(|it| !attempt.unsupported.contains(&it.resource_type))
        // An emptied type has no resources.
        .map(|it| {
            let staged = transfer.resources.get(&it.resource_type).copied();
            (it, staged.unwrap_or_default())
        });
    let sent: Vec<_> = sent.collect();
    let types = sent.iter().map(|(it, _)| it.resource_type.as_str());
    let after = match count(context, types.collect()).await {
        Ok(Counted::Counts(counts)) => counts,
        Err(error) if concerns_more(&error) => return Err(error),
        Err(error) => {
            return Err(Kind::ImportIncomplete.error(format!(
                "the target says that the import is complete, and what it holds cannot be counted: {}",
                error.what()
            )));
        }
        Ok(Counted::Unable(why)) => {
            tracing::warn!(
                run = record.run,
                why,
                "the import is complete by what the target says, and not verified: to let its resources be counted, add the scopes pathling:search and pathling:read (or user/*.read), or set VERIFY_IMPORT=none"
            );
            return Ok(unproved(&why));
        }
    };
    let rows = sent.iter().map(|(location, staged)| {
        let name = location.resource_type.as_str();
        let found = after.get(name).copied().unwrap_or_default();
        let before = attempt.before.get(name).copied().unwrap_or_default();
        let (expected, exactly) = match location.mode {
            ImportMode::Overwrite => (*staged, true),
            ImportMode::Merge => (before.max(*staged), false),
        };
        Row {
            name,
            expected,
            exactly,
            found,
        }
    });
    let wrong: Vec<Row> = rows.filter(|row| !row.is_right()).collect();
    if wrong.is_empty() {
        return Ok(Proof {
            after,
            unverified: None,
        });
    }
    Err(incomplete(&wrong))
}

struct Row<'a> {
    name: &'a str,
    expected: u64,
    exactly: bool,
    found: u64,
}

impl Row<'_> {
    fn is_right(&self) -> bool {
        if self.exactly {
            self.found == self.expected
        } else {
            self.found >= self.expected
        }
    }
}

fn incomplete(wrong: &[Row<'_>]) -> Error {
    let mut table = String::new();
    for row in wrong {
        let at_least = if row.exactly { "" } else { "at least " };
        let (name, expected, found) = (row.name, row.expected, row.found);
        // Writing to a String cannot fail.
        let _ = write!(
            table,
            "\n  {name}: expected {at_least}{expected}, found {found}"
        );
    }
    Kind::ImportIncomplete.error(format!(
        "the target says that the import is complete, and does not hold what was staged:{table}\n"
    ))
}
