//! What staging promises, and with how few permissions and abilities of the store.

use super::*;

#[tokio::test]
async fn a_small_file_and_its_record_are_one_request_and_one_more_finds_both() {
    let room = Room::new().await;
    let done = room.stage(&small(), 1).await.unwrap();
    let requests = room.requests();
    assert_eq!(room.methods(), ["PUT"]);
    assert_eq!(requests[0].headers["if-none-match"], "*");
    assert_eq!(
        requests[0].content_type.as_deref(),
        Some("application/fhir+ndjson")
    );
    assert_eq!(room.object(&room.file).unwrap(), LINE.as_bytes());

    room.sandbox.clear_requests();
    assert_eq!(room.done().await, Some(done.clone()));
    assert_eq!(room.methods(), ["HEAD"]);
    let size = LINE.len() as u64;
    let key = room.file.clone();
    assert_eq!((done.size, done.resources["Patient"]), (size, 1));
    assert_eq!(done.objects, [StagedObject { key, size }]);
}

#[tokio::test]
async fn a_large_file_goes_in_parts_and_appears_after_its_record() {
    let room = Room::new().await;
    let content = large();
    let done = room.stage(&content, 7).await.unwrap();
    assert!(room.object(&room.file).unwrap() == content);
    assert_eq!(room.done().await, Some(done));

    let requests = room.requests();
    let position = |wanted: &dyn Fn(&Recorded) -> bool| requests.iter().position(wanted).unwrap();
    let recorded = position(&|request| request.path.ends_with(&room.part));
    let completed =
        position(&|request| request.method == "POST" && request.parameter("uploadId").is_some());
    assert!(recorded < completed);
    assert_eq!(requests[completed].headers["if-none-match"], "*");
    let parts = requests
        .iter()
        .filter(|request| request.parameter("partNumber").is_some());
    assert_eq!(parts.count(), 3);
}

#[tokio::test]
async fn nothing_is_to_be_seen_of_a_file_that_is_given_up() {
    let room = Room::new().await;
    let (upload, _) = room.upload(&large()).await.unwrap();
    upload.abort().await;
    drop(room.upload(&large()).await.unwrap());
    room.staging.settle().await;
    let deletes = room.requests().into_iter().filter(|r| r.method == "DELETE");
    assert_eq!(deletes.filter(|r| r.status == Some(204)).count(), 2);
    assert_eq!(room.object(&room.file), None);
    assert_eq!(room.done().await, None);
}

#[tokio::test]
async fn get_and_put_are_all_that_is_needed() {
    let room = Room::allowing(&["s3:GetObject", "s3:PutObject"]).await;
    assert_eq!(room.done().await, None);
    let done = room.stage(&small(), 1).await.unwrap();
    assert_eq!(room.done().await, Some(done));

    let key = layout::record_key(RUN);
    assert_eq!(room.staging.read(&key).await.unwrap(), None);
    assert_eq!(count(&room.staging, &key).await.unwrap(), 1);
    assert_eq!(count(&room.staging, &key).await.unwrap(), 2);
    // Not allowed, and no harm.
    room.staging.remove(&key).await;

    let room = Room::allowing(&["s3:GetObject", "s3:PutObject"]).await;
    let done = room.stage(&large(), 1).await.unwrap();
    assert_eq!(room.done().await, Some(done));
}

#[tokio::test]
async fn where_head_is_refused_a_get_of_one_byte_tells_the_same() {
    let room = Room::new().await;
    let done = room.stage(&small(), 1).await.unwrap();
    room.on(Fault::S3RefusesHead);
    assert_eq!(room.done().await, Some(done.clone()));
    room.sandbox.clear_requests();
    assert_eq!(room.done().await, Some(done));
    // It was learned that there is no use in asking.
    assert_eq!(room.methods(), ["GET"]);

    let absent = layout::file_key(RUN, "Patient", 2, URL);
    assert_eq!(room.staging.head(&absent).await.unwrap(), None);
    let empty = layout::empty_key(RUN, "Patient");
    let created = room.staging.create(&empty, Bytes::new(), layout::NDJSON);
    assert!(matches!(created.await.unwrap(), Created::New(_)));
    let head = room.staging.head(&empty).await.unwrap().unwrap();
    assert_eq!(head.size, 0);
}

#[tokio::test]
async fn the_first_who_creates_an_object_has_created_it() {
    let room = Room::new().await;
    let key = layout::manifest_key(RUN);
    let create = |text: &'static str| room.staging.create(&key, text.into(), layout::JSON);
    assert!(matches!(create("1").await.unwrap(), Created::New(_)));
    let Created::Exists(object) = create("2").await.unwrap() else {
        unreachable!("it was there before");
    };
    assert_eq!(object.bytes, "1");
    assert_eq!(room.object(&key).unwrap(), b"1");
}

#[tokio::test]
async fn what_changed_since_it_was_read_is_not_replaced() {
    let room = Room::new().await;
    replaces_only_what_was_read(&room).await;
}

async fn replaces_only_what_was_read(room: &Room) {
    let staging = &room.staging;
    let key = layout::record_key(RUN);
    let created = staging.create(&key, "1".into(), layout::JSON).await;
    let Created::New(first) = created.unwrap() else {
        unreachable!("nobody else is here");
    };
    let Replaced::Done(second) = staging.replace(&key, "2".into(), &first).await.unwrap() else {
        unreachable!("nobody else is here");
    };
    let stale = staging.replace(&key, "3".into(), &first).await.unwrap();
    assert_eq!(stale, Replaced::Conflict);
    let object = staging.read(&key).await.unwrap().unwrap();
    assert_eq!((&object.bytes[..], &object.version), (&b"2"[..], &second));
    staging.remove(&key).await;
    let gone = staging.replace(&key, "3".into(), &second).await.unwrap();
    assert_eq!(gone, Replaced::Conflict);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_change_is_lost_when_many_change_one_object() {
    let room = Room::new().await;
    let key = layout::sync_key(RUN);
    let change = |_| {
        let (staging, key) = (room.staging.clone(), key.clone());
        tokio::spawn(async move {
            for _ in 0..4 {
                count(&staging, &key).await.unwrap();
            }
        })
    };
    for changed in (0..4).map(change).collect::<Vec<_>>() {
        changed.await.unwrap();
    }
    let counter: Counter = room.staging.read_json(&key).await.unwrap().unwrap();
    assert_eq!(counter.count, 16);
}

#[tokio::test]
async fn a_store_without_conditional_writes_is_written_without_conditions() {
    let room = Room::new().await;
    room.on(Fault::S3RefusesConditionalWrites);
    replaces_only_what_was_read(&room).await;
    let key = layout::manifest_key(RUN);
    let create = |text: &'static str| room.staging.create(&key, text.into(), layout::JSON);
    assert!(matches!(create("1").await.unwrap(), Created::New(_)));
    assert!(matches!(create("2").await.unwrap(), Created::Exists(_)));
    assert_eq!(room.object(&key).unwrap(), b"1");

    let done = room.stage(&small(), 1).await.unwrap();
    assert_eq!(room.done().await, Some(done.clone()));
    let again = room.stage(&Bytes::from_static(b"{}\n"), 2).await.unwrap();
    assert_eq!(again, done);
    assert_eq!(room.object(&room.file).unwrap(), LINE.as_bytes());
    let conditions = |request: &Recorded| request.headers.contains_key("if-none-match");
    // The first write learned it for all the others.
    assert_eq!(room.requests().into_iter().filter(conditions).count(), 1);

    let room = Room::new().await;
    room.on(Fault::S3RefusesConditionalWrites);
    let content = large();
    let done = room.stage(&content, 1).await.unwrap();
    assert_eq!(room.done().await, Some(done));
    assert!(room.object(&room.file).unwrap() == content);
}

#[tokio::test]
async fn who_finishes_second_gets_the_record_of_the_first_whose_file_stays() {
    let room = Room::new().await;
    let first = room.stage(&small(), 1).await.unwrap();
    let second = room
        .stage(&Bytes::from_static(b"{\"other\":1}\n"), 2)
        .await
        .unwrap();
    assert_eq!(second, first);
    assert_eq!(room.object(&room.file).unwrap(), LINE.as_bytes());

    let room = Room::new().await;
    let content = large();
    let first = room.stage(&content, 1).await.unwrap();
    let second = room.stage(&content.slice(LINE.len()..), 2).await.unwrap();
    assert_eq!(second, first);
    assert!(room.object(&room.file).unwrap() == content);
    // Its parts are gone too.
    assert_eq!(room.methods().iter().filter(|m| *m == "DELETE").count(), 1);
}

#[tokio::test]
async fn an_object_without_a_record_is_not_done_and_gives_way_to_a_whole_one() {
    let room = Room::new().await;
    let foreign = room.staging.create(&room.file, "{}".into(), layout::NDJSON);
    foreign.await.unwrap();
    assert_eq!(room.done().await, None);
    let done = room.stage(&small(), 1).await.unwrap();
    assert_eq!(room.done().await, Some(done));
    assert_eq!(room.object(&room.file).unwrap(), LINE.as_bytes());

    room.staging.remove(&room.file).await;
    let foreign = room.staging.create(&room.file, "{}".into(), layout::NDJSON);
    foreign.await.unwrap();
    let content = large();
    let done = room.stage(&content, 2).await.unwrap();
    assert_eq!(room.done().await, Some(done));
    assert!(room.object(&room.file).unwrap() == content);
}
