//! What a request's `Range` and `If-Range` ask for, as RFC 9110 (sections 13.1.5 and 14) has it.

use std::ops::Range;

use crate::call::Call;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    /// All of it.
    Whole,
    /// These bytes.
    Part(Range<u64>),
    /// Bytes that are not there.
    Beyond,
}

/// What the call asks for of a representation of this length and `ETag`. A `Range` of several parts, or of another unit, is
/// ignored, as servers may.
pub(super) fn asked(call: &Call, length: u64, etag: Option<&str>) -> Asked {
    let Some(range) = call.header("range") else {
        return Asked::Whole;
    };
    if let Some(condition) = call.header("if-range") {
        let same = etag.is_some_and(|etag| etag == condition);
        // A weak one never compares equal here; a date cannot, for the files have none.
        if !same || condition.starts_with("W/") {
            return Asked::Whole;
        }
    }
    parse(&range, length).unwrap_or(Asked::Whole)
}

fn parse(range: &str, length: u64) -> Option<Asked> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let part = if first.is_empty() {
        let suffix: u64 = last.parse().ok()?;
        length.saturating_sub(suffix)..length
    } else {
        let first: u64 = first.parse().ok()?;
        let end = if last.is_empty() {
            length
        } else {
            let last: u64 = last.parse().ok()?;
            if last < first {
                return None;
            }
            length.min(last.saturating_add(1))
        };
        first..end
    };
    Some(if part.start < part.end {
        Asked::Part(part)
    } else {
        Asked::Beyond
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_rfc_has_them() {
        let part = |range| Some(Asked::Part(range));
        for (text, expected) in [
            ("bytes=0-", part(0..10)),
            ("bytes=9-", part(9..10)),
            ("bytes=2-4", part(2..5)),
            ("bytes=2-99", part(2..10)),
            ("bytes=-3", part(7..10)),
            ("bytes=-30", part(0..10)),
            ("bytes=10-", Some(Asked::Beyond)),
            ("bytes=-0", Some(Asked::Beyond)),
            ("bytes=4-2", None),
            ("bytes=0-1,3-4", None),
            ("lines=0-1", None),
        ] {
            assert_eq!(parse(text, 10), expected, "{text}");
        }
    }
}
