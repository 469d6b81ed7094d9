#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use super::*;
use crate::config::Settings;
use crate::error::Result;

const OTHERS: &[(&str, &str)] = &[
    ("STAGING_URL", "/tmp/staging"),
    ("TARGET_ENDPOINT", "https://target.example.org/fhir"),
    ("TARGET_AUTHENTICATION_ENABLED", "false"),
];

fn load(step: Step, more: &[(&str, &str)]) -> Result<Settings> {
    let environment: BTreeMap<String, String> = OTHERS
        .iter()
        .chain(more)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Settings::load(step, &environment, None)
}

fn refused(step: Step, more: &[(&str, &str)]) -> String {
    load(step, more).unwrap_err().to_string()
}

const PUBLIC: (&str, &str) = (NAME, "https://data.example.org/published?sig=hush");

#[test]
fn a_manifest_alone_is_enough_and_gets_no_credentials() {
    for step in [
        Step::FhirExport,
        Step::CheckExportStatus,
        Step::TransferToS3,
        Step::Command,
    ] {
        let settings = load(step, &[PUBLIC]).unwrap();
        let source = settings.source.unwrap();
        assert!(source.credentials.is_none());
        assert_eq!(source.url.as_str(), "https://data.example.org/published");
        let manifest = settings.manifest.unwrap();
        assert_eq!(manifest.url().as_str(), PUBLIC.1);
        assert!(!format!("{manifest:?}").contains("hush"));
    }
    // What the deployed functions always have is not in its way.
    let deployed = [
        PUBLIC,
        ("SOURCE_AUTHENTICATION_ENABLED", "true"),
        ("SOURCE_SCOPES", "system/*.read"),
        ("EXPORT_LEVEL", "system"),
        ("OUTPUT_FORMAT", "application/fhir+ndjson"),
        ("KICKOFF_METHOD", "auto"),
    ];
    let settings = load(Step::FhirExport, &deployed).unwrap();
    assert!(settings.manifest.unwrap().unheeded().is_empty());
}

#[test]
fn credentials_beside_it_want_the_server_that_they_are_for() {
    let token = ("SOURCE_BEARER_TOKEN", "hush");
    let text = refused(Step::Command, &[PUBLIC, token]);
    assert!(
        text.contains("SOURCE_ENDPOINT is missing beside SOURCE_MANIFEST"),
        "{text}"
    );
    let text = refused(Step::Command, &[PUBLIC, ("SOURCE_HEADERS", "a: b")]);
    assert!(text.contains("SOURCE_ENDPOINT is missing"), "{text}");
    let certificate = (
        "SOURCE_CLIENT_CERTIFICATE",
        "arn:aws:secretsmanager:eu-central-1:123456789012:secret:c-abcdef",
    );
    let text = refused(Step::Command, &[PUBLIC, certificate]);
    assert!(text.contains("SOURCE_ENDPOINT is missing"), "{text}");
    let endpoint = ("SOURCE_ENDPOINT", "https://fhir.example.org/fhir");
    let source = load(Step::Command, &[PUBLIC, token, endpoint])
        .unwrap()
        .source
        .unwrap();
    assert!(source.credentials.is_some());
    assert_eq!(source.url.as_str(), endpoint.1);
    assert_eq!(
        source.manifest.unwrap().to_string(),
        "https://data.example.org"
    );
    // Half of them are no credentials, with a manifest or without.
    let text = refused(
        Step::Command,
        &[PUBLIC, endpoint, ("SOURCE_CLIENT_ID", "me")],
    );
    assert!(text.contains("SOURCE_CLIENT_SECRET is missing"), "{text}");
}

#[test]
fn a_file_is_for_the_command_alone() {
    for (text, url) in [
        ("/data/m.json", "file:///data/m.json"),
        ("file:///data/a%20b.json", "file:///data/a%20b.json"),
        ("/data/a b#c?.json", "file:///data/a%20b%23c%3F.json"),
    ] {
        let manifest = load(Step::Command, &[(NAME, text)])
            .unwrap()
            .manifest
            .unwrap();
        assert_eq!(manifest.url().as_str(), url);
        assert!(manifest.file().unwrap().starts_with("/data"));
        let said = refused(Step::CheckExportStatus, &[(NAME, text)]);
        assert!(said.contains("AWS Lambda has no files of yours"), "{said}");
    }
    let here = load(Step::Command, &[(NAME, "m.json")])
        .unwrap()
        .manifest
        .unwrap();
    assert_eq!(
        here.file(),
        std::env::current_dir().ok().map(|at| at.join("m.json"))
    );
    assert_eq!(
        load(Step::Command, &[PUBLIC])
            .unwrap()
            .manifest
            .unwrap()
            .file(),
        None
    );
}

#[test]
fn what_is_neither_url_nor_file_is_refused_and_not_quoted() {
    for (text, says) in [
        ("s3://bucket/m.json", "scheme s3"),
        ("https://me:hush@h/m", "user name"),
        ("https://h/m#x", "fragment"),
        ("file://host/m", "file:///path"),
        ("https://", "URL"),
    ] {
        let said = refused(Step::Command, &[(NAME, text)]);
        assert!(
            said.contains(says) && !said.contains("hush"),
            "{text}: {said}"
        );
    }
}

#[test]
fn settings_of_an_export_beside_it_are_refused_or_named_by_what_they_would_change() {
    for (name, value) in [
        ("EXPORT_LEVEL", "patient"),
        ("SINCE", "2026-01-31T00:00:00Z"),
        ("UNTIL", "2026-01-31T00:00:00Z"),
        ("TYPE_FILTER", "Patient?name=x"),
        ("ELEMENTS", "id"),
        ("PATIENTS", "1"),
        ("INCLUDE_ASSOCIATED_DATA", "x"),
        ("ORGANIZE_OUTPUT_BY", "Patient"),
        ("EXPORT_PARAMETERS", "a=1"),
    ] {
        let said = refused(Step::FhirExport, &[PUBLIC, (name, value)]);
        let words = format!("{name} in the environment has no meaning beside SOURCE_MANIFEST");
        assert!(said.contains(&words), "{said}");
    }
    let how = [
        PUBLIC,
        ("ALLOW_PARTIAL_MANIFESTS", "true"),
        ("OUTPUT_FORMAT", "ndjson"),
        ("KICKOFF_METHOD", "post"),
        ("KICKOFF_BODY", "{}"),
        ("KICKOFF_HANDLING", "strict"),
        ("SEPARATE_EXPORT_STATUS", "true"),
        ("TYPES", "Patient"),
    ];
    let settings = load(Step::FhirExport, &how).unwrap();
    assert_eq!(settings.manifest.unwrap().unheeded(), HOW);
    assert_eq!(settings.types, ["Patient"]);
}
