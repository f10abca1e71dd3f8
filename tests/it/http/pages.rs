//! Web pages in a browser on the server's machine: what they may ask of a server without keys, and which answers they
//! may read.

use progimage::http::auth::Access;

use super::{Server, ppm};

const EVIL: &str = "Origin: https://evil.example";

fn share(server: &Server, method: &str, path: &str, fields: &[&str]) -> (Option<String>, Option<String>) {
    let answer = server.ask(method, path, fields);
    let field = |name| answer.field(name).map(str::to_owned);
    (field("access-control-allow-origin"), field("access-control-allow-methods"))
}

/// The lines of a request by another host.
fn by_host(server: &Server, host: &str) -> super::Answer {
    let mut client = server.connect();
    client.write(format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
    client.answer(false)
}

#[test]
fn without_keys_a_page_of_another_origin_changes_nothing() {
    let server = Server::start();
    let image = ppm(3, 3, [1, 2, 3]);
    let path = server.store(&image);
    let changes: [(&str, &str, &[u8]); 7] = [
        ("DELETE", &path, b""),
        ("PUT", &path, &image),
        ("POST", "/images", &image),
        ("POST", "/images/delete", b"x"),
        ("POST", "/process.png", &image),
        ("POST", "/bulk", b"{}"),
        ("POST", "/jobs", b"{}"),
    ];
    for (method, target, body) in changes {
        for page in [EVIL, "Origin: null", "Sec-Fetch-Site: cross-site", "Origin: http://localhost:1"] {
            // A simple request: a browser sends it without asking first.
            let answer = server.send(method, target, &[page, "Content-Type: text/plain"], body);
            answer.assert_problem(403, "foreign-origin");
            assert_eq!(answer.field("access-control-allow-origin"), None);
        }
    }
    assert_eq!(server.ask("GET", &path, &[EVIL]).status, 200, "nothing has happened");
    // A page of the server itself, and programs, go on as before.
    assert_eq!(server.send("PUT", &path, &["Origin: http://test", "Sec-Fetch-Site: same-origin"], &image).status, 200);
    assert_eq!(server.ask("DELETE", &path, &[]).status, 204);
}

#[test]
fn a_page_of_another_origin_needs_a_key_where_other_clients_need_none() {
    const KEY: &str = "Authorization: Bearer 0123456789abcdef";
    let all = "read+write+process+admin";
    let keys = progimage::http::auth::keys(&format!("app:{all}:0123456789abcdef")).unwrap();
    let server = Server::with(|settings| {
        settings.access = Access { keys, anonymous: all.parse().unwrap(), ..Access::default() };
    });
    let image = ppm(3, 3, [1, 2, 3]);
    let path = server.store(&image);
    for method in ["DELETE", "PUT"] {
        server.send(method, &path, &[EVIL], &image).assert_problem(403, "foreign-origin");
        // A proxy with TLS has another origin than the server behind it.
        server.send(method, &path, &["Origin: https://test"], &image).assert_problem(403, "foreign-origin");
        let unknown = "Authorization: Bearer unknown-unknown-unknown";
        server.send(method, &path, &[EVIL, unknown], &image).assert_problem(403, "foreign-origin");
        assert!(server.send(method, &path, &[EVIL, KEY], &image).status < 300);
        assert!(server.send(method, &path, &["Origin: http://test"], &image).status < 300);
        assert!(server.send(method, &path, &[], &image).status < 300);
    }
}

#[test]
fn without_keys_only_names_of_this_machine_are_served() {
    let server = Server::start();
    for host in ["localhost", "a.localhost:1", "127.0.0.1:8080", "[::1]"] {
        assert_eq!(by_host(&server, host).status, 200, "{host}");
    }
    for host in ["evil.example", "localhost.evil.example", "192.168.0.1:8080", "0.0.0.0"] {
        by_host(&server, host).assert_problem(421, "foreign-host");
    }
    let public = Server::with(|settings| settings.access.public_without_keys = true);
    assert_eq!(by_host(&public, "evil.example").status, 200);
    let named = Server::with(|settings| settings.access.hosts = vec!["images.example".to_owned()]);
    assert_eq!(by_host(&named, "Images.example:80").status, 200);
    by_host(&named, "evil.example").assert_problem(421, "foreign-host");
}

#[test]
fn every_page_may_read_images_and_nothing_else() {
    let server = Server::start();
    let path = server.store(&ppm(3, 3, [4, 5, 6]));
    let rendition = format!("{path}.png");
    let all = Some("*".to_owned());
    for image in [&path, &rendition] {
        for method in ["GET", "HEAD"] {
            assert_eq!(share(&server, method, image, &[EVIL]), (all.clone(), None), "{method} {image}");
        }
        let asks = [EVIL, "Access-Control-Request-Method: GET"];
        assert_eq!(share(&server, "OPTIONS", image, &asks), (all.clone(), Some("GET, HEAD".to_owned())));
    }
    for (method, path) in [("GET", "/images"), ("GET", "/metrics"), ("OPTIONS", "/jobs"), ("OPTIONS", "*")] {
        assert_eq!(share(&server, method, path, &[EVIL]), (None, None), "{method} {path}");
    }
    assert_eq!(share(&server, "GET", &format!("{path}/info"), &[EVIL]), (None, None));
}

#[test]
fn every_page_may_show_public_images_and_read_their_fields() {
    let keys = progimage::http::auth::keys("app:read+write:0123456789abcdef").unwrap();
    let server = Server::with(|settings| settings.access = Access { keys, ..Access::default() });
    let key = "Authorization: Bearer 0123456789abcdef";
    let image = ppm(3, 3, [4, 5, 7]);
    assert_eq!(server.send("POST", "/images", &[key], &image).status, 201);
    let path = super::path_of(&image);
    let policy = |server: &Server, path: &str, fields: &[&str]| {
        server.ask("GET", path, fields).field("cross-origin-resource-policy").map(str::to_owned)
    };
    for image in [path.clone(), format!("{path}.png"), format!("{path}.auto?w=2"), format!("{path}.png?w=0")] {
        assert_eq!(policy(&server, &image, &[]).as_deref(), Some("cross-origin"), "{image}");
        let answer = server.ask("GET", &image, &[EVIL]);
        let exposed: Vec<&str> = answer.field("access-control-expose-headers").unwrap().split(", ").collect();
        for field in ["ETag", "Location", "Content-Disposition", "Link", "Retry-After"] {
            assert!(exposed.contains(&field), "{image}: {field}");
        }
    }
    assert_eq!(policy(&server, &format!("{path}/info"), &[]), None);
    let keys = progimage::http::auth::keys("app:read+write:0123456789abcdef").unwrap();
    let guarded = Server::with(|settings| {
        settings.access = Access { keys, originals_need_key: true, ..Access::default() };
    });
    guarded.send("POST", "/images", &[key], &image);
    assert_eq!(policy(&guarded, &path, &[key]), None);
    assert_eq!(policy(&guarded, &format!("{path}.png"), &[]).as_deref(), Some("cross-origin"));
    let listed = Server::with(|settings| settings.access.cors_origins = "https://good.example".parse().unwrap());
    let stored = listed.send("POST", "/images", &["Origin: https://good.example"], &image);
    assert!(stored.field("access-control-expose-headers").unwrap().contains("Location"));
    assert_eq!(listed.ask("GET", "/images", &[EVIL]).field("access-control-expose-headers"), None);
}

#[test]
fn listed_origins_may_use_every_route() {
    let good = "Origin: https://good.example";
    let server = Server::with(|settings| settings.access.cors_origins = "https://good.example".parse().unwrap());
    let image = ppm(3, 3, [7, 8, 9]);
    let stored = server.send("POST", "/images", &[good, "Sec-Fetch-Site: cross-site"], &image);
    assert_eq!((stored.status, stored.field("vary")), (201, Some("Origin")));
    assert_eq!(stored.field("access-control-allow-origin"), Some("https://good.example"));
    let (origin, methods) = share(&server, "OPTIONS", "/images", &[good]);
    assert_eq!(
        (origin.as_deref(), methods.as_deref()),
        (Some("https://good.example"), Some("POST, GET, HEAD, OPTIONS"))
    );
    server.send("POST", "/images", &[EVIL], &image).assert_problem(403, "foreign-origin");
    let refused = server.ask("GET", "/images", &[EVIL]);
    assert_eq!((refused.field("access-control-allow-origin"), refused.field("vary")), (None, Some("Origin")));
    let open = Server::with(|settings| settings.access.cors_origins = "*".parse().unwrap());
    let stored = open.send("POST", "/images", &[EVIL], &image);
    assert_eq!((stored.status, stored.field("access-control-allow-origin")), (201, Some("*")));
}

#[test]
fn listed_origins_may_read_why_a_request_was_refused() {
    const GOOD: &str = "Origin: https://good.example";
    let server = Server::with(|settings| {
        let access = &mut settings.access;
        access.keys = progimage::http::auth::keys("app:write;requests_per_s=1:0123456789abcdef").unwrap();
        access.cors_origins = "https://good.example".parse().unwrap();
        access.renditions_need_signature = true;
    });
    let check = |status: u16, method: &str, path: &str, fields: &[&str]| {
        for (page, origin) in [(GOOD, Some("https://good.example")), (EVIL, None)] {
            let answer = server.ask(method, path, &[fields, &[page]].concat());
            assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
            let shared = answer.field("access-control-allow-origin");
            // Images are for every page, and so is why one is refused.
            let is_image = path.starts_with("/images/0") && method == "GET";
            assert_eq!(shared, if is_image { Some("*") } else { origin }, "{method} {path}");
            assert!(is_image || answer.field("vary").is_some_and(|vary| vary.contains("Origin")), "{method} {path}");
        }
    };
    let key = "Authorization: Bearer 0123456789abcdef";
    let image = format!("/images/0{}", "1".repeat(63));
    check(401, "POST", "/images", &[]);
    check(403, "DELETE", &image, &[key]);
    check(401, "GET", "/metrics", &[]);
    check(404, "GET", "/nothing", &[]);
    check(405, "PATCH", "/images", &[]);
    check(415, "POST", "/images/missing", &[key, "Content-Encoding: gzip"]);
    check(404, "GET", &image, &[]);
    check(403, "GET", &format!("{image}.png"), &[]);
    // More than one a second.
    let busy = || server.ask("POST", "/images", &[key, GOOD]);
    let busy = std::iter::repeat_with(busy).find(|answer| answer.status == 429).expect("one in the end");
    assert_eq!(busy.field("access-control-allow-origin"), Some("https://good.example"));
}
