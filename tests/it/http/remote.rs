//! Images of other servers over real sockets: rendered, stored, refused.

use progimage::http::Settings;
use progimage::http::auth::{Access, keys};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket};

use super::bulk::{assert_failed, item, ndjson, resize};
use super::metrics::figure;
use super::{Server, jobs, path_of, ppm, runtime, until};
use crate::fetch::origin::{Origin, answer, listeners, ok, redirect, refusing};
use crate::fetch::{PERMITTED, options};

fn server(origin: &Origin) -> Server {
    changed(origin, |_| {})
}

fn changed(origin: &Origin, change: impl FnOnce(&mut Settings)) -> Server {
    Server::with(|settings| {
        settings.fetch = options(&[origin.port()]);
        change(settings);
    })
}

const FRESH: &[&str] = &["Cache-Control: max-age=1000"];

#[test]
fn a_remote_image_is_rendered_as_a_stored_one_is_and_not_stored() {
    let image = ppm(8, 4, [10, 20, 30]);
    let bytes = image.clone();
    let origin = Origin::start(PERMITTED, move |_| ok(FRESH, &bytes));
    let server = server(&origin);
    let path = format!("/remote.png?url={}&w=4", origin.url("/a.ppm"));
    let first = server.get(&path);
    assert_eq!(first.status, 200, "{}", first.text());
    assert_eq!(first.field("cache-status"), Some("progimage; fwd=miss"));
    assert_eq!(first.field("content-type"), Some("image/png"));
    let age: u64 = first.field("cache-control").unwrap().strip_prefix("public, max-age=").unwrap().parse().unwrap();
    assert!((290..=300).contains(&age), "{age}");
    let etag = first.field("etag").unwrap().to_owned();
    let second = server.get(&path);
    assert_eq!(second.field("cache-status"), Some("progimage; hit"));
    assert_eq!((second.field("etag"), &second.body), (Some(etag.as_str()), &first.body));
    let same = server.ask("GET", &path, &[&format!("If-None-Match: {etag}")]);
    assert_eq!((same.status, same.field("etag")), (304, Some(etag.as_str())));
    assert!(same.field("cache-control").unwrap().starts_with("public, max-age="));
    assert_eq!(server.ask("GET", &path, &["Range: bytes=0-3"]).body, first.body[..4]);
    assert_eq!(server.ask("HEAD", &path, &[]).field("etag"), Some(etag.as_str()));
    assert_eq!(origin.requests(), 1);
    // The image was never stored, so its id answers nothing although renditions are cached.
    let stored = format!("{}.png?w=4", path_of(&image));
    server.get(&stored).assert_problem(404, "unknown-id");
    server.get(&path_of(&image)).assert_problem(404, "unknown-id");
    server.store(&image);
    let stored = server.get(&stored);
    assert_eq!((stored.field("etag"), &stored.body), (Some(etag.as_str()), &first.body));
}

#[test]
fn a_deleted_image_stays_deleted_while_its_origin_has_it() {
    let image = ppm(3, 4, [1, 20, 30]);
    let bytes = image.clone();
    let origin = Origin::start(PERMITTED, move |_| ok(FRESH, &bytes));
    let server = server(&origin);
    let (remote, stored) =
        (format!("/remote.png?w=2&url={}", origin.url("/")), format!("{}.png?w=2", server.store(&image)));
    let etag = server.get(&stored).field("etag").unwrap().to_owned();
    assert_eq!(server.ask("DELETE", &path_of(&image), &[]).status, 204);
    assert_eq!(server.get(&remote).field("etag"), Some(etag.as_str()));
    server.get(&stored).assert_problem(404, "unknown-id");
    assert_eq!(server.get(&remote).field("cache-status"), Some("progimage; hit"));
}

#[test]
fn store_ingests_and_json_uploads_by_url() {
    let (one, two) = (ppm(2, 2, [1, 1, 1]), ppm(2, 2, [2, 2, 2]));
    let images = [one.clone(), two.clone()];
    let origin = Origin::start(PERMITTED, move |head| ok(FRESH, &images[usize::from(head.starts_with("GET /two "))]));
    let server = server(&origin);
    let answer = server.get(&format!("/remote.png?store=true&url={}", origin.url("/one")));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.field("link"), Some(format!("<{}>; rel=\"via\"", path_of(&one)).as_str()));
    assert_eq!(server.get(&path_of(&one)).body, one);
    let json = format!("{{\"url\": \"{}\"}}", origin.url("/two"));
    for (status, created) in [(201, true), (200, false)] {
        let answer = server.send("POST", "/images", &["Content-Type: application/json"], json.as_bytes());
        assert_eq!(answer.status, status, "{}", answer.text());
        assert_eq!(answer.field("location"), Some(path_of(&two).as_str()));
        assert_eq!(answer.json()["created"], created);
    }
    assert_eq!(server.get(&path_of(&two)).body, two);
    let send = |body: &[u8]| server.send("POST", "/images", &["Content-Type: application/json"], body);
    for bad in ["[]", "{", "1", ""] {
        send(bad.as_bytes()).assert_problem(400, "malformed-request");
    }
    for bad in ["{}", "{\"url\": 1}", "{\"url\": \"http://a/\", \"x\": 1}", "{\"url\": \"a\"}"] {
        send(bad.as_bytes()).assert_problem(400, "invalid-parameter");
    }
    for (bytes, status) in [(16 << 10, 200), ((16 << 10) + 1, 413)] {
        assert_eq!(send(format!("{json}{}", " ".repeat(bytes - json.len())).as_bytes()).status, status);
    }
}

#[test]
fn without_an_allowed_host_remote_sources_are_off() {
    let server = Server::start();
    server.get("/remote.png?url=http://127.0.0.1/").assert_problem(403, "remote-off");
    let json = b"{\"url\": \"http://127.0.0.1/\"}";
    server.send("POST", "/images", &["Content-Type: application/json"], json).assert_problem(403, "remote-off");
}

#[test]
fn failures_are_reported_without_internal_details() {
    let [permitted, inside] = listeners([PERMITTED, "127.0.0.1"]);
    let origin = Origin::on(permitted, |head| match head.split(' ').nth(1).unwrap() {
        "/text" => ok(FRESH, b"no image"),
        "/long" => ok(FRESH, &[0; 101]),
        "/inside" => {
            let port = head.lines().find_map(|line| line.strip_prefix("host: 127.0.0.2:")).unwrap();
            redirect(&format!("http://127.0.0.1:{port}/"))
        }
        "/stall" => Vec::new(),
        _ => answer("404 Not Found", &[], b""),
    });
    let inside = Origin::on(inside, |_| ok(&[], b"secret"));
    let server = changed(&origin, |settings| {
        settings.limits.bytes_max = 100;
        settings.fetch.stall_ms = 300;
    });
    let check = |path: &str, status, kind: &str| {
        let answer = server.get(&format!("/remote.png?url={}", origin.url(path)));
        answer.assert_problem(status, kind);
        assert!(!answer.text().contains("127.0.0."), "{}", answer.text());
        answer
    };
    check("/text", 415, "unknown-format");
    check("/long", 413, "too-large");
    check("/stall", 504, "remote-timeout");
    assert_eq!(check("/gone", 404, "remote-failed").json()["remote_status"], 404);
    let redirected = check("/inside", 403, "remote-refused").text();
    let direct = server.get(&format!("/remote.png?url={}", inside.url("/")));
    assert_eq!(direct.text(), redirected);
    for (query, status) in
        [("", 400), ("url=a", 400), ("url=ftp://a/", 400), ("url=http://a/&url=http://a/", 400), ("url=http://a/", 403)]
    {
        assert_eq!(server.get(&format!("/remote.png?{query}")).status, status, "{query}");
    }
    assert_eq!(inside.connections(), 0);
}

#[test]
fn what_an_origin_says_of_an_image_comes_through() {
    let origin = Origin::start(PERMITTED, |head| {
        let path = head.split(' ').nth(1).unwrap();
        let (status, after) = path[1..].split_once('-').unwrap();
        let field = format!("Retry-After: {after}");
        let fields: &[&str] = if after.is_empty() { &[] } else { &[&field] };
        answer(&format!("{status} So"), fields, b"<p>gone")
    });
    let server = server(&origin);
    let check = |status: u16, after: &str, expected: u16| {
        let answer = server.get(&format!("/remote.png?url={}", origin.url(&format!("/{status}-{after}"))));
        answer.assert_problem(expected, "remote-failed");
        assert_eq!(answer.json()["remote_status"], status);
        assert_eq!(answer.field("retry-after"), Some(after).filter(|after| !after.is_empty()));
        assert_eq!(answer.field("cache-control"), Some("public, max-age=5"), "{status}");
    };
    for same in [403, 404, 410, 429, 451] {
        check(same, "", same);
    }
    check(429, "120", 429);
    check(503, "7", 502);
    for (status, expected) in [(400, 422), (401, 403), (402, 403), (407, 403), (408, 504), (415, 422), (418, 422)] {
        check(status, "", expected);
    }
    for failed in [201, 203, 206, 300, 500, 501, 502, 503, 504, 599] {
        check(failed, "", 502);
    }
    let uploaded = |status: u16| {
        let json = format!("{{\"url\": \"{}\"}}", origin.url(&format!("/{status}-")));
        server.send("POST", "/images", &["Content-Type: application/json"], json.as_bytes())
    };
    uploaded(404).assert_problem(404, "remote-failed");
    assert_eq!(uploaded(404).field("cache-control"), Some("no-store"));
    uploaded(500).assert_problem(502, "remote-failed");
}

#[test]
fn failures_are_kept_for_a_short_while_and_never_longer_than_an_image() {
    let origin = Origin::start(PERMITTED, |head| match head.split(' ').nth(1).unwrap() {
        "/absent" => answer("404 Not Found", &[], b""),
        "/stall" => Vec::new(),
        "/page" => ok(&[], b"<!doctype html>"),
        "/kept" => ok(&["Cache-Control: max-age=60"], b"<!doctype html>"),
        "/long" => ok(FRESH, b"<!doctype html>"),
        "/empty" => ok(&[], b""),
        "/never" => ok(&["Cache-Control: no-store"], b"<svg/>"),
        _ => ok(&[], &ppm(2, 2, [3, 4, 9])),
    });
    let server = changed(&origin, |settings| {
        settings.fetch.failures_max_age_s = 20;
        settings.fetch.stall_ms = 300;
    });
    let kept = |path: &str, query: &str| {
        let answer = server.get(&format!("/remote.png?url={}{query}", origin.url(path)));
        answer.field("cache-control").unwrap().to_owned()
    };
    for (path, expected) in [("/absent", "public, max-age=20"), ("/stall", "public, max-age=20")] {
        assert_eq!(kept(path, ""), expected, "{path}");
    }
    for path in ["/page", "/empty", "/never"] {
        assert_eq!(kept(path, ""), "no-store", "{path}");
    }
    let age = |field: String| field.strip_prefix("public, max-age=").unwrap().parse::<u32>().unwrap();
    assert!((50..=60).contains(&age(kept("/kept", ""))));
    assert!((290..=300).contains(&age(kept("/long", ""))));
    // A refusal of the picture lasts no longer than the picture, either.
    assert_eq!(kept("/image", "&crop=9,9,1,1"), "no-store");
    let none = changed(&origin, |settings| settings.fetch.failures_max_age_s = 0);
    let absent = none.get(&format!("/remote.png?url={}", origin.url("/absent")));
    assert_eq!(absent.field("cache-control"), Some("no-store"));
}

#[test]
fn a_wrong_query_is_refused_before_anything_is_fetched() {
    let origin = Origin::start(PERMITTED, |_| ok(FRESH, b""));
    let server = server(&origin);
    let url = origin.url("/");
    for query in ["w=0", "nonsense=1", "store=maybe", "store=true&store=true", "download="] {
        let answer = server.get(&format!("/remote.png?url={url}&{query}"));
        answer.assert_problem(400, "invalid-parameter");
    }
    server.get(&format!("/remote.exe?url={url}")).assert_problem(400, "unknown-extension");
    let refused = server.ask("POST", &format!("/remote.png?url={url}"), &[]);
    refused.assert_problem(405, "method-not-allowed");
    assert_eq!(refused.field("allow"), Some("GET, HEAD, OPTIONS"));
    assert_eq!(origin.connections(), 0);
}

#[test]
fn scopes_are_process_and_to_store_write_too() {
    let image = ppm(2, 3, [7, 7, 7]);
    let bytes = image.clone();
    let origin = Origin::start(PERMITTED, move |_| ok(FRESH, &bytes));
    let server = changed(&origin, |settings| {
        let list = "r:read:reader-reader-reader p:process:process-process-process b:process+write:both-both-both-both";
        settings.access = Access { keys: keys(list).unwrap(), ..Access::default() };
    });
    let path = format!("/remote.png?url={}", origin.url("/"));
    let key = |secret: &str| format!("Authorization: Bearer {secret}");
    let store = format!("{path}&store=true");
    server.get(&path).assert_problem(401, "key-needed");
    server.ask("GET", &path, &[&key("reader-reader-reader")]).assert_problem(403, "scope-needed");
    server.ask("GET", &store, &[&key("process-process-process")]).assert_problem(403, "scope-needed");
    assert_eq!(origin.connections(), 0);
    let answer = server.ask("GET", &path, &[&key("process-process-process")]);
    assert!(answer.field("cache-control").unwrap().starts_with("private, max-age="));
    assert_eq!(server.get(&path_of(&image)).status, 404);
    assert_eq!(server.ask("GET", &store, &[&key("both-both-both-both")]).status, 200);
    assert_eq!(server.get(&path_of(&image)).status, 200);
}

#[test]
fn origins_decide_how_long_answers_are_kept() {
    let origin = Origin::start(PERMITTED, |head| {
        let field = head.split(' ').nth(1).unwrap()[1..].replace('_', "=");
        ok(&[&format!("Cache-Control: {field}")], &ppm(2, 2, [3, 4, 5]))
    });
    let server = server(&origin);
    for (said, kept) in [("no-store", "no-store"), ("private", "no-store"), ("max-age_0", "public, max-age=0")] {
        let answer = server.get(&format!("/remote.png?url={}", origin.url(&format!("/{said}"))));
        assert_eq!(answer.field("cache-control"), Some(kept), "{said}");
    }
    let auto = server.ask("GET", &format!("/remote.auto?url={}", origin.url("/no-store")), &["Accept: image/webp"]);
    assert_eq!((auto.field("vary"), auto.field("content-type")), (Some("Accept"), Some("image/webp")));
}

#[test]
fn simultaneous_requests_fetch_and_render_once() {
    let origin = Origin::start(PERMITTED, |_| ok(FRESH, &ppm(64, 64, [3, 4, 5])));
    let server = server(&origin);
    let path = format!("/remote.png?url={}&w=32", origin.url("/"));
    std::thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| assert_eq!(server.get(&path).status, 200));
        }
    });
    assert_eq!(origin.requests(), 1);
}

/// An origin that holds its port and refuses connections, and a job over one of its images.
fn refused_job(attempts_max: u32) -> (TcpSocket, Server, String) {
    let origin = refusing(PERMITTED);
    let address = origin.local_addr().unwrap();
    let server = Server::with(|settings| {
        settings.fetch = options(&[address.port()]);
        settings.jobs.attempts_max = attempts_max;
        settings.jobs.retry_ms = 1;
    });
    let path = submit(&server, &format!("http://{address}/a.ppm"));
    (origin, server, path)
}

fn submit(server: &Server, url: &str) -> String {
    let body = ndjson(&[item(json!({ "url": url }), &[resize("png", 2)])]);
    let answer = server.send("POST", "/jobs", &[], &body);
    assert_eq!(answer.status, 202, "{}", answer.text());
    answer.field("location").unwrap().to_owned()
}

/// The result of a job of one item, at its end.
fn result(server: &Server, path: &str) -> Value {
    jobs::end(server, path);
    let (mut lines, _) = jobs::results(&server.get(&format!("{path}/results")));
    lines.remove(0)
}

#[test]
fn a_job_tries_an_origin_that_refuses_connections_again_as_often_as_it_may() {
    let (origin, server, path) = refused_job(3);
    let failed = result(&server, &path);
    assert_failed(&failed, 403, "remote-refused");
    assert_eq!(figure(&server, "job_items_retried_total"), 2);
    // A forbidden address is not tried again, and its error has equal text.
    let port = origin.local_addr().unwrap().port();
    let forbidden = result(&server, &submit(&server, &format!("http://127.0.0.3:{port}/a.ppm")));
    assert_eq!(forbidden["problem"], failed["problem"]);
    assert_eq!(figure(&server, "job_items_retried_total"), 2);
}

#[test]
fn a_job_outlasts_the_restart_of_an_origin() {
    let (origin, server, path) = refused_job(30);
    until(|| figure(&server, "job_items_retried_total") > 0);
    let listener = runtime().block_on(async { origin.listen(16) }).and_then(TcpListener::into_std).unwrap();
    listener.set_nonblocking(false).unwrap();
    Origin::on(listener, |_| ok(FRESH, &ppm(8, 4, [1, 2, 3])));
    let done = result(&server, &path);
    assert_eq!(done["status"], 200, "{done}");
}
