//! `progimage bulk` and `progimage jobs` against a server that answers as a test wants.

use std::fs;
use std::sync::mpsc;

use progimage::digest::Digest;

use super::{Ran, folder, origin, piped, program, run, text};
use crate::http::{Server, ppm};

const WELL: &str = "{\"item\":0,\"output\":0,\"status\":200,\"data\":\"YQ==\"}\n";
const FAILED: &str = "{\"item\":1,\"key\":\"b\",\"status\":404,\"problem\":{\"detail\":\"No image has this id.\"}}\n";
const END: &str = "{\"done\":true,\"ok\":1,\"failed\":1}\n";

/// A server that answers every request with `body`, once it has been asked for `line` with the items.
fn answers(line: &'static str, body: String) -> String {
    origin::start(move |asked| {
        assert_eq!(asked.line, line);
        assert!(asked.line.starts_with("GET") || asked.body == b"{}\n{}\n");
        Some((200, "", body.clone().into()))
    })
}

fn bulk(body: String, more: &[&str]) -> Ran {
    let folder = folder();
    let items = folder.path().join("items.ndjson");
    fs::write(&items, "{}\n{}\n").unwrap();
    run(&[&["bulk", text(&items), "--server", &answers("POST /bulk", body)], more].concat())
}

#[test]
fn results_are_passed_on_and_failures_named() {
    let all = [WELL, FAILED, END].concat();
    let ran = bulk(all.clone(), &[]).with(1);
    assert_eq!(ran.stdout, all);
    assert!(
        ran.stderr.contains("item 1 (b): No image has this id.")
            && ran.stderr.contains("1 output done, 1 failed, of 2 items"),
        "{}",
        ran.stderr
    );
    let folder = folder();
    let file = folder.path().join("out.ndjson");
    let ran = bulk(all.clone(), &["--results", text(&file)]).with(1);
    assert!(ran.stdout.is_empty() && fs::read_to_string(&file).unwrap() == all);
    assert!(bulk([WELL, END].concat(), &[]).with(0).stderr.contains("1 output done, 0 failed, of 1 item\n"));
    // Standard input comes in pieces of its own.
    let url = answers("POST /bulk", [WELL, END].concat());
    let ran: Ran = piped(&mut program(&["bulk", "-", "--server", &url]), b"{}\n{}\n").into();
    assert_eq!(ran.with(0).stdout, [WELL, END].concat());
}

#[test]
fn failures_past_those_that_are_named_are_found_in_the_results() {
    let answer = |failed: usize| FAILED.repeat(failed) + "{\"done\":true}\n";
    let ran = bulk(answer(1_000), &[]).with(1);
    assert!(ran.stderr.matches("No image").count() == 1_000 && !ran.stderr.contains("more"), "{}", ran.stderr);
    let ran = bulk(answer(1_001), &[]).with(1);
    assert!(ran.stderr.contains("and 1 more; the results have a line with a problem for each"), "{}", ran.stderr);
    assert_eq!(ran.stdout.matches("problem").count(), 1_001);
    assert!(!ran.stderr.contains("--json"), "there is no such flag");
}

#[test]
fn an_answer_without_its_last_line_was_cut() {
    for body in [WELL.to_owned(), [WELL, &END[..10]].concat(), String::new()] {
        let ran = bulk(body.clone(), &[]).with(3);
        assert!(ran.stderr.contains("cut"), "{body}: {}", ran.stderr);
    }
    let url = origin::start(|_| Some((200, "X-Cut: yes\r\n", [WELL, FAILED].concat().into())));
    let ran: Ran = piped(&mut program(&["bulk", "-", "--server", &url]), b"{}\n{}\n").into();
    let ran = ran.with(3);
    for part in ["results are missing: run this again", &url, "1 output done"] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    let given_up = "{\"done\":false,\"problem\":{\"detail\":\"The client takes nothing.\"}}\n";
    assert!(bulk(given_up.to_owned(), &[]).with(1).stderr.contains("The client takes nothing; results are missing"));
    let stopped = "{\"done\":false,\"problem\":{\"status\":503,\"detail\":\"The server is shutting down.\"}}\n";
    let said = bulk(stopped.to_owned(), &[]).with(3).stderr;
    assert!(said.contains("run this again (The server is shutting down)"), "{said}");
    assert!(bulk("<html>\n".to_owned(), &[]).with(1).stderr.contains("is this ProgImage?"));
    let unwritten = bulk(WELL.to_owned(), &["--results", "/nothing/here"]).with(2);
    assert!(unwritten.stderr.contains("--results /nothing/here"), "{}", unwritten.stderr);
    assert!(run(&["bulk", "/nothing/here"]).with(2).stderr.contains("/nothing/here"));
}

fn status(state: &str, done: u32, failed: u32) -> String {
    let id = Digest::of(b"job");
    format!("{{\"id\":\"{id}\",\"state\":\"{state}\",\"items\":3,\"done\":{done},\"failed\":{failed}}}")
}

#[test]
fn a_job_is_submitted_and_watched_to_its_end() {
    let folder = folder();
    let items = folder.path().join("items.ndjson");
    fs::write(&items, "{}\n{}\n").unwrap();
    let id = Digest::of(b"job").to_string();
    let mut asked_events = 0;
    let events = format!("GET /jobs/{id}/events");
    let url = origin::start(move |asked| {
        if asked.line == "POST /jobs" {
            assert_eq!(asked.body, b"{}\n{}\n");
            return Some((202, "", status("queued", 0, 0).into()));
        }
        assert_eq!(asked.line, events);
        asked_events += 1;
        let progress = format!(":\n\nevent: progress\ndata: {}\n\n", status("running", 1, 0));
        let end = format!("event: end\ndata: {}\n\n", status("done", 3, 0));
        // The first answer ends too early, as when the server restarts.
        Some((200, "", if asked_events == 1 { progress } else { progress + &end }.into()))
    });
    let submit = ["jobs", "submit", text(&items), "--server", &url, "--idempotency-key", "k"];
    assert_eq!(run(&submit).with(0).stdout, format!("{id}\n"));
    let watched = run(&[&submit[..], &["--watch"]].concat()).with(0);
    assert_eq!(watched.stdout, format!("{id}\n{id}  done\n"));
    let json = run(&["jobs", "watch", &id, "--json", "--server", &url]).with(0).json();
    assert_eq!((json.len(), &json[0]["done"]), (1, &3.into()));
}

#[test]
fn jobs_are_listed_and_their_status_is_printed() {
    let (server, folder) = (Server::start(), folder());
    let url = format!("http://{}", server.address);
    assert_eq!(run(&["jobs", "list", "--server", &url]).with(0).stdout, "");
    let (mut lines, items) = (Vec::new(), folder.path().join("items.ndjson"));
    let image = ppm(9, 9, [1, 2, 3]);
    server.store(&image);
    for (id, failed) in [(Digest::of(b"absent"), 1), (Digest::of(&image), 0)] {
        fs::write(&items, format!("{{\"source\":{{\"id\":\"{id}\"}},\"outputs\":[{{\"format\":\"png\"}}]}}\n"))
            .unwrap();
        let ran = run(&["jobs", "submit", text(&items), "--watch", "--server", &url]).with(failed);
        let job = ran.stdout.lines().next().unwrap().to_owned();
        lines.push(format!("{job}  done  {} of 1 item done, {failed} failed\n", 1 - failed));
        let told = run(&["jobs", "status", &job, "--server", &url]).with(0);
        assert_eq!(told.stdout, *lines.last().unwrap(), "the status is 0 for a failed one, too");
        let json = run(&["jobs", "status", &job, "--json", "--server", &url]).with(0).json();
        assert_eq!((&json[0]["id"], &json[0]["failed"]), (&job.into(), &failed.into()));
    }
    lines.reverse();
    assert_eq!(run(&["jobs", "list", "--server", &url]).with(0).stdout, lines.concat());
    let json = run(&["jobs", "list", "--limit", "1", "--json", "--server", &url]).with(0).json();
    assert!(json.len() == 1 && lines[0].starts_with(json[0]["id"].as_str().unwrap()));
    for bad in ["0", "1001"] {
        run(&["jobs", "list", "--limit", bad, "--server", &url]).with(2);
    }
    run(&["jobs", "list", "--limit", "1000", "--server", &url]).with(0);
    let strange = origin::start(|_| Some((200, "", b"[]".to_vec())));
    assert!(run(&["jobs", "list", "--server", &strange]).with(1).stderr.contains("is this ProgImage?"));
}

#[test]
fn a_job_outlives_its_watch() {
    let id = Digest::of(b"job").to_string();
    let (asked, again) = mpsc::channel();
    let url = origin::start(move |_| {
        asked.send(()).unwrap();
        Some((200, "", format!("event: progress\ndata: {}\n\n", status("running", 1, 0)).into()))
    });
    let child = program(&["jobs", "watch", &id, "--server", &url]).spawn().unwrap();
    // The second request shows that the first answer was read.
    again.recv().unwrap();
    again.recv().unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT).unwrap();
    let ran = Ran::from(child.wait_with_output().unwrap()).with(130);
    let says = format!("interrupted; the job goes on: `progimage jobs watch {id}`");
    assert!(ran.stderr.contains(&says), "{}", ran.stderr);
}

#[test]
fn a_job_with_failures_or_cancelled_shows_in_the_exit_status() {
    let id = Digest::of(b"job").to_string();
    for (state, failed) in [("done", 1), ("cancelled", 0)] {
        let url = origin::start(move |_| {
            Some((200, "", format!("event: end\ndata: {}\n\n", status(state, 1, failed)).into()))
        });
        assert_eq!(run(&["jobs", "watch", &id, "--server", &url]).with(1).stdout, format!("{id}  {state}\n"));
    }
    let line = format!("GET /jobs/{id}/results");
    let so_far = "{\"done\":false,\"state\":\"running\",\"after\":1}\n";
    let results = run(&["jobs", "results", &id, "--server", &answers(line.leak(), [WELL, so_far].concat())]).with(0);
    assert_eq!(results.stdout, [WELL, so_far].concat());
    let url = origin::start(|asked| asked.line.starts_with("DELETE /jobs/").then(|| (204, "", Vec::new())));
    assert!(run(&["jobs", "cancel", &id, "--server", &url]).with(0).stdout.is_empty());
    let url =
        origin::start(|_| Some((404, "", b"{\"type\":\"/problems/unknown-job\",\"detail\":\"No job.\"}".to_vec())));
    for command in ["status", "watch", "results", "cancel"] {
        assert!(run(&["jobs", command, &id, "--server", &url]).with(1).stderr.contains("No job (404)"), "{command}");
    }
    assert!(run(&["jobs", "watch", "nonsense"]).with(2).stdout.is_empty());
}

#[test]
fn a_real_server_does_what_is_asked() {
    let (server, folder) = (Server::start(), folder());
    let image = ppm(40, 40, [1, 2, 3]);
    server.store(&image);
    let (id, absent) = (Digest::of(&image), Digest::of(b"absent"));
    let items = folder.path().join("items.ndjson");
    let item = |id: Digest| {
        format!(
            "{{\"source\":{{\"id\":\"{id}\"}},\"outputs\":[{{\"format\":\"png\",\"to\":\"blob\",\"ops\":[{{\"op\":\"resize\",\
             \"width\":20}}]}}]}}\n"
        )
    };
    let url = format!("http://{}", server.address);
    fs::write(&items, item(id)).unwrap();
    let results = run(&["bulk", text(&items), "--server", &url]).with(0).json();
    assert_eq!((results.len(), &results[1]["done"]), (2, &true.into()));
    let small = folder.path().join("small.png");
    run(&["get", results[0]["id"].as_str().unwrap(), "-o", text(&small), "--server", &url]).with(0);
    assert!(fs::read(&small).unwrap().starts_with(b"\x89PNG"));
    fs::write(&items, item(id) + &item(absent)).unwrap();
    let ran = run(&["bulk", text(&items), "--server", &url]).with(1);
    assert!(ran.json().len() == 3 && ran.stderr.contains("item 1, output 0: "), "{}", ran.stderr);
    let watched = run(&["jobs", "submit", text(&items), "--watch", "--server", &url]).with(1);
    let lines: Vec<&str> = watched.stdout.lines().collect();
    let job = lines[0];
    assert_eq!(lines[1], format!("{job}  done"));
    assert!(watched.stderr.contains("1 of 2 items done, 1 failed: done"), "{}", watched.stderr);
    let results = run(&["jobs", "results", job, "--server", &url]).with(1);
    assert_eq!((results.json().len(), &results.json()[2]["done"]), (3, &true.into()));
    assert_eq!(
        run(&["jobs", "submit", text(&items), "--server", &url]).with(0).stdout,
        format!("{job}\n"),
        "the same job"
    );
    assert!(run(&["jobs", "cancel", job, "--server", &url]).with(0).stdout.is_empty());
    assert!(run(&["jobs", "watch", &absent.to_string(), "--server", &url]).with(1).stderr.contains("(404)"));
}
