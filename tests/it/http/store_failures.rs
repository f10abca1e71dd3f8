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
