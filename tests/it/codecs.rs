//! The codecs over their public rows: a file for each format, laws over all of them, and hostile files.

mod hostile;
mod laws;

mod animations;
mod avif;
mod bmp;
mod damage;
mod dds;
mod exr;
mod farbfeld;
mod gif;
mod hdr;
mod ico;
mod jpeg;
mod png;
mod pnm;
mod qoi;
mod sequences;
mod tga;
mod tiff;
mod webp;

mod expected;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use progimage::pipeline::codec::{self, Codec, DecodeOptions, Header};
use progimage::pipeline::{Channels, Deadline, Error, Limits, Picture, Raster, Samples, Size};

use crate::fixtures::{pattern, read, sources};

/// The row of a format.
fn row(name: &str) -> &'static Codec {
    codec::by_name(name).expect("a known format")
}

/// The committed fixtures with one of these extensions.
fn fixtures(extensions: &[&str]) -> Vec<(String, Vec<u8>)> {
    let ours = |name: &str| name.rsplit_once('.').is_some_and(|(_, extension)| extensions.contains(&extension));
    sources().into_iter().filter(|(name, _)| ours(name)).collect()
}

fn inspect(bytes: &[u8]) -> Result<Header, Error> {
    (codec::sniff(bytes)?.inspect)(bytes)
}

/// Sniffs and decodes all frames at full size under the default limits.
fn decode(bytes: &[u8]) -> Result<Picture, Error> {
    decode_frames(bytes, &Limits::default(), u32::MAX)
}

/// As much as there is of a damaged file.
fn decode_tolerantly(bytes: &[u8]) -> Result<Picture, Error> {
    let (limits, deadline) = (Limits::default(), Deadline::default());
    let options = DecodeOptions { frames_max: u32::MAX, tolerant: true, ..DecodeOptions::new(&limits, &deadline) };
    (codec::sniff(bytes)?.decode)(bytes, &options)
}

fn decode_frames(bytes: &[u8], limits: &Limits, frames_max: u32) -> Result<Picture, Error> {
    let deadline = Deadline::default();
    let options = DecodeOptions { frames_max, ..DecodeOptions::new(limits, &deadline) };
    (codec::sniff(bytes)?.decode)(bytes, &options)
}

fn decode_within(bytes: &[u8], limits: &Limits, at_least: Option<Size>) -> Result<Picture, Error> {
    let deadline = Deadline::default();
    let options = DecodeOptions { at_least, frames_max: limits.frames_max, ..DecodeOptions::new(limits, &deadline) };
    (codec::sniff(bytes)?.decode)(bytes, &options)
}

/// Decodes one frame under small limits, so that a header that lies causes an error and not gigabytes.
fn decode_small(codec: &Codec, bytes: &[u8]) -> Result<Picture, Error> {
    let limits = Limits { side_px_max: 4096, pixels_max: 1 << 16, memory_bytes_max: 4 << 20, ..Limits::default() };
    let deadline = Deadline::default();
    let options = DecodeOptions::new(&limits, &deadline);
    (codec.decode)(bytes, &options)
}

fn encode(format: &str, picture: &Picture, quality: Option<u8>) -> Vec<u8> {
    pattern::encode(format, picture, quality, false)
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

/// Samples as fractions, so that depths compare.
fn fractions(raster: &Raster) -> Vec<f64> {
    match raster.samples() {
        Samples::U8(samples) => samples.iter().map(|&sample| f64::from(sample) / 255.0).collect(),
        Samples::U16(samples) => samples.iter().map(|&sample| f64::from(sample) / 65535.0).collect(),
    }
}

fn psnr(a: &Raster, b: &Raster) -> f64 {
    assert_eq!((a.size(), a.channels()), (b.size(), b.channels()));
    let (a, b) = (fractions(a), fractions(b));
    let squares: f64 = a.iter().zip(&b).map(|(a, b)| (a - b) * (a - b)).sum();
    -10.0 * (squares / a.len() as f64).log10()
}

fn pixel(raster: &Raster, x: u32, y: u32) -> Vec<u8> {
    let count = raster.channels().count();
    let Samples::U8(samples) = raster.samples() else { panic!("8 bits expected") };
    samples[(y * raster.size().w + x) as usize * count..][..count].to_vec()
}

/// Checks that a fixture decodes to what it was made of, within `tolerance`.
fn check_close(name: &str, expected: &Picture, at_least_db: f64) {
    let got = decode(&read(name)).unwrap();
    let psnr = psnr(got.first(), expected.first());
    assert!(psnr >= at_least_db, "{name}: {psnr:.1} dB");
}

fn assert_corrupt(what: &str, bytes: &[u8]) {
    let got = decode(bytes);
    assert!(matches!(got, Err(Error::Corrupt { .. })), "{what}: {:?}", got.map(|picture| picture.first().size()));
}

fn limit_name(result: Result<Picture, Error>) -> &'static str {
    match result {
        Err(Error::Limit { name, .. }) => name,
        other => panic!("not refused by a limit: {:?}", other.map(|picture| picture.frames.len())),
    }
}

/// A deadline of a render that was cancelled.
fn cancelled() -> Deadline {
    Deadline::new(Instant::now() + Duration::from_secs(3600), Arc::new(AtomicBool::new(true)))
}

fn in_ms(ms: u64) -> Deadline {
    Deadline::new(Instant::now() + Duration::from_millis(ms), Arc::default())
}

/// Noise, which takes longest to write and to read.
fn noise(side: u32) -> Picture {
    let samples = (0..side * side * 3).map(|at| (at.wrapping_mul(0x9E37_79B1).rotate_left(9) ^ at) as u8).collect();
    Picture::still(Raster::new(Size::new(side, side), Channels::Rgb, Samples::U8(samples)))
}

/// A folder of the shared corpus, if it is on this machine.
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
