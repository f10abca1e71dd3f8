//! The edge over real loopback sockets, one kept connection: uploads, cached hits, misses, 304. These are the waiting times
//! of a client, with its own work. CPU per request next to nginx is measured by the scripts in this folder.

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use progimage::digest::Digest;
use progimage::http::{App, Settings, server};
use progimage::store;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A server over `data`; it lives as long as the process.
fn serve(runtime: &Runtime, data: &str, settings: Settings) -> SocketAddr {
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let store = store::open(data, &settings.store).await.expect("a store");
        tokio::spawn(server::serve(listener, App::new(store, settings), std::future::pending()));
        address
    })
}

struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).expect("a server");
        stream.set_nodelay(true).expect("a TCP socket");
        Client { stream, buffer: vec![0; 1 << 20] }
    }

    /// Sends a HEAD request; the status. Its answer has a length and no body.
    fn head(&mut self, request: &[u8]) -> u16 {
        self.stream.write_all(request).expect("an open connection");
        let mut filled = 0;
        loop {
            let count = self.stream.read(&mut self.buffer[filled..]).expect("an answer");
            assert!(count > 0, "the server closed the connection");
            filled += count;
            if self.buffer[..filled].ends_with(b"\r\n\r\n") {
                return str::from_utf8(&self.buffer[9..12]).expect("ASCII").parse().expect("a status");
            }
        }
    }

    /// Sends a whole request; the status and the length of the answer, which is read to its end.
    fn ask(&mut self, request: &[u8]) -> (u16, usize) {
        self.stream.write_all(request).expect("an open connection");
        let mut filled = 0;
        loop {
            let count = self.stream.read(&mut self.buffer[filled..]).expect("an answer");
            assert!(count > 0, "the server closed the connection");
            filled += count;
            let bytes = &self.buffer[..filled];
            if let Some(head) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                let text = str::from_utf8(&bytes[..head]).expect("ASCII");
                let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
                let total = head + 4 + length.map_or(0, |length| length.parse().expect("a number"));
                if filled >= total {
                    return (text[9..12].parse().expect("a status"), total);
                }
            }
        }
    }
}

fn get(path: &str, field: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{field}\r\n").into_bytes()
}

fn post(body: &[u8]) -> Vec<u8> {
    let head = format!("POST /images HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn put(path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn head(path: &str) -> Vec<u8> {
    format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
}

/// A PPM file of about `bytes` bytes whose pixels begin with `serial`: each another image.
fn image(serial: u64, bytes: usize) -> Vec<u8> {
    let h = (bytes / 3 / 64).max(1);
    let mut image = format!("P6\n64 {h}\n255\n").into_bytes();
    image.extend_from_slice(&serial.to_le_bytes());
    let left = 64 * h * 3 - 8;
    image.extend((0..left).map(|at| (at * 7 % 251) as u8));
    image
}

fn hits(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let mut client = Client::connect(serve(&runtime, "memory:", Settings::default()));
    let mut group = criterion.benchmark_group("http");
    for kib in [4, 16, 64] {
        let source = image(kib, (kib as usize) << 10);
        assert_eq!(client.ask(&post(&source)).0, 201);
        // A render of its own size to a format that does not compress: the answer is as long as the source.
        let path = format!("/images/{}.ppm?quality=80", Digest::of(&source));
        let request = get(&path, "");
        let (status, total) = client.ask(&request);
        assert_eq!(status, 200);
        group.throughput(Throughput::Bytes(total as u64));
        group.bench_function(format!("cached hit, {kib} KiB"), |bench| bench.iter(|| black_box(client.ask(&request))));
    }
    group.throughput(Throughput::Elements(1));
    let source = image(4, 4 << 10);
    let path = format!("/images/{}.ppm?quality=80", Digest::of(&source));
    let request = get(&path, "If-None-Match: *\r\n");
    assert_eq!(client.ask(&request).0, 304);
    group.bench_function("304", |bench| bench.iter(|| black_box(client.ask(&request))));
    let request = get(&format!("/images/{}", Digest::of(&source)), "");
    group.bench_function("original, 4 KiB", |bench| bench.iter(|| black_box(client.ask(&request))));
    let request = get("/healthz", "");
    group.bench_function("healthz", |bench| bench.iter(|| black_box(client.ask(&request))));
    group.finish();
}

fn misses(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let mut settings = Settings::default();
    settings.renditions.cache_bytes_max = 0;
    let mut client = Client::connect(serve(&runtime, "memory:", settings));
    let source = image(1, 64 << 10);
    assert_eq!(client.ask(&post(&source)).0, 201);
    let request = get(&format!("/images/{}.ppm?w=32", Digest::of(&source)), "");
    assert_eq!(client.ask(&request).0, 200);
    criterion.bench_function("http/miss, 64 KiB to 32 px", |bench| bench.iter(|| black_box(client.ask(&request))));
    let request = get(&format!("/images/{}.ppm?w=32", Digest::of(&source)), "If-None-Match: *\r\n");
    criterion.bench_function("http/cold 304", |bench| bench.iter(|| black_box(client.ask(&request))));
}

fn uploads(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let data = folder.path().to_str().expect("UTF-8").to_owned();
    let mut group = criterion.benchmark_group("http");
    for (name, data) in [("memory", "memory:"), ("disk", data.as_str())] {
        let mut client = Client::connect(serve(&runtime, data, Settings::default()));
        let mut serial = 0;
        group.bench_function(format!("upload, 64 KiB, {name}"), |bench| {
            let fresh = || {
                serial += 1;
                post(&image(serial, 64 << 10))
            };
            bench.iter_batched(fresh, |request| assert_eq!(client.ask(&request).0, 201), BatchSize::SmallInput);
        });
        let stored = image(1, 64 << 10);
        let request = post(&stored);
        group.bench_function(format!("duplicate upload, 64 KiB, {name}"), |bench| {
            bench.iter(|| assert_eq!(client.ask(&request).0, 200));
        });
        let path = format!("/images/{}", Digest::of(&stored));
        let request = put(&path, &stored);
        group.bench_function(format!("duplicate PUT, 64 KiB, {name}"), |bench| {
            bench.iter(|| assert_eq!(client.ask(&request).0, 200));
        });
        let request = head(&path);
        group.bench_function(format!("HEAD, 64 KiB, {name}"), |bench| {
            bench.iter(|| assert_eq!(client.head(&request), 200));
        });
    }
    group.finish();
}

criterion_group!(benches, hits, misses, uploads);
criterion_main!(benches);
