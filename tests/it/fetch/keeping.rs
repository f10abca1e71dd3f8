//! Which answers of origins are kept, for how long, and how they are revalidated.

use std::time::Duration;

use progimage::digest::Digest;
use progimage::fetch::Options;

use super::origin::{Origin, answer, ok, redirect};
use super::{PERMITTED, options, sources};

#[tokio::test]
async fn a_fresh_source_is_not_fetched_again() {
    let origin = Origin::start(PERMITTED, |_| ok(&["Cache-Control: max-age=1000"], b"bytes"));
    let sources = sources(&options(&[origin.port()]));
    for _ in 0..3 {
        let source = sources.get(&origin.url("/")).await.unwrap();
        assert_eq!(source.digest, Digest::of(b"bytes"));
        let max_age = source.max_age.unwrap();
        assert!(max_age <= Duration::from_secs(300) && max_age > Duration::from_secs(290), "{max_age:?}");
    }
    assert_eq!(origin.requests(), 1);
    // Another URL is another source; a fragment does not make one.
    sources.get(&origin.url("/#there")).await.unwrap();
    assert_eq!(origin.requests(), 1);
    sources.get(&origin.url("/?x")).await.unwrap();
    assert_eq!(origin.requests(), 2);
}

#[tokio::test]
async fn what_must_not_be_kept_is_not() {
    for (field, max_age) in [("no-store", None), ("private", None), ("no-cache", Some(Duration::ZERO))] {
        let origin = Origin::start(PERMITTED, move |_| ok(&[&format!("Cache-Control: {field}")], b"bytes"));
        let sources = sources(&options(&[origin.port()]));
        for requests in 1..=2 {
            assert_eq!(sources.get(&origin.url("/")).await.unwrap().max_age, max_age, "{field}");
            assert_eq!(origin.requests(), requests, "{field}");
        }
        assert!(!origin.heads()[1].contains("if-"), "{field}");
    }
}

#[tokio::test]
async fn a_stale_source_is_asked_for_with_its_validators() {
    const FIELDS: &[&str] =
        &["Cache-Control: max-age=0", "ETag: \"1\"", "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT"];
    let origin = Origin::start(PERMITTED, |head| {
        let same = head.contains("if-none-match: \"1\"\r\n") && head.contains("if-modified-since: Sun, 06 Nov");
        if same { answer("304 Not Modified", &["Cache-Control: max-age=100"], b"") } else { ok(FIELDS, b"bytes") }
    });
    let sources = sources(&options(&[origin.port()]));
    for (requests, fresh) in [(1, false), (2, true), (2, true)] {
        let source = sources.get(&origin.url("/")).await.unwrap();
        assert_eq!(source.bytes, "bytes");
        assert_eq!(source.max_age.unwrap() > Duration::from_secs(90), fresh);
        assert_eq!(origin.requests(), requests);
    }
}

#[tokio::test]
async fn new_bytes_replace_old_ones() {
    let origin = Origin::start(PERMITTED, |head| {
        if head.contains("if-none-match: \"1\"") {
            ok(&["Cache-Control: max-age=0", "ETag: \"2\""], b"second")
        } else {
            ok(&["Cache-Control: max-age=0", "ETag: \"1\""], b"first")
        }
    });
    let sources = sources(&options(&[origin.port()]));
    assert_eq!(sources.get(&origin.url("/")).await.unwrap().bytes, "first");
    assert_eq!(sources.get(&origin.url("/")).await.unwrap().bytes, "second");
}

#[tokio::test]
async fn validators_of_one_place_are_not_shown_to_another() {
    // The redirect's target changes; both targets call their bytes "1".
    let origin = Origin::start(PERMITTED, |head| {
        static ASKED: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        match head.split(' ').nth(1).unwrap() {
            "/" if ASKED.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0 => redirect("/a"),
            "/" => redirect("/b"),
            _ if head.contains("if-none-match") => answer("304 Not Modified", &[], b""),
            path => ok(&["ETag: \"1\""], path.as_bytes()),
        }
    });
    let sources = sources(&options(&[origin.port()]));
    for expected in ["/a", "/b", "/b"] {
        assert_eq!(sources.get(&origin.url("/")).await.unwrap().bytes, expected);
    }
    let asked = origin.heads().iter().filter(|head| head.contains("if-none-match")).count();
    assert_eq!(asked, 1, "only where they are from");
}

#[tokio::test]
async fn the_cache_is_bounded_in_bytes() {
    let origin = Origin::start(PERMITTED, |_| ok(&["Cache-Control: max-age=100"], &[0; 10_000]));
    for (cache_bytes_max, requests) in [(0, 6), (11_000, 5), (1 << 20, 3)] {
        let before = origin.requests();
        let sources = sources(&Options { cache_bytes_max, ..options(&[origin.port()]) });
        for path in ["/1", "/2", "/3", "/1", "/2", "/3"] {
            sources.get(&origin.url(path)).await.unwrap();
        }
        let made = origin.requests() - before;
        let fits = if cache_bytes_max == 11_000 { made >= requests - 1 && made < 6 } else { made == requests };
        assert!(fits, "{cache_bytes_max}: {made} requests");
    }
}

#[tokio::test]
async fn the_servers_own_bound_on_age_wins() {
    let origin = Origin::start(PERMITTED, |_| ok(&["Cache-Control: max-age=1000"], b"bytes"));
    let sources = sources(&Options { max_age_s: 0, ..options(&[origin.port()]) });
    for requests in 1..=2 {
        assert_eq!(sources.get(&origin.url("/")).await.unwrap().max_age, Some(Duration::ZERO));
        assert_eq!(origin.requests(), requests);
    }
}
