//! The command from end to end: what it brings to the target, from which settings, and what it says and writes of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pathling_import_tests::check::{
    assert_arrived, assert_folder_whole, assert_import_never_asked, assert_no_secrets,
    assert_no_token_leaks, assert_nothing_half_staged,
};
use pathling_import_tests::{CommandRun, Finished, Records as _, pathling_import};
use sandbox::{Dataset, PathlingVersion, Sandbox};
use serde_json::{Value, json};

const BOTH: [PathlingVersion; 2] = [PathlingVersion::Seven, PathlingVersion::Two];

async fn hospital(version: PathlingVersion) -> Sandbox {
    Sandbox::builder()
        .pathling(version)
        .data(Dataset::synthetic(12))
        .resources_per_file(5)
        .polls(2)
        .import_polls(2)
        .start()
        .await
        .unwrap()
}

/// The run ended well, everything is in the target, and nothing went where it must not.
fn assert_synchronised(sandbox: &Sandbox, finished: &Finished) {
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert_arrived(sandbox);
    assert_no_token_leaks(sandbox);
    assert_no_secrets(sandbox, &finished.all());
}

/// The run's settings in a file, and only the AWS SDK's own variables in the environment.
fn from_file(run: CommandRun) -> CommandRun {
    let (settings, others) = run.environment().clone().into_file();
    run.only_env(others)
        .file("settings.json", settings)
        .arg("settings.json")
}

#[tokio::test]
async fn everything_reaches_both_pathlings_over_s3() {
    for version in BOTH {
        let sandbox = hospital(version).await;
        let finished = pathling_import(&sandbox).run().await;
        assert_synchronised(&sandbox, &finished);
        assert_nothing_half_staged(&sandbox);
        assert_eq!(sandbox.export_kick_offs().len(), 1);
        assert_eq!(sandbox.import_kick_offs().len(), 1);
    }
}

#[tokio::test]
async fn everything_reaches_both_pathlings_over_a_folder_which_is_made_where_it_is_missing() {
    for version in BOTH {
        let sandbox = hospital(version).await;
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("not/yet/there");
        for url in [
            format!("file://{}", folder.display()),
            folder.display().to_string(),
        ] {
            let run = pathling_import(&sandbox).env("STAGING_URL", url);
            let finished = run.run().await;
            assert_synchronised(&sandbox, &finished);
        }
        assert_folder_whole(&folder);
        assert_eq!(sandbox.s3_objects(), [], "nothing goes to S3");
    }
}

#[tokio::test]
async fn a_relative_path_for_staging_is_told_to_the_target_as_an_absolute_one() {
    let sandbox = hospital(PathlingVersion::Seven).await;
    let run = pathling_import(&sandbox).env("STAGING_URL", "staging");
    let wanted = format!("file://{}/staging/runs/", run.folder().display());
    let finished = run.run().await;
    assert_synchronised(&sandbox, &finished);
    let body = sandbox.import_kick_offs().remove(0).body.unwrap();
    let url = body["parameter"][0]["part"][1]["valueUrl"]
        .as_str()
        .unwrap();
    assert!(
        url.starts_with(&wanted),
        "{url} does not begin with {wanted}"
    );
}

#[tokio::test]
async fn a_file_leads_to_the_same_run_as_the_environment() {
    let mut told = Vec::new();
    for in_file in [false, true] {
        let sandbox = hospital(PathlingVersion::Two).await;
        let run = pathling_import(&sandbox)
            .env("TYPES", "Patient, Condition")
            .env("IMPORT_MODE", "overwrite")
            .env("EXPORT_RETRY_BACK_OFF", "1.5")
            .arg("--log-format")
            .arg("json");
        let run = if in_file { from_file(run) } else { run };
        let finished = run.run().await;
        let mut summary = finished.summary();
        assert_no_token_leaks(&sandbox);
        for own in [
            "run",
            "transactionTime",
            "watermark",
            "target",
            "staged",
            "seconds",
            "bytes",
        ] {
            assert!(summary.as_object_mut().unwrap().remove(own).is_some());
        }
        // Where the manifest's time is a whole second, there is none.
        summary.as_object_mut().unwrap().remove("nextSince");
        let requests: Vec<String> = sandbox
            .requests()
            .iter()
            .map(|it| format!("{} {} {:?}", it.service, it.method, it.status))
            .collect();
        let kick_off = sandbox.export_kick_offs().remove(0).query;
        told.push((summary, requests.len(), kick_off));
    }
    assert_eq!(told[0], told[1]);
    assert_eq!(told[0].0["types"], json!({"Condition": 24, "Patient": 12}));
    assert_eq!(told[0].0["mode"], "overwrite");
}

#[tokio::test]
async fn a_file_may_hold_json_types_goes_before_the_environment_and_may_leave_the_rest_to_it() {
    let sandbox = hospital(PathlingVersion::Seven).await;
    let settings = json!({
        "types": ["Encounter", "Practitioner"],
        "sourceAuthenticationEnabled": true,
        "exportRetryTimes": 20,
        "exportRetryWait": 0.01,
        "exportRetryBackOff": "1",
        "targetDialect": null,
        "importMode": "",
    });
    let finished = pathling_import(&sandbox)
        .env("TYPES", "Patient")
        .env("EXPORT_RETRY_TIMES", "0")
        .file("settings.json", settings.to_string())
        .arg("settings.json")
        .arg("--log-format=json")
        .run()
        .await;
    let types = json!({"Encounter": 12, "Practitioner": 2});
    assert_eq!(finished.summary()["types"], types);
    let asked = sandbox.export_kick_offs().remove(0).parameter("_type");
    assert_eq!(asked.as_deref(), Some("Encounter,Practitioner"));
}

/// The time of the run's export, as its manifest in staging says it.
fn transaction_time(sandbox: &Sandbox, run: &str) -> String {
    let manifest = sandbox.s3_object(&format!("pathling/runs/{run}/_manifest.json"));
    let manifest: Value = serde_json::from_slice(&manifest.unwrap()).unwrap();
    manifest["transactionTime"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_incremental_run_brings_what_changed_and_nothing_else() {
    for version in BOTH {
        let sandbox = hospital(version).await;
        let full = pathling_import(&sandbox).run().await;
        assert_synchronised(&sandbox, &full);
        let since = transaction_time(&sandbox, &full.run());
        let changed = json!({"resourceType": "Patient", "id": "patient-3", "active": false});
        let new = json!({"resourceType": "Condition", "id": "new", "note": [{"text": "é"}]});
        assert!(sandbox.source_put(&changed) && sandbox.source_put(&new));

        let delta = pathling_import(&sandbox)
            .env("SINCE", &since)
            .arg("--log-format=json")
            .run()
            .await;
        assert_synchronised(&sandbox, &delta);
        let summary = delta.summary();
        assert_eq!(summary["types"], json!({"Condition": 1, "Patient": 1}));
        assert_eq!(summary["since"], json!(since));
        assert_eq!(summary["mode"], "merge");
        assert_ne!(delta.run(), full.run());

        let nothing = pathling_import(&sandbox)
            .env("SINCE", transaction_time(&sandbox, &delta.run()))
            .run()
            .await;
        assert_synchronised(&sandbox, &nothing);
        let said = "\nNothing to import: the export holds no resources\n";
        assert!(nothing.stdout.starts_with(said), "{}", nothing.stdout);
        assert_eq!(sandbox.import_kick_offs().len(), 2, "full and delta");
    }
}

#[tokio::test]
async fn an_instant_in_another_zone_is_asked_for_as_the_same_moment_in_utc() {
    for (since, asked) in [
        ("2026-01-31T01:30:00+02:00", "2026-01-30T23:30:00Z"),
        ("2026-01-31T01:30:00.25-09:30", "2026-01-31T11:00:00.25Z"),
        ("2026-01-31T01:30:00.000Z", "2026-01-31T01:30:00.000Z"),
    ] {
        let sandbox = hospital(PathlingVersion::Seven).await;
        let finished = pathling_import(&sandbox).env("SINCE", since).run().await;
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        let kick_off = sandbox.export_kick_offs().remove(0);
        assert_eq!(kick_off.parameter("_since").as_deref(), Some(asked));
        assert!(!kick_off.query.contains('+'), "{}", kick_off.query);
    }
}

#[tokio::test]
async fn a_full_overwrite_makes_the_target_a_copy_of_each_type_that_has_resources() {
    for version in BOTH {
        let sandbox = hospital(version).await;
        let run = || pathling_import(&sandbox).env("IMPORT_MODE", "overwrite");
        assert_synchronised(&sandbox, &run().run().await);
        assert!(sandbox.source_delete("Patient", "patient-1"));
        // Without overwriting, the row would stay.
        let finished = run().run().await;
        assert_synchronised(&sandbox, &finished);
        assert!(finished.stdout.contains("\nMode    overwrite\n"));
        assert_eq!(sandbox.rows("Patient").len(), 11);
    }
}

#[tokio::test]
async fn a_source_with_nothing_at_all_is_nothing_to_import_and_a_success() {
    let sandbox = Sandbox::builder().data(Dataset::empty()).start().await;
    let sandbox = sandbox.unwrap();
    let finished = pathling_import(&sandbox)
        .arg("--log-format=json")
        .run()
        .await;
    let summary = finished.summary();
    assert_eq!(summary["outcome"], "nothing to import");
    assert_eq!(summary["resources"], 0);
    assert_eq!(summary["types"], json!({}));
    assert_eq!(summary["mode"], Value::Null);
    assert_import_never_asked(&sandbox);
    let record = sandbox.s3_object(&format!("pathling/runs/{}/_run.json", finished.run()));
    let record: Value = serde_json::from_slice(&record.unwrap()).unwrap();
    assert_eq!(record["outcome"]["name"], "nothing to import");
}
