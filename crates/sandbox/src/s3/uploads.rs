//! Multipart uploads that are under way: their parts, and the check of what a completion says of them.

use std::collections::{BTreeMap, HashMap};

use s3s::dto::{
    Checksum, CompleteMultipartUploadInput, CompletedPart, ETag, ListPartsOutput, Part, Timestamp,
};
use s3s::{S3Result, s3_error};

use super::store::{Store, no_upload};
use super::sums::{Algorithm, set_sums, sums};
use crate::faults::Fault;

/// The least size of a part that is not the last.
const LEAST: u64 = 5 << 20;

/// The highest number of a part.
const MOST_PARTS: i32 = 10_000;

/// A part that was uploaded.
#[derive(Debug, Clone)]
pub(super) struct UploadedPart {
    pub(super) etag: String,
    pub(super) size: u64,
    pub(super) sums: Checksum,
    pub(super) time: Timestamp,
}

/// An upload that was begun.
#[derive(Debug, Clone)]
pub(super) struct Upload {
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) begun: Timestamp,
    pub(super) algorithm: Algorithm,
    /// Whether the object's checksum is over its bytes, not over the parts' checksums.
    pub(super) full_object: bool,
    pub(super) parts: BTreeMap<i32, UploadedPart>,
}

/// All uploads, by id.
pub(super) type Uploads = HashMap<String, Upload>;

impl Store {
    /// Whether a part of this number may come now.
    pub(super) fn admit_part(&self, id: &str, number: i32) -> S3Result<()> {
        if !(1..=MOST_PARTS).contains(&number) {
            return Err(s3_error!(
                InvalidArgument,
                "Part number must be an integer between 1 and 10000, inclusive"
            ));
        }
        let faults = &self.world.faults;
        let fails = |fault: &Fault| match fault {
            Fault::S3PartFails(from) if number >= *from => Some(()),
            _ => None,
        };
        if faults.take(fails).is_some() {
            return Err(s3_error!(
                InternalError,
                "We encountered an internal error. Please try again."
            ));
        }
        if faults.fires(&Fault::S3LosesUpload) {
            self.end(id);
            return Err(no_upload());
        }
        Ok(())
    }
}

impl Upload {
    /// The type of the object's checksum, as S3 names it.
    pub(super) fn checksum_type(&self) -> &'static str {
        if self.full_object {
            "FULL_OBJECT"
        } else {
            "COMPOSITE"
        }
    }

    /// The parts as a listing gives them, after `marker` and at most `limit`.
    pub(super) fn list(&self, id: String, marker: i32, limit: i32) -> ListPartsOutput {
        let mut after = self.parts.range(marker.saturating_add(1)..);
        let mut parts = Vec::new();
        for (number, part) in after.by_ref().take(usize::try_from(limit).unwrap_or(0)) {
            let mut listed = Part {
                part_number: Some(*number),
                size: i64::try_from(part.size).ok(),
                e_tag: Some(ETag::Strong(part.etag.clone())),
                last_modified: Some(part.time.clone()),
                ..Part::default()
            };
            set_sums!(listed, part.sums);
            parts.push(listed);
        }
        let truncated = after.next().is_some();
        ListPartsOutput {
            bucket: Some(self.bucket.clone()),
            key: Some(self.key.clone()),
            upload_id: Some(id),
            part_number_marker: Some(marker),
            next_part_number_marker: parts.last().and_then(|part| part.part_number),
            max_parts: Some(limit),
            is_truncated: Some(truncated),
            checksum_algorithm: Some(self.algorithm.name().to_owned().into()),
            checksum_type: Some(self.checksum_type().to_owned().into()),
            parts: Some(parts),
            ..ListPartsOutput::default()
        }
    }

    /// Checks what a completion says; gives the object's checksum.
    pub(super) fn check(&self, input: &CompleteMultipartUploadInput) -> S3Result<Checksum> {
        let listed = input
            .multipart_upload
            .as_ref()
            .and_then(|upload| upload.parts.as_deref())
            .unwrap_or_default();
        if listed.is_empty() {
            return Err(s3_error!(MalformedXML, "There must be at least one part"));
        }
        let parts: Vec<_> = listed
            .iter()
            .map(|part| self.listed(part))
            .collect::<S3Result<_>>()?;
        let numbers: Vec<_> = listed.iter().filter_map(|part| part.part_number).collect();
        if !numbers.is_sorted_by(|one, next| one < next) {
            return Err(s3_error!(
                InvalidPartOrder,
                "The list of parts was not in ascending order."
            ));
        }
        if parts.iter().rev().skip(1).any(|part| part.size < LEAST) {
            return Err(s3_error!(
                EntityTooSmall,
                "Your proposed upload is smaller than the minimum allowed size"
            ));
        }
        let size: u64 = parts.iter().map(|part| part.size).sum();
        if let Some(said) = input.mpu_object_size
            && u64::try_from(said).ok() != Some(size)
        {
            return Err(s3_error!(
                InvalidRequest,
                "The provided 'x-amz-mp-object-size' header value {said} does not match what was computed: {size}"
            ));
        }
        self.checksum(input, &parts)
    }

    /// The part that a completion lists, as it was uploaded.
    fn listed(&self, listed: &CompletedPart) -> S3Result<&UploadedPart> {
        let refusal = || {
            s3_error!(
                InvalidPart,
                "One or more of the specified parts could not be found, or its entity tag or checksum did not match."
            )
        };
        let part = listed
            .part_number
            .and_then(|number| self.parts.get(&number))
            .ok_or_else(refusal)?;
        if listed.e_tag.as_ref().map(ETag::value) != Some(part.etag.as_str()) {
            return Err(refusal());
        }
        let said = sums!(listed);
        for algorithm in Algorithm::ALL {
            let said = algorithm.get(&said);
            if said.is_some() && said != algorithm.get(&part.sums) {
                return Err(refusal());
            }
        }
        Ok(part)
    }

    /// The object's checksum, compared with the one that the completion says.
    fn checksum(
        &self,
        input: &CompleteMultipartUploadInput,
        parts: &[&UploadedPart],
    ) -> S3Result<Checksum> {
        if let Some(kind) = &input.checksum_type
            && kind.as_str() != self.checksum_type()
        {
            return Err(s3_error!(
                InvalidRequest,
                "The upload was created with another checksum type"
            ));
        }
        let of_parts: Vec<_> = parts
            .iter()
            .filter_map(|part| Some((self.algorithm.get(&part.sums)?, part.size)))
            .collect();
        let computed = if of_parts.len() < parts.len() {
            None
        } else if self.full_object {
            self.algorithm.whole(&of_parts)
        } else {
            self.algorithm.composite(&of_parts)
        };
        let said = sums!(input);
        for algorithm in Algorithm::ALL {
            let Some(said) = algorithm.get(&said) else {
                continue;
            };
            if algorithm != self.algorithm {
                return Err(s3_error!(
                    InvalidRequest,
                    "The upload was created with another checksum algorithm"
                ));
            }
            if computed.as_ref() != Some(&said) {
                return Err(s3_error!(
                    BadDigest,
                    "The {} you specified did not match the calculated checksum.",
                    algorithm.name()
                ));
            }
        }
        let mut sums = Checksum::default();
        *self.algorithm.of(&mut sums) = computed;
        sums.checksum_type = Some(self.checksum_type().to_owned().into());
        Ok(sums)
    }
}
