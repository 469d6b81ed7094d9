//! Profiles: what the servers of single vendors demand of a client and do to it, as a source of the sandbox's.
//!
//! A profile is a name for a set of switches, a way of authentication and a shape of data; nothing in it could not be
//! switched on by hand. What it is not: the vendor's server. It has the habits that a client meets, and is otherwise the
//! sandbox.

mod table;

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::builder::Builder;
use crate::dataset::{Dataset, Resource, from_value};
use crate::faults::Switch;

pub use table::PROFILES;

/// A setting and its value.
type Setting = (&'static str, &'static str);

/// One vendor's server.
#[derive(Debug, Clone, Copy)]
pub struct Profile {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What it is called by people.
    pub title: &'static str,
    /// What is most particular about it, on one line.
    pub about: &'static str,
    /// What it demands of its client.
    pub demands: &'static [&'static str],
    /// What it does that others do not.
    pub habits: &'static [&'static str],
    /// The switches that make it so, as a person would write them.
    pub switches: &'static [&'static str],
    /// The settings that the program wants for such a server, beside the usual ones. `{internal}` stands for the origin
    /// in the source's own URLs.
    pub settings: &'static [Setting],
    /// Settings that nobody wants but who tries it: with them it does not take hours.
    pub trial: &'static [Setting],
    /// The id of the group of all patients, where there is one.
    pub(crate) group: Option<&'static str>,
    /// Whether its ids are longer than FHIR allows.
    pub(crate) long_ids: bool,
    /// What else is not as usual.
    pub(crate) shape: fn(Builder) -> Builder,
}

impl Profile {
    /// The profile of this name; the error lists those that there are.
    pub fn named(name: &str) -> Result<&'static Self, String> {
        PROFILES
            .iter()
            .find(|profile| profile.name == name)
            .ok_or_else(|| {
                let names: Vec<&str> = PROFILES.iter().map(|profile| profile.name).collect();
                format!(
                    "there is no profile named {name}; there are {}",
                    names.join(", ")
                )
            })
    }

    /// All profiles, one on a line.
    #[must_use]
    pub fn list() -> String {
        PROFILES.iter().fold(String::new(), |mut text, profile| {
            let _ = writeln!(text, "  {:12} {}", profile.name, profile.about);
            text
        })
    }

    /// What a person is told who tries it.
    #[must_use]
    pub fn introduction(&self) -> String {
        let mut text = format!(
            "The source behaves like {} (profile {}).\n",
            self.title, self.name
        );
        let mut list = |title: &str, lines: &[String]| {
            if !lines.is_empty() {
                let _ = writeln!(text, "{title}");
                for line in lines {
                    let _ = writeln!(text, "  - {line}");
                }
            }
        };
        let owned =
            |lines: &[&str]| -> Vec<String> { lines.iter().map(|&line| line.to_owned()).collect() };
        let settings = |settings: &[Setting]| -> Vec<String> {
            let lines = settings.iter();
            lines
                .map(|(name, value)| {
                    let value = value.replace("{internal}", "[the origin in its URLs]");
                    format!("{name}={value}")
                })
                .collect()
        };
        list("It demands of its client:", &owned(self.demands));
        list("It does:", &owned(self.habits));
        list(
            "pathling-import wants beside address and credentials:",
            &settings(self.settings),
        );
        list("For this trial alone:", &settings(self.trial));
        list("Switched on:", &owned(self.switches));
        text.push_str("All settings are below; docs/servers.md is about the real server.\n");
        text
    }

    /// The switches, read.
    pub(crate) fn read_switches(&self) -> impl Iterator<Item = Switch> {
        // That each can be read is tested.
        self.switches.iter().filter_map(|text| text.parse().ok())
    }

    /// The data as this server holds it.
    pub(crate) fn data(&self, mut data: Dataset) -> Dataset {
        if self.long_ids {
            for resource in &mut data.0 {
                lengthen(resource);
            }
        }
        if let Some(id) = self.group {
            let patients = data
                .0
                .iter()
                .filter(|resource| resource.resource_type == "Patient");
            let members: Vec<Value> = patients
                .filter_map(|patient| patient.id.as_deref())
                .map(|id| json!({"entity": {"reference": format!("Patient/{id}")}}))
                .collect();
            let group = json!({
                "resourceType": "Group", "id": id, "type": "person", "actual": true, "member": members,
            });
            data.0.extend(from_value(&group));
        }
        data
    }
}

/// What ids are made longer by: with it they have more than the 64 characters that FHIR allows.
const TAIL: &str = ".e63wRTbPfr1p8UW81d8Seiw3-CMfA-8eJBIN35SK2Xo0o3Seiw3CMfA8eJBIN35SK";

fn lengthen(resource: &mut Resource) {
    let Ok(mut value) = serde_json::from_slice::<Value>(&resource.line) else {
        return;
    };
    if let Some(id) = value["id"].as_str() {
        value["id"] = json!(format!("{id}{TAIL}"));
    }
    lengthen_references(&mut value);
    if let Some(longer) = from_value(&value) {
        *resource = longer;
    }
}

fn lengthen_references(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(text) if name == "reference" => text.push_str(TAIL),
                    other => lengthen_references(other),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(lengthen_references),
        _ => {}
    }
}

impl Builder {
    /// The source behaves like this vendor's. What is called after this changes it further.
    #[must_use]
    pub fn profile(mut self, profile: &'static Profile) -> Self {
        self.settings.profile = Some(profile);
        self.faults.extend(profile.read_switches());
        (profile.shape)(self)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_profile_has_a_name_of_its_own_and_switches_that_there_are() {
        let names: BTreeSet<&str> = PROFILES.iter().map(|profile| profile.name).collect();
        assert_eq!(names.len(), PROFILES.len());
        for profile in &PROFILES {
            for text in profile.switches {
                let switch = text.parse::<Switch>();
                assert!(switch.is_ok(), "{}: {text}: {switch:?}", profile.name);
            }
            assert_eq!(profile.read_switches().count(), profile.switches.len());
            assert!(!profile.about.contains('\n') && profile.about.len() <= 80);
            assert_eq!(Profile::named(profile.name).unwrap().title, profile.title);
        }
        let error = Profile::named("nobody").unwrap_err();
        assert!(
            error.contains("nobody") && error.contains("epic, "),
            "{error}"
        );
    }

    #[test]
    fn long_ids_are_led_to_by_the_references() {
        let data = Profile::named("epic").unwrap().data(Dataset::synthetic(1));
        let ids: BTreeSet<String> = data
            .0
            .iter()
            .filter(|resource| resource.resource_type == "Patient")
            .filter_map(|resource| resource.id.clone())
            .collect();
        assert!(ids.iter().all(|id| id.len() > 64), "{ids:?}");
        let encounter = data
            .0
            .iter()
            .find(|it| it.resource_type == "Encounter")
            .unwrap();
        let encounter: Value = serde_json::from_slice(&encounter.line).unwrap();
        let subject = encounter["subject"]["reference"].as_str().unwrap();
        assert!(ids.contains(subject.strip_prefix("Patient/").unwrap()));
    }
}
