//! One name for all requests of a run (`X-Request-Id`): with every request to source and target, in every line of the log,
//! and nowhere else; and the names that servers give requests, in messages.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;

use pathling_import_core::config::Step;
use pathling_import_tests::check::{assert_arrived, assert_no_token_leaks};
use pathling_import_tests::moment::until_asked;
use pathling_import_tests::{AuditLog, Records as _, Story, pathling_import};
use sandbox::{Answer, Builder, Dataset, Fault, Place, Sandbox, Service};
use serde_json::Value;

const NAME: &str = "x-request-id";

fn hospital() -> Builder {
    Sandbox::builder()
        .data(Dataset::of(&[("Condition", 6), ("Patient", 6)]))
        .resources_per_file(2)
}

/// The names under which requests came to a service; `None` for those without.
fn names(sandbox: &Sandbox, service: Service) -> BTreeSet<Option<String>> {
    let requests = sandbox.requests().into_iter();
    requests
        .filter(|request| request.service == service)
        .map(|request| request.headers.get(NAME).cloned())
        .collect()
}

/// The one name that all requests of a run had.
fn name(sandbox: &Sandbox) -> String {
    let mut all = names(sandbox, Service::Source);
    for service in [Service::Target, Service::Token] {
        all.extend(names(sandbox, service));
    }
    let all: Vec<_> = all.into_iter().collect();
    let [Some(name)] = &all[..] else {
        panic!("{all:?}");
    };
    name.clone()
}

#[tokio::test]
async fn all_requests_of_a_run_of_the_command_have_one_name_and_another_run_has_another() {
    let sandbox = hospital().polls(1).import_polls(1).start().await.unwrap();
    let mut seen = BTreeSet::new();
    for _ in 0..2 {
        sandbox.clear_requests();
        let run = pathling_import(&sandbox).arg("--log-format=json");
        let finished = run.run().await;
        let name = name(&sandbox);
        let summary = finished.summary();
        let log = AuditLog::staged(&sandbox, summary["run"].as_str().unwrap());
        assert_eq!(log.export_id(), name, "the audit log tells it");
        for line in finished.stderr.lines().skip(1) {
            let line: Value = serde_json::from_str(line).unwrap();
            assert_eq!(line["request_id"], name, "{line}");
        }
        seen.insert(name);
    }
    assert_eq!(seen.len(), 2);
    assert_arrived(&sandbox);
}

#[tokio::test]
async fn the_five_functions_send_the_name_that_the_first_of_them_made() {
    let sandbox = hospital().polls(1).import_polls(1).start().await.unwrap();
    let mut story = Story::of(&sandbox);
    let mut seen = BTreeSet::new();
    for warm in [false, true] {
        sandbox.clear_requests();
        story.tell().await.unwrap();
        if !warm {
            let name = name(&sandbox);
            let lines: Vec<Value> = story
                .logs()
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok())
                .collect();
            assert!(lines.len() > 5);
            assert!(
                lines.iter().all(|line| line["request_id"] == name),
                "{lines:?}"
            );
            seen.insert(name);
            continue;
        }
        // A process that stays for the next run sends that one's name.
        let next = names(&sandbox, Service::Source);
        assert_eq!(next.len(), 1);
        assert_eq!(next, names(&sandbox, Service::Target));
        seen.extend(next.into_iter().flatten());
    }
    assert_eq!(seen.len(), 2);
}

#[tokio::test]
async fn a_run_that_goes_on_and_one_that_is_given_up_keep_their_name() {
    let sandbox = hospital().polls(1_000_000).start().await.unwrap();
    for arguments in [&[][..], &["cancel"][..]] {
        let run = pathling_import(&sandbox).env("EXPORT_RETRY_TIMES", "1000000");
        let run = arguments
            .iter()
            .fold(run, |run, argument| run.arg(*argument));
        let before = sandbox.polls().len();
        let run = run.spawn();
        if arguments.is_empty() {
            until_asked(&sandbox, before + 2, |it| it.path.contains("/jobs/")).await;
            run.kill().await;
        } else {
            let _ = run.wait().await.expect_code(0);
        }
    }
    assert_eq!(sandbox.deletions().len(), 1);
    assert_eq!(
        names(&sandbox, Service::Source).len(),
        1,
        "of both processes"
    );
    let _ = name(&sandbox);
}

#[tokio::test]
async fn a_step_that_is_called_alone_names_its_requests_after_the_run() {
    let sandbox = hospital().start().await.unwrap();
    let mut story = Story::of(&sandbox).without("STAGING_URL");
    let export = story.until(Step::CheckExportStatus).await.unwrap();
    sandbox.clear_requests();
    story.call(Step::CheckExportStatus, &export).await.unwrap();
    assert_eq!(name(&sandbox), export["run"].as_str().unwrap());
}

#[tokio::test]
async fn other_origins_hear_no_name_unless_the_operator_trusts_them() {
    let sandbox = hospital().files_elsewhere().start().await.unwrap();
    let _ = pathling_import(&sandbox).run().await.expect_code(0);
    assert_eq!(names(&sandbox, Service::Files), BTreeSet::from([None]));
    let _ = name(&sandbox);

    let builder = hospital().files_elsewhere().files_trusted();
    let sandbox = builder.start().await.unwrap();
    let run = pathling_import(&sandbox).env("SOURCE_TRUSTED_ORIGINS", sandbox.files_origin());
    let _ = run.run().await.expect_code(0);
    let of_files = names(&sandbox, Service::Files);
    assert_eq!(of_files, BTreeSet::from([Some(name(&sandbox))]));

    let sandbox = hospital()
        .fault(Fault::FilesRedirect)
        .start()
        .await
        .unwrap();
    let _ = pathling_import(&sandbox).run().await.expect_code(0);
    assert_eq!(names(&sandbox, Service::Files), BTreeSet::from([None]));
    assert_no_token_leaks(&sandbox);
}

#[tokio::test]
async fn a_name_that_the_operator_sets_wins_where_it_goes() {
    let sandbox = hospital().start().await.unwrap();
    let run = pathling_import(&sandbox).env("SOURCE_HEADERS", "X-Request-ID: night-7");
    let _ = run.run().await.expect_code(0);
    let of_source = names(&sandbox, Service::Source);
    assert_eq!(of_source, BTreeSet::from([Some("night-7".to_owned())]));
    let of_target = names(&sandbox, Service::Target);
    assert_eq!(of_target.len(), 1);
    assert!(!of_target.contains(&Some("night-7".to_owned())) && !of_target.contains(&None));
}

#[tokio::test]
async fn the_name_that_the_server_gave_a_request_is_told_where_it_failed() {
    for (place, step) in [
        (Place::KickOff, "$export"),
        (Place::Status, "/jobs/"),
        (Place::File, "/files/"),
        (Place::ImportKickOff, "$import"),
        (Place::Token, "/token"),
    ] {
        let answer = Answer::new(403).outcome("forbidden", "not you");
        let builder = hospital().fault(Fault::answers(place, answer));
        let sandbox = builder.fault(Fault::AnswersHaveIds).start().await.unwrap();
        let finished = pathling_import(&sandbox).run().await;
        assert_ne!(finished.code, Some(0));
        let error = &finished.stderr[finished.stderr.find("error: ").unwrap()..];
        let named = error
            .split_once("(X-Request-Id: sandbox-")
            .map(|(before, _)| before);
        assert!(named.is_some_and(|before| before.contains(step)), "{error}");
    }
    // Of a file that is gone, too.
    let gone = Fault::answers(Place::File, Answer::new(404));
    let builder = hospital().fault(gone).fault(Fault::AnswersHaveIds);
    let sandbox = builder.start().await.unwrap();
    let finished = pathling_import(&sandbox).run().await;
    let words = ["answered 404 (X-Request-Id: sandbox-"];
    finished.expect_error("TransferError", &words);
}
