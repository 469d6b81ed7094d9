//! The real program against a sandbox: what it prints, where, and with which exit code it ends.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use sandbox::{Dataset, Sandbox};
use serde_json::{Value, json};

/// The program with no environment but what it is given here.
fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pathling-import"));
    command.env_clear().stdin(Stdio::null());
    command
}

/// The program with all settings for this sandbox in its environment, and no long waits.
fn program_for(sandbox: &Sandbox) -> Command {
    let mut command = program();
    command.envs(sandbox.env());
    for part in ["EXPORT", "TRANSFER", "IMPORT"] {
        command.env(format!("{part}_RETRY_WAIT"), "0.05");
    }
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_default()
}

async fn sandbox() -> Sandbox {
    let data = Dataset::synthetic(5);
    Sandbox::builder()
        .data(data)
        .polls(1)
        .import_polls(1)
        .start()
        .await
        .unwrap()
}

fn everything_arrived(sandbox: &Sandbox) {
    for resource_type in sandbox.source_types() {
        let rows = sandbox.rows(&resource_type).len();
        assert_eq!(
            rows,
            sandbox.resources(&resource_type).len(),
            "{resource_type}"
        );
    }
    assert!(!sandbox.target_types().is_empty());
    assert_eq!(sandbox.token_leaks(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_from_the_environment_bring_everything_to_the_target() {
    let sandbox = sandbox().await;
    let output = program_for(&sandbox).output().unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(code(&output), 0, "{err}");
    everything_arrived(&sandbox);
    assert!(out.contains("\nImported "), "{out}");
    assert!(
        out.contains(&format!(" in {}/runs/", sandbox.staging_url())),
        "{out}"
    );
    for step in [
        "fhir-export",
        "check-export-status",
        "transfer-to-s3",
        "pathling-import",
        "check-import-status",
    ] {
        assert!(err.contains(&format!("\n{step}: done in ")), "{err}");
    }
    assert!(
        err.contains("asking again in 0.1 s") || err.contains("asking again in"),
        "{err}"
    );
    assert!(!err.contains('\u{1b}') && !out.contains('\u{1b}'), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_from_a_file_and_json_for_a_program() {
    let sandbox = sandbox().await;
    let folder = tempfile::tempdir().unwrap();
    let staging = folder.path().join("staging");
    let mut settings = serde_json::Map::new();
    for (name, value) in sandbox.env() {
        if !name.starts_with("AWS_") {
            settings.insert(camel(&name), json!(value));
        }
    }
    settings.insert("stagingUrl".to_owned(), json!(staging));
    settings.insert("exportRetryWait".to_owned(), json!(0.05));
    settings.insert("importRetryWait".to_owned(), json!("0.05"));
    let file = folder.path().join("settings.json");
    std::fs::write(&file, Value::from(settings).to_string()).unwrap();

    let output = program()
        .args(["--log-format", "json"])
        .arg(&file)
        .output()
        .unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(code(&output), 0, "{err}");
    everything_arrived(&sandbox);
    for line in err.lines() {
        assert!(
            serde_json::from_str::<Value>(line).unwrap().is_object(),
            "{line}"
        );
    }
    let summary: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(summary["outcome"], "imported");
    assert_eq!(
        summary["skipped"],
        json!({"unsupported": {}, "deletions": 0, "exportErrors": 0})
    );
    for resource_type in sandbox.source_types() {
        assert_eq!(
            summary["types"][&resource_type],
            json!(sandbox.resources(&resource_type).len())
        );
    }
    let staged = summary["staged"]
        .as_str()
        .unwrap()
        .strip_prefix("file://")
        .unwrap();
    assert!(
        Path::new(staged).join("_manifest.json").exists(),
        "{staged}"
    );
}

/// `SOURCE_ENDPOINT` in a file is `sourceEndpoint`.
fn camel(name: &str) -> String {
    let words = name.split('_').map(str::to_lowercase).enumerate();
    words
        .map(|(index, word)| {
            if index == 0 {
                word
            } else {
                word[..1].to_uppercase() + &word[1..]
            }
        })
        .collect()
}

#[test]
fn wrong_settings_are_listed_and_end_with_2() {
    let output = program()
        .env("SOURCE_ENDPOINT", "nonsense")
        .output()
        .unwrap();
    let err = text(&output.stderr);
    assert_eq!(code(&output), 2);
    assert!(err.starts_with("error: ConfigurationError: "), "{err}");
    assert!(
        err.contains("SOURCE_ENDPOINT in the environment")
            && err.contains("STAGING_URL is missing"),
        "{err}"
    );
    assert!(output.stdout.is_empty());

    let output = program().arg("no-such-file.json").output().unwrap();
    assert_eq!(code(&output), 2);
    assert!(text(&output.stderr).contains("no-such-file.json does not exist"));

    let output = program().args(["--log-format", "json"]).output().unwrap();
    let line: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(
        (code(&output), &line["error"]),
        (2, &json!("ConfigurationError"))
    );
}

#[cfg(unix)]
#[test]
fn a_setting_that_is_no_text_is_named() {
    use std::os::unix::ffi::OsStrExt as _;
    let value = std::ffi::OsStr::from_bytes(b"\xff");
    let output = program()
        .env("SOURCE_CLIENT_SECRET", value)
        .output()
        .unwrap();
    assert_eq!(code(&output), 2);
    assert!(text(&output.stderr).contains("SOURCE_CLIENT_SECRET in the environment is not UTF-8"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_outlasts_the_waits_ends_with_4_and_the_next_start_goes_on() {
    let sandbox = Sandbox::builder()
        .data(Dataset::synthetic(2))
        .polls(3)
        .start()
        .await
        .unwrap();
    let output = program_for(&sandbox)
        .env("EXPORT_RETRY_TIMES", "2")
        .output()
        .unwrap();
    let err = text(&output.stderr);
    assert_eq!(code(&output), 4, "{err}");
    assert!(
        err.contains("error: JobInProgressError: the export is in progress"),
        "{err}"
    );
    assert!(err.contains("gave up after 2 waits"), "{err}");
    assert!(output.stdout.is_empty());

    let output = program_for(&sandbox).output().unwrap();
    let err = text(&output.stderr);
    assert_eq!(code(&output), 0, "{err}");
    assert!(
        err.starts_with("going on with the unfinished run "),
        "{err}"
    );
    assert!(!err.contains("fhir-export:"), "{err}");
    assert!(text(&output.stdout).contains("begun by an earlier start"));
    everything_arrived(&sandbox);
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_stops_it_cleanly_and_says_how_to_go_on() {
    for (signal, name, expected) in [("-INT", "Ctrl-C", 130), ("-TERM", "SIGTERM", 143)] {
        let sandbox = Sandbox::builder().polls(1).start().await.unwrap();
        let mut child = program_for(&sandbox)
            .env("EXPORT_RETRY_WAIT", "600")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        wait_until(|| {
            sandbox
                .requests()
                .iter()
                .any(|request| request.status == Some(202) && !request.path.contains("$export"))
        });
        assert!(
            Command::new("kill")
                .args([signal, &child.id().to_string()])
                .status()
                .unwrap()
                .success()
        );
        let status = child.wait().unwrap();
        let mut err = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut err)
            .unwrap();
        assert_eq!(status.code(), Some(expected), "{err}");
        let last = err.lines().last().unwrap();
        assert!(
            last.starts_with(&format!(
                "stopped by {name} at check-export-status. Start the same command again: run "
            )),
            "{err}"
        );

        let output = program_for(&sandbox).output().unwrap();
        assert_eq!(code(&output), 0, "{}", text(&output.stderr));
        everything_arrived(&sandbox);
        let kick_offs = sandbox
            .requests()
            .iter()
            .filter(|request| request.path.contains("$export") && request.status == Some(202))
            .count();
        assert_eq!(kick_offs, 1);
    }
}

#[cfg(unix)]
fn wait_until(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "nothing happened in time");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_reading_its_output_does_not_change_how_it_ends() {
    let sandbox = sandbox().await;
    let mut child = program_for(&sandbox)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    everything_arrived(&sandbox);
}
