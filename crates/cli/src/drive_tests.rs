use std::collections::VecDeque;

use pathling_import_core::Kind;
use serde_json::json;

use super::*;
use crate::fixture::settings;

/// Steps that answer by a script, in order, and remember what they were asked.
#[derive(Default)]
struct Script {
    answers: RefCell<VecDeque<Result<Value>>>,
    asked: RefCell<Vec<(Step, Value)>>,
    left: RefCell<VecDeque<Result<Option<Unfinished>>>>,
    behind: RefCell<Option<LeftBehind>>,
    paused: RefCell<Vec<u64>>,
}

impl Script {
    fn of(answers: impl IntoIterator<Item = Result<Value>>) -> Self {
        Self {
            answers: RefCell::new(answers.into_iter().collect()),
            ..Self::default()
        }
    }

    fn steps_asked(&self) -> Vec<Step> {
        self.asked.borrow().iter().map(|(step, _)| *step).collect()
    }
}

impl Steps for Script {
    async fn run(&self, step: Step, event: Value) -> Result<Value> {
        self.asked.borrow_mut().push((step, event));
        self.answers.borrow_mut().pop_front().unwrap()
    }

    async fn unfinished(&self) -> Result<Option<Unfinished>> {
        self.left.borrow_mut().pop_front().unwrap_or(Ok(None))
    }

    async fn left_behind(&self) -> Result<Option<LeftBehind>> {
        Ok(self.behind.borrow().clone())
    }

    async fn kicked_off(&self, _: &str) -> Option<String> {
        Some("2026-01-01T00:00:00Z".to_owned())
    }

    async fn pause(&self, wait: Duration) {
        self.paused.borrow_mut().push(wait.as_secs());
    }
}

/// Writes down what it is told.
#[derive(Default)]
struct Notes(RefCell<Vec<String>>);

impl Notes {
    fn note(&self, text: String) {
        self.0.borrow_mut().push(text);
    }
}

impl Watch for Notes {
    fn resumed(&self, run: &str, step: Step, since: Option<&str>) {
        self.note(format!("{run} since {since:?} at {}", step.name()));
    }
    fn left_behind(&self, left: &LeftBehind) {
        self.note(format!("{} is left behind", left.run));
    }
    fn begun(&self, step: Step) {
        self.note(format!("{} begins", step.name()));
    }
    fn waiting(&self, _: Step, why: &Error, wait: Duration) {
        self.note(format!("{}: wait {} s", why.what(), wait.as_secs()));
    }
    fn retrying(&self, _: Step, why: &Error, wait: Duration) {
        self.note(format!("{}: retry after {} s", why.what(), wait.as_secs()));
    }
    fn ended(&self, step: Step, _: Duration) {
        self.note(format!("{} ends", step.name()));
    }
}

fn outputs() -> [Result<Value>; 5] {
    [
        Ok(json!({"statusUrl": "https://source/1", "run": "a1", "since": null})),
        Ok(json!({"result": {}, "statusUrl": "https://source/1", "run": "a1-b2", "since": null})),
        Ok(json!({"parameters": {}, "run": "a1-b2", "since": null})),
        Ok(json!({"statusUrl": "https://target/1", "run": "a1-b2", "since": null})),
        Ok(json!({"result": {}, "run": "a1-b2", "since": null})),
    ]
}

#[tokio::test]
async fn five_steps_run_in_order_each_with_the_output_of_the_one_before() {
    let (script, notes, settings) = (Script::of(outputs()), Notes::default(), settings(&[]));
    let drive = Drive::new(&script, &notes, &settings);
    let finished = drive.go(false).await.unwrap();
    assert_eq!(script.steps_asked(), Step::FIVE);
    let asked = script.asked.borrow();
    assert_eq!(asked[0].1, json!({}));
    for (event, output) in asked[1..].iter().zip(outputs()) {
        assert_eq!(event.1, output.unwrap());
    }
    assert_eq!(finished.run, "a1-b2");
    assert_eq!(finished.extent, Some(Extent::Full));
    assert!(finished.imported && !finished.resumed);
    assert_eq!(finished.phases.len(), 5);
}

#[tokio::test]
async fn a_null_status_url_ends_the_sequence_with_nothing_to_import() {
    let mut answers = outputs();
    answers[3] = Ok(json!({"statusUrl": null, "run": "a1"}));
    let (script, notes, settings) = (Script::of(answers), Notes::default(), settings(&[]));
    let finished = Drive::new(&script, &notes, &settings)
        .go(false)
        .await
        .unwrap();
    assert!(!finished.imported);
    assert_eq!(script.steps_asked(), Step::FIVE[..4]);
}

#[tokio::test]
async fn waits_are_slept_and_shown_and_the_same_event_is_asked_again() {
    let mut answers: VecDeque<_> = outputs().into_iter().collect();
    let wish = Some(Duration::from_secs(20));
    answers.insert(1, Err(Kind::JobInProgress.error("40 %").retry_after(wish)));
    answers.insert(1, Err(Kind::SourceUnavailable.error("502")));
    answers.insert(1, Err(Kind::JobInProgress.error("10 %")));
    let (script, notes, settings) = (Script::of(answers), Notes::default(), settings(&[]));
    Drive::new(&script, &notes, &settings)
        .go(false)
        .await
        .unwrap();
    assert_eq!(*script.paused.borrow(), [1, 60, 20]);
    assert_eq!(
        notes.0.borrow()[..7],
        [
            "fhir-export begins",
            "fhir-export ends",
            "check-export-status begins",
            "10 %: wait 1 s",
            "502: retry after 60 s",
            "40 %: wait 20 s",
            "check-export-status ends",
        ]
    );
    let asked = script.asked.borrow();
    assert_eq!(asked[1], asked[4]);
}

#[tokio::test]
async fn a_step_that_goes_on_for_too_long_is_given_up_and_the_position_says_where() {
    let in_progress = || Err(Kind::JobInProgress.error("import goes on"));
    let answers =
        outputs()
            .into_iter()
            .take(4)
            .chain([in_progress(), in_progress(), in_progress()]);
    let (script, notes) = (Script::of(answers), Notes::default());
    let settings = settings(&[("IMPORT_RETRY_TIMES", "2"), ("IMPORT_RETRY_WAIT", "0.5")]);
    let drive = Drive::new(&script, &notes, &settings);
    let error = drive.go(false).await.unwrap_err();
    assert_eq!(error.kind(), Kind::JobInProgress);
    assert!(
        error.what().contains("gave up after 2 waits, 1 s in all"),
        "{error}"
    );
    let expected = Position {
        run: Some("a1-b2".to_owned()),
        step: Some(Step::CheckImportStatus),
    };
    assert_eq!(drive.position(), expected);
    assert!(script.answers.borrow().is_empty());
}

#[tokio::test]
async fn an_error_that_no_retry_mends_ends_the_sequence_at_once() {
    let script = Script::of([Err(Kind::Authentication.error("401"))]);
    let (notes, settings) = (Notes::default(), settings(&[]));
    let error = Drive::new(&script, &notes, &settings)
        .go(false)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Authentication);
    assert_eq!(script.asked.borrow().len(), 1);
}

fn left() -> Unfinished {
    Unfinished {
        run: "c3".to_owned(),
        step: Step::TransferToS3,
        event: json!({"result": {}, "run": "c3"}),
    }
}

#[tokio::test]
async fn a_run_that_is_given_up_is_told_of_and_one_that_goes_on_is_not() {
    let behind = || {
        RefCell::new(Some(LeftBehind {
            run: "c3".to_owned(),
            status_url: "https://source/1".to_owned(),
            complete: false,
        }))
    };
    for (left, fresh, told) in [
        (None, false, true),
        (Some(left()), true, true),
        (Some(left()), false, false),
    ] {
        let mut script = Script::of(outputs().into_iter().skip(if told { 0 } else { 2 }));
        script.left.borrow_mut().push_back(Ok(left));
        script.behind = behind();
        let (notes, settings) = (Notes::default(), settings(&[]));
        let drive = Drive::new(&script, &notes, &settings);
        drive.go(fresh).await.unwrap();
        let first = notes.0.borrow()[0].clone();
        assert_eq!(first == "c3 is left behind", told, "{first}");
    }
}

#[tokio::test]
async fn an_unfinished_run_goes_on_in_its_step_with_its_event() {
    let script = Script::of(outputs().into_iter().skip(2));
    script.left.borrow_mut().extend([
        Err(Kind::StagingUnavailable.error("S3 says 503")),
        Ok(Some(left())),
    ]);
    let (notes, settings) = (Notes::default(), settings(&[]));
    let finished = Drive::new(&script, &notes, &settings)
        .go(false)
        .await
        .unwrap();
    assert!(finished.resumed);
    assert_eq!(script.steps_asked(), Step::FIVE[2..]);
    assert_eq!(
        script.asked.borrow()[0].1,
        json!({"result": {}, "run": "c3"})
    );
    assert_eq!(
        notes.0.borrow()[..2],
        [
            "S3 says 503: retry after 60 s",
            "c3 since Some(\"2026-01-01T00:00:00Z\") at transfer-to-s3"
        ]
    );
}

#[tokio::test]
async fn a_fresh_start_does_not_look_for_an_unfinished_run() {
    let script = Script::of(outputs());
    script.left.borrow_mut().push_back(Ok(Some(left())));
    let (notes, settings) = (Notes::default(), settings(&[]));
    let finished = Drive::new(&script, &notes, &settings)
        .go(true)
        .await
        .unwrap();
    assert!(!finished.resumed);
    assert_eq!(script.steps_asked(), Step::FIVE);
}
