//! Each setting wrong in each way, and each way in which a configuration file can be none: one `ConfigurationError` that
//! names what is wrong as the person wrote it, before anything is asked of anybody.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pathling_import_core::config::Step;
use pathling_import_core::config::table::{Form, Need, SETTINGS, Setting};
use pathling_import_tests::check::assert_no_secrets;
use pathling_import_tests::{Finished, pathling_import};
use sandbox::Sandbox;
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// Texts that are none of this form.
fn wrong(setting: &Setting) -> &'static [&'static str] {
    match setting.form {
        Form::Url => &[
            "nonsense",
            "ftp://example.org/fhir",
            "https://",
            "https://user:pass-w0rd@example.org/fhir",
            "https://example.org/fhir?a=b",
            "https://example.org/fhir#a",
            "http://example.org:99999/fhir",
        ],
        Form::Instant => &[
            "yesterday",
            "2026-01-31",
            "2026-01-31T00:00:00",
            "2026-01-31T00:00Z",
            "2026-13-31T00:00:00Z",
            "2026-02-30T00:00:00Z",
        ],
        Form::Since => &[
            "automatic",
            "yesterday",
            "2026-01-31",
            "2026-13-31T00:00:00Z",
        ],
        Form::Period => &["30", "d", "0d", "-1d", "1.5h", "30y", "99999999999w"],
        Form::Types => &["patient", "Patient;Condition", "../x", "Patient Condition"],
        Form::Secret if setting.name == "SENTRY_DSN" => &["nonsense", "https://example.org/1"],
        Form::Text | Form::Secret => &["pass\u{1}w0rd", "pass\nw0rd"],
        Form::Flag => &["yes", "1", "tru"],
        Form::Choice(_) => &["MERGE", "3", "auto,7"],
        Form::Bytes(..) => &["much", "1MiB", "32 MB", "-1", "1e9", "99999999TiB"],
        Form::WordOrWhole(..) => &["some", "0", "-1", "1.5", "257"],
        Form::Whole(..) => &["-1", "1.5", "x", "9999999999", "NaN", "1e99"],
        Form::Seconds(..) => &["-1", "x", "1e9", "inf", "NaN", "5s"],
        Form::Factor(..) => &["0", "0.5", "-2", "11", "x", "inf", "NaN"],
        Form::Origins => &[
            "files.example.org",
            "ftp://example.org",
            "https://example.org/path",
            "https://user:pass-w0rd@example.org",
            "https://one.example.org,,nonsense",
        ],
        Form::Type => &["patient", "../x", "Patient,Condition", "Patient Condition"],
        Form::Document => &["{", "[1]", "\"pass-w0rd\"", "{\"pass-w0rd\": }", "none"],
        Form::Level => &["all", "Patient", "group", "group/", "group/..", "group/a/b"],
        Form::Searches => &[
            "status=pass-w0rd",
            "Patient",
            "x?a=pass-w0rd",
            "Patient?name=a pass-w0rd",
        ],
        Form::Names => &["a b", "a/b", "a;b"],
        Form::Patients => &[
            "Group/pass-w0rd",
            "a/pass-w0rd",
            "ftp://pass-w0rd/Patient/1",
        ],
        Form::Query => &["=pass-w0rd", "_type=pass-w0rd", "a b=pass-w0rd"],
        Form::Headers => &[
            "pass-w0rd",
            ": pass-w0rd",
            "Authorization: Bearer pass-w0rd",
            "X: 1; x: pass-w0rd",
        ],
        Form::Manifest => &[
            "s3://bucket/manifest.json",
            "https://user:pass-w0rd@example.org/manifest",
            "https://example.org/manifest#a",
            "file://host/manifest.json",
        ],
        Form::Place => &[
            "s3://",
            "https://example.org/x",
            "s3://bucket/a b",
            "s3://bucket/a*",
            "s3://bucket/../x",
            "file://host/x",
            "/tmp/{a}",
        ],
    }
}

/// The command refused its settings: nothing was asked of anybody, and no secret shown.
fn refused(sandbox: &Sandbox, finished: &Finished, words: &[&str]) -> String {
    let said = finished.expect_error("ConfigurationError", words);
    assert_eq!(sandbox.requests(), [], "requests");
    assert_no_secrets(sandbox, &finished.all());
    for secret in ["pass-w0rd", "w0rd", "example.org/1"] {
        assert!(!said.contains(secret), "{secret} is in:\n{said}");
    }
    said
}

#[tokio::test]
async fn each_setting_wrong_in_each_way_is_named_as_it_was_written() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let mut running = JoinSet::new();
    for setting in SETTINGS {
        for text in wrong(setting) {
            let run = pathling_import(&sandbox);
            let in_environment = run.env(setting.name, *text);
            let mut file = serde_json::Map::new();
            file.insert(setting.camel(), json!(text));
            let in_file = pathling_import(&sandbox)
                .file("my.json", Value::from(file).to_string())
                .arg("my.json");
            for (run, written) in [
                (
                    in_environment,
                    format!("{} in the environment", setting.name),
                ),
                (in_file, format!("\"{}\" in my.json", setting.camel())),
            ] {
                running.spawn(async move { (run.run().await, written, *text) });
                if running.len() >= 8 {
                    let (finished, written, text) = running.join_next().await.unwrap().unwrap();
                    let said = refused(&sandbox, &finished, &[&written]);
                    assert!(said.contains("pathling-import --help"), "{text}: {said}");
                }
            }
        }
    }
    while let Some(done) = running.join_next().await {
        let (finished, written, _) = done.unwrap();
        refused(&sandbox, &finished, &[&written]);
    }
}

#[tokio::test]
async fn all_that_is_wrong_is_told_at_once() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let mut run = pathling_import(&sandbox);
    let mut names = Vec::new();
    for setting in SETTINGS {
        run = run.env(setting.name, wrong(setting)[0]);
        names.push(format!("- {} in the environment", setting.name));
    }
    let finished = run.run().await;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let said = refused(&sandbox, &finished, &names);
    let count = format!("{} settings are wrong:", SETTINGS.len());
    assert!(said.contains(&count), "{said}");
}

#[tokio::test]
async fn what_is_missing_is_told_at_once_with_what_it_is_for() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let env = pathling_import_tests::Env::default();
    for in_file in [false, true] {
        let mut run = pathling_import(&sandbox).only_env(env.clone());
        if in_file {
            run = run.file("my.json", "{}").arg("my.json");
        }
        let finished = run.run().await;
        let said = refused(&sandbox, &finished, &[]);
        for setting in SETTINGS {
            let required = setting.is_required_by(Step::Command)
                && matches!(setting.need, Need::Required | Need::RequiredUnlessOff(_));
            let missing = format!("{} is missing", setting.name);
            assert_eq!(
                said.contains(&missing),
                required,
                "{}:\n{said}",
                setting.name
            );
            let place = format!("\"{}\" in my.json", setting.camel());
            assert_eq!(
                said.contains(&place),
                required && in_file,
                "{place}\n{said}"
            );
        }
    }
}

#[tokio::test]
async fn an_empty_value_is_an_unset_one() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let mut run = pathling_import(&sandbox);
    for setting in SETTINGS {
        if run.environment().get(setting.name).is_none() {
            run = run.env(setting.name, " ");
        }
    }
    let finished = run.env("SINCE", "").run().await;
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);

    sandbox.clear_requests();
    let finished = pathling_import(&sandbox).env("STAGING_URL", "").run().await;
    refused(&sandbox, &finished, &["STAGING_URL is missing"]);
}

#[tokio::test]
async fn a_value_of_another_json_type_is_refused() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    for (settings, words) in [
        (
            json!({"sourceEndpoint": ["https://example.org"]}),
            ["\"sourceEndpoint\" in my.json", "array"],
        ),
        (
            json!({"types": {"Patient": true}}),
            ["\"types\" in my.json", "object"],
        ),
        (
            json!({"types": ["Patient", 1]}),
            ["\"types\" in my.json", "array"],
        ),
        (
            json!({"exportRetryTimes": true}),
            ["\"exportRetryTimes\" in my.json", "a whole number"],
        ),
        (
            json!({"exportRetryTimes": 1.5}),
            ["\"exportRetryTimes\" in my.json", "a whole number"],
        ),
        (
            json!({"allowPlaintext": 1}),
            ["\"allowPlaintext\" in my.json", "true or false"],
        ),
        (
            json!({"sourceClientSecret": {"w0rd": 1}}),
            ["\"sourceClientSecret\" in my.json", "object"],
        ),
    ] {
        let run = pathling_import(&sandbox).file("my.json", settings.to_string());
        let finished = run.arg("my.json").run().await;
        refused(&sandbox, &finished, &words);
    }
}

#[tokio::test]
async fn a_place_that_holds_credentials_or_a_query_is_refused_and_not_shown() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    for name in ["STAGING_URL", "TARGET_STAGING_URL"] {
        for (value, word) in [
            ("s3://user:w0rd@bucket/x", "a user name, a password"),
            (
                "s3a://bucket/x?X-Amz-Signature=w0rd",
                "a query or a fragment",
            ),
            ("file:///folder#w0rd", "a query or a fragment"),
        ] {
            let finished = pathling_import(&sandbox).env(name, value).run().await;
            refused(&sandbox, &finished, &[name, word]);
        }
    }
}

#[tokio::test]
async fn an_unknown_key_is_told_with_the_nearest_known_one() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    for (key, nearest) in [
        ("sourceEndpont", "sourceEndpoint"),
        ("SOURCE_ENDPOINT", "sourceEndpoint"),
        ("source_endpoint", "sourceEndpoint"),
        ("stagingURL", "stagingUrl"),
        ("exportRetryBackoff", "exportRetryBackOff"),
        ("type", "types"),
        ("importmode", "importMode"),
    ] {
        let run = pathling_import(&sandbox).file("my.json", json!({key: "w0rd"}).to_string());
        let finished = run.arg("my.json").run().await;
        let unknown = format!("\"{key}\" in my.json is no setting");
        let nearest = format!("the nearest setting is \"{nearest}\"");
        refused(&sandbox, &finished, &[&unknown, &nearest]);
    }
}

#[tokio::test]
async fn a_file_that_is_no_configuration() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let twice = br#"{"types": "Patient", "types": "w0rd"}"#;
    for (content, words) in [
        (
            &b"{\"types\": \"w0rd\","[..],
            &["my.json is not JSON", "line 1, column"][..],
        ),
        (b"", &["my.json is empty"]),
        (b" \n\t\n", &["my.json is empty"]),
        (b"[]", &["my.json does not hold a JSON object"]),
        (b"\"w0rd\"", &["my.json does not hold a JSON object"]),
        (b"{} {}", &["my.json is not JSON"]),
        (b"\xff\xfe{\x00}\x00", &["my.json is not JSON"]),
        (b"{\"types\": \"\xff\"}", &["my.json is not JSON"]),
        (b"types: Patient\nx: w0rd\n", &["my.json is not JSON"]),
        (twice, &["\"types\" in my.json is given twice"]),
    ] {
        let run = pathling_import(&sandbox).file("my.json", content);
        let finished = run.arg("my.json").run().await;
        refused(&sandbox, &finished, words);
    }
    for (path, words) in [
        ("absent.json", "absent.json does not exist"),
        ("folder/absent.json", "folder/absent.json does not exist"),
        (".", ". is a directory, not a configuration file"),
        ("/", "/ is a directory, not a configuration file"),
        (
            "my.json/x",
            "the configuration file my.json/x cannot be read",
        ),
    ] {
        let run = pathling_import(&sandbox).file("my.json", "{}").arg(path);
        refused(&sandbox, &run.run().await, &[words, "one JSON object"]);
    }
}

#[tokio::test]
async fn settings_that_contradict_each_other() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    for (env, words) in [
        (
            vec![("SOURCE_ENDPOINT", "http://fhir.example.org/fhir")],
            [
                "SOURCE_ENDPOINT in the environment is plain http",
                "ALLOW_PLAINTEXT=true",
            ],
        ),
        (
            vec![("TARGET_ENDPOINT", "http://10.0.0.1/fhir")],
            [
                "TARGET_ENDPOINT in the environment is plain http",
                "ALLOW_PLAINTEXT=true",
            ],
        ),
        (
            vec![
                ("SINCE", "2026-01-01T00:00:00Z"),
                ("IMPORT_MODE", "overwrite"),
            ],
            ["IMPORT_MODE=overwrite", "ALLOW_PARTIAL_OVERWRITE=true"],
        ),
    ] {
        let mut run = pathling_import(&sandbox);
        for (name, value) in env {
            run = run.env(name, value);
        }
        refused(&sandbox, &run.run().await, &words);
    }
}
