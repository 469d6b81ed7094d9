//! The tables of Pathling: rows by type, and what each mode of an import does to them.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use crate::clock::Clock;

/// One row: a resource as it was imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The id under which Pathling knows it; None where it had none (Pathling 2 lets that through).
    pub id: Option<String>,
    /// The line, byte for byte, without its line end.
    pub line: Bytes,
}

/// How an import changes a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Mode {
    Overwrite,
    Merge,
    Append,
    Ignore,
    Error,
}

/// Why a write was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// Several rows of the source match one row of the table.
    SeveralMatch,
    /// The table is there already.
    Exists,
}

/// All tables. A type may have a table without rows.
#[derive(Debug)]
pub(super) struct Tables {
    rows: BTreeMap<String, Vec<Row>>,
    /// Grows with every write that changes something.
    version: u64,
    /// The version that is told for a while after the last write.
    before: u64,
    changed: Timestamp,
    refresh: Duration,
    clock: Clock,
}

impl Tables {
    /// No tables. `refresh`: how long after a write the database's key is still the old one.
    pub(super) fn new(refresh: Duration, clock: Clock) -> Self {
        Self {
            rows: BTreeMap::new(),
            version: 0,
            before: 0,
            changed: clock.now(),
            refresh,
            clock,
        }
    }

    /// The key of the database, as the job cache sees it now.
    pub(super) fn key(&self) -> u64 {
        let age = Duration::try_from(self.clock.now().duration_since(self.changed));
        if age.unwrap_or_default() >= self.refresh {
            self.version
        } else {
            self.before
        }
    }

    fn touch(&mut self) {
        self.before = self.key();
        self.version += 1;
        self.changed = self.clock.now();
    }

    pub(super) fn rows(&self, kind: &str) -> &[Row] {
        self.rows.get(kind).map_or(&[], Vec::as_slice)
    }

    pub(super) fn types(&self) -> Vec<String> {
        self.rows
            .iter()
            .filter(|(_, rows)| !rows.is_empty())
            .map(|(kind, _)| kind.clone())
            .collect()
    }

    /// Writes rows into a type's table.
    pub(super) fn write(&mut self, kind: &str, mode: Mode, rows: Vec<Row>) -> Result<(), Refused> {
        let existed = self.rows.contains_key(kind);
        let table = self.rows.entry(kind.to_owned()).or_default();
        match mode {
            Mode::Append => table.extend(rows),
            Mode::Ignore if existed => return Ok(()),
            Mode::Error if existed => return Err(Refused::Exists),
            Mode::Overwrite | Mode::Ignore | Mode::Error => *table = rows,
            Mode::Merge if existed && rows.is_empty() => return Ok(()),
            Mode::Merge => merge(table, rows)?,
        }
        self.touch();
        Ok(())
    }

    /// Creates a type's table where there is none.
    pub(super) fn create(&mut self, kind: &str) {
        self.rows.entry(kind.to_owned()).or_default();
    }

    /// Deletes every row with that id; false when there is none.
    pub(super) fn delete(&mut self, kind: &str, id: &str) -> bool {
        let Some(table) = self.rows.get_mut(kind) else {
            return false;
        };
        let before = table.len();
        table.retain(|row| row.id.as_deref() != Some(id));
        let gone = table.len() < before;
        if gone {
            self.touch();
        }
        gone
    }
}

/// An upsert by id as Delta Lake does it: every row of the table with that id is updated, rows without a match are
/// inserted (all of them, duplicates too), and two rows that match the same row of the table are an error.
fn merge(table: &mut Vec<Row>, rows: Vec<Row>) -> Result<(), Refused> {
    let mut known: HashMap<String, Vec<usize>> = HashMap::new();
    for (index, row) in table.iter().enumerate() {
        if let Some(id) = &row.id {
            known.entry(id.clone()).or_default().push(index);
        }
    }
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for id in rows.iter().filter_map(|row| row.id.as_deref()) {
        *seen.entry(id).or_default() += 1;
    }
    if seen
        .iter()
        .any(|(id, times)| *times > 1 && known.contains_key(*id))
    {
        return Err(Refused::SeveralMatch);
    }
    for row in rows {
        match row.id.as_ref().and_then(|id| known.get(id)) {
            Some(places) => {
                for place in places {
                    table[*place] = row.clone();
                }
            }
            None => table.push(row),
        }
    }
    Ok(())
}
