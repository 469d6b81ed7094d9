//! What uploads promise, and the places that the tests use. What only S3 can do: `on_s3.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod both;
mod going_on;
mod on_s3;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};
use sandbox::{ACCESS_KEY, Fault, REGION, Recorded, S3Policy, SECRET_KEY, Sandbox, Service};
use tempfile::TempDir;

use super::*;
use crate::config::{Checksum, Place};
use crate::staging::*;

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
            return Staging::open(&place, self.options).await.unwrap();
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
        "0a1b2c3d",
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
    let done = patients(resources);
    upload.complete(sum, done, &position(3), 1).await
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
