//! A file on its way into S3.
//!
//! Bytes wait in one part's buffer. A file that fits it is one `PutObject`, which can carry its record as metadata; the
//! first byte too many begins a multipart upload. Either way nothing is to be seen before [`Upload::publish`]. Parts go up
//! one after the other: memory stays at one buffer.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::{Bytes, BytesMut};
use tokio::runtime::Handle;

use super::fault::Fault;
use super::parts::abort;
use super::{ATTEMPTS, Condition, PUT, Store};
use crate::error::{Kind, Result};
use crate::staging::layout;
use crate::staging::state::jitter;

/// The size of every part but the last. S3 wants 5 MiB at least; some stores want all parts alike.
const PART: usize = 8 * 1024 * 1024;

/// S3 takes this many parts of one object and no more.
const PARTS: usize = 10_000;

/// A file that is being written.
#[derive(Debug)]
pub(in crate::staging) struct Upload {
    store: Store,
    key: String,
    size: u64,
    buffer: BytesMut,
    multipart: Option<Multipart>,
}

/// What S3 holds of the file so far.
#[derive(Debug)]
struct Multipart {
    id: String,
    parts: Vec<CompletedPart>,
    /// The upload was begun with checksums, so S3 wants them again when it is completed.
    checksums: bool,
}

impl Upload {
    pub(super) fn begin(store: Store, key: &str) -> Self {
        Self {
            store,
            key: key.to_owned(),
            size: 0,
            buffer: BytesMut::new(),
            multipart: None,
        }
    }

    /// Whether the whole file is still in one part.
    pub(in crate::staging) fn single(&self) -> bool {
        self.multipart.is_none()
    }

    pub(in crate::staging) async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.size += bytes.len() as u64;
        self.buffer.extend_from_slice(&bytes);
        drop(bytes);
        while self.buffer.len() > PART {
            let part = self.buffer.split_to(PART).freeze();
            if let Err(error) = self.upload(part).await {
                self.give_up().await;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Makes the object appear. `false` says that another object has the key.
    pub(in crate::staging) async fn publish(
        &mut self,
        metadata: &BTreeMap<String, String>,
        replace: bool,
    ) -> Result<bool> {
        if self.multipart.is_none() {
            return self.put(metadata, replace).await;
        }
        if !self.buffer.is_empty() {
            let part = self.buffer.split().freeze();
            self.upload(part).await?;
        }
        self.complete(replace).await
    }

    pub(in crate::staging) async fn abort(mut self) {
        self.give_up().await;
    }

    async fn put(&mut self, metadata: &BTreeMap<String, String>, replace: bool) -> Result<bool> {
        let body = self.buffer.split().freeze();
        let published = self.put_body(body.clone(), metadata, replace).await;
        if matches!(published, Ok(false)) {
            // It may be published again, over the object that has the key.
            self.buffer = body.into();
        }
        published
    }

    async fn put_body(
        &self,
        body: Bytes,
        metadata: &BTreeMap<String, String>,
        replace: bool,
    ) -> Result<bool> {
        let (store, key) = (&self.store, self.key.as_str());
        let put =
            |condition| store.put(key, body.clone(), layout::NDJSON, Some(metadata), condition);
        let mut learned = false;
        if !replace && store.knows_conditions() {
            for attempt in 0..ATTEMPTS {
                match put(Condition::Absent).await {
                    Ok(_) => return Ok(true),
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
        put(Condition::None)
            .await
            .map_err(|fault| store.error(&fault, key, PUT))?;
        store.learn(learned);
        Ok(true)
    }

    /// Sends one part, and begins the multipart upload with the first.
    async fn upload(&mut self, body: Bytes) -> Result<()> {
        let store = self.store.clone();
        let name = store.name(&self.key);
        if self.multipart.is_none() {
            self.multipart = Some(self.create().await?);
        }
        let Some(multipart) = &mut self.multipart else {
            return Ok(());
        };
        let number = multipart.parts.len() + 1;
        if number > PARTS {
            return Err(Kind::StagingDenied
                .error(format!(
                    "{} would be larger than {} GiB, which is as much as its parts can hold",
                    store.place.url(&self.key),
                    (PART * PARTS) >> 30
                ))
                .next("Have the source split that file."));
        }
        let number = i32::try_from(number).unwrap_or(i32::MAX);
        let sent = store
            .client
            .upload_part()
            .bucket(&store.bucket)
            .key(name)
            .upload_id(&multipart.id)
            .part_number(number)
            .body(ByteStream::from(body))
            .send()
            .await
            .map_err(|error| store.error(&error.into(), &self.key, PUT))?;
        let mut part = CompletedPart::builder()
            .part_number(number)
            .set_e_tag(sent.e_tag);
        if multipart.checksums {
            part = part
                .set_checksum_crc32(sent.checksum_crc32)
                .set_checksum_crc32_c(sent.checksum_crc32_c)
                .set_checksum_crc64_nvme(sent.checksum_crc64_nvme);
        }
        multipart.parts.push(part.build());
        Ok(())
    }

    async fn create(&self) -> Result<Multipart> {
        let store = &self.store;
        let created = store
            .client
            .create_multipart_upload()
            .bucket(&store.bucket)
            .key(store.name(&self.key))
            .content_type(layout::NDJSON)
            .send()
            .await
            .map_err(|error| store.error(&error.into(), &self.key, PUT))?;
        let checksums = created.checksum_algorithm().is_some();
        let Some(id) = created.upload_id else {
            let fault = Fault::broken("S3 began a multipart upload without an id");
            return Err(store.error(&fault, &self.key, PUT));
        };
        Ok(Multipart {
            id,
            parts: Vec::new(),
            checksums,
        })
    }

    async fn complete(&mut self, replace: bool) -> Result<bool> {
        let store = self.store.clone();
        let mut learned = false;
        if !replace && store.knows_conditions() {
            match self.send_complete(true).await {
                Ok(()) => return Ok(self.completed()),
                Err(fault) if fault.condition_failed() => return Ok(false),
                Err(fault) if fault.no_such_upload() => return self.perhaps_completed(fault).await,
                Err(fault) if fault.maybe_no_conditions() => learned = true,
                // A collision means that all parts are to be sent again, which the caller's next attempt does.
                Err(fault) => return Err(store.error(&fault, &self.key, PUT)),
            }
        }
        if !replace && store.head(&self.key).await?.is_some() {
            return Ok(false);
        }
        match self.send_complete(false).await {
            Ok(()) => {
                store.learn(learned);
                Ok(self.completed())
            }
            Err(fault) if fault.no_such_upload() => self.perhaps_completed(fault).await,
            Err(fault) => Err(store.error(&fault, &self.key, PUT)),
        }
    }

    /// S3's own error after it had begun to answer with 200 comes out of the SDK as an error, like any other.
    async fn send_complete(&self, if_absent: bool) -> Result<(), Fault> {
        let Some(multipart) = &self.multipart else {
            return Ok(());
        };
        let parts = CompletedMultipartUpload::builder()
            .set_parts(Some(multipart.parts.clone()))
            .build();
        self.store
            .client
            .complete_multipart_upload()
            .bucket(&self.store.bucket)
            .key(self.store.name(&self.key))
            .upload_id(&multipart.id)
            .multipart_upload(parts)
            .set_if_none_match(if_absent.then(|| "*".to_owned()))
            .send()
            .await?;
        Ok(())
    }

    /// The upload is gone. The answer to a first request that succeeded may have been lost, and the SDK asked again: then
    /// the object is there.
    async fn perhaps_completed(&mut self, fault: Fault) -> Result<bool> {
        let head = self.store.head(&self.key).await?;
        if head.is_some_and(|head| head.size == self.size) {
            return Ok(self.completed());
        }
        self.multipart = None;
        Err(Kind::StagingUnavailable
            .error(self.store.error(&fault, &self.key, PUT).what().to_owned())
            .next("Start again: the file is then sent from its beginning."))
    }

    /// Nothing is left to abort.
    fn completed(&mut self) -> bool {
        self.multipart = None;
        true
    }

    async fn give_up(&mut self) {
        if let Some(multipart) = self.multipart.take() {
            abort(&self.store, &self.key, multipart.id).await;
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(multipart) = self.multipart.take() else {
            return;
        };
        // Best effort: without a runtime, or when it ends first, the bucket's lifecycle rule removes the parts.
        if let Ok(runtime) = Handle::try_current() {
            let (store, key) = (self.store.clone(), std::mem::take(&mut self.key));
            let aborts = Arc::clone(&self.store.aborts);
            let abort = async move { abort(&store, &key, multipart.id).await };
            let mut aborts = aborts.lock().unwrap_or_else(PoisonError::into_inner);
            while aborts.try_join_next().is_some() {}
            aborts.spawn_on(abort, &runtime);
        }
    }
}
