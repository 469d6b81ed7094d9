//! Sources that say or send what is not quite right: what of it is taken, what is told, and what is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use axum::routing::get;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use pathling_import_tests::check::assert_nothing_half_staged;
use pathling_import_tests::staged::{assert_staged, only_run, staging_folder};
use pathling_import_tests::traffic::assert_appeared_once;
use pathling_import_tests::{RawSource, ToldSource, Transferring, pathling_import, side_by_side};
use sandbox::{Dataset, Fault, Place, Recorded, Sandbox};
use serde_json::{Value, json};

const PATIENT: &str = "{\"resourceType\":\"Patient\",\"id\":\"1\"}\n";

/// gzip of just that.
const COMPRESSED: &str = "H4sIAAAAAAACA6tWKkotzi8tSk4NqSxIVbJSCkgsyUzNK1HSUcpMAXINlWq5AFPd7VQkAAAA";

/// A transfer from the source at this endpoint.
async fn from(endpoint: &str) -> Transferring {
    let env = [
        ("SOURCE_ENDPOINT", endpoint),
        ("SOURCE_AUTHENTICATION_ENABLED", "false"),
    ];
    Transferring::of(Sandbox::builder().source_auth(false), &env).await
}

async fn from_raw(source: &RawSource) -> Transferring {
    let [(_, endpoint), _] = source.env();
    from(endpoint).await
}

/// A source whose manifest has these outputs, all of them of one file of one patient.
async fn told(outputs: &Value) -> ToldSource {
    let manifest = json!({"transactionTime": "2026-01-31T00:00:00Z", "requiresAccessToken": false, "output": outputs});
    ToldSource::start(&manifest, &[("f", PATIENT)]).await
}

fn nothing_is_staged(transfer: &Transferring) {
    let staged = only_run(&staging_folder(&transfer.sandbox));
    assert!(staged.is_empty(), "{staged:?}");
    assert_nothing_half_staged(&transfer.sandbox);
}

/// The staged files' contents, in the manifest's order.
fn staged(transfer: &Transferring) -> Vec<String> {
    let staged = only_run(&staging_folder(&transfer.sandbox));
    let files = staged.values();
    files
        .map(|file| std::fs::read_to_string(&file.path).unwrap())
        .collect()
}

/// An answer with a status of its own.
fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

fn chunked(body: &str) -> Vec<u8> {
    let body = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    RawSource::answer("transfer-encoding: chunked", body.as_bytes())
}

#[tokio::test]
async fn one_url_with_several_fragments_is_one_file() {
    let output =
        |fragment: &str| json!({"type": "Patient", "url": format!("{{source}}/files/f{fragment}")});
    let source = told(&json!([
        output("#a"),
        output("#b"),
        output("#"),
        output("")
    ]))
    .await;
    let sandbox = Sandbox::builder().start().await.unwrap();
    let run = pathling_import(&sandbox)
        .env("SOURCE_ENDPOINT", source.endpoint())
        .env("SOURCE_AUTHENTICATION_ENABLED", "false");
    let _ = run.run().await.expect_code(0);
    assert_eq!(sandbox.rows("Patient").len(), 1);
    assert_eq!(only_run(&staging_folder(&sandbox)).len(), 1);
}

/// A source that signs its links anew for each manifest, whose files want the signature of the second, and which lists them
/// the other way round then.
async fn turning() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}/fhir", listener.local_addr().unwrap());
    let base = endpoint.clone();
    let asked = Arc::new(AtomicUsize::new(0));
    let status = move || {
        let sig = asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut outputs = ["a", "b", "c"].map(
            |name| json!({"type": "Patient", "url": format!("{base}/files/{name}?sig={sig}"), "count": 1}),
        );
        if sig > 1 {
            outputs.reverse();
        }
        let manifest = json!({"transactionTime": "2026-01-31T00:00:00Z", "requiresAccessToken": false, "output": outputs});
        async move { axum::Json(manifest) }
    };
    let file = |Path(name): Path<String>, Query(query): Query<Vec<(String, String)>>| async move {
        if query != [("sig".to_owned(), "2".to_owned())] {
            return StatusCode::FORBIDDEN.into_response();
        }
        format!("{{\"resourceType\":\"Patient\",\"id\":\"{name}\"}}\n").into_response()
    };
    let kick_off = || async { (StatusCode::ACCEPTED, [("content-location", "/fhir/status")]) };
    let router = Router::new()
        .route("/fhir/$export", get(kick_off))
        .route("/fhir/status", get(status))
        .route("/fhir/files/{name}", get(file));
    tokio::spawn(async move { axum::serve(listener, router).await });
    endpoint
}

#[tokio::test]
async fn a_manifest_in_another_order_lends_each_file_its_own_link() {
    let endpoint = turning().await;
    let mut transfer = from(&endpoint).await;
    transfer.succeed().await;
    let ids: Vec<_> = staged(&transfer)
        .iter()
        .map(|text| serde_json::from_str::<Value>(text).unwrap()["id"].clone())
        .collect();
    assert_eq!(ids, ["a", "b", "c"]);
}

#[tokio::test]
async fn lines_that_end_with_a_carriage_return_alone_are_no_lines() {
    let body = PATIENT.replace('\n', "\r").repeat(20);
    let source = RawSource::start(None, vec![answer("200 OK", "", &body)]).await;
    let mut transfer = from_raw(&source).await;
    let words = [
        "line 1 (at byte 0)",
        "carriage return at byte 35 of the file",
    ];
    transfer.fail("IntegrityError", &words).await;
    nothing_is_staged(&transfer);
    // As the end of a line it is one with the line feed.
    let body = PATIENT.replace('\n', "\r\n").repeat(2);
    let source = RawSource::start(Some(2), vec![answer("200 OK", "", &body)]).await;
    let mut transfer = from_raw(&source).await;
    transfer.succeed().await;
    assert_eq!(staged(&transfer), [body]);
}

#[tokio::test]
async fn a_line_of_a_file_of_several_types_is_torn_alike() {
    let body = PATIENT.replace(',', ",\r");
    for (depth, passes) in [("lines", false), ("json", false), ("none", true)] {
        let manifest = json!({"transactionTime": "2026-01-31T00:00:00Z", "requiresAccessToken": false,
            "output": [{"url": "{source}/files/f"}]});
        let source = ToldSource::start(&manifest, &[("f", &body)]).await;
        let env = [
            ("SOURCE_ENDPOINT", source.endpoint()),
            ("SOURCE_AUTHENTICATION_ENABLED", "false"),
            ("MIXED_FILES", "split"),
            ("VALIDATE", depth),
        ];
        let mut transfer = Transferring::of(Sandbox::builder().source_auth(false), &env).await;
        if passes {
            transfer.succeed().await;
        } else {
            let words = ["line 1 (at byte 0) has a carriage return"];
            transfer.fail("IntegrityError", &words).await;
        }
    }
}

#[tokio::test]
async fn a_size_that_is_not_what_came_is_told_once_with_both_numbers() {
    let came = PATIENT.len().to_string();
    let cases = [
        (json!(5000), answer("200 OK", "", PATIENT), came.as_str()),
        (json!("7"), answer("200 OK", "", PATIENT), &came),
        (json!(5001), chunked(PATIENT), &came),
        (json!(5002), answer("200 OK", "", ""), "0"),
    ];
    side_by_side(
        2,
        cases.map(|(size, answer, came)| (size, answer, came.to_owned())),
        |(size, answer, came)| async move {
            let source = RawSource::promising(&json!({"fileSize": size}), vec![answer]).await;
            let mut transfer = from_raw(&source).await;
            transfer.succeed().await;
            let logs = transfer.logs();
            let said: Vec<_> = logs
                .lines()
                .filter(|line| line.contains("fileSize"))
                .collect();
            let size = size.to_string().replace('"', "");
            assert_eq!(said.len(), 1, "{logs}");
            assert!(
                said[0].contains("WARN") && said[0].contains(&format!("\"promised\":{size}")),
                "{said:?}"
            );
            assert!(said[0].contains(&format!("\"came\":{came}")), "{said:?}");
            assert!(said[0].contains("/files/1"), "{said:?}");
        },
    )
    .await;
}

#[tokio::test]
async fn sizes_that_are_right_or_of_what_is_compressed_or_of_many_files_are_told_as_little_as_possible()
 {
    let size = json!({"fileSize": PATIENT.len()});
    let source = RawSource::promising(&size, vec![answer("200 OK", "", PATIENT)]).await;
    let mut transfer = from_raw(&source).await;
    transfer.succeed().await;
    assert!(!transfer.logs().contains("fileSize"));

    let compressed = RawSource::answer(
        "content-encoding: gzip",
        &BASE64_STANDARD.decode(COMPRESSED).unwrap(),
    );
    let source = RawSource::promising(&json!({"fileSize": 3}), vec![compressed]).await;
    let mut transfer = from_raw(&source).await;
    transfer.succeed().await;
    assert!(!transfer.logs().contains("fileSize"));

    let outputs: Vec<_> = (0..15)
        .map(|n| json!({"type": "Patient", "url": format!("{{source}}/files/f?n={n}"), "fileSize": 1}))
        .collect();
    let source = told(&json!(outputs)).await;
    let mut transfer = from(source.endpoint()).await;
    transfer.succeed().await;
    let logs = transfer.logs();
    let said: Vec<_> = logs
        .lines()
        .filter(|line| line.contains("fileSize"))
        .collect();
    assert_eq!(said.len(), 11, "{logs}");
    assert!(said[10].contains("\"files\":15"), "{said:?}");
}

#[tokio::test]
async fn numbers_that_are_none_are_not_heeded_and_told_once() {
    let output = |n: u32, count: Value| json!({"type": "Patient", "url": format!("{{source}}/files/f?n={n}"), "count": count});
    let outputs = [json!("1"), json!(1.0), json!(20.5), json!(-1), json!("abc")];
    let outputs: Vec<_> = (0..)
        .zip(outputs)
        .map(|(n, count)| output(n, count))
        .collect();
    let source = told(&json!(outputs)).await;
    let mut transfer = from(source.endpoint()).await;
    transfer.succeed().await;
    assert_eq!(staged(&transfer).len(), 5);
    let logs = transfer.logs();
    let said: Vec<_> = logs
        .lines()
        .filter(|line| line.contains("no whole number"))
        .collect();
    assert_eq!(said.len(), 1, "{logs}");
    assert!(
        said[0].contains("\"count\"") && said[0].contains("\"output\":3"),
        "{said:?}"
    );

    for promised in [json!("2"), json!(2.0)] {
        let source = told(&json!([output(1, promised)])).await;
        let mut transfer = from(source.endpoint()).await;
        transfer
            .fail("IntegrityError", &["holds 1 resources", "promises 2"])
            .await;
    }
}

#[tokio::test]
async fn one_file_of_which_the_manifest_promises_two_numbers_cannot_hold_both() {
    let output =
        |count: Value| json!({"type": "Patient", "url": "{source}/files/f", "count": count});
    for counts in [[json!(1), json!(4)], [json!(4), json!(1)]] {
        let source = told(&json!(counts.map(output))).await;
        let mut transfer = from(source.endpoint()).await;
        let said = transfer
            .fail("IntegrityError", &["holds 1 resources"])
            .await;
        assert!(
            said.contains("1 and 4") || said.contains("4 and 1"),
            "{said}"
        );
        nothing_is_staged(&transfer);
    }
    for counts in [
        [json!(1), json!(1)],
        [Value::Null, json!(1)],
        [json!(1), Value::Null],
    ] {
        let source = told(&json!(counts.map(output))).await;
        let mut transfer = from(source.endpoint()).await;
        transfer.succeed().await;
    }
    let source = told(&json!([Value::Null, json!(2)].map(output))).await;
    let mut transfer = from(source.endpoint()).await;
    transfer.fail("IntegrityError", &["promises 2"]).await;
}

#[tokio::test]
async fn a_rest_that_is_refused_for_a_precondition_is_a_beginning_from_the_beginning() {
    let cut = "HTTP/1.1 200 OK\r\nconnection: close\r\netag: \"v1\"\r\ncontent-length: 900\r\n\r\n";
    let cut = [cut, PATIENT].concat().into_bytes();
    let answers = vec![
        cut,
        answer("412 Precondition Failed", "", ""),
        answer("200 OK", "etag: \"v2\"\r\n", PATIENT),
    ];
    let source = RawSource::start(Some(1), answers).await;
    let mut transfer = from_raw(&source).await;
    transfer.succeed().await;
    assert_eq!(source.asked(), 3);
    assert_eq!(staged(&transfer), [PATIENT]);
}

#[tokio::test]
async fn a_byte_behind_gzip_is_no_early_end() {
    let mut body = BASE64_STANDARD.decode(COMPRESSED).unwrap();
    body.push(b'\n');
    let headers = format!(
        "content-encoding: gzip, identity\r\ncontent-length: {}",
        body.len()
    );
    let source = RawSource::start(Some(1), vec![RawSource::answer(&headers, &body)]).await;
    let mut transfer = from_raw(&source).await;
    let said = transfer
        .fail("IntegrityError", &["follow the end of the gzip"])
        .await;
    assert!(!said.contains("ended early"), "{said}");
    assert_eq!(source.asked(), 2);
    nothing_is_staged(&transfer);
}

#[tokio::test]
async fn a_redirect_to_no_server_says_which_are_followed() {
    let answers = vec![answer("302 Found", "location: file:///etc/passwd\r\n", "")];
    let source = RawSource::start(None, answers).await;
    let mut transfer = from_raw(&source).await;
    let words = ["file:///etc/passwd", "only http and https are"];
    transfer.fail("TransferError", &words).await;
}

#[tokio::test]
async fn what_a_server_says_is_told_without_links_that_work_and_without_tokens() {
    let diagnostics = "no https://store/f?X-Amz-Signature=hush1&x=hush2 for Bearer hush3 nor Basic hush4, see /f?t=hush5";
    let outcome = json!({"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "invalid", "diagnostics": diagnostics}]});
    let headers = "content-type: application/fhir+json\r\n";
    let answers = vec![answer("400 Bad Request", headers, &outcome.to_string())];
    let source = RawSource::start(None, answers).await;
    let sandbox = Sandbox::builder().start().await.unwrap();
    let mut run = pathling_import(&sandbox).env("RUST_LOG", "debug");
    for (name, value) in source.env() {
        run = run.env(name, value);
    }
    let finished = run.run().await;
    let said = "no https://store/f?X-Amz-Signature=…&x=… for Bearer *** nor Basic *** see /f?t=…";
    finished.expect_error("TransferError", &[said]);
    assert!(!finished.all().contains("hush"), "{}", finished.all());
    for (key, _) in sandbox.s3_objects() {
        let object = sandbox.s3_object(&key).unwrap();
        assert!(!String::from_utf8_lossy(&object).contains("hush"), "{key}");
    }
}

/// How many of the files a message says are staged.
fn told_of(message: &str) -> usize {
    let (before, _) = message.split_once(" of 400 files are staged").unwrap();
    before.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_with_little_time_fetches_what_is_missing_before_it_looks_at_what_is_there() {
    let builder = Sandbox::builder()
        .data(Dataset::of(&[("Patient", 400)]))
        .resources_per_file(1)
        .fault(Fault::Delay(Place::File, 40));
    let mut transfer = Transferring::of(builder, &[("TRANSFER_CONCURRENCY", "1")]).await;
    let mut told = 0;
    for call in 1..=2 {
        let before = only_run(&staging_folder(&transfer.sandbox)).len();
        // More are missing than are at work at once.
        assert!(before < 260 && (call == 1 || before > 0), "{before}");
        transfer.sandbox.clear_requests();
        let error = transfer.call(4_000).await.unwrap_err();
        assert_eq!(error.error_type, "JobInProgressError", "{error:?}");
        let says = told_of(&error.error_message);
        assert!(says >= before && says > told, "{before}, {told}: {error:?}");
        told = says;
        let requests = transfer.sandbox.requests();
        let head =
            |request: &Recorded| request.method == "HEAD" && request.path.contains("/Patient/");
        let looked = requests.iter().position(head).unwrap_or(requests.len());
        let file = |request: &Recorded| request.path.contains("/files/");
        let fetched = requests[..looked]
            .iter()
            .filter(|request| file(request))
            .count();
        assert!(fetched > 0, "call {call} looked at what is there first");
    }
    transfer.sandbox.faults().clear();
    transfer.succeed().await;
    assert_staged(&transfer.sandbox);
    assert_appeared_once(&transfer.sandbox);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_that_is_too_short_is_named() {
    let builder = Sandbox::builder()
        .data(Dataset::of(&[("Patient", 1)]))
        .fault(Fault::Delay(Place::File, 30_000));
    let sandbox = builder.start().await.unwrap();
    let run = pathling_import(&sandbox)
        .env("TRANSFER_DEADLINE", "1")
        .env("TRANSFER_RETRY_TIMES", "0");
    let finished = run.run().await;
    finished.expect_error("TransferError", &["TRANSFER_DEADLINE"]);
    assert!(
        !finished.all().contains("or run the command"),
        "{}",
        finished.all()
    );
}
