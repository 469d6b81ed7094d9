//! Checksums: which there are, over one body, and over the parts of an object.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crc_fast::{CrcAlgorithm, checksum_combine};
use http::HeaderMap;
use s3s::checksum::ChecksumHasher;
use s3s::crypto;
use s3s::dto::Checksum;
use s3s::{S3Result, s3_error};

/// An algorithm of S3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

impl Algorithm {
    pub(super) const ALL: [Self; 5] = [
        Self::Crc32,
        Self::Crc32c,
        Self::Crc64Nvme,
        Self::Sha1,
        Self::Sha256,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    pub(super) fn named(name: &str) -> S3Result<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
            .ok_or_else(|| s3_error!(InvalidRequest, "Checksum algorithm provided is unsupported"))
    }

    fn header(self) -> String {
        format!("x-amz-checksum-{}", self.name().to_ascii_lowercase())
    }

    /// Its place in a set of checksums.
    pub(super) fn of(self, sums: &mut Checksum) -> &mut Option<String> {
        match self {
            Self::Crc32 => &mut sums.checksum_crc32,
            Self::Crc32c => &mut sums.checksum_crc32c,
            Self::Crc64Nvme => &mut sums.checksum_crc64nvme,
            Self::Sha1 => &mut sums.checksum_sha1,
            Self::Sha256 => &mut sums.checksum_sha256,
        }
    }

    /// Its value in a set of checksums.
    pub(super) fn get(self, sums: &Checksum) -> Option<String> {
        match self {
            Self::Crc32 => sums.checksum_crc32.clone(),
            Self::Crc32c => sums.checksum_crc32c.clone(),
            Self::Crc64Nvme => sums.checksum_crc64nvme.clone(),
            Self::Sha1 => sums.checksum_sha1.clone(),
            Self::Sha256 => sums.checksum_sha256.clone(),
        }
    }

    /// Makes a hasher compute it.
    pub(super) fn switch_on(self, hasher: &mut ChecksumHasher) {
        match self {
            Self::Crc32 => hasher.crc32 = Some(crypto::Crc32::default()),
            Self::Crc32c => hasher.crc32c = Some(crypto::Crc32c::default()),
            Self::Crc64Nvme => hasher.crc64nvme = Some(crypto::Crc64Nvme::default()),
            Self::Sha1 => hasher.sha1 = Some(crypto::Sha1::default()),
            Self::Sha256 => hasher.sha256 = Some(crypto::Sha256::default()),
        }
    }

    /// The checksum of a whole object from those of its parts; None where one cannot be had from them.
    pub(super) fn whole(self, parts: &[(String, u64)]) -> Option<String> {
        let (algorithm, width) = match self {
            Self::Crc32 => (CrcAlgorithm::Crc32IsoHdlc, 4),
            Self::Crc32c => (CrcAlgorithm::Crc32Iscsi, 4),
            Self::Crc64Nvme => (CrcAlgorithm::Crc64Nvme, 8),
            Self::Sha1 | Self::Sha256 => return None,
        };
        let mut whole = None;
        for (sum, size) in parts {
            let bytes = STANDARD.decode(sum).ok()?;
            let value = bytes
                .iter()
                .fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
            whole = Some(match whole {
                None => value,
                Some(before) => checksum_combine(algorithm, before, value, *size),
            });
        }
        let bytes = whole?.to_be_bytes();
        Some(STANDARD.encode(&bytes[8 - width..]))
    }

    /// The checksum of the parts' checksums, with their number.
    pub(super) fn composite(self, parts: &[(String, u64)]) -> Option<String> {
        let mut hasher = ChecksumHasher::default();
        self.switch_on(&mut hasher);
        for (sum, _) in parts {
            hasher.update(&STANDARD.decode(sum).ok()?);
        }
        let sum = self.get(&hasher.finalize())?;
        Some(format!("{sum}-{}", parts.len()))
    }
}

/// The checksums that a request's trailing headers bring, added to those of its headers.
pub(super) fn with_trailers(mut sums: Checksum, trailers: &HeaderMap) -> Checksum {
    for algorithm in Algorithm::ALL {
        if let Some(value) = trailers.get(algorithm.header()) {
            *algorithm.of(&mut sums) = value.to_str().ok().map(str::to_owned);
        }
    }
    sums
}

/// Copies the five checksums out of anything that has them.
macro_rules! sums {
    ($from:expr) => {
        s3s::dto::Checksum {
            checksum_crc32: $from.checksum_crc32.clone(),
            checksum_crc32c: $from.checksum_crc32c.clone(),
            checksum_crc64nvme: $from.checksum_crc64nvme.clone(),
            checksum_sha1: $from.checksum_sha1.clone(),
            checksum_sha256: $from.checksum_sha256.clone(),
            ..Default::default()
        }
    };
}

/// Copies the five checksums into anything that has them.
macro_rules! set_sums {
    ($into:expr, $sums:expr) => {
        $into.checksum_crc32.clone_from(&$sums.checksum_crc32);
        $into.checksum_crc32c.clone_from(&$sums.checksum_crc32c);
        $into
            .checksum_crc64nvme
            .clone_from(&$sums.checksum_crc64nvme);
        $into.checksum_sha1.clone_from(&$sums.checksum_sha1);
        $into.checksum_sha256.clone_from(&$sums.checksum_sha256);
    };
}

pub(super) use {set_sums, sums};
