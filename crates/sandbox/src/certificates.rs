//! TLS with client certificates: authorities, what the listeners ask of who comes, and what the two clients show.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{fmt, io};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

use crate::clients::Kept;
use crate::record::Service;

/// What becomes of a client that shows source or target no certificate of the authority's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// TLS ends the connection.
    ByTls,
    /// It is answered 400 and a page, as by nginx.
    ByAnswer,
}

/// A client's certificate and its private key, both as PEM.
#[derive(Debug, Clone)]
pub struct ClientIdentity {
    /// The certificate.
    pub certificate: String,
    /// The key.
    pub key: String,
}

impl ClientIdentity {
    /// Both in one text.
    #[must_use]
    pub fn both(&self) -> String {
        format!("{}{}", self.key, self.certificate)
    }
}

/// Who a connection's other end showed itself to be.
#[derive(Debug, Clone)]
pub(crate) struct Shown(pub(crate) String);

/// Two authorities, one for the servers and one for the clients, and whom they vouch for.
#[derive(Debug)]
pub(crate) struct Certificates {
    pub(crate) demand: Demand,
    servers: Issuer,
    clients: Mutex<Clients>,
    folder: TempDir,
    rotated: Notify,
}

type Issuer = CertifiedIssuer<'static, KeyPair>;

/// The clients as they are now, and what greets them.
struct Clients {
    issuer: Issuer,
    source: ClientIdentity,
    target: ClientIdentity,
    acceptors: HashMap<Service, TlsAcceptor>,
}

/// What the two clients are called in their certificates.
const SOURCE_NAME: &str = "the source's client";
const TARGET_NAME: &str = "the target's client";

fn issuer() -> Result<Issuer, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate()?)
}

impl Clients {
    fn new() -> Result<Self, rcgen::Error> {
        let issuer = issuer()?;
        let client = |name: &str| {
            let key = KeyPair::generate()?;
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            let certificate = params.signed_by(&key, &issuer)?;
            Ok::<_, rcgen::Error>(ClientIdentity {
                certificate: certificate.pem(),
                key: key.serialize_pem(),
            })
        };
        Ok(Self {
            source: client(SOURCE_NAME)?,
            target: client(TARGET_NAME)?,
            issuer,
            acceptors: HashMap::new(),
        })
    }
}

impl fmt::Debug for Clients {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Clients").finish_non_exhaustive()
    }
}

impl Certificates {
    pub(crate) fn new(demand: Demand) -> io::Result<Self> {
        let servers = issuer().map_err(io::Error::other)?;
        let clients = Clients::new().map_err(io::Error::other)?;
        let folder = tempfile::Builder::new().prefix("sandbox-tls-").tempdir()?;
        std::fs::write(folder.path().join("roots.pem"), servers.pem())?;
        Ok(Self {
            demand,
            servers,
            clients: Mutex::new(clients),
            folder,
            rotated: Notify::new(),
        })
    }

    fn clients(&self) -> MutexGuard<'_, Clients> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives both clients new certificates by a new authority. The old ones are refused from now on, and connections that
    /// were made with them end.
    pub(crate) fn rotate(&self) -> io::Result<()> {
        *self.clients() = Clients::new().map_err(io::Error::other)?;
        self.rotated.notify_waiters();
        Ok(())
    }

    /// Ends when the clients have new certificates.
    pub(crate) async fn rotated(&self) {
        self.rotated.notified().await;
    }

    /// What a listener greets with. Source and target insist on a certificate where TLS is to; everybody asks for one, to
    /// see who shows one where it is not wanted.
    pub(crate) fn acceptor(&self, service: Service) -> io::Result<TlsAcceptor> {
        let mut clients = self.clients();
        if let Some(acceptor) = clients.acceptors.get(&service) {
            return Ok(acceptor.clone());
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots
            .add(clients.issuer.der().clone())
            .map_err(io::Error::other)?;
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let insists = matches!(service, Service::Source | Service::Target);
        let verifier = if insists && self.demand == Demand::ByTls {
            verifier
        } else {
            verifier.allow_unauthenticated()
        };
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let certificate = CertificateParams::new(["127.0.0.1".to_owned()])
            .and_then(|params| params.signed_by(&key, &self.servers))
            .map_err(io::Error::other)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_client_cert_verifier(verifier.build().map_err(io::Error::other)?)
            .with_single_cert(vec![certificate.der().clone()], key)
            .map_err(io::Error::other)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        clients.acceptors.insert(service, acceptor.clone());
        Ok(acceptor)
    }

    /// The file that holds the certificate of the servers' authority.
    pub(crate) fn roots(&self) -> PathBuf {
        self.folder.path().join("roots.pem")
    }

    pub(crate) fn of(&self, service: Service) -> ClientIdentity {
        let clients = self.clients();
        if service == Service::Target {
            clients.target.clone()
        } else {
            clients.source.clone()
        }
    }

    /// What AWS keeps of them.
    pub(crate) fn kept(&self) -> [Kept; 2] {
        [Service::Source, Service::Target].map(|service| Kept {
            arn: arn(service).to_owned(),
            text: self.of(service).both(),
        })
    }

    /// The settings that lead through, but where AWS keeps what is secret.
    pub(crate) fn env(&self, service: Service, kept: bool) -> Vec<(String, String)> {
        let side = if service == Service::Target {
            "TARGET"
        } else {
            "SOURCE"
        };
        let identity = self.of(service);
        let key = if kept {
            arn(service).to_owned()
        } else {
            identity.key
        };
        vec![
            (format!("{side}_CLIENT_CERTIFICATE"), identity.certificate),
            (format!("{side}_CLIENT_CERTIFICATE_KEY"), key),
        ]
    }
}

/// Where AWS keeps a client's key, with its certificate in the same text.
pub(crate) fn arn(service: Service) -> &'static str {
    if service == Service::Target {
        "arn:aws:ssm:eu-central-1:123456789012:parameter/sandbox/target-key"
    } else {
        "arn:aws:secretsmanager:eu-central-1:123456789012:secret:sandbox/source-key-AbCdEf"
    }
}

/// The name in a client's certificate, as far as it is one of the two.
pub(crate) fn name_in(certificate: &CertificateDer<'_>) -> Shown {
    let text = String::from_utf8_lossy(certificate);
    let known = [SOURCE_NAME, TARGET_NAME];
    let name = known.into_iter().find(|name| text.contains(name));
    Shown(name.unwrap_or("somebody else").to_owned())
}

/// Whose certificate it is.
pub(crate) fn owner_of(name: &str) -> Option<Service> {
    match name {
        SOURCE_NAME => Some(Service::Source),
        TARGET_NAME => Some(Service::Target),
        _ => None,
    }
}
