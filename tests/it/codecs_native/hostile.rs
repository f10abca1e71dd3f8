//! Bombs, truncations, flipped bits and the shared hostile corpora.

use std::panic::catch_unwind;
use std::time::{Duration, Instant};

use progimage::pipeline::codec::sniff;
use progimage::pipeline::{Error, Picture};

use super::{corpus, decode, files, fixtures, inspect};
use crate::fixtures::native::png::{Chunk, file, header, iccp};

/// A file with this chunk before a valid pixel.
fn with_chunk(chunk: Chunk) -> Vec<u8> {
    let data = (b"IDAT", fdeflate::compress_to_vec(&[0, 7]));
    file(&[header(1, 1, 0, 8, 0), chunk, data, (b"IEND", vec![])])
}

#[test]
fn fifty_gigapixels_are_known_at_the_gate_and_refused_before_decoding() {
    let bomb = file(&[header(250_000, 200_000, 2, 8, 0), (b"IDAT", vec![0x78, 0x9c]), (b"IEND", vec![])]);
    assert_eq!(inspect(&bomb).expect("well formed").size.pixels(), 50_000_000_000);
    assert!(matches!(decode(&bomb), Err(Error::Limit { name: "side_px_max", .. })));
}

#[test]
fn sides_whose_bytes_exceed_64_bits_are_counted_at_the_gate() {
    const SIDE: u32 = i32::MAX as u32;
    let bomb = file(&[header(SIDE, SIDE, 6, 16, 0), (b"IDAT", vec![0x78, 0x9c]), (b"IEND", vec![])]);
    assert_eq!(inspect(&bomb).expect("well formed").working_bytes, u64::MAX);
    assert!(matches!(decode(&bomb), Err(Error::Limit { name: "side_px_max", .. })));
}

#[test]
fn compressed_metadata_is_never_inflated_past_its_bound() {
    // 64 MiB of zeros in some 64 KiB; what would inflate them all would hold 16 times the bound of a profile.
    let zeros = vec![0; 64 << 20];
    let text = [b"Comment\0\0".to_vec(), fdeflate::compress_to_vec(&zeros)].concat();
    for chunk in [(b"zTXt", text), (b"iCCP", iccp(&zeros))] {
        let picture = decode(&with_chunk(chunk)).expect("the pixel is whole");
        assert_eq!(picture.icc, None);
    }
}

#[test]
fn long_metadata_is_skipped() {
    for name in [b"tEXt", b"eXIf", b"zzZz"] {
        assert!(decode(&with_chunk((name, vec![b'a'; 3 << 20]))).is_ok());
    }
}

/// Cut at every byte of a small file, at some of a large one.
fn cuts(length: usize) -> impl Iterator<Item = usize> {
    (0..length).step_by((length / 400).max(1)).chain(length.saturating_sub(16)..length)
}

#[test]
fn a_truncated_file_gives_the_whole_picture_or_none() {
    for (name, bytes) in fixtures() {
        let whole = decode(&bytes).expect("valid");
        for cut in cuts(bytes.len()) {
            if let Ok(picture) = decode(&bytes[..cut]) {
                assert!(picture.frames == whole.frames, "{name} cut to {cut} of {} bytes", bytes.len());
                assert!(name.ends_with(".jpg"), "{name} cut to {cut}: a PNG needs its end chunk");
            }
        }
    }
}

#[test]
fn flipped_bits_err_or_succeed() {
    for (name, bytes) in fixtures() {
        let header = inspect(&bytes).expect("valid");
        for at in (0..bytes.len()).step_by((bytes.len() / 150).max(1)) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            match decode(&flipped) {
                Ok(picture) => {
                    assert!(name.ends_with(".jpg") || shape(&picture) == (header.size, header.frames), "{name}")
                }
                Err(Error::Corrupt { .. } | Error::Unsupported { .. } | Error::Limit { .. } | Error::UnknownFormat) => {
                }
                Err(other) => panic!("{name} at {at}: {other}"),
            }
        }
    }
}

fn shape(picture: &Picture) -> (progimage::pipeline::Size, u32) {
    (picture.first().size(), picture.frames.len() as u32)
}

/// What became of a corpus.
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
            Err(Error::UnknownFormat) => self.unknown += 1,
            Err(_) => self.refused += 1,
        }
        if took > self.slowest.0 {
            self.slowest = (took, name.to_owned());
        }
    }
}

/// Through the gate and, where it lets it, the decoder, when the format is one of these two.
fn decode_ours(bytes: &[u8]) -> Result<(), Error> {
    if !["jpeg", "png"].contains(&sniff(bytes)?.name) {
        return Err(Error::UnknownFormat);
    }
    let header = inspect(bytes)?;
    let picture = decode(bytes)?;
    assert_eq!(shape(&picture), (header.size, header.frames), "the gate said otherwise");
    Ok(())
}
