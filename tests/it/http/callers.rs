//! Limits of each key, over a socket: one caller that reaches its own keeps no other out.

use progimage::http::auth::{Access, keys};

use super::client::{Answer, Client};
use super::{Server, ppm, until};

const BOUNDED: &str = "Authorization: Bearer bounded-bounded-bounded";
const FREE: &str = "Authorization: Bearer free-free-free-free";

/// A server with a key that has `limits`, one without, and clients without a key that may do everything else.
fn server(limits: &str, anonymous: &str) -> Server {
    let all = "read+write+process+admin";
    let list = format!("bounded:{all};{limits}:bounded-bounded-bounded free:{all}:free-free-free-free");
    let anonymous_limits = anonymous.parse().unwrap();
    Server::with(|settings| {
        let access = Access { keys: keys(&list).unwrap(), anonymous: all.parse().unwrap(), ..Access::default() };
        settings.access = Access { anonymous_limits, ..access };
    })
}

fn assert_limited(answer: &Answer, limit: &str) {
    answer.assert_problem(429, "caller-limit");
    assert_eq!(answer.json()["limit"], limit);
    let wait: u64 = answer.field("retry-after").unwrap().parse().unwrap();
    assert!(wait >= 1, "{wait}");
}

/// A client whose request is under way: the server waits for its body.
fn at_work(server: &Server, path: &str, key: &str, length: usize) -> Client {
    let mut client = server.connect();
    let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\n{key}\r\nExpect: 100-continue\r\n");
    client.write(format!("{head}Content-Length: {length}\r\n\r\n").as_bytes());
    assert_eq!(client.answer(false).status, 100);
    client
}

/// The first refusal of many requests. A machine may be too busy to send one a second.
fn first_refusal(server: &Server, fields: &[&str]) -> Answer {
    let answers = (0..10_000).map(|_| server.ask("GET", "/images", fields));
    answers.into_iter().find(|answer| answer.status == 429).expect("a refusal")
}

#[test]
fn a_key_sends_so_many_requests_a_second_and_others_are_not_counted() {
    let server = server("requests_per_s=1", "requests_per_s=1");
    assert_limited(&first_refusal(&server, &[BOUNDED]), "requests_per_s");
    assert_limited(&first_refusal(&server, &[]), "requests_per_s");
    // A key that is not known is none.
    assert_limited(&first_refusal(&server, &["Authorization: Bearer unknown-unknown-unknown"]), "requests_per_s");
    for _ in 0..20 {
        assert_eq!(server.ask("GET", "/images", &[FREE]).status, 200);
        assert_eq!(server.ask("GET", "/healthz", &[BOUNDED]).status, 200, "a probe is never counted");
    }
}

#[test]
fn a_key_renders_and_uploads_so_many_at_once() {
    let image = ppm(4, 4, [1, 2, 3]);
    for (path, limit) in [("/process.png", "renders_max"), ("/images", "uploads_max")] {
        let server = server(&format!("{limit}=2"), "");
        let mut busy: Vec<Client> = (0..2).map(|_| at_work(&server, path, BOUNDED, image.len())).collect();
        assert_limited(&server.send("POST", path, &[BOUNDED], &image), limit);
        for others in [[FREE], ["X: y"]] {
            assert!(server.send("POST", path, &others, &image).status < 300, "{path} {others:?}");
        }
        busy[0].write(&image);
        assert!(busy[0].answer(false).status < 300);
        assert!(server.send("POST", path, &[BOUNDED], &image).status < 300, "a place is free again");
    }
}

#[test]
fn a_bulk_request_is_one_render_until_its_answer_has_ended() {
    let server = server("renders_max=1", "");
    let mut bulk = server.connect();
    let head = format!("POST /bulk HTTP/1.1\r\nHost: a\r\n{BOUNDED}\r\nTransfer-Encoding: chunked\r\n\r\n");
    bulk.write(format!("{head}3\r\n{{}}\n\r\n").as_bytes());
    assert_eq!(bulk.head().unwrap().status, 200);
    let image = ppm(4, 4, [4, 4, 4]);
    assert_limited(&server.send("POST", "/process.png", &[BOUNDED], &image), "renders_max");
    bulk.write(b"0\r\n\r\n");
    while bulk.chunk().unwrap().is_some() {}
    until(|| server.send("POST", "/process.png", &[BOUNDED], &image).status == 200);
}

#[test]
fn clients_without_a_key_share_one_limit_and_hits_are_no_renders() {
    let server = server("renders_max=9", "renders_max=1");
    let image = ppm(4, 4, [3, 2, 1]);
    let path = format!("{}.png", server.store(&image));
    assert_eq!(server.get(&path).status, 200);
    let _busy = at_work(&server, "/process.png", "X: y", image.len());
    assert_eq!(server.get(&path).status, 200, "from the cache");
    assert_limited(&server.get(&format!("{path}?w=2")), "renders_max");
    assert_eq!(server.ask("GET", &format!("{path}?w=2"), &[BOUNDED]).status, 200);
}

#[test]
fn renders_by_other_routes_count_and_their_hits_do_not() {
    let server = server("renders_max=9", "renders_max=1");
    let image = ppm(4, 4, [3, 2, 1]);
    let path = server.store(&image);
    let id = path.rsplit('/').next().unwrap();
    let (info, auto) = (format!("{path}/info?include=blurhash"), format!("{path}.auto?w=2"));
    let _busy = at_work(&server, "/process.png", "X: y", image.len());
    for url in [&info, &auto] {
        assert_limited(&server.get(url), "renders_max");
        assert_eq!(server.ask("GET", url, &[BOUNDED]).status, 200);
        assert_eq!(server.get(url).status, 200, "from the cache: {url}");
    }
    let item = format!(r#"{{"source":{{"id":"{id}"}},"outputs":[{{"format":"png"}}]}}"#);
    for (path, body) in [
        ("/images/info?include=blurhash", id.as_bytes()),
        ("/images/info?incl%75de=blurhash", id.as_bytes()),
        ("/images?prerender=thumb", &image),
        ("/jobs", item.as_bytes()),
    ] {
        assert_limited(&server.send("POST", path, &[], body), "renders_max");
    }
    assert_eq!(server.get(&format!("{path}/info")).status, 200);
    assert_eq!(server.send("POST", "/images/info", &[], id.as_bytes()).status, 200);
    assert_eq!(server.send("POST", "/images", &[], &image).status, 200);
}
