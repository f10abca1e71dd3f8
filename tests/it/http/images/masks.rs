//! Renditions that name a second image: masks and overlays.

use progimage::digest::Digest;

use crate::http::{Server, ppm};

/// Stores an image; its id.
fn put(server: &Server, image: &[u8]) -> String {
    server.store(image);
    Digest::of(image).to_string()
}

#[test]
fn a_mask_and_an_overlay_are_found_by_their_ids() {
    let server = Server::start();
    let path = server.store(&ppm(6, 4, [10, 20, 30]));
    let (dark, light) = (put(&server, &ppm(2, 2, [51, 51, 51])), put(&server, &ppm(3, 3, [255, 255, 255])));
    let tag = |query: String| {
        let answer = server.get(&format!("{path}.png?{query}"));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.field("etag").unwrap().to_owned()
    };
    let tags = [
        tag(format!("mask={dark}&mask_mode=luma")),
        tag(format!("mask={light}&mask_mode=luma")),
        tag(format!("overlay={dark}")),
        tag(format!("overlay={light}")),
        tag(format!("mask={dark}&mask_mode=luma&overlay={light}")),
    ];
    for (place, one) in tags.iter().enumerate() {
        assert!(!tags[..place].contains(one), "{place}");
    }
    // Another order, and JSON, name the same rendition.
    assert_eq!(tag(format!("overlay={light}&mask_mode=luma&mask={dark}")), tags[4]);
    let json = format!(r#"[{{"op":"mask","source":{{"id":"{dark}"}},"mode":"luma"}}]"#);
    let encoded: String = json.bytes().map(|byte| format!("%{byte:02x}")).collect();
    assert_eq!(tag(format!("ops={encoded}")), tags[0]);
    // The pixels are as expected. PAM has a head of text, then the samples.
    let pixels = server.get(&format!("{path}.pnm?mask={dark}&mask_mode=luma"));
    assert!(pixels.body.ends_with(&[10, 20, 30, 51].repeat(6 * 4)), "{pixels:?}");
    let pixels = server.get(&format!("{path}.ppm?overlay={light}&overlay_gravity=northwest"));
    let row = [[255u8; 3].repeat(3), [10, 20, 30].repeat(3)].concat();
    assert!(pixels.body.ends_with(&[row.repeat(3), [10, 20, 30].repeat(6)].concat()), "{pixels:?}");
}

#[test]
fn an_image_that_is_not_stored_is_named() {
    let server = Server::start();
    let path = server.store(&ppm(4, 4, [1, 2, 3]));
    let missing = Digest::of(b"missing").to_string();
    for parameter in ["mask", "overlay"] {
        let answer = server.get(&format!("{path}.png?{parameter}={missing}"));
        answer.assert_problem(422, "image-missing");
        assert_eq!(answer.json()["id"], missing);
    }
    let answer = server.get(&format!("{path}.png?overlay_x=3"));
    answer.assert_problem(400, "invalid-parameter");
    assert_eq!(answer.json()["parameter"], "overlay_x");
    server.get(&format!("{path}.png?mask=1234")).assert_problem(400, "invalid-parameter");
    // Once it is stored it is found.
    let mask = ppm(1, 1, [9, 9, 9]);
    let query = format!("{path}.png?mask={}", Digest::of(&mask));
    server.get(&query).assert_problem(422, "image-missing");
    server.store(&mask);
    assert_eq!(server.get(&query).status, 200);
}

#[test]
fn a_rendition_goes_with_its_mask_and_with_its_source() {
    let server = Server::start();
    let source = ppm(5, 5, [1, 2, 3]);
    let path = server.store(&source);
    let mask = put(&server, &ppm(2, 1, [77, 77, 77]));
    let query = format!("{path}.png?mask={mask}&mask_mode=luma");
    let first = server.get(&query);
    let deleted = server.ask("DELETE", &format!("/images/{mask}"), &[]);
    assert_eq!((deleted.status, deleted.field("progimage-also-removed")), (204, Some("1")));
    server.get(&query).assert_problem(422, "image-missing");
    server.get(&format!("{query}&w=3")).assert_problem(422, "image-missing");
    put(&server, &ppm(2, 1, [77, 77, 77]));
    let again = server.get(&query);
    assert_eq!((again.status, again.field("cache-status")), (200, Some("progimage; fwd=miss")));
    assert_eq!(again.body, first.body);
    assert_eq!(server.ask("DELETE", &path, &[]).status, 204);
    server.get(&query).assert_problem(404, "unknown-id");
}

/// A render is admitted with what all its images take.
#[test]
fn memory_is_planned_with_every_image() {
    let bytes = 4 << 20;
    let server = Server::with(|settings| settings.renditions.render_memory_bytes_max = bytes);
    let path = server.store(&ppm(8, 8, [1, 2, 3]));
    let (small, large) = (put(&server, &ppm(9, 9, [4; 3])), put(&server, &ppm(1000, 1000, [5; 3])));
    for parameter in ["mask", "overlay"] {
        let render = |id: &str| server.get(&format!("{path}.png?{parameter}={id}"));
        assert_eq!(render(&small).status, 200, "{}", render(&small).text());
        let refused = render(&large);
        refused.assert_problem(422, "limit");
        assert_eq!(refused.json()["limit"], "render_memory_bytes_max", "{}", refused.text());
    }
}
