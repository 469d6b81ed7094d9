//! The outputs and error files of a manifest, in little memory: types by number, numbers without room for their absence, and [`Urls`].

use std::collections::{HashMap, HashSet};

use url::Url;

use super::Output;
use super::beside::Beside;
use super::read::{Found, Keep};
use super::urls::Urls;

/// The outputs, in little memory.
#[derive(Clone, Default)]
pub(super) struct Files {
    types: Vec<Box<str>>,
    /// The place of each type in `types`; empty once all files are read.
    numbers: HashMap<Box<str>, u32>,
    rows: Vec<Row>,
    urls: Urls,
    /// Where the files of errors are; empty where that is not known.
    errors: Urls,
    /// Where the files of deletions are, likewise.
    deleted: Urls,
    /// Those of errors, once another list was added to this one.
    known_errors: HashSet<String>,
}

#[derive(Clone)]
struct Row {
    resource_type: u32,
    count: Maybe,
    size: Maybe,
}

/// A number that may be missing, in the room of one: the largest stands for none, and means as little.
#[derive(Clone, Copy)]
struct Maybe(u64);

impl From<Option<u64>> for Maybe {
    fn from(number: Option<u64>) -> Self {
        Self(number.unwrap_or(u64::MAX))
    }
}

impl From<Maybe> for Option<u64> {
    fn from(maybe: Maybe) -> Self {
        Some(maybe.0).filter(|number| *number != u64::MAX)
    }
}

impl Files {
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn get(&self, index: usize) -> Option<Output<'_>> {
        self.output(index, self.urls.get(index)?)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Output<'_>> {
        let urls = self.urls.iter().enumerate();
        urls.filter_map(|(index, url)| self.output(index, url))
    }

    /// The size in bytes and the number of resources of each.
    pub(super) fn sizes(&self) -> impl Iterator<Item = (Option<u64>, Option<u64>)> {
        let rows = self.rows.iter();
        rows.map(|row| (row.size.into(), row.count.into()))
    }

    /// Adds all of another list. It takes as long as that one is, so that pages can be added one by one.
    pub(super) fn join(&mut self, other: &Self) {
        self.numbers = self.types.iter().cloned().zip(0..).collect();
        self.urls.open();
        if other.errors() > 0 {
            self.join_errors(&other.errors);
        }
        self.deleted.open();
        for url in other.deleted.iter() {
            self.deleted.push(&url);
        }
        self.deleted.close();
        let more = other.rows.len().max(self.rows.len() / 8);
        if self.rows.capacity() - self.rows.len() < other.rows.len() {
            self.rows.reserve_exact(more);
        }
        for output in other.iter() {
            if let Ok(url) = url::Url::parse(&output.url) {
                self.keep(Found {
                    resource_type: output.resource_type.to_owned(),
                    url,
                    count: output.count,
                    size: output.size,
                });
            }
        }
        self.numbers = HashMap::new();
        self.urls.close();
    }

    /// Of a manifest in pages, as of what is stored of it, the files of errors that every page repeats are there once.
    fn join_errors(&mut self, others: &Urls) {
        if self.known_errors.is_empty() {
            self.known_errors = self.errors.iter().collect();
        }
        self.errors.open();
        for url in others.iter() {
            if url.is_empty() || self.known_errors.insert(url.clone()) {
                self.errors.push(&url);
            }
        }
        self.errors.close();
    }

    /// How many files of errors there are.
    pub(super) fn errors(&self) -> usize {
        self.errors.len()
    }

    /// Nothing is added any more.
    pub(super) fn close(&mut self) {
        self.numbers = HashMap::new();
        self.rows.shrink_to_fit();
        self.urls.close();
        self.errors.close();
        self.deleted.close();
    }

    /// Where the file of this index beside the outputs is.
    pub(super) fn beside(&self, what: Beside, index: usize) -> Option<String> {
        let urls = match what {
            Beside::Errors => &self.errors,
            Beside::Deleted => &self.deleted,
        };
        urls.get(index).filter(|url| !url.is_empty())
    }

    fn beside_mut(&mut self, what: Beside) -> &mut Urls {
        match what {
            Beside::Errors => &mut self.errors,
            Beside::Deleted => &mut self.deleted,
        }
    }

    fn output(&self, index: usize, url: String) -> Option<Output<'_>> {
        let row = self.rows.get(index)?;
        Some(Output {
            resource_type: self.types.get(row.resource_type as usize)?,
            url,
            count: row.count.into(),
            size: row.size.into(),
        })
    }
}

impl Keep for Files {
    fn keep(&mut self, found: Found) {
        let name = found.resource_type.into_boxed_str();
        let resource_type = if let Some(number) = self.numbers.get(&name) {
            *number
        } else {
            // There are fewer types than bytes in a manifest.
            let number = u32::try_from(self.types.len()).unwrap_or(u32::MAX);
            self.types.push(name.clone());
            self.numbers.insert(name, number);
            number
        };
        self.rows.push(Row {
            resource_type,
            count: found.count.into(),
            size: found.size.into(),
        });
        self.urls.push(found.url.as_str());
    }

    fn forget(&mut self) {
        *self = Self {
            errors: std::mem::take(&mut self.errors),
            deleted: std::mem::take(&mut self.deleted),
            ..Self::default()
        };
    }

    fn keep_beside(&mut self, what: Beside, url: Option<Url>) {
        let url = url.as_ref().map_or("", Url::as_str);
        self.beside_mut(what).push(url);
    }

    fn forget_beside(&mut self, what: Beside) {
        *self.beside_mut(what) = Urls::default();
    }
}
