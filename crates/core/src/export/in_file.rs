//! A manifest that the operator has as a file. Only the file that the settings name is ever given here.

use std::io::ErrorKind;
use std::path::Path;

use bytes::Bytes;
use futures_util::stream;
use tokio::io::AsyncReadExt as _;
use url::Url;

use super::pages::all_pages;
use super::status::{Status, Told, no_json, page, within_manifest};
use crate::error::{Error, Kind, Result};
use crate::http::Client;
use crate::manifest::{self, Head, Manifest};

/// Where the manifest of a file is said to be, for what wants to know that. Nothing is ever asked there.
const NOWHERE: &str = "https://manifest.invalid/";

/// Reads the manifest in a file, whose further pages, if it has any, are asked for where it says.
///
/// Gives [`Kind::Configuration`] where the file cannot be read, and [`Kind::Manifest`] with what is wrong with it, relative
/// URLs among that: a file has no address that they could be taken from.
pub async fn status_in_file(client: &Client, endpoint: &Url, path: &Path) -> Result<Status> {
    let text = read(path).await?;
    let at = path.display().to_string();
    let checking = tokio::task::spawn_blocking(move || {
        let head = Head::of_text(&text, None, no_json).map_err(|error| relative(&text, error));
        (text, head)
    });
    let (text, head) = checking.await.map_err(|stopped| {
        Kind::SourceUnavailable.error(format!("{at}: the manifest was not read: {stopped}"))
    })?;
    let head = head.map_err(|error| within_manifest(error, &at))?;
    let base = nowhere()?;
    let pages = vec![page(&head)];
    all_pages(client, endpoint, Told { text, head, pages }, base).await
}

/// The same, for the links of a manifest that was read before.
pub async fn manifest_in_file(client: &Client, endpoint: &Url, path: &Path) -> Result<Manifest> {
    match status_in_file(client, endpoint, path).await? {
        Status::Complete(told) => {
            let chunks = stream::iter([Ok(told.text)]);
            Manifest::of_stream(chunks, None, no_json).await
        }
        _ => Err(Kind::SourceUnavailable.error(format!(
            "{}: the manifest's further pages are not there yet",
            path.display()
        ))),
    }
}

/// Whether there is a file to read.
pub async fn look_for_file(path: &Path) -> Result<()> {
    let found = tokio::fs::metadata(path).await;
    let found = found.map_err(|error| unreadable(path, &error))?;
    if found.is_dir() {
        return Err(unreadable(path, &ErrorKind::IsADirectory.into()));
    }
    Ok(())
}

async fn read(path: &Path) -> Result<Bytes> {
    look_for_file(path).await?;
    let failed = |error| unreadable(path, &error);
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let mut text = Vec::new();
    let limit = manifest::LIMIT as u64 + 1;
    file.take(limit)
        .read_to_end(&mut text)
        .await
        .map_err(failed)?;
    if text.len() > manifest::LIMIT {
        return Err(manifest::too_large());
    }
    Ok(text.into())
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    let why = match error.kind() {
        ErrorKind::NotFound => "does not exist".to_owned(),
        ErrorKind::IsADirectory => "is a directory".to_owned(),
        _ => format!("cannot be read: {error}"),
    };
    Kind::Configuration
        .error(format!("SOURCE_MANIFEST: {} {why}", path.display()))
        .next("Name a file that holds a manifest, or the manifest's URL.")
}

/// The error of a manifest in which nothing is wrong but that it has relative URLs.
fn relative(text: &[u8], error: Error) -> Error {
    let Ok(base) = nowhere() else { return error };
    if Head::of_text(text, Some(&base), no_json).is_err() {
        return error;
    }
    error.within("it has relative URLs, and a file has no address that they could be taken from").next(
        "Set SOURCE_MANIFEST to the URL that the manifest was had from, or make its URLs absolute. Files are fetched by http and https alone, also where the manifest is a file.",
    )
}

fn nowhere() -> Result<Url> {
    Url::parse(NOWHERE).map_err(|error| Kind::Manifest.error(format!("{NOWHERE}: {error}")))
}
