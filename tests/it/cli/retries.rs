//! What the client does when a server cannot be reached, is not ready, or refuses.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use progimage::digest::Digest;

use super::{folder, origin, run, text};
use crate::fetch::origin::refusing;

const BYTES: &[u8] = b"P6 1 1 255 abc";

/// Uploads to a server that answers `/images/missing` well and the `n`-th PUT with `put(n)`; the status, the messages,
/// and the number of PUT requests.
fn upload(retry_s: &str, put: impl Fn(usize) -> origin::Said + Send + 'static) -> (i32, String, usize) {
    let puts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&puts);
    let url = origin::start(move |asked| {
        if asked.line.starts_with("POST") {
            return Some((200, "", asked.body.clone()));
        }
        put(counted.fetch_add(1, Ordering::SeqCst))
    });
    let folder = folder();
    let file = folder.path().join("a.ppm");
    std::fs::write(&file, BYTES).unwrap();
    let ran = run(&["put", text(&file), "--server", &url, "--retry-s", retry_s]);
    (ran.status.unwrap(), ran.stderr, puts.load(Ordering::SeqCst))
}

const BUSY: &str = "{\"type\":\"/problems/busy\",\"detail\":\"Busy.\"}";

fn busy(fields: &'static str) -> origin::Said {
    Some((503, fields, BUSY.into()))
}

#[test]
fn a_busy_server_and_a_cut_connection_are_asked_again() {
    let (status, said, puts) = upload("30", |n| match n {
        0 => busy("Retry-After: 0\r\n"),
        1 => None,
        2 => Some((502, "", Vec::new())),
        3 => Some((503, "", b"from a proxy".to_vec())),
        _ => Some((201, "", format!("{{\"id\":\"{}\"}}", Digest::of(BYTES)).into())),
    });
    assert_eq!((status, puts), (0, 5), "{said}");
}

#[test]
fn patience_ends() {
    let (status, said, puts) = upload("1", |_| busy("Retry-After: 0\r\n"));
    assert!(status == 3 && puts > 1 && said.contains("Busy (503)"), "{status}, {puts}: {said}");
    let (status, said, puts) = upload("1", |_| busy("Retry-After: 2\r\n"));
    assert_eq!((status, puts), (3, 1), "longer than patience: {said}");
    let (status, said, puts) = upload("0", |_| None);
    assert_eq!((status, puts), (3, 1), "{said}");
}

#[test]
fn what_will_not_pass_is_not_asked_again() {
    // A read-only store names no time.
    let (status, said, puts) = upload("30", |_| busy(""));
    assert_eq!((status, puts), (3, 1), "{said}");
    let (status, said, puts) = upload("30", |_| Some((507, "", Vec::new())));
    assert_eq!((status, puts), (3, 1), "{said}");
    let (status, said, puts) = upload("30", |_| Some((415, "", Vec::new())));
    assert_eq!((status, puts), (1, 1), "{said}");
    let (status, said, puts) = upload("30", |_| Some((302, "Location: http://127.0.0.1:9/\r\n", Vec::new())));
    assert_eq!((status, puts), (1, 1), "a key goes to no other server: {said}");
}

#[test]
fn what_any_server_may_answer_acknowledges_nothing() {
    let folder = folder();
    let file = folder.path().join("a.ppm");
    std::fs::write(&file, BYTES).unwrap();
    // Answers to `/images/missing`: nothing, another id, and a page.
    for said in [String::new(), format!("{}\n", Digest::of(BYTES)), "<html>".to_owned()] {
        let url = origin::start(move |_| Some((200, "", said.clone().into())));
        let ran = run(&["put", text(&file), "--server", &url]).with(1);
        assert!(ran.stdout.is_empty() && ran.stderr.contains("is this ProgImage?"), "{}", ran.stderr);
    }
    // Answers to the upload.
    let other = format!("{{\"id\":\"{}\"}}", Digest::of(b"other"));
    for said in [String::new(), "<html>".to_owned(), other] {
        let (status, said, puts) = upload("0", move |_| Some((201, "", said.clone().into())));
        assert_eq!((status, puts), (1, 1), "{said}");
        assert!(said.contains("is this ProgImage?") && said.contains("0 stored, 0 there before, 1 failed"), "{said}");
    }
    for fields in ["", "Content-Type: text/html\r\n"] {
        let url = origin::start(move |_| Some((200, fields, b"<html>".to_vec())));
        let (to, id) = (folder.path().join("got.webp"), Digest::of(BYTES).to_string());
        let ran = run(&["get", &format!("{id}.webp"), "-o", text(&to), "--server", &url]).with(1);
        assert!(ran.stderr.contains("is this ProgImage?") && !to.exists(), "{}", ran.stderr);
    }
}

#[test]
fn a_server_that_was_never_reached_is_not_waited_for() {
    let silent = refusing("127.0.0.1");
    let url = format!("http://{}", silent.local_addr().unwrap());
    let ran = run(&["put", "Cargo.toml", "--server", &url, "--retry-s", "100000"]).with(3);
    assert!(ran.stdout.is_empty() && ran.stderr.contains(&url), "{}", ran.stderr);
}
