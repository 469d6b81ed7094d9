//! `pathling-import verify`: what reading back came to.

use std::fmt::Write as _;

use pathling_import_core::steps::{OfType, ReadBack};
use serde_json::{Value, json};

use crate::args::Format;
use crate::words;

/// What there is to tell, as it is to stand on stdout.
pub(crate) fn told(read: &ReadBack, format: Format) -> String {
    match format {
        Format::Human => human(read),
        Format::Json => format!("{}\n", in_json(read)),
    }
}

fn in_json(read: &ReadBack) -> Value {
    let of_type = |it: &OfType| {
        json!({
            "staged": it.staged,
            "read": it.read,
            "equal": it.equal,
            "absent": it.absent,
            "different": it.different,
            "unread": it.unread,
            "elements": it.elements,
            "lines": it.lines,
        })
    };
    let types = read.types.iter();
    let types: serde_json::Map<_, _> = types
        .map(|(name, it)| (name.clone(), of_type(it)))
        .collect();
    json!({"run": read.run, "equal": read.is_equal(), "types": types})
}

fn human(read: &ReadBack) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_human(&mut out, read);
    out
}

fn write_human(out: &mut String, read: &ReadBack) -> std::fmt::Result {
    writeln!(out, "Run {}, read back from the target", read.run)?;
    for (name, it) in &read.types {
        let (name, equal, read, staged) = (words::one_line(name), it.equal, it.read, it.staged);
        writeln!(out, "  {name}: {equal} of {read} equal, of {staged} staged")?;
        for (count, what) in [
            (it.absent, "not at the target"),
            (it.different, "different there"),
            (it.unread, "without an id, or too long to be compared"),
        ] {
            if count > 0 {
                writeln!(out, "    {count} {what}")?;
            }
        }
        for (element, count) in &it.elements {
            let element = words::one_line(element);
            writeln!(out, "    {element} differs in {count}")?;
        }
        for line in &it.lines {
            writeln!(
                out,
                "    {} line {}",
                words::one_line(&line.file),
                line.line
            )?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use pathling_import_core::sync::StagedLine;

    use super::*;

    fn read() -> ReadBack {
        let right = OfType {
            staged: 12,
            read: 10,
            equal: 10,
            ..OfType::default()
        };
        let wrong = OfType {
            staged: 2,
            read: 2,
            different: 1,
            absent: 1,
            elements: [("name.family".to_owned(), 1)].into(),
            lines: vec![StagedLine {
                file: "s3://b/runs/a1/Patient/00000-a.ndjson".to_owned(),
                line: 7,
            }],
            ..OfType::default()
        };
        ReadBack {
            run: "a1".to_owned(),
            types: [("Condition", right), ("Patient", wrong)]
                .map(|(name, it)| (name.to_owned(), it))
                .into(),
        }
    }

    #[test]
    fn a_person_reads_what_differs_and_where_it_is_staged() {
        assert_eq!(
            told(&read(), Format::Human),
            "Run a1, read back from the target\n  \
             Condition: 10 of 10 equal, of 12 staged\n  \
             Patient: 0 of 2 equal, of 2 staged\n    \
             1 not at the target\n    \
             1 different there\n    \
             name.family differs in 1\n    \
             s3://b/runs/a1/Patient/00000-a.ndjson line 7\n"
        );
    }

    #[test]
    fn a_program_reads_the_same() {
        let said: Value = serde_json::from_str(&told(&read(), Format::Json)).unwrap();
        assert_eq!(said["equal"], false);
        assert_eq!(said["types"]["Patient"]["elements"]["name.family"], 1);
        assert_eq!(said["types"]["Condition"]["equal"], 10);
    }
}
