//! Whether what the mover left in S3 is what the source holds, byte for byte.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use super::ask::Connection;
use crate::Outcome;
use crate::corpus::type_of;
use crate::spec::Spec;

/// The objects of the one run below `staging`, in the order of the files.
///
/// Gives an error where a file has none, or more than one, or where an object has another size.
pub(super) fn objects(staging: &Path, spec: &Spec) -> Outcome<Vec<PathBuf>> {
    let mut found: Vec<Option<PathBuf>> = vec![None; spec.files.len()];
    for run in folders(&staging.join("runs"))? {
        for folder in folders(&run)? {
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with('_') {
                continue;
            }
            for object in std::fs::read_dir(&folder)? {
                let object = object?;
                let file = object.file_name().to_string_lossy().into_owned();
                let n: u64 = file.split('-').next().unwrap_or_default().parse()?;
                let place = usize::try_from(n).ok().and_then(|n| found.get_mut(n));
                let expected = spec.files.iter().find(|file| file.n == n);
                let size = object.metadata()?.len();
                match (place, expected) {
                    (Some(place @ None), Some(expected))
                        if expected.bytes == size && type_of(n) == name =>
                    {
                        *place = Some(object.path());
                    }
                    _ => {
                        let path = object.path();
                        return Err(format!(
                            "the mover left {} of {size} bytes, which is none of the files",
                            path.display()
                        )
                        .into());
                    }
                }
            }
        }
    }
    let missing = found.iter().filter(|object| object.is_none()).count();
    if missing > 0 {
        return Err(format!("the mover left {missing} files out").into());
    }
    Ok(found.into_iter().flatten().collect())
}

/// Compares each object with the source's file.
pub(super) fn same(objects: &[PathBuf], spec: &Spec) -> Outcome<()> {
    let mut source = Connection::to(&spec.source)?;
    for (object, file) in objects.iter().zip(&spec.files) {
        let mut staged = BufReader::with_capacity(1 << 18, File::open(object)?);
        if !alike(&mut staged, source.get(&file.path)?)? {
            return Err(format!(
                "{} is not what the source holds at {}",
                object.display(),
                file.path
            )
            .into());
        }
    }
    Ok(())
}

fn folders(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    let paths = entries.into_iter().map(|entry| entry.path());
    Ok(paths.filter(|path| path.is_dir()).collect())
}

fn alike(a: &mut impl Read, mut b: impl Read) -> Outcome<bool> {
    let (mut left, mut right) = (vec![0; 1 << 18], vec![0; 1 << 18]);
    loop {
        let read = a.read(&mut left)?;
        if read == 0 {
            return Ok(b.read(&mut right[..1])? == 0);
        }
        match b.read_exact(&mut right[..read]) {
            Ok(()) if left[..read] == right[..read] => {}
            Ok(()) => return Ok(false),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_other_byte_is_seen_and_so_is_an_end_that_comes_early_or_late() {
        let alike = |a: &[u8], b: &[u8]| alike(&mut &*a, b).unwrap();
        let file = vec![7; 600_000];
        let mut other = file.clone();
        other[599_999] = 8;
        assert!(alike(&file, &file));
        assert!(!alike(&file, &other));
        assert!(!alike(&file, &file[1..]));
        assert!(!alike(&file[1..], &file));
    }

    #[test]
    fn an_object_that_is_missing_or_has_another_size_is_no_result() {
        let folder = tempfile::tempdir().unwrap();
        let spec = Spec::new("h", "h", "file", 1, 3);
        let types = folder.path().join("runs/abc/Observation");
        std::fs::create_dir_all(&types).unwrap();
        assert!(objects(folder.path(), &spec).is_err());
        let object = types.join("00000-abc.ndjson");
        std::fs::write(&object, "abc").unwrap();
        assert_eq!(
            objects(folder.path(), &spec).unwrap(),
            std::slice::from_ref(&object)
        );
        std::fs::write(&object, "abcd").unwrap();
        assert!(objects(folder.path(), &spec).is_err());
    }
}
