//! Files of errors: what a source could not export, in the words of `OperationOutcome`.

use bytes::Bytes;
use serde_json::{Value, json};

use super::content::File;
use crate::call::operation_outcome;
use crate::faults::{ErrorContent, Fault, Faults};

/// The files of errors that the faults ask for.
pub(super) fn files(faults: &Faults) -> Vec<File> {
    let mut files = Vec::new();
    while let Some(content) = next(faults, files.len()) {
        let name = format!("error.{}.ndjson", files.len());
        files.push(File::plain("OperationOutcome", name, &lines(content)));
    }
    files
}

/// What the file of this number holds: as often as such a fault is on.
fn next(faults: &Faults, number: usize) -> Option<ErrorContent> {
    let content = |fault: &Fault| match fault {
        Fault::ExportErrors(content) => Some(*content),
        _ => None,
    };
    faults.active().iter().filter_map(content).nth(number)
}

fn lines(content: ErrorContent) -> Vec<Bytes> {
    let outcome = |severity: &str, code: &str, text: &str| operation_outcome(severity, code, text);
    let values: Vec<Value> = match content {
        ErrorContent::Errors => {
            let mut two = outcome("error", "processing", "Patient Anna Muster has no name");
            let issue =
                json!({"severity": "warning", "code": "timeout", "diagnostics": "It took long"});
            if let Some(issues) = two["issue"].as_array_mut() {
                issues.push(issue);
            }
            vec![two, outcome("error", "not-found", "Binary/7 is gone")]
        }
        ErrorContent::Fatal => vec![outcome("fatal", "exception", "The export stopped half-way")],
        ErrorContent::Warnings => vec![
            outcome("warning", "processing", "A date was rounded"),
            outcome("information", "informational", "All is well"),
        ],
        ErrorContent::Garbage => vec![
            json!("no outcome"),
            json!({"resourceType": "Patient", "id": "p"}),
            outcome("information", "informational", "All is well"),
        ],
        ErrorContent::LongLine(bytes) => vec![
            outcome("error", "processing", &"x".repeat(bytes)),
            outcome("information", "informational", "All is well"),
        ],
        ErrorContent::Nothing => Vec::new(),
    };
    values
        .iter()
        .map(|value| Bytes::from(value.to_string()))
        .collect()
}
