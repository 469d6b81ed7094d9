//! What a store may refuse, and what the error then says.

use super::*;

#[tokio::test]
async fn a_completion_that_fails_shows_nothing_of_the_file_and_keeps_parts_that_are_still_of_use() {
    for fault in [
        Fault::S3CompleteFails,
        Fault::S3CompleteFailsInBody,
        Fault::S3CompleteConflicts,
    ] {
        let room = Room::new().await;
        room.on(fault.clone());
        let error = room.stage(&large(), 1).await.unwrap_err();
        assert_eq!(error.kind(), Kind::StagingUnavailable, "{fault}: {error}");
        assert_eq!(room.object(&room.file), None, "{fault}");
        assert_eq!(room.done().await, None, "{fault}");
        let aborted = room.methods().contains(&"DELETE".to_owned());
        assert_eq!(aborted, fault == Fault::S3CompleteConflicts, "{fault}");

        room.sandbox.faults().clear();
        let done = room.stage(&large(), 1).await.unwrap();
        assert_eq!(room.done().await, Some(done), "{fault}");
    }
}

#[tokio::test]
async fn a_store_that_is_slow_once_is_asked_again_and_one_that_stays_so_is_unavailable() {
    let room = Room::new().await;
    room.sandbox.faults().once(Fault::S3SlowDown);
    let key = layout::record_key(RUN);
    assert_eq!(count(&room.staging, &key).await.unwrap(), 1);
    room.on(Fault::S3SlowDown);
    let error = count(&room.staging, &key).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), Kind::StagingUnavailable, "{error}");
    assert!(error.what().contains("SlowDown"), "{error}");
    assert!(
        error.what().starts_with("s3://staging/pathling/runs/"),
        "{error}"
    );
}

#[tokio::test]
async fn a_store_that_fails_is_unavailable_and_nothing_counts_as_absent() {
    let room = Room::new().await;
    room.on(Fault::S3InternalError);
    for error in [
        room.staging.read(&room.part).await.unwrap_err(),
        room.staging.head(&room.file).await.unwrap_err(),
        room.staging
            .state(&room.file, &room.part, Hint::Unknown)
            .await
            .unwrap_err(),
    ] {
        assert_eq!(error.kind(), Kind::StagingUnavailable, "{error}");
    }
}

#[tokio::test]
async fn a_store_that_cannot_be_reached_is_unavailable() {
    // Nobody listens at port 1; one that was free a moment ago may be somebody's by now.
    let settings = settings("http://127.0.0.1:1");
    let staging = open("s3://staging/pathling", &settings).await;
    let error = staging.read(&layout::record_key(RUN)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::StagingUnavailable, "{error}");
}

#[tokio::test]
async fn a_bucket_that_does_not_exist_is_denied_on_every_way() {
    let room = Room::new().await;
    let settings = settings(&room.sandbox.s3_endpoint());
    let staging = open("s3://no-such-bucket/pathling", &settings).await;
    let key = layout::record_key(RUN);
    denied(&staging.read(&key).await.unwrap_err(), "Create the bucket");
    let created = staging.create(&key, "{}".into(), layout::JSON).await;
    denied(&created.unwrap_err(), "s3://no-such-bucket/pathling/runs/");
}

#[tokio::test]
async fn wrong_keys_are_denied_and_count_as_absent_nowhere() {
    let room = Room::new().await;
    let endpoint = room.sandbox.s3_endpoint();
    for (access, secret) in [(ACCESS_KEY, "wrong"), ("AKIAWRONG", SECRET_KEY)] {
        let staging = open("s3://staging/pathling", &keys(&endpoint, access, secret)).await;
        let key = layout::record_key(RUN);
        for error in [
            staging.read(&key).await.unwrap_err(),
            staging.head(&key).await.unwrap_err(),
            count(&staging, &key).await.unwrap_err(),
        ] {
            denied(&error, "credentials");
        }
    }
}

#[tokio::test]
async fn missing_credentials_are_denied_with_where_to_look() {
    let room = Room::new().await;
    if std::env::var_os("AWS_ACCESS_KEY_ID").is_some() {
        return;
    }
    let nobody = EnvironmentVariableCredentialsProvider::new();
    let settings = settings(&room.sandbox.s3_endpoint())
        .into_builder()
        .credentials_provider(SharedCredentialsProvider::new(nobody))
        .build();
    let staging = open("s3://staging/pathling", &settings).await;
    let error = staging.read(&layout::record_key(RUN)).await.unwrap_err();
    denied(&error, "AWS credentials");
}

#[tokio::test]
async fn an_object_that_exists_but_may_not_be_read_shows_that_get_is_missing() {
    let room = Room::allowing(&["s3:PutObject"]).await;
    let key = layout::record_key(RUN);
    assert_eq!(count(&room.staging, &key).await.unwrap(), 1);
    let error = count(&room.staging, &key).await.unwrap_err();
    denied(&error, "s3:GetObject");
    assert!(error.what().contains(&key), "{error}");

    room.stage(&small(), 1).await.unwrap();
    let error = room.stage(&small(), 1).await.unwrap_err();
    denied(&error, "s3:GetObject");
}

#[tokio::test]
async fn a_write_that_is_not_allowed_names_the_permission() {
    let room = Room::allowing(&["s3:GetObject"]).await;
    let error = room.stage(&small(), 1).await.unwrap_err();
    denied(&error, "s3:PutObject");
    let error = room.stage(&large(), 1).await.unwrap_err();
    denied(&error, "s3:PutObject");
    let error = count(&room.staging, &layout::record_key(RUN)).await;
    denied(&error.unwrap_err(), "s3:PutObject");
}

#[tokio::test]
async fn a_store_without_multipart_uploads_says_so() {
    let room = Room::new().await;
    room.on(Fault::S3RefusesMultipart);
    room.stage(&small(), 1).await.unwrap();
    room.staging.remove(&room.file).await;
    let error = room.stage(&large(), 1).await.unwrap_err();
    denied(&error, "does not know this request");
}
