//! A job whose process is killed again and again.

use std::time::{Duration, Instant};

use progimage::digest::Digest;
use serde_json::{Value, json};

use super::Server;
const ITEMS: usize = 300;
const KILLS: u64 = 4;

/// The items of the job, with two outputs each. All outputs differ and are small, since renders share the processors
/// with other tests.
fn body(id: &Digest) -> Vec<u8> {
    let size = |n: usize| json!({ "op": "resize", "width": 11 + n % 50, "height": 8 + n / 50 });
    let output = |n: usize| json!({ "format": "png", "ops": [size(n)] });
    let item = |n: usize| json!({ "source": { "id": id }, "outputs": [output(2 * n), output(2 * n + 1)] });
    (0..ITEMS).flat_map(|n| format!("{}\n", item(n)).into_bytes()).collect()
}

fn json(server: &Server, path: &str) -> Value {
    let (status, body) = server.send("GET", path, b"").expect("an answer");
    assert_eq!(status, 200);
    serde_json::from_slice(&body).expect("JSON")
}

/// Waits until `enough` items of the job are done, or all.
fn wait(server: &Server, path: &str, enough: u64) -> Value {
    let deadline = Instant::now() + Duration::from_secs(600);
    loop {
        let job = json(server, path);
        if job["state"] == "done" || job["done"].as_u64() >= Some(enough) {
            return job;
        }
        assert!(Instant::now() < deadline, "{job}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The payload of a chunked body.
fn joined(mut chunked: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let end = chunked.windows(2).position(|pair| pair == b"\r\n").expect("the size of a chunk");
        let size = str::from_utf8(&chunked[..end]).expect("ASCII");
        let size = usize::from_str_radix(size, 16).expect("hexadecimal");
        if size == 0 {
            return bytes;
        }
        bytes.extend_from_slice(&chunked[end + 2..][..size]);
        chunked = &chunked[end + 2 + size + 2..];
    }
}

#[test]
fn killed_again_and_again_a_job_ends_with_every_output_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let image = [b"P6\n120 80\n255\n".to_vec(), (0..120 * 80 * 3).map(|n| (n % 251) as u8).collect()].concat();
    let body = body(&Digest::of(&image));
    let path = format!("/jobs/{}", Digest::of(&body));
    let server = Server::start(folder.path(), &[]);
    assert_eq!(server.status("POST", "/images", &image), Some(201));
    assert_eq!(server.status("POST", "/jobs", &body), Some(202));
    drop(server);
    let mut done = 0;
    for kill in 1..=KILLS {
        let server = Server::start(folder.path(), &[]);
        assert_eq!(server.status("POST", "/jobs", &body), Some(200), "kill {kill}: an accepted job is lost");
        let job = wait(&server, &path, done + 20);
        assert!(job["done"].as_u64() >= Some(done), "results were lost: {job}");
        done = job["done"].as_u64().expect("a number");
    }
    let server = Server::start(folder.path(), &[]);
    assert_eq!(wait(&server, &path, u64::MAX)["done"], ITEMS);
    let (_, lines) = server.send("GET", &format!("{path}/results"), b"").expect("an answer");
    let lines = joined(&lines);
    let mut lines: Vec<Value> =
        lines.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    assert_eq!(lines.pop().expect("a last line")["done"], true);
    let mut named: Vec<_> = lines.iter().map(|line| (line["item"].as_u64(), line["output"].as_u64())).collect();
    named.sort_unstable();
    let expected = (0..ITEMS as u64).flat_map(|item| [(Some(item), Some(0)), (Some(item), Some(1))]);
    assert!(named.into_iter().eq(expected));
    for line in lines.iter().step_by(97) {
        let url = line["url"].as_str().expect("a URL");
        assert_eq!(server.status("GET", url, b""), Some(200), "{line}");
    }
}
