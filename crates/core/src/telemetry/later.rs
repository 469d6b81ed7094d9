//! Reports to Sentry, for which nothing is made before there is something to report: a process without a failure starts no
//! thread and no client for it, and where its address is kept elsewhere, asks nobody for that.
//!
//! What is reported waits here until somebody flushes. An address that cannot be had is a warning: what failed has said so
//! itself, and a report of it is worth no failure of its own.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use sentry::transports::ReqwestHttpTransportOptions;
use sentry::types::Dsn;
use sentry::{Envelope, Transport, TransportFactory, TransportOptions};

use crate::config::{Reference, SecretSource};
use crate::http::{kept_secret, lone_client};

/// Stands in the options for the address that is not known yet. Nothing is sent there: no such name can exist (RFC 2606).
pub(super) const UNKNOWN: &str = "https://later@sentry.invalid/0";

/// How long a connection may take to be made: all of it has to be done in a few seconds.
const CONNECT: Duration = Duration::from_secs(2);

/// How long an exchange may take: nobody waits for longer, and at the end of the process the thread that sends is waited for.
const EXCHANGE: Duration = Duration::from_secs(3);

/// How many reports wait at most.
const WAITING: usize = 100;

/// Makes [`Later`] out of the options that Sentry's client has.
pub(super) struct Factory(pub(super) SecretSource);

impl TransportFactory for Factory {
    fn create_transport_with_options(&self, options: TransportOptions) -> Arc<dyn Transport> {
        Arc::new(Later {
            at: self.0.clone(),
            options: Mutex::new(Some(options)),
            waiting: Mutex::default(),
            real: OnceLock::new(),
        })
    }
}

struct Later {
    at: SecretSource,
    /// Until the address is known.
    options: Mutex<Option<TransportOptions>>,
    waiting: Mutex<Vec<Envelope>>,
    real: OnceLock<Arc<dyn Transport>>,
}

impl Transport for Later {
    fn send_envelope(&self, envelope: Envelope) {
        if let Some(real) = self.real.get() {
            return real.send_envelope(envelope);
        }
        let mut waiting = held(&self.waiting);
        if waiting.len() < WAITING {
            waiting.push(envelope);
        }
    }

    fn flush(&self, timeout: Duration) -> bool {
        let until = Instant::now() + timeout;
        if !held(&self.waiting).is_empty() {
            match self.real(timeout) {
                Ok(real) => std::mem::take(&mut *held(&self.waiting))
                    .into_iter()
                    .for_each(|envelope| real.send_envelope(envelope)),
                Err(why) => {
                    // What waits is sent with the next failure, if the address is to be had by then.
                    tracing::warn!(why, "a failure could not be reported to Sentry");
                    return false;
                }
            }
        }
        let left = until.saturating_duration_since(Instant::now());
        self.real.get().is_none_or(|real| real.flush(left))
    }

    fn shutdown(&self, timeout: Duration) -> bool {
        self.flush(timeout) && self.real.get().is_none_or(|real| real.shutdown(timeout))
    }
}

impl Later {
    /// What sends, made with the address, which is fetched until it was had once.
    fn real(&self, within: Duration) -> Result<&Arc<dyn Transport>, String> {
        let mut options = held(&self.options);
        if let Some(mut known) = options.take_if(|_| self.real.get().is_none()) {
            let dsn = match &self.at {
                SecretSource::Given(_) => Ok(known.dsn.clone()),
                SecretSource::Kept(at) => fetch(at, within),
            };
            match dsn.and_then(|dsn| Ok((dsn, lone_client(CONNECT, EXCHANGE)?))) {
                Ok((dsn, client)) => {
                    known.dsn = dsn;
                    let real = ReqwestHttpTransportOptions::from(known).with_client(client);
                    let _ = self.real.set(Arc::new(real.build()));
                }
                Err(why) => {
                    *options = Some(known);
                    return Err(why);
                }
            }
        }
        self.real
            .get()
            .ok_or_else(|| "there is nothing to send it with".to_owned())
    }
}

/// On a thread of its own: whoever flushes waits in the middle of a runtime that may have no other thread.
fn fetch(at: &Reference, within: Duration) -> Result<Dsn, String> {
    let at = at.clone();
    let fetching = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        let secret =
            runtime.block_on(async { tokio::time::timeout(within, kept_secret(&at)).await });
        let secret = secret
            .map_err(|_| format!("{} names {at}, which was not had in time", at.setting))?
            .map_err(|error| error.to_string())?;
        let dsn = secret.reveal().parse::<Dsn>();
        dsn.map_err(|_| {
            format!(
                "{} names {at}, and what is kept there is no Sentry DSN",
                at.setting
            )
        })
    });
    fetching
        .join()
        .unwrap_or_else(|_| Err("its address was not had".to_owned()))
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
