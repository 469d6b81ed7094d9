//! The headers that say what of a file an answer brings, and in which form.

use crate::http::Response;

/// The longest `ETag` that is kept.
const LONGEST_ETAG: usize = 1024;

/// The answer's `ETag`, if equal ones mean equal bytes.
pub(super) fn strong_etag(response: &Response) -> Option<String> {
    let etag = response.header("etag")?.trim();
    let inner = etag.strip_prefix('"')?.strip_suffix('"')?;
    (etag.len() <= LONGEST_ETAG && !inner.contains('"')).then(|| etag.to_owned())
}

/// A Content-Range of bytes (RFC 9110, section 14.4).
#[derive(Debug, PartialEq)]
pub(super) struct ContentRange {
    /// The first and the last, `None` where the range could not be given.
    pub(super) bytes: Option<(u64, u64)>,
    pub(super) complete: Option<u64>,
}

impl ContentRange {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse().ok()).flatten()
        };
        let (unit, rest) = text.trim().split_once(' ')?;
        let (range, complete) = rest.trim().split_once('/')?;
        if !unit.eq_ignore_ascii_case("bytes") {
            return None;
        }
        let bytes = if range == "*" {
            None
        } else {
            let (first, last) = range.split_once('-')?;
            Some((number(first)?, number(last)?))
        };
        let complete = if complete == "*" {
            None
        } else {
            Some(number(complete)?)
        };
        Some(Self { bytes, complete })
    }
}

/// How a body is encoded.
#[derive(Debug, PartialEq)]
pub(super) enum Encoding {
    Identity,
    Gzip,
    /// In another way, or in several.
    Other,
}

impl Encoding {
    /// What a Content-Encoding says (RFC 9110, section 8.4), if there is any. Some servers list `identity`, which is none.
    pub(super) fn of(header: Option<&str>) -> Self {
        let listed = header.unwrap_or_default().split(',').map(str::trim);
        let mut codings =
            listed.filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("identity"));
        match (codings.next(), codings.next()) {
            (None, _) => Self::Identity,
            (Some(coding), None)
                if coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip") =>
            {
                Self::Gzip
            }
            _ => Self::Other,
        }
    }
}
