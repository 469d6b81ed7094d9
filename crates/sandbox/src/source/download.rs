//! The download of a file: whether it is answered, and with which bytes of which representation.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::Source;
use super::body::Content;
use super::gzip::GARBAGE;
use super::range::{Asked, asked};
use super::send::{End, Sending};
use crate::call::{Call, Reply, empty, outcome, reply, set, with};
use crate::faults::{Fault, Place};
use crate::record::Service;
use crate::traffic::InFlight;

/// The media types that files go by.
const MEDIA_TYPES: [&str; 4] = [
    "application/fhir+ndjson",
    "application/ndjson",
    "application/*",
    "*/*",
];

/// A file as it is sent: its bytes, encoded or not, and what is said of them.
struct Representation {
    content: Content,
    etag: Option<String>,
    gzip: bool,
}

impl Source {
    /// Answers a file's request at the source itself or at the other origin.
    pub(super) async fn file(&self, call: &Call, id: &str, name: &str, at: Service) -> Reply {
        if let Some(told) = self.world.gate(Place::File, call).await {
            return told;
        }
        if name.starts_with("error.")
            && let Some(told) = self.world.gate(Place::ErrorFile, call).await
        {
            return told;
        }
        if let Some(told) = self.habitual_refusal(call) {
            return told;
        }
        if let Some(told) = self.storm() {
            return told;
        }
        let Ok(slot) = self.slot() else {
            return busy(429, "1");
        };
        if let Err(refusal) = self.may_download(call, id, at) {
            return refusal;
        }
        let refused = call.header("accept").is_some()
            && !MEDIA_TYPES.into_iter().any(|kind| call.accepts(kind));
        if refused {
            return outcome(406, "not-supported", "Files are application/fhir+ndjson");
        }
        if at == Service::Source && self.world.faults.fires(&Fault::FilesRedirect) {
            let question = if call.raw_query.is_empty() { "" } else { "?" };
            let elsewhere = format!(
                "{}/files/{id}/{name}{question}{}",
                self.world.origins.files, call.raw_query
            );
            return with(empty(307), "location", &elsewhere);
        }
        let found = {
            let mut jobs = self.jobs();
            let Some(job) = jobs.get_mut(id) else {
                return outcome(404, "not-found", "There is no such export");
            };
            if job.expires.is_some_and(|at| at <= self.world.clock.now()) {
                return outcome(404, "not-found", "The export has expired");
            }
            if let Err(status) = job.links.admit(call, &self.world.faults) {
                return expired(status);
            }
            job.content(name)
        };
        let Some((content, tag)) = found else {
            return outcome(404, "not-found", "There is no such file");
        };
        match self.representation(call, id, name, content, tag).await {
            Ok(representation) => self.send(call, representation, slot),
            Err(error) => outcome(500, "exception", &format!("Not compressed: {error}")),
        }
    }

    /// The answer of a storm, while there is one.
    fn storm(&self) -> Option<Reply> {
        let (status, date) = self.world.faults.take(|fault| match fault {
            Fault::Files429(_) => Some((429, false)),
            Fault::Files429Date(_) => Some((429, true)),
            Fault::Files503(_) => Some((503, false)),
            _ => None,
        })?;
        Some(if date {
            // Dates have whole seconds: two from now is more than one.
            let then = self.world.clock.system_time() + Duration::from_secs(2);
            busy(status, &httpdate::fmt_http_date(then))
        } else {
            busy(status, "1")
        })
    }

    /// A place among those that may download at once; None where there is no limit.
    fn slot(&self) -> Result<Option<InFlight>, ()> {
        let most = self.world.faults.peek(|fault| match fault {
            Fault::FilesAtMost(most) => Some(*most),
            _ => None,
        });
        match most {
            Some(most) => self.downloads.enter_below(most).map(Some).ok_or(()),
            None => Ok(None),
        }
    }

    /// Whether a token is there where one is wanted, and none where none is.
    fn may_download(&self, call: &Call, id: &str, at: Service) -> Result<(), Reply> {
        let open = self.jobs().get(id).is_some_and(|job| job.files_are_open);
        let has_token = call.headers.contains_key("authorization");
        if at == Service::Files && !self.world.settings.files_trusted {
            // Like presigned URLs, which refuse a request that proves itself twice.
            return if has_token {
                Err(outcome(400, "security", "Only one way to prove oneself"))
            } else {
                Ok(())
            };
        }
        if open {
            if has_token {
                if let Some(entry) = call.entry {
                    let what = "a token that the manifest had said is not wanted went";
                    self.world.log.leaked(entry, what);
                }
                return Err(outcome(400, "security", "The manifest said: no token"));
            }
            return Ok(());
        }
        self.authorise(call)
    }

    /// The file as this call gets it.
    async fn representation(
        &self,
        call: &Call,
        id: &str,
        name: &str,
        mut content: Content,
        mut tag: String,
    ) -> io::Result<Representation> {
        let faults = &self.world.faults;
        if self.has_changed(id, name) {
            content = content.changed();
            tag.push_str("-changed");
        }
        let gzip = self.world.settings.gzip
            && call
                .header("accept-encoding")
                .is_some_and(|codings| accepts_gzip(&codings));
        if gzip {
            let members = faults.fires(&Fault::FileGzipMembers);
            content = self.compressed.of(&content, &tag, members).await?;
            tag.push_str(if members { "-gzip-members" } else { "-gzip" });
            let corrupt = faults.fires(&Fault::FileGzipCorrupt);
            let garbage = faults.fires(&Fault::FileGzipTrailingGarbage);
            if corrupt || garbage {
                content = Content::Spoilt {
                    flipped: corrupt.then_some(content.length() / 2),
                    of: Arc::new(content),
                    after: if garbage { GARBAGE } else { b"" },
                };
            }
        }
        let etag = if faults.fires(&Fault::FilesNoEtag) {
            None
        } else if faults.fires(&Fault::FilesWeakEtag) {
            Some(format!("W/\"{tag}\""))
        } else {
            Some(format!("\"{tag}\""))
        };
        Ok(Representation {
            content,
            etag,
            gzip,
        })
    }

    /// Whether the file's bytes are others now. Notes that it is answered.
    fn has_changed(&self, id: &str, name: &str) -> bool {
        let mut answered = self.answered();
        let key = (id.to_owned(), name.to_owned());
        if let Some(changed) = answered.get_mut(&key) {
            *changed = *changed || self.world.faults.fires(&Fault::FilesChangeMidway);
            return *changed;
        }
        answered.insert(key, false);
        false
    }

    /// The answer: all of the representation, or the part that is asked for, with whatever is wrong with it.
    fn send(&self, call: &Call, file: Representation, slot: Option<InFlight>) -> Reply {
        let faults = &self.world.faults;
        let length = file.content.length();
        let ranges = !faults.fires(&Fault::FilesIgnoreRange);
        let asked = if ranges {
            asked(call, length, file.etag.as_deref())
        } else {
            Asked::Whole
        };
        let mut headers = Vec::new();
        let (status, part) = match asked {
            Asked::Whole => (200, 0..length),
            Asked::Part(part) => {
                let part = if faults.fires(&Fault::FilesWrongRange) {
                    // From the beginning where it should not be, and the other way round.
                    u64::from(part.start == 0).min(length - 1)..length
                } else {
                    part
                };
                let range = format!("bytes {}-{}/{length}", part.start, part.end - 1);
                headers.push(("content-range", range));
                (206, part)
            }
            Asked::Beyond => {
                return with(empty(416), "content-range", &format!("bytes */{length}"));
            }
        };
        let (end, chunked) = self.end(part.end - part.start, file.gzip);
        if !chunked {
            headers.push(("content-length", (part.end - part.start).to_string()));
        }
        if ranges {
            headers.push(("accept-ranges", "bytes".to_owned()));
        }
        if let Some(etag) = file.etag {
            headers.push(("etag", etag));
        }
        if file.gzip {
            headers.push(("content-encoding", "gzip".to_owned()));
        }
        if self.world.settings.gzip {
            headers.push(("vary", "accept-encoding".to_owned()));
        }
        let sending = Sending {
            content: file.content,
            part,
            end,
            rate: self.rate.clone(),
            flushed: call.flushed.clone(),
            slot,
        };
        let mut response = reply(status, "application/fhir+ndjson", sending.body());
        for (name, value) in headers {
            set(&mut response, name, &value);
        }
        response
    }

    /// How an answer of this length ends, and whether it is sent without its length.
    fn end(&self, length: u64, gzip: bool) -> (End, bool) {
        let faults = &self.world.faults;
        let half = length / 2;
        if faults.fires(&Fault::FileHangsMidway) {
            return (End::Hangs(half), false);
        }
        if faults.fires(&Fault::FileCutMidway) {
            return (End::Cut(half), false);
        }
        if faults.fires(&Fault::FileChunkedCutMidway) {
            return (End::Cut(half), true);
        }
        if gzip && faults.fires(&Fault::FileGzipTruncated) {
            return (End::Early(half), true);
        }
        let chunked = faults.fires(&Fault::FilesChunked);
        let cut = faults.take(|fault| match fault {
            Fault::FileCutAt(bytes) if *bytes < length => Some(*bytes),
            _ => None,
        });
        if let Some(bytes) = cut {
            return (End::Cut(bytes), chunked);
        }
        let early = faults.take(|fault| match fault {
            Fault::FileEndsAt(bytes) if *bytes < length => Some(*bytes),
            _ => None,
        });
        match early {
            Some(bytes) => (End::Early(bytes), true),
            None => (End::Whole, chunked),
        }
    }
}

/// Whether an `Accept-Encoding` allows gzip.
fn accepts_gzip(codings: &str) -> bool {
    codings.split(',').any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let refused = weight
            .trim()
            .strip_prefix("q=")
            .is_some_and(|weight| weight.trim_end_matches(['0', '.']).is_empty());
        matches!(name.trim(), "gzip" | "*") && !refused
    })
}

/// Come again later.
fn busy(status: u16, retry_after: &str) -> Reply {
    with(
        outcome(status, "throttled", "Too many requests"),
        "retry-after",
        retry_after,
    )
}

/// What an object store answers to a link that has expired.
fn expired(status: u16) -> Reply {
    reply(
        status,
        "application/xml",
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_sent_only_to_who_takes_it() {
        for yes in ["gzip", "br, gzip;q=0.5", "*", "deflate,gzip"] {
            assert!(accepts_gzip(yes), "{yes}");
        }
        for no in ["", "identity", "gzip;q=0", "gzip; q=0.0", "x-gzip-not"] {
            assert!(!accepts_gzip(no), "{no}");
        }
    }
}
