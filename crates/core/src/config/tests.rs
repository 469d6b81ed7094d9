use std::io::Write as _;

use super::*;
use crate::error::{Error, Kind};

fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

const WHOLE: &[(&str, &str)] = &[
    ("SOURCE_ENDPOINT", "https://source.example.org/fhir/"),
    ("SOURCE_CLIENT_ID", "me"),
    ("SOURCE_CLIENT_SECRET", "hush-source"),
    ("SOURCE_SCOPES", "system/*.read"),
    ("STAGING_URL", "s3://bucket/prefix"),
    ("TARGET_ENDPOINT", "https://target.example.org/fhir"),
    ("TARGET_CLIENT_ID", "me"),
    ("TARGET_CLIENT_SECRET", "hush-target"),
];

fn with(more: &[(&str, &str)]) -> Result<Settings> {
    let mut all = environment(WHOLE);
    all.extend(environment(more));
    Settings::load(Step::Command, &all, None)
}

fn from_file(text: &str, more: &[(&str, &str)]) -> Result<Settings> {
    let mut file = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    Settings::load(Step::Command, &environment(more), Some(file.path()))
}

fn error(result: Result<Settings>) -> Error {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), Kind::Configuration);
    error
}

fn client(endpoint: Option<Endpoint>) -> OauthClient {
    let credentials = endpoint.unwrap().credentials.unwrap();
    credentials.client().unwrap().clone()
}

#[test]
fn a_service_of_aws_is_a_way_of_its_own_and_buckets_are_the_sources_alone() {
    let source = |more: &[(&str, &str)]| {
        let mut all = environment(&WHOLE[4..]);
        all.extend(environment(&[
            WHOLE[0],
            ("SOURCE_AWS_SERVICE", "healthlake"),
        ]));
        all.extend(environment(more));
        Settings::load(Step::Command, &all, None).map(|settings| settings.source.unwrap())
    };
    let buckets = "s3://lake, https://files.example.org,s3://other.lake-1/";
    let found = source(&[("SOURCE_TRUSTED_ORIGINS", buckets)]).unwrap();
    assert!(matches!(
        found.credentials,
        Some(Credentials::Aws { ref service }) if service == "healthlake"
    ));
    assert_eq!(found.buckets, ["lake", "other.lake-1"]);
    assert_eq!(found.trusted_origins.len(), 1);
    for (name, value, word) in [
        (
            "SOURCE_TRUSTED_ORIGINS",
            "s3://lake/prefix",
            "s3://bucket is expected",
        ),
        ("SOURCE_TRUSTED_ORIGINS", "s3://", "s3://bucket is expected"),
        ("TARGET_TRUSTED_ORIGINS", "s3://lake", "has the scheme s3"),
        ("SOURCE_AWS_SERVICE", "Health Lake", "no name of a service"),
        ("SOURCE_USERNAME", "me", "contradict each other"),
        (
            "SOURCE_CLIENT_ID",
            "me",
            "does nothing beside SOURCE_AWS_SERVICE",
        ),
        (
            "SOURCE_ENDPOINT",
            "http://source.example.org/fhir",
            "plain http",
        ),
    ] {
        let error = source(&[(name, value)]).unwrap_err();
        assert!(error.what().contains(word), "{name}={value}: {error}");
    }
}

#[test]
fn defaults_hold_where_nothing_is_said() {
    let settings = with(&[]).unwrap();
    assert_eq!(
        settings.source.as_ref().unwrap().url.as_str(),
        "https://source.example.org/fhir"
    );
    assert_eq!(
        settings.retries.export,
        Retry {
            times: 24,
            wait: Duration::from_mins(15),
            back_off: 1.0
        }
    );
    assert_eq!(settings.retry_after_max, Duration::from_hours(6));
    assert_eq!(settings.import_mode, ImportMode::Merge);
    assert_eq!(client(settings.target).scopes, "user/*.write");
    assert!(settings.types.is_empty() && settings.since.is_none() && settings.dialect.is_none());
}

#[test]
fn one_error_lists_everything_that_is_missing_or_wrong() {
    let error = error(Settings::load(
        Step::Command,
        &environment(&[
            ("SOURCE_ENDPOINT", "ftp://x"),
            ("EXPORT_RETRY_TIMES", "-1"),
            ("SINCE", "yesterday"),
            ("STAGING_URL", ""),
        ]),
        None,
    ));
    let text = error.to_string();
    for name in [
        "SOURCE_ENDPOINT in the environment cannot be used; an http or https URL",
        "SOURCE_CLIENT_ID is missing (required unless SOURCE_AUTHENTICATION_ENABLED is false)",
        "STAGING_URL is missing",
        "TARGET_ENDPOINT is missing",
        "EXPORT_RETRY_TIMES in the environment is \"-1\"; a whole number from 0",
        "SINCE in the environment is \"yesterday\"; auto, or a FHIR instant",
    ] {
        assert!(text.contains(name), "{name}: {text}");
    }
}

#[test]
fn each_form_refuses_what_it_is_not() {
    for (name, value) in [
        ("SOURCE_ENDPOINT", "source.example.org"),
        ("SOURCE_ENDPOINT", "https://user:pass@host/fhir"),
        ("SOURCE_ENDPOINT", "https://host/fhir?x=1"),
        ("TARGET_ENDPOINT", "mailto:a@b"),
        ("TYPES", "Patient,../x"),
        ("SINCE", "2026-01-01"),
        ("SINCE", "2026-01-01T00:00:00"),
        ("SINCE", "2026-13-01T00:00:00Z"),
        ("SOURCE_AUTHENTICATION_ENABLED", "yes"),
        ("TARGET_AUTHENTICATION_ENABLED", "1"),
        ("STAGING_URL", "https://bucket/prefix"),
        ("TARGET_STAGING_URL", "s3://bucket/*"),
        ("IMPORT_MODE", "append"),
        ("ALLOW_PARTIAL_OVERWRITE", "maybe"),
        ("TARGET_DIALECT", "8"),
        ("UNSUPPORTED_TYPES", "ignore"),
        ("SOURCE_TRUSTED_ORIGINS", "https://a.example.org/path"),
        ("TARGET_TRUSTED_ORIGINS", "a.example.org"),
        ("ALLOW_PLAINTEXT", "0"),
        ("CONNECT_TIMEOUT", "0"),
        ("IDLE_TIMEOUT", "soon"),
        ("SENTRY_DSN", "nonsense"),
        ("EXPORT_RETRY_TIMES", "1.5"),
        ("EXPORT_RETRY_WAIT", "-5"),
        ("EXPORT_RETRY_WAIT", "NaN"),
        ("EXPORT_RETRY_BACK_OFF", "0.5"),
        ("TRANSFER_RETRY_TIMES", "many"),
        ("IMPORT_RETRY_WAIT", "1e99"),
        ("RETRY_AFTER_MAX", "inf"),
    ] {
        let error = error(with(&[(name, value)]));
        assert!(
            error
                .what()
                .starts_with(&format!("{name} in the environment")),
            "{name}={value}: {error}"
        );
    }
}

#[test]
fn authentication_that_is_off_needs_no_credentials() {
    let settings = Settings::load(
        Step::Command,
        &environment(&[
            ("SOURCE_ENDPOINT", "http://source.example.org/fhir"),
            ("SOURCE_AUTHENTICATION_ENABLED", "false"),
            ("TARGET_ENDPOINT", "http://target.example.org/fhir"),
            ("TARGET_AUTHENTICATION_ENABLED", "False"),
            ("STAGING_URL", "/tmp/x"),
        ]),
        None,
    )
    .unwrap();
    assert!(settings.source.unwrap().credentials.is_none());
    assert!(settings.target.unwrap().credentials.is_none());
}

#[test]
fn credentials_go_over_plain_http_only_to_this_machine_or_when_told_so() {
    let plain = ("SOURCE_ENDPOINT", "http://source.example.org/fhir");
    assert!(error(with(&[plain])).what().contains("ALLOW_PLAINTEXT"));
    assert!(with(&[plain, ("ALLOW_PLAINTEXT", "true")]).is_ok());
    assert!(with(&[("SOURCE_ENDPOINT", "http://127.0.0.1:8080/fhir")]).is_ok());
}

#[test]
fn a_file_speaks_in_camel_case_with_json_types_or_strings_and_the_environment_fills_in() {
    let settings = from_file(
        r#"{"exportRetryTimes": 3, "exportRetryBackOff": "1.5", "types": ["Patient", "Condition"], "sourceClientId": null,
            "since": "2026-01-01T01:00:00+01:00"}"#,
        WHOLE,
    )
    .unwrap();
    assert_eq!(settings.retries.export.times, 3);
    assert!((settings.retries.export.back_off - 1.5).abs() < f64::EPSILON);
    assert_eq!(settings.types, ["Patient", "Condition"]);
    assert_eq!(settings.since.as_deref(), Some("2026-01-01T00:00:00Z"));
    assert_eq!(client(settings.source).id, "me");
}

#[test]
fn an_unknown_key_is_an_error_with_the_nearest_known_name() {
    let error = error(from_file(
        r#"{"sourceEndpont": "https://x/fhir", "SOURCE_ENDPOINT": "https://x/fhir"}"#,
        WHOLE,
    ));
    assert!(error.what().contains("\"sourceEndpont\" in "), "{error}");
    assert!(
        error
            .what()
            .contains("the nearest setting is \"sourceEndpoint\""),
        "{error}"
    );
    assert!(error.what().contains("2 settings are wrong"), "{error}");
}

#[test]
fn a_name_that_is_near_no_setting_has_none_suggested() {
    for name in ["foo", "bar", "password", "bucket", "url", "verbose", "x"] {
        let error = error(from_file(&format!("{{\"{name}\": 1}}"), WHOLE));
        assert!(error.what().contains("is no setting"), "{error}");
        assert!(!error.what().contains("nearest"), "{error}");
    }
}

#[test]
fn a_key_that_is_given_twice_is_an_error() {
    let error = error(from_file(
        r#"{"types": "Patient", "types": "Condition"}"#,
        WHOLE,
    ));
    assert!(error.what().contains("is given twice"), "{error}");
}

#[test]
fn a_file_that_cannot_be_used_says_why() {
    for (text, why) in [
        ("", "is empty"),
        ("{", "is not JSON (line 1"),
        ("[]", "does not hold a JSON object"),
    ] {
        let error = error(from_file(text, WHOLE));
        assert!(error.what().contains(why), "{error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let whole = environment(WHOLE);
    assert!(
        error(Settings::load(Step::Command, &whole, Some(folder.path())))
            .what()
            .contains("is a directory")
    );
    let absent = folder.path().join("absent.json");
    assert!(
        error(Settings::load(Step::Command, &whole, Some(&absent)))
            .what()
            .contains("does not exist")
    );
}

#[test]
fn no_secret_shows_in_debug_or_in_errors() {
    let settings = with(&[]).unwrap();
    assert!(!format!("{settings:?}").contains("hush"));
    let error = error(with(&[
        ("SOURCE_ENDPOINT", "https://me:hush-url@host/"),
        ("SENTRY_DSN", "hush-dsn"),
        ("TYPES", "1"),
    ]));
    assert!(!format!("{error} {error:?}").contains("hush"));
}

#[test]
fn a_function_reads_only_what_it_needs() {
    let source_only = environment(&WHOLE[..4]);
    let settings = Settings::load(Step::CheckExportStatus, &source_only, None).unwrap();
    assert!(settings.target.is_none() && settings.staging.is_none());
    let target_only = environment(&WHOLE[5..]);
    assert!(Settings::load(Step::PathlingImport, &target_only, None).is_ok());
    assert!(
        Settings::load(Step::TransferToS3, &source_only, None)
            .unwrap_err()
            .what()
            .contains("STAGING_URL")
    );
}

#[test]
fn a_wait_grows_by_its_factor_and_never_overflows() {
    let retry = Retry {
        times: 3,
        wait: Duration::from_secs(2),
        back_off: 3.0,
    };
    assert_eq!(retry.wait_number(2), Duration::from_secs(18));
    assert_eq!(retry.wait_number(u32::MAX), Duration::from_hours(365 * 24));
}
