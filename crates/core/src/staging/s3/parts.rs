//! A file on its way into S3: whole in one request, or as a multipart upload whose parts go side by side.
//!
//! Nothing is to be seen of it before [`Multipart::put`] or [`Multipart::complete`]. What parts there are, and what is
//! written down of them, is the caller's business.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{MutexGuard, PoisonError};

use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType, CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{OnceCell, oneshot};

use super::fault::Fault;
use super::{ATTEMPTS, PUT, Store};
use crate::config::Checksum;
use crate::error::{Error, Kind, Result};
use crate::staging::layout;
use crate::staging::state::jitter;
use crate::staging::sums::{Algorithm, Sum};
use crate::staging::under_way::Part;

/// S3 takes this many parts of one object and no more.
pub(in crate::staging) const PARTS: u32 = 10_000;

const ABORT: &str = "s3:AbortMultipartUpload";
const LIST_PARTS: &str = "s3:ListMultipartUploadParts";

/// A file that is on its way.
#[derive(Debug)]
pub(in crate::staging) struct Multipart {
    store: Store,
    key: String,
    content_type: &'static str,
    begun: OnceCell<Begun>,
    lost: AtomicBool,
}

/// The upload as S3 knows it.
#[derive(Clone, Debug)]
struct Begun {
    id: String,
    /// S3 was told, and has confirmed, what it is to compute.
    told: bool,
}

/// What S3 has of an upload that was begun before.
pub(in crate::staging) enum Found {
    /// These parts, without their offsets.
    Parts(Vec<FoundPart>),
    /// It does not say; whoever wrote the parts down is to be believed.
    Unsaid,
    /// Nothing: the upload is gone.
    Gone,
}

/// A part as S3 lists it.
pub(in crate::staging) struct FoundPart {
    pub(in crate::staging) number: u32,
    pub(in crate::staging) size: u64,
    pub(in crate::staging) sum: Option<Sum>,
    pub(in crate::staging) etag: Option<String>,
}

impl Multipart {
    pub(super) fn new(store: Store, key: &str) -> Self {
        Self {
            store,
            key: key.to_owned(),
            content_type: layout::NDJSON,
            begun: OnceCell::new(),
            lost: AtomicBool::new(false),
        }
    }

    /// The same of another content type than that of resources, for an object in parts.
    pub(in crate::staging) fn of_type(mut self, content_type: &'static str) -> Self {
        self.content_type = content_type;
        self
    }

    /// An upload that was begun before, with what S3 was told then.
    pub(super) fn begun(store: Store, key: &str, id: &str, told: bool) -> Self {
        Self {
            begun: OnceCell::new_with(Some(Begun {
                id: id.to_owned(),
                told,
            })),
            ..Self::new(store, key)
        }
    }

    /// The upload's id and whether S3 was told of sums, once it is begun.
    pub(in crate::staging) fn id(&self) -> Option<(&str, bool)> {
        let begun = self.begun.get()?;
        Some((&begun.id, begun.told))
    }

    /// The upload is gone, or of no more use.
    pub(in crate::staging) fn lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Calls the upload lost, and says what happened.
    fn lose(&self, fault: &Fault) -> Error {
        self.lost.store(true, Ordering::Release);
        self.note_gone();
        let error = self.store.error(fault, &self.key, PUT);
        again(error.what())
    }

    /// Remembers that the upload is gone, for there are stores that do not tell when they are asked.
    fn note_gone(&self) {
        if let Some(begun) = self.begun.get() {
            self.gone().insert(begun.id.clone());
        }
    }

    fn gone(&self) -> MutexGuard<'_, HashSet<String>> {
        let gone = &self.store.gone;
        gone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends the whole file. `false` says that another object has the key, which only `replace` overrules.
    pub(in crate::staging) async fn put(
        &self,
        body: Bytes,
        sum: Sum,
        metadata: Option<&str>,
        replace: bool,
    ) -> Result<bool> {
        let (store, key) = (&self.store, self.key.as_str());
        let put = |if_absent| store.put_file(key, body.clone(), sum, metadata, if_absent);
        let mut learned = false;
        if !replace && store.knows_conditions() {
            for attempt in 0..ATTEMPTS {
                match put(true).await {
                    Ok(()) => return Ok(true),
                    Err(fault) if fault.condition_failed() => return Ok(false),
                    Err(fault) if fault.collided() => tokio::time::sleep(jitter(attempt)).await,
                    Err(fault) if fault.maybe_no_conditions() => {
                        learned = true;
                        break;
                    }
                    Err(fault) => return Err(store.error(&fault, key, PUT)),
                }
            }
            if !learned {
                return Err(store.contended(key));
            }
        }
        if !replace && store.head(key).await?.is_some() {
            return Ok(false);
        }
        put(false)
            .await
            .map_err(|fault| store.error(&fault, key, PUT))?;
        store.learn(learned);
        Ok(true)
    }

    /// Begins the upload where that is still to be done, and says whether it was.
    pub(in crate::staging) async fn begin(&self) -> Result<bool> {
        let mut now = false;
        let flag = &mut now;
        let begin = || async move {
            let begun = self.create().await?;
            *flag = true;
            Ok(begun)
        };
        self.begun.get_or_try_init(begin).await?;
        Ok(now)
    }

    /// Sends a part of an upload that is begun. Gives the part's `ETag`.
    pub(in crate::staging) async fn part(
        &self,
        number: u32,
        body: Bytes,
        sum: Sum,
    ) -> Result<String> {
        let store = &self.store;
        let Some(begun) = self.begun.get() else {
            let fault = Fault::broken("a part came before its upload was begun");
            return Err(store.error(&fault, &self.key, PUT));
        };
        let text = sum.base64();
        let headers = store.sum_header(sum).map(|name| (name, text.as_str()));
        let number = number.to_string();
        let query = [("partNumber", number.as_str()), ("uploadId", &begun.id)];
        let sent = store
            .wire
            .put(&store.name(&self.key), &query, headers.as_slice(), body)
            .await;
        match sent {
            Ok(etag) => Ok(etag),
            Err(fault) if fault.no_such_upload() => Err(self.lose(&fault)),
            Err(fault) => Err(store.error(&fault, &self.key, PUT)),
        }
    }

    /// Asks for a new upload. Whoever waits for that may be dropped before the answer comes, and nobody else would know the
    /// upload's id: so it is asked for by the store itself, which aborts one that nobody wants any more.
    async fn create(&self) -> Result<Begun> {
        let (store, key, content_type) = (self.store.clone(), self.key.clone(), self.content_type);
        let (tell, told) = oneshot::channel();
        self.store.aside(async move {
            let created = create(&store, &key, content_type).await;
            if let Err(Ok(unwanted)) = tell.send(created) {
                abort(&store, &key, unwanted.id).await;
            }
        });
        told.await.unwrap_or_else(|_| {
            let fault = Fault::broken("a multipart upload was not begun");
            Err(self.store.error(&fault, &self.key, PUT))
        })
    }

    /// Looks at what S3 has of an upload that was begun before.
    pub(in crate::staging) async fn look(&self, algorithm: Algorithm) -> Result<Found> {
        let store = &self.store;
        let Some(begun) = self
            .begun
            .get()
            .filter(|begun| !self.gone().contains(&begun.id))
        else {
            return Ok(Found::Gone);
        };
        let mut found = Vec::new();
        let mut marker = None;
        loop {
            let page = store
                .client
                .list_parts()
                .bucket(&store.bucket)
                .key(store.name(&self.key))
                .upload_id(&begun.id)
                .set_part_number_marker(marker)
                .send()
                .await;
            let page = match page.map_err(Fault::from) {
                Ok(page) => page,
                Err(fault) if fault.absent() => {
                    self.note_gone();
                    return Ok(Found::Gone);
                }
                Err(fault) if fault.not_offered() => return Ok(Found::Unsaid),
                Err(fault) => return Err(store.error(&fault, &self.key, LIST_PARTS)),
            };
            let more = page.is_truncated == Some(true);
            marker = page.next_part_number_marker;
            for part in page.parts.unwrap_or_default() {
                let size = super::size(part.size);
                let sum = match algorithm {
                    Algorithm::Crc64Nvme => part.checksum_crc64_nvme,
                    Algorithm::Crc32 => part.checksum_crc32,
                };
                let number = part
                    .part_number
                    .and_then(|number| u32::try_from(number).ok());
                found.push(FoundPart {
                    number: number.unwrap_or_default(),
                    size,
                    sum: sum.and_then(|sum| Sum::parse(algorithm, &sum, size)),
                    etag: part.e_tag,
                });
            }
            if !more || marker.is_none() {
                return Ok(Found::Parts(found));
            }
        }
    }

    /// Makes the object appear, of these parts. `false` says that another object has the key, which only `replace`
    /// overrules.
    pub(in crate::staging) async fn complete(
        &self,
        parts: &[Part],
        sum: Sum,
        replace: bool,
    ) -> Result<bool> {
        let store = &self.store;
        let mut learned = false;
        if !replace && store.knows_conditions() {
            match self.try_complete(parts, sum, true).await {
                Ok(()) => return Ok(true),
                Err(fault) if fault.condition_failed() => return Ok(false),
                Err(fault) if fault.maybe_no_conditions() => learned = true,
                Err(fault) => return self.not_completed(fault, sum).await,
            }
        }
        if !replace && store.head(&self.key).await?.is_some() {
            return Ok(false);
        }
        match self.try_complete(parts, sum, false).await {
            Ok(()) => {
                store.learn(learned);
                Ok(true)
            }
            Err(fault) => self.not_completed(fault, sum).await,
        }
    }

    /// Asks for the object; and once more where another process at the same upload has sent some of the same parts again.
    /// Each has another `ETag` then, if the store encrypts with keys of its own (SSE-KMS): it is the sums that are the same.
    async fn try_complete(&self, parts: &[Part], sum: Sum, if_absent: bool) -> Result<(), Fault> {
        let fault = match self.send_complete(parts, sum, if_absent).await {
            Err(fault) if fault.no_such_part() => fault,
            ended => return ended,
        };
        match self.as_they_are(parts, sum.algorithm).await {
            Some(parts) => self.send_complete(&parts, sum, if_absent).await,
            None => Err(fault),
        }
    }

    /// The same parts, each with the `ETag` that it has by now; `None` where S3 has other bytes, or does not say.
    async fn as_they_are(&self, parts: &[Part], algorithm: Algorithm) -> Option<Vec<Part>> {
        let Ok(Found::Parts(found)) = self.look(algorithm).await else {
            return None;
        };
        let found: HashMap<u32, FoundPart> =
            found.into_iter().map(|part| (part.number, part)).collect();
        let parts = parts.iter().map(|part| {
            let found = found.get(&part.number)?;
            let same = found.size == part.size && part.sum.is_some() && found.sum == part.sum;
            Some(Part {
                etag: found.etag.clone().filter(|_| same)?,
                ..part.clone()
            })
        });
        parts.collect()
    }

    /// S3's own error after it had begun to answer with 200 comes out of the SDK as an error, like any other.
    async fn send_complete(&self, parts: &[Part], sum: Sum, if_absent: bool) -> Result<(), Fault> {
        let Some(begun) = self.begun.get() else {
            return Err(Fault::broken("no part of it was sent"));
        };
        let store = &self.store;
        let parts = parts.iter().map(|part| completed(part, begun.told));
        let parts = CompletedMultipartUpload::builder()
            .set_parts(Some(parts.collect()))
            .build();
        let mut request = store
            .client
            .complete_multipart_upload()
            .bucket(&store.bucket)
            .key(store.name(&self.key))
            .upload_id(&begun.id)
            .multipart_upload(parts)
            .set_if_none_match(if_absent.then(|| "*".to_owned()));
        if begun.told {
            request = request
                .mpu_object_size(i64::try_from(sum.length).unwrap_or(i64::MAX))
                .checksum_type(ChecksumType::FullObject);
            request = match sum.algorithm {
                Algorithm::Crc64Nvme => request.checksum_crc64_nvme(sum.base64()),
                Algorithm::Crc32 => request.checksum_crc32(sum.base64()),
            };
        }
        request.send().await?;
        Ok(())
    }

    /// What a completion that failed means for the upload.
    async fn not_completed(&self, fault: Fault, sum: Sum) -> Result<bool> {
        // The answer to a first request that succeeded may have been lost, and the SDK asked again: then the object is there.
        if fault.no_such_upload() {
            let head = self.store.head(&self.key).await?;
            if head.is_some_and(|head| head.size == sum.length) {
                return Ok(true);
            }
            return Err(self.lose(&fault));
        }
        // S3 says of a collision that all parts are to be sent again; and parts that are not what was sent must be.
        if fault.collided() || fault.other_parts() {
            self.give_up().await;
            return Err(self.lose(&fault));
        }
        Err(self.store.error(&fault, &self.key, PUT))
    }

    /// Gives up what S3 has of the file.
    pub(in crate::staging) async fn give_up(&self) {
        if let Some(begun) = self.begun.get().filter(|_| !self.lost()) {
            self.note_gone();
            abort(&self.store, &self.key, begun.id.clone()).await;
        }
    }

    /// The same, for nobody to wait for but [`Store::settle`].
    pub(in crate::staging) fn abandon(&self) {
        let Some(begun) = self.begun.get().filter(|_| !self.lost()) else {
            return;
        };
        // Best effort: when the process ends first, the bucket's lifecycle rule removes the parts.
        let (store, key, id) = (self.store.clone(), self.key.clone(), begun.id.clone());
        self.store
            .aside(async move { abort(&store, &key, id).await });
    }
}

impl Store {
    /// Begins a file.
    pub(in crate::staging) fn multipart(&self, key: &str) -> Multipart {
        Multipart::new(self.clone(), key)
    }

    /// Goes on with a file that was begun before.
    pub(in crate::staging) fn multipart_of(&self, key: &str, id: &str, told: bool) -> Multipart {
        Multipart::begun(self.clone(), key, id, told)
    }

    /// Does work for which nobody waits but [`Store::settle`]; nothing where no runtime is left.
    fn aside(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Ok(runtime) = Handle::try_current() {
            let mut aside = self.aside.lock().unwrap_or_else(PoisonError::into_inner);
            while aside.try_join_next().is_some() {}
            aside.spawn_on(work, &runtime);
        }
    }

    /// Waits until the uploads that were dropped half-way are aborted.
    pub(in crate::staging) async fn settle(&self) {
        let aside = std::mem::take(&mut *self.aside.lock().unwrap_or_else(PoisonError::into_inner));
        aside.join_all().await;
    }

    /// How many multipart uploads are under way in the bucket.
    #[cfg(test)]
    pub(in crate::staging) async fn uploads(&self) -> usize {
        let listed = self.client.list_multipart_uploads().bucket(&self.bucket);
        let listed = listed.send().await.map_err(Fault::from);
        listed.map_or(usize::MAX, |listed| listed.uploads().len())
    }

    /// Whether S3 is told sums at all.
    pub(in crate::staging) fn tells(&self) -> bool {
        self.checksum != Checksum::None
    }
}

fn completed(part: &Part, told: bool) -> CompletedPart {
    let mut completed = CompletedPart::builder()
        .part_number(i32::try_from(part.number).unwrap_or(i32::MAX))
        .e_tag(&part.etag);
    if let Some(sum) = part.sum.filter(|_| told) {
        completed = match sum.algorithm {
            Algorithm::Crc64Nvme => completed.checksum_crc64_nvme(sum.base64()),
            Algorithm::Crc32 => completed.checksum_crc32(sum.base64()),
        };
    }
    completed.build()
}

async fn create(store: &Store, key: &str, content_type: &str) -> Result<Begun> {
    let mut request = store
        .client
        .create_multipart_upload()
        .bucket(&store.bucket)
        .key(store.name(key))
        .content_type(content_type);
    let algorithm = match store.checksum {
        Checksum::Crc64Nvme => Some(ChecksumAlgorithm::Crc64Nvme),
        Checksum::Crc32 => Some(ChecksumAlgorithm::Crc32),
        Checksum::None => None,
    };
    if let Some(algorithm) = &algorithm {
        request = request
            .checksum_algorithm(algorithm.clone())
            .checksum_type(ChecksumType::FullObject);
    }
    let created = request
        .send()
        .await
        .map_err(|error| store.error(&error.into(), key, PUT))?;
    // A store that does not repeat the algorithm has not understood it.
    let told = algorithm.is_some() && created.checksum_algorithm == algorithm;
    let Some(id) = created.upload_id else {
        let fault = Fault::broken("S3 began a multipart upload without an id");
        return Err(store.error(&fault, key, PUT));
    };
    Ok(Begun { id, told })
}

/// Best effort: the bucket's lifecycle rule does the rest.
pub(super) async fn abort(store: &Store, key: &str, id: String) {
    let aborted = store
        .client
        .abort_multipart_upload()
        .bucket(&store.bucket)
        .key(store.name(key))
        .upload_id(id)
        .send()
        .await;
    if let Err(error) = aborted {
        let error = store.error(&error.into(), key, ABORT);
        tracing::debug!(url = store.place.url(key), %error, "a multipart upload was not aborted");
    }
}

/// The error of an upload that is of no more use.
fn again(what: &str) -> Error {
    Kind::StagingUnavailable
        .error(what)
        .next("Start again: the file is then sent from its beginning. Where the store refuses a right checksum each time, set STAGING_CHECKSUM=crc32, or none.")
}
