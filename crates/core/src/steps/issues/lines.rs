//! One pass over a file of errors: NDJSON of `OperationOutcome`, or whatever it turns out to be, in little memory.

use bytes::Bytes;

use crate::http::{self, OperationOutcome};
use crate::lines::{Line, Lines};
use crate::sync::ExportIssues;

/// The longest line that is read. Parsed, it takes some thirty times as much for a moment.
const LINE: usize = 256 << 10;

/// Counts what a line says.
fn count(into: &mut ExportIssues, line: Line<'_>) {
    let Line::Whole(line) = line else {
        into.too_long += 1;
        return;
    };
    let Some(outcome) = OperationOutcome::parse(line) else {
        into.not_outcomes += 1;
        return;
    };
    for issue in outcome.issues() {
        let text = http::harmless(&issue.text);
        into.add(&issue.severity, &issue.code, &text);
    }
}

/// A file of which nothing was read, that is counted into `into`.
pub(super) struct Counting<'a> {
    into: &'a mut ExportIssues,
    lines: Lines,
}

impl<'a> Counting<'a> {
    pub(super) fn new(into: &'a mut ExportIssues) -> Self {
        Self {
            into,
            lines: Lines::new(LINE),
        }
    }

    /// The next bytes.
    pub(super) fn take(&mut self, chunk: &Bytes) {
        self.lines.take(chunk, |line| count(self.into, line));
    }

    /// No more bytes come.
    pub(super) fn finish(self) {
        self.lines.finish(|line| count(self.into, line));
    }
}

/// What a file of these pieces comes to.
#[cfg(any(test, fuzzing))]
pub(crate) fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> ExportIssues {
    let mut issues = ExportIssues::default();
    let mut lines = Counting::new(&mut issues);
    for piece in pieces {
        lines.take(&Bytes::copy_from_slice(piece));
    }
    lines.finish();
    issues
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8], at_once: usize) -> ExportIssues {
        super::read(text.chunks(at_once))
    }

    const OUTCOME: &str = r#"{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"processing"},{"severity":"warning","code":"timeout"}]}"#;

    #[test]
    fn every_line_counts_however_the_bytes_arrive_and_lines_end() {
        let text = format!(
            "\u{feff}{OUTCOME}\r\n\n  \n{OUTCOME}\n{{\"resourceType\":\"Patient\"}}\nnot json\n{OUTCOME}"
        );
        for at_once in [1, 7, 4096] {
            let issues = read(text.as_bytes(), at_once);
            assert_eq!(issues.by_severity["error"], 3, "{at_once}");
            assert_eq!(issues.by_code["timeout"], 3);
            assert_eq!((issues.not_outcomes, issues.too_long), (2, 0));
        }
        assert_eq!(read(b"", 1), ExportIssues::default());
    }

    #[test]
    fn what_a_message_must_not_say_is_not_kept_either() {
        let outcome = r#"{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"login","diagnostics":"GET https://h/f?sig=SECRET with Bearer SECRET"}]}"#;
        let issues = read(outcome.as_bytes(), 4096);
        let kept = serde_json::to_string(&issues).unwrap_or_default();
        assert!(kept.contains("https://h/f?sig=… with Bearer ***"), "{kept}");
    }

    #[test]
    fn a_line_of_any_length_is_counted_and_not_held() {
        let mut issues = ExportIssues::default();
        let mut lines = Counting::new(&mut issues);
        let chunk = Bytes::from(vec![b'x'; 1 << 20]);
        for _ in 0..64 {
            lines.take(&chunk);
        }
        lines.take(&Bytes::from(format!("\n{OUTCOME}")));
        lines.finish();
        assert_eq!((issues.too_long, issues.not_outcomes), (1, 0));
        assert_eq!(issues.errors(), 1);
    }
}
