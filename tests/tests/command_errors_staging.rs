//! What the command does when staging refuses, is full or is not there: exit code, error, a message that names the place and
//! what to do, and nothing asked of the source that would be in vain.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use pathling_import_tests::check::{
    assert_arrived, assert_folder_whole, assert_import_never_asked,
};
use pathling_import_tests::{NOBODY, Records as _, Refusal, binary, pathling_import, refused};
use sandbox::{Answer, Dataset, Fault, Place, S3Policy, Sandbox};

/// A bucket that is there, so that only S3 is tried.
fn of_s3(what: &str, error: &'static str) -> Refusal {
    Refusal::of(what, error).env("STAGING_URL", "s3://staging/pathling")
}

#[tokio::test]
async fn a_bucket_that_cannot_be_used() {
    let denied = |what| of_s3(what, "StagingDeniedError").stays();
    refused([
        Refusal::of("a bucket that does not exist", "StagingDeniedError")
            .env("STAGING_URL", "s3://nobody-made-me/x")
            .says(&[
                "s3://nobody-made-me/x/",
                "NoSuchBucket",
                "Create the bucket",
            ])
            .stays(),
        denied("a wrong secret key")
            .env("AWS_SECRET_ACCESS_KEY", "another/secret+that/is/wrong")
            .says(&[
                "s3://staging/pathling/",
                "SignatureDoesNotMatch",
                "AWS credentials",
            ]),
        denied("an unknown access key")
            .env("AWS_ACCESS_KEY_ID", "AKIANOBODYNOBODY0000")
            .says(&["s3://staging/pathling/", "403", "AWS credentials"]),
        denied("no credentials at all")
            .without("AWS_ACCESS_KEY_ID")
            .without("AWS_SECRET_ACCESS_KEY")
            .says(&[
                "s3://staging/pathling/",
                "no AWS credentials",
                "variables, profile or role",
            ]),
        denied("everything refused")
            .and(Fault::S3RefusesEverything)
            .says(&["s3://staging/pathling/", "403", "s3:PutObject"]),
    ])
    .await;
}

#[tokio::test]
async fn a_store_that_is_ill_or_not_there_is_unavailable_and_the_next_start_goes_on() {
    let nobody = format!("http://{NOBODY}");
    let ill = |fault: Fault| {
        let case = of_s3(&fault.name(), "StagingUnavailableError").and(fault);
        case.says(&["s3://staging/pathling/"])
    };
    refused([
        ill(Fault::S3InternalError).says(&["500", "InternalError"]),
        ill(Fault::S3SlowDown).says(&["503", "SlowDown"]),
        of_s3("nobody listens", "StagingUnavailableError")
            .env("AWS_ENDPOINT_URL_S3", &nobody)
            .says(&["s3://staging/pathling/"])
            .stays(),
    ])
    .await;
}

#[tokio::test]
async fn nothing_is_asked_of_the_source_where_staging_cannot_be_written() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    for url in ["s3://nobody-made-me/x", "/proc/no/folder", "/dev/null/x"] {
        let run = pathling_import(&sandbox).env("STAGING_URL", url);
        run.run().await.expect_error("StagingDeniedError", &[url]);
    }
    assert_eq!(sandbox.export_kick_offs().len(), 0);
}

#[tokio::test]
async fn get_and_put_are_enough() {
    let refusals = [
        Fault::S3RefusesHead,
        Fault::S3RefusesList,
        Fault::S3RefusesConditionalWrites,
    ];
    for fault in refusals {
        let builder = Sandbox::builder().fault(fault.clone());
        let sandbox = builder.start().await.unwrap();
        let finished = pathling_import(&sandbox).run().await;
        assert_eq!(finished.code, Some(0), "{fault}: {}", finished.stderr);
        assert_arrived(&sandbox);
    }
    let policy = S3Policy::get_and_put();
    let sandbox = Sandbox::builder().s3_policy(policy).start().await.unwrap();
    for _ in 0..2 {
        let finished = pathling_import(&sandbox).run().await;
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        assert_arrived(&sandbox);
    }
}

#[tokio::test]
async fn a_folder_that_cannot_be_used() {
    let parent = tempfile::tempdir().unwrap();
    let file = parent.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let file = file.display().to_string();
    let below = format!("{file}/below");
    let denied = |what: &str, path: &str| {
        Refusal::of(what, "StagingDeniedError")
            .env("STAGING_URL", path)
            .says(&[&format!("file://{path}"), "STAGING_URL"])
            .stays()
    };
    // Not even root can write there.
    refused([
        denied("a file", &file),
        denied("below a file", &below),
        denied("/proc", "/proc/pathling-staging"),
        denied("/sys", "/sys/pathling-staging"),
        denied("a device", "/dev/null"),
    ])
    .await;
}

/// Runs the command in a shell that changes something of its process first.
async fn in_shell(
    sandbox: &Sandbox,
    script: &str,
    staging: &Path,
) -> pathling_import_tests::Finished {
    let run = pathling_import(sandbox)
        .env("STAGING_URL", staging.display().to_string())
        .env("TRANSFER_RETRY_TIMES", "0");
    let mut shell = tokio::process::Command::new("/bin/bash");
    shell.arg("-c").arg(format!("{script}; exec \"$0\""));
    shell.arg(binary("pathling-import")).env_clear();
    shell.envs(run.environment().iter());
    let output = shell.output().await.unwrap();
    pathling_import_tests::Finished {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[tokio::test]
async fn a_full_disk_names_the_file_and_what_to_do_and_the_next_start_goes_on() {
    // A limit on the size of files: what is written beyond it fails as on a full disk, whoever the user is.
    let data = Dataset::padded("Patient", 40, 20_000).and(Dataset::of(&[("Condition", 3)]));
    let sandbox = Sandbox::builder().data(data).start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let script = "ulimit -f 256";
    let finished = in_shell(&sandbox, script, folder.path()).await;
    let words = ["/Patient/00001-", "larger than allowed", "ulimit -f"];
    finished.expect_error("StagingDeniedError", &words);
    assert_import_never_asked(&sandbox);
    assert_folder_whole(folder.path());

    let staging = folder.path().display().to_string();
    let run = pathling_import(&sandbox).env("STAGING_URL", staging);
    let finished = run.run().await.expect_code(0);
    assert!(
        finished.stderr.starts_with("going on with"),
        "{}",
        finished.stderr
    );
    assert_arrived(&sandbox);
}

#[tokio::test]
async fn the_limit_of_open_files_is_told_once_with_what_to_do() {
    let data = Dataset::padded("Patient", 60, 20_000);
    let builder = Sandbox::builder().data(data).resources_per_file(1);
    let sandbox = builder.fault(Fault::FileHangsMidway).start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    // Each file that hangs keeps its connection.
    let script = "export TRANSFER_CONCURRENCY=60 IDLE_TIMEOUT=20; ulimit -n 40";
    let finished = in_shell(&sandbox, script, folder.path()).await;
    assert_ne!(finished.code, Some(0));
    assert_eq!(
        finished.stderr.matches("ulimit -n").count(),
        1,
        "{}",
        finished.stderr
    );
    let told = finished.stderr.matches("os error 24").count();
    assert_eq!(told, 1, "{}", finished.stderr);
    sandbox.faults().clear();
    let finished = in_shell(&sandbox, "ulimit -n 300", folder.path())
        .await
        .expect_code(0);
    assert!(
        finished.stderr.starts_with("going on with"),
        "{}",
        finished.stderr
    );
    assert_arrived(&sandbox);
}

#[tokio::test]
async fn where_there_are_no_credentials_only_our_own_words_are_shown_and_once() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let run = pathling_import(&sandbox)
        .env("STAGING_URL", "s3://staging/pathling")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .without("AWS_ACCESS_KEY_ID")
        .without("AWS_SECRET_ACCESS_KEY");
    let finished = run.run().await;
    let words = [
        "no AWS credentials",
        "AWS_ACCESS_KEY_ID",
        "AWS_PROFILE",
        "role",
    ];
    finished.expect_error("StagingDeniedError", &words);
    for others in [
        "WARN",
        "CredentialsError",
        "ProviderError",
        "{",
        "provider failed",
    ] {
        assert!(
            !finished.stderr.contains(others),
            "{others}: {}",
            finished.stderr
        );
    }
}

/// The run's manifest in a folder.
fn manifest_below(folder: &Path) -> std::path::PathBuf {
    let runs = std::fs::read_dir(folder.join("runs")).unwrap();
    let mut manifests = runs.map(|run| run.unwrap().path().join("_manifest.json"));
    manifests.find(|path| path.exists()).unwrap()
}

#[tokio::test]
async fn a_broken_manifest_is_asked_for_again_where_the_source_still_has_the_export() {
    for broken in ["", "{\"transactionTime\": \"2026", "[]", "{}"] {
        let data = Dataset::of(&[("Condition", 6), ("Patient", 6)]);
        let sandbox = Sandbox::builder().data(data).start().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let command = || {
            let staging = folder.path().display().to_string();
            let run = pathling_import(&sandbox).env("STAGING_URL", staging);
            run.env("DELETE_EXPORT_JOB", "false")
        };
        let refuses = Fault::answers(Place::ImportKickOff, Answer::new(400));
        sandbox.faults().on(refuses);
        command().run().await.expect_error("ImportFailedError", &[]);
        sandbox.faults().clear();
        let manifest = manifest_below(folder.path());
        let whole = std::fs::read(&manifest).unwrap();
        std::fs::write(&manifest, broken).unwrap();
        sandbox.clear_requests();
        let finished = command().run().await.expect_code(0);
        assert!(
            finished.stderr.contains("going on with"),
            "{}",
            finished.stderr
        );
        assert_eq!(sandbox.export_kick_offs().len(), 0, "{broken:?}");
        assert_eq!(sandbox.file_requests(), [], "what is staged stays");
        assert_eq!(std::fs::read(&manifest).unwrap(), whole);
        assert_arrived(&sandbox);
    }
}

#[tokio::test]
async fn a_broken_manifest_of_an_export_that_is_gone_is_told_with_what_to_do() {
    let data = Dataset::of(&[("Patient", 6)]);
    let sandbox = Sandbox::builder().data(data).start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let command = || {
        let staging = folder.path().display().to_string();
        pathling_import(&sandbox).env("STAGING_URL", staging)
    };
    let refuses = Fault::answers(Place::ImportKickOff, Answer::new(400));
    sandbox.faults().on(refuses);
    command().run().await.expect_error("ImportFailedError", &[]);
    sandbox.faults().clear();
    let manifest = manifest_below(folder.path());
    std::fs::write(&manifest, "").unwrap();
    let named = manifest.display().to_string();
    for _ in 0..2 {
        let finished = command().run().await;
        let words = [
            named.as_str(),
            "is broken: it is no JSON",
            "Remove it",
            "--fresh",
        ];
        let said = finished.expect_error("StagingDeniedError", &words);
        assert!(!said.contains("room"), "{said}");
    }
    let _ = command().arg("--fresh").run().await.expect_code(0);
    assert_arrived(&sandbox);
}

#[tokio::test]
async fn a_link_that_leads_nowhere_where_a_file_should_be_is_told_as_that() {
    let data = Dataset::of(&[("Patient", 6)]);
    let sandbox = Sandbox::builder().data(data).start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let command = || {
        let staging = folder.path().display().to_string();
        pathling_import(&sandbox).env("STAGING_URL", staging)
    };
    let refuses = Fault::answers(Place::ImportKickOff, Answer::new(400));
    sandbox.faults().on(refuses);
    let command = || command().env("DELETE_EXPORT_JOB", "false");
    command().run().await.expect_error("ImportFailedError", &[]);
    sandbox.faults().clear();
    let manifest = manifest_below(folder.path());
    let patients = std::fs::read_dir(manifest.with_file_name("Patient")).unwrap();
    let mut files = patients.map(|file| file.unwrap().path());
    let staged = files.find(|path| path.extension().is_some_and(|it| it == "ndjson"));
    for path in [staged.unwrap(), manifest] {
        let kept = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/nowhere/at/all", &path).unwrap();
        let finished = command().run().await;
        let named = path.display().to_string();
        let words = [named.as_str(), "leads nowhere", "Remove it"];
        let said = finished.expect_error("StagingDeniedError", &words);
        assert!(!said.contains("s3:"), "{said}");
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, kept).unwrap();
    }
    let _ = command().run().await.expect_code(0);
    assert_arrived(&sandbox);
}

#[tokio::test]
async fn a_folder_that_is_named_like_a_file_is_refused_where_something_is_in_it() {
    for over_s3 in [true, false] {
        let data = Dataset::of(&[("Patient", 6)]);
        let sandbox = Sandbox::builder().data(data).start().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let command = || {
            let run = pathling_import(&sandbox);
            if over_s3 {
                run
            } else {
                run.env("STAGING_URL", folder.path().display().to_string())
            }
        };
        let refuses = Fault::answers(Place::ImportKickOff, Answer::new(400));
        sandbox.faults().on(refuses);
        command().run().await.expect_error("ImportFailedError", &[]);
        sandbox.faults().clear();
        let below = if over_s3 {
            sandbox.bucket().join("pathling")
        } else {
            folder.path().to_owned()
        };
        let alien = manifest_below(&below).with_file_name("Patient/alien.ndjson");
        std::fs::create_dir(&alien).unwrap();
        std::fs::write(alien.join("_SUCCESS"), "").unwrap();
        std::fs::write(alien.join("part-0"), "{}").unwrap();
        let finished = command().run().await;
        let words = ["/Patient/alien.ndjson/part-0", "does not name"];
        let said = finished.expect_error("StagingDeniedError", &words);
        assert!(!said.contains("_SUCCESS"), "{said}");
        std::fs::remove_dir_all(&alien).unwrap();
        let _ = command().run().await.expect_code(0);
        assert_arrived(&sandbox);
    }
}
