//! The source: files by path, from memory, with as little between them and the socket as HTTP allows.
//!
//! `/file/<bytes>/<n>` is file `n` of that size, with a strong `ETag` and ranges; `/gzip/<bytes>/<n>` is the same file,
//! compressed for those who accept that, and `/wait/<ms>` makes every answer wait from then on.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_RANGE,
    RANGE, VARY,
};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::OnceCell;

use crate::Outcome;
use crate::corpus::Corpus;
use crate::serve::{self, COUNT, Counters};

mod compress;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The bytes of all files of the first type
    #[arg(long, default_value_t = 1 << 30)]
    first: usize,
    /// The bytes of all files of each other type
    #[arg(long, default_value_t = 104 << 20)]
    each: usize,
    /// How many milliseconds every answer waits
    #[arg(long, default_value_t = 0)]
    latency: u64,
}

/// Serves until stdin ends.
pub(crate) async fn serve(options: Options) -> Outcome<()> {
    let corpus = tokio::task::spawn_blocking(move || Corpus::new(options.first, options.each));
    let source = Arc::new(Source {
        corpus: corpus.await?,
        compressed: Mutex::default(),
        latency: AtomicU64::new(options.latency),
        counters: Counters::default(),
    });
    serve::until_stdin_ends(None, move |request| {
        let source = Arc::clone(&source);
        async move { source.answer(&request).await }
    })
    .await
}

/// The pieces of a stream that is made by the first who asks for it.
type Compressed = Arc<OnceCell<Vec<Bytes>>>;

struct Source {
    corpus: Corpus,
    /// What was compressed once, by size and number.
    compressed: Mutex<HashMap<(usize, u64), Compressed>>,
    latency: AtomicU64,
    counters: Counters,
}

impl Source {
    async fn answer(&self, request: &Request<Incoming>) -> Response<Pieces> {
        let path = request.uri().path();
        if path == COUNT {
            return Response::new(Pieces::of(vec![self.counters.json().into()]));
        }
        if let Some(wait) = path.strip_prefix("/wait/") {
            let wait = wait.parse().unwrap_or_default();
            self.latency.store(wait, Ordering::Relaxed);
            return Response::default();
        }
        self.counters.add(request.method());
        let wait = self.latency.load(Ordering::Relaxed);
        if wait > 0 {
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
        let mut response = self
            .file(path, request.headers())
            .await
            .unwrap_or_else(|| status(StatusCode::NOT_FOUND));
        if request.method() == Method::HEAD {
            let length = response.body().left;
            response
                .headers_mut()
                .insert("content-length", length.into());
            *response.body_mut() = Pieces::default();
        }
        response
    }

    async fn file(&self, path: &str, headers: &HeaderMap) -> Option<Response<Pieces>> {
        let mut names = path.strip_prefix('/')?.split('/');
        let (kind, bytes, n) = (names.next()?, names.next()?, names.next()?);
        let (bytes, n) = (bytes.parse().ok()?, n.parse().ok()?);
        let pieces = self.corpus.file(bytes, n)?;
        let gzip = kind == "gzip"
            && headers
                .get(ACCEPT_ENCODING)
                .and_then(|accepted| accepted.to_str().ok())
                .is_some_and(|accepted| accepted.contains("gzip"));
        if gzip {
            self.counters.gzip.fetch_add(1, Ordering::Relaxed);
            let body = Pieces::of(self.compressed(bytes, n, pieces).await?);
            return response(StatusCode::OK, format!("\"{bytes}-{n}-gzip\""))
                .header(CONTENT_ENCODING, "gzip")
                .header(VARY, "accept-encoding")
                .body(body)
                .ok();
        }
        if kind != "gzip" && kind != "file" {
            return None;
        }
        let etag = format!("\"{bytes}-{n}\"");
        let same = headers
            .get(IF_RANGE)
            .is_none_or(|asked| asked.as_bytes() == etag.as_bytes());
        let range = headers.get(RANGE).filter(|_| same);
        let Some(range) = range.and_then(|range| range.to_str().ok()) else {
            return response(StatusCode::OK, etag)
                .header(ACCEPT_RANGES, "bytes")
                .body(Pieces::of(pieces))
                .ok();
        };
        let Some((from, to)) = span(range, bytes) else {
            return Some(status(StatusCode::RANGE_NOT_SATISFIABLE));
        };
        response(StatusCode::PARTIAL_CONTENT, etag)
            .header(CONTENT_RANGE, format!("bytes {from}-{}/{bytes}", to - 1))
            .body(Pieces::of(cut(pieces, from, to)))
            .ok()
    }

    async fn compressed(&self, bytes: usize, n: u64, pieces: Vec<Bytes>) -> Option<Vec<Bytes>> {
        let cell = {
            let mut compressed = self
                .compressed
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            Arc::clone(compressed.entry((bytes, n)).or_default())
        };
        let compress = || async {
            tokio::task::spawn_blocking(move || compress::gzip(&pieces))
                .await
                .ok()
                .and_then(Result::ok)
                .ok_or(())
        };
        cell.get_or_try_init(compress).await.ok().cloned()
    }
}

fn status(status: StatusCode) -> Response<Pieces> {
    let mut response = Response::default();
    *response.status_mut() = status;
    response
}

fn response(status: StatusCode, etag: String) -> http::response::Builder {
    Response::builder()
        .status(status)
        .header(ETAG, etag)
        .header(CONTENT_TYPE, "application/fhir+ndjson")
}

/// The bytes that `bytes=a-b` or `bytes=a-` mean, the end excluded.
fn span(range: &str, length: usize) -> Option<(usize, usize)> {
    let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
    let from = from.parse().ok()?;
    let to = if to.is_empty() {
        length
    } else {
        to.parse::<usize>().ok()?.checked_add(1)?.min(length)
    };
    (from < to).then_some((from, to))
}

/// The bytes of `pieces` from `from` until before `to`.
fn cut(pieces: Vec<Bytes>, from: usize, to: usize) -> Vec<Bytes> {
    let mut at = 0;
    let mut kept = Vec::new();
    for piece in pieces {
        let begin = from.saturating_sub(at).min(piece.len());
        let end = to.saturating_sub(at).min(piece.len());
        at += piece.len();
        if begin < end {
            kept.push(piece.slice(begin..end));
        }
    }
    kept
}

/// A body of pieces that are in memory already.
#[derive(Debug, Default)]
struct Pieces {
    left: u64,
    pieces: VecDeque<Bytes>,
}

impl Pieces {
    fn of(pieces: Vec<Bytes>) -> Self {
        Self {
            left: pieces.iter().map(|piece| piece.len() as u64).sum(),
            pieces: pieces.into(),
        }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.pieces.pop_front();
        self.left -= piece.as_ref().map_or(0, Bytes::len) as u64;
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_out_of_all_pieces() {
        let pieces = || vec![Bytes::from("abc"), Bytes::from("defg"), Bytes::from("h")];
        let got = |range: &str| {
            let (from, to) = span(range, 8).unwrap();
            cut(pieces(), from, to).concat()
        };
        assert_eq!(got("bytes=0-"), b"abcdefgh");
        assert_eq!(got("bytes=2-3"), b"cd");
        assert_eq!(got("bytes=7-99"), b"h");
        assert_eq!(span("bytes=8-", 8), None);
        assert_eq!(span("lines=1-2", 8), None);
    }
}
