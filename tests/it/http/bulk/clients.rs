//! Clients that send before they read, do not read, or leave.

use std::io::Read;

use progimage::http::server::Stopped;
use serde_json::{Value, json};

use super::{Server, data, id, item, lines_of, ndjson, path_of, ppm, resize, results, with};
use crate::fetch::origin::Origin;
use crate::fetch::{PERMITTED, options};
use crate::http::client::WRITE_STALLS_MS;
use crate::http::metrics::figure;
use crate::http::until;

#[test]
fn a_client_may_send_everything_before_it_reads() {
    const ITEMS: u32 = 10_000;
    let server = Server::start();
    let image = ppm(16, 1, [1, 2, 3]);
    server.store(&image);
    let mut body = Vec::new();
    for index in 0..ITEMS {
        let to = if index % 2 == 0 { "rendition" } else { "blob" };
        body.extend(ndjson(&[item(id(&image), &[with(resize("ppm", 1 + index % 16), "to", to)])]));
    }
    let lines = results(&server.send("POST", "/bulk", &[], &body));
    assert_eq!(lines.len(), ITEMS as usize);
    for (index, line) in lines.iter().enumerate() {
        assert_eq!(line["item"], index);
        assert!(line["url"].is_string() && line.get("problem").is_none(), "{line}");
    }
    for line in &lines[..32] {
        assert_eq!(server.get(line["url"].as_str().unwrap()).status, 200);
    }
}

#[test]
fn one_bad_line_among_many_is_one_line_of_the_answer() {
    const BAD: usize = 15_000;
    let server = Server::start();
    // These items are cheap: they fail before anything is opened, each at the same member.
    let mut body = b"{\"source\": {\"id\": \"x\"}}\n".repeat(BAD);
    body.extend_from_slice(b"{\"source\": \n");
    body.extend_from_slice(&b"{\"source\": {\"id\": \"x\"}}\n".repeat(4_999));
    let lines = results(&server.send("POST", "/bulk", &[], &body));
    assert_eq!(lines.len(), 20_000);
    for (index, line) in lines.iter().enumerate() {
        let parameter = if index == BAD { "item" } else { "source.id" };
        assert_eq!((&line["item"], &line["problem"]["parameter"]), (&index.into(), &parameter.into()), "{line}");
    }
}

/// The head of a request that is sent in chunks.
const CHUNKED: &[u8] = b"POST /bulk HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// The body of a request whose results are many times what the buffers of both sockets take.
fn large(server: &Server) -> Vec<u8> {
    let image = ppm(2_000, 1_000, [5, 6, 7]);
    server.store(&image);
    ndjson(&vec![item(id(&image), &[json!({ "format": "ppm" })]); 40])
}

fn begin(server: &Server, body: &[u8]) -> super::super::Client {
    let mut client = server.connect();
    let head = format!("POST /bulk HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    client.write(&[head.as_bytes(), body].concat());
    let mut status = [0; 12];
    client.stream.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
    client
}

#[test]
fn a_client_that_does_not_read_holds_its_window_and_gets_a_problem_or_is_closed() {
    let server = Server::with(|settings| {
        settings.http.bulk_items_max = 2;
        settings.http.bulk_requests_max = 1;
        settings.http.write_stall_ms = 4_000;
        settings.renditions.cache_bytes_max = 0;
    });
    let body = large(&server);
    let mut client = begin(&server, &body);
    // There is no place for another request until the server has given up on this client.
    let small = ndjson(&[item(data(&ppm(2, 2, [1, 1, 1])), &[resize("png", 1)])]);
    let refused = server.send("POST", "/bulk", &[], &small);
    refused.assert_problem(503, "busy");
    until(|| server.send("POST", "/bulk", &[], &small).status != 503);
    assert!(figure(&server, "bulk_renders_total") < 40, "it was read no further than its window");
    let mut rest = Vec::new();
    _ = client.stream.read_to_end(&mut rest);
    assert!(rest.len() < 40 * 8_000_000, "it was cut short of its forty results");
    // The last line says why, unless the connection was closed first, in the middle of a body.
    let text = String::from_utf8_lossy(&rest);
    assert!(!text.contains("\"done\":true"));
    assert!(text.contains("/problems/client-not-reading") || !text.ends_with("0\r\n\r\n"));
}

#[test]
fn a_client_that_does_not_read_holds_nothing_of_the_bulk_lane() {
    const ITEMS: usize = 40;
    let server = Server::with(|settings| {
        settings.http.bulk_items_max = 4;
        settings.http.spool_bytes_max = 20_000_000;
        settings.http.write_stall_ms = 600_000;
        settings.renditions.cache_bytes_max = 0;
        // Room for a render and some results.
        settings.renditions.bulk_memory_bytes_max = 60_000_000;
    });
    let body = large(&server);
    let mut slow = server.connect();
    let head = format!("POST /bulk HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
    slow.write(&[head.as_bytes(), &body].concat());
    until(|| figure(&server, "bulk_renders_total") >= 3);
    // This item may need all memory of the lane.
    let image = ppm(1_500, 1_000, [8, 8, 8]);
    let other = ndjson(&[item(data(&image), &[resize("png", 2)])]);
    let lines = results(&server.send("POST", "/bulk", &[], &other));
    assert_eq!(lines[0]["status"], 200);
    let ended = figure(&server, "bulk_renders_total");
    assert!(ended < ITEMS as u64, "{ended}: the first still waits, and is read no further than its window");
    let (lines, last) = lines_of(&slow.answer(false));
    assert_eq!(last, json!({ "done": true, "ok": ITEMS, "failed": 0 }));
    let expected = data(&ppm(2_000, 1_000, [5, 6, 7]));
    assert!(lines.iter().all(|line| line["data"] == expected["data"]));
}

#[test]
fn a_client_that_does_not_read_keeps_no_room_from_others() {
    const BUDGET: u64 = 1 << 20;
    let origin = Origin::start(PERMITTED, |_| Vec::new());
    let server = Server::with(|settings| {
        settings.fetch = options(&[origin.port()]);
        (settings.fetch.stall_ms, settings.fetch.timeout_ms) = (600_000, 600_000);
        settings.store.uploads_bytes_max = BUDGET;
        settings.http.body_stall_ms = 2_000;
        settings.http.write_stall_ms = 600_000;
    });
    let image = ppm(2, 1, [1, 2, 3]);
    server.store(&image);
    let half_a_line = chunk(&vec![b' '; BUDGET as usize * 2 / 3]);
    // This client may pause in the middle of a line for as long as its first item runs.
    let mut pausing = server.connect();
    let hangs = ndjson(&[item(json!({ "url": origin.url("/hangs") }), &[resize("png", 1)])]);
    pausing.write(&[CHUNKED, &chunk(&hangs), &half_a_line].concat());
    until(|| origin.requests() > 0);
    // The line of this client finds too little room, while earlier results wait for the client to read.
    let mut not_reading = server.connect();
    let large = ndjson(&vec![item(id(&image), &[resize("ppm", 2_000)]); 8]);
    not_reading.write(&[CHUNKED, &chunk(&large), &half_a_line].concat());
    let upload = || server.send("POST", "/images", &[], &ppm(200, 100, [3, 2, 1])).status;
    until(|| upload() == 503);
    until(|| figure(&server, "bulk_renders_total") >= 2);
    // The line waits for room only as long as it may.
    until(|| upload() != 503);
    drop((pausing, not_reading));
}

#[test]
fn a_client_that_leaves_ends_its_items() {
    let server = Server::with(|settings| {
        settings.http.bulk_items_max = 2;
        settings.http.bulk_requests_max = 1;
        settings.renditions.cache_bytes_max = 0;
    });
    let body = large(&server);
    drop(begin(&server, &body));
    let small = ndjson(&[item(data(&ppm(2, 2, [1, 1, 1])), &[resize("png", 1)])]);
    until(|| server.send("POST", "/bulk", &[], &small).status != 503);
    assert!(figure(&server, "bulk_renders_total") < 40, "the other items were not rendered");
    until(|| figure(&server, "bulk_bytes_in_flight") == 0);
}

#[test]
fn a_body_that_ends_early_is_reported_after_its_results() {
    let server = Server::with(|settings| settings.http.body_stall_ms = 300);
    let image = ppm(2, 2, [1, 1, 1]);
    let line = ndjson(&[item(data(&image), &[resize("png", 1)])]);
    let mut client = server.connect();
    let head = format!("POST /bulk HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", line.len() + 1);
    client.write(&[head.as_bytes(), &line].concat());
    let answer = client.answer(false);
    let lines: Vec<Value> = answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), &lines[0]["status"]), (2, &200.into()));
    assert_eq!((&lines[1]["done"], &lines[1]["ok"]), (&false.into(), &1.into()));
    assert_eq!(lines[1]["problem"]["type"], "/problems/body-timeout");
    assert_eq!(server.get(&path_of(&image)).status, 404);
}

#[test]
fn a_server_that_stops_ends_what_it_has_begun_and_says_so() {
    // The server does not wait for a client that pauses.
    let server = Server::with(|settings| settings.http.body_stall_ms = 600_000);
    let line = ndjson(&[item(data(&ppm(2, 2, [1, 1, 1])), &[resize("png", 1)])]);
    let mut client = server.connect();
    client.write(&[CHUNKED, &chunk(&line)].concat());
    // The answer has begun.
    client.stream.peek(&mut [0]).unwrap();
    let mut idle = server.connect();
    assert_eq!(idle.ask("GET", "/readyz", &[], b"").status, 200);
    server.stop();
    assert!(idle.is_closed());
    let answer = client.answer(false);
    let lines: Vec<Value> = answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (last, lines) = lines.split_last().unwrap();
    assert!(lines.iter().all(|line| line["status"] == 200));
    assert_eq!((&last["done"], &last["problem"]["type"]), (&false.into(), &"/problems/draining".into()));
    drop(client);
    assert_eq!(server.stopped(), Stopped::Drained);
}

#[test]
fn a_client_may_wait_for_its_results_before_it_says_more() {
    let origin = Origin::start(PERMITTED, |_| Vec::new());
    let server = Server::with(|settings| {
        settings.fetch = options(&[origin.port()]);
        // The origin keeps the item for longer than a body may pause, twice.
        (settings.fetch.stall_ms, settings.http.body_stall_ms) = (5_000, 2_000);
    });
    let mut client = server.connect();
    let hangs = ndjson(&[item(json!({ "url": origin.url("/hangs") }), &[resize("png", 1)])]);
    client.write(&[CHUNKED, &chunk(&hangs)].concat());
    let mut answer = client.head().unwrap();
    answer.body = client.chunk().unwrap().expect("a result");
    assert!(answer.text().contains("remote-timeout"), "{}", answer.text());
    let quick = ndjson(&[item(data(&ppm(2, 2, [1, 1, 1])), &[resize("png", 1)])]);
    client.write(&[chunk(&quick), chunk(b"")].concat());
    while let Some(more) = client.chunk().unwrap() {
        answer.body.extend(more);
    }
    let (lines, last) = lines_of(&answer);
    assert_eq!((lines.len(), last), (2, json!({ "done": true, "ok": 1, "failed": 1 })));
}

#[test]
fn nothing_is_lost_of_a_client_that_is_slower_than_the_least_rate_while_it_reads_its_results() {
    let server = Server::with(|settings| {
        settings.http.body_grace_ms = 50;
        settings.http.body_rate_min = 1_000_000_000;
    });
    let source = data(&ppm(2, 2, [1, 1, 1]));
    let named = |n: usize| with(item(source.clone(), &[resize("png", 1)]), "key", &format!("{n:03}"));
    let lines: Vec<Value> = (0..200).map(named).collect();
    let body = ndjson(&lines);
    // Each piece is the end of a line and the beginning of the next one.
    let (first, rest) = body.split_at(body.len() / lines.len() * 3 / 2);
    let mut client = server.connect();
    client.write(&[CHUNKED, &chunk(first)].concat());
    let mut answer = client.head().unwrap();
    answer.body = client.chunk().unwrap().expect("a result");
    for piece in rest.chunks(body.len() / lines.len()) {
        client.write(&chunk(piece));
        answer.body.extend(client.chunk().unwrap().expect("a result"));
    }
    client.write(&chunk(b""));
    while let Some(more) = client.chunk().unwrap() {
        answer.body.extend(more);
    }
    let (results, last) = lines_of(&answer);
    let told: Vec<_> = results.iter().map(|line| (line["item"].clone(), line["key"].clone())).collect();
    let expected: Vec<_> = (0..200).map(|n| (json!(n), json!(format!("{n:03}")))).collect();
    assert!(told == expected && last == json!({ "done": true, "ok": 200, "failed": 0 }), "{}", answer.text());
}

#[test]
fn a_client_that_reads_only_after_it_has_sent_all_learns_why_it_was_not_heard() {
    const LINES: usize = 350;
    let image = ppm(600, 400, [5, 6, 7]);
    // Far more than the buffers of both sockets take, in either direction.
    let line = format!("{:<60000}\n", item(id(&image), &[json!({ "format": "ppm" })]).to_string());
    let length = line.len() * LINES;
    let head = format!("POST /bulk HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    let request = head + &line.repeat(LINES);
    let answer = WRITE_STALLS_MS.iter().find_map(|write_stall_ms| {
        let server = Server::with(|settings| {
            settings.http.write_stall_ms = *write_stall_ms;
            settings.http.write_grace_ms = *write_stall_ms;
            settings.http.linger_ms = 600_000;
            settings.http.body_rate_min = 0;
        });
        server.store(&image);
        server.connect().send_then_read(request.as_bytes())
    });
    let (lines, last) = lines_of(&answer.expect("a whole answer"));
    assert_eq!((&last["done"], &last["problem"]["type"]), (&false.into(), &"/problems/client-not-reading".into()));
    assert!(lines.len() < LINES);
}
