//! Requests that are refused whole rather than misread: unknown parameters, coded bodies, cut archives. They store,
//! delete and begin nothing.

use progimage::http::{ROUTES, Route};
use serde_json::{Value, json};
use tar::EntryType;

use super::bulk::{id, item, ndjson, resize};
use super::images::upload::{FORM, form};
use super::images::upload_many::{TAR, header};
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
    let body = image.trim_start_matches("/images/").as_bytes();
    for route in ROUTES {
        let path = format!("{}dry_run=true", filled(route, &image, &job));
        let answer = server.send(route.method(), &path, &[], body);
        if ["/healthz", "/readyz", "/metrics"].contains(&route.path()) {
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
    let check = |method: &str, path: &str, kind: &str, known: Value, suggestion: Option<&str>| {
        let answer = server.ask(method, path, &[]);
        answer.assert_problem(400, "invalid-parameter");
        let problem = answer.json();
        assert_eq!((&problem["kind"], &problem["known"]), (&kind.into(), &known), "{method} {path}");
        assert_eq!(problem["suggestion"].as_str(), suggestion, "{method} {path}");
    };
    check("POST", "/jobs?webhok=x", "unknown", json!(["webhook"]), Some("webhook"));
    check("GET", &format!("{job}/results?aftr=1"), "unknown", json!(["after"]), Some("after"));
    check("GET", "/jobs?state=done", "unknown", json!(["limit"]), None);
    check("GET", &format!("{job}?x=1"), "unknown", Value::Null, None);
    check("GET", "/images?x=1", "unknown", json!(["after", "limit"]), None);
    check("GET", &format!("{image}/info?inclde=phash"), "unknown", json!(["include"]), Some("include"));
    check("GET", &format!("{image}/info?include=phash&include=phash"), "repeated", Value::Null, None);
    check("GET", &format!("{image}/info?include=phsh"), "value", Value::Null, Some("phash"));
    check("POST", "/images/delete?dry_run", "unknown", Value::Null, None);
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

#[test]
fn what_is_no_id_is_named_by_its_place() {
    let (server, image, _) = start();
    let good = &image["/images/".len()..];
    let lines = format!("{good}\n\noops\n");
    let array = json!([good, "oops", "worse"]).to_string();
    for path in ["/images/missing", "/images/info", "/images/delete"] {
        let check = |field: &str, body: &str, place: &str, at: u64, value: &str| {
            let answer = server.send("POST", path, &[field], body.as_bytes());
            answer.assert_problem(400, "malformed-request");
            let problem = answer.json();
            assert_eq!((&problem[place], &problem["value"]), (&json!(at), &json!(value)), "{path}");
            assert!(problem["detail"].as_str().unwrap().contains(&format!("{place} {at} is not an id")), "{problem}");
        };
        check("Content-Type: text/plain", &lines, "line", 3, "oops");
        check("Content-Type: application/json", &array, "index", 1, "\"oops\"");
    }
    assert_eq!(server.get(&image).status, 200, "nothing was deleted");
}

#[test]
fn a_bulk_request_too_many_is_refused_by_its_own_bound() {
    let server = Server::with(|settings| settings.http.bulk_requests_max = 0);
    let answer = server.send("POST", "/bulk", &[], b"{}");
    answer.assert_problem(503, "busy");
    assert_eq!(answer.field("retry-after"), Some("1"));
    assert_eq!((&answer.json()["limit"], &answer.json()["max"]), (&json!("bulk_requests_max"), &json!(0)));
}

#[test]
fn archives_and_forms_that_were_cut_or_compressed_say_so() {
    let server = Server::start();
    let image = ppm(2, 2, [1, 1, 1]);
    let huge = header("huge.tif", EntryType::Regular, 1_000_000_000_000);
    let cut = [huge.as_bytes().as_slice(), &image].concat();
    let (_, last) = server.send("POST", "/images", &[TAR], &cut).lines();
    let problem = &last["problem"];
    assert_eq!((&problem["entry"], &problem["bytes"]), (&json!("huge.tif"), &json!(1_000_000_000_000_u64)), "{last}");
    let magics: [&[u8]; 4] = [b"\x1f\x8b\x08\0", b"BZh91AY&SY", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"];
    for magic in magics {
        let answer = server.send("POST", "/images", &[TAR], &[magic, &[7; 600]].concat());
        answer.assert_problem(400, "malformed-request");
        assert!(answer.json()["detail"].as_str().unwrap().contains("compressed"), "{}", answer.text());
    }
    // A name that begins like one.
    let named = header("BZh9.ppm", EntryType::Regular, image.len() as u64);
    let tar = [named.as_bytes().as_slice(), &image, &vec![0; 512 - image.len() + 1_024]].concat();
    assert_eq!(server.send("POST", "/images", &[TAR], &tar).lines().1["ok"], 1);
    let whole = form(&[&image]);
    let answer = server.send("POST", "/images", &[FORM], &whole[..whole.len() - 12]);
    answer.assert_problem(400, "malformed-request");
    assert!(answer.json()["detail"].as_str().unwrap().contains("ends before its last boundary"), "{}", answer.text());
}

#[test]
fn mistakes_in_the_source_of_a_job_are_named_by_their_member() {
    let server = Server::start();
    let sources = [
        (json!({ "after": "zz" }), "source.after", "value"),
        (json!({ "all": false }), "source.all", "value"),
        (json!({ "limit": 0 }), "source.limit", "value"),
        (json!({ "ids": ["x"] }), "source.ids", "unknown"),
        (json!({ "part": "p" }), "source.part", "value"),
    ];
    let items: Vec<_> = sources.iter().map(|(source, ..)| item(source.clone(), &[resize("png", 1)])).collect();
    let sent = server.send("POST", "/jobs", &[], &ndjson(&items));
    let job = sent.field("location").unwrap();
    server.get(&format!("{job}/events"));
    let (mut lines, last) = server.get(&format!("{job}/results")).lines();
    assert_eq!(last["state"], "done");
    lines.sort_by_key(|line| line["item"].as_u64());
    for (line, (_, parameter, kind)) in lines.iter().zip(&sources) {
        let problem = &line["problem"];
        assert_eq!((&line["status"], &problem["parameter"]), (&json!(400), &json!(parameter)), "{line}");
        assert_eq!(
            (&problem["type"], &problem["kind"]),
            (&json!("/problems/invalid-parameter"), &json!(kind)),
            "{line}"
        );
    }
    assert_eq!(lines.len(), sources.len());
}
