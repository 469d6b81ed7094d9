//! What went over the wire in a transfer: bytes from the source, and what S3 was given, by the sandbox's record.

use std::collections::{BTreeMap, BTreeSet};

use sandbox::{Recorded, Sandbox, Service};

use crate::moment::until;

/// A part: its object's key below the bucket, and its number.
pub type PartOf = (String, u32);

/// Questions to the record of requests about a transfer.
pub trait Traffic {
    /// The bytes of files that the source has sent, of answers that are over.
    fn sent(&self) -> u64;
    /// How often each file was asked for, by its name.
    fn times_asked(&self) -> BTreeMap<String, usize>;
    /// How often each part was stored.
    fn parts_stored(&self) -> BTreeMap<PartOf, usize>;
    /// The parts that were sent, stored or not.
    fn part_requests(&self) -> Vec<Recorded>;
    /// How often each file of resources came into being, by its key below the bucket.
    fn appearances(&self) -> BTreeMap<String, usize>;
    /// The polls of exports that were answered with a manifest.
    fn manifests(&self) -> usize;
    /// The requests of this method to S3 whose query has this text.
    fn to_s3(&self, method: &str, query: &str) -> Vec<Recorded>;
}

fn is_success(request: &Recorded) -> bool {
    request.status == Some(200)
}

fn key(request: &Recorded) -> String {
    let path = request.path.trim_start_matches('/');
    let (_, key) = path.split_once('/').unwrap_or_default();
    key.to_owned()
}

impl Traffic for Sandbox {
    fn sent(&self) -> u64 {
        self.downloads().iter().map(|request| request.sent).sum()
    }

    fn times_asked(&self) -> BTreeMap<String, usize> {
        let mut times = BTreeMap::new();
        for request in self.downloads() {
            let name = request.path.rsplit('/').next().unwrap_or_default();
            *times.entry(name.to_owned()).or_default() += 1;
        }
        times
    }

    fn parts_stored(&self) -> BTreeMap<PartOf, usize> {
        let mut times = BTreeMap::new();
        for request in self.part_requests().into_iter().filter(is_success) {
            let number = request.parameter("partNumber").unwrap_or_default();
            let number = number.parse().expect("a part has a number");
            *times.entry((key(&request), number)).or_default() += 1;
        }
        times
    }

    fn part_requests(&self) -> Vec<Recorded> {
        self.to_s3("PUT", "partNumber=")
    }

    fn appearances(&self) -> BTreeMap<String, usize> {
        let mut times = BTreeMap::new();
        // An upload is completed once at most: what was answered 200 before that had an error in its body.
        let mut completed = BTreeSet::new();
        for request in self.requests().into_iter().filter(is_success) {
            let key = key(&request);
            let of_a_file = request.service == Service::S3
                && key.contains("/runs/")
                && key.ends_with(".ndjson")
                && !key.contains("/_");
            let whole = request.method == "PUT" && !request.query.contains("partNumber=");
            let is_end = request.method == "POST"
                && request.query.contains("uploadId=")
                && completed.insert(request.parameter("uploadId"));
            if of_a_file && (whole || is_end) {
                *times.entry(key).or_default() += 1;
            }
        }
        times
    }

    fn manifests(&self) -> usize {
        let requests = self.requests();
        let polls = requests.iter().filter(|request| {
            request.service == Service::Source
                && request.method == "GET"
                && request.path.contains("/jobs/")
                && !request.path.contains("/files/")
        });
        polls.filter(|request| is_success(request)).count()
    }

    fn to_s3(&self, method: &str, query: &str) -> Vec<Recorded> {
        let mut requests = self.requests();
        requests.retain(|request| {
            request.service == Service::S3
                && request.method == method
                && request.query.contains(query)
        });
        requests
    }
}

/// No part was stored twice, and there were this many of the one object that has parts.
pub fn assert_parts_once(sandbox: &Sandbox, parts: usize) {
    let stored = sandbox.parts_stored();
    assert_eq!(stored.len(), parts, "parts: {stored:?}");
    assert!(stored.values().all(|times| *times == 1), "{stored:?}");
}

/// Every file of resources came into being once, and none was replaced.
pub fn assert_appeared_once(sandbox: &Sandbox) {
    let appeared = sandbox.appearances();
    assert!(!appeared.is_empty(), "nothing appeared");
    assert!(appeared.values().all(|times| *times == 1), "{appeared:?}");
}

/// Waits until the source has noted that it sent at least so many bytes of files: an answer is noted when it is over, which
/// may be a moment after its client has read it.
pub async fn until_sent(sandbox: &Sandbox, bytes: u64) {
    let enough = || sandbox.sent() >= bytes;
    until(&format!("{bytes} bytes were sent"), enough).await;
}
