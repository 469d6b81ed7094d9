//! Settings for the unit tests.

use std::collections::BTreeMap;

use pathling_import_core::config::{Settings, Step};

/// Whole settings, changed by `more`.
pub(crate) fn settings(more: &[(&str, &str)]) -> Settings {
    let whole = [
        ("SOURCE_ENDPOINT", "https://source.example.org/fhir"),
        ("SOURCE_AUTHENTICATION_ENABLED", "false"),
        ("TARGET_ENDPOINT", "https://target.example.org/fhir"),
        ("TARGET_AUTHENTICATION_ENABLED", "false"),
        ("STAGING_URL", "s3://bucket/prefix"),
    ];
    let environment: BTreeMap<String, String> = whole
        .iter()
        .chain(more)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Settings::load(Step::Command, &environment, None).unwrap()
}
