//! What lies below a prefix.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use super::{Folder, blocking, fault};
use crate::error::Result;
use crate::staging::Listed;

impl Folder {
    /// See [`crate::staging::Staging::list`]. Hidden names, which are temporary files and locks, are not listed.
    pub(in crate::staging) async fn list(&self, prefix: &str) -> Result<Vec<Listed>> {
        let (above, _) = prefix.rsplit_once('/').unwrap_or(("", prefix));
        let folder = match above {
            "" => self.root.clone(),
            above => self.path(above)?,
        };
        let (root, at, prefix) = (self.root.clone(), folder.clone(), prefix.to_owned());
        let listed = blocking(move || {
            let mut listed = Vec::new();
            collect(&root, &at, &prefix, &mut listed)?;
            Ok(listed)
        });
        listed.await.map_err(|error| fault(&error, &folder))
    }
}

fn collect(root: &Path, folder: &Path, prefix: &str, listed: &mut Vec<Listed>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        // What is removed while we look is not there.
        let (false, Ok(found)) = (hidden, fs::metadata(entry.path())) else {
            continue;
        };
        let path = entry.path();
        if found.is_dir() {
            collect(root, &path, prefix, listed)?;
            continue;
        }
        // A name that is no text is none of ours, but whoever looks for strangers wants to see it.
        let key = path.strip_prefix(root).map(Path::to_string_lossy);
        let Some(key) = key.ok().filter(|key| key.starts_with(prefix)) else {
            continue;
        };
        listed.push(Listed {
            key: key.into_owned(),
            size: found.len(),
        });
    }
    Ok(())
}
