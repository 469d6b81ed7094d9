//! A limit on bytes a second, shared by everything that passes under it.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;

/// How many bytes may pass a second.
#[derive(Debug)]
pub(crate) struct Rate {
    per_second: u64,
    /// When what was let through so far will have passed.
    free: Mutex<Instant>,
}

impl Rate {
    /// A limit of so many bytes a second; 0 counts as 1.
    pub(crate) fn new(per_second: u64) -> Self {
        Self {
            per_second: per_second.max(1),
            free: Mutex::new(Instant::now()),
        }
    }

    pub(crate) fn per_second(&self) -> u64 {
        self.per_second
    }

    /// The largest piece that should pass at once: a twentieth of a second's.
    pub(crate) fn piece(&self) -> usize {
        usize::try_from(self.per_second / 20).map_or(usize::MAX, |bytes| bytes.max(1))
    }

    /// Waits until so many bytes have had their time.
    pub(crate) async fn pass(&self, bytes: usize) {
        let nanoseconds = bytes as u128 * 1_000_000_000 / u128::from(self.per_second);
        let takes = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        let until = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            *free = (*free).max(Instant::now()) + takes;
            *free
        };
        tokio::time::sleep_until(until).await;
    }
}

/// What has to be over before bytes pass.
type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A body that is read no faster than a rate allows. What is not read stays with the connection, and so with the client.
/// Its length is known where that of the body is: a store refuses what has none.
struct Paced {
    body: Body,
    rate: Arc<Rate>,
    /// What was read and has not had its time yet.
    held: Option<(Bytes, Wait)>,
}

/// The body, at this rate.
pub(crate) fn paced(body: Body, rate: Arc<Rate>) -> Body {
    Body::new(Paced {
        body,
        rate,
        held: None,
    })
}

impl HttpBody for Paced {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        loop {
            if let Some((_, time)) = &mut self.held {
                ready!(time.as_mut().poll(context));
            }
            if let Some((data, _)) = self.held.take() {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                other => return Poll::Ready(other),
            };
            match frame.into_data() {
                Ok(data) => {
                    let (rate, length) = (Arc::clone(&self.rate), data.len());
                    let time = Box::pin(async move { rate.pass(length).await });
                    self.held = Some((data, time));
                }
                Err(other) => return Poll::Ready(Some(Ok(other))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.body.size_hint();
        let held = self.held.as_ref().map_or(0, |(data, _)| data.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + held);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + held);
        }
        hint
    }
}
