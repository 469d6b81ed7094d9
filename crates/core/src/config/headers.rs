//! Headers that a server wants from its clients beside what HTTP and FHIR have, such as `Epic-Client-ID`.

use reqwest::header::{HeaderName, HeaderValue};

use super::Secret;

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

/// Reads `Name: value` pairs, which line ends or semicolons separate. The error is why not; it never quotes a value.
pub(super) fn parse(text: &str) -> Result<Vec<Header>, Option<String>> {
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
