//! The plan of a manifest, and nothing of its files.

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::stream;
use pathling_import_core::Kind;
use pathling_import_core::manifest::Manifest;
use pathling_import_core::transfer::Plan;

use crate::usage::Took;
use crate::{Outcome, answer};

/// How much of the manifest is read at once, in bytes.
const CHUNK: usize = 64 << 10;

/// Plans the manifest in the file, as it comes in from a server or from staging, and says what that took.
pub(crate) async fn run(manifest: PathBuf) -> Outcome<()> {
    let begin = Instant::now();
    let mut file = File::open(manifest)?;
    let chunks = std::iter::from_fn(|| {
        let mut chunk = vec![0; CHUNK];
        let read = file.read(&mut chunk);
        match read {
            Ok(0) => None,
            Ok(length) => {
                chunk.truncate(length);
                Some(Ok(Bytes::from(chunk)))
            }
            Err(error) => Some(Err(Kind::Input.error(error.to_string()))),
        }
    });
    let no_json = || Kind::Manifest.error("the file is something else than JSON");
    let manifest = Manifest::of_stream(stream::iter(chunks), None, no_json).await?;
    let outputs = manifest.len();
    let plan = Plan::new("0123456789abcdef", Arc::new(manifest))?;
    let mut keys = 0;
    for slot in plan.order() {
        keys += plan.file(slot)?.key.len();
    }
    let took = Took::since(begin)?;
    if plan.len() != outputs || keys == 0 {
        return Err("the plan has not every output".into());
    }
    answer(serde_json::to_string(&took)?)?;
    Ok(())
}
