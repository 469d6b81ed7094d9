//! How the transfer works.

use std::time::Duration;

use super::read::Reader;

/// How the transfer works.
#[derive(Clone, Debug, PartialEq)]
pub struct TransferSettings {
    /// The bytes of all buffers together.
    pub memory: u64,
    /// How many requests a server gets at once; `None` finds out.
    pub concurrency: Option<u32>,
    /// After how long it stops, to be taken up again.
    pub deadline: Option<Duration>,
    /// How closely files are looked at.
    pub validate: Validate,
    /// What S3 is told to compare.
    pub checksum: Checksum,
    /// Whether a run in whose files an id comes more than once is not imported.
    pub fail_on_duplicates: bool,
}

/// How closely files are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validate {
    /// Each line is one JSON object's text, of the declared type and with an `id`.
    Lines,
    /// Each line is parsed whole.
    Json,
    /// Lines are counted.
    None,
}

/// The checksum that S3 is told to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// CRC-64/NVME.
    Crc64Nvme,
    /// CRC-32.
    Crc32,
    /// None.
    None,
}

impl TransferSettings {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self {
            memory: reader.bytes("TRANSFER_MEMORY"),
            concurrency: reader.whole_unless_word("TRANSFER_CONCURRENCY"),
            deadline: reader.seconds_if_any("TRANSFER_DEADLINE"),
            validate: match reader.choice("VALIDATE").as_str() {
                "json" => Validate::Json,
                "none" => Validate::None,
                _ => Validate::Lines,
            },
            checksum: match reader.choice("STAGING_CHECKSUM").as_str() {
                "crc32" => Checksum::Crc32,
                "none" => Checksum::None,
                _ => Checksum::Crc64Nvme,
            },
            fail_on_duplicates: reader.choice("DUPLICATES") == "fail",
        }
    }
}
