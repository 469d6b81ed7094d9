//! A manifest's files beside its outputs, as they stream by: of each no more than where it can be fetched.

use serde::de::{IgnoredAny, MapAccess, SeqAccess};
use url::Url;

use super::given::{Given, Next, Take};
use super::read::{Keep, of_file, wrong};
use crate::error::Result;

/// What files beside the outputs hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    /// The errors of the export: the member `error`, or `outcome` (STU4).
    Errors,
    /// What the source has deleted: the member `deleted`.
    Deleted,
}

/// A list of such files.
pub(super) struct Files<'a, K> {
    name: &'static str,
    what: Beside,
    base: Option<&'a Url>,
    keep: &'a mut K,
}

impl<'a, K: Keep> Files<'a, K> {
    /// The list of that name. Those that were kept before stay where `instead` says so and this list turns out to be empty.
    pub(super) fn of(
        (name, what): (&'static str, Beside),
        base: Option<&'a Url>,
        keep: &'a mut K,
        instead: bool,
    ) -> Self {
        if !instead {
            keep.forget_beside(what);
        }
        Self {
            name,
            what,
            base,
            keep,
        }
    }
}

impl<'de, K: Keep> Take<'de> for Files<'_, K> {
    type Value = Result<usize>;

    fn other(self) -> Result<usize> {
        Err(wrong(&format!("its {} is no array", self.name)))
    }

    fn nothing(self) -> Result<usize> {
        Ok(0)
    }

    fn list<A: SeqAccess<'de>>(self, mut list: A) -> Result<Result<usize>, A::Error> {
        let mut count = 0;
        while let Some(url) = list.next_element_seed(Next(Entry))? {
            if count == 0 {
                self.keep.forget_beside(self.what);
            }
            let url = url.into_text().filter(|url| !url.is_empty());
            let mut url = url.and_then(|url| of_file(&url, self.base));
            if let Some(url) = &mut url {
                url.set_fragment(None);
            }
            self.keep.keep_beside(self.what, url);
            self.keep.passed();
            count += 1;
        }
        Ok(Ok(count))
    }
}

/// One file: its `url`, whatever that is.
struct Entry;

impl<'de> Take<'de> for Entry {
    type Value = Given;

    fn other(self) -> Given {
        Given::Other
    }

    fn object<A: MapAccess<'de>>(self, mut object: A) -> Result<Given, A::Error> {
        let mut url = Given::Other;
        while let Some(name) = object.next_key::<String>()? {
            if name == "url" {
                url = object.next_value()?;
            } else {
                object.next_value::<IgnoredAny>()?;
            }
        }
        Ok(url)
    }
}
