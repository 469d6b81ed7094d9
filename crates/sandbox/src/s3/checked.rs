//! A body that is checked while it passes: when its last byte is through, and before anyone sees it, its checksums must
//! be right and the condition it was sent under must hold. Otherwise the stream ends in an error, and the store below
//! drops what it has written so far.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_stream::stream;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt as _;
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Md5};
use s3s::dto::{Checksum, StreamingBlob};
use s3s::{S3Error, S3Result, TrailingHeaders, s3_error};
use tokio::sync::OwnedRwLockWriteGuard;

use super::sums::{Algorithm, with_trailers};

/// What a body's sender says of it.
#[derive(Default)]
pub(super) struct Said {
    /// The header `Content-MD5`.
    pub(super) md5: Option<String>,
    /// The checksums of the headers.
    pub(super) sums: Checksum,
    /// The algorithm whose checksum is to come, in a header or at the end.
    pub(super) algorithm: Option<String>,
    /// Where checksums come at the end.
    pub(super) trailers: Option<TrailingHeaders>,
    /// What is computed even where nothing was sent.
    pub(super) wanted: Option<Algorithm>,
}

/// What came of it.
#[derive(Default)]
pub(super) struct Verdict {
    error: Option<S3Error>,
    /// Held until the object is in its place with all that belongs to it.
    #[allow(dead_code, reason = "held for its drop")]
    guard: Option<OwnedRwLockWriteGuard<()>>,
    pub(super) size: u64,
    pub(super) md5: String,
    pub(super) sums: Checksum,
}

/// The verdict, to be had when the body is through.
#[derive(Clone, Default)]
pub(super) struct Shared(Arc<Mutex<Verdict>>);

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Verdict> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store's own result, or why the body was refused.
    pub(super) fn judge<T>(&self, result: S3Result<T>) -> S3Result<T> {
        match self.lock().error.take() {
            Some(error) => Err(error),
            None => result,
        }
    }
}

/// The same body, checked. `admit` is asked when it is whole: the guard it gives is held until the verdict is dropped.
pub(super) fn checked<F>(
    mut body: StreamingBlob,
    said: Said,
    admit: F,
) -> S3Result<(StreamingBlob, Shared)>
where
    F: Future<Output = S3Result<Option<OwnedRwLockWriteGuard<()>>>> + Send + Sync + 'static,
{
    let mut hasher = ChecksumHasher::default();
    if let Some(name) = &said.algorithm {
        Algorithm::named(name)?.switch_on(&mut hasher);
    }
    for algorithm in Algorithm::ALL {
        if algorithm.get(&said.sums).is_some() || said.wanted == Some(algorithm) {
            algorithm.switch_on(&mut hasher);
        }
    }
    let shared = Shared::default();
    let verdict = shared.clone();
    let stream = stream! {
        let mut md5 = Md5::new();
        let mut size = 0;
        while let Some(piece) = body.next().await {
            match piece {
                Ok(piece) => {
                    md5.update(&piece);
                    hasher.update(&piece);
                    size += piece.len() as u64;
                    yield Ok(piece);
                }
                Err(error) => {
                    verdict.lock().error = Some(s3_error!(IncompleteBody, "The body broke off"));
                    yield Err(std::io::Error::other(error));
                    return;
                }
            }
        }
        let judged = match judge(&said, md5.finalize(), hasher.finalize()) {
            Ok((md5, sums)) => admit.await.map(|guard| (md5, sums, guard)),
            Err(error) => Err(error),
        };
        match judged {
            Ok((md5, sums, guard)) => {
                *verdict.lock() = Verdict { error: None, guard, size, md5, sums };
            }
            Err(error) => {
                verdict.lock().error = Some(error);
                yield Err(std::io::Error::other("refused"));
            }
        }
    };
    Ok((StreamingBlob::wrap(stream), shared))
}

/// Compares what was said with what was computed; gives both the MD5 in hex and the checksums.
fn judge(said: &Said, md5: [u8; 16], computed: Checksum) -> S3Result<(String, Checksum)> {
    if let Some(expected) = &said.md5
        && STANDARD.encode(md5) != *expected
    {
        return Err(s3_error!(
            BadDigest,
            "The Content-MD5 you specified did not match what we received."
        ));
    }
    let sent = said
        .trailers
        .as_ref()
        .and_then(|trailers| trailers.read(|trailers| with_trailers(said.sums.clone(), trailers)))
        .unwrap_or_else(|| said.sums.clone());
    for algorithm in Algorithm::ALL {
        let Some(expected) = algorithm.get(&sent) else {
            let named = said.algorithm.as_deref() == Some(algorithm.name());
            if named {
                return Err(s3_error!(
                    InvalidRequest,
                    "The checksum that was announced is missing"
                ));
            }
            continue;
        };
        if algorithm.get(&computed).as_ref() != Some(&expected) {
            return Err(s3_error!(
                BadDigest,
                "The {} you specified did not match the calculated checksum.",
                algorithm.name()
            ));
        }
    }
    let hex = format!("{:032x}", u128::from_be_bytes(md5));
    Ok((hex, computed))
}
