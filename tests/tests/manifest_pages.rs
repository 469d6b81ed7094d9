//! A manifest that comes in pages: all of them are read before anything is staged, and staged as one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pathling_import_core::config::Step;
use pathling_import_tests::check::{
    assert_arrived, assert_import_never_asked, assert_no_token_leaks,
};
use pathling_import_tests::staged::assert_staged;
use pathling_import_tests::{Story, Transferring, pathling_import};
use sandbox::{Builder, Dataset, Fault, Sandbox, Switch};
use serde_json::json;

/// Seven files, two on each page.
fn paged() -> Builder {
    Sandbox::builder()
        .data(Dataset::of(&[("Condition", 4), ("Patient", 3)]))
        .resources_per_file(1)
        .page_size(2)
}

#[tokio::test]
async fn all_pages_are_staged_and_imported() {
    let sandbox = paged().start().await.unwrap();
    let _ = pathling_import(&sandbox).run().await.expect_code(0);
    assert_staged(&sandbox);
    assert_arrived(&sandbox);
    assert_no_token_leaks(&sandbox);
}

#[tokio::test]
async fn the_function_gives_one_manifest_without_links() {
    let sandbox = paged().start().await.unwrap();
    let event = Story::of(&sandbox).until(Step::TransferToS3).await.unwrap();
    let manifest = &event["result"];
    assert_eq!(manifest["output"].as_array().unwrap().len(), 7);
    assert_eq!(manifest["deleted"], json!([]));
    assert_eq!(manifest.get("link"), None);
}

#[tokio::test]
async fn a_page_that_is_not_ready_means_that_the_export_goes_on() {
    let sandbox = paged().start().await.unwrap();
    let pending = Switch {
        fault: Fault::PageNotReady,
        times: Some(3),
    };
    sandbox.faults().switch(pending);
    let mut story = Story::of(&sandbox);
    let started = story.until(Step::CheckExportStatus).await.unwrap();
    let answer = story.call(Step::CheckExportStatus, &started).await;
    assert_eq!(answer.unwrap_err().error_type, "JobInProgressError");
    let _ = pathling_import(&sandbox).run().await.expect_code(0);
    assert_arrived(&sandbox);
}

#[tokio::test]
async fn pages_in_a_circle_and_pages_of_two_exports_end_the_run_before_anything_is_imported() {
    for (fault, says) in [
        (Fault::PagesInCircle, "lead in a circle"),
        (Fault::PagesDiffer, "different exports"),
    ] {
        let sandbox = paged().fault(fault).start().await.unwrap();
        let finished = pathling_import(&sandbox).run().await.expect_code(1);
        assert!(
            finished.stderr.contains("ManifestError"),
            "{}",
            finished.stderr
        );
        assert!(finished.stderr.contains(says), "{}", finished.stderr);
        assert_import_never_asked(&sandbox);
    }
}

#[tokio::test]
async fn links_that_expired_are_had_anew_from_all_pages() {
    let mut transfer = Transferring::of(paged().signed_links(true), &[]).await;
    transfer.sandbox.expire_links(403);
    transfer.succeed().await;
    assert_staged(&transfer.sandbox);
}

#[tokio::test]
async fn one_page_alone_is_not_taken_for_the_whole() {
    let mut transfer = Transferring::of(paged(), &[]).await;
    transfer.event_mut()["result"]["link"] = json!([{"relation": "next", "url": "/page/2"}]);
    let words = ["one page of several", "check-export-status"];
    transfer.fail("InputError", &words).await;
}
