//! A manifest that comes in pages, put together to one (Bulk Data Access IG 3, "Response - Complete Status", `link`).
//!
//! The pages are of one export and in order, so the whole is what a server without pages would have sent: the members of the
//! first page, and of each list all that any page has. What a run stages is named by its place in that whole. All of it
//! streams but the members, and the lists beside the outputs, which have to wait for the outputs' end.

use std::collections::HashSet;

use bytes::Bytes;
use futures_util::Stream;
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess};
use serde_json::Value;
use tokio::sync::mpsc;
use url::Url;

use super::LIMIT;
use super::given::{Next, Take};
use super::read::{self, wrong};
use super::stream::{Meter, Parsing};
use super::too_large;
use crate::error::{Error, Kind, Result};

/// The lists beside `output` whose items every page has some of.
const LISTS: [&str; 3] = ["deleted", "error", "outcome"];

/// Of these, those that every page may have the same of (STU4 says so of all members but `output`, `deleted` and `link`).
const REPEATED: [&str; 2] = ["error", "outcome"];

/// What is held until all outputs have come, in bytes at most.
const HELD: usize = 16 << 20;

/// How much of the whole is handed on at once, in bytes.
const PIECE: usize = 64 << 10;

/// The pages so far, and how the whole goes on.
#[derive(Debug, Default)]
pub struct Pages {
    /// What the first page says beside its lists and was not handed on yet, as JSON members with a comma after each.
    members: Vec<u8>,
    /// The lists' items as JSON, with a comma after each.
    lists: [Option<Vec<u8>>; LISTS.len()],
    /// The items of those lists that may be repeated.
    seen: HashSet<Box<[u8]>>,
    /// The `transactionTime` of all pages, once it is known.
    time: Option<Value>,
    received: u64,
    /// How many outputs, deletions and files of errors each page names.
    counts: Vec<[usize; 3]>,
    /// Whether the list of outputs is begun, and whether it has any.
    begun: bool,
    any: bool,
}

/// What is given of a page while it is read: pieces of the whole's text.
pub type Pieces = mpsc::Receiver<Bytes>;

impl Pages {
    /// Reads the next page, which was found at `base`, and gives pieces of the whole while it does so: both must go on side
    /// by side. What comes of the page is where the next one is.
    ///
    /// Gives the stream's error; what `not_json` says; [`crate::Kind::Manifest`] where the page is none, or of another export
    /// than the first, or where all is too large.
    pub fn add<'a>(
        self,
        chunks: impl Stream<Item = Result<Bytes>> + Send + 'a,
        base: &Url,
        not_json: impl FnOnce() -> Error + Send + 'a,
    ) -> (
        impl Future<Output = Result<(Self, Option<Url>)>> + Send + 'a,
        Pieces,
    ) {
        let (sender, pieces) = mpsc::channel(2);
        let base = base.clone();
        let parsing = Parsing::begin(move |json, meter| {
            let page = Page {
                pages: self,
                base: &base,
                out: Out {
                    sender,
                    piece: Vec::new(),
                },
                meter,
                counts: [0; 3],
            };
            let (pages, next) = match Next(page).deserialize(json)? {
                Ok(read) => read,
                Err(error) => return Ok(Err(error)),
            };
            let next = match next {
                None => None,
                Some(text) => match read::absolute(&text, Some(&base)) {
                    Some(url) => Some(url),
                    None => {
                        return Ok(Err(wrong(
                            "its link to the next page is no http or https URL",
                        )));
                    }
                },
            };
            Ok(Ok((pages, next)))
        });
        let reading = async move {
            let mut parsing = parsing;
            parsing.add_all(chunks).await?;
            let received = parsing.received() as u64;
            let (mut pages, next) = parsing.end(not_json).await??;
            pages.received += received;
            if pages.received > LIMIT as u64 {
                return Err(too_large());
            }
            Ok((pages, next))
        };
        (reading, pieces)
    }

    /// How many outputs, files of deletions and files of errors each page so far names.
    #[must_use]
    pub fn counts(&self) -> &[[usize; 3]] {
        &self.counts
    }

    /// What follows after the last page.
    #[must_use]
    pub fn rest(mut self) -> Bytes {
        let mut text = Vec::new();
        if !self.begun {
            self.begin(&mut text);
        }
        text.push(b']');
        for (name, list) in LISTS.iter().zip(&self.lists) {
            let Some(list) = list else { continue };
            text.extend_from_slice(format!(",\"{name}\":[").as_bytes());
            text.extend_from_slice(list.strip_suffix(b",").unwrap_or(list));
            text.push(b']');
        }
        if let Some(members) = self.members.strip_suffix(b",") {
            text.push(b',');
            text.extend_from_slice(members);
        }
        text.push(b'}');
        text.into()
    }

    /// Begins the list of outputs, after the members that are known by then.
    fn begin(&mut self, text: &mut Vec<u8>) {
        text.push(b'{');
        text.append(&mut self.members);
        text.extend_from_slice(b"\"output\":[");
        self.begun = true;
    }

    fn held(&self) -> usize {
        let lists: usize = self.lists.iter().flatten().map(Vec::len).sum();
        self.members.len() + lists
    }
}

/// The pieces of the whole on their way to whoever keeps it.
struct Out {
    sender: mpsc::Sender<Bytes>,
    piece: Vec<u8>,
}

impl Out {
    /// Hands on what there is, if it is worth that; `false` says that nobody wants it any more.
    fn flush(&mut self, least: usize) -> bool {
        if self.piece.len() < least.max(1) {
            return true;
        }
        let piece = std::mem::take(&mut self.piece);
        self.sender.blocking_send(piece.into()).is_ok()
    }
}

/// One page, as it streams by.
struct Page<'a> {
    pages: Pages,
    base: &'a Url,
    out: Out,
    meter: Meter,
    counts: [usize; 3],
}

/// The pages with this one, and the text of the link to the next.
type Read = Result<(Pages, Option<String>)>;

impl<'de> Take<'de> for Page<'_> {
    type Value = Read;

    fn other(self) -> Read {
        Err(wrong("it is no JSON object"))
    }

    fn object<A: MapAccess<'de>>(mut self, mut object: A) -> Result<Read, A::Error> {
        let is_first = self.pages.counts.is_empty();
        let (mut next, mut time) = (None, None);
        let (mut error, mut has_outputs) = (None, false);
        while let Some(name) = object.next_key::<String>()? {
            self.meter.passed();
            let list = LISTS.iter().position(|list| *list == name);
            if name == "output" {
                if std::mem::replace(&mut has_outputs, true) {
                    error.get_or_insert_with(|| wrong("it has two lists of outputs"));
                }
                error = error.or(object.next_value_seed(Next(Outputs(&mut self)))?.err());
            } else if let Some(place) = list {
                let items = Items {
                    page: &mut self,
                    place,
                };
                error = error.or(object.next_value_seed(Next(items))?.err());
            } else if name == "link" {
                match object.next_value_seed(Next(read::Links))? {
                    Ok(link) => next = link,
                    Err(wrong) => error = error.or(Some(wrong)),
                }
            } else {
                let value: Value = object.next_value()?;
                if name == "resourceType" {
                    let kind: String = value
                        .as_str()
                        .unwrap_or_default()
                        .chars()
                        .take(40)
                        .collect();
                    error.get_or_insert_with(|| wrong(&format!("it is a FHIR {kind}")));
                }
                if is_first {
                    let member = format!("{}:{value},", Value::from(name.as_str()));
                    self.pages.members.extend_from_slice(member.as_bytes());
                }
                if name == "transactionTime" {
                    time = Some(value);
                }
            }
            if self.pages.held() > HELD {
                self.pages.members.clear();
                error = error.or_else(|| Some(too_much_beside()));
            }
        }
        if let Some(error) = error {
            return Ok(Err(error));
        }
        let time = time.unwrap_or_default();
        if *self.pages.time.get_or_insert_with(|| time.clone()) != time {
            return Ok(Err(wrong(
                "its pages are of different exports: they do not have the same transactionTime",
            )));
        }
        self.out.flush(1);
        self.pages.counts.push(self.counts);
        Ok(Ok((self.pages, next)))
    }
}

/// The outputs of a page, which are handed on.
struct Outputs<'a, 'b>(&'a mut Page<'b>);

impl<'de> Take<'de> for Outputs<'_, '_> {
    type Value = Result<()>;

    fn other(self) -> Result<()> {
        Err(wrong("its output is no array"))
    }

    fn nothing(self) -> Result<()> {
        Ok(())
    }

    fn list<A: SeqAccess<'de>>(self, mut list: A) -> Result<Result<()>, A::Error> {
        let page = self.0;
        while let Some(item) = list.next_element::<Value>()? {
            page.meter.passed();
            page.counts[0] += 1;
            if !page.pages.begun {
                page.pages.begin(&mut page.out.piece);
            }
            if std::mem::replace(&mut page.pages.any, true) {
                page.out.piece.push(b',');
            }
            let item = with_its_url(item, page.base).to_string();
            page.out.piece.extend_from_slice(item.as_bytes());
            if !page.out.flush(PIECE) {
                return Err(A::Error::custom("nobody wants the whole any more"));
            }
        }
        Ok(Ok(()))
    }
}

/// The items of a page's other list, which are held.
struct Items<'a, 'b> {
    page: &'a mut Page<'b>,
    place: usize,
}

impl<'de> Take<'de> for Items<'_, '_> {
    type Value = Result<()>;

    fn other(self) -> Result<()> {
        Err(wrong(&format!("its {} is no array", LISTS[self.place])))
    }

    fn nothing(self) -> Result<()> {
        Ok(())
    }

    fn list<A: SeqAccess<'de>>(self, mut list: A) -> Result<Result<()>, A::Error> {
        let Self { page, place } = self;
        let repeated = REPEATED.contains(&LISTS[place]);
        page.pages.lists[place].get_or_insert_default();
        let mut too_much = false;
        while let Some(item) = list.next_element::<Value>()? {
            page.meter.passed();
            page.counts[if place == 0 { 1 } else { 2 }] += 1;
            if too_much {
                continue;
            }
            let item = with_its_url(item, page.base).to_string();
            let is_new = !repeated || page.pages.seen.insert(item.as_bytes().into());
            if let Some(held) = &mut page.pages.lists[place]
                && is_new
            {
                held.extend_from_slice(item.as_bytes());
                held.push(b',');
            }
            if page.pages.held() > HELD {
                // What is wrong is told when all of it was read.
                page.pages.lists[place] = None;
                page.pages.seen.clear();
                too_much = true;
            }
        }
        Ok(if too_much {
            Err(too_much_beside())
        } else {
            Ok(())
        })
    }
}

/// An item whose URL may be relative to its own page, and the whole is found elsewhere.
fn with_its_url(mut item: Value, base: &Url) -> Value {
    if let Some(Value::String(url)) = item.get_mut("url")
        && !url.is_empty()
        && Url::parse(url).is_err()
        && let Ok(absolute) = read::joined(url, Some(base))
    {
        *url = absolute.into();
    }
    item
}

fn too_much_beside() -> Error {
    let most = HELD >> 20;
    Kind::Manifest
        .error(format!(
            "the pages of the manifest have more than {most} MiB beside their outputs, in all"
        ))
        .next("Export fewer types at a time, by TYPES.")
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use serde_json::json;

    use super::*;
    use crate::error::Kind;

    fn base(page: u32) -> Url {
        Url::parse(&format!("https://h/jobs/1/{page}/")).unwrap()
    }

    /// Adds a page that arrives in chunks of so many bytes; gives the pieces of the whole.
    async fn add(pages: Pages, text: &[u8], chunk: usize, base: &Url) -> Result<(Pages, Vec<u8>)> {
        let chunks: Vec<_> = text
            .chunks(chunk)
            .map(|it| Ok(Bytes::copy_from_slice(it)))
            .collect();
        let not_json = || Kind::Manifest.error("no JSON");
        let (reading, mut pieces) = pages.add(stream::iter(chunks), base, not_json);
        let draining = async {
            let mut all = Vec::new();
            while let Some(piece) = pieces.recv().await {
                all.extend_from_slice(&piece);
            }
            all
        };
        let (read, all) = tokio::join!(reading, draining);
        Ok((read?.0, all))
    }

    async fn joined(pages: &[Value]) -> Result<Value> {
        let mut whole = Vec::new();
        let mut all = Pages::default();
        for (number, page) in (1..).zip(pages) {
            let page = page.to_string();
            let (with, pieces) = add(all, page.as_bytes(), 7, &base(number)).await?;
            all = with;
            whole.extend_from_slice(&pieces);
        }
        whole.extend_from_slice(&all.rest());
        Ok(serde_json::from_slice(&whole).unwrap())
    }

    #[tokio::test]
    async fn pages_are_one_manifest_with_all_their_files_in_order() {
        let pages = [
            json!({"transactionTime": "t", "request": "r", "output": [{"url": "a"}],
                "link": [{"relation": "next", "url": "2"}], "vendor": 1}),
            json!({"transactionTime": "t", "request": "other", "error": [{"url": "e"}], "output": [], "vendor": 2}),
            json!({"transactionTime": "t", "output": [{"url": "https://f/b"}, {"url": "c"}]}),
        ];
        let whole = json!({"transactionTime": "t", "request": "r", "vendor": 1,
            "output": [{"url": "https://h/jobs/1/1/a"}, {"url": "https://f/b"}, {"url": "https://h/jobs/1/3/c"}],
            "error": [{"url": "https://h/jobs/1/2/e"}]});
        assert_eq!(joined(&pages).await.unwrap(), whole);
    }

    #[tokio::test]
    async fn errors_that_every_page_repeats_are_there_once_and_deletions_as_often_as_they_are_named()
     {
        let page = |number| {
            json!({"transactionTime": "t", "output": [{"url": format!("https://f/{number}")}],
                "error": [{"url": "https://f/e"}], "deleted": [{"url": "https://f/d"}]})
        };
        let whole = joined(&[page(1), page(2)]).await.unwrap();
        assert_eq!(whole["output"].as_array().unwrap().len(), 2);
        assert_eq!(whole["error"], json!([{"url": "https://f/e"}]));
        assert_eq!(whole["deleted"].as_array().unwrap().len(), 2);
    }

    #[tokio::test]
    async fn pages_of_two_exports_are_no_manifest() {
        for other in [json!({"transactionTime": "u"}), json!({"output": []})] {
            let error = joined(&[json!({"transactionTime": "t"}), other]).await;
            let error = error.unwrap_err();
            assert_eq!(error.kind(), Kind::Manifest);
            assert!(error.what().contains("different exports"), "{error}");
        }
    }

    #[tokio::test]
    async fn what_is_no_page_is_an_error_and_no_panic() {
        for text in [&b""[..], b"[]", b"null", b"{", b"\xff", b"{\"output\": 1}"] {
            assert!(add(Pages::default(), text, 3, &base(1)).await.is_err());
        }
        let odd = json!({"output": [1, null, {"url": 3}]});
        assert!(joined(&[odd.clone(), odd]).await.is_ok());
        assert_eq!(joined(&[]).await.unwrap(), json!({"output": []}));
    }

    #[tokio::test]
    async fn what_has_to_be_held_has_a_limit_of_its_own() {
        let deleted = json!({"url": "x".repeat(1 << 20)});
        let page = json!({"transactionTime": "t", "deleted": vec![deleted; 17]});
        let error = joined(&[page]).await.unwrap_err();
        assert!(error.what().contains("more than 16 MiB beside"), "{error}");
    }
}
