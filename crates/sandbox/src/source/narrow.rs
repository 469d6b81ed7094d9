//! What an export leaves out of the resources of its types: other patients', those that no search finds, and elements.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde_json::{Value, json};

use super::asked::Wanted;

/// The searches that are known.
const SEARCHES: [&str; 4] = ["_id", "gender", "status", "code"];

/// What stays of a resource whose elements are cut, beside those that were asked for.
const MANDATORY: [&str; 6] = ["resourceType", "id", "meta", "status", "code", "class"];

/// A search over one type: `Observation?code=1,2&status=final`.
#[derive(Debug)]
pub(super) struct TypeFilter {
    kind: String,
    criteria: Vec<(String, Vec<String>)>,
}

impl TypeFilter {
    /// None where it is no search, or not one that is known.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (kind, query) = text.split_once('?')?;
        let criteria: Vec<_> = crate::call::form(query)
            .into_iter()
            .map(|(name, value)| (name, value.split(',').map(str::to_owned).collect()))
            .collect();
        let known = |(name, _): &(String, _)| SEARCHES.contains(&name.as_str());
        (!criteria.is_empty() && criteria.iter().all(known)).then(|| Self {
            kind: kind.to_owned(),
            criteria,
        })
    }

    fn finds(&self, resource: &Value) -> bool {
        self.criteria.iter().all(|(name, values)| {
            let element = resource.get(name.trim_start_matches('_'));
            let codings = element.and_then(|element| element.get("coding")?.as_array());
            values.iter().any(|value| {
                let code = value.rsplit('|').next().unwrap_or_default();
                element.and_then(Value::as_str) == Some(value)
                    || codings.is_some_and(|all| all.iter().any(|coding| coding["code"] == code))
            })
        })
    }
}

impl Wanted {
    /// Whether every resource of this type is exported as it is.
    pub(super) fn leaves_whole(&self, kind: &str) -> bool {
        self.patients.is_none()
            && self.filters_of(kind).is_empty()
            && self.elements_of(kind).is_empty()
    }

    /// The lines of a type as the export has them.
    pub(super) fn narrow(&self, kind: &str, lines: Vec<Bytes>) -> Vec<Bytes> {
        if self.leaves_whole(kind) {
            return lines;
        }
        let (filters, elements) = (self.filters_of(kind), self.elements_of(kind));
        let mut kept = Vec::new();
        for line in lines {
            let Ok(mut resource) = serde_json::from_slice::<Value>(&line) else {
                continue;
            };
            let found = filters.is_empty() || filters.iter().any(|filter| filter.finds(&resource));
            if !found || !self.is_about_wanted(kind, &resource) {
                continue;
            }
            if elements.is_empty() {
                kept.push(line);
            } else {
                cut(&mut resource, &elements);
                kept.push(Bytes::from(resource.to_string()));
            }
        }
        kept
    }

    fn filters_of(&self, kind: &str) -> Vec<&TypeFilter> {
        let all = self.filters.iter();
        all.filter(|filter| filter.kind == kind).collect()
    }

    fn elements_of(&self, kind: &str) -> BTreeSet<&str> {
        let all = self.elements.iter();
        all.filter_map(|element| match element.split_once('.') {
            Some((of, name)) => (of == kind).then_some(name),
            None => Some(element.as_str()),
        })
        .collect()
    }

    /// Whether a resource is in the compartment of a patient that is asked for.
    fn is_about_wanted(&self, kind: &str, resource: &Value) -> bool {
        let Some(patients) = &self.patients else {
            return true;
        };
        let id = resource["id"].as_str().unwrap_or_default();
        match kind {
            "Patient" => patients.contains(id),
            "Group" => self.group.as_deref() == Some(id),
            _ => refers_to(resource, patients),
        }
    }
}

/// Whether a resource refers to one of these patients anywhere.
fn refers_to(value: &Value, patients: &BTreeSet<String>) -> bool {
    match value {
        Value::Object(members) => members.iter().any(|(name, value)| match value.as_str() {
            Some(text) if name == "reference" => text
                .strip_prefix("Patient/")
                .is_some_and(|id| patients.contains(id)),
            _ => refers_to(value, patients),
        }),
        Value::Array(items) => items.iter().any(|item| refers_to(item, patients)),
        _ => false,
    }
}

/// Leaves these elements and the mandatory ones, and says that something is missing.
fn cut(resource: &mut Value, elements: &BTreeSet<&str>) {
    if let Some(members) = resource.as_object_mut() {
        members.retain(|name, _| {
            elements.contains(name.as_str()) || MANDATORY.contains(&name.as_str())
        });
    }
    let system = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue";
    resource["meta"]["tag"] = json!([{"system": system, "code": "SUBSETTED"}]);
}
