//! `progimage put` against real servers.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Child;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use progimage::digest::Digest;
use progimage::http::auth::{Access, keys};

use super::{Ran, address_in, folder, origin, program, run, text};
use crate::http::{Server, ppm};

/// `count` images of different bytes, some of them in folders of folders.
fn tree(root: &Path, count: u8) -> Vec<String> {
    let mut lines = Vec::new();
    for n in 0..count {
        let folder = root.join(["", "a", "a/b c"][usize::from(n) % 3]);
        fs::create_dir_all(&folder).unwrap();
        let (path, bytes) = (folder.join(format!("{n}.ppm")), ppm(20, 20, [n, 1, 2]));
        fs::write(&path, &bytes).unwrap();
        lines.push(format!("{}  {}", Digest::of(&bytes), text(&path)));
    }
    lines.sort_unstable();
    lines
}

fn put(server: &str, folder: &Path, more: &[&str]) -> Ran {
    run(&[&["put", "-r", text(folder), "--server", server], more].concat())
}

fn url(server: &Server) -> String {
    format!("http://{}", server.address)
}

/// How many PUT the server has answered.
fn puts(server: &Server) -> u64 {
    let page = server.get("/metrics").text();
    let counts = page.lines().filter(|line| line.starts_with("progimage_http_requests_total") && line.contains("PUT"));
    counts.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

#[test]
fn a_tree_is_sent_once() {
    let (server, folder) = (Server::start(), folder());
    let lines = tree(folder.path(), 30);
    let first = put(&url(&server), folder.path(), &[]).with(0);
    assert_eq!(first.lines(), lines);
    assert!(first.stderr.contains("30 stored, 0 there before, 0 failed"), "{}", first.stderr);
    assert_eq!(puts(&server), 30);
    let second = put(&url(&server), folder.path(), &[]).with(0);
    assert_eq!((second.lines(), puts(&server)), (lines.iter().map(String::as_str).collect(), 30));
    assert!(second.stderr.contains("0 stored, 30 there before"), "{}", second.stderr);
    let json = put(&url(&server), folder.path(), &["--json"]).with(0).json();
    assert_eq!(json.len(), 30);
    for item in json {
        let bytes = fs::read(item["path"].as_str().unwrap()).unwrap();
        assert_eq!(item["id"], Digest::of(&bytes).to_string());
        assert_eq!((&item["created"], &item["bytes"]), (&false.into(), &bytes.len().into()));
    }
}

#[test]
fn more_files_than_any_stage_holds_arrive() {
    let (server, folder) = (Server::start(), folder());
    // More than are asked for at once, twice over.
    for n in 0..2_100_u16 {
        let [a, b] = n.to_be_bytes();
        fs::write(folder.path().join(n.to_string()), ppm(1, 1, [a, b, 0])).unwrap();
    }
    let ran = put(&url(&server), folder.path(), &["--jobs", "2"]).with(0);
    assert_eq!((ran.lines().len(), puts(&server)), (2_100, 2_100));
}

#[test]
fn a_large_file_is_streamed_and_an_odd_name_is_kept() {
    let (server, folder) = (Server::start(), folder());
    let path = folder.path().join("two\nlines");
    let bytes = ppm(700, 700, [1, 2, 3]);
    fs::write(&path, &bytes).unwrap();
    let ran = run(&["put", text(&path), "--server", &url(&server)]).with(0);
    assert_eq!(ran.stdout, format!("\\{}  {}\n", Digest::of(&bytes), text(&path).replace('\n', "\\n")));
    assert!(server.get(&format!("/images/{}", Digest::of(&bytes))).body == bytes);
}

#[test]
fn a_name_that_is_not_utf_8_can_be_had_from_json() {
    let (server, folder) = (Server::start(), folder());
    for (name, bytes) in [(&b"\xff.ppm"[..], ppm(9, 9, [1, 2, 3])), (b"\xfe.txt", b"no image".to_vec())] {
        fs::write(folder.path().join(OsStr::from_bytes(name)), bytes).unwrap();
    }
    fs::write(folder.path().join("a.ppm"), ppm(9, 9, [3, 2, 1])).unwrap();
    let put = put(&url(&server), folder.path(), &["--json"]).with(1).json();
    let encoded = |name: &[u8]| BASE64.encode(folder.path().join(OsStr::from_bytes(name)).as_os_str().as_bytes());
    let of = |end: &str| put.iter().find(|line| line["path"].as_str().unwrap().ends_with(end)).unwrap();
    assert_eq!(of("\u{fffd}.ppm")["path_base64"], encoded(b"\xff.ppm"));
    assert_eq!(of("\u{fffd}.txt")["path_base64"], encoded(b"\xfe.txt"));
    assert!(of("/a.ppm").get("path_base64").is_none(), "{put:?}");
}

#[test]
fn an_answer_of_nothing_names_its_url() {
    let (server, folder) = (Server::start(), folder());
    tree(folder.path(), 1);
    let url = url(&server);
    let ran = put(&format!("{url}/prefix"), folder.path(), &[]).with(1);
    let says = format!("{url}/prefix/images/missing: There is nothing at this path");
    assert!(ran.stderr.contains(&says), "{}", ran.stderr);
    let proxy = origin::start(|_| Some((404, "", b"<html>".to_vec())));
    let ran = run(&["get", &format!("{}?sig=secret", Digest::of(b"a")), "--server", &proxy]).with(1);
    let says = format!("{proxy}/images/{}: the server answered 404", Digest::of(b"a"));
    assert!(ran.stderr.contains(&says), "without its query: {}", ran.stderr);
}

#[test]
fn what_cannot_be_stored_is_named_and_the_rest_is_stored() {
    let (server, folder) = (Server::start(), folder());
    let lines = tree(folder.path(), 5);
    fs::write(folder.path().join("note.txt"), "no image").unwrap();
    symlink("nowhere", folder.path().join("dangling")).unwrap();
    let missing = folder.path().join("missing");
    let ran = put(&url(&server), folder.path(), &[text(&missing)]).with(1);
    assert_eq!(ran.lines(), lines, "a link inside a folder is not followed");
    for part in ["note.txt: ", "not an image", "(415)", "missing: No such file", "5 stored, 0 there before, 2 failed"] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    let failed = put(&url(&server), folder.path(), &["--json"]).with(1).json();
    let failed: Vec<_> = failed.iter().filter(|item| item["problem"].is_string()).collect();
    assert!(failed.len() == 1 && failed[0]["path"].as_str().unwrap().ends_with("note.txt"), "{failed:?}");
    let followed = put(&url(&server), folder.path(), &["--follow"]).with(1);
    assert!(followed.stderr.contains("dangling: "), "{}", followed.stderr);
    let ran = run(&["put", text(folder.path()), "--server", &url(&server)]).with(1);
    assert!(ran.stdout.is_empty() && ran.stderr.contains("--recursive"), "{}", ran.stderr);
    let link = folder.path().join("link");
    symlink("0.ppm", &link).unwrap();
    assert_eq!(run(&["put", text(&link), "--server", &url(&server)]).with(0).lines().len(), 1, "an argument is");
}

#[test]
fn a_key_is_asked_for_and_never_shown() {
    const SECRET: &str = "writer-writer-writer";
    let access = Access { keys: keys(&format!("w:read+write:{SECRET}")).unwrap(), ..Access::default() };
    let (server, folder) = (Server::with(|settings| settings.access = access), folder());
    let lines = tree(folder.path(), 2);
    let url = url(&server);
    let refused = put(&url, folder.path(), &[]).with(4);
    assert!(refused.stdout.is_empty() && refused.stderr.contains("(401)"), "{}", refused.stderr);
    let wrong = put(&url, folder.path(), &["--key", "other-other-other"]).with(4);
    assert!(!wrong.stderr.contains("other-other"), "{}", wrong.stderr);
    let mut command = program(&["put", "-r", text(folder.path())]);
    let ran: Ran = command.env("PROGIMAGE_KEY", SECRET).env("PROGIMAGE_SERVER", url).output().unwrap().into();
    assert_eq!(ran.with(0).lines(), lines);
    let help: Ran = program(&["put", "--help"]).env("PROGIMAGE_KEY", SECRET).output().unwrap().into();
    let help = help.with(0);
    assert!(!help.stdout.contains(SECRET) && help.stdout.contains("Exit status: 0 success"), "{}", help.stdout);
}

#[test]
fn a_key_is_needed_where_the_server_says_so_also_when_nothing_is_lacking() {
    let list = "w:read+write:writer-writer-writer r:read:reader-reader-reader";
    // Who has no key may read, and so hear that nothing is lacking; or may not.
    for (anonymous, without_key) in [("read", 0), ("none", 4)] {
        let access = Access { keys: keys(list).unwrap(), anonymous: anonymous.parse().unwrap(), ..Access::default() };
        let (server, folder) = (Server::with(|settings| settings.access = access), folder());
        let lines = tree(folder.path(), 2);
        let url = url(&server);
        let reader = ["--key", "reader-reader-reader"];
        assert!(put(&url, folder.path(), &reader).with(4).stderr.contains("(403)"), "they are lacking");
        put(&url, folder.path(), &["--key", "writer-writer-writer"]).with(0);
        assert_eq!(put(&url, folder.path(), &reader).with(0).lines(), lines);
        for more in [&["--key", "other-other-other"][..], &[]] {
            let ran = put(&url, folder.path(), more).with(without_key);
            assert_eq!(ran.stderr.contains("(401)"), without_key == 4, "{}", ran.stderr);
        }
    }
}

/// Answers as a server that lacks everything, but the file changes as soon as it was asked for.
fn changed(change: fn(&Path)) -> Ran {
    let folder = folder();
    let path = folder.path().join("a.ppm");
    fs::write(&path, ppm(9, 9, [1, 2, 3])).unwrap();
    let file = path.clone();
    let url = origin::start(move |asked| {
        if asked.line.starts_with("POST") {
            change(&file);
            return Some((200, "", asked.body.clone()));
        }
        assert!(!asked.line.ends_with(&Digest::of(&asked.body).to_string()), "the file has changed");
        Some((422, "", b"{\"type\":\"/problems/digest-mismatch\",\"detail\":\"no\"}".to_vec()))
    });
    run(&["put", text(&path), "--server", &url]).with(1)
}

#[test]
fn a_file_that_changes_meanwhile_is_reported_and_not_sent_again() {
    for change in [
        |path: &Path| fs::write(path, ppm(9, 9, [3, 2, 1])).unwrap(),
        |path: &Path| fs::write(path, ppm(5, 5, [1, 2, 3])).unwrap(),
        |path: &Path| fs::write(path, ppm(50, 50, [1, 2, 3])).unwrap(),
    ] {
        let ran = changed(change);
        assert!(ran.stdout.is_empty() && ran.stderr.contains("changed while it was uploaded"), "{}", ran.stderr);
    }
}

/// The program as a server: its process and its address.
fn serve(data: &Path) -> (Child, String) {
    let mut child =
        program(&["serve", "--data", text(data), "--listen", "127.0.0.1:0", "--log-format", "json"]).spawn().unwrap();
    let address = address_in(child.stderr.take().unwrap()).expect("the server has ended");
    (child, address)
}

/// An address of the test's own, behind which servers come and go.
fn forward(to: Arc<Mutex<String>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(to.lock().unwrap().as_str()) else { continue };
            let back = (server.try_clone().unwrap(), client.try_clone().unwrap());
            for (mut from, mut into) in [(client, server), back] {
                std::thread::spawn(move || {
                    _ = std::io::copy(&mut from, &mut into);
                    _ = into.shutdown(std::net::Shutdown::Both);
                });
            }
        }
    });
    address
}

#[test]
fn a_server_that_goes_away_and_comes_back_is_waited_for() {
    let (data, folder) = (folder(), folder());
    let lines = tree(folder.path(), 60);
    let (mut server, address) = serve(data.path());
    let to = Arc::new(Mutex::new(address));
    let url = format!("http://{}", forward(Arc::clone(&to)));
    let mut client = program(&["put", "-r", text(folder.path()), "--server", &url, "--jobs", "1"]).spawn().unwrap();
    let mut printed = BufReader::new(client.stdout.take().unwrap());
    let mut first = String::new();
    printed.read_line(&mut first).unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
    let (mut server, address) = serve(data.path());
    *to.lock().unwrap() = address;
    let mut rest = String::new();
    printed.read_to_string(&mut rest).unwrap();
    assert_eq!(client.wait().unwrap().code(), Some(0));
    let stored = first + &rest;
    let mut stored: Vec<&str> = stored.lines().collect();
    stored.sort_unstable();
    assert_eq!(stored, lines);
    let again = put(&url, folder.path(), &[]).with(0);
    assert!(again.stderr.contains("0 stored, 60 there before"), "{}", again.stderr);
    server.kill().unwrap();
    server.wait().unwrap();
}

#[test]
fn a_pipe_that_closes_early_ends_it_quietly() {
    let (server, folder) = (Server::start(), folder());
    tree(folder.path(), 200);
    let put = ["put", "-r", text(folder.path()), "--server", &url(&server)];
    for arguments in [&put[..], &["describe", "config"], &["completions", "bash"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let child = program(arguments).stdout(writer).spawn().unwrap();
        let ran: Ran = child.wait_with_output().unwrap().into();
        assert_eq!((ran.status, ran.stderr.as_str()), (Some(141), ""), "{arguments:?}");
    }
}
