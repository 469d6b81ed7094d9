//! One file, from the source to staging: streamed, checked, and there only when it is whole.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::check::LineChecker;
use super::plan::File;
use super::progress::{Event, Observer};
use crate::error::{Error, Kind, Result};
use crate::http::{self, Backoff, Client, Request, Response, TokenUse, shown};
use crate::staging::{DoneRecord, Staging};

/// How often a file is asked for before it is given up.
const ATTEMPTS: u32 = 6;

/// The first wait between two attempts, at most; each further one may be twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// The longest wait between two attempts, where the source does not ask for more.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// How often a file that is not what was promised is fetched: what a proxy cut off cleanly looks just like that, once.
const INTEGRITY_ATTEMPTS: u32 = 2;

/// Everything that is the same for all files of a transfer.
#[derive(Clone)]
pub(super) struct Copier {
    pub(super) source: Client,
    pub(super) staging: Staging,
    pub(super) token: TokenUse,
    pub(super) observer: Observer,
    pub(super) retry_after_max: Duration,
    /// How often the source asked to be left alone for a while.
    pub(super) asked_to_wait: Arc<AtomicUsize>,
}

impl Copier {
    /// Makes sure that a file is staged. Gives its record, and whether it was fetched now.
    pub(super) async fn ensure(&self, file: Arc<File>) -> Result<(DoneRecord, bool)> {
        if let Some(done) = self.staging.done(&file.key, &file.part_key).await? {
            return Ok((done, false));
        }
        (self.observer)(Event::FileStarted { index: file.index });
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT, ATTEMPTS - 1)
            .retry_after_max(self.retry_after_max);
        let mut broken = 0;
        loop {
            let error = match self.copy(&file).await {
                Ok(done) => return Ok((done, true)),
                Err(error) => error,
            };
            match error.kind() {
                Kind::Integrity if broken + 1 < INTEGRITY_ATTEMPTS => broken += 1,
                Kind::SourceUnavailable | Kind::Transfer | Kind::StagingUnavailable => {}
                _ => return Err(error),
            }
            let Some(wait) = backoff.next(error.wait()) else {
                return Err(given_up(&error));
            };
            tracing::warn!(file = %shown(&file.url), error = error.what(), wait_s = wait.as_secs_f64(), "a file is asked for again");
            (self.observer)(Event::Retrying {
                what: shown(&file.url),
                wait,
                why: error.what().to_owned(),
            });
            if error.wait().is_some() {
                self.asked_to_wait.fetch_add(1, Ordering::Relaxed);
            }
            tokio::time::sleep(wait).await;
        }
    }

    async fn copy(&self, file: &File) -> Result<DoneRecord> {
        let request = Request::get(file.url.clone())
            .accept("application/fhir+ndjson, application/ndjson;q=0.9, */*;q=0.5")
            .header("accept-encoding", "identity");
        let response = self.source.send(request.token(self.token)).await?;
        let code = response.status().as_u16();
        match code {
            200 => self.stream(file, response).await,
            // Some servers answer 404 for a moment; one that goes on doing so has lost the file.
            404 | 410 => Err(Kind::Transfer
                .error(format!(
                    "GET {} answered {code}: the source no longer has this file",
                    shown(&file.url)
                ))
                .next("The export's files may have expired. Start a new export.")
                .for_good()),
            // Without a token, it was the link itself that was to allow it.
            401 | 403 if self.token == TokenUse::Never => {
                let (said, _) = http::said(response).await;
                Err(Kind::Transfer
                    .error(format!(
                        "GET {} answered {code}{said}: the link no longer allows it",
                        shown(&file.url)
                    ))
                    .next("The export's links have expired. Start a new export.")
                    .for_good())
            }
            _ => {
                let error = http::failure(response, "a file of the export").await;
                if error.kind() != Kind::ExportFailed {
                    return Err(error);
                }
                let refused = Kind::Transfer.error(error.what());
                Err(if code < 500 {
                    refused.for_good()
                } else {
                    refused
                })
            }
        }
    }

    async fn stream(&self, file: &File, response: Response) -> Result<DoneRecord> {
        if let Some(encoding) = response
            .header("content-encoding")
            .filter(|encoding| !encoding.eq_ignore_ascii_case("identity"))
        {
            let encoding: String = encoding.chars().take(40).collect();
            return Err(Kind::Integrity.error(format!(
                "GET {} came with the Content-Encoding {encoding}, which was not asked for",
                shown(&file.url)
            )));
        }
        let mut writer = self.staging.writer(&file.key)?;
        let checked = self.check_into(&mut writer, file, response).await;
        let resources = match checked {
            Ok(resources) => resources,
            Err(error) => {
                writer.abort().await;
                return Err(error);
            }
        };
        let by_type = BTreeMap::from([(file.resource_type.clone(), resources)]);
        self.staging
            .finish(
                vec![writer],
                DoneRecord::new(by_type, BTreeMap::new()),
                &file.part_key,
            )
            .await
    }

    /// Streams a body through the checks into `writer`, and gives the number of its resources.
    async fn check_into(
        &self,
        writer: &mut crate::staging::Writer,
        file: &File,
        response: Response,
    ) -> Result<u64> {
        let mut body = response.into_body();
        let mut checker = LineChecker::new(&file.resource_type);
        let mut kept: Vec<Bytes> = Vec::new();
        let bad = |bad| Kind::Integrity.error(format!("{}: {bad}", shown(&file.url)));
        while let Some(chunk) = body.chunk().await {
            let chunk = chunk?;
            (self.observer)(Event::Bytes(chunk.len() as u64));
            checker
                .chunk(chunk, |bytes| kept.push(bytes))
                .map_err(bad)?;
            for bytes in kept.drain(..) {
                writer.write(bytes).await?;
            }
        }
        checker.finish(|bytes| kept.push(bytes)).map_err(bad)?;
        for bytes in kept {
            writer.write(bytes).await?;
        }
        let found = checker.resources();
        match file.count {
            Some(count) if count != found => Err(Kind::Integrity.error(format!(
                "{} holds {found} resources, and the manifest promises {count}",
                shown(&file.url)
            ))),
            _ => Ok(found),
        }
    }
}

/// What is said of a file that could not be had.
fn given_up(last: &Error) -> Error {
    match last.kind() {
        Kind::Transfer | Kind::StagingUnavailable => {
            last.clone().within(&format!("after {ATTEMPTS} attempts"))
        }
        _ => Kind::Transfer.error(format!(
            "a file could not be had in {ATTEMPTS} attempts; the last one: {}",
            last.what()
        )),
    }
}
