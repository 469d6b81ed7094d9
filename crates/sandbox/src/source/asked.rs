//! What a kick-off asks for, read from the query of a GET or the Parameters of a POST, and refused as the strictest of the
//! real servers refuse it.

use std::collections::BTreeSet;

use http::{Method, header};
use jiff::Timestamp;
use serde_json::Value;

use super::Source;
use super::narrow::TypeFilter;
use crate::call::{Call, Reply, outcome, percent_decode, with};
use crate::faults::Fault;
use crate::types::{is_about_patients, is_r4};

/// What `_outputFormat` may say.
const FORMATS: [&str; 3] = ["application/fhir+ndjson", "application/ndjson", "ndjson"];

/// The parameters that may be lists with commas up to STU3.
const LISTS: [&str; 3] = ["_type", "_elements", "includeAssociatedData"];

/// What an export is asked for.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) since: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
    types: Vec<String>,
    patients_only: bool,
    /// The group whose members are asked for.
    pub(super) group: Option<String>,
    /// The patients that are asked for, by id; None for all.
    pub(super) patients: Option<BTreeSet<String>>,
    pub(super) filters: Vec<TypeFilter>,
    pub(super) elements: Vec<String>,
    /// Whether the files are to be organised by patient.
    pub(super) by_patient: bool,
    /// Whether the manifest may come in pieces.
    pub(super) in_pieces: bool,
}

impl Wanted {
    /// Whether resources of this type are asked for.
    pub(super) fn includes(&self, kind: &str) -> bool {
        (self.types.is_empty() || self.types.iter().any(|wanted| wanted == kind))
            && (!self.patients_only || is_about_patients(kind))
    }

    /// Whether what was changed then is asked for.
    pub(super) fn is_of(&self, changed: Timestamp) -> bool {
        self.since.is_none_or(|since| changed > since)
            && self.until.is_none_or(|until| changed < until)
    }
}

/// One value of a parameter.
pub(super) struct Given {
    pub(super) name: String,
    pub(super) value: String,
}

pub(super) fn refused(code: &str, what: &str) -> Reply {
    outcome(400, code, what)
}

impl Source {
    /// What is asked for, or the refusal.
    pub(super) fn asked(&self, call: &Call, path: &[&str]) -> Result<Wanted, Reply> {
        self.authorise(call)?;
        if !call.accepts("application/fhir+json") {
            return Err(outcome(
                406,
                "not-supported",
                "Accept must be application/fhir+json",
            ));
        }
        if !call.prefers("respond-async") {
            return Err(refused("required", "Prefer must be respond-async"));
        }
        self.takes_method(&call.method)?;
        self.takes_level(path)?;
        let mut wanted = Wanted {
            patients_only: path.len() > 1,
            ..Wanted::default()
        };
        if let ["Group", id, _] = path {
            if !self.store().contains("Group", id) {
                return Err(outcome(404, "not-found", "There is no such Group"));
            }
            wanted.group = Some((*id).to_owned());
            wanted.patients = self.members(id);
        }
        let given = if self.wants_document() {
            self.takes_document(call)?;
            of_query(call)?
        } else if call.method == Method::POST {
            self.of_body(call)?
        } else {
            of_query(call)?
        };
        self.takes(call, &given, path)?;
        let faults = &self.world.faults;
        let needed = faults.peek(|fault| match fault {
            Fault::KickOffWants(name) => Some(name.clone()),
            _ => None,
        });
        if let Some(needed) = &needed
            && !given.iter().any(|given| given.name == *needed)
        {
            return Err(refused(
                "required",
                &format!("The parameter '{needed}' is required"),
            ));
        }
        let mut patients = BTreeSet::new();
        for Given { name, value } in given {
            let is_lacking = faults
                .peek(|fault| (*fault == Fault::KickOffLacks(name.clone())).then_some(()))
                .is_some();
            let taken = if is_lacking {
                None
            } else if name == "patient" {
                let id = self.patient(call, &wanted, &value)?;
                patients.insert(id);
                Some(())
            } else if needed.as_ref() == Some(&name) {
                Some(())
            } else {
                take(&mut wanted, &name, &value)?
            };
            if taken.is_none() && !call.prefers("handling=lenient") {
                return Err(refused(
                    "not-supported",
                    &format!("The parameter '{name}' is not supported"),
                ));
            }
        }
        if !patients.is_empty() {
            wanted.patients = Some(patients);
        }
        if call.headers.contains_key(header::COOKIE) {
            return Err(refused("security", "Cookies are not wanted"));
        }
        Ok(wanted)
    }

    fn takes_method(&self, method: &Method) -> Result<(), Reply> {
        let on = |wanted: Fault| {
            let faults = &self.world.faults;
            faults
                .peek(|fault| (*fault == wanted).then_some(()))
                .is_some()
        };
        let only = |other: &str| {
            let what = format!("Only {other} is supported");
            Err(with(outcome(405, "not-supported", &what), "allow", other))
        };
        match *method {
            Method::GET if on(Fault::KickOffRefusesGet) || on(Fault::KickOffStu4) => only("POST"),
            Method::GET if self.wants_document() => only("POST"),
            Method::POST if on(Fault::KickOffRefusesPost) => only("GET"),
            _ => Ok(()),
        }
    }

    /// The patients of a group; None for all, where it lists no members.
    fn members(&self, id: &str) -> Option<BTreeSet<String>> {
        let lines = self.store().lines("Group");
        let groups = lines
            .iter()
            .filter_map(|line| serde_json::from_slice::<Value>(line).ok());
        let group = groups.into_iter().find(|group| group["id"] == *id)?;
        let members = group.get("member")?.as_array()?;
        let ids = members.iter().filter_map(|member| {
            let reference = member["entity"]["reference"].as_str()?;
            reference.strip_prefix("Patient/").map(str::to_owned)
        });
        Some(ids.collect())
    }

    /// The id of a patient that is asked for.
    fn patient(&self, call: &Call, wanted: &Wanted, reference: &str) -> Result<String, Reply> {
        if call.method != Method::POST {
            return Err(refused("not-supported", "patient is taken by POST only"));
        }
        if !wanted.patients_only {
            return Err(refused(
                "not-supported",
                "patient is for patients and groups only",
            ));
        }
        let known = reference
            .rsplit_once("Patient/")
            .map(|(_, id)| id)
            .filter(|id| {
                let is_member = wanted.patients.as_ref().is_none_or(|all| all.contains(*id));
                is_member && self.store().contains("Patient", id)
            });
        known
            .map(str::to_owned)
            .ok_or_else(|| refused("not-found", "A patient is not known here"))
    }

    /// The parameters of a POST.
    fn of_body(&self, call: &Call) -> Result<Vec<Given>, Reply> {
        let kind = call.header(header::CONTENT_TYPE).unwrap_or_default();
        if !kind.starts_with("application/fhir+json") {
            return Err(outcome(
                415,
                "not-supported",
                "The body must be application/fhir+json",
            ));
        }
        let body: Value = serde_json::from_slice(&call.body).unwrap_or_default();
        if body["resourceType"] != "Parameters" || !call.raw_query.is_empty() {
            return Err(refused(
                "structure",
                "The body must be Parameters, the query empty",
            ));
        }
        let stu4 = self
            .world
            .faults
            .peek(|fault| (*fault == Fault::KickOffStu4).then_some(()));
        let mut all = Vec::new();
        for entry in body["parameter"].as_array().into_iter().flatten() {
            let name = entry["name"].as_str().unwrap_or_default().to_owned();
            let flag = entry["valueBoolean"].as_bool();
            let flag = flag.map(|flag| Value::from(flag.to_string()));
            let value = match name.as_str() {
                "_since" | "_until" => &entry["valueInstant"],
                "patient" => &entry["valueReference"]["reference"],
                "includeAssociatedData" if stu4.is_some() => &entry["valueCoding"]["code"],
                "includeAssociatedData" => &entry["valueCode"],
                "allowPartialManifests" => flag.as_ref().unwrap_or(&entry["valueBoolean"]),
                _ => &entry["valueString"],
            };
            let Some(value) = value.as_str() else {
                return Err(refused(
                    "value",
                    &format!("The parameter '{name}' has another type"),
                ));
            };
            let is_list = LISTS.contains(&name.as_str());
            if !is_list {
                all.push(Given {
                    name,
                    value: value.to_owned(),
                });
            } else if stu4.is_some() && value.contains(',') {
                return Err(refused("value", &format!("'{name}' is no list: repeat it")));
            } else {
                all.extend(value.split(',').map(|item| Given {
                    name: name.clone(),
                    value: item.to_owned(),
                }));
            }
        }
        Ok(all)
    }
}

/// The parameters of a GET. A plus is nothing that a server could be sure of, and a comma separates before anything is
/// decoded where a search is meant, as STU2 has it.
fn of_query(call: &Call) -> Result<Vec<Given>, Reply> {
    if call.raw_query.contains('+') {
        return Err(refused("invalid", "The query holds an unencoded plus"));
    }
    let mut all = Vec::new();
    for pair in call.raw_query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, raw) = pair.split_once('=').unwrap_or((pair, ""));
        let name = percent_decode(name);
        let decoded = percent_decode(raw);
        let values: Vec<String> = match name.as_str() {
            "_typeFilter" => raw.split(',').map(percent_decode).collect(),
            list if LISTS.contains(&list) => decoded.split(',').map(str::to_owned).collect(),
            _ => vec![decoded],
        };
        all.extend(values.into_iter().map(|value| Given {
            name: name.clone(),
            value,
        }));
    }
    Ok(all)
}

/// Takes one value in; None where the parameter is not known.
fn take(wanted: &mut Wanted, name: &str, value: &str) -> Result<Option<()>, Reply> {
    let moment = || {
        instant(value).ok_or_else(|| {
            refused(
                "invalid",
                &format!("The {name} '{value}' is no FHIR instant in UTC"),
            )
        })
    };
    match name {
        "_outputFormat" if FORMATS.contains(&value) => {}
        "_outputFormat" => {
            return Err(refused(
                "not-supported",
                &format!("The _outputFormat '{value}' is not supported"),
            ));
        }
        "_since" => wanted.since = Some(moment()?),
        "_until" => wanted.until = Some(moment()?),
        "_type" if is_r4(value) => wanted.types.push(value.to_owned()),
        "_type" => {
            let what = format!("The _type '{value}' is no resource type");
            return Err(refused("invalid", &what));
        }
        "_typeFilter" => {
            let filter = TypeFilter::parse(value);
            let what = "The _typeFilter is no search that is known here";
            wanted
                .filters
                .push(filter.ok_or_else(|| refused("not-supported", what))?);
        }
        "_elements" => wanted.elements.push(value.to_owned()),
        "includeAssociatedData"
            if value.starts_with('_')
                || ["LatestProvenanceResources", "RelevantProvenanceResources"]
                    .contains(&value) => {}
        "includeAssociatedData" => {
            return Err(refused(
                "code-invalid",
                "includeAssociatedData has no such code",
            ));
        }
        "organizeOutputBy" if value == "Patient" => wanted.by_patient = true,
        "organizeOutputBy" => {
            let what = "Files can be organised by Patient alone";
            return Err(refused("not-supported", what));
        }
        "allowPartialManifests" if matches!(value, "true" | "false") => {
            wanted.in_pieces = value == "true";
        }
        "allowPartialManifests" => {
            return Err(refused("value", "allowPartialManifests is true or false"));
        }
        _ => return Ok(None),
    }
    Ok(Some(()))
}

/// A FHIR instant in UTC, with `Z`: date, time to the second at least, zone.
fn instant(text: &str) -> Option<Timestamp> {
    let shape = b"0000-00-00T00:00:00";
    let bytes = text.as_bytes();
    let fits = bytes.len() > shape.len()
        && shape.iter().zip(bytes).all(|(wanted, byte)| {
            if *wanted == b'0' {
                byte.is_ascii_digit()
            } else {
                wanted == byte
            }
        });
    (fits && text.ends_with('Z'))
        .then(|| text.parse().ok())
        .flatten()
}
