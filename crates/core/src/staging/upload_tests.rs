//! What uploads promise, in a folder and on S3 alike. What only S3 can do: `upload_on_s3_tests.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};
use sandbox::{ACCESS_KEY, Fault, REGION, Recorded, S3Policy, SECRET_KEY, Sandbox, Service};
use tempfile::TempDir;

use super::*;
use crate::error::Kind;

pub(super) const RUN: &str = "0123456789abcdef";
pub(super) const URL: &str = "https://fhir.example.org/files/1.ndjson";

/// The least that S3 takes for a part that is not the last.
pub(super) const PART: usize = 5 << 20;

/// A place with nothing in it yet.
pub(super) struct Room {
    pub(super) sandbox: Option<Sandbox>,
    folder: TempDir,
    pub(super) options: Options,
    pub(super) file: String,
    pub(super) part: String,
}

impl Room {
    pub(super) fn folder() -> Self {
        Self {
            sandbox: None,
            folder: TempDir::new().unwrap(),
            options: Options::default(),
            file: layout::file_key(RUN, "Patient", 1, URL),
            part: layout::part_key(RUN, 1),
        }
    }

    pub(super) async fn on_s3() -> Self {
        Self::allowing(None).await
    }

    pub(super) async fn allowing(policy: Option<S3Policy>) -> Self {
        let mut builder = Sandbox::builder();
        if let Some(policy) = policy {
            builder = builder.s3_policy(policy);
        }
        Self {
            sandbox: Some(builder.start().await.unwrap()),
            ..Self::folder()
        }
    }

    /// One of each kind.
    async fn both() -> [Self; 2] {
        [Self::folder(), Self::on_s3().await]
    }

    /// A process that uses the place.
    pub(super) async fn open(&self) -> Staging {
        let Some(sandbox) = &self.sandbox else {
            let place = Place::Folder(self.folder.path().to_owned());
            return Staging::open_as(&place, self.options).await.unwrap();
        };
        let place = Place::parse(&sandbox.staging_url()).unwrap();
        let settings = settings(&sandbox.s3_endpoint());
        Staging::open_with(&place, self.options, &settings)
            .await
            .unwrap()
    }

    pub(super) fn upload(&self, staging: &Staging) -> Upload {
        staging.upload(&self.file, &self.part)
    }

    pub(super) async fn state(&self, staging: &Staging) -> FileState {
        let state = staging.state(&self.file, &self.part, Hint::Unknown).await;
        state.unwrap()
    }

    async fn under_way(&self, staging: &Staging) -> UnderWay {
        match self.state(staging).await {
            FileState::UnderWay(state) => state,
            other => unreachable!("{other:?}"),
        }
    }

    /// Another process goes on.
    pub(super) async fn resume(&self, staging: &Staging) -> Option<Upload> {
        let state = self.under_way(staging).await;
        let upload = staging.resume(&self.file, &self.part, state).await;
        upload.unwrap()
    }

    pub(super) fn path(&self, key: &str) -> PathBuf {
        match &self.sandbox {
            Some(sandbox) => sandbox.bucket().join("pathling").join(key),
            None => self.folder.path().join(key),
        }
    }

    pub(super) fn content(&self) -> Option<Vec<u8>> {
        std::fs::read(self.path(&self.file)).ok()
    }

    pub(super) fn on(&self, fault: Fault) {
        self.sandbox.as_ref().unwrap().faults().on(fault);
    }

    /// Every request to S3 since the last time that this was asked.
    pub(super) fn requests(&self) -> Vec<Recorded> {
        let sandbox = self.sandbox.as_ref().unwrap();
        let mut requests = sandbox.requests();
        sandbox.clear_requests();
        requests.retain(|request| request.service == Service::S3);
        requests
    }

    pub(super) fn methods(&self) -> Vec<String> {
        let requests = self.requests();
        requests.into_iter().map(|request| request.method).collect()
    }

    /// How many temporary files and unfinished uploads there are.
    async fn left_over(&self, staging: &Staging) -> usize {
        match &staging.inner.backend {
            Backend::Folder(_) => std::fs::read_dir(self.path(&self.file).parent().unwrap())
                .map_or(0, |entries| {
                    let names = entries.map(|entry| entry.unwrap().file_name());
                    names
                        .filter(|name| name.as_encoded_bytes().ends_with(b".tmp"))
                        .count()
                }),
            Backend::S3(store) => store.uploads().await,
        }
    }
}

pub(super) fn settings(endpoint: &str) -> SdkConfig {
    let credentials = Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "test");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .endpoint_url(endpoint)
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .retry_config(RetryConfig::standard().with_initial_backoff(Duration::from_millis(1)))
        .build()
}

pub(super) fn patients(resources: u64) -> DoneRecord {
    DoneRecord::new(
        BTreeMap::from([("Patient".to_owned(), resources)]),
        BTreeMap::new(),
    )
}

/// Bytes that differ from part to part: two parts and a bit.
pub(super) fn large() -> Bytes {
    let line = |number: usize| format!("{{\"resourceType\":\"Patient\",\"id\":\"{number}\"}}\n");
    let mut text = String::new();
    let mut number = 0;
    while text.len() < 2 * PART + 1000 {
        text.push_str(&line(number));
        number += 1;
    }
    text.into()
}

/// The offset and the bytes of a part, counted from 1.
fn slice(content: &Bytes, number: usize) -> (u64, Bytes) {
    let begin = (number - 1) * PART;
    let end = content.len().min(begin + PART);
    (begin as u64, content.slice(begin..end))
}

pub(super) async fn send(upload: &Upload, content: &Bytes, number: usize) -> Result<()> {
    let (offset, body) = slice(content, number);
    let sum = sum_of(upload, &body);
    let number = u32::try_from(number).unwrap();
    upload.part(number, offset, body, sum).await
}

pub(super) fn sum_of(upload: &Upload, bytes: &[u8]) -> Sum {
    Sum::of(upload.algorithm(), bytes)
}

pub(super) async fn send_all(upload: &Upload, content: &Bytes) {
    for number in 1..=3 {
        send(upload, content, number).await.unwrap();
    }
}

pub(super) async fn complete(
    upload: &Upload,
    content: &Bytes,
    resources: u64,
) -> Result<DoneRecord> {
    let sum = sum_of(upload, content);
    upload.complete(3, sum, patients(resources)).await
}

pub(super) fn position(parts: u32) -> Position {
    Position {
        source: Some(SourceMark {
            etag: "\"e\"".to_owned(),
            length: Some(7),
        }),
        parts,
        source_offset: 5,
        staged_offset: 6,
        line: 3,
        resources: 2,
    }
}

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
        staging.record(&room.part, &dead).await.unwrap();
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
async fn what_was_not_saved_is_cleared_away_and_what_was_stays() {
    for room in Room::both().await {
        let content = large();
        let staging = room.open().await;
        let upload = room.upload(&staging);
        send(&upload, &content, 1).await.unwrap();
        drop(upload.clone());
        assert_eq!(room.left_over(&staging).await, 1);
        drop(upload);
        staging.settle().await;
        assert_eq!(room.left_over(&staging).await, 0);

        let upload = room.upload(&staging);
        // There is nothing yet that a state could name.
        assert_eq!(upload.save(&position(0), 1).await.unwrap(), Saved::Ours);
        assert_eq!(room.state(&staging).await, FileState::Absent);
        send(&upload, &content, 1).await.unwrap();
        upload.save(&position(1), 1).await.unwrap();
        drop(upload);
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
        let error = upload.complete(3, sum, patients(9)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::StagingUnavailable, "{error}");
        assert!(upload.lost());
        let too_few = upload.complete(2, sum, patients(9)).await;
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
        let done = staging.record_empty(&room.part, patients(0)).await.unwrap();
        assert!(done.objects.is_empty());
        assert_eq!(room.state(&staging).await, FileState::Done(done.clone()));
        let again = staging.record_empty(&room.part, patients(1)).await;
        assert_eq!(again.unwrap(), done);
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
        let size = 1;
        let expected = [room.file.clone(), layout::manifest_key(RUN)];
        assert_eq!(listed, expected.map(|key| Listed { key, size }));
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
    let wide = content.slice(..PART + 1);
    let sum = sum_of(&upload, &wide);
    upload.part(1, 0, wide, sum).await.unwrap();
    assert!(upload.confirmed(1).is_some());
    assert_eq!(upload.confirmed(2), None);
    assert!(upload.confirmed(3).is_some());
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
