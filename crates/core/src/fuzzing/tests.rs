use std::fs;
use std::path::{Path, PathBuf};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target)
}

/// The examples that the fuzzer begins with, too.
fn examples(target: &str) -> Vec<Vec<u8>> {
    let mut files: Vec<PathBuf> = fs::read_dir(corpus(target))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// A small change of an example: some bytes are replaced, taken out, or stand there a second time.
#[derive(Clone, Debug)]
enum Change {
    Replace(Index, Vec<u8>),
    Remove(Index, Index),
    Repeat(Index, Index),
}

fn change() -> impl Strategy<Value = Change> {
    // What means something in one of the formats, and what is at the end of numbers and of characters.
    let words = select(vec![
        "\"",
        "\\",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\n",
        "\r\n",
        "null",
        "true",
        "-1",
        "1e999",
        "0.5",
        "\"\"",
        "\\ud800",
        "\u{feff}",
        "18446744073709551616",
        "%",
        "//",
        "@",
        "?",
        "#",
        "|",
        "ü",
        "-----",
        "=",
        "\0",
    ]);
    prop_oneof![
        (any::<Index>(), words).prop_map(|(at, word)| Change::Replace(at, word.into())),
        (any::<Index>(), vec(any::<u8>(), 0..6)).prop_map(|(at, bytes)| Change::Replace(at, bytes)),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Change::Remove(from, to)),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Change::Repeat(from, to)),
    ]
}

fn changed(mut text: Vec<u8>, changes: Vec<Change>) -> Vec<u8> {
    for change in changes {
        let range = |from: Index, to: Index| {
            let (one, other) = (from.index(text.len() + 1), to.index(text.len() + 1));
            one.min(other)..one.max(other)
        };
        match change {
            Change::Replace(at, bytes) => {
                let at = at.index(text.len() + 1);
                let end = (at + bytes.len()).min(text.len());
                text.splice(at..end, bytes);
            }
            Change::Remove(from, to) => {
                let range = range(from, to);
                text.drain(range);
            }
            Change::Repeat(from, to) => {
                let piece = text[range(from, to)].to_vec();
                text.extend(piece);
            }
        }
    }
    text
}

#[test]
fn every_target_has_a_corpus_and_a_program_for_the_fuzzer() {
    for (name, _) in TARGETS {
        assert!(!examples(name).is_empty(), "{name}");
        let program = corpus(name).join(format!("../../fuzz_targets/{name}.rs"));
        let text = fs::read_to_string(program).unwrap();
        assert!(text.contains(&format!("fuzzing::{name}")), "{name}");
    }
}

/// The corpus is worth something only where it gets past the first look.
#[test]
fn the_examples_are_read() {
    let base = base();
    for text in examples("manifest") {
        let head = head_of(&text, &base);
        assert!(head.is_ok(), "{}", String::from_utf8_lossy(&text));
    }
    for text in examples("outcome") {
        assert!(http::OperationOutcome::parse(&text).is_some());
    }
    for text in examples("lines") {
        assert!(checked(Validate::Json, [&*text]).is_ok());
    }
    for text in examples("mixed") {
        assert!(transfer::split::resource_of(&text).is_ok());
    }
    for text in examples("key") {
        let text = String::from_utf8(text).unwrap();
        assert!(SigningKey::read(&text, Some("1")).is_ok());
    }
    for text in examples("deletions") {
        let named = steps::deletions::bundles::read([&*text], 10);
        assert!(named.found > 0 && named.unclear == 0, "{named:?}");
    }
    for text in examples("errors") {
        assert_eq!(steps::issues::lines::read([&*text]).not_outcomes, 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2000,
        // What fails is to become an example of the corpus, not a file of its own kind.
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_bytes_lead_to_a_value_or_an_error(bytes in vec(any::<u8>(), 0..300)) {
        for (_, target) in TARGETS {
            target(&bytes);
        }
    }

    #[test]
    fn any_change_of_an_example_leads_to_a_value_or_an_error(
        example in any::<Index>(),
        changes in vec(change(), 0..6),
    ) {
        for (name, target) in TARGETS {
            let examples = examples(name);
            let text = examples[example.index(examples.len())].clone();
            target(&changed(text, changes.clone()));
        }
    }
}
