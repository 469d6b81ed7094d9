//! The tables in `docs/` are made from the code. `UPDATE_DOCS=1 cargo test -p pathling-import-core --test docs` writes
//! them anew.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fmt::Write as _;
use std::path::Path;

use pathling_import_core::config::table;
use pathling_import_core::error::TABLE;
use serde_json::Value;

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
fn the_documented_record_is_the_schema_of_the_record() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/run-record.schema.json");
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut table = String::from("| field | shape | what |\n|---|---|---|\n");
    rows(&schema, &schema, "", &mut table);
    check("run-record.md", &table);
}

/// A row for each field of an object, and of what it holds.
fn rows(schema: &Value, of: &Value, path: &str, table: &mut String) {
    let of = referred(schema, of);
    let of = referred(schema, of.get("items").unwrap_or(of));
    for (name, field) in of["properties"].as_object().into_iter().flatten() {
        let (shape, has_fields) = shape(schema, field);
        let what = field["description"].as_str().expect("it says what it is");
        let path = format!("{path}{name}");
        writeln!(table, "| `{path}` | {shape} | {what} |").unwrap();
        if has_fields {
            let below = if shape.starts_with("list") {
                "[]."
            } else {
                "."
            };
            rows(schema, field, &format!("{path}{below}"), table);
        }
    }
}

fn referred<'a>(schema: &'a Value, of: &'a Value) -> &'a Value {
    let name = of["$ref"]
        .as_str()
        .and_then(|it| it.strip_prefix("#/$defs/"));
    name.map_or(of, |name| &schema["$defs"][name])
}

/// What a field's value looks like, and whether it has fields of its own.
fn shape(schema: &Value, field: &Value) -> (String, bool) {
    let whole = referred(schema, field);
    let names: Vec<&str> = match &whole["type"] {
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
        name => name.as_str().into_iter().collect(),
    };
    let has = |word: &str| whole.get(word).is_some();
    let items = |word: &str| whole["items"].get(word).is_some();
    let (shape, has_fields) = match names.first() {
        Some(&"array") if items("properties") => ("list of objects", true),
        Some(&"array") if items("prefixItems") => ("list of pairs: moment, run", false),
        Some(&"array") => ("list of strings", false),
        Some(&"object") if has("properties") => ("object", true),
        Some(&"object") if has("additionalProperties") => ("object of integers", false),
        Some(&"object") => ("object of any content", false),
        Some(&"string") if has("format") => ("moment", false),
        Some(name) => (*name, false),
        None => ("one of those words", false),
    };
    let is_nullable = names.contains(&"null") || names.is_empty();
    let or_null = if is_nullable { " or null" } else { "" };
    (format!("{shape}{or_null}"), has_fields)
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
