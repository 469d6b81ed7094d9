//! The audit log, read as its readers do: every line must be of the format that Bulk Data clients share.

use sandbox::Sandbox;
use serde_json::Value;

/// What a member of `eventDetail` may be.
#[derive(Clone, Copy)]
enum Is {
    Text,
    TextOrNull,
    Count,
    CountOrNull,
    /// An object whose values are all texts.
    Texts,
    TextsOrNull,
    Null,
    /// A text with a URL whose query has no values.
    Url,
}

impl Is {
    fn holds(self, value: &Value) -> bool {
        let texts = |value: &Value| {
            let object = value.as_object();
            object.is_some_and(|object| object.values().all(Value::is_string))
        };
        match self {
            Self::Text => value.is_string(),
            Self::TextOrNull => value.is_string() || value.is_null(),
            Self::Count => value.is_u64(),
            Self::CountOrNull => value.is_u64() || value.is_null(),
            Self::Texts => texts(value),
            Self::TextsOrNull => value.is_null() || texts(value),
            Self::Null => value.is_null(),
            Self::Url => value.as_str().is_some_and(is_bare_url),
        }
    }
}

fn is_bare_url(text: &str) -> bool {
    let (address, query) = text.split_once('?').unwrap_or((text, ""));
    let bare = |pair: &str| pair.split_once('=').map_or(pair, |(_, value)| value) == "…";
    address.starts_with("http") && (query.is_empty() || query.split('&').all(bare))
}

/// Each event with the members of its `eventDetail`.
const EVENTS: &[(&str, &[(&str, Is)])] = &[
    (
        "kickoff",
        &[
            ("exportUrl", Is::Url),
            ("errorCode", Is::CountOrNull),
            ("errorBody", Is::TextOrNull),
            ("softwareName", Is::TextOrNull),
            ("softwareVersion", Is::TextOrNull),
            ("softwareReleaseDate", Is::TextOrNull),
            ("fhirVersion", Is::TextOrNull),
            ("requestParameters", Is::Texts),
            ("responseHeaders", Is::TextsOrNull),
        ],
    ),
    (
        "status_progress",
        &[
            ("body", Is::Null),
            ("xProgress", Is::TextOrNull),
            ("retryAfter", Is::TextOrNull),
        ],
    ),
    (
        "status_error",
        &[
            ("body", Is::Null),
            ("code", Is::CountOrNull),
            ("message", Is::Text),
            ("responseHeaders", Is::TextsOrNull),
        ],
    ),
    (
        "status_page_complete",
        &[
            ("transactionTime", Is::Text),
            ("outputFileCount", Is::Count),
            ("deletedFileCount", Is::Count),
            ("errorFileCount", Is::Count),
        ],
    ),
    ("status_complete", &[("transactionTime", Is::Text)]),
    (
        "manifest_complete",
        &[
            ("transactionTime", Is::Text),
            ("totalOutputFileCount", Is::Count),
            ("totalDeletedFileCount", Is::Count),
            ("totalErrorFileCount", Is::Count),
            ("totalManifests", Is::Count),
        ],
    ),
    (
        "download_request",
        &[
            ("fileUrl", Is::Url),
            ("itemType", Is::Text),
            ("resourceType", Is::TextOrNull),
        ],
    ),
    (
        "download_complete",
        &[
            ("fileUrl", Is::Url),
            ("resourceCount", Is::Count),
            ("fileSize", Is::Count),
        ],
    ),
    (
        "download_error",
        &[
            ("fileUrl", Is::Url),
            ("body", Is::Null),
            ("code", Is::CountOrNull),
            ("message", Is::Text),
            ("responseHeaders", Is::TextsOrNull),
        ],
    ),
    (
        "export_complete",
        &[
            ("files", Is::Count),
            ("resources", Is::Count),
            ("bytes", Is::Count),
            ("attachments", Is::Count),
            ("duration", Is::Count),
        ],
    ),
];

/// The lines of an audit log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AuditLog(pub Vec<Value>);

impl AuditLog {
    /// Reads a log, each line of which must be of the format.
    pub fn read(text: &str) -> Self {
        assert!(
            text.is_empty() || text.ends_with('\n'),
            "the last line is cut"
        );
        let lines = text.lines().map(|line| {
            let line = serde_json::from_str(line)
                .unwrap_or_else(|error| panic!("a line is no JSON ({error}): {line}"));
            assert_is_of_the_format(&line);
            line
        });
        Self(lines.collect())
    }

    /// The log in the folder of the only run that the sandbox's bucket holds, or of this one. It may be absent.
    pub fn staged(sandbox: &Sandbox, run: &str) -> Self {
        let mut text = String::new();
        for (key, _) in sandbox.s3_objects() {
            if key.contains(&format!("/runs/{run}/_log")) {
                let object = sandbox.s3_object(&key).expect("it was listed");
                text.push_str(&String::from_utf8(object).expect("a log is UTF-8"));
            }
        }
        Self::read(&text)
    }

    /// The events in their order.
    #[must_use]
    pub fn events(&self) -> Vec<&str> {
        let events = self.0.iter();
        events.filter_map(|line| line["eventId"].as_str()).collect()
    }

    /// What there is of this event.
    #[must_use]
    pub fn details(&self, event: &str) -> Vec<&Value> {
        let lines = self.0.iter().filter(|line| line["eventId"] == event);
        lines.map(|line| &line["eventDetail"]).collect()
    }

    /// The one name that all lines have.
    pub fn export_id(&self) -> &str {
        let ids: Vec<_> = self.0.iter().map(|line| &line["exportId"]).collect();
        assert!(
            !ids.is_empty() && ids.iter().all(|id| *id == ids[0]),
            "{ids:?}"
        );
        ids[0].as_str().expect("it is a text")
    }
}

fn assert_is_of_the_format(line: &Value) {
    let object = line.as_object().expect("a line is an object");
    for (name, value) in object {
        let known = ["exportId", "timestamp", "eventId", "eventDetail"].contains(&name.as_str());
        assert!(
            known || name.starts_with('_'),
            "{name} is no member: {line}"
        );
        assert!(
            name == "eventDetail" || !value.is_object(),
            "{name}: {line}"
        );
    }
    let id = line["exportId"].as_str().unwrap_or_default();
    assert!(!id.is_empty(), "no exportId: {line}");
    let time = line["timestamp"].as_str().unwrap_or_default();
    assert!(is_instant(time), "no timestamp: {line}");
    let event = EVENTS.iter().find(|(event, _)| line["eventId"] == *event);
    let (_, members) = event.unwrap_or_else(|| panic!("no such event: {line}"));
    let detail = line["eventDetail"]
        .as_object()
        .expect("eventDetail is an object");
    for (name, is) in *members {
        let value = detail.get(*name);
        assert!(value.is_some_and(|value| is.holds(value)), "{name}: {line}");
    }
    assert_eq!(detail.len(), members.len(), "other members: {line}");
    if let Some(item) = detail.get("itemType") {
        assert!(item == "output" || item == "error", "{line}");
    }
}

/// `2026-01-31T00:00:00.000000Z`
fn is_instant(text: &str) -> bool {
    let form = b"0000-00-00T00:00:00.000000Z";
    text.len() == form.len()
        && text.bytes().zip(form).all(|(byte, form)| match form {
            b'0' => byte.is_ascii_digit(),
            form => byte == *form,
        })
}
