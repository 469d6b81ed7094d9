use std::io::Write as _;

use axum::body::Body as Sent;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response as Answer};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;
use crate::http::fake::{Fake, Seen, client, impatient};

/// What a source answers: a status, headers and a body, in chunks where the headers hold no length.
fn answer(status: u16, headers: &[(&'static str, &str)], body: &[u8]) -> Answer {
    let mut all = HeaderMap::new();
    for (name, value) in headers {
        all.insert(*name, value.parse().unwrap());
    }
    let chunks: Vec<_> = body
        .chunks(1000)
        .map(|chunk| Ok::<_, std::io::Error>(Bytes::copy_from_slice(chunk)))
        .collect();
    let body = Sent::from_stream(futures_util::stream::iter(chunks));
    (StatusCode::from_u16(status).unwrap(), all, body).into_response()
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// Something that gzip makes smaller, but not by much.
fn text(length: usize) -> Vec<u8> {
    (0..length as u64)
        .map(|at| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 58) as u8 + b' ')
        .collect()
}

async fn source(answer: impl Fn(Seen) -> Answer + Clone + Send + Sync + 'static) -> Fake {
    Fake::start(move |seen| {
        let answer = answer(seen);
        async move { answer }
    })
    .await
}

async fn open_at(fake: &Fake, from: Option<(u64, &Mark)>) -> Result<Opened, Refused> {
    open(
        &impatient(&fake.url),
        &fake.at("/file?sig=hush"),
        TokenUse::Never,
        from,
    )
    .await
}

async fn all(body: &mut FileBody) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    while let Some(piece) = body.next().await {
        let piece = piece?;
        assert!(!piece.is_empty() && piece.len() <= 512 << 10);
        bytes.extend_from_slice(&piece);
    }
    assert!(body.next().await.is_none());
    Ok(bytes)
}

/// What comes of a body that is sent so.
async fn read(
    headers: &'static [(&'static str, &'static str)],
    body: Vec<u8>,
) -> Result<Vec<u8>, Error> {
    let fake = source(move |_| answer(200, headers, &body)).await;
    all(&mut open_at(&fake, None).await.unwrap().body).await
}

const GZIP: &[(&str, &str)] = &[("content-encoding", "gzip")];

fn mark(length: Option<u64>) -> Mark {
    Mark {
        etag: "\"v1\"".to_owned(),
        length,
    }
}

fn error_of(refused: Refused) -> Error {
    match refused {
        Refused::Expired(error) | Refused::Failed(error) => error,
    }
}

#[tokio::test]
async fn a_whole_file_is_asked_for_as_gzip_and_comes_as_it_is() {
    let fake = source(|_| {
        let headers = [("etag", "\"v1\""), ("content-length", "5")];
        answer(200, &headers, b"plain")
    })
    .await;
    let mut opened = open_at(&fake, None).await.unwrap();
    assert_eq!(all(&mut opened.body).await.unwrap(), b"plain");
    assert_eq!(opened.body.received(), 5);
    assert_eq!((opened.offset, opened.length), (0, Some(5)));
    assert_eq!(opened.mark, Some(mark(Some(5))));
    let seen = fake.seen("GET /file?sig=hush");
    assert_eq!(seen[0].headers["accept-encoding"], "gzip");
    assert_eq!(seen[0].headers["accept"], ACCEPT);
    assert!(!seen[0].headers.contains_key("range"));
}

#[tokio::test]
async fn only_a_strong_etag_of_plain_bytes_is_a_mark() {
    for (headers, is_mark) in [
        (&[("etag", "\"v\"")][..], true),
        (&[("etag", "W/\"v\"")], false),
        (&[("etag", "v")], false),
        (&[("etag", "\"a\", \"b\"")], false),
        (&[("etag", "\"v\""), ("content-encoding", "gzip")], false),
        (&[], false),
    ] {
        let fake = source(move |_| answer(200, headers, b"")).await;
        let opened = open_at(&fake, None).await.unwrap();
        assert_eq!(opened.mark.is_some(), is_mark, "{headers:?}");
    }
}

#[tokio::test]
async fn gzip_is_decoded_whatever_its_members_and_chunks() {
    let plain = text(700_000);
    let mut members = gzip(&plain[..300_000]);
    members.extend(gzip(b""));
    members.extend(gzip(&plain[300_000..]));
    let encoded = members.len() as u64;
    for headers in [GZIP, &[("content-encoding", "X-GZip")]] {
        assert_eq!(read(headers, members.clone()).await.unwrap(), plain);
    }
    let fake = source(move |_| answer(200, GZIP, &members)).await;
    let mut opened = open_at(&fake, None).await.unwrap();
    assert_eq!((opened.length, &opened.mark), (None, &None));
    all(&mut opened.body).await.unwrap();
    assert_eq!(opened.body.received(), encoded);
    let nothing = &[("content-encoding", "gzip"), ("content-length", "0")];
    assert_eq!(read(nothing, Vec::new()).await.unwrap(), b"");
}

#[tokio::test]
async fn a_bomb_comes_in_small_pieces_and_lets_others_have_a_turn() {
    let bomb = gzip(&vec![b' '; 16 << 20]);
    assert!(bomb.len() < 100_000);
    let fake = source(move |_| answer(200, GZIP, &bomb)).await;
    let mut body = open_at(&fake, None).await.unwrap().body;
    let turns = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let others = tokio::spawn({
        let turns = std::sync::Arc::clone(&turns);
        async move {
            loop {
                turns.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        }
    });
    let mut length = 0;
    while let Some(piece) = body.next().await {
        let piece = piece.unwrap();
        assert!(piece.len() <= 256 << 10);
        length += piece.len();
    }
    others.abort();
    assert_eq!(length, 16 << 20);
    assert!(turns.load(std::sync::atomic::Ordering::Relaxed) > 10);
}

#[tokio::test]
async fn gzip_that_ends_early_is_tried_again_and_gzip_that_is_none_is_not() {
    let plain = text(5000);
    let whole = gzip(&plain);
    let last = whole.len() - 1;
    for cut in [1, 9, 15, whole.len() / 2, whole.len() - 8, last] {
        let error = read(GZIP, whole[..cut].to_vec()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::SourceUnavailable, "{cut}: {error}");
        let after = format!("the body ended early, after {cut} bytes");
        assert!(error.what().contains(&after), "{error}");
    }
    let mut flipped = whole.clone();
    flipped[last - 6] ^= 1;
    let mut trailing = whole.clone();
    trailing.extend(b"<html>what is this?</html>");
    for body in [plain, flipped, trailing] {
        let error = read(GZIP, body).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Integrity, "{error}");
        assert!(!error.to_string().contains("hush"));
    }
}

#[tokio::test]
async fn bytes_behind_gzip_that_begin_no_other_are_told_at_once_however_few_they_are() {
    let whole = gzip(&text(5000));
    for behind in [
        &b"\n"[..],
        b"\0\0",
        b"ok",
        b"\x1fx",
        b"<html>what is this?</html>",
    ] {
        let body = [&whole, behind].concat();
        let error = read(GZIP, body).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Integrity, "{behind:?}: {error}");
        assert!(
            error.what().contains("follow the end of the gzip"),
            "{error}"
        );
    }
    // What may be the beginning of another member was cut.
    for behind in [&b"\x1f"[..], b"\x1f\x8b", &whole[..9], &whole[..20]] {
        let body = [&whole, behind].concat();
        let error = read(GZIP, body).await.unwrap_err();
        assert_eq!(error.kind(), Kind::SourceUnavailable, "{behind:?}: {error}");
    }
}

#[tokio::test]
async fn identity_in_a_list_of_encodings_is_none() {
    let plain = text(3000);
    for encoding in ["gzip, identity", "identity,x-gzip", " GZIP ,", "x-gzip"] {
        let body = gzip(&plain);
        let fake = source(move |_| answer(200, &[("content-encoding", encoding)], &body)).await;
        let mut opened = open_at(&fake, None).await.unwrap();
        assert_eq!(all(&mut opened.body).await.unwrap(), plain, "{encoding}");
    }
    for encoding in ["identity", "identity, identity", ","] {
        let fake = source(move |_| answer(200, &[("content-encoding", encoding)], b"plain")).await;
        let mut opened = open_at(&fake, None).await.unwrap();
        assert_eq!(all(&mut opened.body).await.unwrap(), b"plain", "{encoding}");
    }
    for encoding in ["gzip, gzip", "gzip, br"] {
        let fake = source(move |_| answer(200, &[("content-encoding", encoding)], b"x")).await;
        assert!(open_at(&fake, None).await.is_err(), "{encoding}");
    }
}

#[tokio::test]
async fn an_encoding_that_was_not_asked_for_is_an_integrity_error() {
    let fake = source(|_| answer(200, &[("content-encoding", "br")], b"x")).await;
    let Err(Refused::Failed(error)) = open_at(&fake, None).await else {
        panic!("it must be refused");
    };
    assert_eq!(error.kind(), Kind::Integrity);
    assert!(error.what().contains("Content-Encoding br"), "{error}");
}

/// A source that has `0123456789` as version `"v1"`, and answers a range with these headers and body.
async fn ranged(
    status: u16,
    headers: &'static [(&'static str, &'static str)],
    body: &'static [u8],
) -> Fake {
    source(move |seen| match seen.headers.get("range") {
        Some(_) => answer(status, headers, body),
        None => answer(200, &[("etag", "\"v1\"")], b"0123456789"),
    })
    .await
}

#[tokio::test]
async fn a_file_goes_on_from_an_offset() {
    let headers = &[("content-range", "bytes 4-9/10"), ("etag", "\"v1\"")];
    let fake = ranged(206, headers, b"456789").await;
    for known in [None, Some(10)] {
        let mut opened = open_at(&fake, Some((4, &mark(known)))).await.unwrap();
        assert_eq!(all(&mut opened.body).await.unwrap(), b"456789");
        assert_eq!((opened.offset, opened.length), (4, Some(10)));
        assert_eq!(opened.mark, Some(mark(Some(10))));
    }
    let seen = fake.seen("GET");
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].headers["range"], "bytes=4-");
    assert_eq!(seen[0].headers["if-range"], "\"v1\"");
    assert_eq!(seen[0].headers["accept-encoding"], "identity");
}

#[tokio::test]
async fn an_answer_that_is_not_provably_the_rest_is_a_start_from_the_beginning() {
    const RIGHT: (&str, &str) = ("content-range", "bytes 4-9/10");
    const ETAG: (&str, &str) = ("etag", "\"v1\"");
    for (status, headers) in [
        (206, &[RIGHT][..]),
        (206, &[RIGHT, ("etag", "\"v2\"")]),
        (206, &[RIGHT, ("etag", "W/\"v1\"")]),
        (206, &[RIGHT, ETAG, ("content-encoding", "gzip")]),
        (206, &[ETAG]),
        (
            206,
            &[ETAG, ("content-type", "multipart/byteranges; boundary=x")],
        ),
        (206, &[ETAG, ("content-range", "bytes 3-9/10")]),
        (206, &[ETAG, ("content-range", "bytes 4-9/11")]),
        (206, &[ETAG, ("content-range", "bytes 4-10/10")]),
        (206, &[ETAG, ("content-range", "bytes */10")]),
        (206, &[ETAG, ("content-range", "bytes 4-+9/10")]),
        (206, &[ETAG, ("content-range", "lines 4-9/10")]),
        (
            206,
            &[ETAG, ("content-range", "bytes 4-99999999999999999999/10")],
        ),
        (416, &[ETAG, ("content-range", "bytes */9")]),
        (416, &[]),
        (412, &[]),
        (412, &[ETAG, ("content-range", "bytes */10")]),
    ] {
        let fake = ranged(status, headers, b"456789").await;
        let mut opened = open_at(&fake, Some((4, &mark(Some(10))))).await.unwrap();
        assert_eq!(opened.offset, 0, "{status} {headers:?}");
        assert_eq!(all(&mut opened.body).await.unwrap(), b"0123456789");
    }
    // Without a length from either side nobody knows whether it is all.
    let headers = &[ETAG, ("content-range", "bytes 4-9/*")];
    let fake = ranged(206, headers, b"456789").await;
    assert_eq!(
        open_at(&fake, Some((4, &mark(None)))).await.unwrap().offset,
        0
    );
    assert_eq!(
        open_at(&fake, Some((4, &mark(Some(10)))))
            .await
            .unwrap()
            .offset,
        4
    );
}

#[tokio::test]
async fn a_source_without_ranges_begins_again_with_the_same_answer() {
    let fake = source(|_| answer(200, &[("etag", "\"v2\"")], b"new")).await;
    let opened = open_at(&fake, Some((4, &mark(Some(10))))).await.unwrap();
    assert_eq!(opened.offset, 0);
    assert_eq!(opened.mark.unwrap().etag, "\"v2\"");
    assert_eq!(fake.seen("GET").len(), 1);
}

#[tokio::test]
async fn nothing_is_left_of_a_file_that_ends_at_the_offset() {
    let fake = ranged(416, &[("content-range", "bytes */10")], b"no such range").await;
    let mut opened = open_at(&fake, Some((10, &mark(None)))).await.unwrap();
    assert_eq!((opened.offset, opened.length), (10, Some(10)));
    assert_eq!(all(&mut opened.body).await.unwrap(), b"");
}

#[tokio::test]
async fn a_rest_that_is_shorter_or_longer_than_promised_is_an_error() {
    const ETAG: (&str, &str) = ("etag", "\"v1\"");
    let shorter = &[ETAG, ("content-range", "bytes 4-6/10")];
    let longer = &[ETAG, ("content-range", "bytes 4-9/10")];
    for (headers, body, kind) in [
        (shorter, &b"456"[..], Kind::SourceUnavailable),
        (longer, b"456789a", Kind::Integrity),
    ] {
        let fake = ranged(206, headers, body).await;
        let mut opened = open_at(&fake, Some((4, &mark(Some(10))))).await.unwrap();
        let error = all(&mut opened.body).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
    }
}

#[tokio::test]
async fn a_link_that_no_longer_leads_to_the_file_is_told_from_a_failure() {
    for (status, expired, kind) in [
        (401, true, Kind::Transfer),
        (403, true, Kind::Transfer),
        (404, true, Kind::Transfer),
        (410, true, Kind::Transfer),
        (206, false, Kind::Transfer),
        (400, false, Kind::Transfer),
        (429, false, Kind::SourceUnavailable),
        (500, false, Kind::SourceUnavailable),
        (503, false, Kind::SourceUnavailable),
    ] {
        let fake = source(move |_| answer(status, &[("retry-after", "7")], b"")).await;
        for from in [None, Some((4, &mark(None)))] {
            let refused = open_at(&fake, from).await.unwrap_err();
            assert_eq!(matches!(refused, Refused::Expired(_)), expired, "{status}");
            let error = error_of(refused);
            assert_eq!(error.kind(), kind, "{error}");
            assert_eq!(error.throttled(), matches!(status, 429 | 503));
            assert!(!error.to_string().contains("hush"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_token_that_does_not_count_is_no_expired_link_and_one_that_does_not_suffice_may_be() {
    for (status, expired_beside_a_token) in [
        (StatusCode::UNAUTHORIZED, false),
        (StatusCode::FORBIDDEN, true),
    ] {
        let fake = Fake::smart(move |_| async move { status.into_response() }).await;
        let elsewhere = source(move |_| answer(status.as_u16(), &[], b"")).await;
        let client = client(&fake.url);
        for (url, expired) in [
            (fake.at("/file"), expired_beside_a_token),
            (elsewhere.at("/file"), true),
        ] {
            let refused = open(&client, &url, TokenUse::WhereTrusted, None)
                .await
                .unwrap_err();
            assert_eq!(matches!(refused, Refused::Expired(_)), expired, "{url}");
            assert_eq!(error_of(refused).kind(), Kind::Authentication);
        }
    }
}
