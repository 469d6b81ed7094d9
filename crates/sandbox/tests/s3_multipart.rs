//! Multipart uploads as a client meets them that resumes: in any order, listed, refused, lost.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::complete_multipart_upload::CompleteMultipartUploadOutput;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType, CompletedMultipartUpload, CompletedPart};
use base64::Engine as _;
use common::Client;
use crc_fast::CrcAlgorithm;
use sandbox::{BUCKET, Dataset, Fault, Sandbox, Service};

const LEAST: usize = 5 << 20;

async fn start() -> (Sandbox, aws_sdk_s3::Client) {
    let sandbox = Sandbox::builder()
        .data(Dataset::empty())
        .start()
        .await
        .unwrap();
    let s3 = Client::new(&sandbox).s3();
    (sandbox, s3)
}

async fn begin(s3: &aws_sdk_s3::Client, key: &str) -> String {
    let begun = s3
        .create_multipart_upload()
        .bucket(BUCKET)
        .key(key)
        .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
        .checksum_type(ChecksumType::FullObject)
        .send()
        .await
        .unwrap();
    begun.upload_id.unwrap()
}

fn crc64(bytes: &[u8]) -> String {
    let sum = crc_fast::checksum(CrcAlgorithm::Crc64Nvme, bytes);
    base64::engine::general_purpose::STANDARD.encode(sum.to_be_bytes())
}

/// Uploads a part; the error's code where it is refused.
async fn part(
    s3: &aws_sdk_s3::Client,
    (key, id): (&str, &str),
    number: i32,
    bytes: &[u8],
    sum: &str,
) -> Result<CompletedPart, String> {
    let sent = s3
        .upload_part()
        .bucket(BUCKET)
        .key(key)
        .upload_id(id)
        .part_number(number)
        .checksum_crc64_nvme(sum)
        .body(bytes.to_vec().into())
        .send()
        .await;
    match sent {
        Ok(sent) => Ok(CompletedPart::builder()
            .part_number(number)
            .set_e_tag(sent.e_tag)
            .checksum_crc64_nvme(sum)
            .build()),
        Err(error) => Err(code(&error)),
    }
}

async fn complete(
    s3: &aws_sdk_s3::Client,
    (key, id): (&str, &str),
    parts: Vec<CompletedPart>,
    whole: &[u8],
) -> Result<CompleteMultipartUploadOutput, String> {
    let parts = CompletedMultipartUpload::builder()
        .set_parts(Some(parts))
        .build();
    s3.complete_multipart_upload()
        .bucket(BUCKET)
        .key(key)
        .upload_id(id)
        .checksum_type(ChecksumType::FullObject)
        .checksum_crc64_nvme(crc64(whole))
        .mpu_object_size(i64::try_from(whole.len()).unwrap())
        .multipart_upload(parts)
        .send()
        .await
        .map_err(|error| code(&error))
}

fn code<E: ProvideErrorMetadata>(error: &SdkError<E>) -> String {
    let status = error
        .raw_response()
        .map_or(0, |response| response.status().as_u16());
    format!("{status} {}", error.code().unwrap_or_default())
}

#[tokio::test]
async fn parts_come_in_any_order_and_numbers_need_not_begin_at_one() {
    let (sandbox, s3) = start().await;
    let id = begin(&s3, "key").await;
    let upload = ("key", id.as_str());
    let (one, two) = (vec![b'a'; LEAST], b"the end".to_vec());
    let nine = part(&s3, upload, 9, &two, &crc64(&two)).await.unwrap();
    part(&s3, upload, 5, b"left out", &crc64(b"left out"))
        .await
        .unwrap();
    let four = part(&s3, upload, 4, &one, &crc64(&one)).await.unwrap();
    let whole = [one, two].concat();
    let descending = complete(&s3, upload, vec![nine.clone(), four.clone()], &whole).await;
    assert_eq!(descending.unwrap_err(), "400 InvalidPartOrder");
    let completed = complete(&s3, upload, vec![four, nine], &whole)
        .await
        .unwrap();
    assert_eq!(completed.checksum_crc64_nvme, Some(crc64(&whole)));
    assert!(sandbox.s3_object("key").unwrap() == whole);
    let left: Vec<_> = std::fs::read_dir(sandbox.bucket().parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("part"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn parts_and_wholes_are_checked_by_size_number_and_sum() {
    let (_sandbox, s3) = start().await;
    let id = begin(&s3, "key").await;
    let upload = ("key", id.as_str());
    let wrong = part(&s3, upload, 1, b"bytes", &crc64(b"others")).await;
    assert_eq!(wrong.unwrap_err(), "400 BadDigest");
    let far = part(&s3, upload, 10_001, b"bytes", &crc64(b"bytes")).await;
    assert_eq!(far.unwrap_err(), "400 InvalidArgument");
    part(&s3, upload, 10_000, b"z", &crc64(b"z")).await.unwrap();
    let one = part(&s3, upload, 1, b"small", &crc64(b"small"))
        .await
        .unwrap();
    let two = part(&s3, upload, 2, b"end", &crc64(b"end")).await.unwrap();
    let small = complete(&s3, upload, vec![one.clone(), two], b"smallend").await;
    assert_eq!(small.unwrap_err(), "400 EntityTooSmall");
    let other = complete(&s3, upload, vec![one.clone()], b"smalL").await;
    assert_eq!(other.unwrap_err(), "400 BadDigest");
    let longer = complete(&s3, upload, vec![one.clone()], b"smaller").await;
    assert_eq!(longer.unwrap_err(), "400 InvalidRequest");
    complete(&s3, upload, vec![one], b"small").await.unwrap();
}

#[tokio::test]
async fn parts_are_listed_page_by_page_with_what_is_known_of_them() {
    let (sandbox, s3) = start().await;
    let id = begin(&s3, "key").await;
    for number in [3, 1, 2] {
        let bytes = vec![b'x'; usize::try_from(number).unwrap()];
        part(&s3, ("key", &id), number, &bytes, &crc64(&bytes))
            .await
            .unwrap();
    }
    let list = |marker: Option<String>| {
        let listed = s3.list_parts().bucket(BUCKET).key("key").upload_id(&id);
        listed.max_parts(2).set_part_number_marker(marker).send()
    };
    let first = list(None).await.unwrap();
    assert_eq!(first.is_truncated, Some(true));
    let second = list(first.next_part_number_marker.clone()).await.unwrap();
    assert_eq!(second.is_truncated, Some(false));
    let parts = [first.parts(), second.parts()].concat();
    for (number, listed) in (1..).zip(&parts) {
        assert_eq!(listed.part_number, Some(number));
        assert_eq!(listed.size, Some(i64::from(number)));
        assert!(listed.e_tag.is_some());
        let bytes = vec![b'x'; usize::try_from(number).unwrap()];
        assert_eq!(listed.checksum_crc64_nvme, Some(crc64(&bytes)));
    }
    assert_eq!(parts.len(), 3);

    sandbox.faults().once(Fault::S3RefusesListParts);
    assert_eq!(code(&list(None).await.unwrap_err()), "403 AccessDenied");
    sandbox.faults().once(Fault::S3RefusesAbort);
    let abort = || {
        let abort = s3.abort_multipart_upload().bucket(BUCKET).key("key");
        abort.upload_id(&id).send()
    };
    assert_eq!(code(&abort().await.unwrap_err()), "403 AccessDenied");
    abort().await.unwrap();
    assert_eq!(code(&list(None).await.unwrap_err()), "404 NoSuchUpload");
}

#[tokio::test]
async fn parts_fail_and_uploads_are_lost_as_they_are_told_to() {
    let (sandbox, s3) = start().await;
    let id = begin(&s3, "key").await;
    let upload = ("key", id.as_str());
    let sum = crc64(b"x");
    sandbox.faults().once(Fault::S3PartFails(2));
    assert!(part(&s3, upload, 1, b"x", &sum).await.is_ok());
    assert_eq!(
        part(&s3, upload, 3, b"x", &sum).await.unwrap_err(),
        "500 InternalError"
    );
    assert!(part(&s3, upload, 3, b"x", &sum).await.is_ok());
    sandbox.faults().on(Fault::S3SlowDowns(2));
    for _ in 0..2 {
        assert_eq!(
            part(&s3, upload, 4, b"x", &sum).await.unwrap_err(),
            "503 SlowDown"
        );
    }
    assert!(part(&s3, upload, 4, b"x", &sum).await.is_ok());
    sandbox.faults().once(Fault::S3LosesUpload);
    for _ in 0..2 {
        assert_eq!(
            part(&s3, upload, 5, b"x", &sum).await.unwrap_err(),
            "404 NoSuchUpload"
        );
    }
}

#[tokio::test]
async fn a_store_may_not_know_crc64nvme_or_refuse_a_right_one_on_multipart() {
    let (sandbox, s3) = start().await;
    let id = begin(&s3, "key").await;
    let upload = ("key", id.as_str());
    let one = part(&s3, upload, 1, b"x", &crc64(b"x")).await.unwrap();
    sandbox.faults().once(Fault::S3BadDigestMultipart);
    let refused = complete(&s3, upload, vec![one.clone()], b"x").await;
    assert_eq!(refused.unwrap_err(), "400 BadDigest");
    complete(&s3, upload, vec![one], b"x").await.unwrap();

    for (status, expected) in [(400, "400 InvalidRequest"), (501, "501 NotImplemented")] {
        sandbox.faults().on(Fault::S3RefusesCrc64Nvme(status));
        let put = |algorithm: ChecksumAlgorithm| {
            let put = s3.put_object().bucket(BUCKET).key("other");
            let body = b"x".to_vec().into();
            put.checksum_algorithm(algorithm).body(body).send()
        };
        let refused = put(ChecksumAlgorithm::Crc64Nvme).await.unwrap_err();
        assert_eq!(code(&refused), expected);
        put(ChecksumAlgorithm::Crc32).await.unwrap();
        let begun = s3.create_multipart_upload().bucket(BUCKET).key("third");
        let begun = begun
            .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
            .send();
        assert_eq!(code(&begun.await.unwrap_err()), expected);
        sandbox.faults().clear();
    }
}

#[tokio::test]
async fn unsigned_payloads_are_taken() {
    let (sandbox, s3) = start().await;
    let put = s3.put_object().bucket(BUCKET).key("key");
    put.body(b"unsigned".to_vec().into())
        .checksum_crc64_nvme(crc64(b"unsigned"))
        .customize()
        .disable_payload_signing()
        .send()
        .await
        .unwrap();
    assert_eq!(sandbox.s3_object("key").unwrap(), b"unsigned");
    let requests = sandbox.requests();
    let put = requests
        .iter()
        .find(|request| request.service == Service::S3)
        .unwrap();
    assert_eq!(put.headers["x-amz-content-sha256"], "UNSIGNED-PAYLOAD");
    assert_eq!(put.headers["x-amz-checksum-crc64nvme"], crc64(b"unsigned"));
}

#[tokio::test]
async fn listings_have_a_thousand_keys_a_page_at_most() {
    let (sandbox, s3) = start().await;
    for index in 0..1001 {
        std::fs::write(sandbox.bucket().join(format!("{index:04}")), b"").unwrap();
    }
    let list = s3.list_objects_v2().bucket(BUCKET).max_keys(5000);
    let first = list.clone().send().await.unwrap();
    assert_eq!(first.contents().len(), 1000);
    assert_eq!(first.is_truncated, Some(true));
    let token = first.next_continuation_token.unwrap();
    let second = list.continuation_token(token).send().await.unwrap();
    assert_eq!(second.contents().len(), 1);
    assert_eq!(second.is_truncated, Some(false));
}

#[tokio::test]
async fn a_slow_store_takes_its_time_for_all_bodies_together() {
    let (sandbox, s3) = start().await;
    sandbox.faults().on(Fault::S3Rate(2_000_000));
    let put = |key: &str| {
        let put = s3.put_object().bucket(BUCKET).key(key);
        put.body(vec![b'x'; 400_000].into()).send()
    };
    let begun = std::time::Instant::now();
    let (one, two) = tokio::join!(put("one"), put("two"));
    assert!(one.is_ok() && two.is_ok());
    // Only the least that it must take.
    assert!(begun.elapsed().as_millis() >= 350, "{:?}", begun.elapsed());
    assert!(sandbox.peak(Service::S3) >= 1);
}

#[tokio::test]
async fn a_slow_store_takes_an_object_without_a_byte_too() {
    let (sandbox, s3) = start().await;
    sandbox.faults().on(Fault::S3Rate(2_000_000));
    for body in [&b""[..], b"x"] {
        let put = s3.put_object().bucket(BUCKET).key("key");
        put.body(body.to_vec().into()).send().await.unwrap();
        assert_eq!(sandbox.s3_object("key").unwrap(), body);
    }
    let id = begin(&s3, "m").await;
    let upload = ("m", id.as_str());
    let one = part(&s3, upload, 1, b"x", &crc64(b"x")).await.unwrap();
    complete(&s3, upload, vec![one], b"x").await.unwrap();
}
