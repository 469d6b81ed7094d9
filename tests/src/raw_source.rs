//! A source of one file that answers byte for byte what a test tells it to, right or wrong as HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::wants_nothing::{Seen, WantsNothing};

/// A Bulk Data source without authentication whose one file holds patients. Dropped, it is gone.
#[derive(Debug)]
pub struct RawSource {
    endpoint: String,
    asked: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
    _wants: WantsNothing,
}

impl RawSource {
    /// A source whose manifest promises so many patients, or says nothing of their number. The file's first request gets
    /// the first of these answers, the second the second, and all after the last get the last; each is a whole response,
    /// with its head, after which the connection is closed.
    pub async fn start(count: Option<u64>, answers: Vec<Vec<u8>>) -> Self {
        let promised = count.map(|count| json!({"count": count}));
        Self::promising(&promised.unwrap_or_default(), answers).await
    }

    /// The same, of a manifest whose one output has these members too.
    pub async fn promising(members: &Value, answers: Vec<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a port is free");
        let address = listener.local_addr().expect("it has an address");
        let endpoint = format!("http://{address}/fhir");
        let mut output = json!({"type": "Patient", "url": format!("{endpoint}/files/1")});
        for (name, value) in members.as_object().into_iter().flatten() {
            output[name] = value.clone();
        }
        let manifest = json!({
            "transactionTime": "2026-01-31T00:00:00Z",
            "request": format!("{endpoint}/$export"),
            "requiresAccessToken": false,
            "output": [output],
            "error": [],
        });
        let manifest = manifest.to_string();
        let asked = Arc::new(AtomicUsize::default());
        let times = Arc::clone(&asked);
        let wants = WantsNothing::default();
        let seen = wants.seen();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let reply = |path: &str| match path {
                    path if path.ends_with("$export") => head(
                        "202 Accepted",
                        "content-location: /fhir/status\r\ncontent-length: 0",
                    ),
                    "/fhir/metadata" => head("404 Not Found", "content-length: 0"),
                    "/fhir/status" => {
                        let length = format!("content-length: {}", manifest.len());
                        let headers = format!("content-type: application/json\r\n{length}");
                        [head("200 OK", &headers), manifest.clone().into_bytes()].concat()
                    }
                    _ => {
                        let before = times.fetch_add(1, Ordering::SeqCst);
                        answers[before.min(answers.len() - 1)].clone()
                    }
                };
                serve(stream, &seen, reply).await;
            }
        });
        Self {
            endpoint,
            asked,
            serving,
            _wants: wants,
        }
    }

    /// A response with these headers and this body.
    #[must_use]
    pub fn answer(headers: &str, body: &[u8]) -> Vec<u8> {
        let headers = format!("content-type: application/fhir+ndjson\r\n{headers}");
        [&head("200 OK", &headers), body].concat()
    }

    /// The settings of a process that works with it, beside those of the sandbox.
    #[must_use]
    pub fn env(&self) -> [(&str, &str); 2] {
        [
            ("SOURCE_ENDPOINT", &self.endpoint),
            ("SOURCE_AUTHENTICATION_ENABLED", "false"),
        ]
    }

    /// How often the file was asked for.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for RawSource {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn head(status: &str, headers: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nconnection: close\r\n{headers}\r\n\r\n").into_bytes()
}

/// One request, one answer. A client that goes away is its own business.
async fn serve(mut stream: TcpStream, seen: &Seen, reply: impl FnOnce(&str) -> Vec<u8>) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => request.push(byte),
            Err(_) => return,
        }
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let path = request.split(' ').nth(1).unwrap_or_default();
    let path = path.split('?').next().unwrap_or_default();
    let headers = request.lines().skip(1);
    let names = headers.filter_map(|line| Some(line.split_once(':')?.0));
    seen.request(path, names);
    let _ = stream.write_all(&reply(path)).await;
    let _ = stream.shutdown().await;
}
