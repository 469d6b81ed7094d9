//! What a run is: its manifest that never changes, its record, and what its export asked for.

use bytes::Bytes;
use url::Url;

use super::Context;
use super::contract::Carried;
use crate::error::{Error, Kind, Result};
use crate::manifest::{Asked, Head, Manifest};
use crate::staging::Staging;
use crate::staging::layout::{self, Role};
use crate::sync::{InProgress, KickOff, ManifestSeen, RunRecord};

/// How many kick-offs that turned out to be other runs' a record remembers: a manifest gives one each night.
const MOVED_KEPT: usize = 50;

/// Writes down that the manifest of a run was seen, and that its transfer begins, where it does.
pub(super) async fn saw_manifest(
    context: &Context,
    staging: &Staging,
    run: &str,
    head: &Head,
    begins: bool,
) -> Result<RunRecord> {
    let change = |record: &mut RunRecord| {
        let now = staging.clock().moment();
        let complete = record.first_complete(&head.transaction_time, &now);
        if begins {
            record.begin_transfer(&now);
        }
        let known = record.manifest.take();
        let known = known.filter(|seen| seen.transaction_time == head.transaction_time);
        record.manifest = Some(ManifestSeen {
            at: now,
            complete: Some(complete),
            transaction_time: head.transaction_time.clone(),
            outputs: head.outputs,
            expires: known.and_then(|seen| seen.expires),
        });
        record
            .moved_at
            .get_or_insert_with(|| staging.clock().moment());
        true
    };
    context.update(staging, run, change).await
}

/// The keys of a run's staged files of a type, in order; `None` where its folder may not be listed.
pub(super) async fn files_of(
    staging: &Staging,
    run: &str,
    resource_type: &str,
) -> Result<Option<Vec<String>>> {
    let listed = staging
        .list(&layout::type_folder(run, resource_type))
        .await?;
    let files = listed.map(|listed| {
        let keys = listed.into_iter().map(|object| object.key);
        let is_file = |key: &String| matches!(layout::role_of(run, key), Role::File(_));
        let mut files: Vec<String> = keys.filter(is_file).collect();
        files.sort_unstable();
        files
    });
    Ok(files)
}

/// The manifest that a run follows: the first that was written.
pub(super) async fn stored_manifest(
    staging: &Staging,
    run: &str,
    base: Option<&Url>,
) -> Result<Option<Manifest>> {
    let key = layout::manifest_key(run);
    let Some(chunks) = staging.read_stream(&key).await? else {
        return Ok(None);
    };
    let url = staging.url(&key);
    let read = Manifest::of_stream(chunks, base, no_json).await;
    read.map(Some).map_err(|error| broken(&url, error))
}

/// What the manifest of a run says beside its files.
pub(super) async fn stored_head(
    staging: &Staging,
    key: &str,
    base: Option<&Url>,
) -> Result<Option<Head>> {
    match stored(staging, key, base).await? {
        Stored::Absent => Ok(None),
        Stored::Broken(error) => Err(error),
        Stored::Head(head) => Ok(Some(head)),
    }
}

/// Whether the manifest of a run is there and can be read.
pub(super) async fn is_stored_whole(
    staging: &Staging,
    run: &str,
    base: Option<&Url>,
) -> Result<bool> {
    let found = stored(staging, &layout::manifest_key(run), base).await?;
    if let Stored::Broken(error) = &found {
        tracing::warn!(run, error = error.what(), "the manifest is asked for again");
    }
    Ok(matches!(found, Stored::Head(_)))
}

/// What is where a run's manifest should be.
pub(super) enum Stored {
    Absent,
    /// Something else, as this error says: a disk that was full, or a person, has left it.
    Broken(Error),
    Head(Head),
}

/// Looks.
pub(super) async fn stored(staging: &Staging, key: &str, base: Option<&Url>) -> Result<Stored> {
    let Some(chunks) = staging.read_stream(key).await? else {
        return Ok(Stored::Absent);
    };
    match Head::of_stream(chunks, base, no_json).await {
        Ok(head) => Ok(Stored::Head(head)),
        Err(error) if error.kind() == Kind::Manifest => {
            Ok(Stored::Broken(broken(&staging.url(key), error)))
        }
        Err(error) => Err(error),
    }
}

/// Whether a manifest that is told now may take the place of a broken one: as far as is known, that was of the same export.
pub(super) async fn is_of(staging: &Staging, run: &str, head: &Head) -> Result<bool> {
    let seen = RunRecord::load(staging, run).await?.manifest;
    Ok(seen.is_none_or(|seen| seen.transaction_time == head.transaction_time))
}

/// Puts the manifest that is told now in the place of a broken one, unless another process has done so.
pub(super) async fn mend(staging: &Staging, key: &str, text: Bytes, error: &Error) -> Result<()> {
    if let Some(object) = staging.read(key).await? {
        staging.replace(key, text, &object.version).await?;
        tracing::warn!(
            error = error.what(),
            "the manifest that is told now takes its place"
        );
    }
    Ok(())
}

fn no_json() -> Error {
    Kind::Manifest.error("it is no JSON")
}

/// What is wrong with a stored manifest, and what to do about it; other errors say that themselves.
fn broken(url: &str, error: Error) -> Error {
    if error.kind() != Kind::Manifest {
        return error;
    }
    let what = format!(
        "{url}, which this program wrote, is broken: {}",
        error.what()
    );
    Kind::StagingDenied.error(what).next(
        "Remove it and start again: where the source still has the export, its manifest is fetched once more, and what is staged stays. Otherwise start with --fresh.",
    )
}

/// The kick-off that led to a reused status URL was recorded under the name without the suffix. It is written to its own
/// run first and taken from the other afterwards, so that it is never in neither.
pub(super) async fn move_newest_kick_off(staging: &Staging, from: &str, to: &str) -> Result<()> {
    let known = RunRecord::load(staging, from).await?;
    let Some(kick_off) = known.newest_kick_off().cloned() else {
        return Ok(());
    };
    // A call that comes again has moved it before, and what is left is older, and its own.
    let moved = known.moved.last();
    if moved.is_some_and(|(at, run)| run == to && kick_off.at < *at) {
        return Ok(());
    }
    // What the other run's manifest was seen for stays there.
    RunRecord::update(staging, to, |record| {
        if record.kick_offs.contains(&kick_off) {
            return false;
        }
        record.kick_offs.push(kick_off.clone());
        true
    })
    .await?;
    RunRecord::update(staging, from, |record| {
        let before = record.kick_offs.len();
        record.kick_offs.retain(|known| known.at != kick_off.at);
        if record.kick_offs.len() == before {
            return false;
        }
        record.moved.push((kick_off.at.clone(), to.to_owned()));
        let surplus = record.moved.len().saturating_sub(MOVED_KEPT);
        record.moved.drain(..surplus);
        true
    })
    .await?;
    Ok(())
}

/// The record of the run that was begun by the kick-off which is in progress, and that kick-off; `None` where nothing is
/// known of it.
pub(super) async fn of_kick_off(
    staging: &Staging,
    in_progress: &InProgress,
) -> Result<Option<(RunRecord, KickOff)>> {
    let InProgress { run, kick_off, .. } = in_progress;
    if !layout::is_run_name(run) {
        return Ok(None);
    }
    let mut record = RunRecord::load(staging, run).await?;
    if let Some((_, moved)) = record.moved.iter().find(|(at, _)| at == kick_off) {
        record = RunRecord::load(staging, &moved.clone()).await?;
    }
    let known = record.kick_offs.iter();
    let kick_off = known
        .into_iter()
        .find(|known| known.at == *kick_off)
        .cloned();
    Ok(kick_off.map(|kick_off| (record, kick_off)))
}

/// Stops a step of a run that a person has given up.
pub(super) fn refuse_cancelled(record: &RunRecord) -> Result<()> {
    let Some(at) = record.cancelled() else {
        return Ok(());
    };
    Err(Kind::ExportFailed
        .error(format!(
            "run {} was cancelled (pathling-import cancel) at {at}",
            record.run
        ))
        .next("Start a new run."))
}

/// What the export asked for, as far as anything tells: `since` beside `run`, else the run's record, else the manifest's
/// `request`. Of an export that others asked for, the record knows nothing.
pub(super) fn since_of(
    carried: &Carried,
    record: Option<&RunRecord>,
    head: &Head,
) -> Option<Asked> {
    carried
        .since
        .clone()
        .or_else(|| {
            record
                .and_then(RunRecord::newest_kick_off)
                .filter(|kick_off| kick_off.manifest.is_none())
                .map(|kick_off| kick_off.since.clone().into())
        })
        .or_else(|| head.asked())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::config::Place;
    use crate::staging::Options;

    #[tokio::test]
    async fn a_call_that_comes_again_moves_no_older_kick_off() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::Folder(folder.path().to_owned());
        let staging = Staging::open(&place, Options::default()).await.unwrap();
        let begin = async |at: &str| {
            RunRecord::update(&staging, "a", |record| {
                record.kick_offs.push(KickOff {
                    at: at.to_owned(),
                    ..KickOff::default()
                });
                true
            })
            .await
            .unwrap();
        };
        let known = async |run: &str| {
            let record = RunRecord::load(&staging, run).await.unwrap();
            let times = record.kick_offs.into_iter().map(|begun| begun.at);
            times.collect::<Vec<_>>()
        };
        begin("1").await;
        begin("2").await;
        for _ in 0..3 {
            move_newest_kick_off(&staging, "a", "a-b").await.unwrap();
            assert_eq!(
                (known("a").await, known("a-b").await),
                (vec!["1".to_owned()], vec!["2".to_owned()])
            );
        }
        // The next one leads to the same run, or to another.
        for (at, to) in [("3", "a-b"), ("4", "a-c")] {
            begin(at).await;
            move_newest_kick_off(&staging, "a", to).await.unwrap();
            assert_eq!(known("a").await, ["1"]);
            assert_eq!(known(to).await.last().unwrap(), at);
        }
    }
}
