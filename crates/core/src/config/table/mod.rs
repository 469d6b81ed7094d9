//! The one table of settings: name, kind, default, meaning, and which steps need it.
//!
//! Parsing, error messages, the command's `--help` and `docs/configuration.md` all come from [`SETTINGS`].

mod rows;

use std::fmt::Write as _;

use rows::ALL;
pub use rows::SETTINGS;

/// An entry point that reads settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// `fhir-export`
    FhirExport,
    /// `check-export-status`
    CheckExportStatus,
    /// `transfer-to-s3`
    TransferToS3,
    /// `pathling-import`
    PathlingImport,
    /// `check-import-status`
    CheckImportStatus,
    /// The command, which does all five.
    Command,
}

impl Step {
    /// The five steps, in the order of the data.
    pub const FIVE: [Self; 5] = [
        Self::FhirExport,
        Self::CheckExportStatus,
        Self::TransferToS3,
        Self::PathlingImport,
        Self::CheckImportStatus,
    ];

    /// The function's name in the public contract.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::FhirExport => "fhir-export",
            Self::CheckExportStatus => "check-export-status",
            Self::TransferToS3 => "transfer-to-s3",
            Self::PathlingImport => "pathling-import",
            Self::CheckImportStatus => "check-import-status",
            Self::Command => "the command",
        }
    }
}

impl Step {
    fn in_docs(self) -> String {
        match self {
            Self::Command => "the command".to_owned(),
            step => format!("`{}`", step.name()),
        }
    }
}

/// What a setting's text must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Form {
    /// An `http` or `https` URL without user, query or fragment.
    Url,
    /// A FHIR instant: date, time with seconds, and a zone.
    Instant,
    /// A FHIR instant, or the word `auto`.
    Since,
    /// A whole number of minutes, hours, days or weeks, such as `30d`.
    Period,
    /// Resource types, separated by commas.
    Types,
    /// Any text.
    Text,
    /// Any text, never shown.
    Secret,
    /// `true` or `false`.
    Flag,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A whole number in this range.
    Whole(u32, u32),
    /// A number of seconds in this range; fractions are allowed.
    Seconds(f64, f64),
    /// A factor in this range.
    Factor(f64, f64),
    /// A number of bytes in this range, with the unit `KiB`, `MiB` or `GiB`.
    Bytes(u64, u64),
    /// The word, or a whole number in this range.
    WordOrWhole(&'static str, u32, u32),
    /// Origins (`https://host[:port]`), separated by commas; for the source also buckets (`s3://bucket`).
    Origins,
    /// `s3://bucket/prefix`, `file:///folder` or a path.
    Place,
    /// An `http` or `https` URL, which may be signed, or a file.
    Manifest,
    /// `system`, `patient` or `group/[id]`.
    Level,
    /// The name of a resource type.
    Type,
    /// FHIR searches, `[type]?[query]`, separated by white space; not shown, for values may be about a person.
    Searches,
    /// Names or codes, separated by commas.
    Names,
    /// References to patients or their ids, separated by commas or white space; not shown.
    Patients,
    /// Names and values as in a URL's query; not shown.
    Query,
    /// A JSON object; not shown, for only its reader knows what is in it.
    Document,
    /// `Name: value` pairs, separated by line ends or semicolons; never shown.
    Headers,
}

/// Whether a step can do without.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Need {
    /// The steps in `required_by` stop without it.
    Required,
    /// As `Required`, unless the named setting is `false`.
    RequiredUnlessOff(&'static str),
    /// Nobody stops without it: this default holds, or nothing (shown as these words).
    Default(&'static str),
    /// Nobody stops without it; the words say what its absence means.
    Absent(&'static str),
}

/// One row: everything that the program knows about a setting.
#[derive(Debug)]
pub struct Setting {
    /// The name in the environment, e.g. `SOURCE_ENDPOINT`.
    pub name: &'static str,
    /// What its text must be.
    pub form: Form,
    /// Whether it can be left out.
    pub need: Need,
    /// The steps that read it (the command reads all).
    pub read_by: &'static [Step],
    /// Those of them that stop without it.
    pub required_by: &'static [Step],
    /// Settings of which any makes this one needless.
    pub instead: &'static [&'static str],
    /// What it is for, in one sentence.
    pub help: &'static str,
}

impl Setting {
    /// The name in a JSON file: `SOURCE_ENDPOINT` is `sourceEndpoint` there.
    #[must_use]
    pub fn camel(&self) -> String {
        let mut out = String::with_capacity(self.name.len());
        for (index, word) in self.name.split('_').enumerate() {
            let lower = word.to_ascii_lowercase();
            let mut chars = lower.chars();
            match chars.next() {
                Some(first) if index > 0 => out.push(first.to_ascii_uppercase()),
                Some(first) => out.push(first),
                None => {}
            }
            out.push_str(chars.as_str());
        }
        out
    }

    /// Whether this entry point reads the setting.
    #[must_use]
    pub fn is_read_by(&self, step: Step) -> bool {
        step == Step::Command || self.read_by.contains(&step)
    }

    /// Whether this entry point stops without it (the condition of [`Need::RequiredUnlessOff`] apart).
    #[must_use]
    pub fn is_required_by(&self, step: Step) -> bool {
        !self.required_by.is_empty() && (step == Step::Command || self.required_by.contains(&step))
    }

    /// What holds without it, in words.
    #[must_use]
    pub fn without(&self) -> String {
        match self.need {
            Need::Required if self.instead.is_empty() => "required".to_owned(),
            Need::Required => format!("required unless `{}` is set", self.instead.join("`, `")),
            Need::RequiredUnlessOff(flag) => {
                let mut text = format!("required unless `{flag}` is `false`");
                if !self.instead.is_empty() {
                    let _ = write!(text, " or one of `{}` is set", self.instead.join("`, `"));
                }
                text
            }
            Need::Default(text) => format!("`{text}`"),
            Need::Absent(words) => words.to_owned(),
        }
    }

    /// What is expected of its text, in words.
    #[must_use]
    pub fn expects(&self) -> String {
        match self.form {
            Form::Url => "an http or https URL without user, query or fragment".to_owned(),
            Form::Instant => "a FHIR instant such as 2026-01-31T00:00:00Z".to_owned(),
            Form::Since => {
                "auto, or a FHIR instant such as 2026-01-31T00:00:00Z".to_owned()
            }
            Form::Period => "a period such as 30d, 12h or 2w".to_owned(),
            Form::Types => {
                "resource types separated by commas, such as Patient,Observation".to_owned()
            }
            Form::Text | Form::Secret => "a text".to_owned(),
            Form::Flag => "true or false".to_owned(),
            Form::Choice(words) => words.join(" or "),
            Form::Whole(min, max) => format!("a whole number from {min} to {max}"),
            Form::Seconds(min, max) => format!("a number of seconds from {min} to {max}"),
            Form::Factor(min, max) => format!("a number from {min} to {max}"),
            Form::Bytes(min, max) => {
                format!("a size such as 32MiB, from {} to {}", size(min), size(max))
            }
            Form::WordOrWhole(word, min, max) => {
                format!("{word}, or a whole number from {min} to {max}")
            }
            Form::Origins => {
                "origins such as https://files.example.org, separated by commas".to_owned()
            }
            Form::Place => "s3://bucket/prefix, file:///folder or a path".to_owned(),
            Form::Manifest => "an http or https URL, or a file,".to_owned(),
            Form::Type => "a resource type such as Patient".to_owned(),
            Form::Level => "system, patient or group/[id]".to_owned(),
            Form::Searches => {
                "searches such as Observation?code=1,2, separated by white space (a space in one is %20),".to_owned()
            }
            Form::Names => "names separated by commas".to_owned(),
            Form::Patients => {
                "ids or references such as Patient/123, separated by commas,".to_owned()
            }
            Form::Query => "names and values such as a=1&b=2".to_owned(),
            Form::Document => "a JSON object".to_owned(),
            Form::Headers => "Name: value, several separated by semicolons or line ends,".to_owned(),
        }
    }

    /// What it is, for people who read it as plain text: without Markdown, and with the documents' names for links to them.
    #[must_use]
    pub fn plain_help(&self) -> String {
        let mut out = String::new();
        let mut rest = self.help;
        while let Some((before, name, after)) = first_link(rest) {
            out.push_str(before);
            out.push_str("docs/");
            out.push_str(name);
            rest = after;
        }
        out.push_str(rest);
        out.replace('`', "")
    }

    /// What separates the items of a JSON array when they are one text, where the form takes several.
    pub(super) fn separator(&self) -> Option<&'static str> {
        match self.form {
            Form::Types | Form::Origins | Form::Names | Form::Patients => Some(","),
            Form::Searches | Form::Headers => Some("\n"),
            _ => None,
        }
    }

    /// Whether a message may quote the text: a URL may hold a password, a search a person's name, and a secret is one.
    pub(super) fn may_be_quoted(&self) -> bool {
        !matches!(
            self.form,
            Form::Secret
                | Form::Url
                | Form::Origins
                | Form::Text
                | Form::Place
                | Form::Manifest
                | Form::Searches
                | Form::Patients
                | Form::Query
                | Form::Document
                | Form::Headers
        )
    }
}

/// What stands before the first link of a text, the name that it shows, and what stands behind it.
fn first_link(text: &str) -> Option<(&str, &str, &str)> {
    let (shown, rest) = text.split_once("](")?;
    let (before, name) = shown.rsplit_once('[')?;
    let (_, after) = rest.split_once(')')?;
    Some((before, name, after))
}

/// A number of bytes as a person writes it: `32MiB`.
fn size(bytes: u64) -> String {
    if bytes.is_multiple_of(1 << 30) {
        format!("{}GiB", bytes >> 30)
    } else {
        format!("{}MiB", bytes >> 20)
    }
}

/// The row of this name in the environment.
#[must_use]
pub fn setting(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

/// The table of `docs/configuration.md`.
#[must_use]
pub fn markdown() -> String {
    let mut out = String::from(
        "| environment | JSON file | without it | read by | what it is |\n|---|---|---|---|---|\n",
    );
    for setting in SETTINGS {
        let names = |steps: &[Step]| match steps {
            all if all == ALL => "all".to_owned(),
            some => some
                .iter()
                .map(|step| step.in_docs())
                .collect::<Vec<_>>()
                .join(", "),
        };
        let steps = names(setting.read_by);
        let mut without = setting.without();
        if !setting.required_by.is_empty() && setting.required_by != setting.read_by {
            let _ = write!(without, " by {}", names(setting.required_by));
        }
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "| `{}` | `{}` | {} | {} | {} |",
            setting.name,
            setting.camel(),
            without,
            steps,
            setting.help
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_a_file_are_the_same_names_in_lower_camel_case() {
        let name = |name| setting(name).map(Setting::camel);
        assert_eq!(
            name("EXPORT_RETRY_BACK_OFF").as_deref(),
            Some("exportRetryBackOff")
        );
        assert_eq!(name("TYPES").as_deref(), Some("types"));
    }

    #[test]
    fn a_link_is_a_documents_name_in_plain_text() {
        let link = "(see `X`). [exports.md](exports.md#a-b) says more, [a.md](a.md) too.";
        let setting = Setting {
            help: link,
            ..*setting("TYPES").unwrap()
        };
        assert_eq!(
            setting.plain_help(),
            "(see X). docs/exports.md says more, docs/a.md too."
        );
        for setting in SETTINGS {
            assert!(!setting.plain_help().contains("]("), "{}", setting.name);
        }
    }

    #[test]
    fn no_two_settings_share_a_name() {
        for setting in SETTINGS {
            assert_eq!(
                SETTINGS
                    .iter()
                    .filter(|other| other.name == setting.name)
                    .count(),
                1
            );
        }
    }
}
