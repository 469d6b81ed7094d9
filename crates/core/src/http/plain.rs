//! A body that may come as gzip although nobody asked for that, as proxies and hosts of static files have it.

use std::io::Write as _;

use bytes::Bytes;
use flate2::write::MultiGzDecoder;

use super::body::Body;
use super::response::Response;
use crate::error::Result;

/// So many compressed bytes are decoded at once: they come to a thousand times as many at most.
const AT_ONCE: usize = 4 << 10;

/// A body's bytes in pieces as they arrive, decoded where the answer says that they are gzip (RFC 9110, section 8.4.1.3).
pub struct Plain {
    body: Body,
    gzip: Option<MultiGzDecoder<Vec<u8>>>,
    /// What came and is not decoded yet.
    rest: Bytes,
}

impl Plain {
    /// The body of an answer.
    #[must_use]
    pub fn of(response: Response) -> Self {
        let coding = response.header("content-encoding").unwrap_or_default();
        let is_gzip = matches!(
            coding.trim().to_ascii_lowercase().as_str(),
            "gzip" | "x-gzip"
        );
        Self {
            body: response.into_body(),
            gzip: is_gzip.then(|| MultiGzDecoder::new(Vec::new())),
            rest: Bytes::new(),
        }
    }

    /// The next piece; `None` at the end and after an error.
    ///
    /// Errors: as of [`Body::chunk`]; unavailable too where the body is not the gzip that it is said to be, or ends in its
    /// midst.
    pub async fn chunk(&mut self) -> Option<Result<Bytes>> {
        loop {
            let Some(gzip) = &mut self.gzip else {
                return self.body.chunk().await;
            };
            let at_once = self.rest.split_to(self.rest.len().min(AT_ONCE));
            if at_once.is_empty() {
                match self.body.chunk().await {
                    Some(Ok(chunk)) => {
                        self.rest = chunk;
                        continue;
                    }
                    Some(Err(error)) => return Some(Err(error)),
                    None => {}
                }
            }
            let decoded = if at_once.is_empty() {
                gzip.try_finish()
            } else {
                gzip.write_all(&at_once)
            };
            let plain = std::mem::take(gzip.get_mut());
            if let Err(error) = decoded {
                return Some(Err(self.body.failed(&format!(
                    "the body is not the gzip that it is said to be ({error})"
                ))));
            }
            if !plain.is_empty() {
                return Some(Ok(plain.into()));
            }
            if at_once.is_empty() {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use axum::response::IntoResponse as _;
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::error::Kind;
    use crate::http::Request;
    use crate::http::fake::{Fake, client};

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    /// What comes of a body with this coding.
    async fn read(coding: &'static str, body: Vec<u8>) -> Result<Vec<u8>> {
        let source = Fake::smart(move |_| {
            let body = body.clone();
            async move { ([("content-encoding", coding)], body).into_response() }
        })
        .await;
        let asked = Request::get(source.at("/fhir/x"));
        let response = client(&source.url).send(asked).await.unwrap();
        let mut body = Plain::of(response);
        let mut all = Vec::new();
        while let Some(chunk) = body.chunk().await {
            all.extend_from_slice(&chunk?);
        }
        Ok(all)
    }

    #[tokio::test]
    async fn gzip_that_nobody_asked_for_is_decoded_and_all_else_is_left_alone() {
        let text = b"{\"a\": 1}\n".repeat(500_000);
        let packed = gzip(&text);
        assert!(read("gzip", packed.clone()).await.unwrap() == text);
        let twice = [packed.clone(), gzip(b"more")].concat();
        assert!(read("X-GZIP", twice).await.unwrap() == [&text[..], b"more"].concat());
        assert_eq!(read("identity", packed.clone()).await.unwrap(), packed);
        let empty = read("gzip", gzip(b"")).await.unwrap();
        assert!(empty.is_empty());
    }

    #[tokio::test]
    async fn what_is_no_gzip_or_half_of_it_is_told() {
        let packed = gzip(&b"text".repeat(1000));
        for body in [b"plain".to_vec(), packed[..packed.len() - 9].to_vec()] {
            let error = read("gzip", body).await.unwrap_err();
            assert_eq!(error.kind(), Kind::SourceUnavailable);
            let text = error.to_string();
            assert!(
                text.contains("not the gzip that it is said to be"),
                "{text}"
            );
        }
    }
}
