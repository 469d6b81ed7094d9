//! What lies below a prefix.

use super::Store;
use super::fault::Fault;
use crate::error::Result;
use crate::staging::Listed;

const LIST: &str = "s3:ListBucket";

impl Store {
    /// See [`crate::staging::Staging::list`].
    pub(in crate::staging) async fn list(&self, prefix: &str) -> Result<Option<Vec<Listed>>> {
        let mut listed = Vec::new();
        let mut next = None;
        loop {
            let page = self
                .client
                .list_objects_v2()
                .bucket(&self.bucket)
                .prefix(self.name(prefix))
                .set_continuation_token(next)
                .send()
                .await;
            let page = match page.map_err(Fault::from) {
                Ok(page) => page,
                Err(fault) if fault.not_offered() => return Ok(None),
                Err(fault) => return Err(self.error(&fault, prefix, LIST)),
            };
            next = page.next_continuation_token;
            for object in page.contents.unwrap_or_default() {
                if let Some(key) = object.key.as_deref().and_then(|name| self.key(name)) {
                    listed.push(Listed {
                        key: key.to_owned(),
                        size: super::size(object.size),
                    });
                }
            }
            if next.is_none() {
                return Ok(Some(listed));
            }
        }
    }

    /// The key of an object by its name in the bucket.
    pub(super) fn key<'a>(&self, name: &'a str) -> Option<&'a str> {
        if self.prefix.is_empty() {
            return Some(name);
        }
        name.strip_prefix(&self.prefix)?.strip_prefix('/')
    }
}
