//! The command in the hands of people and schedulers: odd arguments, odd values, odd surroundings, two at once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::process::Stdio;

use pathling_import_tests::check::{
    assert_arrived, assert_folder_whole, assert_no_token_leaks, assert_nothing_half_staged,
};
use pathling_import_tests::{CommandRun, Records as _, binary, pathling_import};
use sandbox::{Dataset, PathlingVersion, Sandbox};

async fn hospital() -> Sandbox {
    let data = Dataset::of(&[("Condition", 6), ("Patient", 6)]);
    let builder = Sandbox::builder().data(data).resources_per_file(2);
    builder.polls(1).import_polls(1).start().await.unwrap()
}

#[tokio::test]
async fn a_command_line_that_is_wrong_ends_with_2_says_what_is_wrong_and_asks_nobody() {
    let sandbox = hospital().await;
    let text = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
    for (arguments, said) in [
        (
            text(&["one.json", "two.json"]),
            "unexpected argument 'two.json'",
        ),
        (text(&["--fesh"]), "'--fresh'"),
        (
            text(&["settings.json", "cancel"]),
            "status, history, verify or report comes first",
        ),
        (
            text(&["--fresh", "--fresh"]),
            "cannot be used multiple times",
        ),
        (text(&["--log-format", "xml"]), "human, json"),
        (text(&["--log-format"]), "--log-format"),
        (text(&["--verbose=3"]), "--verbose"),
        (text(&[""]), "CONFIGURATION FILE"),
        (text(&["-x"]), "'-x'"),
        (
            vec![OsString::from_vec(b"--\xff".to_vec())],
            "unexpected argument",
        ),
    ] {
        let run = arguments
            .iter()
            .fold(pathling_import(&sandbox), CommandRun::arg);
        let finished = run.run().await.expect_code(2);
        assert!(
            finished.stderr.starts_with("error: "),
            "{}",
            finished.stderr
        );
        assert!(
            finished.stderr.contains(said),
            "{said}: {}",
            finished.stderr
        );
        assert_eq!(finished.stdout, "", "{arguments:?}");
    }
    assert_eq!(sandbox.requests(), []);
}

#[tokio::test]
async fn a_file_of_any_name_can_be_named() {
    let sandbox = hospital().await;
    for name in ["--fresh", "my settings.json", "ä.json", "-"] {
        let run = pathling_import(&sandbox).file(name, "{\"types\": \"Patient\"}");
        let run = run.arg("--log-format=json").arg("--").arg(name);
        assert_eq!(run.run().await.summary()["resources"], 6, "{name}");
    }
    // A name that is no UTF-8 is a name.
    let name = OsString::from_vec(b"\xffsettings.json".to_vec());
    let run = pathling_import(&sandbox).file(&name, "{}").arg(name);
    let _ = run.run().await.expect_code(0);
}

#[tokio::test]
async fn a_name_that_is_no_text_is_shown_so_that_no_terminal_is_harmed() {
    let sandbox = hospital().await;
    for name in [&b"a\x1b[2Jb.json"[..], b"\xff\xfe.json"] {
        let run = pathling_import(&sandbox).arg(OsString::from_vec(name.to_vec()));
        let finished = run.run().await;
        finished.expect_error("ConfigurationError", &["does not exist"]);
    }
}

/// Runs the command in a shell, of which the script may change what it likes.
async fn in_shell(run: CommandRun, script: &str) -> (Option<i32>, String) {
    let mut shell = tokio::process::Command::new("/bin/bash");
    shell.arg("-c").arg(script).arg(binary("pathling-import"));
    shell.env_clear().envs(run.environment().iter());
    shell.current_dir(run.folder()).stdin(Stdio::null());
    let output = shell.output().await.unwrap();
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    (output.status.code(), text)
}

#[tokio::test]
async fn its_surroundings_do_not_change_how_it_ends() {
    for script in [
        "exec \"$0\" 0<&-",
        "exec \"$0\" 1>&-",
        "exec \"$0\" 2>&-",
        "exec \"$0\" 0<&- 1>&- 2>&-",
        "exec \"$0\" >/dev/full",
        "exec \"$0\" 2>/dev/full",
        "set -o pipefail; \"$0\" 2>&1 | true",
        "cd /proc && exec \"$0\"",
        "mkdir gone && cd gone && rmdir ../gone && exec \"$0\"",
        "umask 777; exec \"$0\"",
        "ulimit -n 64; exec \"$0\"",
        "unset HOME; exec \"$0\"",
        "HOME=/nowhere exec \"$0\"",
        "TZ=Pacific/Kiritimati LC_ALL=tr_TR.UTF-8 exec \"$0\"",
        "TERM=xterm COLUMNS=1 NO_COLOR=1 RUST_LOG=trace exec \"$0\"",
        "trap '' INT TERM PIPE; exec \"$0\"",
    ] {
        let sandbox = hospital().await;
        let (code, text) = in_shell(pathling_import(&sandbox), script).await;
        assert_eq!(code, Some(0), "{script}:\n{text}");
        assert!(!text.contains("panicked"), "{script}:\n{text}");
        assert_arrived(&sandbox);
        assert_nothing_half_staged(&sandbox);
    }
}

#[tokio::test]
async fn very_long_values_are_refused_or_used_but_never_fill_the_screen() {
    let sandbox = hospital().await;
    let long = "x".repeat(100_000);
    for (name, value) in [
        ("TYPES", long.clone()),
        ("SINCE", format!("2026-01-31T00:00:00{long}Z")),
        ("SOURCE_ENDPOINT", format!("https://{long}/fhir")),
        ("STAGING_URL", format!("/tmp/{long}")),
        ("EXPORT_RETRY_TIMES", "9".repeat(100_000)),
        ("SOURCE_TRUSTED_ORIGINS", format!("https://{long}")),
        ("IMPORT_MODE", long.clone()),
    ] {
        let finished = pathling_import(&sandbox).env(name, value).run().await;
        assert!(
            matches!(finished.code, Some(0..=2)),
            "{name}: {:?}",
            finished.code
        );
        assert!(
            finished.stderr.len() < 5000,
            "{name}: {} bytes",
            finished.stderr.len()
        );
    }
}

#[tokio::test]
async fn odd_but_right_values_work() {
    let sandbox = hospital().await;
    let run = pathling_import(&sandbox)
        .env(
            "SOURCE_ENDPOINT",
            format!(" {}/ ", sandbox.source_endpoint()),
        )
        .env(
            "TARGET_ENDPOINT",
            format!("{}//", sandbox.target_endpoint()),
        )
        .env("STAGING_URL", format!("{}//", sandbox.staging_url()))
        .env("SOURCE_AUTHENTICATION_ENABLED", "True")
        .env("TYPES", "Patient,,Condition,")
        .env("EXPORT_RETRY_TIMES", "1e1")
        .env("SOURCE_TRUSTED_ORIGINS", "https://files.example.org/ ,");
    let finished = run.run().await.expect_code(0);
    assert_arrived(&sandbox);
    let staged = sandbox.s3_objects();
    assert!(
        staged.iter().all(|(key, _)| !key.contains("//")),
        "{staged:?}"
    );
    assert!(!finished.stdout.contains("//runs"), "{}", finished.stdout);
}

#[tokio::test]
async fn two_at_once_on_the_same_staging_both_end_well_and_no_row_is_there_twice() {
    for version in [PathlingVersion::Seven, PathlingVersion::Two] {
        let data = Dataset::of(&[("Condition", 40), ("Patient", 40)]);
        let builder = Sandbox::builder().pathling(version).data(data);
        let sandbox = builder.resources_per_file(4).start().await.unwrap();
        let (one, other) = tokio::join!(
            pathling_import(&sandbox).run(),
            pathling_import(&sandbox).run()
        );
        let _ = (one.expect_code(0), other.expect_code(0));
        assert_arrived(&sandbox);
        assert_nothing_half_staged(&sandbox);
        assert_no_token_leaks(&sandbox);
    }
}

#[tokio::test]
async fn two_at_once_that_take_up_the_same_run_both_end_well() {
    for over_s3 in [true, false] {
        let data = Dataset::of(&[("Condition", 40), ("Patient", 40)]);
        let builder = Sandbox::builder().data(data).resources_per_file(4);
        let sandbox = builder.polls(1).start().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let command = || {
            let run = pathling_import(&sandbox);
            if over_s3 {
                run
            } else {
                run.env("STAGING_URL", folder.path().display().to_string())
            }
        };
        let gives_up = command().env("EXPORT_RETRY_TIMES", "0").run().await;
        gives_up.expect_error("JobInProgressError", &[]);
        let (one, other) = tokio::join!(command().run(), command().run());
        let _ = (one.expect_code(0), other.expect_code(0));
        assert_eq!(sandbox.export_kick_offs().len(), 1);
        assert_arrived(&sandbox);
        if over_s3 {
            assert_nothing_half_staged(&sandbox);
        } else {
            assert_folder_whole(folder.path());
        }
    }
}

#[tokio::test]
async fn a_second_run_right_after_the_first_brings_everything_again_and_changes_nothing() {
    let sandbox = hospital().await;
    for _ in 0..3 {
        let finished = pathling_import(&sandbox).run().await.expect_code(0);
        assert!(!finished.stderr.contains("going on"), "{}", finished.stderr);
        assert_arrived(&sandbox);
    }
    assert_eq!(sandbox.export_kick_offs().len(), 3);
}
