//! What a run's record knows of ids that came more than once.

use serde::{Deserialize, Serialize};

/// How many of them are told one by one.
const TOLD: usize = 20;

/// Resources of one type and id that an export holds more than once, as far as the calls of its transfer saw: each looks at
/// the files that it copies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Duplicates {
    /// When some were last found, by this machine's clock.
    pub at: String,
    /// How many ids came more than once.
    pub found: u64,
    /// How many more seem to, for their hashes are equal: their lines were not compared, for lack of time.
    pub unread: u64,
    /// Whether a call had no room for all ids that it saw.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
    /// Where the first of them are.
    pub first: Vec<Repeated>,
}

/// One id that came more than once. Which it is, the lines tell.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Repeated {
    /// The resources' type.
    pub resource_type: String,
    /// How many lines have it.
    pub count: u64,
    /// Whether it only seems so: the lines were not compared.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unread: bool,
    /// Where the first of them are.
    pub lines: Vec<StagedLine>,
}

/// A line of what is staged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StagedLine {
    /// The object's URL.
    pub file: String,
    /// The line's number in it, from 1.
    pub line: u64,
}

impl Duplicates {
    /// Takes in what a later call found.
    pub fn add(&mut self, more: &Self) {
        // A write whose answer got lost is done again.
        if self.at == more.at {
            return;
        }
        self.at.clone_from(&more.at);
        self.stopped |= more.stopped;
        self.found += more.found;
        self.unread += more.unread;
        let room = TOLD.saturating_sub(self.first.len());
        self.first.extend(more.first.iter().take(room).cloned());
    }

    /// Whether there are any.
    #[must_use]
    pub fn are_any(&self) -> bool {
        self.found + self.unread > 0
    }

    /// What there is to say, without an id.
    #[must_use]
    pub fn words(&self) -> String {
        let mut words = match (self.found, self.unread) {
            (found, 0) => format!("{found} ids came more than once"),
            (0, unread) => format!("{unread} ids seem to have come more than once"),
            (found, unread) => {
                format!("{found} ids came more than once, and {unread} more seem to have")
            }
        };
        if let Some(first) = self.first.first() {
            let lines = first.lines.iter().take(2);
            let lines = lines.map(|it| format!("{} line {}", it.file, it.line));
            let lines: Vec<_> = lines.collect();
            let (name, lines) = (&first.resource_type, lines.join(" and "));
            words += &[", such as that of the ", name, " in ", &lines].concat();
        }
        words
    }
}
