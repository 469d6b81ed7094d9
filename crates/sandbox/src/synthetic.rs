//! Large files, and many of them, that nobody keeps: a block of lines is made once for a type, and every file is that block
//! again and again, with other ids. Any byte of a file can be had at once, and costs about as much as copying it.
//!
//! Lines are 0.5 to 5 KiB long, in an order that never changes. Ids are unique over all files of a sandbox:
//! `<type in lower case>-<file>-<block>-<line>`, all of fixed width. What this is not: data that makes sense to a
//! clinician. A file of less than a few hundred bytes is one line, and a little longer than asked for.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde_json::{Value, json};

use crate::dataset::resource;

/// The least size of a block.
const BLOCK: usize = 256 << 10;

/// The part of an id that differs between files and blocks: six digits, a hyphen, eight digits.
const PATCH: usize = 15;

/// The least length of the line that fills a file up to its size.
const FILLER: usize = 256;

/// The sizes of lines, over and over.
const SIZES: [usize; 16] = [
    620, 1480, 900, 2300, 700, 1150, 3900, 560, 1800, 830, 5000, 1240, 660, 2750, 980, 1600,
];

const WORDS: [&str; 24] = [
    "patient",
    "reports",
    "mild",
    "chest",
    "pain",
    "since",
    "Tuesday",
    "no",
    "fever",
    "blood",
    "pressure",
    "within",
    "normal",
    "limits",
    "Müller",
    "follow-up",
    "in",
    "three",
    "weeks",
    "medication",
    "unchanged",
    "allergy",
    "penicillin",
    "côté",
];

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

/// Files that a source is asked to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// So many files of so many bytes each.
    Bytes {
        kind: String,
        files: usize,
        bytes: u64,
    },
    /// So many files of one resource each, over ten types.
    Outputs(usize),
}

/// The groups that stand for what is wanted.
pub(crate) fn groups(wanted: &[Wanted]) -> Vec<Arc<Group>> {
    const KINDS: [&str; 10] = [
        "AllergyIntolerance",
        "Condition",
        "DiagnosticReport",
        "Encounter",
        "Immunization",
        "MedicationRequest",
        "Observation",
        "Patient",
        "Procedure",
        "ServiceRequest",
    ];
    let mut groups = Vec::new();
    let mut first = 0;
    for wanted in wanted {
        match wanted {
            Wanted::Bytes { kind, files, bytes } => {
                groups.push(Arc::new(Group::of_bytes(kind, first, *files, *bytes)));
                first += files;
            }
            Wanted::Outputs(outputs) => {
                for (index, kind) in KINDS.into_iter().enumerate() {
                    let files = (outputs + index) / KINDS.len();
                    if files > 0 {
                        groups.push(Arc::new(Group::of_one_line(kind, first, files)));
                        first += files;
                    }
                }
            }
        }
    }
    groups
}

/// An id with room for what is patched.
fn id(kind: &str, line: usize) -> String {
    let kind = kind.to_ascii_lowercase();
    format!("{kind}-000000-00000000-{line:04}")
}

/// Where the id of a line is patched.
fn patch(kind: &str) -> usize {
    format!(r#"{{"resourceType":"{kind}","id":"{kind}-"#).len()
}

/// A block of a type's lines.
fn block(kind: &str) -> Template {
    let mut block = Template::default();
    let mut seed = kind.bytes().fold(7_u64, |seed, byte| {
        seed.wrapping_mul(31).wrapping_add(u64::from(byte))
    });
    for line in 0.. {
        if block.bytes.len() >= BLOCK {
            break;
        }
        let size = SIZES[line % SIZES.len()];
        block.push(text(kind, line, size, &mut seed).as_bytes(), patch(kind));
    }
    block
}

/// A line of about this size.
fn text(kind: &str, line: usize, size: usize, seed: &mut u64) -> String {
    let mut next = |below: u64| {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        *seed % below
    };
    let plain = resource(kind, line + 1, "");
    let mut value: Value = serde_json::from_slice(&plain.line).unwrap_or_default();
    value["id"] = json!(id(kind, line));
    value["meta"] = json!({
        "versionId": next(9).to_string(),
        "lastUpdated": format!("2026-{:02}-{:02}T{:02}:12:0{}.{:03}Z", next(12) + 1, next(28) + 1, next(24), next(10), next(1000)),
        "source": format!("urn:uuid:{:08x}-{:04x}-4b{:02x}", next(1 << 32), next(1 << 16), next(1 << 8)),
    });
    value["identifier"] = json!([]);
    while value.to_string().len() + 300 < size {
        let words: Vec<_> = (0..4 + next(9))
            .map(|_| WORDS[usize::try_from(next(24)).unwrap_or(0)])
            .collect();
        let identifier = json!({
            "system": format!("https://hospital.example/fhir/sid/{}", next(40)),
            "value": format!("{:010}", next(10_000_000_000)),
            "assigner": {"display": format!("\"{}\"\n{}", words[0], words.join(" "))},
        });
        if let Some(identifiers) = value["identifier"].as_array_mut() {
            identifiers.push(identifier);
        }
    }
    value.to_string()
}

/// A line of exactly this many bytes with its newline, or of a little more where that is too few.
fn filler(kind: &str, bytes: usize) -> (Vec<u8>, usize) {
    let start = format!(
        r#"{{"resourceType":"{kind}","id":"{}","language":""#,
        id(kind, 9999)
    );
    let room = bytes.saturating_sub(start.len() + 3);
    let line = format!("{start}{}\"}}", "en ".repeat(room / 3 + 1).split_at(room).0);
    (line.into_bytes(), patch(kind))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::HashSet;

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
            sizes.iter().all(|size| (400..=5200).contains(size)),
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
