//! The import at the target: Parameters in both dialects, kick-off and status; and what it holds of each type.
//!
//! What two real servers were seen to do decides most of this: a job is reused by its URL, so that a fresh import needs a
//! fresh `_nonce`; headers are compared letter by letter; the mode is always sent, because the two default to different
//! ones.

mod complaint;
mod detect;
mod resources;
mod types;

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use url::Url;

use crate::config::{Dialect, ImportMode};
use crate::error::{Error, Kind, Result};
use crate::http::{self, Client, Request, TokenUse, shown};

pub use complaint::{Complaint, Failed};
pub use detect::{Who, detect, who};
pub use resources::{Count, Deletion, count, delete, read};
pub use types::{holds, is_r4};

/// Letter by letter what both Pathlings expect.
const FHIR_JSON: &str = "application/fhir+json";

/// The largest answer that is read: one entry a resource type.
const ANSWER_LIMIT: usize = 8 << 20;

/// Where the files of one resource type are, as the target sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The resource type.
    pub resource_type: String,
    /// The glob over its files.
    pub url: String,
    /// How it is imported.
    pub mode: ImportMode,
}

/// What a status request tells.
#[derive(Clone, Debug)]
pub enum Status {
    /// The import goes on.
    InProgress {
        /// `X-Progress`, where the target says it.
        progress: Option<String>,
        /// When the target wants to be asked again, where it says it.
        retry_after: Option<Duration>,
    },
    /// The target says that it is done.
    Complete(Value),
    /// The target no longer knows the job: it restarted, or the job was deleted. The import may or may not be done.
    Lost(Error),
    /// The target says that it failed.
    Failed(Failed),
}

/// Parameters in the dialect of the contract: one `source` a location.
#[must_use]
pub fn parameters(locations: &[Location]) -> Value {
    let sources = locations.iter().map(|location| {
        json!({"name": "source", "part": [
            {"name": "resourceType", "valueCode": location.resource_type},
            {"name": "url", "valueUrl": location.url},
            {"name": "mode", "valueCode": location.mode.as_str()},
        ]})
    });
    json!({"resourceType": "Parameters", "parameter": sources.collect::<Vec<_>>()})
}

/// Reads Parameters of the contract's dialect.
///
/// Gives [`Kind::Input`] for anything that a target would misread.
pub fn read_parameters(parameters: &Value) -> Result<Vec<Location>> {
    let wrong = |what: &str| {
        Kind::Input.error(format!(
            "pathling-import: the event's \"parameters\" {what}"
        ))
    };
    if parameters.get("resourceType").and_then(Value::as_str) != Some("Parameters") {
        return Err(wrong("are no FHIR Parameters"));
    }
    let empty = Vec::new();
    let list = match parameters.get("parameter") {
        None | Some(Value::Null) => &empty,
        Some(Value::Array(list)) => list,
        Some(_) => return Err(wrong("have a parameter that is no array")),
    };
    let mut locations = Vec::new();
    for (index, source) in list.iter().enumerate() {
        if source.get("name").and_then(Value::as_str) != Some("source") {
            continue;
        }
        let part = |name: &str, value: &str| {
            let parts = source.get("part")?.as_array()?;
            let part = parts
                .iter()
                .find(|part| part.get("name").and_then(Value::as_str) == Some(name))?;
            part.get(value)?.as_str()
        };
        let at = |what: &str| wrong(&format!("have a source (number {}) {what}", index + 1));
        let Some(resource_type) = part("resourceType", "valueCode") else {
            return Err(at("without a resourceType as valueCode"));
        };
        let Some(url) = part("url", "valueUrl") else {
            return Err(at("without a url as valueUrl"));
        };
        let Some(mode) = part("mode", "valueCode").and_then(ImportMode::parse) else {
            return Err(at("without a mode, merge or overwrite, as valueCode"));
        };
        locations.push(Location {
            resource_type: resource_type.to_owned(),
            url: url.to_owned(),
            mode,
        });
    }
    Ok(locations)
}

/// Parameters as a target of `dialect` wants them.
pub fn in_dialect(dialect: Dialect, locations: &[Location]) -> Result<Value> {
    match dialect {
        Dialect::Seven => Ok(parameters(locations)),
        Dialect::Two => {
            let mode = locations
                .first()
                .map_or(ImportMode::Merge, |location| location.mode);
            if locations.iter().any(|location| location.mode != mode) {
                return Err(Kind::Input.error(
                    "pathling-import: the event's \"parameters\" mix merge and overwrite, and Pathling Server 2 takes one mode for all",
                ));
            }
            let inputs = locations.iter().map(|location| {
                json!({"name": "input", "part": [
                    {"name": "resourceType", "valueCode": location.resource_type},
                    {"name": "url", "valueUrl": location.url},
                ]})
            });
            let mut list: Vec<Value> = inputs.collect();
            list.push(json!({"name": "saveMode", "valueCode": mode.as_str()}));
            list.push(json!({"name": "inputFormat", "valueCode": "application/fhir+ndjson"}));
            Ok(json!({"resourceType": "Parameters", "parameter": list}))
        }
    }
}

/// Asks the target to import, as the job that `nonce` names: the same nonce joins a job that runs, a new one begins a
/// new job. Gives the status URL, absolute.
pub async fn kick_off(
    client: &Client,
    endpoint: &Url,
    nonce: &str,
    parameters: &Value,
) -> Result<Url> {
    let mut url = http::below(endpoint, "$import");
    url.query_pairs_mut().append_pair("_nonce", nonce);
    let request = Request::post(url.clone(), Bytes::from(parameters.to_string()), FHIR_JSON)
        .accept(FHIR_JSON)
        .header("prefer", "respond-async")
        .token(TokenUse::WhereTrusted);
    let response = client.send(request).await?;
    let status = response.status();
    if status.as_u16() != 202 {
        if status.is_success() {
            return Err(Kind::ImportFailed
                .error(format!(
                    "POST {} answered {status} instead of 202 Accepted",
                    shown(&url)
                ))
                .next("Check that TARGET_ENDPOINT is the base URL of Pathling's FHIR API."));
        }
        return Err(http::failure(response, "the kick-off of the import").await);
    }
    let location = response
        .header("content-location")
        .filter(|location| !location.is_empty());
    let status_url = location.and_then(|location| response.url().join(location).ok());
    status_url.filter(|url| matches!(url.scheme(), "http" | "https")).ok_or_else(|| {
        Kind::ImportFailed
            .error(format!("POST {} answered 202 without a usable Content-Location, so the import's status cannot be asked for", shown(&url)))
            .next("See whether a proxy in front of the target removes the header.")
    })
}

/// Asks how the import of `status_url` goes.
pub async fn status(client: &Client, endpoint: &Url, status_url: &Url) -> Result<Status> {
    let url = http::status_url_for_polling(endpoint, status_url);
    let response = client
        .send(
            Request::get(url.clone())
                .accept(FHIR_JSON)
                .token(TokenUse::WhereTrusted),
        )
        .await?;
    match response.status().as_u16() {
        202 => Ok(Status::InProgress {
            progress: response.words_of("x-progress", 100),
            retry_after: response.retry_after(),
        }),
        200 => match response.json(ANSWER_LIMIT).await {
            Ok(answer) => Ok(Status::Complete(answer)),
            Err(error) if error.kind() == Kind::TargetUnavailable => Err(error),
            Err(_) => Err(Kind::ImportFailed.error(format!(
                "GET {} answered 200 with something else than JSON",
                shown(&url)
            ))),
        },
        404 => {
            let said = http::said(response).await;
            let what = format!("GET {} answered 404{}", shown(&url), said.text);
            if !said.is_outcome {
                // Pathling explains itself; whatever answered here is not the server that took the job.
                return Err(Kind::ImportFailed.error(what).next(
                    "See whether a proxy in front of the target changes the path of its status URLs.",
                ));
            }
            let what = format!(
                "{what}; the target no longer knows the job, so the import may or may not be done"
            );
            Ok(Status::Lost(Kind::ImportFailed.error(what)))
        }
        // Pathling Server 2 says only here that the import was not allowed.
        403 => {
            let said = http::said(response).await;
            let what = format!(
                "GET {} answered 403{}; the target does not allow the import",
                shown(&url),
                said.text
            );
            let error = Kind::ImportFailed.error(what).next(
                "See that the staging location is among the sources that Pathling allows, and that the client has the scopes pathling:import and pathling:write.",
            );
            Ok(Status::Failed(Failed::of(error)))
        }
        _ => {
            let error = http::failure(response, "the status of the import").await;
            match error.kind() {
                Kind::ImportFailed => Ok(Status::Failed(Failed::of(error))),
                _ => Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(resource_type: &str, mode: ImportMode) -> Location {
        Location {
            resource_type: resource_type.into(),
            url: format!("s3://b/runs/r/{resource_type}/*.ndjson"),
            mode,
        }
    }

    #[test]
    fn parameters_of_the_contract_read_back_as_they_were_written() {
        let locations = [
            location("Patient", ImportMode::Merge),
            location("Condition", ImportMode::Overwrite),
        ];
        assert_eq!(read_parameters(&parameters(&locations)).unwrap(), locations);
        assert_eq!(
            read_parameters(&json!({"resourceType": "Parameters"})).unwrap(),
            []
        );
    }

    #[test]
    fn pathling_2_gets_inputs_one_save_mode_and_a_format() {
        let sent = in_dialect(Dialect::Two, &[location("Patient", ImportMode::Overwrite)]).unwrap();
        assert_eq!(
            sent,
            json!({"resourceType": "Parameters", "parameter": [
                {"name": "input", "part": [
                    {"name": "resourceType", "valueCode": "Patient"},
                    {"name": "url", "valueUrl": "s3://b/runs/r/Patient/*.ndjson"},
                ]},
                {"name": "saveMode", "valueCode": "overwrite"},
                {"name": "inputFormat", "valueCode": "application/fhir+ndjson"},
            ]})
        );
        let mixed = [
            location("Patient", ImportMode::Merge),
            location("Condition", ImportMode::Overwrite),
        ];
        assert_eq!(
            in_dialect(Dialect::Two, &mixed).unwrap_err().kind(),
            Kind::Input
        );
    }

    #[test]
    fn parameters_that_a_target_would_misread_are_refused() {
        for part in ["valueString", "valueUri"] {
            let source = json!({"name": "source", "part": [{"name": "resourceType", "valueCode": "Patient"}, {"name": "url", part: "s3://b/x"}]});
            let error =
                read_parameters(&json!({"resourceType": "Parameters", "parameter": [source]}))
                    .unwrap_err();
            assert!(
                error.what().contains("without a url as valueUrl"),
                "{error}"
            );
        }
        assert!(read_parameters(&json!({"resourceType": "Bundle"})).is_err());
        assert!(read_parameters(&json!([])).is_err());
    }
}
