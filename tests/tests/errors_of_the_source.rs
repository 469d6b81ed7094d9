//! What bad input from the source gets, through the real functions: the error's name, a message that says where and what
//! to do, nothing imported, nothing half-staged.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pathling_import_core::config::Step::{self, CheckExportStatus, FhirExport, TransferToS3};
use pathling_import_tests::check::{
    assert_arrived, assert_import_never_asked, assert_no_token_leaks, assert_nothing_half_staged,
};
use pathling_import_tests::{Case, NOBODY, Records as _, Story, prove};
use sandbox::{Answer, Dataset, Fault, Place, Sandbox};

fn answers(place: Place, answer: impl Into<Answer>) -> Fault {
    Fault::answers(place, answer)
}

/// With the words of a server that knows what it says.
fn outcome(status: u16) -> Answer {
    Answer::new(status).outcome("exception", "The disk of the source is full")
}

#[tokio::test]
async fn answers_to_the_kick_off() {
    let case = |fault, error| Case::fault(fault, FhirExport, error).says(&["{source}/$export"]);
    let at = Place::KickOff;
    prove([
        case(Fault::KickOffWithoutContentLocation, "ExportFailedError").says(&["Content-Location"]),
        case(Fault::Html(at, 200), "ExportFailedError").says(&["200", "SOURCE_ENDPOINT"]),
        case(answers(at, 200), "ExportFailedError").says(&["200", "202"]),
        case(answers(at, outcome(400)), "ExportFailedError")
            .says(&["400", "The disk of the source"]),
        case(answers(at, 404), "ExportFailedError").says(&["404"]),
        case(answers(at, outcome(500)), "ExportFailedError")
            .says(&["500", "The disk of the source"]),
        case(answers(at, 401), "AuthenticationError").says(&["401", "SOURCE_SCOPES"]),
        case(answers(at, 403), "AuthenticationError").says(&["403", "SOURCE_SCOPES"]),
        case(answers(at, 500), "SourceUnavailableError").says(&["500"]),
        case(answers(at, 502), "SourceUnavailableError").says(&["502"]),
        case(answers(at, 504), "SourceUnavailableError").says(&["504"]),
        case(answers(at, 429), "SourceUnavailableError").says(&["429"]),
        case(answers(at, outcome(503)), "SourceUnavailableError").says(&["503"]),
        case(Fault::Html(at, 502), "SourceUnavailableError").says(&["502", "HTML"]),
    ])
    .await;
}

#[tokio::test]
async fn answers_to_the_status_request() {
    let case =
        |fault, error| Case::fault(fault, CheckExportStatus, error).says(&["{source}/jobs/"]);
    let at = Place::Status;
    let transient = Answer::new(500).outcome("transient", "Come again");
    prove([
        case(Fault::Html(at, 200), "ManifestError").says(&["200"]),
        case(answers(at, 200), "ManifestError"),
        case(answers(at, outcome(404)), "ExportFailedError").says(&["404", "The disk"]),
        case(answers(at, 404), "ExportFailedError").says(&["404"]),
        case(Fault::SourceLosesJob, "ExportFailedError").says(&["404", "no such export"]),
        case(answers(at, 410), "ExportFailedError").says(&["410"]),
        case(answers(at, outcome(500)), "ExportFailedError").says(&["500", "The disk"]),
        case(answers(at, 401), "AuthenticationError").says(&["401"]),
        case(answers(at, 403), "AuthenticationError").says(&["403", "SOURCE_SCOPES"]),
        case(answers(at, transient), "SourceUnavailableError").says(&["500", "Come again"]),
        case(answers(at, 500), "SourceUnavailableError").says(&["500"]),
        case(answers(at, 502), "SourceUnavailableError").says(&["502"]),
    ])
    .await;
}

#[tokio::test]
async fn manifests_that_are_none() {
    let case = |fault| {
        Case::fault(fault, CheckExportStatus, "ManifestError")
            .says(&["manifest", "whoever runs the source"])
    };
    let lacks = |member: &str| Fault::ManifestLacks(member.to_owned());
    let kind = |name: &str| Fault::OutputType(name.to_owned());
    prove([
        case(Fault::ManifestIsArray).says(&["no JSON object"]),
        case(Fault::ManifestIsOutcome).says(&["OperationOutcome"]),
        case(lacks("transactionTime")).says(&["transactionTime"]),
        case(Fault::OutputWithoutUrl).says(&["output 1", "url"]),
        case(kind("../../x")).says(&["output 1", "resource type"]),
        case(kind("Patient/../..")).says(&["resource type"]),
        case(kind("_parts")).says(&["resource type"]),
        case(kind("")).says(&["output 1"]),
    ])
    .await;
}

/// Files of three, the first of `Condition`, with this fault.
async fn three_to_a_file(fault: &Fault, times: usize) -> Sandbox {
    let sandbox = Sandbox::builder()
        .data(Dataset::of(&[("Condition", 4), ("Patient", 5)]))
        .resources_per_file(3)
        .start()
        .await
        .unwrap();
    sandbox.faults().times(times, fault.clone());
    sandbox
}

/// The first file of the export is wrong, and the message says so at the file, the line and the byte.
async fn is_not_what_was_promised(fault: Fault, place: &[&str]) {
    let sandbox = three_to_a_file(&fault, 1).await;
    let mut story = Story::of(&sandbox);
    let failed = story.tell().await.unwrap_err();
    assert_eq!(failed.step, TransferToS3, "{fault}: {failed:?}");
    assert_eq!(failed.error_type, "IntegrityError", "{fault}: {failed:?}");
    let url = format!("{}/jobs/", sandbox.source_endpoint());
    for word in [url.as_str(), "Condition.0.ndjson"].iter().chain(place) {
        let message = &failed.error_message;
        assert!(message.contains(word), "{fault}: no {word:?} in {message}");
    }
    assert_no_token_leaks(&sandbox);
    assert_nothing_half_staged(&sandbox);
    assert_import_never_asked(&sandbox);
    let staged = sandbox.s3_objects();
    let bad = staged
        .iter()
        .find(|(key, _)| key.contains("/Condition/00000-"));
    assert_eq!(bad, None, "{fault}: it is staged");
}

#[tokio::test]
async fn files_that_are_not_what_was_promised() {
    use is_not_what_was_promised as wrong;
    let second = &["line 2", "byte"];
    tokio::join!(
        wrong(Fault::FileBadJson, second),
        wrong(Fault::FileLineWithoutId, second),
        wrong(Fault::FileLineEmptyId, second),
        wrong(Fault::FileLineNumericId, second),
        wrong(Fault::FileLineOtherType, second),
        wrong(Fault::FileInvalidUtf8, second),
        wrong(Fault::FileTwoResourcesOnOneLine, &["line 1", "byte"]),
        wrong(Fault::CountWrong, &["3 resources", "4"]),
    );
}

async fn arrives(fault: Fault) {
    let sandbox = three_to_a_file(&fault, 1000).await;
    if let Err(failed) = Story::of(&sandbox).tell().await {
        panic!("{fault}: {failed:?}");
    }
    assert_arrived(&sandbox);
    assert_nothing_half_staged(&sandbox);
    for (key, _) in sandbox.s3_objects() {
        let object = sandbox.s3_object(&key).unwrap();
        // No two files can join into one line, whoever reads them one after the other.
        let whole = !key.ends_with(".ndjson") || object.ends_with(b"\n");
        assert!(whole, "{fault}: {key}");
        assert!(!object.starts_with(b"\xef\xbb\xbf"), "{fault}: {key}");
    }
}

#[tokio::test]
async fn files_that_look_odd_and_are_right_arrive() {
    tokio::join!(
        arrives(Fault::FileWithoutFinalNewline),
        arrives(Fault::FileCrlf),
        arrives(Fault::FileBom),
        arrives(Fault::FileBlankLines),
    );
}

#[tokio::test]
async fn answers_that_look_odd_and_are_right_arrive() {
    let lacks = |member: &str| Fault::ManifestLacks(member.to_owned());
    tokio::join!(
        arrives(Fault::CountAbsent),
        arrives(Fault::OutputTwice),
        arrives(Fault::OutputUrlsRelative),
        arrives(Fault::KickOffRelativeContentLocation),
        arrives(Fault::KickOffBodyNotJson),
        arrives(lacks("request")),
        arrives(lacks("error")),
        arrives(lacks("requiresAccessToken")),
    );
}

#[tokio::test]
async fn files_that_cannot_be_had() {
    let case =
        |fault, error| Case::fault(fault, TransferToS3, error).says(&["{source}/jobs/", ".ndjson"]);
    let at = Place::File;
    let idle = |case: Case| case.at_step("IDLE_TIMEOUT", "1");
    prove([
        case(answers(at, 401), "AuthenticationError").says(&["401", "SOURCE_SCOPES"]),
        case(answers(at, 403), "AuthenticationError").says(&["403", "SOURCE_SCOPES"]),
        case(answers(at, outcome(400)), "TransferError").says(&["400", "The disk"]),
        case(answers(at, 404), "TransferError").says(&["404", "new export"]),
        case(answers(at, 500), "TransferError").says(&["500", "6 attempts"]),
        case(answers(at, 502), "TransferError").says(&["502", "6 attempts"]),
        case(Fault::FileCutMidway, "TransferError").says(&["6 attempts"]),
        case(Fault::FileChunkedCutMidway, "TransferError").says(&["6 attempts"]),
        idle(case(Fault::FileHangsMidway, "TransferError")).says(&["IDLE_TIMEOUT"]),
        idle(case(Fault::Hang(at), "TransferError")).says(&["IDLE_TIMEOUT"]),
    ])
    .await;
}

#[tokio::test]
async fn a_file_that_fails_at_first_is_asked_for_again() {
    for fault in [
        Fault::FileCutMidway,
        Fault::FileChunkedCutMidway,
        answers(Place::File, 503),
        answers(Place::File, 404),
        Fault::TokenExpires(Place::File),
    ] {
        let data = Dataset::of(&[("Patient", 5)]);
        let sandbox = Sandbox::builder().data(data).start().await.unwrap();
        sandbox.faults().once(fault.clone());
        if let Err(failed) = Story::of(&sandbox).tell().await {
            panic!("{fault}: {failed:?}");
        }
        assert_arrived(&sandbox);
        assert_eq!(sandbox.file_requests().len(), 2, "{fault}");
    }
}

#[tokio::test]
async fn a_source_that_is_silent_or_not_there() {
    // A listener that takes no connection: its queue is full before the function comes.
    let full = tokio::net::TcpSocket::new_v4().unwrap();
    full.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = full.listen(1).unwrap();
    let deaf = full.local_addr().unwrap();
    let mut queue = tokio::task::JoinSet::new();
    for _ in 0..8 {
        queue.spawn(tokio::net::TcpStream::connect(deaf));
    }
    let nobody: std::net::SocketAddr = NOBODY.parse().unwrap();

    let case = |fault: Fault, step: Step| {
        Case::fault(fault, step, "SourceUnavailableError").at_step("IDLE_TIMEOUT", "1")
    };
    let elsewhere = |what: &str, address: std::net::SocketAddr| {
        Case::of(what, FhirExport, "SourceUnavailableError")
            .env("SOURCE_ENDPOINT", format!("http://{address}/fhir"))
            .env("CONNECT_TIMEOUT", "0.2")
            .says(&[&address.to_string()])
    };
    prove([
        case(Fault::Hang(Place::SmartConfiguration), FhirExport)
            .says(&["smart-configuration", "IDLE_TIMEOUT"]),
        case(Fault::Hang(Place::Token), FhirExport).says(&["{token}", "IDLE_TIMEOUT"]),
        case(Fault::Hang(Place::KickOff), FhirExport).says(&["{source}/$export", "IDLE_TIMEOUT"]),
        case(Fault::Hang(Place::Status), CheckExportStatus)
            .says(&["{source}/jobs/", "IDLE_TIMEOUT"]),
        elsewhere("no connection comes about", deaf).says(&["CONNECT_TIMEOUT"]),
        elsewhere("nobody listens", nobody),
    ])
    .await;
}
