//! A source that answers what a test tells it to: for what no fault of the sandbox's says.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderName, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::wants_nothing::WantsNothing;

/// A Bulk Data source without authentication. Dropped, it is gone.
#[derive(Debug)]
pub struct ToldSource {
    endpoint: String,
    serving: JoinHandle<()>,
    _wants: WantsNothing,
}

#[derive(Debug)]
struct Told {
    manifest: Value,
    files: BTreeMap<String, String>,
}

impl ToldSource {
    /// A source whose every export has this manifest, and these files. `{source}` in the manifest's texts stands for where
    /// it is; its files are below `{source}/files/`. `{source}/moved` leads to the manifest at `{source}/elsewhere/status`,
    /// and the files are below `elsewhere/` too.
    pub async fn start(manifest: &Value, files: &[(&str, &str)]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a port is free");
        let address = listener.local_addr().expect("it has an address");
        let endpoint = format!("http://{address}/fhir");
        let manifest = manifest.to_string().replace("{source}", &endpoint);
        let files = files.iter();
        let told = Arc::new(Told {
            manifest: serde_json::from_str(&manifest).expect("it still is JSON"),
            files: files
                .map(|&(name, content)| (name.to_owned(), content.to_owned()))
                .collect(),
        });
        let wants = WantsNothing::default();
        let seen = wants.seen();
        let look = move |request: Request, next: Next| {
            let names = request.headers().keys().map(HeaderName::as_str);
            seen.request(request.uri().path(), names);
            next.run(request)
        };
        let router = Router::new()
            .route("/fhir/$export", get(kick_off))
            .route("/fhir/status", get(status))
            .route("/fhir/files/{name}", get(file))
            .route("/fhir/moved", get(moved))
            .route("/fhir/elsewhere/status", get(status))
            .route("/fhir/elsewhere/files/{name}", get(file))
            .layer(middleware::from_fn(look))
            .with_state(told);
        let serving = tokio::spawn(async move {
            let served = axum::serve(listener, router).await;
            served.expect("it serves until it is dropped");
        });
        Self {
            endpoint,
            serving,
            _wants: wants,
        }
    }

    /// `SOURCE_ENDPOINT`.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }
}

impl Drop for ToldSource {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn kick_off() -> Response {
    (StatusCode::ACCEPTED, [("content-location", "/fhir/status")]).into_response()
}

async fn status(State(told): State<Arc<Told>>) -> Response {
    axum::Json(told.manifest.clone()).into_response()
}

async fn moved() -> Response {
    (StatusCode::FOUND, [("location", "/fhir/elsewhere/status")]).into_response()
}

async fn file(State(told): State<Arc<Told>>, Path(name): Path<String>) -> Response {
    match told.files.get(&name) {
        Some(content) => content.clone().into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
