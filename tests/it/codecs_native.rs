//! JPEG and PNG over their public rows: what they read and write, and what they refuse.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use progimage::pipeline::codec::{self, Codec, DecodeOptions, EncodeOptions, Header};
use progimage::pipeline::{Deadline, Error, Limits, Picture, Samples, Size};

mod animation;
mod hostile;
mod jpeg;
mod png;
mod reference;

/// The row of a format.
fn row(name: &str) -> &'static Codec {
    codec::by_name(name).expect("a known format")
}

fn inspect(bytes: &[u8]) -> Result<Header, Error> {
    (codec::sniff(bytes)?.inspect)(bytes)
}

/// Sniffs and decodes at full size under the default limits.
fn decode(bytes: &[u8]) -> Result<Picture, Error> {
    decode_within(bytes, &Limits::default(), None)
}

fn decode_within(bytes: &[u8], limits: &Limits, at_least: Option<Size>) -> Result<Picture, Error> {
    let options = DecodeOptions { limits, at_least, frames_max: limits.frames_max, deadline: &Deadline::default() };
    (codec::sniff(bytes)?.decode)(bytes, &options)
}

fn encode(format: &str, picture: &Picture, quality: Option<u8>) -> Vec<u8> {
    let deadline = Deadline::default();
    let options = EncodeOptions { quality, ..EncodeOptions::new(&deadline) };
    let encoder = row(format).encoder.as_ref().expect("it is written");
    (encoder.encode)(picture, &options).expect("a valid picture")
}

fn bytes(picture: &Picture) -> &[u8] {
    match picture.first().samples() {
        Samples::U8(samples) => samples,
        Samples::U16(_) => panic!("16 bits where 8 were expected"),
    }
}

/// The mean absolute difference of samples.
fn difference(left: &[u8], right: &[u8]) -> f64 {
    assert_eq!(left.len(), right.len(), "samples");
    let sum: u64 = left.iter().zip(right).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / left.len() as f64
}

/// A deadline that is already cancelled.
fn cancelled() -> Deadline {
    Deadline::new(Instant::now() + Duration::from_secs(3600), Arc::new(AtomicBool::new(true)))
}

/// A folder of the shared corpus, when it is there.
fn corpus(folder: &str) -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let found = ["../shared/corpus", "../../shared/corpus"].map(|path| root.join(path).join(folder));
    let found = found.into_iter().find(|path| path.is_dir());
    if found.is_none() {
        eprintln!("skipped: the shared corpus {folder} is not on this machine");
    }
    found
}

/// The files of a folder, by name.
fn files(folder: PathBuf) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = std::fs::read_dir(folder)
        .expect("a readable folder")
        .map(|entry| entry.expect("a readable entry").path())
        .filter(|path| path.is_file())
        .map(|path| {
            let name = path.file_name().expect("a file").to_string_lossy().into_owned();
            (name, std::fs::read(path).expect("a readable file"))
        })
        .collect();
    files.sort();
    files
}

/// The committed fixtures of the two formats.
fn fixtures() -> Vec<(String, Vec<u8>)> {
    let ours = |name: &str| name.ends_with(".jpg") || name.ends_with(".png");
    crate::fixtures::sources().into_iter().filter(|(name, _)| ours(name)).collect()
}

#[test]
fn a_render_that_nobody_waits_for_stops() {
    let deadline = cancelled();
    for (name, bytes) in fixtures() {
        let options =
            DecodeOptions { limits: &Limits::default(), at_least: None, frames_max: 256, deadline: &deadline };
        let codec = codec::sniff(&bytes).expect("a known format");
        assert_eq!((codec.decode)(&bytes, &options).err(), Some(Error::Cancelled), "{name}");
    }
    for format in ["jpeg", "png"] {
        let picture = decode(&crate::fixtures::read("rgb_8bit.png")).expect("valid");
        let options = EncodeOptions::new(&deadline);
        let encoder = row(format).encoder.as_ref().expect("it is written");
        assert_eq!((encoder.encode)(&picture, &options), Err(Error::Cancelled), "{format}");
    }
}

#[test]
fn what_is_decoded_is_what_the_gate_said() {
    for (name, bytes) in fixtures() {
        let (header, picture) = (inspect(&bytes).expect("valid"), decode(&bytes).expect("valid"));
        let first = picture.first();
        let bits = if matches!(first.samples(), Samples::U16(_)) { 16 } else { 8 };
        let decoded = (first.size(), first.channels(), bits, picture.frames.len() as u32, picture.icc.is_some());
        let told = (header.size, header.channels, header.bits, header.frames, header.icc);
        assert_eq!(decoded, told, "{name}");
    }
}

#[test]
fn photographs_of_the_corpus_give_pictures() {
    for folder in ["photos/jpg", "photos/png"] {
        let Some(path) = corpus(folder) else { return };
        for (name, bytes) in files(path) {
            let header = inspect(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
            let picture = decode(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(picture.first().size(), header.size, "{name}");
        }
    }
}
