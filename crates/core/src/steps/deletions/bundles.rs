//! One pass over files of deletions: NDJSON of Bundles whose entries say `DELETE` (Bulk Data Access IG, "Response - Complete
//! Status", `deleted`), in little memory.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::Deserialize;

use crate::lines::{Line, Lines};
use crate::manifest::{is_type_name, without_mark};

/// The longest line that is read, in bytes: some hundred thousand entries.
const LINE: usize = 8 << 20;

/// The longest id: FHIR has 64 characters, and some servers more.
const ID: usize = 256;

/// What files of deletions name.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Named {
    /// The ids by type, each once; no more of them all than are wanted.
    pub(crate) ids: BTreeMap<String, BTreeSet<String>>,
    /// How many those are.
    pub(crate) found: usize,
    /// Whether there are more.
    pub(crate) more: bool,
    /// How many entries, or whole lines, name no single resource.
    pub(crate) unclear: usize,
}

#[derive(Deserialize)]
struct Bundle {
    #[serde(rename = "resourceType")]
    resource_type: String,
    #[serde(default)]
    entry: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    request: Option<Request>,
}

#[derive(Deserialize)]
struct Request {
    #[serde(default)]
    method: String,
    #[serde(default)]
    url: String,
}

impl Named {
    fn add(&mut self, resource_type: &str, id: &str, most: usize) {
        let is_known = self
            .ids
            .get(resource_type)
            .is_some_and(|ids| ids.contains(id));
        if is_known {
            return;
        }
        if self.found >= most {
            self.more = true;
            return;
        }
        let ids = self.ids.entry(resource_type.to_owned()).or_default();
        ids.insert(id.to_owned());
        self.found += 1;
    }
}

/// Takes in what a line names, up to `most` resources in all.
fn name(into: &mut Named, most: usize, line: Line<'_>) {
    let bundle = match line {
        Line::Whole(line) => serde_json::from_slice::<Bundle>(without_mark(line).trim_ascii()).ok(),
        Line::TooLong => None,
    };
    let Some(bundle) = bundle.filter(|it| it.resource_type == "Bundle") else {
        into.unclear += 1;
        return;
    };
    for entry in &bundle.entry {
        match entry.request.as_ref().and_then(named) {
            Some((resource_type, id)) => into.add(resource_type, id, most),
            None => into.unclear += 1,
        }
    }
}

/// A file of which nothing was read, whose resources go to `into`, up to `most` of them in all.
pub(super) struct Naming<'a> {
    into: &'a mut Named,
    most: usize,
    lines: Lines,
}

impl<'a> Naming<'a> {
    pub(super) fn new(into: &'a mut Named, most: usize) -> Self {
        Self {
            into,
            most,
            lines: Lines::new(LINE),
        }
    }

    /// The next bytes.
    pub(super) fn take(&mut self, chunk: &Bytes) {
        self.lines
            .take(chunk, |line| name(self.into, self.most, line));
    }

    /// No more bytes come.
    pub(super) fn finish(self) {
        self.lines.finish(|line| name(self.into, self.most, line));
    }
}

/// The one resource that a request deletes: `Patient/1`, absolute or not, of a certain version or not. A search names none.
fn named(request: &Request) -> Option<(&str, &str)> {
    if request.method != "DELETE" || request.url.contains('?') {
        return None;
    }
    let path = request.url.split('#').next()?;
    let mut segments: Vec<&str> = path.split('/').filter(|it| !it.is_empty()).collect();
    if let Some(at) = segments.iter().position(|it| *it == "_history") {
        segments.truncate(at);
    }
    let [.., resource_type, id] = segments.as_slice() else {
        return None;
    };
    let is_id = id.len() <= ID
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        && id.bytes().any(|byte| byte != b'.');
    (is_type_name(resource_type) && is_id).then_some((*resource_type, *id))
}

/// What a file of these pieces names.
#[cfg(any(test, fuzzing))]
pub(crate) fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, most: usize) -> Named {
    let mut named = Named::default();
    let mut lines = Naming::new(&mut named, most);
    for piece in pieces {
        lines.take(&Bytes::copy_from_slice(piece));
    }
    lines.finish();
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(entries: &[(&str, &str)]) -> String {
        let entries: Vec<_> = entries
            .iter()
            .map(|(method, url)| serde_json::json!({"request": {"method": method, "url": url}}))
            .collect();
        serde_json::json!({"resourceType": "Bundle", "type": "transaction", "entry": entries})
            .to_string()
    }

    #[test]
    fn a_resource_is_named_by_any_form_of_its_url() {
        for url in [
            "Patient/1",
            "/Patient/1",
            "https://h/fhir/Patient/1",
            "Patient/1/_history/3",
            "https://h/Patient/1#x",
        ] {
            let named = read([bundle(&[("DELETE", url)]).as_bytes()], 10);
            assert_eq!((named.found, named.unclear), (1, 0), "{url}");
            assert!(named.ids["Patient"].contains("1"), "{url}");
        }
        for (method, url) in [
            ("DELETE", "Patient?identifier=1"),
            ("DELETE", "Patient"),
            ("DELETE", ""),
            ("DELETE", "patient/1"),
            ("DELETE", "Patient/.."),
            ("DELETE", "Patient/a b"),
            ("PUT", "Patient/1"),
        ] {
            let named = read([bundle(&[(method, url)]).as_bytes()], 10);
            assert_eq!((named.found, named.unclear), (0, 1), "{method} {url}");
        }
    }

    #[test]
    fn every_line_counts_however_the_bytes_arrive_and_each_resource_once() {
        let text = format!(
            "\u{feff}{}\r\n\n{}\nno json\n{{\"resourceType\":\"Patient\"}}\n{}",
            bundle(&[("DELETE", "Patient/1"), ("DELETE", "Patient/2")]),
            bundle(&[("DELETE", "Patient/1"), ("DELETE", "Observation/1")]),
            bundle(&[]),
        );
        for at_once in [1, 7, 4096] {
            let named = read(text.as_bytes().chunks(at_once), 10);
            assert_eq!((named.found, named.unclear, named.more), (3, 2, false));
        }
        let few = read([text.as_bytes()], 2);
        assert_eq!((few.found, few.more), (2, true));
        assert_eq!(read([&b""[..]], 10), Named::default());
    }

    #[test]
    fn a_line_of_any_length_is_counted_and_not_held() {
        let mut named = Named::default();
        let mut lines = Naming::new(&mut named, 10);
        for _ in 0..20 {
            lines.take(&Bytes::from(vec![b'x'; 1 << 20]));
        }
        lines.finish();
        assert_eq!(named.unclear, 1);
    }
}
