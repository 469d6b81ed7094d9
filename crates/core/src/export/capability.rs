//! What the source says beforehand about its export: its `CapabilityStatement`, and the definition that this names.
//!
//! What the two can tell is little, and most servers tell less:
//!
//! - `rest.operation` (the whole system) and `rest.resource.operation` (of `Patient` and `Group`) name the operation
//!   `export` and a canonical URL of its definition. A `CapabilityStatement` has no place for an operation's parameters.
//! - The canonical is mostly the IG's own (`http://hl7.org/fhir/uv/bulkdata/OperationDefinition/export`, `patient-export`
//!   or `group-export`), the same in every edition. Only a version behind it (`|3.0.0`), or behind the IG's
//!   `CapabilityStatement` in `instantiates` or the IG itself in `implementationGuide`, tells the edition and so the
//!   parameters that there are. Servers that write no version (the examples in the IG write none) leave both open.
//! - Other servers (HAPI among them) name a definition of their own, which lies below their base and lists the parameters
//!   that they read. Only such a one is fetched: what lies elsewhere is nobody this program was told to speak to.
//! - A `rest.resource` may have the extension `operation-not-supported` (STU3): the type is not exported.
//!
//! So silence means nothing, and is no reason for a warning. A parameter or type that the source does name as unknown is
//! one: servers may ignore it in silence, and then more is exported than was asked for.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use tracing::warn;
use url::Url;

use super::asked::PARTIAL_MANIFESTS;
use super::{FHIR_JSON, Wanted};
use crate::config::Level;
use crate::error::{Error, Kind, Result};
use crate::http::{self, Client, Request, TokenUse, shown};
use crate::progress::Software;

/// The largest statement or definition that is read, in bytes: a large server's has some megabytes.
const LIMIT: usize = 32 << 20;

/// How long both may take together. The export does not depend on them.
const LONGEST: Duration = Duration::from_secs(10);

/// What the canonical URLs of the IG begin with.
const IG: &str = "http://hl7.org/fhir/uv/bulkdata/";

/// The extension that says of a type that an operation leaves it out.
const NOT_SUPPORTED: &str =
    "http://hl7.org/fhir/uv/bulkdata/StructureDefinition/operation-not-supported";

/// What the source says about its export.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Capability {
    /// The edition of the IG, where it is told.
    edition: Option<u32>,
    /// The parameters that the operation has, where that is told.
    parameters: Option<BTreeSet<String>>,
    /// Types that are not exported.
    left_out: BTreeSet<String>,
    /// What the source says that it is.
    software: Software,
}

impl Capability {
    /// Asks the source, for the operation of this level.
    ///
    /// The error says why nothing is known.
    pub async fn read(client: &Client, endpoint: &Url, level: &Level) -> Result<Self> {
        let reading = Box::pin(read(client, endpoint, level));
        tokio::time::timeout(LONGEST, reading)
            .await
            .unwrap_or_else(|_| {
                let url = shown(&http::below(endpoint, "metadata"));
                let seconds = LONGEST.as_secs();
                Err(Kind::SourceUnavailable.error(format!("GET {url}: no answer in {seconds} s")))
            })
    }

    /// Whether the operation is the one of STU4, which takes POST only and knows no lists.
    #[must_use]
    pub fn is_stu4(&self) -> bool {
        self.edition.is_some_and(|edition| edition >= 4)
    }

    /// What the source says that it is.
    #[must_use]
    pub fn software(&self) -> &Software {
        &self.software
    }

    /// Whether the source is known not to know a manifest in pieces. Nothing but time depends on that, so such a source is not
    /// asked for it.
    #[must_use]
    pub fn lacks_partial_manifests(&self) -> bool {
        let known = self.parameters.as_ref();
        known.is_some_and(|known| !known.contains(PARTIAL_MANIFESTS))
    }

    /// Warns of everything that is asked for and that the source is known not to know.
    pub fn warn_of_unsupported(&self, wanted: &Wanted) {
        for name in self.unsupported_parameters(wanted) {
            if name == PARTIAL_MANIFESTS {
                warn!(
                    parameter = name,
                    "the source's definition of $export has no such parameter, so it is not asked for that (ALLOW_PARTIAL_MANIFESTS)"
                );
                continue;
            }
            warn!(
                parameter = name,
                "the source's definition of $export has no such parameter: it may refuse the export, or export more than is asked for"
            );
        }
        for name in wanted
            .types
            .iter()
            .filter(|name| self.left_out.contains(*name))
        {
            warn!(
                r#type = name,
                "the source says that it does not export this type"
            );
        }
    }

    fn unsupported_parameters<'a>(&self, wanted: &'a Wanted) -> BTreeSet<&'a str> {
        let Some(known) = &self.parameters else {
            return BTreeSet::new();
        };
        // Every server must take the format, whether its definition says so or not.
        let asked = wanted
            .names()
            .into_iter()
            .filter(|name| *name != "_outputFormat");
        asked.filter(|name| !known.contains(*name)).collect()
    }
}

async fn read(client: &Client, endpoint: &Url, level: &Level) -> Result<Capability> {
    let statement = get(client, http::below(endpoint, "metadata")).await?;
    if statement.get("resourceType").and_then(Value::as_str) != Some("CapabilityStatement") {
        let url = shown(&http::below(endpoint, "metadata"));
        return Err(Kind::ExportFailed.error(format!("GET {url} is no CapabilityStatement")));
    }
    let told = Told::of(&statement, level);
    let mut capability = Capability {
        edition: told.edition,
        parameters: None,
        left_out: told.left_out,
        software: Software::of(&statement),
    };
    let Some(definition) = told.definition else {
        return Ok(capability);
    };
    if let Some(operation) = definition.strip_prefix(IG) {
        let of_system = matches!(level, Level::System);
        capability.edition = version(operation).or(capability.edition);
        capability.parameters = capability
            .edition
            .and_then(|edition| parameters_of(edition, of_system));
    } else if let Some(url) = own(endpoint, &definition) {
        // What the statement has told stays told where its definition is not to be had.
        match get(client, url).await {
            Ok(definition) => {
                capability.parameters = named(&definition);
                let of_ig = |url: &&str| url.starts_with(IG);
                let text = |name: &str| definition.get(name).and_then(Value::as_str);
                if text("url")
                    .filter(of_ig)
                    .or(text("base").filter(of_ig))
                    .is_some()
                {
                    capability.edition = text("version").and_then(major).or(capability.edition);
                }
            }
            Err(error) => unread(&error),
        }
    }
    Ok(capability)
}

/// Says that something could not be read which the export does not depend on.
pub(crate) fn unread(error: &Error) {
    warn!(
        error = error.what(),
        "what the source says about its export could not be read, so parameters that it does not know are not warned of"
    );
}

async fn get(client: &Client, url: Url) -> Result<Value> {
    let request = Request::get(url).accept(FHIR_JSON);
    let response = client.send(request.token(TokenUse::WhereTrusted)).await?;
    if response.status().as_u16() != 200 {
        return Err(http::failure(response, "the capabilities of the source").await);
    }
    response.json(LIMIT).await
}

/// What a `CapabilityStatement` tells.
struct Told {
    definition: Option<String>,
    edition: Option<u32>,
    left_out: BTreeSet<String>,
}

impl Told {
    fn of(statement: &Value, level: &Level) -> Self {
        let servers = || {
            let is_server = |rest: &&Value| rest.get("mode").is_none_or(|mode| mode == "server");
            list(statement, "rest").filter(is_server)
        };
        let resources = || servers().flat_map(|rest| list(rest, "resource"));
        let of_type = |name: &'static str| {
            let typed = resources().filter(move |resource| text(resource, "type") == Some(name));
            typed
                .flat_map(|resource| list(resource, "operation"))
                .collect()
        };
        let operations: Vec<&Value> = match level {
            Level::System => servers().flat_map(|rest| list(rest, "operation")).collect(),
            Level::Patient => of_type("Patient"),
            Level::Group(_) => of_type("Group"),
        };
        let definition = operations
            .into_iter()
            .filter(|operation| {
                text(operation, "name").is_some_and(|name| name.trim_start_matches('$') == "export")
            })
            .find_map(definition_of);
        let stated = ["instantiates", "implementationGuide"]
            .into_iter()
            .flat_map(|name| list(statement, name))
            .filter_map(Value::as_str)
            .filter(|canonical| canonical.starts_with(IG))
            .find_map(version);
        let left_out = resources().filter(|resource| {
            list(resource, "extension").any(|extension| {
                let of = extension.get("valueCanonical").and_then(Value::as_str);
                text(extension, "url") == Some(NOT_SUPPORTED)
                    && of.is_some_and(|canonical| unversioned(canonical).ends_with("export"))
            })
        });
        Self {
            definition,
            edition: stated,
            left_out: left_out
                .filter_map(|resource| text(resource, "type"))
                .map(str::to_owned)
                .collect(),
        }
    }
}

/// The canonical of an operation's definition: a text in R4, a reference in STU3.
fn definition_of(operation: &Value) -> Option<String> {
    let definition = operation.get("definition")?;
    definition
        .as_str()
        .or_else(|| text(definition, "reference"))
        .map(str::to_owned)
}

fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value
        .get(name)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Value::as_str)
}

fn unversioned(canonical: &str) -> &str {
    canonical.split('|').next().unwrap_or_default()
}

/// The edition that a canonical's version tells.
fn version(canonical: &str) -> Option<u32> {
    major(canonical.split_once('|')?.1)
}

fn major(version: &str) -> Option<u32> {
    version.split('.').next()?.parse().ok()
}

/// The definition's URL where it lies below the source's base.
fn own(endpoint: &Url, definition: &str) -> Option<Url> {
    let text = unversioned(definition);
    let url = match Url::parse(text) {
        Ok(url) => http::status_url_for_polling(endpoint, &url),
        Err(_) if text.starts_with("OperationDefinition/") => http::below(endpoint, text),
        Err(_) => return None,
    };
    let base = http::below(endpoint, "OperationDefinition");
    let below = url.path().strip_prefix(base.path())?.strip_prefix('/')?;
    (url.origin() == base.origin() && !below.is_empty()).then_some(url)
}

/// The parameters that a definition has.
fn named(definition: &Value) -> Option<BTreeSet<String>> {
    if text(definition, "resourceType") != Some("OperationDefinition") {
        return None;
    }
    let inputs = list(definition, "parameter")
        .filter(|parameter| text(parameter, "use").is_none_or(|of| of == "in"));
    let names: BTreeSet<String> = inputs
        .filter_map(|parameter| text(parameter, "name"))
        .map(str::to_owned)
        .collect();
    // One without parameters was not written down to its end.
    (!names.is_empty()).then_some(names)
}

/// The parameters of the IG's own definition in this edition.
fn parameters_of(edition: u32, of_system: bool) -> Option<BTreeSet<String>> {
    let mut names = match edition {
        0 => return None,
        1 => Vec::new(),
        2 => vec!["_elements", "includeAssociatedData"],
        _ => vec![
            "_elements",
            "includeAssociatedData",
            "_until",
            "organizeOutputBy",
            "allowPartialManifests",
        ],
    };
    names.extend(["_outputFormat", "_since", "_type", "_typeFilter"]);
    if edition >= 2 && !of_system {
        names.push("patient");
    }
    Some(names.into_iter().map(str::to_owned).collect())
}

/// Reads a value as either document.
#[cfg(any(test, fuzzing))]
pub(super) fn fuzzing(endpoint: &Url, value: &Value) {
    for level in [Level::System, Level::Patient, Level::Group("1".to_owned())] {
        if let Some(definition) = Told::of(value, &level).definition {
            let _ = (own(endpoint, &definition), version(&definition));
        }
    }
    let _ = named(value);
    let _ = text(value, "version").and_then(major);
}

#[cfg(test)]
#[path = "capability_tests.rs"]
mod tests;
