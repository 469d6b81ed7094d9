//! An import by Pathling 7: sources one after the other, each written before the next is looked at.

use serde_json::Value;

use super::PathlingVersion;
use super::failure::Failure;
use super::importer::Importer;
use super::lines;
use super::location::{Found, decode, find, s3a};
use super::tables::Mode;
use crate::types::{is_importable, is_r4};

/// Imports every source in order. What was written before a failure stays.
pub(super) fn run(importer: &Importer, parameters: &Value) -> Result<Vec<String>, Failure> {
    let sources: Vec<&Value> = named(parameters, "parameter", "source").collect();
    if sources.is_empty() {
        return Err(Failure::new(
            400,
            "Must provide at least one source parameter",
        ));
    }
    for source in sources {
        import(importer, source)?;
    }
    Ok(Vec::new())
}

fn import(importer: &Importer, source: &Value) -> Result<(), Failure> {
    let kind = text(source, "resourceType", "valueCode")?
        .ok_or_else(|| Failure::new(400, "Must provide resourceType for each source"))?;
    let url = text(source, "url", "valueUrl")?
        .ok_or_else(|| Failure::new(400, "Must provide url for each source"))?;
    // A mode of another value type is passed over in silence.
    let mode = part(source, "mode")
        .and_then(|part| part.get("valueCode"))
        .map_or(Some(Mode::Overwrite), |mode| match mode.as_str() {
            Some("overwrite") => Some(Mode::Overwrite),
            Some("merge") => Some(Mode::Merge),
            _ => None,
        })
        .ok_or_else(Failure::unexpected)?;
    if let Some(part) = part(source, "format") {
        let format = part.get("valueCode").or_else(|| part.get("valueString"));
        let format = format.and_then(Value::as_str).unwrap_or_default();
        if format != "ndjson" {
            return Err(Failure::new(400, format!("Unsupported format: {format}")));
        }
    }
    check_type(kind)?;
    let shown = s3a(&decode(url));
    if !importer.allows(url) {
        return Err(Failure::new(
            400,
            format!("Not allowed to import from URL: {shown}"),
        ));
    }
    let Found::Files(files) = find(&shown, &importer.s3_root) else {
        return Err(Failure::new(
            400,
            format!("Error reading from URL: {shown}"),
        ));
    };
    if mode == Mode::Merge {
        importer.tables().create(kind);
    }
    let rows = lines::rows(PathlingVersion::Seven, kind, &files)?;
    importer
        .tables()
        .write(kind, mode, rows)
        .map_err(|_| Failure::unexpected())
}

fn check_type(kind: &str) -> Result<(), Failure> {
    if is_importable(PathlingVersion::Seven, kind) {
        Ok(())
    } else if matches!(kind, "DomainResource" | "Resource") {
        Err(Failure::new(
            400,
            format!("Invalid FHIR content: HAPI-1684: Unknown resource name \"{kind}\""),
        ))
    } else if is_r4(kind) {
        Err(Failure::new(
            400,
            format!("Unsupported resource type: {kind}"),
        ))
    } else {
        Err(Failure::unexpected())
    }
}

/// The elements of an array member that have this `name`.
pub(super) fn named<'a>(
    value: &'a Value,
    member: &str,
    name: &'a str,
) -> impl Iterator<Item = &'a Value> {
    value
        .get(member)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter(move |element| element.get("name").and_then(Value::as_str) == Some(name))
}

/// A parameter's part.
pub(super) fn part<'a>(parameter: &'a Value, name: &'a str) -> Option<&'a Value> {
    named(parameter, "part", name).next()
}

/// A part's value, which must be of this value type: another one is a `ClassCastException`.
fn text<'a>(source: &'a Value, name: &'a str, value: &str) -> Result<Option<&'a str>, Failure> {
    part(source, name)
        .map(|part| {
            part.get(value)
                .and_then(Value::as_str)
                .ok_or_else(Failure::unexpected)
        })
        .transpose()
}
