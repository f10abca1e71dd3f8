//! A store that fails, or whose answers contradict each other because something came in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use progimage::store::{self, Error, Options, Store};

use super::{Server, path_of, ppm, runtime};
use crate::store::double::{Call, Double};
use crate::store::put;

/// A store in memory with switches.
struct Faulty {
    store: Arc<dyn Store>,
    /// `stat` and `list` fail.
    down: AtomicBool,
    /// After so many calls `open` finds nothing, as after a delete in between.
    opens_max: AtomicUsize,
}

impl Faulty {
    fn new() -> Arc<Faulty> {
        let store = runtime().block_on(store::open("memory:", &Options::default())).unwrap();
        Arc::new(Faulty { store, down: AtomicBool::new(false), opens_max: AtomicUsize::new(usize::MAX) })
    }

    fn server(self: &Arc<Faulty>) -> Server {
        let faulty = Arc::clone(self);
        let refusal = move |call| match call {
            Call::Stat if faulty.down.load(Ordering::Relaxed) => Some(Error::Unavailable("down".into())),
            Call::Open if faulty.is_deleted() => Some(Error::NotFound),
            _ => None,
        };
        Server::over(Double::refusing(self.store.clone(), refusal), |_| {})
    }

    fn is_deleted(&self) -> bool {
        self.opens_max.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err()
    }

    /// Stores bytes without passing a gate; the image's path.
    fn put(&self, bytes: &[u8]) -> String {
        runtime().block_on(put(&*self.store, bytes)).unwrap();
        path_of(bytes)
    }
}

#[test]
fn a_conditional_delete_of_a_store_that_is_down_says_so() {
    let faulty = Faulty::new();
    let server = faulty.server();
    let path = faulty.put(&ppm(2, 2, [1, 2, 3]));
    faulty.down.store(true, Ordering::Relaxed);
    let answer = server.ask("DELETE", &path, &["If-Match: *"]);
    answer.assert_problem(503, "store-unavailable");
    assert_eq!(answer.field("retry-after"), Some("1"));
    faulty.down.store(false, Ordering::Relaxed);
    assert_eq!(server.ask("DELETE", &path, &["If-Match: *"]).status, 204);
    server.ask("DELETE", &path, &["If-Match: *"]).assert_problem(412, "precondition-failed");
}

#[test]
fn an_upload_of_what_is_deleted_meanwhile_is_to_be_sent_again() {
    let faulty = Faulty::new();
    let server = faulty.server();
    let image = ppm(2, 2, [1, 2, 4]);
    let path = faulty.put(&image);
    // Proven, and gone when its header is read.
    faulty.opens_max.store(1, Ordering::Relaxed);
    let answer = server.send("PUT", &path, &[], &image);
    answer.assert_problem(503, "deleted-meanwhile");
    assert_eq!((answer.field("retry-after"), answer.field("cache-control")), (Some("0"), Some("no-store")));
    // Gone before that, so it is stored anew.
    assert_eq!(server.send("PUT", &path, &[], &image).status, 200);
}

#[test]
fn an_upload_of_what_is_stored_and_not_read_any_more_is_there() {
    let faulty = Faulty::new();
    let server = faulty.server();
    let bytes = b"of a format that this release does not read";
    let path = faulty.put(bytes);
    let answer = server.send("PUT", &path, &[], bytes);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let known = answer.json();
    assert_eq!((&known["bytes"], &known["created"]), (&bytes.len().into(), &false.into()));
    for unknown in ["format", "width", "height"] {
        assert!(known[unknown].is_null(), "{known}");
    }
    assert_eq!(server.get(&path).field("content-type"), Some("application/octet-stream"));
}

/// A form of one file.
fn form(image: &[u8]) -> Vec<u8> {
    let head = b"--b\r\nContent-Disposition: form-data; name=\"a\"; filename=\"a\"\r\n\r\n";
    [&head[..], image, b"\r\n--b--\r\n"].concat()
}

/// An archive of one file.
fn archive(image: &[u8]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(image.len() as u64);
    header.set_cksum();
    builder.append_data(&mut header, "a", image).unwrap();
    builder.into_inner().unwrap()
}

#[test]
fn a_full_store_acknowledges_what_it_has_however_it_is_sent() {
    let (stored, new) = (ppm(20, 20, [1, 2, 5]), ppm(20, 20, [1, 2, 6]));
    for memory_bytes_max in [100, 1 << 20] {
        let server = Server::with(|settings| {
            settings.store.memory_store_bytes_max = stored.len() as u64;
            settings.store.memory_bytes_max = memory_bytes_max;
        });
        let path = server.store(&stored);
        let send = |image: &[u8]| {
            let form = server.send("POST", "/images", &["Content-Type: multipart/form-data; boundary=b"], &form(image));
            let raw = server.send("POST", "/images", &[], image);
            let mut client = server.connect();
            client.write(b"POST /images HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
            client.write(&[format!("{:x}\r\n", image.len()).as_bytes(), image, b"\r\n0\r\n\r\n"].concat());
            let chunked = client.answer(false);
            let line = server.send("POST", "/images", &["Content-Type: application/x-tar"], &archive(image));
            let line = line.text().lines().next().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
            [form.status, raw.status, chunked.status, line.unwrap()["status"].as_u64().unwrap() as u16]
        };
        assert_eq!(send(&stored), [200; 4]);
        assert_eq!(server.send("PUT", &path, &[], &stored).status, 200);
        assert_eq!(send(&new), [507; 4]);
        server.send("PUT", &path_of(&new), &[], &new).assert_problem(507, "store-full");
        assert_eq!(server.get(&path).status, 200);
    }
}
