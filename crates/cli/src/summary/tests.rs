use pathling_import_core::config::Step;
use pathling_import_core::sync::{Attempt, KickOff, ManifestSeen, Transferred};

use super::*;

fn record() -> RunRecord {
    let parameters = json!({"resourceType": "Parameters", "parameter": [
        {"name": "source", "part": [
            {"name": "resourceType", "valueCode": "Patient"},
            {"name": "url", "valueUrl": "s3://b/runs/a1/Patient/*.ndjson"},
            {"name": "mode", "valueCode": "merge"},
        ]},
    ]});
    let resources = [
        ("Bundle", 3),
        ("Foo", 1),
        ("Observation", 12_345),
        ("Patient", 10),
        ("Task", 0),
    ];
    RunRecord {
        manifest: Some(ManifestSeen {
            transaction_time: "2026-02-01T00:00:00Z".to_owned(),
            ..ManifestSeen::default()
        }),
        transfer: Some(Transferred {
            files: 5,
            fetched: 3,
            bytes: 18_800_000,
            resources: resources
                .map(|(name, count)| (name.to_owned(), count))
                .into(),
            unsupported: vec!["Bundle".to_owned()],
            deletions: 1,
            export_errors: 2,
            parameters,
            ..Transferred::default()
        }),
        attempts: vec![Attempt {
            number: 1,
            unsupported: vec!["Foo".to_owned()],
            ..Attempt::default()
        }],
        ..RunRecord::default()
    }
}

fn finished() -> Finished {
    let took = [200, 900_000, 3_000, 100, 5_000].map(Duration::from_millis);
    Finished {
        run: "a1".to_owned(),
        imported: true,
        resumed: false,
        extent: Some(Extent::Full),
        phases: Step::FIVE.into_iter().zip(took).collect(),
    }
}

fn summary(finished: Finished, record: &RunRecord) -> Summary {
    Summary::new(
        finished,
        (record, SyncState::default()),
        "s3://b/runs/a1".to_owned(),
        "https://target.example.org/fhir".to_owned(),
        false,
    )
}

#[test]
fn a_person_reads_what_arrived_what_was_skipped_and_how_long_it_took() {
    let expected = "\
Imported 12,355 resources of 2 types into https://target.example.org/fhir

  Observation  12,345
  Patient          10

Skipped
  types that the target cannot hold:
  Bundle  3
  Foo     1
  1 file of deletions: not applied, so the target may hold what the source deleted
  2 files of errors: the source could not export everything

Run     a1 (full export)
As of   2026-02-01T00:00:00Z, which is the SINCE of a next delta
Mode    merge
Counted the target holds what was staged
Staged  5 files (2 there already), 18.80 MB, in s3://b/runs/a1
Took    15 min 8 s (export 15 min, transfer 3 s, import 5.1 s)
";
    assert_eq!(summary(finished(), &record()).human(), expected);
}

#[test]
fn a_program_reads_the_same() {
    let json = summary(finished(), &record()).json();
    assert_eq!(
        json,
        json!({
            "outcome": "imported", "complete": true, "run": "a1", "resumed": false, "since": null,
            "transactionTime": "2026-02-01T00:00:00Z", "mode": "merge",
            "target": "https://target.example.org/fhir",
            "types": {"Observation": 12_345, "Patient": 10}, "resources": 12_355,
            "files": 5, "fetched": 3, "bytes": 18_800_000, "staged": "s3://b/runs/a1",
            "skipped": {"unsupported": {"Bundle": 3, "Foo": 1}, "deletions": 1, "exportErrors": 2},
            "attempts": 1, "verified": true,
            "seconds": {"fhir-export": 0.2, "check-export-status": 900.0, "transfer-to-s3": 3.0,
                "pathling-import": 0.1, "check-import-status": 5.0, "total": 908.3},
        })
    );
}

#[test]
fn an_empty_export_is_nothing_to_import() {
    let nothing = Finished {
        imported: false,
        ..finished()
    };
    let empty = summary(nothing.clone(), &RunRecord::default());
    assert!(
        empty
            .human()
            .starts_with("Nothing to import: the export holds no resources\n\nRun ")
    );
    assert_eq!(empty.json()["outcome"], "nothing to import");
    let mut of_types = RunRecord::default();
    of_types.kick_offs.push(KickOff {
        types: vec!["Patient".to_owned()],
        ..KickOff::default()
    });
    let said = summary(nothing.clone(), &of_types).human();
    let line = "Nothing to import: the export holds no resources of the TYPES that are set\n";
    assert!(said.starts_with(line), "{said}");
    let unheld = summary(nothing, &record());
    assert!(unheld.human().starts_with(
        "Nothing to import: the target can hold none of the exported types\n\nSkipped"
    ));
    assert_eq!(unheld.json()["resources"], 0);
    assert_eq!(unheld.json()["skipped"]["unsupported"]["Patient"], 10);
}

#[test]
fn a_run_that_went_on_says_so_and_tells_only_the_phases_of_this_start() {
    let resumed = Finished {
        resumed: true,
        extent: Some(Extent::Since("2026-01-01T00:00:00Z".to_owned())),
        phases: vec![
            (Step::TransferToS3, Duration::from_secs(2)),
            (Step::PathlingImport, Duration::from_secs(1)),
        ],
        ..finished()
    };
    let mut record = record();
    record.attempts.push(Attempt {
        number: 2,
        ..Attempt::default()
    });
    let text = summary(resumed, &record).human();
    assert!(
        text.contains(
            "Run     a1 (changes since 2026-01-01T00:00:00Z, begun by an earlier start)\n"
        ),
        "{text}"
    );
    assert!(text.contains("Mode    merge (attempt 2)\n"), "{text}");
    assert!(
        text.ends_with("Took    3 s (transfer 2 s, import 1 s)\n"),
        "{text}"
    );
}

#[test]
fn a_kick_off_that_nobody_answered_is_told_because_its_export_may_still_run() {
    let mut record = record();
    let human = summary(finished(), &record).human();
    assert!(!human.contains("never answered"), "{human}");
    record.kick_offs = vec![KickOff {
        unanswered: vec!["2026-02-01T00:00:00Z".to_owned()],
        ..KickOff::default()
    }];
    let told = summary(finished(), &record);
    let line = "A kick-off of 2026-02-01T00:00:00Z was never answered: a second export may be running at the source";
    assert!(told.human().contains(line), "{}", told.human());
    assert_eq!(told.json()["unanswered"][0], "2026-02-01T00:00:00Z");
}

#[test]
fn a_time_that_is_no_instant_is_not_offered_as_a_since() {
    let mut record = record();
    for time in ["yesterday", "2026-02-01", "2026-02-01T00:00:00"] {
        record.manifest.as_mut().unwrap().transaction_time = time.to_owned();
        let human = summary(finished(), &record).human();
        let line = format!("As of   {time}, which is no instant");
        assert!(human.contains(&line), "{human}");
        assert!(!human.contains("is the SINCE of"), "{human}");
    }
}

#[test]
fn a_run_that_is_held_is_not_complete_and_says_from_where_to_go_on() {
    let mut record = record();
    record.export_issues = Some(ExportIssues {
        watermark: Some("held".to_owned()),
        ..ExportIssues::default()
    });
    assert_eq!(summary(finished(), &record).json()["complete"], false);
    let since = Extent::Since("2026-01-01T00:00:00Z".to_owned());
    for (extent, advice) in [
        (Extent::Full, "export in full again"),
        (since, "keep the SINCE before it"),
    ] {
        let held = Finished {
            extent: Some(extent),
            ..finished()
        };
        let human = summary(held, &record).human();
        assert!(human.contains(advice), "{human}");
    }
}

#[test]
fn every_field_is_described() {
    let mut record = record();
    record.export_issues = Some(ExportIssues::default());
    record.kick_offs = vec![KickOff {
        unanswered: vec!["2026-02-01T00:00:00Z".to_owned()],
        ..KickOff::default()
    }];
    let mut all = summary(finished(), &record);
    all.next_since = Some("2026-01-31T00:00:00Z".to_owned());
    all.watermark = Some(Watermark::default());
    all.due = Some(Due::default());
    all.deleted = Some(Deleted::default());
    all.imported_before = Some("2026-01-31T00:00:00Z".to_owned());
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/summary.md");
    let page = std::fs::read_to_string(path).unwrap();
    let mut missing = Vec::new();
    for (name, value) in all.json().as_object().unwrap() {
        let within = match name.as_str() {
            "skipped" => value.as_object().unwrap().keys().collect(),
            "exportIssues" | "deletions" => {
                let names = value.as_object().unwrap().keys();
                missing.extend(
                    names
                        .filter(|it| !page.contains(&format!("`{it}`")))
                        .cloned(),
                );
                Vec::new()
            }
            _ => Vec::new(),
        };
        let rows = within.iter().map(|it| format!("| `{name}.{it}` |"));
        let row = within.is_empty().then(|| format!("| `{name}` |"));
        missing.extend(rows.chain(row).filter(|row| !page.contains(row)));
    }
    assert!(missing.is_empty(), "docs/summary.md lacks {missing:?}");
}
