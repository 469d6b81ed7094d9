//! The program: prints what leads to it, tells what arrived, and ends when it is told to.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_sandbox");

#[test]
fn it_prints_shell_lines_and_ends_in_time() {
    let output = Command::new(PROGRAM).args(["--for", "0"]).output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    for name in [
        "SOURCE_ENDPOINT",
        "STAGING_URL",
        "TARGET_ENDPOINT",
        "AWS_ENDPOINT_URL_S3",
        "TARGET_CLIENT_SECRET",
    ] {
        assert!(text.contains(&format!("export {name}='")), "{name}");
    }
    let open = Command::new(PROGRAM)
        .args(["--for", "0", "--no-auth"])
        .output()
        .unwrap();
    let text = String::from_utf8(open.stdout).unwrap();
    assert!(text.contains("export SOURCE_AUTHENTICATION_ENABLED='false'"));
    assert!(!text.contains("CLIENT_SECRET"));
}

#[test]
fn a_wrong_fault_or_folder_is_refused() {
    for arguments in [
        ["--fault", "nonsense"],
        ["--data", "/nope"],
        ["--pathling", "3"],
    ] {
        let output = Command::new(PROGRAM)
            .args(arguments)
            .args(["--for", "0"])
            .output()
            .unwrap();
        assert!(!output.status.success(), "{arguments:?}");
        assert!(!output.stderr.is_empty());
    }
}

#[tokio::test]
async fn the_control_listener_tells_what_arrived() {
    let folder = tempfile::tempdir().unwrap();
    let ready = folder.path().join("ready");
    let mut program = Command::new(PROGRAM)
        .args([
            "--format",
            "json",
            "--control",
            "0",
            "--patients",
            "3",
            "--no-auth",
            "--for",
            "30",
        ])
        .args(["--fault", "count-absent", "--ready-file"])
        .arg(&ready)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while !ready.exists() && begun.elapsed() < Duration::from_secs(10) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let env: HashMap<String, String> =
        serde_json::from_slice(&std::fs::read(&ready).unwrap()).unwrap();
    let control = &env["SANDBOX_CONTROL"];
    let http = reqwest::Client::new();
    let get = |path: &str| {
        let request = http.get(format!("{control}/{path}"));
        async move { request.send().await.unwrap().text().await.unwrap() }
    };
    let counts: Value = serde_json::from_str(&get("counts").await).unwrap();
    assert_eq!(counts["source"]["Patient"], 3);
    let new = http
        .post(format!("{control}/source"))
        .body("{\"resourceType\":\"Basic\",\"id\":\"b\"}");
    assert_eq!(new.send().await.unwrap().status(), 204);
    assert_eq!(
        get("resources/Basic").await,
        "{\"resourceType\":\"Basic\",\"id\":\"b\"}\n"
    );
    http.get(format!("{}/metadata", env["SOURCE_ENDPOINT"]))
        .send()
        .await
        .unwrap();
    let requests: Value = serde_json::from_str(&get("requests").await).unwrap();
    assert_eq!(requests[0]["path"], "/fhir/metadata");
    assert_eq!(requests[0]["service"], "source");
    assert_eq!(get("leaks").await, "[]");
    assert_eq!(get("rows/Patient").await, "");
    let fault = http
        .post(format!("{control}/faults"))
        .body("answers=source-metadata:503");
    assert_eq!(fault.send().await.unwrap().status(), 204);
    let metadata = http
        .get(format!("{}/metadata", env["SOURCE_ENDPOINT"]))
        .send()
        .await
        .unwrap();
    assert_eq!(metadata.status(), 503);
    let interrupted = Command::new("kill")
        .args(["-INT", &program.id().to_string()])
        .status()
        .unwrap();
    assert!(interrupted.success());
    assert!(program.wait().unwrap().success());
}

#[test]
fn help_names_the_faults_and_the_switches_of_long_runs() {
    let output = Command::new(PROGRAM).arg("--help").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for name in [
        "--big",
        "--only",
        "--source-rate",
        "files-429=N",
        "s3-loses-upload",
    ] {
        assert!(text.contains(name), "{name}");
    }
}

#[test]
fn one_side_alone_tells_only_its_own_settings() {
    let env = |arguments: &[&str]| {
        let output = Command::new(PROGRAM)
            .args(["--for", "0"])
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let source = env(&["--only", "source", "--big", "Observation=1TiB"]);
    assert!(source.contains("SOURCE_ENDPOINT=") && source.contains("SOURCE_CLIENT_ID="));
    assert!(!source.contains("AWS_") && !source.contains("TARGET_"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let s3 = env(&["--only", "s3", "--s3-folder", path.to_str().unwrap()]);
    assert!(s3.contains("AWS_ENDPOINT_URL_S3=") && s3.contains("STAGING_URL="));
    assert!(!s3.contains("SOURCE_") && !s3.contains("TARGET_"));
    assert!(path.join("staging").is_dir(), "the folder stays");
}

#[tokio::test]
async fn a_source_alone_serves_large_files_and_keeps_no_record() {
    let folder = tempfile::tempdir().unwrap();
    let ready = folder.path().join("ready");
    let mut program = Command::new(PROGRAM)
        .args(["--only", "source", "--no-auth", "--format", "json"])
        .args([
            "--big",
            "Observation=1GiB",
            "--files",
            "Patient=3x2KiB",
            "--file-sizes",
        ])
        .args([
            "--fault",
            "files-no-etag*1",
            "--control",
            "0",
            "--for",
            "30",
            "--ready-file",
        ])
        .arg(&ready)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while !ready.exists() && begun.elapsed() < Duration::from_secs(10) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let env: HashMap<String, String> =
        serde_json::from_slice(&std::fs::read(&ready).unwrap()).unwrap();
    let http = reqwest::Client::new();
    let get = |url: String| {
        let request = http.get(url).header("accept", "application/json");
        async move { request.send().await.unwrap() }
    };
    let kicked = http
        .get(format!("{}/$export", env["SOURCE_ENDPOINT"]))
        .header("accept", "application/fhir+json")
        .header("prefer", "respond-async")
        .send()
        .await
        .unwrap();
    let job = kicked.headers()["content-location"].to_str().unwrap();
    let manifest: Value =
        serde_json::from_str(&get(job.to_owned()).await.text().await.unwrap()).unwrap();
    let outputs = manifest["output"].as_array().unwrap();
    assert_eq!(
        outputs.len(),
        4,
        "no patients but those that were asked for"
    );
    assert_eq!(outputs[0]["fileSize"], 1 << 30);
    assert_eq!(outputs[1]["fileSize"], 2 << 10);
    let url = outputs[0]["url"].as_str().unwrap();
    for etag in [false, true] {
        let part = http.get(url).header("range", "bytes=1073741800-");
        let part = part.send().await.unwrap();
        assert_eq!(part.headers().contains_key("etag"), etag);
        let bytes = part.bytes().await.unwrap();
        assert_eq!(bytes.len(), 24);
        assert!(bytes.ends_with(b"}\n"));
    }
    let control = |path: &str| get(format!("{}/{path}", env["SANDBOX_CONTROL"]));
    assert_eq!(control("requests").await.text().await.unwrap(), "[]");
    let peaks: Value = serde_json::from_str(&control("peaks").await.text().await.unwrap()).unwrap();
    assert_eq!(peaks["source"], 1);
    let expire = http.post(format!("{}/expire-links", env["SANDBOX_CONTROL"]));
    assert_eq!(expire.body("410").send().await.unwrap().status(), 204);
    assert_eq!(http.get(url).send().await.unwrap().status(), 410);
    program.kill().unwrap();
    program.wait().unwrap();
}
