//! `POST /images` of many images as a stream: result lines while entries arrive, pauses, bounds, and a store that fills
//! up.

use std::sync::atomic::{AtomicUsize, Ordering};

use progimage::store::{self, Error, Options};
use serde_json::{Value, json};
use tar::EntryType;

use super::upload::{FORM, form};
use super::upload_many::{TAR, header, image, raw, statuses, tar};
use crate::http::client::WRITE_STALLS_MS;
use crate::http::metrics::figure;
use crate::http::{Client, Server, path_of, runtime, until};
use crate::store::double::{Call, Double};

#[test]
fn many_empty_entries_are_each_answered_to_a_client_that_sends_before_it_reads() {
    const COUNT: usize = 5_000;
    let server = Server::with(|settings| settings.http.body_rate_min = 0);
    let entry = header("empty", EntryType::Regular, 0);
    let mut body: Vec<u8> = (0..COUNT).flat_map(|_| *entry.as_bytes()).collect();
    body.resize(body.len() + 1_024, 0);
    // The lines are more than a megabyte, so they are in a file before the first one is read.
    let mut client = server.connect();
    client.write(
        format!("POST /images HTTP/1.1\r\nHost: a\r\n{TAR}\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(),
    );
    client.write(&body);
    let (lines, last) = client.answer(false).lines();
    assert_eq!(last, json!({ "done": true, "ok": 0, "failed": COUNT }));
    assert_eq!(lines.len(), COUNT);
    assert!(lines.iter().enumerate().all(|(index, line)| line["index"] == index && line["status"] == 415));
}

/// A client that has sent the head of an upload of `bytes` bytes, and the `first` of them.
fn begin(server: &Server, bytes: u64, first: &[u8]) -> Client {
    let mut client = server.connect();
    let head = format!("POST /images HTTP/1.1\r\nHost: a\r\n{TAR}\r\nContent-Length: {bytes}\r\n\r\n");
    client.write(&[head.as_bytes(), first].concat());
    client
}

fn file(n: u32) -> Vec<u8> {
    let bytes = image(n);
    let archive = raw(&[(header(&n.to_string(), EntryType::Regular, bytes.len() as u64), &bytes)]);
    archive[..archive.len() - 1_024].to_vec()
}

#[test]
fn lines_come_while_entries_are_sent_and_what_they_say_stays() {
    let server = Server::start();
    let mut client = begin(&server, 1 << 20, b"");
    for n in 0..5 {
        client.write(&file(n));
        // The next one is sent only once this one is acknowledged.
        if n == 0 {
            assert_eq!(client.head().unwrap().status, 200);
        }
        let line: Value = serde_json::from_slice(&client.chunk().unwrap().unwrap()).unwrap();
        assert_eq!((&line["index"], &line["status"]), (&n.into(), &201.into()));
    }
    // The client leaves in the middle of an entry.
    client.write(&file(5)[..520]);
    drop(client);
    for n in 0..5 {
        assert_eq!(server.get(&path_of(&image(n))).body, image(n));
    }
    assert_eq!(server.get("/images").json()["images"].as_array().unwrap().len(), 5);
    until(|| figure(&server, "http_connections") <= 1);
}

#[test]
fn a_stream_that_pauses_ends_with_a_problem_and_is_closed() {
    let server = Server::with(|settings| settings.http.body_stall_ms = 2_000);
    let mut client = begin(&server, 1 << 20, &file(1));
    let (lines, last) = client.answer(false).lines();
    assert_eq!(statuses(&lines), [201]);
    assert_eq!((&last["done"], &last["problem"]["type"]), (&false.into(), &"/problems/body-timeout".into()));
    assert!(client.is_closed());
}

#[test]
fn the_first_part_of_a_form_has_an_absolute_end() {
    let server = Server::with(|settings| settings.http.body_timeout_ms = 60);
    let mut client = server.connect();
    let part = &form(&[&image(1)])[..100];
    client.write(format!("POST /images HTTP/1.1\r\nHost: a\r\n{FORM}\r\nContent-Length: 10000\r\n\r\n").as_bytes());
    client.write(part);
    client.answer(false).assert_problem(408, "body-timeout");
}

#[test]
fn a_stream_that_is_longer_than_an_idle_connection_may_be_or_a_body_may_take_goes_on() {
    let server = Server::with(|settings| {
        settings.http.head_timeout_ms = 1;
        settings.http.body_timeout_ms = 1;
    });
    let mut client = begin(&server, (3 * file(0).len() + 1_024) as u64, b"");
    for n in 0..3 {
        client.write(&file(n));
        if n == 0 {
            assert_eq!(client.head().unwrap().status, 200);
        }
        client.chunk().unwrap().expect("a line");
    }
    client.write(&[0; 1_024]);
    assert_eq!(client.chunk().unwrap().map(|last| last.starts_with(b"{\"done\":true")), Some(true));
    assert_eq!(client.chunk(), Ok(None));
    assert_eq!(client.ask("GET", "/healthz", &[], b"").status, 200);
}

#[test]
fn a_client_that_reads_late_learns_why_the_server_stopped() {
    const COUNT: usize = 60_000;
    // Each byte of a name takes six in its line. All lines are more than the spool and the buffers of both sockets
    // take.
    let entry = header(&"\u{1}".repeat(100), EntryType::Regular, 0);
    let body: Vec<u8> = (0..COUNT).flat_map(|_| *entry.as_bytes()).collect();
    let head = format!(
        "POST /images HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{TAR}\r\nContent-Length: {}\r\n\r\n",
        body.len() + 1_024
    );
    let request = [head.as_bytes(), &body, &[0; 1_024]].concat();
    let answer = WRITE_STALLS_MS.iter().find_map(|write_stall_ms| {
        let server = Server::with(|settings| {
            settings.http.spool_bytes_max = 1 << 20;
            settings.http.write_stall_ms = *write_stall_ms;
            settings.http.write_grace_ms = *write_stall_ms;
            settings.http.linger_ms = 600_000;
            settings.http.body_rate_min = 0;
        });
        server.connect().send_then_read(&request)
    });
    let (lines, last) = answer.expect("a whole answer").lines();
    assert_eq!(last["problem"]["type"], "/problems/client-not-reading", "{last} after {} lines", lines.len());
    assert!(lines.len() < COUNT);
}

#[test]
fn expectations_are_met_before_the_answer_begins() {
    let server = Server::start();
    let body = tar([("a", image(1).as_slice())]);
    let mut client = server.connect();
    let length = body.len();
    client.write(
        format!(
            "POST /images HTTP/1.1\r\nHost: a\r\n{TAR}\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
        )
        .as_bytes(),
    );
    assert_eq!(client.answer(false).status, 100);
    client.write(&body);
    assert_eq!(statuses(&client.answer(false).lines().0), [201]);
}

#[test]
fn entries_wait_for_room_instead_of_being_refused() {
    // Room for two at a time.
    let server = Server::with(|settings| settings.store.uploads_bytes_max = 8 << 10);
    let images: Vec<Vec<u8>> = (0..50).map(image).collect();
    let body = tar(images.iter().map(|image| ("x", image.as_slice())));
    let (lines, last) = server.send("POST", "/images", &[TAR], &body).lines();
    assert_eq!(last, json!({ "done": true, "ok": 50, "failed": 0 }), "{lines:?}");
}

#[test]
fn a_store_that_fills_up_refuses_the_rest_and_keeps_what_it_acknowledged() {
    let store = runtime().block_on(store::open("memory:", &Options::default())).unwrap();
    let left = AtomicUsize::new(7);
    let take = move || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
    let filling = Double::refusing(store, move |call| (call == Call::Commit && take().is_err()).then_some(Error::Full));
    let server = Server::over(filling, |_| {});
    let images: Vec<Vec<u8>> = (0..20).map(image).collect();
    let body = tar(images.iter().map(|image| ("x", image.as_slice())));
    let (lines, last) = server.send("POST", "/images", &[TAR], &body).lines();
    assert_eq!(last, json!({ "done": true, "ok": 7, "failed": 13 }));
    for (line, image) in lines.iter().zip(&images) {
        let expected = if line["status"] == 201 { 200 } else { 404 };
        assert_eq!(server.get(&path_of(image)).status, expected, "{line}");
        assert!(line["status"] == 201 || line["problem"]["type"] == "/problems/store-full", "{line}");
    }
}

#[test]
fn entries_share_group_commits_on_the_disk() {
    const COUNT: u32 = 300;
    let folder = tempfile::tempdir().unwrap();
    let server = Server::on(folder.path().to_str().unwrap(), |_| {});
    // The sync at its start waits for everything else that was written to the device.
    until(|| server.get("/readyz").status == 200);
    let images: Vec<Vec<u8>> = (0..COUNT).map(image).collect();
    let body = tar(images.iter().map(|image| ("x", image.as_slice())));
    let (_, last) = server.send("POST", "/images", &[TAR], &body).lines();
    assert_eq!(last["ok"], COUNT);
    let commits = figure(&server, "store_commits_total");
    assert!(commits < u64::from(COUNT), "{commits} commits of {COUNT} entries");
}
