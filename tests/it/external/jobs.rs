//! Jobs of the real binary: killed again and again, and beside a store, a queue and a device that fail.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use progimage::digest::Digest;
use serde_json::{Value, json};

use super::{Server, folder, strace_is_missing};
use crate::fixtures::photo;

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

/// Items that store what comes with them: a source each, and a blob.
fn storing(count: u8) -> Vec<u8> {
    let item = |shade: u8| {
        let image = [b"P6\n2 1\n255\n".to_vec(), vec![shade; 6]].concat();
        let output = json!({ "format": "png", "to": "blob" });
        json!({ "source": { "data": STANDARD.encode(image) }, "outputs": [output] })
    };
    (0..count).flat_map(|shade| format!("{}\n", item(shade)).into_bytes()).collect()
}

#[test]
fn a_job_waits_for_a_store_that_is_read_only_and_goes_on_when_it_is_not() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    drop(Server::start(folder.path(), &[]));
    let note = folder.path().join("state/failed-sync");
    std::fs::write(&note, format!("{}\nfsync failed", Digest::of(b"fsync failed"))).expect("a note");
    let body = storing(5);
    let path = format!("/jobs/{}", Digest::of(&body));
    let server = Server::start(folder.path(), &[]);
    assert_eq!(server.send("GET", "/readyz", b""), Some((200, b"ready\nuploads: the store is read-only\n".to_vec())));
    assert_eq!(server.status("POST", "/jobs", &body), Some(202));
    let deadline = Instant::now() + Duration::from_secs(60);
    while json(&server, &path)["state"] != "waiting" {
        assert!(Instant::now() < deadline, "{}", json(&server, &path));
        std::thread::sleep(Duration::from_millis(5));
    }
    let job = json(&server, &path);
    assert_eq!((&job["reason"], &job["failed"]), (&json!("store-read-only"), &json!(0)), "{job}");
    drop(server);
    std::fs::remove_file(note).expect("the note");
    let server = Server::start(folder.path(), &[]);
    let job = wait(&server, &path, 5);
    assert_eq!((&job["done"], &job["failed"]), (&json!(5), &json!(0)), "{job}");
}

#[test]
fn a_job_waits_for_a_full_device_and_goes_on_by_itself() {
    if strace_is_missing("a_job_waits_for_a_full_device_and_goes_on_by_itself") {
        return;
    }
    let folder = folder();
    let inject = "inject=linkat:error=ENOSPC:when=1..6";
    let server = Server::start(folder.path(), &["-o", "/dev/null", "-e", "trace=linkat", "-e", inject]);
    let body = storing(30);
    assert_eq!(server.status("POST", "/jobs", &body), Some(202));
    let job = wait(&server, &format!("/jobs/{}", Digest::of(&body)), u64::MAX);
    assert_eq!((&job["done"], &job["failed"], &job["state"]), (&json!(30), &json!(0), &json!("done")), "{job}");
}

/// The server under strace, which makes calls of `calls` on this file of the data folder fail.
fn failing(folder: &Path, calls: &str, error: &str, when: &str, file: &str) -> Server {
    let (trace, inject) = (format!("trace={calls}"), format!("inject={calls}:error={error}:when={when}"));
    let file = folder.join(file);
    let file = file.to_str().expect("UTF-8");
    Server::start(folder, &["-o", "/dev/null", "-e", &trace, "-e", &inject, "-P", file])
}

/// Submits a job again and again until it is accepted; the refusals before, which must be those of a queue that cannot be
/// used.
fn accepted(server: &Server, body: &[u8]) -> u32 {
    let deadline = Instant::now() + Duration::from_secs(120);
    for refusals in 0.. {
        let (status, answer) = server.send("POST", "/jobs", body).expect("an answer");
        if status == 202 {
            return refusals;
        }
        let problem: Value = serde_json::from_slice(&answer).expect("JSON");
        assert_eq!((status, &problem["type"]), (503, &json!("/problems/jobs-unavailable")), "{problem}");
        assert!(Instant::now() < deadline, "{problem}");
        std::thread::sleep(Duration::from_millis(100));
    }
    unreachable!("it ends")
}

/// Errors of single calls on the queue's files: each is answered with 503, takes nothing else with it, and passes.
#[test]
fn a_failed_call_of_the_queue_is_answered_and_passes_and_images_are_served_meanwhile() {
    if strace_is_missing("a_failed_call_of_the_queue_is_answered_and_passes_and_images_are_served_meanwhile") {
        return;
    }
    let (image, folder) = (photo("toy.jpg"), folder());
    let before = storing(1);
    let server = Server::start(folder.path(), &[]);
    assert_eq!(server.status("POST", "/jobs", &before), Some(202));
    assert_eq!(server.status("POST", "/images", &image), Some(201));
    drop(server);
    let path = format!("/images/{}", Digest::of(&image));
    for (count, (calls, error, when, file)) in (2..).zip([
        ("fsync,fdatasync", "EIO", "1", "jobs.sqlite-wal"),
        ("pwrite64", "ENOSPC", "1..2", "jobs.sqlite-wal"),
        ("openat", "EMFILE", "1..6", "jobs.sqlite"),
        ("openat", "ENOMEM", "1..6", "jobs.sqlite"),
        ("openat", "ENFILE", "1..6", "jobs.sqlite-wal"),
    ]) {
        let server = failing(folder.path(), calls, error, when, file);
        assert_eq!(server.status("GET", &path, b""), Some(200), "{calls} {error}");
        let body = storing(count);
        let refusals = accepted(&server, &body);
        assert!(refusals > 0 || when != "1", "{calls} {error}: accepted although a sync failed");
        drop(server);
        let server = Server::start(folder.path(), &[]);
        for body in [&before, &body] {
            let job = wait(&server, &format!("/jobs/{}", Digest::of(body)), u64::MAX);
            assert_eq!((&job["state"], &job["failed"]), (&json!("done"), &json!(0)), "{calls} {error}: {job}");
        }
    }
}

#[test]
fn images_are_served_without_a_queue_and_a_malformed_one_is_kept_by_name() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (queue, image) = (folder.path().join("jobs.sqlite"), photo("toy.jpg"));
    let path = format!("/images/{}", Digest::of(&image));
    let server = Server::start(folder.path(), &[]);
    assert_eq!(server.status("POST", "/images", &image), Some(201));
    drop(server);
    for name in ["jobs.sqlite-wal", "jobs.sqlite-shm"] {
        std::fs::remove_file(folder.path().join(name)).expect("left by a server that was killed");
    }
    std::fs::write(&queue, b"no database, but something else").expect("damaged");
    let server = Server::start(folder.path(), &[]);
    assert_eq!(server.status("GET", &path, b""), Some(200));
    assert_eq!(server.status("POST", "/jobs", &storing(1)), Some(202));
    drop(server);
    let names = std::fs::read_dir(folder.path()).expect("the folder").map(|entry| entry.expect("an entry").file_name());
    assert!(names.into_iter().any(|name| name.to_string_lossy().starts_with("jobs.sqlite.malformed-")));
    for name in ["jobs.sqlite", "jobs.sqlite-wal", "jobs.sqlite-shm"] {
        _ = std::fs::remove_file(folder.path().join(name));
    }
    std::fs::create_dir(&queue).expect("a folder in its place");
    let server = Server::start(folder.path(), &[]);
    assert_eq!(server.status("GET", &path, b""), Some(200));
    let (status, answer) = server.send("POST", "/jobs", &storing(1)).expect("an answer");
    let problem: Value = serde_json::from_slice(&answer).expect("JSON");
    assert_eq!(status, 503);
    assert!(problem["detail"].as_str().expect("a detail").contains("cannot be opened"), "{problem}");
    let (status, ready) = server.send("GET", "/readyz", b"").expect("an answer");
    let ready = String::from_utf8(ready).expect("UTF-8");
    let away =
        "ready\njobs cannot be used: its file cannot be opened\njobs were lost: their queue was malformed and is now ";
    assert!(status == 200 && ready.starts_with(away), "{ready}");
    std::fs::remove_dir(&queue).expect("removed");
    accepted(&server, &storing(1));
}

#[test]
fn a_queue_that_is_damaged_while_the_server_runs_is_moved_aside_and_told() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (queue, image) = (folder.path().join("jobs.sqlite"), photo("toy.jpg"));
    let path = format!("/images/{}", Digest::of(&image));
    let server = Server::start(folder.path(), &[]);
    assert_eq!(server.status("POST", "/images", &image), Some(201));
    drop(server);
    // All of its log is in the file then.
    rusqlite::Connection::open(&queue).expect("the queue").execute_batch("VACUUM").expect("copied");
    // All pages but the first, so that it can be opened.
    let mut bytes = std::fs::read(&queue).expect("the queue");
    bytes[4_096..].fill(b'x');
    std::fs::write(&queue, bytes).expect("damaged");
    let server = Server::start(folder.path(), &[]);
    assert_eq!(server.status("GET", &path, b""), Some(200));
    accepted(&server, &storing(1));
    let job = wait(&server, &format!("/jobs/{}", Digest::of(&storing(1))), u64::MAX);
    assert_eq!((&job["done"], &job["failed"]), (&json!(1), &json!(0)), "{job}");
    let (_, ready) = server.send("GET", "/readyz", b"").expect("an answer");
    let ready = String::from_utf8(ready).expect("UTF-8");
    assert!(ready.starts_with("ready\njobs were lost") && ready.contains("jobs.sqlite.malformed-"), "{ready}");
    let (_, metrics) = server.send("GET", "/metrics", b"").expect("an answer");
    assert!(String::from_utf8(metrics).expect("UTF-8").contains("\nprogimage_jobs_lost_queues 1\n"));
}

#[test]
fn a_folder_that_is_mounted_read_only_is_served() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (image, root) = (photo("toy.jpg"), folder.path().to_str().expect("UTF-8"));
    let path = format!("/images/{}", Digest::of(&image));
    let server = Server::start(folder.path(), &[]);
    assert_eq!(server.status("POST", "/images", &image), Some(201));
    drop(server);
    // In a mount namespace of its own.
    let script = format!("mount --bind {root} {root} && mount -o remount,bind,ro {root} && exec \"$@\"");
    let namespace = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", &script, "sh"];
    if Command::new(namespace[0]).args(&namespace[1..]).arg("true").status().is_ok_and(|status| status.success()) {
        let server = Server::spawn_by(folder.path(), &namespace, &[]);
        assert_eq!(server.send("GET", &path, b""), Some((200, image)));
        assert_eq!(server.status("GET", &format!("{path}.png?w=8"), b""), Some(200));
        assert_eq!(server.status("GET", "/readyz", b""), Some(200));
        assert_eq!(server.status("POST", "/images", &photo("street.jpg")), Some(503));
        assert_eq!(server.status("POST", "/jobs", &storing(1)), Some(503));
        assert_eq!(server.status("DELETE", &path, b""), Some(503));
    } else {
        println!("skipped a_folder_that_is_mounted_read_only_is_served: no namespaces here");
    }
}
