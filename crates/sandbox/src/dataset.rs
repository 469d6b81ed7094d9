//! What the source holds at first: a synthetic set, or a folder of NDJSON files and FHIR JSON resources.

use std::fs;
use std::io;
use std::path::Path;

use bytes::Bytes;
use serde_json::{Value, json};

/// One resource: its type, its id where it has one, and its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// The resource type.
    pub resource_type: String,
    /// The logical id; None where the line has none that is a string.
    pub id: Option<String>,
    /// The JSON on one line, without a line end.
    pub line: Bytes,
}

/// Resources in an order that never changes.
#[derive(Debug, Clone, Default)]
pub struct Dataset(pub(crate) Vec<Resource>);

impl Dataset {
    /// A small hospital: this many patients, as many encounters, twice as many conditions, three times as many
    /// observations, and a practitioner for every ten patients. The same number always gives the same bytes.
    #[must_use]
    pub fn synthetic(patients: usize) -> Self {
        Self::of(&[
            ("Practitioner", patients.div_ceil(10)),
            ("Patient", patients),
            ("Encounter", patients),
            ("Condition", 2 * patients),
            ("Observation", 3 * patients),
        ])
    }

    /// So many resources of each type, with ids `<type in lower case>-<n>` from 1.
    #[must_use]
    pub fn of(sizes: &[(&str, usize)]) -> Self {
        Self(
            sizes
                .iter()
                .flat_map(|&(kind, count)| (1..=count).map(move |n| resource(kind, n, "")))
                .collect(),
        )
    }

    /// So many resources of one type, each padded to at least this many bytes.
    #[must_use]
    pub fn padded(resource_type: &str, count: usize, bytes: usize) -> Self {
        let padding = "The quick brown fox jumps over the lazy dog. ".repeat(bytes / 45 + 1);
        let lines = (1..=count).map(|n| {
            let plain = resource(resource_type, n, "x").line.len();
            let wanted = bytes.saturating_sub(plain) + 1;
            resource(resource_type, n, padding.get(..wanted).unwrap_or("x"))
        });
        Self(lines.collect())
    }

    /// Nothing at all.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// These resources too.
    #[must_use]
    pub fn and(mut self, more: Self) -> Self {
        self.0.extend(more.0);
        self
    }

    /// The resources of a folder and the folders in it, by name: a line each of every `.ndjson` file, its bytes as
    /// they are; every `.json` file that is a FHIR resource, on one line. Blank lines and other files are left out.
    pub fn folder(path: impl AsRef<Path>) -> io::Result<Self> {
        let mut resources = Vec::new();
        read_folder(path.as_ref(), &mut resources)?;
        Ok(Self(resources))
    }
}

fn read_folder(folder: &Path, resources: &mut Vec<Resource>) -> io::Result<()> {
    let mut paths = fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            read_folder(&path, resources)?;
            continue;
        }
        let stem = path
            .file_stem()
            .map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("ndjson") => {
                let file = Bytes::from(fs::read(&path)?);
                let named = stem.split('.').next().unwrap_or_default();
                resources.extend(lines(&file).map(|line| from_line(line, named)));
            }
            Some("json") => {
                let value: Option<Value> = serde_json::from_slice(&fs::read(&path)?).ok();
                resources.extend(value.as_ref().and_then(from_value));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The lines of a file that hold anything, without their line ends.
fn lines(file: &Bytes) -> impl Iterator<Item = Bytes> {
    file.split(|byte| *byte == b'\n').filter_map(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        (!line.trim_ascii().is_empty()).then(|| file.slice_ref(line))
    })
}

/// A line as a resource; of the type that the file's name tells where the line does not.
fn from_line(line: Bytes, named: &str) -> Resource {
    let value: Value = serde_json::from_slice(&line).unwrap_or_default();
    let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    Resource {
        resource_type: text("resourceType").unwrap_or_else(|| named.to_owned()),
        id: text("id"),
        line,
    }
}

/// A JSON value as a resource; None when it is none.
pub(crate) fn from_value(value: &Value) -> Option<Resource> {
    let resource_type = value.get("resourceType")?.as_str()?.to_owned();
    let id = value.get("id").and_then(Value::as_str).map(str::to_owned);
    Some(Resource {
        resource_type,
        id,
        line: Bytes::from(value.to_string()),
    })
}

/// A synthetic resource. `text` goes into its narrative, where it is not empty.
pub(crate) fn resource(kind: &str, n: usize, text: &str) -> Resource {
    let id = format!("{}-{n}", kind.to_ascii_lowercase());
    let patient = format!("Patient/patient-{}", n.div_ceil(3));
    let mut value = json!({"resourceType": kind, "id": id});
    if !text.is_empty() {
        value["text"] = json!({
            "status": "generated",
            "div": format!("<div xmlns=\"http://www.w3.org/1999/xhtml\">{text}</div>"),
        });
    }
    match kind {
        "Patient" => {
            value["name"] = json!([{"family": format!("Müller-{n}"), "given": ["Zoë"]}]);
            value["gender"] = json!(if n.is_multiple_of(2) {
                "female"
            } else {
                "male"
            });
            value["birthDate"] = json!(format!(
                "19{:02}-{:02}-{:02}",
                n % 100,
                n % 12 + 1,
                n % 28 + 1
            ));
        }
        "Practitioner" => value["name"] = json!([{"family": format!("Okafor-{n}")}]),
        "Encounter" => {
            value["status"] = json!("finished");
            value["class"] = json!({"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"});
            value["subject"] = json!({"reference": patient});
        }
        "Condition" => {
            value["code"] = json!({"coding": [{"system": "http://snomed.info/sct", "code": (73_211_009 + n % 7).to_string()}]});
            value["subject"] = json!({"reference": patient});
        }
        "Observation" => {
            value["status"] = json!("final");
            value["code"] = json!({"coding": [{"system": "http://loinc.org", "code": "8867-4"}]});
            value["subject"] = json!({"reference": patient});
            value["valueQuantity"] = json!({"value": 60 + n % 40, "unit": "/min"});
        }
        _ => {}
    }
    Resource {
        resource_type: kind.to_owned(),
        id: Some(id),
        line: Bytes::from(value.to_string()),
    }
}
