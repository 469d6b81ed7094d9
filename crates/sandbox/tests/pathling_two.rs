//! What Pathling Server 2.0.1 was seen to do, each a test.
//!
//! | fact | test |
//! |---|---|
//! | kick-off refusals | `the_kick_off_refuses_what_the_real_one_refuses` |
//! | headers | `prefer_and_accept_must_be_exact` |
//! | failures on the poll | `failures_show_on_the_poll_and_are_replayed` |
//! | silent drops | `what_does_not_end_in_ndjson_is_dropped_in_silence` |
//! | folder named .ndjson, globs | `a_folder_named_ndjson_and_globs_are_read` |
//! | lines | `lines_are_judged_as_the_real_one_judges_them` |
//! | missing id | `a_line_without_id_is_imported_and_breaks_the_search` |
//! | modes | `each_mode_does_what_it_does` |
//! | duplicates | `duplicates_are_inserted_or_fail_by_what_is_there` |
//! | not atomic | `types_before_a_failure_stay_written` |
//! | job reuse | `jobs_are_reused_until_the_key_is_refreshed` |
//! | answer's two shapes | `the_answer_has_two_shapes_and_echoes_dropped_urls` |
//! | deletion | `deletions_are_serial_and_tell_what_was_there` |
//! | batches | `a_batch_stops_at_the_first_absent_id` |
//! | jobs | `a_job_can_be_deleted_and_a_restart_forgets_it` |
//! | authentication | `scopes_allow_what_they_say` |
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::{Client, IMPORT, Staging, ids, parameters, patient};
use sandbox::{PathlingVersion, Sandbox};
use serde_json::{Value, json};

const TWO: PathlingVersion = PathlingVersion::Two;

async fn start() -> (Sandbox, Client, Staging) {
    let sandbox = Sandbox::builder()
        .pathling(TWO)
        .auth(false)
        .start()
        .await
        .unwrap();
    let client = Client::new(&sandbox);
    (sandbox, client, Staging::new())
}

async fn import(client: &Client, mode: &str, inputs: &[(&str, &str)]) -> common::Answer {
    let nonce = uuid::Uuid::new_v4();
    client
        .import(&format!("?_nonce={nonce}"), &parameters(TWO, mode, inputs))
        .await
}

#[tokio::test]
#[allow(clippy::too_many_lines, reason = "a table")]
async fn the_kick_off_refuses_what_the_real_one_refuses() {
    let (_sandbox, client, _) = start().await;
    let kind = json!({"name": "resourceType", "valueCode": "Patient"});
    let url = json!({"name": "url", "valueUrl": "file:///x.ndjson"});
    let with = |part: Value, more: Value| {
        let mut parameter = vec![json!({"name": "input", "part": part})];
        parameter.extend(more.as_array().unwrap().clone());
        json!({"resourceType": "Parameters", "parameter": parameter})
    };
    let cases = [
        (
            with(json!([url]), json!([])),
            400,
            "Missing resourceType part in input parameter.",
        ),
        (
            with(
                json!([{"name": "resourceType", "valueString": "Patient"}, url]),
                json!([]),
            ),
            400,
            "Missing resourceType part in input parameter.",
        ),
        (
            with(
                json!([kind, {"name": "url", "valueUri": "file:///x.ndjson"}]),
                json!([]),
            ),
            400,
            "Missing url part in input parameter.",
        ),
        (
            with(
                json!([kind, url]),
                json!([{"name": "saveMode", "valueCode": "OVERWRITE"}]),
            ),
            400,
            "Unknown saveMode.",
        ),
        (
            with(
                json!([kind, url]),
                json!([{"name": "saveMode", "valueString": "merge"}]),
            ),
            400,
            "Unknown saveMode.",
        ),
        (
            with(
                json!([kind, url]),
                json!([{"name": "inputFormat", "valueCode": "ndjson"}]),
            ),
            400,
            "Unsupported format: ndjson",
        ),
        (
            with(
                json!([kind, url]),
                json!([{"name": "inputFormat", "valueString": "x"}]),
            ),
            400,
            "Unknown format.",
        ),
        (
            with(
                json!([{"name": "resourceType", "valueCode": "Foo"}, url]),
                json!([]),
            ),
            400,
            "Unknown resource type.",
        ),
        (
            with(
                json!([{"name": "resourceType", "valueCode": "Bundle"}, url]),
                json!([]),
            ),
            400,
            "The resource type 'Bundle' is not supported.",
        ),
        (
            json!({"resourceType": "Parameters"}),
            400,
            "The input may not be empty.",
        ),
        (
            json!({"resourceType": "Patient"}),
            500,
            "Unexpected error occurred",
        ),
    ];
    for (body, status, text) in cases {
        let answer = client.target("POST", "$import", Some(&body)).await;
        assert_eq!(
            (answer.status, answer.diagnostics().as_str()),
            (status, text),
            "{body}"
        );
    }
    let target = format!("{}/%24import", client.setting("TARGET_ENDPOINT"));
    let answer = client
        .send("POST", &target, &IMPORT, Some("{".into()))
        .await
        .unwrap();
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn prefer_and_accept_must_be_exact() {
    let (_sandbox, client, staging) = start().await;
    let url = staging.file("a.ndjson", patient("a", "x"));
    let body = parameters(TWO, "merge", &[("Patient", &url)]).to_string();
    let target = format!("{}/$import", client.setting("TARGET_ENDPOINT"));
    for (prefer, accept, status) in [
        ("respond-async", "application/fhir+json", 202),
        (
            "respond-async, handling=lenient",
            "text/html, application/fhir+json",
            202,
        ),
        ("respond-async", "*/*", 202),
        ("Respond-Async", "application/fhir+json", 400),
        ("respond-async; wait=10", "application/fhir+json", 400),
        ("respond-async", "application/json", 400),
        ("respond-async", "application/fhir+json;charset=utf-8", 400),
    ] {
        let headers = [("prefer", prefer), ("accept", accept), IMPORT[1]];
        let answer = client
            .send("POST", &target, &headers, Some(body.clone()))
            .await
            .unwrap();
        assert_eq!(answer.status, status, "{prefer} | {accept}");
    }
}

#[tokio::test]
async fn failures_show_on_the_poll_and_are_replayed() {
    let staging = Staging::new();
    let bad = staging.file("bad.ndjson", "{\"resourceType\"");
    let sandbox = Sandbox::builder()
        .pathling(TWO)
        .auth(false)
        .allow(&[&staging.url("")])
        .start()
        .await
        .unwrap();
    let client = Client::new(&sandbox);
    for (url, status, text) in [
        (staging.url("no.ndjson"), 500, "Unexpected error occurred"),
        (staging.url("no*.ndjson"), 500, "Unexpected error occurred"),
        (
            "file:/x.ndjson".to_owned(),
            403,
            "URL: 'file:/x.ndjson' is not an allowed source for import.",
        ),
        (bad, 400, "Unknown problem while parsing FHIR/JSON content"),
    ] {
        let body = parameters(TWO, "merge", &[("Patient", &url)]);
        let accepted = client.target("POST", "$import", Some(&body)).await;
        assert_eq!(accepted.status, 202);
        let job = accepted.header("content-location").unwrap();
        for _ in 0..2 {
            let answer = client.poll(job).await;
            assert_eq!(answer.status, status, "{url}");
            assert!(
                answer.diagnostics().starts_with(text),
                "{}",
                answer.diagnostics()
            );
        }
        let again = client.target("POST", "$import", Some(&body)).await;
        assert_eq!(
            again.header("content-location"),
            Some(job),
            "the failed job again"
        );
    }
}

#[tokio::test]
async fn what_does_not_end_in_ndjson_is_dropped_in_silence() {
    let (sandbox, client, staging) = start().await;
    let good = staging.file("Patient/a.ndjson", patient("a", "x"));
    assert_eq!(
        import(&client, "overwrite", &[("Patient", &good)])
            .await
            .status,
        200
    );
    staging.file("Patient/b.json", patient("b", "x"));
    for name in [
        "Patient",
        "Patient/",
        "Patient/b.json",
        "Patient/b.NDJSON",
        "Patient/b.ndjson.gz",
    ] {
        let answer = import(&client, "overwrite", &[("Patient", &staging.url(name))]).await;
        assert_eq!(answer.status, 200, "{name}");
        assert_eq!(
            ids(&sandbox, "Patient"),
            ["a"],
            "{name}: the type is untouched"
        );
    }
}

#[tokio::test]
async fn a_folder_named_ndjson_and_globs_are_read() {
    let (sandbox, client, staging) = start().await;
    staging.file("Patient.ndjson/a.txt", patient("a", "x"));
    staging.file("Patient.ndjson/_b.ndjson", patient("b", "x"));
    staging.file("p/00000-c.ndjson", patient("c", "x"));
    staging.file("p/00001-d.ndjson", patient("d", "x"));
    for (name, wanted) in [
        ("Patient.ndjson", vec!["a"]),
        ("p/*.ndjson", vec!["c", "d"]),
        ("p/{00000,00001}-*.ndjson", vec!["c", "d"]),
        ("p/[0]0001*.ndjson", vec!["d"]),
    ] {
        assert_eq!(
            import(&client, "overwrite", &[("Patient", &staging.url(name))])
                .await
                .status,
            200
        );
        assert_eq!(ids(&sandbox, "Patient"), wanted, "{name}");
    }
}

#[tokio::test]
async fn lines_are_judged_as_the_real_one_judges_them() {
    let (sandbox, client, staging) = start().await;
    let (a, b) = (patient("a", "x"), patient("b", "x"));
    for (content, status, text) in [
        (format!("{a}\n\n{b}\n"), 400, "HAPI-1857"),
        (format!("{a}\n  \n"), 400, "HAPI-1857"),
        ("\n".to_owned(), 400, "HAPI-1857"),
        ("{\"id\":\"x\"}\n".to_owned(), 400, "HAPI-1838"),
    ] {
        let url = staging.file("x.ndjson", content);
        let answer = import(&client, "merge", &[("Patient", &url)]).await;
        assert_eq!(answer.status, status);
        assert!(answer.diagnostics().contains(text));
        assert!(sandbox.rows("Patient").is_empty());
    }
    let url = staging.file("x.ndjson", format!("\u{feff}{a}\r\n{b}"));
    assert_eq!(
        import(&client, "merge", &[("Patient", &url)]).await.status,
        200
    );
    assert_eq!(ids(&sandbox, "Patient"), ["a", "b"]);
    let other = staging.file("x.ndjson", "{\"resourceType\":\"Condition\",\"id\":\"c\"}");
    assert_eq!(
        import(&client, "overwrite", &[("Patient", &other)])
            .await
            .status,
        200
    );
    assert!(
        sandbox.rows("Patient").is_empty(),
        "lines of another type are skipped, the type is emptied"
    );
}

#[tokio::test]
async fn a_line_without_id_is_imported_and_breaks_the_search() {
    let (sandbox, client, staging) = start().await;
    let without = staging.file("x.ndjson", "{\"resourceType\":\"Patient\"}");
    assert_eq!(
        import(&client, "merge", &[("Patient", &without)])
            .await
            .status,
        200
    );
    let answer = client.target("GET", "Patient?_summary=count", None).await;
    assert_eq!(answer.status, 500);
    assert!(answer.diagnostics().starts_with("HAPI-0435"));
    let good = staging.file("y.ndjson", patient("a", "x"));
    assert_eq!(
        import(&client, "overwrite", &[("Patient", &good)])
            .await
            .status,
        200
    );
    assert_eq!(
        client
            .target("GET", "Patient?_summary=count", None)
            .await
            .json()["total"],
        1
    );
    assert_eq!(ids(&sandbox, "Patient"), ["a"]);
}

#[tokio::test]
async fn each_mode_does_what_it_does() {
    let (sandbox, client, staging) = start().await;
    let a = staging.file("a.ndjson", patient("a", "1"));
    let b = staging.file("b.ndjson", patient("b", "1"));
    assert_eq!(
        import(&client, "error", &[("Patient", &a)]).await.status,
        200
    );
    assert_eq!(
        import(&client, "error", &[("Patient", &a)]).await.status,
        500
    );
    assert_eq!(
        import(&client, "ignore", &[("Patient", &b)]).await.status,
        200
    );
    assert_eq!(ids(&sandbox, "Patient"), ["a"]);
    assert_eq!(
        import(&client, "append", &[("Patient", &a)]).await.status,
        200
    );
    assert_eq!(ids(&sandbox, "Patient"), ["a", "a"]);
    assert_eq!(
        import(&client, "merge", &[("Patient", &b)]).await.status,
        200
    );
    assert_eq!(ids(&sandbox, "Patient"), ["a", "a", "b"]);
    assert_eq!(
        import(
            &client,
            "overwrite",
            &[("Patient", &b), ("Patient", &a), ("Patient", &a)]
        )
        .await
        .status,
        200
    );
    assert_eq!(
        ids(&sandbox, "Patient"),
        ["a", "b"],
        "several inputs are joined, one URL twice counts once"
    );
    let empty = staging.file("empty.ndjson", "");
    assert_eq!(
        import(&client, "merge", &[("Patient", &empty)])
            .await
            .status,
        200
    );
    assert_eq!(ids(&sandbox, "Patient"), ["a", "b"]);
    assert_eq!(
        import(&client, "overwrite", &[("Patient", &empty)])
            .await
            .status,
        200
    );
    assert!(sandbox.rows("Patient").is_empty());
}

#[tokio::test]
async fn duplicates_are_inserted_or_fail_by_what_is_there() {
    let (sandbox, client, staging) = start().await;
    let twice = staging.file(
        "d.ndjson",
        [patient("d", "1"), patient("d", "1")].join("\n"),
    );
    assert_eq!(
        import(&client, "merge", &[("Patient", &twice)])
            .await
            .status,
        200
    );
    assert_eq!(ids(&sandbox, "Patient"), ["d", "d"]);
    assert_eq!(
        import(&client, "merge", &[("Patient", &twice)])
            .await
            .status,
        500
    );
    assert_eq!(client.target("DELETE", "Patient/d", None).await.status, 204);
    assert!(
        sandbox.rows("Patient").is_empty(),
        "a deletion removes all copies"
    );
}

#[tokio::test]
async fn types_before_a_failure_stay_written() {
    let (sandbox, client, staging) = start().await;
    let bad = staging.file("p.ndjson", "{");
    let good = staging.file("c.ndjson", "{\"resourceType\":\"Condition\",\"id\":\"c\"}");
    let missing = staging.url("no.ndjson");
    assert_eq!(
        import(
            &client,
            "merge",
            &[("Condition", &good), ("Patient", &missing)]
        )
        .await
        .status,
        500
    );
    assert!(
        sandbox.rows("Condition").is_empty(),
        "a missing file stops everything"
    );
    assert_eq!(
        import(&client, "merge", &[("Patient", &bad), ("Condition", &good)])
            .await
            .status,
        400
    );
    assert_eq!(ids(&sandbox, "Condition"), ["c"]);
}

#[tokio::test]
async fn jobs_are_reused_until_the_key_is_refreshed() {
    let wait = Duration::from_millis(300);
    let sandbox = Sandbox::builder()
        .pathling(TWO)
        .auth(false)
        .key_refresh(wait)
        .start()
        .await
        .unwrap();
    let (client, staging) = (Client::new(&sandbox), Staging::new());
    let url = staging.file("a.ndjson", patient("a", "1"));
    let other = staging.file("b.ndjson", patient("b", "1"));
    let body = parameters(TWO, "merge", &[("Patient", &url)]);
    let first = client.target("POST", "$import", Some(&body)).await;
    let job = first.header("content-location").unwrap().to_owned();
    assert_eq!(client.poll(&job).await.status, 200);
    let again = client.target("POST", "$import", Some(&body)).await;
    assert_eq!(
        again.header("content-location"),
        Some(job.as_str()),
        "for a moment, the finished job"
    );
    let others = client
        .target(
            "POST",
            "$import",
            Some(&parameters(TWO, "merge", &[("Patient", &other)])),
        )
        .await;
    assert_ne!(
        others.header("content-location"),
        Some(job.as_str()),
        "other inputs are another job"
    );
    assert_eq!(
        client
            .poll(others.header("content-location").unwrap())
            .await
            .status,
        200
    );
    tokio::time::sleep(wait + wait).await;
    let later = client.target("POST", "$import", Some(&body)).await;
    assert_ne!(later.header("content-location"), Some(job.as_str()));
}

#[tokio::test]
async fn the_answer_has_two_shapes_and_echoes_dropped_urls() {
    let (_sandbox, client, staging) = start().await;
    let url = staging.file("a.ndjson", patient("a", "1"));
    let dropped = staging.url("dropped");
    let body = parameters(TWO, "merge", &[("Patient", &url), ("Patient", &dropped)]);
    let accepted = client.target("POST", "$import", Some(&body)).await;
    let job = accepted.header("content-location").unwrap();
    let fhir = client.poll(job).await.json();
    assert_eq!(fhir["resourceType"], "Parameters");
    let outputs = fhir["parameter"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|each| each["name"] == "output");
    assert_eq!(outputs.count(), 2);
    let plain = client
        .send("GET", job, &[("accept", "application/json")], None)
        .await
        .unwrap();
    assert_eq!(plain.json()["output"].as_array().unwrap().len(), 2);
    let one = client
        .target(
            "POST",
            "$import?_nonce=1",
            Some(&parameters(TWO, "merge", &[("Patient", &url)])),
        )
        .await;
    let job = one.header("content-location").unwrap();
    let plain = client.send("GET", job, &[], None).await.unwrap();
    assert!(plain.json()["output"].is_object(), "one output is no array");
}

#[tokio::test]
async fn deletions_are_serial_and_tell_what_was_there() {
    let delay = Duration::from_millis(200);
    let sandbox = Sandbox::builder()
        .pathling(TWO)
        .auth(false)
        .delete_delay(delay)
        .start()
        .await
        .unwrap();
    let (client, staging) = (Client::new(&sandbox), Staging::new());
    let url = staging.file(
        "a.ndjson",
        [patient("a", "1"), patient("b", "1")].join("\n"),
    );
    assert_eq!(
        import(&client, "merge", &[("Patient", &url)]).await.status,
        200
    );
    assert_eq!(
        client.target("GET", "Patient/a", None).await.json()["id"],
        "a"
    );
    let (one, other) = tokio::join!(
        client.target("DELETE", "Patient/a", None),
        client.target("DELETE", "Patient/b", None),
    );
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 500], "two at once: one fails");
    let left = ids(&sandbox, "Patient").remove(0);
    assert_eq!(
        client
            .target("DELETE", &format!("Patient/{left}"), None)
            .await
            .status,
        204
    );
    let again = client.target("DELETE", "Patient/a", None).await;
    assert_eq!(
        (again.status, again.diagnostics().as_str()),
        (404, "Resource not found: Patient/a")
    );
    let read = client.target("GET", "Patient/a", None).await;
    assert_eq!(
        (read.status, read.diagnostics().as_str()),
        (404, "Patient with ID 'a' not found")
    );
    assert_eq!(
        client.target("DELETE", "Patient?_id=a", None).await.status,
        400
    );
    assert_eq!(client.target("DELETE", "Foo/a", None).await.status, 404);
}

#[tokio::test]
async fn a_batch_stops_at_the_first_absent_id() {
    let (sandbox, client, staging) = start().await;
    let lines = ["a", "b", "c"].map(|id| patient(id, "1")).join("\n");
    let url = staging.file("a.ndjson", lines);
    assert_eq!(
        import(&client, "merge", &[("Patient", &url)]).await.status,
        200
    );
    let batch = |ids: &[&str]| {
        let entry: Vec<_> = ids
            .iter()
            .map(|id| json!({"request": {"method": "DELETE", "url": format!("Patient/{id}")}}))
            .collect();
        json!({"resourceType": "Bundle", "type": "batch", "entry": entry})
    };
    let stopped = client
        .target("POST", "", Some(&batch(&["a", "zzz", "c"])))
        .await;
    assert_eq!(
        (stopped.status, stopped.diagnostics().as_str()),
        (404, "Resource not found: Patient/zzz")
    );
    assert_eq!(ids(&sandbox, "Patient"), ["b", "c"]);
    let whole = client.target("POST", "", Some(&batch(&["b", "c"]))).await;
    assert_eq!(whole.json()["entry"][1]["response"]["status"], "204");
    assert!(sandbox.rows("Patient").is_empty());
}

#[tokio::test]
async fn a_job_can_be_deleted_and_a_restart_forgets_it() {
    let (sandbox, client, staging) = start().await;
    let url = staging.file("a.ndjson", patient("a", "1"));
    let body = parameters(TWO, "merge", &[("Patient", &url)]);
    let accepted = client.target("POST", "$import", Some(&body)).await;
    let job = accepted.header("content-location").unwrap();
    assert_eq!(client.poll(job).await.status, 200);
    assert_eq!(client.target("DELETE", job, None).await.status, 202);
    let gone = client.target("GET", job, None).await;
    assert_eq!(
        (gone.status, gone.diagnostics().as_str()),
        (404, "Job ID not found")
    );
    assert_eq!(client.target("DELETE", job, None).await.status, 404);
    let accepted = client.target("POST", "$import?_nonce=2", Some(&body)).await;
    let job = accepted.header("content-location").unwrap();
    sandbox.restart_target();
    assert_eq!(client.target("GET", job, None).await.status, 404);
}

#[tokio::test]
async fn scopes_allow_what_they_say() {
    let sandbox = Sandbox::builder().pathling(TWO).start().await.unwrap();
    let (client, staging) = (Client::new(&sandbox), Staging::new());
    let url = staging.file("a.ndjson", patient("a", "1"));
    let body = parameters(TWO, "merge", &[("Patient", &url)]).to_string();
    let base = sandbox.target_endpoint();
    let target = format!("{base}/$import");
    let without = client
        .send("POST", &target, &IMPORT, Some(body.clone()))
        .await
        .unwrap();
    assert_eq!(
        (without.status, without.header("www-authenticate")),
        (401, Some("Bearer"))
    );
    assert!(without.body.is_empty());
    for (scopes, kick_off, poll, count) in [
        ("pathling:search pathling:read", 403, 0, 200),
        ("pathling:import", 202, 403, 403),
        ("user/*.write", 202, 200, 403),
        (
            "pathling:import pathling:write pathling:search pathling:read",
            202,
            200,
            200,
        ),
    ] {
        let token = client.token("TARGET", Some(scopes)).await.unwrap();
        let bearer = format!("Bearer {token}");
        let headers = [IMPORT.as_slice(), &[("authorization", bearer.as_str())]].concat();
        let accepted = client
            .send("POST", &target, &headers, Some(body.clone()))
            .await
            .unwrap();
        assert_eq!(accepted.status, kick_off, "{scopes}");
        if let Some(job) = accepted.header("content-location") {
            let answer = client.send("GET", job, &headers, None).await.unwrap();
            assert_eq!(answer.status, poll, "{scopes}");
        }
        let counted = client
            .send(
                "GET",
                &format!("{base}/Patient?_summary=count"),
                &headers,
                None,
            )
            .await
            .unwrap();
        assert_eq!(counted.status, count, "{scopes}");
    }
    assert_eq!(
        client
            .send("GET", &format!("{base}/metadata"), &[], None)
            .await
            .unwrap()
            .status,
        200
    );
}
