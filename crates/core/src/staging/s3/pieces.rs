//! A body that is handed to the connection piece by piece.
//!
//! Handed over whole, hyper copies it into one buffer in front of the socket, for it cannot see through TLS and proxies
//! whether they take several at once: as much memory again as the part has.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// How much the connection gets at once, in bytes.
const PIECE: usize = 128 << 10;

/// What is left of a body.
pub(super) struct Pieces(Bytes);

impl Pieces {
    /// The body of a request; a small one is a single piece.
    pub(super) fn of(body: Bytes) -> reqwest::Body {
        if body.len() <= PIECE {
            body.into()
        } else {
            reqwest::Body::wrap(Self(body))
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
        let length = self.0.len().min(PIECE);
        Poll::Ready(match length {
            0 => None,
            _ => Some(Ok(Frame::data(self.0.split_to(length)))),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    /// Exact, so that the request has a Content-Length.
    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_are_the_body() {
        let whole: Bytes = (0..=255)
            .cycle()
            .take(3 * PIECE + 7)
            .collect::<Vec<u8>>()
            .into();
        let mut pieces = Pieces(whole.clone());
        let mut context = Context::from_waker(std::task::Waker::noop());
        let mut joined = Vec::new();
        while let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut pieces).poll_frame(&mut context) {
            let piece = frame.into_data().unwrap();
            assert!(piece.len() <= PIECE);
            joined.extend_from_slice(&piece);
            let left = (whole.len() - joined.len()) as u64;
            assert_eq!(pieces.size_hint().exact(), Some(left));
            assert_eq!(pieces.is_end_stream(), left == 0);
        }
        assert_eq!(joined, whole);
    }
}
