//! `Link: rel="canonical"`: the one URL of a rendition.

use crate::http::{Server, path_of, ppm};

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
    // A plain conversion to another format and the negotiated one are the same.
    let plain = server.ask("GET", &format!("{path}.auto"), &["Accept: image/webp"]);
    assert_eq!(plain.field("link"), Some(format!("<{path}.webp>; rel=\"canonical\"").as_str()));
    assert_eq!(server.get(&format!("{path}.webp")).field("cache-status"), Some("progimage; hit"));
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
