//! The store: what s3s-fs leaves out and real stores do.
//!
//! | promise | test |
//! |---|---|
//! | signatures are checked | `a_wrong_secret_and_no_signature_are_refused` |
//! | conditional writes | `conditions_hold_for_put_and_complete` |
//! | one of two writers wins | `of_two_writers_at_once_one_wins` |
//! | checksums of bodies | `a_body_with_a_wrong_checksum_is_never_seen` |
//! | parts | `parts_are_checked_and_listed_with_etag_size_and_checksum` |
//! | completion | `a_completion_that_lies_is_refused` |
//! | metadata and `ETag` | `metadata_and_etag_come_back` |
//! | permissions | `with_get_and_put_alone_a_missing_key_is_403` |
//! | faults | `each_fault_refuses_what_it_names` |
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use aws_sdk_s3::Client as S3;
use aws_sdk_s3::config::{Credentials, Region};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, ChecksumMode, ChecksumType, CompletedMultipartUpload, CompletedPart,
};
use common::Client;
use sandbox::{BUCKET, Fault, S3Policy, Sandbox};

const PART: usize = 5 << 20;

async fn start() -> (Sandbox, S3) {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let s3 = Client::new(&sandbox).s3();
    (sandbox, s3)
}

/// Status and code of a refusal.
fn refused<T: std::fmt::Debug, E: ProvideErrorMetadata + std::fmt::Debug>(
    result: Result<T, SdkError<E>>,
) -> (u16, String) {
    match result {
        Err(SdkError::ServiceError(error)) => (
            error.raw().status().as_u16(),
            error.err().code().unwrap_or_default().to_owned(),
        ),
        Err(other) => panic!("no answer: {other:?}"),
        Ok(done) => panic!("not refused: {done:?}"),
    }
}

async fn put(s3: &S3, key: &str, body: &'static [u8]) {
    let put = s3.put_object().bucket(BUCKET).key(key);
    put.body(ByteStream::from_static(body))
        .send()
        .await
        .unwrap();
}

/// Begins an upload and uploads its parts; the id, and the parts as a completion lists them.
async fn upload(s3: &S3, key: &str, sizes: &[usize]) -> (String, Vec<CompletedPart>) {
    let begun = s3
        .create_multipart_upload()
        .bucket(BUCKET)
        .key(key)
        .metadata("lines", "12")
        .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
        .checksum_type(ChecksumType::FullObject)
        .send()
        .await
        .unwrap();
    let id = begun.upload_id().unwrap().to_owned();
    let mut parts = Vec::new();
    for (index, size) in sizes.iter().enumerate() {
        let number = i32::try_from(index).unwrap() + 1;
        let body = vec![u8::try_from(index).unwrap() + b'a'; *size];
        let part = s3
            .upload_part()
            .bucket(BUCKET)
            .key(key)
            .upload_id(&id)
            .part_number(number)
            .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
            .body(body.into())
            .send()
            .await
            .unwrap();
        parts.push(
            CompletedPart::builder()
                .part_number(number)
                .e_tag(part.e_tag().unwrap())
                .checksum_crc64_nvme(part.checksum_crc64_nvme().unwrap())
                .build(),
        );
    }
    (id, parts)
}

fn listed(parts: Vec<CompletedPart>) -> CompletedMultipartUpload {
    CompletedMultipartUpload::builder()
        .set_parts(Some(parts))
        .build()
}

fn complete(
    s3: &S3,
    key: &str,
    id: &str,
    parts: &[CompletedPart],
) -> aws_sdk_s3::operation::complete_multipart_upload::builders::CompleteMultipartUploadFluentBuilder
{
    s3.complete_multipart_upload()
        .bucket(BUCKET)
        .key(key)
        .upload_id(id)
        .multipart_upload(listed(parts.to_vec()))
}

#[tokio::test]
async fn a_wrong_secret_and_no_signature_are_refused() {
    let (sandbox, s3) = start().await;
    put(&s3, "a", b"x").await;
    let wrong = aws_sdk_s3::Config::builder()
        .behavior_version(aws_sdk_s3::config::BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .endpoint_url(sandbox.s3_endpoint())
        .force_path_style(true)
        .credentials_provider(Credentials::new(
            sandbox::ACCESS_KEY,
            "wrong",
            None,
            None,
            "t",
        ))
        .build();
    let wrong = S3::from_conf(wrong);
    let answer = refused(wrong.get_object().bucket(BUCKET).key("a").send().await);
    assert_eq!(answer, (403, "SignatureDoesNotMatch".to_owned()));
    let client = Client::new(&sandbox);
    let url = format!("{}/{BUCKET}/a", sandbox.s3_endpoint());
    assert_eq!(
        client.send("GET", &url, &[], None).await.unwrap().status,
        403
    );
}

#[tokio::test]
async fn a_missing_bucket_is_told_as_such() {
    let (_sandbox, s3) = start().await;
    for answer in [
        refused(
            s3.put_object()
                .bucket("nope")
                .key("a")
                .body(ByteStream::from_static(b"x"))
                .send()
                .await,
        ),
        refused(s3.get_object().bucket("nope").key("a").send().await),
        refused(s3.list_objects_v2().bucket("nope").send().await),
        refused(
            s3.create_multipart_upload()
                .bucket("nope")
                .key("a")
                .send()
                .await,
        ),
    ] {
        assert_eq!(answer, (404, "NoSuchBucket".to_owned()));
    }
    assert_eq!(
        refused(s3.get_object().bucket(BUCKET).key("a").send().await),
        (404, "NoSuchKey".to_owned())
    );
    put(&s3, "a/b", b"x").await;
    assert_eq!(
        refused(s3.get_object().bucket(BUCKET).key("a").send().await),
        (404, "NoSuchKey".to_owned()),
        "a folder on disk is no object"
    );
}

#[tokio::test]
async fn conditions_hold_for_put_and_complete() {
    let (sandbox, s3) = start().await;
    let body = || ByteStream::from_static(b"new");
    let new = || s3.put_object().bucket(BUCKET).key("a").body(body());
    new().if_none_match("*").send().await.unwrap();
    let failed = (412, "PreconditionFailed".to_owned());
    assert_eq!(refused(new().if_none_match("*").send().await), failed);
    assert_eq!(refused(new().if_match("\"0123\"").send().await), failed);
    let head = s3
        .head_object()
        .bucket(BUCKET)
        .key("a")
        .send()
        .await
        .unwrap();
    new().if_match(head.e_tag().unwrap()).send().await.unwrap();
    let missing = s3
        .put_object()
        .bucket(BUCKET)
        .key("none")
        .body(body())
        .if_match("\"0123\"");
    assert_eq!(refused(missing.send().await), (404, "NoSuchKey".to_owned()));

    let (id, parts) = upload(&s3, "a", &[10]).await;
    assert_eq!(
        refused(
            complete(&s3, "a", &id, &parts)
                .if_none_match("*")
                .send()
                .await
        ),
        failed
    );
    assert_eq!(sandbox.s3_object("a").unwrap(), b"new");
    complete(&s3, "a", &id, &parts).send().await.unwrap();
    assert_eq!(sandbox.s3_object("a").unwrap(), b"aaaaaaaaaa");
}

#[tokio::test]
async fn of_two_writers_at_once_one_wins() {
    let (_sandbox, s3) = start().await;
    for round in 0..10 {
        let key = format!("race-{round}");
        let one = |body: &'static [u8]| {
            let put = s3.put_object().bucket(BUCKET).key(&key).if_none_match("*");
            put.body(ByteStream::from_static(body)).send()
        };
        let (first, second) = tokio::join!(one(b"1"), one(b"2"));
        assert!(first.is_ok() != second.is_ok(), "exactly one");
    }
}

#[tokio::test]
async fn a_body_with_a_wrong_checksum_is_never_seen() {
    let (sandbox, s3) = start().await;
    put(&s3, "a", b"old").await;
    let put = || {
        s3.put_object()
            .bucket(BUCKET)
            .key("a")
            .body(ByteStream::from_static(b"new"))
    };
    for answer in [
        refused(put().checksum_crc64_nvme("AAAAAAAAAAA=").send().await),
        refused(put().checksum_crc32("AAAAAA==").send().await),
        refused(put().content_md5("AAAAAAAAAAAAAAAAAAAAAA==").send().await),
    ] {
        assert_eq!(answer, (400, "BadDigest".to_owned()));
        assert_eq!(sandbox.s3_object("a").unwrap(), b"old");
    }
    let (id, _) = upload(&s3, "b", &[]).await;
    let part = s3
        .upload_part()
        .bucket(BUCKET)
        .key("b")
        .upload_id(&id)
        .part_number(1);
    let part = part
        .body(ByteStream::from_static(b"x"))
        .checksum_crc64_nvme("AAAAAAAAAAA=");
    assert_eq!(refused(part.send().await), (400, "BadDigest".to_owned()));
    let parts = s3
        .list_parts()
        .bucket(BUCKET)
        .key("b")
        .upload_id(&id)
        .send()
        .await
        .unwrap();
    assert!(parts.parts().is_empty());
}

#[tokio::test]
async fn parts_are_checked_and_listed_with_etag_size_and_checksum() {
    let (_sandbox, s3) = start().await;
    let (id, parts) = upload(&s3, "runs/a", &[PART, 10]).await;
    let list = s3.list_parts().bucket(BUCKET).key("runs/a").upload_id(&id);
    let listed = list.clone().send().await.unwrap();
    assert_eq!(listed.parts().len(), 2);
    let second = &listed.parts()[1];
    assert_eq!(
        (second.size(), second.e_tag()),
        (Some(10), parts[1].e_tag())
    );
    assert_eq!(second.checksum_crc64_nvme(), parts[1].checksum_crc64_nvme());
    let page = list.clone().max_parts(1).send().await.unwrap();
    assert_eq!((page.parts().len(), page.is_truncated()), (1, Some(true)));
    let rest = list
        .part_number_marker(page.next_part_number_marker().unwrap())
        .send()
        .await
        .unwrap();
    assert_eq!(rest.parts()[0].part_number(), Some(2));

    let uploads = s3
        .list_multipart_uploads()
        .bucket(BUCKET)
        .prefix("runs/")
        .send()
        .await
        .unwrap();
    assert_eq!(uploads.uploads()[0].upload_id(), Some(id.as_str()));
    s3.abort_multipart_upload()
        .bucket(BUCKET)
        .key("runs/a")
        .upload_id(&id)
        .send()
        .await
        .unwrap();
    let uploads = s3
        .list_multipart_uploads()
        .bucket(BUCKET)
        .send()
        .await
        .unwrap();
    assert!(uploads.uploads().is_empty());
    let gone = s3
        .list_parts()
        .bucket(BUCKET)
        .key("runs/a")
        .upload_id(&id)
        .send()
        .await;
    assert_eq!(refused(gone), (404, "NoSuchUpload".to_owned()));
}

#[tokio::test]
async fn a_completion_that_lies_is_refused() {
    let (sandbox, s3) = start().await;
    let (id, parts) = upload(&s3, "a", &[PART, 10]).await;
    let whole = [vec![b'a'; PART], vec![b'b'; 10]].concat();
    let complete = |parts: &[CompletedPart]| complete(&s3, "a", &id, parts);
    let wrong_etag = CompletedPart::builder()
        .part_number(1)
        .e_tag("\"0\"")
        .build();
    let reversed: Vec<_> = parts.iter().rev().cloned().collect();
    for (answer, wanted) in [
        (
            refused(complete(&[wrong_etag]).send().await),
            (400, "InvalidPart"),
        ),
        (
            refused(complete(&reversed).send().await),
            (400, "InvalidPartOrder"),
        ),
        (
            refused(complete(&parts).mpu_object_size(7).send().await),
            (400, "InvalidRequest"),
        ),
        (
            refused(
                complete(&parts)
                    .checksum_crc64_nvme("AAAAAAAAAAA=")
                    .send()
                    .await,
            ),
            (400, "BadDigest"),
        ),
        (
            refused(complete(&parts).checksum_crc32("AAAAAA==").send().await),
            (400, "InvalidRequest"),
        ),
    ] {
        assert_eq!((answer.0, answer.1.as_str()), wanted);
        assert_eq!(sandbox.s3_object("a"), None);
    }
    // The right checksum is that of the same bytes in one PUT.
    let put = s3
        .put_object()
        .bucket(BUCKET)
        .key("same")
        .body(whole.clone().into());
    let same = put
        .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
        .send()
        .await
        .unwrap();
    let sum = same.checksum_crc64_nvme().unwrap();
    let size = i64::try_from(whole.len()).unwrap();
    let done = complete(&parts)
        .checksum_crc64_nvme(sum)
        .mpu_object_size(size)
        .send()
        .await
        .unwrap();
    assert_eq!(done.checksum_crc64_nvme(), Some(sum));
    assert_eq!(sandbox.s3_object("a").unwrap(), whole);
    let (id, parts) = upload(&s3, "small", &[10, 10]).await;
    let small = self::complete(&s3, "small", &id, &parts).send().await;
    assert_eq!(refused(small), (400, "EntityTooSmall".to_owned()));
}

#[tokio::test]
async fn metadata_and_etag_come_back() {
    let (_sandbox, s3) = start().await;
    let put = s3
        .put_object()
        .bucket(BUCKET)
        .key("one")
        .metadata("lines", "12");
    let put = put
        .body(ByteStream::from_static(b"x"))
        .send()
        .await
        .unwrap();
    let (id, parts) = upload(&s3, "many", &[10]).await;
    let done = complete(&s3, "many", &id, &parts).send().await.unwrap();
    assert!(done.e_tag().unwrap().ends_with("-1\""));
    for (key, tag) in [("one", put.e_tag()), ("many", done.e_tag())] {
        let head = s3
            .head_object()
            .bucket(BUCKET)
            .key(key)
            .checksum_mode(ChecksumMode::Enabled);
        let head = head.send().await.unwrap();
        assert_eq!(head.metadata().unwrap()["lines"], "12");
        assert_eq!(head.e_tag(), tag);
        assert_eq!(head.checksum_type(), Some(&ChecksumType::FullObject));
        assert!(head.checksum_crc64_nvme().is_some() || head.checksum_crc32().is_some());
        let get = s3
            .get_object()
            .bucket(BUCKET)
            .key(key)
            .send()
            .await
            .unwrap();
        assert_eq!(
            (get.metadata().unwrap()["lines"].as_str(), get.e_tag()),
            ("12", tag)
        );
    }
    let list = s3.list_objects_v2().bucket(BUCKET).send().await.unwrap();
    let keys: Vec<_> = list
        .contents()
        .iter()
        .map(|object| object.key().unwrap())
        .collect();
    assert_eq!(keys, ["many", "one"]);
    s3.delete_object()
        .bucket(BUCKET)
        .key("one")
        .send()
        .await
        .unwrap();
    assert_eq!(
        refused(s3.get_object().bucket(BUCKET).key("one").send().await).0,
        404
    );
}

#[tokio::test]
async fn with_get_and_put_alone_a_missing_key_is_403() {
    let sandbox = Sandbox::builder()
        .s3_policy(S3Policy::get_and_put())
        .start()
        .await
        .unwrap();
    let s3 = Client::new(&sandbox).s3();
    put(&s3, "a", b"x").await;
    s3.head_object()
        .bucket(BUCKET)
        .key("a")
        .send()
        .await
        .unwrap();
    let (id, parts) = upload(&s3, "b", &[10]).await;
    complete(&s3, "b", &id, &parts).send().await.unwrap();
    let denied = (403, "AccessDenied".to_owned());
    assert_eq!(
        refused(s3.get_object().bucket(BUCKET).key("none").send().await),
        denied
    );
    assert_eq!(
        refused(s3.head_object().bucket(BUCKET).key("none").send().await).0,
        403
    );
    assert_eq!(
        refused(s3.list_objects_v2().bucket(BUCKET).send().await),
        denied
    );
    assert_eq!(
        refused(s3.delete_object().bucket(BUCKET).key("a").send().await),
        denied
    );
    assert_eq!(
        refused(s3.list_multipart_uploads().bucket(BUCKET).send().await),
        denied
    );
    let (id, _) = upload(&s3, "c", &[10]).await;
    assert_eq!(
        refused(
            s3.list_parts()
                .bucket(BUCKET)
                .key("c")
                .upload_id(&id)
                .send()
                .await
        ),
        denied
    );
    assert_eq!(
        refused(
            s3.abort_multipart_upload()
                .bucket(BUCKET)
                .key("c")
                .upload_id(&id)
                .send()
                .await
        ),
        denied
    );

    let below = S3Policy::allow("mine/", &["s3:GetObject", "s3:PutObject", "s3:ListBucket"]);
    let sandbox = Sandbox::builder().s3_policy(below).start().await.unwrap();
    let s3 = Client::new(&sandbox).s3();
    put(&s3, "mine/a", b"x").await;
    assert_eq!(
        refused(s3.get_object().bucket(BUCKET).key("mine/none").send().await).0,
        404
    );
    assert_eq!(
        refused(s3.get_object().bucket(BUCKET).key("yours").send().await),
        denied
    );
}

#[tokio::test]
async fn each_fault_refuses_what_it_names() {
    let (sandbox, s3) = start().await;
    put(&s3, "a", b"x").await;
    let faults = sandbox.faults();
    let get = || s3.get_object().bucket(BUCKET).key("a").send();
    let head = || s3.head_object().bucket(BUCKET).key("a").send();
    let put = || {
        s3.put_object()
            .bucket(BUCKET)
            .key("b")
            .body(ByteStream::from_static(b"x"))
    };

    faults.once(Fault::S3RefusesHead);
    get().await.unwrap();
    assert_eq!(refused(head().await).0, 403);
    head().await.unwrap();
    faults.once(Fault::S3RefusesList);
    assert_eq!(
        refused(s3.list_objects_v2().bucket(BUCKET).send().await).0,
        403
    );
    faults.once(Fault::S3RefusesConditionalWrites);
    put().send().await.unwrap();
    assert_eq!(
        refused(put().if_none_match("*").send().await),
        (501, "NotImplemented".to_owned())
    );
    faults.once(Fault::S3RefusesEverything);
    assert_eq!(refused(get().await), (403, "AccessDenied".to_owned()));
    faults.times(2, Fault::S3SlowDown);
    get().await.unwrap();
    for _ in 0..2 {
        assert_eq!(refused(put().send().await), (503, "SlowDown".to_owned()));
    }
    put().send().await.unwrap();
    faults.on(Fault::S3RefusesMultipart);
    let begun = s3
        .create_multipart_upload()
        .bucket(BUCKET)
        .key("m")
        .send()
        .await;
    assert_eq!(refused(begun), (501, "NotImplemented".to_owned()));
    faults.off(Fault::S3RefusesMultipart);

    let (id, parts) = upload(&s3, "m", &[10]).await;
    let complete = || complete(&s3, "m", &id, &parts).send();
    faults.once(Fault::S3CompleteFails);
    assert_eq!(refused(complete().await), (500, "InternalError".to_owned()));
    faults.once(Fault::S3CompleteFailsInBody);
    let answer = complete().await.unwrap_err();
    assert_eq!(
        answer.as_service_error().unwrap().code(),
        Some("InternalError")
    );
    faults.once(Fault::S3CompleteConflicts);
    assert_eq!(
        refused(complete().await),
        (409, "ConditionalRequestConflict".to_owned())
    );
    assert_eq!(sandbox.s3_object("m"), None);
    faults.once(Fault::S3CompleteAnswerLost);
    assert_eq!(refused(complete().await), (500, "InternalError".to_owned()));
    assert_eq!(sandbox.s3_object("m").unwrap().len(), 10);
    assert_eq!(refused(complete().await), (404, "NoSuchUpload".to_owned()));
    assert_eq!(faults.active(), []);
}
