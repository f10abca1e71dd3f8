//! Clients that are slow, silent or many. Bounds are short, so that the tests are. They assert what happens, not when.

use std::io::{Read, Write};

use crate::http::{Server, client::Client, ppm, until};

#[test]
fn a_silent_or_slow_head_is_closed() {
    let server = Server::with(|settings| {
        settings.http.keep_alive_ms = 60;
        settings.http.head_timeout_ms = 60;
    });
    let mut silent = server.connect();
    assert!(silent.is_closed());
    let mut half = server.connect();
    half.write(b"GET /healthz HTTP/1.1\r\nHo");
    assert!(half.is_closed());
}

#[test]
fn an_idle_connection_is_closed() {
    let server = Server::with(|settings| settings.http.keep_alive_ms = 60);
    // On a busy machine a client may be too late for the bound. Then another one tries.
    let answered = (0..100).map(|_| server.connect()).find_map(|mut client| {
        _ = client.stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
        Some((client.try_answer(false)?, client))
    });
    let (answer, mut idle) = answered.unwrap();
    assert_eq!(answer.status, 200);
    assert!(idle.is_closed());
}

#[test]
fn an_idle_connection_is_not_a_slow_head() {
    // The head's bound is much shorter than the idle one. Only bytes of a head start it.
    let server = Server::with(|settings| settings.http.head_timeout_ms = 1);
    let mut client = server.connect();
    for _ in 0..3 {
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
fn connections_past_the_bound_wait_for_a_place() {
    let server = Server::with(|settings| settings.http.connections_max = 2);
    let mut first = server.connect();
    let mut second = server.connect();
    for client in [&mut first, &mut second] {
        assert_eq!(client.ask("GET", "/healthz", &[], b"").status, 200);
    }
    let mut third = server.connect();
    third.write(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(first.ask("GET", "/metrics", &[], b"").text().contains("progimage_http_connections 2\n"));
    drop(first);
    assert_eq!(third.answer(false).status, 200);
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
