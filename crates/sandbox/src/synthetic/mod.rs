//! Large files, and many of them, that nobody keeps: a block of lines is made once for a type, and every file is that block
//! again and again, with other ids. Any byte of a file can be had at once, and costs about as much as copying it.
//!
//! Lines are 0.5 to 5 KiB long, in an order that never changes. Ids are unique over all files of a sandbox:
//! `<type in lower case>-<file>-<block>-<line>`, all of fixed width. What this is not: data that makes sense to a
//! clinician. A file of less than a few hundred bytes is one line, and a little longer than asked for.

mod lines;
mod wanted;

use std::sync::OnceLock;

use bytes::Bytes;

use lines::{block, filler};
pub(crate) use wanted::{Wanted, groups};

/// The part of an id that differs between files and blocks: six digits, a hyphen, eight digits.
const PATCH: usize = 15;

/// The least length of the line that fills a file up to its size.
const FILLER: usize = 256;

/// Lines, and where in them the ids are patched.
#[derive(Debug, Default, Clone)]
struct Template {
    bytes: Vec<u8>,
    /// Where the patched part of each line's id begins.
    patches: Vec<usize>,
    /// Where each line ends, its newline included.
    ends: Vec<usize>,
}

impl Template {
    fn push(&mut self, line: &[u8], patch: usize) {
        self.patches.push(self.bytes.len() + patch);
        self.bytes.extend_from_slice(line);
        self.bytes.push(b'\n');
        self.ends.push(self.bytes.len());
    }

    /// A line and where in it its id is patched.
    fn line(&self, index: usize) -> (&[u8], usize) {
        let from = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        (
            &self.bytes[from..self.ends[index] - 1],
            self.patches[index] - from,
        )
    }

    /// The same lines from the last to the first.
    fn reversed(&self) -> Self {
        let mut reversed = Self::default();
        for index in (0..self.ends.len()).rev() {
            let (line, patch) = self.line(index);
            reversed.push(line, patch);
        }
        reversed
    }

    /// At most `most` bytes from `at`, as they are in this file and block.
    fn read(&self, at: usize, most: usize, file: usize, block: u64) -> Bytes {
        let end = self.bytes.len().min(at.saturating_add(most));
        let mut bytes = self.bytes[at..end].to_vec();
        let patch = format!("{file:06}-{block:08}");
        let first = self.patches.partition_point(|place| place + PATCH <= at);
        for &place in &self.patches[first..] {
            if place >= end {
                break;
            }
            let (from, to) = (place.max(at), (place + PATCH).min(end));
            bytes[from - at..to - at].copy_from_slice(&patch.as_bytes()[from - place..to - place]);
        }
        Bytes::from(bytes)
    }
}

/// A block and a file's last lines, in one order.
#[derive(Debug)]
struct Order {
    block: Template,
    tail: Template,
}

/// Files of one type and one size.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) kind: String,
    /// How many files there are.
    pub(crate) files: usize,
    /// How many resources each file has.
    pub(crate) count: u64,
    /// How many bytes each file has.
    pub(crate) length: u64,
    /// The number of the first file; no other file of the sandbox has it.
    first: usize,
    blocks: u64,
    order: Order,
    reversed: OnceLock<Order>,
}

impl Group {
    /// So many files of so many bytes each.
    pub(crate) fn of_bytes(kind: &str, first: usize, files: usize, bytes: u64) -> Self {
        let block = block(kind);
        let size = block.bytes.len() as u64;
        let mut blocks = bytes / size;
        let mut rest = usize::try_from(bytes % size).unwrap_or(0);
        if rest > 0 && rest < FILLER && blocks > 0 {
            blocks -= 1;
            rest += block.bytes.len();
        }
        let mut tail = Template::default();
        for index in 0..block.ends.len() {
            let end = block.ends[index];
            if end != rest && end + FILLER > rest {
                break;
            }
            let (line, patch) = block.line(index);
            tail.push(line, patch);
        }
        if tail.bytes.len() < rest {
            let (line, patch) = filler(kind, rest - tail.bytes.len());
            tail.push(&line, patch);
        }
        Self::new(kind, first, files, blocks, block, tail)
    }

    /// So many files of one resource each.
    pub(crate) fn of_one_line(kind: &str, first: usize, files: usize) -> Self {
        let block = block(kind);
        let mut tail = Template::default();
        let (line, patch) = block.line(0);
        tail.push(line, patch);
        Self::new(kind, first, files, 0, block, tail)
    }

    fn new(
        kind: &str,
        first: usize,
        files: usize,
        blocks: u64,
        block: Template,
        tail: Template,
    ) -> Self {
        Self {
            kind: kind.to_owned(),
            files,
            count: blocks * block.ends.len() as u64 + tail.ends.len() as u64,
            length: blocks * block.bytes.len() as u64 + tail.bytes.len() as u64,
            first,
            blocks,
            order: Order { block, tail },
            reversed: OnceLock::new(),
        }
    }

    /// The name of one of its files, of which [`Group::index`] is the way back.
    pub(crate) fn name(&self, index: usize) -> String {
        format!("{}.synthetic-{}.ndjson", self.kind, self.first + index)
    }

    /// Which of its files has that name.
    pub(crate) fn index(&self, name: &str) -> Option<usize> {
        let rest = name.strip_prefix(self.kind.as_str())?;
        let number = rest.strip_prefix(".synthetic-")?.strip_suffix(".ndjson")?;
        let index = number.parse::<usize>().ok()?.checked_sub(self.first)?;
        (index < self.files).then_some(index)
    }

    /// At most `most` bytes of a file from `at` on; none where it has ended. `reversed` gives the same resources in another
    /// order, and so in as many bytes.
    pub(crate) fn read(&self, index: usize, reversed: bool, at: u64, most: usize) -> Bytes {
        let order = if reversed {
            self.reversed.get_or_init(|| Order {
                block: self.order.block.reversed(),
                tail: self.order.tail.reversed(),
            })
        } else {
            &self.order
        };
        if at >= self.length {
            return Bytes::new();
        }
        let size = order.block.bytes.len() as u64;
        let (template, block) = if at < self.blocks * size {
            (&order.block, at / size)
        } else {
            (&order.tail, self.blocks)
        };
        let within = usize::try_from(at - block * size).unwrap_or(usize::MAX);
        template.read(within, most, self.first + index, block)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::HashSet;

    use serde_json::Value;

    use super::*;

    fn whole(group: &Group, file: usize, reversed: bool, most: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let piece = group.read(file, reversed, bytes.len() as u64, most);
            if piece.is_empty() {
                return bytes;
            }
            bytes.extend_from_slice(&piece);
        }
    }

    fn ids(bytes: &[u8]) -> Vec<String> {
        let lines = bytes
            .strip_suffix(b"\n")
            .unwrap()
            .split(|byte| *byte == b'\n');
        lines
            .map(|line| {
                let value: Value = serde_json::from_slice(line).unwrap();
                assert_eq!(value["resourceType"], "Observation");
                value["id"].as_str().unwrap().to_owned()
            })
            .collect()
    }

    #[test]
    fn a_file_has_the_bytes_and_the_count_it_says_whatever_its_size() {
        let size = block("Observation").bytes.len() as u64;
        for bytes in [
            300,
            10_000,
            size,
            size + 1,
            size + 255,
            size + 256,
            3 * size + 700,
            1 << 20,
        ] {
            let group = Group::of_bytes("Observation", 5, 2, bytes);
            assert_eq!(group.length, bytes);
            let file = whole(&group, 1, false, usize::MAX);
            assert_eq!(file.len() as u64, bytes);
            assert_eq!(ids(&file).len() as u64, group.count, "{bytes}");
        }
    }

    #[test]
    fn ids_are_unique_over_lines_blocks_and_files() {
        let group = Group::of_bytes("Observation", 0, 2, 1 << 20);
        let mut all = ids(&whole(&group, 0, false, usize::MAX));
        all.extend(ids(&whole(&group, 1, false, usize::MAX)));
        let different: HashSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
    }

    #[test]
    fn any_offset_and_piece_give_the_same_bytes() {
        let group = Group::of_bytes("Observation", 0, 1, 700_000);
        let file = whole(&group, 0, false, usize::MAX);
        assert_eq!(whole(&group, 0, false, 997), file);
        for at in [0, 1, 47, 52, 60, 262_143, 300_001, 699_999] {
            let piece = group.read(0, false, at as u64, 100);
            assert_eq!(piece, file[at..at + piece.len()]);
        }
    }

    #[test]
    fn a_file_reversed_has_the_same_resources_in_other_bytes() {
        let group = Group::of_bytes("Observation", 0, 1, 700_000);
        let (one, other) = (whole(&group, 0, false, 9999), whole(&group, 0, true, 9999));
        assert_eq!(one.len(), other.len());
        assert_ne!(one, other);
        let (mut one, mut other) = (ids(&one), ids(&other));
        one.sort();
        other.sort();
        assert_eq!(one, other);
    }

    #[test]
    fn lines_are_of_many_sizes_between_half_a_kibibyte_and_five() {
        let block = block("Observation");
        let sizes: Vec<_> = (0..block.ends.len())
            .map(|line| block.line(line).0.len())
            .collect();
        assert!(
            sizes.iter().all(|size| (512..=5120).contains(size)),
            "{sizes:?}"
        );
        assert!(sizes.iter().collect::<HashSet<_>>().len() > 40);
    }

    #[test]
    fn a_name_leads_back_to_its_file() {
        let groups = groups(&[Wanted::Outputs(1003)]);
        assert_eq!(groups.iter().map(|group| group.files).sum::<usize>(), 1003);
        let group = &groups[3];
        assert_eq!(group.index(&group.name(7)), Some(7));
        assert_eq!(group.index(&group.name(group.files)), None);
        assert_eq!(groups[4].index(&group.name(7)), None);
    }
}
