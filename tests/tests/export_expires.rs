//! Until when the source has an export's files (`Expires`): kept, said, heeded, and never in the way of a run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use pathling_import_core::clock::Clock;
use pathling_import_tests::check::{
    assert_arrived, assert_import_never_asked, assert_nothing_half_staged,
};
use pathling_import_tests::moment::{until, until_asked};
use pathling_import_tests::{Records as _, pathling_import};
use sandbox::{Builder, Dataset, Fault, Place, Sandbox};
use serde_json::Value;

const FILES: usize = 6;

fn hospital(expires: &str) -> Builder {
    Sandbox::builder()
        .data(Dataset::of(&[("Condition", 12), ("Patient", 12)]))
        .resources_per_file(4)
        .fault(Fault::ManifestExpires(expires.to_owned()))
}

fn records(sandbox: &Sandbox) -> Vec<Value> {
    let keys = sandbox.s3_objects().into_iter().map(|(key, _)| key);
    keys.filter(|key| key.ends_with("/_run.json"))
        .map(|key| serde_json::from_slice(&sandbox.s3_object(&key).unwrap()).unwrap())
        .collect()
}

/// Waits until the newest manifest's time is over.
async fn expired(sandbox: &Sandbox) {
    let over = || {
        let records = records(sandbox);
        let expires = records
            .iter()
            .find_map(|it| it["manifest"]["expires"].as_str());
        expires.is_some_and(|at| at < Clock::default().moment().as_str())
    };
    until("the export expired", over).await;
}

#[tokio::test]
async fn an_expiry_that_is_none_or_over_as_it_comes_changes_nothing() {
    for text in [
        "0",
        "-1",
        "soon",
        "-60",
        "-999999999",
        "Sun, 99 Nov 1994 08:49:37 GMT",
    ] {
        let sandbox = hospital(text).start().await.unwrap();
        let finished = pathling_import(&sandbox).run().await.expect_code(0);
        assert!(
            !finished.stderr.contains("expire"),
            "{text}: {}",
            finished.stderr
        );
        assert_eq!(
            records(&sandbox)[0]["manifest"].get("expires"),
            None,
            "{text}"
        );
        assert_arrived(&sandbox);
    }
}

#[tokio::test]
async fn an_expiry_is_kept_with_the_run_and_a_near_one_is_said() {
    for (text, near) in [("+86400", false), ("+600", true)] {
        let sandbox = hospital(text).start().await.unwrap();
        let finished = pathling_import(&sandbox).run().await.expect_code(0);
        let said = finished.stderr.contains("the export expires soon");
        assert_eq!(said, near, "{text}: {}", finished.stderr);
        let expires = records(&sandbox)[0]["manifest"]["expires"].clone();
        assert!(expires.as_str().unwrap() > Clock::default().moment().as_str());
        assert_arrived(&sandbox);
    }
}

#[tokio::test]
async fn a_run_whose_export_expired_before_all_was_staged_is_begun_anew() {
    let builder = hospital("+2").fault(Fault::Hang(Place::File));
    let sandbox = builder.start().await.unwrap();
    let run = pathling_import(&sandbox).spawn();
    until_asked(&sandbox, 1, |it| it.path.contains("/files/")).await;
    run.kill().await;
    expired(&sandbox).await;
    sandbox.faults().clear();
    sandbox.clear_requests();
    let finished = pathling_import(&sandbox).run().await.expect_code(0);
    assert!(
        finished.stderr.contains("a new run begins"),
        "{}",
        finished.stderr
    );
    assert!(!finished.stderr.contains("going on"), "{}", finished.stderr);
    assert_eq!(sandbox.export_kick_offs().len(), 1);
    let files = sandbox.file_requests();
    assert_eq!(files.len(), FILES, "none of the old export's");
    assert!(files.iter().all(|file| file.status == Some(200)));
    assert_arrived(&sandbox);
    let left = records(&sandbox);
    let left = left.iter().find(|it| it["run"] != finished.run()).unwrap();
    assert_eq!(left["outcome"]["name"], "TransferError");
    let why = left["outcome"]["message"].as_str().unwrap();
    assert!(why.contains("the export expired at 20"), "{why}");
}

#[tokio::test]
async fn a_run_of_which_all_is_staged_goes_on_after_its_export_expired() {
    let builder = hospital("+3").fault(Fault::Hang(Place::ImportKickOff));
    let sandbox = builder.start().await.unwrap();
    let run = pathling_import(&sandbox).spawn();
    until_asked(&sandbox, 1, |it| it.path.ends_with("$import")).await;
    run.kill().await;
    expired(&sandbox).await;
    sandbox.faults().clear();
    let finished = pathling_import(&sandbox).run().await.expect_code(0);
    let said = "going on with the unfinished run ";
    assert!(finished.stderr.starts_with(said), "{}", finished.stderr);
    assert!(!finished.stderr.contains("expired"), "{}", finished.stderr);
    assert_eq!(sandbox.export_kick_offs().len(), 1);
    assert_arrived(&sandbox);
}

#[tokio::test]
async fn files_that_are_gone_after_their_time_are_asked_for_once_and_it_is_said_why() {
    // Every file is answered when its time is over.
    let builder = hospital("+1").fault(Fault::Delay(Place::File, 2500));
    let sandbox = builder.start().await.unwrap();
    let run = pathling_import(&sandbox).patience(Duration::from_mins(1));
    let words = [
        "the export expired at 20",
        "as the source had said",
        "answered 404",
        "Start a new export",
    ];
    run.run().await.expect_error("TransferError", &words);
    assert!(
        sandbox.file_requests().len() <= FILES,
        "none is asked for twice"
    );
    assert_import_never_asked(&sandbox);
    assert_nothing_half_staged(&sandbox);
    assert_eq!(records(&sandbox)[0]["outcome"]["name"], "TransferError");
}

#[tokio::test]
async fn files_that_are_gone_before_their_time_are_said_to_be_so() {
    let builder = hospital("+86400").fault(Fault::Answers(Place::File, 404.into()));
    let sandbox = builder.start().await.unwrap();
    let run = pathling_import(&sandbox).env("TRANSFER_RETRY_TIMES", "0");
    let words = [
        "the source had said that the export's files are there until 20",
        "404",
    ];
    run.run().await.expect_error("TransferError", &words);
}
