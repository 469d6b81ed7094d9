//! The schema of a run's record (`docs/run-record.schema.json`) names every field that a record can have.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};

use pathling_import_core::progress::Software;
use pathling_import_core::sync::{
    Attempt, Deleted, Duplicates, Effort, ExportIssues, FirstIssue, FromManifest, JobDeleted,
    KickOff, ManifestSeen, Outcome, Repeated, RunRecord, StagedEarly, StagedLine, Transferred,
};
use pathling_import_tests::Schema;
use serde_json::{Value, json};

fn text() -> String {
    "text".to_owned()
}

fn moment() -> String {
    "2026-01-31T02:14:09.113284Z".to_owned()
}

fn list() -> Vec<String> {
    vec![text()]
}

fn counts() -> BTreeMap<String, u64> {
    BTreeMap::from([("Patient".to_owned(), 1)])
}

fn software() -> Software {
    Software {
        name: Some(text()),
        version: Some(text()),
        release_date: Some(text()),
        fhir_version: Some(text()),
    }
}

fn kick_off() -> KickOff {
    KickOff {
        at: moment(),
        date: Some(text()),
        status_url: text(),
        since: Some(text()),
        why: text(),
        mode: Some(text()),
        types: list(),
        until: Some(text()),
        level: text(),
        method: text(),
        request_id: Some(text()),
        unanswered: list(),
        key: text(),
        seen: Some(moment()),
        software: Some(software()),
        manifest: Some(FromManifest {
            anew: true,
            imported_before: Some(moment()),
        }),
    }
}

fn transferred() -> Transferred {
    Transferred {
        at: moment(),
        staged: Some(moment()),
        seconds: 1.5,
        files: 1,
        fetched: 1,
        bytes: 1,
        bytes_by_type: counts(),
        resources: counts(),
        unsupported: list(),
        deletions: 1,
        export_errors: 1,
        mode: text(),
        missing: list(),
        emptied: true,
        parameters: json!({}),
    }
}

fn issues() -> ExportIssues {
    ExportIssues {
        at: moment(),
        files: 1,
        missing: 1,
        by_severity: counts(),
        by_code: counts(),
        not_outcomes: 1,
        too_long: 1,
        first: vec![FirstIssue {
            severity: text(),
            code: text(),
            text: text(),
        }],
        policy: text(),
        watermark: Some(text()),
    }
}

fn deleted() -> Deleted {
    Deleted {
        at: moment(),
        files: 1,
        missing: 1,
        found: 1,
        unclear: 1,
        policy: text(),
        needless: true,
        listed: true,
        turn: Some(1),
        applied: BTreeMap::from([("Patient".to_owned(), 1)]),
        left: Some(1),
        done: Some(moment()),
        refresh: Some(text()),
    }
}

fn attempt() -> Attempt {
    Attempt {
        number: 1,
        at: moment(),
        parameters: json!({}),
        asked: Some(moment()),
        status_url: Some(text()),
        software: Some(software()),
        unsupported: list(),
        done: Some(moment()),
        verified: Some(moment()),
        ended: Some(moment()),
        outcome: Some("succeeded".to_owned()),
        message: Some(text()),
        before: counts(),
        after: counts(),
        unverified: Some(text()),
    }
}

/// A record in which every field is there. Whoever adds one is told so here by the compiler.
fn whole() -> RunRecord {
    RunRecord {
        version: 1,
        run: text(),
        kick_offs: vec![kick_off()],
        moved: vec![(moment(), text())],
        manifest: Some(ManifestSeen {
            at: moment(),
            complete: Some(moment()),
            transaction_time: text(),
            outputs: 1,
            expires: Some(moment()),
        }),
        transfer_began: Some(moment()),
        moved_at: Some(moment()),
        shared: true,
        early: Some(StagedEarly {
            notes: 1,
            settled: true,
        }),
        replaced: true,
        transfer: Some(transferred()),
        export_issues: Some(issues()),
        duplicates: Some(Duplicates {
            at: moment(),
            found: 1,
            unread: 1,
            stopped: true,
            first: vec![Repeated {
                resource_type: text(),
                count: 2,
                unread: true,
                lines: vec![StagedLine {
                    file: text(),
                    line: 1,
                }],
            }],
        }),
        deleted: Some(deleted()),
        job_deleted: Some(JobDeleted {
            at: moment(),
            status_url: text(),
            kick_off: Some(moment()),
            answer: Some(202),
        }),
        attempts: vec![attempt()],
        outcome: Some(Outcome {
            at: moment(),
            name: text(),
            message: Some(text()),
            step: Some(text()),
        }),
        effort: Some(Effort {
            retries: 1,
            waits: counts(),
        }),
        programs: list(),
        others: serde_json::Map::new(),
    }
}

/// The paths of all fields of a value; what the schema calls an object of any content, or of counts, is not looked into.
fn fields(value: &Value, path: &str, known: &BTreeSet<String>, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            let beginning = if path.is_empty() {
                String::new()
            } else {
                format!("{path}.")
            };
            let is_open = !path.is_empty() && !known.iter().any(|it| it.starts_with(&beginning));
            for (name, value) in object.iter().filter(|_| !is_open) {
                let path = format!("{beginning}{name}");
                fields(value, &path, known, found);
                found.insert(path);
            }
        }
        Value::Array(items) => {
            for item in items {
                fields(item, &format!("{path}[]"), known, found);
            }
        }
        _ => {}
    }
}

#[test]
fn the_schema_names_every_field_that_a_record_can_have_and_no_other() {
    let schema = Schema::of_run_records();
    let value = serde_json::to_value(whole()).unwrap();
    schema.assert_describes(&value);
    let named: BTreeSet<String> = schema.fields().into_iter().collect();
    let mut found = BTreeSet::new();
    fields(&value, "", &named, &mut found);
    assert_eq!(named, found);
}

#[test]
fn a_record_that_is_not_as_the_schema_says_is_seen() {
    let schema = Schema::of_run_records();
    for (pointer, wrong) in [
        ("/run", json!(1)),
        ("/kickOffs/0/at", json!("yesterday")),
        ("/attempts/0/outcome", json!("well")),
        ("/transfer/resources/Patient", json!(-1)),
        ("/effort", json!({"retries": 1, "unknown": 1})),
    ] {
        let mut value = serde_json::to_value(whole()).unwrap();
        *value.pointer_mut(pointer).unwrap() = wrong;
        let seen = std::panic::catch_unwind(|| {
            Schema::of_run_records().assert_describes(&value);
        });
        assert!(seen.is_err(), "{pointer}");
    }
    schema.assert_describes(&serde_json::to_value(whole()).unwrap());
}
