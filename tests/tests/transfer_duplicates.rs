//! An id that comes more than once in an export: Pathling fails a merge on it, and the transfer has seen it before.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pathling_import_tests::staged::staging_folder;
use pathling_import_tests::{ToldSource, Transferring};
use sandbox::Sandbox;
use serde_json::{Value, json};

fn lines(resource_type: &str, ids: &[&str]) -> String {
    let line = |id: &&str| format!("{{\"resourceType\":\"{resource_type}\",\"id\":\"{id}\"}}\n");
    ids.iter().map(line).collect()
}

/// An export with these files: type and content. One without a type holds several.
async fn source(files: &[(&str, String)]) -> ToldSource {
    let names: Vec<_> = (1..=files.len()).map(|number| number.to_string()).collect();
    let output = |((resource_type, _), name): (&(&str, String), &String)| {
        let mut output = json!({"url": format!("{{source}}/files/{name}")});
        if !resource_type.is_empty() {
            output["type"] = json!(resource_type);
        }
        output
    };
    let outputs: Vec<_> = files.iter().zip(&names).map(output).collect();
    let manifest = json!({
        "transactionTime": "2026-01-01T00:00:00Z",
        "requiresAccessToken": false,
        "output": outputs,
    });
    let contents = names.iter().zip(files);
    let contents: Vec<_> = contents
        .map(|(name, (_, text))| (name.as_str(), text.as_str()))
        .collect();
    ToldSource::start(&manifest, &contents).await
}

async fn transfer(source: &ToldSource, env: &[(&str, &str)]) -> Transferring {
    let builder = Sandbox::builder().source_auth(false);
    let env = [&[("SOURCE_ENDPOINT", source.endpoint())], env].concat();
    Transferring::of(builder, &env).await
}

/// A file's index and a line's number.
type At = (String, u64);

/// What the run's record says of ids that came twice: how many, and of the lines type, file's index and number.
fn recorded(transfer: &Transferring) -> (Value, Vec<(String, Vec<At>)>) {
    let run = transfer.event()["run"].as_str().unwrap();
    let record = staging_folder(&transfer.sandbox).join("runs").join(run);
    let record = std::fs::read(record.join("_run.json")).unwrap();
    let record: Value = serde_json::from_slice(&record).unwrap();
    let duplicates = &record["duplicates"];
    let line = |line: &Value| {
        let file = line["file"].as_str().unwrap().rsplit('/').next().unwrap();
        (file[..5].to_owned(), line["line"].as_u64().unwrap())
    };
    let repeated = |it: &Value| {
        let lines = it["lines"].as_array().unwrap().iter().map(line);
        let name = it["resourceType"].as_str().unwrap();
        (name.to_owned(), lines.collect())
    };
    let first = duplicates["first"].as_array();
    let mut first: Vec<_> = first.into_iter().flatten().map(repeated).collect();
    first.sort();
    (duplicates["found"].clone(), first)
}

fn at(file: &str, line: u64) -> At {
    (file.to_owned(), line)
}

#[tokio::test]
async fn an_id_that_comes_twice_is_told_with_its_type_its_files_and_lines_and_without_itself() {
    for validate in ["lines", "json"] {
        let source = source(&[
            ("Patient", lines("Patient", &["first", "secret-7", "third"])),
            (
                "Patient",
                lines("Patient", &["fourth", "fifth", "secret-7"]),
            ),
            (
                "Condition",
                lines("Condition", &["first", "same", "other", "same"]),
            ),
        ])
        .await;
        let mut transfer = transfer(&source, &[("VALIDATE", validate)]).await;
        transfer.succeed().await;
        let (found, first) = recorded(&transfer);
        assert_eq!(found, 2);
        let wanted = [
            ("Condition".to_owned(), vec![at("00002", 2), at("00002", 4)]),
            ("Patient".to_owned(), vec![at("00000", 2), at("00001", 3)]),
        ];
        assert_eq!(first, wanted);
        let logs = transfer.logs();
        assert!(logs.contains("2 ids came more than once"), "{logs}");
        assert!(!logs.contains("secret-7"), "{logs}");
        // Nothing is copied any more, so nothing is found twice.
        transfer.succeed().await;
        assert_eq!(recorded(&transfer), (found, first));
    }
}

#[tokio::test]
async fn ids_that_come_once_are_not_told_of() {
    let source = source(&[
        ("Patient", lines("Patient", &["1", "2"])),
        ("Condition", lines("Condition", &["1", "2"])),
    ])
    .await;
    let mut transfer = transfer(&source, &[("DUPLICATES", "fail")]).await;
    transfer.succeed().await;
    assert_eq!(recorded(&transfer), (Value::Null, Vec::new()));
}

#[tokio::test]
async fn a_run_with_an_id_that_comes_twice_can_be_refused_and_stays_so() {
    let source = source(&[("Patient", lines("Patient", &["1", "2", "1"]))]).await;
    let mut transfer = transfer(&source, &[("DUPLICATES", "fail")]).await;
    // The second call finds everything staged, and copies nothing.
    for _ in 0..2 {
        let words = [
            "1 ids came more than once",
            "Patient",
            "line 1",
            "line 3",
            "DUPLICATES=warn",
        ];
        transfer.fail("IntegrityError", &words).await;
    }
    assert_eq!(recorded(&transfer).0, 1);
}

#[tokio::test]
async fn an_id_is_found_in_files_of_several_types_too() {
    let both = lines("Patient", &["1", "2"]) + &lines("Condition", &["1", "9"]);
    let source = source(&[("", both), ("Condition", lines("Condition", &["3", "9"]))]).await;
    let mut transfer = transfer(&source, &[("MIXED_FILES", "split")]).await;
    transfer.succeed().await;
    let (found, first) = recorded(&transfer);
    let wanted = [("Condition".to_owned(), vec![at("00000", 2), at("00001", 2)])];
    assert_eq!((found, first.as_slice()), (json!(1), wanted.as_slice()));
}
