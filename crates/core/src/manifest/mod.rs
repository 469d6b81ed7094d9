//! The bulk export manifest: what the source says that it exported (Bulk Data Access IG, "Response - Complete Status").
//!
//! The steps pass a manifest on exactly as the source sent it, unknown fields included, or by its place in staging;
//! [`Head`] and [`Manifest`] are typed views of the parts that this program acts on. A manifest of 100,000 files has some
//! 30 MB of JSON, so it is read as a stream, and of its files is kept what a plan needs, in a fraction of that.

mod given;
mod read;
mod stream;
mod urls;

use std::collections::HashMap;
use std::fmt;

use bytes::Bytes;
use futures_util::Stream;
use serde::{Serialize, Serializer};
use serde_json::Value;
use url::Url;

use self::read::{Found, Keep};
use self::urls::Urls;
use crate::error::{Error, Kind, Result};

/// The largest manifest that is read, in bytes of JSON: 200,000 files or so.
pub const LIMIT: usize = 64 << 20;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What a manifest says beside its files.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// The server's time of the export, as it was written.
    pub transaction_time: String,
    /// The kick-off request's URL, where the server repeats it.
    pub request: Option<String>,
    /// What `requiresAccessToken` says; absent, the token goes along where its origin is trusted.
    pub requires_access_token: Option<bool>,
    /// How many exported files there are.
    pub outputs: usize,
    /// How many files of deletions there are.
    pub deleted: usize,
    /// How many files of errors there are.
    pub errors: usize,
}

/// The parts of a manifest that this program acts on.
#[derive(Clone)]
pub struct Manifest {
    /// What it says beside its files.
    pub head: Head,
    files: Files,
}

/// One exported file.
#[derive(Clone, Debug, PartialEq)]
pub struct Output<'a> {
    /// The type of every resource in the file.
    pub resource_type: &'a str,
    /// Where it can be fetched: an absolute URL.
    pub url: String,
    /// How many resources it holds, where the server says so.
    pub count: Option<u64>,
    /// How many bytes it has, where the server says so.
    pub size: Option<u64>,
}

impl Head {
    /// Checks the whole of a manifest's text that was found at `base`, and keeps of it only what it says beside its files.
    ///
    /// Gives [`crate::Kind::Manifest`] with what is wrong with it, or what `not_json` says.
    pub fn of_text(
        text: &[u8],
        base: Option<&Url>,
        not_json: impl FnOnce() -> Error,
    ) -> Result<Self> {
        if text.len() > LIMIT {
            return Err(too_large());
        }
        let Ok(text) = std::str::from_utf8(without_mark(text)) else {
            return Err(not_json());
        };
        let mut json = serde_json::Deserializer::from_str(text);
        let head = read::read(&mut json, base, &mut ());
        match head.and_then(|head| json.end().map(|()| head)) {
            Ok(head) => head,
            Err(_) => Err(not_json()),
        }
    }

    /// The same of a manifest that arrives as a stream.
    pub async fn of_stream(
        chunks: impl Stream<Item = Result<Bytes>>,
        base: Option<&Url>,
        not_json: impl FnOnce() -> Error,
    ) -> Result<Self> {
        let (head, ()) = stream::read(chunks, base, (), not_json).await?;
        Ok(head)
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

impl Manifest {
    /// Reads a manifest that was found at `base` (relative URLs are taken from there).
    ///
    /// Gives [`crate::Kind::Manifest`] with what is wrong with it.
    pub fn read(value: &Value, base: Option<&Url>) -> Result<Self> {
        let mut files = Files::default();
        // A value is JSON already.
        let head = read::read(value, base, &mut files)
            .unwrap_or_else(|error: serde_json::Error| Err(read::wrong(&error.to_string())))?;
        Ok(Self::of(head, files))
    }

    /// Reads a manifest that arrives as a stream and was found at `base`.
    ///
    /// Gives the stream's error; [`crate::Kind::Manifest`] with what is wrong with the manifest; or what `not_json` says.
    pub async fn of_stream(
        chunks: impl Stream<Item = Result<Bytes>>,
        base: Option<&Url>,
        not_json: impl FnOnce() -> Error,
    ) -> Result<Self> {
        let (head, files) = stream::read(chunks, base, Files::default(), not_json).await?;
        Ok(Self::of(head, files))
    }

    fn of(head: Head, mut files: Files) -> Self {
        files.close();
        Self { head, files }
    }

    /// How many exported files it names.
    #[must_use]
    pub fn len(&self) -> usize {
        self.files.rows.len()
    }

    /// Whether it names no exported file.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.rows.is_empty()
    }

    /// The exported file of this index.
    #[must_use]
    pub fn output(&self, index: usize) -> Option<Output<'_>> {
        let url = self.files.urls.get(index)?;
        self.files.output(index, url)
    }

    /// The size in bytes and the number of resources of each exported file, where the server says so.
    pub fn sizes(&self) -> impl Iterator<Item = (Option<u64>, Option<u64>)> {
        let rows = self.files.rows.iter();
        rows.map(|row| (row.size.into(), row.count.into()))
    }

    /// All exported files, in the manifest's order. In that order they come cheaper than one by one.
    pub fn outputs(&self) -> impl Iterator<Item = Output<'_>> {
        let urls = self.files.urls.iter().enumerate();
        urls.filter_map(|(index, url)| self.files.output(index, url))
    }
}

/// The files are too many to show.
impl fmt::Debug for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manifest")
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}

/// What is said of a manifest of more than [`LIMIT`] bytes.
#[must_use]
pub fn too_large() -> Error {
    Kind::Manifest
        .error(format!(
            "the manifest has more than the {LIMIT} bytes that are read of one"
        ))
        .next("Export fewer types at a time, by TYPES.")
}

/// A text without the byte-order mark that some servers begin with.
#[must_use]
pub fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
}

/// The outputs, in little memory.
#[derive(Clone, Default)]
struct Files {
    types: Vec<Box<str>>,
    /// The place of each type in `types`; empty once all files are read.
    numbers: HashMap<Box<str>, u32>,
    rows: Vec<Row>,
    urls: Urls,
}

#[derive(Clone)]
struct Row {
    resource_type: u32,
    count: Maybe,
    size: Maybe,
}

/// A number that may be missing, in the room of one: the largest stands for none, and means as little.
#[derive(Clone, Copy)]
struct Maybe(u64);

impl From<Option<u64>> for Maybe {
    fn from(number: Option<u64>) -> Self {
        Self(number.unwrap_or(u64::MAX))
    }
}

impl From<Maybe> for Option<u64> {
    fn from(maybe: Maybe) -> Self {
        Some(maybe.0).filter(|number| *number != u64::MAX)
    }
}

impl Files {
    fn output(&self, index: usize, url: String) -> Option<Output<'_>> {
        let row = self.rows.get(index)?;
        Some(Output {
            resource_type: self.types.get(row.resource_type as usize)?,
            url,
            count: row.count.into(),
            size: row.size.into(),
        })
    }

    fn close(&mut self) {
        self.numbers = HashMap::new();
        self.rows.shrink_to_fit();
        self.urls.close();
    }
}

impl Keep for Files {
    fn keep(&mut self, found: Found) {
        let name = found.resource_type.into_boxed_str();
        let resource_type = match self.numbers.get(&name) {
            Some(number) => *number,
            None => {
                // There are fewer types than bytes in a manifest.
                let number = u32::try_from(self.types.len()).unwrap_or(u32::MAX);
                self.types.push(name.clone());
                self.numbers.insert(name, number);
                number
            }
        };
        self.rows.push(Row {
            resource_type,
            count: found.count.into(),
            size: found.size.into(),
        });
        self.urls.push(found.url.as_str());
    }

    fn forget(&mut self) {
        *self = Self::default();
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
        assert!(manifest.is_empty());
        assert_eq!(manifest.head.requires_access_token, None);
        assert_eq!(manifest.head.asked(), None);
    }

    #[test]
    fn requires_access_token_may_be_a_string() {
        let read = |value| {
            let manifest = json!({"transactionTime": "t", "requiresAccessToken": value});
            Manifest::read(&manifest, None)
                .unwrap()
                .head
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
        let output = manifest.output(0).unwrap();
        assert_eq!(output.url, "https://h/files/1");
        assert_eq!(output.count, Some(3));
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
            Manifest::read(&value, None).unwrap().head.asked()
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

    const TEXT: &str = r#"{"error": [{"type": "x"}], "output": [
        {"extension": {"a": [1, {"b": "\u00e9"}]}, "count": 3, "url": "https://h/1?sig=\u0041", "type": "Patient", "fileSize": "17"},
        {"type": "Condition", "url": "files/2", "count": 1.5, "fileSize": 12}
    ], "requiresAccessToken": false, "request": "https://h/$export", "deleted": null, "transactionTime": "t"}"#;

    async fn streamed(text: &[u8], chunk: usize) -> Result<Manifest> {
        let chunks: Vec<_> = text
            .chunks(chunk)
            .map(|chunk| Ok(Bytes::copy_from_slice(chunk)))
            .collect();
        let base = Url::parse("https://h/status").unwrap();
        let no_json = || Kind::StagingDenied.error("no JSON");
        Manifest::of_stream(futures_util::stream::iter(chunks), Some(&base), no_json).await
    }

    #[tokio::test]
    async fn any_split_of_a_stream_in_any_order_of_members_reads_like_the_whole() {
        let base = Url::parse("https://h/status").unwrap();
        let value = serde_json::from_str(TEXT).unwrap();
        let whole = Manifest::read(&value, Some(&base)).unwrap();
        let outputs: Vec<_> = whole.outputs().collect();
        let output = |resource_type, url: &str, count, size| Output {
            resource_type,
            url: url.to_owned(),
            count,
            size,
        };
        assert_eq!(
            outputs,
            [
                output("Patient", "https://h/1?sig=A", Some(3), Some(17)),
                output("Condition", "https://h/files/2", None, Some(12)),
            ]
        );
        assert_eq!(
            (whole.head.outputs, whole.head.deleted, whole.head.errors),
            (2, 0, 1)
        );
        let marked = [BYTE_ORDER_MARK, TEXT.as_bytes()].concat();
        for text in [TEXT.as_bytes(), &marked] {
            for chunk in 1..text.len() {
                let manifest = streamed(text, chunk).await.unwrap();
                assert_eq!(manifest.head, whole.head);
                assert!(manifest.outputs().eq(outputs.iter().cloned()));
            }
            let head = Head::of_text(text, Some(&base), || Kind::Manifest.error("no JSON"));
            assert_eq!(head.unwrap(), whole.head);
        }
    }

    #[tokio::test]
    async fn what_is_cut_off_or_goes_on_is_no_json() {
        let text = TEXT.as_bytes();
        for text in [
            &text[..text.len() - 1],
            &text[..40],
            b"",
            b"{} {}",
            b"<html>",
        ] {
            let error = streamed(text, 7).await.unwrap_err();
            assert_eq!(error.what(), "no JSON");
            let error = Head::of_text(text, None, || Kind::Manifest.error("no JSON")).unwrap_err();
            assert_eq!(error.what(), "no JSON");
        }
    }

    #[tokio::test]
    async fn a_stream_that_breaks_off_says_so_itself() {
        let broken = || Err(Kind::StagingUnavailable.error("broke off"));
        let chunks = [Ok(Bytes::from(r#"{"output": ["#)), broken()];
        let no_json = || Kind::StagingDenied.error("no JSON");
        let read = Manifest::of_stream(futures_util::stream::iter(chunks), None, no_json).await;
        assert_eq!(read.unwrap_err().what(), "broke off");
    }

    #[tokio::test]
    async fn more_than_the_limit_is_refused_wherever_it_comes_from() {
        let blank = Bytes::from(vec![b' '; 1 << 20]);
        let chunks = futures_util::stream::iter(std::iter::repeat_n(blank, 65).map(Ok));
        let error = Head::of_stream(chunks, None, || Kind::Manifest.error("no JSON")).await;
        assert!(error.unwrap_err().what().contains("67108864 bytes"));
    }

    #[test]
    fn a_member_that_comes_twice_counts_as_it_came_last() {
        let text = r#"{"transactionTime": "1", "output": [{"type": "Patient", "url": "http://h/1"}], "output": [], "transactionTime": "2"}"#;
        let mut files = Files::default();
        let mut json = serde_json::Deserializer::from_str(text);
        let head = read::read(&mut json, None, &mut files).unwrap().unwrap();
        assert_eq!((head.transaction_time.as_str(), head.outputs), ("2", 0));
        assert!(files.rows.is_empty());
    }

    #[test]
    fn of_all_that_is_wrong_it_says_the_same_in_every_order() {
        let what = |text: &str| {
            Head::of_text(text.as_bytes(), None, || Kind::Manifest.error("no JSON"))
                .unwrap_err()
                .what()
                .to_owned()
        };
        assert!(
            what(r#"{"output": [{}, 5], "resourceType": "Bundle"}"#)
                .ends_with("it is a FHIR Bundle")
        );
        assert!(what(r#"{"output": [{}, 5]}"#).ends_with("no transactionTime"));
        assert!(
            what(r#"{"error": 1, "output": [{}, 5], "transactionTime": "t"}"#)
                .ends_with("output 1 of the manifest has no type")
        );
    }
}
