//! The source's kick-off at its three levels, by GET and by POST, and what it refuses by name.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::Client;
use sandbox::{Dataset, Fault, Sandbox};
use serde_json::{Value, json};

const GET: [(&str, &str); 2] = [
    ("accept", "application/fhir+json"),
    ("prefer", "respond-async"),
];

async fn open(faults: &[Fault]) -> (Sandbox, Client) {
    let sandbox = Sandbox::builder().auth(false).data(Dataset::synthetic(6));
    let sandbox = sandbox.start().await.unwrap();
    for fault in faults {
        sandbox.faults().on(fault.clone());
    }
    let group = json!({"resourceType": "Group", "id": "g", "member": [{"entity": {"reference": "Patient/patient-1"}}]});
    sandbox.source_put(&group);
    let client = Client::new(&sandbox);
    (sandbox, client)
}

/// The status of a kick-off by POST with these parameters, and where its status is told.
async fn post(
    sandbox: &Sandbox,
    client: &Client,
    path: &str,
    parameters: Value,
) -> (u16, Option<String>) {
    let url = format!("{}/{path}", sandbox.source_endpoint());
    let body = json!({"resourceType": "Parameters", "parameter": parameters}).to_string();
    let headers = [GET[0], GET[1], ("content-type", "application/fhir+json")];
    let answer = client.send("POST", &url, &headers, Some(body)).await;
    let answer = answer.unwrap();
    let location = answer.header("content-location").map(str::to_owned);
    (answer.status, location)
}

/// Types and counts of an export.
async fn exported(client: &Client, location: &str) -> Vec<(String, u64)> {
    let accept = [("accept", "application/json")];
    let manifest = client.source(location, &accept).await.json();
    let outputs = manifest["output"].as_array().unwrap().iter();
    outputs
        .map(|output| {
            let kind = output["type"].as_str().unwrap().to_owned();
            (kind, output["count"].as_u64().unwrap())
        })
        .collect()
}

fn of(counts: &[(&str, u64)]) -> Vec<(String, u64)> {
    let all = counts.iter();
    all.map(|(kind, count)| ((*kind).to_owned(), *count))
        .collect()
}

#[tokio::test]
async fn a_group_with_members_is_exported_with_what_refers_to_them() {
    let (sandbox, client) = open(&[]).await;
    let (status, location) = post(&sandbox, &client, "Group/g/$export", json!([])).await;
    assert_eq!(status, 202);
    let expected = [
        ("Condition", 3),
        ("Encounter", 3),
        ("Group", 1),
        ("Observation", 3),
        ("Patient", 1),
    ];
    assert_eq!(exported(&client, &location.unwrap()).await, of(&expected));
}

#[tokio::test]
async fn parameters_want_their_types_and_patients_their_level() {
    let (sandbox, client) = open(&[]).await;
    let patient = |id: &str| json!({"name": "patient", "valueReference": {"reference": format!("Patient/{id}")}});
    let kind = json!({"name": "_type", "valueString": "Patient,Condition"});
    for (path, parameters, expected) in [
        ("Patient/$export", json!([patient("patient-2"), kind]), 202),
        ("$export", json!([patient("patient-2")]), 400),
        ("Patient/$export", json!([patient("nobody")]), 400),
        ("Group/g/$export", json!([patient("patient-2")]), 400),
        (
            "$export",
            json!([{"name": "_since", "valueString": "2026-01-01T00:00:00Z"}]),
            400,
        ),
        (
            "$export",
            json!([{"name": "_since", "valueInstant": "2026-01-01T00:00:00Z"}]),
            202,
        ),
        (
            "$export",
            json!([{"name": "_typeFilter", "valueString": "Condition?code=1,2"}]),
            202,
        ),
        (
            "$export",
            json!([{"name": "_typeFilter", "valueString": "Condition?onset=1"}]),
            400,
        ),
        (
            "$export",
            json!([{"name": "_mine", "valueString": "1"}]),
            400,
        ),
    ] {
        let (status, _) = post(&sandbox, &client, path, parameters.clone()).await;
        assert_eq!(status, expected, "{path} {parameters}");
    }
}

#[tokio::test]
async fn a_query_is_taken_apart_before_it_is_decoded_and_holds_no_plus() {
    let (_sandbox, client) = open(&[]).await;
    for (query, expected) in [
        ("_typeFilter=Condition%3Fcode%3D1%2C2", 202),
        ("_typeFilter=Condition%3Fcode%3D1,2", 400),
        (
            "_typeFilter=Condition%3Fcode%3D1,Patient%3Fgender%3Dmale",
            202,
        ),
        ("_typeFilter=Patient%3Fgender%3Da+b", 400),
        ("patient=Patient/patient-1", 400),
        (
            "_elements=id&_until=2999-01-01T00:00:00Z&includeAssociatedData=_mine",
            202,
        ),
    ] {
        let answer = client.source(&format!("$export?{query}"), &GET).await;
        assert_eq!(answer.status, expected, "{query}");
    }
}

#[tokio::test]
async fn methods_parameters_and_headers_are_refused_by_name() {
    let kind = |text: &str| json!([{"name": "_type", "valueString": text}]);
    for (faults, get, by_post, list) in [
        (vec![], 202, 202, 202),
        (vec![Fault::KickOffRefusesGet], 405, 202, 202),
        (vec![Fault::KickOffRefusesPost], 202, 405, 405),
        (vec![Fault::KickOffStu4], 405, 202, 400),
        (vec![Fault::KickOffLacks("_type".to_owned())], 400, 400, 400),
        (vec![Fault::KickOffWants("_mine".to_owned())], 400, 400, 400),
        (
            vec![Fault::SourceWantsHeader("X-Key".to_owned())],
            400,
            400,
            400,
        ),
        (vec![Fault::KickOffAnswerLost], 504, 504, 504),
    ] {
        let (sandbox, client) = open(&faults).await;
        let got = client.source("$export?_type=Patient", &GET).await.status;
        let (posted, _) = post(&sandbox, &client, "$export", kind("Patient")).await;
        let (listed, _) = post(&sandbox, &client, "$export", kind("Patient,Group")).await;
        assert_eq!((got, posted, listed), (get, by_post, list), "{faults:?}");
    }
}

#[tokio::test]
async fn the_metadata_says_what_it_was_told_to() {
    let definition = async |fault: Option<Fault>| {
        let faults: Vec<Fault> = fault.into_iter().collect();
        let (_sandbox, client) = open(&faults).await;
        let statement = client.source("metadata", &[]).await.json();
        let operation = &statement["rest"][0]["operation"][0];
        let url = operation["definition"].as_str().unwrap().to_owned();
        let own = client.source("OperationDefinition/export", &[]).await;
        (url, own)
    };
    let ig = "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/export";
    let (url, own) = definition(None).await;
    assert_eq!((url.as_str(), own.status), (ig, 404));
    let (url, _) = definition(Some(Fault::MetadataEdition("2.0.0".to_owned()))).await;
    assert_eq!(url, format!("{ig}|2.0.0"));
    let (url, own) = definition(Some(Fault::MetadataNames("_since,_type".to_owned()))).await;
    assert!(url.ends_with("/fhir/OperationDefinition/export"), "{url}");
    assert_eq!(own.json()["parameter"][1]["name"], "_type");
}
