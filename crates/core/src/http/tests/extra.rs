//! The operator's headers: where they go, and where they do not.

use std::sync::Arc;

use super::super::fake::{Fake, discovery, options};
use super::super::{Client, ClientOptions, Request, RequestId, failure};
use super::{answer, ok};
use crate::config::{Header, Headers, Origin, Secret};

const NAME: &str = "epic-client-id";

fn with_header(options: ClientOptions) -> Client {
    let header = Header {
        name: NAME.to_owned(),
        value: Secret::new("hush-epic"),
    };
    let options = ClientOptions {
        headers: Headers::Given(vec![header]),
        ..options
    };
    assert!(!format!("{options:?}").contains("hush-epic"));
    Client::new(options).unwrap()
}

fn had(fake: &Fake) -> Vec<bool> {
    let seen = fake.seen("");
    seen.iter()
        .map(|seen| seen.headers.contains_key(NAME))
        .collect()
}

#[tokio::test]
async fn they_go_with_every_request_to_the_servers_own_origin_tokens_included() {
    let fake = Fake::smart(ok).await;
    let client = with_header(options(&fake.url));
    client.send(Request::get(fake.at("/x"))).await.unwrap();
    assert_eq!(had(&fake), [true; 3], "discovery, token and the request");
}

#[tokio::test]
async fn they_go_to_no_other_origin_nor_along_a_redirect_to_one_unless_it_is_trusted() {
    let other = Arc::new(Fake::start(ok).await);
    let to = other.at("/y").to_string();
    let fake = Fake::start(move |seen| {
        let to = to.clone();
        async move {
            match seen.line.as_str() {
                "GET /away" => answer(307, ("location", &to), ""),
                _ => discovery(&seen),
            }
        }
    })
    .await;
    let bare = ClientOptions {
        credentials: None,
        ..options(&fake.url)
    };
    let client = with_header(bare.clone());
    client.send(Request::get(fake.at("/away"))).await.unwrap();
    client.send(Request::get(other.at("/y"))).await.unwrap();
    assert_eq!(had(&fake), [true]);
    assert_eq!(had(&other), [false, false]);

    let trusting = ClientOptions {
        trusted_origins: vec![Origin::from(&other.url)],
        ..bare
    };
    let client = with_header(trusting);
    client.send(Request::get(fake.at("/away"))).await.unwrap();
    assert_eq!(had(&other), [false, false, true]);
}

#[tokio::test]
async fn the_name_of_the_requests_goes_where_they_go_and_to_the_token_endpoint_and_theirs_wins() {
    let tokens = Arc::new(Fake::smart(ok).await);
    let to = tokens.url.clone();
    let fake = Fake::start(move |seen| {
        let to = to.clone();
        async move {
            if seen.line.contains("smart-configuration") {
                let to = to.join("token").unwrap();
                return super::json(200, &serde_json::json!({"token_endpoint": to}));
            }
            ok(seen).await
        }
    })
    .await;
    let id = RequestId::default();
    let client = Client::identified(options(&fake.url), id.clone(), &[]).unwrap();
    let ids = |fake: &Fake| {
        let seen = fake.seen("");
        let ids = seen
            .iter()
            .map(|seen| seen.headers.get("x-request-id").cloned());
        ids.map(|id| id.map(|id| id.to_str().unwrap().to_owned()))
            .collect::<Vec<_>>()
    };
    id.set(Some("a-1"));
    client.send(Request::get(fake.at("/x"))).await.unwrap();
    id.set(Some("a-2"));
    client.send(Request::get(fake.at("/x"))).await.unwrap();
    let some = |id: &str| Some(id.to_owned());
    assert_eq!(ids(&fake), [some("a-1"), some("a-1"), some("a-2")]);
    assert_eq!(ids(&tokens), [some("a-1")], "for the token");

    let theirs = ClientOptions {
        headers: Headers::Given(vec![Header {
            name: "x-request-id".to_owned(),
            value: Secret::new("mine"),
        }]),
        credentials: None,
        ..options(&fake.url)
    };
    let client = Client::identified(theirs, id, &[]).unwrap();
    client.send(Request::get(fake.at("/x"))).await.unwrap();
    assert_eq!(ids(&fake)[3], some("mine"));
}

#[tokio::test]
async fn no_message_repeats_what_a_server_echoes_of_them() {
    let says =
        r#"{"resourceType":"OperationOutcome","issue":[{"diagnostics":"hush-epic is no client"}]}"#;
    let fake = Fake::start(move |_| async move {
        answer(400, ("content-type", "application/fhir+json"), says)
    })
    .await;
    let bare = ClientOptions {
        credentials: None,
        ..options(&fake.url)
    };
    let response = with_header(bare).send(Request::get(fake.at("/x"))).await;
    let text = failure(response.unwrap(), "x").await.to_string();
    assert!(
        text.contains("is no client") && !text.contains("hush"),
        "{text}"
    );
}
