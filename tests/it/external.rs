//! The real binary under strace: the order of system calls of one durable upload, and the failure of each single one.
//! Skipped by name where strace is missing, unless `PROGIMAGE_TEST_EXTERNAL=1` says that it must be there.

mod jobs;
mod workers;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use progimage::digest::Digest;

use crate::cli::address_in;
use crate::fixtures::photo;
use crate::http::ppm;

const BINARY: &str = env!("CARGO_BIN_EXE_progimage");

/// The program with a data folder, perhaps under strace; killed when dropped.
pub(crate) struct Server {
    child: Child,
    /// Its address; `None`: it ended before it listened.
    address: Option<String>,
}

impl Server {
    /// Starts `progimage serve` on a free port and waits until it answers (or, under strace, has ended).
    pub(crate) fn start(data: &Path, strace: &[&str]) -> Server {
        if strace.is_empty() {
            return Server::start_with(data, &[]);
        }
        let mut server = Server::spawn(data, strace);
        server.is_ready(Instant::now() + Duration::from_secs(60));
        server
    }

    /// Starts it with these settings, and waits until it answers.
    fn start_with(data: &Path, settings: &[&str]) -> Server {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let mut server = Server::spawn_by(data, &[], settings);
            if server.is_ready(deadline) {
                return server;
            }
            // A predecessor that was killed in the middle of a sync holds the folder until the device has answered.
            assert!(Instant::now() < deadline, "the server did not become ready");
        }
    }

    fn spawn(data: &Path, strace: &[&str]) -> Server {
        match strace {
            [] => Server::spawn_by(data, &[], &[]),
            options => Server::spawn_by(data, &[&["strace", "-f", "-qq"], options].concat(), &[]),
        }
    }

    /// Starts `progimage serve` by a command that runs it; none: it runs by itself.
    fn spawn_by(data: &Path, by: &[&str], settings: &[&str]) -> Server {
        let mut command = Command::new(by.first().unwrap_or(&BINARY));
        if let Some(arguments) = by.get(1..) {
            command.args(arguments).arg(BINARY);
        }
        command.args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--data"]).arg(data).args(settings);
        // With other tests at work the machine is never idle.
        command.env("PROGIMAGE_BULK_IDLE", "false");
        if !by.is_empty() {
            // Calls are counted, and those of workers come at any time.
            command.env("PROGIMAGE_ISOLATE", "false");
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let address = address_in(child.stderr.take().expect("a pipe"));
        Server { child, address }
    }

    /// Waits until it answers; false when it has ended instead.
    fn is_ready(&mut self, deadline: Instant) -> bool {
        while self.status("GET", "/readyz", b"") != Some(200) {
            assert!(Instant::now() < deadline, "the server did not become ready");
            if self.address.is_none() || self.child.try_wait().expect("our child").is_some() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        true
    }

    /// One request on a connection of its own; `None` when the connection broke before a status line.
    pub(crate) fn send(&self, method: &str, path: &str, body: &[u8]) -> Option<(u16, Vec<u8>)> {
        let mut stream = TcpStream::connect(self.address.as_ref()?).ok()?;
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).ok()?;
        stream.write_all(body).ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
        let status = str::from_utf8(&answer[..end]).ok()?.split(' ').nth(1)?.parse().ok()?;
        Some((status, answer.split_off(end + 4)))
    }

    pub(crate) fn status(&self, method: &str, path: &str, body: &[u8]) -> Option<u16> {
        self.send(method, path, body).map(|(status, _)| status)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The traced server first: killing strace alone would let it go on.
        if let Ok(children) = fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.child.id())) {
            for pid in children
                .split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .filter_map(rustix::process::Pid::from_raw)
            {
                _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Whether strace is missing; panics where it is required.
fn strace_is_missing(test: &str) -> bool {
    let missing = Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err();
    let required = std::env::var_os("PROGIMAGE_TEST_EXTERNAL").is_some_and(|value| value == "1");
    assert!(!(missing && required), "PROGIMAGE_TEST_EXTERNAL=1 but strace is missing");
    if missing {
        println!("skipped {test}: strace is not installed");
    }
    missing
}

/// A data folder that a server has made ready, so that a traced start does not make 4096 shards.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    drop(Server::start(folder.path(), &[]));
    folder
}

/// The position of the first line at or after `from` that holds all of `parts`.
fn find(trace: &[&str], from: usize, parts: &[&str]) -> usize {
    (from..trace.len())
        .find(|&at| parts.iter().all(|part| trace[at].contains(part)))
        .unwrap_or_else(|| panic!("no {parts:?} after line {from} of\n{}", trace.join("\n")))
}

/// Where the call that begins on line `at` has returned: there, or on the same thread's "resumed" line.
fn returned(trace: &[&str], at: usize, call: &str) -> usize {
    if !trace[at].contains("<unfinished") {
        return at;
    }
    let thread = trace[at].split_whitespace().next().expect("a thread id");
    (at..trace.len())
        .find(|&line| trace[line].starts_with(thread) && trace[line].contains(&format!("<... {call} resumed>")))
        .expect("the call returns")
}

/// The trace of an upload by a server with these settings, and the id of its image.
fn upload_under_strace(settings: &[&str]) -> (String, String) {
    let folder = folder();
    let log = folder.path().with_extension("strace");
    let log_path = log.to_str().expect("UTF-8");
    let calls = "trace=fdatasync,fsync,syncfs,linkat,pwrite64,write,writev,sendto,sendmsg";
    let mut options = vec!["-y", "-s", "80", "-o", log_path, "-e", calls];
    options.extend(settings.iter().flat_map(|setting| ["-E", *setting]));
    let server = Server::start(folder.path(), &options);
    let body = photo("toy.jpg");
    assert_eq!(server.status("POST", "/images", &body), Some(201));
    drop(server);
    let text = fs::read_to_string(&log).expect("strace wrote it");
    _ = fs::remove_file(&log);
    (text, Digest::of(&body).to_string())
}

#[test]
fn an_upload_is_acknowledged_after_its_bytes_and_its_name_are_durable() {
    if strace_is_missing("an_upload_is_acknowledged_after_its_bytes_and_its_name_are_durable") {
        return;
    }
    let (text, id) = upload_under_strace(&[]);
    let trace: Vec<&str> = text.lines().collect();
    let link = find(&trace, 0, &["linkat(", &id]);
    let data = trace[..link].iter().rposition(|line| line.contains("fdatasync(")).expect("fdatasync before linkat");
    assert!(returned(&trace, data, "fdatasync") < link, "the name appeared before its bytes were durable");
    let name = find(&trace, link, &["fsync(", &format!("/blobs/{}", &id[..3])]);
    assert!(returned(&trace, link, "linkat") < name, "the shard was synced before it held the name");
    let answer = find(&trace, 0, &["HTTP/1.1 201"]);
    assert!(returned(&trace, name, "fsync") < answer, "acknowledged before the name was durable");
}

/// Group commits use `syncfs`, unless the file system is of another kind or the machine has much to write. Then each
/// file is synced by itself, as above.
#[test]
fn an_upload_of_a_large_batch_is_acknowledged_after_its_file_system_is_durable() {
    if strace_is_missing("an_upload_of_a_large_batch_is_acknowledged_after_its_file_system_is_durable") {
        return;
    }
    let (text, id) = upload_under_strace(&["PROGIMAGE_SYNCFS_BATCH_MIN=1"]);
    let trace: Vec<&str> = text.lines().collect();
    let link = find(&trace, 0, &["linkat(", &id]);
    let is_sync = |line: &&str| line.contains(" fdatasync(") || line.contains(" syncfs(");
    let data = trace[..link].iter().rposition(is_sync).expect("a sync before linkat");
    let written = trace[..link].iter().rposition(|line| line.contains(" pwrite64(")).expect("a write before linkat");
    let call = if trace[data].contains(" syncfs(") { "syncfs" } else { "fdatasync" };
    assert!(returned(&trace, written, "pwrite64") < data, "synced before all was written");
    assert!(returned(&trace, data, call) < link, "the name appeared before its bytes were durable");
    let shard = find(&trace, link, &["fsync(", &format!("/blobs/{}", &id[..3])]);
    if call == "syncfs" {
        let names = find(&trace, link, &[" syncfs("]);
        assert!(returned(&trace, link, "linkat") < names, "the file system was synced before it held the name");
        assert!(returned(&trace, names, "syncfs") < shard, "the shard cannot tell of what comes later");
    }
    let answer = find(&trace, 0, &["HTTP/1.1 201"]);
    assert!(returned(&trace, shard, "fsync") < answer, "acknowledged before the name was durable");
}

#[test]
fn killed_at_any_call_of_an_upload_the_store_holds_all_of_it_or_nothing() {
    if strace_is_missing("killed_at_any_call_of_an_upload_the_store_holds_all_of_it_or_nothing") {
        return;
    }
    let body = photo("toy.jpg");
    let path = format!("/images/{}", Digest::of(&body));
    let folder = folder();
    for call in ["fdatasync", "linkat", "fsync", "unlinkat"] {
        let inject = format!("inject={call}:signal=KILL:when=1");
        let server = Server::start(folder.path(), &["-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject]);
        let acknowledged = server.status("POST", "/images", &body).is_some();
        drop(server);

        let server = Server::start(folder.path(), &[]);
        match server.send("GET", &path, b"").expect("it answers after a restart") {
            (200, bytes) => assert!(bytes == body, "killed at {call}: other bytes under the name"),
            (404, _) => assert!(!acknowledged, "killed at {call}: an acknowledged upload is lost"),
            (status, _) => panic!("killed at {call}: status {status}"),
        }
        assert_eq!(
            fs::read_dir(folder.path().join("tmp")).expect("tmp").count(),
            0,
            "killed at {call}: tmp is emptied at start"
        );
        assert_eq!(server.status("DELETE", &path, b""), Some(204));
    }
}

#[test]
fn a_failed_call_is_never_acknowledged_and_reads_go_on() {
    if strace_is_missing("a_failed_call_is_never_acknowledged_and_reads_go_on") {
        return;
    }
    let (kept, body) = (photo("street.jpg"), photo("toy.jpg"));
    let (kept_path, path) = (format!("/images/{}", Digest::of(&kept)), format!("/images/{}", Digest::of(&body)));
    // Call, error, status of the upload that meets it, status of a later upload of other bytes.
    for (call, error, status, later) in [
        ("fdatasync", "EIO", 503, 503),
        ("fsync", "EIO", 503, 503),
        ("fdatasync", "ENOSPC", 503, 503),
        // A full device is asked again only after `full_retry_ms`, which no test outlasts.
        ("linkat", "ENOSPC", 507, 507),
    ] {
        let folder = folder();
        assert_eq!(Server::start(folder.path(), &[]).status("POST", "/images", &kept), Some(201));
        let inject = format!("inject={call}:error={error}:when=1");
        let trace = format!("trace={call}");
        let retry = "PROGIMAGE_FULL_RETRY_MS=3600000";
        let server = Server::start(folder.path(), &["-o", "/dev/null", "-e", &trace, "-e", &inject, "-E", retry]);
        assert_eq!(server.status("POST", "/images", &body), Some(status), "{call} fails with {error}");
        assert_eq!(server.status("GET", &path, b""), Some(404), "{call} {error}: a name without a durable blob");
        assert_eq!(server.send("GET", &kept_path, b""), Some((200, kept.clone())), "{call} {error}: reads go on");
        assert_eq!(server.status("POST", "/images", &body), Some(later), "{call} {error}: a later upload");
    }
}

/// The calls that lack something are those of one shard, so that the upload meets them and the start does not.
#[test]
fn an_upload_that_lacks_a_descriptor_or_memory_is_to_be_sent_again_and_nothing_else_happens() {
    if strace_is_missing("an_upload_that_lacks_a_descriptor_or_memory_is_to_be_sent_again_and_nothing_else_happens") {
        return;
    }
    let folder = folder();
    // Descriptors are kept back for changes.
    let cases = [("EMFILE", 201, 200), ("ENFILE", 201, 200), ("ENOMEM", 503, 201), ("EAGAIN", 503, 201)];
    for (red, (error, first, second)) in cases.into_iter().enumerate() {
        let body = ppm(2, 2, [red as u8, 0, 0]);
        let shard = format!("blobs/{}", &Digest::of(&body).to_string()[..3]);
        let inject = format!("inject=openat:error={error}:when=1");
        let options = ["-P", &shard, "-o", "/dev/null", "-e", "trace=openat", "-e", &inject];
        let server = Server::start(folder.path(), &options);
        assert_eq!(server.status("POST", "/images", &body), Some(first), "{error}");
        assert_eq!(server.status("GET", "/readyz", b""), Some(200), "{error}: the store is writable");
        assert_eq!(server.status("POST", "/images", &body), Some(second), "{error}: sent again");
    }
}
