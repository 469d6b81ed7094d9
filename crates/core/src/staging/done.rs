//! When a source file is done, and how everybody can tell.
//!
//! A file is done when its record says so and every object that the record names is there with its recorded size. For a
//! file that is one small S3 object, the record is that object's metadata: one request writes both, and one `HEAD` reads
//! both. For all others (several parts, no resources at all, any folder) it is `_parts/<nnnnn>.json`, written *before* the object
//! appears: so no object is ever seen without its record. A record without its object means that the file is not done; it
//! says what was stored by then, so that another process can complete it.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::state::jitter;
use super::sums::Sum;
use super::under_way::UnderWay;
use super::{Backend, Created, Head, Object, Replaced, Staging, Version, folder, layout};
use crate::error::{Error, Kind, Result};

/// The version of the record that this program writes; one it does not know counts as no record.
const VERSION: u32 = 1;

/// The name of the record among an object's metadata,
const METADATA: &str = "pathling-import";

/// and the header that S3 is told it by.
pub(super) const METADATA_HEADER: &str = "x-amz-meta-pathling-import";

/// S3 allows 2 KiB of metadata in all. A longer record goes to `_parts/`.
const METADATA_LIMIT: usize = 1536;

/// How often a record is written against others before that is given up.
const ATTEMPTS: u32 = 12;

/// What is known of a source file that is staged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoneRecord {
    /// The version of this record's form.
    #[serde(default)]
    version: u32,
    /// The export that it is a file of, as [`layout::export_of`] names it.
    #[serde(default)]
    pub export: String,
    /// Bytes staged, over all objects.
    pub size: u64,
    /// How many resources it has of each type.
    #[serde(default)]
    pub resources: BTreeMap<String, u64>,
    /// Checksums of what was staged, by the algorithm's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sums: BTreeMap<String, String>,
    /// What it became: one object, or none where it has no resources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<StagedObject>,
}

/// One object that a source file became.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedObject {
    /// Its key, as [`layout`] made it.
    pub key: String,
    /// Its length in bytes.
    pub size: u64,
}

/// What `_parts/<nnnnn>.json` holds. States that this version does not know count as not done.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub(super) enum PartState {
    Done {
        #[serde(flatten)]
        record: DoneRecord,
        /// What the object is made of, for whoever finds that it never appeared.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        under_way: Option<UnderWay>,
    },
    UnderWay(UnderWay),
    #[serde(other)]
    Other,
}

/// What became of a record that was to be written.
pub(super) enum Recorded {
    /// It stands, and before it there was none that was true.
    New,
    /// The same one stood there: an earlier attempt wrote it, or another process at the same work.
    Same,
    /// Another process's stands, and is true.
    Theirs(DoneRecord),
}

impl DoneRecord {
    /// The record of an export's file with these resources and sums; [`super::Upload`] knows the rest.
    #[must_use]
    pub fn new(
        export: &str,
        resources: BTreeMap<String, u64>,
        sums: BTreeMap<String, String>,
    ) -> Self {
        Self {
            version: VERSION,
            export: export.to_owned(),
            size: 0,
            resources,
            sums,
            objects: Vec::new(),
        }
    }

    /// The record as the text of an object's metadata, where it fits. The object's own key and size go without saying.
    pub(super) fn carried_text(&self) -> Option<String> {
        let record = Self {
            objects: Vec::new(),
            ..self.clone()
        };
        let text = serde_json::to_string(&record).ok()?;
        // Headers are ASCII.
        (text.len() <= METADATA_LIMIT && text.is_ascii()).then_some(text)
    }

    /// The record that an object carries, where it carries one that is true of it.
    pub(super) fn carried(key: &str, head: &Head) -> Option<Self> {
        let mut record: Self = serde_json::from_str(head.metadata.get(METADATA)?).ok()?;
        if record.version != VERSION || record.size != head.size {
            return None;
        }
        record.objects = vec![StagedObject {
            key: key.to_owned(),
            size: head.size,
        }];
        Some(record)
    }

    /// The same record, of one object.
    pub(super) fn of_one(mut self, key: &str, sum: Sum) -> Self {
        self.size = sum.length;
        self.sums
            .insert(sum.algorithm.name().to_owned(), sum.base64());
        self.objects = vec![StagedObject {
            key: key.to_owned(),
            size: sum.length,
        }];
        self
    }
}

impl PartState {
    /// What an object below `_parts/` says, as far as this version knows it.
    ///
    /// Only a state without a record has its version, and can be replaced on that alone: of a record, the object may appear
    /// at any time, and whoever would replace it must look first.
    pub(super) fn of(object: &Object) -> Self {
        let mut state = match serde_json::from_slice(&object.bytes) {
            Ok(Self::Done { record, .. }) if record.version != VERSION => Self::Other,
            Ok(state) => state,
            Err(_) => Self::Other,
        };
        if let Self::UnderWay(state) = &mut state {
            state.version = Some(object.version.clone());
        }
        state
    }

    /// The record and the state that it holds, whichever there are.
    pub(super) fn taken_apart(self) -> (Option<DoneRecord>, Option<UnderWay>) {
        match self {
            Self::Done { record, under_way } => (Some(record), under_way),
            Self::UnderWay(state) => (None, Some(state)),
            Self::Other => (None, None),
        }
    }

    pub(super) fn bytes(&self, url: &str) -> Result<Bytes> {
        serde_json::to_vec(self)
            .map(Bytes::from)
            .map_err(|error| Kind::StagingDenied.error(format!("{url}: {error}")))
    }
}

impl Staging {
    /// What is known of an object that a refused conditional write has shown to exist.
    pub(super) async fn expect_readable(&self, key: &str) -> Result<Head> {
        match self.head(key).await? {
            Some(head) => Ok(head),
            None => Err(match &self.inner.backend {
                Backend::Folder(_) => folder::leads_nowhere(&self.url(key)),
                Backend::S3(_) => unreadable(&self.url(key)),
            }),
        }
    }

    /// Writes the record of a file without resources, which is done without an object. Returns the record that stands.
    ///
    /// `StagingDenied` where there is an object under the file's own key all the same: the import would read it.
    pub async fn record_empty(
        &self,
        key: &str,
        part_key: &str,
        mut done: DoneRecord,
    ) -> Result<DoneRecord> {
        let head = self.head(key).await?;
        if let Some(theirs) = head
            .as_ref()
            .and_then(|head| DoneRecord::carried(key, head))
        {
            return Ok(theirs);
        }
        if head.is_some() {
            // One that is named by a record which is true of it is another process's, or of another export.
            let there = self.read(part_key).await?;
            let theirs = there.and_then(|there| PartState::of(&there).taken_apart().0);
            if let Some(theirs) = theirs
                && self.all_there(&theirs).await?
                && theirs.objects.iter().any(|object| object.key == key)
            {
                return Ok(theirs);
            }
            return Err(Kind::StagingDenied
                .error(format!(
                    "{} is there, and the file that it would be of has no resources: the import would read what is in it",
                    self.url(key)
                ))
                .next("Remove it, and start again: the run goes on."));
        }
        done.size = 0;
        done.objects.clear();
        match self.record(part_key, &done, None, None).await? {
            Recorded::New | Recorded::Same => Ok(done),
            Recorded::Theirs(theirs) => Ok(theirs),
        }
    }

    /// Writes the record of a file below `_parts/`, with what its object is going to be made of, in the place of `ours`, a
    /// state of ours; gives another's record where that file is done already.
    pub(super) async fn record(
        &self,
        part_key: &str,
        done: &DoneRecord,
        under_way: Option<UnderWay>,
        ours: Option<Version>,
    ) -> Result<Recorded> {
        let state = PartState::Done {
            record: done.clone(),
            under_way,
        };
        let bytes = state.bytes(&self.url(part_key))?;
        if let Some(version) = ours
            && let Replaced::Done(_) = self.replace(part_key, bytes.clone(), &version).await?
        {
            return Ok(Recorded::New);
        }
        for attempt in 0..ATTEMPTS {
            let existing = match self.create(part_key, bytes.clone(), layout::JSON).await? {
                Created::New(_) => return Ok(Recorded::New),
                Created::Exists(object) => object,
            };
            if let (Some(theirs), _) = PartState::of(&existing).taken_apart() {
                if theirs == *done {
                    return Ok(Recorded::Same);
                }
                if self.all_there(&theirs).await? {
                    return Ok(Recorded::Theirs(theirs));
                }
            }
            match self
                .replace(part_key, bytes.clone(), &existing.version)
                .await?
            {
                Replaced::Done(_) => return Ok(Recorded::New),
                Replaced::Conflict => tokio::time::sleep(jitter(attempt)).await,
            }
        }
        Err(Kind::StagingUnavailable.error(format!(
            "{} was changed by others {ATTEMPTS} times while it was being written here",
            self.url(part_key)
        )))
    }

    pub(super) async fn all_there(&self, record: &DoneRecord) -> Result<bool> {
        for object in &record.objects {
            let head = self.head(&object.key).await?;
            if head.is_none_or(|head| head.size != object.size) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The object is there, for a conditional write was refused; yet reading says that it is not.
pub(super) fn unreadable(url: &str) -> Error {
    Kind::StagingDenied
        .error(format!("{url} exists but may not be read"))
        .next("Allow s3:GetObject on that key: s3:GetObject and s3:PutObject below STAGING_URL are needed.")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn record(types: usize) -> DoneRecord {
        let resources = (0..types).map(|number| (format!("ResourceType{number:03}"), 1));
        let sums = BTreeMap::from([("crc64nvme".to_owned(), "AAAAAAAAAAA=".to_owned())]);
        let mut record = DoneRecord::new("0a1b2c3d", resources.collect(), sums);
        record.size = 7;
        record.objects = vec![StagedObject {
            key: "runs/a/Patient/00000-b.ndjson".to_owned(),
            size: 7,
        }];
        record
    }

    fn head(size: u64, metadata: BTreeMap<String, String>) -> Head {
        Head {
            size,
            etag: None,
            metadata,
        }
    }

    fn carrying(text: String) -> BTreeMap<String, String> {
        BTreeMap::from([(METADATA.to_owned(), text)])
    }

    #[test]
    fn the_header_is_that_of_the_name() {
        assert_eq!(METADATA_HEADER, format!("x-amz-meta-{METADATA}"));
    }

    #[test]
    fn a_record_survives_as_metadata() {
        let record = record(1);
        let head = head(7, carrying(record.carried_text().unwrap()));
        let key = &record.objects[0].key;
        assert_eq!(DoneRecord::carried(key, &head), Some(record.clone()));
    }

    #[test]
    fn a_record_that_is_not_true_of_its_object_is_none() {
        let text = record(1).carried_text().unwrap();
        let shorter = head(8, carrying(text.clone()));
        assert_eq!(DoneRecord::carried("k", &shorter), None);
        let later = text.replace("\"version\":1", "\"version\":2");
        let later = head(7, carrying(later));
        assert_eq!(DoneRecord::carried("k", &later), None);
        assert_eq!(DoneRecord::carried("k", &head(7, BTreeMap::new())), None);
    }

    #[test]
    fn a_record_too_long_for_metadata_goes_elsewhere() {
        assert!(record(150).carried_text().is_none());
    }
}
