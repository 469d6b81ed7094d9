//! The Bulk Data source: as strict as the strictest real one, and right about what changed when.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Client, KICK_OFF};
use sandbox::{Dataset, Fault, Sandbox, Service};
use serde_json::{Value, json};

async fn open() -> (Sandbox, Client) {
    let sandbox = Sandbox::builder()
        .auth(false)
        .data(Dataset::of(&[("Patient", 3), ("Practitioner", 2)]))
        .polls(1)
        .retry_after("3")
        .start()
        .await
        .unwrap();
    let client = Client::new(&sandbox);
    (sandbox, client)
}

fn types(manifest: &Value) -> Vec<&str> {
    let output = manifest["output"].as_array().unwrap();
    output
        .iter()
        .map(|each| each["type"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_kick_off_without_the_right_headers_is_refused() {
    let (_sandbox, client) = open().await;
    for (headers, status) in [
        (vec![KICK_OFF[1]], 406),
        (vec![KICK_OFF[1], ("accept", "application/json")], 406),
        (vec![KICK_OFF[0]], 400),
        (vec![KICK_OFF[0], ("prefer", "return=minimal")], 400),
        (KICK_OFF.to_vec(), 202),
    ] {
        assert_eq!(
            client.source("$export", &headers).await.status,
            status,
            "{headers:?}"
        );
    }
}

#[tokio::test]
async fn a_kick_off_with_a_wrong_parameter_is_refused() {
    let (sandbox, client) = open().await;
    let lacks = Fault::KickOffLacks("_elements".to_owned());
    sandbox.faults().on(lacks);
    for (query, status) in [
        ("_outputFormat=application%2Ffhir%2Bndjson", 202),
        ("_outputFormat=application/fhir+ndjson", 400),
        ("_since=2024-01-01T00:00:00Z", 202),
        ("_since=2024-01-01T00:00:00.123456Z", 202),
        ("_since=2024-01-01", 400),
        ("_since=2024-01-01T00:00:00%2B02:00", 400),
        ("_since=yesterday", 400),
        ("_type=Patient,Condition", 202),
        ("_type=Patient,Nonsense", 400),
        ("_elements=id", 400),
    ] {
        let answer = client.source(&format!("$export?{query}"), &KICK_OFF).await;
        assert_eq!(answer.status, status, "{query}");
    }
    let lenient = [KICK_OFF[0], ("prefer", "respond-async, handling=lenient")];
    assert_eq!(
        client.source("$export?_elements=id", &lenient).await.status,
        202
    );
}

#[tokio::test]
async fn polls_tell_progress_and_retry_after_then_the_manifest_comes() {
    let (sandbox, client) = open().await;
    let accepted = client.source("$export?_type=Patient", &KICK_OFF).await;
    let status_url = accepted.header("content-location").unwrap();
    let first = client
        .source(status_url, &[("accept", "application/json")])
        .await;
    assert_eq!(first.status, 202);
    assert_eq!(first.header("x-progress"), Some("50% complete"));
    assert_eq!(first.header("retry-after"), Some("3"));
    let manifest = client
        .source(status_url, &[("accept", "application/json")])
        .await
        .json();
    assert_eq!(
        manifest["request"],
        format!("{}/$export?_type=Patient", sandbox.source_endpoint())
    );
    assert_eq!(manifest["requiresAccessToken"], false);
    assert_eq!(manifest["output"][0]["count"], 3);
    assert_eq!(manifest["deleted"], json!([]));
    assert_eq!(
        client
            .source(status_url, &[("accept", "text/html")])
            .await
            .status,
        406
    );
    let file = client
        .source(manifest["output"][0]["url"].as_str().unwrap(), &[])
        .await;
    assert_eq!(file.header("content-type"), Some("application/fhir+ndjson"));
    assert_eq!(
        file.header("content-length"),
        Some(file.body.len().to_string().as_str())
    );
}

#[tokio::test]
async fn a_deleted_job_is_gone_with_its_files() {
    let (_sandbox, client) = open().await;
    let accepted = client.source("$export", &KICK_OFF).await;
    let status_url = accepted.header("content-location").unwrap();
    let delete = client.send("DELETE", status_url, &[], None).await.unwrap();
    assert_eq!(delete.status, 202);
    assert_eq!(
        client
            .source(status_url, &[("accept", "application/json")])
            .await
            .status,
        404
    );
    let again = client.send("DELETE", status_url, &[], None).await.unwrap();
    assert_eq!(again.status, 404);
}

#[tokio::test]
async fn a_delta_holds_what_was_put_and_names_what_was_deleted() {
    let (sandbox, client) = open().await;
    let full = client.export("").await;
    assert_eq!(types(&full), ["Patient", "Practitioner"]);
    let since = full["transactionTime"].as_str().unwrap();
    let nothing = client.export(&format!("?_since={since}")).await;
    assert_eq!(
        (types(&nothing).len(), &nothing["deleted"]),
        (0, &json!([]))
    );

    assert!(sandbox.source_put(&json!({"resourceType": "Patient", "id": "new"})));
    assert!(sandbox.source_put(&json!({"resourceType": "Patient", "id": "gone"})));
    assert!(sandbox.source_delete("Patient", "gone"));
    assert!(sandbox.source_delete("Practitioner", "practitioner-1"));
    assert!(!sandbox.source_delete("Practitioner", "practitioner-1"));
    let delta = client.export(&format!("?_since={since}")).await;
    assert_eq!(types(&delta), ["Patient"]);
    let file = client
        .source(delta["output"][0]["url"].as_str().unwrap(), &[])
        .await;
    assert_eq!(
        file.body,
        b"{\"resourceType\":\"Patient\",\"id\":\"new\"}\n"
    );
    let file = client
        .source(delta["deleted"][0]["url"].as_str().unwrap(), &[])
        .await;
    let bundle = file.json();
    assert_eq!(bundle["type"], "transaction");
    let urls: Vec<_> = bundle["entry"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| &entry["request"]["url"])
        .collect();
    assert_eq!(urls, ["Patient/gone", "Practitioner/practitioner-1"]);

    let later = client
        .export(&format!(
            "?_since={}",
            delta["transactionTime"].as_str().unwrap()
        ))
        .await;
    assert_eq!((types(&later).len(), &later["deleted"]), (0, &json!([])));
    let full = client.export("").await;
    assert_eq!(
        full["output"][0]["count"], 4,
        "a full export has what is there now"
    );
    assert_eq!(full["deleted"], json!([]), "and no deletions");
}

#[tokio::test]
async fn patient_and_group_level_leave_out_what_is_about_no_patient() {
    let sandbox = Sandbox::builder()
        .auth(false)
        .data(Dataset::of(&[
            ("Patient", 3),
            ("Practitioner", 2),
            ("Group", 1),
        ]))
        .start()
        .await
        .unwrap();
    let client = Client::new(&sandbox);
    for level in ["Patient", "Group/group-1"] {
        let accepted = client.source(&format!("{level}/$export"), &KICK_OFF).await;
        let url = accepted.header("content-location").unwrap();
        let manifest = client
            .source(url, &[("accept", "application/json")])
            .await
            .json();
        assert_eq!(types(&manifest), ["Group", "Patient"]);
    }
    assert_eq!(
        client.source("Group/none/$export", &KICK_OFF).await.status,
        404
    );
}

#[tokio::test]
async fn tokens_are_wanted_everywhere_but_at_discovery_and_metadata() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    sandbox.expect_leaks();
    let client = Client::new(&sandbox);
    let base = sandbox.source_endpoint();
    let get = |path: &str, headers: Vec<(&'static str, String)>| {
        let (client, url) = (&client, format!("{base}/{path}"));
        async move {
            let headers: Vec<_> = headers
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            client
                .send("GET", &url, &headers, None)
                .await
                .unwrap()
                .status
        }
    };
    assert_eq!(get("metadata", vec![]).await, 200);
    assert_eq!(get(".well-known/smart-configuration", vec![]).await, 200);
    let with = |token: &str| {
        let mut headers: Vec<_> = KICK_OFF
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect();
        headers.push(("authorization", format!("Bearer {token}")));
        headers
    };
    assert_eq!(get("$export", vec![]).await, 401);
    assert_eq!(get("$export", with("invented")).await, 401);
    let target = client.token("TARGET", None).await.unwrap();
    assert_eq!(
        get("$export", with(&target)).await,
        401,
        "the target's token is not the source's"
    );
    let wrong = client
        .token("SOURCE", Some("system/*.write"))
        .await
        .unwrap();
    assert_eq!(get("$export", with(&wrong)).await, 403);
    let right = client.token("SOURCE", Some("system/*.rs")).await.unwrap();
    assert_eq!(get("$export", with(&right)).await, 202);
    let manifest = client.export("").await;
    let url = manifest["output"][0]["url"].as_str().unwrap();
    assert_eq!(
        client.send("GET", url, &[], None).await.unwrap().status,
        401
    );
}

#[tokio::test]
async fn a_folder_of_ndjson_and_json_is_served_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    let odd = "{ \"id\":\"a\",  \"resourceType\": \"Patient\" }";
    let twice = "{\"resourceType\":\"Patient\",\"id\":\"a\"}";
    std::fs::write(
        folder.path().join("Patient.000.ndjson"),
        format!("{odd}\r\n\n{twice}"),
    )
    .unwrap();
    std::fs::create_dir(folder.path().join("more")).unwrap();
    std::fs::write(
        folder.path().join("more/x.json"),
        "{\n \"resourceType\": \"Basic\",\n \"id\": \"z\", \"n\": 1.10 }",
    )
    .unwrap();
    std::fs::write(
        folder.path().join("more/package.json"),
        "{\"name\": \"no resource\"}",
    )
    .unwrap();
    let sandbox = Sandbox::builder()
        .auth(false)
        .data_dir(folder.path())
        .start()
        .await
        .unwrap();
    assert_eq!(sandbox.source_types(), ["Basic", "Patient"]);
    assert_eq!(sandbox.resources("Patient"), [odd, twice]);
    assert_eq!(sandbox.resources("Basic").len(), 1);
    let client = Client::new(&sandbox);
    let manifest = client.export("?_type=Patient").await;
    let file = client
        .source(manifest["output"][0]["url"].as_str().unwrap(), &[])
        .await;
    assert_eq!(file.body, format!("{odd}\n{twice}\n").into_bytes());
}

#[tokio::test]
async fn synthetic_data_is_always_the_same() {
    let bytes = |sandbox: &Sandbox| {
        sandbox
            .source_types()
            .iter()
            .map(|kind| sandbox.resources(kind))
            .collect::<Vec<_>>()
    };
    let one = Sandbox::builder()
        .data(Dataset::synthetic(9))
        .start()
        .await
        .unwrap();
    let other = Sandbox::builder()
        .data(Dataset::synthetic(9))
        .start()
        .await
        .unwrap();
    assert_eq!(bytes(&one), bytes(&other));
    assert_eq!(one.resources("Observation").len(), 27);
    let padded = Sandbox::builder()
        .data(Dataset::padded("Binary", 3, 5000))
        .start()
        .await
        .unwrap();
    assert!(
        padded
            .resources("Binary")
            .iter()
            .all(|line| line.len() >= 5000 && line.len() < 5100)
    );
}

#[tokio::test]
async fn every_request_is_recorded_with_its_status() {
    let (sandbox, client) = open().await;
    client.source("$export?_type=Patient", &KICK_OFF).await;
    let requests = sandbox.requests();
    assert_eq!(requests.len(), 1);
    let request = &requests[0];
    assert_eq!(
        (request.service, request.method.as_str()),
        (Service::Source, "GET")
    );
    assert_eq!(request.path, "/fhir/$export");
    assert_eq!(request.parameter("_type").as_deref(), Some("Patient"));
    assert_eq!(request.accept.as_deref(), Some("application/fhir+json"));
    assert_eq!(request.prefer.as_deref(), Some("respond-async"));
    assert_eq!(request.status, Some(202));
    sandbox.clear_requests();
    assert!(sandbox.requests().is_empty());
}
