//! What the command says at the end of a run, what it leaves behind as the run's record, and what it names that it did not
//! import.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pathling_import_tests::check::{assert_arrived, assert_import_never_asked};
use pathling_import_tests::{Finished, Records as _, pathling_import};
use sandbox::{Builder, Dataset, PathlingVersion, Sandbox};
use serde_json::{Value, json};

async fn start(builder: Builder) -> Sandbox {
    builder.start().await.unwrap()
}

/// Two types that a target holds, three of which it may not.
fn mixed(version: PathlingVersion) -> Builder {
    let data = Dataset::of(&[
        ("Bundle", 1),
        ("Condition", 1200),
        ("Patient", 5),
        ("StructureDefinition", 3),
        ("StructureMap", 2),
        ("Task", 4),
    ]);
    Sandbox::builder().pathling(version).data(data)
}

fn object(sandbox: &Sandbox, key: &str) -> Value {
    let object = sandbox.s3_object(&format!("pathling/{key}"));
    let object = object.unwrap_or_else(|| panic!("there is no {key}"));
    serde_json::from_slice(&object).unwrap()
}

/// The summary's lines without what differs from run to run.
fn lines(sandbox: &Sandbox, finished: &Finished) -> Vec<String> {
    let text = finished
        .stdout
        .replace(&finished.run(), "<run>")
        .replace(&sandbox.target_endpoint(), "<target>");
    let lines = text.lines().map(|line| match line.split_at_checked(8) {
        Some((name @ "Took    ", _)) => format!("{name}<time>"),
        // Where it is a whole second, that is the next SINCE itself.
        Some((name @ "As of   ", rest)) => {
            assert!(rest.contains("the SINCE of a next delta"), "{rest}");
            format!("{name}<instant>")
        }
        _ => line.to_owned(),
    });
    lines.collect()
}

#[tokio::test]
async fn a_person_reads_what_arrived_what_was_skipped_and_where_it_is_staged() {
    let sandbox = start(mixed(PathlingVersion::Two)).await;
    let finished = pathling_import(&sandbox).run().await.expect_code(0);
    assert_arrived(&sandbox);
    let size: u64 = sandbox
        .s3_objects()
        .iter()
        .filter(|(key, _)| key.ends_with(".ndjson") && !key.contains("/_"))
        .map(|(_, size)| size)
        .sum();
    let size = format!("{:.2} kB", f64::from(u32::try_from(size).unwrap()) / 1000.0);
    let staged = format!("Staged  7 files, {size}, in s3://staging/pathling/runs/<run>");
    let wanted = [
        "",
        "Imported 1,209 resources of 3 types into <target>",
        "",
        "  Condition  1,200",
        "  Patient        5",
        "  Task           4",
        "",
        "Skipped",
        "  types that the target cannot hold:",
        "  Bundle               1",
        "  StructureDefinition  3",
        "  StructureMap         2",
        "",
        "Run     <run> (full export)",
        "As of   <instant>",
        "Mode    merge",
        "Counted the target holds what was staged",
        &staged,
        "Took    <time>",
    ];
    assert_eq!(lines(&sandbox, &finished), wanted);
}

#[tokio::test]
async fn a_program_reads_the_same_as_one_json_object() {
    for (version, held, not) in [
        (
            PathlingVersion::Seven,
            json!({"Condition": 1200, "Patient": 5, "StructureDefinition": 3}),
            json!({"Bundle": 1, "StructureMap": 2, "Task": 4}),
        ),
        (
            PathlingVersion::Two,
            json!({"Condition": 1200, "Patient": 5, "Task": 4}),
            json!({"Bundle": 1, "StructureDefinition": 3, "StructureMap": 2}),
        ),
    ] {
        let sandbox = start(mixed(version)).await;
        let run = pathling_import(&sandbox).arg("--log-format=json");
        let finished = run.run().await;
        let summary = finished.summary();
        assert_eq!(summary["outcome"], "imported");
        assert_eq!(summary["types"], held);
        assert_eq!(summary["skipped"]["unsupported"], not);
        assert_eq!(summary["files"], 7);
        assert_eq!(summary["fetched"], 7);
        assert_eq!(summary["attempts"], 1);
        assert_eq!(summary["resumed"], false);
        assert_eq!(summary["since"], Value::Null);
        let record = object(&sandbox, &format!("runs/{}/_run.json", finished.run()));
        assert_eq!(
            summary["transactionTime"],
            record["manifest"]["transactionTime"]
        );
        assert!(summary["transactionTime"].is_string());
        assert_eq!(summary["target"], json!(sandbox.target_endpoint()));
        let staged = format!("s3://staging/pathling/runs/{}", finished.run());
        assert_eq!(summary["staged"], json!(staged));
        assert!(summary["bytes"].as_u64().unwrap() > 100_000);
        for step in [
            "fhir-export",
            "check-export-status",
            "transfer-to-s3",
            "pathling-import",
            "check-import-status",
            "total",
        ] {
            assert!(summary["seconds"][step].is_number(), "{step}");
        }
        assert_eq!(finished.stdout.lines().count(), 1);
        for line in finished.stderr.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            assert!(
                line["level"].is_string() && line["timestamp"].is_string(),
                "{line}"
            );
        }
    }
}

#[tokio::test]
async fn types_that_the_target_cannot_hold_may_be_an_error_instead() {
    for (version, named) in [
        (PathlingVersion::Seven, "Bundle, StructureMap"),
        (PathlingVersion::Two, "Bundle, StructureMap"),
    ] {
        let sandbox = start(mixed(version)).await;
        let run = pathling_import(&sandbox).env("UNSUPPORTED_TYPES", "fail");
        let words = [named, "TYPES", "UNSUPPORTED_TYPES=skip"];
        run.run().await.expect_error("ConfigurationError", &words);
        assert_import_never_asked(&sandbox);
        assert_eq!(
            sandbox.file_requests().len(),
            0,
            "nothing is fetched in vain"
        );
    }
    // What only this target cannot hold shows when the target has said who it is.
    let sandbox = start(mixed(PathlingVersion::Seven)).await;
    let run = pathling_import(&sandbox)
        .env("UNSUPPORTED_TYPES", "fail")
        .env("TYPES", "Patient,Task");
    run.run()
        .await
        .expect_error("ConfigurationError", &["hold: Task"]);
    assert_import_never_asked(&sandbox);
}

#[tokio::test]
async fn only_types_that_the_target_cannot_hold_are_nothing_to_import() {
    let sandbox = start(mixed(PathlingVersion::Seven)).await;
    let run = pathling_import(&sandbox).env("TYPES", "Task,Bundle");
    let finished = run.run().await.expect_code(0);
    let said = lines(&sandbox, &finished);
    let first = "Nothing to import: the target can hold none of the exported types";
    assert_eq!(said[1], first);
    assert!(said.contains(&"  Bundle  1".to_owned()), "{said:?}");
    assert!(said.contains(&"  Task    4".to_owned()), "{said:?}");
    assert_import_never_asked(&sandbox);
}

#[tokio::test]
async fn deletions_that_the_source_tells_of_are_counted() {
    let sandbox = start(mixed(PathlingVersion::Two)).await;
    let full = pathling_import(&sandbox).run().await.expect_code(0);
    let manifest = object(&sandbox, &format!("runs/{}/_manifest.json", full.run()));
    let since = manifest["transactionTime"].as_str().unwrap().to_owned();
    assert!(sandbox.source_delete("Patient", "patient-2"));
    sandbox.source_put(&json!({"resourceType": "Patient", "id": "patient-3"}));
    let delta = pathling_import(&sandbox).env("SINCE", since);
    let delta = delta.run().await.expect_code(0);
    let named = "Deleted 1 resource, as the source did";
    assert!(delta.stdout.contains(named), "{}", delta.stdout);
    assert!(delta.stdout.contains("(changes since "), "{}", delta.stdout);
    let record = object(&sandbox, &format!("runs/{}/_run.json", delta.run()));
    assert_eq!(record["transfer"]["deletions"], 1);
    assert_eq!(record["deleted"]["found"], 1);
    assert_eq!(record["deleted"]["applied"]["Patient"], 1);
    assert_eq!(sandbox.rows("Patient").len(), 4);
}

#[tokio::test]
async fn the_runs_record_tells_what_was_asked_what_came_and_how_it_ended() {
    let sandbox = start(mixed(PathlingVersion::Seven)).await;
    let run = pathling_import(&sandbox).env("TYPES", "Patient,Task");
    let finished = run.run().await.expect_code(0);
    let record = object(&sandbox, &format!("runs/{}/_run.json", finished.run()));
    let kick_off = &record["kickOffs"][0];
    let status_url = kick_off["statusUrl"].as_str().unwrap();
    assert!(
        status_url.starts_with(&sandbox.source_endpoint()),
        "{record}"
    );
    assert_eq!(kick_off["since"], Value::Null);
    assert_eq!(kick_off["types"], json!(["Patient", "Task"]));
    assert_eq!(kick_off["why"], "SINCE is not set");
    assert_eq!(record["manifest"]["outputs"], 2);
    let transfer = &record["transfer"];
    assert_eq!(transfer["files"], 2);
    assert_eq!(transfer["resources"], json!({"Patient": 5, "Task": 4}));
    assert_eq!(transfer["parameters"]["resourceType"], "Parameters");
    let attempts = record["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 1);
    assert_eq!(attempts[0]["outcome"], "succeeded");
    assert_eq!(attempts[0]["unsupported"], json!(["Task"]));
    assert_eq!(record["outcome"]["name"], "imported");

    let key = kick_off["key"].as_str().unwrap();
    let state = object(&sandbox, &format!("sync/{key}.json"));
    assert_eq!(state["inProgress"], Value::Null);
    assert_eq!(state["runs"][0]["run"], json!(finished.run()));
    assert_eq!(state["runs"][0]["outcome"], "imported");
}

#[tokio::test]
async fn fresh_starts_anew_where_a_run_could_go_on() {
    let sandbox = start(mixed(PathlingVersion::Seven).polls(2)).await;
    let given_up = pathling_import(&sandbox).env("EXPORT_RETRY_TIMES", "1");
    let given_up = given_up.run().await;
    given_up.expect_error("JobInProgressError", &["gave up after 1 wait"]);

    let finished = pathling_import(&sandbox).arg("--fresh").run().await;
    let finished = finished.expect_code(0);
    assert!(!finished.stderr.contains("going on"), "{}", finished.stderr);
    assert_eq!(sandbox.export_kick_offs().len(), 2);
    assert_arrived(&sandbox);
    // The one that was left alone is not taken up afterwards.
    let finished = pathling_import(&sandbox).run().await.expect_code(0);
    assert!(!finished.stderr.contains("going on"), "{}", finished.stderr);
}

#[tokio::test]
async fn version_and_help_need_no_settings() {
    let sandbox = start(Sandbox::builder()).await;
    let run = |argument: &str| {
        let run = pathling_import(&sandbox).only_env(pathling_import_tests::Env::default());
        run.arg(argument).run()
    };
    for argument in ["--version", "-V"] {
        let finished = run(argument).await.expect_code(0);
        let version = format!("pathling-import {}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(finished.stdout, version);
    }
    let finished = run("--help").await.expect_code(0);
    for word in [
        "SOURCE_ENDPOINT (sourceEndpoint)",
        "Exit codes:",
        "--fresh",
        "[CONFIGURATION FILE]",
    ] {
        assert!(finished.stdout.contains(word), "{}", finished.stdout);
    }
    let short = run("-h").await.expect_code(0).stdout;
    assert!(short.lines().count() < 30, "{short}");
    assert_eq!(sandbox.requests(), []);
}
