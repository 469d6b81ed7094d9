//! Files by parts, without a length, broken off, and changed between two requests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeSet;

use common::{Answer, Client};
use sandbox::{Builder, Dataset, Fault, Sandbox};

const SIZE: u64 = 3_000_000;

/// A sandbox with one synthetic file, and the file's URL and bytes.
async fn start(with: impl FnOnce(Builder) -> Builder) -> (Sandbox, Client, String, Vec<u8>) {
    let builder = Sandbox::builder().auth(false).data(Dataset::empty());
    let sandbox = with(builder.synthetic_file("Observation", SIZE))
        .start()
        .await
        .unwrap();
    let client = Client::new(&sandbox);
    let manifest = client.export("").await;
    assert_eq!(manifest["output"].as_array().unwrap().len(), 1);
    let url = manifest["output"][0]["url"].as_str().unwrap().to_owned();
    let bytes = sandbox.source_files()[0].pieces().flatten().collect();
    (sandbox, client, url, bytes)
}

async fn get(client: &Client, url: &str, headers: &[(&str, &str)]) -> Answer {
    client.send("GET", url, headers, None).await.unwrap()
}

/// What arrived before the connection broke, or before the end, and whether it broke.
async fn broken(client: &Client, url: &str, range: Option<&str>) -> (Vec<u8>, bool) {
    let mut request = client.http.get(url);
    if let Some(range) = range {
        request = request.header("range", range);
    }
    let mut response = request.send().await.unwrap();
    let mut bytes = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(piece)) => bytes.extend_from_slice(&piece),
            Ok(None) => return (bytes, false),
            Err(_) => return (bytes, true),
        }
    }
}

#[tokio::test]
async fn a_range_is_answered_with_just_its_bytes() {
    let (_sandbox, client, url, bytes) = start(|builder| builder).await;
    let whole = get(&client, &url, &[]).await;
    assert_eq!(whole.status, 200);
    assert_eq!(whole.header("content-length").unwrap(), SIZE.to_string());
    assert_eq!(whole.header("accept-ranges"), Some("bytes"));
    assert_eq!(whole.body, bytes);
    let etag = whole.header("etag").unwrap();
    assert!(etag.starts_with('"'), "{etag}");
    for from in [0, 1, 262_144, 2_999_999] {
        let range = format!("bytes={from}-");
        let part = get(&client, &url, &[("range", &range), ("if-range", etag)]).await;
        assert_eq!(part.status, 206);
        let content_range = format!("bytes {from}-{}/{SIZE}", SIZE - 1);
        assert_eq!(part.header("content-range"), Some(content_range.as_str()));
        assert_eq!(part.header("etag"), Some(etag));
        assert_eq!(part.body, bytes[from..]);
    }
    let part = get(&client, &url, &[("range", "bytes=100-199")]).await;
    assert_eq!(part.body, bytes[100..200]);
    let beyond = get(&client, &url, &[("range", "bytes=3000000-")]).await;
    assert_eq!(beyond.status, 416);
    assert_eq!(beyond.header("content-range"), Some("bytes */3000000"));
}

#[tokio::test]
async fn if_range_gives_the_whole_where_the_etag_is_another_or_weak_or_none() {
    let (sandbox, client, url, _) = start(|builder| builder).await;
    let other = [("range", "bytes=5-"), ("if-range", "\"another\"")];
    assert_eq!(get(&client, &url, &other).await.status, 200);

    sandbox.faults().on(Fault::FilesWeakEtag);
    let weak = get(&client, &url, &[]).await;
    let etag = weak.header("etag").unwrap();
    assert!(etag.starts_with("W/\""), "{etag}");
    let same = [("range", "bytes=5-"), ("if-range", etag)];
    assert_eq!(get(&client, &url, &same).await.status, 200);
    sandbox.faults().clear();

    sandbox.faults().on(Fault::FilesNoEtag);
    let none = get(&client, &url, &[("range", "bytes=5-")]).await;
    assert_eq!((none.status, none.header("etag")), (206, None));
    sandbox.faults().clear();

    sandbox.faults().on(Fault::FilesIgnoreRange);
    let ignored = get(&client, &url, &[("range", "bytes=5-")]).await;
    assert_eq!(ignored.status, 200);
    assert_eq!(ignored.header("accept-ranges"), None);
    assert_eq!(ignored.body.len() as u64, SIZE);
    sandbox.faults().clear();

    sandbox.faults().on(Fault::FilesWrongRange);
    for asked in ["bytes=5-", "bytes=0-"] {
        let wrong = get(&client, &url, &[("range", asked)]).await;
        assert_eq!(wrong.status, 206);
        let said = wrong.header("content-range").unwrap();
        let asked = asked.replace('=', " ");
        assert!(!said.starts_with(&asked), "{said} for {asked}");
    }
}

#[tokio::test]
async fn a_file_that_changes_has_the_same_resources_in_other_bytes_under_another_etag() {
    let (sandbox, client, url, bytes) = start(|builder| builder).await;
    sandbox.faults().on(Fault::FilesChangeMidway);
    let first = get(&client, &url, &[]).await;
    assert_eq!(first.body, bytes);
    let etag = first.header("etag").unwrap();
    let again = get(&client, &url, &[("range", "bytes=5-"), ("if-range", etag)]).await;
    assert_eq!(again.status, 200);
    assert_ne!(again.header("etag"), Some(etag));
    assert_ne!(again.body, bytes);
    let lines = |bytes: &[u8]| -> BTreeSet<Vec<u8>> {
        bytes
            .split(|byte| *byte == b'\n')
            .map(<[u8]>::to_vec)
            .collect()
    };
    assert_eq!(lines(&again.body), lines(&bytes));
    let third = get(&client, &url, &[]).await;
    assert_eq!(third.body, again.body, "it changes once");
}

#[tokio::test]
async fn a_file_of_plain_data_changes_too_one_line_or_many() {
    for resources in [1, 7] {
        let sandbox = Sandbox::builder()
            .auth(false)
            .data(Dataset::of(&[("Patient", resources)]))
            .fault(Fault::FilesChangeMidway)
            .start()
            .await
            .unwrap();
        let client = Client::new(&sandbox);
        let manifest = client.export("").await;
        let url = manifest["output"][0]["url"].as_str().unwrap();
        let (one, other) = (get(&client, url, &[]).await, get(&client, url, &[]).await);
        assert_ne!(one.body, other.body);
        assert_ne!(one.header("etag"), other.header("etag"));
        let values = |answer: &Answer| -> BTreeSet<String> {
            let text = String::from_utf8(answer.body.clone()).unwrap();
            let lines = text.lines();
            lines
                .map(|line| {
                    serde_json::from_str::<serde_json::Value>(line)
                        .unwrap()
                        .to_string()
                })
                .collect()
        };
        assert_eq!(values(&one), values(&other));
        assert_eq!(values(&one).len(), resources);
    }
}

#[tokio::test]
async fn a_connection_is_cut_after_exactly_the_bytes_it_should_be() {
    let (sandbox, client, url, bytes) = start(|builder| builder).await;
    for cut in [0, 1, 262_144, 1_000_001, 2_999_999] {
        sandbox.faults().once(Fault::FileCutAt(cut));
        let (arrived, broke) = broken(&client, &url, None).await;
        assert!(broke);
        assert_eq!(arrived, bytes[..usize::try_from(cut).unwrap()]);
    }
    sandbox.faults().once(Fault::FileCutAt(1000));
    let (arrived, broke) = broken(&client, &url, Some("bytes=500-")).await;
    assert!(broke);
    assert_eq!(arrived, bytes[500..1500]);
    // An answer that is no longer than that is not cut, and the fault is not spent.
    sandbox.faults().once(Fault::FileCutAt(1000));
    let (arrived, broke) = broken(&client, &url, Some("bytes=0-999")).await;
    assert!(!broke);
    assert_eq!(arrived.len(), 1000);
    assert_eq!(sandbox.faults().active(), [Fault::FileCutAt(1000)]);
    let sent: Vec<_> = sandbox
        .downloads()
        .iter()
        .map(|download| download.sent)
        .collect();
    assert_eq!(sent, [0, 1, 262_144, 1_000_001, 2_999_999, 1000, 1000]);
}

#[tokio::test]
async fn a_cut_is_exact_for_a_client_that_reads_slowly_too() {
    let (sandbox, client, url, _) = start(|builder| builder).await;
    sandbox.faults().once(Fault::FileCutAt(2_900_000));
    let mut response = client.http.get(&url).send().await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let mut arrived = 0;
    while let Ok(Some(piece)) = response.chunk().await {
        arrived += piece.len();
    }
    assert_eq!(arrived, 2_900_000);
}

#[tokio::test]
async fn a_chunked_body_tells_no_length_and_may_end_early() {
    let (sandbox, client, url, bytes) = start(|builder| builder).await;
    sandbox.faults().on(Fault::FilesChunked);
    let whole = get(&client, &url, &[]).await;
    assert_eq!(whole.header("content-length"), None);
    assert_eq!(whole.header("transfer-encoding"), Some("chunked"));
    assert_eq!(whole.body, bytes);
    sandbox.faults().once(Fault::FileCutAt(70_000));
    let (arrived, broke) = broken(&client, &url, None).await;
    assert_eq!((arrived.len(), broke), (70_000, true));
    sandbox.faults().once(Fault::FileEndsAt(70_000));
    let (arrived, broke) = broken(&client, &url, None).await;
    assert_eq!((arrived.len(), broke), (70_000, false));
}
