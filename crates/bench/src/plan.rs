//! The plan of a manifest, and nothing of its files.

use std::path::Path;
use std::time::Instant;

use pathling_import_core::manifest::Manifest;
use pathling_import_core::transfer::plan;
use serde_json::Value;

use crate::usage::Took;
use crate::{Outcome, answer};

/// Plans the manifest in the file and says what that took.
pub(crate) fn run(manifest: &Path) -> Outcome<()> {
    let begin = Instant::now();
    let value: Value = serde_json::from_slice(&std::fs::read(manifest)?)?;
    let manifest = Manifest::read(&value, None)?;
    let files = plan::plan("0123456789abcdef", &manifest, &manifest)?;
    let took = Took::since(begin)?;
    if files.len() != manifest.output.len() {
        return Err("the plan has not every output".into());
    }
    answer(serde_json::to_string(&took)?)?;
    Ok(())
}
