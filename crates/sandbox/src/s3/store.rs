//! The store: s3s-fs keeps the bytes; what it does not check or tell is checked and told here.
//!
//! s3s-fs writes an object under a temporary name and renames it, but looks at conditions before the body has arrived
//! and at checksums after the rename. Here both are settled in between, under a lock of the key, so nobody ever sees an
//! object that is refused, or one without its metadata.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use s3s::dto::{
    Checksum, CompletedPart, ETag, ETagCondition, GetObjectInput, HeadObjectInput, StreamingBlob,
    Timestamp,
};
use s3s::{S3, S3Error, S3Request, S3Result, TrailingHeaders, s3_error};
use s3s_fs::FileSystem;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use super::checked::{Said, Shared, checked};
use super::sums::Algorithm;
use super::uploads::{Upload, Uploads};
use crate::world::World;

/// Bucket and key.
type Name = (String, String);

/// What is kept of the store beside the files. Clones share it.
#[derive(Clone)]
pub(super) struct Store {
    pub(super) inner: Arc<FileSystem>,
    pub(super) world: Arc<World>,
    pub(super) root: Arc<PathBuf>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    uploads: Uploads,
    sums: HashMap<Name, Checksum>,
    locks: HashMap<Name, Arc<RwLock<()>>>,
}

impl Store {
    pub(super) fn new(inner: FileSystem, world: Arc<World>, root: &Path) -> Self {
        Self {
            inner: Arc::new(inner),
            world,
            root: Arc::new(root.to_path_buf()),
            state: Arc::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key_lock(&self, bucket: &str, key: &str) -> Arc<RwLock<()>> {
        let name = (bucket.to_owned(), key.to_owned());
        Arc::clone(self.state().locks.entry(name).or_default())
    }

    /// Held while an object is looked at.
    pub(super) async fn reading(&self, bucket: &str, key: &str) -> OwnedRwLockReadGuard<()> {
        self.key_lock(bucket, key).read_owned().await
    }

    /// Held while an object comes into being.
    pub(super) async fn writing(&self, bucket: &str, key: &str) -> OwnedRwLockWriteGuard<()> {
        self.key_lock(bucket, key).write_owned().await
    }

    /// Refuses what lies in a bucket that does not exist.
    pub(super) fn need_bucket(&self, bucket: &str) -> S3Result<()> {
        if self.root.join(bucket).is_dir() {
            return Ok(());
        }
        Err(s3_error!(
            NoSuchBucket,
            "The specified bucket does not exist"
        ))
    }

    /// Refuses an object that does not exist; a folder on disk is none.
    pub(super) fn need_object(&self, bucket: &str, key: &str) -> S3Result<()> {
        self.need_bucket(bucket)?;
        if self.root.join(bucket).join(key).is_file() {
            return Ok(());
        }
        Err(s3_error!(NoSuchKey, "The specified key does not exist."))
    }

    /// The object's `ETag`; None when there is no such object.
    async fn etag(&self, bucket: &str, key: &str) -> S3Result<Option<ETag>> {
        if self.need_object(bucket, key).is_err() {
            return Ok(None);
        }
        let input = HeadObjectInput {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            ..HeadObjectInput::default()
        };
        let head = self.inner.head_object(plain(input)).await?;
        Ok(head.output.e_tag)
    }

    /// Whether an object may be written under these conditions, now.
    pub(super) async fn admit(
        &self,
        bucket: &str,
        key: &str,
        if_none_match: Option<&ETagCondition>,
        if_match: Option<&ETagCondition>,
    ) -> S3Result<()> {
        let there = self.etag(bucket, key).await?;
        let failed = || {
            Err(s3_error!(
                PreconditionFailed,
                "At least one of the pre-conditions you specified did not hold"
            ))
        };
        match if_none_match {
            Some(ETagCondition::Any) if there.is_some() => return failed(),
            Some(ETagCondition::ETag(_)) => {
                return Err(s3_error!(NotImplemented, "If-None-Match takes only *"));
            }
            _ => {}
        }
        match (if_match, there) {
            (None, _) | (Some(ETagCondition::Any), Some(_)) => Ok(()),
            (Some(_), None) => Err(s3_error!(NoSuchKey, "The specified key does not exist.")),
            (Some(ETagCondition::ETag(wanted)), Some(there)) => {
                if wanted.value() == there.value() {
                    Ok(())
                } else {
                    failed()
                }
            }
        }
    }

    /// An object's body, admitted and locked when it has passed whole and right.
    pub(super) fn object_body(
        &self,
        body: StreamingBlob,
        (bucket, key): (String, String),
        said: Said,
        conditions: (Option<ETagCondition>, Option<ETagCondition>),
    ) -> S3Result<(StreamingBlob, Shared)> {
        let store = self.clone();
        let lock = self.key_lock(&bucket, &key);
        // The futures of s3s are not Sync, which a body must be; so the question is a task of its own.
        let admit = async move {
            let asked = tokio::spawn(async move {
                let guard = lock.write_owned().await;
                let (if_none_match, if_match) = conditions;
                store
                    .admit(&bucket, &key, if_none_match.as_ref(), if_match.as_ref())
                    .await?;
                Ok(Some(guard))
            });
            asked
                .await
                .unwrap_or_else(|_| Err(s3_error!(InternalError, "The check broke off")))
        };
        checked(body, said, admit)
    }

    /// The checksums of an object that was written.
    pub(super) fn remember(&self, bucket: &str, key: &str, sums: Checksum) {
        let name = (bucket.to_owned(), key.to_owned());
        self.state().sums.insert(name, sums);
    }

    /// The checksums of an object; none where it was not asked for them.
    pub(super) fn sums(&self, bucket: &str, key: &str, asked: bool) -> Checksum {
        let name = (bucket.to_owned(), key.to_owned());
        if !asked {
            return Checksum::default();
        }
        self.state().sums.get(&name).cloned().unwrap_or_default()
    }

    pub(super) fn begin(&self, id: String, upload: Upload) {
        self.state().uploads.insert(id, upload);
    }

    /// No part of an upload comes any more.
    pub(super) fn forget(&self, id: &str) {
        self.state().uploads.remove(id);
    }

    /// The upload is over, for the store below too.
    pub(super) fn end(&self, id: &str) {
        self.forget(id);
        let _ = std::fs::remove_file(self.root.join(format!(".upload-{id}.json")));
    }

    /// The upload of that id, which must be one of that object.
    pub(super) fn upload(&self, bucket: &str, key: &str, id: &str) -> S3Result<Upload> {
        self.need_bucket(bucket)?;
        self.state()
            .uploads
            .get(id)
            .filter(|upload| upload.bucket == bucket && upload.key == key)
            .cloned()
            .ok_or_else(no_upload)
    }

    /// Whether there is such an upload of that object, and of which algorithm its checksums are.
    pub(super) fn algorithm(&self, bucket: &str, key: &str, id: &str) -> S3Result<Algorithm> {
        self.need_bucket(bucket)?;
        self.state()
            .uploads
            .get(id)
            .filter(|upload| upload.bucket == bucket && upload.key == key)
            .map(|upload| upload.algorithm)
            .ok_or_else(no_upload)
    }

    /// Where the store below keeps a part.
    pub(super) fn part_path(&self, id: &str, number: i32) -> PathBuf {
        self.root.join(format!(".upload_id-{id}.part-{number}"))
    }

    /// Makes the parts' numbers count from 1 without a gap, as the store below wants them; the parts that the completion does
    /// not list are dropped.
    pub(super) async fn renumber(
        &self,
        id: &str,
        upload: &Upload,
        listed: &mut [CompletedPart],
    ) -> S3Result<()> {
        let wanted: HashSet<_> = listed.iter().filter_map(|part| part.part_number).collect();
        for number in upload.parts.keys() {
            if !wanted.contains(number) {
                let _ = tokio::fs::remove_file(self.part_path(id, *number)).await;
            }
        }
        for (new, part) in (1..).zip(listed) {
            let old = part.part_number.unwrap_or(new);
            if old != new {
                let moved =
                    tokio::fs::rename(self.part_path(id, old), self.part_path(id, new)).await;
                moved.map_err(|_| s3_error!(InternalError, "A part is not where it was"))?;
                part.part_number = Some(new);
            }
        }
        Ok(())
    }

    /// Notes a part of an upload.
    pub(super) fn note_part(&self, id: &str, number: i32, part: super::uploads::UploadedPart) {
        if let Some(upload) = self.state().uploads.get_mut(id) {
            upload.parts.insert(number, part);
        }
    }

    /// The uploads of a bucket whose keys begin with a prefix, by key.
    pub(super) fn uploads(&self, bucket: &str, prefix: &str) -> Vec<(String, Upload)> {
        let mut found: Vec<_> = self
            .state()
            .uploads
            .iter()
            .filter(|(_, upload)| upload.bucket == bucket && upload.key.starts_with(prefix))
            .map(|(id, upload)| (id.clone(), upload.clone()))
            .collect();
        found.sort_by(|(one, first), (other, second)| (&first.key, one).cmp(&(&second.key, other)));
        found
    }
}

/// The refusal of what is about no upload.
pub(super) fn no_upload() -> S3Error {
    s3_error!(
        NoSuchUpload,
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed."
    )
}

/// What a PUT says of its body.
pub(super) fn said(
    md5: Option<String>,
    sums: Checksum,
    algorithm: Option<&str>,
    trailers: Option<TrailingHeaders>,
) -> Said {
    Said {
        md5,
        sums,
        algorithm: algorithm.map(str::to_owned),
        trailers,
        wanted: None,
    }
}

/// Whether a GET asks for checksums: of the whole object, and by name.
pub(super) fn asks_for_sums(input: &GetObjectInput) -> bool {
    input.range.is_none()
        && input
            .checksum_mode
            .as_ref()
            .is_some_and(|mode| mode.as_str() == "ENABLED")
}

/// The time now, as S3 writes it.
pub(super) fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}

/// A request to the store below that no client made.
fn plain<T>(input: T) -> S3Request<T> {
    S3Request {
        input,
        method: http::Method::GET,
        uri: http::Uri::default(),
        headers: http::HeaderMap::default(),
        extensions: http::Extensions::default(),
        credentials: None,
        region: None,
        service: None,
        trailing_headers: None,
    }
}
