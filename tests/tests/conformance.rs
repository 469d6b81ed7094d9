//! The tables of conformance and of what the two Pathlings do name tests that there are.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

/// Sees that every `file::test` of a page is a test in one of these folders; gives how many there are.
fn named_tests(page: &str, folders: &[&str]) -> usize {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = std::fs::read_to_string(root.join("docs").join(page)).unwrap();
    let named: Vec<(&str, &str)> = page
        .split('`')
        .filter_map(|text| text.split_once("::"))
        .filter(|(file, _)| *file != "file")
        .collect();
    for (file, test) in &named {
        let sources = folders
            .iter()
            .map(|folder| root.join(folder).join(format!("{file}.rs")));
        let mut found = sources.filter_map(|source| std::fs::read_to_string(source).ok());
        let is_there = found.any(|source| source.contains(&format!("fn {test}(")));
        assert!(is_there, "{file}::{test}");
    }
    named.len()
}

#[test]
fn every_test_that_the_table_of_conformance_names_is_there() {
    assert!(named_tests("conformance.md", &["tests/tests"]) > 50);
}

#[test]
fn every_test_that_the_tables_of_the_two_pathlings_name_is_there() {
    let folders = ["tests/tests", "crates/sandbox/tests"];
    assert!(named_tests("pathling.md", &folders) > 50);
}
