//! `POST [base]` with a Bundle: deletions one after the other at 2; at 7 they are passed over in silence.

use serde_json::{Value, json};

use super::{Pathling, PathlingVersion};
use crate::call::{Call, Reply, fhir, outcome};
use crate::types::is_importable;

impl Pathling {
    /// Answers a Bundle of any type as a batch.
    pub(super) async fn batch(&self, call: &Call) -> Reply {
        if let Err(refusal) = self.authorise(call, &["pathling:batch"]) {
            return refusal;
        }
        let bundle: Value = match serde_json::from_slice(&call.body) {
            Ok(bundle) => bundle,
            Err(_) => return outcome(400, "processing", "HAPI-0450: Failed to parse the body"),
        };
        let entries = bundle.get("entry").and_then(Value::as_array);
        let mut answers = Vec::new();
        for entry in entries.into_iter().flatten() {
            let text = |name: &str| entry["request"][name].as_str().unwrap_or_default();
            if self.version == PathlingVersion::Seven {
                if text("method") == "PUT" || entry.get("resource").is_none() {
                    continue;
                }
                let text = "Only update requests are supported for use within the batch operation";
                return outcome(400, "processing", text);
            }
            if text("method") != "DELETE" {
                return outcome(400, "not-supported", "The sandbox's batch only deletes");
            }
            let Some((kind, id)) = text("url").split_once('/').filter(|pair| is_plain(*pair))
            else {
                return outcome(400, "processing", "The entry's URL must be Type/id");
            };
            let answer = self.delete(call, kind, id).await;
            if answer.status() != 204 {
                // Everything before it stays deleted, everything after it is not done.
                return answer;
            }
            answers.push(json!({"response": {"status": "204"}}));
        }
        let mut body = json!({"resourceType": "Bundle", "type": "batch-response"});
        if !answers.is_empty() {
            body["entry"] = json!(answers);
        }
        fhir(200, &body)
    }
}

/// Whether a batch of 2 takes this type and id: letters, digits, hyphens and dots.
fn is_plain((kind, id): (&str, &str)) -> bool {
    is_importable(PathlingVersion::Two, kind)
        && !id.is_empty()
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}
