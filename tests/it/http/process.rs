//! `POST /process.{ext}`: bodies and forms in, renditions out, nothing stored.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use progimage::http::auth::{Access, keys};
use progimage::pipeline::operation::OPERATIONS;
use sha2::{Digest as _, Sha256};

use super::client::Answer;
use super::{Server, path_of, ppm};

const FORM: &str = "Content-Type: multipart/form-data; boundary=edge";

fn form(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, part) in parts {
        body.extend_from_slice(format!("--edge\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n").as_bytes());
        body.extend_from_slice(part);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--edge--\r\n");
    body
}

fn assert_unkept(answer: &Answer) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    assert_eq!(answer.field("etag"), None);
    assert_eq!(answer.field("accept-ranges"), None);
    assert_eq!(answer.field("cache-status"), Some("progimage; fwd=miss"));
    assert!(answer.field("server-timing").unwrap().contains("decode;dur="));
}

#[test]
fn a_body_is_rendered_as_a_stored_image_is_and_not_stored() {
    let server = Server::start();
    let image = ppm(8, 4, [10, 20, 30]);
    let mut client = server.connect();
    let answers = [
        client.ask("POST", "/process.png?w=4", &[], &image),
        client.ask("POST", "/process.png?w=4", &["Content-Type: image/jpeg"], &image),
        client.ask("POST", "/process.png?w=4", &[FORM], &form(&[("image", &image)])),
        client.ask(
            "POST",
            "/process.png",
            &[FORM],
            &form(&[("ops", br#"[{"op":"resize","width":4}]"#), ("image", &image)]),
        ),
    ];
    assert_eq!(server.get(&path_of(&image)).status, 404);
    assert_eq!(server.get(&format!("{}.png?w=4", path_of(&image))).status, 404);
    let stored = server.get(&format!("{}.png?w=4", server.store(&image)));
    for answer in answers {
        assert_unkept(&answer);
        assert_eq!(answer.field("content-type"), Some("image/png"));
        assert_eq!(answer.body, stored.body);
    }
    let named = client.ask("POST", "/process.png?download=x.png", &[], &image);
    assert!(named.field("content-disposition").unwrap().contains("x.png"));
}

#[test]
fn auto_negotiates() {
    let server = Server::start();
    let image = ppm(2, 2, [1, 2, 3]);
    for (accept, expected) in [("image/webp", "image/webp"), ("*/*", "image/jpeg")] {
        let answer = server.send("POST", "/process.auto", &[&format!("Accept: {accept}")], &image);
        assert_unkept(&answer);
        assert_eq!(answer.field("content-type"), Some(expected));
        assert_eq!(answer.field("vary"), Some("Accept"));
    }
    server.send("POST", "/process.auto", &["Accept: text/html"], &image).assert_problem(406, "not-acceptable");
}

#[test]
fn what_is_asked_wrongly_is_refused() {
    let server = Server::start();
    let image = ppm(2, 2, [1, 2, 3]);
    let check = |path: &str, fields: &[&str], body: &[u8], status, kind: &str| {
        server.send("POST", path, fields, body).assert_problem(status, kind);
    };
    check("/process.png?w=0", &[], &image, 400, "invalid-parameter");
    check("/process.auto?nonsense=1", &[], &image, 400, "invalid-parameter");
    check("/process.exe", &[], &image, 400, "unknown-extension");
    check("/process.", &[], &image, 400, "unknown-extension");
    check("/process", &[], &image, 404, "not-found");
    check("/process.png", &[], b"no image", 415, "unknown-format");
    check("/process.png", &[], b"P6\n3 2\n255\n\x01", 415, "corrupt-source");
    check("/process.png", &["Content-Type: multipart/form-data"], &image, 400, "malformed-request");
    for parts in [
        [("image", image.as_slice()), ("image", image.as_slice())],
        [("image", image.as_slice()), ("other", image.as_slice())],
        [("image", image.as_slice()), ("w", b"300")],
        [("image", image.as_slice()), ("op", b"[]")],
        [("ops", b"[]"), ("ops", b"[]")],
    ] {
        check("/process.png", &[FORM], &form(&parts), 400, "invalid-parameter");
    }
    check("/process.png", &[FORM], &form(&[]), 400, "invalid-parameter");
    check("/process.png", &[FORM], &form(&[("ops", b"[]")]), 400, "invalid-parameter");
    check("/process.png", &[FORM], &form(&[("image", &image), ("ops", b"[")]), 400, "invalid-parameter");
    check("/process.png?ops=[]", &[FORM], &form(&[("image", &image), ("ops", b"[]")]), 400, "invalid-parameter");
    let refused = server.ask("GET", "/process.png", &[]);
    refused.assert_problem(405, "method-not-allowed");
    assert_eq!(refused.field("allow"), Some("POST, OPTIONS"));
}

#[test]
fn a_part_that_no_operation_names_is_refused() {
    let server = Server::start();
    let image = ppm(2, 2, [1, 2, 3]);
    for ops in [r#"[]"#, r#"[{"op":"resize","width":1}]"#] {
        let body = form(&[("image", &image), ("mask", &image), ("ops", ops.as_bytes())]);
        let answer = server.send("POST", "/process.png", &[FORM], &body);
        answer.assert_problem(400, "invalid-parameter");
        assert_eq!(answer.json()["parameter"], "mask");
    }
}

#[test]
fn a_part_replaces_an_id() {
    let (image, mask) = (ppm(4, 4, [200, 20, 30]), ppm(4, 4, [128, 128, 128]));
    for key in ["mask", "overlay"] {
        let server = Server::start();
        let answer = server.send("POST", "/process.png", &[FORM], &form(&[("image", &image), (key, &mask)]));
        let owner = OPERATIONS.iter().find(|operation| operation.params.iter().any(|param| param.keys.contains(&key)));
        let Some(owner) = owner else {
            answer.assert_problem(400, "invalid-parameter");
            assert_eq!(answer.json()["parameter"], key);
            continue;
        };
        assert_unkept(&answer);
        let param = owner.params.iter().find(|param| param.keys.contains(&key)).unwrap();
        let ops = format!(r#"[{{"op":"{}","{}":{{"part":"{key}"}}}}]"#, owner.name, param.name);
        let parts = form(&[("image", &image), (key, &mask), ("ops", ops.as_bytes())]);
        assert_eq!(server.send("POST", "/process.png", &[FORM], &parts).body, answer.body);
        // The id of a stored image gives an equal result.
        let id = server.store(&mask)["/images/".len()..].to_owned();
        assert_eq!(server.send("POST", &format!("/process.png?{key}={id}"), &[], &image).body, answer.body);
    }
}

#[test]
fn bounds_on_bytes_are_inclusive() {
    let image = ppm(10, 10, [1, 1, 1]);
    let server = Server::with(|settings| {
        settings.limits.bytes_max = image.len() as u64;
        settings.store.blob_bytes_max = image.len() as u64;
    });
    let over = [image.as_slice(), b"\n"].concat();
    assert_unkept(&server.send("POST", "/process.png", &[], &image));
    server.send("POST", "/process.png", &[], &over).assert_problem(413, "too-large");
    assert_unkept(&server.send("POST", "/process.png", &[FORM], &form(&[("image", &image)])));
    server.send("POST", "/process.png", &[FORM], &form(&[("image", &over)])).assert_problem(413, "too-large");
    // Undeclared.
    let mut client = server.connect();
    client.write(b"POST /process.png HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.write(format!("{:x}\r\n", over.len()).as_bytes());
    client.write(&over);
    client.write(b"\r\n0\r\n\r\n");
    client.answer(false).assert_problem(413, "too-large");
    for (bytes, status) in [(64 << 10, 200), ((64 << 10) + 1, 413)] {
        let ops = format!("[]{}", " ".repeat(bytes - 2));
        let parts = form(&[("image", &image), ("ops", ops.as_bytes())]);
        assert_eq!(server.send("POST", "/process.png", &[FORM], &parts).status, status);
    }
}

#[test]
fn bodies_in_flight_take_from_the_budget_of_uploads_and_give_it_back() {
    let image = ppm(100, 100, [1, 1, 1]);
    let bytes = image.len() as u64;
    let server = Server::with(|settings| {
        settings.limits.bytes_max = bytes;
        settings.store.blob_bytes_max = bytes;
        settings.store.uploads_bytes_max = bytes.next_multiple_of(4 << 10);
    });
    let mut slow = server.connect();
    slow.write(
        format!("POST /process.png HTTP/1.1\r\nHost: test\r\nContent-Length: {bytes}\r\nExpect: 100-continue\r\n\r\n")
            .as_bytes(),
    );
    assert_eq!(slow.answer(false).status, 100);
    server.send("POST", "/process.png", &[], &image).assert_problem(503, "busy");
    server.send("POST", "/images", &[], &image).assert_problem(503, "busy");
    slow.write(&image);
    assert_unkept(&slow.answer(false));
    assert_eq!(server.send("POST", "/images", &[], &image).status, 201);
}

#[test]
fn digests_in_the_head_are_verified() {
    let server = Server::start();
    let image = ppm(4, 1, [3, 3, 3]);
    let field = |bytes: &[u8]| format!("Content-Digest: sha-256=:{}:", STANDARD.encode(Sha256::digest(bytes)));
    assert_unkept(&server.send("POST", "/process.png", &[&field(&image)], &image));
    server.send("POST", "/process.png", &[&field(b"x")], &image).assert_problem(422, "digest-mismatch");
    let form = form(&[("image", &image)]);
    assert_unkept(&server.send("POST", "/process.png", &[FORM, &field(&form)], &form));
    server.send("POST", "/process.png", &[FORM, &field(&image)], &form).assert_problem(422, "digest-mismatch");
}

#[test]
fn limits_hold_and_the_scope_is_process() {
    let image = ppm(10, 10, [1, 1, 1]);
    let server = Server::with(|settings| {
        settings.limits.pixels_max = 99;
        settings.access = Access {
            keys: keys("r:read+write:reader-reader-reader p:process:process-process-process").unwrap(),
            ..Access::default()
        };
    });
    let ask = |fields: &[&str]| server.send("POST", "/process.png", fields, &image);
    ask(&[]).assert_problem(401, "key-needed");
    ask(&["Authorization: Bearer reader-reader-reader"]).assert_problem(403, "scope-needed");
    let answer = ask(&["Authorization: Bearer process-process-process"]);
    answer.assert_problem(422, "limit");
    assert_eq!(answer.json()["limit"], "pixels_max");
}

/// Presets and signatures bind the operations, in the query and in the parts of a form.
#[test]
fn parts_do_not_get_around_presets_or_a_signature() {
    use progimage::http::Presets;
    use progimage::http::sign::{SigningKey, sign};

    let image = ppm(8, 4, [10, 20, 30]);
    let ops = form(&[("ops", br#"[{"op":"resize","width":4}]"#), ("image", &image)]);
    let over = form(&[("overlay", &image), ("image", &image)]);
    let alone = form(&[("image", &image)]);
    let check = |server: &Server, path: &str| {
        for (body, part) in [(&ops, "ops"), (&over, "overlay")] {
            let refused = server.send("POST", path, &[FORM], body);
            refused.assert_problem(400, "invalid-parameter");
            assert_eq!((&refused.json()["parameter"], &refused.json()["value"]), (&"part".into(), &part.into()));
        }
        assert_eq!(server.send("POST", path, &[FORM], &alone).status, 200);
    };
    check(
        &Server::with(|settings| {
            let presets = Presets::named("thumb:w=4").expect("good");
            settings.http.presets.set(presets);
            settings.http.presets.only = true;
        }),
        "/process.png?preset=thumb",
    );
    let key: SigningKey = "web:0123456789abcdef".parse().expect("a key");
    let signed = sign(&key, "/process.png?w=4", None);
    check(&Server::with(|settings| settings.access.signing_keys = vec![key]), &signed);
}

/// A browser sends every field of its form, also those that are no image and those that were left empty.
#[test]
fn fields_of_a_page_are_no_images() {
    let server = Server::start();
    let image = ppm(8, 4, [1, 2, 3]);
    let plain = server.send("POST", "/process.png?w=2", &[], &image).body;
    let left = "--edge\r\nContent-Disposition: form-data; name=\"mask\"; filename=\"\"\r\nContent-Type: application/octet-stream\r\n\r\n\r\n";
    let body = [left.as_bytes(), &form(&[("csrf_token", b"abc"), ("image", &image), ("note", b"")])].concat();
    let answer = server.send("POST", "/process.png?w=2", &[FORM], &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.body, plain);
    let without = [left.replace("mask", "image").as_bytes(), &form(&[("csrf_token", b"abc")])].concat();
    let refused = server.send("POST", "/process.png", &[FORM], &without);
    refused.assert_problem(400, "invalid-parameter");
    assert_eq!(refused.json()["parameter"], "image");
    let long = form(&[("csrf_token", &vec![b'x'; 300 << 10]), ("image", &image)]);
    server.send("POST", "/process.png", &[FORM], &long).assert_problem(413, "too-large");
}
