//! The one table of settings: name, kind, default, meaning, and which steps need it.
//!
//! Parsing, error messages, the command's `--help` and `docs/configuration.md` all come from [`SETTINGS`].

use std::fmt::Write as _;

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
    /// Origins (`https://host[:port]`), separated by commas.
    Origins,
    /// `s3://bucket/prefix`, `file:///folder` or a path.
    Place,
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
    /// What it is for, in one sentence.
    pub help: &'static str,
}

use Step::{
    CheckExportStatus, CheckImportStatus, Command, FhirExport, PathlingImport, TransferToS3,
};

const SOURCE: &[Step] = &[FhirExport, CheckExportStatus, TransferToS3];
const TARGET: &[Step] = &[PathlingImport, CheckImportStatus];
const ALL: &[Step] = &Step::FIVE;
const COMMAND: &[Step] = &[Command];

const fn optional(
    name: &'static str,
    form: Form,
    need: Need,
    read_by: &'static [Step],
    help: &'static str,
) -> Setting {
    Setting {
        name,
        form,
        need,
        read_by,
        required_by: &[],
        help,
    }
}

const fn required(
    name: &'static str,
    form: Form,
    need: Need,
    read_by: &'static [Step],
    required_by: &'static [Step],
    help: &'static str,
) -> Setting {
    Setting {
        name,
        form,
        need,
        read_by,
        required_by,
        help,
    }
}

const TIMES: Form = Form::Whole(0, 1_000_000);
const WAIT: Form = Form::Seconds(0.0, 604_800.0);
const BACK_OFF: Form = Form::Factor(1.0, 10.0);

/// Every setting there is.
#[rustfmt::skip]
pub const SETTINGS: &[Setting] = &[
    required("SOURCE_ENDPOINT", Form::Url, Need::Required, SOURCE, SOURCE,
        "The base URL of the FHIR server that is exported, e.g. `https://fhir.example.org/fhir`."),
    optional("TYPES", Form::Types, Need::Absent("all"), &[FhirExport],
        "The resource types to export, separated by commas."),
    optional("SINCE", Form::Instant, Need::Absent("none: a full export"), &[FhirExport, TransferToS3],
        "A FHIR instant: only resources that changed after it are exported, and the import is a merge. `transfer-to-s3` reads it for the import mode when nothing better tells it."),
    required("SOURCE_CLIENT_ID", Form::Text, Need::RequiredUnlessOff("SOURCE_AUTHENTICATION_ENABLED"), SOURCE, SOURCE,
        "The OAuth2 client's id at the source."),
    required("SOURCE_CLIENT_SECRET", Form::Secret, Need::RequiredUnlessOff("SOURCE_AUTHENTICATION_ENABLED"), SOURCE, SOURCE,
        "The OAuth2 client's secret at the source."),
    required("SOURCE_SCOPES", Form::Text, Need::RequiredUnlessOff("SOURCE_AUTHENTICATION_ENABLED"), SOURCE, SOURCE,
        "The scopes to ask for, separated by spaces, e.g. `system/*.read`."),
    optional("SOURCE_AUTHENTICATION_ENABLED", Form::Flag, Need::Default("true"), SOURCE,
        "Whether the source wants a token."),
    required("STAGING_URL", Form::Place, Need::Required, ALL, &[TransferToS3, Command],
        "Where files and state rest: `s3://bucket/prefix`, `file:///folder` or a path. The steps other than `transfer-to-s3` keep the run's record there, and can do without."),
    required("TARGET_ENDPOINT", Form::Url, Need::Required, &[FhirExport, PathlingImport, CheckImportStatus], TARGET,
        "The base URL of Pathling's FHIR API, e.g. `https://pathling.example.org/fhir`. `fhir-export` reads the address only, to tell one synchronisation from another."),
    required("TARGET_CLIENT_ID", Form::Text, Need::RequiredUnlessOff("TARGET_AUTHENTICATION_ENABLED"), TARGET, TARGET,
        "The OAuth2 client's id at the target."),
    required("TARGET_CLIENT_SECRET", Form::Secret, Need::RequiredUnlessOff("TARGET_AUTHENTICATION_ENABLED"), TARGET, TARGET,
        "The OAuth2 client's secret at the target."),
    optional("TARGET_SCOPES", Form::Text, Need::Default("user/*.write"), TARGET,
        "The scopes to ask for, separated by spaces. Pathling Server 2 wants `pathling:import pathling:write`."),
    optional("TARGET_AUTHENTICATION_ENABLED", Form::Flag, Need::Default("true"), TARGET,
        "Whether the target wants a token."),
    optional("IMPORT_MODE", Form::Choice(&["merge", "overwrite"]), Need::Default("merge"), &[TransferToS3],
        "How a full export is imported: `merge` updates by id and deletes nothing, `overwrite` replaces each type that has resources. A delta is always merged."),
    optional("ALLOW_PARTIAL_OVERWRITE", Form::Flag, Need::Default("false"), &[TransferToS3],
        "Lets `IMPORT_MODE=overwrite` hold for a delta too, which leaves in the target nothing but the delta."),
    optional("TARGET_DIALECT", Form::Choice(&["auto", "7", "2"]), Need::Default("auto"), &[TransferToS3, PathlingImport, CheckImportStatus],
        "Which Pathling the target is: `7` (Pathling 7), `2` (Pathling Server 2), or `auto`, which asks its `metadata`."),
    optional("TARGET_STAGING_URL", Form::Place, Need::Absent("`STAGING_URL`"), &[TransferToS3],
        "The same place as `STAGING_URL`, as the target sees it (another mount point, or `s3a://`)."),
    optional("UNSUPPORTED_TYPES", Form::Choice(&["skip", "fail"]), Need::Default("skip"), &[TransferToS3, PathlingImport],
        "What to do with a type that the target cannot hold: leave it out and say so, or stop."),
    optional("SOURCE_TRUSTED_ORIGINS", Form::Origins, Need::Absent("none"), SOURCE,
        "Further origins, e.g. `https://files.example.org`, that may get the source's token. Its own and its token endpoint's always may."),
    optional("TARGET_TRUSTED_ORIGINS", Form::Origins, Need::Absent("none"), TARGET,
        "Further origins that may get the target's token."),
    optional("ALLOW_PLAINTEXT", Form::Flag, Need::Default("false"), ALL,
        "Lets credentials go over plain HTTP to hosts other than this one. For closed networks only."),
    optional("CONNECT_TIMEOUT", Form::Seconds(0.05, 600.0), Need::Default("10"), ALL,
        "How many seconds a connection to source or target may take to come about."),
    optional("IDLE_TIMEOUT", Form::Seconds(0.05, 3600.0), Need::Default("60"), ALL,
        "How many seconds source or target may stay silent in the middle of an answer, or before it."),
    optional("SENTRY_DSN", Form::Secret, Need::Absent("none: nothing is reported"), ALL,
        "Where failures are reported to, as Sentry gives it."),
    optional("SENTRY_ENVIRONMENT", Form::Text, Need::Absent("none"), ALL,
        "The environment's name in what is reported, e.g. `production`."),
    optional("SENTRY_RELEASE", Form::Text, Need::Absent("this program's version"), ALL,
        "The release in what is reported."),
    optional("EXPORT_RETRY_TIMES", TIMES, Need::Default("24"), COMMAND,
        "How many times the command waits for the export before it gives up; 0 means not at all. The defaults make six hours."),
    optional("EXPORT_RETRY_WAIT", WAIT, Need::Default("900"), COMMAND,
        "How many seconds it waits the first time, where the source does not say."),
    optional("EXPORT_RETRY_BACK_OFF", BACK_OFF, Need::Default("1.0"), COMMAND,
        "Each further wait is this many times the one before; 1.0 makes all equal."),
    optional("TRANSFER_RETRY_TIMES", TIMES, Need::Default("24"), COMMAND,
        "How many times the command goes on after `TRANSFER_DEADLINE` before it gives up; 0 means not at all. What failed for a passing reason is tried again five times at most, and no more often than this."),
    optional("TRANSFER_RETRY_WAIT", WAIT, Need::Default("900"), COMMAND,
        "How many seconds it waits the first time after `TRANSFER_DEADLINE`; after a failure it waits a minute at most, then twice as long each time."),
    optional("TRANSFER_RETRY_BACK_OFF", BACK_OFF, Need::Default("1.0"), COMMAND,
        "Each further wait is this many times the one before; 1.0 makes all equal."),
    optional("IMPORT_RETRY_TIMES", TIMES, Need::Default("24"), COMMAND,
        "How many times the command waits for the import before it gives up; 0 means not at all. The defaults make six hours."),
    optional("IMPORT_RETRY_WAIT", WAIT, Need::Default("900"), COMMAND,
        "How many seconds it waits the first time, where the target does not say."),
    optional("IMPORT_RETRY_BACK_OFF", BACK_OFF, Need::Default("1.0"), COMMAND,
        "Each further wait is this many times the one before; 1.0 makes all equal."),
    optional("TRANSFER_MEMORY", Form::Bytes(20 << 20, 64 << 30), Need::Default("32MiB"), &[TransferToS3],
        "How much memory all files in flight may take together for what is on its way from the source to staging. A part is at most a quarter of it, and a file at most 10,000 parts: 32 MiB do for files of 78 GiB."),
    optional("TRANSFER_CONCURRENCY", Form::WordOrWhole("auto", 1, 256), Need::Default("auto"), &[TransferToS3],
        "How many requests a server gets at once. `auto` begins with a few, asks for more while that makes the transfer faster, and for fewer as soon as a server says that it is too much."),
    optional("TRANSFER_DEADLINE", Form::Seconds(1.0, 604_800.0), Need::Absent("none; on Lambda, the function's own timeout"), &[TransferToS3],
        "After how many seconds a transfer stops and says how far it is. The next one goes on from there, in the middle of a file too."),
    optional("VALIDATE", Form::Choice(&["lines", "json", "none"]), Need::Default("lines"), &[TransferToS3],
        "How closely files are looked at: `lines` checks of every line that it is one JSON object's text of the declared type with an `id`, `json` parses it whole, and `none` only counts."),
    optional("STAGING_CHECKSUM", Form::Choice(&["crc64nvme", "crc32", "none"]), Need::Default("crc64nvme"), &[TransferToS3],
        "The checksum of every file that S3 is told to compare. For stores that know only `crc32`, or refuse a right one."),
    optional("TRANSFER_BATCHES", Form::Flag, Need::Default("false"), &[CheckExportStatus],
        "Whether `check-export-status` writes batches of the manifest's files for the workers of the distributed workflow."),
    optional("RETRY_AFTER_MAX", WAIT, Need::Default("21600"), &[TransferToS3, Command],
        "The longest that a server's Retry-After is obeyed, in seconds."),
];

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
        step == Command || self.read_by.contains(&step)
    }

    /// Whether this entry point stops without it (the condition of [`Need::RequiredUnlessOff`] apart).
    #[must_use]
    pub fn is_required_by(&self, step: Step) -> bool {
        !self.required_by.is_empty() && (step == Command || self.required_by.contains(&step))
    }

    /// What holds without it, in words.
    #[must_use]
    pub fn without(&self) -> String {
        match self.need {
            Need::Required => "required".to_owned(),
            Need::RequiredUnlessOff(flag) => format!("required unless `{flag}` is `false`"),
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
        }
    }
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
