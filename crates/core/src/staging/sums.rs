//! Checksums that can be joined: the sum of a whole file from the sums of its parts, whoever computed them, and when.
//!
//! Both algorithms are ones that S3 keeps for a whole object however many parts it came in. Nothing here reads a file or
//! speaks to a store.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crc_fast::{CrcAlgorithm, checksum, checksum_combine};
use serde::{Deserialize, Serialize};

/// How a sum is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// CRC-64/NVME, which S3 prefers.
    Crc64Nvme,
    /// CRC-32 (ISO-HDLC), the one that nearly all stores know.
    Crc32,
}

impl Algorithm {
    /// The name that records, settings and, behind `x-amz-checksum-`, headers have for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Crc64Nvme => "crc64nvme",
            Self::Crc32 => "crc32",
        }
    }

    fn crc(self) -> CrcAlgorithm {
        match self {
            Self::Crc64Nvme => CrcAlgorithm::Crc64Nvme,
            Self::Crc32 => CrcAlgorithm::Crc32IsoHdlc,
        }
    }

    /// How many bytes a sum has.
    fn width(self) -> usize {
        match self {
            Self::Crc64Nvme => 8,
            Self::Crc32 => 4,
        }
    }
}

/// The sum of some bytes, and how many they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sum {
    /// How it was computed.
    pub algorithm: Algorithm,
    /// Its value; of CRC-32, in the lower half.
    pub value: u64,
    /// How many bytes it is of.
    pub length: u64,
}

impl Sum {
    /// The sum of these bytes.
    #[must_use]
    pub fn of(algorithm: Algorithm, bytes: &[u8]) -> Self {
        Self {
            algorithm,
            value: checksum(algorithm.crc(), bytes),
            length: bytes.len() as u64,
        }
    }

    /// The sum of no bytes.
    #[must_use]
    pub fn empty(algorithm: Algorithm) -> Self {
        Self::of(algorithm, &[])
    }

    /// The sum of both, one after the other. `next` must be of the same algorithm.
    #[must_use]
    pub fn and(self, next: Self) -> Self {
        debug_assert_eq!(self.algorithm, next.algorithm);
        Self {
            algorithm: self.algorithm,
            value: checksum_combine(self.algorithm.crc(), self.value, next.value, next.length),
            length: self.length + next.length,
        }
    }

    /// The value as S3 writes it: big-endian bytes in Base64.
    #[must_use]
    pub fn base64(&self) -> String {
        let bytes = self.value.to_be_bytes();
        STANDARD.encode(&bytes[bytes.len() - self.algorithm.width()..])
    }

    /// The sum of `length` bytes whose value S3 writes so; `None` where that is no value of this algorithm.
    #[must_use]
    pub fn parse(algorithm: Algorithm, text: &str, length: u64) -> Option<Self> {
        let bytes = STANDARD.decode(text).ok()?;
        if bytes.len() != algorithm.width() {
            return None;
        }
        let value = bytes
            .iter()
            .fold(0, |value, byte| value << 8 | u64::from(*byte));
        Some(Self {
            algorithm,
            value,
            length,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const BOTH: [Algorithm; 2] = [Algorithm::Crc64Nvme, Algorithm::Crc32];

    #[test]
    fn the_values_are_the_catalogues() {
        // The check values of the CRC catalogue, over "123456789".
        let sum = |algorithm| Sum::of(algorithm, b"123456789");
        assert_eq!(sum(Algorithm::Crc64Nvme).value, 0xae8b_1486_0a79_9888);
        assert_eq!(sum(Algorithm::Crc32).value, 0xcbf4_3926);
        assert_eq!(sum(Algorithm::Crc64Nvme).base64(), "rosUhgp5mIg=");
        assert_eq!(sum(Algorithm::Crc32).base64(), "y/Q5Jg==");
    }

    #[test]
    fn any_split_of_any_bytes_has_the_sum_of_the_whole() {
        for round in 0..300 {
            let mut bytes = vec![0; rand::random_range(0..40_000_usize) / (1 + round % 7 * 100)];
            rand::fill(&mut bytes[..]);
            let mut cuts: Vec<usize> = (0..round % 9)
                .map(|_| rand::random_range(0..=bytes.len()))
                .collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            for algorithm in BOTH {
                let joined = cuts
                    .windows(2)
                    .map(|cut| Sum::of(algorithm, &bytes[cut[0]..cut[1]]))
                    .fold(Sum::empty(algorithm), Sum::and);
                assert_eq!(joined, Sum::of(algorithm, &bytes), "{cuts:?}");
            }
        }
    }

    #[test]
    fn a_sum_comes_back_from_its_text_and_a_text_of_another_algorithm_does_not() {
        for algorithm in BOTH {
            let sum = Sum::of(algorithm, b"some bytes");
            assert_eq!(Sum::parse(algorithm, &sum.base64(), 10), Some(sum));
        }
        let crc32 = Sum::of(Algorithm::Crc32, b"x").base64();
        assert_eq!(Sum::parse(Algorithm::Crc64Nvme, &crc32, 1), None);
        assert_eq!(Sum::parse(Algorithm::Crc32, "!", 1), None);
    }
}
