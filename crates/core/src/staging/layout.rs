//! The name of every object under `STAGING_URL`: the one home of all keys and paths.
//!
//! Pure functions and nothing else: what the objects hold, and when they are written, is other modules' business. Keys
//! have no slash in front; [`super::Staging::url`] makes a URL of one. Names that begin with `_` are ours, and Pathling
//! skips them.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::signatures::unsigned;

/// The content type of files of resources.
pub const NDJSON: &str = "application/fhir+ndjson";

/// The content type of our own state.
pub const JSON: &str = "application/json";

/// The content type of JSON texts, one on each line.
pub const JSON_LINES: &str = "application/jsonl";

/// The content type of an object of ours that is changed after it was made.
#[must_use]
pub fn content_type_of(key: &str) -> &'static str {
    if key.ends_with(".ndjson") {
        JSON_LINES
    } else {
        JSON
    }
}

/// The folder of what was synchronised when.
pub(super) const SYNC: &str = "sync";

/// The name of the run that a status URL stands for: 16 lower-case hexadecimal digits.
#[must_use]
pub fn run_of(status_url: &str) -> String {
    hash(16, [status_url])
}

/// What tells a manifest that takes the place of an export from others: its URL less the signature, which may be another
/// each night.
#[must_use]
pub fn manifest_source(url: &str) -> String {
    unsigned(url)
}

/// The name of a run whose status URL is not known, from what its manifest says of itself.
///
/// Signatures do not count, so that the same manifest fetched again names the same run.
#[must_use]
pub fn derived_run(
    transaction_time: &str,
    request: &str,
    urls: impl IntoIterator<Item = impl AsRef<str>>,
) -> String {
    let mut digest = Sha256::new();
    add(&mut digest, transaction_time);
    add(&mut digest, request);
    for url in urls {
        add(&mut digest, &unsigned(url.as_ref()));
    }
    hex(16, digest)
}

/// The name of the run after `run` on a server that counts its jobs anew: the same status URL, another transaction time.
#[must_use]
pub fn suffixed(run: &str, transaction_time: &str) -> String {
    format!("{run}-{}", export_of(transaction_time))
}

/// The name of the run of a synchronisation whose source answered it with the job of another one's run: what is staged and
/// imported for one target says nothing of the other.
#[must_use]
pub fn beside_run(run: &str, key: &str) -> String {
    format!("{run}-{}", hash(8, [key]))
}

/// What tells an export from others at the same status URL: a hash of its manifest's transaction time.
#[must_use]
pub fn export_of(transaction_time: &str) -> String {
    hash(8, [transaction_time])
}

/// Whether a text may be the name of a run. Names arrive in events and become paths, so nothing else may pass.
#[must_use]
pub fn is_run_name(text: &str) -> bool {
    is_hex_name(text) && text.len() <= 64
}

/// The folder of a run, without a slash at its end.
#[must_use]
pub fn run_folder(run: &str) -> String {
    format!("runs/{run}")
}

/// The folder of all runs.
pub const RUNS: &str = "runs/";

/// The folder of a run's files of a type.
#[must_use]
pub fn type_folder(run: &str, resource_type: &str) -> String {
    format!("{}/{resource_type}/", run_folder(run))
}

/// The whole manifest of a run. The first that is written stays.
#[must_use]
pub fn manifest_key(run: &str) -> String {
    format!("runs/{run}/_manifest.json")
}

/// The record of a run: kick-offs, times, counts, Parameters, attempts and outcome.
#[must_use]
pub fn record_key(run: &str) -> String {
    format!("runs/{run}/_run.json")
}

/// The state of one output of the manifest: under way or done.
#[must_use]
pub fn part_key(run: &str, index: usize) -> String {
    format!("runs/{run}/_parts/{index:05}.json")
}

/// The state of one of the manifest's `error` files.
#[must_use]
pub fn error_part_key(run: &str, index: usize) -> String {
    format!("runs/{run}/_parts/error-{index:05}.json")
}

/// The state of one of the manifest's `deleted` files.
#[must_use]
pub fn deleted_part_key(run: &str, index: usize) -> String {
    format!("runs/{run}/_parts/deleted-{index:05}.json")
}

/// One source file, or its resources of one type. `index` is its place among all outputs of the stored manifest, and the
/// hash is of its URL less the signature, so that a manifest fetched again leads to the same name.
#[must_use]
pub fn file_key(run: &str, resource_type: &str, index: usize, url: &str) -> String {
    format!("runs/{run}/{resource_type}/{}", file_name(index, url))
}

/// What tells a source file from others of its type and export, wherever a manifest names it: its URL less the signature.
#[must_use]
pub fn file_source(url: &str) -> String {
    unsigned(url)
}

/// A part of the resources of one type that a file of several types holds. `cut` is what the places depend on at which it
/// was cut, so that what was cut in another way has other names; `number` counts those of that type from 0.
#[must_use]
pub fn piece_key(
    run: &str,
    resource_type: &str,
    index: usize,
    url: &str,
    cut: u64,
    number: usize,
) -> String {
    let whole = file_key(run, resource_type, index, url);
    let stem = whole.strip_suffix(".ndjson").unwrap_or(&whole);
    format!("{stem}-{cut}-{number:04}.ndjson")
}

/// Whether a key is one of [`piece_key`] for this file, of whatever type, cut and number.
#[must_use]
pub fn is_piece(index: usize, url: &str, key: &str) -> bool {
    let name = file_name(index, url);
    let stem = name.strip_suffix(".ndjson").unwrap_or(&name);
    let found = key.rsplit('/').next().unwrap_or_default();
    let numbers = found
        .strip_prefix(stem)
        .and_then(|rest| rest.strip_prefix('-'))
        .and_then(|rest| rest.strip_suffix(".ndjson"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // Runs from before there was a cut have a number alone.
    numbers
        .is_some_and(|numbers| numbers.split('-').count() <= 2 && numbers.split('-').all(is_number))
}

/// In which ways a file of several types was cut so far.
#[must_use]
pub fn cuts_key(run: &str, index: usize) -> String {
    format!("runs/{run}/_parts/cuts-{index:05}.json")
}

/// One of the manifest's `error` files: operation outcomes, for people to read.
#[must_use]
pub fn error_key(run: &str, index: usize, url: &str) -> String {
    format!("runs/{run}/_errors/{}", file_name(index, url))
}

/// One of the manifest's `deleted` files: transaction bundles of deletions.
#[must_use]
pub fn deleted_key(run: &str, index: usize, url: &str) -> String {
    format!("runs/{run}/_deleted/{}", file_name(index, url))
}

/// The list of what is to be deleted at the target: what those files name, each resource once.
#[must_use]
pub fn deletions_key(run: &str) -> String {
    format!("runs/{run}/_deleted/list.jsonl")
}

/// The one location that Pathling is told for a type: a pattern over all its files.
#[must_use]
pub fn glob_key(run: &str, resource_type: &str) -> String {
    format!("runs/{run}/{resource_type}/*.ndjson")
}

/// The type in whose folder a file of a run is.
#[must_use]
pub fn resource_type_of(key: &str) -> Option<&str> {
    let (folder, _) = key.rsplit_once('/')?;
    folder.rsplit('/').next()
}

/// What a key below a run's folder is the name of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Under the name that the file of this index of the manifest has, if it is that of its type and URL.
    File(usize),
    /// Where the state of the output of this index is.
    Part(usize),
    /// Where a file of no bytes may be, which empties a type.
    Empty,
    /// Where only a file of resources could be, and under no name that this program gives.
    Stray,
    /// Elsewhere: what is there, no import reads.
    Elsewhere,
}

/// What may be under a key below the folder of `run`, by its name alone.
#[must_use]
pub fn role_of(run: &str, key: &str) -> Role {
    let folder = run_folder(run);
    let below = key
        .strip_prefix(&folder)
        .and_then(|rest| rest.strip_prefix('/'));
    let Some(below) = below else {
        return Role::Elsewhere;
    };
    let digits = |text: &str| text.parse().ok();
    if let Some(index) = below
        .strip_prefix("_parts/")
        .and_then(|name| name.strip_suffix(".json"))
        .and_then(digits)
    {
        return Role::Part(index);
    }
    // Pathling's readers skip both.
    if below.split('/').any(|name| name.starts_with(['_', '.'])) {
        return Role::Elsewhere;
    }
    // The pattern matches folders too, whose files Spark then reads, whatever their names.
    if let Some((folders, name)) = below.rsplit_once('/')
        && !name.is_empty()
        && folders.split('/').any(|folder| folder.ends_with(".ndjson"))
    {
        return Role::Stray;
    }
    let Some(names) = below.strip_suffix(".ndjson") else {
        return Role::Elsewhere;
    };
    match names.split_once('/') {
        Some((_, "empty")) => Role::Empty,
        Some((_, name)) => {
            let index = name.split_once('-').and_then(|(index, _)| digits(index));
            index.map_or(Role::Stray, Role::File)
        }
        None => Role::Stray,
    }
}

/// A file of no bytes, written only where emptying a type is meant.
#[must_use]
pub fn empty_key(run: &str, resource_type: &str) -> String {
    format!("runs/{run}/{resource_type}/empty.ndjson")
}

/// Inputs for the workers of a Distributed Map, one on each line.
#[must_use]
pub fn batches_key(run: &str) -> String {
    format!("runs/{run}/_batches.jsonl")
}

/// What was planned of a manifest before it was complete, the first of such notes and so on.
#[must_use]
pub fn early_key(run: &str, number: usize) -> String {
    format!("runs/{run}/_early/{number:05}.jsonl")
}

/// The audit log of a run: its first object, and those with which it goes on when that is full, counted from 0.
#[must_use]
pub fn log_key(run: &str, number: u32) -> String {
    match number {
        0 => format!("runs/{run}/_log.ndjson"),
        // Sorted by name, it comes after the first.
        _ => format!("runs/{run}/_log_{number:05}.ndjson"),
    }
}

/// The name of one synchronisation, from what makes it itself: source, level, types, filters and the target's address.
#[must_use]
pub fn sync_name(parts: &[&str]) -> String {
    hash(16, parts.iter().copied())
}

/// Whether a text may be the name of a synchronisation; like [`is_run_name`], for the `key` of an event.
#[must_use]
pub fn is_sync_name(text: &str) -> bool {
    is_hex_name(text) && text.len() <= 64
}

/// What was synchronised when: the watermark, the run in progress and the lease.
#[must_use]
pub fn sync_key(name: &str) -> String {
    format!("{SYNC}/{name}.json")
}

fn file_name(index: usize, url: &str) -> String {
    format!("{index:05}-{}.ndjson", hash(12, [unsigned(url).as_str()]))
}

fn is_hex_name(text: &str) -> bool {
    let hex = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    text.split('-').all(hex)
}

/// The first digits of the SHA-256 of one text alone, or of several with their lengths.
fn hash<'a>(
    digits: usize,
    parts: impl IntoIterator<Item = &'a str, IntoIter: ExactSizeIterator>,
) -> String {
    let parts = parts.into_iter();
    let mut digest = Sha256::new();
    if parts.len() == 1 {
        parts.for_each(|part| digest.update(part));
    } else {
        parts.for_each(|part| add(&mut digest, part));
    }
    hex(digits, digest)
}

/// Adds a text with its length, so that no two lists of texts hash alike by running together.
fn add(digest: &mut Sha256, part: &str) {
    digest.update(part.len().to_be_bytes());
    digest.update(part);
}

/// The first hexadecimal digits of a digest.
pub(super) fn hex(digits: usize, digest: Sha256) -> String {
    let mut text = String::with_capacity(64);
    for byte in digest.finalize() {
        let _ = write!(text, "{byte:02x}");
    }
    text.truncate(digits);
    text
}

#[cfg(test)]
#[path = "layout_tests.rs"]
mod tests;
