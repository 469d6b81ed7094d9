//! The operations of the store: those that write and those that tell of uploads are this crate's, the rest s3s-fs's.

use async_trait::async_trait;
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, ChecksumAlgorithm, ChecksumType,
    CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CreateBucketInput,
    CreateBucketOutput, CreateMultipartUploadInput, CreateMultipartUploadOutput, DeleteObjectInput,
    DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, GetBucketLocationInput,
    GetBucketLocationOutput, GetObjectInput, GetObjectOutput, HeadBucketInput, HeadBucketOutput,
    HeadObjectInput, HeadObjectOutput, ListBucketsInput, ListBucketsOutput,
    ListMultipartUploadsInput, ListMultipartUploadsOutput, ListObjectsInput, ListObjectsOutput,
    ListObjectsV2Input, ListObjectsV2Output, ListPartsInput, ListPartsOutput, MultipartUpload,
    PutObjectInput, PutObjectOutput, UploadPartInput, UploadPartOutput,
};
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};

use super::store::{Store, asks_for_sums, no_upload, now, said};
use super::sums::{Algorithm, set_sums, sums};
use super::uploads::{Upload, UploadedPart};
use crate::faults::Fault;

/// How many keys a page of a listing has at most.
const MOST_KEYS: i32 = 1000;

/// What s3s-fs says of an upload that another request has ended meanwhile: that it is somebody else's.
fn gone(error: S3Error) -> S3Error {
    match error.code() {
        S3ErrorCode::AccessDenied => no_upload(),
        _ => error,
    }
}

type Answer<T> = S3Result<S3Response<T>>;

#[async_trait]
impl S3 for Store {
    async fn get_object(&self, req: S3Request<GetObjectInput>) -> Answer<GetObjectOutput> {
        let (bucket, key) = (req.input.bucket.clone(), req.input.key.clone());
        let asked = asks_for_sums(&req.input);
        let _guard = self.reading(&bucket, &key).await;
        self.need_object(&bucket, &key)?;
        let mut response = self.inner.get_object(req).await?;
        let sums = self.sums(&bucket, &key, asked);
        set_sums!(response.output, sums);
        response.output.checksum_type = sums.checksum_type;
        Ok(response)
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> Answer<HeadObjectOutput> {
        let (bucket, key) = (req.input.bucket.clone(), req.input.key.clone());
        let mode = req.input.checksum_mode.as_ref();
        let asked = mode.is_some_and(|mode| mode.as_str() == "ENABLED");
        let _guard = self.reading(&bucket, &key).await;
        self.need_object(&bucket, &key)?;
        let mut response = self.inner.head_object(req).await?;
        let sums = self.sums(&bucket, &key, asked);
        set_sums!(response.output, sums);
        response.output.checksum_type = sums.checksum_type;
        Ok(response)
    }

    async fn put_object(&self, mut req: S3Request<PutObjectInput>) -> Answer<PutObjectOutput> {
        let (bucket, key) = (req.input.bucket.clone(), req.input.key.clone());
        self.need_bucket(&bucket)?;
        let input = &mut req.input;
        let mut said = said(
            input.content_md5.clone(),
            sums!(input),
            input
                .checksum_algorithm
                .as_ref()
                .map(ChecksumAlgorithm::as_str),
            req.trailing_headers.clone(),
        );
        said.wanted = Some(Algorithm::Crc64Nvme);
        let conditions = (input.if_none_match.take(), input.if_match.take());
        let body = input.body.take().ok_or_else(|| s3_error!(IncompleteBody))?;
        let name = (bucket.clone(), key.clone());
        let (body, shared) = self.object_body(body, name, said, conditions)?;
        input.body = Some(body);
        let mut response = shared.judge(self.inner.put_object(req).await)?;
        let mut sums = shared.lock().sums.clone();
        sums.checksum_type = Some("FULL_OBJECT".to_owned().into());
        set_sums!(response.output, sums);
        response
            .output
            .checksum_type
            .clone_from(&sums.checksum_type);
        self.remember(&bucket, &key, sums);
        Ok(response)
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> Answer<CreateMultipartUploadOutput> {
        let (bucket, key) = (req.input.bucket.clone(), req.input.key.clone());
        self.need_bucket(&bucket)?;
        let algorithm = match &req.input.checksum_algorithm {
            Some(name) => Algorithm::named(name.as_str())?,
            None => Algorithm::Crc64Nvme,
        };
        let kind = req.input.checksum_type.clone();
        let full_object = match kind.as_ref().map(ChecksumType::as_str) {
            None => algorithm == Algorithm::Crc64Nvme,
            Some("FULL_OBJECT") => true,
            Some(_) => false,
        };
        let impossible = if full_object {
            matches!(algorithm, Algorithm::Sha1 | Algorithm::Sha256)
        } else {
            algorithm == Algorithm::Crc64Nvme
        };
        if impossible {
            return Err(s3_error!(
                InvalidRequest,
                "The checksum type does not go with the algorithm"
            ));
        }
        let mut response = self.inner.create_multipart_upload(req).await?;
        let id = response.output.upload_id.clone().unwrap_or_default();
        let upload = Upload {
            bucket,
            key,
            begun: now(),
            algorithm,
            full_object,
            parts: std::collections::BTreeMap::new(),
        };
        response.output.checksum_algorithm = Some(algorithm.name().to_owned().into());
        response.output.checksum_type = Some(upload.checksum_type().to_owned().into());
        self.begin(id, upload);
        Ok(response)
    }

    async fn upload_part(&self, mut req: S3Request<UploadPartInput>) -> Answer<UploadPartOutput> {
        let input = &mut req.input;
        let algorithm = self.algorithm(&input.bucket, &input.key, &input.upload_id)?;
        let (id, number) = (input.upload_id.clone(), input.part_number);
        self.admit_part(&id, number)?;
        let mut said = said(
            input.content_md5.clone(),
            sums!(input),
            input
                .checksum_algorithm
                .as_ref()
                .map(ChecksumAlgorithm::as_str),
            req.trailing_headers.clone(),
        );
        said.wanted = Some(algorithm);
        let body = input.body.take().ok_or_else(|| s3_error!(IncompleteBody))?;
        let (body, shared) = super::checked::checked(body, said, async { Ok(None) })?;
        input.body = Some(body);
        let (bucket, key) = (input.bucket.clone(), input.key.clone());
        let stored = shared.judge(self.inner.upload_part(req).await);
        if let Err(ended) = self.algorithm(&bucket, &key, &id) {
            // Aborted or completed meanwhile: nobody else would remove this part.
            let _ = tokio::fs::remove_file(self.part_path(&id, number)).await;
            return Err(ended);
        }
        let mut response = stored.map_err(gone)?;
        let verdict = shared.lock();
        let etag = if self.world.faults.fires(&Fault::S3Encrypts) {
            uuid::Uuid::new_v4().simple().to_string()
        } else {
            verdict.md5.clone()
        };
        response.output.e_tag = Some(s3s::dto::ETag::Strong(etag.clone()));
        let part = UploadedPart {
            etag,
            size: verdict.size,
            sums: verdict.sums.clone(),
            time: now(),
        };
        set_sums!(response.output, part.sums);
        self.note_part(&id, number, part);
        Ok(response)
    }

    async fn list_parts(&self, req: S3Request<ListPartsInput>) -> Answer<ListPartsOutput> {
        let input = req.input;
        let upload = self.upload(&input.bucket, &input.key, &input.upload_id)?;
        let marker = input.part_number_marker.unwrap_or(0);
        let limit = input.max_parts.unwrap_or(1000).clamp(0, 1000);
        Ok(S3Response::new(upload.list(input.upload_id, marker, limit)))
    }

    async fn list_multipart_uploads(
        &self,
        req: S3Request<ListMultipartUploadsInput>,
    ) -> Answer<ListMultipartUploadsOutput> {
        let input = req.input;
        self.need_bucket(&input.bucket)?;
        let prefix = input.prefix.clone().unwrap_or_default();
        let uploads = self
            .uploads(&input.bucket, &prefix)
            .into_iter()
            .map(|(id, upload)| MultipartUpload {
                key: Some(upload.key.clone()),
                upload_id: Some(id),
                initiated: Some(upload.begun.clone()),
                checksum_algorithm: Some(upload.algorithm.name().to_owned().into()),
                checksum_type: Some(upload.checksum_type().to_owned().into()),
                ..MultipartUpload::default()
            })
            .collect();
        Ok(S3Response::new(ListMultipartUploadsOutput {
            bucket: Some(input.bucket),
            prefix: input.prefix,
            is_truncated: Some(false),
            uploads: Some(uploads),
            ..ListMultipartUploadsOutput::default()
        }))
    }

    async fn complete_multipart_upload(
        &self,
        mut req: S3Request<CompleteMultipartUploadInput>,
    ) -> Answer<CompleteMultipartUploadOutput> {
        let input = &mut req.input;
        let (bucket, key) = (input.bucket.clone(), input.key.clone());
        let id = input.upload_id.clone();
        let upload = self.upload(&bucket, &key, &id)?;
        let sums = upload.check(input)?;
        if self.world.faults.fires(&Fault::S3CompleteConflicts) {
            return Err(s3_error!(
                ConditionalRequestConflict,
                "The conditional request cannot succeed due to a conflicting operation against this resource."
            ));
        }
        if self.world.faults.fires(&Fault::S3CompleteFailsInBody) {
            let mut failure = s3_error!(
                InternalError,
                "We encountered an internal error. Please try again."
            );
            failure.set_status_code(http::StatusCode::OK);
            return Err(failure);
        }
        let crc = input.checksum_crc64nvme.is_some();
        if crc && self.world.faults.fires(&Fault::S3BadDigestMultipart) {
            return Err(s3_error!(
                BadDigest,
                "The CRC64NVME you specified did not match the calculated checksum."
            ));
        }
        let _guard = self.writing(&bucket, &key).await;
        let (if_none_match, if_match) = (input.if_none_match.take(), input.if_match.take());
        self.admit(&bucket, &key, if_none_match.as_ref(), if_match.as_ref())
            .await?;
        if let Some(listed) = &mut input.multipart_upload
            && let Some(listed) = &mut listed.parts
        {
            self.renumber(&id, &upload, listed).await?;
        }
        let completed = self.inner.complete_multipart_upload(req).await;
        let response = completed.map_err(gone)?;
        let mut output = match response.output.future {
            Some(future) => future.await?,
            None => response.output,
        };
        set_sums!(output, sums);
        output.checksum_type.clone_from(&sums.checksum_type);
        self.remember(&bucket, &key, sums);
        self.end(&id);
        if self.world.faults.fires(&Fault::S3CompleteAnswerLost) {
            return Err(s3_error!(
                InternalError,
                "We encountered an internal error. Please try again."
            ));
        }
        Ok(S3Response::new(output))
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> Answer<AbortMultipartUploadOutput> {
        let input = &req.input;
        self.upload(&input.bucket, &input.key, &input.upload_id)?;
        let id = input.upload_id.clone();
        self.forget(&id);
        // s3s-fs stumbles over parts that come or go meanwhile; the upload is over all the same.
        let _ = self.inner.abort_multipart_upload(req).await;
        self.end(&id);
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }

    async fn list_objects_v2(
        &self,
        mut req: S3Request<ListObjectsV2Input>,
    ) -> Answer<ListObjectsV2Output> {
        let most = req.input.max_keys.unwrap_or(MOST_KEYS);
        req.input.max_keys = Some(most.min(MOST_KEYS));
        self.inner.list_objects_v2(req).await
    }

    async fn list_objects(&self, req: S3Request<ListObjectsInput>) -> Answer<ListObjectsOutput> {
        self.inner.list_objects(req).await
    }

    async fn delete_object(
        &self,
        mut req: S3Request<DeleteObjectInput>,
    ) -> Answer<DeleteObjectOutput> {
        let input = &mut req.input;
        let _guard = self.writing(&input.bucket, &input.key).await;
        if let Some(if_match) = input.if_match.take() {
            self.admit(&input.bucket, &input.key, None, Some(&if_match))
                .await?;
        }
        self.inner.delete_object(req).await
    }

    async fn delete_objects(
        &self,
        req: S3Request<DeleteObjectsInput>,
    ) -> Answer<DeleteObjectsOutput> {
        self.need_bucket(&req.input.bucket)?;
        self.inner.delete_objects(req).await
    }

    async fn create_bucket(&self, req: S3Request<CreateBucketInput>) -> Answer<CreateBucketOutput> {
        self.inner.create_bucket(req).await
    }

    async fn head_bucket(&self, req: S3Request<HeadBucketInput>) -> Answer<HeadBucketOutput> {
        self.inner.head_bucket(req).await
    }

    async fn list_buckets(&self, req: S3Request<ListBucketsInput>) -> Answer<ListBucketsOutput> {
        self.inner.list_buckets(req).await
    }

    async fn get_bucket_location(
        &self,
        req: S3Request<GetBucketLocationInput>,
    ) -> Answer<GetBucketLocationOutput> {
        self.inner.get_bucket_location(req).await
    }
}
