//! Files as gzip: right, in parts, and wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::Read as _;

use common::{Answer, Client};
use flate2::read::{GzDecoder, MultiGzDecoder};
use sandbox::{Dataset, Fault, Sandbox};

const GZIP: (&str, &str) = ("accept-encoding", "gzip");

async fn start(bytes: u64) -> (Sandbox, Client, String, Vec<u8>) {
    let sandbox = Sandbox::builder()
        .auth(false)
        .data(Dataset::empty())
        .synthetic_file("Observation", bytes)
        .gzip(true)
        .start()
        .await
        .unwrap();
    let client = Client::new(&sandbox);
    let manifest = client.export("").await;
    let url = manifest["output"][0]["url"].as_str().unwrap().to_owned();
    let bytes = sandbox.source_files()[0].pieces().flatten().collect();
    (sandbox, client, url, bytes)
}

async fn get(client: &Client, url: &str, headers: &[(&str, &str)]) -> Answer {
    client.send("GET", url, headers, None).await.unwrap()
}

/// All members, decoded; what went wrong where it did.
fn decoded(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    MultiGzDecoder::new(body).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[tokio::test]
async fn who_accepts_gzip_gets_it_under_an_etag_of_its_own() {
    for size in [200_000, 5_000_000] {
        let (_sandbox, client, url, bytes) = start(size).await;
        let plain = get(&client, &url, &[]).await;
        assert_eq!(plain.header("content-encoding"), None);
        assert_eq!(plain.body, bytes);
        let gzip = get(&client, &url, &[GZIP]).await;
        assert_eq!(gzip.header("content-encoding"), Some("gzip"));
        assert_eq!(gzip.header("vary"), Some("accept-encoding"));
        assert_ne!(gzip.header("etag"), plain.header("etag"));
        assert!(gzip.body.len() < bytes.len() / 2);
        assert_eq!(
            gzip.header("content-length").unwrap(),
            gzip.body.len().to_string()
        );
        assert!(decoded(&gzip.body).unwrap() == bytes);
        let etag = gzip.header("etag").unwrap();
        let part = get(
            &client,
            &url,
            &[GZIP, ("range", "bytes=1000-"), ("if-range", etag)],
        )
        .await;
        assert_eq!(part.status, 206);
        assert_eq!(
            part.body,
            gzip.body[1000..],
            "parts are of the encoded bytes"
        );
    }
}

#[tokio::test]
async fn members_decode_to_the_same_bytes() {
    for size in [200_000, 5_000_000] {
        let (sandbox, client, url, bytes) = start(size).await;
        sandbox.faults().on(Fault::FileGzipMembers);
        let answer = get(&client, &url, &[GZIP]).await;
        assert!(decoded(&answer.body).unwrap() == bytes);
        let mut first = Vec::new();
        GzDecoder::new(answer.body.as_slice())
            .read_to_end(&mut first)
            .unwrap();
        assert!(first.len() < bytes.len(), "the first member is not all");
    }
}

#[tokio::test]
async fn a_gzip_that_is_wrong_does_not_decode() {
    let (sandbox, client, url, bytes) = start(200_000).await;
    let right = get(&client, &url, &[GZIP]).await.body;

    sandbox.faults().once(Fault::FileGzipTruncated);
    let truncated = get(&client, &url, &[GZIP]).await;
    assert_eq!(truncated.header("content-length"), None);
    assert_eq!(truncated.body, right[..right.len() / 2]);
    assert!(decoded(&truncated.body).is_err());

    sandbox.faults().once(Fault::FileGzipCorrupt);
    let corrupt = get(&client, &url, &[GZIP]).await.body;
    assert_eq!(corrupt.len(), right.len());
    assert!(decoded(&corrupt).is_err());

    sandbox.faults().once(Fault::FileGzipTrailingGarbage);
    let garbage = get(&client, &url, &[GZIP]).await.body;
    assert!(garbage.starts_with(&right) && garbage.len() > right.len());
    assert!(decoded(&garbage).is_err());

    // None of it is spent on, or shows in, an answer that is not gzip.
    sandbox.faults().once(Fault::FileGzipCorrupt);
    assert_eq!(get(&client, &url, &[]).await.body, bytes);
    assert_eq!(sandbox.faults().active(), [Fault::FileGzipCorrupt]);
}
