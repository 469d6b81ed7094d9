//! The text of a manifest as it comes from the source: checked while it arrives, and held as long as it is small. What is
//! larger goes straight to where it is to be kept, and is there only when somebody has seen what it is.

use bytes::Bytes;
use url::Url;

use super::status::no_json;
use crate::error::{Error, Kind, Result};
use crate::manifest::{Head, LIMIT, Reading, too_large};
use crate::progress::Page;
use crate::staging::{Staging, Writing, layout};

/// The largest manifest that is held whole, in bytes of JSON.
const HELD: usize = 4 << 20;

/// Where a manifest that is too large to be held is to be kept. Where there is one already, nothing is written.
pub struct Room<'a> {
    /// The place.
    pub staging: &'a Staging,
    /// Its key there.
    pub key: String,
}

/// A manifest as the source told it.
#[derive(Debug)]
pub struct Told {
    /// What it says; all of it was checked.
    pub head: Head,
    /// Its text, byte for byte; of one in pages, what a server without pages would have sent.
    pub text: Text,
    /// How many bytes that has.
    pub size: usize,
    /// What each of its pages names.
    pub pages: Vec<Page>,
}

/// Where the text of a manifest is.
#[derive(Debug)]
pub enum Text {
    /// Here.
    Held(Bytes),
    /// On its way to the place that it was given room in.
    OnItsWay(Writing),
    /// Nowhere: it is too large to be held, and there was no room, or one was there already.
    Gone,
}

/// A manifest that is coming in.
pub(super) struct Intake<'a> {
    reading: Reading,
    room: Option<&'a Room<'a>>,
    text: Text,
    held: Vec<u8>,
    size: usize,
}

impl<'a> Intake<'a> {
    /// One that was found at `base`, from where its relative URLs are taken.
    pub(super) fn new(base: Option<&Url>, room: Option<&'a Room<'a>>) -> Self {
        Self {
            reading: Reading::begin(base),
            room,
            text: Text::Held(Bytes::new()),
            held: Vec::new(),
            size: 0,
        }
    }

    /// Takes the next bytes; `false` says that what came so far is no JSON, and no more of it is of interest.
    pub(super) async fn take(&mut self, chunk: Bytes) -> Result<bool> {
        self.size += chunk.len();
        if self.size > LIMIT {
            return Err(too_large());
        }
        match &mut self.text {
            Text::Held(_) if self.size <= HELD => self.held.extend_from_slice(&chunk),
            Text::Held(_) => {
                self.text = match self.room {
                    Some(Room { staging, key }) if staging.head(key).await?.is_none() => {
                        let mut writing = staging.write(key, layout::JSON);
                        writing.add(&std::mem::take(&mut self.held)).await?;
                        writing.add(&chunk).await?;
                        Text::OnItsWay(writing)
                    }
                    _ => Text::Gone,
                };
                self.held = Vec::new();
            }
            Text::OnItsWay(writing) => writing.add(&chunk).await?,
            Text::Gone => {}
        }
        self.reading.add(chunk).await
    }

    /// The whole; or what is wrong with it, with its text where that is held.
    pub(super) async fn end(self) -> Result<Told, (Option<Vec<u8>>, Error)> {
        let other = match self.held.trim_ascii_start() {
            [b'<', ..] => no_page,
            [0x1f, 0x8b, ..] => no_gzip,
            _ => no_json,
        };
        let head = match self.reading.end(other).await {
            Ok(head) => head,
            Err(error) => {
                let is_held = matches!(self.text, Text::Held(_));
                return Err((is_held.then_some(self.held), error));
            }
        };
        Ok(Told {
            pages: vec![Page {
                transaction_time: head.transaction_time.clone(),
                outputs: head.outputs,
                deleted: head.deleted,
                errors: head.errors,
            }],
            head,
            text: match self.text {
                Text::Held(_) => Text::Held(self.held.into()),
                elsewhere => elsewhere,
            },
            size: self.size,
        })
    }
}

fn no_page() -> Error {
    Kind::Manifest.error("the answer is an HTML page, something else than JSON")
}

/// It begins as RFC 1952 (section 2.3.1) says.
fn no_gzip() -> Error {
    Kind::Manifest
        .error("it is compressed with gzip and nothing says so, which is something else than JSON")
        .next("Unpack it where it is a file; a server has to send Content-Encoding: gzip with it.")
}
