//! What is kept of a server's answer once it was read: enough to write down and to look up, and nothing that opens a door.

use std::collections::BTreeMap;

/// The status of an answer, and a few of its headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    /// The status.
    pub status: u16,
    /// Those of its headers that are worth keeping, by their names in lower case. None of them holds a secret.
    pub headers: BTreeMap<String, String>,
}
