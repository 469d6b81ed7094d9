//! Habits: what single vendors' servers do that others do not, each a switch of its own like any [`Fault`].
//!
//! Most of them are no mistakes: a server may serve groups alone, or keep its files as `Binary` resources. A vendor's
//! habits together are its profile (`profiles`).

use std::fmt::Write as _;

use crate::faults::Fault;

/// One thing that a source makes a habit of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Habit {
    /// Exports are had at these levels alone, of `system`, `patient` and `group`. `export-levels=LEVEL,LEVEL`
    Levels(String),
    /// `_outputFormat` may be this and nothing else. `kick-off-format=FORMAT`
    Format(String),
    /// The export of a group wants this parameter. `group-wants=PARAMETER`
    GroupWants(String),
    /// This parameter may come once in a kick-off, and not be repeated. `kick-off-once=PARAMETER`
    Once(String),
    /// While an export runs, another is refused: 429.
    OneExportAtATime,
    /// A group that was exported is not exported again the same day: this status. `group-once-a-day[=STATUS]`
    GroupOnceADay(u16),
    /// A poll's 202 says this in `X-Progress`. `progress-says=TEXT`
    Progress(String),
    /// The 202 answers to polls say these in `Retry-After`, one after the other, and the last again.
    /// `retry-after-says=VALUE|VALUE`
    RetryAfter(String),
    /// An export without resources has no `output`.
    EmptyWithoutOutput,
    /// `transactionTime` is when the export was complete, and not when it began.
    TransactionTimeAtEnd,
    /// The URLs that the source gives name it `localhost`, whatever it was called: a host name of its own, which the
    /// proxy before it does not change.
    InternalHost,
    /// Files are `Binary` resources: who does not ask for NDJSON gets one as JSON.
    FilesAsBinary,
    /// A file is had with this media type in `Accept` alone: 406. `files-want-accept=TYPE`
    FilesWantAccept(String),
    /// Files lie in S3, and the manifest names them by `s3://` URLs.
    FilesInS3,
    /// The bucket of `FilesInS3` refuses to be read: 400 for a session that has expired, 403, or 301, which says that it is
    /// elsewhere. `export-bucket-answers=STATUS`
    ExportBucketAnswers(u16),
    /// A kick-off is a POST of a JSON object with these members, and its parameters are in the query.
    /// `kick-off-wants-document=MEMBER,MEMBER`
    KickOffDocument(String),
    /// Every so many downloads one is answered 500, without saying why. `files-fail-every=N`
    FilesFailEvery(usize),
    /// The `CapabilityStatement` says nothing about exports.
    MetadataSilent,
}

/// How they are written.
pub(crate) const NAMES: [&str; 18] = [
    "export-levels=LEVEL,LEVEL",
    "kick-off-format=FORMAT",
    "group-wants=PARAMETER",
    "kick-off-once=PARAMETER",
    "one-export-at-a-time",
    "group-once-a-day[=STATUS]",
    "progress-says=TEXT",
    "retry-after-says=VALUE|VALUE",
    "empty-without-output",
    "transaction-time-at-end",
    "internal-host",
    "files-as-binary",
    "files-want-accept=TYPE",
    "files-in-s3",
    "export-bucket-answers=STATUS",
    "kick-off-wants-document=MEMBER,MEMBER",
    "files-fail-every=N",
    "metadata-silent",
];

/// What a group that is asked for again is refused with, where that is not said.
const TOO_RECENT: u16 = 400;

/// The name with its argument.
pub(crate) fn name(habit: &Habit) -> String {
    let (name, argument) = match habit {
        Habit::Levels(levels) => ("export-levels", levels.clone()),
        Habit::Format(format) => ("kick-off-format", format.clone()),
        Habit::GroupWants(parameter) => ("group-wants", parameter.clone()),
        Habit::Once(parameter) => ("kick-off-once", parameter.clone()),
        Habit::GroupOnceADay(status) if *status == TOO_RECENT => {
            ("group-once-a-day", String::new())
        }
        Habit::GroupOnceADay(status) => ("group-once-a-day", status.to_string()),
        Habit::Progress(text) => ("progress-says", text.clone()),
        Habit::RetryAfter(values) => ("retry-after-says", values.clone()),
        Habit::FilesWantAccept(kind) => ("files-want-accept", kind.clone()),
        Habit::ExportBucketAnswers(status) => ("export-bucket-answers", status.to_string()),
        Habit::KickOffDocument(members) => ("kick-off-wants-document", members.clone()),
        Habit::FilesFailEvery(number) => ("files-fail-every", number.to_string()),
        Habit::OneExportAtATime => ("one-export-at-a-time", String::new()),
        Habit::EmptyWithoutOutput => ("empty-without-output", String::new()),
        Habit::TransactionTimeAtEnd => ("transaction-time-at-end", String::new()),
        Habit::InternalHost => ("internal-host", String::new()),
        Habit::FilesAsBinary => ("files-as-binary", String::new()),
        Habit::FilesInS3 => ("files-in-s3", String::new()),
        Habit::MetadataSilent => ("metadata-silent", String::new()),
    };
    let mut text = name.to_owned();
    if !argument.is_empty() {
        let _ = write!(text, "={argument}");
    }
    text
}

/// The habit of that name, or what it wants; None where it is none of these.
pub(crate) fn parse(name: &str, argument: Option<&str>) -> Option<Result<Fault, &'static str>> {
    let text = argument.unwrap_or_default();
    let named = |habit: fn(String) -> Habit| {
        if text.is_empty() {
            Err("something behind its =")
        } else {
            Ok(habit(text.to_owned()))
        }
    };
    let plain = |habit: Habit| match argument {
        None => Ok(habit),
        Some(_) => Err("no argument"),
    };
    let habit = match name {
        "export-levels" => levels(text),
        "kick-off-format" => named(Habit::Format),
        "group-wants" => named(Habit::GroupWants),
        "kick-off-once" => named(Habit::Once),
        "one-export-at-a-time" => plain(Habit::OneExportAtATime),
        "group-once-a-day" => match argument {
            None => Ok(Habit::GroupOnceADay(TOO_RECENT)),
            Some(status) => status
                .parse()
                .map(Habit::GroupOnceADay)
                .map_err(|_| "nothing or a status"),
        },
        "progress-says" => named(Habit::Progress),
        "retry-after-says" => named(Habit::RetryAfter),
        "empty-without-output" => plain(Habit::EmptyWithoutOutput),
        "transaction-time-at-end" => plain(Habit::TransactionTimeAtEnd),
        "internal-host" => plain(Habit::InternalHost),
        "files-as-binary" => plain(Habit::FilesAsBinary),
        "files-want-accept" => named(Habit::FilesWantAccept),
        "files-in-s3" => plain(Habit::FilesInS3),
        "export-bucket-answers" => match text.parse() {
            Ok(status @ (301 | 400 | 403)) => Ok(Habit::ExportBucketAnswers(status)),
            _ => Err("301, 400 or 403"),
        },
        "kick-off-wants-document" => named(Habit::KickOffDocument),
        "files-fail-every" => match text.parse() {
            Ok(number) if number > 0 => Ok(Habit::FilesFailEvery(number)),
            _ => Err("a number above 0"),
        },
        "metadata-silent" => plain(Habit::MetadataSilent),
        _ => return None,
    };
    Some(habit.map(Fault::Habit))
}

fn levels(text: &str) -> Result<Habit, &'static str> {
    let known = |level: &str| ["system", "patient", "group"].contains(&level);
    if text.split(',').all(known) {
        Ok(Habit::Levels(text.to_owned()))
    } else {
        Err("levels: system, patient, group")
    }
}

impl From<Habit> for Fault {
    fn from(habit: Habit) -> Self {
        Self::Habit(habit)
    }
}

impl crate::faults::Faults {
    /// Whether the source has this habit.
    pub(crate) fn has(&self, habit: &Habit) -> bool {
        self.habit(|known| (known == habit).then_some(())).is_some()
    }

    /// What `wanted` wants of the source's habits.
    pub(crate) fn habit<T>(&self, wanted: impl Fn(&Habit) -> Option<T>) -> Option<T> {
        self.peek(|fault| match fault {
            Fault::Habit(habit) => wanted(habit),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_name_leads_back_to_its_habit() {
        for text in [
            "export-levels=patient,group",
            "kick-off-format=ndjson",
            "group-wants=organizeOutputBy",
            "kick-off-once=_type",
            "one-export-at-a-time",
            "group-once-a-day",
            "group-once-a-day=429",
            "progress-says=half of it",
            "retry-after-says=0|-1",
            "empty-without-output",
            "transaction-time-at-end",
            "internal-host",
            "files-as-binary",
            "files-want-accept=application/fhir+ndjson",
            "files-in-s3",
            "export-bucket-answers=301",
            "kick-off-wants-document=JobName,OutputDataConfig",
            "files-fail-every=3",
            "metadata-silent",
        ] {
            let fault: Fault = text.parse().unwrap();
            assert!(matches!(fault, Fault::Habit(_)), "{text}");
            assert_eq!(fault.name(), text);
            let name = text.split('=').next().unwrap();
            assert!(
                NAMES.iter().any(|known| known.starts_with(name)),
                "{text} is not among the names"
            );
        }
    }

    #[test]
    fn a_wrong_argument_is_refused() {
        for text in [
            "export-levels",
            "export-levels=planet",
            "kick-off-format",
            "files-fail-every=0",
            "export-bucket-answers=200",
            "group-once-a-day=often",
            "internal-host=1",
        ] {
            assert!(text.parse::<Fault>().is_err(), "{text}");
        }
    }
}
