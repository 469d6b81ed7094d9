//! What reads a stranger's bytes, one function for each kind of text: any bytes lead to a value or an error.
//!
//! `make fuzz` calls them with what libFuzzer thinks of, and this crate's tests with what proptest does. Where a text can be
//! read in two ways, or arrive in pieces, both must come to the same, and that is asserted here. Nothing of it is part of
//! the program.

#[cfg(test)]
mod tests;

use std::time::SystemTime;

use bytes::Bytes;
use futures_util::stream;
use serde_json::Value;
use url::Url;

use crate::config::{SigningKey, Validate};
use crate::manifest::{Beside, Head, Manifest, Pages, Reading};
use crate::transfer::check::Checker;
use crate::{Error, Kind, Result};
use crate::{export, http, steps, transfer};

/// A kind of text, by the name of its fuzz target and of its corpus.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 11] = [
    ("authentication", authentication),
    ("capability", capability),
    ("deletions", deletions),
    ("errors", errors),
    ("key", key),
    ("lines", lines),
    ("location", location),
    ("manifest", manifest),
    ("mixed", mixed),
    ("outcome", outcome),
    ("retry_after", retry_after),
];

/// # Panics
///
/// If the example is no URL.
#[allow(clippy::unwrap_used)]
fn base() -> Url {
    Url::parse("https://source.example/fhir/").unwrap()
}

fn no_json() -> Error {
    Kind::Manifest.error("no JSON")
}

/// A manifest, or a page of one: read from a text, from a value, and as a page that is put together with itself.
///
/// # Panics
///
/// If these come to different things.
pub fn manifest(bytes: &[u8]) {
    let base = base();
    let head = head_of(bytes, &base);
    if let Ok(value) = serde_json::from_slice::<Value>(bytes) {
        let read = Manifest::read(&value, Some(&base));
        let text = value.to_string();
        let of_text = head_of(text.as_bytes(), &base);
        assert_eq!(
            read.as_ref().ok().map(|read| &read.head),
            of_text.ok().as_ref()
        );
        if let Ok(read) = read {
            assert_eq!(read.len(), read.head.outputs);
            for (index, output) in read.outputs().enumerate() {
                assert!(Url::parse(&output.url).is_ok());
                assert_eq!(read.output(index), Some(output));
            }
            for index in 0..read.head.errors {
                let _ = read.beside(Beside::Errors, index);
            }
        }
    }
    let added = twice(bytes, &base);
    if let (Ok(text), Ok(head)) = (added, head)
        && let Ok(twice) = head_of(&text, &base)
    {
        assert!(twice.outputs >= head.outputs);
        assert_eq!(twice.transaction_time, head.transaction_time);
    }
}

fn head_of(text: &[u8], base: &Url) -> Result<Head> {
    blocking(async {
        let mut reading = Reading::begin(Some(base));
        for chunk in text.chunks(13) {
            if !reading.add(Bytes::copy_from_slice(chunk)).await? {
                break;
            }
        }
        reading.end(no_json).await
    })
}

/// The page as the first and the second of a manifest.
fn twice(bytes: &[u8], base: &Url) -> Result<Vec<u8>> {
    let (mut pages, mut text) = (Pages::default(), Vec::new());
    for _ in 0..2 {
        let chunks = bytes.chunks(11).map(|it| Ok(Bytes::copy_from_slice(it)));
        let chunks: Vec<Result<Bytes>> = chunks.collect();
        let read = blocking(async {
            let (reading, mut pieces) = pages.add(stream::iter(chunks), base, no_json);
            let keeping = async {
                while let Some(piece) = pieces.recv().await {
                    text.extend_from_slice(&piece);
                }
            };
            tokio::join!(reading, keeping).0
        });
        pages = read?.0;
    }
    text.extend_from_slice(&pages.rest());
    Ok(text)
}

/// Runs to its end what may hand work to other threads.
///
/// # Panics
///
/// If there is no thread to be had.
#[allow(clippy::expect_used)]
fn blocking<T>(work: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
    }
    RUNTIME.with(|runtime| runtime.block_on(work))
}

/// An `OperationOutcome`.
///
/// # Panics
///
/// If its words are longer than a message holds.
pub fn outcome(bytes: &[u8]) {
    if let Some(outcome) = http::OperationOutcome::parse(bytes) {
        assert!(outcome.text().chars().count() <= 501);
        let _ = outcome.is_transient();
    }
}

/// A `Retry-After`, and on a line of its own the answer's `Date`.
pub fn retry_after(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (text, date) = match text.split_once('\n') {
        Some((text, date)) => (text, Some(date)),
        None => (&*text, None),
    };
    let _ = http::retry_after(text, date, SystemTime::UNIX_EPOCH);
}

/// A Content-Location, or a status URL of an event.
///
/// # Panics
///
/// If it leads to something that cannot be asked, or would be shown with what is secret in it.
pub fn location(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let urls = [
        export::fuzzing::status_url(&base(), &text),
        export::parse_status_url(&text).ok(),
    ];
    for url in urls.into_iter().flatten() {
        assert!(matches!(url.scheme(), "http" | "https"));
        assert!(url.has_host());
        if let Ok(shown) = Url::parse(&http::shown(&url)) {
            assert_eq!(
                (shown.username(), shown.password(), shown.fragment()),
                ("", None, None)
            );
        }
        let _ = http::status_url_for_polling(&base(), &url);
    }
    let _ = http::shown_str(&text);
}

/// A `CapabilityStatement` or an `OperationDefinition`.
pub fn capability(bytes: &[u8]) {
    if let Ok(value) = serde_json::from_slice(bytes) {
        export::fuzzing::capability(&base(), &value);
    }
}

/// A SMART configuration, a `CapabilityStatement` that names where tokens come from, or a token.
pub fn authentication(bytes: &[u8]) {
    http::fuzz_authentication(bytes);
}

/// A file of resources, at each depth of the checks: whole, and in pieces.
///
/// # Panics
///
/// If the pieces come to another verdict or to other bytes than the whole.
pub fn lines(bytes: &[u8]) {
    for validate in [Validate::Lines, Validate::Json, Validate::None] {
        let whole = checked(validate, [bytes]);
        assert_eq!(checked(validate, bytes.chunks(1)), whole);
        assert_eq!(checked(validate, bytes.chunks(7)), whole);
    }
}

/// What is staged of these pieces and how many resources, or what is wrong with them.
fn checked<'a>(
    validate: Validate,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<(Vec<u8>, u64), String> {
    let mut checker = Checker::new("Patient", validate);
    let mut staged = Vec::new();
    for piece in pieces {
        checker
            .chunk(Bytes::copy_from_slice(piece), |kept| {
                staged.extend_from_slice(&kept);
            })
            .map_err(|line| line.to_string())?;
    }
    checker
        .finish(|kept| staged.extend_from_slice(&kept))
        .map_err(|line| line.to_string())?;
    Ok((staged, checker.resources()))
}

/// A line of a file of several types.
pub fn mixed(bytes: &[u8]) {
    let _ = transfer::split::resource_of(bytes);
}

/// A file of errors: whole, and in pieces.
///
/// # Panics
///
/// If the pieces come to something else than the whole.
pub fn errors(bytes: &[u8]) {
    let whole = steps::issues::lines::read([bytes]);
    assert_eq!(steps::issues::lines::read(bytes.chunks(5)), whole);
}

/// A file of deletions: whole, and in pieces.
///
/// # Panics
///
/// If the pieces come to something else than the whole, or if more is kept than was wanted.
pub fn deletions(bytes: &[u8]) {
    const MOST: usize = 3;
    let whole = steps::deletions::bundles::read([bytes], MOST);
    let pieces = steps::deletions::bundles::read(bytes.chunks(5), MOST);
    assert_eq!(pieces, whole);
    let kept: usize = whole
        .ids
        .values()
        .map(std::collections::BTreeSet::len)
        .sum();
    assert!(kept == whole.found && kept <= MOST);
}

/// A private key: a JWK, a JWKS or PEM.
pub fn key(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = SigningKey::read(text, None);
        let _ = SigningKey::read(text, Some("1"));
    }
}
