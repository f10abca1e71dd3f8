//! Which keys may send items, and what the items may ask for.

use progimage::http::Presets;
use progimage::http::auth::{Access, keys};
use progimage::http::sign::{SigningKey, sign};
use serde_json::{Value, json};

use super::{Server, assert_failed, bulk, data, id, item, ndjson, ppm, resize, results, with};

const LIST: &str = "p:process:process-process-process b:process+read:reading-reading-reading w:process+write+read:writing-writing-writing";

fn key(secret: &str) -> String {
    format!("Authorization: Bearer {secret}")
}

fn guarded(anonymous: &str, change: impl FnOnce(&mut Access)) -> Server {
    Server::with(|settings| {
        settings.access.keys = keys(LIST).unwrap();
        settings.access.anonymous = anonymous.parse().unwrap();
        change(&mut settings.access);
    })
}

#[test]
fn items_need_the_scopes_of_what_they_do() {
    let server = guarded("none", |_| {});
    let (image, other) = (ppm(8, 4, [1, 2, 3]), ppm(8, 4, [1, 2, 4]));
    let writer = key("writing-writing-writing");
    assert_eq!(server.send("POST", "/images", &[&writer], &image).status, 201);
    server.send("POST", "/images", &[&writer], &other);
    let blob = with(resize("png", 3), "to", "blob");
    let overlay = json!({ "format": "png", "ops": [{ "op": "overlay", "source": id(&other) }] });
    let items = ndjson(&[
        item(data(&image), &[resize("png", 2)]),
        item(id(&image), &[resize("png", 2)]),
        item(data(&image), &[resize("png", 2), blob]),
        item(data(&image), &[overlay]),
    ]);
    server.send("POST", "/bulk", &[], &items).assert_problem(401, "key-needed");
    let send = |secret: &str| results(&server.send("POST", "/bulk", &[&key(secret)], &items));
    let lines = send("process-process-process");
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[0]["status"], 200);
    for (line, scope) in lines[1..].iter().zip(["read", "write", "read"]) {
        assert_failed(line, 403, "scope-needed");
        assert_eq!(line["problem"]["scope"], scope);
    }
    let statuses = |lines: &[Value]| lines.iter().map(|line| line["status"].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!(statuses(&send("reading-reading-reading")), [200, 200, 403, 200]);
    assert_eq!(statuses(&send("writing-writing-writing")), [200, 200, 200, 201, 200]);
}

#[test]
fn all_metadata_needs_the_right_to_read_originals() {
    let image = crate::fixtures::read("metadata.jpg");
    let server = guarded("read+process", |access| access.originals_need_key = true);
    server.send("POST", "/images", &[&key("writing-writing-writing")], &image);
    let all = json!({ "format": "jpg", "metadata": "all" });
    let items = ndjson(&[
        item(id(&image), std::slice::from_ref(&all)),
        item(data(&image), &[all]),
        // A conversion to its own format would be the original.
        item(id(&image), &[json!({ "format": "jpg" })]),
    ]);
    let lines = results(&server.send("POST", "/bulk", &[], &items));
    assert_failed(&lines[0], 401, "key-needed");
    assert_eq!((&lines[1]["status"], &lines[2]["status"]), (&200.into(), &200.into()));
    assert!(super::bytes_of(&lines[2]) != image);
    let lines = results(&server.send("POST", "/bulk", &[&key("reading-reading-reading")], &items));
    assert_eq!(lines[0]["status"], 200);
}

#[test]
fn where_renditions_need_a_signature_items_need_a_key() {
    let signing: SigningKey = "web:0123456789abcdef".parse().unwrap();
    let signed = sign(&signing, "/bulk", None);
    let server = guarded("read+process", |access| {
        access.signing_keys = vec![signing];
        access.renditions_need_signature = true;
    });
    let items = ndjson(&[item(data(&ppm(4, 4, [1, 2, 3])), &[resize("png", 2)])]);
    server.send("POST", "/bulk", &[], &items).assert_problem(401, "key-needed");
    // A signature covers a URL, but the operations are in the body.
    server.send("POST", &signed, &[], &items).assert_problem(401, "key-needed");
    server.send("POST", &signed, &[&key("process-process-process")], &items).assert_problem(400, "invalid-parameter");
    assert_eq!(results(&server.send("POST", "/bulk", &[&key("process-process-process")], &items))[0]["status"], 200);
}

#[test]
fn presets_stand_for_their_queries_and_may_be_all_there_is() {
    let image = ppm(20, 10, [7, 8, 9]);
    for only in [false, true] {
        let server = Server::with(|settings| {
            settings.http.presets.set(Presets::named("thumb:w=4&q=50").unwrap());
            settings.http.presets.only = only;
        });
        let path = server.store(&image);
        let preset = json!({ "format": "webp", "preset": "thumb" });
        let lines = bulk(
            &server,
            &[
                item(id(&image), std::slice::from_ref(&preset)),
                item(id(&image), &[with(preset.clone(), "chroma", "444")]),
                item(id(&image), &[json!({ "format": "webp", "preset": "big" })]),
                item(id(&image), &[with(preset, "to", "rendition")]),
            ],
        );
        assert!(super::bytes_of(&lines[0]) == server.get(&format!("{path}.webp?preset=thumb")).body);
        assert_eq!(lines[1]["status"], if only { 400 } else { 200 });
        assert_failed(&lines[2], 400, "invalid-parameter");
        assert_eq!(lines[2]["problem"]["allowed"], "thumb");
        let url = lines[3]["url"].as_str().expect("where it is");
        assert_eq!(url.ends_with(".webp?preset=thumb"), only, "{url}");
        assert!(server.get(url).body == super::bytes_of(&lines[0]));
    }
}
