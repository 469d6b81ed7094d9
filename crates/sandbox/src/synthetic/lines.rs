//! The lines of files that are made as they are read: resources of many sizes, the same ones each time.

use serde_json::{Value, json};

use super::Template;
use crate::dataset::resource;

/// The least size of a block.
const BLOCK: usize = 256 << 10;

/// The sizes of lines, over and over.
const SIZES: [usize; 16] = [
    720, 1480, 900, 2300, 740, 1150, 3900, 780, 1800, 830, 5000, 1240, 760, 2750, 980, 1600,
];
const WORDS: [&str; 24] = [
    "patient",
    "reports",
    "mild",
    "chest",
    "pain",
    "since",
    "Tuesday",
    "no",
    "fever",
    "blood",
    "pressure",
    "within",
    "normal",
    "limits",
    "Müller",
    "follow-up",
    "in",
    "three",
    "weeks",
    "medication",
    "unchanged",
    "allergy",
    "penicillin",
    "côté",
];
/// An id with room for what is patched.
fn id(kind: &str, line: usize) -> String {
    let kind = kind.to_ascii_lowercase();
    format!("{kind}-000000-00000000-{line:04}")
}

/// Where the id of a line is patched.
fn patch(kind: &str) -> usize {
    format!(r#"{{"resourceType":"{kind}","id":"{kind}-"#).len()
}

/// A block of a type's lines.
pub(super) fn block(kind: &str) -> Template {
    let mut block = Template::default();
    let mut seed = kind.bytes().fold(7_u64, |seed, byte| {
        seed.wrapping_mul(31).wrapping_add(u64::from(byte))
    });
    for line in 0.. {
        if block.bytes.len() >= BLOCK {
            break;
        }
        let size = SIZES[line % SIZES.len()];
        block.push(text(kind, line, size, &mut seed).as_bytes(), patch(kind));
    }
    block
}

/// A line of about this size.
fn text(kind: &str, line: usize, size: usize, seed: &mut u64) -> String {
    let mut next = |below: u64| {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        *seed % below
    };
    let plain = resource(kind, line + 1, "");
    let mut value: Value = serde_json::from_slice(&plain.line).unwrap_or_default();
    value["id"] = json!(id(kind, line));
    value["meta"] = json!({
        "versionId": next(9).to_string(),
        "lastUpdated": format!("2026-{:02}-{:02}T{:02}:12:0{}.{:03}Z", next(12) + 1, next(28) + 1, next(24), next(10), next(1000)),
        "source": format!("urn:uuid:{:08x}-{:04x}-4b{:02x}", next(1 << 32), next(1 << 16), next(1 << 8)),
    });
    value["identifier"] = json!([]);
    while value.to_string().len() + 150 < size {
        let words: Vec<_> = (0..4 + next(9))
            .map(|_| WORDS[usize::try_from(next(24)).unwrap_or(0)])
            .collect();
        let identifier = json!({
            "system": format!("https://hospital.example/fhir/sid/{}", next(40)),
            "value": format!("{:010}", next(10_000_000_000)),
            "assigner": {"display": format!("\"{}\"\n{}", words[0], words.join(" "))},
        });
        if let Some(identifiers) = value["identifier"].as_array_mut() {
            identifiers.push(identifier);
        }
    }
    value.to_string()
}

/// A line of exactly this many bytes with its newline, or of a little more where that is too few.
pub(super) fn filler(kind: &str, bytes: usize) -> (Vec<u8>, usize) {
    let start = format!(
        r#"{{"resourceType":"{kind}","id":"{}","language":""#,
        id(kind, 9999)
    );
    let room = bytes.saturating_sub(start.len() + 3);
    let line = format!("{start}{}\"}}", "en ".repeat(room / 3 + 1).split_at(room).0);
    (line.into_bytes(), patch(kind))
}
