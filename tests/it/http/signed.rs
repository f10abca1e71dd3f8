//! Signed URLs and presets: what they open, and how long their answers may be kept.

use std::time::{SystemTime, UNIX_EPOCH};

use progimage::http::auth::{Access, keys};
use progimage::http::sign::{SigningKey, sign};
use progimage::http::{Presets, Settings};

use super::{Server, ppm};

fn key() -> SigningKey {
    "web:0123456789abcdef".parse().expect("a key")
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

fn presets(text: &str, only: bool) -> impl FnOnce(&mut Settings) {
    let mut presets = Presets::default();
    presets.only = only;
    presets.set(Presets::named(text).expect("good"));
    move |settings| settings.http.presets = presets
}

#[test]
fn where_renditions_need_a_signature_only_a_signed_url_or_a_key_gives_one() {
    let server = Server::with(|settings| {
        settings.access = Access { signing_keys: vec![key()], renditions_need_signature: true, ..Access::default() };
    });
    let path = server.store(&ppm(40, 30, [200, 30, 60]));
    let target = format!("{path}.png?w=20");
    let unsigned = server.get(&target);
    assert_eq!(unsigned.status, 403);
    assert!(unsigned.text().contains("signature-needed"), "{}", unsigned.text());
    // Originals are no renditions.
    assert_eq!(server.get(&path).status, 200);

    let forever = server.get(&sign(&key(), &target, None));
    assert_eq!(forever.status, 200, "{}", forever.text());
    assert_eq!(forever.field("cache-control"), Some("public, max-age=31536000, immutable, no-transform"));
    let link = forever.field("link").expect("a canonical link").to_owned();
    assert!(!link.contains("sig") && !link.contains("key_id"), "{link}");

    let ends = server.get(&sign(&key(), &target, Some(now() + 100)));
    assert_eq!((ends.status, ends.field("etag")), (200, forever.field("etag")));
    let age = ends.field("cache-control").and_then(|field| field.strip_prefix("public, max-age="));
    let (age, rest) = age.expect("an age").split_once(',').expect("more");
    assert!((90..=100).contains(&age.parse::<u32>().expect("a number")) && !rest.contains("immutable"), "{age}{rest}");

    for (bad, says) in [
        (sign(&key(), &target, Some(now() - 1)), "signature-expired"),
        (sign(&key(), &target, None).replace("w=20", "w=21"), "signature-refused"),
        (format!("{}&w=9", sign(&key(), &target, None)), "signature-refused"),
        (sign(&"web:fedcba9876543210".parse().expect("a key"), &target, None), "signature-refused"),
    ] {
        let refused = server.get(&bad);
        assert_eq!(refused.status, 403, "{bad}");
        assert!(refused.text().contains(says), "{}", refused.text());
        assert_eq!(refused.field("cache-control"), Some("no-store"));
    }
}

#[test]
fn a_signature_opens_what_is_closed_to_the_anonymous() {
    let server = Server::with(|settings| {
        settings.access = Access {
            keys: keys("up:write:0123456789abcdef").expect("keys"),
            anonymous: "none".parse().expect("scopes"),
            signing_keys: vec![key()],
            ..Access::default()
        };
    });
    let image = ppm(4, 3, [1, 2, 3]);
    let path = super::path_of(&image);
    let stored = server.send("POST", "/images", &["Authorization: Bearer 0123456789abcdef"], &image);
    assert_eq!(stored.status, 201);
    assert_eq!(server.get(&format!("{path}.png")).status, 401);
    assert_eq!(server.get(&sign(&key(), &format!("{path}.png"), None)).status, 200);
    assert_eq!(server.get(&sign(&key(), &path, None)).status, 200);
    // It is good for reading: not for what only an administrator may.
    assert_eq!(server.get(&sign(&key(), "/images", None)).status, 401);
}

#[test]
fn a_preset_stands_for_its_query_and_its_answers_are_kept_for_minutes() {
    let server = Server::with(presets("thumb:w=20&h=20&fit=cover", false));
    let path = server.store(&ppm(40, 30, [200, 30, 60]));
    let written = server.get(&format!("{path}.png?w=20&h=20&fit=cover"));
    let named = server.get(&format!("{path}.png?preset=thumb"));
    assert_eq!((named.status, &named.body, named.field("etag")), (200, &written.body, written.field("etag")));
    assert_eq!(named.field("cache-control"), Some("public, max-age=300, no-transform"));
    assert_eq!(server.get(&format!("{path}.png?preset=thumb&flip=h")).status, 200);
    for (query, parameter, kind) in [
        ("preset=hero", "preset", "value"),
        ("preset=thumb&preset=thumb", "preset", "repeated"),
        ("preset=thumb&w=3", "w", "conflict"),
    ] {
        let refused = server.get(&format!("{path}.png?{query}"));
        refused.assert_problem(400, "invalid-parameter");
        let problem = refused.json();
        assert_eq!((&problem["parameter"], &problem["kind"]), (&parameter.into(), &kind.into()), "{problem}");
    }
}

#[test]
fn where_only_presets_are_rendered_free_parameters_are_refused() {
    let server = Server::with(presets("thumb:w=20", true));
    let path = server.store(&ppm(40, 30, [200, 30, 60]));
    assert_eq!(server.get(&format!("{path}.png?preset=thumb&download=x.png")).status, 200);
    assert_eq!(server.get(&format!("{path}.png")).status, 200);
    for query in ["w=20", "preset=thumb&q=3", "ops=[]"] {
        let refused = server.get(&format!("{path}.png?{query}"));
        refused.assert_problem(400, "invalid-parameter");
        assert_eq!((&refused.json()["kind"], &refused.json()["with"]), (&"conflict".into(), &"presets_only".into()));
    }
}

#[test]
fn more_effort_than_every_client_may_spend_needs_a_signature_or_a_preset() {
    let server = Server::with(|settings| {
        settings.access = Access { signing_keys: vec![key()], ..Access::default() };
        settings.http.effort_max = 4;
        presets("best:effort=9", false)(settings);
    });
    let path = server.store(&ppm(4, 3, [200, 30, 60]));
    // The default of png is above what is set, and all of tiff's are alike.
    for allowed in ["webp?effort=4", "png?effort=5", "tiff?effort=9", "webp?preset=best", "avif?effort=0"] {
        assert_eq!(server.get(&format!("{path}.{allowed}")).status, 200, "{allowed}");
    }
    for (refused, most) in [("webp?effort=5", 4), ("png?effort=6", 5), ("avif?w=2&effort=9", 4)] {
        let answer = server.get(&format!("{path}.{refused}"));
        assert_eq!(answer.status, 400, "{refused}");
        let problem = answer.json();
        assert_eq!((&problem["parameter"], &problem["allowed"]), (&"effort".into(), &format!("0..{most}").into()));
        assert_eq!(server.get(&sign(&key(), &format!("{path}.{refused}"), None)).status, 200, "{refused}");
    }
}

#[test]
fn a_key_may_spend_more_effort_though_none_is_needed() {
    const SECRET: &str = "0123456789abcdef";
    let server = Server::with(|settings| {
        let keys = keys(&format!("app:read:{SECRET},up:write:{SECRET}up")).unwrap();
        settings.access = Access { keys, anonymous: "read+write".parse().unwrap(), ..Access::default() };
    });
    let target = format!("{}.webp?effort=9", server.store(&ppm(4, 3, [200, 30, 60])));
    for (secret, status) in
        [(SECRET.to_owned(), 200), (format!("{SECRET}up"), 400), ("of-another-server".to_owned(), 400)]
    {
        let field = format!("Authorization: Bearer {secret}");
        assert_eq!(server.ask("GET", &target, &[&field]).status, status, "{secret}");
    }
    server.get(&target).assert_problem(400, "invalid-parameter");
}
