//! Uploads: what is stored, what is refused, and that a refused upload leaves nothing.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use progimage::digest::Digest;
use sha2::{Digest as _, Sha256};

use crate::http::{Server, path_of, ppm};

#[test]
fn an_upload_is_named_by_its_bytes_and_stored_once() {
    let server = Server::start();
    let image = ppm(3, 2, [1, 2, 3]);
    let id = Digest::of(&image).to_string();
    for (status, created) in [(201, true), (200, false)] {
        let answer = server.send("POST", "/images", &[], &image);
        assert_eq!(answer.status, status);
        assert_eq!(answer.field("location"), Some(path_of(&image).as_str()));
        assert_eq!(answer.field("etag"), Some(format!("\"{id}\"").as_str()));
        let expected = serde_json::json!({
            "id": id, "bytes": image.len(), "format": "ppm", "width": 3, "height": 2, "created": created,
        });
        assert_eq!(answer.json(), expected);
    }
    assert_eq!(server.get(&path_of(&image)).body, image);
}

pub fn form(parts: &[&[u8]]) -> Vec<u8> {
    let mut body = Vec::new();
    for part in parts {
        body.extend_from_slice(b"--edge\r\nContent-Disposition: form-data; name=\"any\"; filename=\"x.bin\"\r\n\r\n");
        body.extend_from_slice(part);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--edge--\r\n");
    body
}

pub const FORM: &str = "Content-Type: multipart/form-data; boundary=edge";

#[test]
fn one_part_of_a_form_is_the_same_as_a_raw_body() {
    let server = Server::start();
    // A part of several chunks: the parser must be woken in the middle of it.
    let image = ppm(300, 300, [9, 8, 7]);
    let mut client = server.connect();
    for status in [201, 200] {
        assert_eq!(client.ask("POST", "/images", &[FORM], &form(&[&image])).status, status);
    }
    assert_eq!(client.ask("GET", &path_of(&image), &[], b"").body, image);
}

/// A part with these fields of its disposition, and a type if it has one.
fn part(disposition: &str, media_type: &str, bytes: &[u8]) -> Vec<u8> {
    let media_type = if media_type.is_empty() { String::new() } else { format!("Content-Type: {media_type}\r\n") };
    let head = format!("--edge\r\nContent-Disposition: form-data; {disposition}\r\n{media_type}\r\n");
    [head.as_bytes(), bytes, b"\r\n"].concat()
}

/// A browser sends every field of its form, also those that are no image and those that were left empty.
#[test]
fn fields_of_a_page_are_no_entries() {
    let server = Server::start();
    let (image, other) = (ppm(300, 300, [9, 8, 1]), ppm(3, 3, [9, 8, 2]));
    let token = part("name=\"csrf\"", "", b"abc");
    let left = part("name=\"more\"; filename=\"\"", "application/octet-stream", b"");
    let chosen = part("name=\"image\"; filename=\"a.ppm\"", "image/x-portable-pixmap", &image);
    let upload =
        |parts: &[&[u8]]| server.send("POST", "/images", &[FORM], &[&parts.concat(), &b"--edge--\r\n"[..]].concat());
    for parts in [[&token, &chosen, &left], [&left, &token, &chosen], [&chosen, &left, &token]] {
        let answer = upload(&parts.map(Vec::as_slice));
        assert!(answer.status < 202, "{}", answer.text());
        assert_eq!(answer.json()["id"], Digest::of(&image).to_string());
    }
    upload(&[&token, &left]).assert_problem(400, "malformed-request");
    // A part without a file name is an entry if it is an image, or says so.
    let inline = part("name=\"b\"", "", &other);
    let broken = part("name=\"c\"", "image/png", b"\x89PNG");
    let unreadable =
        [&b"--edge\r\nContent-Disposition: form-data; name=\"d\"; filename=\"\xe9\"\r\n\r\n"[..], b"text\r\n"].concat();
    let nameless = part("name=\"e\"; filename=\"\"", "", &other);
    let (lines, last) = upload(&[&token, &chosen, &inline, &left, &broken, &unreadable, &nameless, &token]).lines();
    let names: Vec<_> = lines.iter().map(|line| line["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a.ppm", "b", "c", "d", "e"]);
    assert_eq!((&last["ok"], &last["failed"]), (&3.into(), &2.into()), "{lines:?}");
    let long = part("name=\"story\"", "", &vec![b'x'; 300 << 10]);
    let (lines, last) = upload(&[&chosen, &chosen, &long, &chosen]).lines();
    assert_eq!((lines.len(), &last["problem"]["limit"]), (2, &"form_bytes_max".into()));
}

#[test]
fn forms_without_a_part_are_refused() {
    let server = Server::start();
    let image = ppm(2, 2, [5, 5, 5]);
    server.send("POST", "/images", &[FORM], &form(&[])).assert_problem(400, "malformed-request");
    server.send("POST", "/images", &[FORM], b"not a form").assert_problem(400, "malformed-request");
    let without_boundary = "Content-Type: multipart/form-data";
    server.send("POST", "/images", &[without_boundary], &form(&[&image])).assert_problem(400, "malformed-request");
    let endless = [b"--edge\r\nx: ".as_slice(), &vec![b'y'; 400 << 10]].concat();
    let refused = server.send("POST", "/images", &[FORM], &endless);
    refused.assert_problem(413, "too-large");
    assert_eq!((&refused.json()["limit"], &refused.json()["max"]), (&"form_bytes_max".into(), &(256 << 10).into()));
    assert_eq!(server.get(&path_of(&image)).status, 404);
}

#[test]
fn put_stores_what_its_path_names_and_nothing_else() {
    let server = Server::start();
    let (image, other) = (ppm(2, 3, [1, 1, 1]), ppm(2, 3, [2, 2, 2]));
    let path = path_of(&image);
    let refused = server.send("PUT", &path, &[], &other);
    refused.assert_problem(422, "digest-mismatch");
    assert_eq!(refused.json()["expected"], Digest::of(&image).to_string());
    assert_eq!(refused.json()["actual"], Digest::of(&other).to_string());
    assert_eq!(server.get(&path).status, 404);
    assert_eq!(server.get(&path_of(&other)).status, 404);

    let mut client = server.connect();
    assert_eq!(client.ask("PUT", &path, &[], &image).status, 201);
    assert_eq!(client.ask("PUT", &path, &[], &image).status, 200);
    // A body that is read is verified whether the image is stored already or not, and the connection is kept.
    client.ask("PUT", &path, &[], &other).assert_problem(422, "digest-mismatch");
    assert_eq!(client.ask("PUT", &path, &["If-None-Match: *"], &image).status, 412);
    assert_eq!(server.get(&path_of(&other)).status, 404);
}

#[test]
fn what_is_no_image_is_not_stored() {
    let server = Server::start();
    for bytes in [b"plain text".as_slice(), b"", b"\x00\x01\x02"] {
        server.send("POST", "/images", &[], bytes).assert_problem(415, "unknown-format");
        assert_eq!(server.get(&path_of(bytes)).status, 404);
    }
    let cut = b"P6\n3 2\n255\n\x01";
    server.send("POST", "/images", &["Content-Type: image/png"], cut).assert_problem(415, "corrupt-source");
    let answer = server.send("POST", "/images", &[], cut);
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    assert_eq!(server.get(&path_of(cut)).status, 404);
}

#[test]
fn digests_in_the_head_are_verified() {
    let server = Server::start();
    let image = ppm(4, 1, [3, 3, 3]);
    let field = |bytes: &[u8]| format!("Content-Digest: sha-256=:{}:", STANDARD.encode(Sha256::digest(bytes)));
    let wrong = server.send("POST", "/images", &[&field(b"other")], &image);
    wrong.assert_problem(422, "digest-mismatch");
    assert_eq!(wrong.json()["algorithm"], "sha-256");
    assert_eq!(server.get(&path_of(&image)).status, 404);
    server.send("POST", "/images", &["Repr-Digest: sha-256=oops"], &image).assert_problem(400, "malformed-request");
    assert_eq!(server.send("POST", "/images", &[&field(&image)], &image).status, 201);
    let form = form(&[&image]);
    assert_eq!(server.send("POST", "/images", &[FORM, &field(&form)], &form).status, 200);
    server.send("POST", "/images", &[FORM, &field(&image)], &form).assert_problem(422, "digest-mismatch");
}

#[test]
fn the_bound_on_bytes_is_inclusive() {
    let image = ppm(10, 10, [1, 1, 1]);
    let server = Server::with(|settings| {
        settings.limits.bytes_max = image.len() as u64;
        settings.store.blob_bytes_max = image.len() as u64;
    });
    let over = [image.as_slice(), b"\n"].concat();
    let check = |refused: crate::http::Answer| {
        refused.assert_problem(413, "too-large");
        let bound = (&"bytes_max".into(), &image.len().into());
        assert_eq!((&refused.json()["limit"], &refused.json()["max"]), bound);
    };
    check(server.send("POST", "/images", &[], &over));
    for longer in [1, 300 << 10, 900 << 10] {
        let part = [image.as_slice(), &vec![0; longer]].concat();
        check(server.send("POST", "/images", &[FORM], &form(&[&part])));
    }
    // Undeclared.
    let mut client = server.connect();
    client.write(b"POST /images HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.write(format!("{:x}\r\n", over.len()).as_bytes());
    client.write(&over);
    client.write(b"\r\n0\r\n\r\n");
    check(client.answer(false));
    assert_eq!(server.send("POST", "/images", &[], &image).status, 201);
}

#[test]
fn simultaneous_uploads_of_the_same_bytes_store_them_once() {
    let server = Server::start();
    let image = ppm(64, 64, [4, 5, 6]);
    let created = std::thread::scope(|scope| {
        let uploads: Vec<_> = (0..16).map(|_| scope.spawn(|| server.send("POST", "/images", &[], &image))).collect();
        let answers = uploads.into_iter().map(|upload| upload.join().unwrap());
        answers.filter(|answer| answer.json()["created"] == true).count()
    });
    assert_eq!(created, 1);
    assert_eq!(server.get(&path_of(&image)).body, image);
}
