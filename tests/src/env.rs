//! The environment of a process under test: what it is given, and nothing of the test's own.

use std::collections::BTreeMap;

use pathling_import_core::config::Step;
use pathling_import_core::config::table::setting;
use sandbox::Sandbox;

/// Environment variables by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Env(BTreeMap<String, String>);

impl Env {
    /// Everything that a process needs against this sandbox.
    #[must_use]
    pub fn of(sandbox: &Sandbox) -> Self {
        Self(sandbox.env().into_iter().collect())
    }

    /// With this variable too, or with this value instead.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.set(name, value);
        self
    }

    /// Without this variable.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.0.remove(name);
        self
    }

    /// Sets a variable.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.0.insert(name.to_owned(), value.into());
    }

    /// Takes a variable away.
    pub fn unset(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// A variable's value.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Only what this step reads: a function that works with it needs no other's settings.
    #[must_use]
    pub fn of_step(&self, step: Step) -> Self {
        let read = |name: &str| setting(name).is_none_or(|setting| setting.is_read_by(step));
        let kept = self.0.iter().filter(|(name, _)| read(name));
        Self(
            kept.map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        )
    }

    /// Name and value of each variable.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl FromIterator<(String, String)> for Env {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}
