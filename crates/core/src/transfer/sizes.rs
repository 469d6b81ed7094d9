//! How large the parts of a file are.
//!
//! S3 takes 10,000 parts of one object and no more, and a part waits in memory until it is sent. So parts grow with the
//! file, and a file that would need parts of more than a quarter of the memory fails before it is moved in vain.

use crate::error::{Error, Kind};
use crate::staging::PARTS;

/// The size of a part where nothing asks for more. S3 wants 5 MiB at least.
const PART: u64 = 8 << 20;

/// The largest part that S3 takes.
const LARGEST: u64 = 5 << 30;

/// The largest object that S3 holds: what a file of unknown length may come to.
const LARGEST_OBJECT: u64 = 5 << 40;

const MIB: u64 = 1 << 20;

/// The sizes of one file's parts: a function of where a part begins, so that another process comes to the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PartSizes {
    /// The largest part, in bytes.
    pub(super) limit: u64,
    /// The file's length in bytes as the source tells it; what is staged may be a byte longer.
    pub(super) length: Option<u64>,
}

impl PartSizes {
    /// The largest part where so much memory may be used.
    pub(super) fn limit_of(memory: u64) -> u64 {
        (memory / 4).min(LARGEST)
    }

    /// Says whether a file of this length can be staged at all.
    pub(super) fn check(&self, what: &str) -> Result<(), Error> {
        match self.length {
            Some(length) if self.smallest_that_does(length) > self.limit => Err(too_large(
                what,
                &format!("has {length} bytes"),
                self.smallest_that_does(length),
            )),
            _ => Ok(()),
        }
    }

    /// What is said of a file of unknown length whose parts ran out.
    pub(super) fn ran_out(what: &str, staged: u64) -> Error {
        // Parts begin small, so a sixteenth of the room is lost.
        let part = LARGEST_OBJECT.div_ceil(u64::from(PARTS)) / 16 * 17;
        too_large(what, &format!("has more than {staged} bytes"), part)
    }

    /// The size of the part that begins at this offset of the staged object.
    pub(super) fn at(&self, offset: u64) -> u64 {
        let least = PART.min(self.limit);
        let wanted = match self.length {
            // All alike: some stores want that.
            Some(length) => self.smallest_that_does(length),
            // The larger the file turns out to be, the larger its parts; the first GiB has equal ones.
            None => offset / 128 / MIB * MIB,
        };
        wanted.clamp(least, self.limit)
    }

    #[allow(clippy::unused_self, reason = "reads as what it is")]
    fn smallest_that_does(&self, length: u64) -> u64 {
        // A missing last newline is added.
        length.saturating_add(1).div_ceil(u64::from(PARTS))
    }
}

fn too_large(what: &str, size: &str, part: u64) -> Error {
    if part > LARGEST {
        return Kind::Configuration
            .error(format!(
                "{what} {size}, and cannot be staged in {PARTS} parts of at most 5 GiB, which are the largest, whatever TRANSFER_MEMORY is"
            ))
            .next("Have the source write smaller files, then start again.");
    }
    let memory = (part * 4).div_ceil(MIB);
    Kind::Configuration
        .error(format!(
            "{what} {size}, and cannot be staged in {PARTS} parts of at most a quarter of TRANSFER_MEMORY"
        ))
        .next(format!(
            "Set TRANSFER_MEMORY={memory}MiB or more (and give a function that much memory beside its own), then start again."
        ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(memory: u64, length: Option<u64>) -> PartSizes {
        PartSizes {
            limit: PartSizes::limit_of(memory),
            length,
        }
    }

    /// How many parts a file of this length has.
    fn parts(sizes: PartSizes, length: u64) -> u32 {
        let (mut offset, mut parts) = (0, 0);
        while offset < length && parts <= PARTS {
            offset += sizes.at(offset);
            parts += 1;
        }
        parts
    }

    #[test]
    fn every_length_that_fits_has_ten_thousand_parts_at_most_all_alike() {
        for length in [0, 1, PART, PART + 1, 70 << 30, 78 << 30] {
            let sizes = sizes(32 << 20, Some(length));
            sizes.check("f").unwrap();
            assert!(parts(sizes, length + 1) <= PARTS, "{length}");
            assert_eq!(sizes.at(0), sizes.at(length));
        }
    }

    #[test]
    fn a_file_too_large_fails_at_once_and_names_the_memory_that_would_hold_it() {
        let error = sizes(32 << 20, Some(LARGEST_OBJECT))
            .check("https://h/f")
            .unwrap_err();
        assert_eq!(error.kind(), Kind::Configuration);
        assert!(
            error.advice().contains("TRANSFER_MEMORY=2098MiB"),
            "{error}"
        );
        let enough = sizes(2098 << 20, Some(LARGEST_OBJECT - 1));
        enough.check("f").unwrap();
        assert!(parts(enough, LARGEST_OBJECT) <= PARTS);
    }

    #[test]
    fn no_memory_is_named_that_would_not_do_or_that_the_setting_refuses() {
        for length in [LARGEST * u64::from(PARTS), 1 << 48, 1 << 62, u64::MAX - 1] {
            let error = sizes(64 << 30, Some(length)).check("f").unwrap_err();
            assert_eq!(error.kind(), Kind::Configuration);
            assert!(!error.advice().contains("TRANSFER_MEMORY="), "{error}");
            assert!(error.advice().contains("smaller files"), "{error}");
        }
        let most = LARGEST * u64::from(PARTS) - 1;
        let error = sizes(32 << 20, Some(most)).check("f").unwrap_err();
        assert!(
            error.advice().contains("TRANSFER_MEMORY=20480MiB"),
            "{error}"
        );
        sizes(20480 << 20, Some(most)).check("f").unwrap();
    }

    #[test]
    fn parts_of_a_file_of_unknown_length_grow_with_it_up_to_their_limit() {
        let sizes = sizes(4 << 30, None);
        assert_eq!(sizes.at(0), PART);
        assert_eq!(sizes.at(1 << 30), PART);
        assert_eq!(sizes.at(4 << 30), 32 << 20);
        assert_eq!(sizes.at(1 << 50), 1 << 30);
        let said = PartSizes::ran_out("f", 1);
        assert!(said.advice().contains("TRANSFER_MEMORY=2229MiB"), "{said}");
        let enough = self::sizes(2229 << 20, None);
        assert!(parts(enough, LARGEST_OBJECT) <= PARTS);
    }

    #[test]
    fn no_part_is_larger_than_a_quarter_of_the_memory() {
        let small = sizes(20 << 20, Some(1 << 30));
        assert_eq!(small.at(0), 5 << 20);
        assert_eq!(sizes(20 << 20, None).at(1 << 40), 5 << 20);
    }
}
