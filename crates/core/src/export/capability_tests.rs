use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use serde_json::json;

use super::super::asked::tests::plain;
use super::*;
use crate::http::fake::{Fake, impatient};

/// What is made of this statement (with `{base}` for the source's base), and of this definition at `/defined`.
async fn read_of(
    statement: &Value,
    definition: Option<Value>,
    level: &Level,
) -> Result<Capability> {
    let statement = statement.to_string();
    let fake = Fake::start(move |seen| {
        let (statement, definition) = (statement.clone(), definition.clone());
        async move {
            let host = seen.headers["host"].to_str().unwrap();
            let statement = statement.replace("{base}", &format!("http://{host}/fhir"));
            match seen.line.as_str() {
                "GET /fhir/metadata" => statement.into_response(),
                "GET /fhir/OperationDefinition/-s-export" => match definition {
                    Some(definition) => axum::Json(definition).into_response(),
                    None => StatusCode::NOT_FOUND.into_response(),
                },
                _ => StatusCode::IM_A_TEAPOT.into_response(),
            }
        }
    })
    .await;
    let read = Capability::read(&impatient(&fake.url), &fake.url, level).await;
    let elsewhere = fake.seen("GET /else");
    assert!(elsewhere.is_empty());
    read
}

fn statement(definition: &str) -> Value {
    let operation = json!([{"name": "$export", "definition": definition}]);
    json!({"resourceType": "CapabilityStatement", "rest": [{"mode": "server", "operation": operation}]})
}

fn unsupported(capability: &Capability) -> Vec<String> {
    let mut wanted = plain();
    wanted.types = vec!["Patient".to_owned()];
    wanted.export.until = Some("2026-01-01T00:00:00Z".to_owned());
    wanted.export.parameters = vec![("_vendor".to_owned(), "1".to_owned())];
    let names = capability.unsupported_parameters(&wanted);
    names.into_iter().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_definition_without_a_version_tells_nothing_and_nothing_is_warned_of() {
    for told in [
        statement("http://hl7.org/fhir/uv/bulkdata/OperationDefinition/export"),
        statement("http://elsewhere.example/OperationDefinition/export"),
        statement("{base}/OperationDefinition/-s-export"),
        statement("{base}/elsewhere/OperationDefinition/x"),
        json!({"resourceType": "CapabilityStatement"}),
        json!({"resourceType": "CapabilityStatement", "rest": [{"operation": "x", "resource": [7]}]}),
    ] {
        let capability = read_of(&told, None, &Level::System).await.unwrap();
        assert!(!capability.is_stu4(), "{told}");
        assert!(unsupported(&capability).is_empty(), "{told}");
    }
}

#[tokio::test]
async fn the_edition_tells_the_parameters_and_whether_it_takes_lists() {
    let of = |version: &str| {
        let ig = "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/export";
        let told = statement(&format!("{ig}|{version}"));
        async move { read_of(&told, None, &Level::System).await.unwrap() }
    };
    for (version, lacking, stu4) in [
        ("1.0.1", vec!["_until", "_vendor"], false),
        ("2.0.0", vec!["_until", "_vendor"], false),
        ("3.0.0", vec!["_vendor"], false),
        ("4.0.0-ballot", vec!["_vendor"], true),
    ] {
        let capability = of(version).await;
        assert_eq!(unsupported(&capability), lacking, "{version}");
        assert_eq!(capability.is_stu4(), stu4, "{version}");
    }
    let mut told = statement("http://hl7.org/fhir/uv/bulkdata/OperationDefinition/export");
    told["instantiates"] =
        json!(["http://hl7.org/fhir/uv/bulkdata/CapabilityStatement/bulk-data|4.0.0"]);
    let capability = read_of(&told, None, &Level::System).await.unwrap();
    assert!(capability.is_stu4());
}

#[tokio::test]
async fn a_definition_of_the_sources_own_names_its_parameters() {
    let definition = json!({"resourceType": "OperationDefinition", "parameter": [
        {"name": "_vendor", "use": "in"}, {"name": "_until", "use": "out"},
    ]});
    for named in [
        "{base}/OperationDefinition/-s-export",
        "OperationDefinition/-s-export|1",
    ] {
        let told = statement(named);
        let read = read_of(&told, Some(definition.clone()), &Level::System).await;
        assert_eq!(unsupported(&read.unwrap()), ["_type", "_until"]);
    }
}

#[tokio::test]
async fn the_operation_is_the_one_of_the_level() {
    let ig = "http://hl7.org/fhir/uv/bulkdata/OperationDefinition";
    let told = json!({"resourceType": "CapabilityStatement", "rest": [{"mode": "server",
    "operation": [{"name": "export", "definition": format!("{ig}/export|4.0.0")}],
    "resource": [
        {"type": "Group", "operation": [{"name": "export", "definition": format!("{ig}/group-export|1.0.0")}]},
        {"type": "Provenance", "extension": [{"url": NOT_SUPPORTED, "valueCanonical": format!("{ig}/export")}]},
    ]}]});
    let system = read_of(&told, None, &Level::System).await.unwrap();
    let group = read_of(&told, None, &Level::Group("1".to_owned()))
        .await
        .unwrap();
    let patient = read_of(&told, None, &Level::Patient).await.unwrap();
    assert!(system.is_stu4() && !group.is_stu4() && patient.edition.is_none());
    assert!(system.left_out.contains("Provenance"));
}

#[tokio::test]
async fn what_is_no_statement_is_an_error_that_says_so() {
    for told in [json!([]), json!({"resourceType": "Patient"})] {
        let error = read_of(&told, None, &Level::System).await.unwrap_err();
        assert!(error.what().contains("/metadata"), "{error}");
    }
}
