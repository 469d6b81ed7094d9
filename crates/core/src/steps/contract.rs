//! The public contract: what each step takes and gives. Fields may be added, never removed or renamed.
//!
//! A step is given the previous step's output, whole. Of that it reads what it knows and passes on nothing else.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::config::{ImportMode, Step};
use crate::error::{Error, Kind, Result};
use crate::manifest::Asked;
use crate::staging::layout;

/// What every output carries beside its result, so that all steps of a run know that they belong together.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Carried {
    /// The name of the run; empty only inside a step that has yet to derive it.
    pub run: String,
    /// What the export asked for: an instant, or null for a full one. Absent where nothing tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Asked>,
    /// The import mode, where `fhir-export` decided it: `merge` or `overwrite`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// The name of the synchronisation's state, where it is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The name of the workflow's execution, for logs and reports alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution: Option<String>,
}

/// The name of the workflow's execution in an event. Nothing depends on it, so what is no such name is none.
#[must_use]
pub fn execution(event: &Value) -> Option<&str> {
    let name = event.get("execution")?.as_str()?;
    let fits = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    let is_name = (1..=80).contains(&name.chars().count()) && name.chars().all(fits);
    Some(name).filter(|_| is_name)
}

impl Carried {
    /// Takes from an event what the previous step carried.
    ///
    /// Gives [`Kind::Input`] for a field of another type than it has in the contract: names become paths.
    pub fn read(step: Step, event: &Value) -> Result<Self> {
        let execution = execution(event).map(str::to_owned);
        let event = object(step, event)?;
        let text = |name: &str| match event.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(bad(step, name, "a string")),
        };
        let run = text("run")?.unwrap_or_default();
        if !run.is_empty() && !layout::is_run_name(&run) {
            return Err(bad(
                step,
                "run",
                "the name of a run, as an earlier step gave it",
            ));
        }
        let key = text("key")?;
        if key.as_deref().is_some_and(|key| !layout::is_sync_name(key)) {
            return Err(bad(
                step,
                "key",
                "the name of a synchronisation, as fhir-export gave it",
            ));
        }
        let mode = text("mode")?;
        if mode
            .as_deref()
            .is_some_and(|mode| ImportMode::parse(mode).is_none())
        {
            return Err(bad(step, "mode", "merge or overwrite"));
        }
        let since = match event.get("since") {
            // It is `since` beside `run` that tells.
            Some(_) if run.is_empty() => None,
            None => None,
            Some(Value::Null) => Some(Asked::Everything),
            Some(Value::String(instant)) => Some(Asked::ChangesAfter(instant.clone())),
            Some(_) => return Err(bad(step, "since", "an instant or null")),
        };
        Ok(Self {
            run,
            since,
            mode,
            key,
            execution,
        })
    }
}

/// What `fhir-export` gives. It takes nothing: of any event, no field passes on but the name of the workflow's execution.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportStarted {
    /// Where the export's status can be asked for.
    pub status_url: String,
    /// What every output carries.
    #[serde(flatten)]
    pub carried: Carried,
}

/// What `check-export-status` and `check-import-status` take.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusQuery {
    /// Where to ask.
    pub status_url: String,
    /// What the previous output carried.
    pub carried: Carried,
}

impl StatusQuery {
    /// Reads the event.
    pub fn read(step: Step, event: &Value) -> Result<Self> {
        let object = object(step, event)?;
        let status_url = match object.get("statusUrl") {
            Some(Value::String(url)) if !url.is_empty() => url.clone(),
            Some(Value::Null) if step == Step::CheckImportStatus => {
                return Err(bad(
                    step,
                    "statusUrl",
                    "a URL; null means that nothing needed importing, and ends the workflow before this step",
                ));
            }
            _ => return Err(bad(step, "statusUrl", "a URL")),
        };
        Ok(Self {
            status_url,
            carried: Carried::read(step, event)?,
        })
    }
}

/// What `check-export-status` gives when the export is complete.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportComplete {
    /// The bulk export manifest, exactly as the source sent it, or a [`ManifestPlace`].
    pub result: Value,
    /// The export's status URL.
    pub status_url: String,
    /// Where the inputs of a Map's workers are, where they are made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batches: Option<BatchesPlace>,
    /// What every output carries.
    #[serde(flatten)]
    pub carried: Carried,
}

/// What stands for a manifest that is too large for Step Functions. Of it, `transfer-to-s3` reads `manifest` alone.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ManifestPlace {
    /// The URL of the run's manifest in staging.
    pub manifest: String,
    /// The manifest's own time.
    pub transaction_time: String,
    /// How many files it names.
    pub outputs: usize,
    /// How many files of deletions it names, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted: Option<usize>,
    /// How many files of errors it names, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errors: Option<usize>,
}

/// Where the inputs of a Map's workers are, in the words of an S3 `ItemReader`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BatchesPlace {
    /// The bucket.
    pub bucket: String,
    /// The object's key in it.
    pub key: String,
}

/// What `transfer-to-s3` takes: a whole run, or some of its files.
#[derive(Clone, Debug, PartialEq)]
pub enum TransferRequest {
    /// All files, and then the Parameters.
    Whole(WholeTransfer),
    /// A batch: just these files.
    Batch(BatchTransfer),
}

/// The transfer of a whole run.
#[derive(Clone, Debug, PartialEq)]
pub struct WholeTransfer {
    /// The manifest.
    pub manifest: ToldManifest,
    /// The export's status URL, where it is known: relative URLs in the manifest are taken from there.
    pub status_url: Option<String>,
    /// What the previous output carried.
    pub carried: Carried,
}

/// How the manifest is told.
#[derive(Clone, Debug, PartialEq)]
pub enum ToldManifest {
    /// Whole.
    Here(Value),
    /// By the URL of the one in staging.
    At(String),
}

/// The transfer of some of a run's files, and what is written on each line for a Map's workers.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchTransfer {
    /// The run's name.
    pub run: String,
    /// The files, by their indices among the manifest's outputs.
    pub items: Vec<usize>,
    /// The URL of the run's manifest in staging.
    pub manifest: String,
    /// The export's status URL, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_url: Option<String>,
    /// The name of the execution that made the batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution: Option<String>,
}

/// What `transfer-to-s3` gives when a batch is staged. It is short, for a Map gathers the answers of all workers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BatchStaged {
    /// The run's name.
    pub run: String,
    /// How many files are staged.
    pub files: usize,
    /// Their bytes in staging.
    pub bytes: u64,
}

impl TransferRequest {
    /// Reads the event.
    pub fn read(event: Value) -> Result<Self> {
        let step = Step::TransferToS3;
        let object = object(step, &event)?;
        let status_url = object
            .get("statusUrl")
            .and_then(Value::as_str)
            .map(str::to_owned);
        let carried = Carried::read(step, &event)?;
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        if let Some(items) = object.get("items") {
            if carried.run.is_empty() {
                return Err(bad(step, "run", "the name of the run of a batch"));
            }
            let items = items.as_array().and_then(|items| {
                let index =
                    |item: &Value| item.as_u64().and_then(|item| usize::try_from(item).ok());
                items.iter().map(index).collect()
            });
            return Ok(Self::Batch(BatchTransfer {
                run: carried.run,
                items: items.ok_or_else(|| {
                    bad(step, "items", "a list of indices of the manifest's output")
                })?,
                manifest: text(object.get("manifest"))
                    .ok_or_else(|| bad(step, "manifest", "the place of the run's manifest"))?,
                status_url,
                execution: carried.execution,
            }));
        }
        let place = object
            .get("result")
            .and_then(|result| text(result.get("manifest")));
        let manifest = match place {
            Some(place) => ToldManifest::At(place),
            None => match take(event, "result") {
                None | Some(Value::Null) => {
                    return Err(bad(step, "result", "a bulk export manifest"));
                }
                Some(manifest) => ToldManifest::Here(manifest),
            },
        };
        Ok(Self::Whole(WholeTransfer {
            manifest,
            status_url,
            carried,
        }))
    }
}

/// A field of an object that is not needed otherwise: a manifest is too large to be copied.
fn take(event: Value, name: &str) -> Option<Value> {
    match event {
        Value::Object(mut fields) => fields.remove(name),
        _ => None,
    }
}

/// What `transfer-to-s3` gives when every file is staged.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Staged {
    /// FHIR Parameters for `$import`, in the `source` dialect of the contract.
    pub parameters: Value,
    /// How many files of deletions the manifest names, which were not applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletions: Option<usize>,
    /// What every output carries.
    #[serde(flatten)]
    pub carried: Carried,
}

/// What `pathling-import` takes.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportRequest {
    /// FHIR Parameters for `$import`, in the `source` dialect of the contract.
    pub parameters: Value,
    /// What the previous output carried.
    pub carried: Carried,
}

impl ImportRequest {
    /// Reads the event.
    pub fn read(event: &Value) -> Result<Self> {
        let step = Step::PathlingImport;
        let object = object(step, event)?;
        let parameters = match object.get("parameters") {
            Some(value @ Value::Object(_)) => value.clone(),
            _ => return Err(bad(step, "parameters", "FHIR Parameters for $import")),
        };
        Ok(Self {
            parameters,
            carried: Carried::read(step, event)?,
        })
    }
}

/// What `pathling-import` gives.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImportStarted {
    /// Where the import's status can be asked for; an explicit null means that nothing needed importing.
    pub status_url: Option<String>,
    /// What every output carries.
    #[serde(flatten)]
    pub carried: Carried,
}

/// What `check-import-status` gives when the import is complete.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImportComplete {
    /// What Pathling answered.
    pub result: Value,
    /// What every output carries.
    #[serde(flatten)]
    pub carried: Carried,
}

fn object(step: Step, event: &Value) -> Result<&Map<String, Value>> {
    event
        .as_object()
        .ok_or_else(|| Kind::Input.error(format!("{}: the event is no JSON object", step.name())))
}

fn bad(step: Step, field: &str, expected: &str) -> Error {
    Kind::Input.error(format!(
        "{}: the event's \"{field}\" is not {expected}",
        step.name()
    ))
}
