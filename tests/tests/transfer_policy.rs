//! What S3 may refuse: with leave to get and to put, the whole job works; and what lies in a run's folder that nobody named.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;

use pathling_import_core::config::Step;
use pathling_import_tests::check::{
    assert_arrived, assert_import_never_asked, assert_no_token_leaks, assert_nothing_half_staged,
};
use pathling_import_tests::staged::{assert_staged, staging_folder};
use pathling_import_tests::traffic::{Traffic as _, assert_appeared_once};
use pathling_import_tests::{Story, Transferring, pathling_import, side_by_side};
use sandbox::{Builder, Dataset, Fault, S3Policy, Sandbox, Service};

const SMALL_PARTS: (&str, &str) = ("TRANSFER_MEMORY", "20MiB");

/// A file of three parts and some small ones. The large one is data, so that what arrives can be compared.
fn files() -> Builder {
    let data = Dataset::padded("Patient", 12, 1 << 20).and(Dataset::of(&[("Condition", 9)]));
    Sandbox::builder().data(data)
}

/// The whole job, up to the import, twice over one export: the second time everything is there.
async fn works_twice(builder: Builder) -> Sandbox {
    let sandbox = builder.start().await.unwrap();
    let (name, value) = SMALL_PARTS;
    let mut story = Story::of(&sandbox).with(name, value);
    let told = story.tell().await.unwrap();
    assert_staged(&sandbox);
    assert_appeared_once(&sandbox);
    let fetched = sandbox.downloads().len();
    story.restart().await;
    story.tell_from(told.export).await.unwrap();
    assert_eq!(sandbox.downloads().len(), fetched, "fetched again");
    assert_arrived(&sandbox);
    assert_no_token_leaks(&sandbox);
    sandbox
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn get_object_and_put_object_are_all_that_is_needed_for_large_files_too() {
    let actions = ["s3:GetObject", "s3:PutObject"];
    let policy = S3Policy::allow("pathling/", &actions);
    let sandbox = works_twice(files().s3_policy(policy)).await;
    assert_nothing_half_staged(&sandbox);
    // What is refused is the look at what is not there, and the look whether more is there than should be.
    let requests = sandbox.requests();
    let of_s3 = requests.iter().filter(|it| it.service == Service::S3);
    let refused = of_s3.filter(|it| it.status == Some(403));
    for request in refused {
        let looks = matches!(request.method.as_str(), "GET" | "HEAD");
        assert!(looks, "{request:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_any_one_permission_beyond_those_the_job_works() {
    let refusals = [
        Fault::S3RefusesHead,
        Fault::S3RefusesList,
        Fault::S3RefusesListParts,
        Fault::S3RefusesAbort,
    ];
    side_by_side(2, refusals, |fault| async move {
        let sandbox = works_twice(files().fault(fault)).await;
        assert_nothing_half_staged(&sandbox);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_file_is_refused_as_such_although_its_upload_may_not_be_aborted() {
    let data = Dataset::padded("Patient", 21, 1 << 20);
    let builder = Sandbox::builder()
        .data(data)
        .fault(Fault::FileLineOtherType)
        .fault(Fault::S3RefusesAbort);
    let mut transfer = Transferring::of(builder, &[SMALL_PARTS]).await;
    transfer.fail("IntegrityError", &["a Basic"]).await;
    let tried = transfer.sandbox.to_s3("DELETE", "uploadId=");
    assert!(tried.iter().any(|it| it.status == Some(403)), "{tried:?}");
}

/// Lays an object beside the run's own files, in the folder of its patients.
fn lay(sandbox: &Sandbox, name: &str) -> PathBuf {
    let runs = staging_folder(sandbox).join("runs");
    let run = std::fs::read_dir(runs).unwrap().next().unwrap().unwrap();
    let folder = run.path().join("Patient");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    std::fs::write(&path, "{\"resourceType\":\"Patient\",\"id\":\"stale\"}\n").unwrap();
    path
}

const STALE: [&str; 3] = [
    "stale.ndjson",
    "00000-0123456789ab.ndjson",
    "99999-0123456789ab.ndjson",
];

fn small() -> Builder {
    Sandbox::builder().data(Dataset::of(&[("Patient", 3)]))
}

#[tokio::test]
async fn a_file_that_nobody_named_in_a_types_folder_is_an_error_before_the_import_that_names_it() {
    for name in STALE {
        let mut transfer = Transferring::of(small(), &[]).await;
        let stale = lay(&transfer.sandbox, name);
        let failed = transfer.finish().await.unwrap_err();
        let message = &failed.error_message;
        assert!(message.contains(&format!("/Patient/{name}")), "{failed:?}");
        assert!(
            message.contains("s3://staging/pathling/runs/"),
            "{failed:?}"
        );
        assert_ne!(failed.error_type, "JobInProgressError");
        assert_import_never_asked(&transfer.sandbox);
        std::fs::remove_file(stale).unwrap();
        transfer.succeed().await;
        assert_staged(&transfer.sandbox);
    }
}

#[tokio::test]
async fn in_a_folder_a_file_that_nobody_named_is_an_error_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let mut transfer = Transferring::of(small(), &[("STAGING_URL", path)]).await;
    let run = std::fs::read_dir(folder.path().join("runs"))
        .unwrap()
        .next();
    let patients = run.unwrap().unwrap().path().join("Patient");
    std::fs::create_dir_all(&patients).unwrap();
    let stale = patients.join("stale.ndjson");
    std::fs::write(&stale, "{}\n").unwrap();
    let failed = transfer.finish().await.unwrap_err();
    let message = &failed.error_message;
    assert!(message.contains("/Patient/stale.ndjson"), "{failed:?}");
    std::fs::remove_file(stale).unwrap();
    transfer.succeed().await;
}

#[tokio::test]
async fn what_is_ours_or_of_another_kind_in_a_run_is_no_stale_file() {
    let mut transfer = Transferring::of(small(), &[]).await;
    let beside = lay(&transfer.sandbox, "_SUCCESS");
    let run = beside.parent().unwrap().parent().unwrap();
    std::fs::create_dir_all(run.join("_errors")).unwrap();
    std::fs::write(run.join("_errors/00000-x.ndjson"), "{}\n").unwrap();
    transfer.succeed().await;
}

#[tokio::test]
async fn without_leave_to_list_that_look_is_left_out_with_one_warning() {
    for builder in [
        small().fault(Fault::S3RefusesList),
        small().s3_policy(S3Policy::get_and_put()),
    ] {
        let mut transfer = Transferring::of(builder, &[]).await;
        lay(&transfer.sandbox, "stale.ndjson");
        transfer.succeed().await;
        let logs = transfer.logs();
        assert_eq!(logs.matches("s3:ListBucket").count(), 1, "{logs}");
    }
}

#[tokio::test]
async fn the_command_names_a_stale_file_and_imports_nothing_until_it_is_gone() {
    let sandbox = small().start().await.unwrap();
    let mut story = Story::of(&sandbox);
    story.until(Step::TransferToS3).await.unwrap();
    // The command goes on with the run that the functions began.
    let stale = lay(&sandbox, "stale.ndjson");
    let finished = pathling_import(&sandbox).run().await;
    assert_ne!(finished.code, Some(0), "{}", finished.stderr);
    assert!(
        finished.stderr.contains("/Patient/stale.ndjson"),
        "{}",
        finished.stderr
    );
    assert_import_never_asked(&sandbox);
    std::fs::remove_file(stale).unwrap();
    let _ = pathling_import(&sandbox).run().await.expect_code(0);
    assert_arrived(&sandbox);
}
