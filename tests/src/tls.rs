//! A server of TLS before one that speaks plain HTTP, as a reverse proxy is in a hospital, with certificates of a
//! private authority.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use url::Url;

/// An authority that no system knows, and its certificate in a file.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

/// A server before another, until it is dropped.
#[derive(Debug)]
pub struct TlsServer {
    /// Where it listens, with `https`, and with the path of what is behind it.
    pub url: Url,
    _serving: JoinSet<()>,
}

impl Authority {
    /// A new one, with a key of its own.
    #[must_use]
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        let name = &mut params.distinguished_name;
        name.push(DnType::CommonName, "an authority that no system knows");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key can be made");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a key can sign itself");
        let folder = TempDir::new().expect("a folder can be made");
        std::fs::write(folder.path().join("roots.pem"), issuer.pem())
            .expect("a file can be written");
        Self { issuer, folder }
    }

    /// The file with its certificate, as PEM.
    #[must_use]
    pub fn roots(&self) -> PathBuf {
        self.folder.path().join("roots.pem")
    }

    /// A client's certificate by this authority, good until June of this year, and its key; both as PEM.
    pub fn client(&self, name: &str, until: i32) -> (String, String) {
        let key = KeyPair::generate().expect("a key can be made");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_after = date_time_ymd(until, 6, 1);
        let certificate = params
            .signed_by(&key, &self.issuer)
            .expect("the authority can sign");
        (certificate.pem(), key.serialize_pem())
    }

    /// A server with a certificate of this authority for this host name, before what listens at a URL.
    pub async fn serve(&self, host: &str, behind: &Url) -> TlsServer {
        let key = KeyPair::generate().expect("a key can be made");
        let params = CertificateParams::new([host.to_owned()]).expect("a host name");
        let certificate = params
            .signed_by(&key, &self.issuer)
            .expect("the authority can sign");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions that the provider has")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("a key of that certificate");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a port");
        let to = behind.socket_addrs(|| None).expect("an address")[0];
        let mut url = behind.clone();
        url.set_scheme("https")
            .expect("a URL that may have another scheme");
        url.set_host(Some("localhost")).expect("a host name");
        url.set_port(Some(address.port()))
            .expect("a URL that may have a port");
        let mut serving = JoinSet::new();
        serving.spawn(accept(listener, acceptor, to));
        TlsServer {
            url,
            _serving: serving,
        }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, to: SocketAddr) {
    let mut connections = JoinSet::new();
    while let Ok((near, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        connections.spawn(async move {
            // A client that does not believe the certificate goes away: that is what it is tested for.
            let Ok(mut near) = acceptor.accept(near).await else {
                return;
            };
            let Ok(mut far) = TcpStream::connect(to).await else {
                return;
            };
            let _ = copy_bidirectional(&mut near, &mut far).await;
        });
    }
}
