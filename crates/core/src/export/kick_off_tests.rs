use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response as Answer};

use super::super::asked::tests::plain;
use super::*;
use crate::http::fake::{Fake, impatient, raw};

const NO_END: Patience = Patience {
    deadline: None,
    retry_after_max: Duration::from_hours(6),
};

fn accepted_answer() -> Answer {
    (StatusCode::ACCEPTED, [("content-location", "/status")]).into_response()
}

fn busy(status: u16, retry_after: &'static str) -> Answer {
    let status = StatusCode::from_u16(status).unwrap();
    (status, [("retry-after", retry_after)]).into_response()
}

/// A source that gives these answers one after the other, and then accepts.
async fn source(answers: Vec<Answer>) -> Fake {
    let answers = Arc::new(Mutex::new(VecDeque::from(answers)));
    Fake::start(move |_| {
        let next = answers.lock().unwrap().pop_front();
        async move { next.unwrap_or_else(accepted_answer) }
    })
    .await
}

async fn ask(fake: &Fake, wanted: &Wanted, patience: Patience) -> Result<Accepted, Failed> {
    kick_off(&impatient(&fake.url), &fake.url, wanted, None, patience).await
}

fn methods(fake: &Fake) -> Vec<String> {
    let all = fake.seen("");
    all.iter()
        .map(|seen| seen.line.split(' ').next().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_busy_source_is_asked_again_after_as_long_as_it_says() {
    let fake = source(vec![busy(429, "0"), busy(503, "0")]).await;
    let accepted = ask(&fake, &plain(), NO_END).await.unwrap();
    assert_eq!(accepted.method, Method::Get);
    assert_eq!(methods(&fake).len(), 3);
}

#[tokio::test]
async fn a_wait_that_is_too_long_is_the_callers_and_no_job_runs() {
    let soon = Patience {
        deadline: Some(Instant::now() + Duration::from_secs(3)),
        ..NO_END
    };
    for (patience, retry_after) in [(NO_END, "3600"), (soon, "5")] {
        let fake = source(vec![busy(429, retry_after)]).await;
        let failed = ask(&fake, &plain(), patience).await.unwrap_err();
        assert_eq!(failed.error.kind(), Kind::SourceUnavailable);
        let asked = retry_after.parse().unwrap();
        assert_eq!(failed.error.wait(), Some(Duration::from_secs(asked)));
        assert!(!failed.may_run);
        assert_eq!(methods(&fake).len(), 1);
    }
}

#[tokio::test]
async fn a_retry_after_is_obeyed_within_its_bound() {
    let patience = Patience {
        retry_after_max: Duration::ZERO,
        ..NO_END
    };
    let fake = source(vec![busy(429, "86400")]).await;
    ask(&fake, &plain(), patience).await.unwrap();
}

#[tokio::test]
async fn a_kick_off_that_a_gateway_cut_may_have_begun_a_job() {
    for status in [502, 504] {
        let fake = source(vec![busy(status, "0")]).await;
        let failed = ask(&fake, &plain(), NO_END).await.unwrap_err();
        assert!(failed.may_run, "{status}");
        assert!(failed.error.what().contains("may have begun"), "{failed:?}");
        assert_eq!(methods(&fake).len(), 1, "it is not repeated here");
    }
    for closes in [true, false] {
        let url = raw("", closes).await;
        let failed = kick_off(&impatient(&url), &url, &plain(), None, NO_END).await;
        let failed = failed.unwrap_err();
        assert!(failed.may_run && failed.error.what().contains("may have begun"));
    }
    let nobody = Url::parse("http://127.0.0.1:1/fhir").unwrap();
    let failed = kick_off(&impatient(&nobody), &nobody, &plain(), None, NO_END).await;
    let failed = failed.unwrap_err();
    assert!(!failed.may_run && !failed.error.what().contains("may have begun"));
}

#[tokio::test]
async fn an_answer_that_does_not_come_before_the_deadline_may_be_a_job_too() {
    let url = raw("", false).await;
    let patience = Patience {
        deadline: Some(Instant::now() + LAST_WORDS + Duration::from_millis(50)),
        ..NO_END
    };
    let failed = kick_off(&impatient(&url), &url, &plain(), None, patience).await;
    let failed = failed.unwrap_err();
    assert!(
        failed.may_run && failed.error.what().contains("in the time"),
        "{failed:?}"
    );
}

#[tokio::test]
async fn a_refused_method_is_replaced_by_the_other_where_none_was_chosen() {
    let no = || StatusCode::METHOD_NOT_ALLOWED.into_response();
    let fake = source(vec![no()]).await;
    let accepted = ask(&fake, &plain(), NO_END).await.unwrap();
    assert_eq!(accepted.method, Method::Post);
    assert_eq!(methods(&fake), ["GET", "POST"]);
    let fake = source(vec![StatusCode::NOT_IMPLEMENTED.into_response()]).await;
    ask(&fake, &plain(), NO_END).await.unwrap();
    assert_eq!(methods(&fake), ["GET", "POST"]);

    let fake = source(vec![no(), no()]).await;
    let failed = ask(&fake, &plain(), NO_END).await.unwrap_err();
    assert!(
        failed.error.what().contains("GET"),
        "the first answer: {failed:?}"
    );

    let gone = StatusCode::NOT_FOUND.into_response();
    let fake = source(vec![no(), gone]).await;
    let failed = ask(&fake, &plain(), NO_END).await.unwrap_err();
    assert!(
        failed.error.what().contains("404"),
        "the answer of the method that is known: {failed:?}"
    );

    let mut chosen = plain();
    chosen.export.method = Some(Method::Get);
    let mut patients = plain();
    patients.export.patients = vec!["Patient/1".to_owned()];
    for (wanted, method) in [(chosen, "GET"), (patients, "POST")] {
        let fake = source(vec![no()]).await;
        let failed = ask(&fake, &wanted, NO_END).await.unwrap_err();
        assert_eq!(failed.error.kind(), Kind::ExportFailed);
        assert_eq!(methods(&fake), [method]);
    }
}

#[tokio::test]
async fn a_preference_is_said_where_one_was_chosen() {
    use crate::config::Handling;
    for (handling, prefer) in [
        (None, "respond-async"),
        (Some(Handling::Lenient), "respond-async, handling=lenient"),
        (Some(Handling::Strict), "respond-async, handling=strict"),
    ] {
        let mut wanted = plain();
        wanted.export.handling = handling;
        let fake = source(Vec::new()).await;
        ask(&fake, &wanted, NO_END).await.unwrap();
        assert_eq!(fake.seen("")[0].headers["prefer"], prefer);
    }
}
