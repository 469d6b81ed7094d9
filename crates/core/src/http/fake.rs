//! Servers for this module's tests, in this process, on ports that the system chooses.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::Request as Asked;
use axum::response::{IntoResponse, Response as Answer};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use url::Url;

use super::{Client, ClientOptions, Side};
use crate::config::{Credentials, Headers, OauthClient, Secret, SecretSource};

/// A request as a fake saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) line: String,
    pub(crate) headers: axum::http::HeaderMap,
    pub(crate) body: String,
}

impl Seen {
    pub(crate) fn authorization(&self) -> Option<&str> {
        self.headers
            .get("authorization")
            .map(|value| value.to_str().unwrap())
    }
}

/// A server that remembers what it was asked.
pub(crate) struct Fake {
    pub(crate) url: Url,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Fake {
    /// Answers every request by a function of it; the line is `METHOD /path?query`.
    pub(crate) async fn start<F, A>(handler: F) -> Self
    where
        F: Fn(Seen) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Answer> + Send,
    {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        let router = Router::new().fallback(move |asked: Asked| async move {
            let (parts, body) = asked.into_parts();
            let body = to_bytes(body, usize::MAX).await.unwrap();
            let one = Seen {
                line: format!("{} {}", parts.method, parts.uri),
                headers: parts.headers,
                body: String::from_utf8(body.to_vec()).unwrap(),
            };
            kept.lock().unwrap().push(one.clone());
            handler(one).await
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/fhir", listener.local_addr().unwrap())).unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, seen }
    }

    /// A server with discovery and a token endpoint, which gives `t1`, `t2`, ..; all else is the function's.
    pub(crate) async fn smart<F, A>(handler: F) -> Self
    where
        F: Fn(Seen) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Answer> + Send,
    {
        let tokens = Arc::new(Mutex::new(0));
        Self::start(move |seen| {
            let (tokens, handler) = (Arc::clone(&tokens), handler.clone());
            async move {
                match seen.line.as_str() {
                    DISCOVERY => discovery(&seen),
                    TOKEN => {
                        let number = {
                            let mut tokens = tokens.lock().unwrap();
                            *tokens += 1;
                            *tokens
                        };
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        let token = format!("t{number}");
                        axum::Json(json!({"access_token": token, "token_type": "Bearer", "expires_in": "300"})).into_response()
                    }
                    _ => handler(seen).await,
                }
            }
        })
        .await
    }

    /// All requests whose line begins so.
    pub(crate) fn seen(&self, line: &str) -> Vec<Seen> {
        self.seen
            .lock()
            .unwrap()
            .iter()
            .filter(|seen| seen.line.starts_with(line))
            .cloned()
            .collect()
    }

    pub(crate) fn at(&self, path: &str) -> Url {
        self.url.join(path).unwrap()
    }
}

/// A SMART configuration that names `/token` of the same server.
pub(crate) fn discovery(seen: &Seen) -> Answer {
    let host = seen.headers["host"].to_str().unwrap();
    axum::Json(json!({"token_endpoint": format!("http://{host}/token")})).into_response()
}

pub(crate) const DISCOVERY: &str = "GET /fhir/.well-known/smart-configuration";
pub(crate) const TOKEN: &str = "POST /token";

/// A server that says these bytes to whoever connects and then closes the connection, or keeps it and stays silent.
pub(crate) async fn raw(says: &'static str, then_closes: bool) -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/fhir", listener.local_addr().unwrap())).unwrap();
    tokio::spawn(async move {
        let mut open = Vec::new();
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let _ = socket.read(&mut [0; 4096]).await;
            let _ = socket.write_all(says.as_bytes()).await;
            if !then_closes {
                open.push(socket);
            }
        }
    });
    url
}

pub(crate) fn options(endpoint: &Url) -> ClientOptions {
    ClientOptions {
        side: Side::Source,
        endpoint: endpoint.clone(),
        credentials: Some(Credentials::ClientSecret {
            client: OauthClient {
                id: "id".to_owned(),
                scopes: "system/*.read".to_owned(),
            },
            secret: SecretSource::Given(Secret::new("hush-hush")),
        }),
        certificate: None,
        token_endpoint: None,
        trusted_origins: Vec::new(),
        buckets: Vec::new(),
        headers: Headers::default(),
        allow_plaintext: false,
        allow_private_hosts: false,
        connect_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(5),
    }
}

pub(crate) fn client(endpoint: &Url) -> Client {
    Client::new(options(endpoint)).unwrap()
}

/// A client without credentials and with little patience.
pub(crate) fn impatient(endpoint: &Url) -> Client {
    Client::new(ClientOptions {
        credentials: None,
        connect_timeout: Duration::from_millis(150),
        idle_timeout: Duration::from_millis(250),
        ..options(endpoint)
    })
    .unwrap()
}
