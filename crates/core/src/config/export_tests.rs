use std::collections::BTreeMap;
use std::io::Write as _;

use super::*;
use crate::config::{Headers, Settings, Step};

fn load(more: &[(&str, &str)], file: Option<&str>) -> crate::Result<Settings> {
    let environment: BTreeMap<String, String> = [
        ("SOURCE_ENDPOINT", "https://source.example.org/fhir"),
        ("SOURCE_AUTHENTICATION_ENABLED", "false"),
    ]
    .into_iter()
    .chain(more.iter().copied())
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect();
    let Some(text) = file else {
        return Settings::load(Step::FhirExport, &environment, None);
    };
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    Settings::load(Step::FhirExport, &environment, Some(file.path()))
}

fn with(name: &str, value: &str) -> ExportSettings {
    load(&[(name, value)], None).unwrap().export
}

#[test]
fn without_settings_the_whole_system_is_exported_as_ndjson() {
    let settings = load(&[], None).unwrap().export;
    assert_eq!(settings.level, Level::System);
    assert_eq!(settings.output_format, "application/fhir+ndjson");
    assert!(settings.method.is_none() && settings.handling.is_none());
}

#[test]
fn a_level_is_the_system_all_patients_or_a_group_of_any_id() {
    assert_eq!(with("EXPORT_LEVEL", "patient").level, Level::Patient);
    let long = format!("e{}", "3".repeat(80));
    for id in ["1", "a_b", "ü:1", long.as_str()] {
        let level = with("EXPORT_LEVEL", &format!("group/{id}")).level;
        assert_eq!(level, Level::Group(id.to_owned()));
        let written_as_fhir_does = with("EXPORT_LEVEL", &format!("Group/{id}")).level;
        assert_eq!(written_as_fhir_does, level);
    }
    for wrong in [
        "Patient",
        "group",
        "group/",
        "group/..",
        "group/a/b",
        "group/a?b",
        "group/a b",
        "group/[id]",
    ] {
        let error = load(&[("EXPORT_LEVEL", wrong)], None).unwrap_err();
        assert!(error.what().contains("group/[id]"), "{wrong}: {error}");
    }
}

#[test]
fn filters_are_separated_by_white_space_because_they_hold_commas() {
    let text = "Observation?code=1,2&status=final\n  Patient?gender=female ";
    let filters = with("TYPE_FILTER", text).type_filters;
    let expected = ["Observation?code=1,2&status=final", "Patient?gender=female"];
    assert_eq!(filters, expected);
    let file = r#"{"typeFilter": ["Observation?code=1,2&status=final", "Patient?gender=female"]}"#;
    assert_eq!(load(&[], Some(file)).unwrap().export.type_filters, expected);
    for wrong in [
        "status=active",
        "Patient",
        "../x?a=b",
        "Patient?name=John Smith",
    ] {
        let error = load(&[("TYPE_FILTER", wrong)], None).unwrap_err();
        assert!(error.what().contains("TYPE_FILTER"), "{error}");
        assert!(!error.what().contains("Smith"), "a query's value: {error}");
    }
}

#[test]
fn patients_are_ids_or_references_and_want_post_and_a_level_of_patients() {
    let text = "1, Patient/2 https://other/fhir/Patient/3";
    let more = [("PATIENTS", text), ("EXPORT_LEVEL", "patient")];
    assert_eq!(
        load(&more, None).unwrap().export.patients,
        ["Patient/1", "Patient/2", "https://other/fhir/Patient/3"]
    );
    let error = load(&[("PATIENTS", "hush-1")], None).unwrap_err();
    assert!(error.what().contains("EXPORT_LEVEL"), "{error}");
    let get = [more[0], more[1], ("KICKOFF_METHOD", "get")];
    let error = load(&get, None).unwrap_err();
    assert!(error.what().contains("by POST"), "{error}");
    for wrong in [
        "Group/hush",
        "a/hush",
        "xPatient/hush",
        "ftp://h/Patient/hush",
    ] {
        let error = load(&[("PATIENTS", wrong), more[1]], None).unwrap_err();
        assert!(!error.what().contains("hush"), "{error}");
    }
}

#[test]
fn nothing_about_persons_and_no_value_shows_in_debug() {
    let more = [
        ("EXPORT_LEVEL", "patient"),
        ("PATIENTS", "hush-1"),
        ("TYPE_FILTER", "Patient?name=hush"),
        ("EXPORT_PARAMETERS", "key=hush"),
    ];
    let text = format!("{:?}", load(&more, None).unwrap());
    assert!(
        text.contains("ExportSettings") && !text.contains("hush"),
        "{text}"
    );
}

#[test]
fn a_vendors_parameters_hold_nothing_that_has_a_setting_of_its_own() {
    let found = with("EXPORT_PARAMETERS", "?_exportId=a%20b&x=1&x=2").parameters;
    let pairs: Vec<_> = found
        .iter()
        .map(|(a, b)| (a.as_str(), b.as_str()))
        .collect();
    assert_eq!(pairs, [("_exportId", "a b"), ("x", "1"), ("x", "2")]);
    for (name, setting) in OWN {
        let error = load(&[("EXPORT_PARAMETERS", &format!("a=1&{name}=hush"))], None);
        let error = error.unwrap_err();
        assert!(error.what().contains(setting), "{error}");
        assert!(!error.what().contains("hush"), "{error}");
    }
}

#[test]
fn until_comes_after_since() {
    let until = ("UNTIL", "2026-02-01T00:00:00Z");
    let early = [until, ("SINCE", "2026-01-01T00:00:00+01:00")];
    assert!(load(&early, None).is_ok());
    let late = [until, ("SINCE", "2026-02-01T00:00:00Z")];
    let error = load(&late, None).unwrap_err();
    assert!(error.what().contains("UNTIL"), "{error}");
}

#[test]
fn elements_associated_data_and_the_format_are_looked_at() {
    assert_eq!(
        with("ELEMENTS", "id, Patient.name").elements,
        ["id", "Patient.name"]
    );
    let codes = with("INCLUDE_ASSOCIATED_DATA", "LatestProvenanceResources,_mine");
    assert_eq!(codes.include_associated_data.len(), 2);
    assert_eq!(with("OUTPUT_FORMAT", "ndjson").output_format, "ndjson");
    for (name, wrong) in [
        ("ELEMENTS", "Patient.name.given"),
        ("ELEMENTS", "a b"),
        ("INCLUDE_ASSOCIATED_DATA", "a b"),
        ("OUTPUT_FORMAT", "text/csv"),
        ("KICKOFF_METHOD", "put"),
        ("KICKOFF_HANDLING", "mild"),
    ] {
        let error = load(&[(name, wrong)], None).unwrap_err();
        assert!(error.what().contains(name), "{error}");
    }
}

#[test]
fn a_document_for_the_kick_off_is_an_object_and_goes_by_post_without_patients() {
    let text = r#"{"JobName": "hush", "n": 1e2}"#;
    let settings = load(&[("KICKOFF_BODY", text)], None).unwrap();
    assert_eq!(settings.export.body.as_deref(), Some(text), "as it is");
    assert!(!format!("{settings:?}").contains("hush"));
    let file = r#"{"kickoffBody": {"b": {"c": 1}, "a": [2]}}"#;
    let settings = load(&[], Some(file)).unwrap();
    let written = r#"{"b":{"c":1},"a":[2]}"#;
    assert_eq!(settings.export.body.as_deref(), Some(written));
    for (more, word) in [
        (vec![("KICKOFF_BODY", "[1]")], "a JSON object is expected"),
        (vec![("KICKOFF_BODY", "{hush}")], "line 1, column 2"),
        (
            vec![("KICKOFF_BODY", "{}"), ("KICKOFF_METHOD", "get")],
            "only be sent by POST",
        ),
        (
            vec![
                ("KICKOFF_BODY", "{}"),
                ("EXPORT_LEVEL", "patient"),
                ("PATIENTS", "1"),
            ],
            "beside KICKOFF_BODY",
        ),
    ] {
        let error = load(&more, None).unwrap_err();
        assert!(error.what().contains(word), "{word}: {error}");
        assert!(!error.what().contains("hush"), "{error}");
    }
}

#[test]
fn headers_of_a_file_are_an_object_or_texts() {
    for file in [
        r#"{"sourceHeaders": {"Epic-Client-ID": "hush-1", "X-Key": "hush-2"}}"#,
        r#"{"sourceHeaders": ["Epic-Client-ID: hush-1", "X-Key: hush-2"]}"#,
        r#"{"sourceHeaders": "Epic-Client-ID: hush-1; X-Key: hush-2"}"#,
    ] {
        let settings = load(&[], Some(file)).unwrap();
        let Headers::Given(headers) = settings.source.as_ref().unwrap().headers.clone() else {
            panic!("{file} holds the headers themselves");
        };
        assert_eq!(headers.len(), 2, "{file}");
        assert_eq!(headers[1].value.reveal(), "hush-2");
        assert!(!format!("{settings:?}").contains("hush"));
    }
    let error = load(&[("SOURCE_HEADERS", "Authorization: Bearer hush")], None).unwrap_err();
    assert!(error.what().contains("authorization") && !error.what().contains("hush"));
}
