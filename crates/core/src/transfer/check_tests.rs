use super::*;

fn check(resource_type: &str, file: &[u8], chunk: usize) -> Result<(Vec<u8>, u64), BadLine> {
    let mut checker = LineChecker::new(resource_type);
    let mut staged = Vec::new();
    for part in file.chunks(chunk.max(1)) {
        checker.chunk(Bytes::copy_from_slice(part), |bytes| {
            staged.extend_from_slice(&bytes);
        })?;
    }
    checker.finish(|bytes| staged.extend_from_slice(&bytes))?;
    Ok((staged, checker.resources()))
}

fn bad(file: &[u8]) -> BadLine {
    let whole = check("Patient", file, file.len()).unwrap_err();
    for chunk in 1..file.len() {
        assert_eq!(
            check("Patient", file, chunk).unwrap_err(),
            whole,
            "in chunks of {chunk}"
        );
    }
    whole
}

const ONE: &str = r#"{"resourceType":"Patient","id":"1"}"#;
const TWO: &str = r#"{"id":"2","name":[{"family":"naïve \n"}],"resourceType":"Patient","contained":[{"resourceType":"Group","id":""}]}"#;

#[test]
fn however_a_file_is_cut_the_same_bytes_are_staged() {
    let cases: &[(String, String)] = &[
        (format!("{ONE}\n{TWO}\n"), format!("{ONE}\n{TWO}\n")),
        (format!("{ONE}\n{TWO}"), format!("{ONE}\n{TWO}\n")),
        (
            format!("\n\n{ONE}\n \t\n{TWO}\n\n"),
            format!("{ONE}\n{TWO}\n"),
        ),
        (format!("\u{feff}{ONE}\n{TWO}\n"), format!("{ONE}\n{TWO}\n")),
        (
            format!("\u{feff}\n{ONE}\n\r\n{TWO}\r\n"),
            format!("{ONE}\n{TWO}\r\n"),
        ),
        (
            format!(" {ONE} \r\n{TWO}\r"),
            format!(" {ONE} \r\n{TWO}\r\n"),
        ),
    ];
    for (file, staged) in cases {
        for chunk in 1..=file.len() {
            let (found, resources) = check("Patient", file.as_bytes(), chunk).unwrap();
            assert_eq!(
                String::from_utf8(found).unwrap(),
                *staged,
                "{file:?} in chunks of {chunk}"
            );
            assert_eq!(resources, 2);
        }
    }
}

#[test]
fn a_file_without_resources_stages_nothing() {
    for file in ["", "\n", "\r\n \n", "\u{feff}", "\u{feff}\n"] {
        assert_eq!(
            check("Patient", file.as_bytes(), 1),
            Ok((Vec::new(), 0)),
            "{file:?}"
        );
    }
}

#[test]
fn a_bad_line_is_told_by_its_number_and_offset() {
    let file = format!("{ONE}\n\n{{\"resourceType\":\"Patient\"}}\n");
    let bad = bad(file.as_bytes());
    assert_eq!((bad.line, bad.offset), (3, ONE.len() as u64 + 2));
    assert_eq!(bad.why, "has no id that is a string");
}

#[test]
fn what_would_harm_pathling_does_not_pass() {
    for (line, why) in [
        (
            r#"{"resourceType":"Patient","id":""}"#,
            "has an id that is empty",
        ),
        (
            r#"{"resourceType":"Patient","id":5}"#,
            "has no id that is a string",
        ),
        (
            r#"{"resourceType":"Patient","id":null}"#,
            "has no id that is a string",
        ),
        (
            r#"{"resourceType":"Condition","id":"1"}"#,
            "is a Condition, not a Patient",
        ),
        (
            r#"{"resourceType":"John Doe","id":"1"}"#,
            "has no resourceType; Patient is expected",
        ),
        (r#"{"id":"1"}"#, "has no resourceType; Patient is expected"),
        (
            r#"{"resourceType":"Patient","id":"1","id":"2"}"#,
            "is no JSON object, or has resourceType or id twice",
        ),
        (
            r#"{"resourceType":"Patient","id":"1"#,
            "is not one JSON object (at column 33)",
        ),
        (
            r#"{"resourceType":"Patient","id":"1"}{"resourceType":"Patient","id":"2"}"#,
            "is not one JSON object (at column 36)",
        ),
        (
            r#"[{"resourceType":"Patient","id":"1"}]"#,
            "is no JSON object, or has resourceType or id twice",
        ),
        ("<html>", "is not one JSON object (at column 1)"),
    ] {
        assert_eq!(bad(format!("{line}\n").as_bytes()).why, why, "{line}");
    }
}

#[test]
fn bytes_that_are_no_utf_8_do_not_pass() {
    let mut file = TWO.as_bytes().to_vec();
    let place = TWO.find("family").unwrap() + 10;
    file[place] = 0xff;
    assert_eq!(bad(&file).why, "is not UTF-8");
}
