//! Many items in one request: every kind of source and target, failures on the way, and clients that are slow or leave.

mod access;
pub(super) mod bodies;
mod bounds;
mod clients;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Answer, Server, path_of, ppm};
use crate::fetch::origin::{Origin, ok};
use crate::fetch::{PERMITTED, options};
use progimage::digest::Digest;

/// The lines of a stream and its last one.
fn lines_of(answer: &Answer) -> (Vec<Value>, Value) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.field("content-type"), Some("application/x-ndjson"));
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    let text = answer.text();
    assert!(text.ends_with('\n'));
    let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let last = lines.pop().unwrap();
    (lines, last)
}

/// The result lines by item and output, after a check of the last line, which has their number.
pub(super) fn results(answer: &Answer) -> Vec<Value> {
    let (mut lines, last) = lines_of(answer);
    let ok = lines.iter().filter(|line| line.get("problem").is_none()).count();
    assert_eq!(last, json!({ "done": true, "ok": ok, "failed": lines.len() - ok }));
    lines.sort_by_key(|line| (line["item"].as_u64(), line["output"].as_u64()));
    lines
}

pub(super) fn ndjson(items: &[Value]) -> Vec<u8> {
    items.iter().flat_map(|item| format!("{item}\n").into_bytes()).collect()
}

fn bulk(server: &Server, items: &[Value]) -> Vec<Value> {
    results(&server.send("POST", "/bulk", &["Content-Type: application/x-ndjson"], &ndjson(items)))
}

pub(super) fn id(bytes: &[u8]) -> Value {
    json!({ "id": Digest::of(bytes).to_string() })
}

pub(super) fn data(bytes: &[u8]) -> Value {
    json!({ "data": STANDARD.encode(bytes) })
}

pub(super) fn item(source: Value, outputs: &[Value]) -> Value {
    json!({ "source": source, "outputs": outputs })
}

pub(super) fn resize(format: &str, width: u32) -> Value {
    json!({ "format": format, "ops": [{ "op": "resize", "width": width }] })
}

pub(super) fn with(mut output: Value, member: &str, value: &str) -> Value {
    output[member] = value.into();
    output
}

fn bytes_of(line: &Value) -> Vec<u8> {
    let bytes = STANDARD.decode(line["data"].as_str().unwrap_or_else(|| panic!("{line}"))).unwrap();
    assert_eq!(line["bytes"], bytes.len());
    bytes
}

pub(super) fn assert_failed(line: &Value, status: u16, kind: &str) {
    assert_eq!((&line["status"], &line["problem"]["status"]), (&status.into(), &status.into()), "{line}");
    assert_eq!(line["problem"]["type"], format!("/problems/{kind}"), "{line}");
}

#[test]
fn sources_of_every_kind_give_the_bytes_of_a_single_request() {
    let mut images: Vec<Vec<u8>> = (0..3).map(|shade| ppm(60, 40, [shade, 20, 30])).collect();
    // One source is so long that it counts in the budget of bodies, the other one is short.
    images[1] = ppm(600, 400, [1, 20, 30]);
    let remote = images[2].clone();
    let origin = Origin::start(PERMITTED, move |_| ok(&[], &remote));
    let server = Server::with(|settings| settings.fetch = options(&[origin.port()]));
    server.store(&images[0]);
    let outputs = [resize("webp", 30), json!({ "format": "jpg", "quality": 50 }), json!({ "format": "png" })];
    let sources = [id(&images[0]), data(&images[1]), json!({ "url": origin.url("/a") })];
    let items: Vec<Value> = sources.into_iter().map(|source| item(source, &outputs)).collect();
    let lines = bulk(&server, &items);
    assert_eq!(lines.len(), 9);
    assert_eq!(origin.requests(), 1, "one fetch for all outputs");
    // Only now, so that no single request filled a cache for the bulk request.
    images[1..].iter().for_each(|image| _ = server.store(image));
    for (place, line) in lines.iter().enumerate() {
        let (index, output) = (place / 3, place % 3);
        assert_eq!((&line["item"], &line["output"], &line["status"]), (&index.into(), &output.into(), &200.into()));
        let (query, media_type) =
            [(".webp?w=30", "image/webp"), (".jpg?q=50", "image/jpeg"), (".png", "image/png")][output];
        assert_eq!(line["media_type"], media_type);
        let single = server.get(&format!("{}{query}", path_of(&images[index])));
        assert!(bytes_of(line) == single.body, "item {index} {query}");
    }
}

#[test]
fn outputs_go_to_their_target() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::with(|settings| settings.renditions.tier_folder = Some(folder.path().to_owned()));
    let image = ppm(50, 30, [1, 2, 3]);
    let path = server.store(&image);
    let outputs =
        [with(resize("png", 20), "to", "blob"), with(resize("webp", 10), "to", "rendition"), resize("png", 20)];
    let alone = item(id(&image), &[resize("ppm", 5)]);
    let lines = bulk(&server, &[item(id(&image), &outputs), alone]);
    let (blob, rendition, response) = (&lines[0], &lines[1], &lines[2]);
    let url = blob["url"].as_str().unwrap();
    assert_eq!((&blob["status"], format!("/images/{}", blob["id"].as_str().unwrap())), (&201.into(), url.to_owned()));
    let stored = server.get(url);
    assert!(stored.body == bytes_of(response) && blob["bytes"] == stored.body.len());
    assert_eq!(rendition["url"], format!("{path}.webp?width=10"));
    let kept = server.get(rendition["url"].as_str().unwrap());
    assert_eq!((kept.status, kept.field("content-type")), (200, Some("image/webp")));
    assert!(kept.field("cache-status").unwrap().starts_with("progimage; hit"), "{:?}", kept.fields);
    // A result that was sent in the answer alone is not kept.
    let other = server.get(&format!("{path}.ppm?w=5"));
    assert_eq!(other.field("cache-status"), Some("progimage; fwd=miss"));
    assert!(bytes_of(&lines[3]) == other.body);
    // An equal blob is stored already.
    let again = bulk(&server, &[item(id(&image), &outputs[..1])]);
    assert_eq!((&again[0]["status"], &again[0]["id"]), (&200.into(), &blob["id"]));
}

#[test]
fn what_fails_keeps_to_its_line() {
    let server = Server::start();
    let image = ppm(20, 10, [4, 5, 6]);
    server.store(&image);
    let good = item(id(&image), &[resize("png", 5)]);
    let outside = json!({ "format": "png", "ops": [{ "op": "crop", "x": 100, "y": 100, "width": 5, "height": 5 }] });
    let body = [
        ndjson(std::slice::from_ref(&good)),
        b"\r\n  \n{\"key\": \"cut\n".to_vec(),
        ndjson(&[
            json!({ "key": "wrong", "source": id(&image), "outputs": [resize("png", 5), { "format": "png", "quality": 0 }] }),
            json!({ "key": "none", "source": id(b"none"), "outputs": [resize("png", 5), resize("webp", 5)] }),
            item(data(b"no image"), &[resize("png", 5)]),
            item(id(&image), &[resize("png", 4), outside, resize("png", 3)]),
            item(data(&image), &[with(resize("png", 5), "to", "rendition"), resize("png", 5)]),
            item(json!({ "url": "http://127.0.0.1/" }), &[resize("png", 5)]),
            item(json!({ "part": "a" }), &[resize("png", 5)]),
        ]),
        // The last line needs no end.
        good.to_string().into_bytes(),
    ]
    .concat();
    let lines = results(&server.send("POST", "/bulk", &[], &body));
    let places: Vec<(u64, Option<u64>)> =
        lines.iter().map(|line| (line["item"].as_u64().unwrap(), line["output"].as_u64())).collect();
    let expected = [(0, 0), (3, 0), (3, 1), (4, 0), (5, 0), (5, 1), (5, 2), (6, 0), (6, 1), (7, 0), (8, 0), (9, 0)];
    let mut expected: Vec<(u64, Option<u64>)> = expected.map(|(item, output)| (item, Some(output))).to_vec();
    expected.splice(1..1, [(1, None), (2, None)]);
    assert_eq!(places, expected);
    let line =
        |item: u64, output: Option<u64>| &lines[places.iter().position(|place| *place == (item, output)).unwrap()];
    for (item, output) in [(0, 0), (5, 0), (5, 2), (6, 1), (9, 0)] {
        assert_eq!(line(item, Some(output))["status"], 200, "{item} {output}");
    }
    assert_failed(line(1, None), 400, "invalid-parameter");
    assert_failed(line(2, None), 400, "invalid-parameter");
    assert_eq!((&line(1, None)["key"], &line(2, None)["key"]), (&Value::Null, &"wrong".into()));
    let problem = &line(2, None)["problem"];
    assert_eq!((&problem["parameter"], &problem["allowed"]), (&"outputs[1].quality".into(), &"1..100, or auto".into()));
    for output in [0, 1] {
        assert_failed(line(3, Some(output)), 404, "unknown-id");
        assert_eq!(line(3, Some(output))["key"], "none");
    }
    assert_failed(line(4, Some(0)), 415, "unknown-format");
    assert_failed(line(5, Some(1)), 422, "crop-outside");
    assert_failed(line(6, Some(0)), 400, "invalid-parameter");
    assert_eq!(line(6, Some(0))["problem"]["parameter"], "outputs[0].to");
    assert_failed(line(7, Some(0)), 403, "remote-off");
    assert_failed(line(8, Some(0)), 400, "invalid-parameter");
}

#[test]
fn results_come_as_they_end_and_not_in_the_order_of_items() {
    let image = ppm(4, 4, [9, 9, 9]);
    let (tell, told) = std::sync::mpsc::channel::<()>();
    let (told, remote) = (std::sync::Mutex::new(told), image.clone());
    let origin = Origin::start(PERMITTED, move |_| {
        _ = told.lock().unwrap().recv();
        ok(&[], &remote)
    });
    let server = Server::with(|settings| {
        settings.fetch = options(&[origin.port()]);
        (settings.fetch.stall_ms, settings.fetch.timeout_ms) = (60_000, 60_000);
    });
    server.store(&image);
    let slow = item(json!({ "url": origin.url("/waits") }), &[resize("png", 2)]);
    let quick = item(id(&image), &[resize("png", 2)]);
    let body = ndjson(&[slow, quick.clone(), quick]);
    let mut client = server.connect();
    let head = format!("POST /bulk HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
    client.write(&[head.as_bytes(), &body].concat());
    let mut answer = client.head().unwrap();
    while answer.text().lines().count() < 2 {
        answer.body.extend(client.chunk().unwrap().expect("a result"));
    }
    tell.send(()).unwrap();
    while let Some(more) = client.chunk().unwrap() {
        answer.body.extend(more);
    }
    let (lines, last) = lines_of(&answer);
    assert_eq!(last, json!({ "done": true, "ok": 3, "failed": 0 }));
    assert_eq!(lines[2]["item"], 0);
}
