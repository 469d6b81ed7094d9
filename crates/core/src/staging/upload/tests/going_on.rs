//! Several processes at one file, one after the other or at once, in a folder and on S3 alike.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;

#[tokio::test]
async fn another_process_goes_on_where_one_has_stopped() {
    for room in Room::both().await {
        let content = large();
        let staging = room.open().await;
        let upload = room.upload(&staging);
        send(&upload, &content, 1).await.unwrap();
        send(&upload, &content, 2).await.unwrap();
        let saved = upload.save(&position(2), 77).await.unwrap();
        assert_eq!(saved, Saved::Ours);
        drop(upload);
        staging.settle().await;
        drop(staging);

        let staging = room.open().await;
        let state = room.under_way(&staging).await;
        assert_eq!(
            (state.position.clone(), state.part_limit),
            (position(2), 77)
        );
        let upload = room.resume(&staging).await.unwrap();
        for number in 1..=2 {
            let (offset, body) = slice(&content, number);
            let confirmed = upload.confirmed(u32::try_from(number).unwrap()).unwrap();
            assert_eq!(confirmed.offset, offset);
            assert_eq!(confirmed.sum, Some(sum_of(&upload, &body)));
        }
        send(&upload, &content, 3).await.unwrap();
        assert_eq!(upload.save(&position(3), 77).await.unwrap(), Saved::Ours);
        let done = complete(&upload, &content, 9).await.unwrap();
        assert!(room.content().unwrap() == content);
        assert_eq!(room.state(&staging).await, FileState::Done(done));
        drop(upload);
        assert_eq!(room.left_over(&staging).await, 0);
    }
}

#[tokio::test]
async fn a_part_in_a_folder_whose_bytes_are_others_is_sent_anew_with_all_behind_it() {
    for spoil in [
        |text: &mut Vec<u8>| text[PART + 7] ^= 1,
        |text: &mut Vec<u8>| text.truncate(PART + 7),
    ] {
        let room = Room::folder();
        let content = large();
        let staging = room.open().await;
        let upload = room.upload(&staging);
        send_all(&upload, &content).await;
        upload.save(&position(3), 77).await.unwrap();
        drop(upload);
        staging.settle().await;
        drop(staging);
        let folder = room.path(&room.file);
        let hidden = std::fs::read_dir(folder.parent().unwrap()).unwrap();
        let mut paths = hidden.map(|entry| entry.unwrap().path());
        let left = paths.find(|path| path.extension().is_some_and(|it| it == "tmp"));
        let left = left.unwrap();
        let mut text = std::fs::read(&left).unwrap();
        spoil(&mut text);
        std::fs::write(&left, text).unwrap();

        let staging = room.open().await;
        let upload = room.resume(&staging).await.unwrap();
        let confirmed = [1, 2, 3].map(|number| upload.confirmed(number).is_some());
        assert_eq!(confirmed, [true, false, false]);
        for number in 2..=3 {
            send(&upload, &content, number).await.unwrap();
        }
        complete(&upload, &content, 9).await.unwrap();
        assert!(room.content().unwrap() == content);
    }
}

#[tokio::test]
async fn what_was_begun_with_another_checksum_is_begun_anew() {
    for mut room in Room::both().await {
        let content = large();
        let staging = room.open().await;
        let upload = room.upload(&staging);
        send(&upload, &content, 1).await.unwrap();
        upload.save(&position(1), 1).await.unwrap();
        drop(upload);

        room.options.checksum = Checksum::Crc32;
        let staging = room.open().await;
        assert!(room.resume(&staging).await.is_none());
        assert_eq!(room.left_over(&staging).await, 0);
        let upload = room.upload(&staging);
        send_all(&upload, &content).await;
        // The state that is of no use to anybody gives way.
        assert_eq!(upload.save(&position(3), 1).await.unwrap(), Saved::Ours);
        let done = complete(&upload, &content, 9).await.unwrap();
        assert_eq!(
            done.sums["crc32"],
            Sum::of(Algorithm::Crc32, &content).base64()
        );
    }
}

#[tokio::test]
async fn what_is_gone_is_begun_anew_and_its_state_gives_way() {
    for room in Room::both().await {
        let content = large();
        let staging = room.open().await;
        let upload = room.upload(&staging);
        send(&upload, &content, 1).await.unwrap();
        upload.save(&position(1), 1).await.unwrap();
        let state = room.under_way(&staging).await;
        upload.end().await;
        drop(upload);

        let staging = room.open().await;
        let resumed = staging.resume(&room.file, &room.part, state).await;
        assert!(resumed.unwrap().is_none());
        let upload = room.upload(&staging);
        send_all(&upload, &content).await;
        assert_eq!(upload.save(&position(3), 1).await.unwrap(), Saved::Ours);
        assert_eq!(room.under_way(&staging).await.position, position(3));
        complete(&upload, &content, 9).await.unwrap();
    }
}

#[tokio::test]
async fn no_state_takes_the_place_of_a_record_that_is_true() {
    for room in Room::both().await {
        let content = large();
        let (one, other) = (room.open().await, room.open().await);
        let (first, second) = (room.upload(&one), room.upload(&other));
        send_all(&first, &content).await;
        send_all(&second, &content).await;
        first.save(&position(3), 1).await.unwrap();
        let done = complete(&first, &content, 9).await.unwrap();

        let saved = second.save(&position(3), 1).await.unwrap();
        assert_eq!(saved, Saved::Done(done.clone()));
        assert_eq!(room.state(&other).await, FileState::Done(done.clone()));
        assert_eq!(complete(&second, &content, 8).await.unwrap(), done);
        drop((first, second));
        assert_eq!(room.left_over(&other).await, 0);
    }
}

#[tokio::test]
async fn a_record_whose_object_never_came_gives_way_to_a_state() {
    for room in Room::both().await {
        let content = large();
        let staging = room.open().await;
        let dead = patients(9).of_one(&room.file, Sum::of(Algorithm::Crc32, &content));
        staging.record(&room.part, &dead, None, None).await.unwrap();
        assert_eq!(room.state(&staging).await, FileState::Absent);
        let upload = room.upload(&staging);
        send(&upload, &content, 1).await.unwrap();
        assert_eq!(upload.save(&position(1), 1).await.unwrap(), Saved::Ours);
        room.under_way(&staging).await;
    }
}

#[tokio::test]
async fn of_two_processes_one_writes_states_and_the_first_to_complete_has_staged_the_file() {
    for room in Room::both().await {
        let content = large();
        let (one, other) = (room.open().await, room.open().await);
        let (first, second) = (room.upload(&one), room.upload(&other));
        send_all(&first, &content).await;
        send_all(&second, &content).await;
        assert_eq!(first.save(&position(1), 1).await.unwrap(), Saved::Ours);
        assert_eq!(second.save(&position(2), 1).await.unwrap(), Saved::Theirs);
        assert_eq!(first.save(&position(3), 1).await.unwrap(), Saved::Ours);
        assert_eq!(second.save(&position(2), 1).await.unwrap(), Saved::Theirs);
        assert_eq!(room.under_way(&one).await.position, position(3));

        let done = complete(&second, &content, 9).await.unwrap();
        assert!(room.content().unwrap() == content);
        let saved = first.save(&position(3), 1).await.unwrap();
        assert_eq!(saved, Saved::Done(done.clone()));
        assert_eq!(complete(&first, &content, 8).await.unwrap(), done);
        drop((first, second));
        one.settle().await;
        assert_eq!(room.left_over(&one).await, 0);
    }
}

#[tokio::test]
async fn a_folders_file_that_a_living_process_writes_is_not_taken_from_it() {
    let room = Room::folder();
    let content = large();
    let staging = room.open().await;
    let upload = room.upload(&staging);
    send(&upload, &content, 1).await.unwrap();
    upload.save(&position(1), 1).await.unwrap();
    assert!(room.resume(&staging).await.is_none());
    drop(upload);
    assert!(room.resume(&staging).await.is_some());
}

#[tokio::test]
async fn a_sweep_clears_away_what_the_dead_have_left_and_nothing_that_is_done() {
    for room in Room::both().await {
        let content = large();
        let staging = room.open().await;
        let dead = room.upload(&staging);
        send(&dead, &content, 1).await.unwrap();
        drop(dead);
        // It died before it wrote that down.
        staging.remove(&room.part).await;
        assert_eq!(room.left_over(&staging).await, 1);
        let upload = room.upload(&staging);
        send_all(&upload, &content).await;
        let done = complete(&upload, &content, 9).await.unwrap();
        assert_eq!(room.left_over(&staging).await, 1, "nobody looked for it");

        staging.sweep(&layout::run_folder("fedcba")).await;
        assert_eq!(room.left_over(&staging).await, 1, "another run's");
        staging.sweep(&layout::run_folder(RUN)).await;
        assert_eq!(room.left_over(&staging).await, 0);
        assert_eq!(room.state(&staging).await, FileState::Done(done));
        assert!(room.content().unwrap() == content);
    }
}

#[tokio::test]
async fn a_sweep_takes_no_temporary_file_from_a_living_process() {
    let room = Room::folder();
    let content = large();
    let staging = room.open().await;
    let upload = room.upload(&staging);
    send(&upload, &content, 1).await.unwrap();
    room.open().await.sweep(&layout::run_folder(RUN)).await;
    assert_eq!(room.left_over(&staging).await, 1);
    for number in 2..=3 {
        send(&upload, &content, number).await.unwrap();
    }
    complete(&upload, &content, 9).await.unwrap();
    assert!(room.content().unwrap() == content);
}

#[tokio::test]
async fn who_is_at_a_file_that_is_done_when_it_is_swept_finds_it_done() {
    for room in Room::both().await {
        let content = large();
        let (one, other) = (room.open().await, room.open().await);
        let (first, second) = (room.upload(&one), room.upload(&other));
        send_all(&first, &content).await;
        send(&second, &content, 1).await.unwrap();
        let done = complete(&first, &content, 9).await.unwrap();
        one.sweep(&layout::run_folder(RUN)).await;
        // On S3 its upload is gone.
        let sent = send(&second, &content, 2).await;
        assert_eq!(sent.is_err(), second.lost());
        assert_eq!(room.state(&other).await, FileState::Done(done));
        drop((first, second));
        other.settle().await;
        assert_eq!(room.left_over(&one).await, 0);
    }
}

#[tokio::test]
async fn an_upload_id_never_leads_out_of_the_folder() {
    let room = Room::folder();
    let content = large();
    let staging = room.open().await;
    let upload = room.upload(&staging);
    send(&upload, &content, 1).await.unwrap();
    upload.save(&position(1), 1).await.unwrap();
    let mut state = room.under_way(&staging).await;
    for id in ["", "../../x", "a.b"] {
        id.clone_into(&mut state.upload);
        let resumed = staging.resume(&room.file, &room.part, state.clone()).await;
        assert!(resumed.unwrap().is_none(), "{id}");
    }
}
