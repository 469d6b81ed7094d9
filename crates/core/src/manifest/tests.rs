use serde_json::json;

use super::*;

#[test]
fn what_a_server_may_leave_out_is_absent() {
    let manifest =
        Manifest::read(&json!({"transactionTime": "2026-01-01T00:00:00Z"}), None).unwrap();
    assert!(manifest.is_empty());
    assert_eq!(manifest.head.requires_access_token, None);
    assert_eq!(manifest.head.asked(), None);
}

#[test]
fn requires_access_token_may_be_a_string() {
    let read = |value| {
        let manifest = json!({"transactionTime": "t", "requiresAccessToken": value});
        Manifest::read(&manifest, None)
            .unwrap()
            .head
            .requires_access_token
    };
    assert_eq!(read(json!("true")), Some(true));
    assert_eq!(read(json!("false")), Some(false));
    assert_eq!(read(json!(false)), Some(false));
}

#[test]
fn a_relative_url_is_taken_from_where_the_manifest_was() {
    let base = Url::parse("https://h/fhir/$status/1").unwrap();
    let value = json!({"transactionTime": "t", "output": [{"type": "Patient", "url": "/files/1", "count": 3}]});
    let manifest = Manifest::read(&value, Some(&base)).unwrap();
    let output = manifest.output(0).unwrap();
    assert_eq!(output.url, "https://h/files/1");
    assert_eq!(output.count, Some(3));
}

#[test]
fn what_is_no_manifest_says_why() {
    let output = |item| json!({"transactionTime": "t", "output": [item]});
    for (value, why) in [
        (json!([]), "no JSON object"),
        (
            json!({"resourceType": "OperationOutcome"}),
            "a FHIR OperationOutcome",
        ),
        (json!({}), "no transactionTime"),
        (
            json!({"transactionTime": "2026".repeat(30)}),
            "its transactionTime, of 120 bytes, is no instant",
        ),
        (
            json!({"transactionTime": "t", "output": {}}),
            "output is no array",
        ),
        (
            output(json!({"url": "http://h/1"})),
            "output 1 of the manifest has no type",
        ),
        (output(json!({"type": "Patient"})), "(Patient) has no url"),
        (
            output(json!({"type": "../../x", "url": "http://h/1"})),
            "no resource type's name",
        ),
        (
            output(json!({"type": "Patient", "url": "file:///etc/passwd"})),
            "scheme file",
        ),
        (
            output(json!({"type": "Patient", "url": "x y"})),
            "has a url that is none",
        ),
    ] {
        let read = Manifest::read(&value, None);
        let error = read
            .and_then(|read| read.head.refuse_untyped())
            .unwrap_err();
        assert_eq!(error.kind(), Kind::Manifest);
        assert!(error.what().contains(why), "{error}");
    }
}

#[test]
fn a_request_that_repeats_its_query_tells_a_delta_from_a_full_export() {
    let read = |request: &str| {
        let value = json!({"transactionTime": "t", "request": request});
        Manifest::read(&value, None).unwrap().head.asked()
    };
    assert_eq!(read("https://h/$export"), None);
    assert_eq!(
        read("https://h/$export?_type=Patient"),
        Some(Asked::Everything)
    );
    let instant = "2026-01-01T00:00:00Z".to_owned();
    assert_eq!(
        read("/$export?_since=2026-01-01T00%3A00%3A00Z"),
        Some(Asked::ChangesAfter(instant))
    );
}

const TEXT: &str = r#"{"error": [{"type": "x"}], "output": [
    {"extension": {"a": [1, {"b": "\u00e9"}]}, "count": 3, "url": "https://h/1?sig=\u0041", "type": "Patient", "fileSize": "17"},
    {"type": "Condition", "url": "files/2", "count": 1.5, "fileSize": 12}
], "requiresAccessToken": false, "request": "https://h/$export", "deleted": null, "transactionTime": "t"}"#;

async fn streamed(text: &[u8], chunk: usize) -> Result<Manifest> {
    let chunks: Vec<_> = text
        .chunks(chunk)
        .map(|chunk| Ok(Bytes::copy_from_slice(chunk)))
        .collect();
    let base = Url::parse("https://h/status").unwrap();
    let no_json = || Kind::StagingDenied.error("no JSON");
    Manifest::of_stream(futures_util::stream::iter(chunks), Some(&base), no_json).await
}

#[tokio::test]
async fn any_split_of_a_stream_in_any_order_of_members_reads_like_the_whole() {
    let base = Url::parse("https://h/status").unwrap();
    let value = serde_json::from_str(TEXT).unwrap();
    let whole = Manifest::read(&value, Some(&base)).unwrap();
    let outputs: Vec<_> = whole.outputs().collect();
    let output = |resource_type, url: &str, count, size| Output {
        resource_type,
        url: url.to_owned(),
        count,
        size,
    };
    assert_eq!(
        outputs,
        [
            output("Patient", "https://h/1?sig=A", Some(3), Some(17)),
            output("Condition", "https://h/files/2", None, Some(12)),
        ]
    );
    assert_eq!(
        (whole.head.outputs, whole.head.deleted, whole.head.errors),
        (2, 0, 1)
    );
    let marked = [BYTE_ORDER_MARK, TEXT.as_bytes()].concat();
    for text in [TEXT.as_bytes(), &marked] {
        for chunk in 1..text.len() {
            let manifest = streamed(text, chunk).await.unwrap();
            assert_eq!(manifest.head, whole.head);
            assert!(manifest.outputs().eq(outputs.iter().cloned()));
        }
    }
}

#[tokio::test]
async fn what_is_cut_off_or_goes_on_is_no_json() {
    let text = TEXT.as_bytes();
    for text in [
        &text[..text.len() - 1],
        &text[..40],
        b"",
        b"{} {}",
        b"<html>",
    ] {
        let error = streamed(text, 7).await.unwrap_err();
        assert_eq!(error.what(), "no JSON");
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_says_so_itself() {
    let broken = || Err(Kind::StagingUnavailable.error("broke off"));
    let chunks = [Ok(Bytes::from(r#"{"output": ["#)), broken()];
    let no_json = || Kind::StagingDenied.error("no JSON");
    let read = Manifest::of_stream(futures_util::stream::iter(chunks), None, no_json).await;
    assert_eq!(read.unwrap_err().what(), "broke off");
}

#[tokio::test]
async fn a_single_entry_of_a_large_manifest_has_a_limit_of_its_own() {
    let pad = "x".repeat(3 << 20);
    let entry = json!({"type": "Patient", "url": "http://h/1", "vendor": pad});
    let fits = json!({"transactionTime": "t", "output": [entry, entry, entry], "deleted": [entry, entry],
        "error": [entry, entry], "vendor": pad, "other": pad});
    let manifest = streamed(fits.to_string().as_bytes(), 64 << 10).await;
    assert_eq!(manifest.unwrap().head.outputs, 3);
    let entry = json!({"type": "Patient", "url": "http://h/1", "vendor": pad.repeat(2)});
    for text in [
        json!({"transactionTime": pad.repeat(2)}),
        json!({"transactionTime": "t", "output": [entry]}),
    ] {
        let error = streamed(text.to_string().as_bytes(), 64 << 10).await;
        let error = error.unwrap_err();
        assert_eq!(error.kind(), Kind::Manifest);
        assert!(error.what().contains("more than 4 MiB"), "{error}");
    }
}

#[test]
fn a_member_that_comes_twice_counts_as_it_came_last() {
    let text = r#"{"transactionTime": "1", "output": [{"type": "Patient", "url": "http://h/1"}], "transactionTime": "2"}"#;
    let mut json = serde_json::Deserializer::from_str(text);
    let head = read::read(&mut json, None, &mut ()).unwrap().unwrap();
    assert_eq!((head.transaction_time.as_str(), head.outputs), ("2", 1));
}

#[test]
fn what_might_hide_files_is_no_manifest() {
    for (members, why) in [
        (
            r#""output": [], "output": [{"type": "Patient", "url": "http://h/1"}]"#,
            "two lists of outputs",
        ),
        (
            r#""link": {"relation": "next", "url": "http://h/2"}"#,
            "link is no array",
        ),
        (r#""link": "http://h/2""#, "link is no array"),
        (r#""link": [{"relation": "next"}]"#, "no url"),
        (
            r#""link": [{"relation": "next", "url": "http://h/2"}, {"relation": "next", "url": "http://h/3"}]"#,
            "two next pages",
        ),
    ] {
        let text = format!(r#"{{"transactionTime": "t", {members}}}"#);
        let mut json = serde_json::Deserializer::from_str(&text);
        let error = read::read(&mut json, None, &mut ()).unwrap().unwrap_err();
        assert!(error.what().contains(why), "{members}: {error}");
    }
    for members in [
        r#""link": null"#,
        r#""link": [5, {"relation": "self", "url": "http://h/1"}]"#,
    ] {
        let text = format!(r#"{{"transactionTime": "t", {members}}}"#);
        let mut json = serde_json::Deserializer::from_str(&text);
        let head = read::read(&mut json, None, &mut ()).unwrap().unwrap();
        assert_eq!(head.next, None, "{members}");
    }
}

#[test]
fn of_all_that_is_wrong_it_says_the_same_in_every_order() {
    let what = |text: &str| {
        let mut json = serde_json::Deserializer::from_str(text);
        let head = read::read(&mut json, None, &mut ()).unwrap();
        head.unwrap_err().what().to_owned()
    };
    assert!(
        what(r#"{"output": [{}, 5], "resourceType": "Bundle"}"#).ends_with("it is a FHIR Bundle")
    );
    assert!(what(r#"{"output": [{}, 5]}"#).ends_with("no transactionTime"));
    assert!(
        what(r#"{"error": 1, "output": [{}, 5], "transactionTime": "t"}"#)
            .ends_with("output 1 of the manifest has no type")
    );
}

/// How many files of errors a manifest of these members names, and where they are.
fn errors_of(text: &str) -> (usize, Vec<Option<String>>) {
    let mut files = Files::default();
    let mut json = serde_json::Deserializer::from_str(text);
    let base = Url::parse("https://h/fhir/status").unwrap();
    let head = read::read(&mut json, Some(&base), &mut files);
    let manifest = Manifest::of(head.unwrap().unwrap(), files);
    let urls = (0..manifest.head.errors).map(|index| manifest.beside(Beside::Errors, index));
    (manifest.head.errors, urls.collect())
}

#[test]
fn files_of_errors_are_known_by_where_they_are_and_one_that_is_nowhere_counts_all_the_same() {
    let (count, urls) = errors_of(
        r#"{"error": [{"url": "/e/1"}, {"type": "OperationOutcome"}, 5, {"url": "gs://b/2"}, {"url": "s3://b/3"}],
            "output": [{"type": "Patient", "url": "/p"}], "transactionTime": "t"}"#,
    );
    assert_eq!(count, 5);
    let url = |url: &str| Some(url.to_owned());
    assert_eq!(
        urls,
        [url("https://h/e/1"), None, None, None, url("s3://b/3")]
    );
}

#[test]
fn outcome_stands_for_error_where_there_is_no_other_in_any_order() {
    let (error, none) = (r#""error": [{"url": "/e"}]"#, r#""error": []"#);
    let outcome = r#""outcome": [{"url": "/o/1"}, {"url": "/o/2"}]"#;
    for (members, expected) in [
        (vec![outcome], vec!["/o/1", "/o/2"]),
        (vec![outcome, none], vec!["/o/1", "/o/2"]),
        (vec![none, outcome], vec!["/o/1", "/o/2"]),
        (vec![outcome, error], vec!["/e"]),
        (vec![error, outcome], vec!["/e"]),
        (vec![error, r#""outcome": null"#], vec!["/e"]),
        (vec![error, none], vec![]),
    ] {
        let members = members.join(", ");
        let (count, urls) = errors_of(&format!(r#"{{"transactionTime": "t", {members}}}"#));
        assert_eq!(count, expected.len(), "{members}");
        let expected = expected.iter().map(|path| Some(format!("https://h{path}")));
        assert_eq!(urls, expected.collect::<Vec<_>>(), "{members}");
    }
}

#[test]
fn a_fragment_is_no_part_of_where_a_file_is() {
    let manifest = json!({"transactionTime": "t",
        "output": [{"type": "Patient", "url": "http://h/f#a"}, {"type": "Patient", "url": "http://h/f?x=1#"}],
        "error": [{"url": "http://h/e#b"}]});
    let manifest = Manifest::read(&manifest, None).unwrap();
    let urls: Vec<_> = manifest.outputs().map(|output| output.url).collect();
    assert_eq!(urls, ["http://h/f", "http://h/f?x=1"]);
    assert_eq!(manifest.beside(Beside::Errors, 0).unwrap(), "http://h/e");
}

#[test]
fn a_number_may_come_as_its_digits_or_with_a_zero_behind_the_point_and_nothing_else_is_one() {
    let read = |value: &Value| {
        let output =
            json!({"type": "Patient", "url": "http://h/1", "count": value, "fileSize": value});
        let manifest = json!({"transactionTime": "t", "output": [output]});
        let manifest = Manifest::read(&manifest, None).unwrap();
        let output = manifest.output(0).unwrap();
        assert_eq!(output.count, output.size, "{value}");
        output.count
    };
    for value in [json!(19), json!("19"), json!(19.0)] {
        assert_eq!(read(&value), Some(19), "{value}");
    }
    assert_eq!((read(&json!(0.0)), read(&json!("0"))), (Some(0), Some(0)));
    for value in [
        json!(20.5),
        json!(-1),
        json!(-1.0),
        json!(1e30),
        json!("abc"),
        json!(""),
        json!("+19"),
        json!("19.5"),
        json!("99999999999999999999"),
        json!(true),
        json!([19]),
        json!({"value": 19}),
        json!(null),
    ] {
        assert_eq!(read(&value), None, "{value}");
    }
}

#[test]
fn pages_that_are_added_one_by_one_come_to_what_they_name_in_all() {
    let page = |number: usize| {
        let files: Vec<_> = (0..number % 21)
            .map(|file| {
                let kind = ["Patient", "Observation", "Condition"][(number + file) % 3];
                json!({"type": kind, "url": format!("https://h/{number}/{file}.ndjson"), "count": file})
            })
            .collect();
        let errors = json!([{"url": "https://h/all"}, {"url": format!("https://h/e/{number}")}]);
        json!({"transactionTime": "t", "output": files, "error": errors})
    };
    let mut all = Manifest::read(&page(1), None).unwrap();
    for number in 2..200 {
        all.join(&Manifest::read(&page(number), None).unwrap())
            .unwrap();
    }
    let given: Vec<_> = all
        .outputs()
        .map(|it| (it.resource_type.to_owned(), it.url, it.count))
        .collect();
    let wanted: Vec<_> = (1..200)
        .flat_map(|number| page(number)["output"].as_array().unwrap().clone())
        .map(|it| {
            let [kind, url] = ["type", "url"].map(|name| it[name].as_str().unwrap().to_owned());
            (kind, url, it["count"].as_u64())
        })
        .collect();
    assert_eq!(given, wanted);
    assert_eq!(all.len(), wanted.len());
    // The file that every page names, and one of each page's own.
    assert_eq!(all.head.errors, 200);
    let last = all.beside(Beside::Errors, 199);
    assert_eq!(last.as_deref(), Some("https://h/e/199"));
}
