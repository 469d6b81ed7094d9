//! The table of conformance names tests that there are.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

#[test]
fn every_test_that_the_table_of_conformance_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = std::fs::read_to_string(root.join("../docs/conformance.md")).unwrap();
    let named: Vec<(&str, &str)> = table
        .split('`')
        .filter_map(|text| text.split_once("::"))
        .filter(|(file, _)| *file != "file")
        .collect();
    assert!(named.len() > 50, "{named:?}");
    for (file, test) in named {
        let source = root.join("tests").join(format!("{file}.rs"));
        let source = std::fs::read_to_string(&source).unwrap_or_else(|_| panic!("no {file}.rs"));
        assert!(source.contains(&format!("fn {test}(")), "{file}::{test}");
    }
}
