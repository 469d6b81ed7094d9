//! The bulk export manifest: what the source says that it exported (Bulk Data Access IG, "Response - Complete Status").
//!
//! The steps pass the manifest on exactly as the source sent it, unknown fields included; [`Manifest`] is a typed view
//! of the parts that this program acts on.

use serde::{Serialize, Serializer};
use serde_json::Value;
use url::Url;

use crate::error::{Error, Kind, Result};

/// The parts of a manifest that this program acts on.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// The server's time of the export, as it was written.
    pub transaction_time: String,
    /// The kick-off request's URL, where the server repeats it.
    pub request: Option<String>,
    /// What `requiresAccessToken` says; absent, the token goes along where its origin is trusted.
    pub requires_access_token: Option<bool>,
    /// The exported files, in the manifest's order.
    pub output: Vec<Output>,
    /// How many files of deletions there are.
    pub deleted: usize,
    /// How many files of errors there are.
    pub errors: usize,
}

/// One exported file.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// The type of every resource in the file.
    pub resource_type: String,
    /// Where it can be fetched, absolute.
    pub url: Url,
    /// How many resources it holds, where the server says so.
    pub count: Option<u64>,
}

impl Manifest {
    /// Reads a manifest that was found at `base` (relative URLs are taken from there).
    ///
    /// Gives [`Kind::Manifest`] with what is wrong with it.
    pub fn read(value: &Value, base: Option<&Url>) -> Result<Self> {
        let Some(object) = value.as_object() else {
            return Err(wrong("it is no JSON object"));
        };
        if let Some(kind) = object.get("resourceType").and_then(Value::as_str) {
            return Err(wrong(&format!(
                "it is a FHIR {}",
                kind.chars().take(40).collect::<String>()
            )));
        }
        let Some(transaction_time) = object
            .get("transactionTime")
            .and_then(Value::as_str)
            .filter(|t| !t.is_empty())
        else {
            return Err(wrong("it has no transactionTime"));
        };
        let output = match object.get("output") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(items)) => items
                .iter()
                .enumerate()
                .map(|(index, item)| Output::read(index, item, base))
                .collect::<Result<_>>()?,
            Some(_) => return Err(wrong("its output is no array")),
        };
        let files = |name: &str| match object.get(name) {
            None | Some(Value::Null) => Ok(0),
            Some(Value::Array(items)) => Ok(items.len()),
            Some(_) => Err(wrong(&format!("its {name} is no array"))),
        };
        Ok(Self {
            transaction_time: transaction_time.to_owned(),
            request: object
                .get("request")
                .and_then(Value::as_str)
                .map(str::to_owned),
            requires_access_token: match object.get("requiresAccessToken") {
                Some(Value::Bool(yes)) => Some(*yes),
                // Oracle Health writes it as a string.
                Some(Value::String(text)) => Some(!text.eq_ignore_ascii_case("false")),
                _ => None,
            },
            output,
            deleted: files("deleted")?,
            errors: files("error")?,
        })
    }

    /// What the export asked for, as far as the manifest's `request` repeats it. One without a query tells nothing: not
    /// every server repeats that.
    #[must_use]
    pub fn asked(&self) -> Option<Asked> {
        let request = self.request.as_deref()?;
        let url = Url::parse(request)
            .or_else(|_| Url::parse("http://relative.invalid/").and_then(|base| base.join(request)))
            .ok()?;
        url.query().filter(|query| !query.is_empty())?;
        let since = url.query_pairs().find(|(name, _)| name == "_since");
        Some(since.map(|(_, value)| value.into_owned()).into())
    }
}

/// What an export asked for; in JSON an instant, or null.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// All there is.
    Everything,
    /// What changed after this instant: a delta.
    ChangesAfter(String),
}

impl From<Option<String>> for Asked {
    fn from(since: Option<String>) -> Self {
        since.map_or(Self::Everything, Self::ChangesAfter)
    }
}

impl Serialize for Asked {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Everything => serializer.serialize_none(),
            Self::ChangesAfter(instant) => serializer.serialize_str(instant),
        }
    }
}

impl Output {
    fn read(index: usize, item: &Value, base: Option<&Url>) -> Result<Self> {
        let place = format!("output {} of the manifest", index + 1);
        let Some(resource_type) = item.get("type").and_then(Value::as_str) else {
            return Err(wrong(&format!("{place} has no type")));
        };
        // The type becomes a path in staging.
        if !is_type_name(resource_type) {
            let shown: String = resource_type.chars().take(40).collect();
            return Err(wrong(&format!(
                "{place} has the type {shown:?}, which is no resource type's name"
            )));
        }
        let Some(text) = item
            .get("url")
            .and_then(Value::as_str)
            .filter(|url| !url.is_empty())
        else {
            return Err(wrong(&format!("{place} ({resource_type}) has no url")));
        };
        let url = match (Url::parse(text), base) {
            (Ok(url), _) => url,
            (Err(url::ParseError::RelativeUrlWithoutBase), Some(base)) => base
                .join(text)
                .map_err(|_| wrong(&format!("{place} ({resource_type}) has a url that is none")))?,
            _ => {
                return Err(wrong(&format!(
                    "{place} ({resource_type}) has a url that is none"
                )));
            }
        };
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong(&format!(
                "{place} ({resource_type}) has a url of the scheme {}",
                url.scheme()
            )));
        }
        Ok(Self {
            resource_type: resource_type.to_owned(),
            url,
            count: item.get("count").and_then(Value::as_u64),
        })
    }
}

fn wrong(what: &str) -> Error {
    Kind::Manifest.error(format!(
        "what the source calls a manifest is not one: {what}"
    ))
}

/// Whether a text has the form of a FHIR resource type's name. Newer releases add types, so there is no list here; which
/// types a target can hold is [`crate::pathling`]'s to say.
#[must_use]
pub fn is_type_name(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|first: char| first.is_ascii_uppercase())
        && text.chars().all(|c| c.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_server_may_leave_out_is_absent() {
        let manifest =
            Manifest::read(&json!({"transactionTime": "2026-01-01T00:00:00Z"}), None).unwrap();
        assert!(manifest.output.is_empty());
        assert_eq!(manifest.requires_access_token, None);
        assert_eq!(manifest.asked(), None);
    }

    #[test]
    fn requires_access_token_may_be_a_string() {
        let read = |value| {
            let manifest = json!({"transactionTime": "t", "requiresAccessToken": value});
            Manifest::read(&manifest, None)
                .unwrap()
                .requires_access_token
        };
        assert_eq!(read(json!("true")), Some(true));
        assert_eq!(read(json!("false")), Some(false));
        assert_eq!(read(json!(false)), Some(false));
    }

    #[test]
    fn a_relative_url_is_taken_from_where_the_manifest_was() {
        let base = Url::parse("https://h/fhir/$status/1").unwrap();
        let value = json!({"transactionTime": "t", "output": [{"type": "Patient", "url": "/files/1", "count": 3}]});
        let manifest = Manifest::read(&value, Some(&base)).unwrap();
        assert_eq!(manifest.output[0].url.as_str(), "https://h/files/1");
        assert_eq!(manifest.output[0].count, Some(3));
    }

    #[test]
    fn what_is_no_manifest_says_why() {
        let output = |item| json!({"transactionTime": "t", "output": [item]});
        for (value, why) in [
            (json!([]), "no JSON object"),
            (
                json!({"resourceType": "OperationOutcome"}),
                "a FHIR OperationOutcome",
            ),
            (json!({}), "no transactionTime"),
            (
                json!({"transactionTime": "t", "output": {}}),
                "output is no array",
            ),
            (
                output(json!({"url": "http://h/1"})),
                "output 1 of the manifest has no type",
            ),
            (output(json!({"type": "Patient"})), "(Patient) has no url"),
            (
                output(json!({"type": "../../x", "url": "http://h/1"})),
                "no resource type's name",
            ),
            (
                output(json!({"type": "Patient", "url": "file:///etc/passwd"})),
                "scheme file",
            ),
            (
                output(json!({"type": "Patient", "url": "x y"})),
                "has a url that is none",
            ),
        ] {
            let error = Manifest::read(&value, None).unwrap_err();
            assert_eq!(error.kind(), Kind::Manifest);
            assert!(error.what().contains(why), "{error}");
        }
    }

    #[test]
    fn a_request_that_repeats_its_query_tells_a_delta_from_a_full_export() {
        let read = |request: &str| {
            let value = json!({"transactionTime": "t", "request": request});
            Manifest::read(&value, None).unwrap().asked()
        };
        assert_eq!(read("https://h/$export"), None);
        assert_eq!(
            read("https://h/$export?_type=Patient"),
            Some(Asked::Everything)
        );
        let instant = "2026-01-01T00:00:00Z".to_owned();
        assert_eq!(
            read("/$export?_since=2026-01-01T00%3A00%3A00Z"),
            Some(Asked::ChangesAfter(instant))
        );
    }
}
