//! What the target tells about itself and its data: metadata, counts, searches, reads; and single deletions.

use serde_json::{Value, json};

use super::{Pathling, PathlingVersion, Row, not_supported};
use crate::call::{Call, Reply, empty, fhir, outcome, plain_json};
use crate::record::Service;
use crate::token::{oauth_uris, smart_configuration};
use crate::types::{importable, is_importable};

/// How many entries a search gives where nothing else is asked for.
const PAGE: usize = 100;

impl Pathling {
    pub(super) fn smart_configuration(&self) -> Reply {
        match smart_configuration(&self.world, Service::Target) {
            Some(configuration) => plain_json(200, &configuration),
            None => outcome(
                404,
                "not-found",
                "HAPI-0302: Unknown resource type '.well-known'",
            ),
        }
    }

    /// The `CapabilityStatement`, open even when authentication is on.
    pub(super) fn metadata(&self) -> Reply {
        let (name, software, version, suffix) = match self.version {
            PathlingVersion::Seven => ("Pathling", "7.2.0+5c2d9ab", "7.2.0", 7),
            PathlingVersion::Two => ("Pathling Server", "2.0.1+91e04c7", "2.0.1", 2),
        };
        let interactions: &[&str] = match self.version {
            PathlingVersion::Seven => &["search-type", "create", "update"],
            PathlingVersion::Two => &["search-type", "update", "create", "read", "delete"],
        };
        let interactions: Vec<_> = interactions
            .iter()
            .map(|code| json!({"code": code}))
            .collect();
        let resources: Vec<_> = importable(self.version)
            .map(|kind| json!({"type": kind, "interaction": interactions}))
            .collect();
        let definition = "https://pathling.csiro.au/fhir/OperationDefinition";
        let operations: Vec<_> = ["import", "job"]
            .iter()
            .map(
                |name| json!({"name": name, "definition": format!("{definition}/{name}-{suffix}")}),
            )
            .collect();
        let mut security = json!({"cors": true});
        if self.world.settings.target_auth {
            security["service"] = json!([{"text": "SMART-on-FHIR"}]);
            security["extension"] = oauth_uris(&self.world);
        }
        fhir(
            200,
            &json!({
                "resourceType": "CapabilityStatement",
                "version": version,
                "status": "active",
                "kind": "instance",
                "software": {"name": name, "version": software},
                "fhirVersion": "4.0.1",
                "format": ["json", "xml"],
                "rest": [{
                    "mode": "server",
                    "security": security,
                    "resource": resources,
                    "interaction": [{"code": "batch"}],
                    "operation": operations,
                }],
            }),
        )
    }

    /// `GET [type]`: how many there are, and the first of them unless only the number is asked for.
    pub(super) fn search(&self, call: &Call, kind: &str) -> Reply {
        if !is_importable(self.version, kind) {
            let text = format!("HAPI-0302: Unknown resource type '{kind}'");
            return outcome(404, "not-found", &text);
        }
        if let Err(refusal) = self.authorise(call, &["pathling:search", "pathling:read"]) {
            return refusal;
        }
        if call.parameter("_id").is_some() {
            return not_supported(call);
        }
        let tables = self.tables();
        let rows = tables.rows(kind);
        if rows.iter().any(|row| row.id.is_none()) {
            let text = "HAPI-0435: Server method returned resource of type with no ID specified";
            return outcome(500, "processing", text);
        }
        let mut bundle =
            json!({"resourceType": "Bundle", "type": "searchset", "total": rows.len()});
        if call.parameter("_summary") != Some("count") {
            let page = call
                .parameter("_count")
                .and_then(|count| count.parse().ok())
                .unwrap_or(PAGE);
            let entries: Vec<_> = rows
                .iter()
                .take(page)
                .map(|row| json!({"resource": resource(row)}))
                .collect();
            bundle["entry"] = json!(entries);
        }
        fhir(200, &bundle)
    }

    /// `GET [type]/[id]`, which only 2 knows.
    pub(super) fn read(&self, call: &Call, kind: &str, id: &str) -> Reply {
        if self.version == PathlingVersion::Seven {
            return not_supported(call);
        }
        if let Err(refusal) = self.authorise(call, &["pathling:read"]) {
            return refusal;
        }
        let tables = self.tables();
        let row = tables
            .rows(kind)
            .iter()
            .find(|row| row.id.as_deref() == Some(id));
        match row {
            Some(row) => fhir(200, &resource(row)),
            None => outcome(
                404,
                "not-found",
                &format!("{kind} with ID '{id}' not found"),
            ),
        }
    }

    /// `DELETE [type]/[id]`, which only 2 knows: slow, and only one of a type at a time.
    pub(super) async fn delete(&self, call: &Call, kind: &str, id: &str) -> Reply {
        if self.version == PathlingVersion::Seven {
            return not_supported(call);
        }
        if let Err(refusal) = self.authorise(call, &["pathling:delete", "pathling:write"]) {
            return refusal;
        }
        if !is_importable(self.version, kind) {
            let text = format!("HAPI-0302: Unknown resource type '{kind}'");
            return outcome(404, "not-found", &text);
        }
        let Some(_turn) = self.begin_delete(kind) else {
            return outcome(500, "processing", "Unexpected error occurred");
        };
        if !self
            .tables()
            .rows(kind)
            .iter()
            .any(|row| row.id.as_deref() == Some(id))
        {
            let text = format!("Resource not found: {kind}/{id}");
            return outcome(404, "not-found", &text);
        }
        tokio::time::sleep(self.world.settings.delete_delay).await;
        self.tables().delete(kind, id);
        empty(204)
    }

    /// `DELETE [type]`.
    pub(super) fn delete_without_id(&self, kind: &str) -> Reply {
        if self.version == PathlingVersion::Seven {
            outcome(
                400,
                "not-supported",
                "This server does not know how to handle DELETE operation",
            )
        } else if is_importable(self.version, kind) {
            outcome(400, "processing", "ID must be supplied")
        } else {
            outcome(404, "not-found", "HAPI-0302: Unknown resource type")
        }
    }

    /// Takes the turn to delete of a type; None while another deletion of it goes on.
    fn begin_delete(&self, kind: &str) -> Option<Deletion<'_>> {
        let mut deleting = self
            .deleting
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        deleting.insert(kind.to_owned()).then(|| Deletion {
            pathling: self,
            kind: kind.to_owned(),
        })
    }
}

/// A deletion that goes on; dropped, it lets the next of its type begin.
struct Deletion<'a> {
    pathling: &'a Pathling,
    kind: String,
}

impl Drop for Deletion<'_> {
    fn drop(&mut self) {
        self.pathling
            .deleting
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .remove(&self.kind);
    }
}

/// A row's line as JSON.
fn resource(row: &Row) -> Value {
    serde_json::from_slice(&row.line).unwrap_or_default()
}
