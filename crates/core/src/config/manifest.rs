//! A manifest in the place of an export (`SOURCE_MANIFEST`): where it is, and what has no meaning beside it.
//!
//! Its file, where it is one, is the only one that is ever read for a manifest: what servers and events name are URLs.

use std::fmt;
use std::path::{Path, PathBuf};

use url::Url;

use super::has_userinfo;
use super::read::Reader;
use super::sync::AUTO;
use super::table::Step;

const NAME: &str = "SOURCE_MANIFEST";

/// Settings that say what an export is to hold. A manifest holds what it holds.
const WHAT: [&str; 9] = [
    "EXPORT_LEVEL",
    "SINCE",
    "UNTIL",
    "TYPE_FILTER",
    "ELEMENTS",
    "PATIENTS",
    "INCLUDE_ASSOCIATED_DATA",
    "ORGANIZE_OUTPUT_BY",
    "EXPORT_PARAMETERS",
];

/// Settings that say how an export is asked for, which change nothing where none is.
const HOW: [&str; 6] = [
    "ALLOW_PARTIAL_MANIFESTS",
    "OUTPUT_FORMAT",
    "KICKOFF_METHOD",
    "KICKOFF_BODY",
    "KICKOFF_HANDLING",
    "SEPARATE_EXPORT_STATUS",
];

/// Where the manifest is. It shows without the query's values, which may be a signature.
#[derive(Clone, PartialEq, Eq)]
pub struct SourceManifest {
    url: Url,
    /// Settings that were made and have no meaning beside it.
    unheeded: Vec<&'static str>,
}

impl SourceManifest {
    /// Reads the setting, and notes what contradicts it.
    pub(super) fn read(reader: &mut Reader, step: Step) -> Option<Self> {
        let url = reader.parsed(NAME, |_, text| {
            let url = parse(text)?;
            if url.scheme() == "file" && step != Step::Command {
                return Err(Some(
                    "is a file, and a function on AWS Lambda has no files of yours; give the manifest's URL (one in S3 can be presigned), or run the command"
                        .to_owned(),
                ));
            }
            Ok(url)
        })?;
        // `auto` asks for what there is to ask for, and here there is nothing.
        let auto = reader.since("SINCE").is_some_and(|since| since == AUTO);
        for name in WHAT {
            if reader.is_changed(name) && !(auto && name == "SINCE") {
                let written = reader.written(name);
                reader.contradiction(format!(
                    "{written} has no meaning beside {NAME}: nothing is asked for an export, and the manifest holds what it holds; leave it out"
                ));
            }
        }
        let unheeded = HOW.into_iter().filter(|name| reader.is_changed(name));
        Some(Self {
            url,
            unheeded: unheeded.collect(),
        })
    }

    /// The manifest's URL, `http`, `https` or `file`: what the steps pass on as the status URL.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The file that it is, where it is one.
    #[must_use]
    pub fn file(&self) -> Option<PathBuf> {
        let is_file = self.url.scheme() == "file";
        is_file.then(|| self.url.to_file_path().ok()).flatten()
    }

    /// Settings that were made and change nothing.
    #[must_use]
    pub fn unheeded(&self) -> &[&'static str] {
        &self.unheeded
    }

    /// What stands for the server's base address where none is known. Nothing is ever asked there.
    pub(super) fn in_place_of_endpoint(&self) -> Option<Url> {
        if self.url.scheme() == "file" {
            return Url::parse("https://manifest.invalid").ok();
        }
        let mut url = self.url.clone();
        url.set_query(None);
        Some(url)
    }
}

impl fmt::Debug for SourceManifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.url.clone();
        if shown.query().is_some() {
            shown.set_query(Some("…"));
        }
        write!(f, "SourceManifest({shown})")
    }
}

/// A URL, or a path, which is taken from the working directory.
fn parse(text: &str) -> Result<Url, Option<String>> {
    let Some((scheme, _)) = text.split_once("://") else {
        return of_path(Path::new(text));
    };
    let url = Url::parse(text).map_err(|error| Some(format!("is no URL: {error}")))?;
    match url.scheme() {
        "http" | "https" => {}
        "file" => {
            let path = url.to_file_path();
            let path = path.map_err(|()| "names a host: file:///path is expected".to_owned())?;
            return of_path(&path);
        }
        _ => {
            return Err(Some(format!(
                "has the scheme {scheme}: an http or https URL (one in S3 can be presigned) or a file is expected"
            )));
        }
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(None);
    }
    if has_userinfo(&url) {
        return Err(Some("must not hold a user name or a password".to_owned()));
    }
    if url.fragment().is_some() {
        return Err(Some("must not hold a fragment".to_owned()));
    }
    Ok(url)
}

fn of_path(path: &Path) -> Result<Url, Option<String>> {
    let path = std::path::absolute(path).map_err(|error| Some(format!("is no path: {error}")))?;
    Url::from_file_path(path).map_err(|()| None)
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
