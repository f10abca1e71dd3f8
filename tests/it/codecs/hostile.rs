//! Files that are made to be expensive, cut files, flipped bits and the shared hostile corpora.

use std::panic::catch_unwind;
use std::time::{Duration, Instant};

use progimage::pipeline::codec::{self, Codec, DecodeOptions, sniff};
use progimage::pipeline::{Deadline, Error, Limits, Picture, Size};
use proptest::prelude::*;

use super::png::hostile::with_chunk;
use super::{corpus, decode, decode_small, files, fixtures, inspect};
use crate::fixtures::png::{file, header};
use crate::fixtures::{read, sources};

/// Checks that `decode` refuses the file with the limits of a server, before memory of the image's size is touched.
/// `inspect` refuses it too where `gate_refuses`.
pub fn refused(what: &str, name: &str, bytes: &[u8], gate_refuses: bool) {
    let codec = codec::by_name(name).expect("a row of the table");
    assert!((codec.sniff)(bytes), "{what}: not even sniffed as {name}");
    let inspected = (codec.inspect)(bytes);
    assert_eq!(inspected.is_err(), gate_refuses, "{what}: {inspected:?}");
    let (limits, deadline) = (Limits::default(), Deadline::default());
    let options = DecodeOptions::new(&limits, &deadline);
    let decoded = (codec.decode)(bytes, &options);
    let by_decode = matches!(decoded, Err(Error::Corrupt { .. } | Error::Limit { .. } | Error::Unsupported { .. }));
    assert!(by_decode, "{what}: {:?}", decoded.map(|picture| picture.first().size()));
}

/// `bytes` with some overwritten.
pub fn patched(bytes: &[u8], patches: &[(usize, &[u8])]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for &(at, patch) in patches {
        bytes[at..at + patch.len()].copy_from_slice(patch);
    }
    bytes
}

const GIANT: [u8; 4] = [0, 0, 0xF0, 0];

#[test]
fn gigapixels_in_a_few_bytes_are_refused() {
    let big = [0, 0xF0, 0, 0]; // 15,728,640 from the big end
    refused("farbfeld", "farbfeld", &[b"farbfeld".as_slice(), &big, &big, &[0; 34]].concat(), true);
    refused("qoi", "qoi", &[b"qoif".as_slice(), &big, &big, &[4, 0], &[0xFD; 50]].concat(), true);
    for (format, head) in [
        ("pgm", "P5 60000 60000 65535\n"),
        ("ppm", "P6 60000 60000 255\n"),
        ("ppm", "P3 60000 60000 255\n"),
        ("pnm", "P1 60000 60000\n"),
        ("pnm", "P4 60000 60000\n"),
        ("pnm", "P7\nWIDTH 4294967295\nHEIGHT 4294967295\nDEPTH 4\nMAXVAL 255\nTUPLTYPE RGB_ALPHA\nENDHDR\n"),
        ("hdr", "#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 60000 +X 60000\n"),
        ("hdr", "#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 4294967295 +X 4294967295\n"),
    ] {
        refused(head, format, &[head.as_bytes(), &[b' '; 50]].concat(), true);
    }
    let tga = read("rgb_24bit.tga");
    refused("tga", "tga", &patched(&tga, &[(12, &[0xFF; 4])]), true);
    let rle = patched(&read("rgba_32bit_rle.tga"), &[(12, &[0xFF; 4])]);
    refused("tga in packets", "tga", &rle, true);
    let bmp = read("rgb_24bit.bmp");
    refused("bmp", "bmp", &patched(&bmp, &[(18, &[0xFF, 0xFF, 0, 0, 0xFF, 0xFF, 0, 0])]), true);
    // Run-length codes may leave out everything, so only the limits refuse this.
    let rle = patched(&read("palette_8bit_rle.bmp"), &[(18, &[0xFF, 0xFF, 0, 0, 0xFF, 0xFF, 0, 0])]);
    refused("bmp in runs", "bmp", &rle, false);
    let dds = read("dxt1.dds");
    refused("dds", "dds", &patched(&dds, &[(12, &GIANT), (16, &GIANT)]), true);
    let png = patched(&read("rgba_png.ico"), &[(22 + 16, &[0, 0, 0xF0, 0, 0, 0, 0xF0, 0])]);
    refused("a png of an icon", "ico", &png, false);
    let png = patched(&read("rgba_png.ico"), &[(22 + 16, &[0xFF; 8])]);
    refused("a png of an icon whose bytes exceed 64 bits", "ico", &png, false);
}

const NATIVE: &[&str] = &["jpg", "png"];
const MODERN: &[&str] = &["webp", "avif", "gif"];

/// Every fixture of a further format with the codec of its extension.
fn others() -> impl Iterator<Item = (String, &'static Codec, Vec<u8>)> {
    let codec = |name: &str| codec::by_extension(name.rsplit_once('.')?.1);
    let all = sources().into_iter().filter(|(name, _)| !NATIVE.iter().chain(MODERN).any(|known| name.ends_with(known)));
    all.filter_map(move |(name, bytes)| Some((codec(&name)?, name, bytes)))
        .map(|(codec, name, bytes)| (name, codec, bytes))
}

/// Whether a file can cause this error. Others would be bugs or the server's own.
fn earned(error: &Error) -> bool {
    matches!(error, Error::Corrupt { .. } | Error::Unsupported { .. } | Error::Limit { .. })
}

/// The lengths to cut a file to: every one for a small file, some for a large one.
fn cuts(length: usize) -> impl Iterator<Item = usize> {
    (0..length).step_by((length / 120).max(1)).chain(length.saturating_sub(16)..length)
}

#[test]
fn a_cut_jpeg_or_png_gives_whole_frames_or_none() {
    for (name, bytes) in fixtures(NATIVE) {
        let whole = decode(&bytes).expect("valid");
        for cut in cuts(bytes.len()) {
            if let Ok(picture) = decode(&bytes[..cut]) {
                // An animation of which only the default image is there is a still, without the alpha of a canvas.
                let is_still = name.starts_with("animated") && picture.frames.len() == 1;
                let shown = &whole.frames[..picture.frames.len()];
                assert!(is_still || picture.frames == shown, "{name} cut to {cut} of {} bytes", bytes.len());
                assert!(name.starts_with("animated") || shown.len() == whole.frames.len(), "{name} cut to {cut}");
            }
        }
    }
}

#[test]
fn a_cut_webp_avif_or_gif_gives_whole_frames_or_none() {
    for (name, bytes) in fixtures(MODERN) {
        for length in cuts(bytes.len()) {
            let cut = &bytes[..length];
            let Ok(codec) = codec::sniff(cut) else { continue };
            let (limits, deadline) = (Limits::default(), Deadline::default());
            let options = DecodeOptions { frames_max: 999, ..DecodeOptions::new(&limits, &deadline) };
            let _ = (codec.inspect)(cut);
            if let Ok(picture) = (codec.decode)(cut, &options) {
                // Only data after the frames that are shown was cut off.
                let whole = (codec.decode)(&bytes, &options).expect("valid");
                let shown = picture.frames.len();
                let rasters = |picture: &Picture| -> Vec<_> {
                    picture.frames[..shown].iter().map(|frame| frame.raster.clone()).collect()
                };
                // A canvas has alpha if a later frame needs it.
                let alike = picture.first().channels() == whole.first().channels();
                assert!(!alike || rasters(&picture) == rasters(&whole), "{name} cut to {length}: {shown} frames");
            }
        }
    }
}

/// A file cut anywhere is refused, or gives the whole picture where only what follows the pixels was cut.
#[test]
fn a_cut_file_of_another_format_gives_the_whole_picture_or_none() {
    for (name, codec, bytes) in others() {
        let whole = decode_small(codec, &bytes).expect("a fixture decodes");
        for length in cuts(bytes.len()) {
            let cut = &bytes[..length];
            let inspected = (codec.inspect)(cut);
            match decode_small(codec, cut) {
                Err(error) => assert!(earned(&error), "{name} cut to {length}: {error:?}"),
                Ok(picture) => {
                    assert!(inspected.is_ok(), "{name} cut to {length}: decoded though refused");
                    assert!(picture == whole, "{name} cut to {length}: another picture");
                }
            }
        }
    }
}

#[test]
fn a_damaged_jpeg_or_png_errs_or_succeeds() {
    for (name, bytes) in fixtures(NATIVE) {
        let header = inspect(&bytes).expect("valid");
        for at in (0..bytes.len()).step_by((bytes.len() / 150).max(1)) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            match decode(&flipped) {
                Ok(picture) => {
                    let (size, frames) = shape(&picture);
                    assert!(name.ends_with(".jpg") || size == header.size && frames <= header.frames, "{name}")
                }
                Err(
                    Error::Corrupt { .. }
                    | Error::Unsupported { .. }
                    | Error::Limit { .. }
                    | Error::UnknownFormat
                    | Error::UnreadFormat { .. },
                ) => {}
                Err(other) => panic!("{name} at {at}: {other}"),
            }
        }
    }
}

fn shape(picture: &Picture) -> (Size, u32) {
    (picture.first().size(), picture.frames.len() as u32)
}

#[test]
fn a_damaged_webp_avif_or_gif_errs_or_keeps_to_its_header() {
    let limits = Limits { pixels_max: 1 << 20, ..Limits::default() };
    for (name, bytes) in fixtures(MODERN) {
        // Every bit of small files, a spread of those of larger ones.
        let bits = bytes.len() * 8;
        for bit in (0..bits).step_by(bits.div_ceil(400)) {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let Ok(codec) = codec::sniff(&damaged) else { continue };
            let deadline = Deadline::default();
            let options = DecodeOptions { frames_max: 9, ..DecodeOptions::new(&limits, &deadline) };
            let (header, picture) = ((codec.inspect)(&damaged), (codec.decode)(&damaged, &options));
            if let Ok(picture) = picture {
                let header = header.unwrap_or_else(|error| panic!("{name}, bit {bit}: decoded, but {error}"));
                assert_eq!(header.size, picture.first().size(), "{name}, bit {bit}");
                assert_eq!(header.channels, picture.first().channels(), "{name}, bit {bit}");
            }
        }
    }
}

#[test]
fn a_damaged_file_of_another_format_errs_or_keeps_to_its_header() {
    for (name, codec, bytes) in others() {
        for at in 0..bytes.len() {
            // Headers are damaged in three bits of a byte and one extreme, what follows in one bit of a byte in two, bodies in
            // one bit of a byte in eleven.
            let bit = |bit: usize| 1 << (bit % 8);
            let masks: Vec<u8> = match at {
                0..64 => (0..3).map(|place| bit(3 * place + at)).chain([[bytes[at], !bytes[at]][at % 2]]).collect(),
                64..128 if at % 2 == 0 => vec![bit(at / 2)],
                _ if at % 11 == 0 => vec![bit(at / 11)],
                _ => Vec::new(),
            };
            for mask in masks {
                let mut damaged = bytes.clone();
                damaged[at] ^= mask;
                let header = (codec.inspect)(&damaged);
                match decode_small(codec, &damaged) {
                    Err(error) => assert!(earned(&error), "{name} at {at} ^ {mask}: {error:?}"),
                    Ok(picture) => {
                        let header = header.unwrap_or_else(|error| panic!("{name} at {at} ^ {mask}: {error}"));
                        let first = picture.first();
                        assert_eq!((header.size, header.channels), (first.size(), first.channels()), "{name} at {at}");
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_after_a_signature_err_or_succeed(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for start in [&b"GIF89a"[..], b"RIFF\xff\0\0\0WEBPVP8X", b"RIFF\xff\0\0\0WEBPVP8L", b"\0\0\0\x10ftypavif\0\0\0\0"] {
            let _ = decode(&[start, &bytes].concat());
        }
    }
}

/// The outcomes of a corpus.
#[derive(Debug, Default)]
struct Tally {
    files: usize,
    pictures: usize,
    refused: usize,
    unknown: usize,
    slowest: (Duration, String),
}

#[test]
fn hostile_corpora_never_panic() {
    let whole = |bytes: &[u8]| vec![bytes.to_vec()];
    // Streams for an inflater: as image data and as a profile.
    let streams = |bytes: &[u8]| {
        let profile = [b"profile\0\0", bytes].concat();
        let data = (b"IDAT", bytes.to_vec());
        vec![file(&[header(64, 64, 2, 8, 0), data, (b"IEND", vec![])]), with_chunk((b"iCCP", profile))]
    };
    type Wrap<'a> = &'a dyn Fn(&[u8]) -> Vec<Vec<u8>>;
    let folders: [(&str, Wrap); 3] = [("hostile/jpeg", &whole), ("hostile/png", &whole), ("hostile/inflate", &streams)];
    for (folder, wrap) in folders {
        let Some(path) = corpus(folder) else { return };
        let mut tally = Tally::default();
        for (name, bytes) in files(path) {
            wrap(&bytes).iter().for_each(|bytes| tally.count(folder, &name, bytes));
        }
        println!("{folder}: {tally:?}");
        assert!(tally.files > 700, "{folder} is not whole");
    }
}

impl Tally {
    fn count(&mut self, folder: &str, name: &str, bytes: &[u8]) {
        let start = Instant::now();
        let result = catch_unwind(|| decode_ours(bytes)).unwrap_or_else(|_| panic!("{folder}/{name} panics"));
        let took = start.elapsed();
        self.files += 1;
        match result {
            Ok(()) => self.pictures += 1,
            Err(Error::UnknownFormat | Error::UnreadFormat { .. }) => self.unknown += 1,
            Err(_) => self.refused += 1,
        }
        if took > self.slowest.0 {
            self.slowest = (took, name.to_owned());
        }
    }
}

/// Inspects and decodes a JPEG or PNG.
fn decode_ours(bytes: &[u8]) -> Result<(), Error> {
    if !["jpeg", "png"].contains(&sniff(bytes)?.name) {
        return Err(Error::UnknownFormat);
    }
    let header = inspect(bytes)?;
    let picture = decode(bytes)?;
    let (size, frames) = shape(&picture);
    assert!(size == header.size && (1..=header.frames).contains(&frames), "the gate said otherwise");
    Ok(())
}
