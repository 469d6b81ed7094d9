//! Deletions at the target: one resource at a time, in turn within a type and side by side for several types, which is how
//! Pathling Server 2 takes them.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _, stream};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::super::{Context, Deadline, turn};
use crate::config::Dialect;
use crate::error::{Error, Kind, Result};
use crate::pathling::{self, Deletion};
use crate::staging::{Staging, layout};
use crate::sync::RunRecord;

/// How many types are at work at once.
const TYPES: usize = 4;

/// How often it is written down how far it is.
const BETWEEN_NOTES: Duration = Duration::from_secs(10);

/// How much time is left for one deletion and the note of it, before a call's deadline.
const MARGIN: Duration = Duration::from_secs(10);

/// How often a deletion that the target could not carry out is tried, and how long after.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(5),
];

/// Applies what is left of a run's deletions in this turn of the synchronisation's. The run's turn is renewed meanwhile.
///
/// Gives [`Kind::JobInProgress`] shortly before `deadline`; the next call goes on.
pub(in crate::steps) async fn apply(
    context: &Context,
    staging: &Staging,
    (key, turn): (Option<&str>, u64),
    record: &RunRecord,
    deadline: Deadline,
) -> Result<()> {
    let run = record.run.as_str();
    let mut deleted = record.deleted.clone().unwrap_or_default();
    deleted.enter(turn);
    if !deleted.is_left() {
        return Ok(());
    }
    if context.dialect().await? == Dialect::Seven {
        return give_up(staging, run, "Pathling 7 cannot delete").await;
    }
    let list = read(staging, run).await?;
    let all: usize = list.values().map(Vec::len).sum();
    let far = Far {
        context,
        staging,
        key,
        record,
        last: deadline.0.map(|at| at.checked_sub(MARGIN).unwrap_or(at)),
        turn,
        applied: Mutex::new((deleted.applied, Instant::now())),
    };
    let mut work = Vec::new();
    for (resource_type, ids) in &list {
        work.push(far.of_type(resource_type, ids).boxed());
    }
    let mut types = stream::iter(work).buffer_unordered(TYPES);
    let mut ended = Ok(Outcome::Done);
    while let Some(of_type) = types.next().await {
        ended = match (ended, of_type) {
            (Ok(Outcome::Done), other) | (Ok(_), other @ Err(_)) => other,
            (known, _) => known,
        };
    }
    drop(types);
    let (applied, _) = far.applied.into_inner();
    let so_far: usize = applied.values().sum();
    let done = matches!(ended, Ok(Outcome::Done)).then(|| staging.clock().moment());
    note(staging, (run, turn), &applied, done).await?;
    match ended? {
        Outcome::Done => {
            tracing::info!(run, deletions = all, "deletions are applied at the target");
            Ok(())
        }
        Outcome::OutOfTime => Err(Kind::JobInProgress.error(format!(
            "{so_far} of {all} deletions are applied at the target"
        ))),
        Outcome::Unable(why) => give_up(staging, run, &why).await,
    }
}

/// Sees that a run's deletions were applied in this turn, for who has no time to apply them; otherwise a full run is due.
pub(in crate::steps) async fn see_to(
    staging: &Staging,
    record: &RunRecord,
    turn: u64,
) -> Result<()> {
    let mut deleted = record.deleted.clone().unwrap_or_default();
    deleted.enter(turn);
    if !deleted.is_left() {
        return Ok(());
    }
    let why = "another run was imported after the deletions of this one";
    give_up(staging, &record.run, why).await
}

/// What became of a type's deletions.
enum Outcome {
    Done,
    OutOfTime,
    /// The target does not delete, for this reason.
    Unable(String),
}

struct Far<'a> {
    context: &'a Context,
    staging: &'a Staging,
    key: Option<&'a str>,
    record: &'a RunRecord,
    last: Option<Instant>,
    turn: u64,
    /// How many of each type are applied, and when that was noted.
    applied: Mutex<(BTreeMap<String, usize>, Instant)>,
}

impl Far<'_> {
    async fn of_type(&self, resource_type: &str, ids: &[String]) -> Result<Outcome> {
        let done = self.applied.lock().await.0.get(resource_type).copied();
        for id in ids.iter().skip(done.unwrap_or_default()) {
            if self.last.is_some_and(|last| Instant::now() >= last) {
                return Ok(Outcome::OutOfTime);
            }
            match self.delete(resource_type, id).await? {
                Deletion::Gone => {}
                Deletion::Unsupported(why) => return Ok(Outcome::Unable(why)),
            }
            let mut applied = self.applied.lock().await;
            *applied.0.entry(resource_type.to_owned()).or_default() += 1;
            if applied.1.elapsed() >= BETWEEN_NOTES {
                applied.1 = Instant::now();
                note(
                    self.staging,
                    (&self.record.run, self.turn),
                    &applied.0,
                    None,
                )
                .await?;
                if !turn::renew(self.context, self.staging, self.key, self.record).await? {
                    return Err(Kind::JobInProgress.error(format!(
                        "run {} has lost its turn while it applied deletions",
                        self.record.run
                    )));
                }
            }
        }
        Ok(Outcome::Done)
    }

    async fn delete(&self, resource_type: &str, id: &str) -> Result<Deletion> {
        let (client, endpoint) = self.context.target().await?;
        let mut pauses = PAUSES.iter();
        loop {
            let failed = match pathling::delete(client, endpoint, resource_type, id).await {
                Err(error) if is_passing(&error) => error,
                ended => return ended,
            };
            let Some(pause) = pauses.next() else {
                return Err(failed);
            };
            tokio::time::sleep(*pause).await;
        }
    }
}

fn is_passing(error: &Error) -> bool {
    error.kind() == Kind::TargetUnavailable
}

/// Writes down how many of each type are applied, and when all were.
async fn note(
    staging: &Staging,
    (run, turn): (&str, u64),
    applied: &BTreeMap<String, usize>,
    done: Option<String>,
) -> Result<()> {
    RunRecord::update(staging, run, |record| {
        let Some(deleted) = &mut record.deleted else {
            return false;
        };
        if deleted.turn.is_some_and(|known| known > turn) {
            // This one's turn is long over.
            return false;
        }
        let mut changed = deleted.enter(turn) || done.is_some();
        if done.is_some() {
            deleted.done.clone_from(&done);
        }
        // Another process may be further.
        for (resource_type, count) in applied {
            let known = deleted.applied.entry(resource_type.clone()).or_default();
            changed |= *known < *count;
            *known = (*known).max(*count);
        }
        changed
    })
    .await
    .map(|_| ())
}

/// Deletions that cannot be applied make a full run due.
async fn give_up(staging: &Staging, run: &str, why: &str) -> Result<()> {
    tracing::warn!(
        run,
        why,
        "the deletions that the source reports are not applied: a full run is due"
    );
    RunRecord::update(staging, run, |record| {
        record
            .deleted
            .as_mut()
            .map(|deleted| deleted.give_up(why))
            .is_some()
    })
    .await
    .map(|_| ())
}

/// The ids by type, in their order.
async fn read(staging: &Staging, run: &str) -> Result<BTreeMap<String, Vec<String>>> {
    let key = layout::deletions_key(run);
    let broken = |why: &str| {
        Kind::StagingDenied
            .error(format!("{} {why}", staging.url(&key)))
            .next("Start with --fresh, or in Step Functions a new execution: a new export reports the deletions again.")
    };
    let Some(mut chunks) = staging.read_stream(&key).await? else {
        return Err(broken(
            "is gone, and it is the list of what is to be deleted",
        ));
    };
    let mut text = Vec::new();
    while let Some(chunk) = chunks.next().await {
        text.extend_from_slice(&chunk?);
    }
    let mut list: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in text.split(|byte| *byte == b'\n') {
        if line.is_empty() {
            continue;
        }
        let (resource_type, id): (String, String) =
            serde_json::from_slice(line).map_err(|_| broken("is broken"))?;
        list.entry(resource_type).or_default().push(id);
    }
    Ok(list)
}
