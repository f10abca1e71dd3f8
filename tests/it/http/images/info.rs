//! `GET /images/{id}/info`: what is known of an image.

use progimage::digest::Digest;

use crate::http::{Server, ppm};

#[test]
fn what_is_known_of_an_image() {
    let server = Server::start();
    let image = ppm(6, 4, [1, 2, 3]);
    let path = server.store(&image);
    let answer = server.get(&format!("{path}/info"));
    let expected = serde_json::json!({
        "id": Digest::of(&image), "bytes": image.len(), "format": "ppm", "media_type": "image/x-portable-pixmap",
        "width": 6, "height": 4, "frames": 1, "pages": 1, "orientation": 1, "channels": "rgb", "bits": 8, "icc": false,
    });
    assert_eq!(answer.json(), expected);
    assert_eq!(answer.field("cache-control"), Some("no-cache"));
    let etag = format!("If-None-Match: {}", answer.field("etag").unwrap());
    assert_eq!(server.ask("GET", &format!("{path}/info"), &[&etag]).status, 304);
}

#[test]
fn info_includes_what_is_asked_for_and_makes_it_once() {
    let server = Server::start();
    let path = server.store(&ppm(40, 30, [200, 30, 60]));
    let plain = server.get(&format!("{path}/info"));
    assert!(!plain.text().contains("blurhash"));
    let all = server.get(&format!("{path}/info?include=blurhash,thumbhash,palette,color,phash"));
    assert_eq!(all.status, 200, "{}", all.text());
    let known: serde_json::Value = serde_json::from_slice(&all.body).expect("JSON");
    assert_eq!(
        (&known["color"], &known["palette"][0], &known["width"]),
        (&"c81e3c".into(), &"cc1c3c".into(), &40.into())
    );
    assert_eq!(known["phash"].as_str().map(str::len), Some(16));
    assert_ne!(all.field("etag"), plain.field("etag"));
    let one = server.get(&format!("{path}/info?include=color"));
    assert!(one.text().contains("c81e3c") && !one.text().contains("phash"));
    for (query, parameter) in
        [("include=size", "include"), ("include=", "include"), ("include=color,color", "include"), ("w=3", "w")]
    {
        let refused = server.get(&format!("{path}/info?{query}"));
        assert_eq!(refused.status, 400, "{query}");
        assert!(refused.text().contains(&format!("\"parameter\":\"{parameter}\"")), "{}", refused.text());
    }
}
