//! Settings that are wrong, in each way, through the real functions: one error that lists all of them, for every
//! invocation, and shows no secret.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pathling_import_core::config::Step;
use pathling_import_core::config::table::{Form, Need, SETTINGS, Setting};
use pathling_import_tests::{Env, Function, LambdaError, Story};
use sandbox::Sandbox;
use serde_json::json;

/// What the text of a setting of this form must not be. What must not be shown holds "leaks".
fn wrong(setting: &Setting) -> &'static [&'static str] {
    match setting.form {
        _ if setting.name == "SENTRY_DSN" => &["leaks", "https://leaks@/42", "https://h/leaks"],
        Form::Url => &[
            "leaks",
            "ftp://leaks.example.org/fhir",
            "https://user:leaks@h/fhir",
            "https://h/fhir?key=leaks",
            "https://h/fhir#leaks",
        ],
        Form::Instant => &[
            "yesterday",
            "2026-01-31",
            "2026-01-31T00:00:00",
            "2026-02-30T00:00:00Z",
        ],
        Form::Since => &["automatic", "yesterday", "2026-01-31"],
        Form::Period => &["30", "d", "0d", "-1d", "1.5h", "30y"],
        Form::Types => &["../../x", "Patient;Condition", "Patient,condition"],
        Form::Type => &["patient", "../x", "Patient,Condition", "Patient Condition"],
        Form::Text | Form::Secret => &["leaks\u{7}", "leaks\nleaks"],
        Form::Flag => &["yes", "1", "wahr"],
        Form::Choice(_) => &["neither", "MERGE ", "3"],
        Form::Bytes(..) => &["much", "1MiB", "32 MB", "-1", "1e9", "99999999TiB"],
        Form::WordOrWhole(..) => &["some", "0", "-1", "1.5", "257"],
        Form::Whole(..) => &["many", "-1", "1.5"],
        Form::Seconds(..) | Form::Factor(..) => &["soon", "-1", "1e12", "NaN"],
        Form::Origins => &["leaks", "https://h/leaks", "ftp://leaks"],
        Form::Level => &["all", "Patient", "group", "group/", "group/..", "group/a/b"],
        Form::Searches => &[
            "status=leaks",
            "Patient",
            "x?a=leaks",
            "Patient?name=a leaks",
        ],
        Form::Names => &["a b", "a/b", "a;b"],
        Form::Patients => &["Group/leaks", "a/leaks", "ftp://leaks/Patient/1"],
        Form::Query => &["=leaks", "_type=leaks", "a b=leaks"],
        Form::Document => &["leaks", "[\"leaks\"]", "{\"leaks\"}"],
        Form::Headers => &[
            "leaks",
            ": leaks",
            "Authorization: Bearer leaks",
            "X: 1; x: leaks",
        ],
        Form::Manifest => &[
            "leaks.json",
            "file:///leaks.json",
            "s3://leaks/manifest",
            "https://user:leaks@h/manifest",
            "https://h/manifest#leaks",
        ],
        Form::Place => &[
            "s3://",
            "ftp://leaks/x",
            "s3://b/*",
            "file://leaks/x",
            "/a/../b",
            "/a b",
        ],
    }
}

async fn refusal(step: Step, env: &Env) -> LambdaError {
    let mut function = Function::start(step.name(), env).await;
    let error = function.invoke(json!({})).await.unwrap_err();
    assert_eq!(error.error_type, "ConfigurationError", "{error:?}");
    let again = function.invoke(json!({"statusUrl": "https://h/1"})).await;
    assert_eq!(again, Err(error.clone()), "every invocation gets it");
    assert!(!function.logs().contains("leaks"), "{}", function.logs());
    error
}

/// The lines of a list of problems.
fn problems(error: &LambdaError) -> Vec<&str> {
    let lines = error.error_message.lines();
    lines.filter_map(|line| line.strip_prefix("- ")).collect()
}

#[tokio::test]
async fn everything_that_is_wrong_is_listed_at_once_by_name() {
    for round in 0..6 {
        for step in Step::FIVE {
            let mut env = Env::default();
            let read = SETTINGS.iter().filter(|setting| setting.is_read_by(step));
            let read: Vec<&Setting> = read.collect();
            for setting in &read {
                let wrong = wrong(setting);
                env.set(setting.name, wrong[round % wrong.len()]);
            }
            let error = refusal(step, &env).await;
            let problems = problems(&error);
            for setting in &read {
                let told = problems
                    .iter()
                    .filter(|line| line.starts_with(&format!("{} ", setting.name)));
                assert_eq!(told.count(), 1, "{}: {}", setting.name, error.error_message);
            }
            let count = format!("{} settings are wrong", read.len());
            assert!(error.error_message.contains(&count), "{error:?}");
            assert!(!error.error_message.contains("leaks"), "{error:?}");
            assert!(error.error_message.contains("docs/configuration.md"));
        }
    }
}

#[tokio::test]
async fn everything_that_is_missing_is_listed_at_once_by_name_and_nothing_else() {
    for step in Step::FIVE {
        let error = refusal(step, &Env::default()).await;
        let problems = problems(&error);
        for setting in SETTINGS {
            let needed = setting.required_by.contains(&step)
                && matches!(setting.need, Need::Required | Need::RequiredUnlessOff(_));
            let missing = format!("{} is missing", setting.name);
            let told = problems.iter().filter(|line| line.starts_with(&missing));
            assert_eq!(told.count(), usize::from(needed), "{missing}: {problems:?}");
        }
    }
}

#[tokio::test]
async fn an_empty_value_is_an_unset_one() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let env = Env::of(&sandbox)
        .with("SINCE", "")
        .with("TYPES", "")
        .with("IMPORT_MODE", "");
    let mut function = Function::start("fhir-export", &env).await;
    let output = function.invoke(json!({})).await.unwrap();
    assert_eq!(output["since"], json!(null));
    let env = Env::of(&sandbox).with("SOURCE_CLIENT_SECRET", "");
    let mut function = Function::start("fhir-export", &env).await;
    let error = function.invoke(json!({})).await.unwrap_err();
    assert!(
        error
            .error_message
            .contains("SOURCE_CLIENT_SECRET is missing")
    );
}

#[tokio::test]
async fn what_a_step_does_not_read_cannot_be_wrong_for_it() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let env = Env::of(&sandbox)
        .with("IMPORT_MODE", "neither")
        .with("TARGET_CLIENT_SECRET", "\u{7}")
        .with("IMPORT_RETRY_TIMES", "many");
    let mut function = Function::start("fhir-export", &env).await;
    function.invoke(json!({})).await.unwrap();
}

#[tokio::test]
async fn credentials_do_not_go_over_plain_http_to_another_host() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    for (step, side) in [
        (Step::FhirExport, "SOURCE"),
        (Step::PathlingImport, "TARGET"),
    ] {
        let endpoint = format!("{side}_ENDPOINT");
        let env = Env::of(&sandbox).with(&endpoint, "http://fhir.example.org/fhir");
        let error = refusal(step, &env).await;
        for word in [endpoint.as_str(), "ALLOW_PLAINTEXT", "https"] {
            assert!(error.error_message.contains(word), "{error:?}");
        }
    }
}

#[tokio::test]
async fn without_authentication_no_credentials_are_needed_and_none_are_sent() {
    let sandbox = Sandbox::builder().auth(false).start().await.unwrap();
    let mut story = Story::of(&sandbox);
    story.tell().await.unwrap();
    pathling_import_tests::check::assert_arrived(&sandbox);
    let requests = sandbox.requests();
    let token = requests.iter().find(|request| request.has_token());
    assert_eq!(token, None);
}
