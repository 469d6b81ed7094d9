//! The five real Lambda binaries, driven in the workflow's order: they pass each other's outputs along, and end with the
//! resources in the target.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pathling_import_tests::check::{
    assert_arrived, assert_no_secrets, assert_no_token_leaks, assert_nothing_half_staged,
};
use pathling_import_tests::{Story, Told};
use sandbox::{Dataset, PathlingVersion, Sandbox};

/// Twelve patients and what belongs to them, and a type that no target can hold.
async fn hospital(version: PathlingVersion) -> Sandbox {
    Sandbox::builder()
        .pathling(version)
        .data(Dataset::synthetic(12).and(Dataset::of(&[("StructureMap", 2)])))
        .resources_per_file(5)
        .polls(2)
        .import_polls(1)
        .start()
        .await
        .unwrap()
}

async fn told(sandbox: &Sandbox, story: &mut Story) -> Told {
    let told = story.tell().await.unwrap();
    assert_arrived(sandbox);
    assert_no_token_leaks(sandbox);
    assert_no_secrets(sandbox, &story.logs());
    told
}

#[tokio::test]
async fn the_five_functions_bring_everything_to_pathling_7_over_s3() {
    let sandbox = hospital(PathlingVersion::Seven).await;
    told(&sandbox, &mut Story::of(&sandbox)).await;
    assert_nothing_half_staged(&sandbox);
}
