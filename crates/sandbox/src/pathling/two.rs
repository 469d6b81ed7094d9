//! An import by Pathling Server 2: checked at the kick-off, then all inputs of a type at once, type by type.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use super::PathlingVersion;
use super::failure::Failure;
use super::importer::Importer;
use super::lines;
use super::location::{Found, decode, find, s3a};
use super::seven::{named, part};
use super::tables::Mode;
use crate::call::Call;
use crate::types::{is_importable, is_r4};

/// An import that was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Plan {
    /// Type and URL of each input, sorted.
    inputs: Vec<(String, String)>,
    mode: Mode,
    parquet: bool,
    /// Whether the caller may write; where not, the job fails, not the kick-off.
    pub(super) may_write: bool,
}

impl Plan {
    /// What the answer lists as imported: every URL that was asked for, imported or dropped.
    pub(super) fn shown(&self) -> Vec<String> {
        self.inputs
            .iter()
            .map(|(_, url)| s3a(&decode(url)))
            .collect()
    }

    /// What tells this import from another one at the same URL.
    pub(super) fn key(&self) -> String {
        format!("{:?} {:?} {}", self.inputs, self.mode, self.parquet)
    }
}

/// Checks a kick-off's headers.
pub(super) fn check_headers(call: &Call) -> Result<(), Failure> {
    if !call.prefers("respond-async") {
        let value = call.header("prefer").unwrap_or_default();
        return Err(Failure::new(
            400,
            format!("Unknown 'Prefer' header value '[{value}]'. Only [respond-async] is allowed."),
        ));
    }
    let accept = call.header("accept");
    let fine = accept.as_deref().is_some_and(|accept| {
        accept
            .split(',')
            .any(|range| matches!(range.trim(), "application/fhir+json" | "*/*"))
    });
    if !fine {
        let value = accept.unwrap_or_else(|| "null".to_owned());
        return Err(Failure::new(
            400,
            format!(
                "Unknown 'Accept' header value '{value}'. Only [application/fhir+json] are allowed."
            ),
        ));
    }
    Ok(())
}

/// Reads the body as the plan of an import.
pub(super) fn plan(call: &Call) -> Result<Plan, Failure> {
    let content_type = call.header("content-type").unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    let is_manifest = match media_type {
        "application/fhir+json" => false,
        "application/json" => true,
        _ => return Err(Failure::new(400, "HAPI-0448: No usable Content-Type")),
    };
    let body: Value = serde_json::from_slice(&call.body)
        .map_err(|_| Failure::new(400, "HAPI-0450: Failed to parse the body"))?;
    let mut plan = if is_manifest {
        from_manifest(&body)?
    } else {
        from_parameters(&body)?
    };
    if plan.inputs.is_empty() {
        return Err(Failure::new(400, "The input may not be empty."));
    }
    for (kind, _) in &plan.inputs {
        if !is_r4(kind) {
            return Err(Failure::new(400, "Unknown resource type."));
        }
        if !is_importable(PathlingVersion::Two, kind) {
            return Err(Failure::new(
                400,
                format!("The resource type '{kind}' is not supported."),
            ));
        }
    }
    plan.inputs.sort();
    Ok(plan)
}

fn from_parameters(body: &Value) -> Result<Plan, Failure> {
    if body.get("resourceType").and_then(Value::as_str) != Some("Parameters") {
        return Err(Failure::unexpected());
    }
    let text = |input, name, value: &str| {
        part(input, name)
            .and_then(|part| part.get(value))
            .and_then(Value::as_str)
            .map(str::to_owned)
            .ok_or_else(|| Failure::new(400, format!("Missing {name} part in input parameter.")))
    };
    let inputs = named(body, "parameter", "input")
        .map(|input| {
            Ok((
                text(input, "resourceType", "valueCode")?,
                text(input, "url", "valueUrl")?,
            ))
        })
        .collect::<Result<_, Failure>>()?;
    let mode = match named(body, "parameter", "saveMode").next() {
        None => Mode::Merge,
        Some(parameter) => mode(parameter.get("valueCode").and_then(Value::as_str))?,
    };
    let parquet = match named(body, "parameter", "inputFormat").next() {
        None => false,
        Some(parameter) => match parameter.get("valueCode").and_then(Value::as_str) {
            Some(format) => is_parquet(format)?,
            None => return Err(Failure::new(400, "Unknown format.")),
        },
    };
    Ok(Plan {
        inputs,
        mode,
        parquet,
        may_write: true,
    })
}

/// The SMART import manifest that the server takes as `application/json`.
fn from_manifest(body: &Value) -> Result<Plan, Failure> {
    let missing = || Failure::new(400, "The manifest is not one");
    let text = |value: &Value, name: &str| {
        value
            .get(name)
            .and_then(Value::as_str)
            .map(str::to_owned)
            .ok_or_else(missing)
    };
    let inputs = body
        .get("input")
        .and_then(Value::as_array)
        .ok_or_else(missing)?
        .iter()
        .map(|input| Ok((text(input, "type")?, text(input, "url")?)))
        .collect::<Result<_, Failure>>()?;
    let mode = match body.get("saveMode") {
        None => Mode::Merge,
        Some(value) => mode(value.as_str())?,
    };
    Ok(Plan {
        inputs,
        mode,
        parquet: is_parquet(&text(body, "inputFormat")?)?,
        may_write: true,
    })
}

fn mode(text: Option<&str>) -> Result<Mode, Failure> {
    match text {
        Some("overwrite") => Ok(Mode::Overwrite),
        Some("merge") => Ok(Mode::Merge),
        Some("append") => Ok(Mode::Append),
        Some("ignore") => Ok(Mode::Ignore),
        Some("error") => Ok(Mode::Error),
        _ => Err(Failure::new(400, "Unknown saveMode.")),
    }
}

fn is_parquet(format: &str) -> Result<bool, Failure> {
    if format.eq_ignore_ascii_case("application/fhir+ndjson") {
        Ok(false)
    } else if format == "application/vnd.apache.parquet" {
        Ok(true)
    } else {
        Err(Failure::new(400, format!("Unsupported format: {format}")))
    }
}

/// Imports the plan. Types written before a failure stay; a location that leads nowhere fails before any is written.
pub(super) fn run(importer: &Importer, plan: &Plan) -> Result<Vec<String>, Failure> {
    if !plan.may_write {
        return Err(Failure::new(403, "Missing authority: 'pathling:write'"));
    }
    let mut types: BTreeMap<&str, Vec<PathBuf>> = BTreeMap::new();
    let mut inputs: Vec<_> = plan.inputs.iter().collect();
    inputs.dedup();
    for (kind, url) in inputs {
        if !importer.allows(url) {
            return Err(Failure::new(
                403,
                format!("URL: '{url}' is not an allowed source for import."),
            ));
        }
        let decoded = s3a(&decode(url));
        if !decoded.ends_with(".ndjson") || plan.parquet {
            // Dropped in silence.
            continue;
        }
        let Found::Files(files) = find(&decoded, &importer.s3_root) else {
            return Err(Failure::unexpected());
        };
        types.entry(kind).or_default().extend(files);
    }
    for (kind, files) in types {
        let rows = lines::rows(PathlingVersion::Two, kind, &files)?;
        importer
            .tables()
            .write(kind, plan.mode, rows)
            .map_err(|_| Failure::unexpected())?;
    }
    Ok(plan.shown())
}
