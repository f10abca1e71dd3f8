//! Damaged images as clients see them: refused, or shown with a field that says so, wherever the answer comes from.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use progimage::store::{self, Store};
use serde_json::{Value, json};

use crate::fixtures::gif::{gif, gif_frame};
use crate::fixtures::read;
use crate::http::jobs::{end, results};
use crate::http::metrics::figure;
use crate::http::{Answer, Server, runtime, until};

/// A photograph that is cut in its last scan.
fn cut() -> Vec<u8> {
    let bytes = read("progressive.jpg");
    bytes[..bytes.len() - 20].to_vec()
}

fn incomplete(answer: &Answer) -> Option<&str> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.field("progimage-incomplete")
}

#[test]
fn a_damaged_image_is_refused_unless_that_is_tolerated() {
    let server = Server::start();
    let path = server.store(&cut());
    server.get(&format!("{path}.webp?w=20")).assert_problem(415, "corrupt-source");
    server.get(&format!("{path}.jpg?tolerant=0")).assert_problem(415, "corrupt-source");
    for query in ["webp?tolerant=1", "jpg?tolerant", "png?w=20&tolerant=true", "auto?w=33&tolerant=1"] {
        for status in ["fwd", "hit"] {
            let answer = server.get(&format!("{path}.{query}"));
            assert_eq!(incomplete(&answer), Some("pixels"), "{query}");
            assert!(answer.field("cache-status").unwrap().contains(status), "{query}");
            assert_ne!(answer.body, cut());
        }
    }
    let whole = server.store(&read("progressive.jpg"));
    assert_eq!(incomplete(&server.get(&format!("{whole}.webp?tolerant=1"))), None);
    let body = server.send("POST", "/process.png?tolerant=1", &[], &cut());
    assert_eq!(incomplete(&body), Some("pixels"));
    server.send("POST", "/process.png", &[], &cut()).assert_problem(415, "corrupt-source");
}

#[test]
fn damaged_data_is_never_the_result() {
    let server = Server::start();
    let path = server.store(&cut());
    // It would be smaller than anything that is made of it.
    let answer = server.get(&format!("{path}.jpg?never_larger&tolerant=1&q=100"));
    assert_eq!(incomplete(&answer), Some("pixels"));
    assert!(answer.body.len() > cut().len() && answer.body.ends_with(&[0xff, 0xd9]));
    server.get(&format!("{path}.jpg?never_larger")).assert_problem(415, "corrupt-source");
}

#[test]
fn a_setting_tolerates_all_that_is_rendered() {
    let server = Server::with(|settings| settings.http.tolerant = true);
    let path = server.store(&cut());
    for query in ["webp", "png?w=20", "png"] {
        assert_eq!(incomplete(&server.get(&format!("{path}.{query}"))), Some("pixels"), "{query}");
    }
    server.get(&format!("{path}.webp?tolerant=0")).assert_problem(415, "corrupt-source");
    // The stored original under its own extension is what was stored.
    let original = server.get(&format!("{path}.jpg"));
    assert_eq!((incomplete(&original), &original.body), (None, &cut()));
    let link = server.get(&format!("{path}.webp")).field("link").unwrap().to_owned();
    assert!(link.contains(".webp>"), "{link}");
}

#[test]
fn an_animation_that_lacks_frames_says_so_in_any_case() {
    let frame = |color: u8| gif_frame((0, 0), (40, 30), &[color, 4]);
    let bytes = gif((40, 30), None, &[frame(1), frame(2), frame(3)]);
    let server = Server::start();
    let path = server.store(&bytes[..bytes.len() - 30]);
    assert_eq!(incomplete(&server.get(&format!("{path}.webp"))), Some("frames"));
    assert_eq!(incomplete(&server.get(&format!("{path}.jpg"))), None);
    assert_eq!(incomplete(&server.get(&format!("{path}.png?frame=1"))), None);
    server.get(&format!("{path}.png?frame=2")).assert_problem(415, "corrupt-source");
    assert_eq!(incomplete(&server.get(&format!("{path}.png?frame=2&tolerant=1"))), Some("pixels"));
}

#[test]
fn the_tier_keeps_what_an_image_lacks() {
    let store = runtime().block_on(store::open("memory:", &store::Options::default())).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let start = |store: &Arc<dyn Store>| {
        let tier_folder = Some(folder.path().to_owned());
        Server::over(store.clone(), |settings| settings.renditions.tier_folder = tier_folder)
    };
    let first = start(&store);
    let form = format!("{}.png?w=10&tolerant=1", first.store(&cut()));
    let made = first.get(&form);
    first.get(&form);
    until(|| figure(&first, "tier_entries") == 1);
    let second = start(&store);
    let kept = second.get(&form);
    assert_eq!(kept.field("cache-status"), Some("progimage; hit; detail=tier"));
    assert_eq!((incomplete(&kept), kept.field("link"), &kept.body), (Some("pixels"), made.field("link"), &made.body));
    assert_eq!(incomplete(&second.get(&form)), Some("pixels"));
}

#[test]
fn bulk_and_jobs_say_what_an_image_lacks() {
    let server = Server::start();
    let source = server.store(&cut());
    let id = source.trim_start_matches("/images/");
    let output = |to: &str, tolerant: bool| json!({"format": "png", "to": to, "tolerant": tolerant});
    let outputs = |places: &[&str]| -> Vec<Value> {
        places.iter().map(|to| output(to, true)).chain([output(places[0], false)]).collect()
    };
    let item = |places: &[&str]| json!({"source": {"id": id}, "outputs": outputs(places)}).to_string();
    let ndjson = "Content-Type: application/x-ndjson";
    let answer = server.send("POST", "/bulk", &[ndjson], item(&["response", "blob", "rendition"]).as_bytes());
    let (lines, _) = answer.lines();
    for line in &lines {
        let tolerated = line["output"] != 3;
        assert_eq!(line["incomplete"], if tolerated { json!("pixels") } else { Value::Null }, "{line}");
        assert_eq!(line["status"] == 415, !tolerated, "{line}");
    }
    assert_eq!(lines.len(), 4);
    let bytes = STANDARD.decode(lines.iter().find(|line| line["output"] == 0).unwrap()["data"].as_str().unwrap());
    assert!(bytes.unwrap().starts_with(b"\x89PNG"));
    let job = server.send("POST", "/jobs", &[ndjson], item(&["blob", "rendition"]).as_bytes());
    let path = job.field("location").unwrap().to_owned();
    end(&server, &path);
    let (lines, _) = results(&server.get(&format!("{path}/results")));
    let lacks: Vec<_> = lines.iter().map(|line| line["incomplete"].clone()).collect();
    assert_eq!(lacks, [json!("pixels"), json!("pixels"), Value::Null]);
    assert_eq!(incomplete(&server.get(&format!("{source}.png?tolerant=1"))), Some("pixels"));
}

#[test]
fn a_long_animation_is_sampled_where_that_is_asked_for() {
    let frame = |place: u16| gif::Frame { delay: 4, ..gif_frame((place % 9, 0), (9, 9), &[(place % 6) as u8]) };
    let bytes = gif((20, 9), None, &(0..300).map(frame).collect::<Vec<_>>());
    let server = Server::with(|settings| settings.limits.frames_max = 257);
    let path = server.store(&bytes);
    let refused = server.get(&format!("{path}.webp"));
    refused.assert_problem(422, "limit");
    assert!(refused.json()["detail"].as_str().unwrap().contains("frames=<n>"), "{}", refused.text());
    for (frames, expected) in [(257, 257), (100, 100), (1, 1)] {
        let answer = server.get(&format!("{path}.gif?frames={frames}"));
        assert_eq!(incomplete(&answer), None);
        let mut decoder = gif::DecodeOptions::new().read_info(&answer.body[..]).unwrap();
        let mut delays = Vec::new();
        while let Some(frame) = decoder.read_next_frame().unwrap() {
            delays.push(u32::from(frame.delay));
        }
        assert_eq!(delays.len(), expected);
        assert_eq!(delays.iter().sum::<u32>(), 1200);
    }
    assert_eq!(server.get(&format!("{path}.jpg")).status, 200);
    server.get(&format!("{path}.gif?frames=258")).assert_problem(422, "limit");
}

#[test]
fn a_tall_or_wide_source_gives_a_thumbnail() {
    let server = Server::with(|settings| settings.limits.side_px_max = 1_000);
    for (w, h) in [(40, 1_689), (1_899, 30)] {
        let picture = progimage::pipeline::Size::new(w, h);
        let png = crate::fixtures::pattern::encode(
            "png",
            &crate::fixtures::pattern::plain(picture, [9, 99, 200, 255]),
            None,
            true,
        );
        let path = server.store(&png);
        let answer = server.get(&format!("{path}.jpg?w=10"));
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(server.get(&format!("{path}.png?w=20&h=20&rotate=90")).status, 200);
        server.get(&format!("{path}.jpg")).assert_problem(422, "limit");
    }
}
