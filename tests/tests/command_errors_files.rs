//! What the command does when a file of the export is not what was promised, or cannot be had: exit code, error, a message
//! that names file, line and byte, nothing imported, nothing half-staged; and what heals by itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use pathling_import_tests::check::{
    assert_arrived, assert_no_token_leaks, assert_nothing_half_staged,
};
use pathling_import_tests::{Finished, Records as _, Refusal, pathling_import, refused};
use sandbox::{Answer, Builder, Dataset, Fault, PathlingVersion, Place, Sandbox};
use serde_json::json;

fn answers(place: Place, answer: impl Into<Answer>) -> Fault {
    Fault::answers(place, answer)
}

fn one_file(builder: Builder) -> Builder {
    let data = Dataset::of(&[("Patient", 5)]);
    builder.data(data).resources_per_file(1000)
}

#[tokio::test]
async fn a_file_that_cannot_be_had() {
    let at = Place::File;
    let file = "{source}/jobs/";
    let case = |fault, error| Refusal::fault(fault, error).sandbox(one_file).says(&[file]);
    let gone = |status: u16| case(answers(at, status), "TransferError").says(&["no longer"]);
    let never = |fault| case(fault, "TransferError").says(&["6 attempts"]);
    refused([
        gone(404).says(&["404", "new export"]),
        gone(410).says(&["410"]),
        case(answers(at, 400), "TransferError").says(&["400"]),
        case(answers(at, 401), "AuthenticationError").says(&["401", "SOURCE_SCOPES"]),
        case(answers(at, 403), "AuthenticationError").says(&["403", "SOURCE_SCOPES"]),
        never(answers(at, 500)).says(&["500"]),
        never(answers(at, 502)).says(&["502"]),
        never(Fault::FileCutMidway),
        never(Fault::FileChunkedCutMidway),
        never(Fault::Hang(at))
            .env("IDLE_TIMEOUT", "1")
            .says(&["IDLE_TIMEOUT"]),
        never(Fault::FileHangsMidway)
            .env("IDLE_TIMEOUT", "1")
            .says(&["IDLE_TIMEOUT"]),
    ])
    .await;
}

#[tokio::test]
async fn a_page_or_an_error_in_place_of_a_file() {
    refused([
        Refusal::fault(Fault::Html(Place::File, 200), "IntegrityError")
            .sandbox(one_file)
            .says(&["{source}/jobs/", "line 1", "byte 0"]),
        Refusal::fault(
            answers(Place::File, Answer::new(200).outcome("exception", "x")),
            "IntegrityError",
        )
        .sandbox(one_file)
        .says(&["{source}/jobs/", "OperationOutcome", "line 1"]),
    ])
    .await;
}

#[tokio::test]
async fn a_line_that_would_harm_the_target() {
    // Five patients, of which the one in the middle is spoilt; where it begins follows from the lines before it.
    let sandbox = one_file(Sandbox::builder()).start().await.unwrap();
    let lines = sandbox.resources("Patient");
    let offset: usize = lines[..2].iter().map(|line| line.len() + 1).sum();
    let middle = format!("line 3 (at byte {offset})");
    let case = |fault, words: &[&str]| {
        Refusal::fault(fault, "IntegrityError")
            .sandbox(one_file)
            .says(&["{source}/jobs/", "/files/Patient.0.ndjson"])
            .says(words)
    };
    refused([
        case(Fault::FileBadJson, &[&middle, "not one JSON object"]),
        case(Fault::FileLineWithoutId, &[&middle, "no id"]),
        case(Fault::FileLineEmptyId, &[&middle, "empty"]),
        case(
            Fault::FileLineNumericId,
            &[&middle, "no id that is a string"],
        ),
        case(
            Fault::FileLineOtherType,
            &[&middle, "a Basic, not a Patient"],
        ),
        case(Fault::FileInvalidUtf8, &[&middle, "UTF-8"]),
        case(Fault::FileTwoResourcesOnOneLine, &["line 1 (at byte 0)"]),
        case(Fault::CountWrong, &["5 resources", "promises 6"]),
    ])
    .await;
}

#[tokio::test]
async fn no_message_holds_what_is_in_a_resource() {
    for fault in [
        Fault::FileBadJson,
        Fault::FileLineOtherType,
        Fault::FileInvalidUtf8,
    ] {
        let sandbox = one_file(Sandbox::builder().fault(fault))
            .start()
            .await
            .unwrap();
        let finished = pathling_import(&sandbox).arg("-vvv").run().await;
        finished.expect_error("IntegrityError", &[]);
        for content in ["Müller", "Zoë", "birthDate", "basic-1"] {
            assert!(!finished.all().contains(content), "{}", finished.stderr);
        }
    }
}

/// The run ended well, and everything is in the target.
async fn healed(sandbox: &Sandbox) -> Finished {
    let finished = pathling_import(sandbox).run().await;
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert_arrived(sandbox);
    assert_nothing_half_staged(sandbox);
    assert_no_token_leaks(sandbox);
    finished
}

#[tokio::test]
async fn what_goes_wrong_once_heals_within_the_run() {
    for fault in [
        Fault::FileCutMidway,
        Fault::FileChunkedCutMidway,
        answers(Place::File, 500),
        answers(Place::File, Answer::new(503).retry_after(1)),
        answers(Place::File, Answer::new(429).outcome("throttled", "Slow")),
        Fault::TokenExpires(Place::File),
    ] {
        let sandbox = one_file(Sandbox::builder()).start().await.unwrap();
        sandbox.faults().once(fault.clone());
        let finished = healed(&sandbox).await;
        assert_eq!(sandbox.file_requests().len(), 2, "{fault}");
        // What is renewed in silence is no news; what is asked for again is.
        let told = finished.stderr.contains("; again in ");
        assert_eq!(told, !matches!(fault, Fault::TokenExpires(_)), "{fault}");
    }
}

#[tokio::test]
async fn what_servers_do_to_line_ends_is_no_error_and_two_files_never_join_into_one_line() {
    for fault in [
        Fault::FileWithoutFinalNewline,
        Fault::FileBlankLines,
        Fault::FileBom,
        Fault::CountAbsent,
        Fault::FileLongLine(3 << 20),
    ] {
        let sandbox = Sandbox::builder()
            .data(Dataset::of(&[("Patient", 9)]))
            .resources_per_file(4)
            .fault(fault.clone())
            .start()
            .await
            .unwrap();
        let finished = pathling_import(&sandbox).run().await;
        assert_eq!(finished.code, Some(0), "{fault}: {}", finished.stderr);
        assert_eq!(sandbox.rows("Patient").len(), 9, "{fault}");
        let staged: Vec<Vec<u8>> = sandbox
            .s3_objects()
            .into_iter()
            .filter(|(key, _)| key.contains("/Patient/"))
            .map(|(key, _)| sandbox.s3_object(&key).unwrap())
            .collect();
        assert_eq!(staged.len(), 3, "{fault}");
        assert!(staged.iter().all(|file| file.ends_with(b"}\n")), "{fault}");
        assert_nothing_half_staged(&sandbox);
    }
}

#[tokio::test]
async fn files_with_no_resources_never_empty_a_table() {
    for version in [PathlingVersion::Seven, PathlingVersion::Two] {
        for fault in [
            Fault::FileEmpty,
            Fault::FileOnlyBlankLines,
            Fault::OutputAbsent,
        ] {
            let data = Dataset::of(&[("Condition", 2), ("Patient", 3)]);
            let builder = Sandbox::builder().pathling(version).data(data);
            let sandbox = builder.start().await.unwrap();
            healed(&sandbox).await;
            let imports = sandbox.import_kick_offs().len();
            sandbox.faults().on(fault.clone());
            let finished = pathling_import(&sandbox)
                .env("IMPORT_MODE", "overwrite")
                .arg("--log-format=json")
                .run()
                .await;
            let summary = finished.summary();
            assert_eq!(summary["outcome"], "nothing to import", "{fault}");
            assert_eq!(sandbox.import_kick_offs().len(), imports, "{fault}");
            assert_arrived(&sandbox);
        }
    }
}

#[tokio::test]
async fn an_empty_file_beside_full_ones_leaves_its_table_and_imports_the_rest() {
    for version in [PathlingVersion::Seven, PathlingVersion::Two] {
        let data = Dataset::of(&[("Condition", 2), ("Patient", 3)]);
        let builder = Sandbox::builder().pathling(version).data(data);
        let sandbox = builder.start().await.unwrap();
        healed(&sandbox).await;
        sandbox.source_put(&json!({"resourceType": "Patient", "id": "patient-2", "active": true}));
        // The first file, which is the one of conditions.
        sandbox.faults().once(Fault::FileEmpty);
        let finished = pathling_import(&sandbox)
            .env("IMPORT_MODE", "overwrite")
            .arg("--log-format=json")
            .run()
            .await;
        assert_eq!(finished.summary()["types"], json!({"Patient": 3}));
        assert_arrived(&sandbox);
    }
}

#[tokio::test]
async fn an_id_that_comes_twice_reaches_pathling_as_the_source_wrote_it() {
    // Both rows come into a new table; a merge onto one that has the id is refused, and the message is the target's.
    let sandbox = one_file(Sandbox::builder().fault(Fault::FileDuplicateId));
    let sandbox = sandbox.start().await.unwrap();
    let first = pathling_import(&sandbox).run().await;
    assert_eq!(first.code, Some(0), "{}", first.stderr);
    assert_eq!(sandbox.rows("Patient").len(), 6);
    let again = pathling_import(&sandbox).patience(Duration::from_mins(1));
    let finished = again.run().await;
    finished.expect_error(
        "ImportFailedError",
        &["500", "/$job", "Unexpected error occurred"],
    );
    assert_eq!(sandbox.rows("Patient").len(), 6, "unchanged");
}
