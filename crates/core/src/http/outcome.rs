//! FHIR's `OperationOutcome`: how a server says in words what went wrong.
//!
//! Only what messages and decisions need of it: severity, code and text of each issue.

use serde_json::Value;

use super::shown::bounded;

/// How much of an `OperationOutcome` a message holds, in characters.
const LONGEST: usize = 500;

/// One issue of an [`OperationOutcome`] (FHIR R4, `OperationOutcome.issue`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// `fatal`, `error`, `warning` or `information`; as the server wrote it, empty if it did not.
    pub severity: String,
    /// A code of FHIR's issue types, e.g. `processing` or `transient`; empty if absent.
    pub code: String,
    /// `details.text` and `diagnostics`, else the display or code of `details.coding`; empty if there is none.
    pub text: String,
}

/// A parsed `OperationOutcome`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationOutcome {
    issues: Vec<Issue>,
}

impl OperationOutcome {
    /// Reads an `OperationOutcome` in JSON; `None` for anything else, arbitrary bytes included.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        Self::from_value(&serde_json::from_slice(bytes).ok()?)
    }

    /// The same from JSON that is already parsed.
    #[must_use]
    pub fn from_value(value: &Value) -> Option<Self> {
        if value.get("resourceType")?.as_str()? != "OperationOutcome" {
            return None;
        }
        let issues = value
            .get("issue")
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        Some(Self {
            issues: issues.iter().map(Issue::from_value).collect(),
        })
    }

    /// The issues in the server's order.
    #[must_use]
    pub fn issues(&self) -> &[Issue] {
        &self.issues
    }

    /// What the issues say, joined by `; ` and cut at 500 characters; the code where an issue says nothing else.
    #[must_use]
    pub fn text(&self) -> String {
        bounded(&self.whole_text(), LONGEST).into_owned()
    }

    /// The same uncut, for whoever has something to take out first: half a token is one too.
    pub(crate) fn whole_text(&self) -> String {
        let mut texts: Vec<&str> = Vec::new();
        for issue in &self.issues {
            let text = if issue.text.is_empty() {
                &issue.code
            } else {
                &issue.text
            };
            if !text.is_empty() && !texts.contains(&text.as_str()) {
                texts.push(text);
            }
        }
        texts.join("; ")
    }

    /// Whether an issue has the code `transient`: then a failed poll is not the job's failure (Bulk Data IG, "Error
    /// status").
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.issues.iter().any(|issue| issue.code == "transient")
    }
}

impl Issue {
    fn from_value(value: &Value) -> Self {
        let text = |pointer: &str| {
            value
                .pointer(pointer)
                .and_then(Value::as_str)
                .map(str::trim)
                .unwrap_or_default()
        };
        let mut parts = vec![text("/details/text"), text("/diagnostics")];
        parts.retain(|part| !part.is_empty());
        parts.dedup();
        if parts.is_empty() {
            parts.push(text("/details/coding/0/display"));
            parts.push(text("/details/coding/0/code"));
            parts.retain(|part| !part.is_empty());
            parts.truncate(1);
        }
        Self {
            severity: text("/severity").to_owned(),
            code: text("/code").to_owned(),
            text: parts.join(": "),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn outcome(issues: &Value) -> OperationOutcome {
        let value = json!({"resourceType": "OperationOutcome", "issue": issues});
        OperationOutcome::parse(value.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn an_outcome_says_its_details_and_diagnostics() {
        let outcome = outcome(&json!([
            {"severity": "error", "code": "processing", "details": {"text": "No space"}, "diagnostics": "HAPI-1: disk full"},
            {"severity": "error", "code": "exception", "diagnostics": "boom"},
            {"severity": "error", "code": "exception", "diagnostics": "boom"},
            {"severity": "error", "code": "not-found", "details": {"coding": [{"code": "x", "display": "Gone"}]}},
            {"severity": "error", "code": "timeout"},
        ]));
        assert_eq!(
            outcome.text(),
            "No space: HAPI-1: disk full; boom; Gone; timeout"
        );
        assert!(!outcome.is_transient());
        assert_eq!(outcome.issues()[0].severity, "error");
    }

    #[test]
    fn an_outcome_with_an_issue_of_code_transient_is_transient() {
        assert!(outcome(&json!([{"code": "processing"}, {"code": "transient"}])).is_transient());
    }

    #[test]
    fn a_long_outcome_is_cut() {
        let long = outcome(&json!([{"diagnostics": "ü".repeat(9000)}]));
        assert_eq!(long.text().chars().count(), LONGEST + 1);
    }

    #[test]
    fn anything_else_is_no_outcome_and_no_panic() {
        for bytes in [
            &b""[..],
            b"<html>",
            b"[]",
            b"null",
            b"{}",
            b"\xff\xfe",
            b"{\"resourceType\":1}",
            b"{\"resourceType\":\"Bundle\"}",
        ] {
            assert_eq!(OperationOutcome::parse(bytes), None);
        }
        assert_eq!(OperationOutcome::parse(&b"[".repeat(100_000)), None);
        for issue in [
            json!(null),
            json!(1),
            json!([1, "a", null, []]),
            json!({"code": 1}),
        ] {
            assert!(outcome(&issue).text().is_empty());
        }
    }
}
