//! Where files rest between the source and the target: S3, or a local folder.
//!
//! [`layout`] owns every key. [`Staging`] keeps three promises on both kinds of place: an object exists only whole; what
//! several processes write at once, one of them has written ([`Staging::create`], [`Staging::replace`] and
//! [`Staging::update_json`] for our own state); and a file that is done, or under way, can be told from one that is not
//! ([`Staging::state`], [`Upload`]). What the objects mean is the callers' business.
//!
//! On S3, `s3:GetObject` and `s3:PutObject` below the prefix are all that is needed. Without `s3:ListBucket`, S3 answers 403
//! for an object that is not there, so 403 counts as absent when we read; a conditional write that then fails shows that
//! the object was there after all, and may not be read.

mod append;
mod done;
mod files;
mod folder;
pub mod layout;
mod s3;
mod signatures;
mod state;
mod stream;
mod sums;
#[cfg(test)]
mod tests;
mod under_way;
mod upload;
mod writing;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use bytes::Bytes;
use tokio::sync::watch;

use self::folder::Folder;
use self::s3::Store;
use crate::clock::Clock;
use crate::config::{Checksum, Place};
use crate::error::Result;
use crate::http::Backoff;

pub use self::append::LARGE_ADDITION;
pub use self::done::{DoneRecord, StagedObject};
pub use self::files::{FileState, Hint, Listed};
pub use self::stream::Chunks;
pub use self::sums::{Algorithm, Sum};
pub use self::under_way::{Part, Position, SourceMark, UnderWay};
pub use self::upload::{Confirmed, Saved, Upload};
pub use self::writing::Writing;

/// One object has at most so many parts.
pub const PARTS: u32 = s3::PARTS;

/// How long [`Staging::settle`] waits at most: a store that hangs must not keep the process.
const SETTLING: Duration = Duration::from_secs(1);

/// How often a store that asks for patience gets it, for one of our own small objects.
const WAITS: u32 = 6;

/// The first of these waits, at most; each further one may be twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// The longest of them, whatever the store asks for: the step has a time of its own, and is called again.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// An open place. Clones are cheap and share connections.
#[derive(Clone, Debug)]
pub struct Staging {
    inner: Arc<Inner>,
    /// Whether a store that asks for patience gets it here, or its caller is told.
    patient: bool,
    clock: Clock,
}

#[derive(Debug)]
struct Inner {
    place: Place,
    algorithm: Algorithm,
    backend: Backend,
    /// How many uploads are in somebody's hands.
    uploads: watch::Sender<usize>,
}

#[derive(Debug)]
enum Backend {
    Folder(Folder),
    S3(Store),
}

/// How a place is used.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What S3 is told to compare. A folder is told nothing, and its records have the sums all the same.
    pub checksum: Checksum,
    /// Whether the place is only looked at: then nothing is made there, and nobody has to be allowed to write.
    pub looks_only: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            checksum: Checksum::Crc64Nvme,
            looks_only: false,
        }
    }
}

/// What is known of an object without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its length in bytes.
    pub size: u64,
    /// Its `ETag`, where the place has such.
    pub etag: Option<String>,
    /// What was stored beside it; always empty in a folder.
    pub metadata: BTreeMap<String, String>,
}

/// A small object, read whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its content.
    pub bytes: Bytes,
    /// What [`Staging::replace`] must be told to replace just this content.
    pub version: Version,
}

/// Tells one content of an object from another: an `ETag`, or a hash. It has no order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(String);

/// What became of [`Staging::create`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// The object is ours.
    New(Version),
    /// Somebody was there first; this is theirs, and it stays.
    Exists(Object),
}

/// What became of [`Staging::replace`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// The object is ours.
    Done(Version),
    /// The object is no longer the one that was read. Read it again.
    Conflict,
}

impl Staging {
    /// Opens a place. A folder is made where it is missing; a bucket must exist, which the first request finds out.
    ///
    /// `StagingDenied` where the folder is a file or cannot be written; `Configuration` where the AWS settings are not
    /// enough to begin.
    pub async fn open(place: &Place, options: Options) -> Result<Self> {
        Self::open_place(place, options, None).await
    }

    /// Opens a place with AWS settings of the caller's own instead of the environment's. A folder needs none.
    pub async fn open_with(place: &Place, options: Options, settings: &SdkConfig) -> Result<Self> {
        Self::open_place(place, options, Some(settings)).await
    }

    async fn open_place(
        place: &Place,
        options: Options,
        settings: Option<&SdkConfig>,
    ) -> Result<Self> {
        let checksum = options.checksum;
        let backend = match place {
            Place::Folder(root) if options.looks_only => Backend::Folder(Folder::at(root)),
            Place::Folder(root) => Backend::Folder(Folder::open(root).await?),
            Place::S3 { bucket, prefix, .. } => {
                Backend::S3(Store::open(place, bucket, prefix, settings, checksum).await?)
            }
        };
        Ok(Self {
            inner: Arc::new(Inner {
                place: place.clone(),
                algorithm: match checksum {
                    Checksum::Crc64Nvme | Checksum::None => Algorithm::Crc64Nvme,
                    Checksum::Crc32 => Algorithm::Crc32,
                },
                backend,
                uploads: watch::Sender::new(0),
            }),
            patient: true,
            clock: Clock::default(),
        })
    }

    /// The same place for a caller who writes down what this clock tells.
    #[must_use]
    pub fn by(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The clock that tells when what is written down here was done.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The same place for a caller that paces its requests by itself: one that the store has no time for is told at once.
    #[must_use]
    pub fn paced(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            patient: false,
            clock: self.clock.clone(),
        }
    }

    /// What the sums of files and their parts are to be computed with.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.inner.algorithm
    }

    /// The place that was opened.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.inner.place
    }

    /// The URL of an object, as people and logs see it.
    #[must_use]
    pub fn url(&self, key: &str) -> String {
        self.inner.place.url(key)
    }

    /// What is known of an object, or `None` where it is absent (or, on S3, may not be read).
    pub async fn head(&self, key: &str) -> Result<Option<Head>> {
        match &self.inner.backend {
            Backend::Folder(folder) => folder.head(key).await,
            Backend::S3(store) => self.patiently(|| store.head(key)).await,
        }
    }

    /// Reads a small object whole, or `None` where it is absent (or, on S3, may not be read: see [`Self::create`]).
    pub async fn read(&self, key: &str) -> Result<Option<Object>> {
        match &self.inner.backend {
            Backend::Folder(folder) => folder.read(key).await,
            Backend::S3(store) => self.patiently(|| store.read(key)).await,
        }
    }

    /// Writes an object that does not exist yet; where it does, it stays and is returned.
    ///
    /// `StagingDenied` where it exists but may not be read: that is how a missing `s3:GetObject` shows.
    pub async fn create(&self, key: &str, bytes: Bytes, content_type: &str) -> Result<Created> {
        match &self.inner.backend {
            Backend::Folder(folder) => folder.create(key, bytes).await,
            Backend::S3(store) => {
                self.patiently(|| store.create(key, bytes.clone(), content_type))
                    .await
            }
        }
    }

    /// Replaces an object that still is what it was when it was read.
    ///
    /// An answer that was lost on its way makes a `Conflict` of a success, so a caller that tries again must be able to
    /// find its own change in what it reads.
    pub async fn replace(&self, key: &str, bytes: Bytes, version: &Version) -> Result<Replaced> {
        match &self.inner.backend {
            Backend::Folder(folder) => folder.replace(key, bytes, version).await,
            Backend::S3(store) => {
                self.patiently(|| store.replace(key, bytes.clone(), version))
                    .await
            }
        }
    }

    /// Removes an object where that is allowed; what stays behind does no harm and is logged.
    pub async fn remove(&self, key: &str) {
        self.remove_if(key, None).await;
    }

    /// The same of an object that still is what it was when it was read. A store that does not mind the condition removes
    /// it all the same; one that refuses the condition keeps it.
    pub async fn remove_still(&self, key: &str, version: &Version) {
        self.remove_if(key, Some(version)).await;
    }

    async fn remove_if(&self, key: &str, version: Option<&Version>) {
        let removed = match &self.inner.backend {
            Backend::Folder(folder) => folder.remove(key, version).await,
            Backend::S3(store) => store.remove(key, version).await,
        };
        if let Err(error) = removed {
            tracing::debug!(url = self.url(key), %error, "an object was not removed");
        }
    }

    /// Waits a moment for what files that were dropped half-way leave behind to be cleared away. A process that ends without
    /// this leaves it to the bucket's lifecycle rule.
    pub async fn settle(&self) {
        let settled = async {
            // Tasks that were told to end do so when they have their next turn, and drop their uploads then.
            let mut uploads = self.inner.uploads.subscribe();
            let _ = uploads.wait_for(|open| *open == 0).await;
            if let Backend::S3(store) = &self.inner.backend {
                store.settle().await;
            }
        };
        if tokio::time::timeout(SETTLING, settled).await.is_err() {
            tracing::debug!("not everything that was half-way could be cleared away in time");
        }
    }

    /// Clears away what is half-way in a folder of ours: uploads, and temporary files that no process has in its hands. To be
    /// called once everything in the folder is done, so that nobody needs any of it: not the dead, who wrote nothing down
    /// before they died, and not whoever is still at work on a file that is done.
    ///
    /// What stays, for want of a permission, is left to the bucket's lifecycle rule.
    pub async fn sweep(&self, folder: &str) {
        let swept = match &self.inner.backend {
            Backend::Folder(place) => place.sweep(folder).await,
            Backend::S3(store) => store.sweep(folder).await,
        };
        if let Err(error) = swept {
            tracing::debug!(url = self.url(folder), %error, "what is half-way was not cleared away");
        }
    }

    async fn patiently<T, S>(&self, ask: impl Fn() -> S) -> Result<T>
    where
        S: Future<Output = Result<T>>,
    {
        if self.patient {
            patiently(ask).await
        } else {
            Box::pin(ask()).await
        }
    }

    /// Whether the objects of this place can carry metadata.
    fn has_metadata(&self) -> bool {
        match &self.inner.backend {
            Backend::Folder(_) => false,
            Backend::S3(_) => true,
        }
    }
}

/// Asks a store again that asks for patience. The SDK's own three attempts take a second, and a store that has too much to
/// do seldom has it done by then.
async fn patiently<T, S>(ask: impl Fn() -> S) -> Result<T>
where
    S: Future<Output = Result<T>>,
{
    let mut waits = Backoff::new(FIRST_WAIT, LONGEST_WAIT, WAITS).retry_after_max(LONGEST_WAIT);
    loop {
        // In a box, for the types of the futures around it grow out of all bounds.
        let error = match Box::pin(ask()).await {
            Err(error) if error.throttled() => error,
            answered => return answered,
        };
        let Some(wait) = waits.next(error.wait()) else {
            return Err(error);
        };
        tracing::debug!(
            error = error.what(),
            wait_s = wait.as_secs_f64(),
            "will be asked again"
        );
        tokio::time::sleep(wait).await;
    }
}
