//! The plan of a transfer: what goes where.

use std::collections::HashMap;

use url::Url;

use crate::error::{Kind, Result};
use crate::http::shown;
use crate::manifest::Manifest;
use crate::staging::layout;

/// One file of the manifest and its place in staging.
#[derive(Clone, Debug, PartialEq)]
pub struct File {
    /// Its index among all outputs of the stored manifest.
    pub index: usize,
    /// The type of every resource in it.
    pub resource_type: String,
    /// Where it is fetched.
    pub url: Url,
    /// How many resources it holds, where the manifest says so.
    pub count: Option<u64>,
    /// Its key in staging.
    pub key: String,
    /// The key of its own record, where it needs one.
    pub part_key: String,
}

/// Plans the files of `stored`, the manifest that the run keeps. `fresh` is the manifest as it was told now: it lends the
/// URLs, which may be signed anew, and nothing else. One URL twice is one file.
pub fn plan(run: &str, stored: &Manifest, fresh: &Manifest) -> Result<Vec<File>> {
    let mut seen: HashMap<&str, &str> = HashMap::with_capacity(stored.output.len());
    let mut files = Vec::with_capacity(stored.output.len());
    for (index, output) in stored.output.iter().enumerate() {
        let resource_type = output.resource_type.as_str();
        match seen.insert(output.url.as_str(), resource_type) {
            None => {}
            Some(earlier) if earlier == resource_type => continue,
            Some(earlier) => {
                return Err(Kind::Manifest.error(format!(
                    "the manifest says that {} holds {earlier} and that it holds {resource_type}",
                    shown(&output.url)
                )));
            }
        }
        let key = layout::file_key(run, resource_type, index, output.url.as_str());
        // Two URLs of one key differ in nothing but a signature.
        let lent = fresh.output.get(index).filter(|lent| {
            lent.resource_type == resource_type
                && layout::file_key(run, resource_type, index, lent.url.as_str()) == key
        });
        files.push(File {
            index,
            resource_type: resource_type.to_owned(),
            url: lent.unwrap_or(output).url.clone(),
            count: output.count,
            key,
            part_key: layout::part_key(run, index),
        });
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn manifest(outputs: &[(&str, &str)]) -> Manifest {
        let outputs: Vec<_> = outputs
            .iter()
            .map(|(kind, url)| json!({"type": kind, "url": url}))
            .collect();
        Manifest::read(&json!({"transactionTime": "t", "output": outputs}), None).unwrap()
    }

    #[test]
    fn one_url_twice_is_one_file_and_other_urls_never_share_a_key() {
        let stored = manifest(&[
            ("Patient", "http://h/1"),
            ("Patient", "http://h/1"),
            ("Patient", "http://h/1?part=2"),
        ]);
        let files = plan("abc", &stored, &stored).unwrap();
        assert_eq!(
            files.iter().map(|file| file.index).collect::<Vec<_>>(),
            [0, 2]
        );
        assert_ne!(files[0].key, files[1].key);
    }

    #[test]
    fn one_url_under_two_types_is_no_manifest_to_follow() {
        let stored = manifest(&[("Patient", "http://h/1"), ("Condition", "http://h/1")]);
        assert_eq!(
            plan("abc", &stored, &stored).unwrap_err().kind(),
            Kind::Manifest
        );
    }

    #[test]
    fn a_manifest_that_is_fetched_again_lends_its_signatures_and_nothing_else() {
        let stored = manifest(&[
            ("Patient", "http://h/1?X-Amz-Signature=old"),
            ("Patient", "http://h/2"),
        ]);
        let fresh = manifest(&[
            ("Patient", "http://h/1?X-Amz-Signature=new"),
            ("Patient", "http://h/other"),
        ]);
        let files = plan("abc", &stored, &fresh).unwrap();
        assert_eq!(files[0].url.query(), Some("X-Amz-Signature=new"));
        assert_eq!(files[0].key, plan("abc", &stored, &stored).unwrap()[0].key);
        assert_eq!(files[1].url.as_str(), "http://h/2");
    }
}
