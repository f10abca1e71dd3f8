//! Stored images: originals, renditions, what is known of them, lists, delete.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use progimage::digest::Digest;
use sha2::{Digest as _, Sha256};

use super::{Server, path_of, ppm};

const IMMUTABLE: &str = "public, max-age=31536000, immutable, no-transform";

#[test]
fn an_original_comes_back_byte_for_byte() {
    let server = Server::start();
    let image = ppm(700, 500, [7, 8, 9]);
    let path = server.store(&image);
    let answer = server.get(&path);
    assert_eq!(answer.status, 200);
    assert!(answer.body == image);
    assert_eq!(answer.field("etag"), Some(format!("\"{}\"", Digest::of(&image)).as_str()));
    assert_eq!(answer.field("cache-control"), Some(IMMUTABLE));
    assert_eq!(answer.field("accept-ranges"), Some("bytes"));
    assert_eq!(answer.field("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.field("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.field("content-type"), Some("image/x-portable-pixmap"));
    assert_eq!(answer.field("last-modified"), None);
}

#[test]
fn an_image_has_other_forms_by_extension() {
    let server = Server::start();
    let path = server.store(&ppm(40, 20, [200, 100, 50]));
    for (extension, media_type, begins) in
        [("png", "image/png", b"\x89PNG".as_slice()), ("jpg", "image/jpeg", b"\xff\xd8"), ("gif", "image/gif", b"GIF8")]
    {
        let first = server.get(&format!("{path}.{extension}"));
        assert_eq!(first.status, 200, "{}", first.text());
        assert_eq!(first.field("content-type"), Some(media_type));
        assert_eq!(first.field("cache-control"), Some(IMMUTABLE));
        assert!(first.field("cache-status").unwrap().starts_with("progimage; fwd=miss"));
        assert!(first.field("server-timing").unwrap().contains("decode;dur="));
        assert!(first.body.starts_with(begins));
        let second = server.get(&format!("{path}.{extension}"));
        assert_eq!(second.field("cache-status"), Some("progimage; hit"));
        assert_eq!((second.field("etag"), &second.body), (first.field("etag"), &first.body));
    }
}

#[test]
fn a_conversion_to_its_own_format_is_the_original_and_a_render_is_not() {
    let server = Server::start();
    let image = b"P6\n# a comment that only the original has\n2 1\n255\n\x01\x02\x03\x04\x05\x06".to_vec();
    let path = server.store(&image);
    let conversion = server.get(&format!("{path}.ppm"));
    assert_eq!(conversion.body, image);
    assert_ne!(conversion.field("etag"), server.get(&path).field("etag"));
    let render = server.get(&format!("{path}.ppm?w=2"));
    assert_ne!(render.body, image);
    let server = Server::with(|settings| settings.http.convert_renders = true);
    server.store(&image);
    assert_eq!(server.get(&format!("{path}.ppm")).body, render.body);
}

#[test]
fn head_is_get_without_the_body() {
    let server = Server::start();
    let path = server.store(&ppm(30, 30, [1, 100, 200]));
    for path in [path.clone(), format!("{path}.png"), format!("{path}/info"), path_of(b"none"), format!("{path}.x")] {
        // The first GET renders; its timing and cache status are its own.
        server.get(&path);
        let (mut get, mut head) = (server.get(&path), server.ask("HEAD", &path, &[]));
        assert_eq!(get.status, head.status, "{path}");
        for answer in [&mut get, &mut head] {
            answer.fields.retain(|(name, _)| name != "date");
        }
        get.fields.sort();
        head.fields.sort();
        assert_eq!(get.fields, head.fields, "{path}");
    }
}

#[test]
fn head_renders_and_fills_the_cache() {
    let server = Server::start();
    let path = format!("{}.png", server.store(&ppm(30, 30, [3, 100, 200])));
    let head = server.ask("HEAD", &path, &[]);
    assert!(head.field("cache-status").unwrap().contains("fwd=miss"));
    let get = server.get(&path);
    assert_eq!(get.field("cache-status"), Some("progimage; hit"));
    assert_eq!(get.field("content-length"), head.field("content-length"));
}

#[test]
fn what_cannot_be_asked_is_told_with_what_can() {
    let server = Server::start();
    let path = server.store(&ppm(5, 5, [1, 2, 3]));
    let check = |path: &str, status, kind, parameter: Option<(&str, &str)>| {
        let answer = server.get(path);
        answer.assert_problem(status, kind);
        if let Some(parameter) = parameter {
            let (named, mistake) = parameter;
            assert_eq!(
                (&answer.json()["parameter"], &answer.json()["kind"]),
                (&named.into(), &mistake.into()),
                "{path}"
            );
        }
    };
    check(&format!("{path}.heic"), 400, "unknown-extension", Some(("ext", "value")));
    check(&format!("{path}.HEIC"), 400, "unknown-extension", Some(("ext", "value")));
    check(&format!("{path}."), 400, "unknown-extension", Some(("ext", "value")));
    check(&format!("{path}.png?w=0"), 400, "invalid-parameter", Some(("w", "value")));
    check(&format!("{path}.png?w=1&w=1"), 400, "invalid-parameter", Some(("w", "repeated")));
    check(&format!("{path}.png?nonsense=1"), 400, "invalid-parameter", Some(("nonsense", "unknown")));
    check(&format!("{path}.png?quality=101"), 400, "invalid-parameter", Some(("quality", "value")));
    check(&format!("{path}.png?w=%zz"), 400, "invalid-parameter", Some(("w", "value")));
    check(&format!("{path}.png?w=%ff"), 400, "invalid-parameter", Some(("w", "value")));
    check(&format!("{path}?w=10"), 400, "invalid-parameter", Some(("w", "missing")));
    check(&format!("{path}?wdth=10"), 400, "invalid-parameter", Some(("wdth", "unknown")));
    check("/images/abc", 404, "unknown-id", None);
    check(&path.to_uppercase().replace("/IMAGES", "/images"), 404, "unknown-id", None);
    check(&path_of(b"nothing"), 404, "unknown-id", None);
    check(&format!("{}.png", path_of(b"nothing")), 404, "unknown-id", None);
    check("/nothing", 404, "not-found", None);
}

#[test]
fn refusals_say_how_long_they_last() {
    let server = Server::with(|settings| settings.limits.pixels_max = 100);
    let path = server.store(&ppm(20, 20, [1, 2, 3]));
    assert_eq!(server.get(&path_of(b"x")).field("cache-control"), Some("public, max-age=5"));
    let limit = server.get(&format!("{path}.png"));
    limit.assert_problem(422, "limit");
    assert_eq!(limit.json()["limit"], "pixels_max");
    assert_eq!((limit.json()["value"].as_u64(), limit.json()["max"].as_u64()), (Some(400), Some(100)));
    assert_eq!(limit.field("cache-control"), Some("public, max-age=300"));
    // What is too large to render is still stored and fetched.
    assert_eq!(server.get(&path).status, 200);
}

#[test]
fn what_is_known_of_an_image() {
    let server = Server::start();
    let image = ppm(6, 4, [1, 2, 3]);
    let path = server.store(&image);
    let answer = server.get(&format!("{path}/info"));
    let expected = serde_json::json!({
        "id": Digest::of(&image), "bytes": image.len(), "format": "ppm", "media_type": "image/x-portable-pixmap",
        "width": 6, "height": 4, "frames": 1, "orientation": 1, "channels": "rgb", "bits": 8, "icc": false,
    });
    assert_eq!(answer.json(), expected);
    assert_eq!(answer.field("cache-control"), Some("no-cache"));
    let etag = format!("If-None-Match: {}", answer.field("etag").unwrap());
    assert_eq!(server.ask("GET", &format!("{path}/info"), &[&etag]).status, 304);
}

#[test]
fn after_a_delete_nothing_of_the_image_is_served() {
    let server = Server::start();
    let path = server.store(&ppm(8, 8, [9, 9, 9]));
    let tag = server.get(&format!("{path}.png")).field("etag").unwrap().to_owned();
    assert_eq!(server.ask("DELETE", &path, &["If-Match: \"x\""]).status, 412);
    for _ in 0..2 {
        let answer = server.ask("DELETE", &path, &[]);
        assert_eq!((answer.status, answer.body.len()), (204, 0));
    }
    for path in [path.clone(), format!("{path}.png"), format!("{path}/info")] {
        server.get(&path).assert_problem(404, "unknown-id");
        assert_eq!(server.ask("GET", &path, &[&format!("If-None-Match: {tag}")]).status, 404);
    }
}

#[test]
fn lists_walk_all_images_in_order() {
    let server = Server::start();
    let mut stored: Vec<String> = (0..7)
        .map(|shade| {
            let image = ppm(1, 1, [shade, 0, 0]);
            server.store(&image);
            Digest::of(&image).to_string()
        })
        .collect();
    stored.sort();
    let (mut walked, mut after) = (Vec::new(), String::new());
    loop {
        let page = server.get(&format!("/images?limit=3{after}")).json();
        let images = page["images"].as_array().unwrap();
        walked.extend(images.iter().map(|image| image["id"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(walked, stored);
    let twice = format!("after={0}&after={0}", stored[0]);
    for query in ["limit=0", "limit=x", "after=x", "page=2", "limit=1&limit=1", &twice] {
        server.get(&format!("/images?{query}")).assert_problem(400, "invalid-parameter");
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

#[test]
fn auto_negotiates_three_forms() {
    let server = Server::start();
    let path = format!("{}.auto", server.store(&ppm(16, 16, [50, 60, 70])));
    let check = |accept: &str, media_type: &str| {
        let answer = server.ask("GET", &path, &[&format!("Accept: {accept}")]);
        assert_eq!(answer.field("content-type"), Some(media_type), "{accept}: {}", answer.text());
        assert_eq!(answer.field("vary"), Some("Accept"));
        let tag = answer.field("etag").unwrap().to_owned();
        let again = server.ask("GET", &path, &[&format!("Accept: {accept}"), &format!("If-None-Match: {tag}")]);
        assert_eq!((again.status, again.field("vary")), (304, Some("Accept")));
        tag
    };
    let tags = [
        check("image/avif,image/webp,*/*;q=0.8", "image/avif"),
        check("image/webp,*/*;q=0.8", "image/webp"),
        check("*/*", "image/jpeg"),
    ];
    assert!(tags[0] != tags[1] && tags[1] != tags[2]);
    // Errors are kept by caches too, and are for some clients only.
    for (path, accept, status, kind) in [
        (path.clone(), "text/html", 406, "not-acceptable"),
        (format!("{path}?w=0"), "*/*", 400, "invalid-parameter"),
        (format!("{}.auto", path_of(b"none")), "*/*", 404, "unknown-id"),
    ] {
        let answer = server.ask("GET", &path, &[&format!("Accept: {accept}")]);
        answer.assert_problem(status, kind);
        assert_eq!(answer.field("vary"), Some("Accept"), "{path}");
    }
    assert_eq!(server.get(&path.replace(".auto", ".png")).field("vary"), None);
}

#[test]
fn auto_takes_arguments_that_one_of_its_forms_takes() {
    let server = Server::start();
    let path = format!("{}.auto?lossless", server.store(&ppm(16, 16, [50, 60, 71])));
    for (accept, media_type) in [("image/webp", "image/webp"), ("*/*", "image/png")] {
        let answer = server.ask("GET", &path, &[&format!("Accept: {accept}")]);
        assert_eq!((answer.status, answer.field("content-type")), (200, Some(media_type)), "{}", answer.text());
        let tag = format!("If-None-Match: {}", answer.field("etag").unwrap());
        assert_eq!(server.ask("GET", &path, &[&format!("Accept: {accept}"), &tag]).status, 304);
    }
    let lossy = server.ask("GET", &path.replace("?lossless", ""), &["Accept: */*"]);
    assert_eq!(lossy.field("content-type"), Some("image/jpeg"));
}

#[test]
fn a_rendition_names_its_canonical_url() {
    let server = Server::start();
    let path = server.store(&ppm(40, 20, [90, 60, 30]));
    let check = |asked: &str, expected: &str| {
        let canonical = format!("{path}{expected}");
        let link = format!("<{canonical}>; rel=\"canonical\"");
        let miss = server.get(&format!("{path}{asked}"));
        assert_eq!((miss.status, miss.field("link")), (200, Some(link.as_str())), "{asked}: {}", miss.text());
        for path in [format!("{path}{asked}"), canonical] {
            let hit = server.get(&path);
            assert_eq!(hit.field("cache-status"), Some("progimage; hit"), "{path}");
            assert_eq!((hit.field("etag"), hit.field("link")), (miss.field("etag"), Some(link.as_str())), "{path}");
        }
    };
    check(".png", ".png");
    check(".png?download=x", ".png");
    check(".png?fit=inside", ".png?metadata=none");
    check(".jpeg?h=0020&w=30&download=a.jpg", ".jpg?width=30&height=20");
    check(".png?ops=%5B%7B%22op%22:%22resize%22,%22width%22:9%7D%5D", ".png?width=9");
    let turned_after =
        "%5B%7B%22op%22:%22flip%22,%22direction%22:%22h%22%7D,%7B%22angle%22:90,%22op%22:%22rotate%22%7D%5D";
    let reordered = server.get(&format!("{path}.png?ops={turned_after}"));
    let link = reordered.field("link").unwrap().to_owned();
    assert!(link.starts_with(&format!("<{path}.png?ops=%5B%7B")), "{link}");
    let followed = server.get(link[1..].split('>').next().unwrap());
    assert_eq!((followed.field("etag"), followed.field("link")), (reordered.field("etag"), Some(link.as_str())));
    assert_eq!(server.get(&path).field("link"), None, "an original has one URL");
    let auto = server.ask("GET", &format!("{path}.auto?w=7"), &["Accept: image/webp"]);
    assert_eq!(auto.field("link"), Some(format!("<{path}.webp?width=7>; rel=\"canonical\"").as_str()));
}

#[test]
fn a_canonical_url_that_could_not_be_asked_is_left_out() {
    let path = path_of(&ppm(4, 4, [1, 1, 2]));
    // Asked in a shorter spelling than the canonical one.
    let (asked, canonical) = (format!("{path}.png?h=2&w=3"), format!("{path}.png?width=3&height=2"));
    let check = |url_bytes_max: usize, expected: bool| {
        let server = Server::with(|settings| settings.http.url_bytes_max = url_bytes_max);
        server.store(&ppm(4, 4, [1, 1, 2]));
        assert_eq!(server.get(&asked).field("link").is_some(), expected, "{url_bytes_max}");
    };
    check(canonical.len(), true);
    check(canonical.len() - 1, false);
}

#[test]
fn a_digest_of_the_whole_is_told_when_it_is_wished_for() {
    let server = Server::start();
    let small = ppm(20, 10, [4, 5, 6]);
    let path = server.store(&small);
    let wish = "Want-Repr-Digest: sha-256=10, sha-512=3";
    let check = |path: &str, fields: &[&str], status: u16, whole: &[u8]| {
        let answer = server.ask("GET", path, fields);
        assert_eq!(answer.status, status, "{path}");
        let expected = format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(whole)));
        assert_eq!(answer.field("repr-digest"), Some(expected.as_str()), "{path}");
    };
    check(&path, &[wish], 200, &small);
    check(&path, &[wish, "Range: bytes=3-5"], 206, &small);
    let rendition = format!("{path}.png?w=5");
    let whole = server.get(&rendition);
    assert_eq!(whole.field("repr-digest"), None);
    check(&rendition, &[wish], 200, &whole.body);
    check(&rendition, &[wish, "Range: bytes=-4"], 206, &whole.body);
    assert_eq!(server.ask("GET", &rendition, &[wish]).field("cache-status"), Some("progimage; hit"));
    let tag = format!("If-None-Match: {}", whole.field("etag").unwrap());
    assert_eq!(server.ask("GET", &rendition, &[wish, &tag]).status, 304);
}

#[test]
fn originals_tell_their_digest_up_to_a_mebibyte() {
    let server = Server::start();
    let head = b"P6\n1 1\n255\n\x01\x02\x03";
    for (bytes, told) in [(1 << 20, true), ((1 << 20) + 1, false)] {
        let mut image = head.to_vec();
        image.resize(bytes, 0);
        let path = server.store(&image);
        let answer = server.ask("GET", &path, &["Want-Repr-Digest: sha-512=1"]);
        assert!(answer.body == image);
        assert_eq!(answer.field("repr-digest").is_some(), told, "{bytes}");
    }
}

#[test]
fn a_download_has_its_name() {
    let server = Server::start();
    let path = server.store(&ppm(2, 2, [1, 2, 3]));
    let named = server.get(&format!("{path}?download=a%20b.ppm"));
    assert_eq!(
        named.field("content-disposition"),
        Some("attachment; filename=\"a b.ppm\"; filename*=UTF-8''a%20b.ppm")
    );
    // A delivery name is no operation: the same rendition, the same tag.
    let (plain, named) = (server.get(&format!("{path}.png")), server.get(&format!("{path}.png?download=x")));
    assert_eq!(plain.field("etag"), named.field("etag"));
    assert_eq!(server.get(&format!("{path}?download=")).status, 400);
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
