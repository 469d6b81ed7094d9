//! Staging on S3, through its public functions: what it promises, and what it makes of a store that refuses.
//!
//! The same promises in a folder: `src/staging/tests.rs`; more of files on their way: `src/staging/upload/tests`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod promises;
mod refusals;

use std::collections::BTreeMap;
use std::time::Duration;

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};
use bytes::Bytes;
use pathling_import_core::config::Place;
use pathling_import_core::staging::{
    Created, DoneRecord, FileState, Hint, Options, Position, Replaced, StagedObject, Staging, Sum,
    Upload, layout,
};
use pathling_import_core::{Error, Kind, Result};
use sandbox::{ACCESS_KEY, Fault, REGION, Recorded, S3Policy, SECRET_KEY, Sandbox, Service};
use serde::{Deserialize, Serialize};

const RUN: &str = "0123456789abcdef";
const URL: &str = "https://fhir.example.org/files/1.ndjson";
const PART: usize = 8 * 1024 * 1024;
const LINE: &str = "{\"resourceType\":\"Patient\",\"id\":\"1\"}\n";

struct Room {
    sandbox: Sandbox,
    staging: Staging,
    file: String,
    part: String,
}

impl Room {
    async fn new() -> Self {
        Self::with(None).await
    }

    async fn allowing(actions: &[&str]) -> Self {
        Self::with(Some(S3Policy::allow("", actions))).await
    }

    async fn with(policy: Option<S3Policy>) -> Self {
        let mut builder = Sandbox::builder();
        if let Some(policy) = policy {
            builder = builder.s3_policy(policy);
        }
        let sandbox = builder.start().await.unwrap();
        let staging = open(&sandbox.staging_url(), &settings(&sandbox.s3_endpoint())).await;
        Self {
            sandbox,
            staging,
            file: layout::file_key(RUN, "Patient", 1, URL),
            part: layout::part_key(RUN, 1),
        }
    }

    fn on(&self, fault: Fault) -> &Self {
        self.sandbox.faults().on(fault);
        self
    }

    /// A file on its way, its parts sent.
    async fn upload(&self, content: &Bytes) -> Result<(Upload, u32)> {
        let upload = self.staging.upload(&self.file, &self.part);
        let mut number = 0;
        for begin in (0..content.len()).step_by(PART) {
            let body = content.slice(begin..content.len().min(begin + PART));
            number += 1;
            let sum = Sum::of(upload.algorithm(), &body);
            upload.part(number, begin as u64, body, sum).await?;
        }
        Ok((upload, number))
    }

    /// Stages a file, as its size has it: in one request, or in parts.
    async fn stage(&self, content: &Bytes, resources: u64) -> Result<DoneRecord> {
        let staged = self.try_stage(content, resources).await;
        // What was dropped half-way is being cleared away.
        self.staging.settle().await;
        staged
    }

    async fn try_stage(&self, content: &Bytes, resources: u64) -> Result<DoneRecord> {
        let done = DoneRecord::new(
            "0a1b2c3d",
            BTreeMap::from([("Patient".to_owned(), resources)]),
            BTreeMap::new(),
        );
        let sum = Sum::of(self.staging.algorithm(), content);
        if content.len() <= PART {
            let upload = self.staging.upload(&self.file, &self.part);
            return upload.put(content.clone(), sum, done).await;
        }
        let (upload, parts) = self.upload(content).await?;
        let position = Position {
            parts,
            ..Position::default()
        };
        upload.complete(sum, done, &position, 1).await
    }

    async fn done(&self) -> Option<DoneRecord> {
        let (file, part) = (&self.file, &self.part);
        match self.staging.state(file, part, Hint::Unknown).await.unwrap() {
            FileState::Done(done) => Some(done),
            FileState::UnderWay(_) | FileState::Absent => None,
        }
    }

    fn object(&self, key: &str) -> Option<Vec<u8>> {
        self.sandbox.s3_object(&format!("pathling/{key}"))
    }

    /// Every request to S3 so far.
    fn requests(&self) -> Vec<Recorded> {
        let mut requests = self.sandbox.requests();
        requests.retain(|request| request.service == Service::S3);
        requests
    }

    fn methods(&self) -> Vec<String> {
        let requests = self.requests();
        requests.into_iter().map(|request| request.method).collect()
    }
}

fn settings(endpoint: &str) -> SdkConfig {
    keys(endpoint, ACCESS_KEY, SECRET_KEY)
}

fn keys(endpoint: &str, access: &str, secret: &str) -> SdkConfig {
    let credentials = Credentials::new(access, secret, None, None, "test");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .endpoint_url(endpoint)
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .retry_config(RetryConfig::standard().with_initial_backoff(Duration::from_millis(1)))
        .build()
}

async fn open(url: &str, settings: &SdkConfig) -> Staging {
    let place = Place::parse(url).unwrap();
    Staging::open_with(&place, Options::default(), settings)
        .await
        .unwrap()
}

fn small() -> Bytes {
    Bytes::from_static(LINE.as_bytes())
}

/// A file of more than one part.
fn large() -> Bytes {
    LINE.repeat(PART * 2 / LINE.len() + 1000).into()
}

fn denied(error: &Error, what: &str) {
    assert_eq!(error.kind(), Kind::StagingDenied, "{error}");
    assert!(error.to_string().contains(what), "{what}: {error}");
    assert!(!error.to_string().contains(SECRET_KEY), "{error}");
}

#[derive(Default, Serialize, Deserialize)]
struct Counter {
    count: u32,
}

async fn count(staging: &Staging, key: &str) -> Result<u32> {
    let add = |counter: &mut Counter| {
        counter.count += 1;
        Ok(true)
    };
    Ok(staging.update_json(key, add).await?.count)
}
