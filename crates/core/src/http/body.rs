//! An answer's body as it arrives.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;

use super::response::About;
use super::shown::shown;
use super::words;
use crate::error::{Error, Result};

/// How a body failed: what the transfer decides on whether it goes on from the bytes it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing came for as long as `IDLE_TIMEOUT` allows.
    Idle,
    /// The connection ended before the body did: fewer bytes than Content-Length, no last chunk, or a reset.
    EndedEarly,
}

type Chunks = Pin<Box<dyn Stream<Item = Result<Bytes, reqwest::Error>> + Send>>;

/// A stream of the body's bytes, undecoded. It ends after its first error, of which [`Body::fault`] tells the manner.
///
/// A body that has neither Content-Length nor chunks ends where the connection does: there an early end cannot be seen.
pub struct Body {
    chunks: Chunks,
    about: About,
    promised: Option<u64>,
    received: u64,
    fault: Option<Fault>,
}

impl Body {
    pub(super) fn new(response: reqwest::Response, about: About, promised: Option<u64>) -> Self {
        Self {
            chunks: Box::pin(response.bytes_stream()),
            about,
            promised,
            received: 0,
            fault: None,
        }
    }

    /// How many bytes have come so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// How the body failed, once it has.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        self.fault
    }

    fn failed(&mut self, error: &reqwest::Error) -> Error {
        let of = self
            .promised
            .map(|promised| format!(" of {promised}"))
            .unwrap_or_default();
        let (fault, what) = if error.is_timeout() {
            let idle = words::span(self.about.idle);
            (
                Fault::Idle,
                format!(
                    "nothing came for {idle} (IDLE_TIMEOUT) after {}{of} bytes",
                    self.received
                ),
            )
        } else {
            let cause = words::deepest(error);
            (
                Fault::EndedEarly,
                format!(
                    "the body ended early, after {}{of} bytes ({cause})",
                    self.received
                ),
            )
        };
        self.fault = Some(fault);
        let About {
            side, method, url, ..
        } = &self.about;
        side.unavailable()
            .error(format!("{method} {}: {what}", shown(url)))
    }
}

impl Stream for Body {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.fault.is_some() {
            return Poll::Ready(None);
        }
        self.chunks
            .as_mut()
            .poll_next(context)
            .map(|next| match next? {
                Ok(bytes) => {
                    self.received += bytes.len() as u64;
                    Some(Ok(bytes))
                }
                Err(error) => Some(Err(self.failed(&error))),
            })
    }
}
