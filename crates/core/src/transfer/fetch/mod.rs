//! Asking the source for a file, whole or from an offset, and its body as plain bytes.
//!
//! One request is one attempt: what is worth another one, and when, the caller decides, who also keeps what came so far.
//! What this promises is that the bytes of a body are those of the file from [`Opened::offset`] on, that a body which ends
//! without an error is complete as far as HTTP and gzip can tell, and that no more than a piece of it is in memory. It knows
//! nothing of lines and of staging.

mod gunzip;
mod headers;

use std::fmt;
use std::io::ErrorKind;

use bytes::Bytes;
use tracing::debug;
use url::Url;

use crate::error::{Error, Kind};
use crate::http::{self, Body, Client, Request, Response, Side, TokenUse, shown};
use gunzip::{Gunzip, Step};
use headers::{ContentRange, Encoding, strong_etag};

/// The media types of a file, the best first.
const ACCEPT: &str = "application/fhir+ndjson, application/ndjson;q=0.9, */*;q=0.5";

/// How many pieces are decoded in a row before other tasks get a turn.
const PIECES_IN_A_ROW: u32 = 8;

/// What identifies the bytes of a file, so that a download may go on where it broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// A strong `ETag` of the plain file, with its quotes.
    pub etag: String,
    /// The file's length in bytes, where the source told it.
    pub length: Option<u64>,
}

/// An answer that brings a file, or the rest of one.
#[derive(Debug)]
pub struct Opened {
    /// Its bytes.
    pub body: FileBody,
    /// Where in the file the body begins: at the offset that was asked for, or at 0.
    pub offset: u64,
    /// The whole file's length in plain bytes, where it is known: not for gzip, nor for chunks of unknown number.
    pub length: Option<u64>,
    /// Whether its bytes are sent as they are, without an encoding.
    pub plain: bool,
    /// Whether nothing but the end of the connection says where the body ends, so that one that was cut looks whole.
    pub open_ended: bool,
    /// What a later request can go on with; `None` where there is nothing that proves the bytes to be the same.
    pub mark: Option<Mark>,
}

/// Why there is no file.
#[derive(Debug)]
pub enum Refused {
    /// The link does not lead to the file, or not any more: 403, 404, 410, and 401 to a request without a token. A manifest
    /// that is fetched again may have one that does.
    Expired(Error),
    /// Anything else.
    Failed(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Asks for a file, from `from` on if that is given: an offset in its plain bytes, and what [`Opened::mark`] said of them.
///
/// A whole file may come as gzip. The rest of one comes only where the answer proves that it is of the same bytes;
/// otherwise the body begins at 0, with a second request where it takes one.
///
/// Errors: those of [`Client::send`] and [`http::failure`], where what the source would call a failed export is a
/// [`Kind::Transfer`], for good below 500; integrity for an encoding that was not asked for.
pub async fn open(
    client: &Client,
    url: &Url,
    token: TokenUse,
    from: Option<(u64, &Mark)>,
) -> Result<Opened, Refused> {
    let request = || Request::get(url.clone()).accept(ACCEPT).token(token);
    if let Some((offset, mark)) = from.filter(|(offset, _)| *offset > 0) {
        let rest = request()
            .header("accept-encoding", "identity")
            .header("range", &format!("bytes={offset}-"))
            .header("if-range", &mark.etag);
        let response = client.send(rest).await?;
        match response.status().as_u16() {
            200 => return whole(client, response),
            // Some answer 412 where the file has changed, though what was sent is no precondition.
            206 | 412 | 416 => {
                let range = response.header("content-range").map(str::to_owned);
                if let Some(rest) = rest_of(client, response, offset, mark) {
                    return Ok(rest);
                }
                debug!(url = %shown(url), offset, range, "the rest of a file is not provably the same file's");
            }
            _ => return Err(refused(response, token).await),
        }
    }
    let response = client
        .send(request().header("accept-encoding", "gzip"))
        .await?;
    match response.status().as_u16() {
        200 => whole(client, response),
        _ => Err(refused(response, token).await),
    }
}

/// The file from its beginning.
fn whole(client: &Client, response: Response) -> Result<Opened, Refused> {
    let encoding = response.header("content-encoding");
    let identity = match Encoding::of(encoding) {
        Encoding::Identity => true,
        Encoding::Gzip => false,
        Encoding::Other => {
            let encoding: String = encoding.unwrap_or_default().chars().take(40).collect();
            return Err(Refused::Failed(Kind::Integrity.error(format!(
                "GET {} came with the Content-Encoding {encoding}, which was not asked for",
                shown(response.url())
            ))));
        }
    };
    let sent = response.content_length();
    let length = sent.filter(|_| identity);
    let open_ended = identity && sent.is_none() && response.header("transfer-encoding").is_none();
    let mark = strong_etag(&response)
        .filter(|_| identity)
        .map(|etag| Mark { etag, length });
    // Servers that compress everything say so of nothing, too.
    let gunzip = (!identity && sent != Some(0)).then(Gunzip::new);
    Ok(Opened {
        body: FileBody::new(client.side(), response, sent, gunzip),
        offset: 0,
        length,
        plain: identity || sent == Some(0),
        open_ended,
        mark,
    })
}

/// The file from `offset` on, if this answer is that.
fn rest_of(client: &Client, response: Response, offset: u64, mark: &Mark) -> Option<Opened> {
    let range = ContentRange::parse(response.header("content-range")?)?;
    if let (Some(told), Some(known)) = (range.complete, mark.length)
        && told != known
    {
        return None;
    }
    let length = range.complete.or(mark.length)?;
    let body = match range.bytes {
        Some((first, last)) => {
            let plain = Encoding::of(response.header("content-encoding")) == Encoding::Identity;
            let same = strong_etag(&response).as_ref() == Some(&mark.etag);
            if response.status().as_u16() != 206
                || !plain
                || !same
                || first != offset
                || last < first
                || last >= length
            {
                return None;
            }
            // Where the server sends less than the rest, that is an early end, and the next request goes on from there.
            FileBody::new(client.side(), response, Some(length - offset), None)
        }
        None if response.status().as_u16() == 416 && length == offset => {
            FileBody::ended(client.side(), response)
        }
        None => return None,
    };
    Some(Opened {
        body,
        offset,
        length: Some(length),
        plain: true,
        open_ended: false,
        mark: Some(Mark {
            etag: mark.etag.clone(),
            length: Some(length),
        }),
    })
}

/// What an answer without a file means.
async fn refused(response: Response, token: TokenUse) -> Refused {
    let code = response.status().as_u16();
    let url = shown(response.url());
    let (answered, named) = (response.answered(), response.name_at_server());
    match code {
        404 | 410 => Refused::Expired(
            Kind::Transfer
                .error(format!(
                    "GET {url} answered {code}{named}: the source no longer has this file"
                ))
                .of_answer(answered)
                .next("The export's files may have expired. Start a new export.")
                .for_good(),
        ),
        401 | 403 if token == TokenUse::Never => {
            let said = http::said(response).await.text;
            Refused::Expired(
                Kind::Transfer
                    .error(format!(
                        "GET {url} answered {code}{named}{said}: the link no longer allows it"
                    ))
                    .of_answer(answered)
                    .next("The export's links have expired. Start a new export.")
                    .for_good(),
            )
        }
        _ => {
            // A link may hold all that it takes, beside a token too, which it then outlives or not; the error says what was
            // wrong with the token, or why there was none.
            let by_link = code == 403 || (code == 401 && !response.had_token());
            let error = http::failure(response, "a file of the export").await;
            if by_link {
                return Refused::Expired(error);
            }
            if error.kind() != Kind::ExportFailed {
                return Refused::Failed(error);
            }
            let refused = Kind::Transfer.error(error.what()).of_answer(answered);
            Refused::Failed(if code < 500 {
                refused.for_good()
            } else {
                refused
            })
        }
    }
}

/// A file's plain bytes as they arrive.
pub struct FileBody {
    side: Side,
    body: Body,
    received: u64,
    /// How many bytes were promised, as they are sent.
    promised: Option<u64>,
    /// Whether all of them came.
    ended: bool,
    gunzip: Option<Gunzip>,
    /// How many pieces were decoded since other tasks had a turn.
    in_a_row: u32,
    over: bool,
}

impl FileBody {
    fn new(side: Side, response: Response, promised: Option<u64>, gunzip: Option<Gunzip>) -> Self {
        Self {
            side,
            body: response.into_body(),
            received: 0,
            promised,
            ended: false,
            gunzip,
            in_a_row: 0,
            over: false,
        }
    }

    /// The rest of a file of which nothing is left.
    fn ended(side: Side, response: Response) -> Self {
        let mut body = Self::new(side, response, None, None);
        body.over = true;
        body
    }

    /// The next bytes, at least one, or `None` after the last and after an error. A call that is dropped loses nothing.
    ///
    /// Errors: unavailable ([`Side::unavailable`]) where the body ended early or nothing came in time; integrity where it
    /// brings more than was promised, or is not the gzip that it is said to be.
    ///
    /// gzip is decoded here, in the caller's task: it is the slowest thing that happens to those bytes, so another thread
    /// would have the caller wait for it all the same, and a body that expands a lot gives others a turn.
    pub async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        if self.over {
            return None;
        }
        let next = self.try_next().await;
        self.over = !matches!(next, Ok(Some(_)));
        next.transpose()
    }

    async fn try_next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if let Some(gunzip) = &mut self.gunzip {
                if self.in_a_row >= PIECES_IN_A_ROW {
                    self.in_a_row = 0;
                    tokio::task::yield_now().await;
                }
                match gunzip.step() {
                    Ok(Step::Piece(piece)) => {
                        self.in_a_row += 1;
                        return Ok(Some(piece));
                    }
                    Ok(Step::End) => return Ok(None),
                    Ok(Step::Hungry) => {}
                    Err(error) => return Err(self.not_gzip(&error)),
                }
            }
            if self.ended {
                return Ok(None);
            }
            let chunk = self.body.chunk().await.transpose()?;
            self.in_a_row = 0;
            match (chunk, &mut self.gunzip) {
                (Some(chunk), gunzip) => {
                    self.received += chunk.len() as u64;
                    if let Some(promised) = self.promised.filter(|most| self.received > *most) {
                        return Err(Kind::Integrity.error(format!(
                            "GET {}: more than the promised {promised} bytes came",
                            shown(self.body.url())
                        )));
                    }
                    match gunzip {
                        Some(gunzip) => gunzip.feed(chunk),
                        None if chunk.is_empty() => {}
                        None => return Ok(Some(chunk)),
                    }
                }
                (None, gunzip) => {
                    if self
                        .promised
                        .is_some_and(|promised| self.received < promised)
                    {
                        return Err(self.ended_early(""));
                    }
                    match gunzip {
                        Some(gunzip) => {
                            gunzip.end();
                            self.ended = true;
                        }
                        None => return Ok(None),
                    }
                }
            }
        }
    }

    /// How many bytes came over the wire so far: compressed ones, where they were.
    #[cfg(test)]
    fn received(&self) -> u64 {
        self.received
    }

    fn ended_early(&self, why: &str) -> Error {
        let of = self
            .promised
            .filter(|promised| *promised > self.received)
            .map(|promised| format!(" of {promised}"))
            .unwrap_or_default();
        self.side.unavailable().error(format!(
            "GET {}: the body ended early, after {}{of} bytes{why}",
            shown(self.body.url()),
            self.received
        ))
    }

    fn not_gzip(&self, error: &std::io::Error) -> Error {
        if error.kind() == ErrorKind::UnexpectedEof {
            return self.ended_early(" (in the middle of gzip)");
        }
        Kind::Integrity.error(format!(
            "GET {}: the body is not the gzip that it is said to be ({error}), within the first {} bytes",
            shown(self.body.url()), self.received
        ))
    }
}

impl fmt::Debug for FileBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileBody")
            .field("url", &shown(self.body.url()))
            .field("received", &self.received)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
