//! Reading a manifest as it streams by: what is wrong with it, its head, and each of its outputs to whoever wants them.
//!
//! Its members may come in any order, and one that comes twice counts as it came last.

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess};
use url::Url;

use super::errors::Errors;
use super::given::{Given, Next, Take};
use super::{Head, is_type_name};
use crate::error::{Error, Kind, Result};

/// One exported file, as it streams by.
pub(super) struct Found {
    /// The type of every resource in it.
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
    /// The next file of errors; `None` where nothing says where it can be fetched.
    fn keep_error(&mut self, _: Option<Url>) {}
    /// Those files of errors do not count.
    fn forget_errors(&mut self) {}
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
    outputs: Result<usize>,
    deleted: Result<usize>,
    errors: Result<usize>,
    outcomes: Result<usize>,
}

impl Members {
    fn head(self) -> Result<Head> {
        if let Some(kind) = self.resource_type.into_text() {
            let kind: String = kind.chars().take(40).collect();
            return Err(wrong(&format!("it is a FHIR {kind}")));
        }
        let transaction_time = self.transaction_time.into_text();
        let Some(transaction_time) = transaction_time.filter(|time| !time.is_empty()) else {
            return Err(wrong("it has no transactionTime")
                .next("If the export was cancelled, which some sources answer so, start a new one; if not, report it to whoever runs the source: its answer breaks the Bulk Data specification."));
        };
        Ok(Head {
            transaction_time,
            request: self.request.into_text(),
            requires_access_token: match self.requires_access_token {
                Given::Flag(yes) => Some(yes),
                // Oracle Health writes it as a string.
                Given::Text(text) => Some(!text.eq_ignore_ascii_case("false")),
                _ => None,
            },
            outputs: self.outputs?,
            deleted: self.deleted?,
            errors: match (self.errors?, self.outcomes?) {
                (0, outcomes) => outcomes,
                (errors, _) => errors,
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
            outputs: Ok(0),
            deleted: Ok(0),
            errors: Ok(0),
            outcomes: Ok(0),
        };
        while let Some(name) = object.next_key::<String>()? {
            match name.as_str() {
                "resourceType" => members.resource_type = object.next_value()?,
                "transactionTime" => members.transaction_time = object.next_value()?,
                "request" => members.request = object.next_value()?,
                "requiresAccessToken" => members.requires_access_token = object.next_value()?,
                "output" => {
                    self.keep.forget();
                    let outputs = Outputs {
                        base: self.base,
                        keep: &mut *self.keep,
                    };
                    members.outputs = object.next_value_seed(Next(outputs))?;
                }
                "deleted" => members.deleted = object.next_value_seed(Next(Files("deleted")))?,
                "error" => {
                    let instead = matches!(members.outcomes, Ok(1..));
                    let errors = Errors::of("error", self.base, &mut *self.keep, instead);
                    members.errors = object.next_value_seed(Next(errors))?;
                }
                // What STU4 calls them. A manifest that has both has them twice.
                "outcome" if matches!(members.errors, Ok(1..)) => {
                    members.outcomes = object.next_value_seed(Next(Files("outcome")))?;
                }
                "outcome" => {
                    let errors = Errors::of("outcome", self.base, &mut *self.keep, false);
                    members.outcomes = object.next_value_seed(Next(errors))?;
                }
                _ => {
                    object.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(members.head())
    }
}

/// A list of files that are counted.
struct Files(&'static str);

impl<'de> Take<'de> for Files {
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
            count += 1;
        }
        Ok(Ok(count))
    }
}

struct Outputs<'a, K> {
    base: Option<&'a Url>,
    keep: &'a mut K,
}

impl<'de, K: Keep> Take<'de> for Outputs<'_, K> {
    type Value = Result<usize>;

    fn other(self) -> Result<usize> {
        Err(wrong("its output is no array"))
    }

    fn nothing(self) -> Result<usize> {
        Ok(0)
    }

    fn list<A: SeqAccess<'de>>(self, mut list: A) -> Result<Result<usize>, A::Error> {
        let mut count = 0;
        let mut first_wrong = None;
        while let Some(item) = list.next_element_seed(Next(Item))? {
            if first_wrong.is_none() {
                match item.check(count, self.base) {
                    Ok(found) => self.keep.keep(found),
                    Err(error) => first_wrong = Some(error),
                }
            }
            count += 1;
        }
        Ok(first_wrong.map_or(Ok(count), Err))
    }
}

struct Item;

/// The members of an output that matter, unchecked.
#[derive(Default)]
struct Unchecked {
    resource_type: Given,
    url: Given,
    count: Given,
    size: Given,
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
                "type" => item.resource_type = object.next_value()?,
                "url" => item.url = object.next_value()?,
                "count" => item.count = object.next_value()?,
                // Not of the specification; servers that add it write a number, or its digits.
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
    fn check(self, index: usize, base: Option<&Url>) -> Result<Found> {
        let place = format_args!("output {} of the manifest", index + 1);
        let Some(resource_type) = self.resource_type.into_text() else {
            return Err(wrong(&format!("{place} has no type")));
        };
        // The type becomes a path in staging.
        if !is_type_name(&resource_type) {
            let shown: String = resource_type.chars().take(40).collect();
            return Err(wrong(&format!(
                "{place} has the type {shown:?}, which is no resource type's name"
            )));
        }
        let Some(text) = self.url.into_text().filter(|url| !url.is_empty()) else {
            return Err(wrong(&format!("{place} ({resource_type}) has no url")));
        };
        let url = absolute(&text, base);
        let url =
            url.map_err(|_| wrong(&format!("{place} ({resource_type}) has a url that is none")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong(&format!(
                "{place} ({resource_type}) has a url of the scheme {}",
                url.scheme()
            )));
        }
        let size = match &self.size {
            Given::Text(digits) => digits.parse().ok(),
            size => size.as_whole(),
        };
        Ok(Found {
            count: self.count.as_whole(),
            size,
            resource_type,
            url,
        })
    }
}

/// A URL of a manifest that was found at `base`.
pub(super) fn absolute(text: &str, base: Option<&Url>) -> Result<Url, url::ParseError> {
    match (Url::parse(text), base) {
        (Err(url::ParseError::RelativeUrlWithoutBase), Some(base)) => base.join(text),
        (url, _) => url,
    }
}

pub(super) fn wrong(what: &str) -> Error {
    Kind::Manifest.error(format!(
        "what the source calls a manifest is not one: {what}"
    ))
}
