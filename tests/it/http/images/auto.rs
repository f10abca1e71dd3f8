//! `GET /images/{id}.auto`: the format by `Accept`.

use progimage::http::Presets;
use progimage::pipeline::codec::sniff;
use progimage::pipeline::{Channels, Delay, Frame, Picture, Raster, Samples, Size};

use crate::fixtures::pattern::encode;
use crate::http::{Answer, Server, path_of, ppm};

#[test]
fn auto_negotiates_three_forms() {
    let server = Server::start();
    let path = format!("{}.auto", server.store(&ppm(80, 64, [50, 60, 70])));
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

const BROWSER: &str = "Accept: image/avif,image/webp,image/apng,image/*,*/*;q=0.8";

/// Three frames of different colours, as a file of this format.
fn animation(format: &str) -> Vec<u8> {
    let frame = |shade: u8| Frame {
        raster: Raster::new(Size::new(9, 7), Channels::Rgb, Samples::U8([shade, 90, 30].repeat(63))),
        delay: Delay::from_ms(100),
    };
    let picture = Picture::animation([10, 120, 240].map(frame).into(), 0);
    encode(format, &picture, None, format == "webp")
}

/// The number of frames of an answer.
fn frames(answer: &Answer) -> u32 {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let codec = sniff(&answer.body).expect("an image");
    assert_eq!(answer.field("content-type"), Some(codec.media_type));
    (codec.inspect)(&answer.body).expect("an image").frames
}

#[test]
fn auto_never_loses_an_animation() {
    let server = Server::with(|settings| settings.http.presets.set(Presets::named("thumb:w=5 first:frame=0").unwrap()));
    for format in ["gif", "png", "webp"] {
        let file = animation(format);
        let path = server.store(&file);
        for accept in [BROWSER, "Accept: image/webp,*/*", "Accept: */*", "Accept: image/png", "Accept: image/gif"] {
            for query in ["", "?w=5", "?preset=thumb"] {
                let answer = server.ask("GET", &format!("{path}.auto{query}"), &[accept]);
                assert_eq!(frames(&answer), 3, "{format} {accept} {query}");
                let processed = server.send("POST", &format!("/process.auto{query}"), &[accept], &file);
                assert_eq!(frames(&processed), 3, "{format} {accept} {query}");
            }
            for query in ["?frame=1", "?frames=1", "?preset=first"] {
                assert_eq!(
                    frames(&server.ask("GET", &format!("{path}.auto{query}"), &[accept])),
                    1,
                    "{format} {accept}"
                );
            }
        }
        for (method, path, body) in [("GET", format!("{path}.auto"), &[][..]), ("POST", "/process.auto".into(), &file)]
        {
            let refused = server.send(method, &path, &["Accept: image/jpeg"], body);
            refused.assert_problem(406, "not-acceptable");
            // The others have alpha, as animations.
            if format == "webp" {
                let one = server.send(method, &format!("{path}?frames=1"), &["Accept: image/jpeg"], body);
                assert_eq!(frames(&one), 1, "{method}");
            }
            assert_eq!(refused.field("vary"), Some("Accept"));
        }
    }
}

#[test]
fn auto_keeps_alpha_and_every_sample_that_is_asked_for() {
    let server = Server::start();
    let media_type = |path: &str, accept: &str| {
        let answer = server.ask("GET", path, &[&format!("Accept: {accept}")]);
        assert_eq!(answer.status, 200, "{path} {accept}: {}", answer.text());
        answer.field("content-type").unwrap().to_owned()
    };
    let photo = server.store(&ppm(16, 16, [50, 60, 72]));
    assert_eq!(media_type(&format!("{photo}.auto"), "image/png"), "image/png");
    assert_eq!(media_type(&format!("{photo}.auto?radius=max"), "*/*"), "image/png");
    let refused = server.ask("GET", &format!("{photo}.auto?radius=max"), &["Accept: image/jpeg"]);
    refused.assert_problem(406, "not-acceptable");
    let samples = (0..16 * 16 * 3).map(|at| at * 85).collect();
    let ramp = Picture::still(Raster::new(Size::new(16, 16), Channels::Rgb, Samples::U16(samples)));
    let deep = server.store(&encode("png", &ramp, None, true));
    assert_eq!(media_type(&format!("{deep}.auto"), &BROWSER[8..]), "image/webp");
    assert_eq!(media_type(&format!("{deep}.auto?lossless"), &BROWSER[8..]), "image/png");
}

/// Equal bytes have one entity tag, whatever the client accepts, so that caches hold them once.
#[test]
fn auto_has_the_entity_tag_of_what_it_returns() {
    let server = Server::start();
    let path = server.store(&ppm(16, 16, [50, 60, 73]));
    let tag = |path: &str, accept: &str| {
        server.ask("GET", path, &[&format!("Accept: {accept}")]).field("etag").map(str::to_owned)
    };
    for accept in ["image/webp", "image/webp,*/*;q=0.8", "image/webp;q=0.9, image/avif;q=0.8"] {
        assert_eq!(tag(&format!("{path}.auto?w=8"), accept), tag(&format!("{path}.webp?w=8"), "*/*"), "{accept}");
    }
}
