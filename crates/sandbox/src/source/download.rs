//! The download of a file: streamed with its length, or cut, held or sent elsewhere where a fault says so.

use std::io;
use std::sync::PoisonError;

use async_stream::stream;
use axum::body::Body;
use bytes::Bytes;

use super::Source;
use crate::call::{Call, Reply, empty, outcome, reply, set, with};
use crate::faults::{Fault, Place};
use crate::record::Service;

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Whole,
    Hangs,
    Cut,
    ChunkedCut,
}

impl Source {
    /// Answers a file's request at the source itself or at the other origin.
    pub(super) async fn file(&self, call: &Call, id: &str, name: &str, at: Service) -> Reply {
        if let Some(told) = self.world.gate(Place::File, call).await {
            return told;
        }
        if let Err(refusal) = self.may_download(call, id, at) {
            return refusal;
        }
        let refused = call.header("accept").is_some()
            && ![
                "application/fhir+ndjson",
                "application/ndjson",
                "application/*",
                "*/*",
            ]
            .into_iter()
            .any(|kind| call.accepts(kind));
        if refused {
            return outcome(406, "not-supported", "Files are application/fhir+ndjson");
        }
        if at == Service::Source && self.world.faults.fires(&Fault::FilesRedirect) {
            let elsewhere = format!("{}/files/{id}/{name}", self.world.origins.files);
            return with(empty(307), "location", &elsewhere);
        }
        let found = self
            .jobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
            .and_then(|job| job.file(name))
            .map(|file| (file.pieces.clone(), file.length()));
        let Some((pieces, length)) = found else {
            return outcome(404, "not-found", "There is no such file");
        };
        let end = self.end();
        let body = Body::from_stream(body(pieces, length, end));
        let mut response = reply(200, "application/fhir+ndjson", body);
        if end != End::ChunkedCut {
            set(&mut response, "content-length", &length.to_string());
        }
        set(&mut response, "etag", &format!("\"{id}-{name}\""));
        response
    }

    /// Whether a token is there where one is wanted, and none where none is.
    fn may_download(&self, call: &Call, id: &str, at: Service) -> Result<(), Reply> {
        let open = self.jobs().get(id).is_some_and(|job| job.files_are_open);
        let has_token = call.headers.contains_key("authorization");
        if at == Service::Files && !self.world.settings.files_trusted {
            // Like presigned URLs, which refuse a request that proves itself twice.
            return if has_token {
                Err(outcome(400, "security", "Only one way to prove oneself"))
            } else {
                Ok(())
            };
        }
        if open {
            return if has_token {
                Err(outcome(400, "security", "The manifest said: no token"))
            } else {
                Ok(())
            };
        }
        self.authorise(call)
    }

    fn end(&self) -> End {
        let faults = &self.world.faults;
        if faults.fires(&Fault::FileHangsMidway) {
            End::Hangs
        } else if faults.fires(&Fault::FileCutMidway) {
            End::Cut
        } else if faults.fires(&Fault::FileChunkedCutMidway) {
            End::ChunkedCut
        } else {
            End::Whole
        }
    }
}

/// The pieces as a stream; half of the bytes of one that does not end well.
fn body(
    pieces: Vec<Bytes>,
    length: usize,
    end: End,
) -> impl futures_util::Stream<Item = io::Result<Bytes>> + Send {
    stream! {
        let mut left = if end == End::Whole { length } else { length / 2 };
        for mut piece in pieces {
            piece.truncate(left);
            left -= piece.len();
            if !piece.is_empty() {
                yield Ok(piece);
            }
            if left == 0 {
                break;
            }
        }
        match end {
            End::Whole => {}
            End::Hangs => std::future::pending().await,
            // Time for what was sent so far to leave before the connection is closed.
            End::Cut | End::ChunkedCut => {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                yield Err(io::Error::other("cut on purpose"));
            }
        }
    }
}
