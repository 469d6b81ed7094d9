use serde_json::json;

use super::*;

fn by(methods: &Value) -> SecretBy {
    said(methods).secret_by(Side::Source).unwrap()
}

fn said(methods: &Value) -> Discovered {
    let url = Url::parse("https://h/t").unwrap();
    let value = json!({"token_endpoint_auth_methods_supported": methods});
    Discovered::read(
        &value,
        url,
        "https://h/t",
        "GET x answered 200 OK".to_owned(),
    )
}

#[test]
fn the_secret_goes_by_basic_unless_the_server_takes_only_the_form() {
    assert_eq!(by(&json!(null)), SecretBy::Basic);
    assert_eq!(by(&json!([])), SecretBy::Basic);
    assert_eq!(
        by(&json!([
            "private_key_jwt",
            "client_secret_post",
            "client_secret_basic"
        ])),
        SecretBy::Basic
    );
    assert_eq!(
        by(&json!(["private_key_jwt", "client_secret_post"])),
        SecretBy::Form
    );
}

#[test]
fn a_server_that_takes_no_secret_is_told_with_what_it_takes() {
    let found = said(&json!(["private_key_jwt", "tls_client_auth"]));
    let why = found.secret_by(Side::Source).unwrap_err().to_string();
    assert!(
        why.contains("private_key_jwt, tls_client_auth") && why.contains("SOURCE_CLIENT_SECRET"),
        "{why}"
    );
    assert!(why.contains("set SOURCE_PRIVATE_KEY instead"), "{why}");
    assert!(found.takes_assertions(Side::Source).is_ok());
}

#[test]
fn a_server_that_takes_no_assertion_is_told_with_what_it_takes() {
    let found = said(&json!(["client_secret_basic"]));
    let why = found
        .takes_assertions(Side::Target)
        .unwrap_err()
        .to_string();
    assert!(
        why.contains("only client_secret_basic") && why.contains("TARGET_PRIVATE_KEY"),
        "{why}"
    );
    assert!(said(&json!(null)).takes_assertions(Side::Source).is_ok());
}

#[test]
fn a_token_endpoint_is_absolute_and_safe() {
    for (text, says) in [
        ("/auth/token", "\"/auth/token\" is not an absolute"),
        ("ftp://h/token", "not an absolute"),
        ("http://h/token", "ALLOW_PLAINTEXT"),
    ] {
        let why = token_endpoint(text, false).unwrap_err();
        assert!(why.contains(says), "{why}");
    }
    assert!(token_endpoint("http://localhost:1/token", false).is_ok());
    assert!(token_endpoint("http://h/token", true).is_ok());
}

#[test]
fn a_statement_tells_its_token_endpoint_in_an_extension_or_not_at_all() {
    let read = |value: Value| {
        let statement: Statement = serde_json::from_value(value).unwrap_or_default();
        statement.token_endpoint().map(str::to_owned)
    };
    let uris = |parts: Value| json!({"extension": [{"url": "x"}, {"url": OAUTH_URIS, "extension": parts}]});
    let found = read(json!({"fhirVersion": "4.0.1", "rest": [
        {"mode": "client"},
        {"security": uris(json!([
            {"url": "authorize", "valueUri": "https://h/a"},
            {"url": "token", "valueUri": "https://h/t"},
        ]))},
    ]}));
    assert_eq!(found.as_deref(), Some("https://h/t"));
    for other in [
        json!({}),
        json!([]),
        json!({"rest": {}}),
        json!({"rest": [{"security": uris(json!([{"url": "authorize", "valueUri": "https://h/a"}]))}]}),
        json!({"rest": [{"security": uris(json!([{"url": "token"}]))}]}),
        json!({"rest": [{"security": {"extension": [{"url": "token", "valueUri": "https://h/t"}]}}]}),
    ] {
        assert_eq!(read(other), None);
    }
}
