//! `transfer-to-s3` by its public contract, with staging in a folder: batches, and files that are not the run's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pathling_import_core::config::{Settings, Step};
use pathling_import_core::steps::{self, Context};
use pathling_import_core::{Error, Kind};
use sandbox::{Dataset, Fault, Sandbox};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A source with ten files, and an empty folder.
struct Stage {
    sandbox: Sandbox,
    staging: TempDir,
    context: Context,
    complete: Value,
}

impl Stage {
    async fn set() -> Self {
        Self::set_with(None).await
    }

    /// As far as the export is complete. The fault is on from the beginning.
    async fn set_with(fault: Option<Fault>) -> Self {
        let builder = Sandbox::builder()
            .auth(false)
            .polls(0)
            .data(Dataset::of(&[("Patient", 6), ("Condition", 4)]))
            .resources_per_file(1);
        let sandbox = builder.start().await.unwrap();
        if let Some(fault) = fault {
            sandbox.faults().on(fault);
        }
        let staging = tempfile::tempdir().unwrap();
        let context =
            Context::new(settings(Step::Command, &sandbox, staging.path(), "false").unwrap());
        let mut event = json!({});
        for step in [Step::FhirExport, Step::CheckExportStatus] {
            event = steps::run(step, &context, event).await.unwrap();
        }
        Self {
            sandbox,
            staging,
            context,
            complete: event,
        }
    }

    fn run(&self) -> &str {
        self.complete["run"].as_str().unwrap()
    }

    fn folder(&self) -> PathBuf {
        self.staging.path().join("runs").join(self.run())
    }

    fn record(&self) -> Value {
        let record = std::fs::read(self.folder().join("_run.json")).unwrap();
        serde_json::from_slice(&record).unwrap()
    }

    fn batch(&self, items: &Value) -> Value {
        let manifest = format!("file://{}/_manifest.json", self.folder().display());
        json!({"run": self.run(), "items": items, "manifest": manifest})
    }

    async fn transfer(&self, event: Value) -> Result<Value, Error> {
        steps::run(Step::TransferToS3, &self.context, event).await
    }

    /// The staged files of resources, by type and index.
    fn staged(&self) -> Vec<(String, usize)> {
        let mut staged = Vec::new();
        for kind in ["Condition", "Patient"] {
            let entries = std::fs::read_dir(self.folder().join(kind));
            for entry in entries.into_iter().flatten() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                staged.push((kind.to_owned(), name[..5].parse().unwrap()));
            }
        }
        staged.sort();
        staged
    }
}

fn settings(
    step: Step,
    sandbox: &Sandbox,
    staging: &Path,
    batches: &str,
) -> Result<Settings, Error> {
    let settings = [
        ("SOURCE_ENDPOINT", sandbox.source_endpoint()),
        ("SOURCE_AUTHENTICATION_ENABLED", "false".to_owned()),
        ("TARGET_ENDPOINT", sandbox.target_endpoint()),
        ("TARGET_AUTHENTICATION_ENABLED", "false".to_owned()),
        ("STAGING_URL", staging.to_str().unwrap().to_owned()),
        ("TRANSFER_BATCHES", batches.to_owned()),
    ];
    let settings: BTreeMap<_, _> = settings
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    Settings::load(step, &settings, None)
}

#[tokio::test]
async fn a_batch_copies_just_its_files_and_tells_no_more_than_how_much_that_is() {
    let stage = Stage::set().await;
    let before = stage.record();
    let output = stage
        .transfer(stage.batch(&json!([8, 1, 4])))
        .await
        .unwrap();
    let indices: Vec<usize> = stage.staged().iter().map(|(_, index)| *index).collect();
    assert_eq!(indices.len(), 3);
    assert!(
        [1, 4, 8].iter().all(|index| indices.contains(index)),
        "{indices:?}"
    );
    let bytes = output["bytes"].as_u64().unwrap();
    assert!(bytes > 0);
    assert_eq!(
        output,
        json!({"run": stage.run(), "files": 3, "bytes": bytes})
    );
    assert_eq!(
        stage.record(),
        before,
        "the run's record is not a worker's to write"
    );

    // The whole: what batches brought is there, under the same names.
    stage.transfer(stage.complete.clone()).await.unwrap();
    assert_eq!(stage.staged().len(), 10);
    let transfer = &stage.record()["transfer"];
    assert_eq!(
        (&transfer["files"], &transfer["fetched"]),
        (&json!(10), &json!(7))
    );
}

#[tokio::test]
async fn a_batch_that_names_what_is_not_there_is_refused() {
    let stage = Stage::set().await;
    let with = |field: &str, value: Value| {
        let mut event = stage.batch(&json!([0]));
        event[field] = value;
        event
    };
    for (event, says) in [
        (with("items", json!([0, 10])), "no file of the index 10"),
        (
            with("items", json!([-1])),
            "\"items\" is not a list of indices",
        ),
        (
            with("items", json!("0")),
            "\"items\" is not a list of indices",
        ),
        (
            with("items", json!(null)),
            "\"items\" is not a list of indices",
        ),
        (with("run", json!("")), "\"run\" is not"),
        (with("run", json!("../x")), "\"run\" is not"),
        (with("run", json!("abc")), "another manifest"),
        (with("manifest", json!(null)), "\"manifest\" is not"),
        (
            with("manifest", json!("file:///etc/passwd")),
            "another manifest",
        ),
    ] {
        let error = stage.transfer(event.clone()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Input, "{event}: {error}");
        assert!(error.what().contains(says), "{event}: {error}");
    }
    assert!(stage.staged().is_empty());
}

#[tokio::test]
async fn a_batch_that_fails_for_good_leaves_the_runs_end_to_others() {
    let stage = Stage::set_with(Some(Fault::FileBadJson)).await;
    let error = stage.transfer(stage.batch(&json!([0]))).await.unwrap_err();
    assert!(error.ends_the_run(), "{error}");
    assert_eq!(stage.record()["outcome"], Value::Null);
}

#[tokio::test]
async fn a_file_that_is_not_the_runs_own_stops_it_until_it_is_gone() {
    let stage = Stage::set().await;
    let patients = stage.folder().join("Patient");
    std::fs::create_dir_all(&patients).unwrap();
    let harmless = ["empty.ndjson", "_notes.ndjson", "notes.txt"];
    for name in harmless {
        std::fs::write(patients.join(name), "").unwrap();
    }
    let stray = patients.join("00099-0123456789ab.ndjson");
    std::fs::write(&stray, "{}\n").unwrap();
    let error = stage.transfer(stage.complete.clone()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::StagingDenied);
    let url = format!("file://{}", stray.display());
    assert!(error.what().ends_with(&url), "{error}");
    assert!(error.advice().starts_with("Remove"), "{error}");
    assert!(!error.ends_the_run() && stage.record()["transfer"] == Value::Null);

    std::fs::remove_file(&stray).unwrap();
    let staged = stage.transfer(stage.complete.clone()).await.unwrap();
    assert_eq!(
        staged["parameters"]["parameter"].as_array().unwrap().len(),
        2
    );
}

#[tokio::test]
async fn batches_in_a_folder_are_refused_before_the_source_is_asked() {
    let stage = Stage::set().await;
    stage.sandbox.clear_requests();
    let settings = settings(
        Step::CheckExportStatus,
        &stage.sandbox,
        stage.staging.path(),
        "true",
    );
    let context = Context::new(settings.unwrap());
    let event = json!({"statusUrl": stage.complete["statusUrl"], "run": stage.run()});
    let error = steps::run(Step::CheckExportStatus, &context, event)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Configuration);
    assert!(error.what().contains("TRANSFER_BATCHES"), "{error}");
    assert!(stage.sandbox.requests().is_empty());
}
