//! A manifest that comes in pages, put together to one (Bulk Data Access IG 3, "Response - Complete Status", `link`).
//!
//! The pages are of one export and in order, so the whole is what a server without pages would have sent: the members of the
//! first page, and of each list all that any page has. What a run stages is named by its place in that whole.

use bytes::Bytes;
use serde_json::{Map, Value};
use url::Url;

use super::{LIMIT, read, too_large, without_mark};
use crate::error::Result;

/// The members whose items every page has some of.
const LISTS: [&str; 4] = ["output", "deleted", "error", "outcome"];

/// Pages so far. Of the items no more is held than their text.
#[derive(Debug, Default)]
pub struct Pages {
    /// What the first page says beside its lists.
    members: Map<String, Value>,
    /// The lists' items as JSON, with a comma after each.
    lists: [Option<Vec<u8>>; LISTS.len()],
    begun: bool,
}

impl Pages {
    /// Adds the next page's text, which was found at `base` and is a manifest by itself.
    ///
    /// Gives [`crate::Kind::Manifest`] where it is of another export than the first, or where all is too large.
    pub fn add(&mut self, text: &[u8], base: &Url) -> Result<()> {
        let page: Map<String, Value> = serde_json::from_slice(without_mark(text))
            .map_err(|error| read::wrong(&error.to_string()))?;
        let is_first = !std::mem::replace(&mut self.begun, true);
        for (name, value) in page {
            if let Some(place) = LISTS.iter().position(|list| *list == name)
                && let Value::Array(items) = value
            {
                let list = self.lists[place].get_or_insert_default();
                for item in items {
                    append(list, item, base)?;
                }
            } else if is_first && name != "link" {
                self.members.insert(name, value);
            } else if name == "transactionTime" && self.members.get(&name) != Some(&value) {
                return Err(read::wrong(
                    "its pages are of different exports: they do not have the same transactionTime",
                ));
            }
        }
        let size: usize = self.lists.iter().flatten().map(Vec::len).sum();
        if size > LIMIT {
            return Err(too_large());
        }
        Ok(())
    }

    /// The whole manifest's text.
    pub fn text(self) -> Result<Bytes> {
        let mut text =
            serde_json::to_vec(&self.members).map_err(|error| read::wrong(&error.to_string()))?;
        text.pop();
        for (name, list) in LISTS.iter().zip(self.lists) {
            let Some(list) = list else { continue };
            if text.len() > 1 {
                text.push(b',');
            }
            text.extend_from_slice(format!("\"{name}\":[").as_bytes());
            text.extend_from_slice(list.strip_suffix(b",").unwrap_or(&list));
            text.push(b']');
        }
        text.push(b'}');
        Ok(text.into())
    }
}

/// Adds an item to a list. Its URL may be relative to its own page, and the whole is found elsewhere.
fn append(list: &mut Vec<u8>, mut item: Value, base: &Url) -> Result<()> {
    if let Some(Value::String(url)) = item.get_mut("url")
        && !url.is_empty()
        && Url::parse(url).is_err()
        && let Ok(absolute) = read::joined(url, Some(base))
    {
        *url = absolute.into();
    }
    serde_json::to_writer(&mut *list, &item).map_err(|error| read::wrong(&error.to_string()))?;
    list.push(b',');
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::error::Kind;

    fn base(page: u32) -> Url {
        Url::parse(&format!("https://h/jobs/1/{page}/")).unwrap()
    }

    fn joined(pages: &[Value]) -> Result<Value> {
        let mut all = Pages::default();
        for (number, page) in (1..).zip(pages) {
            all.add(page.to_string().as_bytes(), &base(number))?;
        }
        Ok(serde_json::from_slice(&all.text()?).unwrap())
    }

    #[test]
    fn pages_are_one_manifest_with_all_their_files_in_order() {
        let pages = [
            json!({"transactionTime": "t", "request": "r", "output": [{"url": "a"}],
                "link": [{"relation": "next", "url": "2"}], "vendor": 1}),
            json!({"transactionTime": "t", "request": "other", "error": [{"url": "e"}], "output": [], "vendor": 2}),
            json!({"transactionTime": "t", "output": [{"url": "https://f/b"}, {"url": "c"}]}),
        ];
        let whole = json!({"transactionTime": "t", "request": "r", "vendor": 1,
            "output": [{"url": "https://h/jobs/1/1/a"}, {"url": "https://f/b"}, {"url": "https://h/jobs/1/3/c"}],
            "error": [{"url": "https://h/jobs/1/2/e"}]});
        assert_eq!(joined(&pages).unwrap(), whole);
    }

    #[test]
    fn pages_of_two_exports_are_no_manifest() {
        let error = joined(&[
            json!({"transactionTime": "t"}),
            json!({"transactionTime": "u"}),
        ]);
        let error = error.unwrap_err();
        assert_eq!(error.kind(), Kind::Manifest);
        assert!(error.what().contains("different exports"), "{error}");
    }

    #[test]
    fn what_is_no_page_is_an_error_and_no_panic() {
        for text in [&b""[..], b"[]", b"null", b"{", b"\xff"] {
            assert!(Pages::default().add(text, &base(1)).is_err());
        }
        for odd in [
            json!({"output": 1}),
            json!({"output": [1, null, {"url": 3}]}),
        ] {
            assert!(joined(&[odd.clone(), odd]).is_ok());
        }
        assert_eq!(joined(&[]).unwrap(), json!({}));
    }
}
