//! Settings that are lists.

use super::Origin;
use super::parse::list;
use super::read::Reader;
use super::table::Setting;

/// Whom the operator trusts beside a server itself.
#[derive(Default)]
pub(super) struct Trusted {
    pub(super) origins: Vec<Origin>,
    /// The names of buckets of S3.
    pub(super) buckets: Vec<String>,
}

impl Reader {
    /// Origins, and where `buckets` says so also buckets, as `s3://bucket`.
    pub(super) fn trusted(&mut self, name: &'static str, buckets: bool) -> Trusted {
        let parse = |_: &Setting, text: &str| {
            let mut trusted = Trusted::default();
            for item in list(text) {
                match item.strip_prefix("s3://").filter(|_| buckets) {
                    Some(named) => trusted.buckets.push(bucket(named)?),
                    None => trusted.origins.push(Origin::parse(item).map_err(Some)?),
                }
            }
            Ok(trusted)
        };
        self.parsed(name, parse).unwrap_or_default()
    }

    /// The items of a list, each as `parse` takes it; one that it does not take makes the whole wrong.
    pub(super) fn items(
        &mut self,
        name: &'static str,
        separator: impl Fn(char) -> bool,
        parse: impl Fn(&str) -> Option<String>,
    ) -> Vec<String> {
        let all = |_: &Setting, text: &str| {
            text.split(separator)
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(|item| parse(item).ok_or(None))
                .collect()
        };
        self.parsed(name, all).unwrap_or_default()
    }

    pub(super) fn types(&mut self, name: &'static str) -> Vec<String> {
        let parse = |_: &Setting, text: &str| {
            if list(text).next().is_none() {
                // Nothing but commas: all types would come, which nobody meant.
                return Err(None);
            }
            list(text)
                .map(|item| {
                    if crate::manifest::is_type_name(item) {
                        Ok(item.to_owned())
                    } else {
                        Err(None)
                    }
                })
                .collect()
        };
        self.parsed(name, parse).unwrap_or_default()
    }
}

/// The name of a bucket, behind `s3://` and before nothing: a whole bucket is trusted, and whoever writes a prefix expects less.
fn bucket(text: &str) -> Result<String, Option<String>> {
    let name = text.strip_suffix('/').unwrap_or(text);
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    if !name.is_empty() && name.bytes().all(fits) {
        Ok(name.to_owned())
    } else {
        Err(Some(
            "holds an s3:// address that is no bucket: s3://bucket is expected".to_owned(),
        ))
    }
}
