//! What the source reported of an export in files of errors: counts for everyone, and the first words for those who may read
//! the run's record.
//!
//! The words may name patients, so they stand in the record alone; logs, summaries and errors have the counts.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// How many issues the record holds whole.
const FIRST: usize = 10;

/// How many codes are told apart: FHIR has some thirty.
const CODES: usize = 60;

/// The longest text of one issue, in characters.
const TEXT: usize = 500;

/// What stands for severities and codes that are none.
const OTHER: &str = "other";

/// The watermark's fate where errors hold it.
pub const HELD: &str = "held";

/// The severities of FHIR; R5 added the last.
const SEVERITIES: &[&str] = &["fatal", "error", "warning", "information", "success"];

/// What files of errors say of an export.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExportIssues {
    /// When they were read, by this machine's clock.
    pub at: String,
    /// How many files the manifest names.
    pub files: usize,
    /// How many of them could not be had.
    pub missing: usize,
    /// Issues by severity.
    pub by_severity: BTreeMap<String, u64>,
    /// Issues by code.
    pub by_code: BTreeMap<String, u64>,
    /// How many lines are no `OperationOutcome`.
    pub not_outcomes: u64,
    /// How many lines are too long to be read.
    pub too_long: u64,
    /// The first issues, those of errors before others.
    pub first: Vec<FirstIssue>,
    /// What was to follow from errors: the setting `EXPORT_ERRORS`.
    pub policy: String,
    /// `held` where the run must not count as complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watermark: Option<String>,
}

/// One issue in the record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FirstIssue {
    /// Its severity.
    pub severity: String,
    /// Its code.
    pub code: String,
    /// What the source says of it.
    pub text: String,
}

impl ExportIssues {
    /// Counts one issue in.
    pub fn add(&mut self, severity: &str, code: &str, text: &str) {
        let severity = if SEVERITIES.contains(&severity) {
            severity
        } else {
            OTHER
        };
        // Codes go to logs, so they must be some.
        let is_code = !code.is_empty()
            && code.len() <= 40
            && code
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'-');
        let known = self.by_code.len() < CODES || self.by_code.contains_key(code);
        let code = if is_code && known { code } else { OTHER };
        *self.by_severity.entry(severity.to_owned()).or_default() += 1;
        *self.by_code.entry(code.to_owned()).or_default() += 1;
        self.keep(severity, code, text);
    }

    fn keep(&mut self, severity: &str, code: &str, text: &str) {
        if self.first.len() >= FIRST {
            let lesser = |issue: &FirstIssue| !is_error(&issue.severity);
            match self.first.iter().rposition(lesser) {
                Some(lesser) if is_error(severity) => drop(self.first.remove(lesser)),
                _ => return,
            }
        }
        let shown = text.chars().filter(|c| !c.is_control());
        self.first.push(FirstIssue {
            severity: severity.to_owned(),
            code: code.to_owned(),
            text: shown.take(TEXT).collect(),
        });
    }

    /// How many issues are errors: those of severity `error` and `fatal`, and of one that says nothing.
    #[must_use]
    pub fn errors(&self) -> u64 {
        let errors = self.by_severity.iter();
        let errors = errors.filter(|(severity, _)| is_error(severity));
        errors.map(|(_, count)| count).sum()
    }

    /// Whether the export may lack something: there are errors, or what could not be read and may be some.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.errors() > 0 || self.missing > 0 || self.not_outcomes > 0 || self.too_long > 0
    }

    /// The counts in words, without anything that the source says.
    #[must_use]
    pub fn words(&self) -> String {
        let list = |counts: &BTreeMap<String, u64>, first: &[&str]| {
            let rank = |name: &str| first.iter().position(|known| *known == name);
            let mut counts: Vec<_> = counts.iter().collect();
            counts.sort_by_key(|(name, _)| rank(name).unwrap_or(usize::MAX));
            let counts: Vec<String> = counts
                .into_iter()
                .map(|(name, count)| format!("{count} {name}"))
                .collect();
            counts.join(", ")
        };
        let mut words = match self.by_severity.values().sum::<u64>() {
            0 => "no issues".to_owned(),
            1 => format!("1 issue: {}", list(&self.by_severity, SEVERITIES)),
            all => format!("{all} issues: {}", list(&self.by_severity, SEVERITIES)),
        };
        if !self.by_code.is_empty() {
            // Writing to a String cannot fail.
            let _ = write!(words, " ({})", list(&self.by_code, &[]));
        }
        for (count, one, many) in [
            (
                self.not_outcomes,
                "line that is no OperationOutcome",
                "lines that are no OperationOutcome",
            ),
            (
                self.too_long,
                "line that is too long to be read",
                "lines that are too long to be read",
            ),
            (
                self.missing as u64,
                "file that could not be had",
                "files that could not be had",
            ),
        ] {
            if count > 0 {
                let what = if count == 1 { one } else { many };
                let _ = write!(words, "; {count} {what}");
            }
        }
        words
    }
}

/// Whether an issue of this severity is an error. One that does not say how severe it is may be.
fn is_error(severity: &str) -> bool {
    matches!(severity, "fatal" | "error" | OTHER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issues_are_counted_by_severity_and_code_and_said_in_words() {
        let mut issues = ExportIssues::default();
        assert_eq!(issues.words(), "no issues");
        assert!(!issues.has_errors());
        issues.add("warning", "processing", "a");
        issues.add("information", "informational", "b");
        assert!(!issues.has_errors());
        issues.add("error", "processing", "c");
        issues.add("fatal", "exception", "d");
        assert_eq!(issues.errors(), 2);
        issues.not_outcomes = 1;
        issues.missing = 2;
        assert_eq!(
            issues.words(),
            "4 issues: 1 fatal, 1 error, 1 warning, 1 information (1 exception, 1 informational, 2 processing); 1 line that is no OperationOutcome; 2 files that could not be had"
        );
    }

    #[test]
    fn what_cannot_be_read_counts_as_an_error() {
        let with = |change: fn(&mut ExportIssues)| {
            let mut issues = ExportIssues::default();
            change(&mut issues);
            issues.has_errors()
        };
        assert!(with(|issues| issues.missing = 1));
        assert!(with(|issues| issues.not_outcomes = 1));
        assert!(with(|issues| issues.too_long = 1));
        assert!(with(|issues| issues.add("", "", "")));
        assert!(!with(|issues| issues.add("success", "informational", "")));
    }

    #[test]
    fn whatever_the_source_writes_the_record_stays_small_and_its_codes_are_codes() {
        let mut issues = ExportIssues::default();
        for number in 0..1000 {
            let code = format!("code-{}", "x".repeat(number % 70));
            issues.add("warning", &code, &"ü".repeat(2000));
            issues.add("Anna Muster", "Anna Muster, born 1970", "");
        }
        assert!(issues.by_code.len() <= CODES + 1);
        assert!(!issues.words().contains("Anna"), "{}", issues.words());
        assert_eq!(issues.first.len(), FIRST);
        assert!(
            issues
                .first
                .iter()
                .all(|issue| issue.text.chars().count() <= TEXT)
        );
    }

    #[test]
    fn an_error_takes_the_place_of_a_warning_among_the_first() {
        let mut issues = ExportIssues::default();
        for _ in 0..2 * FIRST {
            issues.add("warning", "processing", "not so bad");
        }
        issues.add("error", "processing", "bad");
        assert_eq!(issues.first.len(), FIRST);
        assert_eq!(
            issues.first.last().map(|issue| issue.text.as_str()),
            Some("bad")
        );
    }
}
