//! Where an import's URLs lead: folders and files on disk, those of S3 being the folder that S3 keeps them in, and the
//! globs that Hadoop knows: `*`, `?`, `[a-z]`, `{a,b}`.

use std::fs;
use std::path::{Path, PathBuf};

/// What a URL leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// These files, which may be none (a folder with nothing to read in it).
    Files(Vec<PathBuf>),
    /// Nothing is there.
    Nothing,
}

/// A URL as `java.net.URLDecoder` reads it: percent-encoding undone, a plus read as a space.
pub(super) fn decode(url: &str) -> String {
    crate::call::percent_decode(&url.replace('+', " "))
}

/// The URL as it is shown and used: `s3://` becomes `s3a://`.
pub(super) fn s3a(url: &str) -> String {
    url.strip_prefix("s3://")
        .map_or_else(|| url.to_owned(), |rest| format!("s3a://{rest}"))
}

/// The files that a decoded URL leads to. `s3_root` is the folder that holds S3's buckets.
pub(super) fn find(url: &str, s3_root: &Path) -> Found {
    let (root, path, is_s3) = if let Some(rest) = s3a(url).strip_prefix("s3a://") {
        (s3_root.to_path_buf(), rest.to_owned(), true)
    } else if let Some(rest) = url.strip_prefix("file://") {
        (
            PathBuf::from("/"),
            rest.trim_start_matches('/').to_owned(),
            false,
        )
    } else {
        return Found::Nothing;
    };
    let mut places: Vec<PathBuf> = braces(&path)
        .iter()
        .flat_map(|pattern| expand(&root, pattern))
        .collect();
    places.sort();
    places.dedup();
    let mut files = Vec::new();
    let mut anything = false;
    for place in places {
        if place.is_dir() {
            let inside = readable(&place);
            // S3 has no empty folders: a prefix without objects does not exist.
            anything |= !is_s3 || has_files(&place);
            files.extend(inside);
        } else if place.is_file() {
            anything = true;
            if !hidden(&place) {
                files.push(place);
            }
        }
    }
    if anything {
        Found::Files(files)
    } else {
        Found::Nothing
    }
}

/// Whether Spark passes a file over by its name.
fn hidden(path: &Path) -> bool {
    path.file_name().is_none_or(|name| {
        let name = name.to_string_lossy();
        name.starts_with('_') || name.starts_with('.') || name.ends_with("._COPYING_")
    })
}

/// The files directly in a folder that Spark reads. Folders named `k=v` are partitions: where there are any, only
/// what they hold is read.
fn readable(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    entries.sort();
    entries.retain(|path| !hidden(path));
    let (folders, files): (Vec<_>, Vec<_>) = entries.into_iter().partition(|path| path.is_dir());
    let partitions: Vec<PathBuf> = folders
        .iter()
        .filter(|path| path.to_string_lossy().contains('='))
        .flat_map(|path| readable(path))
        .collect();
    if partitions.is_empty() {
        files
    } else {
        partitions
    }
}

fn has_files(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| {
        entries.any(|entry| {
            entry.is_ok_and(|entry| entry.path().is_file() || has_files(&entry.path()))
        })
    })
}

/// A pattern with its first brace written out, and so on.
fn braces(pattern: &str) -> Vec<String> {
    let Some((before, rest)) = pattern.split_once('{') else {
        return vec![pattern.to_owned()];
    };
    let Some((inside, after)) = rest.split_once('}') else {
        return vec![pattern.to_owned()];
    };
    inside
        .split(',')
        .flat_map(|part| braces(&format!("{before}{part}{after}")))
        .collect()
}

/// The paths below `root` that a pattern without braces fits.
fn expand(root: &Path, pattern: &str) -> Vec<PathBuf> {
    let mut places = vec![root.to_path_buf()];
    for segment in pattern.split('/').filter(|segment| !segment.is_empty()) {
        places = if segment.contains(['*', '?', '[']) {
            places
                .iter()
                .flat_map(|place| fs::read_dir(place).into_iter().flatten().flatten())
                .filter(|entry| fits(segment, &entry.file_name().to_string_lossy()))
                .map(|entry| entry.path())
                .collect()
        } else {
            places.iter().map(|place| place.join(segment)).collect()
        };
    }
    places.retain(|place| place.exists());
    places
}

/// Whether a name fits a pattern of `*`, `?` and `[...]`.
pub(super) fn fits(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    fits_from(&pattern, &name)
}

fn fits_from(pattern: &[char], name: &[char]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some(('*', rest)) => (0..=name.len()).any(|skip| fits_from(rest, &name[skip..])),
        Some(('?', rest)) => !name.is_empty() && fits_from(rest, &name[1..]),
        Some(('[', rest)) => {
            let Some(close) = rest.iter().position(|char| *char == ']') else {
                return false;
            };
            name.first()
                .is_some_and(|char| in_set(&rest[..close], *char))
                && fits_from(&rest[close + 1..], &name[1..])
        }
        Some((char, rest)) => name.first() == Some(char) && fits_from(rest, &name[1..]),
    }
}

/// Whether a character is in the set between brackets.
fn in_set(set: &[char], char: char) -> bool {
    let (negated, set) = match set.split_first() {
        Some(('^' | '!', rest)) => (true, rest),
        _ => (false, set),
    };
    let mut at = 0;
    let mut found = false;
    while at < set.len() {
        if at + 2 < set.len() && set[at + 1] == '-' {
            found |= (set[at]..=set[at + 2]).contains(&char);
            at += 3;
        } else {
            found |= set[at] == char;
            at += 1;
        }
    }
    found != negated
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_names_as_hadoop_says() {
        assert!(fits("*.ndjson", "00000-abc.ndjson"));
        assert!(!fits("*.ndjson", "00000-abc.ndjson.gz"));
        assert!(fits("0000?-*", "00001-x"));
        assert!(fits("[0-1]*", "1.ndjson"));
        assert!(!fits("[^0-1]*", "1.ndjson"));
        assert_eq!(braces("{a,b}/{c,d}"), ["a/c", "a/d", "b/c", "b/d"]);
    }

    #[test]
    fn a_plus_in_a_url_is_a_space() {
        assert_eq!(decode("file:///a+b%2B%2A"), "file:///a b+*");
    }
}
