//! What the services share: the settings, each other's addresses, the faults, the record, the tokens and the clock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use http::Request;
use jiff::Timestamp;

use crate::assertion::Seen;
use crate::call::{
    Call, Reply, empty, fhir, html, operation_outcome, reply as with_body, set, with,
};
use crate::certificates::{Certificates, Demand, Shown};
use crate::clients::{Clients, Kept};
use crate::clock::Clock;
use crate::faults::{Answer, Fault, Faults, Place};
use crate::record::{Log, Service};
use crate::settings::Settings;
use crate::token::Tokens;
use crate::traffic::{Gauges, counted};

/// Where each listener can be reached: scheme, host and port.
#[derive(Debug, Clone)]
pub(crate) struct Origins {
    pub(crate) source: String,
    pub(crate) token: String,
    pub(crate) files: String,
    pub(crate) s3: String,
    pub(crate) target: String,
    pub(crate) secrets: String,
}

/// A FHIR instant in UTC with milliseconds.
pub(crate) fn instant(time: Timestamp) -> String {
    format!("{time:.3}")
}

/// What nginx answers where it wants a certificate and gets none.
const NO_CERTIFICATE: &str = "<html>\r\n<head><title>400 No required SSL certificate was sent</title></head>\r\n\
    <body>\r\n<center><h1>400 Bad Request</h1></center>\r\n\
    <center>No required SSL certificate was sent</center>\r\n</body>\r\n</html>\r\n";

/// Everything that is shared.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) settings: Settings,
    pub(crate) origins: Origins,
    pub(crate) faults: Faults,
    pub(crate) log: Arc<Log>,
    pub(crate) gauges: Gauges,
    pub(crate) tokens: Tokens,
    pub(crate) clients: Clients,
    /// What else AWS keeps.
    pub(crate) shelf: Mutex<Vec<Kept>>,
    pub(crate) certificates: Option<Arc<Certificates>>,
    pub(crate) assertions: Seen,
    pub(crate) clock: Clock,
    /// How many answers have had an id of the server's own.
    pub(crate) answers: AtomicU64,
}

impl World {
    pub(crate) fn shelf(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads and records a request, answers it, and records the status.
    pub(crate) async fn record<F, A>(
        &self,
        service: Service,
        request: Request<Body>,
        answer: F,
    ) -> Reply
    where
        F: FnOnce(Call) -> A,
        A: Future<Output = Reply>,
    {
        let flight = self.gauges.of(service).enter();
        let shown = request.extensions().get().map(|Shown(name)| name.clone());
        let mut call = Call::read(request).await;
        let missing = shown.is_none() && self.insists_by_answer(service);
        let entry = self.log.begin(
            (service, shown),
            call.method.as_str(),
            &call.path,
            &call.raw_query,
            &call.headers,
            &call.body,
        );
        call.entry = Some(entry);
        if matches!(service, Service::Source | Service::Files) {
            self.lag().await;
        }
        let mut reply = if missing {
            with_body(400, "text/html", NO_CERTIFICATE)
        } else {
            answer(call).await
        };
        if self.faults.fires(&Fault::AnswersHaveIds) {
            let number = self.answers.fetch_add(1, Ordering::Relaxed) + 1;
            set(&mut reply, "x-request-id", &format!("sandbox-{number}"));
        }
        if matches!(service, Service::Source | Service::Files) {
            let date = httpdate::fmt_http_date(self.clock.system_time());
            set(&mut reply, "date", &date);
        }
        // As load balancers do. Whoever kept it would send it to every listener: see `leaks`.
        let reply = with(reply, "set-cookie", "sandbox=tempting; Path=/");
        self.log.end(entry, reply.status().as_u16());
        counted(reply, &self.log, entry, flight)
    }

    fn insists_by_answer(&self, service: Service) -> bool {
        let certificates = self.certificates.as_ref();
        certificates.is_some_and(|them| them.demand == Demand::ByAnswer)
            && matches!(service, Service::Source | Service::Target)
    }

    /// The time that every answer of source and S3 takes longer.
    pub(crate) async fn lag(&self) {
        if !self.settings.latency.is_zero() {
            tokio::time::sleep(self.settings.latency).await;
        }
    }

    /// The faults that any place may have. Some answer means that the service gives that one instead of its own.
    pub(crate) async fn gate(&self, place: Place, call: &Call) -> Option<Reply> {
        let delay = self.faults.take(|fault| match fault {
            Fault::Delay(at, milliseconds) if *at == place => Some(*milliseconds),
            _ => None,
        });
        if let Some(milliseconds) = delay {
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        }
        if self.faults.fires(&Fault::Hang(place)) {
            std::future::pending::<()>().await;
        }
        if self.faults.fires(&Fault::TokenExpires(place)) {
            self.tokens.revoke(call);
            return Some(with(empty(401), "www-authenticate", "Bearer"));
        }
        let page = self.faults.take(|fault| match fault {
            Fault::Html(at, status) if *at == place => Some(*status),
            _ => None,
        });
        if let Some(status) = page {
            return Some(html(status));
        }
        self.faults
            .take(|fault| match fault {
                Fault::Answers(at, answer) if *at == place => Some(answer.clone()),
                _ => None,
            })
            .map(|answer| told(&answer))
    }
}

/// An answer as a fault tells it.
fn told(answer: &Answer) -> Reply {
    let reply = match &answer.outcome {
        Some((code, diagnostics)) => fhir(
            answer.status,
            &operation_outcome("error", code, diagnostics),
        ),
        None => empty(answer.status),
    };
    match &answer.retry_after {
        Some(value) => with(reply, "retry-after", value),
        None => reply,
    }
}
