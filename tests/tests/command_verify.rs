//! `pathling-import verify`: what was staged is read back from the target and compared.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pathling_import_tests::{Finished, Records as _, pathling_import};
use sandbox::{Dataset, PathlingVersion, Sandbox};
use serde_json::{Value, json};

async fn imported(version: PathlingVersion) -> Sandbox {
    let sandbox = Sandbox::builder()
        .pathling(version)
        .data(Dataset::of(&[("Condition", 40), ("Patient", 30)]))
        .resources_per_file(7)
        .start()
        .await
        .unwrap();
    let _ = pathling_import(&sandbox).run().await.expect_code(0);
    sandbox
}

async fn verify(sandbox: &Sandbox, args: &[&str]) -> Finished {
    let mut run = pathling_import(sandbox).arg("verify");
    for arg in args {
        run = run.arg(arg);
    }
    run.run().await
}

/// How many single resources the target was asked for.
fn reads(sandbox: &Sandbox) -> usize {
    let is_read =
        |path: &str| path.starts_with("/fhir/Patient/") || path.starts_with("/fhir/Condition/");
    let requests = sandbox.target_requests().into_iter();
    requests
        .filter(|it| it.method == "GET" && is_read(&it.path))
        .count()
}

#[tokio::test]
async fn what_arrived_is_read_back_and_is_the_same() {
    let sandbox = imported(PathlingVersion::Two).await;
    let all = verify(&sandbox, &["--all"]).await.expect_code(0);
    assert_eq!(reads(&sandbox), 70);
    for line in [
        "Condition: 40 of 40 equal, of 40 staged",
        "Patient: 30 of 30 equal, of 30 staged",
    ] {
        assert!(all.stdout.contains(line), "{}", all.stdout);
    }
    sandbox.clear_requests();
    let some = verify(&sandbox, &["--sample", "5", "--log-format=json"]).await;
    let some: Value = serde_json::from_str(&some.expect_code(0).stdout).unwrap();
    assert_eq!(some["equal"], true);
    assert_eq!(some["types"]["Patient"]["read"], 5);
    assert_eq!(reads(&sandbox), 10);
}

#[tokio::test]
async fn what_is_not_the_same_at_the_target_is_told_without_a_word_of_it() {
    let sandbox = Sandbox::builder()
        .pathling(PathlingVersion::Two)
        .data(Dataset::of(&[("Condition", 40), ("Patient", 30)]))
        .start()
        .await
        .unwrap();
    let night = || pathling_import(&sandbox).env("SINCE", "auto").run();
    let first = night().await.expect_code(0);
    sandbox.source_put(&json!({"resourceType": "Patient", "id": "patient-1", "language": "zulu"}));
    assert!(sandbox.source_delete("Patient", "patient-2"));
    let _ = night().await.expect_code(0);
    let _ = verify(&sandbox, &["--all"]).await.expect_code(0);
    // What the first run brought is not there any more.
    let args = ["--all", "-vv", "--run", &first.run()];
    let finished = verify(&sandbox, &args).await.expect_code(1);
    for line in [
        "Patient: 28 of 30 equal",
        "1 not at the target",
        "1 different there",
        "language differs in 1\n",
        ".ndjson line ",
    ] {
        assert!(
            finished.stdout.contains(line),
            "{line}: {}",
            finished.stdout
        );
    }
    for secret in ["zulu", "patient-1", "patient-2"] {
        assert!(
            !finished.all().contains(secret),
            "{secret}: {}",
            finished.all()
        );
    }
}

#[tokio::test]
async fn what_cannot_be_read_back_is_said() {
    let sandbox = imported(PathlingVersion::Seven).await;
    let finished = verify(&sandbox, &[]).await;
    finished.expect_error("ConfigurationError", &["Pathling 7", "single resources"]);

    let sandbox = Sandbox::builder().start().await.unwrap();
    let finished = verify(&sandbox, &[]).await;
    finished.expect_error("ConfigurationError", &["no run", "imported"]);
    let finished = verify(&sandbox, &["--run", "abc"]).await;
    finished.expect_error("ConfigurationError", &["no record of run abc", "history"]);
    let _ = verify(&sandbox, &["--sample", "0"]).await.expect_code(2);
    let _ = verify(&sandbox, &["--all", "--sample", "3"])
        .await
        .expect_code(2);
}
