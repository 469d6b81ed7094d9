//! What is told of an answer beside its status.

use super::super::fake::{Fake, options};
use super::super::{Client, ClientOptions, Request, Response, failure};
use super::answer;

/// An answer with this header, to a request with a token `t-1` in the query.
async fn answered(name: &'static str, value: String) -> Response {
    let fake = Fake::start(move |_| {
        let value = value.clone();
        async move { answer(404, (name, &value), "") }
    })
    .await;
    let bare = ClientOptions {
        credentials: None,
        ..options(&fake.url)
    };
    let url = fake.at("/x?sig=t-1");
    Client::new(bare)
        .unwrap()
        .send(Request::get(url))
        .await
        .unwrap()
}

#[tokio::test]
async fn the_name_that_a_server_gave_a_request_is_told_where_it_is_one_printable_word() {
    for name in ["x-request-id", "X-Amz-Request-Id", "request-id"] {
        let error = failure(answered(name, "abc-1/=".to_owned()).await, "x").await;
        let title = match name {
            "x-request-id" => "X-Request-Id",
            "request-id" => "Request-Id",
            other => other,
        };
        let told = format!("answered 404 Not Found ({title}: abc-1/=)");
        assert!(error.what().contains(&told), "{error}");
        let answer = error.answer().unwrap();
        assert_eq!(answer.status, 404);
        assert_eq!(answer.headers[&name.to_lowercase()], "abc-1/=");
    }
    for value in ["two words", "", "a\tb"] {
        let error = failure(answered("x-request-id", value.to_owned()).await, "x").await;
        assert!(!error.what().contains("Request-Id"), "{value:?}: {error}");
    }
    let long = failure(answered("x-request-id", "y".repeat(5000)).await, "x").await;
    let ys = long.what().matches('y').count();
    assert_eq!(ys, 100, "{long}");
}

#[tokio::test]
async fn what_a_server_says_of_its_progress_shows_no_link_that_works() {
    let value = "writing https://store/f?sig=hush with Bearer hush2".to_owned();
    let words = answered("x-progress", value)
        .await
        .words_of("x-progress", 200);
    assert_eq!(
        words.unwrap(),
        "writing https://store/f?sig=… with Bearer ***"
    );
    let words = answered("x-progress", "y".repeat(900))
        .await
        .words_of("x-progress", 200);
    assert_eq!(words.unwrap(), "y".repeat(200));
}

#[tokio::test]
async fn only_chosen_headers_are_kept_and_none_of_them_shows_a_secret() {
    let of = async |name, value: &str| {
        let answered = answered(name, value.to_owned()).await.answered();
        assert!(!format!("{answered:?}").contains("t-1"), "{answered:?}");
        answered.headers
    };
    let headers = of("set-cookie", "session=t-1").await;
    assert!(!headers.contains_key("set-cookie") && headers.contains_key("date"));
    let headers = of("location", "https://h/y?sig=t-1").await;
    assert_eq!(headers["location"], "https://h/y?sig=…");
    let headers = of("content-location", "/y?sig=t-1#t-1").await;
    assert_eq!(headers["content-location"], "/y?sig=…");
    let headers = of("x-progress", "at sig=t-1 now").await;
    assert_eq!(headers["x-progress"], "at *** now");
}
