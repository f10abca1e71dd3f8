//! Bounds of bytes, time, redirects and number, reached and one past, and the answers that are accepted.

use futures_util::future::join_all;
use progimage::fetch::{Error, Options};

use super::origin::{Origin, answer, ok, redirect, refusing};
use super::{PERMITTED, options, sources};
use crate::http::until;

#[tokio::test]
async fn bytes_are_bounded_whether_declared_or_not() {
    let origin = Origin::start(PERMITTED, |head| {
        let (kind, bytes) = head.split(' ').nth(1).unwrap()[1..].split_once('/').unwrap();
        let body = vec![b'x'; bytes.parse().unwrap()];
        match kind {
            "declared" => ok(&[], &body),
            "closed" => [b"HTTP/1.1 200 OK\r\n\r\n".as_slice(), &body].concat(),
            _ => {
                let head = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n", body.len());
                [head.as_bytes(), &body, b"\r\n0\r\n\r\n"].concat()
            }
        }
    });
    let sources = sources(&Options { bytes_max: 100_000, ..options(&[origin.port()]) });
    for kind in ["declared", "closed", "chunked"] {
        let source = sources.get(&origin.url(&format!("/{kind}/100000"))).await.unwrap();
        assert_eq!(source.bytes.len(), 100_000, "{kind}");
        let over = sources.get(&origin.url(&format!("/{kind}/100001"))).await;
        assert_eq!(over, Err(Error::TooLarge { max: 100_000 }), "{kind}");
    }
}

#[tokio::test]
async fn a_declared_length_alone_is_enough_to_refuse() {
    let origin = Origin::start(PERMITTED, |_| b"HANGHTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n".to_vec());
    let sources = sources(&options(&[origin.port()]));
    assert_eq!(sources.get(&origin.url("/")).await, Err(Error::TooLarge { max: 50 << 20 }));
}

#[tokio::test]
async fn origins_that_stall_are_left() {
    let origin = Origin::start(PERMITTED, |head| match head.split(' ').nth(1).unwrap() {
        "/silent" => Vec::new(),
        "/half-a-head" => b"HANGHTTP/1.1 200 OK\r\nContent-".to_vec(),
        _ => b"HANGHTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf".to_vec(),
    });
    let stalled = sources(&Options { stall_ms: 50, ..options(&[origin.port()]) });
    let late = sources(&Options { timeout_ms: 50, ..options(&[origin.port()]) });
    for path in ["/silent", "/half-a-head", "/half-a-body"] {
        assert_eq!(stalled.get(&origin.url(path)).await, Err(Error::TooSlow), "{path}");
        assert_eq!(late.get(&origin.url(path)).await, Err(Error::TooSlow), "{path}");
    }
    // An origin that reads a TLS hello and sends nothing.
    let url = origin.url("/").replace("http:", "https:");
    assert!(matches!(stalled.get(&url).await, Err(Error::TooSlow | Error::Failed { .. })));
}

#[tokio::test]
async fn three_redirects_are_followed_and_no_more() {
    let origin = Origin::start(PERMITTED, |head| match head.split(' ').nth(1).unwrap()[1..].parse::<u32>() {
        Ok(0) => ok(&[], b"good"),
        Ok(left) => redirect(&format!("/{}", left - 1)),
        Err(_) => redirect("/loop"),
    });
    let sources = sources(&options(&[origin.port()]));
    assert_eq!(sources.get(&origin.url("/3")).await.unwrap().bytes, "good");
    let before = origin.requests();
    for path in ["/4", "/loop"] {
        assert_eq!(sources.get(&origin.url(path)).await, Err(Error::failed(None)), "{path}");
    }
    assert_eq!(origin.requests(), before + 8, "four requests each");
}

#[tokio::test]
async fn only_a_whole_plain_200_is_a_source() {
    let origin = Origin::start(PERMITTED, |head| match head.split(' ').nth(1).unwrap() {
        "/gzip" => ok(&["Content-Encoding: gzip"], b"x"),
        "/identity" => ok(&["Content-Encoding: identity"], b"x"),
        "/hint" => [b"HTTP/1.1 103 Early Hints\r\n\r\n".as_slice(), &ok(&[], b"x")].concat(),
        "/short" => b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf".to_vec(),
        "/no-http" => b"SSH-2.0-x\r\n".to_vec(),
        "/nowhere" => answer("302 Found", &[], b""),
        "/long-head" => ok(&[&format!("X: {}", "x".repeat(400 << 10))], b"x"),
        path => answer(&format!("{} X", &path[1..]), &["Location: /hint"], b"x"),
    });
    let sources = sources(&options(&[origin.port()]));
    for path in ["/identity", "/hint", "/301", "/302", "/303", "/307", "/308"] {
        assert_eq!(sources.get(&origin.url(path)).await.map(|source| source.bytes), Ok("x".into()), "{path}");
    }
    for status in [201, 203, 206, 300, 304, 305, 401, 404, 500, 503] {
        let failed = sources.get(&origin.url(&format!("/{status}"))).await;
        assert_eq!(failed, Err(Error::failed(Some(status))));
    }
    for path in ["/short", "/no-http", "/long-head"] {
        assert_eq!(sources.get(&origin.url(path)).await, Err(Error::failed(None)), "{path}");
    }
    assert_eq!(sources.get(&origin.url("/gzip")).await, Err(Error::failed(Some(200))));
    assert_eq!(sources.get(&origin.url("/nowhere")).await, Err(Error::failed(Some(302))));
    // This origin speaks no TLS, and its answer in the clear is not accepted instead.
    let secure = origin.url("/hint").replace("http:", "https:");
    assert!(sources.get(&secure).await.is_err());
}

#[tokio::test]
async fn a_port_that_refuses_connections_reads_like_a_forbidden_one_and_may_be_tried_again() {
    let silent = refusing(PERMITTED);
    let address = silent.local_addr().unwrap();
    let sources = sources(&options(&[address.port()]));
    let unreached = sources.get(&format!("http://{address}/")).await;
    assert_eq!(unreached, Err(Error::Unreached));
    assert_eq!(unreached.unwrap_err().to_string(), Error::Refused.to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fetches_at_once_are_bounded_and_simultaneous_ones_of_a_url_are_one() {
    let origin = Origin::start(PERMITTED, |_| Vec::new());
    let (full, seated) = (Options { fetches_max: 1, stall_ms: 200, ..options(&[origin.port()]) }, 8);
    let sources = sources(&Options { timeout_ms: 150, ..full });
    let ask = async |path: &str| sources.get(&origin.url(path)).await;
    // All of them begin before the first of them waits.
    let same = join_all((0..seated).map(|_| ask("/same"))).await;
    assert!(same.iter().all(|end| *end == Err(Error::TooSlow)), "{same:?}");
    // The origin may come to read it only later.
    until(|| origin.requests() > 0);
    assert_eq!(origin.requests(), 1);
    // Three others take turns. The third one waits longer for its turn than it may.
    let ends = join_all(["/a", "/b", "/c"].map(ask)).await;
    assert!(ends.contains(&Err(Error::Busy)), "{ends:?}");
    assert!(ends.contains(&Err(Error::TooSlow)), "{ends:?}");
}
