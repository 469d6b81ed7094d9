//! Files that appear whole or not at all: what a folder needs of the operating system, blocking.
//!
//! A file is written under a hidden temporary name beside its own, synced, and only then given its name; the folder is
//! synced after that, so that the name outlives a power cut. Nothing here knows of keys, records or URLs.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::staging::layout;
use crate::staging::sums::{Algorithm, Sum};

/// How much of a file is in memory while it is read.
const PIECE: usize = 1 << 20;

/// A file on its way, under its temporary name. Dropped before it was published or is to be kept, it leaves nothing behind.
#[derive(Debug)]
pub(super) struct Temporary {
    file: File,
    path: PathBuf,
    target: PathBuf,
    /// The file stays when this is dropped.
    stays: AtomicBool,
}

impl Temporary {
    /// Opens a temporary file beside `target`, whose folder is made where it is missing.
    pub(super) fn beside(target: &Path) -> io::Result<Self> {
        Self::named(target, &new_id())
    }

    /// The same, under a name that another process can find again.
    pub(super) fn named(target: &Path, id: &str) -> io::Result<Self> {
        make_folder(parent(target)?)?;
        let path = hidden(target, &format!("{id}.tmp"))?;
        loop {
            let file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(&path)?;
            let named = Self::at(target, path.clone(), file);
            // Before it was ours, it could be taken for one that is left.
            if named.claim()? && fs::exists(&path)? {
                return Ok(named);
            }
        }
    }

    /// Opens a temporary file that another process has left; `None` where there is none, or where its process still has it.
    pub(super) fn left(target: &Path, id: &str) -> io::Result<Option<Self>> {
        let path = hidden(target, &format!("{id}.tmp"))?;
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let left = Self::at(target, path, file);
        left.keep();
        Ok(left.claim()?.then_some(left))
    }

    fn at(target: &Path, path: PathBuf, file: File) -> Self {
        Self {
            file,
            path,
            target: target.to_owned(),
            stays: AtomicBool::new(false),
        }
    }

    /// Keeps other processes from this file until ours has ended. `false` says that another has it.
    pub(super) fn claim(&self) -> io::Result<bool> {
        match self.file.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            // Without locks, a record's sum is what tells that two have written.
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Lets the file stay for another process to go on with.
    pub(super) fn keep(&self) {
        self.stays.store(true, Ordering::Release);
    }

    /// Removes the file, whoever might have wanted it.
    pub(super) fn discard(&self) -> io::Result<()> {
        self.keep();
        fs::remove_file(&self.path)
    }

    pub(super) fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    /// Brings what was written to the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// The sum of the bytes of a part, as far as they are there. Only a piece of it is in memory.
    pub(super) fn sum(&self, algorithm: Algorithm, offset: u64, size: u64) -> io::Result<Sum> {
        let mut piece = vec![0; PIECE];
        let mut sum = Sum::empty(algorithm);
        while sum.length < size {
            let rest = usize::try_from(size - sum.length).unwrap_or(usize::MAX);
            let room = rest.min(PIECE);
            let at = offset.saturating_add(sum.length);
            match self.file.read_at(&mut piece[..room], at) {
                Ok(0) => break,
                Ok(read) => sum = sum.and(Sum::of(algorithm, &piece[..read])),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(sum)
    }

    pub(super) fn cut(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    /// Gives the file its name. `false` says that another file has it already and stays, which only `replace` overrules.
    pub(super) fn publish(&self, replace: bool) -> io::Result<bool> {
        self.file.sync_all()?;
        if replace {
            fs::rename(&self.path, &self.target)?;
        } else if !self.take_free_name()? {
            return Ok(false);
        }
        self.keep();
        sync_folder(parent(&self.target)?)?;
        Ok(true)
    }

    /// Takes the name if nobody has it. A link does that in one step; a file system without links (FAT, some network
    /// file systems) gets a lock around the question and the answer.
    fn take_free_name(&self) -> io::Result<bool> {
        match fs::hard_link(&self.path, &self.target) {
            Ok(()) => fs::remove_file(&self.path).map(|()| true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(error) if no_links(&error) => under_lock(&self.target, || {
                if fs::exists(&self.target)? {
                    return Ok(false);
                }
                fs::rename(&self.path, &self.target).map(|()| true)
            }),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.stays.load(Ordering::Acquire) {
            // Best effort: a name that Pathling does not read is all that can stay behind.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes a file if it is a temporary one that no process has in its hands. Where nothing can be locked, nobody knows.
pub(super) fn remove_left(path: &Path) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    if !(name.starts_with(b".") && name.ends_with(b".tmp")) {
        return Ok(());
    }
    let removed = OpenOptions::new().write(true).open(path).and_then(|file| {
        let nobodys = file.try_lock().is_ok();
        if nobodys {
            fs::remove_file(path)
        } else {
            Ok(())
        }
    });
    match removed {
        // It was given its name, or removed, in the meantime.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// What tells one temporary file from another.
pub(super) fn new_id() -> String {
    Uuid::new_v4().simple().to_string()
}

/// Whether there is a temporary file of that id.
pub(super) fn is_there(target: &Path, id: &str) -> io::Result<bool> {
    fs::exists(hidden(target, &format!("{id}.tmp"))?)
}

/// Replaces a file whose content still has the version that the caller read. `false` says that it has another by now, or
/// is gone.
pub(super) fn swap(target: &Path, expected: &str, bytes: &[u8]) -> io::Result<bool> {
    under_lock(target, || {
        match fs::read(target) {
            Ok(current) if version(&current) == expected => {}
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        }
        let temporary = Temporary::beside(target)?;
        temporary.write_at(0, bytes)?;
        temporary.publish(true)
    })
}

/// Removes a file whose content still has the version that the caller read.
pub(super) fn remove_still(target: &Path, expected: &str) -> io::Result<()> {
    under_lock(target, || match fs::read(target) {
        Ok(current) if version(&current) == expected => fs::remove_file(target),
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    })
}

/// What tells one content of a file from another.
pub(super) fn version(bytes: &[u8]) -> String {
    layout::hex(32, Sha256::new_with_prefix(bytes))
}

/// Makes a folder and all above it, and syncs the folders that gained a name.
pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let above: Vec<&Path> = folder
        .ancestors()
        .skip(1)
        .take_while(|path| !path.is_dir())
        .collect();
    fs::create_dir_all(folder)?;
    for made in above {
        sync_folder(made)?;
    }
    // The nearest folder that was there before gained a name too.
    let made = folder
        .ancestors()
        .skip(1)
        .find(|path| !path.as_os_str().is_empty());
    made.map_or(Ok(()), sync_folder)
}

/// Runs `change` while no other process that asks for the same lock does. The empty lock file stays behind: to remove it
/// would let two processes hold locks on two files of one name.
fn under_lock<T>(target: &Path, change: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    static SAID: Once = Once::new();
    let path = hidden(target, "lock")?;
    let lock = OpenOptions::new().create(true).append(true).open(path)?;
    match lock.lock() {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            SAID.call_once(|| {
                tracing::warn!(
                    file = %target.display(),
                    "the file system of STAGING_URL has no locks: let only one process at a time use it"
                );
            });
        }
        Err(error) => return Err(error),
    }
    // The lock ends when its file is closed, whatever happens inside.
    change()
}

fn no_links(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Unsupported
            | ErrorKind::PermissionDenied
            | ErrorKind::TooManyLinks
            | ErrorKind::CrossesDevices
    )
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn parent(target: &Path) -> io::Result<&Path> {
    target.parent().ok_or_else(|| nameless(target))
}

/// `.<name>.<ending>` beside the target.
fn hidden(target: &Path, ending: &str) -> io::Result<PathBuf> {
    let mut name = OsString::from(".");
    name.push(target.file_name().ok_or_else(|| nameless(target))?);
    name.push(".");
    name.push(ending);
    Ok(target.with_file_name(name))
}

fn nameless(target: &Path) -> io::Error {
    io::Error::new(
        ErrorKind::InvalidInput,
        format!("{} is no file's name", target.display()),
    )
}
