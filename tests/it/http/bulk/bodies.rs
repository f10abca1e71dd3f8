//! Forms of requests (arrays, multipart forms) and of results (tar).

use std::io::Read;

use progimage::digest::Digest;
use serde_json::{Value, json};

use super::{Server, assert_failed, bytes_of, data, id, item, lines_of, ndjson, path_of, ppm, resize, results, with};
use crate::fetch::origin::Origin;
use crate::fetch::{PERMITTED, options};
use crate::http::until;

const JSON: &str = "Content-Type: application/json";
pub const FORM: &str = "Content-Type: multipart/form-data; boundary=edge";

pub fn form(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, bytes) in parts {
        let head = format!("--edge\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"x\"\r\n\r\n");
        body.extend_from_slice(&[head.as_bytes(), bytes, b"\r\n"].concat());
    }
    body.extend_from_slice(b"--edge--\r\n");
    body
}

#[test]
fn an_array_is_the_same_as_lines() {
    let server = Server::start();
    let image = ppm(20, 10, [1, 2, 3]);
    server.store(&image);
    let items = [item(id(&image), &[resize("png", 5)]), json!(1), item(data(&image), &[resize("png", 5)])];
    for body in [json!(items), json!({ "items": items })] {
        let lines = results(&server.send("POST", "/bulk", &[JSON], body.to_string().as_bytes()));
        assert_eq!((lines[0]["status"].clone(), bytes_of(&lines[0])), (200.into(), bytes_of(&lines[2])));
        assert_failed(&lines[1], 400, "invalid-parameter");
    }
    assert_eq!(results(&server.send("POST", "/bulk", &[JSON], b"[]")), Vec::<Value>::new());
    for bad in ["{}", "[", "[] []", "{\"items\": 1}"] {
        server.send("POST", "/bulk", &[JSON], bad.as_bytes()).assert_problem(400, "malformed-request");
    }
}

#[test]
fn an_array_has_the_bound_of_lists() {
    let body = format!("{:<1000}", "[]");
    for (list_bytes_max, status) in [(1000, 200), (999, 413)] {
        let server = Server::with(|settings| settings.http.list_bytes_max = list_bytes_max);
        assert_eq!(server.send("POST", "/bulk", &[JSON], body.as_bytes()).status, status);
        let form = form(&[("items", " ".repeat(1000).as_bytes())]);
        assert_eq!(server.send("POST", "/bulk", &[FORM], &form).status, status);
    }
}

#[test]
fn batches_whose_items_wait_hold_their_own_room_and_none_of_lists() {
    const BYTES: usize = 1_000;
    let origin = Origin::start(PERMITTED, |_| Vec::new());
    let server = Server::with(|settings| {
        settings.fetch = options(&[origin.port()]);
        (settings.fetch.stall_ms, settings.fetch.timeout_ms) = (600_000, 600_000);
        settings.http.lists_bytes_max = BYTES;
        // The second waits for the first.
        settings.http.bulk_items_max = 1;
    });
    let hangs = item(json!({ "url": origin.url("/hangs") }), &[resize("png", 1)]);
    let array = format!("{:<BYTES$}", json!([hangs, hangs]).to_string()).into_bytes();
    let lines = format!("{:<BYTES$}", String::from_utf8(ndjson(&[hangs.clone(), hangs])).unwrap());
    let form = form(&[("items", lines.as_bytes())]);
    for (requests, (content_type, body)) in (1..).zip([(JSON, &array), (FORM, &form)]) {
        let mut client = server.connect();
        let head =
            format!("POST /bulk HTTP/1.1\r\nHost: a\r\n{content_type}\r\nContent-Length: {}\r\n\r\n", body.len());
        client.write(&[head.as_bytes(), body].concat());
        until(|| origin.requests() == requests);
        for path in ["/bulk", "/jobs"] {
            server.send("POST", path, &[JSON], b"[]").assert_problem(503, "busy");
        }
        let id = format!("{:<BYTES$}", Digest::of(b"").to_string());
        assert_eq!(server.send("POST", "/images/missing", &[], id.as_bytes()).status, 200, "{content_type}");
        drop(client);
        until(|| server.send("POST", "/bulk", &[JSON], b"[]").status == 200);
    }
}

#[test]
fn items_of_a_form_find_their_parts() {
    let server = Server::start();
    // Of several chunks.
    let (one, two, stored) = (ppm(300, 200, [1, 0, 0]), ppm(20, 10, [2, 0, 0]), ppm(20, 10, [3, 0, 0]));
    server.store(&stored);
    let part = |name: &str, output: Value| item(json!({ "part": name }), &[output]);
    let items = ndjson(&[
        part("two", resize("png", 5)),
        part("one", with(resize("png", 7), "to", "blob")),
        item(id(&stored), &[resize("png", 5)]),
        part("two", resize("webp", 6)),
        with(part("gone", resize("png", 5)), "key", "kept"),
        json!({}),
        part("long", resize("png", 5)),
    ]);
    let long = vec![0; (50 << 20) + 1];
    let parts: [(&str, &[u8]); 5] =
        [("items", &items), ("one", &one), ("unused", b"x"), ("two", &two), ("long", &long)];
    let answer = server.send("POST", "/bulk", &[FORM], &form(&parts));
    let (mut lines, last) = lines_of(&answer);
    assert_eq!(last, json!({ "done": true, "ok": 4, "failed": 4 }));
    lines.sort_by_key(|line| line["item"].as_u64());
    assert_eq!(lines[0]["part"], "unused");
    assert_failed(&lines[0], 400, "invalid-parameter");
    lines.remove(0);
    assert_eq!(lines[1]["status"], 201);
    server.store(&two);
    assert!(bytes_of(&lines[0]) == server.get(&format!("{}.png?w=5", path_of(&two))).body);
    assert!(bytes_of(&lines[2]) == server.get(&format!("{}.png?w=5", path_of(&stored))).body);
    assert!(bytes_of(&lines[3]) == server.get(&format!("{}.webp?w=6", path_of(&two))).body);
    server.store(&one);
    let blob = server.get(lines[1]["url"].as_str().unwrap());
    assert!(blob.body == server.get(&format!("{}.png?w=7", path_of(&one))).body);
    assert_failed(&lines[4], 400, "invalid-parameter");
    assert_eq!((&lines[4]["problem"]["parameter"], &lines[4]["key"]), (&"source.part".into(), &"kept".into()));
    assert_failed(&lines[5], 400, "invalid-parameter");
    assert_failed(&lines[6], 413, "too-large");
}

#[test]
fn fields_of_a_page_are_no_parts() {
    let server = Server::start();
    let image = ppm(20, 10, [1, 2, 9]);
    let field = |disposition: &str, text: &[u8]| {
        [format!("--edge\r\nContent-Disposition: form-data; {disposition}\r\n\r\n").as_bytes(), text, b"\r\n"].concat()
    };
    let items: Vec<Value> = ["photo", "left"].map(|name| item(json!({ "part": name }), &[resize("png", 5)])).to_vec();
    let body = [
        field("name=\"csrf\"", b"abc"),
        field("name=\"items\"", &ndjson(&items)),
        field("name=\"note\"", b"some text"),
        field("name=\"left\"; filename=\"\"", b""),
        field("name=\"other\"; filename=\"\"", b""),
        field("name=\"photo\"; filename=\"a.ppm\"", &image),
        b"--edge--\r\n".to_vec(),
    ];
    let lines = results(&server.send("POST", "/bulk", &[FORM], &body.concat()));
    assert_eq!((lines.len(), &lines[0]["status"]), (2, &200.into()), "{lines:?}");
    assert_failed(&lines[1], 400, "invalid-parameter");
    assert_eq!(lines[1]["problem"]["parameter"], "source.part");
}

#[test]
fn forms_that_are_none_are_refused_or_end_with_a_problem() {
    let server = Server::start();
    server.send("POST", "/bulk", &[FORM], b"no form").assert_problem(400, "malformed-request");
    server.send("POST", "/bulk", &[FORM], &form(&[("image", b"x")])).assert_problem(400, "malformed-request");
    let boundary = "Content-Type: multipart/form-data";
    server.send("POST", "/bulk", &[boundary], &form(&[])).assert_problem(400, "malformed-request");
    let image = ppm(2, 2, [1, 1, 1]);
    let whole = form(&[("items", &ndjson(&[item(data(&image), &[resize("png", 1)])])), ("x", b"y")]);
    let (lines, last) = lines_of(&server.send("POST", "/bulk", &[FORM], &whole[..whole.len() - 10]));
    assert_eq!((lines.len(), &last["done"]), (1, &false.into()));
    assert_eq!(last["problem"]["type"], "/problems/malformed-request");
}

#[test]
fn a_tar_has_the_bytes_and_then_the_lines() {
    let server = Server::start();
    let image = ppm(20, 10, [1, 2, 3]);
    let path = server.store(&image);
    let items = [
        item(id(&image), &[resize("png", 5), with(resize("png", 6), "to", "blob"), resize("webp", 7)]),
        json!({}),
        item(data(&image), &[json!({ "format": "ppm" })]),
    ];
    let answer = server.send("POST", "/bulk", &["Accept: application/x-tar"], &ndjson(&items));
    assert_eq!((answer.status, answer.field("content-type")), (200, Some("application/x-tar")));
    let mut archive = tar::Archive::new(answer.body.as_slice());
    let mut files: Vec<(String, Vec<u8>)> = archive
        .entries()
        .unwrap()
        .map(|entry| {
            let mut entry = entry.unwrap();
            let (name, mut bytes) = (entry.path().unwrap().to_string_lossy().into_owned(), Vec::new());
            entry.read_to_end(&mut bytes).unwrap();
            (name, bytes)
        })
        .collect();
    let (name, lines) = files.pop().unwrap();
    assert_eq!(name, "results.ndjson");
    files.sort();
    let expected = [
        ("0-0.png".to_owned(), server.get(&format!("{path}.png?w=5")).body),
        ("0-2.webp".to_owned(), server.get(&format!("{path}.webp?w=7")).body),
        ("2-0.ppm".to_owned(), image.clone()),
    ];
    assert!(files == expected);
    let lines: Vec<Value> =
        String::from_utf8(lines).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.last(), Some(&json!({ "done": true, "ok": 4, "failed": 1 })));
    let mut names: Vec<&str> = lines.iter().filter_map(|line| line["name"].as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["0-0.png", "0-2.webp", "2-0.ppm"]);
    assert!(lines.iter().all(|line| line.get("data").is_none()));
}

#[test]
fn a_tar_of_many_lines_holds_them_in_several_entries() {
    let server = Server::start();
    // About 400 bytes of problem each.
    let body = b"{}\n".repeat(6_000);
    let answer = server.send("POST", "/bulk", &["Accept: application/x-tar"], &body);
    let mut archive = tar::Archive::new(answer.body.as_slice());
    let (mut names, mut lines) = (Vec::new(), String::new());
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        names.push(entry.path().unwrap().to_string_lossy().into_owned());
        entry.read_to_string(&mut lines).unwrap();
    }
    assert!(names.len() >= 2 && names[0] == "results-1.ndjson", "{names:?}");
    assert_eq!(names.last().map(String::as_str), Some("results.ndjson"));
    assert_eq!(lines.lines().count(), 6_001);
    assert_eq!(lines.lines().last(), Some("{\"done\":true,\"failed\":6000,\"ok\":0}"));
}

#[test]
fn expectations_are_met_before_the_answer_begins() {
    let server = Server::start();
    let items = ndjson(&[item(data(&ppm(2, 2, [1, 1, 1])), &[resize("png", 1)])]);
    let array = [b"[".as_slice(), &items, b"]"].concat();
    let form = form(&[("items", &items)]);
    for (content_type, body) in [("Content-Type: application/jsonl", &items), (JSON, &array), (FORM, &form)] {
        let mut client = server.connect();
        let fields = format!("{content_type}\r\nExpect: 100-continue\r\nContent-Length: {}", body.len());
        client.write(format!("POST /bulk HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n").as_bytes());
        assert_eq!(client.answer(false).status, 100, "{content_type}");
        client.write(body);
        assert_eq!(results(&client.answer(false))[0]["status"], 200);
    }
}
