//! What a source tells of a manifest before it is complete is staged while the export goes on, by the command.
//!
//! A file's name follows from its place in the manifest and its URL, which the specification does not let change. So the
//! transfer of the complete manifest finds what is staged by then under its own names. Servers may break that. So before
//! anything is staged it is noted in the run's folder, and what the complete manifest names otherwise is removed before
//! its transfer begins ([`settle`]). Whatever goes wrong here is left to that transfer.

use std::sync::Arc;

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard, watch};

use super::transferring::{by, refuse};
use super::{Context, Deadline};
use crate::audit::Item;
use crate::error::{Kind, Result};
use crate::export::Partial;
use crate::manifest::Manifest;
use crate::progress::{Event, Observer};
use crate::staging::Staging;
use crate::staging::layout::{self, Role};
use crate::sync::{RunRecord, StagedEarly};
use crate::transfer::{Brought, Listing, Plan, Transfer, remove_left_over};

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
    };
    let transferring = context.audit().beside(staging, transfer.run(&plan));
    transferring.await.map(Some)
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
        text.add(format!("{}\n", json!([plan.export()])).as_bytes())
            .await?;
        for slot in plan.order() {
            let file = plan.file(slot)?;
            text.add(format!("{}\n", json!([slot, file.key, file.count])).as_bytes())
                .await?;
        }
        // One that is there already was left by a process that ended before it wrote that down, or is another's.
        if !text.finish().await? {
            continue;
        }
        RunRecord::update(staging, run, |record| {
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
/// import would read it, or its record would be believed of another file.
pub(super) async fn settle(staging: &Staging, record: &RunRecord, plan: &Plan) -> Result<()> {
    let run = record.run.as_str();
    let Some(early) = record.early.as_ref().filter(|early| !early.settled) else {
        return Ok(());
    };
    let (names, export) = (plan.names(), plan.export());
    let mut removed = 0_usize;
    for number in 0..early.notes {
        let Some(mut chunks) = staging.read_stream(&layout::early_key(run, number)).await? else {
            continue;
        };
        let mut of_this_export = false;
        let mut rest = Vec::new();
        loop {
            let chunk = chunks.next().await.transpose()?;
            rest.extend_from_slice(chunk.as_deref().unwrap_or(b"\n"));
            let whole = rest.iter().rposition(|byte| *byte == b'\n');
            let lines: Vec<u8> = rest.drain(..whole.map_or(0, |at| at + 1)).collect();
            for line in lines.split(|byte| *byte == b'\n') {
                match Noted::read(line) {
                    Some(Noted::Export(of)) => of_this_export = of == export,
                    Some(Noted::File(index, key, count))
                        if layout::role_of(run, &key) == Role::File(index)
                            && !(of_this_export
                                && names(index, &key)
                                && same_count(plan, index, count)) =>
                    {
                        remove_left_over(staging, &key).await?;
                        remove_left_over(staging, &layout::part_key(run, index)).await?;
                        removed += 1;
                    }
                    _ => {}
                }
            }
            if chunk.is_none() {
                break;
            }
        }
    }
    if removed > 0 {
        tracing::warn!(
            run,
            files = removed,
            "the complete manifest names files otherwise than before it was complete; what was staged of them is removed"
        );
    }
    RunRecord::update(staging, run, |record| {
        let settled = record.early.as_mut().filter(|early| !early.settled);
        settled.map(|early| early.settled = true).is_some()
    })
    .await?;
    Ok(())
}

/// Whether the complete manifest promises no other number of resources than the one before.
fn same_count(plan: &Plan, index: usize, count: Option<u64>) -> bool {
    let slot = u32::try_from(index).ok();
    let file = slot.and_then(|slot| plan.file(slot).ok());
    file.is_none_or(|file| file.count.is_none() || file.count == count)
}

/// A line of a note.
enum Noted {
    /// Of which export the files below it are.
    Export(String),
    /// The index and the key of a file, and how many resources it was to hold.
    File(usize, String, Option<u64>),
}

impl Noted {
    fn read(line: &[u8]) -> Option<Self> {
        let line: Vec<Value> = serde_json::from_slice(line).ok()?;
        match line.as_slice() {
            [export] => Some(Self::Export(export.as_str()?.to_owned())),
            [index, key, count] => {
                let index = usize::try_from(index.as_u64()?).ok()?;
                Some(Self::File(index, key.as_str()?.to_owned(), count.as_u64()))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::config::Place;
    use crate::manifest::Manifest;
    use crate::staging::Options;

    const RUN: &str = "0123456789abcdef";

    fn plan(second: &Value) -> Plan {
        let output = json!([
            {"type": "Patient", "url": "http://h/0", "count": 3},
            second,
            {"type": "Patient", "url": "http://h/2"},
        ]);
        let manifest = json!({"transactionTime": "t", "output": output});
        Plan::new(RUN, Arc::new(Manifest::read(&manifest, None).unwrap())).unwrap()
    }

    #[tokio::test]
    async fn what_the_complete_manifest_has_otherwise_is_removed_and_the_rest_stays() {
        let file = |url: &str, count: Value| json!({"type": "Patient", "url": url, "count": count});
        let ahead = plan(&file("http://h/1", json!(3)));
        for (second, stays) in [
            (file("http://h/1", json!(3)), true),
            (file("http://h/1", Value::Null), true),
            (file("http://h/1", json!(4)), false),
            (file("http://h/other", json!(3)), false),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let place = Place::Folder(folder.path().to_owned());
            let staging = Staging::open(&place, Options::default()).await.unwrap();
            note(&staging, RUN, &ahead).await.unwrap();
            for slot in 0..3 {
                let file = ahead.file(slot).unwrap();
                for key in [&file.key, &file.part_key] {
                    let mut text = staging.write(key, layout::NDJSON);
                    text.add(b"{}\n").await.unwrap();
                    assert!(text.finish().await.unwrap());
                }
            }
            let record = RunRecord::load(&staging, RUN).await.unwrap();
            settle(&staging, &record, &plan(&second)).await.unwrap();
            for slot in 0..3 {
                let file = ahead.file(slot).unwrap();
                for key in [&file.key, &file.part_key] {
                    let there = staging.head(key).await.unwrap().is_some();
                    assert_eq!(there, stays || slot != 1, "{second} {key}");
                }
            }
            let record = RunRecord::load(&staging, RUN).await.unwrap();
            assert!(record.early.unwrap().settled);
        }
    }
}
