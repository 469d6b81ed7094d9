//! `ALLOW_PARTIAL_MANIFESTS`: what a source has ready is staged while its export goes on, and nothing of that shows in what
//! is staged in the end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;

use pathling_import_core::config::Step;
use pathling_import_tests::check::{assert_arrived, assert_folder_whole, assert_no_token_leaks};
use pathling_import_tests::moment::{until, until_asked};
use pathling_import_tests::staged::{assert_staged, assert_staged_in};
use pathling_import_tests::{CommandRun, Finished, Records as _, Story, pathling_import};
use sandbox::{Builder, Dataset, Fault, Place, Recorded, Sandbox, Service, Switch};
use serde_json::Value;

/// Seven files, two on each page, of which each poll tells one more. The export goes on until it is told to end.
fn in_pieces() -> Builder {
    Sandbox::builder()
        .data(Dataset::of(&[("Condition", 4), ("Patient", 3)]))
        .resources_per_file(1)
        .page_size(2)
        .polls(100_000)
        .fault(Fault::PartialManifests)
}

/// The command, allowing pieces, that polls as fast as it may and as often as it has to.
fn allowing(sandbox: &Sandbox) -> CommandRun {
    pathling_import(sandbox)
        .env("ALLOW_PARTIAL_MANIFESTS", "true")
        .env("EXPORT_RETRY_TIMES", "100000")
}

/// Runs the command to its end, and has the export be complete once so many files were answered.
async fn complete_after(files: usize, sandbox: &Sandbox, run: CommandRun) -> Finished {
    let run = run.spawn();
    until_asked(sandbox, files, |it| is_file(it) && it.status == Some(200)).await;
    sandbox.complete_exports();
    run.wait().await.expect_code(0)
}

fn is_file(request: &Recorded) -> bool {
    request.path.contains("/files/")
}

fn is_poll(request: &Recorded) -> bool {
    request.service == Service::Source
        && request.path.contains("/jobs/")
        && !request.path.contains("/files/")
        && request.parameter("page").is_none()
        && request.method == "GET"
}

/// The names of the files that were asked for before the export was said to be complete.
fn asked_early(sandbox: &Sandbox) -> BTreeSet<String> {
    let requests = sandbox.requests();
    let complete = requests
        .iter()
        .position(|it| is_poll(it) && it.status == Some(200))
        .expect("the export is complete");
    let early = requests[..complete].iter();
    early
        .filter(|it| is_file(it))
        .map(|it| it.path.clone())
        .collect()
}

/// Everything arrived, once, and no file was asked for twice.
fn assert_whole(sandbox: &Sandbox) {
    assert_staged(sandbox);
    assert_arrived(sandbox);
    assert_no_token_leaks(sandbox);
    let asked: Vec<String> = sandbox
        .file_requests()
        .into_iter()
        .map(|it| it.path)
        .collect();
    let different: BTreeSet<&String> = asked.iter().collect();
    assert_eq!(different.len(), asked.len(), "{asked:?}");
}

#[tokio::test]
async fn files_are_staged_while_the_export_goes_on_and_none_is_fetched_twice() {
    let sandbox = in_pieces().start().await.unwrap();
    let finished = complete_after(4, &sandbox, allowing(&sandbox)).await;
    let early = asked_early(&sandbox);
    assert!(early.len() >= 4, "{early:?}");
    let said = "staged while the export goes on: ";
    assert!(finished.stderr.contains(said), "{}", finished.stderr);
    assert_whole(&sandbox);
    let kick_off = &sandbox.export_kick_offs()[0];
    let sent = kick_off.parameter("allowPartialManifests");
    assert_eq!(sent.as_deref(), Some("true"));
}

#[tokio::test]
async fn of_pages_that_are_known_only_the_last_is_asked_for_again() {
    let sandbox = in_pieces().start().await.unwrap();
    complete_after(7, &sandbox, allowing(&sandbox)).await;
    let requests = sandbox.requests();
    let complete = requests
        .iter()
        .position(|it| is_poll(it) && it.status == Some(200));
    let page_2 = requests[..complete.unwrap()]
        .iter()
        .filter(|it| it.parameter("page").as_deref() == Some("2"));
    // When it was linked, and when it had a link of its own.
    assert_eq!(page_2.count(), 2);
}

#[tokio::test]
async fn a_separate_status_and_a_folder_make_no_difference() {
    let sandbox = in_pieces()
        .fault(Fault::SeparateStatus)
        .start()
        .await
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let run = allowing(&sandbox)
        .env("SEPARATE_EXPORT_STATUS", "true")
        .env("STAGING_URL", folder.path().to_str().unwrap());
    // The export goes on for as long as not all of them are asked for.
    complete_after(7, &sandbox, run).await;
    assert_eq!(sandbox.file_requests().len(), 7);
    assert_staged_in(&sandbox, folder.path());
    assert_arrived(&sandbox);
}

#[tokio::test]
async fn what_the_complete_manifest_contradicts_is_removed_and_staged_as_it_says() {
    let sandbox = in_pieces()
        .fault(Fault::PartialManifestsContradicted)
        .start()
        .await
        .unwrap();
    let finished = complete_after(5, &sandbox, allowing(&sandbox)).await;
    let fewer = "the complete manifest names fewer files of errors than the source told of";
    assert!(finished.stderr.contains(fewer), "{}", finished.stderr);
    let drafts = sandbox
        .file_requests()
        .into_iter()
        .filter(|it| it.parameter("draft").is_some());
    assert_eq!(drafts.count(), 1);
    assert_staged(&sandbox);
    assert_arrived(&sandbox);
    let objects = sandbox.s3_objects();
    let record = objects
        .iter()
        .find(|(key, _)| key.ends_with("/_run.json"))
        .unwrap();
    let record: Value = serde_json::from_slice(&sandbox.s3_object(&record.0).unwrap()).unwrap();
    assert_eq!(record["early"]["settled"], true, "{record}");
}

#[tokio::test]
async fn the_same_in_a_folder_where_records_lie_apart_from_their_files() {
    let sandbox = in_pieces()
        .fault(Fault::PartialManifestsContradicted)
        .start()
        .await
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let run = allowing(&sandbox).env("STAGING_URL", folder.path().to_str().unwrap());
    complete_after(5, &sandbox, run).await;
    assert_staged_in(&sandbox, folder.path());
    assert_arrived(&sandbox);
}

#[tokio::test]
async fn what_is_contradicted_and_may_not_be_listed_is_removed_all_the_same() {
    let sandbox = in_pieces()
        .fault(Fault::PartialManifestsContradicted)
        .fault(Fault::S3RefusesList)
        .start()
        .await
        .unwrap();
    complete_after(5, &sandbox, allowing(&sandbox)).await;
    assert_staged(&sandbox);
    assert_arrived(&sandbox);
}

#[tokio::test]
async fn killed_while_the_export_goes_on_it_fetches_nothing_twice() {
    for fault in [Fault::PartialManifests, Fault::PartialManifestsContradicted] {
        let sandbox = in_pieces().fault(fault.clone()).start().await.unwrap();
        // Nobody waits as long as that.
        let run = allowing(&sandbox).env("EXPORT_RETRY_WAIT", "600").spawn();
        until_asked(&sandbox, 1, |it| is_poll(it) && it.status == Some(202)).await;
        until("two files are staged", || {
            let objects = sandbox.s3_objects().into_iter();
            objects.filter(|(key, _)| key.ends_with(".ndjson")).count() >= 2
        })
        .await;
        run.kill().await;
        let before = sandbox.file_requests().len();
        assert!(before >= 2);
        let finished = complete_after(before + 1, &sandbox, allowing(&sandbox)).await;
        let said = "going on with the unfinished run ";
        assert!(finished.stderr.starts_with(said), "{}", finished.stderr);
        assert_eq!(sandbox.export_kick_offs().len(), 1);
        if fault == Fault::PartialManifests {
            assert_whole(&sandbox);
        }
        assert_staged(&sandbox);
        assert_arrived(&sandbox);
        assert_folder_whole(&sandbox.bucket());
    }
}

#[tokio::test]
async fn a_source_that_ignores_the_parameter_or_tells_nothing_is_none_the_worse() {
    let quiet = || Sandbox::builder().data(Dataset::synthetic(3)).polls(3);
    for builder in [quiet(), quiet().fault(Fault::StatusBodyNotJson)] {
        let sandbox = builder.start().await.unwrap();
        let _ = allowing(&sandbox).run().await.expect_code(0);
        assert!(asked_early(&sandbox).is_empty());
        assert_whole(&sandbox);
    }
}

#[tokio::test]
async fn a_source_that_is_known_not_to_know_the_parameter_is_not_asked_and_that_is_said() {
    let names = Fault::MetadataNames("_since,_type".to_owned());
    let sandbox = in_pieces()
        .fault(names)
        .fault(Fault::KickOffLacks("allowPartialManifests".to_owned()))
        .polls(3)
        .start()
        .await
        .unwrap();
    let finished = allowing(&sandbox).run().await.expect_code(0);
    let said = "it is not asked for that (ALLOW_PARTIAL_MANIFESTS)";
    assert!(finished.stderr.contains(said), "{}", finished.stderr);
    assert!(finished.stderr.contains("allowPartialManifests"));
    let kick_off = &sandbox.export_kick_offs()[0];
    assert_eq!(kick_off.parameter("allowPartialManifests"), None);
    assert!(asked_early(&sandbox).is_empty());
    assert_whole(&sandbox);
}

#[tokio::test]
async fn a_file_that_is_not_to_be_had_early_is_staged_with_the_others() {
    let sandbox = in_pieces().start().await.unwrap();
    sandbox.faults().switch(Switch {
        fault: Fault::answers(Place::File, 404),
        times: Some(3),
    });
    let run = allowing(&sandbox).spawn();
    until_asked(&sandbox, 3, |it| is_file(it) && it.status == Some(404)).await;
    sandbox.complete_exports();
    let _ = run.wait().await.expect_code(0);
    assert_staged(&sandbox);
    assert_arrived(&sandbox);
}

#[tokio::test]
async fn without_the_setting_nothing_is_asked_for_and_nothing_staged_early() {
    let sandbox = in_pieces().polls(3).start().await.unwrap();
    let _ = pathling_import(&sandbox).run().await.expect_code(0);
    let kick_off = &sandbox.export_kick_offs()[0];
    assert_eq!(kick_off.parameter("allowPartialManifests"), None);
    assert!(asked_early(&sandbox).is_empty());
    assert_whole(&sandbox);
}

#[tokio::test]
async fn by_post_it_is_a_boolean() {
    let sandbox = in_pieces().fault(Fault::KickOffStu4).start().await.unwrap();
    complete_after(4, &sandbox, allowing(&sandbox)).await;
    assert_whole(&sandbox);
}

#[tokio::test]
async fn the_functions_wait_for_the_complete_manifest() {
    let sandbox = in_pieces().polls(4).start().await.unwrap();
    let mut story = Story::of(&sandbox).with("ALLOW_PARTIAL_MANIFESTS", "true");
    let complete = story.until(Step::TransferToS3).await.unwrap();
    assert_eq!(complete["result"]["output"].as_array().unwrap().len(), 7);
    assert_eq!(story.in_progress().len(), 4);
    assert!(sandbox.file_requests().is_empty());
    story.finish(Step::TransferToS3, &complete).await.unwrap();
    assert_staged(&sandbox);
}
