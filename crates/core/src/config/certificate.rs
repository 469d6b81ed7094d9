//! A client's certificate for TLS, with its private key: what both may be written as, and that they fit each other.
//!
//! PEM alone (RFC 7468): the certificate first, those that vouch for it behind it, the key in the same text or in one of its
//! own. Which server gets to see it is not decided here.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};

use super::SecretSource;
use super::key::{is_encrypted, with_line_ends};
use super::read::Reader;

/// A certificate and its key, or where they are kept.
#[derive(Clone, Debug)]
pub enum ClientCertificate {
    /// The two themselves.
    Given(Identity),
    /// At least one of them is kept elsewhere.
    Kept(Box<KeptCertificate>),
}

/// Where a certificate and its key are.
#[derive(Clone, Debug)]
pub struct KeptCertificate {
    /// The setting that holds the certificate or its address.
    pub setting: &'static str,
    /// The certificate.
    pub certificate: SecretSource,
    /// Its key, where it is not in the same text.
    pub key: Option<SecretSource>,
}

/// A certificate whose private key is there. It shows nothing of the two.
#[derive(Clone)]
pub struct Identity(Arc<CertifiedKey>);

/// Which of the two texts is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The certificate's.
    Certificate,
    /// The key's.
    Key,
}

impl Identity {
    /// Reads the two, and holds them against each other. The error says which text is wrong and how, and nothing of it.
    pub fn read(certificate: &str, key: Option<&str>) -> Result<Self, (Part, String)> {
        let certificate = with_line_ends(certificate);
        let bad = |why: &str| (Part::Certificate, why.to_owned());
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(certificate.as_bytes())
                .collect::<Result<_, _>>()
                .map_err(|_| bad("is no certificate: PEM is expected"))?;
        let Some(first) = chain.first() else {
            return Err(bad(
                "holds no certificate: PEM (BEGIN CERTIFICATE) is expected",
            ));
        };
        let expires = expires(first).ok_or_else(|| bad("is no certificate of X.509"))?;
        if expires < Timestamp::now() {
            return Err(bad(&format!(
                "expired at {expires}: a new certificate is needed"
            )));
        }
        let (part, text) = match key {
            Some(key) => (Part::Key, with_line_ends(key)),
            None => (Part::Certificate, certificate),
        };
        if is_encrypted(&text) {
            let why = "holds a key under a passphrase, which this program cannot ask for; decrypt it, and keep it as a secret";
            return Err((part, why.to_owned()));
        }
        let key = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| {
            let why = match part {
                Part::Key => "is no private key: PEM (PKCS#8, PKCS#1 or SEC1) is expected",
                Part::Certificate => "holds no private key, and none is given beside it",
            };
            (part, why.to_owned())
        })?;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        match CertifiedKey::from_der(chain, key, &provider) {
            Ok(certified) => Ok(Self(Arc::new(certified))),
            Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                Err((part, "is not the key of that certificate".to_owned()))
            }
            Err(Error::InvalidCertificate(_)) => Err(bad("is no certificate of X.509")),
            Err(_) => {
                let why = "holds a private key that TLS cannot use; RSA, P-256, P-384, P-521 and Ed25519 are known";
                Err((part, why.to_owned()))
            }
        }
    }

    /// As TLS wants it.
    pub(crate) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({} certificates, ***)", self.0.cert.len())
    }
}

/// The names of one side's settings about it.
pub(super) struct Names {
    certificate: &'static str,
    certificate_file: &'static str,
    key: &'static str,
    key_file: &'static str,
}

macro_rules! names {
    ($side:literal) => {
        Names {
            certificate: concat!($side, "_CLIENT_CERTIFICATE"),
            certificate_file: concat!($side, "_CLIENT_CERTIFICATE_FILE"),
            key: concat!($side, "_CLIENT_CERTIFICATE_KEY"),
            key_file: concat!($side, "_CLIENT_CERTIFICATE_KEY_FILE"),
        }
    };
}

pub(super) const SOURCE: Names = names!("SOURCE");
pub(super) const TARGET: Names = names!("TARGET");

/// Reads one side's certificate, and notes every problem with it.
pub(super) fn certificate(reader: &mut Reader, names: &Names) -> Option<ClientCertificate> {
    let (at, certificate) = either(reader, names.certificate, names.certificate_file);
    let (key_at, key) = either(reader, names.key, names.key_file);
    if reader.is_given(key_at) && !reader.is_given(at) {
        let written = reader.written(key_at);
        reader.contradiction(format!(
            "{written} does nothing without {}",
            names.certificate
        ));
    }
    if reader.is_given(key_at) && key.is_none() {
        return None;
    }
    let certificate = certificate?;
    let identity = match (&certificate, &key) {
        (SecretSource::Given(certificate), None) => Identity::read(certificate.reveal(), None),
        (SecretSource::Given(certificate), Some(SecretSource::Given(key))) => {
            Identity::read(certificate.reveal(), Some(key.reveal()))
        }
        _ => {
            return Some(ClientCertificate::Kept(Box::new(KeptCertificate {
                setting: at,
                certificate,
                key,
            })));
        }
    };
    match identity {
        Ok(identity) => Some(ClientCertificate::Given(identity)),
        Err((part, why)) => {
            let at = match part {
                Part::Certificate => at,
                Part::Key => key_at,
            };
            let mut problem = format!("{} {why}", reader.written(at));
            if key.is_none() {
                problem = format!("{problem} ({} may hold the key)", names.key);
            }
            reader.contradiction(problem);
            None
        }
    }
}

/// A text that stands in one setting, or in the file that another one names; with the setting that it came from.
fn either(
    reader: &mut Reader,
    name: &'static str,
    file: &'static str,
) -> (&'static str, Option<SecretSource>) {
    let (text, from_file) = (reader.pem(name), reader.pem_file(file));
    // One that is wrong is told as such.
    if text.is_some() && from_file.is_some() {
        let (one, other) = (reader.written(name), reader.written(file));
        reader.contradiction(format!(
            "{one} and {other} contradict each other: one is enough"
        ));
    }
    if reader.is_given(file) && !reader.is_given(name) {
        (file, from_file)
    } else {
        (name, text)
    }
}

/// When a certificate expires: the second time of its `validity` (RFC 5280, section 4.1).
fn expires(certificate: &[u8]) -> Option<Timestamp> {
    let (_, certificate, _) = element(certificate)?;
    let (_, mut rest, _) = element(certificate)?;
    // An explicit version is there or not; then number, algorithm and issuer.
    let (tag, _, after) = element(rest)?;
    if tag == 0xa0 {
        rest = after;
    }
    for _ in 0..3 {
        (_, _, rest) = element(rest)?;
    }
    let (_, validity, _) = element(rest)?;
    let (_, _, rest) = element(validity)?;
    let (tag, time, _) = element(rest)?;
    let time = std::str::from_utf8(time).ok()?.strip_suffix('Z')?;
    // Section 4.1.2.5.1: years from 50 on are of the last century.
    let time = match tag {
        0x17 if time.as_bytes().first()? >= &b'5' => format!("19{time}"),
        0x17 => format!("20{time}"),
        _ => time.to_owned(),
    };
    let time = DateTime::strptime("%Y%m%d%H%M%S", time).ok()?;
    TimeZone::UTC.to_timestamp(time).ok()
}

/// The first element of some DER: its tag, its content, and what is behind it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        short @ ..0x80 => (usize::from(*short), rest),
        long => {
            let (bytes, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            let length = bytes.iter().try_fold(0_usize, |length, byte| {
                length.checked_mul(256)?.checked_add(usize::from(*byte))
            })?;
            (length, rest)
        }
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

#[cfg(test)]
#[path = "certificate_tests.rs"]
mod tests;
