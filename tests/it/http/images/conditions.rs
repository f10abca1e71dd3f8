//! Conditional and range requests over a socket: H2 to H5. The decisions themselves are tested next to their code.

use crate::http::{Server, path_of, ppm};

#[test]
fn one_strong_tag_on_every_answer() {
    let server = Server::start();
    let path = server.store(&ppm(9, 9, [1, 2, 3]));
    for path in [path.clone(), format!("{path}.png")] {
        let whole = server.get(&path);
        let tag = whole.field("etag").unwrap();
        assert!(tag.starts_with('"') && tag.ends_with('"'));
        let same = |answer: crate::http::Answer, status| {
            assert_eq!((answer.status, answer.field("etag")), (status, Some(tag)), "{path}");
        };
        same(server.ask("HEAD", &path, &[]), 200);
        same(server.ask("GET", &path, &["Range: bytes=0-3"]), 206);
        same(server.ask("GET", &path, &[&format!("If-None-Match: W/{tag}")]), 304);
        same(server.ask("HEAD", &path, &["If-None-Match: *"]), 304);
    }
}

#[test]
fn a_304_has_the_fields_of_a_200_and_no_body() {
    let server = Server::start();
    let path = format!("{}.png", server.store(&ppm(9, 9, [4, 5, 6])));
    let whole = server.get(&path);
    let mut client = server.connect();
    let field = format!("If-None-Match: \"x\", {}", whole.field("etag").unwrap());
    let answer = client.ask("GET", &path, &[&field], b"");
    assert_eq!(answer.status, 304);
    for name in ["etag", "cache-control"] {
        assert_eq!(answer.field(name), whole.field(name));
    }
    assert!(answer.field("date").is_some());
    assert_eq!(answer.field("content-length"), None);
    // Nothing follows: the next answer begins where this one ended.
    assert_eq!(client.ask("GET", &path, &[], b"").body, whole.body);
}

#[test]
fn a_cold_304_renders_nothing() {
    let server = Server::start();
    let image = ppm(9, 9, [7, 8, 9]);
    let path = format!("{}.png?w=3", server.store(&image));
    let tag = server.get(&path).field("etag").unwrap().to_owned();
    let field = format!("If-None-Match: {tag}");
    // A server that has never seen this rendition.
    let fresh = Server::start();
    assert_eq!(fresh.ask("GET", &path, &[&field]).status, 404);
    fresh.store(&image);
    assert_eq!(fresh.ask("GET", &path, &[&field]).status, 304);
    let metrics = fresh.get("/metrics").text();
    assert!(metrics.contains("progimage_rendition_misses_total 0\n"), "{metrics}");
}

#[test]
fn conditions_that_fail() {
    let server = Server::start();
    let path = server.store(&ppm(9, 9, [10, 8, 9]));
    for path in [path.clone(), format!("{path}.png")] {
        server.ask("GET", &path, &["If-Match: \"x\""]).assert_problem(412, "precondition-failed");
        assert_eq!(server.ask("GET", &path, &["If-Match: *"]).status, 200);
    }
    let past = "If-Modified-Since: Sat, 29 Oct 2044 19:43:31 GMT";
    assert_eq!(server.ask("GET", &path, &[past]).status, 200);
    let future = "If-Unmodified-Since: Sat, 29 Oct 1994 19:43:31 GMT";
    assert_eq!(server.ask("GET", &path, &[future]).status, 200);
    server.ask("GET", &path_of(b"none"), &["If-None-Match: *"]).assert_problem(404, "unknown-id");
}

#[test]
fn ranges_of_originals_and_renditions() {
    let server = Server::start();
    // More than two frames of the store.
    let path = server.store(&ppm(500, 400, [1, 200, 3]));
    for path in [path.clone(), format!("{path}.bmp")] {
        let body = server.get(&path).body;
        let total = body.len();
        let check = |range: &str, first: usize, last: usize| {
            let answer = server.ask("GET", &path, &[&format!("Range: bytes={range}")]);
            assert_eq!(answer.status, 206, "{range}");
            assert_eq!(answer.field("content-range"), Some(format!("bytes {first}-{last}/{total}").as_str()));
            assert!(answer.body == body[first..=last], "{path} {range}");
        };
        check("0-0", 0, 0);
        check("5-100", 5, 100);
        check("300000-", 300_000, total - 1);
        check("-7", total - 7, total - 1);
        check("1-99999999", 1, total - 1);
        check(&format!("{}-{}", total - 1, total), total - 1, total - 1);
        let outside = server.ask("GET", &path, &[&format!("Range: bytes={total}-")]);
        outside.assert_problem(416, "range-not-satisfiable");
        assert_eq!(outside.field("content-range"), Some(format!("bytes */{total}").as_str()));
        for ignored in ["Range: bytes=9-1", "Range: lines=1-2", "Range: bytes=0-1\r\nIf-Range: \"x\""] {
            let answer = server.ask("GET", &path, &[ignored]);
            assert_eq!((answer.status, answer.body.len()), (200, total), "{ignored}");
        }
        let head = server.ask("HEAD", &path, &["Range: bytes=0-1"]);
        assert_eq!((head.status, head.field("content-length")), (200, Some(total.to_string().as_str())));
    }
}

#[test]
fn several_ranges_are_one_multipart_body() {
    let server = Server::start();
    let path = server.store(&ppm(500, 400, [1, 100, 3]));
    for path in [path.clone(), format!("{path}.bmp")] {
        let whole = server.get(&path);
        let answer = server.ask("GET", &path, &["Range: bytes=0-1,300000-300003, -2"]);
        assert_eq!(answer.status, 206);
        assert_eq!(answer.field("content-range"), None);
        let boundary = answer.field("content-type").unwrap().strip_prefix("multipart/byteranges; boundary=").unwrap();
        let (total, media_type) = (whole.body.len(), whole.field("content-type").unwrap());
        let mut expected = Vec::new();
        for (first, last) in [(0, 1), (300_000, 300_003), (total - 2, total - 1)] {
            expected.extend_from_slice(
                format!(
                    "\r\n--{boundary}\r\nContent-Type: {media_type}\r\nContent-Range: bytes {first}-{last}/{total}\r\n\r\n"
                )
                .as_bytes(),
            );
            expected.extend_from_slice(&whole.body[first..=last]);
        }
        expected.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        assert!(answer.body == expected, "{path}");
        let nine = format!("Range: bytes={}", (0..9).map(|at| format!("{at}-{at}")).collect::<Vec<_>>().join(","));
        assert_eq!(server.ask("GET", &path, &[&nine]).status, 200);
    }
}
