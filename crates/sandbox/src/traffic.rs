//! How many requests each service has in hand, at most had, and how many bytes each answer sent.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use crate::call::Reply;
use crate::record::{Entry, Log, Service};

/// How many there are now, and how many there were at most.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    now: AtomicUsize,
    peak: AtomicUsize,
}

impl Gauge {
    /// One more, until the returned value is dropped.
    pub(crate) fn enter(self: &Arc<Self>) -> InFlight {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.peak.fetch_max(now, Ordering::SeqCst);
        InFlight(Arc::clone(self))
    }

    /// One more where fewer than `most` are there.
    pub(crate) fn enter_below(self: &Arc<Self>, most: usize) -> Option<InFlight> {
        let flight = self.enter();
        (self.now.load(Ordering::SeqCst) <= most).then_some(flight)
    }

    pub(crate) fn peak(&self) -> usize {
        self.peak.load(Ordering::SeqCst)
    }

    /// Forgets the peak so far.
    pub(crate) fn reset(&self) {
        self.peak
            .store(self.now.load(Ordering::SeqCst), Ordering::SeqCst);
    }
}

/// One that is there.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Gauge>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A gauge for each service.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    source: Arc<Gauge>,
    token: Arc<Gauge>,
    files: Arc<Gauge>,
    s3: Arc<Gauge>,
    target: Arc<Gauge>,
    secrets: Arc<Gauge>,
}

impl Gauges {
    pub(crate) fn of(&self, service: Service) -> &Arc<Gauge> {
        match service {
            Service::Source => &self.source,
            Service::Token => &self.token,
            Service::Files => &self.files,
            Service::S3 => &self.s3,
            Service::Target => &self.target,
            Service::Secrets => &self.secrets,
        }
    }
}

/// A body that is counted while it is sent. When it is dropped, sent or not, its request is over.
struct Counted {
    body: Body,
    sent: u64,
    log: Arc<Log>,
    entry: Entry,
    _flight: InFlight,
}

/// The answer, with its request in flight until its body is sent or given up.
pub(crate) fn counted(reply: Reply, log: &Arc<Log>, entry: Entry, flight: InFlight) -> Reply {
    let log = Arc::clone(log);
    reply.map(|body| {
        Body::new(Counted {
            body,
            sent: 0,
            log,
            entry,
            _flight: flight,
        })
    })
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            self.sent += data.len() as u64;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.log.sent(self.entry, self.sent);
    }
}
