//! A file on its way: read piece by piece as the client takes it, and ended as it should be.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use async_stream::stream;
use axum::body::Body;

use super::body::{Content, PIECE};
use crate::rate::Rate;
use crate::traffic::InFlight;
use crate::wire::Flushed;

/// How a body ends: after this many bytes, where it does not end well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Whole,
    /// The connection stays open and nothing more comes.
    Hangs(u64),
    /// The connection is closed.
    Cut(u64),
    /// The body ends as if it were whole.
    Early(u64),
}

/// What is to be sent, and how.
pub(super) struct Sending {
    pub(super) content: Content,
    pub(super) part: Range<u64>,
    pub(super) end: End,
    pub(super) rate: Option<Arc<Rate>>,
    pub(super) flushed: Option<Arc<Flushed>>,
    /// Given back when the body is sent or given up.
    pub(super) slot: Option<InFlight>,
}

impl Sending {
    pub(super) fn body(self) -> Body {
        Body::from_stream(stream! {
            let Self { content, part, end, rate, flushed, slot } = self;
            let most = rate.as_ref().map_or(PIECE, |rate| rate.piece().min(PIECE));
            let stop = match end {
                End::Whole => part.end,
                End::Hangs(bytes) | End::Cut(bytes) | End::Early(bytes) => part.start + bytes,
            };
            let mut at = part.start;
            while at < stop {
                let left = usize::try_from(stop - at).unwrap_or(usize::MAX);
                let piece = content.read(at, most.min(left));
                if piece.is_empty() {
                    break;
                }
                if let Some(rate) = &rate {
                    rate.pass(piece.len()).await;
                }
                at += piece.len() as u64;
                yield Ok(piece);
            }
            match end {
                End::Whole | End::Early(_) => {}
                End::Hangs(_) => std::future::pending().await,
                End::Cut(_) => {
                    if let Some(flushed) = flushed {
                        flushed.wait().await;
                    }
                    yield Err(io::Error::other("cut on purpose"));
                }
            }
            drop(slot);
        })
    }
}
