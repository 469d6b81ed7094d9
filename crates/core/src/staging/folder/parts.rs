//! A file on its way into the folder, whose parts are written at their places, in any order and side by side.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use tokio::sync::OnceCell;

use super::disk::{self, Temporary};
use super::{Folder, blocking, fault};
use crate::error::Result;
use crate::staging::under_way::Part;

/// A file that is on its way.
#[derive(Debug)]
pub(in crate::staging) struct Parts {
    folder: PathBuf,
    key: String,
    /// The temporary file's id, once it is begun.
    id: OnceLock<String>,
    begun: OnceCell<Arc<Temporary>>,
}

impl Folder {
    /// Begins a file.
    pub(in crate::staging) fn parts(&self, key: &str) -> Parts {
        Parts {
            folder: self.root.clone(),
            key: key.to_owned(),
            id: OnceLock::new(),
            begun: OnceCell::new(),
        }
    }

    /// Goes on with a file that another process has left; `None` where it is gone or another process has it.
    pub(in crate::staging) async fn parts_left(
        &self,
        key: &str,
        id: &str,
    ) -> Result<Option<Parts>> {
        // It came out of a file, and becomes a name.
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Ok(None);
        }
        let target = self.path(key)?;
        let (at, name) = (target.clone(), id.to_owned());
        let left = blocking(move || Temporary::left(&at, &name)).await;
        let left = left.map_err(|error| fault(&error, &target))?;
        Ok(left.map(|left| Parts {
            id: OnceLock::from(id.to_owned()),
            begun: OnceCell::new_with(Some(Arc::new(left))),
            ..self.parts(key)
        }))
    }

    /// Whether a process is at work on a temporary file. One that is nobody's any more is removed.
    pub(in crate::staging) async fn taken(&self, key: &str, id: &str) -> Result<bool> {
        if let Some(nobodys) = self.parts_left(key, id).await? {
            nobodys.abort().await;
            return Ok(false);
        }
        let target = self.path(key)?;
        let (at, name) = (target.clone(), id.to_owned());
        let there = blocking(move || disk::is_there(&at, &name));
        there.await.map_err(|error| fault(&error, &target))
    }
}

impl Parts {
    fn target(&self) -> Result<PathBuf> {
        let folder = Folder {
            root: self.folder.clone(),
        };
        folder.path(&self.key)
    }

    async fn temporary(&self, target: &Path) -> Result<&Arc<Temporary>> {
        let begin = || async {
            let (at, id) = (target.to_owned(), disk::new_id());
            let name = id.clone();
            let begun = blocking(move || Temporary::named(&at, &name)).await;
            let begun = begun.map_err(|error| fault(&error, target))?;
            let _ = self.id.set(id);
            Ok(Arc::new(begun))
        };
        self.begun.get_or_try_init(begin).await
    }

    /// What tells the temporary file from others, once it is begun.
    pub(in crate::staging) fn id(&self) -> Option<&str> {
        self.id.get().map(String::as_str)
    }

    /// Begins the temporary file where that is still to be done, and says whether it was.
    pub(in crate::staging) async fn begin(&self) -> Result<bool> {
        let begun = self.begun.initialized();
        self.temporary(&self.target()?).await?;
        Ok(!begun)
    }

    /// Those of the parts, from the first, whose bytes are what was written down of them: a disk that lost power, or a person,
    /// may have left others.
    pub(in crate::staging) async fn whole(&self, parts: Vec<Part>) -> Result<Vec<Part>> {
        let target = self.target()?;
        let temporary = Arc::clone(self.temporary(&target).await?);
        let found = blocking(move || {
            let mut whole = Vec::with_capacity(parts.len());
            for part in parts {
                let Some(told) = part.sum else { break };
                if temporary.sum(told.algorithm, part.offset, part.size)? != told {
                    break;
                }
                whole.push(part);
            }
            Ok(whole)
        });
        found.await.map_err(|error| fault(&error, &target))
    }

    /// Writes a part at its place.
    pub(in crate::staging) async fn part(&self, offset: u64, body: Bytes) -> Result<()> {
        let target = self.target()?;
        let temporary = Arc::clone(self.temporary(&target).await?);
        let written = blocking(move || temporary.write_at(offset, &body));
        written.await.map_err(|error| fault(&error, &target))
    }

    /// Brings all that was written to the disk.
    pub(in crate::staging) async fn sync(&self) -> Result<()> {
        let Some(temporary) = self.begun.get().cloned() else {
            return Ok(());
        };
        let synced = blocking(move || temporary.sync()).await;
        synced.map_err(|error| fault(&error, &self.folder))
    }

    /// Gives the file, of this length, its name. `false` says that another file has it, which only `replace` overrules.
    pub(in crate::staging) async fn complete(&self, length: u64, replace: bool) -> Result<bool> {
        let target = self.target()?;
        let temporary = Arc::clone(self.temporary(&target).await?);
        let published = blocking(move || {
            // Parts of an earlier attempt may lie behind the end of this one.
            temporary.cut(length)?;
            temporary.publish(replace)
        });
        published.await.map_err(|error| fault(&error, &target))
    }

    /// Gives up the file.
    pub(in crate::staging) async fn abort(&self) {
        if let Some(temporary) = self.begun.get().cloned() {
            let _ = blocking(move || temporary.discard()).await;
        }
    }

    /// Lets the file stay for another process, or not, when this is dropped.
    pub(in crate::staging) fn leave(&self, stays: bool) {
        if let Some(temporary) = self.begun.get() {
            if stays {
                temporary.keep();
            } else {
                let _ = temporary.discard();
            }
        }
    }
}
