//! To be deleted when `Staging::list` is merged.

use std::fs;

use super::Staging;
use crate::config::Place;
use crate::error::{Kind, Result};

/// An object of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its key.
    pub key: String,
    /// Its length in bytes.
    pub size: u64,
}

impl Staging {
    /// All objects whose keys begin with `prefix`.
    pub async fn list(&self, prefix: &str) -> Result<Option<Vec<Listed>>> {
        let Place::Folder(root) = self.place() else {
            return Ok(None);
        };
        tokio::task::yield_now().await;
        let mut listed = Vec::new();
        let mut folders = vec![root.join(prefix)];
        let failed = |error: std::io::Error| Kind::StagingUnavailable.error(error.to_string());
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten() {
                let path = entry.map_err(failed)?.path();
                let size = fs::metadata(&path).map_err(failed)?.len();
                match path.strip_prefix(root) {
                    Ok(key) if !path.is_dir() => listed.push(Listed {
                        key: key.to_string_lossy().into_owned(),
                        size,
                    }),
                    _ => folders.push(path),
                }
            }
        }
        Ok(Some(listed))
    }
}
