//! The end of an export's job at the source: deleted once everything is staged, by the last call of the transfer, and nothing
//! of the run depends on it afterwards.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pathling_import_core::config::Step;
use pathling_import_tests::check::{assert_arrived, assert_no_token_leaks};
use pathling_import_tests::moment::until_asked;
use pathling_import_tests::{Function, Records as _, Story, Told};
use sandbox::{Answer, Dataset, DeletedJob, Fault, Place, Sandbox};
use serde_json::{Value, json};

async fn sandbox() -> Sandbox {
    Sandbox::builder()
        .data(Dataset::of(&[("Patient", 5), ("Condition", 3)]))
        .resources_per_file(2)
        .polls(1)
        .start()
        .await
        .unwrap()
}

fn record(sandbox: &Sandbox, run: &Value) -> Value {
    let key = format!("pathling/runs/{}/_run.json", run.as_str().unwrap());
    let object = sandbox.s3_object(&key);
    serde_json::from_slice(&object.expect("the record is there")).unwrap()
}

async fn told(story: &mut Story) -> Told {
    match story.tell().await {
        Ok(told) => told,
        Err(failed) => panic!("{failed:?}\n{}", story.logs()),
    }
}

#[tokio::test]
async fn the_job_is_deleted_after_the_last_file_and_the_record_says_when_and_which() {
    let sandbox = sandbox().await;
    let mut story = Story::of(&sandbox);
    let told = told(&mut story).await;
    let requests = sandbox.requests();
    let deletion = requests.iter().position(|it| it.method == "DELETE");
    let last = requests.iter().rposition(|it| it.path.contains("/files/"));
    assert!(deletion.unwrap() > last.unwrap());
    let deletions = sandbox.deletions();
    assert_eq!(deletions.len(), 1);
    assert!(deletions[0].has_token(), "as a poll has one");
    let status_url = told.export["statusUrl"].as_str().unwrap();
    assert!(status_url.ends_with(&deletions[0].path), "{status_url}");
    let record = record(&sandbox, &told.export["run"]);
    let deleted = &record["jobDeleted"];
    assert_eq!(deleted["answer"], 202);
    assert_eq!(deleted["statusUrl"], status_url);
    assert_eq!(deleted["kickOff"], record["kickOffs"][0]["at"]);
    assert!(deleted["at"].as_str() >= record["transfer"]["at"].as_str());
    assert_arrived(&sandbox);
    assert_no_token_leaks(&sandbox);
}

#[tokio::test]
async fn the_job_stays_where_that_is_wanted_and_the_source_is_asked_again() {
    let sandbox = sandbox().await;
    let mut story = Story::of(&sandbox).with("DELETE_EXPORT_JOB", "false");
    let told = told(&mut story).await;
    assert_eq!(sandbox.deletions().len(), 0);
    assert!(
        record(&sandbox, &told.export["run"])
            .get("jobDeleted")
            .is_none()
    );
    let polls = sandbox.polls().len();
    story
        .finish(Step::CheckExportStatus, &told.export)
        .await
        .unwrap();
    assert!(sandbox.polls().len() > polls);
}

#[tokio::test]
async fn whatever_the_source_answers_the_run_goes_on_and_only_what_is_wrong_is_a_warning() {
    let warning = "could not be deleted at the source";
    for (status, fine, remembered) in [
        (200, true, true),
        (202, true, true),
        (204, true, true),
        (404, true, true),
        (410, true, true),
        (405, true, false),
        (501, true, false),
        (400, false, false),
        (403, false, false),
        (500, false, true),
        (503, false, true),
    ] {
        let sandbox = sandbox().await;
        let fault = Fault::answers(Place::StatusDelete, Answer::new(status));
        sandbox.faults().on(fault);
        let mut story = Story::of(&sandbox);
        let told = told(&mut story).await;
        assert_eq!(sandbox.deletions().len(), 1, "{status}");
        assert_eq!(
            !story.logs().contains(warning),
            fine,
            "{status}: {}",
            story.logs()
        );
        let record = record(&sandbox, &told.export["run"]);
        let answer = &record["jobDeleted"];
        assert_eq!(answer.is_object(), remembered, "{status}: {answer}");
        assert_arrived(&sandbox);
    }
}

#[tokio::test]
async fn a_source_that_does_not_answer_is_a_warning_too() {
    let sandbox = sandbox().await;
    sandbox.faults().on(Fault::Hang(Place::StatusDelete));
    let mut story = Story::of(&sandbox).with("IDLE_TIMEOUT", "0.3");
    told(&mut story).await;
    assert!(
        story.logs().contains("could not be deleted"),
        "{}",
        story.logs()
    );
    assert_arrived(&sandbox);
}

#[tokio::test]
async fn a_workflow_that_begins_again_after_the_deletion_needs_nothing_of_the_source() {
    for answer in [
        None,
        Some(DeletedJob::Gone),
        Some(DeletedJob::GoesOn),
        Some(DeletedJob::Bare),
    ] {
        for batches in ["false", "true"] {
            let sandbox = sandbox().await;
            if let Some(answer) = answer {
                sandbox.faults().on(Fault::DeletedJobAnswers(answer));
            }
            let mut story = Story::of(&sandbox).with("TRANSFER_BATCHES", batches);
            let first = told(&mut story).await;
            story.restart().await;
            let before = sandbox.requests().len();
            // As `fhir-export` gives it, and with nothing but the URL.
            for event in [
                first.export.clone(),
                json!({"statusUrl": first.export["statusUrl"]}),
            ] {
                let complete = story.call(Step::CheckExportStatus, &event).await.unwrap();
                assert_eq!(complete["result"], first.complete["result"]);
                assert_eq!(complete["run"], first.complete["run"]);
                assert_eq!(complete["since"], Value::Null);
                assert_eq!(complete.get("batches"), first.complete.get("batches"));
                let staged = story.call(Step::TransferToS3, &complete).await.unwrap();
                assert_eq!(staged["parameters"], first.staged["parameters"]);
            }
            let asked = &sandbox.requests()[before..];
            let of_source = |path: &str| path.starts_with("/fhir/jobs/");
            assert!(!asked.iter().any(|it| of_source(&it.path)), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn a_transfer_that_died_while_it_asked_for_the_deletion_leaves_a_run_that_goes_on() {
    let sandbox = sandbox().await;
    let mut story = Story::of(&sandbox);
    let export = story.finish(Step::FhirExport, &json!({})).await.unwrap();
    let complete = story
        .finish(Step::CheckExportStatus, &export)
        .await
        .unwrap();
    // The source will have deleted the job, and its answer never arrives.
    sandbox.faults().once(Fault::Hang(Place::StatusDelete));
    {
        let function = story.function(Step::TransferToS3).await;
        let dies = until_asked(&sandbox, 1, |it| it.method == "DELETE");
        tokio::select! {
            answer = function.invoke(complete) => panic!("it answered: {answer:?}"),
            () = dies => {}
        }
    }
    story.restart().await;
    sandbox.faults().clear();
    sandbox.faults().on(Fault::SourceLosesJob);
    let told = story.tell_from(export).await.unwrap();
    assert_arrived(&sandbox);
    let record = record(&sandbox, &told.export["run"]);
    assert!(record["jobDeleted"]["answer"].is_u64(), "{record}");
}

#[tokio::test]
async fn a_newer_kick_off_that_leads_to_the_same_status_url_is_another_export() {
    let sandbox = sandbox().await;
    sandbox.faults().on(Fault::JobNumbersRepeat);
    let mut story = Story::of(&sandbox);
    let first = told(&mut story).await;
    assert!(sandbox.source_put(&json!({"resourceType": "Patient", "id": "new"})));
    let second = told(&mut story).await;
    assert_eq!(second.export["statusUrl"], first.export["statusUrl"]);
    assert_ne!(second.complete["run"], first.complete["run"]);
    assert_eq!(sandbox.deletions().len(), 2);
    assert_arrived(&sandbox);
    // And the second one's answer is repeated, although it was kicked off under the first one's name.
    let again = story.call(Step::CheckExportStatus, &second.export).await;
    assert_eq!(again.unwrap()["result"], second.complete["result"]);
}

#[tokio::test]
async fn a_maps_worker_never_deletes_the_job() {
    let sandbox = sandbox().await;
    let mut story = Story::of(&sandbox).with("TRANSFER_BATCHES", "true");
    let complete = story.until(Step::TransferToS3).await.unwrap();
    let items: Vec<u64> = (0..complete["result"]["outputs"].as_u64().unwrap()).collect();
    let worker = json!({
        "run": complete["run"],
        "items": items,
        "manifest": complete["result"]["manifest"],
        "statusUrl": complete["statusUrl"],
    });
    story.finish(Step::TransferToS3, &worker).await.unwrap();
    assert_eq!(sandbox.file_requests().len(), items.len(), "all is staged");
    assert_eq!(sandbox.deletions().len(), 0);
    story.finish(Step::TransferToS3, &complete).await.unwrap();
    assert_eq!(sandbox.deletions().len(), 1);
    // What was deleted is not deleted again.
    story.finish(Step::TransferToS3, &complete).await.unwrap();
    assert_eq!(sandbox.deletions().len(), 1);
}

#[tokio::test]
async fn a_poll_that_finds_the_job_deleted_by_another_process_meanwhile_gives_the_stored_manifest()
{
    for answers in [None, Some(DeletedJob::Gone)] {
        let sandbox = sandbox().await;
        if let Some(answers) = answers {
            sandbox.faults().on(Fault::DeletedJobAnswers(answers));
        }
        let mut story = Story::of(&sandbox);
        let complete = story.until(Step::TransferToS3).await.unwrap();
        let env = story.environment(Step::CheckExportStatus);
        let mut other = Function::start("check-export-status", &env).await;
        sandbox.clear_requests();
        // Its poll is on its way, and the record was read, while the other one ends the transfer.
        sandbox.faults().once(Fault::Delay(Place::Status, 5000));
        let event = json!({"statusUrl": complete["statusUrl"], "run": complete["run"]});
        let ends = async {
            until_asked(&sandbox, 1, |it| {
                it.method == "GET" && it.path.starts_with("/fhir/jobs/")
            })
            .await;
            story.finish(Step::TransferToS3, &complete).await.unwrap();
        };
        let (told, ()) = tokio::join!(other.invoke(event), ends);
        assert_eq!(sandbox.deletions().len(), 1);
        assert_eq!(told.unwrap()["result"], complete["result"]);
    }
}
