//! The edge as a black box: bytes to a real server on a free port, bytes back. Stored images are small PPM files of one
//! colour each. Files are named after routes. What holds on every route is in `server`, `access`, `callers`, `signed`, `pages`,
//! `malformed` and `store_failures`.

mod client;

mod bulk;
mod images;
mod jobs;
mod metrics;
mod mistakes;
mod process;
mod remote;

mod access;
mod callers;
mod malformed;
mod pages;
mod server;
mod signed;
mod store_failures;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use progimage::digest::Digest;
use progimage::http::server::{Stopped, serve};
use progimage::http::{App, Settings};
use progimage::store;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use client::{Answer, Client};

/// One runtime for the servers of all tests.
fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap())
}

/// A server of its own. It stops when dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: Mutex<Option<oneshot::Sender<()>>>,
    served: Mutex<Option<JoinHandle<Stopped>>>,
}

impl Server {
    /// With a store in memory.
    pub(crate) fn start() -> Server {
        Server::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Settings)) -> Server {
        Server::on("memory:", change)
    }

    pub(crate) fn on(url: &str, change: impl FnOnce(&mut Settings)) -> Server {
        let open = |options: &store::Options| runtime().block_on(store::open(url, options)).unwrap();
        Server::start_with(open, change)
    }

    pub(crate) fn over(store: Arc<dyn store::Store>, change: impl FnOnce(&mut Settings)) -> Server {
        Server::start_with(|_| store, change)
    }

    fn start_with(
        store: impl FnOnce(&store::Options) -> Arc<dyn store::Store>,
        change: impl FnOnce(&mut Settings),
    ) -> Server {
        let mut settings = Settings::default();
        settings.renditions.render_threads = 2;
        // With other tests at work the machine is never idle.
        settings.renditions.bulk_idle = false;
        // A client that still sends is heard to its end, however busy the machine is.
        settings.http.linger_ms = 60_000;
        change(&mut settings);
        // The hosts in the requests of these tests.
        settings.access.hosts.extend(["a", "test"].map(str::to_owned));
        let (stop, stopped) = oneshot::channel();
        let store = store(&settings.store);
        let (address, served) = runtime().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let app = App::new(store, settings);
            let stopped = async { _ = stopped.await };
            (address, tokio::spawn(serve(listener, app, stopped)))
        });
        Server { address, stop: Mutex::new(Some(stop)), served: Mutex::new(Some(served)) }
    }

    fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// One request without a body on a connection of its own; `fields` are whole lines.
    pub(crate) fn ask(&self, method: &str, path: &str, fields: &[&str]) -> Answer {
        self.connect().ask(method, path, fields, b"")
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[])
    }

    pub(crate) fn send(&self, method: &str, path: &str, fields: &[&str], body: &[u8]) -> Answer {
        self.connect().ask(method, path, fields, body)
    }

    /// Stores an image; its path without an extension.
    pub(crate) fn store(&self, bytes: &[u8]) -> String {
        let answer = self.send("POST", "/images", &[], bytes);
        assert_eq!(answer.status, 201, "{}", answer.text());
        path_of(bytes)
    }

    /// Tells the server to stop.
    pub(crate) fn stop(&self) {
        if let Some(stop) = self.stop.lock().unwrap().take() {
            _ = stop.send(());
        }
    }

    /// Waits until the server has stopped.
    pub(crate) fn stopped(&self) -> Stopped {
        let served = self.served.lock().unwrap().take().expect("asked once");
        runtime().block_on(served).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Waits until a condition holds. The test fails if it does not within a minute.
#[track_caller]
pub(crate) fn until(is_so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    let mut pause = Duration::from_millis(1);
    while !is_so() {
        assert!(Instant::now() < end, "it is not so yet");
        // A pause, since what is waited for needs the processor.
        std::thread::sleep(pause);
        pause = Duration::from_millis(5).min(pause * 2);
    }
}

fn path_of(bytes: &[u8]) -> String {
    format!("/images/{}", Digest::of(bytes))
}

/// A PPM file of one colour.
pub(crate) fn ppm(w: u32, h: u32, rgb: [u8; 3]) -> Vec<u8> {
    let mut bytes = format!("P6\n{w} {h}\n255\n").into_bytes();
    for _ in 0..w * h {
        bytes.extend_from_slice(&rgb);
    }
    bytes
}
