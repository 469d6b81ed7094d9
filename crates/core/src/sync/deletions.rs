//! What a run's record knows of deletions: what the source reported, and what became of it at the target.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::Deletions;

/// Deletions that the source reported with an export.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Deleted {
    /// When they were read, by this machine's clock.
    pub at: String,
    /// How many files of them the manifest names.
    pub files: usize,
    /// How many of those could not be had.
    pub missing: usize,
    /// How many resources they name; where they are more than are applied, at least so many.
    pub found: usize,
    /// How many entries name no single resource.
    pub unclear: usize,
    /// What was to become of them: the setting `DELETIONS`.
    pub policy: String,
    /// Whether the import replaces what is there, so that nothing needs deleting.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub needless: bool,
    /// Whether there is a list of them in staging, to be applied one by one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub listed: bool,
    /// In which of the synchronisation's turns they are applied: in another, other runs may have brought back what is deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turn: Option<u64>,
    /// How many of each type's list are applied, in its order.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub applied: BTreeMap<String, usize>,
    /// How many of those found are neither applied nor made needless by the import.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<usize>,
    /// When all of the list were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done: Option<String>,
    /// Why a full run is due because of them, where one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh: Option<String>,
}

impl Deleted {
    /// How many are applied.
    #[must_use]
    pub fn applied(&self) -> usize {
        self.applied.values().sum()
    }

    /// Whether nobody looked into the files, so that nothing is known of what they name.
    #[must_use]
    pub fn is_unread(&self) -> bool {
        self.policy == Deletions::Ignore.as_str() && !self.needless
    }

    /// How many of those found are neither applied nor made needless by the import.
    #[must_use]
    pub fn rest(&self) -> usize {
        if self.needless {
            return 0;
        }
        self.found.saturating_sub(self.applied())
    }

    /// Whether there is something to apply that is not applied yet.
    #[must_use]
    pub fn is_left(&self) -> bool {
        self.listed && self.done.is_none() && self.policy == Deletions::Apply.as_str()
    }

    /// Takes in that this turn has come: what was applied in another one counts no more. Gives whether it is another.
    pub fn enter(&mut self, turn: u64) -> bool {
        let is_another = self.turn.replace(turn) != Some(turn);
        if is_another {
            self.applied.clear();
            self.done = None;
        }
        is_another
    }

    /// A list that is not applied after all makes a full run due.
    pub fn give_up(&mut self, why: &str) {
        self.listed = false;
        self.refresh.get_or_insert_with(|| why.to_owned());
    }
}
