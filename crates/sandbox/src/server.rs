//! The listeners: plain HTTP/1.1 on loopback, one task each, all of them gone when the sandbox is dropped.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::call::Reply;
use crate::wire::{Flushed, Wire};

/// What a listener calls for every request.
pub(crate) trait Service: Send + Sync + 'static {
    /// Answers one request. An answer that never comes is a server that hangs.
    fn answer(&self, request: Request<Body>) -> impl Future<Output = Reply> + Send;
}

/// A running listener. Dropping it closes the port and every connection at once.
#[derive(Debug)]
pub(crate) struct Server(JoinHandle<()>);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Takes a port on loopback; 0 means any free one.
pub(crate) async fn bind(port: u16) -> io::Result<(TcpListener, String)> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))).await?;
    let origin = format!("http://{}", listener.local_addr()?);
    Ok((listener, origin))
}

/// Serves the port until the returned value is dropped.
pub(crate) fn serve<S: Service>(listener: TcpListener, service: Arc<S>) -> Server {
    Server(tokio::spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    if let Ok((stream, _)) = accepted {
                        connections.spawn(connection(stream, Arc::clone(&service)));
                    }
                }
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
            }
        }
    }))
}

/// One connection. An error in it (a client that went away, a body that was cut on purpose) ends just this one.
async fn connection<S: Service>(stream: TcpStream, service: Arc<S>) {
    let _ = stream.set_nodelay(true);
    let flushed = Arc::new(Flushed::default());
    let wire = Wire::new(stream, Arc::clone(&flushed));
    let answer = service_fn(move |mut request: Request<Incoming>| {
        let service = Arc::clone(&service);
        request.extensions_mut().insert(Arc::clone(&flushed));
        async move { Ok::<_, Infallible>(service.answer(request.map(Body::new)).await) }
    });
    let served = http1::Builder::new()
        .serve_connection(TokioIo::new(wire), answer)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "connection ended");
    }
}
