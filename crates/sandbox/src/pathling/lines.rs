//! How the two Pathlings read an NDJSON file: what they refuse, and with which words, and what they let through.

use std::path::PathBuf;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use super::PathlingVersion;
use super::failure::Failure;
use super::tables::Row;

/// What of a line decides about it. Everything else is read over.
#[derive(Deserialize)]
struct Head {
    #[serde(rename = "resourceType")]
    resource_type: Option<Value>,
    id: Option<Value>,
    gender: Option<Value>,
    #[serde(rename = "birthDate")]
    birth_date: Option<Value>,
}

/// The rows of a type that the files hold.
pub(super) fn rows(
    version: PathlingVersion,
    kind: &str,
    files: &[PathBuf],
) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    for path in files {
        let file = Bytes::from(std::fs::read(path).map_err(|_| Failure::unexpected())?);
        let whole = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&file);
        for line in split(whole) {
            if line.trim_ascii().is_empty() {
                if version == PathlingVersion::Two {
                    return Err(Failure::new(
                        400,
                        "HAPI-1857: Did not find any content to parse",
                    ));
                }
                continue;
            }
            rows.extend(row(version, kind, file.slice_ref(line))?);
        }
    }
    Ok(rows)
}

/// The lines, which end in LF, CRLF or CR. What is after the last line end is a line only if it is not empty.
fn split(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = file;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest
            .iter()
            .position(|byte| matches!(byte, b'\n' | b'\r'))
            .unwrap_or(rest.len());
        let line = &rest[..end];
        let after = &rest[end..];
        rest = after
            .strip_prefix(b"\r\n")
            .unwrap_or_else(|| after.get(1..).unwrap_or_default());
        Some(line)
    })
}

/// A line's row; None where it is passed over in silence.
fn row(version: PathlingVersion, kind: &str, line: Bytes) -> Result<Option<Row>, Failure> {
    let seven = version == PathlingVersion::Seven;
    let head: Head = serde_json::from_slice(&line).map_err(|error| {
        let start = if seven {
            "Invalid JSON content"
        } else {
            "Unknown problem while parsing FHIR/JSON content"
        };
        let (row, column) = (error.line(), error.column());
        Failure::new(
            400,
            format!("{start}: at [Source: UNKNOWN; line: {row}, column: {column}]"),
        )
    })?;
    let found = head.resource_type.as_ref().and_then(Value::as_str);
    let Some(found) = found.filter(|found| !found.is_empty()) else {
        return Err(Failure::new(
            400,
            "Invalid FHIR content: HAPI-1838: Invalid JSON content detected, missing required element: 'resourceType'",
        ));
    };
    if found != kind {
        // 7 fails with a ClassCastException; 2 reads only what is of the type.
        return if seven {
            Err(Failure::unexpected())
        } else {
            Ok(None)
        };
    }
    for (element, value, fine) in [
        ("gender", &head.gender, is_gender as fn(&Value) -> bool),
        ("birthDate", &head.birth_date, is_date),
    ] {
        if kind == "Patient"
            && let Some(value) = value.as_ref().filter(|value| !fine(value))
        {
            let value = value.as_str().unwrap_or_default();
            return Err(Failure::new(
                400,
                format!(
                    "Invalid FHIR content: HAPI-1821: [element=\"{element}\"] Invalid attribute value \"{value}\": it is none of this element's"
                ),
            ));
        }
    }
    let id = match head.id {
        Some(Value::String(id)) if !id.is_empty() => Some(id),
        Some(Value::Number(number)) if !seven => Some(number.to_string()),
        _ if seven => return Err(Failure::new(400, "Encountered a resource with no ID")),
        _ => None,
    };
    // An id with a slash is read as a reference: its last part counts.
    let id = id.map(|id| id.rsplit('/').next().unwrap_or_default().to_owned());
    Ok(Some(Row { id, line }))
}

fn is_gender(value: &Value) -> bool {
    matches!(
        value.as_str(),
        Some("male" | "female" | "other" | "unknown")
    )
}

/// A FHIR date: a year, a month or a day.
fn is_date(value: &Value) -> bool {
    let Some(text) = value.as_str() else {
        return false;
    };
    let shape = b"0000-00-00";
    matches!(text.len(), 4 | 7 | 10)
        && text.bytes().zip(shape).all(|(byte, wanted)| {
            if *wanted == b'0' {
                byte.is_ascii_digit()
            } else {
                byte == *wanted
            }
        })
}
