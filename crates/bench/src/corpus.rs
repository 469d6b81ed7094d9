//! The files that the source holds: NDJSON of FHIR resources, made once, in memory.
//!
//! Each type has a block of whole lines. A file is a slice of its type's block and a last line or two that bring it to
//! exactly the size that was asked for, so that a request costs nothing but its sending. No two resources of one work
//! share an id.

mod resource;

use bytes::Bytes;

/// The types; file `n` holds resources of the type `n % 10`.
pub(crate) const TYPES: [&str; 10] = [
    "Observation",
    "Condition",
    "Encounter",
    "Procedure",
    "MedicationRequest",
    "DiagnosticReport",
    "Immunization",
    "Claim",
    "AllergyIntolerance",
    "Patient",
];

/// How many bytes of different resources a block is made of; beyond that only ids differ.
const BASE: usize = 4 << 20;

/// The longest line that fills a file up, and the shortest.
const FILLER: std::ops::RangeInclusive<usize> = 256..=4096;

/// The type of the resources of a file.
pub(crate) fn type_of(n: u64) -> &'static str {
    TYPES[usize::try_from(n % TYPES.len() as u64).unwrap_or_default()]
}

/// All that the source can serve.
#[derive(Debug)]
pub(crate) struct Corpus(Vec<Block>);

impl Corpus {
    /// A corpus whose files of the first type are together at least `first` bytes, and those of each other type `each`.
    pub(crate) fn new(first: usize, each: usize) -> Self {
        let blocks = std::thread::scope(|scope| {
            let threads: Vec<_> = TYPES
                .iter()
                .enumerate()
                .map(|(index, name)| {
                    let size = if index == 0 { first } else { each };
                    scope.spawn(move || Block::new(name, size))
                })
                .collect();
            threads
                .into_iter()
                .filter_map(|thread| thread.join().ok())
                .collect()
        });
        Self(blocks)
    }

    /// The pieces of file `n` of files of `bytes` bytes. None where a file is too small to hold a resource, or lies beyond
    /// the block.
    pub(crate) fn file(&self, bytes: usize, n: u64) -> Option<Vec<Bytes>> {
        let types = TYPES.len() as u64;
        let block = self.0.get(usize::try_from(n % types).ok()?)?;
        let from = bytes.checked_mul(usize::try_from(n / types).ok()?)?;
        let to = from.checked_add(bytes)?;
        if bytes < *FILLER.start() || to > block.bytes.len() {
            return None;
        }
        // What is filled up has to be long enough for a line.
        let (begin, end) = (block.line_from(from), block.line_until(to - FILLER.start()));
        let lines = block.bytes.slice(begin..end.max(begin));
        let mut left = bytes - lines.len();
        let mut pieces = vec![lines];
        let mut index = 0;
        while left > 0 {
            let length = if left <= *FILLER.end() {
                left
            } else {
                (*FILLER.end()).min(left - FILLER.start())
            };
            pieces.push(resource::filler(type_of(n), n, index, length));
            left -= length;
            index += 1;
        }
        Some(pieces)
    }
}

/// The lines of one type: the same base again and again, each time with other ids.
#[derive(Debug)]
struct Block {
    bytes: Bytes,
    base: usize,
    starts: Vec<usize>,
}

impl Block {
    fn new(resource_type: &str, size: usize) -> Self {
        let mut base = Vec::with_capacity(BASE.min(size) + (8 << 10));
        let mut starts = Vec::new();
        let mut numbers = resource::Numbers::of(resource_type);
        while base.len() < BASE.min(size).max(1) {
            starts.push(base.len());
            resource::line(&mut base, resource_type, &mut numbers);
        }
        let times = size.div_ceil(base.len());
        let mut bytes = Vec::with_capacity(base.len() * times);
        for time in 0..times {
            let begin = bytes.len();
            bytes.extend_from_slice(&base);
            let mark = format!("{time:08x}");
            for start in &starts {
                let id = begin + start + resource::id_offset(resource_type);
                bytes[id..id + mark.len()].copy_from_slice(mark.as_bytes());
            }
        }
        Self {
            bytes: bytes.into(),
            base: base.len(),
            starts,
        }
    }

    /// Where the first line begins that begins at `at` or behind it.
    fn line_from(&self, at: usize) -> usize {
        let (time, rest) = (at / self.base, at % self.base);
        let line = self.starts.partition_point(|start| *start < rest);
        time * self.base + self.starts.get(line).unwrap_or(&self.base)
    }

    /// Where the last line begins that begins at `at` or before it.
    fn line_until(&self, at: usize) -> usize {
        let (time, rest) = (at / self.base, at % self.base);
        let line = self.starts.partition_point(|start| *start <= rest);
        time * self.base + self.starts[line.saturating_sub(1)]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use serde_json::Value;

    use super::*;

    fn text(corpus: &Corpus, bytes: usize, n: u64) -> String {
        String::from_utf8(corpus.file(bytes, n).unwrap().concat()).unwrap()
    }

    #[test]
    fn a_file_has_the_size_asked_for_and_lines_of_its_type_with_ids_of_their_own() {
        let corpus = Corpus::new(12 << 20, 1 << 20);
        let mut ids = HashSet::new();
        for n in 0..30 {
            let text = text(&corpus, 300_000, n);
            assert_eq!(text.len(), 300_000);
            assert!(text.ends_with('\n'));
            for line in text.lines() {
                assert!((256..=5_120).contains(&(line.len() + 1)), "{}", line.len());
                assert!(line.starts_with("{\"resourceType\":\""));
                let resource: Value = serde_json::from_str(line).unwrap();
                assert_eq!(resource["resourceType"], type_of(n));
                assert!(ids.insert(resource["id"].as_str().unwrap().to_owned()));
            }
        }
    }

    #[test]
    fn ids_differ_where_the_base_of_a_block_comes_again() {
        let corpus = Corpus::new(12 << 20, 4096);
        let text = text(&corpus, 12 << 20, 0);
        let ids: Vec<&str> = text.lines().map(|line| &line[23..60]).collect();
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
    }

    #[test]
    fn files_are_of_any_size_and_none_is_served_that_there_is_not() {
        let corpus = Corpus::new(64 << 10, 64 << 10);
        for bytes in [256, 257, 1024, 4096, 4097, 5000, 64 << 10] {
            for n in [0, 9] {
                let text = text(&corpus, bytes, n);
                assert_eq!(text.len(), bytes);
                for line in text.lines() {
                    let resource: Value = serde_json::from_str(line).unwrap();
                    assert_eq!(resource["resourceType"], type_of(n));
                }
            }
        }
        assert!(corpus.file(255, 0).is_none());
        assert!(corpus.file(64 << 10, 20).is_none());
    }
}
