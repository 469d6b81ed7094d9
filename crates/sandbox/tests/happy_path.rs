//! The whole conversation once, by hand: export, staging, import, counts; on both Pathlings.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Client, import_all, staged};
use sandbox::{Dataset, PathlingVersion, Sandbox};
use serde_json::json;

async fn whole_conversation(version: PathlingVersion) {
    let sandbox = Sandbox::builder()
        .pathling(version)
        .data(Dataset::synthetic(7))
        .resources_per_file(3)
        .polls(2)
        .import_polls(1)
        .start()
        .await
        .unwrap();
    let client = Client::new(&sandbox);

    let manifest = client.export("").await;
    assert_eq!(manifest["requiresAccessToken"], true);
    assert_eq!(
        manifest["output"].as_array().unwrap().len(),
        3 + 5 + 7 + 3 + 1
    );
    staged(&client, &manifest).await;
    import_all(
        &client,
        &["Condition", "Encounter", "Observation", "Patient"],
    )
    .await;

    for kind in ["Condition", "Encounter", "Observation", "Patient"] {
        let rows: Vec<_> = sandbox.rows(kind).into_iter().map(|row| row.line).collect();
        assert_eq!(rows, sandbox.resources(kind), "{kind}");
        let count = client
            .target("GET", &format!("{kind}?_summary=count"), None)
            .await;
        assert_eq!(count.json()["total"], json!(rows.len()));
    }
    assert_eq!(sandbox.token_leaks(), Vec::<String>::new());
}

#[tokio::test]
async fn everything_of_the_source_arrives_at_pathling_7_byte_for_byte() {
    whole_conversation(PathlingVersion::Seven).await;
}

#[tokio::test]
async fn everything_of_the_source_arrives_at_pathling_2_byte_for_byte() {
    whole_conversation(PathlingVersion::Two).await;
}
