//! The program with no logic: what the same source and the same S3 allow on this machine.
//!
//! It GETs each file and PUTs what it reads, unchecked, as the same objects in the same parts as the transfer makes them.
//! From memory, it PUTs bytes that it has read before the clock starts.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use clap::Args;
use futures_util::StreamExt as _;
use futures_util::stream;
use http::Method;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::client::{Payload, Server, next};
use crate::corpus::type_of;
use crate::spec::{File, Spec};
use crate::usage::Took;
use crate::{Outcome, answer};

/// The size of a part, and of the largest file that is one `PutObject`.
const PART: u64 = 8 << 20;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The description of the files
    spec: PathBuf,
    /// How many files, or parts of a file, are under way at once
    #[arg(long, default_value_t = 8)]
    concurrency: usize,
    /// Read everything first, and measure the PUTs alone
    #[arg(long)]
    memory: bool,
}

/// What moving everything took.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Moved {
    #[serde(flatten)]
    pub(crate) took: Took,
    /// For how many seconds S3 put parts together, while nothing moved.
    pub(crate) completing: f64,
}

/// Moves every file and says what that took.
pub(crate) async fn run(options: Options) -> Outcome<()> {
    let spec: Spec = serde_json::from_slice(&std::fs::read(&options.spec)?)?;
    let mover = Arc::new(Mover {
        source: Server::new(&spec.source),
        s3: Server::new(&spec.s3),
        parts: Arc::new(Semaphore::new(options.concurrency)),
        completing: AtomicU64::new(0),
    });
    let mut contents: Vec<Option<VecDeque<Bytes>>> = Vec::new();
    for file in &spec.files {
        contents.push(if options.memory {
            Some(mover.read(file).await?)
        } else {
            None
        });
    }
    let begin = Instant::now();
    let mut under_way = stream::iter(spec.files.into_iter().zip(contents))
        .map(|(file, content)| tokio::spawn(Arc::clone(&mover).copy(file, content)))
        .buffer_unordered(options.concurrency);
    while let Some(moved) = under_way.next().await {
        moved??;
    }
    let all = Moved {
        took: Took::since(begin)?,
        completing: mover.completing.load(Ordering::Relaxed) as f64 / 1_000_000.0,
    };
    answer(serde_json::to_string(&all)?)?;
    Ok(())
}

struct Mover {
    source: Server,
    s3: Server,
    /// Bounds the parts that are under way.
    parts: Arc<Semaphore>,
    /// In microseconds.
    completing: AtomicU64,
}

impl Mover {
    async fn read(&self, file: &File) -> Outcome<VecDeque<Bytes>> {
        let (mut body, connection) = self.source.get(&file.path, "identity").await?;
        let mut pieces = VecDeque::new();
        while let Some(piece) = next(&mut body).await? {
            pieces.push_back(piece);
        }
        self.source.give_back(connection);
        Ok(pieces)
    }

    async fn copy(self: Arc<Self>, file: File, content: Option<VecDeque<Bytes>>) -> Outcome<()> {
        let key = format!("limit/{}/{:05}.ndjson", type_of(file.n), file.n);
        if file.bytes > PART {
            return self.copy_in_parts(&file, &key, content).await;
        }
        let Some(pieces) = content else {
            let (body, connection) = self.source.get(&file.path, "identity").await?;
            let through = Payload::Through(body);
            self.s3.s3(Method::PUT, &key, through).await?;
            self.source.give_back(connection);
            return Ok(());
        };
        self.s3.s3(Method::PUT, &key, Payload::of(pieces)).await?;
        Ok(())
    }

    async fn copy_in_parts(
        self: &Arc<Self>,
        file: &File,
        key: &str,
        content: Option<VecDeque<Bytes>>,
    ) -> Outcome<()> {
        let target = format!("{key}?uploads=");
        let (_, begun) = self.s3.s3(Method::POST, &target, Payload::of([])).await?;
        let begun = String::from_utf8(begun)?;
        let id = begun
            .split_once("<UploadId>")
            .and_then(|(_, rest)| rest.split_once("</UploadId>"))
            .map(|(id, _)| id.to_owned())
            .ok_or("S3 began a multipart upload without an id")?;
        let mut parts = Parts {
            mover: Arc::clone(self),
            target: key.to_owned(),
            id,
            pieces: VecDeque::new(),
            length: 0,
            sent: JoinSet::new(),
        };
        if let Some(pieces) = content {
            for piece in pieces {
                parts.add(piece).await?;
            }
        } else {
            let (mut body, connection) = self.source.get(&file.path, "identity").await?;
            while let Some(piece) = next(&mut body).await? {
                parts.add(piece).await?;
            }
            self.source.give_back(connection);
        }
        parts.complete().await
    }
}

/// The parts of one file, sent side by side.
struct Parts {
    mover: Arc<Mover>,
    target: String,
    id: String,
    /// The part that is being read.
    pieces: VecDeque<Bytes>,
    length: u64,
    sent: JoinSet<Outcome<(usize, String)>>,
}

impl Parts {
    async fn add(&mut self, mut piece: Bytes) -> Outcome<()> {
        while self.length + piece.len() as u64 >= PART {
            let rest = usize::try_from(PART - self.length)?;
            self.pieces.push_back(piece.split_to(rest));
            self.length = PART;
            self.send().await?;
        }
        if !piece.is_empty() {
            self.length += piece.len() as u64;
            self.pieces.push_back(piece);
        }
        Ok(())
    }

    async fn send(&mut self) -> Outcome<()> {
        let permit = Arc::clone(&self.mover.parts).acquire_owned().await?;
        let payload = Payload::of(std::mem::take(&mut self.pieces));
        self.length = 0;
        let number = self.sent.len() + 1;
        let target = format!("{}?partNumber={number}&uploadId={}", self.target, self.id);
        let mover = Arc::clone(&self.mover);
        self.sent.spawn(async move {
            let (etag, _) = mover.s3.s3(Method::PUT, &target, payload).await?;
            drop(permit);
            Ok((number, etag))
        });
        Ok(())
    }

    async fn complete(mut self) -> Outcome<()> {
        if self.length > 0 {
            self.send().await?;
        }
        let mut etags = Vec::new();
        while let Some(sent) = self.sent.join_next().await {
            etags.push(sent??);
        }
        etags.sort();
        let mut body = String::from("<CompleteMultipartUpload>");
        for (number, etag) in etags {
            write!(
                body,
                "<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
            )?;
        }
        body.push_str("</CompleteMultipartUpload>");
        let target = format!("{}?uploadId={}", self.target, self.id);
        let payload = Payload::of([Bytes::from(body)]);
        let begin = Instant::now();
        self.mover.s3.s3(Method::POST, &target, payload).await?;
        let took = u64::try_from(begin.elapsed().as_micros())?;
        self.mover.completing.fetch_add(took, Ordering::Relaxed);
        Ok(())
    }
}
