//! What goes wrong with the files that a source has put into a bucket.

use std::io;
use std::sync::Arc;

use async_stream::stream;
use axum::body::Body;
use futures_util::StreamExt as _;
use http::{Method, Request, header};

use super::EXPORT_BUCKET;
use crate::call::{Reply, reply, with};
use crate::faults::Fault;
use crate::habits::Habit;
use crate::wire::Flushed;
use crate::world::World;

/// Whether a request is for one of these files.
pub(super) fn is_download(request: &Request<Body>) -> bool {
    let path = request.uri().path().strip_prefix('/').unwrap_or_default();
    let inside = path.strip_prefix(EXPORT_BUCKET);
    request.method() == Method::GET && inside.is_some_and(|rest| rest.starts_with('/'))
}

/// What is answered instead, by habit.
pub(super) fn refusal(world: &World) -> Option<Reply> {
    let status = world.faults.habit(|habit| match habit {
        Habit::ExportBucketAnswers(status) => Some(*status),
        _ => None,
    })?;
    let (code, message) = match status {
        301 => (
            "PermanentRedirect",
            "The bucket you are attempting to access must be addressed using the specified endpoint.",
        ),
        400 => ("ExpiredToken", "The provided token has expired."),
        _ => ("AccessDenied", "Access Denied"),
    };
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    );
    let refusal = reply(status, "application/xml", body);
    Some(if status == 301 {
        // Whoever follows it brings the signature along, or does not.
        let elsewhere = format!("{}/elsewhere", world.origins.files);
        let refusal = with(refusal, "x-amz-bucket-region", "eu-west-3");
        with(refusal, "location", &elsewhere)
    } else {
        refusal
    })
}

/// The answer, cut where a fault says so of files.
pub(super) fn cut(world: &World, reply: Reply, flushed: Option<Arc<Flushed>>) -> Reply {
    if !reply.status().is_success() {
        return reply;
    }
    let length = reply.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let bytes = world.faults.take(|fault| match fault {
        Fault::FileCutAt(bytes) if length.is_some_and(|length| *bytes < length) => Some(*bytes),
        _ => None,
    });
    let Some(mut left) = bytes else {
        return reply;
    };
    reply.map(|body| {
        let mut pieces = body.into_data_stream();
        Body::from_stream(stream! {
            while let Some(Ok(mut piece)) = pieces.next().await {
                let most = usize::try_from(left).unwrap_or(usize::MAX);
                if piece.len() > most {
                    piece.truncate(most);
                }
                left -= piece.len() as u64;
                yield Ok(piece);
                if left == 0 {
                    break;
                }
            }
            if let Some(flushed) = flushed {
                flushed.wait().await;
            }
            yield Err(io::Error::other("cut on purpose"));
        })
    })
}
