//! `pathling-import report`: a run in words, as its record in JSON, or as a page of its own.
//!
//! What is told comes from [`pathling_import_core::report`]. Values come from servers: on a terminal they go through
//! [`words`], on the page through the one writer that there is, [`html`].

mod course;
mod drawing;
mod facts;
mod files;
mod html;
mod page;
mod tables;
#[cfg(test)]
mod tests;
mod text;

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use pathling_import_core::report::{self, Report};
use pathling_import_core::steps::Context;
use pathling_import_core::{Kind, Result, sync};

use self::facts::Facts;
use crate::args::Format;
use crate::words;

/// What is to be told, and where.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// The run's name; otherwise the newest.
    pub(crate) run: Option<String>,
    /// The file that the page goes to.
    pub(crate) html: Option<PathBuf>,
}

/// Reads the run, writes the page where one is wanted, and gives what there is to say, as it is to stand on stdout.
pub(crate) async fn told(context: &Context, wanted: &Wanted, format: Format) -> Result<String> {
    let staging = context.staging().await?;
    let key = sync::key(context.settings());
    let run = wanted.run.as_deref();
    let report = report::read(staging, &key, run, wanted.html.is_some()).await?;
    if let Some(file) = &wanted.html {
        return write(file, &report, format);
    }
    match format {
        Format::Human => Ok(text::human(&Facts::of(&report))),
        Format::Json => Ok(format!("{}\n", report.record_to_show()?)),
    }
}

fn write(file: &Path, report: &Report, format: Format) -> Result<String> {
    let shown = words::one_line(&file.to_string_lossy());
    let page = page::page(&Facts::of(report));
    put(file, &page).map_err(|error| {
        Kind::Configuration
            .error(format!(
                "--html {shown}: the file cannot be written ({error})"
            ))
            .next("Name a file that this user may write, in a folder that is there.")
    })?;
    let run = &report.record.run;
    Ok(match format {
        Format::Human => format!("Run {run} is in {shown}\n"),
        Format::Json => format!("{}\n", serde_json::json!({"run": run, "html": shown})),
    })
}

/// Puts the page where it belongs, so that it is there whole or as it was before. What is no plain file takes it as it comes.
fn put(file: &Path, page: &str) -> io::Result<()> {
    let file = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let is_plain = fs::metadata(&file).map_or(true, |found| found.is_file());
    let Some(name) = file.file_name().filter(|_| is_plain) else {
        return fs::write(&file, page);
    };
    let mut name = name.to_owned();
    name.push(format!(".{}", std::process::id()));
    let beside = file.with_file_name(name);
    let Ok(mut new) = fs::File::create_new(&beside) else {
        // Whoever may write the file need not be allowed to make others in its folder.
        return fs::write(&file, page);
    };
    let written = new.write_all(page.as_bytes());
    let done = written.and_then(|()| fs::rename(&beside, &file));
    if done.is_err() {
        // What is left of it is nobody's.
        let _ = fs::remove_file(&beside);
    }
    done
}
