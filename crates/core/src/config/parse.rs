//! The forms of single values: lists, URLs, instants, and a JSON object whose keys may stand twice.

use std::time::Duration;

use jiff::Timestamp;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use url::Url;

use super::has_userinfo;

/// The items of a list, which commas separate.
pub(super) fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

/// A number of bytes: `33554432`, `32MiB`, `32 mib`.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let text = text.to_ascii_lowercase();
    let (number, unit) = [("kib", 10), ("mib", 20), ("gib", 30)]
        .into_iter()
        .find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, 1_u64 << shift)))
        .unwrap_or((&text, 1));
    number.trim_end().parse::<u64>().ok()?.checked_mul(unit)
}

/// A period: `30d`, `12h`, `2w`, `90m`.
#[must_use]
pub fn period(text: &str) -> Option<Duration> {
    const LONGEST: Duration = Duration::from_hours(100 * 365 * 24);
    let text = text.trim();
    let unit = text.chars().last()?.to_ascii_lowercase();
    let seconds = match unit {
        'm' => 60,
        'h' => 3600,
        'd' => 24 * 3600,
        'w' => 7 * 24 * 3600,
        _ => return None,
    };
    let number: u64 = text[..text.len() - 1].trim_end().parse().ok()?;
    let period = Duration::from_secs(number.checked_mul(seconds)?);
    (!period.is_zero() && period <= LONGEST).then_some(period)
}

/// A URL of a server: http or https, with nothing that is secret or meant for one request. The error is why not, where the
/// form alone does not say so.
pub(super) fn parse_url(text: &str) -> Result<Url, Option<String>> {
    let url = Url::parse(text).map_err(|error| Some(format!("is no URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err(None);
    }
    if has_userinfo(&url) {
        return Err(Some("must not hold a user name or a password".to_owned()));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(Some("must not hold a query or a fragment".to_owned()));
    }
    Ok(url)
}

/// A FHIR instant (R4, section 2.24.0.1: at least to the second, always with a zone) in UTC.
pub(crate) fn instant_in_utc(text: &str) -> Option<String> {
    let (date, time) = text.split_once('T')?;
    if date.len() != 10
        || time.len() < 9
        || !time.is_ascii()
        || time.as_bytes()[2] != b':'
        || time.as_bytes()[5] != b':'
    {
        return None;
    }
    if !(time.ends_with('Z') || time[8..].contains(['+', '-'])) {
        return None;
    }
    let moment: Timestamp = text.parse().ok()?;
    Some(if text.ends_with('Z') {
        text.to_owned()
    } else {
        moment.to_string()
    })
}

/// The pairs of a JSON object in their order, the same key twice included: `serde_json` would drop the first in silence.
pub(super) struct Pairs(pub(super) Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor;
        impl<'de> Visitor<'de> for PairsVisitor {
            type Value = Pairs;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(PairsVisitor)
    }
}
