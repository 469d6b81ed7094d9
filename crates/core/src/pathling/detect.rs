//! Which of the two Pathlings a target is, by what it says of itself.

use serde_json::Value;
use url::Url;

use super::{ANSWER_LIMIT, FHIR_JSON};
use crate::config::Dialect;
use crate::error::{self, Error, Kind};
use crate::http::{self, Client, Request, TokenUse, shown};
use crate::software::Software;

/// Who a target says that it is.
#[derive(Clone, Debug)]
pub enum Who {
    /// A Pathling that can be told to import.
    Pathling(Dialect, Software),
    /// Something else, or a Pathling that cannot, in words.
    Other(Error),
}

/// Asks the target's `metadata` which Pathling it is, and gives what it says of itself too.
///
/// Gives [`Kind::Configuration`] for what is no Pathling that can be told to import.
pub async fn detect(client: &Client, endpoint: &Url) -> error::Result<(Dialect, Software)> {
    match who(client, endpoint, TokenUse::WhereTrusted).await? {
        Who::Pathling(dialect, software) => Ok((dialect, software)),
        Who::Other(error) => Err(error),
    }
}

/// Asks the target's `metadata` who it is. Both Pathlings tell that to anybody.
pub async fn who(client: &Client, endpoint: &Url, token: TokenUse) -> error::Result<Who> {
    let url = http::below(endpoint, "metadata");
    let response = client
        .send(Request::get(url.clone()).accept(FHIR_JSON).token(token))
        .await?;
    let advice = "Check that TARGET_ENDPOINT is the base URL of Pathling's FHIR API (it ends in /fhir), or say which Pathling it is by TARGET_DIALECT.";
    if response.status().as_u16() != 200 {
        let error = http::failure(response, "the target's metadata").await;
        return Err(if error.kind() == Kind::ImportFailed {
            error.next(advice)
        } else {
            error
        });
    }
    let metadata = response
        .json(ANSWER_LIMIT)
        .await
        .map_err(|error| error.next(advice))?;
    match dialect(&metadata) {
        Ok(dialect) => Ok(Who::Pathling(dialect, Software::of(&metadata))),
        Err(why) => {
            let what = format!("GET {} {why}", shown(&url));
            Ok(Who::Other(Kind::Configuration.error(what).next(advice)))
        }
    }
}

/// Which Pathling a `CapabilityStatement` is of, if it is one that can be told to import; otherwise what it says.
fn dialect(metadata: &Value) -> Result<Dialect, String> {
    let dialect = match metadata.pointer("/software/name").and_then(Value::as_str) {
        Some("Pathling") => Dialect::Seven,
        Some("Pathling Server") => Dialect::Two,
        Some(other) => {
            let name: String = other.chars().take(60).collect();
            return Err(format!(
                "says that its software is {name:?}, which is no Pathling that this program knows"
            ));
        }
        None => {
            return Err(
                "does not name its software, which is no Pathling that this program knows".into(),
            );
        }
    };
    let lists = |value: &Value, name: &str| value.get(name).and_then(Value::as_array).cloned();
    let rest = lists(metadata, "rest").unwrap_or_default();
    let mut operations = rest
        .iter()
        .flat_map(|rest| lists(rest, "operation").unwrap_or_default());
    let imports = |operation: Value| {
        let name = operation.get("name").and_then(Value::as_str);
        name.is_some_and(|name| name.trim_start_matches('$') == "import")
    };
    if operations.any(imports) {
        Ok(dialect)
    } else {
        Err("names no operation import: it cannot be told to import, or is not allowed to".into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn metadata(software: &Value, operations: &[&str]) -> Value {
        let operations: Vec<_> = operations
            .iter()
            .map(|name| json!({"name": name}))
            .collect();
        json!({"software": software, "rest": [{"mode": "server", "operation": operations}]})
    }

    #[test]
    fn a_pathling_that_imports_is_told_by_its_name() {
        let all = ["job", "import"];
        let of = |name: &str| dialect(&metadata(&json!({"name": name}), &all));
        assert_eq!(of("Pathling"), Ok(Dialect::Seven));
        assert_eq!(of("Pathling Server"), Ok(Dialect::Two));
        assert!(
            of("HAPI FHIR Server")
                .unwrap_err()
                .contains("\"HAPI FHIR Server\"")
        );
        let unnamed = dialect(&metadata(&Value::Null, &all)).unwrap_err();
        assert!(unnamed.contains("does not name"), "{unnamed}");
    }

    #[test]
    fn a_pathling_that_does_not_offer_an_import_is_refused() {
        let software = json!({"name": "Pathling Server"});
        for metadata in [metadata(&software, &["job"]), json!({"software": software})] {
            let why = dialect(&metadata).unwrap_err();
            assert!(why.contains("no operation import"), "{why}");
        }
    }
}
