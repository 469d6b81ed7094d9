//! `--audit`: the file that every line of the audit log is added to as it happens.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use pathling_import_core::audit::Sink;
use pathling_import_core::{Error, Kind, Result};

use crate::words;

/// Opens the file, or makes it, so that whatever is wrong with it shows before anything is asked of anybody.
///
/// What it holds stays: the log of a run that goes on goes on too.
pub(crate) fn open(path: &Path) -> Result<Sink> {
    if path == Path::new("-") {
        return Err(Kind::Configuration
            .error("--audit -: standard output is where the summary goes")
            .next("Name a file, or ./- for one of that name."));
    }
    // To open one waits for a reader, and a reader that does not read would stop the run.
    let kind = std::fs::metadata(path).map(|found| found.file_type());
    let is_pipe = kind.is_ok_and(|kind| kind.is_fifo() || kind.is_socket());
    // What stands under /dev is open already.
    if is_pipe && !path.starts_with("/dev") {
        return Err(Kind::Configuration
            .error(format!(
                "--audit {} is a pipe, and a log that nobody reads would stop the run",
                shown(path)
            ))
            .next("Name a file; tail -f shows it while it grows."));
    }
    let open = || -> std::io::Result<File> {
        let mut file = OpenOptions::new().append(true).create(true).open(path)?;
        end_line(&mut file, path)?;
        Ok(file)
    };
    let file = open().map_err(|error| wrong(path, &error))?;
    // Nothing where nobody can be told any more.
    let file = Mutex::new(Some(file));
    let shown = shown(path);
    Ok(Arc::new(move |line: &[u8]| {
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = file.as_mut() else { return };
        // In one call, so that the lines of two processes do not mix.
        if let Err(error) = open.write_all(line) {
            *file = None;
            tracing::warn!(
                file = shown,
                %error,
                "the audit log cannot be written any further; the run is not touched by that"
            );
        }
    }))
}

/// Ends the last line of a file, where a process died in the middle of it.
fn end_line(file: &mut File, path: &Path) -> std::io::Result<()> {
    let found = file.metadata()?;
    if !found.is_file() || found.len() == 0 {
        return Ok(());
    }
    // It was opened to write. One that may not be read is taken as it is.
    let Ok(mut reader) = File::open(path) else {
        return Ok(());
    };
    let mut last = [0];
    reader.seek(SeekFrom::End(-1))?;
    reader.read_exact(&mut last)?;
    if last == *b"\n" {
        return Ok(());
    }
    file.write_all(b"\n")
}

fn wrong(path: &Path, error: &std::io::Error) -> Error {
    let next = match error.kind() {
        ErrorKind::NotFound => "Make its folder, or name a file elsewhere.",
        ErrorKind::IsADirectory => "Name a file in it.",
        _ => "Name a file that this user may write.",
    };
    Kind::Configuration
        .error(format!(
            "--audit {}: the file cannot be written ({error})",
            shown(path)
        ))
        .next(next)
}

/// A name may be any bytes, and moves no cursor.
fn shown(path: &Path) -> String {
    words::one_line(&path.to_string_lossy())
}
