//! The whole benchmark, small: everything that the large one does, and nothing about time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_pathling-import-bench");

fn bench(folder: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .args(["run", "--quick", "--within"])
        .arg(folder)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    command
}

/// A folder for S3, in memory where there is such a place.
fn objects() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

#[test]
fn every_work_is_measured_and_what_was_moved_is_what_the_source_holds() {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("bench.json");
    let lambda = folder.path().join("lambda");
    // Something that polls as a Lambda does.
    fs::write(
        &lambda,
        "#!/usr/bin/env bash\nexec 3<>/dev/tcp/${AWS_LAMBDA_RUNTIME_API/://}\n\
         printf 'GET /2018-06-01/runtime/invocation/next HTTP/1.1\\r\\n\\r\\n' >&3\nread -r line <&3 2>/dev/null\n",
    )
    .unwrap();
    fs::set_permissions(&lambda, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let objects = objects();
    let output = bench(objects.path())
        .arg("--runs=1")
        .arg("--json")
        .arg(&json)
        .arg("--lambda")
        .arg(&lambda)
        .output()
        .unwrap();
    // It ends with an error where an object is not byte for byte what the source holds.
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("| "))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    assert!(rows.iter().all(|row| row.len() == rows[0].len()), "{text}");
    let titles: Vec<&str> = rows[1..].iter().map(|row| row[0]).collect();
    assert_eq!(
        titles,
        [
            "a: 1 × 64 MiB",
            "a: 1 × 64 MiB VALIDATE=json",
            "a: 1 × 64 MiB VALIDATE=none",
            "b: 13 × 5 MiB",
            "c: 125 × 100 KiB",
            "d: 1250 × 1 KiB",
            "e: 1 × 64 MiB as gzip",
            "f: 13 × 5 MiB, 20 ms before each answer",
            "g: plan of 6250 outputs",
            "Lambda: start to first poll",
        ],
        "{text}"
    );
    let measured: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    for (row, files) in measured.as_array().unwrap()[..8]
        .iter()
        .zip([1, 1, 1, 13, 125, 1250, 1, 13])
    {
        assert_eq!(row["files"], files);
        assert!(row["source"][0]["get"].as_u64() >= row["files"].as_u64());
        assert!(row["s3"][0]["put"].as_u64() >= row["files"].as_u64());
        for took in [
            &row["mover"],
            &row["limit"]["whole"],
            &row["limit"]["memory"],
        ] {
            assert_eq!(took.as_array().unwrap().len(), 1);
            assert!(took[0]["cpu"].as_f64() > Some(0.0));
            assert!(took[0]["rss"].as_u64() > Some(1 << 20));
        }
    }
}

#[test]
fn a_signal_ends_all_that_was_started_and_leaves_nothing_behind() {
    let objects = objects();
    let mut run = bench(objects.path())
        .args(["--runs=100", "--only=d"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let begin = Instant::now();
    // Source, S3, and the first that is measured.
    let started = loop {
        let started = children(run.id());
        if started.len() >= 3 {
            break started;
        }
        assert!(begin.elapsed() < Duration::from_mins(1));
        std::thread::sleep(Duration::from_millis(5));
    };
    let told = Command::new("kill").arg(run.id().to_string()).status();
    assert!(told.unwrap().success());
    assert!(!run.wait().unwrap().success());
    for id in started {
        let name = fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
        assert!(!name.starts_with("pathling-import"), "{id} still runs");
    }
    assert_eq!(fs::read_dir(objects.path()).unwrap().count(), 0);
}

/// The processes that a process has started and that still run.
fn children(id: u32) -> Vec<String> {
    let Ok(threads) = fs::read_dir(format!("/proc/{id}/task")) else {
        return Vec::new();
    };
    threads
        .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok())
        .flat_map(|ids| {
            ids.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect()
}
