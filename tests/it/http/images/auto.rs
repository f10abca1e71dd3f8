//! `GET /images/{id}.auto`: the format by `Accept`.

use crate::http::{Server, path_of, ppm};

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
        (path.replace(".auto", ".AUTO"), "text/html", 406, "not-acceptable"),
        (format!("{}?w=0", path.replace(".auto", ".Auto")), "*/*", 400, "invalid-parameter"),
    ] {
        let answer = server.ask("GET", &path, &[&format!("Accept: {accept}")]);
        answer.assert_problem(status, kind);
        assert_eq!(answer.field("vary"), Some("Accept"), "{path}");
    }
    let capitals = server.ask("GET", &path.replace(".auto", ".AUTO"), &["Accept: image/webp"]);
    assert_eq!((capitals.field("content-type"), capitals.field("vary")), (Some("image/webp"), Some("Accept")));
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
