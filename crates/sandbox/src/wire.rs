//! A connection that tells when everything written to it has left, so that one that is cut on purpose is cut after
//! exactly the bytes that it should be, however slowly its other end reads.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

/// How often a connection had nothing left to write.
#[derive(Debug, Default)]
pub(crate) struct Flushed {
    times: AtomicU64,
    changed: Notify,
}

impl Flushed {
    /// Waits until all that is written so far has left.
    pub(crate) async fn wait(&self) {
        let before = self.times.load(Ordering::SeqCst);
        loop {
            let changed = self.changed.notified();
            if self.times.load(Ordering::SeqCst) > before {
                return;
            }
            changed.await;
        }
    }
}

/// The connection.
pub(crate) struct Wire<S> {
    stream: S,
    flushed: Arc<Flushed>,
}

impl<S> Wire<S> {
    pub(crate) fn new(stream: S, flushed: Arc<Flushed>) -> Self {
        Self { stream, flushed }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Called only when everything was written.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        if polled.is_ready() {
            self.flushed.times.fetch_add(1, Ordering::SeqCst);
            self.flushed.changed.notify_waiters();
        }
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
