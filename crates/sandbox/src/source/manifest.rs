//! The manifest of a job: written as it is sent, for it may list more outputs than anyone wants to hold in memory.

use std::io;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use serde_json::{Map, Value, json};

use super::content::File;
use super::job::{Job, Listed, Pieces};
use super::{BASE, habits};
use crate::call::{Reply, fhir, operation_outcome, outcome, plain_json, reply};
use crate::faults::{Fault, Faults, TokenClaim};
use crate::habits::Habit;
use crate::world::{World, instant};

/// How many outputs are written at once.
const AT_ONCE: usize = 500;

/// How each output is told.
struct Telling {
    /// The URL of every file, up to its name.
    base: String,
    /// The query of every URL.
    signature: String,
    counts: bool,
    sizes: bool,
    /// How long the extension of each is, in bytes.
    padding: Option<usize>,
}

impl Telling {
    fn url(&self, name: &str) -> String {
        format!("{}{name}{}", self.base, self.signature)
    }

    fn output(&self, file: &Listed) -> Map<String, Value> {
        let url = self.url(&file.name);
        let mut output = Map::new();
        if !file.kind.is_empty() {
            output.insert("type".into(), json!(file.kind));
        }
        output.insert("url".into(), json!(url));
        if self.counts {
            output.insert("count".into(), json!(file.count));
        }
        if self.sizes {
            output.insert("fileSize".into(), json!(file.length));
        }
        if let Some(bytes) = self.padding {
            let padding = "x".repeat(bytes);
            output.insert("extension".into(), json!({"padding": padding}));
        }
        output
    }
}

impl Job {
    /// Whether polls of it are answered with the pages that are there.
    pub(super) fn tells_pieces(&self, world: &World) -> bool {
        let told = |fault: &Fault| {
            let told = matches!(
                fault,
                Fault::PartialManifests | Fault::PartialManifestsContradicted
            );
            told.then_some(())
        };
        self.pieces == Pieces::Some && world.faults.peek(told).is_some()
    }

    /// A page of the manifest of a job that goes on: each poll has brought one.
    pub(super) fn page_so_far(&mut self, world: &World, page: usize) -> Reply {
        if !self.tells_pieces(world) || page == 0 || page > self.polls {
            return outcome(404, "not-found", "There is no such page yet");
        }
        let mut reply = self.reply(world, page, Some(self.polls));
        *reply.status_mut() = http::StatusCode::ACCEPTED;
        reply
    }

    /// The manifest as an answer, or a page of it, counted from 1; with whatever is wrong with it now.
    pub(super) fn manifest_reply(&mut self, world: &World, page: usize) -> Reply {
        self.reply(world, page, None)
    }

    /// `so_far` is how many pages there are of one that is not complete.
    fn reply(&mut self, world: &World, page: usize, so_far: Option<usize>) -> Reply {
        let faults = &world.faults;
        if page > 1 && faults.fires(&Fault::PageNotReady) {
            let body = operation_outcome("information", "informational", "The page is not ready");
            return fhir(202, &body);
        }
        if faults.fires(&Fault::ManifestIsArray) {
            return plain_json(200, &json!([]));
        }
        if faults.fires(&Fault::ManifestIsOutcome) {
            let body = operation_outcome("error", "exception", "The export did not work");
            return fhir(200, &body);
        }
        let expiring = |fault: &Fault| matches!(fault, Fault::FilesExpireAfter(..)).then_some(());
        let signed = world.settings.signed_links || faults.peek(expiring).is_some();
        let telling = Telling {
            signature: self.links.issue(signed, world.clock.now()),
            base: self.files_base(world),
            counts: !faults.fires(&Fault::CountAbsent),
            sizes: world.settings.file_sizes,
            padding: faults.peek(|fault| match fault {
                Fault::OutputPadding(bytes) => Some(*bytes),
                _ => None,
            }),
        };
        let mut before = self.begin(world);
        let mut after = self.end(&telling, faults);
        let size = world.settings.page_size;
        if page > 1 {
            for member in ["deleted", "error", "outcome"] {
                after.shift_remove(member);
            }
            if faults.fires(&Fault::PagesDiffer) {
                before.insert("transactionTime".into(), json!("2001-01-01T00:00:00Z"));
            }
        }
        let next = self.next_page(world, page);
        if let Some(next) = next.filter(|_| so_far.is_none_or(|pages| page < pages)) {
            after.insert("link".into(), json!([{"relation": "next", "url": next}]));
        }
        let mut with_outputs = !faults.fires(&Fault::OutputAbsent);
        if faults.has(&Habit::EmptyWithoutOutput) && self.listed().next().is_none() {
            with_outputs = false;
        }
        for member in lacking(faults) {
            before.shift_remove(&member);
            after.shift_remove(&member);
            with_outputs &= member != "output";
        }
        if !with_outputs {
            before.extend(after);
            return plain_json(200, &Value::Object(before));
        }
        let skipped = size.map_or(0, |size| (page - 1).saturating_mul(size));
        let mut listed = self.listed().skip(skipped).take(size.unwrap_or(usize::MAX));
        let first = listed.next().map(|file| first(faults, &telling, &file));
        let contradicted =
            |fault: &Fault| matches!(fault, Fault::PartialManifestsContradicted).then_some(());
        let draft = if so_far.is_some() && page == 1 && faults.peek(contradicted).is_some() {
            let url = telling.url("draft-errors.ndjson");
            let errors = json!([{"type": "OperationOutcome", "url": url}]);
            after.insert("error".into(), errors);
            first.clone().map(draft)
        } else {
            None
        };
        let again = first.clone().filter(|_| faults.fires(&Fault::OutputTwice));
        let rest = listed.map(move |file| Value::Object(telling.output(&file)));
        let first = draft.into_iter().chain(first);
        let outputs = first.chain(rest).chain(again);
        let body = written(&before, outputs, &after);
        reply(200, "application/json", body)
    }

    /// The URL of the page after this one, where there is one.
    fn next_page(&self, world: &World, page: usize) -> Option<String> {
        let size = world.settings.page_size?;
        let more = self.listed().count() > page.saturating_mul(size);
        let next = if more {
            page + 1
        } else if world.faults.fires(&Fault::PagesInCircle) {
            1
        } else {
            return None;
        };
        let status = format!("{}{BASE}/jobs/{}", world.told_source(), self.id);
        Some(format!("{status}?page={next}"))
    }

    /// The members before the outputs.
    fn begin(&mut self, world: &World) -> Map<String, Value> {
        let claim = world.faults.take(|fault| match fault {
            Fault::RequiresAccessToken(claim) => Some(*claim),
            _ => None,
        });
        self.files_are_open = claim == Some(TokenClaim::False);
        let claim = match claim {
            None => Some(json!(world.settings.source_auth)),
            Some(TokenClaim::True) => Some(json!(true)),
            Some(TokenClaim::False) => Some(json!(false)),
            Some(TokenClaim::Text) => Some(json!("true")),
            Some(TokenClaim::Absent) => None,
        };
        let mut members = Map::new();
        let time = self
            .ended
            .filter(|_| world.faults.has(&Habit::TransactionTimeAtEnd))
            .unwrap_or(self.time);
        members.insert("transactionTime".into(), json!(instant(time)));
        members.insert("request".into(), json!(self.request));
        if let Some(claim) = claim {
            members.insert("requiresAccessToken".into(), claim);
        }
        members
    }

    /// The members after the outputs.
    fn end(&self, telling: &Telling, faults: &Faults) -> Map<String, Value> {
        let told = |file: &File| {
            let url = telling.url(&file.name);
            json!({"type": file.kind, "url": url, "count": file.count})
        };
        let deleted = self.deleted.iter().map(told).collect();
        let mut errors: Vec<Value> = self.errors.iter().map(told).collect();
        if !errors.is_empty() && faults.fires(&Fault::ErrorFileWithoutUrl) {
            errors[0] = json!({"type": "OperationOutcome"});
        }
        let name = if faults.fires(&Fault::ErrorsAsOutcome) {
            "outcome"
        } else {
            "error"
        };
        let mut members = Map::new();
        members.insert("deleted".into(), Value::Array(deleted));
        members.insert(name.into(), Value::Array(errors));
        members
    }

    /// Where the files are said to be.
    fn files_base(&self, world: &World) -> String {
        let elsewhere =
            world.settings.files_elsewhere || world.faults.fires(&Fault::FilesElsewhere);
        let path = format!("{BASE}/jobs/{}/files/", self.id);
        if let Some(place) = self.in_s3(world) {
            place.url()
        } else if let Some(habitual) = habits::files_base(world, &self.id) {
            habitual
        } else if elsewhere {
            format!("{}/files/{}/", world.origins.files, self.id)
        } else if world.faults.fires(&Fault::OutputUrlsRelative) {
            path
        } else {
            format!("{}{path}", world.told_source())
        }
    }
}

/// The members that are left out now, each of which counts as shown.
fn lacking(faults: &Faults) -> Vec<String> {
    let mut lacking: Vec<String> = Vec::new();
    loop {
        let next = faults.take(|fault| match fault {
            Fault::ManifestLacks(member) if !lacking.contains(member) => Some(member.clone()),
            _ => None,
        });
        match next {
            Some(member) => lacking.push(member),
            None => return lacking,
        }
    }
}

/// The same file under another URL.
fn draft(mut output: Value) -> Value {
    if let Some(Value::String(url)) = output.get_mut("url") {
        url.push_str(if url.contains('?') { "&" } else { "?" });
        url.push_str("draft=1");
    }
    output
}

/// The first output, with whatever is wrong with it.
fn first(faults: &Faults, telling: &Telling, file: &Listed) -> Value {
    let mut output = telling.output(file);
    if faults.fires(&Fault::OutputWithoutUrl) {
        output.shift_remove("url");
    }
    let kind = faults.take(|fault| match fault {
        Fault::OutputType(kind) => Some(kind.clone()),
        _ => None,
    });
    if let Some(kind) = kind {
        output.insert("type".into(), json!(kind));
    }
    if faults.fires(&Fault::CountWrong) {
        output.insert("count".into(), json!(file.count + 1));
    }
    Value::Object(output)
}

/// The manifest's JSON, some outputs at a time.
fn written(
    before: &Map<String, Value>,
    mut outputs: impl Iterator<Item = Value> + Send + 'static,
    after: &Map<String, Value>,
) -> Body {
    let members = |members: &Map<String, Value>| -> String {
        members.iter().fold(String::new(), |text, (name, value)| {
            text + &format!("{}:{value},", json!(name))
        })
    };
    let head = format!("{{{}\"output\":[", members(before));
    let after = members(after);
    let after = after.strip_suffix(',').unwrap_or_default();
    let comma = if after.is_empty() { "" } else { "," };
    let tail = format!("]{comma}{after}}}");
    let mut begun = false;
    let middle = std::iter::from_fn(move || {
        let mut text = String::new();
        for output in outputs.by_ref().take(AT_ONCE) {
            if begun {
                text.push(',');
            }
            begun = true;
            text.push_str(&output.to_string());
        }
        (!text.is_empty()).then_some(text)
    });
    let pieces = std::iter::once(head).chain(middle).chain([tail]);
    Body::from_stream(stream::iter(
        pieces.map(|piece| Ok::<_, io::Error>(Bytes::from(piece))),
    ))
}
