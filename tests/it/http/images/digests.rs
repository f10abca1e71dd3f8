//! `Want-Repr-Digest`: the SHA-256 of originals and renditions.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use crate::http::{Server, ppm};

#[test]
fn a_digest_of_the_whole_is_sent_when_it_is_wanted() {
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
