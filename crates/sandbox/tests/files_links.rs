//! Links that expire, storms of 429, many outputs, and what is counted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Client, KICK_OFF};
use sandbox::{Builder, Dataset, Fault, Sandbox, Service};
use serde_json::Value;

async fn start(with: impl FnOnce(Builder) -> Builder) -> (Sandbox, Client) {
    let builder = Sandbox::builder()
        .auth(false)
        .data(Dataset::of(&[("Patient", 3)]));
    let sandbox = with(builder).start().await.unwrap();
    let client = Client::new(&sandbox);
    (sandbox, client)
}

/// A kick-off's status URL.
async fn status_url(client: &Client) -> String {
    let accepted = client.source("$export", &KICK_OFF).await;
    accepted.header("content-location").unwrap().to_owned()
}

async fn manifest(client: &Client, status_url: &str) -> Value {
    client
        .source(status_url, &[("accept", "application/json")])
        .await
        .json()
}

fn url(manifest: &Value) -> &str {
    manifest["output"][0]["url"].as_str().unwrap()
}

async fn status(client: &Client, url: &str) -> u16 {
    client.source(url, &[]).await.status
}

#[tokio::test]
async fn expired_links_are_refused_until_the_manifest_lends_others_for_the_same_files() {
    let (sandbox, client) = start(|builder| builder.signed_links(true)).await;
    let job = status_url(&client).await;
    let before = manifest(&client, &job).await;
    assert_eq!(status(&client, url(&before)).await, 200);
    let bare = url(&before).split('?').next().unwrap();
    assert_eq!(status(&client, bare).await, 403, "the signature is needed");
    for expired in [403, 404, 410] {
        sandbox.expire_links(expired);
        assert_eq!(status(&client, url(&before)).await, expired);
    }
    let after = manifest(&client, &job).await;
    assert_ne!(url(&after), url(&before));
    assert_eq!(url(&after).split('?').next(), Some(bare));
    assert_eq!(status(&client, url(&after)).await, 200);
    assert_eq!(
        status(&client, url(&before)).await,
        410,
        "the old stay expired"
    );
    sandbox.expire_links(403);
    assert_eq!(status(&client, url(&after)).await, 403);
}

#[tokio::test]
async fn links_expire_after_so_many_requests_once_or_each_time() {
    let (_sandbox, client) = start(|builder| {
        builder.fault(
            "files-expire-after=2:404*1"
                .parse::<sandbox::Switch>()
                .unwrap(),
        )
    })
    .await;
    let job = status_url(&client).await;
    let first = manifest(&client, &job).await;
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(status(&client, url(&first)).await);
    }
    assert_eq!(seen, [200, 200, 404, 404]);
    let fresh = manifest(&client, &job).await;
    for _ in 0..4 {
        assert_eq!(status(&client, url(&fresh)).await, 200);
    }

    let (_sandbox, client) = start(|builder| builder.fault(Fault::FilesExpireAfter(0, 403))).await;
    let job = status_url(&client).await;
    for _ in 0..3 {
        let fresh = manifest(&client, &job).await;
        assert_eq!(status(&client, url(&fresh)).await, 403, "no better");
    }
}

#[tokio::test]
async fn a_storm_ends_after_as_many_answers_as_it_says() {
    let (sandbox, client) = start(|builder| builder).await;
    let job = status_url(&client).await;
    let manifest = manifest(&client, &job).await;
    for (fault, expected) in [(Fault::Files429(2), 429), (Fault::Files503(2), 503)] {
        sandbox.faults().on(fault);
        for _ in 0..2 {
            let answer = client.source(url(&manifest), &[]).await;
            assert_eq!(answer.status, expected);
            assert_eq!(answer.header("retry-after"), Some("1"));
        }
        assert_eq!(status(&client, url(&manifest)).await, 200);
    }
    sandbox.faults().on(Fault::Files429Date(1));
    let answer = client.source(url(&manifest), &[]).await;
    assert_eq!(answer.status, 429);
    assert!(answer.header("retry-after").unwrap().ends_with(" GMT"));
    assert_eq!(status(&client, url(&manifest)).await, 200);
}

#[tokio::test]
async fn only_so_many_downloads_are_served_at_once_and_the_peak_is_known() {
    let (sandbox, client) = start(|builder| {
        builder
            .data(Dataset::empty())
            .synthetic_file("Observation", 20_000_000)
            .fault(Fault::FilesAtMost(2))
    })
    .await;
    let job = status_url(&client).await;
    let manifest = manifest(&client, &job).await;
    let get = || client.http.get(url(&manifest)).send();
    let (one, two) = (get().await.unwrap(), get().await.unwrap());
    assert_eq!((one.status().as_u16(), two.status().as_u16()), (200, 200));
    let third = get().await.unwrap();
    assert_eq!(third.status().as_u16(), 429);
    assert!(third.headers().contains_key("retry-after"));
    drop(third);
    assert_eq!(one.bytes().await.unwrap().len(), 20_000_000);
    assert_eq!(get().await.unwrap().status().as_u16(), 200);
    drop(two);
    assert_eq!(sandbox.peak(Service::Source), 3);
    assert_eq!(sandbox.peak(Service::S3), 0);
    sandbox.reset_peaks();
    assert!(sandbox.peak(Service::Source) <= 3);
}

#[tokio::test]
async fn a_hundred_thousand_outputs_are_listed_and_served() {
    let (sandbox, client) = start(|builder| {
        builder
            .data(Dataset::empty())
            .outputs(100_000)
            .file_sizes(true)
    })
    .await;
    let job = status_url(&client).await;
    let manifest = manifest(&client, &job).await;
    let outputs = manifest["output"].as_array().unwrap();
    assert_eq!(outputs.len(), 100_000);
    let urls: std::collections::HashSet<_> = outputs.iter().map(|output| &output["url"]).collect();
    assert_eq!(urls.len(), 100_000);
    assert_eq!(manifest["error"], serde_json::json!([]));
    for index in [0, 12_345, 99_999] {
        let output = &outputs[index];
        let answer = client.source(output["url"].as_str().unwrap(), &[]).await;
        assert_eq!(output["fileSize"], answer.body.len());
        assert_eq!(output["count"], 1);
        assert_eq!(answer.json()["resourceType"], output["type"]);
    }
    assert_eq!(sandbox.source_files().len(), 100_000);
}

#[tokio::test]
async fn synthetic_files_are_in_full_exports_of_their_type_only() {
    let (_sandbox, client) = start(|builder| builder.synthetic_files("Observation", 2, 5000)).await;
    let count = |manifest: &Value| manifest["output"].as_array().unwrap().len();
    assert_eq!(count(&client.export("").await), 3);
    assert_eq!(count(&client.export("?_type=Patient").await), 1);
    assert_eq!(count(&client.export("?_type=Observation").await), 2);
    let since = client.export("").await["transactionTime"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(count(&client.export(&format!("?_since={since}")).await), 0);
}

#[tokio::test]
async fn the_record_tells_every_download_with_its_range_and_bytes_or_is_off() {
    let (sandbox, client) = start(|builder| builder).await;
    let job = status_url(&client).await;
    let manifest = manifest(&client, &job).await;
    let whole = client.source(url(&manifest), &[]).await.body.len() as u64;
    client
        .source(url(&manifest), &[("range", "bytes=10-")])
        .await;
    let downloads = sandbox.downloads();
    let told: Vec<_> = downloads
        .iter()
        .map(|download| {
            let range = download.headers.get("range").map(String::as_str);
            (download.status, download.sent, range)
        })
        .collect();
    let expected = [
        (Some(200), whole, None),
        (Some(206), whole - 10, Some("bytes=10-")),
    ];
    assert_eq!(told, expected);

    let (sandbox, client) = start(|builder| builder.record(false)).await;
    client.export("").await;
    assert!(sandbox.requests().is_empty());
}

#[tokio::test]
async fn a_rate_slows_downloads_down() {
    let (_sandbox, client) = start(|builder| {
        builder
            .data(Dataset::empty())
            .synthetic_file("Observation", 200_000)
            .source_rate(400_000)
    })
    .await;
    let job = status_url(&client).await;
    let manifest = manifest(&client, &job).await;
    let begun = std::time::Instant::now();
    client.source(url(&manifest), &[]).await;
    // Only the least that it must take.
    assert!(begun.elapsed().as_millis() >= 400, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_latency_comes_before_every_answer_of_source_and_s3() {
    let latency = std::time::Duration::from_millis(100);
    let (_sandbox, client) = start(|builder| builder.latency(latency)).await;
    let begun = std::time::Instant::now();
    client.source("metadata", &[]).await;
    assert!(begun.elapsed() >= latency);
    let begun = std::time::Instant::now();
    client.s3().list_buckets().send().await.unwrap();
    assert!(begun.elapsed() >= latency);
}
