//! A source that wants signatures for AWS, and files in S3, through the real command: what is signed, what is read, and what is said
//! where it cannot be.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pathling_import_tests::check::{
    assert_import_never_asked, assert_no_secrets, assert_no_token_leaks,
};
use pathling_import_tests::{CommandRun, Records as _, arrives, pathling_import, vendor};
use sandbox::{CredentialKind, Dataset, Fault, Habit, Sandbox, Service, Switch, Way};

/// A run that keeps its staging in a folder, so that nothing but the source needs AWS.
fn in_folder(sandbox: &Sandbox) -> CommandRun {
    let run = pathling_import(sandbox);
    let staging = run.folder().join("staging");
    run.env("STAGING_URL", staging.display().to_string())
}

/// The run fails with this error and these words, and nothing is imported.
async fn fails(sandbox: &Sandbox, run: CommandRun, error: &str, words: &[&str]) {
    let finished = run.arg("-vvv").run().await;
    finished.expect_error(error, words);
    assert_no_secrets(sandbox, &finished.all());
    assert_no_token_leaks(sandbox);
    assert_import_never_asked(sandbox);
}

fn signed(request: &sandbox::Recorded) -> bool {
    let mut credentials = request.credentials.iter();
    credentials.any(|it| it.kind == CredentialKind::Aws)
}

#[tokio::test]
async fn credentials_that_are_wrong_or_not_there_are_told_apart() {
    let sandbox = vendor("healthlake").await;
    let wrong = [
        "InvalidSignatureException",
        "does not match",
        "healthlake in eu-central-1",
        "clock",
    ];
    let run = in_folder(&sandbox).env("AWS_SECRET_ACCESS_KEY", "another/secret");
    fails(&sandbox, run, "AuthenticationError", &wrong).await;
    let unknown = ["UnrecognizedClientException", "AWS credentials"];
    let run = in_folder(&sandbox).env("AWS_ACCESS_KEY_ID", "AKIANOBODY");
    fails(&sandbox, run, "AuthenticationError", &unknown).await;
    let service = ["scoped to", "SOURCE_AWS_SERVICE"];
    let run = in_folder(&sandbox).env("SOURCE_AWS_SERVICE", "execute-api");
    fails(&sandbox, run, "AuthenticationError", &service).await;
    assert!(
        sandbox
            .export_kick_offs()
            .iter()
            .all(|it| it.status == Some(403))
    );

    sandbox.clear_requests();
    let none = ["no AWS credentials", "AWS_ACCESS_KEY_ID", "AWS_PROFILE"];
    let run = in_folder(&sandbox)
        .without("AWS_ACCESS_KEY_ID")
        .without("AWS_SECRET_ACCESS_KEY");
    fails(&sandbox, run, "AuthenticationError", &none).await;
    let nowhere = ["SOURCE_AWS_SERVICE is healthlake", "Set AWS_REGION"];
    let run = in_folder(&sandbox).without("AWS_REGION");
    fails(&sandbox, run, "ConfigurationError", &nowhere).await;
    assert_eq!(sandbox.requests(), [], "nothing is asked unsigned");
    arrives(&sandbox, in_folder(&sandbox)).await;
}

#[tokio::test]
async fn a_file_in_s3_whose_download_breaks_goes_on_where_it_broke() {
    let sandbox = vendor("healthlake").await;
    let cuts: Switch = "file-cut-at=300*3".parse().unwrap();
    sandbox.faults().switch(cuts);
    arrives(&sandbox, pathling_import(&sandbox)).await;
    let rests: Vec<_> = sandbox
        .downloads()
        .into_iter()
        .filter(|it| it.headers.contains_key("range"))
        .collect();
    assert!(!rests.is_empty());
    for rest in rests {
        assert_eq!(rest.status, Some(206), "{rest:?}");
        assert!(rest.headers["range"].starts_with("bytes="), "{rest:?}");
        assert!(signed(&rest));
    }
}

#[tokio::test]
async fn a_bucket_that_refuses_says_what_to_allow_and_where_it_is() {
    for (status, error, words) in [
        (
            403,
            "AuthenticationError",
            vec![
                "403",
                "AccessDenied",
                "s3:GetObject on arn:aws:s3:::exports/*",
                "kms:Decrypt",
            ],
        ),
        (
            400,
            "AuthenticationError",
            vec!["400", "ExpiredToken", "not expired"],
        ),
        (
            301,
            "ConfigurationError",
            vec![
                "301",
                "s3://exports is in the region eu-west-3",
                "AWS_REGION",
            ],
        ),
    ] {
        let sandbox = vendor("healthlake").await;
        let habit = Habit::ExportBucketAnswers(status);
        sandbox.faults().on(habit.clone().into());
        fails(&sandbox, pathling_import(&sandbox), error, &words).await;
        let elsewhere = sandbox.requests();
        let mut elsewhere = elsewhere.iter().filter(|it| it.service == Service::Files);
        assert_eq!(elsewhere.next(), None, "no redirect is followed");
        sandbox.faults().off(habit.into());
        arrives(&sandbox, pathling_import(&sandbox)).await;
        assert_eq!(sandbox.export_kick_offs().len(), 1, "the run goes on");
    }
}

#[tokio::test]
async fn a_store_in_the_open_is_not_asked_without_the_operators_word() {
    let sandbox = vendor("healthlake").await;
    let run = in_folder(&sandbox).env("AWS_ENDPOINT_URL_S3", "http://s3.example.org");
    let words = ["over TLS only", "AWS_ENDPOINT_URL_S3", "ALLOW_PLAINTEXT"];
    fails(&sandbox, run, "ConfigurationError", &words).await;
}

#[tokio::test]
async fn a_redirect_from_a_server_that_is_signed_for_does_not_take_the_signature_along() {
    let data = Dataset::of(&[("Condition", 3), ("Patient", 3)]);
    let builder = Sandbox::builder().data(data).source_way(Way::Aws);
    let sandbox = builder.fault(Fault::FilesRedirect).start().await.unwrap();
    arrives(&sandbox, pathling_import(&sandbox)).await;
    let files = sandbox.file_requests();
    for (service, wanted) in [(Service::Source, true), (Service::Files, false)] {
        let there: Vec<_> = files.iter().filter(|it| it.service == service).collect();
        assert_eq!(there.len(), 2, "{there:?}");
        assert!(there.iter().all(|it| signed(it) == wanted), "{there:?}");
    }
}

#[tokio::test]
async fn any_sources_manifest_may_name_files_in_a_bucket_and_no_token_goes_there() {
    let data = Dataset::of(&[("Condition", 3), ("Patient", 3)]);
    let builder = Sandbox::builder()
        .data(data)
        .fault(Fault::from(Habit::FilesInS3));
    let sandbox = builder.start().await.unwrap();
    let run = || pathling_import(&sandbox).env("SOURCE_TRUSTED_ORIGINS", "s3://exports");
    arrives(&sandbox, run()).await;
    let downloads = sandbox.downloads();
    assert_eq!(downloads.len(), 2);
    assert!(downloads.iter().all(|it| signed(it) && !it.has_token()));
}

#[tokio::test]
async fn a_target_behind_a_gateway_of_aws_is_signed_for_as_well() {
    let data = Dataset::of(&[("Condition", 3), ("Patient", 3)]);
    let builder = Sandbox::builder().data(data).way(Way::Aws);
    let sandbox = builder.start().await.unwrap();
    arrives(&sandbox, pathling_import(&sandbox)).await;
    let target = sandbox.target_requests();
    assert!(target.iter().any(signed), "{target:?}");
    assert_eq!(sandbox.token_requests(), []);
}

#[tokio::test]
async fn what_a_delta_is_asked_for_stands_in_the_query_beside_the_document() {
    let sandbox = vendor("healthlake").await;
    let run = pathling_import(&sandbox).env("SINCE", "2020-01-01T00:00:00Z");
    arrives(&sandbox, run).await;
    let kick_off = sandbox.export_kick_offs().remove(0);
    let since = kick_off.parameter("_since");
    assert_eq!(since.as_deref(), Some("2020-01-01T00:00:00Z"));
    assert_eq!(kick_off.body.unwrap()["JobName"], "pathling-import");
}
