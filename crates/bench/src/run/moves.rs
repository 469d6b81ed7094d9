//! A work's files, as the processes that are measured are told of them.

use std::path::PathBuf;
use std::process::Command;

use pathling_import_core::staging::layout;
use serde_json::json;

use super::measure::{Bench, staging_url};
use super::works::Work;
use crate::Outcome;
use crate::spec::Spec;

/// Above this, Step Functions does not carry a manifest, and the event names its place.
const CARRIED: usize = 192 << 10;

/// The run that a manifest in staging belongs to.
const RUN: &str = "be0c4be0c4be0c4b";

/// The description for the limit and the event for the mover, written to files.
pub(super) struct Moves {
    pub(super) spec: Spec,
    /// For the limit.
    pub(super) description: PathBuf,
    /// For the mover.
    pub(super) event: PathBuf,
    /// The manifest, where the event only names it.
    manifest: Option<String>,
    /// The stream that is to be decompressed alone.
    pub(super) gzip: Option<String>,
}

impl Moves {
    pub(super) fn new(bench: &Bench<'_>, work: Work, spec: Spec) -> Outcome<Self> {
        let manifest = spec.manifest();
        let text = manifest.to_string();
        let large = text.len() > CARRIED;
        let event = if large {
            let place = format!("{}/{}", staging_url(), layout::manifest_key(RUN));
            json!({
                "run": RUN,
                "result": {
                    "manifest": place,
                    "transactionTime": manifest["transactionTime"],
                    "outputs": spec.files.len(),
                    "deleted": 0,
                    "errors": 0,
                },
            })
        } else {
            json!({"result": manifest})
        };
        let path = |name: &str| bench.files.path().join(format!("{work:?}-{name}.json"));
        let moves = Self {
            description: path("files"),
            event: path("event"),
            manifest: large.then_some(text),
            gzip: spec
                .files
                .first()
                .map(|file| file.path.clone())
                .filter(|path| path.starts_with("/gzip/")),
            spec,
        };
        std::fs::write(&moves.description, serde_json::to_vec(&moves.spec)?)?;
        std::fs::write(&moves.event, event.to_string())?;
        // What the source makes on the first request for it is made now.
        if let Some(path) = &moves.gzip {
            let authority = &bench.source.ready.authority;
            let mut command = Command::new(&bench.program);
            bench.ask(command.args(["gunzip", authority, path]))?;
        }
        Ok(moves)
    }

    /// Makes S3 as the mover finds it: empty, but for a manifest that does not travel in the event.
    pub(super) fn prepare(&self, bench: &Bench<'_>) -> Outcome<()> {
        bench.empty()?;
        if let Some(manifest) = &self.manifest {
            let path = bench.staging().join(layout::manifest_key(RUN));
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            std::fs::write(path, manifest)?;
        }
        Ok(())
    }
}
