//! The listeners: HTTP/1.1 on loopback, plain or under TLS, one task each, all of them gone when the sandbox is dropped.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::call::Reply;
use crate::certificates::{Certificates, Shown, name_in};
use crate::record;
use crate::wire::{Flushed, Wire};

/// What a listener calls for every request.
pub(crate) trait Service: Send + Sync + 'static {
    /// Answers one request. An answer that never comes is a server that hangs.
    fn answer(&self, request: Request<Body>) -> impl Future<Output = Reply> + Send;
}

/// What a listener under TLS greets with, and for which service.
#[derive(Clone)]
pub(crate) struct Tls(pub(crate) Arc<Certificates>, pub(crate) record::Service);

/// A running listener. Dropping it closes the port and every connection at once.
#[derive(Debug)]
pub(crate) struct Server(JoinHandle<()>);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Takes a port on loopback; 0 means any free one.
pub(crate) async fn bind(scheme: &str, port: u16) -> io::Result<(TcpListener, String)> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))).await?;
    let origin = format!("{scheme}://{}", listener.local_addr()?);
    Ok((listener, origin))
}

/// Serves the port until the returned value is dropped.
pub(crate) fn serve<S: Service>(
    listener: TcpListener,
    service: Arc<S>,
    tls: Option<Tls>,
) -> Server {
    Server(tokio::spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    if let Ok((stream, _)) = accepted {
                        connections.spawn(greet(stream, Arc::clone(&service), tls.clone()));
                    }
                }
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
            }
        }
    }))
}

/// One connection, under TLS where the listener is.
async fn greet<S: Service>(stream: TcpStream, service: Arc<S>, tls: Option<Tls>) {
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else {
        return connection(stream, service, None).await;
    };
    let Tls(certificates, of) = tls;
    let Ok(acceptor) = certificates.acceptor(of) else {
        return;
    };
    match acceptor.accept(stream).into_fallible().await {
        Ok(stream) => {
            let shown = stream.get_ref().1.peer_certificates();
            let shown = shown.and_then(|chain| chain.first()).map(name_in);
            tokio::select! {
                () = connection(stream, service, shown) => {}
                () = certificates.rotated() => {}
            }
        }
        Err((error, mut stream)) => {
            tracing::debug!(%error, "no connection under TLS");
            // What the client sent meanwhile is read: a connection that is closed before that is reset, and what was
            // said last may be lost on the way.
            let drain =
                async { while stream.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {} };
            let _ = tokio::time::timeout(Duration::from_secs(5), drain).await;
        }
    }
}

/// An error in it (a client that went away, a body that was cut on purpose) ends just this one.
async fn connection<S: Service>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    service: Arc<S>,
    shown: Option<Shown>,
) {
    let flushed = Arc::new(Flushed::default());
    let wire = Wire::new(stream, Arc::clone(&flushed));
    let answer = service_fn(move |mut request: Request<Incoming>| {
        let service = Arc::clone(&service);
        request.extensions_mut().insert(Arc::clone(&flushed));
        if let Some(shown) = shown.clone() {
            request.extensions_mut().insert(shown);
        }
        async move { Ok::<_, Infallible>(service.answer(request.map(Body::new)).await) }
    });
    let served = http1::Builder::new()
        .serve_connection(TokioIo::new(wire), answer)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "connection ended");
    }
}
