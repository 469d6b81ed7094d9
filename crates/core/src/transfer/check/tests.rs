use super::*;

const MODES: [Validate; 3] = [Validate::Lines, Validate::Json, Validate::None];

fn check(validate: Validate, file: &[u8], chunk: usize) -> Result<(Vec<u8>, u64), BadLine> {
    let mut checker = Checker::new("Patient", validate);
    let mut staged = Vec::new();
    for part in file.chunks(chunk.max(1)) {
        checker.chunk(Bytes::copy_from_slice(part), |bytes| {
            staged.extend_from_slice(&bytes);
        })?;
    }
    checker.finish(|bytes| staged.extend_from_slice(&bytes))?;
    Ok((staged, checker.resources()))
}

fn bad(validate: Validate, file: &[u8]) -> BadLine {
    let whole = check(validate, file, file.len()).unwrap_err();
    for chunk in 1..file.len() {
        assert_eq!(
            check(validate, file, chunk).unwrap_err(),
            whole,
            "in chunks of {chunk}"
        );
    }
    whole
}

/// The words for a line without its newline, under `lines` and under `json`.
fn words(line: &str) -> (String, String) {
    let line = format!("{line}\n");
    let words = |validate| bad(validate, line.as_bytes()).why;
    (words(Validate::Lines), words(Validate::Json))
}

const ONE: &str = r#"{"resourceType":"Patient","id":"1"}"#;
const TWO: &str = r#"{"id":"2","name":[{"family":"naïve \n"}],"resourceType":"Patient","contained":[{"resourceType":"Group","id":""}]}"#;
/// What looks like the place where two objects meet, and more of it at the end.
const JOINT: &str = r#"{"resourceType":"Patient","id":"3","x":"}{","y":{"z":"}{"}}"#;

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
        (
            format!("{ONE}\n{JOINT} \r\n\n"),
            format!("{ONE}\n{JOINT} \r\n"),
        ),
    ];
    for (file, staged) in cases {
        for validate in MODES {
            for chunk in 1..=file.len() {
                let (found, resources) = check(validate, file.as_bytes(), chunk).unwrap();
                assert_eq!(
                    String::from_utf8(found).unwrap(),
                    *staged,
                    "{file:?} in chunks of {chunk}, {validate:?}"
                );
                assert_eq!(resources, 2);
            }
        }
    }
}

#[test]
fn a_file_without_resources_stages_nothing() {
    for file in ["", "\n", "\r\n \n", "\u{feff}", "\u{feff}\n"] {
        for validate in MODES {
            for chunk in 1..=file.len() {
                assert_eq!(
                    check(validate, file.as_bytes(), chunk),
                    Ok((Vec::new(), 0)),
                    "{file:?} in chunks of {chunk}, {validate:?}"
                );
            }
        }
    }
}

#[test]
fn a_bad_line_is_told_by_its_number_and_offset() {
    let file = format!("\u{feff}{ONE}\n\n{{\"resourceType\":\"Patient\"}}\n");
    for validate in [Validate::Lines, Validate::Json] {
        let bad = bad(validate, file.as_bytes());
        assert_eq!((bad.line, bad.offset), (3, ONE.len() as u64 + 5));
        assert_eq!(bad.why, "has no id that is a string");
    }
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
            r#"{"resourceType":"Patient","id":[{"id":"1"}]}"#,
            "has no id that is a string",
        ),
        (
            r#"{"resourceType":"Condition","id":"1"}"#,
            "is a Condition, not a Patient",
        ),
        (
            r#"{"resourceType":"Patients","id":"1"}"#,
            "is a Patients, not a Patient",
        ),
        (
            r#"{"resourceType":"John Doe","id":"1"}"#,
            "has no resourceType; Patient is expected",
        ),
        (
            r#"{"resourceType":["Patient"],"id":"1"}"#,
            "has no resourceType; Patient is expected",
        ),
        (r#"{"id":"1"}"#, "has no resourceType; Patient is expected"),
        (r"{}", "has no resourceType; Patient is expected"),
        (
            r#"{"contained":[{"resourceType":"Patient","id":"1"}],"x":{"id":"1"}}"#,
            "has no resourceType; Patient is expected",
        ),
        (
            r#"{"contained":[{"id":"1"}],"resourceType":"Patient","meta":{"id":"1"}}"#,
            "has no id that is a string",
        ),
        (
            r#"{"id":"1","id":"2","resourceType":"Patient"}"#,
            "has resourceType or id twice",
        ),
        (
            r#"[{"resourceType":"Patient","id":"1"}]"#,
            "is not one JSON object: it begins with [, as a list does",
        ),
        (
            "<html>",
            "is not one JSON object: it begins with <, as a page of HTML or XML does",
        ),
        (
            "resourceType",
            "is not one JSON object: it does not begin with {",
        ),
    ] {
        assert_eq!(words(line), (why.to_owned(), why.to_owned()), "{line}");
    }
}

#[test]
fn a_line_that_is_not_one_object_is_told_as_exactly_as_it_is_looked_at() {
    for (line, lines, json) in [
        (
            r#"{"resourceType":"Patient","id":"1"#,
            ": it ends too early",
            " (at column 33)",
        ),
        (
            r#"{"resourceType":"Patient","id":"1""#,
            ": it does not end with }",
            " (at column 34)",
        ),
        (
            r#"{"resourceType":"Patient","id":"1"}{"resourceType":"Patient","id":"2"}"#,
            " (at column 38)",
            " (at column 36)",
        ),
        (
            r#"{"id":"1","x":"}{","resourceType":"Patient","y":"}{"}{"resourceType":"Patient","id":"2"}"#,
            " (at column 56)",
            " (at column 54)",
        ),
        (
            r#"{"id":"1","resourceType":"Patient"} x"#,
            ": it does not end with }",
            " (at column 37)",
        ),
        (
            r#"{"name":[{"family":"x"],"id":"1","resourceType":"Patient"}"#,
            " (at column 23)",
            " (at column 23)",
        ),
        (
            r#"{"active":true"id":"1","resourceType":"Patient"}"#,
            " (at column 15)",
            " (at column 15)",
        ),
        (
            r#"{"active" true,"id":"1","resourceType":"Patient"}"#,
            " (at column 11)",
            " (at column 11)",
        ),
        (
            r#"{active:true,"id":"1","resourceType":"Patient"}"#,
            " (at column 2)",
            " (at column 2)",
        ),
        (
            r#"{"resource\Type":"Patient","id":"1"}"#,
            " (at column 12)",
            " (at column 12)",
        ),
    ] {
        let not = |why| format!("is not one JSON object{why}");
        assert_eq!(words(line), (not(lines), not(json)), "{line}");
    }
}

#[test]
fn what_stands_behind_both_keys_is_only_looked_at_by_json() {
    for line in [
        r#"{"resourceType":"Patient","id":"1","id":"2"}"#,
        r#"{"resourceType":"Patient","id":"1","name":[}"#,
        r#"{"resourceType":"Patient","id":"1",,}"#,
    ] {
        let file = format!("{line}\n");
        for chunk in 1..=file.len() {
            let (_, resources) = check(Validate::Lines, file.as_bytes(), chunk).unwrap();
            assert_eq!(resources, 1, "{line}");
        }
        bad(Validate::Json, file.as_bytes());
    }
}

#[test]
fn keys_and_types_count_as_what_they_mean() {
    for line in [
        r#"{"resource\u0054ype":"P\u0061tient","\u0069\u0064":"1"}"#,
        r#"{"a\"id":"","\\id":"","\u00e9id":"","id\n":"","\/id":"","resourceType":"Patient","id":"\""}"#,
        r#" { "id" : "\\" , "x" : [ -1.5e+3 , "]" , { "id" : "" } ] , "y" : { "z" : [ [ ] ] } , "w" : null , "resourceType" : "Patient" } "#,
    ] {
        for validate in [Validate::Lines, Validate::Json] {
            for chunk in 1..=line.len() {
                let (_, resources) = check(validate, line.as_bytes(), chunk).unwrap();
                assert_eq!(resources, 1, "{line} in chunks of {chunk}, {validate:?}");
            }
        }
    }
    let twice = r#"{"id":"1","i\u0064":"2","resourceType":"Patient"}"#;
    let why = "has resourceType or id twice".to_owned();
    assert_eq!(words(twice), (why.clone(), why));
}

#[test]
fn bytes_that_are_no_utf_8_do_not_pass() {
    let place = TWO.find("family").unwrap() + 10;
    for wrong in [
        b"\xff".as_slice(),
        b"\xc3x",
        b"\xe2\x82x",
        b"\xf0\x9f\x98x",
        b"\xed\xa0\x80",
        b"\xc0\xaf",
        b"\x80",
    ] {
        let mut file = format!("{ONE}\n{TWO}\n").into_bytes();
        let place = ONE.len() + 1 + place;
        file.splice(place..place, wrong.iter().copied());
        for validate in [Validate::Lines, Validate::Json] {
            let bad = bad(validate, &file);
            assert_eq!(bad.line, 2);
            assert_eq!(
                bad.why,
                format!("is not UTF-8 at byte {place} of the file"),
                "{wrong:?}"
            );
        }
        assert_eq!(check(Validate::None, &file, 7).unwrap(), (file, 2));
    }
}

#[test]
fn a_file_that_ends_within_a_character_is_not_utf_8() {
    for (end, place) in [
        (b"\xc3".as_slice(), 0),
        (b"\xf0\x9f\x98", 0),
        (b"\xef\xbb", 0),
    ] {
        let file = [ONE.as_bytes(), b"\n", end].concat();
        let words = format!("is not UTF-8 at byte {} of the file", ONE.len() + 1 + place);
        assert_eq!(bad(Validate::Lines, &file).why, words);
        assert_eq!(
            bad(Validate::Lines, end).why,
            "is not UTF-8 at byte 0 of the file"
        );
        assert_eq!(
            bad(Validate::Json, end).why,
            "is not UTF-8 at byte 0 of the file"
        );
    }
}

#[test]
fn of_two_problems_the_first_in_the_file_is_told() {
    let lines = [ONE.as_bytes(), b"x", b"\xff", b""];
    let file = lines.join(b"\n".as_slice());
    for validate in [Validate::Lines, Validate::Json] {
        assert_eq!(bad(validate, &file).line, 2);
    }
    let line = [b"\xff".as_slice(), ONE.as_bytes(), b"}"].concat();
    assert_eq!(
        bad(Validate::Lines, &line).why,
        "is not UTF-8 at byte 0 of the file"
    );
}

#[test]
fn white_space_without_end_is_no_blank_line() {
    let blank = vec![b' '; SPACE_LIMIT];
    let file = [blank.as_slice(), b"\n", &blank, ONE.as_bytes()].concat();
    for validate in MODES {
        for chunk in [1000, BLOCK + 1, file.len()] {
            let (staged, resources) = check(validate, &file, chunk).unwrap();
            assert_eq!((staged.len(), resources), (file.len() - SPACE_LIMIT, 1));
        }
        let file = [&file[..=SPACE_LIMIT], b" ", &file[SPACE_LIMIT + 1..]].concat();
        for chunk in [1000, BLOCK + 1, file.len()] {
            let bad = check(validate, &file, chunk).unwrap_err();
            assert_eq!(bad.line, 2);
            assert_eq!(bad.why, "begins with more than 64 KiB of white space");
        }
    }
}

#[test]
fn lines_side_by_side_are_handed_on_as_one_slice_of_the_chunk() {
    let file = Bytes::from(format!("{ONE}\n{TWO}\n").repeat(2000) + "\n" + ONE);
    for validate in MODES {
        let mut checker = Checker::new("Patient", validate);
        let mut kept = Vec::new();
        checker
            .chunk(file.clone(), |bytes| kept.push(bytes))
            .unwrap();
        let blank = file.len() - ONE.len() - 1;
        assert_eq!(kept, [file.slice(..blank), file.slice(blank + 1..)]);
        assert_eq!(kept[0].as_ptr(), file.as_ptr());
        assert_eq!(kept[1].as_ptr(), file[blank + 1..].as_ptr());
    }
}

#[test]
fn a_line_of_100_mb_passes_in_little_memory() {
    let data = Bytes::from(vec![b'A'; 64 << 10]);
    let line = [Bytes::from_static(br#"{"data":""#)]
        .into_iter()
        .chain(std::iter::repeat_n(data, 1600))
        .chain([Bytes::from_static(
            br#"","id":"1","resourceType":"Patient"}"#,
        )]);
    for (validate, memory) in [
        (Validate::Lines, 0),
        (Validate::Json, json::PARSE_LIMIT),
        (Validate::None, 0),
    ] {
        let mut checker = Checker::new("Patient", validate);
        let (mut taken, mut staged) = (0, 0);
        for chunk in line.clone() {
            taken += chunk.len();
            checker.chunk(chunk, |bytes| staged += bytes.len()).unwrap();
            assert!(
                checker.held() <= memory,
                "{validate:?} holds {}",
                checker.held()
            );
            assert_eq!(staged, taken);
        }
        assert_eq!(checker.mark(), LineMark::default());
        checker.finish(|bytes| staged += bytes.len()).unwrap();
        assert_eq!((staged, checker.resources()), (taken + 1, 1));
        assert_eq!(checker.held(), 0);
    }
}

/// A line of this many bytes with its keys at the end, in chunks.
fn long_line(bytes: usize, end: &str) -> impl Iterator<Item = Bytes> {
    let entry = Bytes::from(r#"{"family":"na\"ïve","given":["\\",1.5,null]},"#.repeat(1424));
    let chunks = bytes / entry.len();
    [Bytes::from_static(br#"{"name":["#)]
        .into_iter()
        .chain(std::iter::repeat_n(entry, chunks))
        .chain([Bytes::from(end.to_owned())])
}

#[test]
fn a_long_line_is_looked_at_alike_in_one_chunk_and_in_many() {
    let bytes = json::PARSE_LIMIT + (1 << 20);
    for (end, why) in [
        (
            r#"1],"id":"1","resourceType":"Group"}"#,
            "is a Group, not a Patient",
        ),
        (
            r#"1],"resourceType":"Patient"}"#,
            "has no id that is a string",
        ),
        (
            r#"1],"id":"1","resourceType":"Patient","id":"1"}"#,
            "has resourceType or id twice",
        ),
        (r#"1],"id":"1","resourceType":"Patient"} "#, ""),
        (
            r#"1],"id":"1","resourceType":"Patient""#,
            "is not one JSON object: it ends too early",
        ),
        (
            r#"1],"id":"1","resourceType":"Patient"}}"#,
            "is not one JSON object (at column 52",
        ),
        (
            r#"1},"id":"1","resourceType":"Patient"}"#,
            "is not one JSON object (at column 52",
        ),
    ] {
        let file: Vec<u8> = long_line(bytes, end).flatten().collect();
        let verdict = |chunk| check(Validate::Json, &file, chunk).err().map(|bad| bad.why);
        let whole = verdict(file.len());
        assert!(
            whole.clone().unwrap_or_default().starts_with(why),
            "{whole:?}"
        );
        assert_eq!(whole.is_none(), why.is_empty());
        for chunk in [8191, BLOCK, 1 << 20] {
            assert_eq!(verdict(chunk), whole);
        }
    }
}

#[test]
fn a_line_of_exactly_the_longest_that_is_parsed_is_parsed() {
    let end = r#""id":"1","resourceType":"Patient","x":tru}"#;
    for (more, passes) in [(0, false), (1, true)] {
        let space = json::PARSE_LIMIT - 1 - end.len() + more;
        let file = format!("{{{}{end}\n", " ".repeat(space));
        for chunk in [10_000, file.len()] {
            let found = check(Validate::Json, file.as_bytes(), chunk);
            assert_eq!(found.is_ok(), passes, "{more} more, in chunks of {chunk}");
        }
    }
}

#[test]
fn brackets_match_however_deep_they_are() {
    for depth in [1, 127, 128, 129, 5000] {
        let deep = format!(
            r#"{{"x":{}{},"id":"1","resourceType":"Patient"}}"#,
            "[".repeat(depth),
            "]".repeat(depth)
        );
        for chunk in [3, deep.len()] {
            assert!(
                check(Validate::Lines, deep.as_bytes(), chunk).is_ok(),
                "{depth}"
            );
        }
    }
}

#[test]
fn a_carriage_return_within_a_line_is_where_a_reader_ends_it() {
    for (file, line, offset, place) in [
        (
            format!("{ONE}\n{ONE}\r{ONE}\n"),
            2,
            ONE.len() + 1,
            2 * ONE.len() + 1,
        ),
        (format!("{ONE}\r{ONE}\r{ONE}\r"), 1, 0, ONE.len()),
        (format!("{ONE}\r\r\n"), 1, 0, ONE.len()),
        (format!("{ONE}\r \n"), 1, 0, ONE.len()),
        (
            format!("{ONE}\n \r {ONE}\n"),
            2,
            ONE.len() + 1,
            ONE.len() + 2,
        ),
        (format!("\u{feff}\r{ONE}\n"), 1, 0, 3),
        (
            ONE.replace(r#""id""#, "\r\"id\"") + "\r\n",
            1,
            0,
            ONE.find("\"id").unwrap(),
        ),
        (format!("{ONE}\r\u{e9}\n"), 1, 0, ONE.len()),
    ] {
        for validate in [Validate::Lines, Validate::Json] {
            let bad = bad(validate, file.as_bytes());
            assert_eq!((bad.line, bad.offset), (line, offset as u64), "{file:?}");
            let says = format!("carriage return at byte {place} of the file");
            assert!(bad.why.contains(&says), "{file:?}: {}", bad.why);
        }
        check(Validate::None, file.as_bytes(), 7).unwrap();
    }
}

#[test]
fn what_is_wrong_before_a_carriage_return_is_told_first() {
    let file = format!("[]\r{ONE}\n");
    assert!(
        !bad(Validate::Lines, file.as_bytes())
            .why
            .contains("carriage")
    );
    // Lines that are parsed are judged at their end, which this one has not.
    assert!(
        bad(Validate::Json, file.as_bytes())
            .why
            .contains("carriage")
    );
}
