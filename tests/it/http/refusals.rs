//! What is refused whole rather than read as something else: parameters that a route does not know, coded bodies, and requests that
//! ask for more than the route does. Nothing of them is stored, deleted or begun.

use progimage::http::{ROUTES, Route};

use super::bulk::{id, item, ndjson, resize};
use super::{Server, ppm};
use crate::fetch::{PERMITTED, options};

/// The path of a route for this image and this job.
fn filled(route: &Route, image: &str, job: &str) -> String {
    let path = route.path().replace("/images/{id}", image).replace("/jobs/{id}", job).replace("{ext}", "png");
    if path == "/remote.png" { format!("{path}?url=http://{PERMITTED}/&") } else { format!("{path}?") }
}

/// A server with an image and a job that has ended, and their paths.
fn start() -> (Server, String, String) {
    let server = Server::with(|settings| settings.fetch = options(&[80]));
    let image = ppm(3, 2, [1, 2, 3]);
    let path = server.store(&image);
    let sent = server.send("POST", "/jobs", &[], &ndjson(&[item(id(&image), &[resize("png", 1)])]));
    let job = sent.field("location").unwrap().to_owned();
    server.get(&format!("{job}/events"));
    (server, path, job)
}

#[test]
fn parameters_that_a_route_does_not_know_are_refused_and_nothing_is_done() {
    let (server, image, job) = start();
    let body = image["/images/".len()..].as_bytes();
    for route in ROUTES {
        let path = format!("{}dry_run=true", filled(route, &image, &job));
        let answer = server.send(route.method(), &path, &[], body);
        if ["/healthz", "/readyz"].contains(&route.path()) {
            assert_eq!(answer.status, 200, "{path}");
            continue;
        }
        assert_eq!(answer.status, 400, "{} {path}: {}", route.method(), answer.text());
        answer.assert_problem(400, "invalid-parameter");
        assert_eq!(answer.json()["parameter"], "dry_run", "{} {path}", route.method());
    }
    assert_eq!(server.get(&image).status, 200, "it was not deleted");
    let images = server.get("/images").json()["images"].as_array().unwrap().len();
    assert_eq!((images, server.get("/jobs").json()["jobs"].as_array().unwrap().len()), (1, 1));
}

#[test]
fn a_refusal_of_a_parameter_names_those_that_are_known() {
    let (server, image, job) = start();
    let check = |method: &str, path: &str, allowed: &str| {
        let answer = server.ask(method, path, &[]);
        answer.assert_problem(400, "invalid-parameter");
        assert_eq!(answer.json()["allowed"], allowed, "{method} {path}");
    };
    check("POST", "/jobs?webhok=x", "webhook");
    check("GET", &format!("{job}/results?aftr=1"), "after");
    check("GET", "/jobs?state=done", "limit");
    check("GET", &format!("{job}?x=1"), "no parameters");
    check("GET", "/images?x=1", "after, limit");
    check("GET", &format!("{image}/info?inclde=phash"), "include");
    check("GET", &format!("{image}/info?include=phash&include=phash"), "once only");
    check("POST", "/images/delete?dry_run", "no parameters");
}

#[test]
fn coded_bodies_are_refused_wherever_one_is_read() {
    let (server, image, job) = start();
    let gzip = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x03\0\0\0\0\0\0\0\0\0";
    for route in ROUTES.iter().filter(|route| ["POST", "PUT"].contains(&route.method())) {
        let path = filled(route, &image, &job);
        for coding in ["gzip", "identity, br", "GZIP"] {
            let answer = server.send(route.method(), &path, &[&format!("Content-Encoding: {coding}")], gzip);
            answer.assert_problem(415, "content-coding");
            assert_eq!(answer.field("accept-encoding"), Some("identity"), "{path}");
        }
    }
    let plain = ppm(4, 4, [7, 7, 7]);
    for (coding, status) in [("Identity", 201), ("", 200)] {
        let sent = server.send("POST", "/images", &[&format!("Content-Encoding: {coding}")], &plain);
        assert_eq!(sent.status, status, "{coding}");
    }
}
