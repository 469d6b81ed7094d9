//! Every profile of the sandbox, through the real command and the real functions, with the settings that it prints and that
//! `docs/servers.md` names.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::process::{Command, Output};

use pathling_import_tests::check::{assert_arrived, assert_no_token_leaks};
use pathling_import_tests::{
    Env, Records as _, Story, arrives, binary, pathling_import, side_by_side, vendor, vendor_with,
};
use sandbox::{PROFILES, PathlingVersion};

/// How many are tried side by side.
const TOGETHER: usize = 4;

fn names() -> Vec<&'static str> {
    PROFILES.iter().map(|profile| profile.name).collect()
}

#[tokio::test]
async fn every_vendors_data_reaches_pathling_whole_by_the_command() {
    side_by_side(TOGETHER, names(), async |name| {
        for version in [PathlingVersion::Seven, PathlingVersion::Two] {
            let sandbox = vendor_with(name, |builder| builder.pathling(version)).await;
            arrives(&sandbox, pathling_import(&sandbox)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn every_vendors_data_reaches_pathling_whole_by_the_functions() {
    side_by_side(TOGETHER, names(), async |name| {
        let sandbox = vendor(name).await;
        let mut story = Story::of(&sandbox);
        // A gateway that cuts a kick-off is for the workflow, which calls again.
        if let Err(failed) = story.tell().await {
            assert_eq!(failed.error_type, "SourceUnavailableError", "{failed:?}");
            assert_eq!(name, "medplum", "{failed:?}");
            story.tell().await.unwrap();
        }
        assert_arrived(&sandbox);
        assert_no_token_leaks(&sandbox);
    })
    .await;
}

#[tokio::test]
async fn every_vendors_job_is_ended_at_the_source() {
    side_by_side(TOGETHER, names(), async |name| {
        let sandbox = vendor(name).await;
        arrives(&sandbox, pathling_import(&sandbox)).await;
        let deletions = sandbox.deletions();
        assert_eq!(deletions.len(), 1, "{name}: {deletions:?}");
        assert!(
            matches!(deletions[0].status, Some(202 | 404)),
            "{deletions:?}"
        );
    })
    .await;
}

fn sandbox(arguments: &[&str]) -> Output {
    let program = Command::new(binary("sandbox")).args(arguments).output();
    program.expect("the sandbox can be started")
}

#[test]
fn a_profile_says_what_it_demands_and_prints_settings_that_a_shell_takes() {
    for profile in &PROFILES {
        let output = sandbox(&["--profile", profile.name, "--patients", "1", "--for", "0"]);
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let (about, settings): (Vec<&str>, Vec<&str>) =
            text.lines().partition(|line| line.starts_with("# "));
        let about = about.join("\n");
        for line in profile.demands.iter().chain(profile.habits) {
            assert!(about.contains(line), "{}: {line}", profile.name);
        }
        assert!(
            settings.iter().all(|line| line.starts_with("export ")),
            "{settings:?}"
        );
        for (name, _) in profile.settings.iter().chain(profile.trial) {
            let line = format!("export {name}=");
            assert!(
                settings.iter().any(|it| it.starts_with(&line)),
                "{line}: {text}"
            );
        }
    }
    // Where the settings are JSON, nothing else stands among them.
    let output = sandbox(&["--profile", "epic", "--format", "json", "--for", "0"]);
    let settings: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(settings["EXPORT_LEVEL"], "group/everybody");
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("Epic-Client-ID")
    );
}

#[test]
fn the_program_lists_its_profiles_and_knows_no_others() {
    let help = String::from_utf8(sandbox(&["--help"]).stdout).unwrap();
    let unknown = sandbox(&["--profile", "nobody", "--for", "0"]);
    assert!(!unknown.status.success());
    let unknown = String::from_utf8(unknown.stderr).unwrap();
    for profile in &PROFILES {
        let line = format!("{:12} {}", profile.name, profile.about);
        assert!(help.contains(&line), "{line} is not in:\n{help}");
        assert!(unknown.contains(profile.name), "{unknown}");
    }
}

#[test]
fn what_is_said_by_hand_comes_before_the_profile() {
    let output = sandbox(&["--profile", "epic", "--auth", "bearer", "--for", "0"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("export SOURCE_BEARER_TOKEN="), "{text}");
    assert!(!text.contains("SOURCE_PRIVATE_KEY"), "{text}");
}

#[tokio::test]
async fn the_settings_of_a_profile_are_settings() {
    for profile in &PROFILES {
        let sandbox = vendor(profile.name).await;
        let env = Env::of(&sandbox);
        for (name, _) in profile.settings.iter().chain(profile.trial) {
            let known = pathling_import_core::config::table::setting(name);
            assert!(known.is_some(), "{}: {name}", profile.name);
            assert!(
                !env.get(name).unwrap().contains("{internal}"),
                "{}: {name}",
                profile.name
            );
        }
    }
}

fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|_| panic!("no {}", path.display()))
}

#[test]
fn every_profile_is_in_the_docs_with_its_settings_and_has_tests_of_its_own() {
    let servers = file("../docs/servers.md");
    let conformance = file("../docs/conformance.md");
    let tests = file("tests/profiles_demands.rs") + &file("tests/profiles_habits.rs");
    for profile in &PROFILES {
        let name = profile.name;
        let cell = format!("`{name}`");
        let row = servers
            .lines()
            .find(|line| line.starts_with('|') && line.contains(&cell));
        let row = row.unwrap_or_else(|| panic!("docs/servers.md has no row of {cell}"));
        for (setting, _) in profile.settings {
            assert!(row.contains(setting), "{setting} is not in {row}");
        }
        assert!(conformance.contains(&cell), "docs/conformance.md: {cell}");
        let test = format!("async fn {}_", name.replace('-', "_"));
        assert!(tests.contains(&test), "no {test}...");
    }
}
