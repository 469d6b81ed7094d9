//! The operator's headers: where they go, and where they do not.

use std::sync::Arc;

use super::super::fake::{Fake, discovery, options};
use super::super::{Client, ClientOptions, Request, failure};
use super::{answer, ok};
use crate::config::{Header, Origin, Secret};

const NAME: &str = "epic-client-id";

fn with_header(options: ClientOptions) -> Client {
    let header = Header {
        name: NAME.to_owned(),
        value: Secret::new("hush-epic"),
    };
    let options = ClientOptions {
        headers: vec![header],
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
