//! What vendors' servers demand, through the real command against their profiles: without it a run ends with an error that
//! says what is missing, and with it the same command ends well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pathling_import_tests::check::{assert_import_never_asked, assert_no_secrets};
use pathling_import_tests::{Records as _, arrives, pathling_import, vendor, vendor_with, wants};
use sandbox::{Answer, CredentialKind, DeletedJob, Fault, Habit, Place, Sandbox, Service, Way};

/// The command fails with this error and these words.
async fn fails(sandbox: &Sandbox, error: &str, words: &[&str]) {
    let finished = pathling_import(sandbox).run().await;
    finished.expect_error(error, words);
    assert_no_secrets(sandbox, &finished.all());
    assert_import_never_asked(sandbox);
}

#[tokio::test]
async fn epic_wants_its_header_with_every_request() {
    let words = [
        "400",
        "The header Epic-Client-ID is required",
        "SOURCE_HEADERS",
    ];
    wants("epic", &["SOURCE_HEADERS"], "ExportFailedError", &words).await;
    let sandbox = vendor("epic").await;
    arrives(&sandbox, pathling_import(&sandbox)).await;
    for request in sandbox.requests() {
        let there = request.headers.contains_key("epic-client-id");
        assert_eq!(there, request.service == Service::Source, "{request:?}");
    }
}

#[tokio::test]
async fn epic_exports_groups_alone() {
    let words = ["404", "$export", "only at group", "EXPORT_LEVEL"];
    wants("epic", &["EXPORT_LEVEL"], "ExportFailedError", &words).await;
}

#[tokio::test]
async fn epic_takes_a_key_and_no_secret() {
    let sandbox = vendor("epic").await;
    let run = pathling_import(&sandbox)
        .without("SOURCE_PRIVATE_KEY")
        .env("SOURCE_CLIENT_SECRET", "hush-secret");
    let finished = run.run().await;
    finished.expect_error("AuthenticationError", &["SOURCE_PRIVATE_KEY"]);
    assert!(!finished.all().contains("hush-secret"));
}

#[tokio::test]
async fn epic_exports_a_group_once_a_day() {
    for (status, error) in [(400, "ExportFailedError"), (429, "SourceUnavailableError")] {
        let sandbox = vendor("epic").await;
        let faults = sandbox.faults();
        faults.off(Habit::GroupOnceADay(400).into());
        faults.on(Habit::GroupOnceADay(status).into());
        arrives(&sandbox, pathling_import(&sandbox)).await;
        let again = pathling_import(&sandbox).env("EXPORT_RETRY_TIMES", "0");
        let finished = again.run().await;
        let status = status.to_string();
        finished.expect_error(error, &[&status, "less than 24 hours ago"]);
        assert_eq!(sandbox.import_kick_offs().len(), 1);
    }
}

#[tokio::test]
async fn epic_runs_one_export_at_a_time() {
    let sandbox = vendor_with("epic", |builder| builder.polls(1000)).await;
    sandbox.faults().off(Habit::GroupOnceADay(400).into());
    let patience = |run: pathling_import_tests::CommandRun| run.env("EXPORT_RETRY_TIMES", "0");
    let first = patience(pathling_import(&sandbox)).run().await;
    first.expect_error("JobInProgressError", &["Searching 40 of 120 patients"]);
    let second = patience(pathling_import(&sandbox))
        .arg("--fresh")
        .run()
        .await;
    let words = ["429", "Another export of this client is under way"];
    second.expect_error("SourceUnavailableError", &words);
}

#[tokio::test]
async fn cerner_exports_no_whole_system_and_takes_lists_of_types_unrepeated() {
    let words = ["404", "only at patient,group", "EXPORT_LEVEL"];
    wants("cerner", &["EXPORT_LEVEL"], "ExportFailedError", &words).await;
    let sandbox = vendor("cerner").await;
    let run =
        pathling_import(&sandbox).env("TYPES", "Condition,Encounter,Group,Observation,Patient");
    arrives(&sandbox, run).await;
    let query = sandbox.export_kick_offs().remove(0).query;
    assert_eq!(query.matches("_type=").count(), 1, "{query}");
}

#[tokio::test]
async fn cerner_refuses_what_comes_without_accept() {
    let sandbox = vendor("cerner").await;
    arrives(&sandbox, pathling_import(&sandbox)).await;
    for request in sandbox.requests() {
        if matches!(request.service, Service::Source | Service::Files) {
            assert!(request.accept.is_some(), "{request:?}");
            assert_ne!(request.status, Some(406), "{request:?}");
        }
    }
}

#[tokio::test]
async fn google_wants_its_own_word_for_the_format() {
    let words = ["400", "_outputFormat", "'ndjson'", "OUTPUT_FORMAT"];
    wants("google", &["OUTPUT_FORMAT"], "ExportFailedError", &words).await;
}

#[tokio::test]
async fn google_organises_groups_by_patient_and_in_files_of_several_types() {
    let words = ["400", "'organizeOutputBy'", "ORGANIZE_OUTPUT_BY"];
    wants(
        "google",
        &["ORGANIZE_OUTPUT_BY"],
        "ExportFailedError",
        &words,
    )
    .await;
    let words = ["makes files of several types", "MIXED_FILES=split"];
    wants("google", &["MIXED_FILES"], "ConfigurationError", &words).await;
}

#[tokio::test]
async fn google_wants_prefer_and_a_given_token() {
    let sandbox = vendor("google").await;
    arrives(&sandbox, pathling_import(&sandbox)).await;
    let kick_off = sandbox.export_kick_offs().remove(0);
    assert_eq!(kick_off.prefer.as_deref(), Some("respond-async"));
    let of_source = |request: &sandbox::Recorded| request.service == Service::Token;
    let asked = sandbox.requests().iter().filter(|it| of_source(it)).count();
    assert_eq!(asked, 1, "the target's token alone is asked for");
    let run = pathling_import(&sandbox).env("SOURCE_BEARER_TOKEN", "expired");
    let finished = run.run().await;
    finished.expect_error("AuthenticationError", &["SOURCE_BEARER_TOKEN", "expired?"]);
}

#[tokio::test]
async fn healthlake_wants_a_document_of_its_own_with_the_kick_off() {
    let words = ["400", "JobName must not be null", "KICKOFF_BODY"];
    wants("healthlake", &["KICKOFF_BODY"], "ExportFailedError", &words).await;
    let sandbox = vendor("healthlake").await;
    let run = pathling_import(&sandbox).env("TYPES", "Condition,Encounter,Observation,Patient");
    arrives(&sandbox, run).await;
    let kick_off = sandbox.export_kick_offs().remove(0);
    assert_eq!(kick_off.method, "POST");
    let types = kick_off.parameter("_type").unwrap();
    assert_eq!(types, "Condition,Encounter,Observation,Patient");
    let document = kick_off.body.unwrap();
    assert_eq!(document["JobName"], "pathling-import");
    let content_type = kick_off.content_type.unwrap();
    assert_eq!(content_type, "application/fhir+json");
}

#[tokio::test]
async fn healthlake_wants_every_request_signed_and_gets_no_token() {
    let sandbox = vendor("healthlake").await;
    arrives(&sandbox, pathling_import(&sandbox)).await;
    let signed = |request: &sandbox::Recorded| {
        let mut credentials = request.credentials.iter();
        credentials.all(|it| it.kind == CredentialKind::Aws) && request.credentials.len() == 1
    };
    let requests = sandbox.requests();
    let of_source = requests.iter().filter(|it| it.service == Service::Source);
    let of_source: Vec<_> = of_source.collect();
    assert!(of_source.len() >= 4, "{of_source:?}");
    assert!(of_source.iter().all(|it| signed(it)), "{of_source:?}");
    assert!(of_source.iter().all(|it| it.status < Some(400)));
}

#[tokio::test]
async fn healthlake_puts_its_files_into_a_bucket_that_is_read_only_where_it_is_named() {
    let sandbox = vendor("healthlake").await;
    let run = pathling_import(&sandbox).without("SOURCE_TRUSTED_ORIGINS");
    let words = [
        "s3://exports/healthlake/",
        "does not name",
        "add s3://exports to SOURCE_TRUSTED_ORIGINS",
        "s3:GetObject",
    ];
    run.run().await.expect_error("ConfigurationError", &words);
    assert_eq!(sandbox.downloads(), [], "nothing is asked of the bucket");
    assert_import_never_asked(&sandbox);
    arrives(&sandbox, pathling_import(&sandbox)).await;
    assert_eq!(sandbox.export_kick_offs().len(), 1, "the run goes on");
    let downloads = sandbox.downloads();
    assert_eq!(downloads.len(), 4, "{downloads:?}");
    assert!(downloads.iter().all(|it| it.service == Service::S3));
}

#[tokio::test]
async fn firely_serves_files_for_ndjson_in_accept_alone() {
    let sandbox = vendor("firely").await;
    arrives(&sandbox, pathling_import(&sandbox)).await;
    for request in sandbox.file_requests() {
        let accept = request.accept.unwrap();
        assert!(accept.starts_with("application/fhir+ndjson"), "{accept}");
    }
}

#[tokio::test]
async fn firely_says_410_of_a_cancelled_job_and_500_of_one_that_failed() {
    let sandbox = vendor("firely").await;
    sandbox.faults().on(Fault::SourceCancelsJob);
    fails(
        &sandbox,
        "ExportFailedError",
        &["410", "The export was cancelled"],
    )
    .await;

    let sandbox = vendor("firely").await;
    let failed = Answer::new(500).outcome("exception", "The task failed");
    sandbox.faults().on(Fault::answers(Place::Status, failed));
    fails(&sandbox, "ExportFailedError", &["500", "The task failed"]).await;
}

#[tokio::test]
async fn microsoft_says_of_a_cancelled_job_that_it_has_a_manifest() {
    let sandbox = vendor("microsoft").await;
    sandbox.faults().on(Fault::SourceCancelsJob);
    fails(&sandbox, "ManifestError", &["transactionTime", "cancelled"]).await;
    let bare = Fault::DeletedJobAnswers(DeletedJob::Bare);
    assert!(sandbox.faults().active().contains(&bare));
}

#[tokio::test]
async fn intersystems_names_itself_otherwise_and_gets_the_token_there_only_where_that_is_said() {
    let told = ["401", "http://localhost:", "SOURCE_TRUSTED_ORIGINS"];
    let setting = ["SOURCE_TRUSTED_ORIGINS"];
    wants("intersystems", &setting, "AuthenticationError", &told).await;

    let sandbox = vendor("intersystems").await;
    let run = pathling_import(&sandbox).without("SOURCE_TRUSTED_ORIGINS");
    let _ = run.run().await;
    let elsewhere = sandbox.requests().into_iter().filter(|request| {
        let host = request.headers.get("host");
        request.service == Service::Source && host.is_some_and(|it| it.starts_with("localhost"))
    });
    let elsewhere: Vec<_> = elsewhere.collect();
    assert!(!elsewhere.is_empty());
    assert!(
        elsewhere.iter().all(|request| !request.has_token()),
        "{elsewhere:?}"
    );
}

#[tokio::test]
async fn bcda_exports_no_whole_system() {
    let words = ["404", "only at patient,group", "EXPORT_LEVEL"];
    wants("bcda", &["EXPORT_LEVEL"], "ExportFailedError", &words).await;
    let sandbox = vendor("bcda").await;
    arrives(
        &sandbox,
        pathling_import(&sandbox).env("EXPORT_LEVEL", "patient"),
    )
    .await;
    let path = sandbox.export_kick_offs().remove(0).path;
    assert_eq!(path, "/fhir/Patient/$export");
}

#[tokio::test]
async fn smart_and_openemr_take_a_key_and_no_secret() {
    for name in ["smart", "openemr"] {
        let sandbox = vendor(name).await;
        let run = pathling_import(&sandbox)
            .without("SOURCE_PRIVATE_KEY")
            .env("SOURCE_CLIENT_SECRET", "hush-secret");
        let finished = run.run().await;
        finished.expect_error("AuthenticationError", &["SOURCE_PRIVATE_KEY"]);
        arrives(&sandbox, pathling_import(&sandbox)).await;
    }
}

#[tokio::test]
async fn openemr_takes_no_other_algorithm_than_its_own() {
    let sandbox = vendor_with("openemr", |builder| {
        builder.source_way(Way::Jwt(sandbox::KeyKind::P384))
    })
    .await;
    fails(&sandbox, "AuthenticationError", &["RS384", "ES384"]).await;
}

#[tokio::test]
async fn stu4_takes_post_alone() {
    let sandbox = vendor("stu4").await;
    let run = pathling_import(&sandbox).env("KICKOFF_METHOD", "get");
    let finished = run.run().await;
    finished.expect_error("ExportFailedError", &["405", "KICKOFF_METHOD"]);
    arrives(&sandbox, pathling_import(&sandbox)).await;
    let methods = sandbox.export_kick_offs();
    let methods: Vec<_> = methods.iter().map(|asked| asked.method.as_str()).collect();
    assert_eq!(methods, ["GET", "POST"], "auto knows it beforehand");
}
