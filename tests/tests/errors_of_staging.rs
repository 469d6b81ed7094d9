//! What staging may refuse, and what it may not: S3 with the smallest policy, a bucket that is not there, a folder that
//! cannot be written or has no room.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use pathling_import_core::config::Step::{self, FhirExport, TransferToS3};
use pathling_import_tests::check::{
    assert_arrived, assert_folder_whole, assert_import_never_asked, assert_no_token_leaks,
    assert_nothing_half_staged,
};
use pathling_import_tests::{Case, Failed, Records as _, Story, prove};
use sandbox::{Dataset, Fault, S3Policy, Sandbox, Service};
use serde_json::Value;

/// The whole job twice over one export: the second time everything is there.
async fn works_twice(sandbox: &Sandbox) {
    let mut story = Story::of(sandbox);
    let told = story.tell().await.unwrap();
    let fetched = sandbox.file_requests().len();
    story.restart().await;
    story.tell_from(told.export).await.unwrap();
    assert_eq!(sandbox.file_requests().len(), fetched, "fetched again");
    assert_arrived(sandbox);
    assert_no_token_leaks(sandbox);
    assert_nothing_half_staged(sandbox);
}

#[tokio::test]
async fn get_object_and_put_object_are_all_that_s3_has_to_allow() {
    let policy = S3Policy::allow("pathling/", &["s3:GetObject", "s3:PutObject"]);
    let sandbox = Sandbox::builder()
        .data(Dataset::synthetic(6))
        .resources_per_file(4)
        .s3_policy(policy)
        .start()
        .await
        .unwrap();
    works_twice(&sandbox).await;
    let refused = sandbox.requests();
    let refused = refused
        .iter()
        .filter(|request| request.service == Service::S3 && request.status == Some(403));
    for request in refused {
        assert!(
            matches!(request.method.as_str(), "GET" | "HEAD"),
            "nothing is refused but the look at what is not there: {request:?}"
        );
    }
}

#[tokio::test]
async fn an_s3_that_lists_nothing_is_good_enough() {
    let sandbox = Sandbox::builder()
        .data(Dataset::synthetic(3))
        .fault(Fault::S3RefusesList)
        .start()
        .await
        .unwrap();
    works_twice(&sandbox).await;
}

#[tokio::test]
async fn an_s3_that_refuses_head_still_gets_the_job_done() {
    let sandbox = Sandbox::builder()
        .data(Dataset::synthetic(3))
        .fault(Fault::S3RefusesHead)
        .start()
        .await
        .unwrap();
    Story::of(&sandbox).tell().await.unwrap();
    assert_arrived(&sandbox);
    assert_nothing_half_staged(&sandbox);
}

#[tokio::test]
async fn an_s3_that_fails_for_a_moment_is_asked_again() {
    for fault in [Fault::S3SlowDown, Fault::S3InternalError] {
        let data = Dataset::synthetic(3);
        let sandbox = Sandbox::builder().data(data).start().await.unwrap();
        sandbox.faults().once(fault);
        Story::of(&sandbox).tell().await.unwrap();
        assert_arrived(&sandbox);
    }
}

#[tokio::test]
async fn an_s3_that_refuses_is_denied_and_one_that_is_ill_is_unavailable() {
    let case = |fault, error| {
        Case::of(format!("{fault}"), FhirExport, error)
            .sandbox(|sandbox| sandbox.fault(fault))
            .says(&["{staging}/"])
    };
    prove([
        case(Fault::S3RefusesEverything, "StagingDeniedError").says(&["s3:PutObject"]),
        case(Fault::S3InternalError, "StagingUnavailableError"),
        case(Fault::S3SlowDown, "StagingUnavailableError"),
    ])
    .await;
}

#[tokio::test]
async fn a_bucket_that_does_not_exist_is_denied_by_name_before_or_at_the_transfer() {
    prove([Case::of("state", FhirExport, "StagingDeniedError")
        .env("STAGING_URL", "s3://no-such-bucket/x")
        .says(&["s3://no-such-bucket", "bucket", "STAGING_URL"])])
    .await;
    let sandbox = Sandbox::builder().start().await.unwrap();
    let mut story = Story::of(&sandbox);
    for step in [FhirExport, Step::CheckExportStatus] {
        story = story.lacking(step, "STAGING_URL");
    }
    let mut story = story.only(TransferToS3, "STAGING_URL", "s3://no-such-bucket/x");
    denied(
        &sandbox,
        &story.tell().await.unwrap_err(),
        "s3://no-such-bucket",
    );
    assert_eq!(sandbox.file_requests(), [], "before a file is asked for");
}

#[tokio::test]
async fn a_wrong_key_of_s3_is_denied() {
    prove([
        Case::of("secret key", FhirExport, "StagingDeniedError")
            .env("AWS_SECRET_ACCESS_KEY", "another/secret")
            .says(&["{staging}/"]),
        Case::of("key id", FhirExport, "StagingDeniedError")
            .env("AWS_ACCESS_KEY_ID", "AKIAANOTHER")
            .says(&["{staging}/"]),
    ])
    .await;
}

fn denied(sandbox: &Sandbox, failed: &Failed, place: &str) {
    assert_eq!(failed.error_type, "StagingDeniedError", "{failed:?}");
    assert!(failed.error_message.contains(place), "{failed:?}");
    assert_import_never_asked(sandbox);
    assert_no_token_leaks(sandbox);
}

fn url(folder: &Path) -> String {
    format!("file://{}", folder.display())
}

#[tokio::test]
async fn a_folder_that_may_only_be_read_is_denied_by_name() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let closed = folder.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o555)).unwrap();
    let mut story = Story::of(&sandbox).with("STAGING_URL", url(&closed));
    if std::fs::create_dir(closed.join("x")).is_ok() {
        // Permissions mean nothing to root, as long as it has its capabilities.
        std::fs::remove_dir(closed.join("x")).unwrap();
        story = story.through(
            FhirExport,
            &["/usr/bin/setpriv", "--bounding-set=-all", "--inh-caps=-all"],
        );
    }
    let failed = story.tell().await.unwrap_err();
    assert_eq!(failed.step, FhirExport);
    denied(&sandbox, &failed, &url(&closed));
    assert_eq!(
        sandbox.export_kick_offs(),
        [],
        "before a job runs at the source"
    );
    assert_eq!(std::fs::read_dir(&closed).unwrap().count(), 0);
}

#[tokio::test]
async fn a_folder_that_is_a_file_is_denied_by_name() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let mut story = Story::of(&sandbox).with("STAGING_URL", url(&file));
    let failed = story.tell().await.unwrap_err();
    denied(&sandbox, &failed, &url(&file));
    assert_eq!(std::fs::read(&file).unwrap(), b"x");
}

#[tokio::test]
async fn a_folder_without_room_is_denied_by_name_and_holds_only_whole_files() {
    let data = Dataset::of(&[("Condition", 3)]).and(Dataset::padded("Patient", 4, 400_000));
    let sandbox = Sandbox::builder()
        .data(data)
        .resources_per_file(4)
        .start()
        .await
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // No file of this process may grow beyond half a megabyte or one, which is how a quota shows; a full disk has the same
    // branch.
    let limited = "trap '' XFSZ; ulimit -f 1000; exec \"$0\"";
    let mut story = Story::of(&sandbox)
        .with("STAGING_URL", url(folder))
        .through(TransferToS3, &["/bin/sh", "-c", limited]);
    let event = story.until(TransferToS3).await.unwrap();
    let failed = story.call(TransferToS3, &event).await.unwrap_err();
    denied(&sandbox, &failed, &url(folder));
    assert!(failed.error_message.contains("ulimit -f"), "{failed:?}");
    assert_folder_whole(folder);
    // With room, the next call goes on.
    let mut story = Story::of(&sandbox).with("STAGING_URL", url(folder));
    let staged = story.call(TransferToS3, &event).await.unwrap();
    let import = story.call(Step::PathlingImport, &staged).await.unwrap();
    story
        .finish(Step::CheckImportStatus, &import)
        .await
        .unwrap();
    assert_arrived(&sandbox);
    assert_folder_whole(folder);
}

#[tokio::test]
async fn a_run_whose_record_is_gone_when_its_import_ends_gets_one_that_says_so() {
    let sandbox = Sandbox::builder()
        .data(Dataset::synthetic(1))
        .start()
        .await
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut story = Story::of(&sandbox).with("STAGING_URL", url(folder));
    let import = story.until(Step::CheckImportStatus).await.unwrap();
    let run = import["run"].as_str().unwrap();
    let record = folder.join(format!("runs/{run}/_run.json"));
    std::fs::remove_file(&record).unwrap();
    story
        .finish(Step::CheckImportStatus, &import)
        .await
        .unwrap();
    let written: Value = serde_json::from_slice(&std::fs::read(&record).unwrap()).unwrap();
    assert_eq!(written["outcome"]["name"], "imported");
    assert_arrived(&sandbox);
}
