//! The name of every object under `STAGING_URL`: the one home of all keys and paths.
//!
//! Pure functions and nothing else: what the objects hold, and when they are written, is other modules' business. Keys
//! have no slash in front; [`super::Staging::url`] makes a URL of one. Names that begin with `_` are ours, and Pathling
//! skips them.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

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

/// Query parameters that sign a URL, in lower case: they change whenever the source signs the same file again.
const SIGNATURES: &[&str] = &[
    "awsaccesskeyid",
    "expires",
    "googleaccessid",
    "key-pair-id",
    "policy",
    "sig",
    "signature",
];

/// The same for families of parameters that begin alike.
const SIGNATURE_FAMILIES: &[&str] = &["x-amz-", "x-goog-"];

/// The rest of an Azure shared access signature. Names as short as these may mean anything elsewhere, so they count as
/// parts of a signature only beside `sig`.
const AZURE_SIGNATURES: &[&str] = &[
    "se", "ske", "skoid", "sks", "skt", "sktid", "skv", "sp", "spr", "sr", "st", "sv",
];

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

/// A URL without the parameters that sign it; all else as it was written.
fn unsigned(url: &str) -> String {
    let Some((address, query)) = url.split_once('?') else {
        return url.to_owned();
    };
    let name = |parameter: &str| {
        let name = parameter.split('=').next().unwrap_or_default();
        name.to_ascii_lowercase()
    };
    let azure = query.split('&').any(|parameter| name(parameter) == "sig");
    let kept: Vec<&str> = query
        .split('&')
        .filter(|parameter| {
            let name = name(parameter);
            let signs = SIGNATURES.contains(&name.as_str())
                || SIGNATURE_FAMILIES
                    .iter()
                    .any(|family| name.starts_with(family))
                || (azure && AZURE_SIGNATURES.contains(&name.as_str()));
            !signs
        })
        .collect();
    if kept.is_empty() {
        address.to_owned()
    } else {
        format!("{address}?{}", kept.join("&"))
    }
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
mod tests {
    use super::*;

    const URL: &str = "https://fhir.example.org/files/Patient-1.ndjson";

    #[test]
    fn a_run_is_named_after_its_status_url() {
        // printf %s https://fhir.example.org/status/1 | sha256sum | cut -c -16
        assert_eq!(
            run_of("https://fhir.example.org/status/1"),
            "d8abb3735e89c16a"
        );
        assert_ne!(
            run_of("https://fhir.example.org/status/1"),
            run_of("https://fhir.example.org/status/2")
        );
    }

    #[test]
    fn a_run_without_a_status_url_is_named_after_its_manifest_however_it_is_signed() {
        let signed = format!("{URL}?X-Amz-Signature=1");
        let again = format!("{URL}?X-Amz-Signature=2");
        let first = derived_run("2024-01-01T00:00:00Z", "r", [signed.as_str()]);
        assert_eq!(
            first,
            derived_run("2024-01-01T00:00:00Z", "r", [again.as_str()])
        );
        assert_ne!(first, derived_run("2024-01-02T00:00:00Z", "r", [URL]));
        assert_ne!(first, derived_run("2024-01-01T00:00:00Z", "r", [URL, URL]));
        assert!(is_run_name(&first) && first.len() == 16);
    }

    #[test]
    fn what_was_cut_in_another_way_has_another_name_and_is_known_for_a_piece_all_the_same() {
        let piece = |cut, number| piece_key("a1", "Patient", 3, URL, cut, number);
        let stem = file_key("a1", "Patient", 3, URL);
        let stem = stem.strip_suffix(".ndjson").unwrap();
        assert_eq!(piece(5 << 20, 7), format!("{stem}-5242880-0007.ndjson"));
        assert_ne!(piece(5 << 20, 7), piece(8 << 20, 7));
        for good in [piece(8 << 20, 12_345), format!("{stem}-0007.ndjson")] {
            assert!(is_piece(3, URL, &good), "{good}");
            assert!(!is_piece(4, URL, &good) && !is_piece(3, "https://h/2", &good));
            assert_eq!(role_of("a1", &good), Role::File(3));
        }
        for other in ["", "-", "-1-", "-1-2-3", "-x-0001", "-1-000x"] {
            assert!(
                !is_piece(3, URL, &format!("{stem}{other}.ndjson")),
                "{other}"
            );
        }
        assert_eq!(role_of("a1", &cuts_key("a1", 3)), Role::Elsewhere);
    }

    #[test]
    fn a_server_that_counts_its_jobs_anew_gets_runs_of_other_names() {
        let run = run_of(URL);
        let next = suffixed(&run, "2024-01-01T00:00:00Z");
        assert_eq!(next.len(), 16 + 1 + 8);
        assert!(next.starts_with(&run) && is_run_name(&next));
        assert_ne!(next, suffixed(&run, "2024-01-02T00:00:00Z"));
    }

    #[test]
    fn only_hexadecimal_names_become_paths() {
        for name in ["0123456789abcdef", "0123456789abcdef-01234567"] {
            assert!(is_run_name(name) && is_sync_name(name), "{name}");
        }
        let long = "a".repeat(65);
        for name in [
            "", "-", "a-", "..", "../a", "a/b", "A", "g", "a b", "a\0", &long,
        ] {
            assert!(!is_run_name(name) && !is_sync_name(name), "{name}");
        }
    }

    #[test]
    fn every_key_of_the_table_is_where_the_table_says() {
        assert_eq!(manifest_key("a1"), "runs/a1/_manifest.json");
        assert_eq!(record_key("a1"), "runs/a1/_run.json");
        assert_eq!(part_key("a1", 7), "runs/a1/_parts/00007.json");
        assert_eq!(part_key("a1", 1_234_567), "runs/a1/_parts/1234567.json");
        assert_eq!(error_part_key("a1", 7), "runs/a1/_parts/error-00007.json");
        assert_eq!(
            deleted_part_key("a1", 7),
            "runs/a1/_parts/deleted-00007.json"
        );
        assert_eq!(glob_key("a1", "Patient"), "runs/a1/Patient/*.ndjson");
        assert_eq!(empty_key("a1", "Patient"), "runs/a1/Patient/empty.ndjson");
        assert_eq!(batches_key("a1"), "runs/a1/_batches.jsonl");
        assert_eq!(early_key("a1", 7), "runs/a1/_early/00007.jsonl");
        assert_eq!(log_key("a1", 0), "runs/a1/_log.ndjson");
        assert_eq!(log_key("a1", 7), "runs/a1/_log_00007.ndjson");
        assert!(log_key("a1", 0) < log_key("a1", 1));
        assert_eq!(sync_key("a1"), "sync/a1.json");
        // printf %s https://fhir.example.org/files/Patient-1.ndjson | sha256sum | cut -c -12
        let name = "00042-057253e2acc9.ndjson";
        assert_eq!(
            file_key("a1", "Patient", 42, URL),
            format!("runs/a1/Patient/{name}")
        );
        assert_eq!(error_key("a1", 42, URL), format!("runs/a1/_errors/{name}"));
        assert_eq!(
            deleted_key("a1", 42, URL),
            format!("runs/a1/_deleted/{name}")
        );
    }

    #[test]
    fn a_key_tells_what_it_may_be() {
        let of = |below: &str| role_of("a1", &format!("runs/a1/{below}"));
        assert_eq!(
            role_of("a1", &file_key("a1", "Patient", 42, URL)),
            Role::File(42)
        );
        assert_eq!(
            role_of("a1", &part_key("a1", 1_234_567)),
            Role::Part(1_234_567)
        );
        for below in [
            "Patient/old.ndjson",
            "x.ndjson",
            "Patient/x/y.ndjson",
            "Patient/-1.ndjson",
            "Patient/alien.ndjson/part-0",
            "Patient/alien.ndjson/year=2026/part-0.txt",
            "Patient/00001-0.ndjson/00001-0.ndjson",
        ] {
            assert_eq!(of(below), Role::Stray, "{below}");
        }
        for below in [
            "Patient/_x.ndjson",
            "_log.ndjson",
            "_errors/00001-0.ndjson",
            "_run.json",
            "Patient/notes.txt",
            "Patient/.x/y.ndjson",
            "_parts/error-00001.json",
            "Patient/.00001-0.ndjson",
            "Patient/alien.ndjson/_SUCCESS",
            "Patient/alien.ndjson/.part-0.crc",
            "Patient/_alien.ndjson/part-0",
            // What a console makes for an empty folder.
            "Patient/alien.ndjson/",
        ] {
            assert_eq!(of(below), Role::Elsewhere, "{below}");
        }
        assert_eq!(role_of("a1", &empty_key("a1", "Patient")), Role::Empty);
        assert_eq!(role_of("a1", "runs/a12/Patient/x.ndjson"), Role::Elsewhere);
    }

    #[test]
    fn a_file_keeps_its_name_when_its_url_is_signed_again() {
        for signature in [
            "X-Amz-Algorithm=a&X-Amz-Credential=b&x-amz-date=c&X-AMZ-SIGNATURE=d",
            "AWSAccessKeyId=a&Signature=b&Expires=1",
            "awsaccesskeyid=a&signature=b&expires=2",
            "X-Goog-Algorithm=a&X-Goog-Signature=b",
            "sv=1&se=2&sr=b&sp=r&sig=3&st=4&spr=https&skoid=5&sktid=6&skt=7&ske=8&sks=b&skv=9",
            "Policy=a&Signature=b&Key-Pair-Id=c",
        ] {
            assert_eq!(
                file_key("a1", "Patient", 0, &format!("{URL}?{signature}")),
                file_key("a1", "Patient", 0, URL),
                "{signature}"
            );
        }
    }

    #[test]
    fn what_does_not_sign_a_url_tells_files_apart() {
        let with = |query: &str| file_key("a1", "Patient", 0, &format!("{URL}?{query}"));
        assert_ne!(with("part=1"), with("part=2"));
        assert_ne!(with("part=1&sig=x"), with("part=2&sig=x"));
        assert_eq!(with("part=1&sig=x&se=1"), with("part=1&sig=y&se=2"));
        // Two letters that are no part of an Azure signature.
        assert_ne!(with("sp=1"), with("sp=2"));
        assert_ne!(with("part=1"), file_key("a1", "Patient", 0, URL));
    }

    #[test]
    fn a_synchronisation_is_another_when_any_part_of_it_is() {
        let name = sync_name(&["https://a", "system", "", "", "https://b"]);
        assert!(is_sync_name(&name) && name.len() == 16);
        assert_eq!(
            name,
            sync_name(&["https://a", "system", "", "", "https://b"])
        );
        assert_ne!(
            name,
            sync_name(&["https://a", "syste", "m", "", "https://b"])
        );
        assert_ne!(name, sync_name(&["https://a", "system", "", "https://b"]));
    }
}
