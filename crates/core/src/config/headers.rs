//! Headers that a server wants from its clients beside what HTTP and FHIR have, such as `Epic-Client-ID`.

use std::collections::BTreeMap;

use reqwest::header::{HeaderName, HeaderValue};

use super::{Reference, Secret, SecretSource};

/// The headers that a server wants, or where they are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Headers {
    /// The headers themselves, or none.
    Given(Vec<Header>),
    /// They are kept by AWS, in the form that the setting has too, or as a JSON object of texts.
    Kept(Box<Reference>),
}

/// A header, whose value is treated as a secret: some are keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The name, in lower case.
    pub name: String,
    /// The value.
    pub value: Secret,
}

/// What this program sets itself, what says who asks in other ways, and what belongs to the connection.
const REFUSED: &[&str] = &[
    "accept",
    "accept-encoding",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "host",
    "if-match",
    "if-none-match",
    "if-range",
    "keep-alive",
    "prefer",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl Headers {
    /// Reads what a setting holds.
    pub(super) fn parse(setting: &'static str, text: &str) -> Result<Self, Option<String>> {
        match SecretSource::parse(setting, text).map_err(Some)? {
            SecretSource::Kept(reference) => Ok(Self::Kept(Box::new(reference))),
            SecretSource::Given(_) => parse(text).map(Self::Given),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Given(headers) if headers.is_empty())
    }
}

impl Default for Headers {
    fn default() -> Self {
        Self::Given(Vec::new())
    }
}

impl Header {
    /// Reads what is kept elsewhere. The error is why not, and never quotes a value.
    pub(crate) fn read_kept(text: &str) -> Result<Vec<Self>, String> {
        let lines = match serde_json::from_str::<BTreeMap<String, String>>(text) {
            Ok(members) => {
                let lines = members
                    .iter()
                    .map(|(name, value)| format!("{name}: {value}"));
                lines.collect::<Vec<_>>().join("\n")
            }
            Err(_) => text.to_owned(),
        };
        parse(&lines).map_err(|why| {
            why.unwrap_or_else(|| "holds something else than headers (Name: value)".to_owned())
        })
    }
}

/// Reads `Name: value` pairs, which line ends or semicolons separate. The error is why not; it never quotes a value.
fn parse(text: &str) -> Result<Vec<Header>, Option<String>> {
    let mut headers: Vec<Header> = Vec::new();
    for line in text.split(['\n', ';']).map(str::trim) {
        if line.is_empty() {
            continue;
        }
        let (name, value) = line.split_once(':').ok_or(None)?;
        let name = HeaderName::try_from(name.trim()).map_err(|_| None)?;
        let (name, value) = (name.as_str(), value.trim());
        let why = |what: &str| Err(Some(format!("holds the header {name}, {what}")));
        if REFUSED.contains(&name) {
            return why("which is not to be set there");
        }
        if value.is_empty() {
            return why("which has no value");
        }
        if HeaderValue::from_str(value).is_err() {
            return why("whose value no header can hold");
        }
        if headers.iter().any(|header| header.name == name) {
            return why("and holds it twice");
        }
        headers.push(Header {
            name: name.to_owned(),
            value: Secret::new(value),
        });
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_separated_by_line_ends_or_semicolons() {
        let found = parse("Epic-Client-ID: a-b:c;\r\n X-Key:\tk 1 \n").unwrap();
        let pairs: Vec<_> = found
            .iter()
            .map(|header| (header.name.as_str(), header.value.reveal()))
            .collect();
        assert_eq!(pairs, [("epic-client-id", "a-b:c"), ("x-key", "k 1")]);
        assert!(!format!("{found:?}").contains("k 1"));
    }

    #[test]
    fn headers_may_be_kept_elsewhere_as_lines_or_as_an_object() {
        let arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:a-AbCdEf#headers";
        let Headers::Kept(reference) = Headers::parse("SOURCE_HEADERS", arn).unwrap() else {
            panic!("{arn} is an address");
        };
        assert_eq!(reference.to_string(), arn);
        assert!(Headers::parse("SOURCE_HEADERS", "arn:aws:s3:::bucket").is_err());
        for text in ["A: 1; B: 2", "A: 1\nB: 2", r#"{"A": "1", "B": "2"}"#] {
            let found = Header::read_kept(text).unwrap();
            assert_eq!((found.len(), found[1].value.reveal()), (2, "2"), "{text}");
        }
        for text in ["hush", r#"{"A": {"hush": 1}}"#, r#"{"Cookie": "hush"}"#] {
            let why = Header::read_kept(text).unwrap_err();
            assert!(!why.contains("hush"), "{why}");
        }
    }

    #[test]
    fn what_is_no_header_or_is_not_the_operators_to_set_is_refused_without_its_value() {
        for text in [
            "nonsense",
            ": hush",
            "a b: hush",
            "X: hush\u{1}",
            "X:",
            "Authorization: Bearer hush",
            "COOKIE: hush",
            "Host: hush",
            "X: hush; x: hush",
        ] {
            let why = parse(text).unwrap_err().unwrap_or_default();
            assert!(!why.contains("hush"), "{text}: {why}");
        }
    }
}
