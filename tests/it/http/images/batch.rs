//! Routes that take many ids at once.

use progimage::digest::Digest;
use serde_json::{Value, json};

use crate::http::{Server, path_of, ppm};

fn ids(images: &[&[u8]]) -> Vec<u8> {
    images.iter().flat_map(|image| format!("{}\n", Digest::of(image)).into_bytes()).collect()
}

#[test]
fn infos_of_many_are_those_of_each() {
    let server = Server::start();
    let images = [ppm(3, 2, [1, 2, 3]), ppm(2, 3, [4, 5, 6])];
    images.iter().for_each(|image| _ = server.store(image));
    for query in ["", "?include=blurhash,phash"] {
        let body = ids(&[&images[0], b"absent", &images[1], &images[0]]);
        let (lines, last) = server.send("POST", &format!("/images/info{query}"), &[], &body).lines();
        assert_eq!(last, json!({ "done": true, "ok": 3, "failed": 1 }));
        for (index, image) in [(0, &images[0]), (2, &images[1]), (3, &images[0])] {
            let mut expected = server.get(&format!("{}/info{query}", path_of(image))).json();
            expected["index"] = index.into();
            expected["status"] = 200.into();
            assert_eq!(lines[index], expected);
        }
        let problem = server.get(&format!("{}/info{query}", path_of(b"absent"))).json();
        let expected = json!({ "index": 1, "id": Digest::of(b"absent"), "status": 404, "problem": problem });
        assert_eq!(lines[1], expected);
    }
    server.send("POST", "/images/info?include=nothing", &[], b"").assert_problem(400, "invalid-parameter");
}

#[test]
fn many_are_deleted_at_once_whether_they_are_there_or_not() {
    let server = Server::start();
    let images = [ppm(3, 2, [1, 2, 3]), ppm(2, 3, [4, 5, 6])];
    let paths = images.each_ref().map(|image| server.store(image));
    assert_eq!(server.get(&format!("{}.png", paths[0])).status, 200);
    let body = json!([Digest::of(&images[0]), Digest::of(b"absent"), Digest::of(&images[0])]).to_string();
    let (lines, last) =
        server.send("POST", "/images/delete", &["Content-Type: application/json"], body.as_bytes()).lines();
    assert_eq!(last, json!({ "done": true, "ok": 3, "failed": 0 }));
    let expected = |(index, id): (usize, Digest)| json!({ "index": index, "id": id, "status": 204 });
    let asked = [Digest::of(&images[0]), Digest::of(b"absent"), Digest::of(&images[0])];
    assert_eq!(lines, asked.into_iter().enumerate().map(expected).collect::<Vec<Value>>());
    for gone in [paths[0].clone(), format!("{}.png", paths[0])] {
        assert_eq!(server.get(&gone).status, 404);
    }
    assert_eq!(server.get(&paths[1]).status, 200);
}

#[test]
fn lists_are_bounded_and_must_be_ids() {
    let server = Server::with(|settings| settings.http.ids_max = 3);
    for path in ["/images/info", "/images/delete"] {
        let many: Vec<&[u8]> = vec![b"x"; 4];
        assert_eq!(server.send("POST", path, &[], &ids(&many[..3])).lines().0.len(), 3);
        server.send("POST", path, &[], &ids(&many)).assert_problem(422, "limit");
        server.send("POST", path, &[], b"no ids").assert_problem(400, "malformed-request");
        server.send("POST", path, &["Content-Type: image/png"], b"x").assert_problem(415, "media-type");
        assert_eq!(server.send("POST", path, &["Content-Type: application/json"], b"[]").lines().1["done"], true);
    }
}

#[test]
fn the_missing_of_many_ids_come_back_in_the_form_they_came_in() {
    let server = Server::with(|settings| settings.http.ids_max = 2);
    let stored = ppm(1, 1, [1, 1, 1]);
    server.store(&stored);
    let (stored, missing) = (Digest::of(&stored), Digest::of(b"missing"));
    let lines = server.send("POST", "/images/missing", &[], format!("{stored}\n{missing}\r\n").as_bytes());
    assert_eq!(lines.text(), format!("{missing}\n"));
    let json = "Content-Type: application/json";
    let array = server.send("POST", "/images/missing", &[json], format!("[\"{stored}\",\"{missing}\"]").as_bytes());
    assert_eq!(array.json(), serde_json::json!([missing]));
    let three = format!("{missing}\n").repeat(3);
    server.send("POST", "/images/missing", &[], three.as_bytes()).assert_problem(422, "limit");
    let long = vec![b'\n'; (8 << 20) + 1];
    let refused = server.send("POST", "/images/missing", &[], &long);
    refused.assert_problem(413, "too-large");
    assert_eq!(refused.json()["limit"], "list_bytes_max");
    server.send("POST", "/images/missing", &[], b"x").assert_problem(400, "malformed-request");
    let other = "Content-Type: image/png";
    server.send("POST", "/images/missing", &[other], b"x").assert_problem(415, "media-type");
}
