//! Staging in S3, or in a store that speaks like it.
//!
//! Our own small objects are read and written here, through the SDK; files on their way are [`parts`]', over the lean
//! [`wire`], and what a refusal means is [`fault`]'s.
//! Two things differ between stores and permissions and are learned as we go: whether `HEAD` is answered, and whether
//! writes may have conditions.

mod client;
mod endpoint;
mod fault;
mod listing;
mod parts;
mod pieces;
mod stream;
mod sweep;
mod wire;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once};

use aws_config::SdkConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use tokio::task::JoinSet;

use self::client::Clients;
use self::fault::Fault;
use self::wire::Wire;
use super::state::jitter;
use super::sums::{Algorithm, Sum};
use super::{Created, Head, Object, Replaced, Version, done, layout};
use crate::config::{Checksum, Place};
use crate::error::{Error, Kind, Result};

pub(super) use self::parts::{Found, FoundPart, Multipart, PARTS};

/// How often a write is tried against others that write the same object at the same instant.
const ATTEMPTS: u32 = 6;

/// After how many writes that pass only without a condition the store is taken to know none: the first may have met an odd
/// answer of something in between.
const NO_CONDITIONS: usize = 2;

const GET: &str = "s3:GetObject";
const PUT: &str = "s3:PutObject";
const DELETE: &str = "s3:DeleteObject";

/// A bucket, and the prefix that everything of ours is below. Clones share what was learned.
#[derive(Clone, Debug)]
pub(super) struct Store {
    client: Client,
    wire: Wire,
    checksum: Checksum,
    place: Place,
    bucket: String,
    prefix: String,
    learned: Arc<Learned>,
    /// Uploads of which we know that they are gone.
    gone: Arc<Mutex<HashSet<String>>>,
    /// What is begun and aborted for nobody that waits: see [`Store::settle`].
    aside: Arc<Mutex<JoinSet<()>>>,
}

/// What this store turned out to be like.
#[derive(Debug, Default)]
struct Learned {
    /// `HEAD` was answered with 200 or 404, so its 403 means that the object is absent.
    heads: AtomicBool,
    /// `HEAD` is refused where `GET` is not.
    no_heads: AtomicBool,
    /// How many writes were refused with a condition and passed without.
    no_conditions: AtomicUsize,
}

/// What must hold for a write to be done.
#[derive(Clone, Copy, Debug)]
enum Condition<'a> {
    /// Nothing.
    None,
    /// That there is no such object.
    Absent,
    /// That the object is still this one.
    Still(&'a Version),
}

/// An object that was asked for.
enum Got {
    There(Object),
    Absent,
    /// Absent, or not to be read: S3 does not say which.
    Forbidden,
}

impl Store {
    /// The bucket of a place, with the settings given or with the environment's.
    pub(super) async fn open(
        place: &Place,
        bucket: &str,
        prefix: &str,
        settings: Option<&SdkConfig>,
        checksum: Checksum,
    ) -> Result<Self> {
        let clients = match settings {
            Some(settings) => Clients::of(settings, place, checksum)?,
            None => Clients::connected(place, checksum).await?,
        };
        let address = endpoint::resolve(&clients.settings, place, bucket).await?;
        Ok(Self {
            client: clients.sdk,
            wire: Wire::new(clients.line, address),
            checksum,
            place: place.clone(),
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            learned: Arc::default(),
            gone: Arc::default(),
            aside: Arc::default(),
        })
    }

    /// See [`super::Staging::head`]. Where `HEAD` is refused, a `GET` of one byte tells the same.
    pub(super) async fn head(&self, key: &str) -> Result<Option<Head>> {
        if self.learned.no_heads.load(Ordering::Relaxed) {
            return self.glance(key).await;
        }
        let asked = self
            .client
            .head_object()
            .bucket(&self.bucket)
            .key(self.name(key))
            .send();
        let fault = match asked.await {
            Ok(head) => {
                self.learned.heads.store(true, Ordering::Relaxed);
                return Ok(Some(Head {
                    size: size(head.content_length()),
                    etag: head.e_tag,
                    metadata: head.metadata.unwrap_or_default().into_iter().collect(),
                }));
            }
            Err(error) => Fault::from(error),
        };
        if fault.absent() {
            self.learned.heads.store(true, Ordering::Relaxed);
            return Ok(None);
        }
        if fault.forbidden() && self.learned.heads.load(Ordering::Relaxed) {
            return Ok(None);
        }
        if !fault.head_refused() {
            return Err(self.error(&fault, key, GET));
        }
        let found = self.glance(key).await?;
        if fault.head_unknown() || (fault.forbidden() && found.is_some()) {
            self.learned.no_heads.store(true, Ordering::Relaxed);
        }
        Ok(found)
    }

    /// A head without `HEAD`: the first byte of the object, and what is said beside it.
    async fn glance(&self, key: &str) -> Result<Option<Head>> {
        let fault = match self.get(key, Some("bytes=0-0")).await {
            Ok(found) => return Ok(Some(head_of(found))),
            Err(fault) => fault,
        };
        if fault.no_such_range() {
            // Nothing to take a byte of: the whole object is as small as an answer can be.
            let found = self.get(key, None).await.map(head_of).map(Some);
            return found.map_err(|fault| self.error(&fault, key, GET));
        }
        if fault.absent() || fault.forbidden() {
            return Ok(None);
        }
        Err(self.error(&fault, key, GET))
    }

    /// See [`super::Staging::read`].
    pub(super) async fn read(&self, key: &str) -> Result<Option<Object>> {
        Ok(match self.fetch(key).await? {
            Got::There(object) => Some(object),
            Got::Absent | Got::Forbidden => None,
        })
    }

    async fn fetch(&self, key: &str) -> Result<Got> {
        let found = match self.get(key, None).await {
            Ok(found) => found,
            Err(fault) if fault.absent() => return Ok(Got::Absent),
            Err(fault) if fault.forbidden() => return Ok(Got::Forbidden),
            Err(fault) => return Err(self.error(&fault, key, GET)),
        };
        let version = Version(found.e_tag.unwrap_or_default());
        match found.body.collect().await {
            Ok(body) => Ok(Got::There(Object {
                bytes: body.into_bytes(),
                version,
            })),
            Err(error) => {
                let fault = Fault::broken(&format!("the answer broke off: {error}"));
                Err(self.error(&fault, key, GET))
            }
        }
    }

    /// See [`super::Staging::create`].
    pub(super) async fn create(
        &self,
        key: &str,
        bytes: Bytes,
        content_type: &str,
    ) -> Result<Created> {
        let put = |condition| self.put(key, bytes.clone(), content_type, condition);
        for attempt in 0..ATTEMPTS {
            let mut learned = None;
            if self.knows_conditions() {
                match put(Condition::Absent).await {
                    Ok(version) => return Ok(Created::New(version)),
                    Err(fault) if fault.condition_failed() => match self.fetch(key).await? {
                        Got::There(object) => return Ok(Created::Exists(object)),
                        Got::Forbidden => return Err(done::unreadable(&self.place.url(key))),
                        // It was removed in the meantime.
                        Got::Absent => continue,
                    },
                    Err(fault) if fault.collided() => {
                        tokio::time::sleep(jitter(attempt)).await;
                        continue;
                    }
                    Err(fault) if fault.maybe_no_conditions() => learned = Some(fault),
                    Err(fault) => return Err(self.error(&fault, key, PUT)),
                }
            }
            if let Got::There(object) = self.fetch(key).await? {
                return Ok(Created::Exists(object));
            }
            return match put(Condition::None).await {
                Ok(version) => {
                    self.learn(learned.is_some());
                    Ok(Created::New(version))
                }
                Err(fault) => Err(self.error(&fault, key, PUT)),
            };
        }
        Err(self.contended(key))
    }

    /// See [`super::Staging::replace`].
    pub(super) async fn replace(
        &self,
        key: &str,
        bytes: Bytes,
        expected: &Version,
    ) -> Result<Replaced> {
        let put = |condition| {
            let content_type = super::layout::content_type_of(key);
            self.put(key, bytes.clone(), content_type, condition)
        };
        let mut learned = None;
        if self.knows_conditions() {
            match put(Condition::Still(expected)).await {
                Ok(version) => return Ok(Replaced::Done(version)),
                Err(fault) if fault.condition_failed() || fault.absent() || fault.collided() => {
                    return Ok(Replaced::Conflict);
                }
                Err(fault) if fault.maybe_no_conditions() => learned = Some(fault),
                Err(fault) => return Err(self.error(&fault, key, PUT)),
            }
        }
        match self.fetch(key).await? {
            Got::There(object) if object.version == *expected => {}
            _ => return Ok(Replaced::Conflict),
        }
        match put(Condition::None).await {
            Ok(version) => {
                self.learn(learned.is_some());
                Ok(Replaced::Done(version))
            }
            Err(fault) => Err(self.error(&fault, key, PUT)),
        }
    }

    /// See [`super::Staging::remove_still`].
    pub(super) async fn remove(&self, key: &str, version: Option<&Version>) -> Result<()> {
        let removed = self
            .client
            .delete_object()
            .bucket(&self.bucket)
            .key(self.name(key))
            .set_if_match(version.map(|version| version.0.clone()))
            .send();
        match removed.await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.error(&error.into(), key, DELETE)),
        }
    }

    async fn get(&self, key: &str, range: Option<&str>) -> Result<GetObjectOutput, Fault> {
        self.client
            .get_object()
            .bucket(&self.bucket)
            .key(self.name(key))
            .set_range(range.map(str::to_owned))
            .send()
            .await
            .map_err(Fault::from)
    }

    async fn put(
        &self,
        key: &str,
        body: Bytes,
        content_type: &str,
        condition: Condition<'_>,
    ) -> Result<Version, Fault> {
        let request = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(self.name(key))
            .content_type(content_type)
            .body(ByteStream::from(body));
        let request = match condition {
            Condition::None => request,
            Condition::Absent => request.if_none_match("*"),
            Condition::Still(version) => request.if_match(&version.0),
        };
        let answer = request.send().await?;
        Ok(Version(answer.e_tag.unwrap_or_default()))
    }

    /// Sends a whole file, over the lean wire.
    async fn put_file(
        &self,
        key: &str,
        body: Bytes,
        sum: Sum,
        metadata: Option<&str>,
        if_absent: bool,
    ) -> Result<(), Fault> {
        let text = sum.base64();
        let mut headers = vec![("content-type", layout::NDJSON)];
        if let Some(name) = self.sum_header(sum) {
            headers.push((name, &text));
        }
        if let Some(metadata) = metadata {
            headers.push((done::METADATA_HEADER, metadata));
        }
        if if_absent {
            headers.push(("if-none-match", "*"));
        }
        let name = self.name(key);
        self.wire.put(&name, &[], &headers, body).await.map(drop)
    }

    /// The header that tells S3 a sum; `None` where it is told nothing.
    fn sum_header(&self, sum: Sum) -> Option<&'static str> {
        match (self.checksum, sum.algorithm) {
            (Checksum::None, _) => None,
            (_, Algorithm::Crc64Nvme) => Some("x-amz-checksum-crc64nvme"),
            (_, Algorithm::Crc32) => Some("x-amz-checksum-crc32"),
        }
    }

    fn knows_conditions(&self) -> bool {
        self.learned.no_conditions.load(Ordering::Relaxed) < NO_CONDITIONS
    }

    /// Remembers that a write passed without a condition which had failed with one, and says so once it is no accident.
    fn learn(&self, no_conditions: bool) {
        static SAID: Once = Once::new();
        if !no_conditions {
            return;
        }
        let before = self.learned.no_conditions.fetch_add(1, Ordering::Relaxed);
        if before + 1 < NO_CONDITIONS {
            return;
        }
        SAID.call_once(|| {
            tracing::warn!(
                place = %self.place,
                "the store refuses conditional writes: let only one process at a time work on a run"
            );
        });
    }

    /// The object's name in the bucket.
    fn name(&self, key: &str) -> String {
        if self.prefix.is_empty() {
            key.to_owned()
        } else {
            format!("{}/{key}", self.prefix)
        }
    }

    fn error(&self, fault: &Fault, key: &str, permission: &str) -> Error {
        fault.error(&self.place.url(key), permission)
    }

    fn contended(&self, key: &str) -> Error {
        Kind::StagingUnavailable.error(format!(
            "{} is being written by others, {ATTEMPTS} times in a row",
            self.place.url(key)
        ))
    }
}

/// What an answer to a `GET` says of the object; its body is not read.
fn head_of(found: GetObjectOutput) -> Head {
    // Of one byte, `Content-Range` says what it is one of: `bytes 0-0/1234`.
    let whole = found
        .content_range()
        .and_then(|range| range.rsplit_once('/'))
        .and_then(|(_, whole)| whole.parse().ok());
    Head {
        size: whole.unwrap_or_else(|| size(found.content_length())),
        etag: found.e_tag,
        metadata: found.metadata.unwrap_or_default().into_iter().collect(),
    }
}

fn size(length: Option<i64>) -> u64 {
    length
        .and_then(|length| u64::try_from(length).ok())
        .unwrap_or_default()
}
