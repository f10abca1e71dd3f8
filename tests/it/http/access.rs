//! Keys over a socket: which requests need one, and the caching headers.

use progimage::http::auth::{Access, keys};

use super::{Server, path_of, ppm};

const READER: &str = "Authorization: Bearer reader-reader-reader";
const WRITER: &str = "Authorization: Bearer writer-writer-writer";
const ADMIN: &str = "Authorization: Bearer admin-admin-admin-admin";

fn access(anonymous: &str, originals_need_key: bool) -> Access {
    let list = "r:read:reader-reader-reader w:read+write:writer-writer-writer a:admin:admin-admin-admin-admin";
    Access { keys: keys(list).unwrap(), anonymous: anonymous.parse().unwrap(), originals_need_key, ..Access::default() }
}

#[test]
fn each_route_needs_its_scope() {
    let server = Server::with(|settings| settings.access = access("none", false));
    let image = ppm(3, 3, [1, 2, 3]);
    let path = path_of(&image);
    let refused = server.send("POST", "/images", &[], &image);
    refused.assert_problem(401, "key-needed");
    assert!(refused.field("www-authenticate").unwrap().starts_with("Bearer"));
    server.send("POST", "/images", &[READER], &image).assert_problem(403, "scope-needed");
    server.ask("GET", &path, &[]).assert_problem(401, "key-needed");
    let absent = server.ask("GET", &path, &[READER]);
    absent.assert_problem(404, "unknown-id");
    assert_eq!(absent.field("cache-control"), Some("private, max-age=5"));
    assert_eq!(server.send("POST", "/images", &[WRITER], &image).status, 201);
    let read = server.ask("GET", &path, &[READER]);
    assert_eq!(read.field("cache-control"), Some("private, max-age=31536000, immutable, no-transform"));
    for path in ["/metrics", "/images"] {
        server.ask("GET", path, &[]).assert_problem(401, "key-needed");
        server.ask("GET", path, &[READER]).assert_problem(403, "scope-needed");
        assert_eq!(server.ask("GET", path, &[ADMIN]).status, 200);
    }
    let tar = "Content-Type: application/x-tar";
    server.send("POST", "/images", &[READER, tar], &[0; 512]).assert_problem(403, "scope-needed");
    assert_eq!(server.send("POST", "/images", &[WRITER, tar], &[0; 512]).status, 200);
    server.ask("POST", "/images/info", &[]).assert_problem(401, "key-needed");
    assert_eq!(server.ask("POST", "/images/info", &[READER]).status, 200);
    server.ask("POST", "/images/delete", &[WRITER]).assert_problem(403, "scope-needed");
    assert_eq!(server.ask("POST", "/images/delete", &[ADMIN]).status, 200);
    server.ask("DELETE", &path, &[WRITER]).assert_problem(403, "scope-needed");
    assert_eq!(server.ask("DELETE", &path, &[ADMIN]).status, 204);
    for path in ["/healthz", "/readyz"] {
        assert_eq!(server.get(path).status, 200);
    }
}

#[test]
fn anonymous_read_is_public() {
    let server = Server::with(|settings| settings.access = access("read", false));
    let image = ppm(3, 3, [1, 2, 4]);
    server.send("POST", "/images", &[WRITER], &image);
    let read = server.get(&path_of(&image));
    assert!(read.field("cache-control").unwrap().starts_with("public"));
    let absent = server.get(&path_of(b"none"));
    assert_eq!((absent.status, absent.field("cache-control")), (404, Some("public, max-age=5")));
}

#[test]
fn guarded_originals_do_not_come_out_by_another_path() {
    let server = Server::with(|settings| settings.access = access("read", true));
    let image = b"P6\n# secret\n2 1\n255\n\x01\x02\x03\x04\x05\x06".to_vec();
    let path = path_of(&image);
    server.send("POST", "/images", &[WRITER], &image);
    server.get(&path).assert_problem(401, "key-needed");
    assert_eq!(server.ask("HEAD", &path, &[]).status, 401);
    assert_eq!(server.ask("GET", &path, &[READER]).body, image);
    let conversion = server.get(&format!("{path}.ppm"));
    assert_eq!(conversion.status, 200);
    assert!(!conversion.body.windows(6).any(|window| window == b"secret"));
}

#[test]
fn places_need_the_right_to_read_the_original() {
    let image = crate::fixtures::read("metadata.jpg");
    let path = path_of(&image);
    let position = |server: &Server, fields: &[&str]| {
        let info = server.ask("GET", &format!("{path}/info"), fields).json();
        assert_eq!(info["exif"]["model"], "Model 1");
        assert_eq!(info["exif"]["taken"], "2024-05-06T07:08:09+02:00");
        let (listed, _) = server.send("POST", "/images/info", fields, &path.as_bytes()["/images/".len()..]).lines();
        assert_eq!(listed[0]["exif"], info["exif"]);
        info["exif"]["gps"].clone()
    };
    let place = serde_json::json!({"latitude": 48.208497, "longitude": -16.5});
    let open = Server::with(|settings| settings.access = access("read", false));
    open.send("POST", "/images", &[WRITER], &image);
    assert_eq!(position(&open, &[]), serde_json::Value::Null);
    assert_eq!(position(&open, &[READER]), place);
    assert_eq!(open.get(&format!("{path}.webp?metadata=all")).status, 200);

    let guarded = Server::with(|settings| settings.access = access("read", true));
    guarded.send("POST", "/images", &[WRITER], &image);
    assert_eq!(position(&guarded, &[]), serde_json::Value::Null);
    assert_eq!(position(&guarded, &[READER]), place);
    for form in ["webp", "auto", "gif"] {
        for query in ["metadata=all", "w=9&metadata=all", "ops=%5B%5D&metadata=all", "metadata=%61ll"] {
            guarded.get(&format!("{path}.{form}?{query}")).assert_problem(401, "key-needed");
            let read = guarded.ask("GET", &format!("{path}.{form}?{query}"), &[READER]);
            assert_eq!(read.status, 200, "{form} {query}");
            assert!(read.field("cache-control").unwrap().starts_with("private"), "{form} {query}");
        }
        // Also once it is in the cache.
        guarded.get(&format!("{path}.{form}?metadata=all")).assert_problem(401, "key-needed");
        assert_eq!(guarded.get(&format!("{path}.{form}?metadata=copyright")).status, 200);
    }
}
