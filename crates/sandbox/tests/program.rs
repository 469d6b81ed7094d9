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
