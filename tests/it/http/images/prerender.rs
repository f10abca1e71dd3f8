//! `prerender=`: presets that a job renders once an upload is stored.

use progimage::digest::Digest;
use progimage::http::Presets;
use progimage::http::auth::{Access, keys};
use serde_json::json;

use super::upload::{FORM, form};
use super::upload_many::{TAR, tar};
use crate::http::jobs::{end, results};
use crate::http::{Answer, Server, path_of, ppm};

#[test]
fn presets_are_rendered_once_an_image_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::with(|settings| {
        settings.renditions.tier_folder = Some(folder.path().to_owned());
        let named = Presets::named("thumb:w=20 hero:w=30&sepia=50").unwrap();
        settings.http.presets.set(named);
    });
    let image = ppm(60, 40, [1, 2, 3]);
    let sent = server.send("POST", "/images?prerender=thumb.webp,hero", &[], &image);
    assert_eq!(sent.status, 201, "{}", sent.text());
    assert_eq!(sent.json()["id"], Digest::of(&image).to_string());
    let job = sent.json()["job"].as_str().unwrap().to_owned();
    assert_eq!(end(&server, &job)["done"], 1);
    let (lines, _) = results(&server.get(&format!("{job}/results")));
    let urls: Vec<_> = lines.iter().map(|line| line["url"].as_str().unwrap()).collect();
    let path = path_of(&image);
    assert_eq!(urls, [format!("{path}.webp?width=20"), format!("{path}.ppm?width=30&sepia=50")]);
    for form in ["webp?preset=thumb", "ppm?preset=hero"] {
        let found = server.get(&format!("{path}.{form}"));
        assert_eq!((found.status, found.field("cache-status")), (200, Some("progimage; hit; detail=tier")), "{form}");
    }
    // A format that is read only, and whose name is none of its extensions.
    let farbfeld = [b"farbfeld\0\0\0\x01\0\0\0\x01".as_slice(), &[255; 8]].concat();
    let sent = server.send("POST", "/images?prerender=hero", &[], &farbfeld);
    let job = sent.json()["job"].as_str().unwrap().to_owned();
    assert_eq!(end(&server, &job)["done"], 1);
    let (lines, _) = results(&server.get(&format!("{job}/results")));
    assert_eq!(lines[0]["url"], format!("{}.png?width=30&sepia=50", path_of(&farbfeld)));
    let again = server.send("PUT", &format!("{path}?prerender=thumb.webp,hero"), &[], &image);
    let second = again.json()["job"].as_str().unwrap().to_owned();
    assert!(again.status == 200 && second != job, "{}", again.text());
    assert_eq!(end(&server, &second)["done"], 1);
    assert_eq!(server.send("PUT", &path, &[], &image).json().get("job"), None);
    let many = format!("thumb{}", ",thumb".repeat(16));
    for bad in ["", "none", "thumb.xyz", "thumb,,hero", &many] {
        server.send("POST", &format!("/images?prerender={bad}"), &[], &image).assert_problem(400, "invalid-parameter");
    }
    server.send("POST", "/images?w=300", &[], &image).assert_problem(400, "invalid-parameter");
    assert_eq!(server.send("POST", &format!("/images?prerender={}", &many[6..]), &[], &image).status, 200);
}

#[test]
fn presets_are_rendered_of_every_image_of_an_upload_of_many() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::with(|settings| {
        settings.renditions.tier_folder = Some(folder.path().to_owned());
        settings.http.presets.set(Presets::named("thumb:w=20").unwrap());
    });
    // More than one chunk of a job, some known before, and some no images.
    let image = |n: u32| ppm(30, 20, [n as u8, (n >> 8) as u8, 7]);
    let images: Vec<Vec<u8>> = (0..300).map(image).collect();
    server.store(&images[3]);
    let archive = tar(images.iter().flat_map(|image| [("a.ppm", image.as_slice()), ("a.txt", b"no image")]));
    let check = |sent: &Answer, images: &[Vec<u8>], failed: usize| {
        assert_eq!(sent.status, 200, "{}", sent.text());
        let (_, last) = sent.lines();
        assert_eq!((&last["ok"], &last["failed"]), (&json!(images.len()), &json!(failed)), "{last}");
        let job = last["job"].as_str().unwrap().to_owned();
        assert_eq!(end(&server, &job)["done"], images.len());
        for image in images {
            let found = server.get(&format!("{}.webp?preset=thumb", path_of(image)));
            assert_eq!((found.status, found.field("cache-status")), (200, Some("progimage; hit; detail=tier")));
        }
    };
    check(&server.send("POST", "/images?prerender=thumb.webp", &[TAR], &archive), &images, 300);
    let parts = [image(1_000), image(1_001), b"no image".to_vec()];
    let body = form(&parts.each_ref().map(Vec::as_slice));
    check(&server.send("POST", "/images?prerender=thumb.webp", &[FORM], &body), &parts[..2], 1);
    // What was stored of an archive that is cut stays, and is rendered.
    // One of its first image and of a header that is none.
    let cut = [&archive[..512 + images[0].len().next_multiple_of(512)], &[1; 512]].concat();
    let (_, last) = server.send("POST", "/images?prerender=thumb", &[TAR], &cut).lines();
    assert_eq!((&last["done"], &last["ok"], last["problem"].is_object()), (&json!(false), &json!(1), true), "{last}");
    assert_eq!(end(&server, last["job"].as_str().unwrap())["done"], 1);
    let none = form(&[b"no image", b"nor this"]);
    let (_, last) = server.send("POST", "/images?prerender=thumb", &[FORM], &none).lines();
    assert_eq!((&last["failed"], last.get("job")), (&json!(2), None), "{last}");
    assert_eq!(server.send("POST", "/images", &[TAR], &archive).lines().1.get("job"), None);
}

#[test]
fn an_upload_does_not_fail_when_nothing_can_be_rendered_beforehand() {
    let server = Server::with(|settings| {
        settings.http.presets.set(Presets::named("thumb:w=20").unwrap());
        settings.jobs.bytes_max = 1;
    });
    let sent = server.send("POST", "/images?prerender=thumb", &[], &ppm(6, 4, [1, 2, 3]));
    assert_eq!((sent.status, sent.json().get("job")), (201, None));
    let (_, last) = server
        .send("POST", "/images?prerender=thumb", &[FORM], &form(&[&ppm(2, 2, [1; 3]), &ppm(2, 2, [2; 3])]))
        .lines();
    assert_eq!((&last["done"], &last["ok"], last.get("job")), (&json!(true), &json!(2), None));
}

#[test]
fn those_before_there_were_too_many_are_rendered() {
    let server = Server::with(|settings| {
        settings.http.presets.set(Presets::named("thumb:w=20").unwrap());
        settings.jobs.items_max = 2;
    });
    let images = [1, 2, 3].map(|n| ppm(6, 4, [n; 3]));
    for count in [2, 3] {
        let archive = tar(images[..count].iter().map(|image| ("a.ppm", image.as_slice())));
        let (_, last) = server.send("POST", "/images?prerender=thumb", &[TAR], &archive).lines();
        assert_eq!((&last["done"], &last["ok"]), (&json!(true), &json!(count)), "{last}");
        assert_eq!(end(&server, last["job"].as_str().unwrap())["done"], 2, "of {count}");
    }
}

#[test]
fn a_key_that_may_not_read_the_renditions_is_refused_before_anything_is_stored() {
    const WRITER: &str = "Authorization: Bearer writer-writer-writer";
    const BOTH: &str = "Authorization: Bearer both-both-both-both";
    // Whether anonymous clients may read, whether only renditions, and what a key with `write` alone may have rendered.
    for (anonymous, originals_need_key, allowed) in
        [("none", false, &[][..]), ("read", false, &["thumb", "whole"]), ("read", true, &["thumb"])]
    {
        let server = Server::with(|settings| {
            settings.http.presets.set(Presets::named("thumb:w=20 whole:w=20&metadata=all").unwrap());
            settings.access = Access {
                keys: keys("w:write:writer-writer-writer b:read+write:both-both-both-both").unwrap(),
                anonymous: anonymous.parse().unwrap(),
                originals_need_key,
                ..Access::default()
            };
        });
        for (n, preset) in (0..).zip(["thumb", "whole"]) {
            let image = ppm(6, 4, [n; 3]);
            let path = format!("/images?prerender={preset}");
            let sent = server.send("POST", &path, &[WRITER], &image);
            if allowed.contains(&preset) {
                assert!(sent.status == 201 && sent.json()["job"].is_string(), "{preset}: {}", sent.text());
            } else {
                sent.assert_problem(403, "scope-needed");
                let sent = server.send("POST", &path, &[BOTH], &image);
                assert!(sent.status == 201 && sent.json()["job"].is_string(), "{preset}: {}", sent.text());
            }
        }
        assert_eq!(server.send("POST", "/images", &[WRITER], &ppm(6, 4, [9; 3])).status, 201);
    }
}
