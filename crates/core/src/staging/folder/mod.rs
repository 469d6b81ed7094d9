//! Staging in a local folder: the same promises as S3's, kept with temporary names, links and locks.
//!
//! Blocking work runs on the runtime's threads for it; what it consists of is in [`disk`].

mod disk;
mod listing;
mod parts;
mod stream;
mod sweep;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;

use self::disk::Temporary;
pub(super) use self::parts::Parts;
use super::{Created, Head, Object, Replaced, Version};
use crate::config::Place;
use crate::error::{Error, Kind, Result};
use crate::limits;

/// A folder that files rest in.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
}

impl Folder {
    /// A folder for who only looks at what is there. One that is missing is empty.
    pub(super) fn at(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// Opens a folder, which is made where it is missing, and sees that it can be written.
    pub(super) async fn open(root: &Path) -> Result<Self> {
        let folder = Self::at(root);
        let root = root.to_owned();
        blocking(move || {
            disk::make_folder(&root)?;
            Temporary::beside(&root.join("probe")).map(drop)
        })
        .await
        .map_err(|error| fault(&error, &folder.root))?;
        Ok(folder)
    }

    pub(super) async fn head(&self, key: &str) -> Result<Option<Head>> {
        let path = self.path(key)?;
        let at = path.clone();
        let found = blocking(move || there(fs::metadata(&at))).await;
        let found = found.map_err(|error| fault(&error, &path))?;
        Ok(found.filter(fs::Metadata::is_file).map(|found| Head {
            size: found.len(),
            etag: None,
            metadata: BTreeMap::new(),
        }))
    }

    pub(super) async fn read(&self, key: &str) -> Result<Option<Object>> {
        let path = self.path(key)?;
        let at = path.clone();
        let found = blocking(move || {
            Ok(there(fs::read(&at))?.map(|bytes| Object {
                version: Version(disk::version(&bytes)),
                bytes: bytes.into(),
            }))
        });
        found.await.map_err(|error| fault(&error, &path))
    }

    pub(super) async fn create(&self, key: &str, bytes: Bytes) -> Result<Created> {
        let path = self.path(key)?;
        loop {
            let (at, bytes) = (path.clone(), bytes.clone());
            let created = blocking(move || {
                let temporary = Temporary::beside(&at)?;
                temporary.write_at(0, &bytes)?;
                let created = temporary.publish(false)?;
                Ok(created.then(|| Version(disk::version(&bytes))))
            });
            if let Some(version) = created.await.map_err(|error| fault(&error, &path))? {
                return Ok(Created::New(version));
            }
            // It was there a moment ago; if it is not now, the name is free again.
            if let Some(object) = self.read(key).await? {
                return Ok(Created::Exists(object));
            }
            let at = path.clone();
            let link = blocking(move || there(fs::symlink_metadata(&at))).await;
            let link = link.map_err(|error| fault(&error, &path))?;
            if link.is_some_and(|found| found.is_symlink()) {
                let url = Place::Folder(path.clone()).to_string();
                return Err(leads_nowhere(&url));
            }
        }
    }

    pub(super) async fn replace(
        &self,
        key: &str,
        bytes: Bytes,
        version: &Version,
    ) -> Result<Replaced> {
        let path = self.path(key)?;
        let (at, expected) = (path.clone(), version.0.clone());
        let swapped = blocking(move || {
            let swapped = disk::swap(&at, &expected, &bytes)?;
            Ok(swapped.then(|| Version(disk::version(&bytes))))
        });
        let swapped = swapped.await.map_err(|error| fault(&error, &path))?;
        Ok(swapped.map_or(Replaced::Conflict, Replaced::Done))
    }

    pub(super) async fn remove(&self, key: &str, version: Option<&Version>) -> Result<()> {
        let path = self.path(key)?;
        let (at, expected) = (path.clone(), version.map(|version| version.0.clone()));
        let removed = blocking(move || match expected {
            Some(expected) => disk::remove_still(&at, &expected),
            None => there(fs::remove_file(&at)).map(drop),
        });
        removed.await.map_err(|error| fault(&error, &path))
    }

    /// Where a key's file is. Keys hold names that came from servers, so one that leaves the folder goes no further.
    fn path(&self, key: &str) -> Result<PathBuf> {
        let inside = !key.is_empty()
            && Path::new(key)
                .components()
                .all(|part| matches!(part, Component::Normal(_)));
        if inside {
            return Ok(self.root.join(key));
        }
        Err(Kind::Input
            .error(format!("{key:?} is no name of a staged file"))
            .next("Pass the previous step's output to this step, unchanged."))
    }
}

/// The name is taken, for a file could not get it; yet there is no file.
pub(super) fn leads_nowhere(url: &str) -> Error {
    Kind::StagingDenied
        .error(format!(
            "{url} is there, but is no file: a symbolic link that leads nowhere, or a folder"
        ))
        .next("Remove it, and start again: the run goes on.")
}

/// An absent file is an answer, not an error.
fn there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(stopped) => Err(io::Error::other(stopped)),
    }
}

/// What an error of the operating system means to the person who set `STAGING_URL`.
fn fault(error: &io::Error, path: &Path) -> Error {
    let url = Place::Folder(path.to_owned());
    let denied = |what: &str, next: &'static str| {
        Kind::StagingDenied
            .error(format!("{url}: {what} ({error})"))
            .next(next)
    };
    if limits::reached(error) {
        return denied("no more files can be opened", limits::ADVICE);
    }
    match error.kind() {
        ErrorKind::PermissionDenied => denied(
            "permission denied",
            "Let the user that this program runs as read and write the folder of STAGING_URL.",
        ),
        ErrorKind::ReadOnlyFilesystem => denied(
            "the file system is read-only",
            "Mount it for writing, or set STAGING_URL to a folder that can be written.",
        ),
        ErrorKind::FileTooLarge => denied(
            "the file would be larger than allowed here",
            "Raise the limit of file sizes (ulimit -f, LimitFSIZE= of systemd), or set STAGING_URL to a file system that holds larger files, and start again: files that are complete are not fetched twice.",
        ),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => denied(
            "no room is left",
            "Make room (old folders below runs/ may go) and start again: files that are complete are not fetched twice.",
        ),
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists | ErrorKind::IsADirectory => denied(
            "a file is where a folder should be, or a folder where a file should be",
            "Set STAGING_URL to a folder.",
        ),
        ErrorKind::NotFound | ErrorKind::InvalidInput | ErrorKind::InvalidFilename => denied(
            "the folder cannot be made",
            "Set STAGING_URL to a folder that exists or can be made.",
        ),
        _ => Kind::StagingUnavailable.error(format!("{url}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_must_mend_is_denied_and_what_may_pass_is_unavailable() {
        for kind in [
            ErrorKind::PermissionDenied,
            ErrorKind::ReadOnlyFilesystem,
            ErrorKind::StorageFull,
            ErrorKind::QuotaExceeded,
            ErrorKind::FileTooLarge,
            ErrorKind::NotADirectory,
        ] {
            let error = fault(&kind.into(), Path::new("/staging/runs"));
            assert_eq!(error.kind(), Kind::StagingDenied, "{error}");
            assert!(
                error.what().starts_with("file:///staging/runs: "),
                "{error}"
            );
        }
        for (code, words) in [(24, "ulimit -n"), (27, "ulimit -f")] {
            let error = fault(&io::Error::from_raw_os_error(code), Path::new("/staging"));
            assert_eq!(error.kind(), Kind::StagingDenied, "{error}");
            assert!(error.advice().contains(words), "{error}");
        }
        let error = fault(&ErrorKind::TimedOut.into(), Path::new("/staging"));
        assert_eq!(error.kind(), Kind::StagingUnavailable);
    }
}
