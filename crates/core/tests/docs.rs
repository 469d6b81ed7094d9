//! The tables in `docs/` are made from the code. `UPDATE_DOCS=1 cargo test -p pathling-import-core --test docs` writes
//! them anew.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fmt::Write as _;
use std::path::Path;

use pathling_import_core::config::table;
use pathling_import_core::error::TABLE;

/// Compares what stands between the marks of `file` with `table`, or writes it there.
fn check(file: &str, table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs")
        .join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    let (begin, end) = ("<!-- made from the code -->\n", "<!-- end -->");
    let (head, rest) = text
        .split_once(begin)
        .expect("the file has no mark where the table begins");
    let (found, tail) = rest
        .split_once(end)
        .expect("the file has no mark where the table ends");
    if found == table {
        return;
    }
    assert!(
        std::env::var_os("UPDATE_DOCS").is_some(),
        "docs/{file} is not what the code says; UPDATE_DOCS=1 writes it anew"
    );
    std::fs::write(&path, format!("{head}{begin}{table}{end}{tail}")).unwrap();
}

#[test]
fn the_documented_settings_are_the_settings() {
    check("configuration.md", &table::markdown());
}

#[test]
fn the_documented_errors_are_the_errors() {
    let mut table = String::from(
        "| name | cause | retried by the workflow | exit code | what to do |\n|---|---|---|---|---|\n",
    );
    for row in TABLE {
        let retried = if row.retried { "yes" } else { "no" };
        writeln!(
            table,
            "| `{}` | {} | {retried} | {} | {} |",
            row.name, row.cause, row.exit_code, row.advice
        )
        .unwrap();
    }
    check("errors.md", &table);
}
