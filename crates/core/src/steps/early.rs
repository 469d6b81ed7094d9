//! What a source tells of a manifest before it is complete is staged while the export goes on, by the command.
//!
//! A file's name follows from its place in the manifest and its URL, which the specification does not let change. So the
//! transfer of the complete manifest finds what is staged by then under its own names. Servers may break that. So before
//! anything is staged it is noted in the run's folder, and what the complete manifest names otherwise is removed before
//! its transfer begins ([`settle`]). Whatever goes wrong here is left to that transfer.

use std::sync::Arc;

use futures_util::StreamExt as _;
use serde_json::json;
use tokio::sync::{Mutex, MutexGuard, watch};

use super::duplicates;
use super::transferring::{by, refuse};
use super::{Context, Deadline};
use crate::audit::Item;
use crate::error::{Kind, Result};
use crate::export::Partial;
use crate::manifest::Manifest;
use crate::progress::{Event, Observer};
use crate::staging::layout::{self, Role};
use crate::staging::{DoneRecord, FileState, Hint, Staging};
use crate::sync::{RunRecord, StagedEarly};
use crate::transfer::{Brought, Ids, Listing, Plan, Transfer, remove_left_over};

/// How often a note is written under the next number, where others are there.
const ATTEMPTS: usize = 16;

/// What is known of an export that goes on, from who asks for its status to who stages its files.
#[derive(Default)]
pub(super) struct Early {
    pieces: Mutex<Partial>,
    known: watch::Sender<Known>,
}

#[derive(Clone, Default)]
struct Known {
    /// The run and its manifest, as far as it is there.
    so_far: Option<(String, Arc<Manifest>)>,
    /// Whether the manifest is complete.
    over: bool,
}

impl Early {
    /// What was read of the manifest so far.
    pub(super) async fn pieces(&self) -> MutexGuard<'_, Partial> {
        self.pieces.lock().await
    }

    /// Says what there is of a run's manifest.
    pub(super) fn tell(&self, run: &str, manifest: Manifest) {
        let so_far = Some((run.to_owned(), Arc::new(manifest)));
        self.known.send_modify(|known| known.so_far = so_far);
    }

    /// Stages what becomes known, until the manifest is complete and what is under way is done.
    async fn work(&self, context: &Context) {
        let mut told = self.known.subscribe();
        let mut from = 0;
        loop {
            let Known { so_far, over } = told.borrow_and_update().clone();
            if over {
                return;
            }
            if let Some((run, manifest)) = so_far.filter(|(_, manifest)| manifest.len() > from) {
                let names = manifest.len();
                let staged = Box::pin(stage(context, &run, manifest, from)).await;
                match staged {
                    Ok(Some(brought)) => say(context, &run, &brought),
                    Ok(None) => {}
                    Err(error) => tracing::info!(
                        run,
                        error = error.what(),
                        "not all files that are ready could be staged before the export is complete; they will be then"
                    ),
                }
                from = names;
            } else if told.changed().await.is_err() {
                return;
            }
        }
    }
}

/// Waits for `status`, the end of an export, and stages meanwhile what there is of it. What is under way when it is complete
/// is staged to its end.
pub async fn ahead<T>(context: &Context, status: impl Future<Output = Result<T>>) -> Result<T> {
    let Some(early) = context.early() else {
        return status.await;
    };
    let mut status = std::pin::pin!(status);
    let mut staging = std::pin::pin!(early.work(context));
    let complete = tokio::select! {
        biased;
        complete = &mut status => complete,
        () = &mut staging => return status.await,
    };
    if complete.is_ok() {
        early.known.send_modify(|known| known.over = true);
        staging.await;
    }
    complete
}

fn say(context: &Context, run: &str, brought: &Brought) {
    let (files, bytes) = (brought.files, brought.bytes);
    tracing::info!(
        run,
        files,
        bytes,
        "files of an export that goes on are staged"
    );
    context.tell(Event::Ahead { files, bytes });
}

/// Stages the files from the output of index `from` on; `None` where there is nothing to do.
async fn stage(
    context: &Context,
    run: &str,
    manifest: Arc<Manifest>,
    from: usize,
) -> Result<Option<Brought>> {
    let (source, _) = context.source().await?;
    let (settings, staging) = (context.settings(), context.staging().await?);
    refuse(settings, &manifest)?;
    if staging.head(&layout::manifest_key(run)).await?.is_some() {
        // Of another export, or another process has seen its end.
        return Ok(None);
    }
    let mixed: Vec<bool> = manifest
        .outputs()
        .map(|output| output.resource_type.is_empty())
        .collect();
    let plan = Plan::new(run, manifest)?;
    // A file of several types is several objects, of which nobody knows the names beforehand.
    let items: Vec<usize> = plan
        .order()
        .map(|slot| slot as usize)
        .filter(|index| *index >= from && mixed.get(*index) == Some(&false))
        .collect();
    if items.is_empty() {
        return Ok(None);
    }
    let folder = format!("{}/", layout::run_folder(run));
    let listed = staging.list(&folder).await?;
    let listing = listed.map(|listed| Listing::of(&plan, listed));
    let plan = plan.only(&items)?;
    note(staging, run, &plan).await?;
    let transfer = Transfer {
        source: source.clone(),
        staging: staging.clone(),
        observer: observer(context),
        deadline: by(settings, Deadline::default()),
        settings: settings.transfer.clone(),
        retry_after_max: settings.retry_after_max,
        // The manifest to be had again is not complete; that one's transfer has fresh links.
        renew: None,
        expires: None,
        listing,
        patient: true,
        ids: Arc::new(Ids::beside(settings.transfer.memory)),
    };
    let transferring = context.audit().beside(staging, transfer.run(&plan));
    let brought = transferring.await?;
    let record = RunRecord::load(staging, run).await?;
    duplicates::look_at(context, &record, &transfer.ids, transfer.deadline).await?;
    Ok(Some(brought))
}

/// Who is told: of all of it the log, and the person of what is waited for. The progress that is shown is that of the whole.
fn observer(context: &Context) -> Observer {
    let (log, all) = (context.observer_of(Item::Output), context.observer());
    Arc::new(move |event| match event {
        Event::Waiting { .. } | Event::Retrying { .. } => all(event),
        event => log(event),
    })
}

/// Writes down what is going to be staged, and only then that there is such a note.
async fn note(staging: &Staging, run: &str, plan: &Plan) -> Result<()> {
    let known = RunRecord::load(staging, run).await?.early;
    let first = known.map_or(0, |early| early.notes);
    for number in first..first + ATTEMPTS {
        let mut text = staging.write(&layout::early_key(run, number), layout::JSON_LINES);
        for slot in plan.order() {
            let file = plan.file(slot)?;
            text.add(format!("{}\n", json!([slot, file.key])).as_bytes())
                .await?;
        }
        // One that is there already was left by a process that ended before it wrote that down, or is another's.
        if !text.finish().await? {
            continue;
        }
        RunRecord::update(staging, run, |record| {
            record.begin_transfer(&staging.clock().moment());
            let notes = record.early.as_ref().map_or(0, |early| early.notes);
            record.early = Some(StagedEarly {
                notes: notes.max(number + 1),
                settled: false,
            });
            true
        })
        .await?;
        return Ok(());
    }
    Err(Kind::StagingUnavailable.error(format!(
        "{} was written by others, and the {ATTEMPTS} after it too",
        staging.url(&layout::early_key(run, first))
    )))
}

/// Removes what was staged before the manifest was complete and is no file of `plan`, the whole of the complete one: the
/// import would read it, or its record would be believed of another file. What lies under a file's own name is removed only
/// where its record is of another export, or of another number of resources.
///
/// Gives how many of the plan's own files that were: they are to be staged anew.
pub(super) async fn settle(staging: &Staging, run: &str, plan: &Plan) -> Result<usize> {
    // As it is now: another process may have done this already, and have fetched anew what was removed.
    let early = RunRecord::load(staging, run).await?.early;
    let Some(early) = early.filter(|early| !early.settled) else {
        return Ok(0);
    };
    let (names, notes) = (plan.names(), early.notes);
    let (mut own, mut others) = (0_usize, 0_usize);
    for number in 0..notes {
        let Some(mut chunks) = staging.read_stream(&layout::early_key(run, number)).await? else {
            continue;
        };
        let mut rest = Vec::new();
        loop {
            let chunk = chunks.next().await.transpose()?;
            rest.extend_from_slice(chunk.as_deref().unwrap_or(b"\n"));
            let whole = rest.iter().rposition(|byte| *byte == b'\n');
            let lines: Vec<u8> = rest.drain(..whole.map_or(0, |at| at + 1)).collect();
            for (index, key) in lines.split(|byte| *byte == b'\n').filter_map(noted) {
                if layout::role_of(run, &key) != Role::File(index) {
                    continue;
                }
                if names(index, &key) {
                    own += usize::from(remove_contradiction(staging, plan, index).await?);
                } else {
                    others += usize::from(remove_stray(staging, run, index, &key).await?);
                }
            }
            if chunk.is_none() {
                break;
            }
        }
    }
    if own + others > 0 {
        tracing::warn!(
            run,
            files = own + others,
            "the complete manifest names files otherwise than before it was complete; what was staged of them is removed"
        );
    }
    RunRecord::update(staging, run, |record| {
        // A note that came meanwhile was not looked at.
        let looked_at = |early: &&mut StagedEarly| !early.settled && early.notes == notes;
        let settled = record.early.as_mut().filter(looked_at);
        settled.map(|early| early.settled = true).is_some()
    })
    .await?;
    Ok(own)
}

/// Removes what is staged as a file of the plan and is not what the manifest says of it.
async fn remove_contradiction(staging: &Staging, plan: &Plan, index: usize) -> Result<bool> {
    let Some(slot) = u32::try_from(index).ok() else {
        return Ok(false);
    };
    let file = plan.file(slot)?;
    let state = staging.state(&file.key, &file.part_key, Hint::Unknown);
    let FileState::Done(record) = state.await? else {
        // What is under way is looked at by whoever goes on with it.
        return Ok(false);
    };
    let found: u64 = record.resources.values().sum();
    let is_as_promised = file.is_mixed() || file.broken_promise(|count| count == found).is_none();
    if record.export == plan.export() && is_as_promised {
        return Ok(false);
    }
    remove_left_over(staging, &file.key).await?;
    remove_left_over(staging, &file.part_key).await?;
    Ok(true)
}

/// Removes a file that the manifest does not name, with its record; not the record of the file that has its index now.
async fn remove_stray(staging: &Staging, run: &str, index: usize, key: &str) -> Result<bool> {
    let part_key = layout::part_key(run, index);
    let state = staging.state(key, &part_key, Hint::Unknown).await?;
    let is_there = staging.head(key).await?.is_some();
    if is_there {
        remove_left_over(staging, key).await?;
    }
    let is_its_record = |record: &DoneRecord| {
        let mut objects = record.objects.iter();
        objects.any(|object| object.key == key)
    };
    if matches!(&state, FileState::Done(record) if is_its_record(record)) {
        remove_left_over(staging, &part_key).await?;
    }
    Ok(is_there)
}

/// The file of which a line of a note is: its index and its key.
fn noted(line: &[u8]) -> Option<(usize, String)> {
    let (index, key): (usize, String) = serde_json::from_slice(line).ok()?;
    Some((index, key))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;

    use bytes::Bytes;
    use serde_json::Value;

    use super::*;
    use crate::config::Place;
    use crate::manifest::Manifest;
    use crate::staging::{Options, Sum};

    const RUN: &str = "0123456789abcdef";

    fn output(url: &str, count: &Value) -> Value {
        json!({"type": "Patient", "url": url, "count": count})
    }

    /// Three files, of which the second is this one.
    fn plan(time: &str, second: &Value) -> Plan {
        let outputs = [
            output("http://h/0", &json!(3)),
            second.clone(),
            output("http://h/2", &Value::Null),
        ];
        let manifest = json!({"transactionTime": time, "output": outputs});
        Plan::new(RUN, Arc::new(Manifest::read(&manifest, None).unwrap())).unwrap()
    }

    /// Stages a file of the plan, with so many resources.
    async fn stage(staging: &Staging, plan: &Plan, slot: u32, resources: u64) {
        let file = plan.file(slot).unwrap();
        let body = Bytes::from("{}\n".repeat(usize::try_from(resources).unwrap()));
        let sum = Sum::of(staging.algorithm(), &body);
        let resources = BTreeMap::from([("Patient".to_owned(), resources)]);
        let done = DoneRecord::new(&plan.export(), resources, BTreeMap::new());
        let upload = staging.upload(&file.key, &file.part_key);
        upload.put(body, sum, done).await.unwrap();
    }

    async fn is_done(staging: &Staging, plan: &Plan, slot: u32) -> bool {
        let file = plan.file(slot).unwrap();
        let state = staging.state(&file.key, &file.part_key, Hint::Unknown);
        matches!(state.await.unwrap(), FileState::Done(_))
    }

    #[tokio::test]
    async fn what_the_complete_manifest_has_otherwise_is_removed_and_the_rest_stays() {
        let ahead = plan("t", &output("http://h/1", &json!(3)));
        for (time, second, stay, own) in [
            ("t", output("http://h/1", &json!(3)), [true, true], 0),
            ("t", output("http://h/1", &Value::Null), [true, true], 0),
            ("t", output("http://h/1", &json!(4)), [true, false], 1),
            ("t", output("http://h/other", &json!(3)), [true, false], 0),
            ("later", output("http://h/1", &json!(3)), [false, false], 3),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let place = Place::Folder(folder.path().to_owned());
            let staging = Staging::open(&place, Options::default()).await.unwrap();
            note(&staging, RUN, &ahead).await.unwrap();
            for slot in 0..3 {
                stage(&staging, &ahead, slot, 3).await;
            }
            let complete = plan(time, &second);
            let removed = settle(&staging, RUN, &complete).await.unwrap();
            assert_eq!(removed, own, "{time} {second}");
            let there = [0, 1].map(|slot| ahead.file(slot).unwrap());
            for (file, stays) in there.iter().zip(stay) {
                for key in [&file.key, &file.part_key] {
                    let there = staging.head(key).await.unwrap().is_some();
                    assert_eq!(there, stays, "{time} {second} {key}");
                }
            }
            let early = RunRecord::load(&staging, RUN).await.unwrap().early;
            assert!(early.unwrap().settled);
        }
    }

    #[tokio::test]
    async fn what_was_fetched_anew_is_not_removed_by_whoever_settles_later() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::Folder(folder.path().to_owned());
        let staging = Staging::open(&place, Options::default()).await.unwrap();
        let ahead = plan("t", &output("http://h/1", &json!(3)));
        note(&staging, RUN, &ahead).await.unwrap();
        stage(&staging, &ahead, 1, 3).await;
        let complete = plan("t", &output("http://h/1", &json!(4)));
        assert_eq!(settle(&staging, RUN, &complete).await.unwrap(), 1);
        stage(&staging, &complete, 1, 4).await;
        // Another process notes what it is about to stage, and its note and the old one are looked at once more.
        note(&staging, RUN, &ahead).await.unwrap();
        assert_eq!(settle(&staging, RUN, &complete).await.unwrap(), 0);
        assert!(is_done(&staging, &complete, 1).await);
    }
}
