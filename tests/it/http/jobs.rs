//! Jobs over a socket: what is accepted, its results, and how jobs are followed and cancelled.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener};
use std::sync::mpsc;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use progimage::digest::Digest;
use progimage::http::auth::{Access, keys};
use serde_json::{Value, json};
use sha2::Sha256;

use super::bulk::{assert_failed, data, id, item, ndjson, resize, with};
use super::metrics::figure;
use super::{Answer, Server, Stopped, path_of, ppm, until};
use crate::fetch::{PERMITTED, options};

const NDJSON: &str = "Content-Type: application/x-ndjson";

/// Sends a job; its path.
fn submit(server: &Server, items: &[Value]) -> String {
    let answer = server.send("POST", "/jobs", &[NDJSON], &ndjson(items));
    assert_eq!(answer.status, 202, "{}", answer.text());
    let path = answer.field("location").unwrap().to_owned();
    assert_eq!(answer.json()["url"], path);
    path
}

/// Follows a job to its end; the data of its last event.
pub fn end(server: &Server, path: &str) -> Value {
    let answer = server.get(&format!("{path}/events"));
    assert_eq!((answer.status, answer.field("content-type")), (200, Some("text/event-stream")));
    let text = answer.text();
    let last = text.trim_end().rsplit("\n\n").next().unwrap();
    serde_json::from_str(last.strip_prefix("event: end\ndata: ").unwrap_or_else(|| panic!("{text}"))).unwrap()
}

/// Result lines by item and output, and the last line.
pub fn results(answer: &Answer) -> (Vec<Value>, Value) {
    assert_eq!((answer.status, answer.field("content-type")), (200, Some("application/x-ndjson")));
    let mut lines: Vec<Value> = answer.text().lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let last = lines.pop().unwrap();
    lines.sort_by_key(|line| (line["item"].as_u64(), line["source"].to_string(), line["output"].as_u64()));
    (lines, last)
}

#[test]
fn a_job_stores_its_sources_and_its_results_are_found() {
    let server = Server::start();
    let (stored, sent) = (ppm(60, 40, [1, 2, 3]), ppm(30, 20, [4, 5, 6]));
    server.store(&stored);
    let mut body = ndjson(&[
        item(id(&stored), &[resize("png", 30), with(resize("webp", 20), "to", "blob")]),
        with(item(data(&sent), &[resize("png", 10)]), "key", "k"),
    ]);
    body.extend_from_slice(b"{\"source\": nonsense\n\n");
    body.extend(ndjson(&[
        item(id(b"absent"), &[resize("png", 1)]),
        item(id(&stored), &[with(resize("png", 1), "to", "response")]),
    ]));
    let answer = server.send("POST", "/jobs", &[NDJSON], &body);
    assert_eq!(answer.status, 202, "{}", answer.text());
    let path = answer.field("location").unwrap();
    let ended = end(&server, path);
    assert_eq!((&ended["state"], &ended["items"]), (&json!("done"), &json!(5)));
    assert_eq!(
        (&ended["done"], &ended["failed"], &ended["queued"], &ended["running"]),
        (&json!(2), &json!(3), &json!(0), &json!(0))
    );
    assert_eq!(server.get(path).json()["state"], "done");

    // An item is counted after its result is written, and the result may be read at once.
    until(|| figure(&server, "job_items_done_total") + figure(&server, "job_items_failed_total") >= 5);
    let figures = ["job_items_done_total", "jobs_done", "jobs_running", "jobs_answer"];
    assert_eq!(figures.map(|name| figure(&server, name)), [2, 1, 0, 1]);

    let (lines, last) = results(&server.get(&format!("{path}/results")));
    assert_eq!((&last["done"], &last["state"]), (&json!(true), &json!("done")));
    assert_eq!(lines.len(), 6, "{lines:?}");
    for (line, width) in [(&lines[0], 30), (&lines[1], 20), (&lines[2], 10)] {
        let found = server.get(line["url"].as_str().unwrap());
        assert_eq!(found.status, 200, "{line}");
        let id = server.send("POST", "/images", &[], &found.body).json()["id"].clone();
        assert_eq!(server.get(&format!("/images/{}/info", id.as_str().unwrap())).json()["width"], width);
    }
    let blob = server.get(lines[1]["url"].as_str().unwrap());
    assert_eq!(lines[1]["id"], Digest::of(&blob.body).to_string());
    assert_eq!((&lines[2]["key"], &lines[2]["source"]), (&json!("k"), &json!(Digest::of(&sent))));
    assert_eq!(server.get(&path_of(&sent)).status, 200);
    assert_failed(&lines[3], 400, "invalid-parameter");
    assert_failed(&lines[4], 404, "unknown-id");
    assert_failed(&lines[5], 400, "invalid-parameter");
}

#[test]
fn a_blind_retry_finds_the_same_job() {
    let server = Server::start();
    let body = ndjson(&[item(id(b"x"), &[resize("png", 1)])]);
    let first = server.send("POST", "/jobs", &[NDJSON], &body);
    assert_eq!(first.status, 202);
    assert_eq!(first.field("location").unwrap(), format!("/jobs/{}", Digest::of(&body)));
    let retry = server.send("POST", "/jobs", &[], &[b"\r\n".to_vec(), body.clone()].concat());
    assert_eq!((retry.status, retry.field("location")), (200, first.field("location")));

    let key = "Idempotency-Key: a b";
    let keyed = server.send("POST", "/jobs", &[key], &body);
    assert_eq!(keyed.status, 202);
    assert_ne!(keyed.field("location"), first.field("location"));
    assert_eq!(server.send("POST", "/jobs", &[key], &body).status, 200);
    server.send("POST", "/jobs", &[key], b"{}\n").assert_problem(422, "idempotency-key-reused");
    let long = format!("Idempotency-Key: {}", "k".repeat(257));
    for bad in ["Idempotency-Key:", "Idempotency-Key: \u{e9}", &long] {
        server.send("POST", "/jobs", &[bad], &body).assert_problem(400, "malformed-request");
    }
    server.send("POST", "/jobs", &[key, key], &body).assert_problem(400, "malformed-request");
    assert_eq!(server.send("POST", "/jobs", &[&long[..long.len() - 1]], &body).status, 202);
    assert_eq!(server.get("/jobs").json()["jobs"].as_array().unwrap().len(), 3);
    assert_eq!(server.get("/jobs?limit=1").json()["jobs"].as_array().unwrap().len(), 1);
}

#[test]
fn an_array_is_the_same_job_as_its_lines() {
    const JSON: &str = "Content-Type: application/json";
    let server = Server::with(|settings| settings.http.line_bytes_max = 1_000);
    let image = ppm(6, 4, [1, 2, 3]);
    let items = [item(data(&image), &[resize("png", 3)]), item(id(b"absent"), &[resize("png", 1)])];
    let lines = server.send("POST", "/jobs", &[NDJSON], &ndjson(&items));
    assert_eq!(lines.status, 202);
    for array in [json!(items), json!({ "items": items })] {
        let again = server.send("POST", "/jobs", &[JSON], array.to_string().as_bytes());
        assert_eq!((again.status, again.field("location")), (200, lines.field("location")), "{}", again.text());
    }
    // Over many lines the array is another text with equal items.
    let long = item(data(&[7; 1_000]), &[resize("png", 3)]);
    let pretty = serde_json::to_string_pretty(&json!([items[0], items[1], long])).unwrap();
    let sent = server.send("POST", "/jobs", &[JSON], pretty.as_bytes());
    assert_eq!(sent.status, 202, "{}", sent.text());
    let ended = end(&server, sent.field("location").unwrap());
    assert_eq!((&ended["items"], &ended["done"], &ended["failed"]), (&json!(3), &json!(1), &json!(2)));
    let (lines, _) = results(&server.get(&format!("{}/results", sent.field("location").unwrap())));
    assert_eq!((&lines[0]["status"], &lines[0]["source"]), (&json!(200), &json!(Digest::of(&image).to_string())));
    assert_failed(&lines[1], 404, "unknown-id");
    assert_failed(&lines[2], 413, "too-large");
    for bad in ["", "{}", "[1", "[] 1", "{\"items\": 1}"] {
        server.send("POST", "/jobs", &[JSON], bad.as_bytes()).assert_problem(400, "malformed-request");
    }
}

#[test]
fn a_selection_stands_for_the_images_of_the_store() {
    let server = Server::start();
    let mut client = server.connect();
    for shade in 0..1_000_u32 {
        let [_, red, green, blue] = shade.to_be_bytes();
        assert_eq!(client.ask("POST", "/images", &[], &ppm(2, 1, [red, green, blue])).status, 201);
    }
    let path = submit(&server, &[item(json!({ "all": true }), &[json!({ "format": "png" })])]);
    let ended = end(&server, &path);
    assert_eq!((&ended["done"], &ended["items"], &ended["selecting"]), (&json!(1_000), &json!(1_000), &json!(false)));
    let (lines, _) = results(&server.get(&format!("{path}/results")));
    let mut sources: Vec<&str> = lines.iter().map(|line| line["source"].as_str().unwrap()).collect();
    sources.dedup();
    assert_eq!((lines.len(), sources.len()), (1_000, 1_000));
    let first = format!("/images/{}.png", sources[0]);
    assert_eq!((lines[0]["url"].as_str().unwrap(), server.get(&first).status), (&*first, 200));
}

#[test]
fn results_go_on_where_an_answer_ended() {
    let server = Server::start();
    let items: Vec<Value> = (0..600).map(|width| item(id(b"absent"), &[resize("png", width + 1)])).collect();
    let path = submit(&server, &items);
    end(&server, &path);
    let (all, last) = results(&server.get(&format!("{path}/results")));
    assert_eq!(all.len(), 600);
    let (none, still) = results(&server.get(&format!("{path}/results?after={}", last["after"])));
    assert_eq!((none.len(), &still), (0, &last));
    let (rest, _) = results(&server.get(&format!("{path}/results?after={}", last["after"].as_u64().unwrap() - 10)));
    assert_eq!(rest.len(), 10);
    for bad in ["after=-1", "after=x", "after=1&after=1", "before=1"] {
        server.get(&format!("{path}/results?{bad}")).assert_problem(400, "invalid-parameter");
    }
}

#[test]
fn a_job_that_waits_can_be_cancelled() {
    // An origin that accepts connections and answers nothing.
    let silent = TcpListener::bind((PERMITTED, 0)).unwrap();
    let port = silent.local_addr().unwrap().port();
    let url = format!("http://{PERMITTED}:{port}/");
    let server = Server::with(|settings| settings.fetch = options(&[port]));
    let path =
        submit(&server, &[item(json!({ "url": url }), &[resize("png", 1)]), item(id(b"x"), &[resize("png", 1)])]);
    assert_eq!(server.ask("DELETE", &path, &[]).status, 204);
    assert_eq!(end(&server, &path)["state"], "cancelled");
    assert_eq!(server.ask("DELETE", &path, &[]).status, 204);
    let (_, last) = results(&server.get(&format!("{path}/results")));
    assert_eq!((&last["done"], &last["state"]), (&json!(true), &json!("cancelled")));
}

#[test]
fn a_server_that_stops_ends_the_events_of_a_job_that_has_not() {
    let silent = TcpListener::bind((PERMITTED, 0)).unwrap();
    let port = silent.local_addr().unwrap().port();
    let server = Server::with(|settings| settings.fetch = options(&[port]));
    let url = format!("http://{PERMITTED}:{port}/");
    let path = submit(&server, &[item(json!({ "url": url }), &[resize("png", 1)])]);
    // The job waits for an answer that does not come.
    let origin = silent.accept().unwrap();
    let mut client = server.connect();
    client.write(format!("GET {path}/events HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes());
    let mut head = [0; 12];
    client.stream.read_exact(&mut head).unwrap();
    server.stop();
    let mut rest = String::new();
    client.stream.read_to_string(&mut rest).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    assert!(rest.contains("event: progress\n") && !rest.contains("event: end\n"), "{rest}");
    assert!(rest.ends_with("0\r\n\r\n"), "{rest}");
    assert_eq!(server.stopped(), Stopped::Drained);
    drop(origin);
}

#[test]
fn what_is_no_job_is_not_there() {
    let server = Server::start();
    let absent = format!("/jobs/{}", Digest::of(b"absent"));
    for path in [&absent, &format!("{absent}/events"), &format!("{absent}/results"), "/jobs/x", &format!("{absent}/x")]
    {
        server.get(path).assert_problem(404, "unknown-job");
    }
    server.ask("DELETE", &absent, &[]).assert_problem(404, "unknown-job");
    let refused = server.send("PUT", &absent, &[], b"x");
    refused.assert_problem(405, "method-not-allowed");
    assert_eq!(refused.field("allow"), Some("GET, HEAD, DELETE, OPTIONS"));
    server.send("POST", "/jobs?x=1", &[], b"{}").assert_problem(400, "invalid-parameter");
    server.send("POST", "/jobs", &["Content-Type: image/png"], b"{}").assert_problem(415, "media-type");
}

#[test]
fn a_job_that_is_cut_off_is_not_accepted() {
    let server = Server::start();
    let line = b"{\"source\": {\"id\": \"x\"}}\n";
    let mut client = server.connect();
    let head = format!("POST /jobs HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", line.len() * 1_000);
    client.write(head.as_bytes());
    client.write(&line.repeat(999));
    client.stream.flush().unwrap();
    client.stream.shutdown(Shutdown::Write).unwrap();
    if let Some(answer) = client.try_answer(false) {
        answer.assert_problem(400, "malformed-request");
    }
    server.get(&format!("/jobs/{}", Digest::of(&line.repeat(999)))).assert_problem(404, "unknown-job");
    assert_eq!(server.get("/jobs").json(), json!({ "jobs": [] }));
}

#[test]
fn bounds_of_a_job_are_reached_and_not_passed() {
    let server = Server::with(|settings| {
        settings.jobs.items_max = 3;
        settings.http.line_bytes_max = 100;
    });
    let fits = [b"x".repeat(100), b"\n".to_vec(), b"y".repeat(101), b"\nz\n".to_vec()].concat();
    let answer = server.send("POST", "/jobs", &[], &fits);
    assert_eq!(answer.status, 202, "{}", answer.text());
    let path = answer.field("location").unwrap();
    end(&server, path);
    let (lines, _) = results(&server.get(&format!("{path}/results")));
    assert_failed(&lines[0], 400, "invalid-parameter");
    assert_failed(&lines[1], 413, "too-large");
    server.send("POST", "/jobs", &[], b"1\n2\n3\n4\n").assert_problem(413, "too-large");
    let full = Server::with(|settings| settings.jobs.bytes_max = 1);
    full.send("POST", "/jobs", &[], b"1\n").assert_problem(507, "jobs-full");
}

#[test]
fn a_job_may_do_what_its_sender_may() {
    let list = "p:process:process-process-process a:admin:admin-admin-admin-admin
        o:process+write+read:process-write-read l:process+admin+read:process-admin-read";
    let [process, admin, all, lister] =
        ["process-process-process", "admin-admin-admin-admin", "process-write-read", "process-admin-read"]
            .map(|key| format!("Authorization: Bearer {key}"));
    let server = Server::with(|settings| {
        settings.access = Access { keys: keys(list).unwrap(), ..Access::default() };
    });
    let image = ppm(4, 4, [9, 9, 9]);
    assert_eq!(server.send("POST", "/images", &[&all], &image).status, 201);
    let items = [
        item(id(&image), &[resize("png", 2)]),
        item(id(&image), &[with(resize("png", 2), "to", "blob")]),
        item(data(&image), &[resize("png", 2)]),
    ];
    server.send("POST", "/jobs", &[], &ndjson(&items)).assert_problem(401, "key-needed");
    server.send("POST", "/jobs", &[&admin], &ndjson(&items)).assert_problem(403, "scope-needed");
    let follow = |key: &str, name: &str, items: &[Value]| {
        let sent = server.send("POST", "/jobs", &[key, &format!("Idempotency-Key: {name}")], &ndjson(items));
        let path = sent.field("location").unwrap().to_owned();
        server.ask("GET", &path, &[]).assert_problem(401, "key-needed");
        assert_eq!(server.ask("GET", &format!("{path}/events"), &[key]).status, 200);
        results(&server.ask("GET", &format!("{path}/results"), &[key])).0
    };
    let plain = |key: &str| server.send("POST", "/jobs", &[key], &ndjson(&items));
    assert_eq!(plain(&process).status, 202);
    // Another key's job is another one.
    assert_eq!(plain(&all).status, 202);
    let lines = follow(&process, "process", &items);
    assert_eq!(lines[0]["status"], 200);
    assert_failed(&lines[1], 403, "scope-needed");
    assert_failed(&lines[2], 403, "scope-needed");
    assert!(follow(&all, "all", &items).iter().all(|line| line.get("problem").is_none()));
    // A selection is a list of the store.
    let selection = [with(item(json!({ "all": true }), &[resize("png", 2)]), "key", "k")];
    let lines = follow(&all, "selection", &selection);
    assert_failed(&lines[0], 403, "scope-needed");
    assert_eq!((lines.len(), &lines[0]["key"], lines[0].get("source")), (1, &json!("k"), None));
    let listed = follow(&lister, "lister", &selection);
    assert!(listed.iter().any(|line| line["source"] == json!(Digest::of(&image))), "{listed:?}");
    server.ask("GET", "/jobs", &[&process]).assert_problem(403, "scope-needed");
    assert_eq!(server.ask("GET", "/jobs", &[&admin]).json()["jobs"].as_array().unwrap().len(), 6);
}

#[test]
fn a_job_is_there_for_the_key_that_sent_it_and_for_admin_alone() {
    let list = "a:process:process-process-a b:process:process-process-b r:admin+process:admin-process-admin";
    let [a, b, admin] = ["process-process-a", "process-process-b", "admin-process-admin"]
        .map(|key| format!("Authorization: Bearer {key}"));
    let server = Server::with(|settings| {
        settings.access = Access { keys: keys(list).unwrap(), ..Access::default() };
    });
    let key = "Idempotency-Key: nightly-2026-11-29";
    let body = ndjson(&[item(id(b"absent"), &[resize("png", 1)])]);
    let path = server.send("POST", "/jobs", &[&a, key], &body).field("location").unwrap().to_owned();
    // What somebody computes who guesses the key.
    let guess = blake3::derive_key("progimage 1 idempotency key of a job", b"nightly-2026-11-29");
    let guess = format!("/jobs/{}", Digest::from_bytes(guess));
    for path in [&path, &guess] {
        for below in ["", "/events", "/results"] {
            server.ask("GET", &format!("{path}{below}"), &[&b]).assert_problem(404, "unknown-job");
        }
        server.ask("DELETE", path, &[&b]).assert_problem(404, "unknown-job");
        server.ask("POST", &format!("{path}/retry"), &[&b]).assert_problem(404, "unknown-job");
    }
    assert_eq!(server.send("POST", "/jobs", &[&b, key], b"{}\n").status, 202, "the key is free for others");
    assert_eq!(server.send("POST", "/jobs", &[&a, key], &body).field("location"), Some(&*path));
    for key in [&a, &admin] {
        assert_eq!(server.ask("GET", &path, &[key]).status, 200);
        assert_eq!(server.ask("DELETE", &path, &[key]).status, 204);
    }
}

#[test]
fn the_failed_items_of_a_job_are_run_again() {
    let server = Server::start();
    let image = ppm(6, 4, [7, 7, 7]);
    let path = submit(&server, &[item(id(&image), &[resize("png", 3)])]);
    let retry = || server.ask("POST", &format!("{path}/retry"), &[]);
    assert_eq!(end(&server, &path)["failed"], 1);
    server.store(&image);
    let again = retry();
    assert_eq!((again.status, &again.json()["failed"]), (202, &json!(0)), "{}", again.text());
    let ended = end(&server, &path);
    assert_eq!((&ended["done"], &ended["failed"]), (&json!(1), &json!(0)));
    assert_eq!(results(&server.get(&format!("{path}/results"))).0[0]["status"], 200);
    assert_eq!(retry().status, 200, "nothing failed");
    let cancelled = submit(&server, &[]);
    server.ask("POST", &format!("{cancelled}/retry?x=1"), &[]).assert_problem(400, "invalid-parameter");
}

/// A receiver of webhooks that answers 500 to the first call. It passes on the signature and the body of each call.
fn receiver() -> (u16, mpsc::Receiver<(String, String)>) {
    let listener = TcpListener::bind((PERMITTED, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, heard) = mpsc::channel();
    std::thread::spawn(move || {
        for (stream, status) in listener.incoming().zip(["500 Bad", "204 Good", "500 Bad"]) {
            let mut lines = BufReader::new(stream.unwrap());
            let (mut signature, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                lines.read_line(&mut line).unwrap();
                match line.trim_end().split_once(": ") {
                    Some(("progimage-signature", value)) => signature = value.to_owned(),
                    Some(("content-length", value)) => length = value.parse().unwrap(),
                    Some(("accept", value)) => assert_eq!(value, "*/*"),
                    Some(_) => {}
                    None if line.trim_end().is_empty() => break,
                    None => assert!(line.starts_with("POST /done?x=1 HTTP/1.1"), "{line}"),
                }
            }
            let mut body = vec![0; length];
            lines.read_exact(&mut body).unwrap();
            tell.send((signature, String::from_utf8(body).unwrap())).unwrap();
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
            lines.get_mut().write_all(answer.as_bytes()).unwrap();
        }
    });
    (port, heard)
}

#[test]
fn a_webhook_is_called_at_the_end_of_a_job_until_it_succeeds() {
    const SECRET: &str = "0123456789abcdef";
    let (port, heard) = receiver();
    let server = Server::with(|settings| {
        settings.fetch = options(&[port]);
        settings.jobs.webhook_allow = vec![PERMITTED.parse().unwrap()];
        settings.jobs.webhook_secret = Some(SECRET.parse().unwrap());
        settings.jobs.retry_ms = 1;
    });
    let body = ndjson(&[item(id(b"absent"), &[resize("png", 1)])]);
    let hook = |url: &str| format!("/jobs?webhook={url}");
    let named = hook(&format!("http://{PERMITTED}:{port}/done?x=1").replace('?', "%3F"));
    let sent = server.send("POST", &named, &[NDJSON], &body);
    assert_eq!(sent.status, 202, "{}", sent.text());
    for attempt in 1..=2 {
        let (signature, body) = heard.recv_timeout(Duration::from_secs(60)).unwrap();
        let told: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((&told["state"], &told["failed"]), (&json!("done"), &json!(1)), "attempt {attempt}");
        assert_eq!(told["url"], sent.field("location").unwrap());
        assert_eq!(told["webhook"], json!({ "state": "due", "failed_calls": attempt - 1 }));
        let (time, code) = signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
        mac.update(format!("{time}.{body}").as_bytes());
        let expected: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(code, expected);
    }
    let delivery = || server.get(sent.field("location").unwrap()).json()["webhook"].clone();
    until(|| delivery()["state"] != "due");
    assert_eq!(delivery(), json!({ "state": "delivered", "failed_calls": 1 }));
    // The second call was counted before the database recorded it.
    assert_eq!((figure(&server, "webhooks_failed_total"), figure(&server, "job_items_failed_total")), (1, 1));
    for same in [&named, "/jobs"] {
        assert_eq!(server.send("POST", same, &[], &body).status, 200, "{same}");
    }
    let other = hook(&format!("http://{PERMITTED}:{port}/other"));
    let untold = ndjson(&[item(id(b"untold"), &[resize("png", 1)])]);
    assert_eq!(server.send("POST", "/jobs", &[], &untold).status, 202);
    for (hook, body) in [(&other, &body), (&named, &untold)] {
        server.send("POST", hook, &[], body).assert_problem(409, "job-of-other-webhook");
    }
    assert_eq!(server.send("POST", &named, &["Idempotency-Key: other"], &untold).status, 202);
    server.send("POST", &hook("http://127.0.0.1/"), &[], &body).assert_problem(403, "webhook-refused");
    server.send("POST", &hook("gopher:x"), &[], &body).assert_problem(400, "invalid-parameter");
    let off = Server::start();
    off.send("POST", &hook("http://127.0.0.2/"), &[], &body).assert_problem(403, "webhook-off");
}

#[test]
fn a_webhook_whose_host_is_silent_delays_no_other() {
    // Connections are made, and nothing is answered.
    let silent = TcpListener::bind((PERMITTED, 0)).unwrap();
    let silent_port = silent.local_addr().unwrap().port();
    let (port, heard) = receiver();
    let server = Server::with(|settings| {
        settings.fetch = options(&[silent_port, port]);
        (settings.fetch.timeout_ms, settings.fetch.stall_ms) = (3_600_000, 3_600_000);
        settings.jobs.webhook_allow = vec![PERMITTED.parse().unwrap()];
        settings.jobs.webhook_secret = Some("0123456789abcdef".parse().unwrap());
    });
    let send = |port: u16, name: u8| {
        let path = format!("/jobs?webhook=http://{PERMITTED}:{port}/done%3Fx=1");
        let sent = server.send("POST", &path, &[], &ndjson(&[item(id(&[name]), &[resize("png", 1)])]));
        assert_eq!(sent.status, 202, "{}", sent.text());
        end(&server, sent.field("location").unwrap());
    };
    (0..20).for_each(|name| send(silent_port, name));
    send(port, 20);
    assert!(heard.recv_timeout(Duration::from_secs(60)).is_ok());
}
