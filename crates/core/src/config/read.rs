//! Reading settings: from a JSON file first, then from the environment, each by its row of the table.
//!
//! Everything that is wrong is collected, so that one error lists it all by the name that the person wrote, and where.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use url::Url;

use super::Place;
use super::parse::{Pairs, bytes, instant_in_utc, parse_url, period};
use super::sync::AUTO;
use super::table::{Form, Need, SETTINGS, Setting, Step, setting};
use crate::error::{Error, Kind, Result};

/// How like the name of a setting a name must be, from 0 to 1, to be taken for a misspelling of it.
const NEAR: f64 = 0.85;

/// Where a value was found, for messages.
struct Found {
    text: String,
    written: String,
}

/// The texts of all settings, and what was found to be wrong so far.
pub(super) struct Reader {
    step: Step,
    found: BTreeMap<&'static str, Found>,
    file: Option<String>,
    problems: Vec<String>,
}

impl Reader {
    /// Takes the texts from `environment` and, before it, from the JSON `file`. A broken file fails at once: nothing
    /// that it meant to say is known.
    pub(super) fn new(
        step: Step,
        environment: &BTreeMap<String, String>,
        file: Option<&Path>,
    ) -> Result<Self> {
        let mut reader = Self {
            step,
            found: BTreeMap::new(),
            file: file.map(|path| path.display().to_string()),
            problems: Vec::new(),
        };
        if let Some(path) = file {
            reader.read_file(path)?;
        }
        for row in SETTINGS {
            if reader.found.contains_key(row.name) {
                continue;
            }
            if let Some(text) = environment
                .get(row.name)
                .map(|text| text.trim())
                .filter(|text| !text.is_empty())
            {
                let written = format!("{} in the environment", row.name);
                reader.found.insert(
                    row.name,
                    Found {
                        text: text.to_owned(),
                        written,
                    },
                );
            }
        }
        Ok(reader)
    }

    fn read_file(&mut self, path: &Path) -> Result<()> {
        let shown = path.display();
        let fail = |what: String| {
            Kind::Configuration
                .error(what)
                .next("Name a file that holds one JSON object of settings.")
        };
        let bytes = std::fs::read(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                fail(format!("the configuration file {shown} does not exist"))
            }
            std::io::ErrorKind::IsADirectory => {
                fail(format!("{shown} is a directory, not a configuration file"))
            }
            _ => fail(format!(
                "the configuration file {shown} cannot be read: {error}"
            )),
        })?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Err(fail(format!("the configuration file {shown} is empty")));
        }
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        let pairs: Pairs = serde_json::from_slice(text).map_err(|error| {
            // The parser's own message may quote the text; its place is enough.
            let place = format!("line {}, column {}", error.line(), error.column());
            if error.is_data() {
                fail(format!(
                    "the configuration file {shown} does not hold a JSON object ({place})"
                ))
            } else {
                fail(format!(
                    "the configuration file {shown} is not JSON ({place})"
                ))
            }
        })?;
        for (key, value) in pairs.0 {
            self.take(&key, &value, &shown.to_string());
        }
        Ok(())
    }

    fn take(&mut self, key: &str, value: &Value, file: &str) {
        let Some(row) = SETTINGS.iter().find(|row| row.camel() == key) else {
            let meant = plain(key);
            let likeness = |name: &str| strsim::jaro_winkler(&plain(name), &meant);
            let nearest = SETTINGS
                .iter()
                .map(Setting::camel)
                .max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
            let hint = match nearest {
                _ if meant.starts_with("aws") => {
                    "; settings of the AWS SDK are read from the environment alone".to_owned()
                }
                Some(name) if likeness(&name) >= NEAR => {
                    format!("; the nearest setting is \"{name}\"")
                }
                _ => "; pathling-import --help lists all settings".to_owned(),
            };
            self.problems
                .push(format!("\"{key}\" in {file} is no setting{hint}"));
            return;
        };
        let written = format!("\"{key}\" in {file}");
        let text = match value {
            Value::Null => return,
            Value::String(text) => text.trim().to_owned(),
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            Value::Array(items)
                if row.separator().is_some() && items.iter().all(Value::is_string) =>
            {
                items
                    .iter()
                    .filter_map(Value::as_str)
                    .collect::<Vec<_>>()
                    .join(row.separator().unwrap_or_default())
            }
            Value::Object(members)
                if row.form == Form::Headers && members.values().all(Value::is_string) =>
            {
                members
                    .iter()
                    .filter_map(|(name, value)| Some(format!("{name}: {}", value.as_str()?)))
                    .collect::<Vec<_>>()
                    .join("\n")
            }
            Value::Object(_) if row.form == Form::Document => value.to_string(),
            Value::Array(_) | Value::Object(_) => {
                self.problems.push(format!(
                    "{written} is a JSON {}; {} is expected",
                    json_type(value),
                    row.expects()
                ));
                return;
            }
        };
        if self.found.contains_key(row.name) {
            self.problems.push(format!("{written} is given twice"));
        } else if !text.is_empty() {
            self.found.insert(row.name, Found { text, written });
        }
    }

    /// The text of a setting that this step reads, or its default, with where it came from; notes what is missing.
    fn text(&mut self, name: &'static str) -> Option<(&'static Setting, String, String)> {
        let row = setting(name)?;
        if !row.is_read_by(self.step) {
            return None;
        }
        if let Some(found) = self.found.get(name) {
            return Some((row, found.text.clone(), found.written.clone()));
        }
        let missing = match row.need {
            Need::Default(text) => {
                return Some((row, text.to_owned(), format!("the default of {name}")));
            }
            Need::Absent(_) => false,
            Need::Required => {
                let replaced = row.instead.iter().any(|name| self.is_given(name));
                row.is_required_by(self.step) && !replaced
            }
            Need::RequiredUnlessOff(flag) => {
                let replaced = row.instead.iter().any(|name| self.is_given(name));
                row.is_required_by(self.step) && !self.is_off(flag) && !replaced
            }
        };
        if missing {
            let place = match &self.file {
                Some(file) => format!(
                    "set it in the environment, or as \"{}\" in {file}",
                    row.camel()
                ),
                None => "set it in the environment".to_owned(),
            };
            let unless = match row.need {
                Need::RequiredUnlessOff(flag) => format!(" (required unless {flag} is false)"),
                _ => String::new(),
            };
            // The first sentence says what it is; the rest is for those who read on.
            let help = row.plain_help();
            let help = first_sentence(&help);
            let instead = match (row.form, row.instead) {
                (Form::Secret, [some @ .., last]) => {
                    format!(" Other ways are {} or {last}.", some.join(", "))
                }
                _ => String::new(),
            };
            self.problems.push(format!(
                "{name} is missing{unless}; {place}. {help}{instead}"
            ));
        }
        None
    }

    fn is_off(&self, flag: &str) -> bool {
        self.found
            .get(flag)
            .is_some_and(|found| found.text.eq_ignore_ascii_case("false"))
    }

    fn wrong(&mut self, row: &Setting, text: &str, written: &str, why: Option<String>) {
        let shown = if row.may_be_quoted() {
            format!(" is {:?}", text.chars().take(40).collect::<String>())
        } else {
            String::new()
        };
        let problem = match why {
            Some(why) => format!("{written}{shown} {why}"),
            None if shown.is_empty() => {
                format!("{written} cannot be used; {} is expected", row.expects())
            }
            None => format!("{written}{shown}; {} is expected", row.expects()),
        };
        self.problems.push(problem);
    }

    pub(super) fn parsed<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&Setting, &str) -> Result<T, Option<String>>,
    ) -> Option<T> {
        let (row, text, written) = self.text(name)?;
        match parse(row, &text) {
            Ok(value) => Some(value),
            Err(why) => {
                self.wrong(row, &text, &written, why);
                None
            }
        }
    }

    pub(super) fn string(&mut self, name: &'static str) -> Option<String> {
        self.parsed(name, |_, text| {
            if text.contains(char::is_control) {
                Err(Some("holds a control character".to_owned()))
            } else {
                Ok(text.to_owned())
            }
        })
    }

    pub(super) fn flag(&mut self, name: &'static str) -> bool {
        let parse = |_: &Setting, text: &str| match text.to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(None),
        };
        self.parsed(name, parse).unwrap_or(false)
    }

    pub(super) fn choice(&mut self, name: &'static str) -> String {
        let parse = |row: &Setting, text: &str| match row.form {
            Form::Choice(words) if words.contains(&text) => Ok(text.to_owned()),
            _ => Err(None),
        };
        self.parsed(name, parse).unwrap_or_default()
    }

    fn number(&mut self, name: &'static str) -> f64 {
        let parse = |row: &Setting, text: &str| {
            let number: f64 = text.parse().map_err(|_| None)?;
            let fits = match row.form {
                Form::Whole(min, max) => {
                    number.fract() == 0.0 && (f64::from(min)..=f64::from(max)).contains(&number)
                }
                Form::Seconds(min, max) | Form::Factor(min, max) => (min..=max).contains(&number),
                _ => false,
            };
            if fits { Ok(number) } else { Err(None) }
        };
        self.parsed(name, parse).unwrap_or_default()
    }

    pub(super) fn whole(&mut self, name: &'static str) -> u32 {
        // In the row's range, which is one of u32.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let number = self.number(name) as u32;
        number
    }

    /// A number of bytes.
    pub(super) fn bytes(&mut self, name: &'static str) -> u64 {
        let parse = |row: &Setting, text: &str| match (row.form, bytes(text)) {
            (Form::Bytes(min, max), Some(bytes)) if (min..=max).contains(&bytes) => Ok(bytes),
            _ => Err(None),
        };
        self.parsed(name, parse).unwrap_or_default()
    }

    /// A whole number, or `None` for the word that may stand in its place.
    pub(super) fn whole_unless_word(&mut self, name: &'static str) -> Option<u32> {
        let parse = |row: &Setting, text: &str| match (row.form, text.parse::<u32>()) {
            (Form::WordOrWhole(word, ..), _) if text.eq_ignore_ascii_case(word) => Ok(None),
            (Form::WordOrWhole(_, min, max), Ok(number)) if (min..=max).contains(&number) => {
                Ok(Some(number))
            }
            _ => Err(None),
        };
        self.parsed(name, parse).flatten()
    }

    /// A number of seconds, where it was given.
    pub(super) fn seconds_if_any(&mut self, name: &'static str) -> Option<Duration> {
        self.found.get(name)?;
        Some(self.seconds(name)).filter(|seconds| !seconds.is_zero())
    }

    pub(super) fn factor(&mut self, name: &'static str) -> f64 {
        self.number(name)
    }

    pub(super) fn seconds(&mut self, name: &'static str) -> Duration {
        Duration::from_secs_f64(self.number(name))
    }

    pub(super) fn url(&mut self, name: &'static str) -> Option<Url> {
        self.parsed(name, |_, text| parse_url(text))
    }

    /// The instant as it is asked for: as written where that is UTC, else the same moment in UTC, because some servers
    /// read nothing else.
    pub(super) fn instant(&mut self, name: &'static str) -> Option<String> {
        self.parsed(name, |_, text| instant_in_utc(text).ok_or(None))
    }

    /// The same, or the word `auto`.
    pub(super) fn since(&mut self, name: &'static str) -> Option<String> {
        self.parsed(name, |_, text| {
            let auto = text.eq_ignore_ascii_case(AUTO).then(|| AUTO.to_owned());
            auto.or_else(|| instant_in_utc(text)).ok_or(None)
        })
    }

    /// A period such as `30d`.
    pub(super) fn period(&mut self, name: &'static str) -> Option<Duration> {
        self.parsed(name, |_, text| period(text).ok_or(None))
    }

    pub(super) fn place(&mut self, name: &'static str) -> Option<Place> {
        self.parsed(name, |_, text| Place::parse(text).map_err(Some))
    }

    /// Notes something that is wrong between settings.
    pub(super) fn contradiction(&mut self, problem: String) {
        self.problems.push(problem);
    }

    /// Whether the person set it, well or not.
    pub(super) fn is_given(&self, name: &str) -> bool {
        self.found.contains_key(name)
    }

    /// Whether the person set it to something else than its default, and this step reads it.
    pub(super) fn is_changed(&self, name: &str) -> bool {
        let (Some(row), Some(found)) = (setting(name), self.found.get(name)) else {
            return false;
        };
        let is_default = matches!(row.need, Need::Default(text) if text == found.text);
        row.is_read_by(self.step) && !is_default
    }

    /// How the person wrote the name of this setting, and where.
    pub(super) fn written(&self, name: &str) -> String {
        self.found
            .get(name)
            .map_or_else(|| name.to_owned(), |found| found.written.clone())
    }

    /// The one error that lists everything, if there is anything to list.
    pub(super) fn finish(mut self) -> Option<Error> {
        // A setting that serves both sides is read for each.
        let mut seen = std::collections::BTreeSet::new();
        self.problems.retain(|problem| seen.insert(problem.clone()));
        let count = self.problems.len();
        let what = match self.problems.as_slice() {
            [] => return None,
            [one] => one.clone(),
            many => format!("{count} settings are wrong:\n- {}\n", many.join("\n- ")),
        };
        Some(
            Kind::Configuration
                .error(what)
                .next(match self.step {
                    Step::Command => "Settings come from a JSON file, from the environment, or from both; pathling-import --help describes them all.",
                    _ => "All settings are described in docs/configuration.md.",
                }),
        )
    }
}

/// A text up to its first full stop that ends a sentence.
fn first_sentence(text: &str) -> &str {
    let ends = |at: &usize| text[at + 2..].starts_with(char::is_uppercase);
    let end = text.match_indices(". ").map(|(at, _)| at).find(ends);
    end.map_or(text, |at| &text[..=at])
}

/// A name without what its spelling is a matter of: case, and the marks between words.
fn plain(name: &str) -> String {
    name.chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Array(_) => "array",
        _ => "object",
    }
}
