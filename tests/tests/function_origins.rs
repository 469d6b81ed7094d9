//! Where tokens go: to trusted origins, by the way that the server wants, renewed when they are refused, and nowhere else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pathling_import_core::config::Step;
use pathling_import_tests::check::{
    assert_arrived, assert_import_never_asked, assert_no_secrets, assert_no_token_leaks,
};
use pathling_import_tests::{Records as _, Story};
use sandbox::{
    Builder, CredentialKind, Fault, Place, Sandbox, Service, TokenAuthMethod, TokenClaim,
};

async fn sandbox(change: impl FnOnce(Builder) -> Builder) -> Sandbox {
    change(Sandbox::builder()).start().await.unwrap()
}

async fn arrives(sandbox: &Sandbox, mut story: Story) {
    story.tell().await.unwrap();
    assert_arrived(sandbox);
    assert_no_token_leaks(sandbox);
    assert_no_secrets(sandbox, &story.logs());
}

/// Whether each request for a file went to the other origin, and whether it carried a token.
fn files(sandbox: &Sandbox) -> Vec<(bool, bool)> {
    let requests = sandbox.file_requests();
    let mut files: Vec<_> = requests
        .iter()
        .map(|request| (request.service == Service::Files, request.has_token()))
        .collect();
    files.sort_unstable();
    files.dedup();
    files
}

#[tokio::test]
async fn files_at_another_origin_get_no_token() {
    let sandbox = sandbox(Builder::files_elsewhere).await;
    arrives(&sandbox, Story::of(&sandbox)).await;
    assert_eq!(files(&sandbox), [(true, false)]);
}

#[tokio::test]
async fn files_at_another_origin_that_want_a_token_get_it_only_when_the_operator_names_the_origin()
{
    let sandbox = sandbox(|builder| builder.files_elsewhere().files_trusted()).await;
    let failed = Story::of(&sandbox).tell().await.unwrap_err();
    assert_eq!(failed.step, Step::TransferToS3);
    assert_eq!(failed.error_type, "AuthenticationError");
    let origin = sandbox.files_origin();
    for word in [origin.as_str(), "SOURCE_TRUSTED_ORIGINS", "401"] {
        assert!(failed.error_message.contains(word), "{failed:?}");
    }
    assert_eq!(files(&sandbox), [(true, false)]);
    assert_import_never_asked(&sandbox);

    sandbox.clear_requests();
    let story = Story::of(&sandbox).with("SOURCE_TRUSTED_ORIGINS", origin);
    arrives(&sandbox, story).await;
    assert_eq!(files(&sandbox), [(true, true)]);
}

#[tokio::test]
async fn a_redirect_to_another_origin_is_followed_without_the_token() {
    let sandbox = sandbox(|builder| builder.fault(Fault::FilesRedirect)).await;
    arrives(&sandbox, Story::of(&sandbox)).await;
    assert_eq!(files(&sandbox), [(false, true), (true, false)]);
}

#[tokio::test]
async fn files_that_need_no_token_get_none() {
    let open = Fault::RequiresAccessToken(TokenClaim::False);
    let sandbox = sandbox(|builder| builder.fault(open)).await;
    arrives(&sandbox, Story::of(&sandbox)).await;
    assert_eq!(files(&sandbox), [(false, false)]);
}

#[tokio::test]
async fn files_get_a_token_however_the_manifest_says_that_they_need_one() {
    for claim in [TokenClaim::True, TokenClaim::Text, TokenClaim::Absent] {
        let fault = Fault::RequiresAccessToken(claim);
        let sandbox = sandbox(|builder| builder.fault(fault)).await;
        arrives(&sandbox, Story::of(&sandbox)).await;
        assert_eq!(files(&sandbox), [(false, true)], "{claim:?}");
    }
}

#[tokio::test]
async fn the_client_proves_itself_the_way_that_the_server_supports() {
    for (method, kind) in [
        (TokenAuthMethod::Basic, CredentialKind::Basic),
        (TokenAuthMethod::Post, CredentialKind::Embedded),
    ] {
        let sandbox = sandbox(|builder| builder.token_auth_methods(&[method])).await;
        arrives(&sandbox, Story::of(&sandbox)).await;
        for request in sandbox.token_requests() {
            let kinds: Vec<_> = request.credentials.iter().map(|it| it.kind).collect();
            assert_eq!(kinds, [kind]);
        }
    }
}

#[tokio::test]
async fn a_token_that_is_refused_is_renewed_once_wherever_it_happens() {
    for place in [
        Place::KickOff,
        Place::Status,
        Place::File,
        Place::ImportKickOff,
        Place::ImportStatus,
    ] {
        let fault = Fault::TokenExpires(place);
        let sandbox = sandbox(|builder| builder).await;
        let mut story = Story::of(&sandbox);
        sandbox.faults().once(fault.clone());
        if let Err(failed) = story.tell().await {
            panic!("{fault}: {failed:?}");
        }
        assert_arrived(&sandbox);
        assert_no_token_leaks(&sandbox);
        // One for each of the five processes, and one more.
        assert_eq!(sandbox.token_requests().len(), 5 + 1, "{fault}");
    }
}
