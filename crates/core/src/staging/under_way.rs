//! What `_parts/<nnnnn>.json` says of a file that is under way, so that another process can go on with it.
//!
//! Only parts that the place has confirmed are in it. Where in the source they came from is the copier's to know: its
//! [`Position`] is kept here and not looked into.

use serde::{Deserialize, Serialize};

use super::Version;
use super::sums::{Algorithm, Sum};

/// The version of the state that this program writes; one it does not know counts as no state.
const VERSION: u32 = 1;

/// A source file of which a part is staged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct UnderWay {
    /// S3's upload id, or what tells a folder's temporary file from others.
    pub upload: String,
    /// What all sums are computed with.
    pub algorithm: Algorithm,
    /// Whether S3 was told to compute them too.
    pub told: bool,
    /// The parts that are stored, in the order of their numbers, which may have gaps.
    pub parts: Vec<Part>,
    /// From where the copy can go on.
    pub position: Position,
    /// The copier's largest part, in bytes.
    pub part_limit: u64,
    /// Who has written this.
    pub(super) writer: String,
    /// What the object was when this was read, where nothing but this was in it.
    pub(super) version: Option<Version>,
}

/// A part that is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its number, from 1.
    pub number: u32,
    /// Where it begins in the object.
    pub offset: u64,
    /// Its length in bytes.
    pub size: u64,
    /// Its sum, where anybody knows it.
    pub sum: Option<Sum>,
    /// What S3 calls its content; empty in a folder.
    pub etag: String,
}

/// From where a copy can go on. The copier writes and reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Which bytes the source gave, where that can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceMark>,
    /// How many parts, from the first, hold all before this place.
    pub parts: u32,
    /// The offset in the source's file.
    pub source_offset: u64,
    /// The offset in the staged object.
    pub staged_offset: u64,
    /// Lines before it.
    pub line: u64,
    /// Resources before it.
    pub resources: u64,
}

/// What tells one content of the source's file from another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceMark {
    /// The file's strong `ETag`.
    pub etag: String,
    /// Its length in bytes, where the source says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
}

/// The form on disk: sums without what is the same for all.
#[derive(Clone, Serialize, Deserialize)]
struct Written {
    version: u32,
    upload: String,
    algorithm: Algorithm,
    told: bool,
    writer: String,
    part_limit: u64,
    position: Position,
    parts: Vec<WrittenPart>,
}

#[derive(Clone, Serialize, Deserialize)]
struct WrittenPart {
    number: u32,
    offset: u64,
    size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sum: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    etag: String,
}

impl From<UnderWay> for Written {
    fn from(state: UnderWay) -> Self {
        let part = |part: Part| WrittenPart {
            number: part.number,
            offset: part.offset,
            size: part.size,
            sum: part.sum.map(|sum| sum.base64()),
            etag: part.etag,
        };
        Self {
            version: VERSION,
            upload: state.upload,
            algorithm: state.algorithm,
            told: state.told,
            writer: state.writer,
            part_limit: state.part_limit,
            position: state.position,
            parts: state.parts.into_iter().map(part).collect(),
        }
    }
}

impl TryFrom<Written> for UnderWay {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        if written.version != VERSION {
            return Err("a version that is not known");
        }
        let algorithm = written.algorithm;
        let part = |part: WrittenPart| Part {
            number: part.number,
            offset: part.offset,
            size: part.size,
            sum: part
                .sum
                .and_then(|sum| Sum::parse(algorithm, &sum, part.size)),
            etag: part.etag,
        };
        Ok(Self {
            upload: written.upload,
            algorithm,
            told: written.told,
            writer: written.writer,
            parts: written.parts.into_iter().map(part).collect(),
            position: written.position,
            part_limit: written.part_limit,
            version: None,
        })
    }
}
