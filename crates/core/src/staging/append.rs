//! Lines added to a log of ours, which several processes write at once: in objects that are numbered, none of them large,
//! for a small addition reads and writes the last one whole. A large one becomes an object of its own.

use bytes::Bytes;

use super::state::jitter;
use super::{Created, Replaced, Staging, layout};
use crate::error::{Kind, Result};

/// An object has no more than this, unless what is added at once has.
const LARGEST: usize = 2 << 20;

/// From so many bytes on, an addition is not joined with what is there.
pub const LARGE_ADDITION: usize = LARGEST / 2;

/// How often an addition is tried against others before it is given up.
const ATTEMPTS: u32 = 12;

impl Staging {
    /// Adds whole lines to the log whose objects `key` names, and gives the number of the object that has them now. `last` is
    /// what it gave before, if it did.
    ///
    /// The same lines that are there already, for the answer to an earlier call was lost, are not added again.
    /// `StagingUnavailable` where others keep changing it first.
    pub async fn append(
        &self,
        key: impl Fn(u32) -> String,
        lines: &Bytes,
        last: Option<u32>,
    ) -> Result<u32> {
        let is_large = lines.len() >= LARGE_ADDITION;
        let mut number = match last {
            Some(last) if is_large => last + 1,
            last => last.unwrap_or_default(),
        };
        for attempt in 0..ATTEMPTS {
            let at = key(number);
            let there = if is_large {
                None
            } else {
                self.read(&at).await?
            };
            let object = match there {
                Some(object) => object,
                None => match self.create(&at, lines.clone(), layout::JSON_LINES).await? {
                    Created::New(_) => return Ok(number),
                    Created::Exists(object) => object,
                },
            };
            if memchr::memmem::find(&object.bytes, lines).is_some() {
                return Ok(number);
            }
            if is_large || object.bytes.len() + lines.len() > LARGEST {
                let newest = self.newest(&key, number).await?;
                number = newest.max(number + 1);
                if attempt > 0 {
                    // Others are at it too.
                    tokio::time::sleep(jitter(attempt)).await;
                }
                continue;
            }
            let mut whole = Vec::with_capacity(object.bytes.len() + lines.len());
            whole.extend_from_slice(&object.bytes);
            whole.extend_from_slice(lines);
            match self.replace(&at, whole.into(), &object.version).await? {
                Replaced::Done(_) => return Ok(number),
                Replaced::Conflict => tokio::time::sleep(jitter(attempt)).await,
            }
        }
        Err(Kind::StagingUnavailable.error(format!(
            "{} was changed by others {ATTEMPTS} times while lines were being added to it",
            self.url(&key(number))
        )))
    }

    /// The last number from `there` on that an object has: they are counted without a gap.
    async fn newest(&self, key: &impl Fn(u32) -> String, there: u32) -> Result<u32> {
        let (mut known, mut step) = (there, 1);
        while self.head(&key(known + step)).await?.is_some() {
            known += step;
            step *= 2;
        }
        let mut absent = known + step;
        while absent - known > 1 {
            let middle = known + (absent - known) / 2;
            if self.head(&key(middle)).await?.is_some() {
                known = middle;
            } else {
                absent = middle;
            }
        }
        Ok(known)
    }
}
