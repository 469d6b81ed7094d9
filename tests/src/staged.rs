//! Staging compared with what the source has, byte by byte, however large it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use sandbox::{Sandbox, SourceFile};

/// The files of resources in staging, by run and by their index in the manifest.
type Files = BTreeMap<String, BTreeMap<usize, StagedFile>>;

/// One staged file of resources.
#[derive(Clone, Debug)]
pub struct StagedFile {
    /// Its key below `STAGING_URL`.
    pub key: String,
    /// The type whose folder it is in.
    pub resource_type: String,
    /// Where it is on disk.
    pub path: PathBuf,
}

/// The sandbox's `STAGING_URL`, as a folder on disk.
#[must_use]
pub fn staging_folder(sandbox: &Sandbox) -> PathBuf {
    let url = sandbox.staging_url();
    let prefix = url.splitn(4, '/').nth(3).unwrap_or_default();
    sandbox.bucket().join(prefix)
}

/// One run is staged, and it holds every file of the newest export that has a resource: whole, byte for byte, once. And
/// nothing else is there.
pub fn assert_staged(sandbox: &Sandbox) {
    assert_staged_in(sandbox, &staging_folder(sandbox));
}

/// The same of a folder.
pub fn assert_staged_in(sandbox: &Sandbox, staging: &Path) {
    let files = only_run(staging);
    let wanted = sandbox.source_files();
    assert!(!wanted.is_empty(), "the source has exported nothing");
    for (index, file) in wanted.iter().enumerate() {
        let staged = files.get(&index);
        if file.count == 0 {
            assert!(
                staged.is_none(),
                "{} has no resource: {staged:?}",
                file.name
            );
            continue;
        }
        let staged = staged.unwrap_or_else(|| panic!("{} is not staged", file.name));
        assert_eq!(staged.resource_type, file.resource_type, "{}", staged.key);
        assert_same(staged, file);
    }
    let beyond = files.range(wanted.len()..).next();
    assert!(beyond.is_none(), "more than there should be: {beyond:?}");
}

/// The files of the one run that is staged, by their index in the manifest.
#[must_use]
pub fn only_run(staging: &Path) -> BTreeMap<usize, StagedFile> {
    let mut runs = runs(staging);
    assert!(runs.len() <= 1, "more than one run is staged: {runs:?}");
    runs.pop_first().map(|(_, files)| files).unwrap_or_default()
}

/// The names of the files of the newest export that are staged.
#[must_use]
pub fn complete(sandbox: &Sandbox, staging: &Path) -> BTreeSet<String> {
    let staged = only_run(staging);
    let files = sandbox.source_files().into_iter().enumerate();
    files
        .filter(|(index, _)| staged.contains_key(index))
        .map(|(_, file)| file.name)
        .collect()
}

fn runs(staging: &Path) -> Files {
    let mut found = Files::new();
    for run in folders(&staging.join("runs")) {
        for folder in folders(&run) {
            let resource_type = name(&folder);
            if resource_type.starts_with('_') {
                continue;
            }
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                let path = entry.path();
                let file = name(&path);
                // What is hidden is not there yet.
                if file.starts_with('.') {
                    continue;
                }
                let index = file.split('-').next().and_then(|index| index.parse().ok());
                let index =
                    index.unwrap_or_else(|| panic!("{} is no staged file's name", path.display()));
                let staged = StagedFile {
                    key: format!("runs/{}/{resource_type}/{file}", name(&run)),
                    resource_type: resource_type.clone(),
                    path,
                };
                let files = found.entry(name(&run)).or_default();
                let twice = files.insert(index, staged);
                assert!(
                    twice.is_none(),
                    "output {index} is staged twice: {twice:?} and {files:?}"
                );
            }
        }
    }
    found
}

fn folders(of: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(of).into_iter().flatten().flatten();
    let mut folders: Vec<_> = entries.map(|entry| entry.path()).collect();
    folders.retain(|path| path.is_dir());
    folders.sort();
    folders
}

fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// The staged bytes are the source's.
fn assert_same(staged: &StagedFile, source: &SourceFile) {
    let mut file = File::open(&staged.path).expect("a staged file can be read");
    let length = file.metadata().expect("it has a length").len();
    assert_eq!(length, source.length(), "the length of {}", staged.key);
    let mut at = 0;
    let mut found = Vec::new();
    for piece in source.pieces() {
        found.resize(piece.len(), 0);
        file.read_exact(&mut found)
            .expect("as many bytes as the source has");
        if found != piece {
            let differs = found
                .iter()
                .zip(&piece)
                .position(|(one, other)| one != other);
            let differs = at + differs.unwrap_or_default();
            panic!(
                "{} differs from {} at byte {differs}",
                staged.key, source.name
            );
        }
        at += piece.len();
    }
}

/// Nothing hidden lies below a folder that has a byte: a lock is an empty file that stays.
pub fn assert_nothing_temporary(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let length = entry.metadata().map_or(0, |metadata| metadata.len());
        if path.is_dir() {
            assert_nothing_temporary(&path);
        } else if name(&path).starts_with('.') {
            assert_eq!(length, 0, "{} was left", path.display());
        }
    }
}

/// The bytes of all files below a folder, hidden ones too.
#[must_use]
pub fn bytes_below(folder: &Path) -> u64 {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        // What is gone by now has none.
        bytes += match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        };
    }
    bytes
}

/// S3 has no upload open. What a process that was killed had asked of S3 may take it a moment yet.
pub async fn assert_no_upload_open(sandbox: &Sandbox) {
    let bucket = sandbox.bucket();
    let store = bucket.parent().expect("the bucket lies in the store");
    // Where s3s keeps uploads; their parts are `.upload_id-` and a number.
    let open = || {
        let entries = std::fs::read_dir(store).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with(".upload-"))
    };
    for _ in 0..200 {
        if open().next().is_none() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let open: Vec<String> = open().collect();
    panic!("uploads were left open: {open:?}");
}

/// What makes one file on disk another one than before: a name that is given anew is another file.
type Identity = (u64, u64, i64, i64);

/// Looks at a folder again and again, and notes what changes that must not: whoever reads a staged file reads the same
/// bytes for ever.
#[derive(Debug, Default)]
pub struct Unchanging(BTreeMap<String, Identity>);

impl Unchanging {
    /// Looks once more; panics where a file that was there is gone or another one.
    pub fn look(&mut self, staging: &Path) {
        let mut now = BTreeMap::new();
        for file in runs(staging).into_values().flat_map(BTreeMap::into_values) {
            // It cannot be gone: nobody takes a file away.
            let metadata = std::fs::metadata(&file.path).expect("a staged file stays");
            let identity = (
                metadata.ino(),
                metadata.len(),
                metadata.mtime(),
                metadata.mtime_nsec(),
            );
            now.insert(file.key, identity);
        }
        for (key, before) in &self.0 {
            assert_eq!(now.get(key), Some(before), "{key} was changed");
        }
        self.0 = now;
    }

    /// Looks every few milliseconds until `work` is done, and once more then.
    pub async fn during<T>(&mut self, staging: &Path, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => {
                    self.look(staging);
                    return done;
                }
                () = tokio::time::sleep(std::time::Duration::from_millis(10)) => self.look(staging),
            }
        }
    }
}
