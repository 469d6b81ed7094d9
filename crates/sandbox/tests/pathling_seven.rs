//! What Pathling 7.2.0 was seen to do, each a test.
//!
//! | fact | test |
//! |---|---|
//! | jobs are keyed on URL and headers, not on the body | `a_second_import_at_the_same_url_joins_the_running_or_failed_job_whatever_its_body` |
//! | a nonce makes a new job | the same |
//! | Prefer must be exactly respond-async | `any_other_prefer_is_imported_while_the_caller_waits` |
//! | value types | `a_url_of_another_value_type_is_500_and_a_mode_as_string_is_passed_over` |
//! | errors show on the poll | `each_bad_request_fails_on_the_poll_with_the_real_status_and_text` |
//! | allowlist is a prefix | `the_allowlist_is_a_plain_prefix` |
//! | bad lines | `bad_lines_are_refused_and_the_table_stays` |
//! | harmless lines | `blank_lines_crlf_bom_and_a_missing_last_newline_are_fine` |
//! | folders, hidden files, empty ones | `what_an_empty_location_does` |
//! | globs and URL decoding | `globs_work_and_a_plus_is_a_space` |
//! | overwrite, merge, duplicates | `overwrite_replaces_merge_upserts_and_duplicates_fail_only_where_they_match` |
//! | not atomic | `what_was_written_before_a_failure_stays` |
//! | merge that fails leaves an empty table | `a_failed_merge_into_a_new_type_leaves_an_empty_table` |
//! | types | `types_are_refused_as_the_real_one_refuses_them` |
//! | polls | `polls_tell_progress_without_retry_after_and_can_be_repeated` |
//! | restart | `a_restart_forgets_jobs_and_keeps_rows` |
//! | no deletion, no read, no cancel | `there_is_no_read_no_delete_and_no_cancel` |
//! | metadata | `metadata_tells_name_and_version` |
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::{Client, IMPORT, Staging, ids, parameters, patient};
use sandbox::{PathlingVersion, Sandbox};
use serde_json::{Value, json};

const SEVEN: PathlingVersion = PathlingVersion::Seven;

async fn start() -> (Sandbox, Client, Staging) {
    let sandbox = Sandbox::builder().auth(false).start().await.unwrap();
    let client = Client::new(&sandbox);
    (sandbox, client, Staging::new())
}

/// An import of Patients with a nonce of its own: the last answer.
async fn import(client: &Client, mode: &str, url: &str) -> common::Answer {
    let nonce = uuid::Uuid::new_v4();
    let body = parameters(SEVEN, mode, &[("Patient", url)]);
    client.import(&format!("?_nonce={nonce}"), &body).await
}

fn source(part: &Value) -> Value {
    json!({"resourceType": "Parameters", "parameter": [{"name": "source", "part": part}]})
}

#[tokio::test]
async fn a_second_import_at_the_same_url_joins_the_running_or_failed_job_whatever_its_body() {
    let sandbox = Sandbox::builder()
        .auth(false)
        .import_delay(Duration::from_millis(200))
        .start()
        .await
        .unwrap();
    let (client, staging) = (Client::new(&sandbox), Staging::new());
    let bad = parameters(SEVEN, "merge", &[("Patient", &staging.url("nope.ndjson"))]);
    let url = staging.file("a.ndjson", patient("a", "x"));
    let good = parameters(SEVEN, "merge", &[("Patient", &url)]);

    let first = client.target("POST", "$import", Some(&bad)).await;
    let job = first.header("content-location").unwrap().to_owned();
    assert_eq!(client.poll(&job).await.status, 400);
    let second = client.target("POST", "$import", Some(&good)).await;
    assert_eq!(second.header("content-location"), Some(job.as_str()));
    assert_eq!(client.poll(&job).await.status, 400);
    assert!(sandbox.rows("Patient").is_empty());

    let third = client.target("POST", "$import?_nonce=1", Some(&good)).await;
    assert_ne!(third.header("content-location"), Some(job.as_str()));
    let again = client.target("POST", "$import?_nonce=1", Some(&good)).await;
    assert_eq!(
        client
            .poll(third.header("content-location").unwrap())
            .await
            .status,
        200
    );
    assert_eq!(
        again.header("content-location"),
        third.header("content-location")
    );
    // The database has changed, so even the first URL has a new job now.
    let fourth = client.target("POST", "$import", Some(&good)).await;
    assert_ne!(fourth.header("content-location"), Some(job.as_str()));
}

#[tokio::test]
async fn any_other_prefer_is_imported_while_the_caller_waits() {
    let (sandbox, client, staging) = start().await;
    let url = staging.file("a.ndjson", patient("a", "x"));
    let body = parameters(SEVEN, "overwrite", &[("Patient", &url)]).to_string();
    let target = format!("{}/$import", sandbox.target_endpoint());
    for prefer in ["respond-async, handling=lenient", "Respond-Async"] {
        let headers = [
            ("content-type", "application/fhir+json"),
            ("prefer", prefer),
        ];
        let answer = client
            .send("POST", &target, &headers, Some(body.clone()))
            .await
            .unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-location"), None);
        assert_eq!(answer.diagnostics(), "Data import completed successfully");
    }
}

#[tokio::test]
async fn a_url_of_another_value_type_is_500_and_a_mode_as_string_is_passed_over() {
    let (sandbox, client, staging) = start().await;
    let url = staging.file("a.ndjson", patient("a", "x"));
    let other = staging.file("b.ndjson", patient("b", "x"));
    assert_eq!(import(&client, "overwrite", &other).await.status, 200);
    for name in ["valueUri", "valueString"] {
        let body = source(
            &json!([{"name": "resourceType", "valueCode": "Patient"}, {"name": "url", name: url}]),
        );
        let answer = client.import(&format!("?_nonce={name}"), &body).await;
        assert_eq!(
            (answer.status, answer.diagnostics().as_str()),
            (500, "Unexpected error occurred")
        );
    }
    let body = source(&json!([
        {"name": "resourceType", "valueCode": "Patient"},
        {"name": "url", "valueUrl": url},
        {"name": "mode", "valueString": "merge"},
    ]));
    assert_eq!(client.import("?_nonce=mode", &body).await.status, 200);
    assert_eq!(ids(&sandbox, "Patient"), ["a"], "the default is overwrite");
}

#[tokio::test]
async fn each_bad_request_fails_on_the_poll_with_the_real_status_and_text() {
    let (_sandbox, client, staging) = start().await;
    let url = staging.file("a.ndjson", patient("a", "x"));
    let kind = json!({"name": "resourceType", "valueCode": "Patient"});
    let at = json!({"name": "url", "valueUrl": url});
    let cases = [
        (
            json!({"resourceType": "Parameters"}),
            400,
            "Must provide at least one source parameter",
        ),
        (
            source(&json!([kind])),
            400,
            "Must provide url for each source",
        ),
        (
            source(&json!([at])),
            400,
            "Must provide resourceType for each source",
        ),
        (
            source(&json!([kind, at, {"name": "mode", "valueCode": "append"}])),
            500,
            "Unexpected error occurred",
        ),
        (
            source(&json!([kind, at, {"name": "format", "valueCode": "foo"}])),
            400,
            "Unsupported format: foo",
        ),
        (
            source(&json!([kind, {"name": "url", "valueUrl": "file:///nope/x.ndjson"}])),
            400,
            "Error reading from URL: file:///nope/x.ndjson",
        ),
        (
            source(&json!([kind, {"name": "url", "valueUrl": "http://x/y.ndjson"}])),
            400,
            "Not allowed to import from URL: http://x/y.ndjson",
        ),
        (
            source(&json!([kind, {"name": "url", "valueUrl": "s3://staging/none/"}])),
            400,
            "Error reading from URL: s3a://staging/none/",
        ),
    ];
    for (index, (body, status, text)) in cases.iter().enumerate() {
        let accepted = client
            .target("POST", &format!("$import?_nonce={index}"), Some(body))
            .await;
        assert_eq!(accepted.status, 202);
        let answer = client
            .poll(accepted.header("content-location").unwrap())
            .await;
        assert_eq!(
            (answer.status, answer.diagnostics().as_str()),
            (*status, *text)
        );
    }
    // Only what cannot be read at all fails at the kick-off.
    let target = format!("{}/$import", client.setting("TARGET_ENDPOINT"));
    for (kind, body, status) in [
        ("application/fhir+json", "{", 400),
        (
            "application/fhir+json",
            "{\"resourceType\":\"Patient\"}",
            500,
        ),
        ("text/plain", "{\"resourceType\":\"Parameters\"}", 400),
        (
            "application/fhir+ndjson",
            "{\"resourceType\":\"Parameters\"}",
            500,
        ),
    ] {
        let headers = [("content-type", kind), ("prefer", "respond-async")];
        let answer = client
            .send("POST", &target, &headers, Some(body.into()))
            .await
            .unwrap();
        assert_eq!(answer.status, status, "{kind} {body}");
    }
}

#[tokio::test]
async fn the_allowlist_is_a_plain_prefix() {
    let staging = Staging::new();
    let evil = staging.file("in-evil/a.ndjson", patient("a", "x"));
    let outside = staging.file("outside/b.ndjson", patient("b", "x"));
    let prefix = staging.url("in");
    let sandbox = Sandbox::builder()
        .auth(false)
        .allow(&[&prefix])
        .start()
        .await
        .unwrap();
    let client = Client::new(&sandbox);
    assert_eq!(import(&client, "merge", &evil).await.status, 200);
    let dots = staging.url("in-evil/../outside/b.ndjson");
    assert_eq!(import(&client, "merge", &dots).await.status, 200);
    assert_eq!(import(&client, "merge", &outside).await.status, 400);
    assert_eq!(ids(&sandbox, "Patient"), ["a", "b"]);
}

#[tokio::test]
async fn bad_lines_are_refused_and_the_table_stays() {
    let (sandbox, client, staging) = start().await;
    let good = staging.file("good.ndjson", patient("a", "x"));
    assert_eq!(import(&client, "overwrite", &good).await.status, 200);
    let two = patient("b", "x") + &patient("c", "x");
    for (line, status, text) in [
        ("{\"resourceType\":\"Patient\"", 400, "Invalid JSON content"),
        (two.as_str(), 400, "Invalid JSON content"),
        ("{\"id\":\"b\"}", 400, "HAPI-1838"),
        (
            "{\"resourceType\":\"Patient\"}",
            400,
            "Encountered a resource with no ID",
        ),
        (
            "{\"resourceType\":\"Patient\",\"id\":\"\"}",
            400,
            "Encountered a resource with no ID",
        ),
        (
            "{\"resourceType\":\"Patient\",\"id\":\"b\",\"birthDate\":\"hello\"}",
            400,
            "HAPI-1821",
        ),
        (
            "{\"resourceType\":\"Condition\",\"id\":\"b\"}",
            500,
            "Unexpected error occurred",
        ),
    ] {
        let url = staging.file("bad.ndjson", format!("{}\n{line}\n", patient("z", "x")));
        let answer = import(&client, "overwrite", &url).await;
        assert_eq!(answer.status, status, "{line}");
        assert!(
            answer.diagnostics().contains(text),
            "{line}: {}",
            answer.diagnostics()
        );
        assert_eq!(ids(&sandbox, "Patient"), ["a"]);
    }
}

#[tokio::test]
async fn blank_lines_crlf_bom_and_a_missing_last_newline_are_fine() {
    let (sandbox, client, staging) = start().await;
    let (a, b, c) = (
        patient("a", "ü\u{2028}"),
        patient("b", "x"),
        patient("c", "x"),
    );
    let url = staging.file("a.ndjson", format!("\u{feff}{a}\r\n\n  \n{b}\r{c}"));
    assert_eq!(import(&client, "overwrite", &url).await.status, 200);
    let lines: Vec<_> = sandbox
        .rows("Patient")
        .into_iter()
        .map(|row| row.line)
        .collect();
    assert_eq!(lines, [a, b, c]);
}

#[tokio::test]
async fn what_an_empty_location_does() {
    let (sandbox, client, staging) = start().await;
    let good = staging.file("good/a.ndjson", patient("a", "x"));
    staging.file("good/b.txt", patient("b", "x"));
    staging.file("good/_c.ndjson", patient("c", "x"));
    staging.file("good/.d.ndjson", patient("d", "x"));
    staging.file("good/sub/e.ndjson", patient("e", "x"));
    std::fs::create_dir(staging.0.path().join("empty")).unwrap();
    let empty_file = staging.file("empty.ndjson", "");
    let hidden = staging.file("_hidden.ndjson", patient("h", "x"));
    for emptying in [staging.url("empty"), empty_file, hidden] {
        assert_eq!(
            import(&client, "overwrite", &staging.url("good/"))
                .await
                .status,
            200
        );
        assert_eq!(
            ids(&sandbox, "Patient"),
            ["a", "b"],
            "hidden files and subfolders are passed over"
        );
        assert_eq!(import(&client, "merge", &emptying).await.status, 200);
        assert_eq!(
            ids(&sandbox, "Patient"),
            ["a", "b"],
            "a merge changes nothing"
        );
        assert_eq!(import(&client, "overwrite", &emptying).await.status, 200);
        assert!(
            sandbox.rows("Patient").is_empty(),
            "an overwrite empties the table"
        );
    }
    assert_eq!(import(&client, "merge", &good).await.status, 200);
}

#[tokio::test]
async fn globs_work_and_a_plus_is_a_space() {
    let (sandbox, client, staging) = start().await;
    staging.file("p/00000-a.ndjson", patient("a", "x"));
    staging.file("p/00001-b.ndjson", patient("b", "x"));
    staging.file("p/c d.ndjson", patient("cd", "x"));
    for (glob, wanted) in [
        ("*.ndjson", vec!["a", "b", "cd"]),
        ("0000?-*", vec!["a", "b"]),
        ("{00000-a,c d}.ndjson", vec!["a", "cd"]),
        ("[0-1]*", vec!["a", "b"]),
        ("c+d.ndjson", vec!["cd"]),
        ("c%20d.ndjson", vec!["cd"]),
        ("%2A.ndjson", vec!["a", "b", "cd"]),
    ] {
        assert_eq!(
            import(&client, "overwrite", &staging.url(&format!("p/{glob}")))
                .await
                .status,
            200,
            "{glob}"
        );
        assert_eq!(ids(&sandbox, "Patient"), wanted, "{glob}");
    }
    for glob in ["*.json", "c%2Bd.ndjson", "00000-a.ndjson,00001-b.ndjson"] {
        let answer = import(&client, "overwrite", &staging.url(&format!("p/{glob}"))).await;
        assert_eq!(answer.status, 400, "{glob}");
    }
}

#[tokio::test]
async fn overwrite_replaces_merge_upserts_and_duplicates_fail_only_where_they_match() {
    let (sandbox, client, staging) = start().await;
    let one = staging.file(
        "1.ndjson",
        [patient("a", "1"), patient("b", "1")].join("\n"),
    );
    let two = staging.file(
        "2.ndjson",
        [patient("b", "2"), patient("c", "2")].join("\n"),
    );
    let twice = staging.file(
        "d.ndjson",
        [patient("d", "1"), patient("d", "1")].join("\n"),
    );
    assert_eq!(import(&client, "overwrite", &one).await.status, 200);
    assert_eq!(import(&client, "merge", &two).await.status, 200);
    assert_eq!(ids(&sandbox, "Patient"), ["a", "b", "c"]);
    assert!(
        sandbox
            .rows("Patient")
            .iter()
            .any(|row| row.line == patient("b", "2"))
    );
    assert_eq!(
        import(&client, "merge", &twice).await.status,
        200,
        "new ids are all inserted"
    );
    assert_eq!(ids(&sandbox, "Patient"), ["a", "b", "c", "d", "d"]);
    let answer = import(&client, "merge", &twice).await;
    assert_eq!(
        (answer.status, answer.diagnostics().as_str()),
        (500, "Unexpected error occurred")
    );
    let single = staging.file("d1.ndjson", patient("d", "9"));
    assert_eq!(import(&client, "merge", &single).await.status, 200);
    let updated = sandbox
        .rows("Patient")
        .iter()
        .filter(|row| row.line == patient("d", "9"))
        .count();
    assert_eq!(updated, 2, "every row of the id is updated");
    assert_eq!(import(&client, "overwrite", &twice).await.status, 200);
    assert_eq!(ids(&sandbox, "Patient"), ["d", "d"]);
    let both = parameters(SEVEN, "overwrite", &[("Patient", &one), ("Patient", &two)]);
    assert_eq!(client.import("?_nonce=both", &both).await.status, 200);
    assert_eq!(
        ids(&sandbox, "Patient"),
        ["b", "c"],
        "the last overwrite wins"
    );
}

#[tokio::test]
async fn what_was_written_before_a_failure_stays() {
    let (sandbox, client, staging) = start().await;
    let good = staging.file("1.ndjson", patient("a", "1"));
    let body = parameters(
        SEVEN,
        "overwrite",
        &[("Patient", &good), ("Condition", &staging.url("no.ndjson"))],
    );
    assert_eq!(client.import("", &body).await.status, 400);
    assert_eq!(ids(&sandbox, "Patient"), ["a"]);
}

#[tokio::test]
async fn a_failed_merge_into_a_new_type_leaves_an_empty_table() {
    let (sandbox, client, staging) = start().await;
    let bad = staging.file("1.ndjson", "{}");
    assert_eq!(import(&client, "merge", &bad).await.status, 400);
    assert!(sandbox.rows("Patient").is_empty());
    let count = client.target("GET", "Patient?_summary=count", None).await;
    assert_eq!(count.json()["total"], 0);
}

#[tokio::test]
async fn types_are_refused_as_the_real_one_refuses_them() {
    let (_sandbox, client, staging) = start().await;
    for (kind, status, text) in [
        ("Foo", 500, "Unexpected error occurred"),
        ("patient", 500, "Unexpected error occurred"),
        ("SubscriptionTopic", 500, "Unexpected error occurred"),
        ("Bundle", 400, "Unsupported resource type: Bundle"),
        ("Parameters", 400, "Unsupported resource type: Parameters"),
        ("Task", 400, "Unsupported resource type: Task"),
        (
            "StructureMap",
            400,
            "Unsupported resource type: StructureMap",
        ),
        (
            "DomainResource",
            400,
            "Invalid FHIR content: HAPI-1684: Unknown resource name \"DomainResource\"",
        ),
    ] {
        let url = staging.file(
            "x.ndjson",
            json!({"resourceType": kind, "id": "x"}).to_string(),
        );
        let answer = client
            .import(
                &format!("?_nonce={kind}"),
                &parameters(SEVEN, "merge", &[(kind, &url)]),
            )
            .await;
        assert_eq!(
            (answer.status, answer.diagnostics().as_str()),
            (status, text),
            "{kind}"
        );
    }
    for kind in ["Questionnaire", "Binary", "OperationDefinition"] {
        let url = staging.file(
            "x.ndjson",
            json!({"resourceType": kind, "id": "x"}).to_string(),
        );
        let answer = client
            .import(
                &format!("?_nonce={kind}"),
                &parameters(SEVEN, "merge", &[(kind, &url)]),
            )
            .await;
        assert_eq!(answer.status, 200, "{kind}");
    }
}

#[tokio::test]
async fn polls_tell_progress_without_retry_after_and_can_be_repeated() {
    let sandbox = Sandbox::builder()
        .auth(false)
        .import_polls(2)
        .start()
        .await
        .unwrap();
    let (client, staging) = (Client::new(&sandbox), Staging::new());
    let url = staging.file("a.ndjson", patient("a", "x"));
    let body = parameters(SEVEN, "merge", &[("Patient", &url)]);
    let accepted = client.target("POST", "$import", Some(&body)).await;
    let job = accepted.header("content-location").unwrap();
    assert!(job.starts_with(&format!("{}/$job?id=", sandbox.target_endpoint())));
    assert_eq!(accepted.header("retry-after"), None);
    let first = client.target("GET", job, None).await;
    assert_eq!((first.status, first.header("x-progress")), (202, None));
    assert_eq!(first.header("etag"), Some("W/\"0\""));
    let second = client.target("GET", job, None).await;
    assert_eq!(
        (second.status, second.header("x-progress")),
        (202, Some("33%"))
    );
    assert_eq!(second.header("retry-after"), None);
    let done = client.target("GET", job, None).await;
    assert_eq!(done.status, 200);
    assert_eq!(client.target("GET", job, None).await.status, 200);
    let tag = done.header("etag").unwrap().to_owned();
    let headers = [IMPORT[0], ("if-none-match", tag.as_str())];
    assert_eq!(
        client
            .send("GET", job, &headers, None)
            .await
            .unwrap()
            .status,
        304
    );
}

#[tokio::test]
async fn a_restart_forgets_jobs_and_keeps_rows() {
    let (sandbox, client, staging) = start().await;
    let url = staging.file("a.ndjson", patient("a", "x"));
    let body = parameters(SEVEN, "merge", &[("Patient", &url)]);
    let accepted = client.target("POST", "$import", Some(&body)).await;
    let job = accepted.header("content-location").unwrap();
    assert_eq!(client.poll(job).await.status, 200);
    sandbox.restart_target();
    let answer = client.target("GET", job, None).await;
    assert_eq!(
        (answer.status, answer.diagnostics().as_str()),
        (404, "Job ID not found")
    );
    assert_eq!(ids(&sandbox, "Patient"), ["a"]);
}

#[tokio::test]
async fn there_is_no_read_no_delete_and_no_cancel() {
    let (_sandbox, client, staging) = start().await;
    let url = staging.file("a.ndjson", patient("a", "x"));
    assert_eq!(import(&client, "merge", &url).await.status, 200);
    assert_eq!(client.target("GET", "Patient/a", None).await.status, 400);
    assert_eq!(client.target("DELETE", "Patient/a", None).await.status, 400);
    assert_eq!(client.target("GET", "$import", None).await.status, 405);
    let cancel = client.target("DELETE", "$job?id=x", None).await;
    assert_eq!(
        (cancel.status, cancel.header("allow")),
        (405, Some("POST,GET"))
    );
    let batch = json!({"resourceType": "Bundle", "type": "batch", "entry": [{"request": {"method": "DELETE", "url": "Patient/a"}}]});
    let answer = client.target("POST", "", Some(&batch)).await;
    assert_eq!((answer.status, answer.json().get("entry")), (200, None));
}

#[tokio::test]
async fn metadata_tells_name_and_version() {
    let (_sandbox, client, _) = start().await;
    let metadata = client.target("GET", "metadata", None).await.json();
    assert_eq!(metadata["software"]["name"], "Pathling");
    assert!(
        metadata["software"]["version"]
            .as_str()
            .unwrap()
            .starts_with("7.2.0+")
    );
    let operation = &metadata["rest"][0]["operation"][0];
    assert_eq!(
        operation["definition"],
        "https://pathling.csiro.au/fhir/OperationDefinition/import-7"
    );
    assert_eq!(
        client
            .target("GET", ".well-known/smart-configuration", None)
            .await
            .status,
        404
    );
}
