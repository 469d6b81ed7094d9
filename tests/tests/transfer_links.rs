//! Links: those that expire are had anew, once; one that is there twice is one file; and different ones are different files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pathling_import_core::config::Step;
use pathling_import_tests::check::assert_no_token_leaks;
use pathling_import_tests::staged::{assert_staged, only_run, staging_folder};
use pathling_import_tests::traffic::{Traffic as _, assert_appeared_once};
use pathling_import_tests::{Story, ToldSource, Transferring, pathling_import, side_by_side};
use sandbox::{Builder, Dataset, Fault, Sandbox, Switch, TokenClaim};
use serde_json::json;

/// Signed links to files at another origin, which takes no token.
fn signed() -> Builder {
    Sandbox::builder()
        .data(Dataset::of(&[("Condition", 8), ("Patient", 8)]))
        .resources_per_file(2)
        .fault(Fault::RequiresAccessToken(TokenClaim::False))
        .files_elsewhere()
        .signed_links(true)
}

#[tokio::test]
async fn links_that_have_expired_are_had_anew_by_one_fetch_of_the_manifest() {
    for status in [403, 404, 410] {
        let mut transfer = Transferring::of(signed(), &[]).await;
        transfer.sandbox.expire_links(status);
        let before = transfer.sandbox.manifests();
        transfer.succeed().await;
        assert_staged(&transfer.sandbox);
        assert_appeared_once(&transfer.sandbox);
        assert_eq!(transfer.sandbox.manifests(), before + 1, "{status}");
    }
}

#[tokio::test]
async fn links_that_have_expired_are_had_anew_where_a_token_goes_with_them_too() {
    for status in [403, 404, 410] {
        let builder = Sandbox::builder()
            .data(Dataset::of(&[("Patient", 8)]))
            .resources_per_file(2)
            .signed_links(true);
        let mut transfer = Transferring::of(builder, &[]).await;
        transfer.sandbox.expire_links(status);
        let before = transfer.sandbox.manifests();
        transfer.succeed().await;
        assert_staged(&transfer.sandbox);
        assert_eq!(transfer.sandbox.manifests(), before + 1, "{status}");
    }
}

#[tokio::test]
async fn links_that_expire_in_mid_transfer_are_had_anew_too() {
    for status in [403, 410] {
        let expires = Switch {
            fault: Fault::FilesExpireAfter(3, status),
            times: Some(1),
        };
        let mut transfer = Transferring::of(signed().fault(expires), &[]).await;
        let before = transfer.sandbox.manifests();
        transfer.succeed().await;
        assert_staged(&transfer.sandbox);
        assert_appeared_once(&transfer.sandbox);
        assert_eq!(transfer.sandbox.manifests(), before + 1, "{status}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_expires_in_the_middle_of_a_file_is_had_anew_and_the_file_goes_on() {
    let length: u64 = 18 << 20;
    let cut = length / 2;
    let builder = Sandbox::builder()
        .data(Dataset::empty())
        .synthetic_file("Patient", length)
        .files_elsewhere()
        .signed_links(true)
        .fault(Switch {
            fault: Fault::FilesExpireAfter(1, 403),
            times: Some(1),
        })
        .fault(Switch {
            fault: Fault::FileCutAt(cut),
            times: Some(1),
        });
    let mut transfer = Transferring::of(builder, &[("TRANSFER_MEMORY", "20MiB")]).await;
    let before = transfer.sandbox.manifests();
    transfer.succeed().await;
    assert_staged(&transfer.sandbox);
    assert_eq!(transfer.sandbox.manifests(), before + 1);
    let last = transfer.sandbox.downloads().pop().unwrap();
    assert_eq!(last.status, Some(206));
    assert_eq!(last.headers["range"], format!("bytes={cut}-"));
}

#[tokio::test]
async fn where_the_fresh_manifest_is_no_better_the_error_says_so_and_nothing_is_tried_for_ever() {
    for status in [403, 404, 410] {
        let builder = signed().fault(Fault::FilesExpireAfter(0, status));
        let mut transfer = Transferring::of(builder, &[]).await;
        let before = transfer.sandbox.manifests();
        let said = status.to_string();
        let words = ["/files/", &said, "new export"];
        let message = transfer.fail("TransferError", &words).await;
        assert!(message.contains("fetched again"), "{message}");
        assert!(!message.contains("X-Amz-Signature=0"), "{message}");
        assert_eq!(transfer.sandbox.manifests(), before + 1, "{status}");
    }
}

#[tokio::test]
async fn the_command_gives_up_for_good_where_no_link_helps() {
    let builder = signed().fault(Fault::FilesExpireAfter(0, 403));
    let sandbox = builder.start().await.unwrap();
    let finished = pathling_import(&sandbox).run().await;
    finished.expect_error("TransferError", &["403", "new export"]);
    // The export's own poll, and the one fresh fetch: trying the step again is not worth it.
    assert_eq!(sandbox.manifests(), 2);
    sandbox.faults().clear();
    let _ = pathling_import(&sandbox).run().await.expect_code(0);
    assert_no_token_leaks(&sandbox);
}

#[tokio::test]
async fn without_a_status_url_there_is_no_manifest_to_fetch() {
    let sandbox = signed().start().await.unwrap();
    let mut story = Story::of(&sandbox);
    let complete = story.until(Step::TransferToS3).await.unwrap();
    sandbox.expire_links(403);
    let before = sandbox.manifests();
    let alone = json!({"result": complete["result"]});
    let failed = story.finish(Step::TransferToS3, &alone).await.unwrap_err();
    assert_eq!(failed.error_type, "TransferError", "{failed:?}");
    assert_eq!(sandbox.manifests(), before);
}

#[tokio::test]
async fn a_manifest_that_is_fetched_again_lends_its_links_and_changes_nothing_else() {
    // Whatever the second one says of the files: the first is the plan.
    for fault in [Fault::CountWrong, Fault::OutputTwice] {
        let mut transfer = Transferring::of(signed(), &[]).await;
        transfer.sandbox.expire_links(403);
        transfer.sandbox.faults().once(fault.clone());
        transfer.succeed().await;
        assert_staged(&transfer.sandbox);
        assert_appeared_once(&transfer.sandbox);
        assert!(transfer.sandbox.faults().active().is_empty(), "{fault}");
    }
}

#[tokio::test]
async fn one_link_twice_is_one_file() {
    let builder = Sandbox::builder()
        .data(Dataset::of(&[("Condition", 4), ("Patient", 4)]))
        .resources_per_file(2)
        .fault(Fault::OutputTwice);
    let mut transfer = Transferring::of(builder, &[]).await;
    transfer.succeed().await;
    assert_staged(&transfer.sandbox);
    assert_appeared_once(&transfer.sandbox);
    let asked = transfer.sandbox.times_asked();
    assert!(asked.values().all(|times| *times == 1), "{asked:?}");
    assert_eq!(asked.len(), 4);
}

#[tokio::test]
async fn links_that_differ_in_anything_but_a_signature_are_different_files() {
    let file = "{\"resourceType\":\"Patient\",\"id\":\"1\"}\n";
    let names = ["a?x=1", "a?x=2", "a", "A", "a%2Fb", "a;b", "a?x=1&y=2"];
    let output: Vec<_> = names
        .iter()
        .map(|name| json!({"type": "Patient", "url": format!("{{source}}/files/{name}")}))
        .collect();
    let manifest = json!({
        "transactionTime": "2026-01-31T00:00:00Z",
        "request": "{source}/$export",
        "requiresAccessToken": false,
        "output": output,
        "error": [],
    });
    let files = ["a", "A", "a/b", "a;b"].map(|name| (name, file));
    let source = ToldSource::start(&manifest, &files).await;
    let env = [
        ("SOURCE_ENDPOINT", source.endpoint()),
        ("SOURCE_AUTHENTICATION_ENABLED", "false"),
    ];
    let mut transfer = Transferring::of(Sandbox::builder(), &env).await;
    transfer.succeed().await;
    let staged = only_run(&staging_folder(&transfer.sandbox));
    assert_eq!(staged.len(), names.len(), "{staged:?}");
}

#[tokio::test]
async fn relative_and_absolute_links_with_and_without_a_token_all_lead_to_the_files() {
    let wholes = [
        Fault::OutputUrlsRelative,
        Fault::FilesElsewhere,
        Fault::FilesRedirect,
    ];
    side_by_side(3, wholes, |fault| async move {
        let builder = Sandbox::builder()
            .data(Dataset::of(&[("Patient", 6)]))
            .resources_per_file(2)
            .fault(fault);
        let mut transfer = Transferring::of(builder, &[]).await;
        transfer.succeed().await;
        assert_staged(&transfer.sandbox);
    })
    .await;
}
