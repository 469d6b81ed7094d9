use pathling_import_core::report::Report;
use pathling_import_core::sync::{
    Attempt, Deleted, ExportIssues, FirstIssue, KickOff, ManifestSeen, Outcome, RunRecord,
    Transferred,
};

use super::facts::Facts;
use super::{page, text};

const EVIL: &str = "<script>alert('x')</script><img src=x onerror=alert(1)>\u{1b}[2J";

fn at(second: u32) -> String {
    format!("2026-01-31T02:00:{second:02}.000000Z")
}

/// A run of which every word that can come from elsewhere is hostile.
fn hostile() -> Report {
    let evil = || EVIL.to_owned();
    let counts = || [(evil(), 3_u64)].into_iter().collect();
    Report {
        folder: evil(),
        files: None,
        record: RunRecord {
            run: evil(),
            kick_offs: vec![KickOff {
                at: at(0),
                status_url: "https://h/jobs/1?token=geheim".to_owned(),
                since: Some(evil()),
                why: evil(),
                types: vec![evil()],
                level: evil(),
                key: evil(),
                ..KickOff::default()
            }],
            manifest: Some(ManifestSeen {
                at: at(3),
                transaction_time: evil(),
                ..ManifestSeen::default()
            }),
            transfer: Some(Transferred {
                at: at(9),
                bytes: 18_000_000,
                bytes_by_type: counts(),
                resources: counts(),
                mode: evil(),
                ..Transferred::default()
            }),
            export_issues: Some(ExportIssues {
                by_severity: counts(),
                by_code: counts(),
                first: vec![FirstIssue {
                    text: "Patient Anna".to_owned(),
                    ..FirstIssue::default()
                }],
                ..ExportIssues::default()
            }),
            deleted: Some(Deleted {
                policy: evil(),
                refresh: Some(evil()),
                ..Deleted::default()
            }),
            attempts: vec![Attempt {
                number: 1,
                at: at(10),
                outcome: Some(evil()),
                message: Some(evil()),
                unverified: Some(evil()),
                ..Attempt::default()
            }],
            outcome: Some(Outcome {
                at: at(20),
                name: evil(),
                message: Some(evil()),
                step: Some(evil()),
            }),
            programs: vec![evil()],
            ..RunRecord::default()
        },
    }
}

#[test]
fn no_word_of_a_server_is_more_than_a_word_on_the_page() {
    let report = hostile();
    let page = page::page(&Facts::of(&report));
    for evil in ["<script", "<img", "\u{1b}", "geheim", "Anna"] {
        assert!(!page.contains(evil), "{evil}: {page}");
    }
    assert!(page.contains("&lt;script&gt;"), "{page}");
    assert!(page.contains("https://h/jobs/1?token=…"), "{page}");
}

#[test]
fn no_word_of_a_server_moves_the_cursor_and_each_stands_on_its_line() {
    let report = hostile();
    let told = text::human(&Facts::of(&report));
    assert!(!told.contains('\u{1b}') && !told.contains("Anna"), "{told}");
    let json = report.record_to_show().unwrap().to_string();
    assert!(!json.contains("Anna") && !json.contains("geheim"), "{json}");
}

#[test]
fn a_run_of_which_nothing_is_known_yet_has_a_page_too() {
    let mut report = Report::default();
    report.record.run = "a1".to_owned();
    let facts = Facts::of(&report);
    let (page, told) = (page::page(&facts), text::human(&facts));
    for words in ["Under way", "The record has no times.", "None is known."] {
        assert!(page.contains(words), "{words}: {page}");
    }
    assert!(told.contains("Outcome Under way"), "{told}");
}

#[test]
fn a_failed_run_says_where_and_of_what() {
    let record = RunRecord {
        run: "a1".to_owned(),
        kick_offs: vec![KickOff {
            at: at(0),
            ..KickOff::default()
        }],
        outcome: Some(Outcome {
            at: at(30),
            name: "ExportFailedError".to_owned(),
            message: Some("GET https://h answered 500".to_owned()),
            step: Some("check-export-status".to_owned()),
        }),
        ..RunRecord::default()
    };
    let report = Report {
        record,
        ..Report::default()
    };
    let facts = Facts::of(&report);
    let told = text::human(&facts);
    assert!(told.contains("Failed: ExportFailedError"), "{told}");
    assert!(told.contains("30 s  failed"), "{told}");
    let page = page::page(&facts);
    let ended = "The run ended with ExportFailedError in check-export-status:";
    assert!(page.contains(ended), "{page}");
}
