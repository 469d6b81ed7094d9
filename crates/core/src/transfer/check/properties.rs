use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde::de::IgnoredAny;
use serde_json::Value;

use super::*;

/// What came of a file: its staged bytes and counts, or its first bad line.
type Outcome = Result<(Vec<u8>, LineMark), BadLine>;

fn run(mut checker: Checker, chunks: &[&[u8]], marks: &mut Vec<LineMark>) -> Outcome {
    let mut staged = Vec::new();
    for chunk in chunks {
        checker.chunk(Bytes::copy_from_slice(chunk), |bytes| {
            staged.extend_from_slice(&bytes);
        })?;
        marks.push(checker.mark());
    }
    checker.finish(|bytes| staged.extend_from_slice(&bytes))?;
    Ok((staged, checker.mark()))
}

fn whole(validate: Validate, file: &[u8]) -> Outcome {
    run(Checker::new("Patient", validate), &[file], &mut Vec::new())
}

fn cut<'a>(file: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(file.len() + 1)).collect();
    places.sort_unstable();
    places.push(file.len());
    let mut begin = 0;
    places
        .into_iter()
        .map(|end| &file[std::mem::replace(&mut begin, end)..end])
        .collect()
}

fn modes() -> impl Strategy<Value = Validate> {
    select(vec![Validate::Lines, Validate::Json, Validate::None])
}

/// A string as it stands in JSON, between its quotation marks.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-z ]{1,8}",
        4 => select(vec![
            "ï", "€", "😀", r#"\""#, r"\\", r"\n", r"\u0069", r"\ud83d\ude00", "{", "}", "[", "]", ",", ":", "}{",
            "id", "resourceType", r#"}{\""#,
        ])
        .prop_map(str::to_owned),
        1 => (20usize..200).prop_map(|length| "long".repeat(length)),
    ];
    vec(piece, 0..5).prop_map(|pieces| pieces.concat())
}

fn string() -> impl Strategy<Value = String> {
    text().prop_map(|text| format!("\"{text}\""))
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => select(vec![
            r#""id""#, r#""resourceType""#, r#""\u0069d""#, r#""resource\u0054ype""#, r#""ID""#, r#""id ""#,
        ])
        .prop_map(str::to_owned),
        4 => string(),
    ]
}

fn space() -> impl Strategy<Value = &'static str> {
    select(vec!["", "", "", "", " ", "\t", " \r "])
}

fn object(members: Vec<((String, String), &'static str)>) -> String {
    let members: Vec<String> = members
        .into_iter()
        .map(|((key, value), space)| format!("{space}{key}{space}:{space}{value}{space}"))
        .collect();
    format!("{{{}}}", members.join(","))
}

fn value() -> impl Strategy<Value = String> {
    let plain = prop_oneof![
        3 => string(),
        1 => select(vec!["0", "-1.5e+10", "true", "false", "null", "{}", "[]"]).prop_map(str::to_owned),
    ];
    plain.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            vec(((key(), inner), space()), 0..4).prop_map(object),
        ]
    })
}

/// A JSON object. Most have the two keys as they must be, at any place among the others.
fn resource() -> impl Strategy<Value = String> {
    let id = prop_oneof![
        12 => text().prop_map(|text| format!("\"a{text}\"")),
        1 => string(),
        1 => value(),
    ];
    let resource_type = prop_oneof![
        12 => select(vec![r#""Patient""#, r#""P\u0061tient""#]).prop_map(str::to_owned),
        1 => select(vec![r#""Group""#, r#""Patientx""#, r#""""#]).prop_map(str::to_owned),
        1 => value(),
    ];
    let other = string().prop_filter("is one of the two keys", |key| {
        !matches!(serde_json::from_str(key), Ok("id" | "resourceType"))
    });
    let keys = prop_oneof![
        6 => Just((true, true)),
        1 => any::<(bool, bool)>(),
    ];
    (
        id,
        resource_type,
        keys,
        vec(((other, value()), space()), 0..6),
        any::<[Index; 2]>(),
        space(),
        prop_oneof![6 => Just(None), 1 => ((key(), value()), space()).prop_map(Some)],
    )
        .prop_map(
            |(id, resource_type, keys, mut members, places, space, more)| {
                let mut put = |place: Index, key: &str, value: String| {
                    let place = place.index(members.len() + 1);
                    members.insert(place, ((key.to_owned(), value), space));
                };
                if keys.0 {
                    put(places[0], r#""id""#, id);
                }
                if keys.1 {
                    put(places[1], r#""resourceType""#, resource_type);
                }
                members.extend(more);
                object(members)
            },
        )
}

fn front() -> impl Strategy<Value = String> {
    (text(), value())
        .prop_map(|(id, value)| format!(r#"{{"resourceType":"Patient","id":"1{id}","x":{value}}}"#))
}

fn line() -> impl Strategy<Value = Vec<u8>> {
    let good = prop_oneof![2 => front(), 3 => resource()].prop_map(String::into_bytes);
    prop_oneof![
        12 => good.clone(),
        2 => "[ \t\r]{0,3}".prop_map(String::into_bytes),
        1 => (good.clone(), good.clone()).prop_map(|(one, two)| [one, two].concat()),
        1 => (good.clone(), any::<Index>()).prop_map(|(mut line, place)| {
            line.truncate(place.index(line.len()));
            line
        }),
        1 => (good, any::<Index>(), any::<u8>()).prop_map(|(mut line, place, byte)| {
            let place = place.index(line.len());
            line[place] = byte;
            line
        }),
    ]
}

/// A file of such lines, and how it is cut.
fn file() -> impl Strategy<Value = Vec<u8>> {
    let end = select(vec!["\n", "\n", "\n", "\r\n", " \n"]);
    let mark = select(vec!["", "", "\u{feff}", "\u{feff}\u{feff}"]);
    (mark, vec((line(), end), 0..8), any::<bool>()).prop_map(|(mark, lines, newline)| {
        let mut file = mark.as_bytes().to_vec();
        for (line, end) in lines {
            file.extend_from_slice(&line);
            file.extend_from_slice(end.as_bytes());
        }
        if !newline {
            file.pop();
        }
        file
    })
}

/// What a plain parser says of a line.
enum Plain {
    NoObject,
    /// It has one of the keys twice.
    Twice,
    /// Whether the keys are as they must be.
    Object(bool),
}

fn plain(line: &[u8]) -> Plain {
    let members = std::str::from_utf8(line)
        .ok()
        .and_then(|text| serde_json::from_str::<Members>(text).ok());
    let Some(Members(members)) = members else {
        return Plain::NoObject;
    };
    let find = |wanted: &str| {
        let mut found = members.iter().filter(|(key, _)| key == wanted);
        (
            found.next().and_then(|(_, value)| value.as_str()),
            found.next(),
        )
    };
    match (find("resourceType"), find("id")) {
        ((resource_type, None), (id, None)) => {
            Plain::Object(resource_type == Some("Patient") && id.is_some_and(|id| !id.is_empty()))
        }
        _ => Plain::Twice,
    }
}

/// The members of an object in their order, the same key twice included.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> serde::de::Visitor<'de> for Object {
            type Value = Members;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1000,
        // What fails is to be written as a test of its own, not to a file.
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_split_into_chunks_comes_to_the_same(
        validate in modes(),
        file in file(),
        cuts in vec(any::<Index>(), 0..12),
        size in 1usize..40,
    ) {
        let expected = whole(validate, &file);
        let new = || Checker::new("Patient", validate);
        prop_assert_eq!(&run(new(), &cut(&file, &cuts), &mut Vec::new()), &expected);
        let even: Vec<&[u8]> = file.chunks(size).collect();
        prop_assert_eq!(&run(new(), &even, &mut Vec::new()), &expected);
    }

    #[test]
    fn from_any_mark_on_the_rest_is_the_same(
        validate in modes(),
        file in file(),
        cuts in vec(any::<Index>(), 1..6),
        others in vec(any::<Index>(), 0..6),
    ) {
        let expected = whole(validate, &file);
        let mut marks = Vec::new();
        let _ = run(Checker::new("Patient", validate), &cut(&file, &cuts), &mut marks);
        for mark in marks {
            let at = |offset: u64| usize::try_from(offset).unwrap();
            let rest = cut(&file[at(mark.source_offset)..], &others);
            let found = run(Checker::at("Patient", validate, mark), &rest, &mut Vec::new());
            let expected = expected
                .clone()
                .map(|(staged, end)| (staged[at(mark.staged_offset)..].to_vec(), end));
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_plain_parser_comes_to_the_same_verdict(line in line()) {
        if line.trim_ascii().is_empty() || line.contains(&b'\n') {
            return Ok(());
        }
        let json = whole(Validate::Json, &line);
        // At the file's end it is the line's.
        let is_torn = line.split_last().is_some_and(|(_, rest)| rest.contains(&b'\r'));
        match plain(&line) {
            Plain::Object(passes) => {
                prop_assert_eq!(json.is_ok(), passes && !is_torn);
                prop_assert_eq!(whole(Validate::Lines, &line).is_ok(), passes && !is_torn);
                let mut whole = Scanner::whole("Patient");
                prop_assert_eq!(whole.piece(&line, true, false).is_ok(), passes);
            }
            Plain::Twice => prop_assert!(json.is_err()),
            // What is JSON by its grammar alone may be more than a value can hold: half a character, a huge number.
            Plain::NoObject if is_torn => prop_assert!(json.is_err()),
            Plain::NoObject if serde_json::from_slice::<IgnoredAny>(&line).is_ok() => {}
            Plain::NoObject => prop_assert!(json.is_err()),
        }
    }
}
