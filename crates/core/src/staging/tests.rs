//! The promises of staging, kept in a folder. The same on S3: `tests/staging_on_s3`; of files in parts: `upload/tests`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::*;
use crate::error::Kind;

const RUN: &str = "0123456789abcdef";
const URL: &str = "https://fhir.example.org/files/1.ndjson";

struct Room {
    folder: TempDir,
    staging: Staging,
    file: String,
    part: String,
}

impl Room {
    async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let place = Place::Folder(folder.path().join("deep/staging"));
        Self {
            staging: Staging::open(&place, Options::default()).await.unwrap(),
            folder,
            file: layout::file_key(RUN, "Patient", 1, URL),
            part: layout::part_key(RUN, 1),
        }
    }

    fn path(&self, key: &str) -> PathBuf {
        self.folder.path().join("deep/staging").join(key)
    }

    async fn stage(&self, text: &str, resources: u64) -> Result<DoneRecord> {
        let upload = self.staging.upload(&self.file, &self.part);
        let body = Bytes::from(text.to_owned());
        let sum = Sum::of(upload.algorithm(), &body);
        upload.put(body, sum, patients(resources)).await
    }

    async fn done(&self) -> Option<DoneRecord> {
        let state = self
            .staging
            .state(&self.file, &self.part, Hint::Unknown)
            .await;
        match state.unwrap() {
            FileState::Done(done) => Some(done),
            FileState::UnderWay(_) | FileState::Absent => None,
        }
    }

    /// Every file below the staging folder, lock files aside.
    fn files(&self) -> Vec<String> {
        let mut files = Vec::new();
        collect(&self.path(""), &mut files);
        files.retain(|name| Path::new(name).extension().is_none_or(|end| end != "lock"));
        files
    }
}

async fn open(folder: PathBuf) -> Result<Staging> {
    Staging::open(&Place::Folder(folder), Options::default()).await
}

fn collect(folder: &Path, files: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.push(path.file_name().unwrap().to_string_lossy().into_owned());
        }
    }
}

fn patients(resources: u64) -> DoneRecord {
    DoneRecord::new(
        "0a1b2c3d",
        BTreeMap::from([("Patient".to_owned(), resources)]),
        BTreeMap::new(),
    )
}

#[tokio::test]
async fn a_missing_folder_is_made_and_holds_nothing_of_the_look_at_it() {
    let room = Room::new().await;
    assert!(room.path("").is_dir());
    assert!(room.files().is_empty());
}

#[tokio::test]
async fn a_file_in_the_folders_place_is_denied_with_its_url() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "").unwrap();
    for at in [path.clone(), path.join("below")] {
        let error = open(at).await.unwrap_err();
        assert_eq!(error.kind(), Kind::StagingDenied, "{error}");
        assert!(error.what().contains(&*path.to_string_lossy()), "{error}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_folder_that_cannot_be_written_is_denied() {
    // /proc takes no files from anybody, not even from root.
    let error = open("/proc/self".into()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::StagingDenied, "{error}");
}

#[tokio::test]
async fn a_file_is_seen_when_it_is_complete_and_not_before() {
    let room = Room::new().await;
    let upload = room.staging.upload(&room.file, &room.part);
    let body = Bytes::from_static(b"{}\n");
    let sum = Sum::of(upload.algorithm(), &body);
    upload.part(1, 0, body.clone(), sum).await.unwrap();
    assert_eq!(room.staging.head(&room.file).await.unwrap(), None);
    let mut temporary = room.files();
    temporary.retain(|name| !room.part.ends_with(name.as_str()));
    assert_eq!(temporary.len(), 1);
    let ending = Path::new(&temporary[0]).extension();
    assert!(temporary[0].starts_with('.') && ending.is_some_and(|end| end == "tmp"));

    let position = Position {
        parts: 1,
        ..Position::default()
    };
    let done = upload
        .complete(sum, patients(1), &position, 1)
        .await
        .unwrap();
    assert_eq!(fs::read(room.path(&room.file)).unwrap(), body);
    assert_eq!(room.done().await, Some(done));
    assert!(!room.files().iter().any(|name| name.starts_with('.')));
}

#[tokio::test]
async fn a_file_is_done_when_every_object_of_its_record_is_there() {
    let room = Room::new().await;
    let other = layout::file_key(RUN, "Group", 1, URL);
    let object = |key: &str| format!(r#"{{"key":"{key}","size":3}}"#);
    let record = format!(
        r#"{{"state":"done","version":1,"size":6,"objects":[{},{}]}}"#,
        object(&room.file),
        object(&other)
    );
    let create = async |key: &str, text: &str| {
        let text = Bytes::from(text.to_owned());
        room.staging.create(key, text, layout::JSON).await.unwrap();
    };
    create(&room.part, &record).await;
    create(&room.file, "{}\n").await;
    assert_eq!(room.done().await, None);
    create(&other, "{}\n").await;
    assert_eq!(room.done().await.unwrap().objects.len(), 2);
}

#[cfg(unix)]
#[tokio::test]
async fn a_staged_file_may_be_read_by_whom_any_other_file_may() {
    use std::os::unix::fs::PermissionsExt as _;
    let room = Room::new().await;
    room.stage("{}\n", 1).await.unwrap();
    let other = room.path("other");
    fs::write(&other, "").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&room.path(&room.file)), mode(&other));
}

#[tokio::test]
async fn a_crash_between_record_and_object_means_that_the_file_is_copied_again() {
    let room = Room::new().await;
    // A folder has the object's name, so the object cannot appear although its record is written.
    fs::create_dir_all(room.path(&room.file)).unwrap();
    let failed = room.stage("{}\n", 1).await;
    assert!(failed.is_err());
    assert!(room.path(&room.part).is_file());
    assert_eq!(room.done().await, None);

    fs::remove_dir(room.path(&room.file)).unwrap();
    let done = room.stage("{}\n{}\n", 2).await.unwrap();
    assert_eq!(room.done().await, Some(done.clone()));
    assert_eq!((done.size, done.resources["Patient"]), (6, 2));
}

#[tokio::test]
async fn an_object_of_another_length_than_its_record_is_not_done() {
    let room = Room::new().await;
    room.stage("{}\n", 1).await.unwrap();
    fs::write(room.path(&room.file), "{}").unwrap();
    assert_eq!(room.done().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_create_an_object_one_has_created_it_and_the_others_get_it() {
    let room = Room::new().await;
    let key = layout::manifest_key(RUN);
    let create = |number: u8| {
        let (staging, key) = (room.staging.clone(), key.clone());
        tokio::spawn(async move { staging.create(&key, vec![number; 64].into(), "").await })
    };
    let created: Vec<_> = (0..16).map(create).collect();
    let mut new = 0;
    for one in created {
        match one.await.unwrap().unwrap() {
            Created::New(_) => new += 1,
            Created::Exists(object) => {
                assert_eq!(object.bytes, fs::read(room.path(&key)).unwrap());
            }
        }
    }
    assert_eq!(new, 1);
}

#[tokio::test]
async fn what_changed_since_it_was_read_is_not_replaced() {
    let room = Room::new().await;
    let key = layout::record_key(RUN);
    let staging = &room.staging;
    let Created::New(first) = staging.create(&key, "1".into(), "").await.unwrap() else {
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
    assert_eq!(staging.read(&key).await.unwrap(), None);
}

#[derive(Default, Serialize, Deserialize)]
struct Counter {
    count: u32,
}

#[tokio::test(flavor = "multi_thread")]
async fn no_change_is_lost_when_many_change_one_object() {
    let room = Room::new().await;
    let key = layout::sync_key(RUN);
    let change = |_| {
        let (staging, key) = (room.staging.clone(), key.clone());
        tokio::spawn(async move {
            for _ in 0..5 {
                let add = |counter: &mut Counter| {
                    counter.count += 1;
                    Ok(true)
                };
                staging.update_json(&key, add).await.unwrap();
            }
        })
    };
    for changed in (0..6).map(change).collect::<Vec<_>>() {
        changed.await.unwrap();
    }
    let counter: Counter = room.staging.read_json(&key).await.unwrap().unwrap();
    assert_eq!(counter.count, 30);
}

#[tokio::test]
async fn a_change_that_has_nothing_to_write_writes_nothing() {
    let room = Room::new().await;
    let key = layout::sync_key(RUN);
    let nothing = |_: &mut Counter| Ok(false);
    room.staging.update_json(&key, nothing).await.unwrap();
    assert_eq!(room.staging.read(&key).await.unwrap(), None);
}

#[tokio::test]
async fn state_that_is_not_ours_is_named_and_left_alone() {
    let room = Room::new().await;
    let key = layout::sync_key(RUN);
    let text = Bytes::from_static(b"<html>");
    room.staging.create(&key, text.clone(), "").await.unwrap();
    let change = |_: &mut Counter| Ok(true);
    let error = room.staging.update_json(&key, change).await;
    let error = error.map(|counter| counter.count).unwrap_err();
    assert_eq!(error.kind(), Kind::StagingDenied);
    assert!(error.what().contains(&room.staging.url(&key)), "{error}");
    assert_eq!(room.staging.read(&key).await.unwrap().unwrap().bytes, text);
}

#[tokio::test]
async fn no_key_leaves_the_folder() {
    let room = Room::new().await;
    for key in ["../outside", "runs/../../outside", "/tmp/outside", ""] {
        let created = room.staging.create(key, "x".into(), "").await;
        assert_eq!(created.unwrap_err().kind(), Kind::Input, "{key}");
        let upload = room.staging.upload(key, &room.part);
        let body = Bytes::from_static(b"x");
        let sum = Sum::of(upload.algorithm(), &body);
        let sent = upload.part(1, 0, body.clone(), sum).await;
        assert_eq!(sent.unwrap_err().kind(), Kind::Input, "{key}");
    }
    assert!(!room.path("").parent().unwrap().join("outside").exists());
}

#[tokio::test]
async fn a_store_that_asks_for_patience_gets_it_and_one_that_fails_does_not() {
    let busy = || Kind::StagingUnavailable.error("slow down").throttle();
    let asked = std::cell::Cell::new(0);
    let answered = patiently(|| {
        asked.set(asked.get() + 1);
        let number = asked.get();
        async move { if number < 3 { Err(busy()) } else { Ok(number) } }
    });
    assert_eq!(answered.await.unwrap(), 3);

    let asked = std::cell::Cell::new(0);
    let failed = patiently(|| {
        asked.set(asked.get() + 1);
        async { Err::<(), _>(Kind::StagingUnavailable.error("broken")) }
    });
    assert_eq!(failed.await.unwrap_err().what(), "broken");
    assert_eq!(asked.get(), 1);
}
