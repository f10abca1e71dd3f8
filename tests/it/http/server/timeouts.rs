//! Clients that are slow, silent or many. Bounds are short, so that the tests are. They assert what happens, not when.

use std::io::{Read, Write};
use std::time::Duration;

use crate::http::client::{Answer, Client};
use crate::http::{Server, ppm, until};

#[test]
fn a_silent_or_slow_head_is_closed() {
    let server = Server::with(|settings| settings.http.head_timeout_ms = 60);
    let mut silent = server.connect();
    assert!(silent.is_closed());
    let mut half = server.connect();
    half.write(b"GET /healthz HTTP/1.1\r\nHo");
    assert!(half.is_closed());
}

/// A connection that was answered, and the answer. On a busy machine a client may be too late for a bound. Then another
/// one tries.
fn answered(server: &Server) -> (Answer, Client) {
    answered_before(server, "")
}

/// As [`answered`], with the beginning of a further request in the same packet.
fn answered_before(server: &Server, rest: &str) -> (Answer, Client) {
    let request = format!("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n{rest}");
    let answered = (0..100).map(|_| server.connect()).find_map(|mut client| {
        _ = client.stream.write_all(request.as_bytes());
        Some((client.try_answer(false)?, client))
    });
    answered.unwrap()
}

#[test]
fn half_a_head_in_the_packet_of_another_request_is_closed() {
    let server = Server::with(|settings| settings.http.head_timeout_ms = 60);
    let (answer, mut half) = answered_before(&server, "GET /healthz HTTP/1.1\r\n");
    assert_eq!(answer.status, 200);
    assert!(half.is_closed());
}

#[test]
fn an_idle_connection_is_closed() {
    let server = Server::with(|settings| settings.http.keep_alive_ms = 60);
    let (answer, mut idle) = answered(&server);
    assert_eq!(answer.status, 200);
    assert!(idle.is_closed());
}

#[test]
fn an_idle_connection_is_not_a_slow_head() {
    // After the first request the head's bound, which is much shorter, begins with the first byte of the next head.
    let server = Server::with(|settings| settings.http.head_timeout_ms = 60);
    let (_, mut client) = answered(&server);
    for _ in 0..2 {
        std::thread::sleep(Duration::from_millis(120));
        assert_eq!(client.ask("GET", "/healthz", &[], b"").status, 200);
    }
}

#[test]
fn a_body_that_stalls_is_answered_408() {
    let server = Server::with(|settings| settings.http.body_stall_ms = 60);
    let mut client = server.connect();
    client.write(b"POST /images HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nP6");
    let answer = client.answer(false);
    answer.assert_problem(408, "body-timeout");
    assert_eq!(answer.field("connection"), Some("close"));
}

#[test]
fn a_body_below_the_least_rate_is_answered_408() {
    let server = Server::with(|settings| {
        settings.http.body_grace_ms = 0;
        settings.http.body_rate_min = 1 << 40;
    });
    let mut client = server.connect();
    client.write(b"POST /images HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nP6");
    client.answer(false).assert_problem(408, "body-timeout");
}

#[test]
fn a_body_has_an_absolute_end() {
    let server = Server::with(|settings| settings.http.body_timeout_ms = 60);
    let mut client = server.connect();
    client.write(b"POST /images HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nP6\r\n");
    client.answer(false).assert_problem(408, "body-timeout");
}

#[test]
fn a_client_that_stops_reading_is_closed() {
    let server = Server::with(|settings| settings.http.write_stall_ms = 60);
    let (mut client, asked) = ask_for_more_than_buffers_hold(&server);
    client.stream.read_exact(&mut [0]).unwrap();
    // No other byte is read until the server's count of connections shows that it has given up.
    until(|| server.get("/metrics").text().contains("progimage_http_connections 1\n"));
    let mut rest = Vec::new();
    // Cut off: fewer bytes than were asked for, by an end or a reset.
    _ = client.stream.read_to_end(&mut rest);
    assert!(rest.len() < asked, "{}", rest.len());
}

/// A client that has sent requests, and the least number of bytes of their answers. They are more than the kernel keeps
/// for a client that does not read: the two buffers of a loopback connection may grow to some 40 MB.
fn ask_for_more_than_buffers_hold(server: &Server) -> (Client, usize) {
    const ANSWERS: usize = 8;
    let path = server.store(&ppm(3_000, 2_000, [1, 2, 3]));
    let mut client = server.connect();
    // At once: the server may close after the first of them.
    client.write(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").repeat(ANSWERS).as_bytes());
    (client, ANSWERS * 18_000_000)
}

#[test]
fn a_client_that_reads_below_the_least_rate_is_closed() {
    let server = Server::with(|settings| {
        settings.http.write_rate_min = 1 << 40;
        settings.http.write_grace_ms = 0;
        // This bound is not reached, since the client takes a byte now and then.
        settings.http.write_stall_ms = 3_600_000;
    });
    let (mut client, asked) = ask_for_more_than_buffers_hold(&server);
    let mut read = 0;
    while !server.get("/metrics").text().contains("progimage_http_connections 1\n") {
        if client.stream.read_exact(&mut [0]).is_err() {
            break;
        }
        read += 1;
        assert!(read < 10_000, "still served after {read} bytes, one by one");
    }
    let mut rest = Vec::new();
    _ = client.stream.read_to_end(&mut rest);
    assert!(rest.len() < asked, "{}", rest.len());
}

#[test]
fn a_client_that_leaves_in_its_body_leaves_nothing() {
    let server = Server::start();
    let image = ppm(100, 100, [1, 2, 3]);
    let mut client = server.connect();
    client.write(format!("POST /images HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", image.len()).as_bytes());
    client.write(&image[..1_000]);
    drop(client);
    assert_eq!(server.get("/images").json()["images"], serde_json::json!([]));
    assert_eq!(server.get("/healthz").status, 200);
}
