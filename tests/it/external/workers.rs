//! Render workers of the real binary: what they have, and what a kill costs.

use std::fs;
use std::path::Path;
use std::time::Duration;

use progimage::pipeline::{Deadline, Images, Limits, Pipeline, codec};
use rustix::process::{Pid, Signal, kill_process};

use super::Server;
use crate::fixtures::photo;

/// The processes that threads of the server have started.
fn workers(server: &Server) -> Vec<i32> {
    let threads = fs::read_dir(format!("/proc/{}/task", server.child.id())).expect("the server lives");
    let children = threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok());
    children.flat_map(|line| line.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
}

/// A server with one thread in each lane.
fn server(folder: &Path) -> Server {
    Server::start_with(folder, &["--render-threads", "1", "--bulk-threads", "1"])
}

fn signal(workers: &[i32], signal: Signal) {
    for worker in workers.iter().filter_map(|pid| Pid::from_raw(*pid)) {
        // One that has ended meanwhile is no worse.
        _ = kill_process(worker, signal);
    }
}

fn metric(server: &Server, name: &str) -> u64 {
    let (_, page) = server.send("GET", "/metrics", b"").expect("an answer");
    let page = String::from_utf8(page).expect("UTF-8");
    let line = page.lines().find_map(|line| line.strip_prefix(&format!("progimage_{name} ")));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {page}"))
}

#[test]
fn a_worker_that_is_killed_in_a_render_costs_nothing() {
    const KILLS: u64 = 5;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = server(folder.path());
    let image = photo("toy.jpg");
    let (status, answer) = server.send("POST", "/images", &image).expect("an answer");
    assert_eq!(status, 201);
    let uploaded: serde_json::Value = serde_json::from_slice(&answer).expect("JSON");
    let path = format!("/images/{}", uploaded["id"].as_str().expect("an id"));
    for kill in 1..=KILLS {
        // The one before is there when this one has rendered.
        assert_eq!(server.status("GET", &format!("{path}.png?w={}", 100 + kill), b""), Some(200));
        let workers = workers(&server);
        signal(&workers, Signal::STOP);
        let made = std::thread::scope(|scope| {
            let render = scope.spawn(|| server.send("GET", &format!("{path}.png?w={}", 20 + kill), b""));
            // It was admitted, and waits for a worker that does nothing.
            while metric(&server, "render_bytes_in_flight") == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
            signal(&workers, Signal::KILL);
            render.join().expect("no panic").expect("an answer")
        });
        let query = [("w".to_owned(), (20 + kill).to_string())];
        let pipeline = Pipeline::from_query(codec::by_name("png").expect("a row"), &query).expect("valid");
        let expected = pipeline.run(&image.clone().into(), &Images::new(), &Limits::default(), &Deadline::default());
        assert!(made.0 == 200 && made.1 == expected.expect("renders").bytes, "kill {kill}: {}", made.0);
        // A worker that is dead before it gets the render is replaced, and not counted.
        assert!(metric(&server, "render_worker_deaths_total") <= kill);
    }
}

/// Waits until a worker has shut itself in, and so has started: 2 is a filter.
fn is_shut_in(worker: i32) {
    while !fs::read_to_string(format!("/proc/{worker}/status")).expect("it lives").contains("\nSeccomp:\t2\n") {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// New pages that a process has taken: minflt, field 10 of proc_pid_stat(5). The state after the name is 3.
fn new_pages(process: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("it lives");
    let field = stat.rsplit_once(") ").and_then(|(_, fields)| fields.split(' ').nth(10 - 3));
    field.and_then(|field| field.parse().ok()).expect("a number")
}

#[test]
fn a_worker_renders_again_in_the_memory_that_it_has() {
    const ROUNDS: u64 = 3;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = server(folder.path());
    let (_, answer) = server.send("POST", "/images", &photo("toy.jpg")).expect("an answer");
    let uploaded: serde_json::Value = serde_json::from_slice(&answer).expect("JSON");
    let path = format!("/images/{}", uploaded["id"].as_str().expect("an id"));
    let render = |round: u64| {
        for extension in ["jpg", "png", "webp"] {
            let path = format!("{path}.{extension}?w=512&crop=0,0,800,{}", 600 + round);
            assert_eq!(server.status("GET", &path, b""), Some(200));
        }
    };
    (0..ROUNDS).for_each(render);
    let workers = workers(&server);
    workers.iter().for_each(|worker| is_shut_in(*worker));
    let taken = || workers.iter().map(|worker| new_pages(*worker)).sum::<u64>();
    let before = taken();
    (ROUNDS..2 * ROUNDS).for_each(render);
    // There were some hundred when freed memory was given back. Pages of the source are mapped at once, and not counted.
    let taken = (taken() - before) / (ROUNDS * 3);
    assert!(taken < 150, "{taken} new pages a render");
}

#[test]
fn a_worker_has_neither_secrets_nor_descriptors() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = server(folder.path());
    assert_eq!(server.status("POST", "/process.png?w=9", &photo("toy.jpg")), Some(200));
    let workers = workers(&server);
    assert!(!workers.is_empty(), "one has rendered");
    for worker in workers {
        is_shut_in(worker);
        let (Ok(environment), Ok(descriptors)) =
            (fs::read_to_string(format!("/proc/{worker}/environ")), fs::read_dir(format!("/proc/{worker}/fd")))
        else {
            println!("skipped: only root may look into a worker");
            return;
        };
        let names: Vec<&str> = environment.split('\0').filter_map(|pair| pair.split('=').next()).collect();
        let c = ["MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"];
        let rust = ["MIMALLOC_ARENA_RESERVE", "MIMALLOC_PURGE_DELAY"];
        assert_eq!(names, [c, rust].concat().into_iter().chain([""]).collect::<Vec<_>>());
        let targets = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        let mut targets: Vec<String> = targets.map(|target| target.to_string_lossy().into_owned()).collect();
        targets.retain(|target| target != "/dev/null");
        targets.dedup();
        assert!(targets.len() == 1 && targets[0].starts_with("socket:"), "{targets:?}");
    }
}
