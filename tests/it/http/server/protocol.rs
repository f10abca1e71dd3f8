//! The protocol itself: H1, H8 to H11, H13, H14. Raw bytes in, whole answers out.

use progimage::http::server::Stopped;

use crate::http::client::Client;
use crate::http::{Server, path_of, ppm};

/// Sends `request` and reads the only answer; the connection must then be usable or closed as `kept` says.
fn only_answer(server: &Server, request: &str) -> (u16, Client) {
    let mut client = server.connect();
    client.write(request.as_bytes());
    let answer = client.answer(false);
    (answer.status, client)
}

#[test]
fn hosts_are_checked() {
    let server = Server::start();
    let check = |request: &str, expected: u16| {
        assert_eq!(only_answer(&server, request).0, expected, "{request:?}");
    };
    check("GET /healthz HTTP/1.1\r\n\r\n", 400);
    check("GET /healthz HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400);
    check("GET /healthz HTTP/1.1\r\nHost: a b\r\n\r\n", 400);
    check("GET /healthz HTTP/1.1\r\nHost: user@a\r\n\r\n", 400);
    check("GET /healthz HTTP/1.1\r\nHost:\r\n\r\n", 400);
    check("GET http://a/healthz HTTP/1.1\r\n\r\n", 400);
    check("GET http://a/healthz HTTP/1.1\r\nHost: a\r\n\r\n", 200);
    check("GET /healthz HTTP/1.1\r\nHost: a:80\r\n\r\n", 200);
    check("GET /healthz HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", 200);
    check("GET /healthz HTTP/1.0\r\n\r\n", 200);
}

#[test]
fn methods_are_known_allowed_or_refused() {
    let server = Server::start();
    let id = path_of(b"x");
    let check = |method: &str, path: &str, status, allow: Option<&str>| {
        let answer = server.ask(method, path, &[]);
        assert_eq!((answer.status, answer.field("allow")), (status, allow), "{method} {path}");
    };
    check("POST", &id, 405, Some("GET, HEAD, PUT, DELETE, OPTIONS"));
    check("PATCH", "/images", 405, Some("POST, GET, HEAD, OPTIONS"));
    check("TRACE", "/images", 405, Some("POST, GET, HEAD, OPTIONS"));
    check("DELETE", &format!("{id}.png"), 405, Some("GET, HEAD, OPTIONS"));
    check("OPTIONS", &id, 204, Some("GET, HEAD, PUT, DELETE, OPTIONS"));
    check("OPTIONS", "*", 204, Some("GET, HEAD, POST, PUT, DELETE, OPTIONS"));
    check("OPTIONS", "/nothing", 404, None);
    check("CONNECT", "test:80", 501, None);
    check("BREW", "/images", 501, None);
}

#[test]
fn errors_have_bodies_and_request_ids_come_back() {
    let server = Server::start();
    server.get("/nothing").assert_problem(404, "not-found");
    server.ask("BREW", "/images", &[]).assert_problem(501, "not-implemented");
    assert_eq!(server.ask("GET", "/healthz", &["X-Request-Id: a-1"]).field("x-request-id"), Some("a-1"));
    let long = format!("X-Request-Id: {}", "x".repeat(129));
    for unfit in ["X-Request-Id: a b", "X-Request-Id: \u{e9}", "X-Request-Id:", long.as_str()] {
        assert_eq!(server.ask("GET", "/healthz", &[unfit]).field("x-request-id"), None, "{unfit}");
    }
}

#[test]
fn heads_have_bounds() {
    let server = Server::start();
    let path = |bytes: usize| format!("/{}", "x".repeat(bytes - 1));
    server.get(&path(8 << 10)).assert_problem(404, "not-found");
    server.get(&path((8 << 10) + 1)).assert_problem(414, "url-too-long");
    let fields = |count: usize| vec!["X: y"; count];
    assert_eq!(server.ask("GET", "/healthz", &fields(63)).status, 200);
    server.ask("GET", "/healthz", &fields(64)).assert_problem(431, "head-too-large");
    let long = format!("X: {}", "y".repeat(33 << 10));
    server.ask("GET", "/healthz", &[&long]).assert_problem(431, "head-too-large");
    // More than the parser's own buffers hold. The status still reaches a client that goes on sending.
    let bomb = format!("X: {}", "y".repeat(1 << 20));
    assert_eq!(server.ask("GET", "/healthz", &[&bomb]).status, 431);
    assert_eq!(server.ask("GET", "/healthz", &fields(5_000)).status, 431);
    assert_eq!(server.get("/healthz").status, 200);
}

#[test]
fn expectations_are_answered_before_the_body() {
    let image = ppm(4, 4, [1, 1, 1]);
    let server = Server::with(|settings| settings.store.blob_bytes_max = 1_000);
    let expect = |method: &str, path: &str, length: usize| {
        let mut client = server.connect();
        client.write(
            format!("{method} {path} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n")
                .as_bytes(),
        );
        (client.answer(false), client)
    };
    let (answer, mut client) = expect("POST", "/images", image.len());
    assert_eq!(answer.status, 100);
    client.write(&image);
    assert_eq!(client.answer(false).status, 201);
    let check = |method, path: &str, length, status| {
        let (answer, mut client) = expect(method, path, length);
        assert_eq!(answer.status, status, "{method} {path}");
        assert_eq!(answer.field("connection"), Some("close"));
        assert!(client.is_closed());
    };
    // Stored: 200 without the bytes.
    check("PUT", &path_of(&image), image.len(), 200);
    check("POST", "/images", 1_001, 413);
    check("POST", "/nothing", 1, 404);
    check("POST", &path_of(&image), 1, 405);
    let other = "POST /images HTTP/1.1\r\nHost: a\r\nExpect: tea\r\nContent-Length: 1\r\n\r\nx";
    assert_eq!(only_answer(&server, other).0, 417);
}

#[test]
fn a_refusal_reaches_a_client_that_still_sends() {
    let server = Server::with(|settings| settings.store.blob_bytes_max = 1_000);
    let body = vec![b'x'; 8 << 20];
    for _ in 0..8 {
        let mut client = server.connect();
        let answer = client.ask("POST", "/images", &[], &body);
        answer.assert_problem(413, "too-large");
        assert_eq!(answer.field("connection"), Some("close"));
        assert!(client.is_closed());
    }
}

#[test]
fn no_request_hides_behind_another() {
    let server = Server::start();
    // The content of a body must never be answered as a request of its own.
    let hidden = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    let length = hidden.len();
    let check = |head: &str, body: &str| {
        let mut client = server.connect();
        client.write(format!("POST /nothing HTTP/1.1\r\nHost: a\r\n{head}\r\n{body}").as_bytes());
        let first = client.try_answer(false);
        let status = first.as_ref().map(|answer| answer.status);
        assert!(matches!(status, None | Some(400 | 404)), "{head:?}: {first:?}");
        assert!(client.is_closed(), "{head:?}: something more was answered");
    };
    check(&format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"), &format!("0\r\n\r\n{hidden}"));
    check(&format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n"), &format!("0\r\n\r\n{hidden}"));
    check(&format!("Content-Length: {length}\r\nContent-Length: 0\r\n"), hidden);
    check(&format!("Content-Length: +{length}\r\n"), hidden);
    check(&format!("Content-Length: -{length}\r\n"), hidden);
    check("Content-Length: 0x1\r\n", hidden);
    check("Transfer-Encoding: chunked, identity\r\n", &format!("0\r\n\r\n{hidden}"));
    check("Transfer-Encoding: xchunked\r\n", &format!("0\r\n\r\n{hidden}"));
    check("Transfer-Encoding : chunked\r\n", &format!("0\r\n\r\n{hidden}"));
    check("X: y\r\n folded: z\r\n", hidden);
    check("X: y\rz: 1\r\n", hidden);
    check("Transfer-Encoding: chunked\r\n", &format!("fffffffffffffffff\r\n{hidden}"));
}

#[test]
fn transfer_codings_need_http_1_1() {
    let server = Server::start();
    let request = "POST /images HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /healthz HTTP/1.0\r\n\r\n";
    let (status, mut client) = only_answer(&server, request);
    assert_eq!(status, 400);
    assert!(client.is_closed());
}

#[test]
fn upgrades_are_ignored() {
    let server = Server::start();
    let mut client = server.connect();
    for _ in 0..2 {
        let fields = ["Connection: Upgrade", "Upgrade: h2c"];
        assert_eq!(client.ask("GET", "/healthz", &fields, b"").status, 200);
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = Server::start();
    let mut client = server.connect();
    client.write(&b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET /nothing HTTP/1.1\r\nHost: a\r\n\r\n".repeat(20));
    for _ in 0..20 {
        assert_eq!(client.answer(false).status, 200);
        assert_eq!(client.answer(false).status, 404);
    }
}

#[test]
fn fields_of_ours_are_structured_fields() {
    use sfv::{List, Parser};
    let server = Server::start();
    let path = server.store(&ppm(20, 20, [1, 2, 3]));
    for _ in 0..2 {
        let answer = server.get(&format!("{path}.png"));
        for name in ["cache-status", "server-timing"] {
            if let Some(value) = answer.field(name) {
                assert!(Parser::new(value).parse::<List>().is_ok_and(|list| !list.is_empty()), "{name}: {value}");
            }
        }
    }
}

#[test]
fn a_stop_answers_what_is_under_way_and_announces_the_end() {
    let server = Server::start();
    let image = ppm(4, 4, [2, 2, 2]);
    let mut idle = server.connect();
    assert_eq!(idle.ask("GET", "/readyz", &[], b"").status, 200);
    let mut busy = server.connect();
    let (head, tail) = image.split_at(20);
    busy.write(
        format!("POST /images HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n", image.len())
            .as_bytes(),
    );
    // The handler is at work: it has asked for the body.
    assert_eq!(busy.answer(false).status, 100);
    busy.write(head);
    server.stop();
    assert!(idle.is_closed());
    busy.write(tail);
    let answer = busy.answer(false);
    assert_eq!((answer.status, answer.field("connection")), (201, Some("close")));
    assert!(busy.is_closed());
    assert_eq!(server.stopped(), Stopped::Drained);
}

#[test]
fn a_stop_has_its_own_bound() {
    let server = Server::with(|settings| settings.http.shutdown_ms = 50);
    let mut stuck = server.connect();
    stuck.write(b"POST /images HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n");
    assert_eq!(stuck.answer(false).status, 100);
    server.stop();
    assert_eq!(server.stopped(), Stopped::CutOff);
}
