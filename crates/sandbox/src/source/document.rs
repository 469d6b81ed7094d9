//! A kick-off whose body is a document of the server's own, and files that it puts into a bucket, as AWS `HealthLake` does.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use http::{Method, header};
use serde_json::{Value, json};

use super::Source;
use super::job::Job;
use crate::call::{Call, Reply, plain_json, with};
use crate::habits::Habit;
use crate::s3::EXPORT_BUCKET;
use crate::world::World;

/// A place in S3.
#[derive(Debug, Clone)]
pub(super) struct InS3 {
    bucket: String,
    /// What the names begin with; empty, or with a slash at its end.
    prefix: String,
}

impl InS3 {
    fn parse(url: &str) -> Option<Self> {
        let (bucket, prefix) = url.strip_prefix("s3://")?.split_once('/')?;
        let prefix = prefix.trim_end_matches('/');
        Some(Self {
            bucket: bucket.to_owned(),
            prefix: if prefix.is_empty() {
                String::new()
            } else {
                format!("{prefix}/")
            },
        })
    }

    /// The URL of what is there.
    pub(super) fn url(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.prefix)
    }
}

impl Source {
    /// The members that a kick-off's document must have; None where none is wanted.
    fn document_members(&self) -> Option<Vec<String>> {
        self.world.faults.habit(|habit| match habit {
            Habit::KickOffDocument(members) => {
                Some(members.split(',').map(str::to_owned).collect())
            }
            _ => None,
        })
    }

    /// Whether a kick-off is a POST of a document.
    pub(super) fn wants_document(&self) -> bool {
        self.document_members().is_some()
    }

    /// The refusal of a kick-off without the document that is wanted, as a service of AWS says it.
    pub(super) fn takes_document(&self, call: &Call) -> Result<(), Reply> {
        let refused = |what: &str| {
            let body = json!({"message": what});
            with(
                plain_json(400, &body),
                "x-amzn-errortype",
                "ValidationException",
            )
        };
        let kind = call.header(header::CONTENT_TYPE).unwrap_or_default();
        if call.method != Method::POST || !kind.contains("json") {
            return Err(refused("The body must be JSON"));
        }
        let document: Value = serde_json::from_slice(&call.body).unwrap_or_default();
        for member in self.document_members().unwrap_or_default() {
            if document.get(&member).is_none() {
                return Err(refused(&format!(
                    "1 validation error detected: {member} must not be null"
                )));
            }
        }
        if self.world.faults.has(&Habit::FilesInS3) {
            let configuration = &document["OutputDataConfig"]["S3Configuration"];
            let key = configuration["KmsKeyId"].as_str().unwrap_or_default();
            match place(&document) {
                Some(place) if place.bucket == EXPORT_BUCKET && !key.is_empty() => {}
                _ => {
                    return Err(refused(
                        "OutputDataConfig: S3Uri must be in a bucket of this account, with a KmsKeyId",
                    ));
                }
            }
        }
        Ok(())
    }

    /// Adds a job, and puts its files into S3 where that is where they are told to be.
    pub(super) fn add(&self, job: Job, numbers_repeat: bool) -> String {
        let mut jobs = self.jobs();
        let id = jobs.add(job, numbers_repeat);
        if let Some(job) = jobs.get(&id)
            && let Err(error) = job.put_in_s3(&self.world, &self.buckets)
        {
            tracing::warn!(%error, "the files were not put into S3");
        }
        id
    }

    /// Where the kick-off's document wants the files.
    pub(super) fn wants_in_s3(&self, call: &Call) -> Option<InS3> {
        self.document_members()?;
        place(&serde_json::from_slice(&call.body).ok()?)
    }
}

fn place(document: &Value) -> Option<InS3> {
    InS3::parse(document["OutputDataConfig"]["S3Configuration"]["S3Uri"].as_str()?)
}

impl Job {
    /// Where its files are, where that is in S3.
    pub(super) fn in_s3(&self, world: &World) -> Option<InS3> {
        if !world.faults.has(&Habit::FilesInS3) {
            return None;
        }
        let wanted = self.put_to.clone();
        let mut place = wanted.unwrap_or(InS3 {
            bucket: EXPORT_BUCKET.to_owned(),
            prefix: String::new(),
        });
        place.prefix = format!("{}FHIR_EXPORT-{}/", place.prefix, self.id);
        Some(place)
    }

    /// Puts the files where they are said to be, once.
    fn put_in_s3(&self, world: &World, buckets: &Path) -> io::Result<()> {
        let Some(place) = self.in_s3(world) else {
            return Ok(());
        };
        let folder = buckets.join(&place.bucket).join(&place.prefix);
        fs::create_dir_all(&folder)?;
        for name in self.names() {
            let path = folder.join(&name);
            let Some((content, _)) = self.content(&name).filter(|_| !path.exists()) else {
                continue;
            };
            let mut file = io::BufWriter::new(fs::File::create(path)?);
            for piece in content.pieces() {
                file.write_all(&piece)?;
            }
            file.flush()?;
        }
        Ok(())
    }
}
