//! How the source takes a kick-off, through the real functions and the command: the method that it knows, what it says that
//! it does not know, too much to do, answers that got lost, and headers that it wants.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pathling_import_core::config::Step::{FhirExport, TransferToS3};
use pathling_import_tests::check::{assert_arrived, assert_no_token_leaks};
use pathling_import_tests::moment::until_asked;
use pathling_import_tests::{Env, Function, Records as _, Story, pathling_import};
use sandbox::{Answer, Dataset, Fault, Place, Sandbox, Service};
use serde_json::{Value, json};

async fn hospital<'a>(faults: impl IntoIterator<Item = &'a Fault>) -> Sandbox {
    let sandbox = Sandbox::builder().data(Dataset::synthetic(4)).start().await;
    let sandbox = sandbox.unwrap();
    for fault in faults {
        sandbox.faults().on(fault.clone());
    }
    sandbox
}

fn methods(sandbox: &Sandbox) -> Vec<(String, Option<u16>)> {
    let all = sandbox.export_kick_offs().into_iter();
    all.map(|asked| (asked.method, asked.status)).collect()
}

fn record(sandbox: &Sandbox, run: &Value) -> Value {
    let key = format!("pathling/runs/{}/_run.json", run.as_str().unwrap());
    serde_json::from_slice(&sandbox.s3_object(&key).unwrap()).unwrap()
}

#[tokio::test]
async fn a_source_that_refuses_get_is_asked_by_post() {
    let sandbox = hospital(&[Fault::KickOffRefusesGet]).await;
    let told = Story::of(&sandbox).tell().await.unwrap();
    let expected = [("GET", Some(405)), ("POST", Some(202))];
    assert_eq!(
        methods(&sandbox),
        expected.map(|(name, status)| (name.to_owned(), status))
    );
    assert_eq!(
        record(&sandbox, &told.export["run"])["kickOffs"][0]["method"],
        "POST"
    );
    assert_arrived(&sandbox);
}

#[tokio::test]
async fn a_method_that_was_chosen_is_not_replaced() {
    for (fault, method) in [
        (Fault::KickOffRefusesGet, "get"),
        (Fault::KickOffRefusesPost, "post"),
    ] {
        let sandbox = hospital(&[fault]).await;
        let mut story = Story::of(&sandbox).with("KICKOFF_METHOD", method);
        let failed = story.tell().await.unwrap_err();
        assert_eq!(
            (failed.step, failed.error_type.as_str()),
            (FhirExport, "ExportFailedError")
        );
        let message = &failed.error_message;
        assert!(
            message.contains("405") && message.contains("KICKOFF_METHOD"),
            "{message}"
        );
        assert_eq!(methods(&sandbox).len(), 1);
    }
}

#[tokio::test]
async fn a_source_of_stu4_is_asked_by_post_at_once_and_without_lists() {
    let sandbox = hospital(&[Fault::KickOffStu4]).await;
    let mut story = Story::of(&sandbox)
        .with("TYPES", "Patient,Condition")
        .with("INCLUDE_ASSOCIATED_DATA", "LatestProvenanceResources,_mine");
    story.tell().await.unwrap();
    assert_eq!(methods(&sandbox), [("POST".to_owned(), Some(202))]);
    let mut types = sandbox.target_types();
    types.sort();
    assert_eq!(types, ["Condition", "Patient"]);
}

/// The warnings of `fhir-export` with these settings.
async fn warnings(sandbox: &Sandbox, settings: &[(&str, &str)]) -> Vec<Value> {
    let mut env = Env::of(sandbox);
    for (name, value) in settings {
        env.set(name, *value);
    }
    let mut function = Function::start("fhir-export", &env.of_step(FhirExport)).await;
    for _ in 0..2 {
        function.invoke(json!({})).await.unwrap();
    }
    let logs = function.logs();
    let lines = logs
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["level"] == "WARN").collect()
}

#[tokio::test]
async fn what_the_source_says_that_it_does_not_know_is_warned_of_by_name_and_once() {
    let asked = [
        ("UNTIL", "2999-01-01T00:00:00Z"),
        ("EXPORT_PARAMETERS", "_mine=1"),
        ("KICKOFF_HANDLING", "lenient"),
    ];
    let names = |warnings: &[Value]| -> Vec<String> {
        let text = warnings.iter().map(Value::to_string);
        let named = |text: &String| {
            ["_until", "_mine", "_since", "_outputFormat"]
                .into_iter()
                .filter(|name| text.contains(name))
                .collect::<String>()
        };
        text.map(|text| named(&text)).collect()
    };
    for (fault, expected) in [
        (
            Fault::MetadataNames("_since,_type".to_owned()),
            vec!["_mine", "_until"],
        ),
        (
            Fault::MetadataNames("_outputFormat,_until,_mine".to_owned()),
            vec![],
        ),
        (
            Fault::MetadataEdition("2.0.0".to_owned()),
            vec!["_mine", "_until"],
        ),
        (Fault::MetadataEdition("3.0.0".to_owned()), vec!["_mine"]),
    ] {
        let sandbox = hospital([&fault]).await;
        let warnings = warnings(&sandbox, &asked).await;
        assert_eq!(names(&warnings), expected, "{fault}: {warnings:?}");
        let read = sandbox.requests().into_iter().filter(|request| {
            request.service == Service::Source && request.path == "/fhir/metadata"
        });
        assert_eq!(
            read.count(),
            1,
            "the statement is read once for all invocations"
        );
    }
    let sandbox = hospital(&[]).await;
    assert_eq!(
        warnings(&sandbox, &asked).await,
        Vec::<Value>::new(),
        "most say nothing"
    );
}

#[tokio::test]
async fn an_export_does_not_depend_on_what_the_source_says_beforehand() {
    let at = Place::SourceMetadata;
    for fault in [
        Fault::answers(at, 404),
        Fault::answers(at, 500),
        Fault::answers(at, 401),
        Fault::Html(at, 200),
        Fault::Hang(at),
    ] {
        let sandbox = hospital([&fault]).await;
        let warnings = warnings(&sandbox, &[("IDLE_TIMEOUT", "1")]).await;
        assert!(!warnings.is_empty(), "{fault}: no warning");
        let text = warnings[0].to_string();
        assert!(text.contains("/fhir/metadata"), "{fault}: {text}");
        assert_eq!(methods(&sandbox).len(), 2, "{fault}");
    }
}

#[tokio::test]
async fn an_unknown_parameter_is_refused_or_ignored_as_was_asked() {
    let lacks = Fault::KickOffLacks("_until".to_owned());
    for handling in [None, Some("strict")] {
        let sandbox = hospital([&lacks]).await;
        let mut story = Story::of(&sandbox).with("UNTIL", "2999-01-01T00:00:00Z");
        if let Some(handling) = handling {
            story = story.with("KICKOFF_HANDLING", handling);
        }
        let failed = story.tell().await.unwrap_err();
        assert_eq!(failed.error_type, "ExportFailedError");
        assert!(
            failed.error_message.contains("'_until' is not supported"),
            "{failed:?}"
        );
    }
    let sandbox = hospital(&[lacks]).await;
    let story = Story::of(&sandbox).with("UNTIL", "2999-01-01T00:00:00Z");
    story
        .with("KICKOFF_HANDLING", "lenient")
        .tell()
        .await
        .unwrap();
    assert_arrived(&sandbox);
}

#[tokio::test]
async fn a_source_with_too_much_to_do_is_asked_again_by_the_same_call() {
    let sandbox = hospital(&[]).await;
    for answer in [Answer::new(429).retry_after(1), Answer::new(503)] {
        sandbox
            .faults()
            .once(Fault::answers(Place::KickOff, answer));
    }
    let mut story = Story::of(&sandbox);
    let export = story.call(FhirExport, &json!({})).await.unwrap();
    let statuses: Vec<_> = methods(&sandbox)
        .into_iter()
        .map(|(_, status)| status)
        .collect();
    assert_eq!(statuses, [Some(429), Some(503), Some(202)]);
    let kick_off = &record(&sandbox, &export["run"])["kickOffs"][0];
    assert_eq!(
        kick_off.get("unanswered"),
        None,
        "they were answered: {kick_off}"
    );
}

#[tokio::test]
async fn a_wait_that_does_not_fit_into_the_call_ends_it_with_what_the_source_asked_for() {
    let answer = Answer::new(429).retry_after(5);
    let sandbox = hospital(&[Fault::answers(Place::KickOff, answer)]).await;
    let mut function = Function::start("fhir-export", &Env::of(&sandbox).of_step(FhirExport)).await;
    let failed = function
        .invoke_with_timeout(json!({}), 5000)
        .await
        .unwrap_err();
    assert_eq!(failed.error_type, "SourceUnavailableError");
    assert!(failed.error_message.contains("429"), "{failed:?}");
    let wish = "asked again in 5 s (Retry-After)";
    assert!(failed.error_message.contains(wish), "{failed:?}");
    assert!(
        !failed.error_message.contains("may have begun"),
        "{failed:?}"
    );
    assert_eq!(methods(&sandbox).len(), 1);
    sandbox.faults().clear();
    let export = function.invoke(json!({})).await.unwrap();
    let kick_off = &record(&sandbox, &export["run"])["kickOffs"][0];
    assert_eq!(kick_off.get("unanswered"), None, "{kick_off}");
}

#[tokio::test]
async fn a_kick_off_whose_answer_got_lost_is_told_by_the_message_and_by_the_next_ones_record() {
    for fault in [Fault::KickOffAnswerLost, Fault::Hang(Place::KickOff)] {
        let sandbox = hospital([&fault]).await;
        let mut story = Story::of(&sandbox).with("IDLE_TIMEOUT", "1");
        for _ in 0..2 {
            let failed = story.call(FhirExport, &json!({})).await.unwrap_err();
            assert_eq!(failed.error_type, "SourceUnavailableError", "{fault}");
            let message = &failed.error_message;
            assert!(message.contains("may have begun an export"), "{message}");
            assert!(
                message.contains("a second export may then run"),
                "{message}"
            );
        }
        sandbox.faults().clear();
        let export = story.call(FhirExport, &json!({})).await.unwrap();
        let first = &record(&sandbox, &export["run"])["kickOffs"][0];
        assert_eq!(
            first["unanswered"].as_array().map(Vec::len),
            Some(2),
            "{first}"
        );
        let next = story.call(FhirExport, &json!({})).await.unwrap();
        let next = record(&sandbox, &next["run"])["kickOffs"][0].clone();
        assert_eq!(next.get("unanswered"), None, "it was told once: {next}");
    }
}

/// The one state of a synchronisation.
fn state(sandbox: &Sandbox) -> Value {
    let all = sandbox.s3_objects();
    let found = all.iter().find(|(key, _)| key.contains("/sync/")).unwrap();
    serde_json::from_slice(&sandbox.s3_object(&found.0).unwrap()).unwrap()
}

async fn until_kicked_off(sandbox: &Sandbox, times: usize) {
    until_asked(sandbox, times, |it| it.path.ends_with("/$export")).await;
}

#[tokio::test]
async fn a_kick_off_that_is_taken_without_a_place_to_ask_counts_as_a_job_that_may_run() {
    let sandbox = hospital(&[]).await;
    let without = Fault::KickOffWithoutContentLocation;
    sandbox.faults().once(without);
    let mut story = Story::of(&sandbox);
    let failed = story.call(FhirExport, &json!({})).await.unwrap_err();
    assert_eq!(failed.error_type, "ExportFailedError");
    let sent = state(&sandbox)["kickOffSent"].clone();
    assert!(sent.is_string(), "{sent}");
    let export = story.call(FhirExport, &json!({})).await.unwrap();
    let kick_off = &record(&sandbox, &export["run"])["kickOffs"][0];
    assert_eq!(kick_off["unanswered"], json!([sent]), "{kick_off}");
    // One that is refused has begun nothing.
    let sandbox = hospital(&[]).await;
    sandbox.faults().once(Fault::answers(Place::KickOff, 404));
    let mut story = Story::of(&sandbox);
    story.call(FhirExport, &json!({})).await.unwrap_err();
    assert_eq!(state(&sandbox)["kickOffSent"], Value::Null);
}

#[tokio::test]
async fn a_start_that_is_answered_or_refused_leaves_the_note_of_another_that_is_not() {
    for refused in [false, true] {
        let sandbox = hospital(&[]).await;
        let env = Env::of(&sandbox).of_step(FhirExport);
        let mut first = Function::start("fhir-export", &env).await;
        let mut second = Function::start("fhir-export", &env).await;
        sandbox.faults().once(Fault::Delay(Place::KickOff, 4000));
        if refused {
            sandbox.faults().once(Fault::answers(Place::KickOff, 404));
        }
        let others = async {
            until_kicked_off(&sandbox, 1).await;
            sandbox.faults().once(Fault::Hang(Place::KickOff));
            tokio::select! {
                answer = second.invoke(json!({})) => panic!("it hangs: {answer:?}"),
                () = until_kicked_off(&sandbox, 2) => {}
            }
        };
        let (answered, ()) = tokio::join!(first.invoke(json!({})), others);
        assert_eq!(answered.is_err(), refused, "{answered:?}");
        second.kill().await;
        // The second's stands, and no other.
        let state = state(&sandbox);
        assert!(state["kickOffSent"].is_string(), "{state}");
        assert_eq!(state["unanswered"], Value::Null, "{state}");
        let export = first.invoke(json!({})).await.unwrap();
        let kick_offs = &record(&sandbox, &export["run"])["kickOffs"];
        let unanswered = &kick_offs[0]["unanswered"];
        assert_eq!(unanswered.as_array().map(Vec::len), Some(1), "{kick_offs}");
        assert_eq!(unanswered[0], state["kickOffSent"]);
    }
}

#[tokio::test]
async fn a_start_beside_another_that_is_answered_first_does_not_tell_of_it_as_lost() {
    let sandbox = hospital(&[]).await;
    let env = Env::of(&sandbox).of_step(FhirExport);
    let mut first = Function::start("fhir-export", &env).await;
    let mut second = Function::start("fhir-export", &env).await;
    sandbox.faults().once(Fault::Delay(Place::KickOff, 1000));
    let then = async {
        until_kicked_off(&sandbox, 1).await;
        sandbox.faults().once(Fault::Delay(Place::KickOff, 3000));
        second.invoke(json!({})).await.unwrap()
    };
    let (first, second) = tokio::join!(first.invoke(json!({})), then);
    assert!(first.is_ok(), "{first:?}");
    let kick_off = &record(&sandbox, &second["run"])["kickOffs"][0];
    assert_eq!(kick_off.get("unanswered"), None, "{kick_off}");
    let state = state(&sandbox);
    assert_eq!(state["kickOffSent"], Value::Null, "{state}");
    assert_eq!(state["inProgress"]["run"], second["run"], "{state}");
}

#[tokio::test]
async fn a_call_whose_time_runs_out_in_its_kick_off_says_what_may_have_begun() {
    let sandbox = hospital(&[Fault::Hang(Place::KickOff)]).await;
    let mut function = Function::start("fhir-export", &Env::of(&sandbox).of_step(FhirExport)).await;
    let failed = function
        .invoke_with_timeout(json!({}), 2000)
        .await
        .unwrap_err();
    assert_eq!(failed.error_type, "SourceUnavailableError");
    assert!(
        failed.error_message.contains("may have begun an export"),
        "{failed:?}"
    );
}

#[tokio::test]
async fn the_command_asks_again_after_a_lost_answer_and_its_summary_tells_of_it() {
    let sandbox = hospital(&[]).await;
    sandbox.faults().once(Fault::KickOffAnswerLost);
    let finished = pathling_import(&sandbox).run().await.expect_code(0);
    let told = "was never answered: a second export may be running at the source";
    assert!(finished.stdout.contains(told), "{}", finished.stdout);
    assert_arrived(&sandbox);
}

#[tokio::test]
async fn headers_that_the_source_wants_go_to_it_with_every_request_and_to_nobody_else() {
    let wants = Fault::SourceWantsHeader("Epic-Client-ID".to_owned());
    for fault in [
        None,
        Some(Fault::FilesElsewhere),
        Some(Fault::FilesRedirect),
    ] {
        let sandbox = Sandbox::builder()
            .data(Dataset::synthetic(4))
            .fault(wants.clone());
        let sandbox = sandbox.start().await.unwrap();
        if let Some(fault) = &fault {
            sandbox.faults().on(fault.clone());
        }
        let mut story = Story::of(&sandbox).with("SOURCE_HEADERS", "Epic-Client-ID: hush-epic");
        let told = story.tell().await;
        // A token is wanted for files elsewhere, which get none: only the header is of interest here.
        let failed_there = matches!(&told, Err(failed) if failed.step == TransferToS3);
        assert!(
            told.is_ok() || fault.is_some() && failed_there,
            "{fault:?}: {told:?}"
        );
        assert_no_token_leaks(&sandbox);
        let requests = sandbox.requests();
        for request in &requests {
            let had = request.headers.contains_key("epic-client-id");
            assert_eq!(
                had,
                request.service == Service::Source,
                "{fault:?}: {request:?}"
            );
        }
        let elsewhere = requests
            .iter()
            .any(|request| request.service == Service::Files);
        assert_eq!(elsewhere, fault.is_some(), "{fault:?}");
        assert!(!story.logs().contains("hush-epic"));
    }
    let sandbox = hospital(&[wants]).await;
    let failed = Story::of(&sandbox).tell().await.unwrap_err();
    assert!(
        failed.error_message.contains("Epic-Client-ID"),
        "{failed:?}"
    );
}
