//! What the source says about itself: its `CapabilityStatement`, and where a fault has it a definition of its own.

use serde_json::{Value, json};

use super::{BASE, Source};
use crate::call::{Call, Reply, fhir, outcome};
use crate::faults::Fault;
use crate::habits::Habit;
use crate::token::oauth_uris;

/// The IG's own definitions.
const IG: &str = "http://hl7.org/fhir/uv/bulkdata/OperationDefinition";

impl Source {
    /// The parameters that the source's own definition names; None where it has none of its own.
    fn named(&self) -> Option<String> {
        self.world.faults.peek(|fault| match fault {
            Fault::MetadataNames(names) => Some(names.clone()),
            _ => None,
        })
    }

    /// The source's `CapabilityStatement`.
    pub(super) fn metadata(&self) -> Reply {
        let edition = self.world.faults.peek(|fault| match fault {
            Fault::MetadataEdition(edition) => Some(edition.clone()),
            Fault::KickOffStu4 => Some("4.0.0".to_owned()),
            _ => None,
        });
        let version = edition
            .map(|edition| format!("|{edition}"))
            .unwrap_or_default();
        let own = self.named().is_some();
        let origin = self.world.told_source();
        let operation = |name: &str| {
            let definition = if own {
                format!("{origin}{BASE}/OperationDefinition/{name}")
            } else {
                format!("{IG}/{name}{version}")
            };
            json!([{"name": "export", "definition": definition}])
        };
        let mut security = json!({"cors": true});
        if self.world.faults.fires(&Fault::OauthUrisOnly) {
            security["extension"] = oauth_uris(&self.world);
        }
        if self.world.faults.has(&Habit::MetadataSilent) {
            return fhir(
                200,
                &self.statement(&json!({"mode": "server", "security": security})),
            );
        }
        let mut statement = self.statement(&json!({
            "mode": "server",
            "security": security,
            "resource": [
                {"type": "Patient", "operation": operation("patient-export")},
                {"type": "Group", "operation": operation("group-export")},
            ],
            "operation": operation("export"),
        }));
        statement["instantiates"] =
            json!(["http://hl7.org/fhir/uv/bulkdata/CapabilityStatement/bulk-data"]);
        fhir(200, &statement)
    }

    /// A `CapabilityStatement` of this one `rest`.
    fn statement(&self, rest: &Value) -> Value {
        let software = self
            .world
            .settings
            .profile
            .map_or("Sandbox source", |profile| profile.title);
        json!({
            "resourceType": "CapabilityStatement",
            "status": "active",
            "kind": "instance",
            "fhirVersion": "4.0.1",
            "format": ["application/fhir+json"],
            "software": {"name": software},
            "rest": [rest],
        })
    }

    /// A definition of the source's own.
    pub(super) fn operation_definition(&self, call: &Call, id: &str) -> Reply {
        if let Err(refusal) = self.authorise(call) {
            return refusal;
        }
        let Some(names) = self.named() else {
            return outcome(404, "not-found", "There is no such OperationDefinition");
        };
        let parameters: Vec<Value> = names
            .split(',')
            .map(|name| json!({"name": name, "use": "in", "min": 0, "max": "*", "type": "string"}))
            .collect();
        fhir(
            200,
            &json!({
                "resourceType": "OperationDefinition",
                "id": id,
                "status": "active",
                "kind": "operation",
                "code": "export",
                "parameter": parameters,
            }),
        )
    }
}
