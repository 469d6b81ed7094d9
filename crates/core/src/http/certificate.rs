//! Client certificates: which connections show one, what becomes of one that was changed where it is kept, and what a
//! refusal means.
//!
//! Connections with the certificate are apart from those without: what goes to another origin than the server's own and
//! the trusted ones has no way to it, whatever redirects and manifests say. Nothing of it is read or fetched before the
//! first request that is to have it.

use std::error::Error as StdError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, SignatureScheme};
use url::Url;

use super::Side;
use super::connections::Connections;
use super::flight::Flight;
use super::guard::Guard;
use super::{secrets, words};
use crate::config::{
    ClientCertificate, Identity, KeptCertificate, Origin, Part, Secret, SecretSource,
};
use crate::error::{Kind, Result};

/// What TLS asks for a certificate with: it has one or not, and remembers whether it was asked.
#[derive(Debug)]
pub(super) struct Shown {
    certified: Option<Arc<CertifiedKey>>,
    asked: AtomicBool,
}

impl Shown {
    pub(super) fn new(identity: Option<&Identity>) -> Self {
        Self {
            certified: identity.map(Identity::certified),
            asked: AtomicBool::new(false),
        }
    }

    /// How it stands with the certificate on these connections.
    pub(super) fn state(&self) -> State {
        match (&self.certified, self.asked.load(Ordering::Relaxed)) {
            (_, false) => State::NotAsked,
            (Some(_), true) => State::Shown,
            (None, true) => State::NoneToShow,
        }
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        self.certified.clone()
    }

    fn has_certs(&self) -> bool {
        self.certified.is_some()
    }
}

/// Whether somebody asked for a certificate, and got one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    NotAsked,
    Shown,
    NoneToShow,
}

/// The connections that show a certificate, and where they may lead.
pub(super) struct Certified {
    certificate: ClientCertificate,
    origins: Vec<Origin>,
    side: Side,
    connect: Duration,
    guard: Guard,
    made: Flight<Arc<Made>>,
    numbers: AtomicU64,
}

/// Connections, and the texts that their certificate was read from, where those are kept elsewhere.
pub(super) struct Made {
    number: u64,
    texts: Option<(Secret, Option<Secret>)>,
    pub(super) connections: Connections,
}

impl Certified {
    pub(super) fn new(
        certificate: ClientCertificate,
        origins: Vec<Origin>,
        side: Side,
        connect: Duration,
        guard: Guard,
    ) -> Self {
        Self {
            certificate,
            origins,
            side,
            connect,
            guard,
            made: Flight::new(),
            numbers: AtomicU64::new(0),
        }
    }

    pub(super) fn goes_to(&self, url: &Url) -> bool {
        url.scheme() == "https" && self.origins.contains(&Origin::from(url))
    }

    /// The connections as they are now. Boxed, like the next one: every request's future would hold these.
    ///
    /// Errors: as for any secret that is kept elsewhere; configuration, where what is kept there is no certificate.
    pub(super) fn current(&self) -> BoxFuture<'_, Result<Arc<Made>>> {
        Box::pin(self.made.get(|_| true, self.make()))
    }

    /// Others, where the certificate was changed where it is kept since `refused` was made.
    pub(super) fn instead_of<'a>(
        &'a self,
        refused: &'a Made,
    ) -> BoxFuture<'a, Result<Option<Arc<Made>>>> {
        Box::pin(async move {
            if !self.has_changed(refused).await? {
                return Ok(None);
            }
            let other = |made: &Arc<Made>| made.number != refused.number;
            self.made.get(other, self.make()).await.map(Some)
        })
    }

    async fn has_changed(&self, refused: &Made) -> Result<bool> {
        let (ClientCertificate::Kept(kept), Some((old, old_key))) =
            (&self.certificate, &refused.texts)
        else {
            return Ok(false);
        };
        let other = secrets::instead_of(old, &kept.certificate, self.side).await?;
        let (Some(key), Some(old_key)) = (&kept.key, old_key) else {
            return Ok(other.is_some());
        };
        let other_key = secrets::instead_of(old_key, key, self.side).await?;
        Ok(other.is_some() || other_key.is_some())
    }

    async fn make(&self) -> Result<Arc<Made>> {
        let (identity, texts) = match &self.certificate {
            ClientCertificate::Given(identity) => (identity.clone(), None),
            ClientCertificate::Kept(kept) => {
                let KeptCertificate {
                    setting,
                    certificate,
                    key,
                } = &**kept;
                let text = secrets::secret(certificate, self.side).await?;
                let key_text = match key {
                    Some(key) => Some(secrets::secret(key, self.side).await?),
                    None => None,
                };
                let read = Identity::read(text.reveal(), key_text.as_ref().map(Secret::reveal));
                let identity = read.map_err(|(part, why)| match (part, key) {
                    (Part::Key, Some(key)) => unusable(key, "the key of the certificate", &why),
                    _ => unusable(certificate, setting, &why),
                })?;
                (identity, Some((text, key_text)))
            }
        };
        Ok(Arc::new(Made {
            number: self.numbers.fetch_add(1, Ordering::Relaxed),
            texts,
            connections: Connections::guarded(self.connect, self.guard.clone(), Some(&identity)),
        }))
    }
}

fn unusable(source: &SecretSource, otherwise: &str, why: &str) -> crate::Error {
    let what = match source {
        SecretSource::Kept(at) => {
            format!("{} names {at}, and what is kept there {why}", at.setting)
        }
        SecretSource::Given(_) => format!("{otherwise} {why}"),
    };
    Kind::Configuration
        .error(what)
        .next("Correct what is kept there, or the setting.")
}

/// What the server said of a certificate, or of its absence, where that is why there is no answer: TLS's own word for it.
///
/// Under TLS 1.3 a server says so only after the client takes the connection for made (RFC 8446, section 4.4.2.4).
pub(super) fn refusal(error: &(dyn StdError + 'static), state: State) -> Option<AlertDescription> {
    if state == State::NotAsked {
        return None;
    }
    words::causes(error).find_map(|cause| match cause.downcast_ref() {
        Some(rustls::Error::AlertReceived(alert)) if is_about_certificates(*alert) => Some(*alert),
        _ => None,
    })
}

fn is_about_certificates(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::CertificateRequired
            | AlertDescription::NoCertificate
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            // An authority of the right name with another key.
            | AlertDescription::DecryptError
            // What TLS 1.2 has for the lack of one.
            | AlertDescription::HandshakeFailure
    )
}

/// What happened, as the end of a sentence, and what to do about it. `configured`: there is a certificate, for other origins.
pub(super) fn advice(
    state: State,
    side: Side,
    origin: &Origin,
    configured: bool,
) -> (String, String) {
    let setting = side.setting("CLIENT_CERTIFICATE");
    match state {
        State::Shown => (
            format!("the client certificate of {setting} was refused"),
            format!(
                "Check {setting}: whether it has expired, whether those that vouch for it stand behind it, and whether the {} knows them.",
                side.name()
            ),
        ),
        _ if configured => {
            let trusted = side.setting("TRUSTED_ORIGINS");
            (
                format!(
                    "a client certificate was asked for, and none was sent, because {origin} is not a trusted origin ({trusted})"
                ),
                format!(
                    "If {origin} belongs to the {} and should get its certificate, and its token, add it to {trusted}.",
                    side.name()
                ),
            )
        }
        _ => (
            format!("a client certificate was asked for, and there is none to send ({setting})"),
            format!("Set {setting} and {setting}_KEY."),
        ),
    }
}
