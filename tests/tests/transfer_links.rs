//! Links that expire in the middle of a transfer: the manifest, asked for once more, lends others, and nothing but them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pathling_import_core::config::Step;
use pathling_import_core::staging::layout;
use pathling_import_tests::check::assert_nothing_half_staged;
use pathling_import_tests::moment::{until, until_asked};
use pathling_import_tests::staged::{assert_staged, only_run, staging_folder};
use pathling_import_tests::traffic::{Traffic as _, assert_appeared_once, assert_parts_once};
use pathling_import_tests::{Function, Story, Transferring, side_by_side};
use sandbox::{Answer, Builder, Dataset, Fault, Place, Recorded, Sandbox, Switch, TokenClaim};
use serde_json::{Value, json};

const PART: u64 = 5 << 20;

const LENGTH: u64 = 4 * PART - 777_777;

const SMALL_PARTS: (&str, &str) = ("TRANSFER_MEMORY", "20MiB");

const ONE_AT_A_TIME: (&str, &str) = ("TRANSFER_CONCURRENCY", "1");

/// How many files there are of small ones.
const FILES: usize = 8;

/// An export whose links are signed, and want a token beside that or none.
fn signed(token: bool) -> Builder {
    let claim = if token {
        TokenClaim::True
    } else {
        TokenClaim::False
    };
    let builder = Sandbox::builder().data(Dataset::empty()).signed_links(true);
    builder.fault(Fault::RequiresAccessToken(claim))
}

fn small_files(token: bool) -> Builder {
    let data = Dataset::of(&[("Condition", 12), ("Patient", 12)]);
    signed(token).data(data).resources_per_file(3)
}

fn large_file(token: bool) -> Builder {
    signed(token).synthetic_file("Observation", LENGTH)
}

/// The statuses of links that have expired, for requests with a token and without one.
fn refusals() -> impl Iterator<Item = (u16, bool)> {
    [403, 404, 410]
        .into_iter()
        .flat_map(|status| [(status, true), (status, false)])
}

fn times(times: usize, fault: Fault) -> Switch {
    let times = Some(times);
    Switch { fault, times }
}

/// The polls of the export's status URL, however they were answered.
fn polls(sandbox: &Sandbox) -> Vec<Recorded> {
    let mut requests = sandbox.requests();
    requests.retain(is_poll);
    requests
}

fn is_poll(request: &Recorded) -> bool {
    request.method == "GET" && request.path.contains("/jobs/") && !request.path.contains("/files/")
}

/// The text of the run's manifest.
fn stored_manifest(sandbox: &Sandbox) -> (String, Vec<u8>) {
    let objects = sandbox.s3_objects();
    let mut keys = objects.into_iter().map(|(key, _)| key);
    let key = keys.find(|key| key.ends_with("/_manifest.json")).unwrap();
    let run = key.split('/').nth(2).unwrap().to_owned();
    (run, sandbox.s3_object(&key).unwrap())
}

/// Everything is staged, byte for byte and once, under the keys that follow from the stored manifest.
fn assert_as_stored(sandbox: &Sandbox) {
    assert_staged(sandbox);
    assert_appeared_once(sandbox);
    assert_nothing_half_staged(sandbox);
    let (run, manifest) = stored_manifest(sandbox);
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let staged = only_run(&staging_folder(sandbox));
    for (index, output) in manifest["output"].as_array().unwrap().iter().enumerate() {
        let (kind, url) = (
            output["type"].as_str().unwrap(),
            output["url"].as_str().unwrap(),
        );
        assert_eq!(
            staged[&index].key,
            layout::file_key(&run, kind, index, url),
            "{url}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_that_expire_are_had_anew_with_one_more_manifest_and_everything_is_staged() {
    side_by_side(3, refusals(), |(status, token)| async move {
        let expire = times(1, Fault::FilesExpireAfter(3, status));
        let mut transfer = Transferring::of(small_files(token).fault(expire), &[]).await;
        let (_, manifest) = stored_manifest(&transfer.sandbox);
        transfer.sandbox.clear_requests();
        transfer.succeed().await;
        let sandbox = &transfer.sandbox;
        assert_as_stored(sandbox);
        assert_eq!(stored_manifest(sandbox).1, manifest, "it never changes");
        assert_eq!(sandbox.manifests(), 1, "all files share one");
        let downloads = sandbox.downloads();
        let refused = downloads.iter().filter(|it| it.status == Some(status));
        assert!(refused.count() > 0, "no link had expired");
        assert!(downloads.len() <= 2 * FILES, "{}", downloads.len());
        let with_token = downloads.iter().filter(|it| it.has_token()).count();
        assert_eq!(with_token, if token { downloads.len() } else { 0 });
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_whose_link_expires_in_its_middle_goes_on_there_with_the_fresh_one() {
    side_by_side(2, refusals(), |(status, token)| async move {
        let at = 2 * PART + 1_234_567;
        let builder = large_file(token)
            .fault(times(1, Fault::FileCutAt(at)))
            .fault(times(1, Fault::FilesExpireAfter(1, status)));
        let mut transfer = Transferring::of(builder, &[SMALL_PARTS]).await;
        transfer.succeed().await;
        assert_as_stored(&transfer.sandbox);
        assert_parts_once(&transfer.sandbox, 4);
        let downloads = transfer.sandbox.downloads();
        let statuses: Vec<_> = downloads.iter().filter_map(|it| it.status).collect();
        assert_eq!(statuses, [200, status, 206]);
        assert_eq!(downloads[2].headers["range"], format!("bytes={at}-"));
        assert_ne!(downloads[2].query, downloads[1].query, "the same link");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_that_expire_a_second_time_are_had_anew_a_second_time() {
    side_by_side(2, [true, false], |token| async move {
        // Each manifest's links are good for one request, and there are three files.
        let data = Dataset::of(&[("Patient", 9)]);
        let builder = small_files(token)
            .data(data)
            .fault(Fault::FilesExpireAfter(1, 403));
        let mut transfer = Transferring::of(builder, &[ONE_AT_A_TIME]).await;
        transfer.sandbox.clear_requests();
        let sandbox = transfer.sandbox.clone();
        let faults = sandbox.faults();
        faults.once(Fault::Delay(Place::Status, 3_000));
        let patience = async {
            until_asked(&sandbox, 1, is_poll).await;
            // By the time that the second one expires, its manifest is no longer the newest that there can be.
            let wait = Answer::new(429).retry_after(11);
            faults.once(Fault::answers(Place::File, wait));
        };
        tokio::join!(transfer.succeed(), patience);
        assert_as_stored(&transfer.sandbox);
        assert_eq!(transfer.sandbox.manifests(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_fresh_links_are_no_better_the_error_says_so_after_a_few_requests() {
    side_by_side(3, refusals(), |(status, token)| async move {
        let builder = small_files(token).fault(Fault::FilesExpireAfter(0, status));
        let mut transfer = Transferring::of(builder, &[]).await;
        transfer.sandbox.clear_requests();
        let name = match (status, token) {
            (403, true) => "AuthenticationError",
            _ => "TransferError",
        };
        let said = format!("answered {status}");
        let words = ["the manifest was fetched again", "/files/", &said];
        transfer.fail(name, &words).await;
        let polls = polls(&transfer.sandbox).len();
        assert!((1..=2).contains(&polls), "{polls} polls");
        assert!(transfer.sandbox.downloads().len() <= 4 * FILES);
        assert_nothing_half_staged(&transfer.sandbox);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_there_is_no_fresh_link_the_error_says_why_after_a_few_requests() {
    side_by_side(2, [404, 403, 200], |answer| async move {
        let mut transfer = Transferring::of(small_files(false), &[]).await;
        let sandbox = transfer.sandbox.clone();
        sandbox.clear_requests();
        sandbox.expire_links(403);
        sandbox.faults().on(match answer {
            200 => Fault::ManifestIsArray,
            status => Fault::answers(Place::Status, status),
        });
        let said = match answer {
            200 => "/jobs/".to_owned(),
            status => format!("answered {status}"),
        };
        let words = ["the manifest could not be fetched again", &said, "/files/"];
        transfer.fail("TransferError", &words).await;
        let polls = polls(&sandbox).len();
        assert!((1..=2).contains(&polls), "{polls} polls");
        assert_nothing_half_staged(&sandbox);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_url_that_cannot_answer_for_a_moment_is_asked_again() {
    let answers = [
        Answer::new(503).retry_after(1),
        Answer::new(429).retry_after(1),
        Answer::new(500),
        Answer::new(502),
    ];
    side_by_side(2, answers, |answer| async move {
        let mut transfer = Transferring::of(small_files(true), &[]).await;
        let sandbox = transfer.sandbox.clone();
        sandbox.clear_requests();
        sandbox.expire_links(403);
        let asked_to_wait = answer.retry_after.is_some();
        sandbox
            .faults()
            .times(3, Fault::answers(Place::Status, answer));
        transfer.succeed().await;
        assert_as_stored(&sandbox);
        let polls = polls(&sandbox);
        assert_eq!(polls.len(), 4);
        for pair in polls.windows(2).filter(|_| asked_to_wait) {
            let wait = pair[1].at.saturating_sub(pair[0].at);
            assert!(wait.as_secs() >= 1, "asked again after {wait:?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_url_that_never_answers_is_given_up_and_the_next_call_goes_on() {
    let builder = large_file(false).fault(times(1, Fault::FileCutAt(2 * PART + 5)));
    let builder = builder.fault(times(1, Fault::FilesExpireAfter(1, 403)));
    let mut transfer = Transferring::of(builder, &[SMALL_PARTS]).await;
    let sandbox = transfer.sandbox.clone();
    sandbox.clear_requests();
    let ill = Fault::answers(Place::Status, 500);
    sandbox.faults().on(ill.clone());
    let words = ["6 attempts", "could not be fetched again", "answered 500"];
    transfer.fail("TransferError", &words).await;
    assert!((2..=6).contains(&polls(&sandbox).len()));
    sandbox.faults().off(ill);
    transfer.restart().await;
    transfer.succeed().await;
    assert_as_stored(&sandbox);
    assert_parts_once(&sandbox, 4);
}

#[tokio::test]
async fn where_nobody_knows_the_status_url_the_error_says_so() {
    let transfer = Transferring::of(small_files(false), &[]).await;
    transfer.sandbox.expire_links(403);
    let mut event = transfer.event().clone();
    // The run's record would know it.
    for member in ["statusUrl", "run"] {
        event.as_object_mut().unwrap().remove(member).unwrap();
    }
    let mut function = Function::start("transfer-to-s3", &transfer.env()).await;
    let error = function.invoke(event).await.unwrap_err();
    assert_eq!(error.error_type, "TransferError");
    for word in ["status URL is not known", "/files/", "answered 403"] {
        assert!(error.error_message.contains(word), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_runs_record_knows_the_status_url_where_the_event_does_not() {
    let transfer = Transferring::of(small_files(false), &[]).await;
    transfer.sandbox.expire_links(403);
    let mut event = transfer.event().clone();
    event
        .as_object_mut()
        .unwrap()
        .remove("statusUrl")
        .expect("the event has it otherwise");
    let mut function = Function::start("transfer-to-s3", &transfer.env()).await;
    function.invoke(event).await.unwrap();
    assert_as_stored(&transfer.sandbox);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_that_is_fetched_again_lends_its_links_and_changes_nothing_else() {
    let builder = small_files(true).fault(times(1, Fault::FilesExpireAfter(3, 403)));
    let mut transfer = Transferring::of(builder, &[]).await;
    let (_, manifest) = stored_manifest(&transfer.sandbox);
    // The fresh one promises another number of resources, and has one output more.
    transfer.sandbox.faults().on(Fault::CountWrong);
    transfer.sandbox.faults().on(Fault::OutputTwice);
    transfer.sandbox.clear_requests();
    transfer.succeed().await;
    assert_eq!(transfer.sandbox.manifests(), 1);
    assert_as_stored(&transfer.sandbox);
    assert_eq!(only_run(&staging_folder(&transfer.sandbox)).len(), FILES);
    assert_eq!(stored_manifest(&transfer.sandbox).1, manifest);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_process_goes_on_in_the_middle_of_a_file_although_its_links_have_expired() {
    // A next call has the event of the last one, or that of a manifest that was asked for anew.
    side_by_side(2, [false, true], |anew| async move {
        let at = 3 * PART + 5;
        let builder = large_file(true).fault(times(1, Fault::FileCutAt(at)));
        let mut transfer =
            Transferring::of(builder.fault(Fault::FileCutAt(0)), &[SMALL_PARTS]).await;
        transfer.fail("TransferError", &["6 attempts"]).await;
        let sandbox = transfer.sandbox.clone();
        sandbox.faults().off(Fault::FileCutAt(0));
        transfer.restart().await;
        sandbox.expire_links(403);
        let (name, value) = SMALL_PARTS;
        let mut story = Story::of(&sandbox).with(name, value);
        let mut event = transfer.event().clone();
        if anew {
            let query = json!({"run": event["run"], "statusUrl": event["statusUrl"]});
            event = story.finish(Step::CheckExportStatus, &query).await.unwrap();
        }
        let before = sandbox.downloads().len();
        story.finish(Step::TransferToS3, &event).await.unwrap();
        assert_as_stored(&sandbox);
        assert_parts_once(&sandbox, 4);
        let downloads = sandbox.downloads().split_off(before);
        let statuses: Vec<_> = downloads.iter().filter_map(|it| it.status).collect();
        // A fresh link that comes with the event is taken at once.
        assert_eq!(statuses.last(), Some(&206), "{statuses:?}");
        assert_eq!(statuses.contains(&403), !anew, "{statuses:?}");
        until("the end of the file is noted", || {
            sandbox.downloads().last().is_some_and(|it| it.sent > 0)
        })
        .await;
        assert!(sandbox.downloads().last().unwrap().sent < LENGTH / 2);
    })
    .await;
}
