//! `/images`: originals and renditions here, and every other route and subject in a file of its own.

mod auto;
mod batch;
mod canonical;
mod conditions;
mod damaged;
mod delete;
mod digests;
mod info;
mod list;
mod masks;
mod prerender;
mod privacy;
mod rendition_tier;
mod tolerant;
mod unreadable;
pub mod upload;
pub mod upload_many;
mod upload_stream;

use progimage::digest::Digest;

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
fn a_refusal_names_what_is_allowed() {
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
    // An image that is too large to render is still stored and sent.
    assert_eq!(server.get(&path).status, 200);
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
    // The name for a download is no operation, so rendition and tag stay.
    let (plain, named) = (server.get(&format!("{path}.png")), server.get(&format!("{path}.png?download=x")));
    assert_eq!(plain.field("etag"), named.field("etag"));
    let auto = server.ask("GET", &format!("{path}.auto?download=street"), &["Accept: image/webp"]);
    for (answer, name) in [(&named, "x.png"), (&auto, "street.webp")] {
        let disposition = answer.field("content-disposition").unwrap();
        assert!(disposition.contains(&format!("filename=\"{name}\"")), "{disposition}");
    }
    assert_eq!(server.get(&format!("{path}?download=")).status, 400);
}
