//! What an export is asked for, and how that is written: as the query of a GET, or as the Parameters of a POST.
//!
//! The editions of the IG differ in how several values of one parameter are written. STU1 to STU3 have lists with commas
//! (and take repeated parameters as if they were lists), except that STU3's `_typeFilter` is one search each; STU4 knows
//! repeated parameters only. So a list goes as one value, and is repeated for STU4; `_typeFilter` is always repeated, which
//! all of them take. In a query every comma inside a search is `%2C`, so that whoever splits a list before decoding it, as
//! STU2 has it, does not cut the search in two.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use url::Url;

use crate::config::{ExportSettings, Level};
use crate::http;

/// The system of the codes of `includeAssociatedData`.
const ASSOCIATED: &str = "http://hl7.org/fhir/uv/bulkdata/CodeSystem/include-associated-data";

/// The parameter that allows a manifest in pieces.
pub(super) const PARTIAL_MANIFESTS: &str = "allowPartialManifests";

/// What is asked of the source.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The types; empty means all.
    pub types: Vec<String>,
    /// Only what changed after this instant, in UTC.
    pub since: Option<String>,
    /// Whether status requests are to be answered with the status of the request, and not of the job (STU4).
    pub separate_status: bool,
    /// Whether the manifest may come in pieces while the job goes on (STU3).
    pub partial_manifests: bool,
    /// All else.
    pub export: ExportSettings,
}

/// How a value is written in Parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    String,
    Instant,
    /// A list: one value with commas, or one each.
    List,
    /// A list of codes.
    Codes,
    Reference,
    Boolean,
}

/// A parameter and its values.
struct Parameter<'a> {
    name: &'a str,
    form: Form,
    values: Vec<&'a str>,
}

impl Wanted {
    /// Where the kick-off goes, without its parameters.
    #[must_use]
    pub fn address(&self, endpoint: &Url) -> Url {
        match &self.export.level {
            Level::System => http::below(endpoint, "$export"),
            Level::Patient => http::below(endpoint, "Patient/$export"),
            Level::Group(id) => {
                let mut url = http::below(endpoint, "Group");
                if let Ok(mut segments) = url.path_segments_mut() {
                    segments.push(id).push("$export");
                }
                url
            }
        }
    }

    /// All of it, in an order that never changes.
    fn parameters(&self) -> Vec<Parameter<'_>> {
        let export = &self.export;
        let format = std::slice::from_ref(&export.output_format);
        let all: [(&str, Form, &[String]); 9] = [
            ("_outputFormat", Form::String, format),
            ("_since", Form::Instant, self.since.as_slice()),
            ("_until", Form::Instant, export.until.as_slice()),
            ("_type", Form::List, &self.types),
            ("_typeFilter", Form::String, &export.type_filters),
            ("_elements", Form::List, &export.elements),
            ("patient", Form::Reference, &export.patients),
            (
                "includeAssociatedData",
                Form::Codes,
                &export.include_associated_data,
            ),
            (
                "organizeOutputBy",
                Form::String,
                export.organize_output_by.as_slice(),
            ),
        ];
        let mut all: Vec<_> = all
            .into_iter()
            .filter(|(_, _, values)| !values.is_empty())
            .map(|(name, form, values)| Parameter {
                name,
                form,
                values: values.iter().map(String::as_str).collect(),
            })
            .collect();
        if self.partial_manifests {
            all.push(Parameter {
                name: PARTIAL_MANIFESTS,
                form: Form::Boolean,
                values: vec!["true"],
            });
        }
        all.extend(export.parameters.iter().map(|(name, value)| Parameter {
            name,
            form: Form::String,
            values: vec![value],
        }));
        all
    }

    /// What may be written down of it, by name. Patients are left out, and of searches and of a vendor's own parameters, which
    /// may name patients too, there are the names alone.
    #[must_use]
    pub fn told(&self) -> BTreeMap<String, String> {
        let vendors = |name: &str| self.export.parameters.iter().any(|(own, _)| own == name);
        let told = self
            .parameters()
            .into_iter()
            .filter(|parameter| parameter.name != "patient")
            .map(|Parameter { name, values, .. }| {
                let value = match name {
                    "_typeFilter" => values
                        .into_iter()
                        .map(http::shown_str)
                        .collect::<Vec<_>>()
                        .join(","),
                    _ if vendors(name) => "…".to_owned(),
                    _ => values.join(","),
                };
                (name.to_owned(), value)
            });
        told.collect()
    }

    /// The names of what is asked for.
    pub(super) fn names(&self) -> Vec<&str> {
        self.parameters()
            .iter()
            .map(|parameter| parameter.name)
            .collect()
    }

    /// The URL of a kick-off by GET.
    pub(super) fn url(&self, endpoint: &Url) -> Url {
        let mut pairs = Vec::new();
        for Parameter { name, form, values } in self.parameters() {
            match form {
                Form::List | Form::Codes => pairs.push((name, values.join(","))),
                _ => pairs.extend(values.into_iter().map(|value| (name, value.to_owned()))),
            }
        }
        let query: Vec<String> = pairs
            .iter()
            .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
            .collect();
        let mut url = self.address(endpoint);
        url.set_query(Some(&query.join("&")));
        url
    }

    /// The body of a kick-off by POST. Where the source is one of STU4, lists are repeated parameters.
    pub(super) fn body(&self, stu4: bool) -> Value {
        let mut entries = Vec::new();
        for Parameter { name, form, values } in self.parameters() {
            let mut entry =
                |key: &str, value: Value| entries.push(json!({"name": name, key: value}));
            match form {
                Form::List if stu4 => {
                    for value in values {
                        entry("valueString", value.into());
                    }
                }
                Form::List => entry("valueString", values.join(",").into()),
                Form::Codes if stu4 => {
                    for value in values {
                        let coding = if value.starts_with('_') {
                            json!({"code": value})
                        } else {
                            json!({"system": ASSOCIATED, "code": value})
                        };
                        entry("valueCoding", coding);
                    }
                }
                Form::Boolean => entry("valueBoolean", true.into()),
                Form::Codes | Form::String | Form::Instant | Form::Reference => {
                    for value in values {
                        match form {
                            Form::Codes => entry("valueCode", value.into()),
                            Form::Instant => entry("valueInstant", value.into()),
                            Form::Reference => entry("valueReference", json!({"reference": value})),
                            _ => entry("valueString", value.into()),
                        }
                    }
                }
            }
        }
        json!({"resourceType": "Parameters", "parameter": entries})
    }
}

/// A name or value for a query. A space is %20 and a plus %2B: some servers refuse every plus that they see, and a space as
/// forms have it is one.
fn encoded(text: &str) -> String {
    let form: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
    form.replace('+', "%20")
}

#[cfg(test)]
#[path = "asked_tests.rs"]
pub(super) mod tests;
