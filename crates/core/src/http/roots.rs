//! Whose certificates are believed: those that the system's roots vouch for.
//!
//! Reading the roots costs 15 to 45 ms, which is more than a small sync needs for all else, and nothing that only speaks
//! plain HTTP asks for them. So they are read at the first certificate that is to be verified, once for the process.

use std::error::Error as StdError;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use rustls_platform_verifier::Verifier;

use super::words;

/// What to do where the roots cannot be had.
pub(crate) const NO_ROOTS: &str = "Install the system's root certificates (the package ca-certificates), or have SSL_CERT_FILE name a file with those to believe.";

/// The platform's verifier, made when it is first needed.
#[derive(Debug)]
pub(super) struct Roots {
    provider: Arc<CryptoProvider>,
    /// Only what was read well is kept: what was not may be mended meanwhile.
    verifier: OnceLock<Verifier>,
}

/// The roots cannot be had, which is nobody's fault but this machine's.
#[derive(Debug, thiserror::Error)]
#[error("the system's root certificates cannot be read: {0}")]
struct Unreadable(Error);

/// Why the roots could not be had, where that is why there is no connection.
pub(crate) fn unreadable(error: &(dyn StdError + 'static)) -> Option<String> {
    words::causes(error).find_map(|cause| match cause.downcast_ref() {
        Some(Error::Other(OtherError(other))) if other.is::<Unreadable>() => {
            Some(other.to_string())
        }
        _ => None,
    })
}

impl Roots {
    pub(super) fn new(provider: Arc<CryptoProvider>) -> Self {
        Self {
            provider,
            verifier: OnceLock::new(),
        }
    }

    fn verifier(&self) -> Result<&Verifier, Error> {
        if let Some(verifier) = self.verifier.get() {
            return Ok(verifier);
        }
        let unreadable = |error| Error::Other(OtherError(Arc::new(Unreadable(error))));
        file_of_roots().map_err(|why| unreadable(Error::General(why)))?;
        let made = Verifier::new(Arc::clone(&self.provider)).map_err(unreadable)?;
        Ok(self.verifier.get_or_init(|| made))
    }
}

/// Looks whether the file can be read that is to be believed instead of the system's: the verifier passes over one that
/// cannot.
fn file_of_roots() -> Result<(), String> {
    let named = std::env::var_os("SSL_CERT_FILE").filter(|name| !name.is_empty());
    let Some(path) = named else { return Ok(()) };
    std::fs::File::open(&path)
        .map(drop)
        .map_err(|error| format!("SSL_CERT_FILE names {}: {error}", path.display()))
}

/// What to do where nobody that is believed vouches for a server's certificate, if that is why there is no connection.
pub(super) fn unknown_issuer(error: &(dyn StdError + 'static)) -> Option<&'static str> {
    words::causes(error).find_map(|cause| match cause.downcast_ref() {
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => Some(
            "If the server has a certificate of a private authority, have SSL_CERT_FILE name a file with that authority's own.",
        ),
        _ => None,
    })
}

impl ServerCertVerifier for Roots {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verifier = self.verifier()?;
        verifier.verify_server_cert(certificate, intermediates, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
