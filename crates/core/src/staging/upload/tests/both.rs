//! A file on its way, in a folder and on S3 alike.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;

#[tokio::test]
async fn a_whole_file_is_there_with_its_record() {
    for room in Room::both().await {
        let staging = room.open().await;
        assert_eq!(room.state(&staging).await, FileState::Absent);
        let upload = room.upload(&staging);
        let body = Bytes::from_static(b"{}\n");
        let sum = sum_of(&upload, &body);
        let done = upload.put(body.clone(), sum, patients(1)).await.unwrap();
        assert_eq!(done.size, 3);
        assert_eq!(done.sums["crc64nvme"], sum.base64());
        assert_eq!(room.content().unwrap(), body);
        assert_eq!(room.state(&staging).await, FileState::Done(done.clone()));
        // What was there already stays, and so does its record.
        let other = Bytes::from_static(b"{\"a\":1}\n");
        let second = room.upload(&room.open().await);
        let sum = sum_of(&second, &other);
        assert_eq!(second.put(other, sum, patients(2)).await.unwrap(), done);
        assert_eq!(room.content().unwrap(), body);
        drop((upload, second));
        assert_eq!(room.left_over(&staging).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_may_come_in_any_order_and_side_by_side() {
    for room in Room::both().await {
        let staging = room.open().await;
        let (upload, content) = (room.upload(&staging), large());
        let sent = [3, 1, 2].map(|number| {
            let (upload, content) = (upload.clone(), content.clone());
            tokio::spawn(async move { send(&upload, &content, number).await })
        });
        for one in sent {
            one.await.unwrap().unwrap();
        }
        assert_eq!(room.content(), None);
        let (offset, body) = slice(&content, 2);
        let second = Confirmed {
            offset,
            size: body.len() as u64,
            sum: Some(sum_of(&upload, &body)),
        };
        assert_eq!(upload.confirmed(2), Some(second));
        assert_eq!(upload.confirmed(4), None);
        let done = complete(&upload, &content, 9).await.unwrap();
        assert!(room.content().unwrap() == content);
        assert_eq!(room.state(&staging).await, FileState::Done(done));
        assert_eq!(room.left_over(&staging).await, 0);
    }
}

#[tokio::test]
async fn a_part_beyond_the_end_is_left_out() {
    for room in Room::both().await {
        let staging = room.open().await;
        let (upload, content) = (room.upload(&staging), large());
        send_all(&upload, &content).await;
        let end = content.len() as u64;
        let beyond = Bytes::from_static(b"beyond");
        let sum = sum_of(&upload, &beyond);
        upload.part(4, end, beyond, sum).await.unwrap();
        complete(&upload, &content, 9).await.unwrap();
        assert!(room.content().unwrap() == content);
    }
}

#[tokio::test]
async fn what_was_begun_is_written_down_and_stays_until_it_is_given_up() {
    for room in Room::both().await {
        let content = large();
        let staging = room.open().await;
        let upload = room.upload(&staging);
        // There is nothing yet that a state could name.
        assert_eq!(upload.save(&position(0), 1).await.unwrap(), Saved::Ours);
        assert_eq!(room.state(&staging).await, FileState::Absent);
        assert!(!upload.begun());
        send(&upload, &content, 1).await.unwrap();
        let state = room.under_way(&staging).await;
        assert_eq!((state.position, state.parts), (Position::default(), vec![]));
        drop(upload);
        staging.settle().await;
        assert_eq!(room.left_over(&staging).await, 1);

        // One state has room for one upload: on S3 the second is cleared away, in a folder the first, which is nobody's.
        let second = room.upload(&staging);
        send(&second, &content, 1).await.unwrap();
        drop(second.clone());
        drop(second);
        staging.settle().await;
        assert_eq!(room.left_over(&staging).await, 1);

        let upload = room.resume(&staging).await.unwrap();
        upload.abort().await;
        drop(upload);
        assert_eq!(room.left_over(&staging).await, 0);
        assert_eq!(room.state(&staging).await, FileState::Absent);
        assert!(!room.path(&room.part).exists());
    }
}

#[tokio::test]
async fn parts_that_are_not_what_was_checked_never_become_a_file() {
    for room in Room::both().await {
        let content = large();
        let staging = room.open().await;
        let upload = room.upload(&staging);
        send_all(&upload, &content).await;
        let mut other = content.to_vec();
        other[0] ^= 1;
        let sum = sum_of(&upload, &other);
        let error = upload
            .complete(sum, patients(9), &position(3), 1)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), Kind::StagingUnavailable, "{error}");
        assert!(upload.lost());
        let too_few = upload.complete(sum, patients(9), &position(2), 1).await;
        assert!(too_few.is_err());
        drop(upload);
        staging.settle().await;
        assert_eq!(room.content(), None);
        assert_eq!(room.left_over(&staging).await, 0);

        let upload = room.upload(&staging);
        send(&upload, &content, 1).await.unwrap();
        let missing = complete(&upload, &content, 9).await.unwrap_err();
        assert!(missing.what().contains("1 of 3"), "{missing}");
        assert!(!upload.lost());
    }
}

#[tokio::test]
async fn an_object_that_nobody_vouches_for_gives_way() {
    for room in Room::both().await {
        let content = large();
        let staging = room.open().await;
        let foreign = || staging.create(&room.file, "{}".into(), layout::NDJSON);
        foreign().await.unwrap();
        assert_eq!(room.state(&staging).await, FileState::Absent);
        let upload = room.upload(&staging);
        send_all(&upload, &content).await;
        complete(&upload, &content, 9).await.unwrap();
        assert!(room.content().unwrap() == content);

        staging.remove(&room.file).await;
        staging.remove(&room.part).await;
        foreign().await.unwrap();
        let upload = room.upload(&staging);
        let body = Bytes::from_static(b"{}\n");
        let sum = sum_of(&upload, &body);
        upload.put(body.clone(), sum, patients(1)).await.unwrap();
        assert_eq!(room.content().unwrap(), body);
    }
}

#[tokio::test]
async fn a_file_without_resources_is_done_without_an_object() {
    for room in Room::both().await {
        let content = large();
        let staging = room.open().await;
        let upload = room.upload(&staging);
        send(&upload, &content, 1).await.unwrap();
        upload.save(&position(1), 1).await.unwrap();
        let done = staging
            .record_empty(&room.file, &room.part, patients(0))
            .await
            .unwrap();
        assert!(done.objects.is_empty());
        assert_eq!(room.state(&staging).await, FileState::Done(done.clone()));
        let again = staging
            .record_empty(&room.file, &room.part, patients(1))
            .await;
        assert_eq!(again.unwrap(), done);
    }
}

#[tokio::test]
async fn an_object_that_no_record_vouches_for_is_neither_taken_for_the_file_nor_left_where_there_is_none()
 {
    for room in Room::both().await {
        let content = large();
        let staging = room.open().await;
        let lay = async |bytes: Bytes| {
            staging.remove(&room.file).await;
            staging.create(&room.file, bytes, "").await.unwrap();
        };
        lay(Bytes::from(vec![b'x'; content.len()])).await;
        let refused = staging.record_empty(&room.file, &room.part, patients(0));
        let refused = refused.await.unwrap_err();
        assert_eq!(refused.kind(), Kind::StagingDenied, "{refused}");
        assert!(refused.what().contains(&room.file), "{refused}");

        let upload = room.upload(&staging);
        send_all(&upload, &content).await;
        let done = complete(&upload, &content, 9).await.unwrap();
        assert_eq!(room.content().unwrap(), content);
        let theirs = staging.record_empty(&room.file, &room.part, patients(0));
        assert_eq!(theirs.await.unwrap(), done);
    }
}

#[tokio::test]
async fn a_listing_names_what_is_there_and_nothing_hidden() {
    for room in Room::both().await {
        let staging = room.open().await;
        let folder = format!("{}/", layout::run_folder(RUN));
        assert_eq!(staging.list(&folder).await.unwrap(), Some(Vec::new()));
        let create = |key: String| {
            let staging = staging.clone();
            async move { staging.create(&key, "1".into(), "").await.unwrap() }
        };
        create(layout::manifest_key(RUN)).await;
        create(room.file.clone()).await;
        create(layout::manifest_key("fedcba")).await;
        let content = large();
        let upload = room.upload(&staging);
        send(&upload, &content, 1).await.unwrap();
        let mut listed = staging.list(&folder).await.unwrap().unwrap();
        listed.sort_by(|one, other| one.key.cmp(&other.key));
        let state = staging.read(&room.part).await.unwrap().unwrap();
        let size = state.bytes.len() as u64;
        let expected = [
            (room.file.clone(), 1),
            (layout::manifest_key(RUN), 1),
            (room.part.clone(), size),
        ];
        assert_eq!(listed, expected.map(|(key, size)| Listed { key, size }));
    }
}

#[tokio::test]
async fn a_state_that_this_version_does_not_know_is_absent_and_gives_way() {
    for room in Room::both().await {
        let content = large();
        let staging = room.open().await;
        for state in [
            r#"{"state":"under-way","upload":"x"}"#,
            r#"{"state":"paused"}"#,
            r#"{"state":"done","version":2,"size":0}"#,
            "{",
        ] {
            staging.remove(&room.part).await;
            let written = staging.create(&room.part, state.into(), layout::JSON).await;
            written.unwrap();
            assert_eq!(room.state(&staging).await, FileState::Absent, "{state}");
        }
        let upload = room.upload(&staging);
        send(&upload, &content, 1).await.unwrap();
        upload.save(&position(1), 1).await.unwrap();
        let text = std::fs::read_to_string(room.path(&room.part)).unwrap();
        let later = text.replace("\"version\":1", "\"version\":2");
        assert_ne!(text, later);
        staging.remove(&room.part).await;
        let written = staging.create(&room.part, later.into(), layout::JSON).await;
        written.unwrap();
        assert_eq!(room.state(&staging).await, FileState::Absent);
    }
}

#[tokio::test]
async fn a_part_that_is_written_again_elsewhere_in_a_folder_unsays_what_lay_there() {
    let room = Room::folder();
    let content = large();
    let staging = room.open().await;
    let upload = room.upload(&staging);
    send_all(&upload, &content).await;
    let wide = content.slice(..=PART);
    let sum = sum_of(&upload, &wide);
    upload.part(1, 0, wide, sum).await.unwrap();
    assert!(upload.confirmed(1).is_some());
    assert_eq!(upload.confirmed(2), None);
    assert!(upload.confirmed(3).is_some());
}

#[tokio::test]
async fn no_part_has_a_number_that_s3_does_not_take() {
    for room in Room::both().await {
        let staging = room.open().await;
        let upload = room.upload(&staging);
        for number in [0, PARTS + 1] {
            let sum = Sum::empty(Algorithm::Crc64Nvme);
            let error = upload.part(number, 0, Bytes::new(), sum).await;
            assert_eq!(error.unwrap_err().kind(), Kind::StagingDenied);
        }
    }
}
