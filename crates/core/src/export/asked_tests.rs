use super::*;

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

/// What is asked for without any setting.
pub(in crate::export) fn plain() -> Wanted {
    Wanted {
        types: Vec::new(),
        since: None,
        separate_status: false,
        partial_manifests: false,
        export: ExportSettings {
            level: Level::System,
            until: None,
            type_filters: Vec::new(),
            elements: Vec::new(),
            patients: Vec::new(),
            include_associated_data: Vec::new(),
            output_format: "application/fhir+ndjson".to_owned(),
            organize_output_by: None,
            parameters: Vec::new(),
            method: None,
            body: None,
            handling: None,
        },
    }
}

fn everything() -> Wanted {
    let mut wanted = plain();
    wanted.types = texts(&["Patient", "Condition"]);
    wanted.since = Some("2026-01-01T00:00:00Z".to_owned());
    wanted.export = ExportSettings {
        level: Level::Group("a b%é+1".to_owned()),
        until: Some("2026-02-01T00:00:00Z".to_owned()),
        type_filters: texts(&["Condition?code=1,2&onset-date=gt2020", "Patient?name=A%20B"]),
        elements: texts(&["id", "Patient.name"]),
        include_associated_data: texts(&["LatestProvenanceResources", "_mine"]),
        output_format: "ndjson".to_owned(),
        parameters: vec![("_vendor".to_owned(), "a+b c".to_owned())],
        ..wanted.export
    };
    wanted
}

#[test]
fn the_kick_off_asks_for_ndjson_types_and_since_with_everything_encoded() {
    let endpoint = Url::parse("https://h/fhir").unwrap();
    let mut wanted = plain();
    assert_eq!(
        wanted.url(&endpoint).query(),
        Some("_outputFormat=application%2Ffhir%2Bndjson")
    );
    wanted.types = texts(&["Patient", "Condition"]);
    wanted.since = Some("2026-01-01T00:00:00Z".into());
    assert_eq!(
        wanted.url(&endpoint).as_str(),
        "https://h/fhir/$export?_outputFormat=application%2Ffhir%2Bndjson&_since=2026-01-01T00%3A00%3A00Z&_type=Patient%2CCondition"
    );
}

#[test]
fn a_query_has_every_search_of_its_own_and_neither_a_comma_nor_a_plus() {
    let url = everything().url(&Url::parse("https://h/fhir/").unwrap());
    assert_eq!(url.path(), "/fhir/Group/a%20b%25%C3%A9+1/$export");
    assert_eq!(
        url.query().unwrap(),
        "_outputFormat=ndjson&_since=2026-01-01T00%3A00%3A00Z&_until=2026-02-01T00%3A00%3A00Z&_type=Patient%2CCondition\
         &_typeFilter=Condition%3Fcode%3D1%2C2%26onset-date%3Dgt2020&_typeFilter=Patient%3Fname%3DA%2520B\
         &_elements=id%2CPatient.name&includeAssociatedData=LatestProvenanceResources%2C_mine&_vendor=a%2Bb%20c"
    );
}

#[test]
fn parameters_have_the_types_of_the_definition_and_a_search_each() {
    let mut wanted = everything();
    wanted.export.patients = texts(&["Patient/1", "Patient/2"]);
    assert_eq!(
        wanted.body(false),
        json!({"resourceType": "Parameters", "parameter": [
            {"name": "_outputFormat", "valueString": "ndjson"},
            {"name": "_since", "valueInstant": "2026-01-01T00:00:00Z"},
            {"name": "_until", "valueInstant": "2026-02-01T00:00:00Z"},
            {"name": "_type", "valueString": "Patient,Condition"},
            {"name": "_typeFilter", "valueString": "Condition?code=1,2&onset-date=gt2020"},
            {"name": "_typeFilter", "valueString": "Patient?name=A%20B"},
            {"name": "_elements", "valueString": "id,Patient.name"},
            {"name": "patient", "valueReference": {"reference": "Patient/1"}},
            {"name": "patient", "valueReference": {"reference": "Patient/2"}},
            {"name": "includeAssociatedData", "valueCode": "LatestProvenanceResources"},
            {"name": "includeAssociatedData", "valueCode": "_mine"},
            {"name": "_vendor", "valueString": "a+b c"},
        ]})
    );
}

#[test]
fn stu4_gets_repeated_parameters_instead_of_lists() {
    let body = everything().body(true);
    let of = |name: &str| -> Vec<Value> {
        let all = body["parameter"].as_array().unwrap();
        let named = all.iter().filter(|entry| entry["name"] == name);
        named.cloned().collect()
    };
    assert_eq!(
        of("_type"),
        [
            json!({"name": "_type", "valueString": "Patient"}),
            json!({"name": "_type", "valueString": "Condition"})
        ]
    );
    assert_eq!(of("_elements").len(), 2);
    assert_eq!(
        of("includeAssociatedData"),
        [
            json!({"name": "includeAssociatedData", "valueCoding": {"system": ASSOCIATED, "code": "LatestProvenanceResources"}}),
            json!({"name": "includeAssociatedData", "valueCoding": {"code": "_mine"}}),
        ]
    );
}
