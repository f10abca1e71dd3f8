//! The bare pipeline in a loop, on every processor. `benches/bulk.py` compares `POST /bulk` with it. Prints one line of
//! JSON.
//!
//! `bulk [--count N] [--threads N]`: thumbnails of the photographs in `fixtures/photos`, JPEG to WebP of 300 px.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use bytes::Bytes;
use progimage::pipeline::codec::by_extension;
use progimage::pipeline::{Deadline, Images, Limits, Pipeline};

/// The program's own allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PHOTOS: [&[u8]; 2] =
    [include_bytes!("../fixtures/photos/street.jpg"), include_bytes!("../fixtures/photos/toy.jpg")];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |name: &str| {
        let place = arguments.iter().position(|argument| argument == name)?;
        arguments.get(place + 1)?.parse::<usize>().ok()
    };
    let count = number("--count").unwrap_or(64);
    let threads = number("--threads").unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
    let began = Instant::now();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| work(&next, count));
        }
    });
    let seconds = began.elapsed().as_secs_f64();
    println!("{{\"images\": {count}, \"threads\": {threads}, \"seconds\": {seconds:.6}}}");
}

fn work(next: &AtomicUsize, count: usize) {
    let query = [("width".to_owned(), "300".to_owned())];
    let pipeline = Pipeline::from_query(by_extension("webp").expect("known"), &query).expect("good");
    let limits = Limits::default();
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        if index >= count {
            return;
        }
        let photo = Bytes::from_static(PHOTOS[index % PHOTOS.len()]);
        pipeline.run(&photo, &Images::new(), &limits, &Deadline::default()).expect("a photograph");
    }
}
