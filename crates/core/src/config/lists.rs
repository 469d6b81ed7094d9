//! Settings that are lists.

use super::Origin;
use super::parse::list;
use super::read::Reader;
use super::table::Setting;

impl Reader {
    pub(super) fn origins(&mut self, name: &'static str) -> Vec<Origin> {
        let parse = |_: &Setting, text: &str| {
            list(text)
                .map(|item| Origin::parse(item).map_err(Some))
                .collect()
        };
        self.parsed(name, parse).unwrap_or_default()
    }

    /// The items of a list, each as `parse` takes it; one that it does not take makes the whole wrong.
    pub(super) fn items(
        &mut self,
        name: &'static str,
        separator: impl Fn(char) -> bool,
        parse: impl Fn(&str) -> Option<String>,
    ) -> Vec<String> {
        let all = |_: &Setting, text: &str| {
            text.split(separator)
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(|item| parse(item).ok_or(None))
                .collect()
        };
        self.parsed(name, all).unwrap_or_default()
    }

    pub(super) fn types(&mut self, name: &'static str) -> Vec<String> {
        let parse = |_: &Setting, text: &str| {
            if list(text).next().is_none() {
                // Nothing but commas: all types would come, which nobody meant.
                return Err(None);
            }
            list(text)
                .map(|item| {
                    if crate::manifest::is_type_name(item) {
                        Ok(item.to_owned())
                    } else {
                        Err(None)
                    }
                })
                .collect()
        };
        self.parsed(name, parse).unwrap_or_default()
    }
}
