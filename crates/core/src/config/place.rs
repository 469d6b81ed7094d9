//! Where files rest, as the operator writes it: `s3://bucket/prefix`, `file:///folder` or a plain path.

use std::fmt;
use std::path::PathBuf;

/// A parsed `STAGING_URL` or `TARGET_STAGING_URL`. It shows as a URL without a trailing slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A bucket, and a prefix without slashes at its ends (it may be empty).
    S3 {
        /// The scheme as written, `s3` or `s3a`: the target may know only one of them.
        scheme: String,
        /// The bucket's name.
        bucket: String,
        /// The prefix, e.g. `nightly/import`; empty for the bucket's root.
        prefix: String,
    },
    /// A folder, absolute.
    Folder(PathBuf),
}

/// What Pathling reads as a pattern, or decodes into something else, in a location.
const FORBIDDEN: &[char] = &['*', '?', '[', ']', '{', '}', '+', '%', ',', ' '];

/// The longest place, in bytes: S3's keys have 1,024 at most, and ours below it want some.
const LONGEST: usize = 800;

impl Place {
    /// Reads a place, or says in a few words what is wrong with it.
    ///
    /// A relative path is taken from the working directory, so that what the target is told is absolute.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!(
                "is longer than {LONGEST} bytes: the names below it would not fit"
            ));
        }
        if text.contains("://") && text.contains(['?', '#']) {
            return Err("must not hold a query or a fragment".to_owned());
        }
        if let Some(found) = text
            .chars()
            .find(|c| FORBIDDEN.contains(c) || c.is_control())
        {
            return Err(format!(
                "must not hold {found:?}: Pathling reads * ? [ ] {{ }} + % , and spaces in a location as something else"
            ));
        }
        if let Some((scheme @ ("s3" | "s3a"), rest)) = text.split_once("://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            if bucket.is_empty() {
                return Err("has no bucket: s3://bucket/prefix is expected".to_owned());
            }
            // Nothing of it is repeated: it is shown in errors, logs and to the target.
            // The name of an access point, an ARN, is a bucket's to S3.
            if bucket.contains('@') || (bucket.contains(':') && !bucket.starts_with("arn:")) {
                return Err(
                    "must not hold a user name, a password or a port: the AWS SDK has credentials from the environment, a profile or a role"
                        .to_owned(),
                );
            }
            let prefix = prefix.trim_matches('/');
            if prefix.split('/').any(|part| part == "." || part == "..") || prefix.contains("//") {
                return Err("must not hold empty, . or .. parts".to_owned());
            }
            return Ok(Self::S3 {
                scheme: scheme.to_owned(),
                bucket: bucket.to_owned(),
                prefix: prefix.to_owned(),
            });
        }
        let path = match text.split_once("://") {
            Some(("file", path)) if path.starts_with('/') => path,
            Some(("file", _)) => return Err("names a host: file:///folder is expected".to_owned()),
            Some((scheme, _)) => {
                return Err(format!(
                    "has the scheme {scheme}: s3://bucket/prefix, file:///folder or a path is expected"
                ));
            }
            None => text,
        };
        let path = std::path::absolute(path).map_err(|error| format!("is no path: {error}"))?;
        if path
            .components()
            .any(|part| part == std::path::Component::ParentDir)
        {
            return Err("must not hold .. parts".to_owned());
        }
        // The working directory may have brought in what the text itself does not hold.
        let shown = path.to_string_lossy();
        if let Some(found) = shown.chars().find(|c| FORBIDDEN.contains(c)) {
            return Err(format!(
                "is the folder {shown}, whose {found:?} Pathling would read as something else"
            ));
        }
        Ok(Self::Folder(path))
    }

    /// The URL of something below this place: `below` has no slash in front.
    #[must_use]
    pub fn url(&self, below: &str) -> String {
        format!("{self}/{below}")
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3 {
                scheme,
                bucket,
                prefix,
            } if prefix.is_empty() => write!(f, "{scheme}://{bucket}"),
            Self::S3 {
                scheme,
                bucket,
                prefix,
            } => write!(f, "{scheme}://{bucket}/{prefix}"),
            Self::Folder(path) => {
                write!(f, "file://{}", path.to_string_lossy().trim_end_matches('/'))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_with_or_without_a_prefix_shows_as_it_was_written_less_the_last_slash() {
        for (text, shown) in [
            ("s3://bucket", "s3://bucket"),
            ("s3://bucket/", "s3://bucket"),
            ("s3://bucket/a/b/", "s3://bucket/a/b"),
            ("s3a://bucket/a", "s3a://bucket/a"),
            ("file:///tmp/staging/", "file:///tmp/staging"),
            ("/tmp/staging", "file:///tmp/staging"),
        ] {
            assert_eq!(
                Place::parse(text).map(|place| place.to_string()),
                Ok(shown.to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn credentials_and_what_is_meant_for_one_request_are_refused_and_not_repeated() {
        for text in [
            "s3://user:SECRET@bucket/x",
            "s3a://SECRET@bucket",
            "s3://user:SECRET/x",
            "file://user:SECRET@host/x",
            "https://user:SECRET@host/x",
            "s3://bucket/x?X-Amz-Signature=SECRET",
            "s3://bucket/x#SECRET",
            "file:///x?SECRET",
            "file:///x#SECRET",
        ] {
            let why = Place::parse(text).unwrap_err();
            assert!(!why.contains("SECRET"), "{text}: {why}");
        }
        for text in [
            "s3://bucket/me@home/a:b",
            "s3://arn:aws:s3:eu-central-1:123456789012:accesspoint/x",
        ] {
            assert!(Place::parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_pathling_would_read_as_a_pattern_is_refused() {
        for text in [
            "s3://b/a*",
            "/tmp/a b",
            "s3://b/{a}",
            "file:///tmp/a+b",
            "/tmp/100%",
            "s3://b/a,b",
            "/a/../b",
            "s3://b/../c",
        ] {
            assert!(Place::parse(text).is_err(), "{text}");
        }
        for text in ["s3://", "https://example.org/x", "file://host/x"] {
            assert!(Place::parse(text).is_err(), "{text}");
        }
        assert!(Place::parse(&format!("s3://b/{}", "x".repeat(LONGEST))).is_err());
    }
}
