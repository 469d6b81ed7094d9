//! What both servers have in common: HTTP/1.1 on a free port of loopback, a count of requests, and an end with stdin.
//!
//! They end when their stdin does, for then whoever started them is gone, however it went.

use std::convert::Infallible;
use std::future::Future;
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{Method, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::{Outcome, answer, usage};

/// The path that tells a [`Count`]; asking for it does not count.
pub(crate) const COUNT: &str = "/__count";

/// What a server has done since it started.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Count {
    pub(crate) get: u64,
    pub(crate) head: u64,
    pub(crate) put: u64,
    pub(crate) post: u64,
    pub(crate) other: u64,
    /// Answers that were sent compressed.
    pub(crate) gzip: u64,
    /// CPU seconds of the server.
    pub(crate) cpu: f64,
}

impl Count {
    /// All requests.
    pub(crate) fn requests(&self) -> u64 {
        self.get + self.head + self.put + self.post + self.other
    }

    /// What was done after `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            get: self.get - before.get,
            head: self.head - before.head,
            put: self.put - before.put,
            post: self.post - before.post,
            other: self.other - before.other,
            gzip: self.gzip - before.gzip,
            cpu: self.cpu - before.cpu,
        }
    }
}

/// The counters of a server.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    get: AtomicU64,
    head: AtomicU64,
    put: AtomicU64,
    post: AtomicU64,
    other: AtomicU64,
    pub(crate) gzip: AtomicU64,
}

impl Counters {
    pub(crate) fn add(&self, method: &Method) {
        let counter = match *method {
            Method::GET => &self.get,
            Method::HEAD => &self.head,
            Method::PUT => &self.put,
            Method::POST => &self.post,
            _ => &self.other,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The counts as JSON.
    pub(crate) fn json(&self) -> String {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let count = Count {
            get: read(&self.get),
            head: read(&self.head),
            put: read(&self.put),
            post: read(&self.post),
            other: read(&self.other),
            gzip: read(&self.gzip),
            cpu: usage::cpu().unwrap_or_default(),
        };
        serde_json::to_string(&count).unwrap_or_default()
    }
}

/// What a server says when it can be asked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ready {
    /// Its host and port.
    pub(crate) authority: String,
    /// Where its objects are, if it keeps any.
    pub(crate) folder: Option<std::path::PathBuf>,
}

/// Serves `answers` on a free port until stdin ends or a signal comes. Says where it is on stdout.
pub(crate) async fn until_stdin_ends<F, R, B>(
    folder: Option<std::path::PathBuf>,
    answers: F,
) -> Outcome<()>
where
    F: Fn(Request<Incoming>) -> R + Send + Sync + 'static,
    R: Future<Output = http::Response<B>> + Send + 'static,
    B: hyper::body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let authority = listener.local_addr()?.to_string();
    answer(serde_json::to_string(&Ready { authority, folder })?)?;
    let answers = Arc::new(answers);
    let serving = async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                continue;
            };
            let _ = stream.set_nodelay(true);
            let answers = Arc::clone(&answers);
            let answer = service_fn(move |request| {
                let answered = answers(request);
                async move { Ok::<_, Infallible>(answered.await) }
            });
            let served = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
            tokio::spawn(served);
        }
    };
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    let (end, ended) = oneshot::channel();
    // A thread of its own, which nothing waits for at the end.
    std::thread::spawn(move || {
        let mut rest = [0; 64];
        while io::stdin().read(&mut rest).is_ok_and(|read| read > 0) {}
        let _ = end.send(());
    });
    tokio::select! {
        () = serving => {}
        _ = ended => {}
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
