//! Reading a manifest as it streams by: what is wrong with it, its head, and each of its outputs to whoever wants them.
//!
//! Its members may come in any order, and one that comes twice counts as it came last; not so the outputs, of which none may
//! be lost.

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess};
use url::Url;

use super::beside::{Beside, Files};
use super::given::{Given, Next, Number, Take};
use super::{Head, OddNumber, is_type_name};
use crate::error::{Error, Kind, Result};

/// The longest text, in bytes, that is taken for a time. It goes into records, logs and summaries.
const LONGEST_TIME: usize = 100;

/// One exported file, as it streams by.
pub(super) struct Found {
    /// The type of every resource in it; empty where that is not said.
    pub(super) resource_type: String,
    /// Where it can be fetched, absolute.
    pub(super) url: Url,
    /// How many resources it holds, where the server says so.
    pub(super) count: Option<u64>,
    /// How many bytes it has, where the server says so.
    pub(super) size: Option<u64>,
}

/// Who keeps the outputs.
pub(super) trait Keep {
    /// The next output.
    fn keep(&mut self, found: Found);
    /// Those so far do not count.
    fn forget(&mut self);
    /// The next file beside the outputs; `None` where nothing says where it can be fetched.
    fn keep_beside(&mut self, _: Beside, _: Option<Url>) {}
    /// Those files beside the outputs do not count.
    fn forget_beside(&mut self, _: Beside) {}
    /// A member of the manifest, or a file of one of its lists, ends.
    fn passed(&mut self) {}
}

/// Keeps none of them.
impl Keep for () {
    fn keep(&mut self, _: Found) {}
    fn forget(&mut self) {}
}

/// Reads one value as a manifest that was found at `base`. The outer error is that of the deserializer, which the manifest
/// itself never causes; the inner one is [`Kind::Manifest`] with what is wrong.
pub(super) fn read<'de, D: Deserializer<'de>>(
    deserializer: D,
    base: Option<&Url>,
    keep: &mut impl Keep,
) -> Result<Result<Head>, D::Error> {
    Next(Root { base, keep }).deserialize(deserializer)
}

struct Root<'a, K> {
    base: Option<&'a Url>,
    keep: &'a mut K,
}

/// The members that matter, whichever come.
struct Members {
    resource_type: Given,
    transaction_time: Given,
    request: Given,
    requires_access_token: Given,
    outputs: Result<Counted>,
    deleted: Result<usize>,
    errors: Result<usize>,
    outcomes: Result<usize>,
    next: Result<Option<String>>,
}

/// How many outputs there are, and which are the first of note.
#[derive(Default)]
struct Counted {
    all: usize,
    untyped: Option<usize>,
    /// The first number that is none.
    odd_number: Option<OddNumber>,
}

impl Members {
    fn head(self, base: Option<&Url>) -> Result<Head> {
        if let Some(kind) = self.resource_type.into_text() {
            let kind: String = kind.chars().take(40).collect();
            return Err(wrong(&format!("it is a FHIR {kind}")));
        }
        let transaction_time = self.transaction_time.into_text();
        let Some(transaction_time) = transaction_time.filter(|time| !time.is_empty()) else {
            return Err(wrong("it has no transactionTime")
                .next("If the export was cancelled, which some sources answer so, start a new one; if not, report it to whoever runs the source: its answer breaks the Bulk Data specification."));
        };
        if transaction_time.len() > LONGEST_TIME {
            let bytes = transaction_time.len();
            let what = format!("its transactionTime, of {bytes} bytes, is no instant");
            return Err(wrong(&what));
        }
        let outputs = self.outputs?;
        Ok(Head {
            transaction_time,
            request: self.request.into_text(),
            requires_access_token: match self.requires_access_token {
                Given::Flag(yes) => Some(yes),
                // Oracle Health writes it as a string.
                Given::Text(text) => Some(!text.eq_ignore_ascii_case("false")),
                Given::Other => None,
            },
            outputs: outputs.all,
            untyped: outputs.untyped,
            odd_number: outputs.odd_number,
            deleted: self.deleted?,
            errors: match (self.errors?, self.outcomes?) {
                (0, outcomes) => outcomes,
                (errors, _) => errors,
            },
            next: match self.next? {
                Some(text) => {
                    Some(absolute(&text, base).ok_or_else(|| {
                        wrong("its link to the next page is no http or https URL")
                    })?)
                }
                None => None,
            },
        })
    }
}

impl<'de, K: Keep> Take<'de> for Root<'_, K> {
    type Value = Result<Head>;

    fn other(self) -> Result<Head> {
        Err(wrong("it is no JSON object"))
    }

    fn object<A: MapAccess<'de>>(self, mut object: A) -> Result<Result<Head>, A::Error> {
        let mut members = Members {
            resource_type: Given::Other,
            transaction_time: Given::Other,
            request: Given::Other,
            requires_access_token: Given::Other,
            outputs: Ok(Counted::default()),
            deleted: Ok(0),
            errors: Ok(0),
            outcomes: Ok(0),
            next: Ok(None),
        };
        let mut has_outputs = false;
        while let Some(name) = object.next_key::<String>()? {
            self.keep.passed();
            match name.as_str() {
                "resourceType" => members.resource_type = object.next_value()?,
                "transactionTime" => members.transaction_time = object.next_value()?,
                "request" => members.request = object.next_value()?,
                "requiresAccessToken" => members.requires_access_token = object.next_value()?,
                "output" => {
                    self.keep.forget();
                    if std::mem::replace(&mut has_outputs, true) {
                        object.next_value::<IgnoredAny>()?;
                        members.outputs = Err(wrong("it has two lists of outputs"));
                        continue;
                    }
                    let outputs = Outputs {
                        base: self.base,
                        keep: &mut *self.keep,
                    };
                    members.outputs = object.next_value_seed(Next(outputs))?;
                }
                "deleted" => {
                    let list = ("deleted", Beside::Deleted);
                    let deleted = Files::of(list, self.base, &mut *self.keep, false);
                    members.deleted = object.next_value_seed(Next(deleted))?;
                }
                "error" => {
                    let instead = matches!(members.outcomes, Ok(1..));
                    let errors = Files::of(
                        ("error", Beside::Errors),
                        self.base,
                        &mut *self.keep,
                        instead,
                    );
                    members.errors = object.next_value_seed(Next(errors))?;
                }
                // What STU4 calls them. A manifest that has both has them twice.
                "outcome" if matches!(members.errors, Ok(1..)) => {
                    let outcomes = Repeated("outcome", &mut *self.keep);
                    members.outcomes = object.next_value_seed(Next(outcomes))?;
                }
                "outcome" => {
                    let list = ("outcome", Beside::Errors);
                    let errors = Files::of(list, self.base, &mut *self.keep, false);
                    members.outcomes = object.next_value_seed(Next(errors))?;
                }
                "link" => members.next = object.next_value_seed(Next(Links))?,
                _ => {
                    object.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(members.head(self.base))
    }
}

/// A list of files that are counted.
struct Repeated<'a, K>(&'static str, &'a mut K);

impl<'de, K: Keep> Take<'de> for Repeated<'_, K> {
    type Value = Result<usize>;

    fn other(self) -> Result<usize> {
        Err(wrong(&format!("its {} is no array", self.0)))
    }

    fn nothing(self) -> Result<usize> {
        Ok(0)
    }

    fn list<A: SeqAccess<'de>>(self, mut list: A) -> Result<Result<usize>, A::Error> {
        let mut count = 0;
        while list.next_element::<IgnoredAny>()?.is_some() {
            self.1.passed();
            count += 1;
        }
        Ok(Ok(count))
    }
}

/// The links of a manifest in pages: of them, that to the next page.
pub(super) struct Links;

impl<'de> Take<'de> for Links {
    type Value = Result<Option<String>>;

    fn other(self) -> Self::Value {
        Err(wrong(
            "its link is no array, so nothing tells whether it has further pages",
        ))
    }

    fn nothing(self) -> Self::Value {
        Ok(None)
    }

    fn list<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut next = Ok(None);
        while let Some(link) = list.next_element_seed(Next(Link))? {
            next = match (next, link) {
                (next, Ok(None)) => next,
                (Ok(Some(one)), Ok(Some(other))) if one != other => {
                    Err(wrong("it has links to two next pages"))
                }
                (Ok(_), link) => link,
                (error, _) => error,
            };
        }
        Ok(next)
    }
}

struct Link;

impl<'de> Take<'de> for Link {
    type Value = Result<Option<String>>;

    fn other(self) -> Self::Value {
        Ok(None)
    }

    fn object<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let (mut relation, mut url) = (Given::Other, Given::Other);
        while let Some(name) = object.next_key::<String>()? {
            match name.as_str() {
                "relation" => relation = object.next_value()?,
                "url" => url = object.next_value()?,
                _ => {
                    object.next_value::<IgnoredAny>()?;
                }
            }
        }
        if relation.into_text().as_deref() != Some("next") {
            return Ok(Ok(None));
        }
        let url = url.into_text();
        Ok(url
            .map(Some)
            .ok_or_else(|| wrong("its link to the next page has no url")))
    }
}

struct Outputs<'a, K> {
    base: Option<&'a Url>,
    keep: &'a mut K,
}

impl<'de, K: Keep> Take<'de> for Outputs<'_, K> {
    type Value = Result<Counted>;

    fn other(self) -> Result<Counted> {
        Err(wrong("its output is no array"))
    }

    fn nothing(self) -> Result<Counted> {
        Ok(Counted::default())
    }

    fn list<A: SeqAccess<'de>>(self, mut list: A) -> Result<Result<Counted>, A::Error> {
        let mut counted = Counted::default();
        let mut first_wrong = None;
        while let Some(item) = list.next_element_seed(Next(Item))? {
            self.keep.passed();
            if first_wrong.is_none() {
                let odd = item.odd_number(counted.all);
                counted.odd_number = counted.odd_number.or(odd);
                match item.check(counted.all, self.base) {
                    Ok(found) => {
                        if found.resource_type.is_empty() {
                            counted.untyped.get_or_insert(counted.all);
                        }
                        self.keep.keep(found);
                    }
                    Err(error) => first_wrong = Some(error),
                }
            }
            counted.all += 1;
        }
        Ok(first_wrong.map_or(Ok(counted), Err))
    }
}

struct Item;

/// The members of an output that matter, unchecked.
#[derive(Default)]
struct Unchecked {
    /// `None` where there is none at all: a file of several types.
    resource_type: Option<Given>,
    url: Given,
    count: Number,
    size: Number,
}

impl<'de> Take<'de> for Item {
    type Value = Unchecked;

    fn other(self) -> Unchecked {
        Unchecked::default()
    }

    fn object<A: MapAccess<'de>>(self, mut object: A) -> Result<Unchecked, A::Error> {
        let mut item = Unchecked::default();
        while let Some(name) = object.next_key::<String>()? {
            match name.as_str() {
                "type" => item.resource_type = Some(object.next_value()?),
                "url" => item.url = object.next_value()?,
                "count" => item.count = object.next_value()?,
                // Not of the specification; servers add it.
                "fileSize" => item.size = object.next_value()?,
                _ => {
                    object.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(item)
    }
}

impl Unchecked {
    /// The member that should be a number and is none, in the output of this index.
    fn odd_number(&self, index: usize) -> Option<OddNumber> {
        let is_size = match (&self.count, &self.size) {
            (Number::Odd, _) => false,
            (_, Number::Odd) => true,
            _ => return None,
        };
        // There are fewer outputs than bytes in a manifest.
        let output = u32::try_from(index).ok()?;
        Some(OddNumber { output, is_size })
    }

    fn check(self, index: usize, base: Option<&Url>) -> Result<Found> {
        let place = format_args!("output {} of the manifest", index + 1);
        let untyped = self.resource_type.is_none() && matches!(self.url, Given::Text(_));
        let Some(resource_type) = (match self.resource_type {
            None if untyped => Some(String::new()),
            given => given.and_then(Given::into_text),
        }) else {
            return Err(wrong(&format!("{place} has no type")));
        };
        // The type becomes a path in staging.
        if !untyped && !is_type_name(&resource_type) {
            let shown: String = resource_type.chars().take(40).collect();
            return Err(wrong(&format!(
                "{place} has the type {shown:?}, which is no resource type's name"
            )));
        }
        let Some(text) = self.url.into_text().filter(|url| !url.is_empty()) else {
            return Err(wrong(&format!("{place} ({resource_type}) has no url")));
        };
        let url = joined(&text, base);
        let mut url =
            url.map_err(|_| wrong(&format!("{place} ({resource_type}) has a url that is none")))?;
        if !is_files(&url) {
            let scheme = url.scheme();
            let error = wrong(&format!(
                "{place} ({resource_type}) has a url of the scheme {scheme}"
            ));
            return Err(match scheme {
                "gs" | "abfs" | "abfss" => error.next("Files are read by https, and from S3, but not with credentials of another cloud's: have the source give https URLs (presigned ones, say). docs/servers.md names the servers that cannot."),
                _ => error,
            });
        }
        // It is never sent, so two URLs that differ in nothing else are one file's.
        url.set_fragment(None);
        Ok(Found {
            count: self.count.whole(),
            size: self.size.whole(),
            resource_type,
            url,
        })
    }
}

/// An http or https URL as a manifest that was found at `base` means it.
pub(super) fn absolute(text: &str, base: Option<&Url>) -> Option<Url> {
    let url = joined(text, base).ok();
    url.filter(|url| matches!(url.scheme(), "http" | "https"))
}

/// The URL of a file, as a manifest that was found at `base` means it.
pub(super) fn of_file(text: &str, base: Option<&Url>) -> Option<Url> {
    joined(text, base).ok().filter(is_files)
}

/// Whether a URL is of a scheme that files are read by.
fn is_files(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https" | "s3")
}

/// A URL as a manifest that was found at `base` means it.
pub(super) fn joined(text: &str, base: Option<&Url>) -> Result<Url, url::ParseError> {
    match (Url::parse(text), base) {
        (Err(url::ParseError::RelativeUrlWithoutBase), Some(base)) => base.join(text),
        (parsed, _) => parsed,
    }
}

pub(super) fn wrong(what: &str) -> Error {
    Kind::Manifest.error(format!(
        "what the source calls a manifest is not one: {what}"
    ))
}
