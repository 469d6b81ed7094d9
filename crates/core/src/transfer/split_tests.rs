use super::*;

#[test]
fn a_line_is_its_type_or_a_header() {
    let of = |line: &str| resource_of(line.as_bytes()).map(|it| it.map(|it| it.name.into_owned()));
    assert_eq!(
        of(r#"{"id":"1","x":{"resourceType":"A"},"resourceType":"Patient"}"#),
        Ok(Some("Patient".to_owned()))
    );
    let header = r#" {"resourceType":"Parameters","parameter":[{"name":"header"}]}"#;
    assert_eq!(of(header), Ok(None));
    assert_eq!(
        of(r#"{"resourceType":"Parameters","id":"p"}"#),
        Ok(Some("Parameters".to_owned()))
    );
}

#[test]
fn what_is_no_resource_is_told_without_its_content() {
    for (line, says) in [
        (&b"{\"resourceType\":\"Patient\"}"[..], "no id"),
        (b"{\"resourceType\":\"Patient\",\"id\":5}", "no id"),
        (b"{\"resourceType\":\"Patient\",\"id\":\"\"}", "empty"),
        (
            b"{\"resourceType\":\"../x\",\"id\":\"Secret\"}",
            "no resourceType",
        ),
        (b"{\"id\":\"Secret\"}", "no resourceType"),
        (b"{\"resourceType\":7,\"id\":\"Secret\"}", "no resourceType"),
        (
            b"{\"id\":\"Secret\",\"id\":\"Secret\"}",
            "not one JSON object",
        ),
        (b"[]", "not one JSON object"),
        (b"{\"id\":\"Secret\"} {}", "not one JSON object"),
        (b"\xff", "UTF-8"),
        (b"", "not one JSON object"),
    ] {
        let why = resource_of(line).unwrap_err();
        assert!(why.contains(says), "{why}");
        assert!(!why.contains("Secret"), "{why}");
    }
}
