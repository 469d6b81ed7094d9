//! A Sentry on loopback, for what is reported of failures.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use serde_json::Value;
use tokio::net::TcpListener;

/// The public key of the DSN.
pub const SENTRY_KEY: &str = "9ec79c33ec9942ab8353589fcb2e04dc";

/// A Sentry that keeps what it is sent.
pub struct FakeSentry {
    /// What `SENTRY_DSN` is set to.
    pub dsn: String,
    envelopes: Arc<Mutex<Vec<String>>>,
}

impl FakeSentry {
    /// Starts on a free port.
    pub async fn start() -> Self {
        let envelopes = Arc::<Mutex<Vec<String>>>::default();
        let kept = Arc::clone(&envelopes);
        // Slow enough that what nobody waits for has not arrived when the function answers.
        let keep = async move |body: String| {
            tokio::time::sleep(Duration::from_millis(400)).await;
            kept.lock().unwrap().push(body);
            "{}"
        };
        let router = Router::new().route("/api/42/envelope/", post(keep));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            dsn: format!("http://{SENTRY_KEY}@{address}/42"),
            envelopes,
        }
    }

    /// All that arrived, as text.
    pub fn raw(&self) -> String {
        self.envelopes.lock().unwrap().join("\n")
    }

    /// What is in the envelopes: a header each, then an item's header and the item.
    pub fn items(&self) -> Vec<(String, Value)> {
        let envelopes = self.envelopes.lock().unwrap();
        let mut items = Vec::new();
        for envelope in envelopes.iter() {
            let mut lines = envelope.lines().skip(1);
            while let (Some(header), Some(item)) = (lines.next(), lines.next()) {
                let header: Value = serde_json::from_str(header).unwrap();
                let kind = header["type"].as_str().unwrap().to_owned();
                items.push((kind, serde_json::from_str(item).unwrap()));
            }
        }
        items
    }

    /// The one event that arrived; everything else that arrived is too much.
    pub fn only_event(&self) -> Value {
        let items = self.items();
        let [(kind, event)] = &items[..] else {
            panic!("not one item: {items:#?}")
        };
        assert_eq!(kind, "event");
        event.clone()
    }
}
