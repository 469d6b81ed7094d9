//! What is to be moved: the files of one work.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::corpus::type_of;

/// A description that `limit` reads, and from which the manifest is made.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    /// The source's host and port.
    pub(crate) source: String,
    /// S3's host and port.
    pub(crate) s3: String,
    pub(crate) files: Vec<File>,
}

/// One file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct File {
    /// Its number, and its index in the manifest.
    pub(crate) n: u64,
    /// Its path at the source.
    pub(crate) path: String,
    /// Its size as NDJSON.
    pub(crate) bytes: u64,
}

impl Spec {
    /// `count` files of `bytes` bytes below the path `kind`.
    pub(crate) fn new(source: &str, s3: &str, kind: &str, count: u64, bytes: u64) -> Self {
        Self {
            source: source.to_owned(),
            s3: s3.to_owned(),
            files: (0..count)
                .map(|n| File {
                    n,
                    path: format!("/{kind}/{bytes}/{n}"),
                    bytes,
                })
                .collect(),
        }
    }

    /// The bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// The manifest that a server would give for them.
    pub(crate) fn manifest(&self) -> Value {
        let output: Vec<Value> = self
            .files
            .iter()
            .map(|file| {
                json!({
                    "type": type_of(file.n),
                    "url": format!("http://{}{}", self.source, file.path),
                })
            })
            .collect();
        manifest(&format!("http://{}/fhir", self.source), &output)
    }
}

/// A manifest of outputs that are nowhere, each as long as one with a signed URL.
pub(crate) fn manifest_to_plan(outputs: u64) -> Value {
    let output: Vec<Value> = (0..outputs)
        .map(|n| {
            let (kind, tail) = (type_of(n), n.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            json!({
                "type": kind,
                "url": format!(
                    "https://exports.example.org/fhir/2026-03-01/{kind}/{n:06}.ndjson?X-Amz-Algorithm=AWS4-HMAC-SHA256\
                     &X-Amz-Date=20260301T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host\
                     &X-Amz-Signature={tail:016x}{tail:016x}{tail:016x}{tail:016x}"
                ),
                "count": 1000,
            })
        })
        .collect();
    manifest("https://exports.example.org/fhir", &output)
}

fn manifest(endpoint: &str, output: &[Value]) -> Value {
    json!({
        "transactionTime": "2026-03-01T00:00:00Z",
        "request": format!("{endpoint}/$export?_type=Patient"),
        "requiresAccessToken": false,
        "output": output,
        "deleted": [],
        "error": [],
    })
}
