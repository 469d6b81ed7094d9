//! Reading what proves who asks: secrets and their addresses, keys, the names of users and services.

use super::key::SigningKey;
use super::read::Reader;
use super::{KeySource, Secret, SecretSource};

impl Reader {
    /// A secret, or the address of one.
    pub(super) fn secret_or_reference(&mut self, name: &'static str) -> Option<SecretSource> {
        self.parsed(name, |row, text| {
            if text.contains(char::is_control) {
                return Err(Some("holds a control character".to_owned()));
            }
            SecretSource::parse(row.name, text).map_err(Some)
        })
    }

    /// A private key, or the address of one. `kid` says which, where there are several.
    pub(super) fn key(&mut self, name: &'static str, kid: Option<&str>) -> Option<KeySource> {
        self.parsed(name, |row, text| {
            match SecretSource::parse(row.name, text).map_err(Some)? {
                SecretSource::Kept(at) => Ok(KeySource::Kept(at, kid.map(str::to_owned))),
                SecretSource::Given(_) => SigningKey::read(text, kid)
                    .map(KeySource::Given)
                    .map_err(Some),
            }
        })
    }

    /// The private key in a file.
    pub(super) fn key_file(&mut self, name: &'static str, kid: Option<&str>) -> Option<KeySource> {
        self.parsed(name, |_, path| {
            if path.contains(char::is_control) {
                return Err(Some("holds a control character".to_owned()));
            }
            if path.starts_with('{') {
                return Err(Some("is a key; the name of a file is expected".to_owned()));
            }
            let text = std::fs::read_to_string(path)
                .map_err(|error| Some(format!("names {path}, which cannot be read: {error}")))?;
            SigningKey::read(&text, kid)
                .map(KeySource::Given)
                .map_err(|why| Some(format!("names {path}, which {why}")))
        })
    }

    /// A PEM, or the address of one.
    pub(super) fn pem(&mut self, name: &'static str) -> Option<SecretSource> {
        self.parsed(name, |row, text| {
            let source = SecretSource::parse(row.name, text).map_err(Some)?;
            if matches!(&source, SecretSource::Given(_)) && !is_pem(text) {
                return Err(Some(format!("is no PEM: a text with {PEM} is expected")));
            }
            Ok(source)
        })
    }

    /// The PEM in a file.
    pub(super) fn pem_file(&mut self, name: &'static str) -> Option<SecretSource> {
        self.parsed(name, |_, path| {
            if path.contains(char::is_control) || is_pem(path) {
                return Err(Some(
                    "holds more than a name; the name of a file is expected".to_owned(),
                ));
            }
            let text = std::fs::read_to_string(path)
                .map_err(|error| Some(format!("names {path}, which cannot be read: {error}")))?;
            if !is_pem(&text) {
                return Err(Some(format!(
                    "names {path}, which is no PEM: a text with {PEM} is expected"
                )));
            }
            Ok(SecretSource::Given(Secret::new(text)))
        })
    }

    /// A user's name for HTTP Basic, in which a colon ends it (RFC 7617, section 2).
    pub(super) fn username(&mut self, name: &'static str) -> Option<String> {
        self.parsed(name, |_, text| {
            if text.contains(char::is_control) {
                Err(Some("holds a control character".to_owned()))
            } else if text.contains(':') {
                Err(Some(
                    "holds a colon, which HTTP Basic does not allow".to_owned(),
                ))
            } else {
                Ok(text.to_owned())
            }
        })
    }

    /// The name of a service of AWS, as signatures have it.
    pub(super) fn aws_service(&mut self, name: &'static str) -> Option<String> {
        self.parsed(name, |_, text| {
            let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            if text.bytes().all(fits) {
                Ok(text.to_owned())
            } else {
                Err(Some(
                    "is no name of a service such as healthlake or execute-api".to_owned(),
                ))
            }
        })
    }
}

/// What a PEM is known by (RFC 7468, section 3).
const PEM: &str = "-----BEGIN";

fn is_pem(text: &str) -> bool {
    text.contains(PEM)
}
