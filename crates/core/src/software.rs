//! What a server says that it is, in its `CapabilityStatement`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How much of each of its words is kept, in characters.
const LONGEST: usize = 200;

/// What a server says that it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Software {
    /// `software.name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `software.version`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// `software.releaseDate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release_date: Option<String>,
    /// `fhirVersion`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fhir_version: Option<String>,
}

impl Software {
    /// What a `CapabilityStatement` says.
    #[must_use]
    pub fn of(statement: &Value) -> Self {
        let of = |pointer: &str| {
            let text = statement.pointer(pointer)?.as_str()?;
            let printed = text.chars().filter(|c| !c.is_control());
            Some(printed.take(LONGEST).collect())
        };
        Self {
            name: of("/software/name"),
            version: of("/software/version"),
            release_date: of("/software/releaseDate"),
            fhir_version: of("/fhirVersion"),
        }
    }

    /// The same, or `None` where it says nothing.
    #[must_use]
    pub fn if_any(&self) -> Option<Self> {
        (*self != Self::default()).then(|| self.clone())
    }
}
