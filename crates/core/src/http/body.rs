//! An answer's body as it arrives.

use std::time::{Duration, Instant};

use bytes::Bytes;
use url::Url;

use super::response::Exchange;
use super::words;
use crate::error::{Error, Result};

/// The slowest that a body may come, in bytes a second over `IDLE_TIMEOUT`: one that drips a byte now and then would keep
/// a transfer for ever, and be silent at no time.
const SLOWEST: u64 = 128;

/// The body's bytes, undecoded, in pieces as they arrive.
///
/// `IDLE_TIMEOUT` counts while somebody waits for the next piece, and not while nobody asks for it: whoever is held up
/// elsewhere does not find the server guilty.
///
/// A body that has neither Content-Length nor chunks ends where the connection does: there an early end cannot be seen.
pub struct Body {
    exchange: Box<Exchange>,
    promised: Option<u64>,
    received: u64,
    /// How long it was waited for bytes since the pace was last looked at, and how many came.
    waited: Duration,
    came: u64,
    broken: bool,
}

impl Body {
    pub(super) fn new(exchange: Box<Exchange>, promised: Option<u64>) -> Self {
        Self {
            exchange,
            promised,
            received: 0,
            waited: Duration::ZERO,
            came: 0,
            broken: false,
        }
    }

    /// The next piece; `None` at the end and after an error. A call that is dropped loses nothing.
    ///
    /// Errors: unavailable ([`super::Side::unavailable`]) where nothing came in time, or the connection ended before the
    /// body did: fewer bytes than Content-Length, no last chunk, or a reset.
    pub async fn chunk(&mut self) -> Option<Result<Bytes>> {
        if self.broken {
            return None;
        }
        let of =
            |promised: Option<u64>| promised.map(|all| format!(" of {all}")).unwrap_or_default();
        let idle = self.exchange.about.idle;
        let asked = Instant::now();
        match tokio::time::timeout(idle, self.exchange.answer.chunk()).await {
            Ok(Ok(chunk)) => {
                let chunk = chunk?;
                self.received += chunk.len() as u64;
                self.came += chunk.len() as u64;
                self.waited += asked.elapsed();
                if self.waited >= idle {
                    let least = u128::from(SLOWEST) * self.waited.as_millis();
                    if u128::from(self.came) * 1000 < least {
                        return Some(Err(self.failed(&format!(
                            "only {} bytes came in {} (IDLE_TIMEOUT), after {}{} in all",
                            self.came,
                            words::span(idle),
                            self.received,
                            of(self.promised)
                        ))));
                    }
                    (self.waited, self.came) = (Duration::ZERO, 0);
                }
                Some(Ok(chunk))
            }
            Ok(Err(error)) => Some(Err(self.failed(&format!(
                "the body ended early, after {}{} bytes ({})",
                self.received,
                of(self.promised),
                words::deepest(&error)
            )))),
            Err(_) => Some(Err(self.failed(&format!(
                "nothing came for {} (IDLE_TIMEOUT) after {}{} bytes",
                words::span(idle),
                self.received,
                of(self.promised)
            )))),
        }
    }

    /// The URL that answered.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.exchange.about.url
    }

    pub(super) fn failed(&mut self, what: &str) -> Error {
        self.broken = true;
        let about = &self.exchange.about;
        let (method, url) = (&about.method, about.shown(&about.url));
        about
            .side
            .unavailable()
            .error(format!("{method} {url}: {what}"))
    }
}
