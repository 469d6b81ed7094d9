//! Faults at source and target: each shows what its name says, as often as it was asked to.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::{Duration, Instant};

use common::{Answer, Client, KICK_OFF, Staging, parameters, patient};
use sandbox::{Answer as Told, Dataset, Fault, PathlingVersion, Place, Sandbox, TokenClaim};
use serde_json::{Value, json};

async fn start() -> (Sandbox, Client) {
    let sandbox = Sandbox::builder()
        .auth(false)
        .data(Dataset::of(&[("Patient", 5), ("Condition", 2)]))
        .start()
        .await
        .unwrap();
    let client = Client::new(&sandbox);
    (sandbox, client)
}

/// The answer at the status URL of a new export.
async fn status(client: &Client) -> Answer {
    let accepted = client.source("$export", &KICK_OFF).await;
    let url = accepted.header("content-location").unwrap().to_owned();
    client.source(&url, &[("accept", "application/json")]).await
}

/// The first file of a new export.
async fn file(client: &Client) -> (Value, reqwest::Result<Answer>) {
    let manifest = status(client).await.json();
    let output = manifest["output"][0].clone();
    let answer = client
        .send("GET", output["url"].as_str().unwrap(), &[], None)
        .await;
    (output, answer)
}

/// The text of the first file of an export with this fault, and the count that the manifest has for it.
async fn content(fault: Fault) -> (Vec<u8>, u64) {
    let (sandbox, client) = start().await;
    sandbox.faults().on(fault);
    let (output, answer) = file(&client).await;
    (answer.unwrap().body, output["count"].as_u64().unwrap())
}

#[tokio::test]
async fn any_answer_at_any_place_as_often_as_asked() {
    let (sandbox, client) = start().await;
    let told = Told::new(503).outcome("transient", "later").retry_after(7);
    sandbox
        .faults()
        .times(2, Fault::answers(Place::KickOff, told));
    for _ in 0..2 {
        let answer = client.source("$export", &KICK_OFF).await;
        assert_eq!(
            (answer.status, answer.header("retry-after")),
            (503, Some("7"))
        );
        assert_eq!(answer.json()["issue"][0]["code"], "transient");
    }
    assert_eq!(client.source("$export", &KICK_OFF).await.status, 202);
    for (place, method, path) in [
        (
            Place::SmartConfiguration,
            "GET",
            "s/.well-known/smart-configuration",
        ),
        (Place::SourceMetadata, "GET", "s/metadata"),
        (Place::Status, "GET", "s/jobs/x"),
        (Place::StatusDelete, "DELETE", "s/jobs/x"),
        (Place::File, "GET", "s/jobs/x/files/y"),
        (
            Place::TargetSmartConfiguration,
            "GET",
            "t/.well-known/smart-configuration",
        ),
        (Place::TargetMetadata, "GET", "t/metadata"),
        (Place::ImportKickOff, "POST", "t/$import"),
        (Place::ImportStatus, "GET", "t/$job"),
        (Place::Count, "GET", "t/Patient"),
        (Place::Delete, "DELETE", "t/Patient/1"),
        (Place::Token, "POST", "token"),
    ] {
        sandbox.faults().once(Fault::answers(place, 418));
        let url = match path.split_once('/') {
            Some(("s", rest)) => format!("{}/{rest}", sandbox.source_endpoint()),
            Some((_, rest)) => format!("{}/{rest}", sandbox.target_endpoint()),
            None => sandbox.token_endpoint(),
        };
        let answer = client.send(method, &url, &[], None).await.unwrap();
        assert_eq!((answer.status, answer.body.len()), (418, 0), "{place:?}");
    }
    assert_eq!(sandbox.faults().active(), []);
}

#[tokio::test]
async fn a_hang_never_answers_and_a_delay_answers_late() {
    let (sandbox, client) = start().await;
    sandbox.faults().once(Fault::Hang(Place::TargetMetadata));
    let url = format!("{}/metadata", sandbox.target_endpoint());
    let hanging = client
        .http
        .get(&url)
        .timeout(Duration::from_millis(200))
        .send()
        .await;
    assert!(hanging.unwrap_err().is_timeout());
    assert_eq!(
        sandbox.requests()[0].status,
        None,
        "recorded, never answered"
    );
    sandbox
        .faults()
        .once(Fault::Delay(Place::TargetMetadata, 150));
    let begun = Instant::now();
    assert_eq!(client.target("GET", "metadata", None).await.status, 200);
    assert!(begun.elapsed() >= Duration::from_millis(150));
}

#[tokio::test]
async fn the_kick_off_can_lack_or_shorten_its_content_location() {
    let (sandbox, client) = start().await;
    sandbox.faults().once(Fault::KickOffWithoutContentLocation);
    let answer = client.source("$export", &KICK_OFF).await;
    assert_eq!(
        (answer.status, answer.header("content-location")),
        (202, None)
    );
    sandbox.faults().once(Fault::KickOffRelativeContentLocation);
    let answer = client.source("$export", &KICK_OFF).await;
    assert!(
        answer
            .header("content-location")
            .unwrap()
            .starts_with("/fhir/jobs/")
    );
    sandbox.faults().once(Fault::KickOffBodyNotJson);
    let answer = client.source("$export", &KICK_OFF).await;
    assert!(serde_json::from_slice::<Value>(&answer.body).is_err());
    for (place, status) in [(Place::KickOff, 200), (Place::KickOff, 202)] {
        sandbox.faults().once(Fault::Html(place, status));
        let answer = client.source("$export", &KICK_OFF).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (status, Some("text/html;charset=UTF-8"))
        );
    }
}

#[tokio::test]
async fn jobs_can_be_reused_counted_anew_and_lost() {
    let (sandbox, client) = start().await;
    let kick_off = || async {
        let answer = client.source("$export", &KICK_OFF).await;
        answer.header("content-location").unwrap().to_owned()
    };
    let first = kick_off().await;
    assert_ne!(kick_off().await, first);
    sandbox.faults().on(Fault::JobNumbersRepeat);
    assert_eq!(kick_off().await, kick_off().await);
    sandbox.faults().clear();
    let accepted = client.source("$export?_type=Patient", &KICK_OFF).await;
    sandbox.faults().once(Fault::KickOffReusesJob);
    let again = client.source("$export?_type=Patient", &KICK_OFF).await;
    assert_eq!(
        again.header("content-location"),
        accepted.header("content-location")
    );
    sandbox.faults().once(Fault::SourceLosesJob);
    assert_eq!(
        client
            .source(&first, &[("accept", "application/json")])
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn a_manifest_can_be_anything() {
    let (sandbox, client) = start().await;
    let mut answers = Vec::new();
    for fault in [
        Fault::ManifestIsArray,
        Fault::ManifestIsOutcome,
        Fault::ManifestLacks("transactionTime".into()),
        Fault::OutputAbsent,
        Fault::OutputWithoutUrl,
        Fault::OutputType("../../x".into()),
        Fault::OutputTwice,
        Fault::OutputUrlsRelative,
        Fault::CountWrong,
        Fault::CountAbsent,
        Fault::RequiresAccessToken(TokenClaim::Text),
        Fault::RequiresAccessToken(TokenClaim::Absent),
        Fault::Html(Place::Status, 200),
    ] {
        sandbox.faults().once(fault);
        answers.push(status(&client).await);
        assert_eq!(answers.last().unwrap().status, 200);
        assert_eq!(sandbox.faults().active(), []);
    }
    let html = answers.pop().unwrap();
    assert!(html.body.starts_with(b"<!DOCTYPE"));
    let all: Vec<_> = answers.iter().map(Answer::json).collect();
    assert_eq!(all[0], json!([]));
    assert_eq!(all[1]["resourceType"], "OperationOutcome");
    assert_eq!(all[2].get("transactionTime"), None);
    assert_eq!(all[3].get("output"), None);
    assert_eq!(all[4]["output"][0].get("url"), None);
    assert_eq!(all[5]["output"][0]["type"], "../../x");
    assert_eq!(all[6]["output"][0], all[6]["output"][2]);
    assert!(
        all[7]["output"][0]["url"]
            .as_str()
            .unwrap()
            .starts_with("/fhir/")
    );
    assert_eq!(all[8]["output"][0]["count"], 3);
    assert_eq!(all[9]["output"][0].get("count"), None);
    assert_eq!(all[10]["requiresAccessToken"], "true");
    assert_eq!(all[11].get("requiresAccessToken"), None);
}

#[tokio::test]
async fn files_can_break_off_in_each_way() {
    let (sandbox, client) = start().await;
    let (_, whole) = file(&client).await;
    let whole = whole.unwrap();
    assert!(whole.header("content-length").is_some());
    for fault in [Fault::FileCutMidway, Fault::FileChunkedCutMidway] {
        sandbox.faults().once(fault.clone());
        let (_, answer) = file(&client).await;
        assert!(answer.is_err(), "{fault}");
    }
    sandbox.faults().once(Fault::FileHangsMidway);
    let manifest = status(&client).await.json();
    let url = manifest["output"][0]["url"].as_str().unwrap();
    let response = client
        .http
        .get(url)
        .timeout(Duration::from_millis(300))
        .send()
        .await
        .unwrap();
    assert!(response.bytes().await.unwrap_err().is_timeout());
    let again = client.send("GET", url, &[], None).await.unwrap();
    assert_eq!(again.body, whole.body, "the next download is whole");
}

#[tokio::test]
async fn files_can_lie_elsewhere() {
    let (sandbox, client) = start().await;
    sandbox.faults().once(Fault::FilesElsewhere);
    let (output, answer) = file(&client).await;
    assert!(
        output["url"]
            .as_str()
            .unwrap()
            .starts_with(&sandbox.files_origin())
    );
    let whole = answer.unwrap();
    assert_eq!(whole.status, 200);
    sandbox.faults().once(Fault::FilesRedirect);
    let (_, answer) = file(&client).await;
    let answer = answer.unwrap();
    assert_eq!(answer.status, 307);
    let elsewhere = answer.header("location").unwrap();
    assert!(elsewhere.starts_with(&sandbox.files_origin()));
    assert_eq!(
        client.send("GET", elsewhere, &[], None).await.unwrap().body,
        whole.body
    );
}

#[tokio::test]
async fn files_can_hold_anything() {
    let (_sandbox, client) = start().await;
    let (_, plain) = file(&client).await;
    let text = String::from_utf8(plain.unwrap().body).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 2);

    assert_eq!(content(Fault::FileEmpty).await, (vec![], 0));
    let (blank, count) = content(Fault::FileOnlyBlankLines).await;
    assert!(blank.iter().all(u8::is_ascii_whitespace) && count == 0);
    let (bytes, _) = content(Fault::FileWithoutFinalNewline).await;
    assert_eq!(bytes, text.trim_end().as_bytes());
    let (bytes, _) = content(Fault::FileCrlf).await;
    assert_eq!(bytes, text.replace('\n', "\r\n").as_bytes());
    let (bytes, _) = content(Fault::FileBom).await;
    assert_eq!(bytes, format!("\u{feff}{text}").as_bytes());
    let (bytes, count) = content(Fault::FileBlankLines).await;
    let found = String::from_utf8(bytes).unwrap();
    assert_eq!(
        found.lines().filter(|line| line.trim().is_empty()).count(),
        4
    );
    assert_eq!(count, 2, "blank lines are no resources");
    let (bytes, _) = content(Fault::FileInvalidUtf8).await;
    assert!(String::from_utf8(bytes).is_err());
    let (bytes, count) = content(Fault::FileTwoResourcesOnOneLine).await;
    assert_eq!(bytes, format!("{}{}\n", lines[0], lines[1]).as_bytes());
    assert_eq!(count, 2);
    let (bytes, count) = content(Fault::FileDuplicateId).await;
    assert_eq!(bytes, format!("{text}{}\n", lines[1]).as_bytes());
    assert_eq!(count, 3);
}

#[tokio::test]
async fn a_line_in_the_middle_can_be_wrong() {
    for (fault, check) in [
        (
            Fault::FileBadJson,
            (|line| serde_json::from_str::<Value>(line).is_err()) as fn(&str) -> bool,
        ),
        (Fault::FileLineWithoutId, |line| {
            value(line).get("id").is_none()
        }),
        (Fault::FileLineEmptyId, |line| value(line)["id"] == ""),
        (Fault::FileLineNumericId, |line| value(line)["id"] == 5),
        (Fault::FileLineOtherType, |line| {
            value(line)["resourceType"] == "Basic"
        }),
        (Fault::FileLongLine(100_000), |line| {
            line.len() == 100_000 && value(line)["id"] == "condition-2"
        }),
    ] {
        let (bytes, count) = content(fault.clone()).await;
        let text = String::from_utf8(bytes).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!((lines.len(), count), (2, 2), "{fault}");
        assert_eq!(value(lines[0])["id"], "condition-1");
        assert!(check(lines[1]), "{fault}");
    }
}

fn value(line: &str) -> Value {
    serde_json::from_str(line).unwrap()
}

#[tokio::test]
async fn what_a_file_holds_is_settled_when_the_export_begins() {
    let (sandbox, client) = start().await;
    sandbox.faults().once(Fault::FileBom);
    let manifest = status(&client).await.json();
    for (index, bom) in [(0, true), (1, false)] {
        let url = manifest["output"][index]["url"].as_str().unwrap();
        for _ in 0..2 {
            let answer = client.send("GET", url, &[], None).await.unwrap();
            assert_eq!(answer.body.starts_with(b"\xef\xbb\xbf"), bom);
        }
    }
}

#[tokio::test]
async fn a_token_can_expire_early_and_a_new_one_is_fine() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let client = Client::new(&sandbox);
    let manifest = client.export("").await;
    let url = manifest["output"][0]["url"].as_str().unwrap();
    let bearer = format!("Bearer {}", client.token("SOURCE", None).await.unwrap());
    let headers = [("authorization", bearer.as_str())];
    assert_eq!(
        client
            .send("GET", url, &headers, None)
            .await
            .unwrap()
            .status,
        200
    );
    sandbox.faults().once(Fault::TokenExpires(Place::File));
    for _ in 0..2 {
        assert_eq!(
            client
                .send("GET", url, &headers, None)
                .await
                .unwrap()
                .status,
            401
        );
    }
    assert_eq!(client.source(url, &[]).await.status, 200);
}

#[tokio::test]
async fn a_manifest_that_wants_no_token_refuses_one() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    sandbox.expect_leaks();
    let client = Client::new(&sandbox);
    sandbox
        .faults()
        .once(Fault::RequiresAccessToken(TokenClaim::False));
    let manifest = client.export("").await;
    assert_eq!(manifest["requiresAccessToken"], false);
    let url = manifest["output"][0]["url"].as_str().unwrap();
    assert_eq!(
        client.send("GET", url, &[], None).await.unwrap().status,
        200
    );
    assert_eq!(client.source(url, &[]).await.status, 400);
}

#[tokio::test]
async fn imports_can_fail_drop_their_rows_and_be_lost() {
    for version in [PathlingVersion::Seven, PathlingVersion::Two] {
        let sandbox = Sandbox::builder()
            .pathling(version)
            .auth(false)
            .start()
            .await
            .unwrap();
        let (client, staging) = (Client::new(&sandbox), Staging::new());
        let url = staging.file("a.ndjson", patient("a", "x"));
        let body = parameters(version, "merge", &[("Patient", &url)]);
        for status in [400, 403, 500] {
            sandbox.faults().once(Fault::ImportFails(status));
            let nonce = format!("$import?_nonce={status}");
            let accepted = client.target("POST", &nonce, Some(&body)).await;
            let job = accepted.header("content-location").unwrap();
            assert_eq!(client.poll(job).await.status, status);
            assert_eq!(
                client.poll(job).await.status,
                status,
                "the job has failed for good"
            );
        }
        sandbox.faults().once(Fault::ImportDropsRows);
        assert_eq!(client.import("?_nonce=drops", &body).await.status, 200);
        assert!(sandbox.rows("Patient").is_empty());
        sandbox.faults().once(Fault::TargetLosesJob);
        let answer = client.import("?_nonce=lost", &body).await;
        assert_eq!(
            (answer.status, answer.diagnostics().as_str()),
            (404, "Job ID not found")
        );
        sandbox.faults().once(Fault::ImportWithoutContentLocation);
        let accepted = client
            .target("POST", "$import?_nonce=without", Some(&body))
            .await;
        assert_eq!(
            (accepted.status, accepted.header("content-location")),
            (202, None)
        );
    }
}

#[tokio::test]
async fn a_dropped_sandbox_is_gone_with_its_ports() {
    let (sandbox, client) = start().await;
    let url = format!("{}/metadata", sandbox.source_endpoint());
    assert_eq!(
        client.send("GET", &url, &[], None).await.unwrap().status,
        200
    );
    let bucket = sandbox.bucket();
    drop(sandbox);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(client.send("GET", &url, &[], None).await.is_err());
    assert!(!bucket.exists());
}
