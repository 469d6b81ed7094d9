//! What a target's words say of the line that it could not take. It names neither file nor line; what it names may be found
//! in what was staged.

use crate::error::{Error, Kind};

/// What stands before the value of an element that could not be read, which is a patient's and for no message.
const VALUE: &str = "Invalid attribute value \"";

/// What both say of a line that is no JSON, before they quote from it.
const NO_JSON: &[&str] = &["Invalid JSON content", "parsing FHIR/JSON content"];

/// What they say of a place that they are not allowed to read.
const NOT_ALLOWED: &[&str] = &["Not allowed to import from URL", "is not an allowed source"];

/// An import that the target says has failed.
#[derive(Clone, Debug)]
pub struct Failed {
    /// What it says, without what a resource holds.
    pub error: Error,
    /// What that says of the line, where it says anything.
    pub complaint: Option<Complaint>,
}

/// What is wrong with a line.
#[derive(Clone, PartialEq, Eq)]
pub enum Complaint {
    /// It is no JSON, or none of FHIR's.
    Json,
    /// An element of this name has a value that it cannot have.
    Value {
        /// The element's name.
        element: String,
        /// The value, where it was told whole.
        value: Option<String>,
    },
    /// The target may not read where the files are.
    NotAllowed,
    /// Nobody knows: the target met something that it did not expect.
    Unexpected,
}

impl std::fmt::Debug for Complaint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Json => f.write_str("Json"),
            Self::Value { element, .. } => write!(f, "Value({element})"),
            Self::NotAllowed => f.write_str("NotAllowed"),
            Self::Unexpected => f.write_str("Unexpected"),
        }
    }
}

impl Failed {
    /// Reads the target's words out of an error that quotes them. Behind certain words stands what a resource holds, quoted or
    /// not and perhaps cut off, so that nothing is left of what follows them.
    pub(super) fn of(error: Error) -> Self {
        let said = error.what();
        let status = error.answer().map_or(0, |answer| answer.status);
        let complaint = if NOT_ALLOWED.iter().any(|words| said.contains(words)) {
            Some(Complaint::NotAllowed)
        } else if let Some((before, behind)) = said.split_once(VALUE) {
            let element = between(before, "[element=\"", "\"]").unwrap_or_default();
            Some(Complaint::Value {
                element: element.to_owned(),
                value: behind.split_once('"').map(|(value, _)| value.to_owned()),
            })
        } else if said.contains("HAPI-1838") {
            None
        } else if NO_JSON.iter().any(|words| said.contains(words)) {
            Some(Complaint::Json)
        } else {
            (status == 500).then_some(Complaint::Unexpected)
        };
        let cut = [VALUE].iter().chain(NO_JSON).filter_map(|words| {
            let at = said.find(words)?;
            Some(at + words.len())
        });
        let error = match cut.min() {
            Some(end) => {
                let place = between(&said[end..], "line: ", ", column");
                let place = place.filter(|it| it.bytes().all(|byte| byte.is_ascii_digit()));
                let column = between(&said[end..], "column: ", "]");
                let column = column.filter(|it| it.bytes().all(|byte| byte.is_ascii_digit()));
                let place = match (place, column) {
                    (Some(line), Some(column)) => format!(" (line: {line}, column: {column})"),
                    _ => String::new(),
                };
                let without = Kind::ImportFailed.error(format!("{}…{place}", &said[..end]));
                match error.answer().cloned() {
                    Some(answer) => without.of_answer(answer),
                    None => without,
                }
            }
            None => error,
        };
        Self { error, complaint }
    }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answered::Answered;

    fn of(status: u16, said: &str) -> Failed {
        let answer = Answered {
            status,
            ..Answered::default()
        };
        Failed::of(Kind::ImportFailed.error(said).of_answer(answer))
    }

    #[test]
    fn a_value_of_a_resource_is_known_and_nothing_of_it_is_repeated() {
        let begin = "400: Invalid FHIR content: HAPI-1821: [element=\"birthDate\"] Invalid attribute value \"";
        for (rest, value) in [
            (
                "hello\": Invalid date/time format: 'hello' (\"hello\")",
                Some("hello"),
            ),
            (
                "hello\": does not support SECOND precision): hello",
                Some("hello"),
            ),
            ("hello, and cut before its end", None),
            ("he\"hello\": odd", Some("he")),
        ] {
            let failed = of(400, &format!("{begin}{rest}"));
            let wanted = Complaint::Value {
                element: "birthDate".to_owned(),
                value: value.map(str::to_owned),
            };
            assert_eq!(failed.complaint, Some(wanted));
            let what = failed.error.what();
            assert!(
                !what.contains("hello") && what.contains("birthDate"),
                "{what}"
            );
            assert!(!format!("{failed:?}").contains("hello"));
        }
    }

    #[test]
    fn what_is_no_json_is_told_by_its_place_alone() {
        for said in [
            "400: Invalid JSON content: Unrecognized token 'Mueller' at [Source: UNKNOWN; line: 1, column: 32]",
            "400: Unknown problem while parsing FHIR/JSON content: Mueller",
        ] {
            let failed = of(400, said);
            assert_eq!(failed.complaint, Some(Complaint::Json));
            assert!(!failed.error.what().contains("Mueller"), "{said}");
        }
        let failed = of(
            400,
            "Invalid JSON content: x at [Source: UNKNOWN; line: 1, column: 32]",
        );
        assert!(failed.error.what().ends_with("(line: 1, column: 32)"));
        let missing = "Invalid FHIR content: HAPI-1838: Invalid JSON content detected, missing required element: 'resourceType'";
        assert_eq!(of(400, missing).complaint, None);
    }

    #[test]
    fn what_nobody_expected_and_what_is_not_allowed_are_told_apart() {
        let unexpected = of(500, "Unexpected error occurred");
        assert_eq!(unexpected.complaint, Some(Complaint::Unexpected));
        assert_eq!(of(400, "Unsupported resource type: Bundle").complaint, None);
        let seven = of(
            400,
            "Not allowed to import from URL: s3://b/runs/a/Patient/*.ndjson",
        );
        assert_eq!(seven.complaint, Some(Complaint::NotAllowed));
    }
}
