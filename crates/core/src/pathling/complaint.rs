//! What a target's words say of the line that it could not take. It names neither file nor line; what it names may be found
//! in what was staged.

use crate::error::{Error, Kind};

/// What stands before the value of an element that could not be read, which is a patient's and for no message.
const VALUE: &str = "Invalid attribute value \"";

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
        /// The value.
        value: String,
    },
    /// Nobody knows: the target met something that it did not expect.
    Unexpected,
}

impl std::fmt::Debug for Complaint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Json => f.write_str("Json"),
            Self::Value { element, .. } => write!(f, "Value({element})"),
            Self::Unexpected => f.write_str("Unexpected"),
        }
    }
}

impl Failed {
    /// Reads the target's words out of an error that quotes them.
    pub(super) fn of(error: Error) -> Self {
        let said = error.what();
        let status = error.answer().map_or(0, |answer| answer.status);
        let value = between(said, VALUE, "\"");
        let complaint = match (between(said, "[element=\"", "\"]"), value) {
            (Some(element), Some(value)) => Some(Complaint::Value {
                element: element.to_owned(),
                value: value.to_owned(),
            }),
            _ if ["Invalid JSON content", "parsing FHIR/JSON"]
                .iter()
                .any(|words| said.contains(words)) =>
            {
                Some(Complaint::Json)
            }
            _ if status == 500 => Some(Complaint::Unexpected),
            _ => None,
        };
        let error = match value.filter(|value| !value.is_empty()) {
            Some(value) => {
                let hidden = said
                    .replace(&format!("\"{value}\""), "\"…\"")
                    .replace(&format!("'{value}'"), "'…'");
                let answer = error.answer().cloned();
                let without = Kind::ImportFailed.error(hidden);
                match answer {
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
    fn a_value_of_a_resource_is_known_and_not_repeated() {
        let said = "400: Invalid FHIR content: HAPI-1821: [element=\"birthDate\"] Invalid attribute value \"hello\": Invalid date/time format: 'hello' (\"hello\")";
        let failed = of(400, said);
        let value = Complaint::Value {
            element: "birthDate".to_owned(),
            value: "hello".to_owned(),
        };
        assert_eq!(failed.complaint, Some(value));
        assert!(
            !failed.error.what().contains("hello"),
            "{}",
            failed.error.what()
        );
        assert!(failed.error.what().contains("birthDate"));
        assert!(!format!("{failed:?}").contains("hello"));
    }

    #[test]
    fn what_is_no_json_and_what_nobody_expected_are_told_apart() {
        let seven = "Invalid JSON content: Unexpected end-of-input at [Source: UNKNOWN; line: 1, column: 32]";
        let two = "Unknown problem while parsing FHIR/JSON content: x";
        assert_eq!(of(400, seven).complaint, Some(Complaint::Json));
        assert_eq!(of(400, two).complaint, Some(Complaint::Json));
        let unexpected = of(500, "Unexpected error occurred");
        assert_eq!(unexpected.complaint, Some(Complaint::Unexpected));
        assert_eq!(of(400, "Unsupported resource type: Bundle").complaint, None);
    }
}
