//! The bulk export manifest: what the source says that it exported (Bulk Data Access IG, "Response - Complete Status").
//!
//! The steps pass a manifest on exactly as the source sent it, unknown fields included, or by its place in staging;
//! [`Head`] and [`Manifest`] are typed views of the parts that this program acts on. A manifest of 100,000 files has some
//! 30 MB of JSON, so it is read as a stream, and of its files is kept what a plan needs, in a fraction of that.

mod beside;
mod files;
mod given;
mod pages;
mod read;
mod stream;
#[cfg(test)]
mod tests;
mod urls;

use std::fmt;

use bytes::Bytes;
use futures_util::Stream;
use serde::{Serialize, Serializer};
use serde_json::Value;
use url::Url;

pub use self::beside::Beside;
use self::files::Files;
pub use self::pages::{Pages, Pieces};
pub use self::stream::Reading;
use crate::error::{Error, Kind, Result};

/// The largest manifest that is read, in bytes of JSON, all its pages together: three million files or so.
pub const LIMIT: usize = 1 << 30;

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
    /// The index of the first of them without a type: a file of several types.
    pub untyped: Option<usize>,
    /// The first `count` or `fileSize` of them that is no number of things, and so counts as absent.
    pub odd_number: Option<OddNumber>,
    /// How many files of deletions there are.
    pub deleted: usize,
    /// How many files of errors there are.
    pub errors: usize,
    /// Where the next page is, where this is one of several.
    pub next: Option<Url>,
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
    /// The type of every resource in the file; empty for a file of several types.
    pub resource_type: &'a str,
    /// Where it can be fetched: an absolute URL.
    pub url: String,
    /// How many resources it holds, where the server says so.
    pub count: Option<u64>,
    /// How many bytes it has, where the server says so.
    pub size: Option<u64>,
}

/// Where a manifest has a number that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OddNumber {
    /// The index of its output.
    output: u32,
    /// Whether it is the `fileSize`, or the `count`.
    is_size: bool,
}

impl OddNumber {
    /// The same behind so many other outputs.
    fn after(self, outputs: usize) -> Self {
        let before = u32::try_from(outputs).unwrap_or(u32::MAX);
        Self {
            output: self.output.saturating_add(before),
            ..self
        }
    }
}

impl Head {
    /// Checks the whole of a manifest that arrives as a stream and was found at `base`, and keeps of it only what it says
    /// beside its files.
    ///
    /// Gives the stream's error; [`crate::Kind::Manifest`] with what is wrong with the manifest; or what `not_json` says.
    pub async fn of_stream(
        chunks: impl Stream<Item = Result<Bytes>>,
        base: Option<&Url>,
        not_json: impl FnOnce() -> Error,
    ) -> Result<Self> {
        let (head, ()) = stream::read(chunks, base, (), not_json).await?;
        Ok(head)
    }

    /// Gives [`crate::Kind::Manifest`] where there is a file of several types, for whoever does not take such.
    pub fn refuse_untyped(&self) -> Result<()> {
        match self.untyped {
            None => Ok(()),
            Some(index) => Err(read::wrong(&format!("output {} of the manifest has no type", index + 1))
                .next("If its files hold several types on purpose (organizeOutputBy), set MIXED_FILES=split.")),
        }
    }

    /// Warns where a number is none, and so not heeded.
    pub fn warn_of_odd_number(&self, run: &str) {
        if let Some(odd) = self.odd_number {
            let member = if odd.is_size { "fileSize" } else { "count" };
            tracing::warn!(
                run,
                member,
                output = u64::from(odd.output) + 1,
                "the manifest has a number that is no whole number, here and maybe further on: it counts as absent"
            );
        }
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

    /// Adds the files of the page that follows. What the pages say beside them is taken from the first.
    ///
    /// Gives [`crate::Kind::Manifest`] where it is of another export.
    pub fn join(&mut self, page: &Self) -> Result<()> {
        if page.head.transaction_time != self.head.transaction_time {
            return Err(read::wrong("its pages are of different exports"));
        }
        self.files.join(&page.files);
        let untyped = page.head.untyped.map(|index| self.head.outputs + index);
        self.head.untyped = self.head.untyped.or(untyped);
        let odd = page.head.odd_number.map(|odd| odd.after(self.head.outputs));
        self.head.odd_number = self.head.odd_number.or(odd);
        self.head.outputs = self.files.len();
        self.head.deleted += page.head.deleted;
        self.head.errors = self.files.errors();
        self.head.next.clone_from(&page.head.next);
        Ok(())
    }

    /// How many exported files it names.
    #[must_use]
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether it names no exported file.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.len() == 0
    }

    /// The exported file of this index.
    #[must_use]
    pub fn output(&self, index: usize) -> Option<Output<'_>> {
        self.files.get(index)
    }

    /// Where the file of this index, below [`Head::errors`] or [`Head::deleted`], can be fetched: an absolute URL. `None`
    /// where the manifest does not say.
    #[must_use]
    pub fn beside(&self, what: Beside, index: usize) -> Option<String> {
        self.files.beside(what, index)
    }

    /// The size in bytes and the number of resources of each exported file, where the server says so.
    pub fn sizes(&self) -> impl Iterator<Item = (Option<u64>, Option<u64>)> {
        self.files.sizes()
    }

    /// All exported files, in the manifest's order. In that order they come cheaper than one by one.
    pub fn outputs(&self) -> impl Iterator<Item = Output<'_>> {
        self.files.iter()
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
