//! A manifest that the operator has as a file. Only the file that the settings name is ever given here.

use std::io::ErrorKind;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use tokio::io::AsyncReadExt as _;
use url::Url;

use super::pages::{all_pages, with_further_pages};
use super::status::{Status, no_json, within_manifest};
use super::told::{Intake, Room, Text};
use crate::error::{Error, Kind, Result};
use crate::http::Client;
use crate::manifest::Manifest;

/// How much of it is read at once, in bytes.
const CHUNK: usize = 64 << 10;

/// Where the manifest of a file is said to be, for what wants to know that. Nothing is ever asked there.
const NOWHERE: &str = "https://manifest.invalid/";

/// Reads the manifest in a file, whose further pages, if it has any, are asked for where it says.
///
/// Gives [`Kind::Configuration`] where the file cannot be read, and [`Kind::Manifest`] with what is wrong with it, relative
/// URLs among that: a file has no address that they could be taken from.
pub async fn status_in_file(
    client: &Client,
    endpoint: &Url,
    path: &Path,
    room: Option<&Room<'_>>,
) -> Result<Status> {
    let at = path.display().to_string();
    let mut intake = Intake::new(None, room);
    let mut chunks = read(path).await?;
    while let Some(chunk) = chunks.next().await {
        let wanted = intake.take(chunk?).await;
        if !wanted.map_err(|error| within_manifest(error, &at))? {
            break;
        }
    }
    let told = match intake.end().await {
        Ok(told) => told,
        Err((text, error)) => {
            let error = relative(text.unwrap_or_default(), error).await;
            return Err(within_manifest(error, &at));
        }
    };
    if told.head.next.is_none() {
        return Ok(Status::Complete(Box::new(told)));
    }
    if !matches!(told.text, Text::Held(_)) {
        return Err(Kind::Manifest
            .error(format!("{at}: it is the first of several pages, and too large for one"))
            .next("Set SOURCE_MANIFEST to the URL that the manifest was had from, or put its pages together."));
    }
    all_pages(client, endpoint, told, nowhere()?, room).await
}

/// The same, for the links of a manifest that was read before.
pub async fn manifest_in_file(client: &Client, endpoint: &Url, path: &Path) -> Result<Manifest> {
    let manifest = Manifest::of_stream(read(path).await?, None, no_json).await;
    let manifest = manifest.map_err(|error| within_manifest(error, &path.display().to_string()))?;
    with_further_pages(client, endpoint, manifest, nowhere()?).await
}

/// Whether there is a file to read.
pub async fn look_for_file(path: &Path) -> Result<()> {
    let found = tokio::fs::metadata(path).await;
    let found = found.map_err(|error| unreadable(path, &error))?;
    if found.is_file() {
        return Ok(());
    }
    let why = if found.is_dir() {
        ErrorKind::IsADirectory
    } else {
        ErrorKind::NotSeekable
    };
    Err(unreadable(path, &why.into()))
}

/// The file's bytes, as they are read.
async fn read(path: &Path) -> Result<BoxStream<'static, Result<Bytes>>> {
    look_for_file(path).await?;
    let file = tokio::fs::File::open(path).await;
    let file = file.map_err(|error| unreadable(path, &error))?;
    let path = path.to_owned();
    let chunks = stream::try_unfold((file, path), |(mut file, path)| async move {
        let mut chunk = BytesMut::with_capacity(CHUNK);
        let read = file.read_buf(&mut chunk).await;
        let read = read.map_err(|error| unreadable(&path, &error))?;
        Ok((read > 0).then(|| (chunk.freeze(), (file, path))))
    });
    Ok(chunks.boxed())
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    let why = match error.kind() {
        ErrorKind::NotFound => "does not exist".to_owned(),
        ErrorKind::IsADirectory => "is a directory".to_owned(),
        ErrorKind::NotSeekable => "is no regular file, and it is read more than once".to_owned(),
        _ => format!("cannot be read: {error}"),
    };
    Kind::Configuration
        .error(format!("SOURCE_MANIFEST: {} {why}", path.display()))
        .next("Name a file that holds a manifest, or the manifest's URL.")
}

/// The error of a manifest in which nothing is wrong but that it has relative URLs.
async fn relative(text: Vec<u8>, error: Error) -> Error {
    let Ok(base) = nowhere() else { return error };
    let mut anywhere = Intake::new(Some(&base), None);
    if anywhere.take(text.into()).await.is_err() || anywhere.end().await.is_err() {
        return error;
    }
    error.within("it has relative URLs, and a file has no address that they could be taken from").next(
        "Set SOURCE_MANIFEST to the URL that the manifest was had from, or make its URLs absolute. Files are fetched by http and https alone, also where the manifest is a file.",
    )
}

fn nowhere() -> Result<Url> {
    Url::parse(NOWHERE).map_err(|error| Kind::Manifest.error(format!("{NOWHERE}: {error}")))
}
