//! What this program's HTTP clients have in common: TLS by the system's root certificates, and nothing done unasked.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::{Client, redirect};
use rustls::ClientConfig;
use rustls::client::Resumption;

use super::certificate::{Shown, State};
use super::guard::Guard;
use super::roots::Roots;
use super::words;
use crate::config::Identity;

const USER_AGENT: &str = concat!("pathling-import/", env!("CARGO_PKG_VERSION"));

/// Connections to any server, made when they are first needed. Clients that share these share a pool.
#[derive(Debug)]
pub(crate) struct Connections {
    connect: Duration,
    guard: Option<Guard>,
    shown: Arc<Shown>,
    client: OnceLock<Result<Client, String>>,
}

impl Connections {
    /// To what the operator named. Nothing is built yet. `connect` is how long a connection may take to be made.
    pub(crate) fn new(connect: Duration) -> Self {
        Self {
            connect,
            guard: None,
            shown: Arc::new(Shown::new(None)),
            client: OnceLock::new(),
        }
    }

    /// To what a server named: only to addresses that the guard lets pass, with a client certificate for whoever asks for
    /// one, or without.
    pub(super) fn guarded(connect: Duration, guard: Guard, identity: Option<&Identity>) -> Self {
        Self {
            connect,
            guard: Some(guard),
            shown: Arc::new(Shown::new(identity)),
            client: OnceLock::new(),
        }
    }

    /// The client; or why there can be none, as the end of a message. Whoever comes while it is being built waits.
    pub(crate) fn client(&self) -> Result<&Client, &str> {
        let client = self
            .client
            .get_or_init(|| build(self.connect, self.guard.as_ref(), &self.shown));
        client.as_ref().map_err(String::as_str)
    }

    /// How it stands with a client certificate here.
    pub(super) fn certificate(&self) -> State {
        self.shown.state()
    }
}

fn build(connect: Duration, guard: Option<&Guard>, shown: &Arc<Shown>) -> Result<Client, String> {
    let mut builder = Client::builder();
    if let Some(guard) = guard {
        builder = builder.dns_resolver(guard.clone());
    }
    let mut tls = tls()?;
    tls.client_auth_cert_resolver = Arc::clone(shown) as _;
    // A session that was begun with a certificate is gone on with by nobody else.
    tls.resumption = Resumption::default();
    // Proxy variables count, as they do for the AWS SDK.
    builder
        .user_agent(USER_AGENT)
        .redirect(redirect::Policy::none())
        .connect_timeout(connect)
        // Compressed bytes are counted and stored as they come, whatever features other crates switch on.
        .no_gzip()
        .no_brotli()
        .no_zstd()
        .no_deflate()
        // Less than what servers usually keep: a connection that the server closes meanwhile costs a request.
        .pool_idle_timeout(Duration::from_secs(30))
        .tls_backend_preconfigured(tls)
        .build()
        .map_err(|error| words::deepest(&error))
}

/// The TLS settings of the process: one, so that the system's root certificates are read once at most.
fn tls() -> Result<ClientConfig, String> {
    static TLS: OnceLock<Result<ClientConfig, String>> = OnceLock::new();
    let configure = || {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous() // It is not: the platform's verifier decides, only later.
            .with_custom_certificate_verifier(Arc::new(Roots::new(provider)))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    };
    TLS.get_or_init(configure).clone()
}
