//! An object of ours that is written as it comes, of any length and in little memory. It appears whole, at its end, and
//! where somebody was first, theirs stays.
//!
//! No state is kept of it: who is stopped half-way begins anew. What is of a source file is [`super::Upload`]'s.

use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::sums::Sum;
use super::under_way::Part;
use super::upload::{Open, Sink};
use super::{Created, FIRST_WAIT, LONGEST_WAIT, PARTS, Staging, WAITS};
use crate::error::{Kind, Result};
use crate::http::Backoff;

/// What is sent at once, in bytes: the least that S3 takes for a part. Twice as much is held at most.
const PART: usize = 5 << 20;

/// An object that is not yet there. Dropped, it never will be, and what is stored of it is cleared away.
#[derive(Debug)]
pub struct Writing {
    staging: Staging,
    key: String,
    content_type: &'static str,
    sink: Arc<Sink>,
    /// What was not sent yet.
    rest: Vec<u8>,
    /// The part that is on its way while the next one comes in.
    sending: JoinSet<Result<Part>>,
    parts: Vec<Part>,
    /// Of all parts, the one on its way included.
    sum: Sum,
    begun: bool,
    ended: bool,
    /// Dropped last: by then, what is to be cleared away is under way.
    _open: Open,
}

impl Staging {
    /// Begins an object. Nothing is asked of the place before there is a part of it.
    #[must_use]
    pub fn write(&self, key: &str, content_type: &'static str) -> Writing {
        Writing {
            staging: self.clone(),
            key: key.to_owned(),
            content_type,
            sink: Arc::new(Sink::of(self, key, content_type)),
            rest: Vec::new(),
            sending: JoinSet::new(),
            parts: Vec::new(),
            sum: Sum::empty(self.algorithm()),
            begun: false,
            ended: false,
            _open: Open::of(self),
        }
    }
}

impl Writing {
    /// Its key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Adds the next bytes. An error may be one of bytes that were added before.
    pub async fn add(&mut self, mut bytes: &[u8]) -> Result<()> {
        while self.rest.len() + bytes.len() > PART {
            let (now, later) = bytes.split_at(PART - self.rest.len());
            self.rest.extend_from_slice(now);
            bytes = later;
            self.send().await?;
        }
        self.rest.extend_from_slice(bytes);
        Ok(())
    }

    /// Makes it appear. `false` says that another object has the key, which stays.
    pub async fn finish(mut self) -> Result<bool> {
        if !self.begun {
            let body = Bytes::from(std::mem::take(&mut self.rest));
            let created = self.staging.create(&self.key, body, self.content_type);
            let is_new = matches!(created.await?, Created::New(_));
            self.ended = true;
            return Ok(is_new);
        }
        if !self.rest.is_empty() {
            self.send().await?;
        }
        self.sent().await?;
        let is_new = match &*self.sink {
            Sink::Folder(parts) => parts.complete(self.sum.length, false).await?,
            Sink::S3(upload) => upload.complete(&self.parts, self.sum, false).await?,
        };
        // Where somebody was first, what was sent is still to be cleared away.
        self.ended = is_new;
        Ok(is_new)
    }

    /// Sends what there is as a part, once the one before is stored.
    async fn send(&mut self) -> Result<()> {
        self.sent().await?;
        let number = u32::try_from(self.parts.len() + 1).unwrap_or(u32::MAX);
        if number > PARTS {
            let url = self.staging.url(&self.key);
            return Err(
                Kind::StagingDenied.error(format!("{url} would have more than {PARTS} parts"))
            );
        }
        let room = Vec::with_capacity(PART);
        let body = Bytes::from(std::mem::replace(&mut self.rest, room));
        let sum = Sum::of(self.sum.algorithm, &body);
        let part = Part {
            number,
            offset: self.sum.length,
            size: sum.length,
            sum: Some(sum),
            etag: String::new(),
        };
        self.sum = self.sum.and(sum);
        self.begun = true;
        self.sending
            .spawn(store(Arc::clone(&self.sink), part, sum, body));
        Ok(())
    }

    /// Waits for the part that is on its way.
    async fn sent(&mut self) -> Result<()> {
        while let Some(sent) = self.sending.join_next().await {
            let part = sent.map_err(|stopped| {
                let url = self.staging.url(&self.key);
                Kind::StagingUnavailable.error(format!("{url}: a part was not sent: {stopped}"))
            })?;
            self.parts.push(part?);
        }
        Ok(())
    }
}

/// Stores a part, however often the place has to be asked for that.
async fn store(sink: Arc<Sink>, mut part: Part, sum: Sum, body: Bytes) -> Result<Part> {
    let mut waits = Backoff::new(FIRST_WAIT, LONGEST_WAIT, WAITS).retry_after_max(LONGEST_WAIT);
    loop {
        let sent = async {
            match &*sink {
                Sink::Folder(parts) => {
                    parts.begin().await?;
                    parts.part(part.offset, body.clone()).await?;
                    Ok(String::new())
                }
                Sink::S3(upload) => {
                    upload.begin().await?;
                    upload.part(part.number, body.clone(), sum).await
                }
            }
        };
        let error = match Box::pin(sent).await {
            Ok(etag) => {
                part.etag = etag;
                return Ok(part);
            }
            Err(error) => error,
        };
        let lost = matches!(&*sink, Sink::S3(upload) if upload.lost());
        let wait = waits
            .next(error.wait())
            .filter(|_| error.kind() == Kind::StagingUnavailable && !lost);
        let Some(wait) = wait else {
            return Err(error);
        };
        tracing::debug!(
            error = error.what(),
            wait_s = wait.as_secs_f64(),
            "a part is sent again"
        );
        tokio::time::sleep(wait).await;
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        // A part that is on its way is not waited for: it ends with its task.
        self.sending.abort_all();
        if !self.ended
            && let Sink::S3(upload) = &*self.sink
        {
            upload.abandon();
        }
    }
}
