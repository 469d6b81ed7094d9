//! What has to hold afterwards, whatever was done.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sandbox::Sandbox;
use serde_json::Value;

use crate::Records as _;

/// The target holds every resource of the source whose type it can hold, line byte for byte, exactly once, and nothing else.
pub fn assert_arrived(sandbox: &Sandbox) {
    let importable: Vec<String> = sandbox
        .source_types()
        .into_iter()
        .filter(|kind| sandbox.holds(kind))
        .collect();
    assert!(!importable.is_empty(), "the source has nothing to import");
    assert_eq!(sandbox.target_types(), importable, "types in the target");
    for kind in importable {
        assert_arrived_of(sandbox, &kind);
    }
}

/// The same for one type.
pub fn assert_arrived_of(sandbox: &Sandbox, kind: &str) {
    let mut wanted = sandbox.resources(kind);
    let mut found: Vec<_> = sandbox.rows(kind).into_iter().map(|row| row.line).collect();
    wanted.sort();
    found.sort();
    assert_eq!(
        found.len(),
        wanted.len(),
        "the number of {kind} in the target"
    );
    for (found, wanted) in found.iter().zip(&wanted) {
        assert_eq!(found, wanted, "a line of {kind}");
    }
}

/// The target holds nothing.
pub fn assert_nothing_imported(sandbox: &Sandbox) {
    assert_eq!(
        sandbox.target_types(),
        Vec::<String>::new(),
        "types in the target"
    );
}

/// The target was not even asked to import.
pub fn assert_import_never_asked(sandbox: &Sandbox) {
    assert_nothing_imported(sandbox);
    let asked = sandbox.import_kick_offs().len();
    assert_eq!(asked, 0, "kick-offs of imports");
}

/// Everything in the bucket is whole: see [`assert_folder_whole`].
pub fn assert_nothing_half_staged(sandbox: &Sandbox) {
    assert_folder_whole(&sandbox.bucket());
    // Where s3s keeps the parts of uploads that nobody completed.
    let store = sandbox.bucket();
    let root = store.parent().expect("the bucket lies in the store");
    for (name, _) in files(root) {
        assert!(
            !name.starts_with(".upload"),
            "an upload was left open: {name}"
        );
    }
}

/// Nothing temporary lies below this folder, and every file under `runs/*/<Type>/` is whole: it ends with a newline, every
/// line is a resource of that type with an id, and there are as many as the run's manifest promises.
pub fn assert_folder_whole(staging: &Path) {
    let files: BTreeMap<String, Vec<u8>> = files(staging).into_iter().collect();
    for (name, content) in &files {
        let parts: Vec<&str> = name.split('/').collect();
        let last = parts[parts.len() - 1];
        // A folder's locks are empty files that stay.
        let lock = last.starts_with('.') && last.split('.').next_back() == Some("lock");
        let lock = lock && content.is_empty();
        assert!(
            lock || !last.starts_with('.') && !last.contains("tmp"),
            "something temporary was left: {name}"
        );
        let Some(at) = parts.iter().position(|part| *part == "runs") else {
            continue;
        };
        let [run, kind, file] = parts[at + 1..] else {
            continue;
        };
        if kind.starts_with('_') {
            continue;
        }
        if file == "empty.ndjson" {
            assert!(content.is_empty(), "{name} is to empty its type");
            continue;
        }
        assert!(is_resource_file(file), "the name of {name}");
        let lines = resources(name, kind, content);
        let mut manifest = parts[..at].to_vec();
        manifest.extend(["runs", run, "_manifest.json"]);
        let manifest = manifest.join("/");
        let manifest = files
            .get(&manifest)
            .unwrap_or_else(|| panic!("{name} has no manifest"));
        let manifest: Value = serde_json::from_slice(manifest).expect("a manifest is JSON");
        let index: usize = file[..5].parse().expect("names begin with an index");
        let output = &manifest["output"][index];
        // A file of several types is in as many objects as it takes.
        let is_whole = output["type"].is_string();
        let promised = output["count"].as_u64().filter(|_| is_whole);
        if let Some(promised) = promised {
            assert_eq!(lines, promised, "resources in {name}");
        }
    }
}

/// `nnnnn-<12 hexadecimal digits>.ndjson`; a piece of a file of several types has a number of four digits besides.
fn is_resource_file(name: &str) -> bool {
    let Some((index, hash)) = name
        .strip_suffix(".ndjson")
        .and_then(|name| name.split_once('-'))
    else {
        return false;
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // A piece of a file of several types has where that was cut, and its number.
    let (hash, piece) = hash.split_once('-').unwrap_or((hash, "0-0000"));
    let Some((bytes, number)) = piece.split_once('-') else {
        return false;
    };
    digits(bytes)
        && number.len() == 4
        && digits(number)
        && index.len() == 5
        && digits(index)
        && hash.len() == 12
        && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The number of a file's resources, all of which must be of this type and have an id.
fn resources(name: &str, kind: &str, content: &[u8]) -> u64 {
    assert_eq!(content.last(), Some(&b'\n'), "the last byte of {name}");
    let lines = content[..content.len() - 1].split(|byte| *byte == b'\n');
    let mut count = 0;
    for line in lines {
        let resource: Value = serde_json::from_slice(line)
            .unwrap_or_else(|error| panic!("a line of {name} is no JSON: {error}"));
        assert_eq!(resource["resourceType"], kind, "a line of {name}");
        let id = resource["id"].as_str().unwrap_or_default();
        assert!(!id.is_empty(), "a line of {name} has no id");
        count += 1;
    }
    count
}

/// Every file below a folder: its path from there, and its content.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![(folder.to_path_buf(), String::new())];
    while let Some((folder, prefix)) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.flatten() {
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            let path = entry.path();
            if path.is_dir() {
                folders.push((path, format!("{name}/")));
            } else if let Ok(content) = std::fs::read(&path) {
                found.push((name, content));
            }
        }
    }
    found.sort();
    found
}

/// No request carried a token or secret to an origin that it is not for.
pub fn assert_no_token_leaks(sandbox: &Sandbox) {
    assert_eq!(sandbox.token_leaks(), Vec::<String>::new(), "leaks");
}

/// No secret of this sandbox and no token that it gave out is in the text, in any of the forms they travel in.
pub fn assert_no_secrets(sandbox: &Sandbox, text: &str) {
    let env: BTreeMap<String, String> = sandbox.env().into_iter().collect();
    // What the sandbox's tokens begin with.
    let mut secrets = vec!["source-token-".to_owned(), "target-token-".to_owned()];
    for (name, secret) in &env {
        if (name.ends_with("_SECRET") && !secret.starts_with("arn:aws"))
            || name == "AWS_SECRET_ACCESS_KEY"
        {
            let encoded: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
            let id = name.replace("_SECRET", "_ID");
            let id = env.get(&id).map_or("", String::as_str);
            secrets.push(STANDARD.encode(format!("{id}:{secret}")));
            secrets.push(STANDARD.encode(format!("{id}:{encoded}")));
            secrets.push(encoded);
            secrets.push(secret.clone());
        }
    }
    for secret in sandbox.secrets() {
        secrets.push(url::form_urlencoded::byte_serialize(secret.as_bytes()).collect());
        secrets.push(STANDARD.encode(format!("sandbox user:{secret}")));
        secrets.push(secret);
    }
    // What ends an `Authorization` that is a signature for AWS.
    secrets.push(", Signature=".to_owned());
    // What every signed assertion begins with: a JWT's header, in either order.
    secrets.extend(["eyJhbGci".to_owned(), "eyJ0eXAi".to_owned()]);
    for secret in secrets {
        assert!(
            !text.contains(&secret),
            "the secret {secret} is in:\n{text}"
        );
    }
}
