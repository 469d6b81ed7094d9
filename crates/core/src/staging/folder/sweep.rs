//! What processes that died have left under temporary names.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::{Folder, blocking, disk, fault};
use crate::error::Result;
use crate::staging::layout;

impl Folder {
    /// See [`crate::staging::Staging::sweep`]. What is beside the runs, our own small files, is swept too.
    pub(in crate::staging) async fn sweep(&self, below: &str) -> Result<()> {
        let run = self.path(below)?;
        let beside = [self.root.clone(), self.root.join(layout::SYNC)];
        let swept = blocking(move || {
            let mut folders = beside.into_iter().chain(folders(run));
            folders.try_for_each(|folder| sweep(&folder))
        });
        swept.await.map_err(|error| fault(&error, &self.root))
    }
}

/// A folder and those in it: a run's folder is no deeper.
fn folders(folder: PathBuf) -> Vec<PathBuf> {
    let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    folders.retain(|path| path.is_dir());
    folders.push(folder);
    folders
}

/// Removes the temporary files of a folder that no process has in its hands.
fn sweep(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        disk::remove_left(&entry?.path())?;
    }
    Ok(())
}
