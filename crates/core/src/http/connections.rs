//! What this program's HTTP clients have in common: TLS by the system's root certificates, and nothing done unasked.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
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

/// How many idle connections a pool keeps for one server, where nothing speaks against it.
const ANY_NUMBER: usize = usize::MAX;

/// How often all connections were left behind so far.
static LEFT: AtomicU64 = AtomicU64::new(0);

/// Leaves all idle connections behind: the next request to any server is sent over a new one.
///
/// To be called when this process may have stood still. A server, or what stands between, may have closed or forgotten a
/// connection meanwhile. Whoever sends a request over it learns that from its failure alone, and a request for an import that
/// failed like that may not just be sent again. No clock of the pool's tells how long it was: that stood still too.
pub(crate) fn leave_connections() {
    LEFT.fetch_add(1, Ordering::Relaxed);
}

/// A client that keeps no connection, for whoever sends a request once in a while. `whole` is how long an exchange may take.
pub(crate) fn lone_client(connect: Duration, whole: Duration) -> Result<Client, String> {
    build(connect, Some(whole), None, tls()?, 0)
}

/// Connections to any server, made when they are first needed. Clients that share these share a pool.
#[derive(Debug)]
pub(crate) struct Connections {
    connect: Duration,
    guard: Option<Guard>,
    shown: Arc<Shown>,
    /// With the sessions that servers gave, which outlive connections.
    tls: OnceLock<Result<ClientConfig, String>>,
    /// The client, and how often connections had been left behind when it was made.
    client: RwLock<Option<(u64, Client)>>,
}

impl Connections {
    /// To what the operator named. Nothing is built yet. `connect` is how long a connection may take to be made.
    pub(crate) fn new(connect: Duration) -> Self {
        Self::of(connect, None, None)
    }

    /// To what a server named: only to addresses that the guard lets pass, with a client certificate for whoever asks for
    /// one, or without.
    pub(super) fn guarded(connect: Duration, guard: Guard, identity: Option<&Identity>) -> Self {
        Self::of(connect, Some(guard), identity)
    }

    fn of(connect: Duration, guard: Option<Guard>, identity: Option<&Identity>) -> Self {
        Self {
            connect,
            guard,
            shown: Arc::new(Shown::new(identity)),
            tls: OnceLock::new(),
            client: RwLock::default(),
        }
    }

    /// The client; or why there can be none, as the end of a message. Whoever comes while it is being built waits.
    pub(crate) fn client(&self) -> Result<Client, String> {
        let left = LEFT.load(Ordering::Relaxed);
        let current = |held: &Option<(u64, Client)>| {
            let held = held.as_ref().filter(|(made, _)| *made == left);
            held.map(|(_, client)| client.clone())
        };
        let held = self.client.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = current(&held) {
            return Ok(client);
        }
        drop(held);
        let mut held = self.client.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = current(&held) {
            return Ok(client);
        }
        let tls = self.tls.get_or_init(|| {
            let mut tls = tls()?;
            tls.client_auth_cert_resolver = Arc::clone(&self.shown) as _;
            // A session that was begun with a certificate is gone on with by nobody else.
            tls.resumption = Resumption::default();
            Ok(tls)
        });
        let guard = self.guard.as_ref();
        let client = build(self.connect, None, guard, tls.clone()?, ANY_NUMBER)?;
        // The one before goes, and with it its idle connections.
        *held = Some((left, client.clone()));
        Ok(client)
    }

    /// How it stands with a client certificate here.
    pub(super) fn certificate(&self) -> State {
        self.shown.state()
    }
}

fn build(
    connect: Duration,
    whole: Option<Duration>,
    guard: Option<&Guard>,
    tls: ClientConfig,
    most_idle: usize,
) -> Result<Client, String> {
    let mut builder = Client::builder();
    if let Some(guard) = guard {
        builder = builder.dns_resolver(guard.clone());
    }
    if let Some(whole) = whole {
        builder = builder.timeout(whole);
    }
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
        .pool_max_idle_per_host(most_idle)
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
