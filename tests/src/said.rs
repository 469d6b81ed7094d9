//! What the command said, in the words that tests ask in: how it failed, its summary, its settings as a file.

use pathling_import_core::config::table::setting;
use pathling_import_core::error::TABLE;
use serde_json::{Map, Value};

use crate::{Env, Finished};

impl Finished {
    /// Asserts that the command failed with the error of this name and the exit code that belongs to it, and that what it
    /// said of it holds all these words. Gives what it said: what happened, and what to do.
    pub fn expect_error(&self, name: &str, words: &[&str]) -> String {
        let row = TABLE.iter().find(|row| row.name == name);
        let row = row.unwrap_or_else(|| panic!("{name} is no error"));
        assert_eq!(
            self.code,
            Some(i32::from(row.exit_code)),
            "the exit code of {name}; stdout:\n{}\nstderr:\n{}",
            self.stdout,
            self.stderr
        );
        assert_eq!(self.stdout, "", "a failure has no summary");
        let start = format!("error: {name}: ");
        let said = self.stderr.find(&start).map(|at| &self.stderr[at..]);
        let said = said.unwrap_or_else(|| panic!("no {name} in:\n{}", self.stderr));
        for word in words {
            assert!(said.contains(word), "{word:?} is not in:\n{said}");
        }
        assert!(
            said.lines().count() > 1 && !said.contains('\u{1b}'),
            "what to do is on a line of its own, and nothing moves the cursor:\n{said}"
        );
        said.to_owned()
    }

    /// The summary of a run with `--log-format json` that ended well.
    #[must_use]
    pub fn summary(&self) -> Value {
        assert_eq!(self.code, Some(0), "stderr:\n{}", self.stderr);
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("no summary ({error}): {:?}", self.stdout))
    }

    /// The name of the run that the human summary or the JSON one names.
    #[must_use]
    pub fn run(&self) -> String {
        if let Ok(summary) = serde_json::from_str::<Value>(&self.stdout) {
            return summary["run"].as_str().unwrap_or_default().to_owned();
        }
        let line = self
            .stdout
            .lines()
            .find_map(|line| line.strip_prefix("Run "));
        let line = line.unwrap_or_else(|| panic!("no run in:\n{}{}", self.stdout, self.stderr));
        let name = line.split_whitespace().next();
        name.unwrap_or_default().to_owned()
    }
}

impl Env {
    /// The settings among these variables as the text of a JSON file, and the other variables.
    #[must_use]
    pub fn into_file(self) -> (String, Self) {
        let mut settings = Map::new();
        let mut others = Self::default();
        for (name, value) in self.iter() {
            match setting(name) {
                Some(setting) => {
                    settings.insert(setting.camel(), Value::from(value));
                }
                None => others.set(name, value),
            }
        }
        (Value::from(settings).to_string(), others)
    }
}
