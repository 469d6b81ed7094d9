//! An HTTP client with nothing to it: connections that are kept, requests, and signatures for S3.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use http::header::HOST;
use http::{Method, Request, Response};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::Outcome;
use crate::store::{ACCESS_KEY, BUCKET, REGION, SECRET_KEY};

/// The body of a request.
#[derive(Debug)]
pub(crate) enum Payload {
    /// Pieces in memory, and their length.
    Pieces(VecDeque<Bytes>, u64),
    /// The body of a response, passed on as it comes.
    Through(Incoming),
}

impl Payload {
    /// No body, or one in memory.
    pub(crate) fn of(pieces: impl Into<VecDeque<Bytes>>) -> Self {
        let pieces = pieces.into();
        let length = pieces.iter().map(|piece| piece.len() as u64).sum();
        Self::Pieces(pieces, length)
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Pieces(pieces, left) => {
                let piece = pieces.pop_front();
                *left -= piece.as_ref().map_or(0, Bytes::len) as u64;
                Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
            }
            Self::Through(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Pieces(pieces, _) => pieces.is_empty(),
            Self::Through(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Pieces(_, left) => SizeHint::with_exact(*left),
            Self::Through(body) => body.size_hint(),
        }
    }
}

/// The connections to one server.
#[derive(Debug)]
pub(crate) struct Server {
    authority: String,
    idle: Mutex<Vec<Connection>>,
}

/// A connection with no request on it.
pub(crate) type Connection = SendRequest<Payload>;

impl Server {
    pub(crate) fn new(authority: &str) -> Self {
        Self {
            authority: authority.to_owned(),
            idle: Mutex::default(),
        }
    }

    /// Sends a request. The connection is to be given back when the response's body was read.
    pub(crate) async fn send(
        &self,
        mut request: Request<Payload>,
    ) -> Outcome<(Response<Incoming>, Connection)> {
        request.headers_mut().insert(HOST, self.authority.parse()?);
        let mut connection = self.connection().await?;
        let response = connection.send_request(request).await?;
        Ok((response, connection))
    }

    pub(crate) fn give_back(&self, connection: Connection) {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(connection);
    }

    async fn connection(&self) -> Outcome<Connection> {
        loop {
            let idle = self
                .idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop();
            let Some(mut connection) = idle else { break };
            if connection.ready().await.is_ok() {
                return Ok(connection);
            }
        }
        let stream = TcpStream::connect(&self.authority).await?;
        stream.set_nodelay(true)?;
        let (connection, driver) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(driver);
        Ok(connection)
    }

    /// A file, from its beginning.
    pub(crate) async fn get(
        &self,
        path: &str,
        encoding: &'static str,
    ) -> Outcome<(Incoming, Connection)> {
        let request = Request::get(path)
            .header("accept-encoding", encoding)
            .body(Payload::of([]))?;
        let (response, connection) = self.send(request).await?;
        if response.status() != 200 {
            return Err(format!("GET {path} answered {}", response.status()).into());
        }
        Ok((response.into_body(), connection))
    }

    /// A signed request to S3, its answer read: `ETag` and body. `target` is the object's key and what follows it.
    pub(crate) async fn s3(
        &self,
        method: Method,
        target: &str,
        payload: Payload,
    ) -> Outcome<(String, Vec<u8>)> {
        let path = format!("/{BUCKET}/{target}");
        let mut request = Request::builder()
            .method(method)
            .uri(&path)
            .header("content-type", "application/fhir+ndjson")
            .body(payload)?;
        self.sign(&mut request)?;
        let what = format!("{} {path}", request.method());
        let (response, connection) = self.send(request).await?;
        let status = response.status();
        let etag = response
            .headers()
            .get("etag")
            .and_then(|etag| etag.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        let mut body = response.into_body();
        let mut answer = Vec::new();
        while let Some(piece) = next(&mut body).await? {
            answer.extend_from_slice(&piece);
        }
        self.give_back(connection);
        if !status.is_success() {
            let said = String::from_utf8_lossy(&answer);
            return Err(format!("{what} answered {status}: {said}").into());
        }
        Ok((etag, answer))
    }

    fn sign(&self, request: &mut Request<Payload>) -> Outcome<()> {
        let identity = Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "bench").into();
        let mut settings = SigningSettings::default();
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(REGION)
            .name("s3")
            .time(SystemTime::now())
            .settings(settings)
            .build()?
            .into();
        let url = format!("http://{}{}", self.authority, request.uri());
        let signable = SignableRequest::new(
            request.method().as_str(),
            url,
            std::iter::empty(),
            SignableBody::UnsignedPayload,
        )?;
        let (instructions, _) = sign(signable, &params)?.into_parts();
        instructions.apply_to_request_http1x(request);
        Ok(())
    }
}

/// The next bytes of a body.
pub(crate) async fn next(body: &mut Incoming) -> Outcome<Option<Bytes>> {
    loop {
        let frame = std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await;
        match frame.transpose()?.map(Frame::into_data) {
            None => return Ok(None),
            Some(Ok(bytes)) => return Ok(Some(bytes)),
            // Trailers.
            Some(Err(_)) => {}
        }
    }
}
