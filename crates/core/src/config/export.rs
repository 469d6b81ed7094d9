//! What is exported, and how it is asked for: the kick-off's parameters beside `TYPES` and `SINCE`.
//!
//! How they are written into a request is for [`crate::export`] to know.

use std::fmt;

use super::read::Reader;

/// The kick-off's parameters beside `TYPES` and `SINCE`. Debug shows of what is about persons, or may be a key, only how much
/// there is.
#[derive(Clone, PartialEq)]
pub struct ExportSettings {
    /// Whose data is exported.
    pub level: Level,
    /// Only what changed before this instant, in UTC.
    pub until: Option<String>,
    /// FHIR searches, each `[type]?[query]`, that narrow down their type; those of one type add up.
    pub type_filters: Vec<String>,
    /// The elements to which resources are cut, `[type].[element]` or `[element]`.
    pub elements: Vec<String>,
    /// The patients to which the export is limited, as references.
    pub patients: Vec<String>,
    /// Sets of associated resources to take along or leave out.
    pub include_associated_data: Vec<String>,
    /// The format of the files.
    pub output_format: String,
    /// What only one vendor's server knows: names and values.
    pub parameters: Vec<(String, String)>,
    /// The HTTP method of the kick-off, where it was said.
    pub method: Option<Method>,
    /// A JSON document to send as the body of the kick-off, with the parameters in the query.
    pub body: Option<String>,
    /// What the source is to do with parameters that it does not know, where it was said.
    pub handling: Option<Handling>,
    /// The type by whose resources the files are organised, in place of a file for each type.
    pub organize_output_by: Option<String>,
}

impl fmt::Debug for ExportSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExportSettings")
            .field("level", &self.level)
            .field("until", &self.until)
            .field("type_filters", &self.type_filters.len())
            .field("elements", &self.elements)
            .field("patients", &self.patients.len())
            .field("include_associated_data", &self.include_associated_data)
            .field("output_format", &self.output_format)
            .field("organize_output_by", &self.organize_output_by)
            .field("parameters", &self.parameters.len())
            .field("method", &self.method)
            .field("body", &self.body.is_some())
            .field("handling", &self.handling)
            .finish()
    }
}

/// Whose data is exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Level {
    /// Everything that the source holds.
    System,
    /// What is about patients, of all patients.
    Patient,
    /// What is about the members of the group of this id.
    Group(String),
}

impl Level {
    fn parse(text: &str) -> Result<Self, Option<String>> {
        match text {
            "system" => Ok(Self::System),
            "patient" => Ok(Self::Patient),
            // FHIR writes a reference to it with a capital letter.
            other => match other
                .strip_prefix("group/")
                .or(other.strip_prefix("Group/"))
            {
                Some(id) if is_id(id) => Ok(Self::Group(id.to_owned())),
                _ => Err(None),
            },
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("system"),
            Self::Patient => f.write_str("patient"),
            Self::Group(id) => write!(f, "group/{id}"),
        }
    }
}

/// The HTTP method of the kick-off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET, with a query.
    Get,
    /// POST, with a FHIR Parameters resource.
    Post,
}

impl Method {
    /// The method's name in HTTP.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }
}

/// What the source is to do with parameters that it does not know (RFC 7240, section 4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handling {
    /// Refuse the kick-off.
    Strict,
    /// Ignore them.
    Lenient,
}

impl Handling {
    /// The word in `Prefer: handling=`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Lenient => "lenient",
        }
    }
}

/// The kick-off's parameters that have a setting of their own.
const OWN: &[(&str, &str)] = &[
    ("_type", "TYPES"),
    ("_since", "SINCE"),
    ("_until", "UNTIL"),
    ("_typeFilter", "TYPE_FILTER"),
    ("_elements", "ELEMENTS"),
    ("patient", "PATIENTS"),
    ("includeAssociatedData", "INCLUDE_ASSOCIATED_DATA"),
    ("_outputFormat", "OUTPUT_FORMAT"),
    ("organizeOutputBy", "ORGANIZE_OUTPUT_BY"),
    ("allowPartialManifests", "ALLOW_PARTIAL_MANIFESTS"),
];

impl ExportSettings {
    /// Reads them; `since` is what `SINCE` says.
    pub(super) fn read(reader: &mut Reader, since: Option<&str>) -> Self {
        let level = reader.parsed("EXPORT_LEVEL", |_, text| Level::parse(text));
        let filters = reader.items("TYPE_FILTER", char::is_whitespace, type_filter);
        let elements = reader.items("ELEMENTS", comma, element);
        let patients = reader.items("PATIENTS", |c| comma(c) || c.is_whitespace(), patient);
        let associated = reader.items("INCLUDE_ASSOCIATED_DATA", comma, code);
        let settings = Self {
            level: level.unwrap_or(Level::System),
            until: reader.instant("UNTIL"),
            type_filters: filters,
            elements,
            patients,
            include_associated_data: associated,
            output_format: reader
                .parsed("OUTPUT_FORMAT", |_, text| format(text))
                .unwrap_or_default(),
            organize_output_by: reader.parsed("ORGANIZE_OUTPUT_BY", |_, text| {
                let is_type = crate::manifest::is_type_name(text);
                is_type.then(|| text.to_owned()).ok_or(None)
            }),
            parameters: reader
                .parsed("EXPORT_PARAMETERS", |_, text| parameters(text))
                .unwrap_or_default(),
            method: match reader.choice("KICKOFF_METHOD").as_str() {
                "get" => Some(Method::Get),
                "post" => Some(Method::Post),
                _ => None,
            },
            body: reader.parsed("KICKOFF_BODY", |_, text| document(text)),
            handling: match reader.choice("KICKOFF_HANDLING").as_str() {
                "strict" => Some(Handling::Strict),
                "lenient" => Some(Handling::Lenient),
                _ => None,
            },
        };
        settings.check(reader, since);
        settings
    }

    /// What is wrong between settings.
    fn check(&self, reader: &mut Reader, since: Option<&str>) {
        if !self.patients.is_empty() && self.level == Level::System {
            let written = reader.written("PATIENTS");
            reader.contradiction(format!(
                "{written} has no meaning for an export of the whole system; set EXPORT_LEVEL to patient or group/[id], or leave it out"
            ));
        }
        if !self.patients.is_empty() && self.method == Some(Method::Get) {
            let written = reader.written("PATIENTS");
            reader.contradiction(format!(
                "{written} can only be sent by POST; leave KICKOFF_METHOD out, or set it to post"
            ));
        }
        if self.body.is_some() && self.method == Some(Method::Get) {
            let written = reader.written("KICKOFF_BODY");
            reader.contradiction(format!(
                "{written} can only be sent by POST; leave KICKOFF_METHOD out, or set it to post"
            ));
        }
        if self.body.is_some() && !self.patients.is_empty() {
            let written = reader.written("PATIENTS");
            reader.contradiction(format!(
                "{written} cannot be sent beside KICKOFF_BODY: it would stand in the query, which servers write into their logs"
            ));
        }
        let moment = |text: Option<&str>| text?.parse::<jiff::Timestamp>().ok();
        if let (Some(since), Some(until)) = (moment(since), moment(self.until.as_deref()))
            && until <= since
        {
            let written = reader.written("UNTIL");
            reader.contradiction(format!(
                "{written} is not after SINCE, so nothing would be exported"
            ));
        }
    }
}

fn comma(c: char) -> bool {
    c == ','
}

/// Whether a text may be an id in a path or a reference. Real ones are longer than FHIR allows and hold other characters;
/// what may not stand there is what would make another path of it.
fn is_id(text: &str) -> bool {
    // Brackets are what documents put around the place of an id.
    let odd = |c: char| c.is_whitespace() || c.is_control() || "/\\?#[]{}<>".contains(c);
    !text.is_empty() && text.len() <= 512 && !matches!(text, "." | "..") && !text.contains(odd)
}

/// `[type]?[query]`.
fn type_filter(text: &str) -> Option<String> {
    let (kind, query) = text.split_once('?')?;
    (crate::manifest::is_type_name(kind) && query.contains('=')).then(|| text.to_owned())
}

/// `[type].[element]` or `[element]`.
fn element(text: &str) -> Option<String> {
    let (kind, name) = match text.split_once('.') {
        Some((kind, name)) => (Some(kind), name),
        None => (None, text),
    };
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    (is_name && kind.is_none_or(crate::manifest::is_type_name)).then(|| text.to_owned())
}

/// A reference to a patient, of one or of its id.
fn patient(text: &str) -> Option<String> {
    match text.rsplit_once("Patient/") {
        None => is_id(text).then(|| format!("Patient/{text}")),
        Some((base, id)) => {
            let fits = base.is_empty()
                || base.ends_with('/')
                    && url::Url::parse(base)
                        .is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
            (fits && is_id(id)).then(|| text.to_owned())
        }
    }
}

fn code(text: &str) -> Option<String> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    text.bytes().all(fits).then(|| text.to_owned())
}

fn format(text: &str) -> Result<String, Option<String>> {
    let one = !text.contains(|c: char| c.is_whitespace() || c.is_control());
    if one && text.to_ascii_lowercase().contains("ndjson") {
        Ok(text.to_owned())
    } else {
        Err(Some(
            "is no name of NDJSON, and Pathling imports nothing else here".to_owned(),
        ))
    }
}

/// A JSON object. It is sent as it was written.
fn document(text: &str) -> Result<String, Option<String>> {
    match serde_json::from_str(text) {
        Ok(serde_json::Value::Object(_)) => Ok(text.to_owned()),
        Ok(_) => Err(None),
        // The parser's own message may quote the text; its place is enough.
        Err(error) => Err(Some(format!(
            "is not JSON (line {}, column {})",
            error.line(),
            error.column()
        ))),
    }
}

/// A query string, without what has a setting of its own.
fn parameters(text: &str) -> Result<Vec<(String, String)>, Option<String>> {
    let text = text.strip_prefix('?').unwrap_or(text);
    let pairs: Vec<(String, String)> = url::form_urlencoded::parse(text.as_bytes())
        .into_owned()
        .collect();
    for (name, _) in &pairs {
        if let Some((name, setting)) = OWN.iter().find(|(own, _)| own == name) {
            return Err(Some(format!("holds {name}, whose setting is {setting}")));
        }
        let odd = |c: char| c.is_whitespace() || c.is_control();
        if name.is_empty() || name.contains(odd) {
            return Err(None);
        }
    }
    Ok(pairs)
}

#[cfg(test)]
#[path = "export_tests.rs"]
mod tests;
