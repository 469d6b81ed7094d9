//! What uploads promise on S3 alone: few requests, few permissions, and what refusals and accidents come to.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::os::unix::fs::MetadataExt as _;

use sandbox::{Fault, S3Policy};

use super::*;

fn small() -> Bytes {
    Bytes::from_static(b"{\"resourceType\":\"Patient\",\"id\":\"1\"}\n")
}

async fn put(upload: &Upload, body: Bytes) -> Result<DoneRecord> {
    let sum = sum_of(upload, &body);
    upload.put(body, sum, patients(1)).await
}

#[tokio::test]
async fn a_listing_saves_what_would_have_been_asked() {
    let room = Room::on_s3().await;
    let staging = room.open().await;
    let other = layout::part_key(RUN, 2);
    let large_file = layout::file_key(RUN, "Patient", 2, URL);
    let done = put(&room.upload(&staging), small()).await.unwrap();
    let upload = staging.upload(&large_file, &other);
    let content = large();
    send_all(&upload, &content).await;
    let large_done = complete(&upload, &content, 9).await.unwrap();
    room.requests();

    let size = content.len() as u64;
    let listed = |object, record| Hint::Listed { object, record };
    let ask = |file: &str, part: &str, hint| {
        let (staging, file, part) = (staging.clone(), file.to_owned(), part.to_owned());
        async move { staging.state(&file, &part, hint).await.unwrap() }
    };
    let absent = ask("runs/a/x", "runs/a/y", listed(None, false)).await;
    assert_eq!(absent, FileState::Absent);
    assert!(room.methods().is_empty());

    let small_done = ask(&room.file, &room.part, listed(Some(done.size), false)).await;
    assert_eq!(small_done, FileState::Done(done));
    assert_eq!(room.methods(), ["HEAD"]);

    let both = ask(&large_file, &other, listed(Some(size), true)).await;
    assert_eq!(both, FileState::Done(large_done.clone()));
    assert_eq!(room.methods(), ["GET"]);

    // What a listing says of an object is believed, but not that there is none: it may have come since, with its record.
    let shorter = ask(&large_file, &other, listed(Some(1), true)).await;
    assert!(matches!(shorter, FileState::UnderWay(_)), "{shorter:?}");
    assert_eq!(room.methods(), ["GET", "HEAD"]);
    let since = ask(&large_file, &other, listed(None, true)).await;
    assert_eq!(since, FileState::Done(large_done.clone()));
    assert_eq!(room.methods(), ["GET", "HEAD"]);

    let unknown = ask(&large_file, &other, Hint::Unknown).await;
    assert_eq!(unknown, FileState::Done(large_done));
    assert_eq!(room.methods(), ["HEAD", "GET"]);
}

#[tokio::test]
async fn a_file_that_is_under_way_and_done_as_well_is_done() {
    let room = Room::on_s3().await;
    let staging = room.open().await;
    let content = large();
    let upload = room.upload(&staging);
    send(&upload, &content, 1).await.unwrap();
    upload.save(&position(1), 1).await.unwrap();
    let done = put(&room.upload(&room.open().await), small())
        .await
        .unwrap();
    assert_eq!(room.state(&staging).await, FileState::Done(done.clone()));
    let object = Some(done.size);
    let hint = Hint::Listed {
        object,
        record: true,
    };
    let state = staging.state(&room.file, &room.part, hint).await.unwrap();
    assert_eq!(state, FileState::Done(done.clone()));
    // And whoever completes the other gets it too.
    send_all(&upload, &content).await;
    assert_eq!(complete(&upload, &content, 9).await.unwrap(), done);
    assert_eq!(room.content().unwrap(), small());
}

#[tokio::test]
async fn a_listing_of_many_pages_is_whole_and_one_that_is_refused_is_none() {
    let room = Room::on_s3().await;
    let staging = room.open().await;
    let folder = room.path("runs/many/Patient");
    std::fs::create_dir_all(&folder).unwrap();
    for number in 0..1100 {
        std::fs::write(folder.join(format!("{number}.ndjson")), "x").unwrap();
    }
    let listed = staging.list("runs/many/").await.unwrap().unwrap();
    assert_eq!(listed.len(), 1100);
    assert_eq!(room.methods().len(), 2);
    room.on(Fault::S3RefusesList);
    assert_eq!(staging.list("runs/many/").await.unwrap(), None);

    let room = Room::allowing(Some(S3Policy::get_and_put())).await;
    assert_eq!(room.open().await.list("runs/").await.unwrap(), None);
}

#[tokio::test]
async fn get_and_put_are_enough_even_to_go_on() {
    let room = Room::allowing(Some(S3Policy::get_and_put())).await;
    let content = large();
    let staging = room.open().await;
    let upload = room.upload(&staging);
    send(&upload, &content, 1).await.unwrap();
    send(&upload, &content, 2).await.unwrap();
    assert_eq!(upload.save(&position(2), 1).await.unwrap(), Saved::Ours);
    drop(upload);

    let staging = room.open().await;
    let upload = room.resume(&staging).await.unwrap();
    assert!(upload.confirmed(2).is_some());
    send(&upload, &content, 3).await.unwrap();
    let done = complete(&upload, &content, 9).await.unwrap();
    assert!(room.content().unwrap() == content);
    assert_eq!(room.state(&staging).await, FileState::Done(done));
}

#[tokio::test]
async fn an_upload_that_is_gone_where_listing_is_refused_is_found_out_by_its_next_part() {
    let room = Room::allowing(Some(S3Policy::allow(
        "",
        &["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"],
    )))
    .await;
    let content = large();
    let staging = room.open().await;
    let upload = room.upload(&staging);
    send(&upload, &content, 1).await.unwrap();
    upload.save(&position(1), 1).await.unwrap();
    upload.end().await;

    let staging = room.open().await;
    let upload = room.resume(&staging).await.unwrap();
    let error = send(&upload, &content, 2).await.unwrap_err();
    assert_eq!(error.kind(), Kind::StagingUnavailable, "{error}");
    assert!(upload.lost());
    // The next upload's state takes the place of the one that nobody can go on with.
    let upload = room.upload(&staging);
    send_all(&upload, &content).await;
    assert_eq!(upload.save(&position(3), 1).await.unwrap(), Saved::Ours);
    complete(&upload, &content, 9).await.unwrap();
    assert!(room.content().unwrap() == content);
}

#[tokio::test]
async fn parts_that_were_sent_after_the_last_state_are_found() {
    let room = Room::on_s3().await;
    let content = large();
    let staging = room.open().await;
    let upload = room.upload(&staging);
    send(&upload, &content, 1).await.unwrap();
    upload.save(&position(1), 1).await.unwrap();
    send(&upload, &content, 2).await.unwrap();
    let second = upload.confirmed(2);
    drop(upload);

    let staging = room.open().await;
    let upload = room.resume(&staging).await.unwrap();
    assert!(second.is_some());
    assert_eq!(upload.confirmed(2), second);
    send(&upload, &content, 3).await.unwrap();
    complete(&upload, &content, 9).await.unwrap();
    assert!(room.content().unwrap() == content);
}

#[tokio::test]
async fn s3_is_told_the_sum_that_was_asked_for_or_none() {
    for (checksum, header) in [
        (Checksum::Crc64Nvme, Some("x-amz-checksum-crc64nvme")),
        (Checksum::Crc32, Some("x-amz-checksum-crc32")),
        (Checksum::None, None),
    ] {
        let mut room = Room::on_s3().await;
        room.options.checksum = checksum;
        let staging = room.open().await;
        put(&room.upload(&staging), small()).await.unwrap();
        staging.remove(&room.file).await;
        let content = large();
        let upload = room.upload(&staging);
        send_all(&upload, &content).await;
        upload.save(&position(3), 1).await.unwrap();
        let done = complete(&upload, &content, 9).await.unwrap();
        assert_eq!(
            done.sums[staging.algorithm().name()],
            sum_of(&upload, &content).base64()
        );
        assert!(room.content().unwrap() == content);

        let requests = room.requests();
        let data = |request: &&sandbox::Recorded| {
            request.method == "PUT" && !request.path.contains("_parts")
        };
        assert_eq!(requests.iter().filter(data).count(), 4);
        for request in &requests {
            let sums: Vec<&str> = request
                .headers
                .keys()
                .map(String::as_str)
                .filter(|name| name.starts_with("x-amz-checksum-crc"))
                .collect();
            let told = header.into_iter().collect::<Vec<_>>();
            if data(&request) {
                assert_eq!(sums, told, "{}", request.path);
                assert_eq!(request.headers["x-amz-content-sha256"], "UNSIGNED-PAYLOAD");
            }
            if header.is_none() {
                let named = request.headers.contains_key("x-amz-trailer");
                assert!(sums.is_empty() && !named, "{}", request.path);
            }
            if request.method == "POST" && request.parameter("uploadId").is_some() {
                assert_eq!(sums, told);
                assert_eq!(request.headers["if-none-match"], "*");
            }
        }
    }
}

#[tokio::test]
async fn a_store_refuses_what_has_another_sum() {
    let room = Room::on_s3().await;
    let staging = room.open().await;
    let upload = room.upload(&staging);
    let wrong = sum_of(&upload, b"something else");
    let error = upload.put(small(), wrong, patients(1)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::StagingUnavailable, "{error}");
    assert!(error.what().contains("BadDigest"), "{error}");
    let error = upload.part(1, 0, small(), wrong).await.unwrap_err();
    assert!(error.what().contains("BadDigest"), "{error}");
    assert_eq!(upload.confirmed(1), None);
    assert_eq!(room.content(), None);
    assert!(!upload.lost());
}

#[tokio::test]
async fn a_store_without_conditional_writes_is_written_without_conditions() {
    let room = Room::on_s3().await;
    room.on(Fault::S3RefusesConditionalWrites);
    let content = large();
    let staging = room.open().await;
    let upload = room.upload(&staging);
    send_all(&upload, &content).await;
    assert_eq!(upload.save(&position(2), 1).await.unwrap(), Saved::Ours);
    assert_eq!(upload.save(&position(3), 1).await.unwrap(), Saved::Ours);
    let done = complete(&upload, &content, 9).await.unwrap();
    assert!(room.content().unwrap() == content);
    let again = put(&room.upload(&room.open().await), small()).await;
    assert_eq!(again.unwrap(), done);

    let room = Room::on_s3().await;
    room.on(Fault::S3RefusesConditionalWrites);
    let staging = room.open().await;
    let done = put(&room.upload(&staging), small()).await.unwrap();
    assert_eq!(room.state(&staging).await, FileState::Done(done));
    assert_eq!(room.content().unwrap(), small());
}

#[tokio::test]
async fn a_store_that_refuses_head_tells_the_same_by_get() {
    let room = Room::on_s3().await;
    room.on(Fault::S3RefusesHead);
    let staging = room.open().await;
    assert_eq!(room.state(&staging).await, FileState::Absent);
    let done = put(&room.upload(&staging), small()).await.unwrap();
    assert_eq!(room.state(&staging).await, FileState::Done(done.clone()));
    let again = put(&room.upload(&staging), Bytes::from_static(b"{}")).await;
    assert_eq!(again.unwrap(), done);
}

#[tokio::test]
async fn a_completion_that_collides_begins_the_file_anew() {
    let room = Room::on_s3().await;
    let content = large();
    let staging = room.open().await;
    let upload = room.upload(&staging);
    send_all(&upload, &content).await;
    room.on(Fault::S3CompleteConflicts);
    let error = complete(&upload, &content, 9).await.unwrap_err();
    assert_eq!(error.kind(), Kind::StagingUnavailable, "{error}");
    assert!(upload.lost());
    room.sandbox.as_ref().unwrap().faults().clear();
    let upload = room.upload(&staging);
    send_all(&upload, &content).await;
    let done = complete(&upload, &content, 9).await.unwrap();
    assert_eq!(room.state(&staging).await, FileState::Done(done));
}

#[tokio::test]
async fn who_takes_a_file_up_whose_completion_is_late_leaves_it_as_it_comes() {
    for saves in [false, true] {
        let room = Room::on_s3().await;
        let content = large();
        let (one, other) = (room.open().await, room.open().await);
        let first = room.upload(&one);
        send_all(&first, &content).await;
        first.save(&position(3), 1).await.unwrap();
        room.on(Fault::S3CompleteFails);
        complete(&first, &content, 9).await.unwrap_err();
        room.sandbox.as_ref().unwrap().faults().clear();
        // The record is there, and the object comes after the other process has looked for it.
        let second = room.resume(&other).await.unwrap();
        let done = complete(&first, &content, 9).await.unwrap();
        let made = std::fs::metadata(room.path(&room.file)).unwrap().ino();

        if saves {
            let saved = second.save(&position(3), 1).await.unwrap();
            assert_eq!(saved, Saved::Done(done.clone()));
        }
        for resources in [9, 8] {
            assert_eq!(complete(&second, &content, resources).await.unwrap(), done);
        }
        assert_eq!(room.state(&other).await, FileState::Done(done));
        let there = std::fs::metadata(room.path(&room.file)).unwrap().ino();
        assert_eq!(there, made, "another object took its place");
    }
}

#[tokio::test]
async fn a_completion_that_fails_can_be_asked_for_again_by_another_process_too() {
    for fault in [Fault::S3CompleteFails, Fault::S3CompleteFailsInBody] {
        let room = Room::on_s3().await;
        let content = large();
        let staging = room.open().await;
        let upload = room.upload(&staging);
        send_all(&upload, &content).await;
        upload.save(&position(3), 1).await.unwrap();
        room.on(fault.clone());
        let error = complete(&upload, &content, 9).await.unwrap_err();
        assert_eq!(error.kind(), Kind::StagingUnavailable, "{fault}: {error}");
        assert!(!upload.lost(), "{fault}");
        assert_eq!(room.content(), None, "{fault}");
        room.sandbox.as_ref().unwrap().faults().clear();
        // Its record holds what the file is made of.
        let state = room.under_way(&staging).await;
        assert_eq!((state.position, state.parts.len()), (position(3), 3));
        let upload = if fault == Fault::S3CompleteFails {
            drop(upload);
            staging.settle().await;
            room.resume(&room.open().await).await.unwrap()
        } else {
            upload
        };
        room.requests();
        let done = complete(&upload, &content, 9).await.unwrap();
        assert_eq!(room.state(&staging).await, FileState::Done(done), "{fault}");
        assert!(room.content().unwrap() == content, "{fault}");
        let parts = room.requests();
        assert!(
            parts.iter().all(|it| !it.query.contains("partNumber")),
            "{fault}"
        );
    }
}

#[tokio::test]
async fn a_completion_whose_answer_was_lost_has_succeeded() {
    let room = Room::on_s3().await;
    let content = large();
    let staging = room.open().await;
    let upload = room.upload(&staging);
    send_all(&upload, &content).await;
    let done = complete(&upload, &content, 9).await.unwrap();
    // The upload is gone now, and its object is there.
    assert_eq!(complete(&upload, &content, 9).await.unwrap(), done);
    assert!(room.content().unwrap() == content);
}

#[tokio::test]
async fn an_upload_that_is_gone_when_it_is_to_be_completed_is_lost() {
    let room = Room::on_s3().await;
    let content = large();
    let staging = room.open().await;
    let upload = room.upload(&staging);
    send_all(&upload, &content).await;
    upload.end().await;
    let error = complete(&upload, &content, 9).await.unwrap_err();
    assert_eq!(error.kind(), Kind::StagingUnavailable, "{error}");
    assert!(upload.lost());
    assert_eq!(room.content(), None);
}

#[tokio::test]
async fn a_part_that_another_process_has_overwritten_is_noticed() {
    let room = Room::on_s3().await;
    let content = large();
    let staging = room.open().await;
    let upload = room.upload(&staging);
    send_all(&upload, &content).await;
    upload.save(&position(3), 1).await.unwrap();
    let other = room.resume(&room.open().await).await.unwrap();
    let mut bytes = content[..PART].to_vec();
    bytes[0] ^= 1;
    let sum = sum_of(&other, &bytes);
    other.part(1, 0, bytes.into(), sum).await.unwrap();
    let error = complete(&upload, &content, 9).await.unwrap_err();
    assert_eq!(error.kind(), Kind::StagingUnavailable, "{error}");
    assert!(upload.lost());
    assert_eq!(room.content(), None);
}

#[tokio::test]
async fn a_store_that_asks_for_fewer_requests_is_asked_once() {
    let room = Room::on_s3().await;
    let content = large();
    let staging = room.open().await;
    let upload = room.upload(&staging);
    send(&upload, &content, 1).await.unwrap();
    room.requests();
    room.on(Fault::S3SlowDown);
    for error in [
        put(&upload, small()).await.unwrap_err(),
        send(&upload, &content, 2).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), Kind::StagingUnavailable, "{error}");
        assert!(error.throttled(), "{error}");
    }
    assert_eq!(room.methods(), ["PUT", "PUT"]);
}

#[tokio::test]
async fn refusals_of_files_name_the_permission_and_the_object() {
    let room = Room::allowing(Some(S3Policy::allow("", &["s3:GetObject"]))).await;
    let staging = room.open().await;
    let error = put(&room.upload(&staging), small()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::StagingDenied, "{error}");
    assert!(error.to_string().contains("s3:PutObject"), "{error}");
    assert!(
        error.what().starts_with(&staging.url(&room.file)),
        "{error}"
    );

    let settings = settings("http://127.0.0.1:1");
    let place = Place::parse("s3://staging/pathling").unwrap();
    let nowhere = Staging::open_with(&place, Options::default(), &settings).await;
    let error = put(&room.upload(&nowhere.unwrap()), small()).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), Kind::StagingUnavailable, "{error}");
    assert!(!error.what().contains("http://"), "{error}");
}

#[tokio::test]
async fn a_record_too_long_for_metadata_is_written_first() {
    let room = Room::on_s3().await;
    let staging = room.open().await;
    let upload = room.upload(&staging);
    let types = (0..150).map(|number| (format!("ResourceType{number:03}"), 1));
    let done = DoneRecord::new("0a1b2c3d", types.collect(), BTreeMap::new());
    let sum = sum_of(&upload, &small());
    let done = upload.put(small(), sum, done).await.unwrap();
    assert_eq!(room.state(&staging).await, FileState::Done(done.clone()));
    assert_eq!(room.content().unwrap(), small());
    let again = put(&room.upload(&room.open().await), Bytes::from_static(b"{}")).await;
    assert_eq!(again.unwrap(), done);
}

#[tokio::test]
async fn one_odd_answer_does_not_make_a_store_one_without_conditional_writes_and_two_do() {
    let room = Room::on_s3().await;
    let staging = room.open().await;
    let faults = room.sandbox.as_ref().unwrap().faults();
    // The refusal, a look whether it is there, and the write without a condition; then as if nothing had been.
    let refused: &[&str] = &["PUT", "GET", "PUT"];
    let unconditional: &[&str] = &["GET", "PUT"];
    for (key, odd, methods) in [
        ("runs/a/1", true, refused),
        ("runs/a/2", false, &["PUT"]),
        ("runs/a/3", true, refused),
        ("runs/a/4", false, unconditional),
    ] {
        if odd {
            faults.once(Fault::S3RefusesConditionalWrites);
        }
        let created = staging.create(key, "1".into(), layout::JSON).await;
        assert!(matches!(created.unwrap(), Created::New(_)), "{key}");
        assert_eq!(room.methods(), methods, "{key}");
    }
}

/// Three parts by one process, one of which another process that goes on with the upload sends again: these bytes of it.
async fn sent_again(room: &Room, bytes: impl FnOnce(&Bytes) -> Bytes) -> (Upload, Bytes) {
    let content = large();
    let staging = room.open().await;
    let upload = room.upload(&staging);
    send_all(&upload, &content).await;
    upload.save(&position(3), 1).await.unwrap();
    let other = room.resume(&room.open().await).await.unwrap();
    let (offset, body) = slice(&content, 2);
    let body = bytes(&body);
    let sum = sum_of(&other, &body);
    other.part(2, offset, body, sum).await.unwrap();
    other.save(&position(3), 1).await.unwrap();
    room.requests();
    (upload, content)
}

#[tokio::test]
async fn a_part_that_another_process_sent_again_is_the_same_whatever_s3_calls_it() {
    let room = Room::on_s3().await;
    room.on(Fault::S3Encrypts);
    let (upload, content) = sent_again(&room, Bytes::clone).await;
    complete(&upload, &content, 9).await.unwrap();
    assert!(!upload.lost());
    assert_eq!(room.content().unwrap(), content);
    let requests = room.requests();
    let parts = requests
        .iter()
        .filter(|it| it.method == "PUT" && it.query.contains("partNumber"));
    assert_eq!(parts.count(), 0, "nothing is sent again");
    let completions = requests.iter().filter(|it| it.method == "POST").count();
    assert_eq!(completions, 2);
}

#[tokio::test]
async fn a_part_that_is_another_by_now_spoils_the_upload_and_no_object_appears() {
    for listed in [true, false] {
        let room = Room::on_s3().await;
        room.on(Fault::S3Encrypts);
        let other = |body: &Bytes| Bytes::from(vec![b'x'; body.len()]);
        let same = |body: &Bytes| body.clone();
        let (upload, content) = if listed {
            sent_again(&room, other).await
        } else {
            sent_again(&room, same).await
        };
        if !listed {
            room.on(Fault::S3RefusesListParts);
        }
        let error = complete(&upload, &content, 9).await.unwrap_err();
        assert_eq!(error.kind(), Kind::StagingUnavailable);
        assert!(upload.lost());
        assert_eq!(room.content(), None);
    }
}
