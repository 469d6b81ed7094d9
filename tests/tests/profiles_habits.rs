//! What vendors' servers do, through the real command against their profiles: what the program makes of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;

use pathling_import_tests::check::assert_arrived;
use pathling_import_tests::moment::until;
use pathling_import_tests::{
    Records as _, arrives, pathling_import, side_by_side, vendor, vendor_with,
};
use sandbox::{Answer, Dataset, Fault, Habit, Place, Sandbox, Service};
use serde_json::{Value, json};

fn statuses(requests: &[sandbox::Recorded]) -> Vec<u16> {
    requests
        .iter()
        .filter_map(|request| request.status)
        .collect()
}

/// The manifest of the run, as it was told and kept.
fn manifest(sandbox: &Sandbox) -> Value {
    let all = sandbox.s3_objects();
    let kept = all.iter().find(|(key, _)| key.ends_with("/_manifest.json"));
    serde_json::from_slice(&sandbox.s3_object(&kept.unwrap().0).unwrap()).unwrap()
}

#[tokio::test]
async fn hapi_tells_little_in_its_manifest() {
    let sandbox = vendor("hapi").await;
    arrives(&sandbox, pathling_import(&sandbox)).await;
    let manifest = manifest(&sandbox);
    for absent in ["request", "requiresAccessToken", "error"] {
        assert_eq!(manifest.get(absent), None, "{manifest}");
    }
    let url = manifest["output"][0]["url"].as_str().unwrap();
    assert!(url.contains("/fhir/Binary/"), "{url}");
}

#[tokio::test]
async fn hapi_has_no_output_where_there_is_nothing() {
    let sandbox = vendor_with("hapi", |builder| builder.data(Dataset::empty())).await;
    let finished = pathling_import(&sandbox).run().await.expect_code(0);
    let said = "Nothing to import: the export holds no resources";
    assert!(finished.stdout.contains(said), "{}", finished.stdout);
    assert_eq!(manifest(&sandbox).get("output"), None);
    assert!(sandbox.import_kick_offs().is_empty());
}

#[tokio::test]
async fn hapi_gives_an_old_job_for_the_same_kick_off_and_that_is_no_success_of_yesterday() {
    let sandbox = vendor("hapi").await;
    arrives(&sandbox, pathling_import(&sandbox)).await;
    let again = pathling_import(&sandbox).run().await;
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    let said = "with an export that was imported before";
    assert!(again.stderr.contains(said), "{}", again.stderr);
    let jobs: BTreeSet<String> = sandbox.polls().into_iter().map(|poll| poll.path).collect();
    assert_eq!((sandbox.export_kick_offs().len(), jobs.len()), (2, 1));
    assert_arrived(&sandbox);
}

#[tokio::test]
async fn hapi_tells_the_jobs_end_as_transaction_time_and_nothing_is_lost_between() {
    let sandbox = vendor_with("hapi", |builder| builder.polls(1)).await;
    let full = pathling_import(&sandbox)
        .env("EXPORT_RETRY_WAIT", "1.5")
        .arg("--log-format=json")
        .spawn();
    until("the first poll", || !sandbox.polls().is_empty()).await;
    // While the job runs, something changes that it does not have.
    sandbox.source_put(&json!({"resourceType": "Basic", "id": "between"}));
    let summary = full.wait().await.summary();
    assert!(sandbox.rows("Basic").is_empty());
    let (told, next) = (&summary["transactionTime"], &summary["nextSince"]);
    assert!(next.as_str().unwrap() < told.as_str().unwrap(), "{summary}");
    let delta = pathling_import(&sandbox).env("SINCE", next.as_str().unwrap());
    let finished = arrives(&sandbox, delta).await;
    assert_eq!(sandbox.rows("Basic").len(), 1);
    assert!(finished.stdout.contains("As of   "), "{}", finished.stdout);
}

#[tokio::test]
async fn hapi_answers_202_for_a_job_that_was_cancelled() {
    let sandbox = vendor_with("hapi", |builder| builder.polls(1000)).await;
    let run = pathling_import(&sandbox).env("EXPORT_RETRY_TIMES", "0");
    let _ = run.run().await.expect_code(4);
    let cancelled = pathling_import(&sandbox).arg("cancel").run().await;
    assert_eq!(cancelled.code, Some(0), "{}", cancelled.stderr);
    assert_eq!(statuses(&sandbox.deletions()), [202]);
    // The next start asks for an export of its own, although the old one still answers.
    let next = pathling_import(&sandbox).env("EXPORT_RETRY_TIMES", "0");
    let _ = next.run().await.expect_code(4);
    assert_eq!(sandbox.export_kick_offs().len(), 2);
}

#[tokio::test]
async fn hapi_put_several_types_into_one_file_once_and_its_files_expire() {
    let sandbox = vendor("hapi").await;
    sandbox.faults().once(Fault::FileLineOtherType);
    let finished = pathling_import(&sandbox).run().await;
    finished.expect_error("IntegrityError", &["Basic", "/Binary/"]);
    assert!(sandbox.import_kick_offs().is_empty());

    let sandbox = vendor("hapi").await;
    sandbox
        .faults()
        .once("files-expire-after=1:404".parse().unwrap());
    arrives(&sandbox, pathling_import(&sandbox)).await;
    assert!(statuses(&sandbox.file_requests()).contains(&404));
}

#[tokio::test]
async fn hapi_wants_plus_encoded_and_since_in_utc() {
    let sandbox = vendor("hapi").await;
    let run = pathling_import(&sandbox)
        .env("SINCE", "2001-01-01T02:00:00+02:00")
        .env("OUTPUT_FORMAT", "application/fhir+ndjson");
    arrives(&sandbox, run).await;
    let query = sandbox.export_kick_offs().remove(0).query;
    assert!(query.contains("_since=2001-01-01T00%3A00%3A00Z"), "{query}");
    assert!(query.contains("fhir%2Bndjson"), "{query}");
}

#[tokio::test]
async fn epic_has_long_ids_and_jobs_that_outlast_a_start() {
    let sandbox = vendor("epic").await;
    let early = pathling_import(&sandbox).env("EXPORT_RETRY_TIMES", "0");
    let finished = early.run().await;
    let words = ["Searching 40 of 120 patients", "EXPORT_RETRY_TIMES"];
    finished.expect_error("JobInProgressError", &words);
    arrives(&sandbox, pathling_import(&sandbox)).await;
    assert_eq!(sandbox.export_kick_offs().len(), 1, "the same job goes on");
    for row in sandbox.rows("Patient") {
        assert!(row.id.unwrap().len() > 64);
        assert!(!String::from_utf8_lossy(&row.line).contains("lastUpdated"));
    }
}

#[tokio::test]
async fn cerner_redirects_to_another_host_which_does_not_get_the_token() {
    let sandbox = vendor("cerner").await;
    arrives(&sandbox, pathling_import(&sandbox)).await;
    let (there, elsewhere): (Vec<_>, Vec<_>) = sandbox
        .file_requests()
        .into_iter()
        .partition(|request| request.service == Service::Source);
    assert!(there.iter().all(sandbox::Recorded::has_token));
    assert!(!elsewhere.is_empty() && elsewhere.iter().all(|request| !request.has_token()));
    assert_eq!(manifest(&sandbox)["requiresAccessToken"], "true");
}

#[tokio::test]
async fn cerner_asks_for_hours_of_patience_and_has_many_tiny_files() {
    let sandbox = vendor("cerner").await;
    let run = pathling_import(&sandbox)
        .env("RETRY_AFTER_MAX", "21600")
        .env("EXPORT_RETRY_TIMES", "0");
    let words = ["18000 s (Retry-After)", "EXPORT_RETRY_TIMES"];
    run.run().await.expect_error("JobInProgressError", &words);
    // A longest wait that is shorter goes before the server's wish, and then every file comes.
    arrives(&sandbox, pathling_import(&sandbox)).await;
    let files = manifest(&sandbox)["output"].as_array().unwrap().len();
    assert_eq!(files, 8 + 4 + 12 + 4 + 1, "one for each resource");
}

#[tokio::test]
async fn microsoft_wants_no_token_for_files() {
    let sandbox = vendor("microsoft").await;
    arrives(&sandbox, pathling_import(&sandbox)).await;
    let files = sandbox.file_requests();
    assert!(!files.is_empty() && files.iter().all(|it| it.service == Service::Files));
    assert_eq!(manifest(&sandbox)["requiresAccessToken"], false);
    let polls = sandbox.polls().len();
    assert_eq!(
        polls, 3,
        "without a Retry-After the waits are the program's own"
    );
}

#[tokio::test]
async fn bcda_tells_a_tokens_life_as_a_string_and_answers_404_for_a_file_that_is_there() {
    let sandbox = vendor("bcda").await;
    arrives(&sandbox, pathling_import(&sandbox)).await;
    let answers = statuses(&sandbox.file_requests());
    let refused = answers.iter().filter(|status| **status == 404).count();
    assert_eq!(refused, 1, "{answers:?}");
    // One for the source and one for the target: the life was understood.
    assert_eq!(sandbox.token_requests().len(), 2);
}

#[tokio::test]
async fn ibm_asks_for_a_token_where_it_would_be_refused() {
    let sandbox = vendor("ibm").await;
    arrives(&sandbox, pathling_import(&sandbox)).await;
    assert_eq!(manifest(&sandbox)["requiresAccessToken"], true);
    for request in sandbox.file_requests() {
        assert!(request.query.contains("X-Amz-Signature"), "{request:?}");
        assert!(!request.has_token(), "{request:?}");
    }
}

#[tokio::test]
async fn ibm_files_are_told_by_relative_urls() {
    let sandbox = vendor("ibm-files").await;
    arrives(&sandbox, pathling_import(&sandbox)).await;
    let url = manifest(&sandbox)["output"][0]["url"].clone();
    assert!(url.as_str().unwrap().starts_with("/fhir/"), "{url}");
}

#[tokio::test]
async fn medplum_cuts_a_kick_off_and_has_several_files_of_one_type() {
    let sandbox = vendor("medplum").await;
    let finished = arrives(&sandbox, pathling_import(&sandbox)).await;
    assert_eq!(statuses(&sandbox.export_kick_offs()), [504, 202]);
    let told = "a second export may be running at the source";
    assert!(finished.stdout.contains(told), "{}", finished.stdout);
    let output = manifest(&sandbox)["output"].clone();
    let of = |kind: &str| {
        output
            .as_array()
            .unwrap()
            .iter()
            .filter(|it| it["type"] == kind)
            .count()
    };
    assert_eq!((of("Observation"), of("Condition")), (2, 2));
}

#[tokio::test]
async fn openemr_answers_202_with_something_else_than_json() {
    let sandbox = vendor("openemr").await;
    arrives(&sandbox, pathling_import(&sandbox)).await;
    assert_eq!(statuses(&sandbox.polls()), [202, 202, 200]);
}

#[tokio::test]
async fn smart_simulates_an_error_at_each_step_and_the_same_command_heals_it() {
    let transient = || {
        Answer::new(500)
            .outcome("transient", "Try again")
            .retry_after(1)
    };
    let faults = vec![
        Fault::answers(Place::Token, 503),
        Fault::answers(Place::KickOff, 503),
        Fault::answers(Place::KickOff, transient()),
        Fault::answers(Place::Status, transient()),
        Fault::answers(Place::Status, Answer::new(429).retry_after(1)),
        Fault::TokenExpires(Place::Status),
        Fault::answers(Place::File, 500),
        Fault::FileCutMidway,
        Fault::answers(Place::StatusDelete, 500),
    ];
    side_by_side(4, faults, async |fault| {
        let sandbox = vendor("smart").await;
        sandbox.faults().once(fault);
        arrives(&sandbox, pathling_import(&sandbox)).await;
    })
    .await;
}

#[tokio::test]
async fn stu4_has_a_status_of_its_own_and_outcome_for_error() {
    let sandbox = vendor("stu4").await;
    arrives(&sandbox, pathling_import(&sandbox)).await;
    assert_eq!(statuses(&sandbox.polls()), [200, 200, 200]);
    let manifest = manifest(&sandbox);
    assert_eq!(manifest.get("error"), None);
    assert_eq!(manifest["outcome"].as_array().map(Vec::len), Some(1));
    assert!(
        sandbox
            .s3_objects()
            .iter()
            .any(|(key, _)| key.contains("/_errors/"))
    );
}

#[tokio::test]
async fn careless_servers_are_borne_with_and_a_wrong_count_is_not() {
    let sandbox = vendor("careless").await;
    let finished = arrives(&sandbox, pathling_import(&sandbox)).await;
    assert!(
        finished.stderr.contains("<b>n/a</b>; 1e9 %"),
        "{}",
        finished.stderr
    );
    assert!(statuses(&sandbox.file_requests()).contains(&500));
    assert_eq!(
        manifest(&sandbox)["output"].as_array().map(Vec::len),
        Some(4 + 1)
    );

    let sandbox = vendor("careless").await;
    sandbox.faults().off(Habit::FilesFailEvery(3).into());
    sandbox.faults().on(Fault::CountWrong);
    let finished = pathling_import(&sandbox).run().await;
    finished.expect_error("IntegrityError", &["resources"]);
    assert!(sandbox.import_kick_offs().is_empty());
}
