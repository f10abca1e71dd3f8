//! Laws over every codec and every fixture.

use progimage::pipeline::codec::{self, Lossless};
use progimage::pipeline::{Channels, Error, Picture, Raster, Samples, Size};
use proptest::prelude::*;

#[test]
fn every_codec_says_what_it_is() {
    for codec in super::codecs() {
        assert!(codec.doc.len() > 20 && codec.doc.ends_with('.'), "{codec:?}: {:?}", codec.doc);
        assert!(codec.media_type.starts_with("image/"), "{codec:?}");
        let Some(encoder) = &codec.encoder else { continue };
        assert_eq!(encoder.lossless, Lossless::Always, "{codec:?}");
        assert!(!encoder.channels.is_empty() && !encoder.channels.contains(&Channels::Cmyk), "{codec:?}");
    }
}

#[test]
fn every_codec_has_fixtures_and_recognises_them() {
    let sources = super::sources();
    for codec in super::codecs() {
        assert!(sources.iter().any(|(_, of, _)| *of == codec), "{codec:?} has no fixture");
    }
    for (name, codec, bytes) in sources {
        assert_eq!(codec::sniff(&bytes).ok(), Some(codec), "{name}");
        assert!(!codec::sniff(&bytes[..2]).is_ok_and(|sniffed| sniffed.name == "tga"), "{name}");
    }
}

#[test]
fn what_inspect_says_is_what_decode_gives() {
    for (name, codec, bytes) in super::sources() {
        let header = (codec.inspect)(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        let picture = super::decode(codec, &bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        let bits = if matches!(picture.first().samples(), Samples::U16(_)) { 16 } else { 8 };
        assert_eq!(header.size, picture.first().size(), "{name}");
        assert_eq!((header.channels, header.bits), (picture.first().channels(), bits), "{name}");
        assert_eq!((header.frames, header.icc), (1, picture.icc.is_some()), "{name}");
    }
}

/// A file cut anywhere is refused, or gives the whole picture where only what follows the pixels was cut.
#[test]
fn a_cut_file_never_gives_another_picture() {
    for (name, codec, bytes) in super::sources() {
        let whole = super::decode(codec, &bytes).expect("a fixture decodes");
        for length in 0..bytes.len() {
            let cut = &bytes[..length];
            let inspected = (codec.inspect)(cut);
            match super::decode(codec, cut) {
                Err(error) => assert!(refused(&error), "{name} cut to {length}: {error:?}"),
                Ok(picture) => {
                    assert!(inspected.is_ok(), "{name} cut to {length}: decoded though refused");
                    assert!(picture == whole, "{name} cut to {length}: another picture");
                }
            }
        }
    }
}

/// The errors that a file can earn; others would be bugs or the server's own.
fn refused(error: &Error) -> bool {
    matches!(error, Error::Corrupt { .. } | Error::Unsupported { .. } | Error::Limit { .. })
}

#[test]
fn a_damaged_file_errs_or_keeps_to_its_header() {
    for (name, codec, bytes) in super::sources() {
        for at in 0..bytes.len() {
            // Headers are damaged in every bit and both extremes, bodies in one bit of a byte in five.
            let masks: Vec<u8> = match at {
                0..128 => (0..8).map(|bit| 1 << bit).chain([bytes[at], !bytes[at]]).collect(),
                _ if at % 5 == 0 => vec![1 << (at / 5 % 8)],
                _ => Vec::new(),
            };
            for mask in masks {
                let mut damaged = bytes.clone();
                damaged[at] ^= mask;
                let header = (codec.inspect)(&damaged);
                match super::decode(codec, &damaged) {
                    Err(error) => assert!(refused(&error), "{name} at {at} ^ {mask}: {error:?}"),
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

#[test]
fn a_cancelled_decode_stops() {
    use progimage::pipeline::codec::DecodeOptions;
    let (limits, cancelled) = (super::limits(), std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true)));
    let deadline =
        progimage::pipeline::Deadline::new(std::time::Instant::now() + std::time::Duration::from_secs(60), cancelled);
    let picture = Picture::still(Raster::new(Size::new(512, 512), Channels::Rgb, Samples::U8(noise(512 * 512 * 3))));
    for name in ["tiff", "bmp", "tga", "qoi"] {
        let codec = codec::by_name(name).expect("a row");
        let bytes = super::encode(codec, &picture).expect("encodes");
        let options = DecodeOptions { limits: &limits, at_least: None, frames_max: 1, deadline: &deadline };
        assert_eq!((codec.decode)(&bytes, &options), Err(Error::Cancelled), "{name}");
    }
}

fn noise(count: usize) -> Vec<u8> {
    (0..count as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// Any raster that some format holds: sides to 40, samples in runs and noise.
fn rasters(channels: Channels, wide: bool) -> impl Strategy<Value = Raster> {
    (1_u32..40, 1_u32..40, any::<u64>(), 1_usize..9).prop_map(move |(w, h, seed, run)| {
        let size = Size::new(w, h);
        let count = size.pixels() as usize * channels.count();
        let sample = |index: usize| {
            let mixed = (index / channels.count() / run * 4 + index % channels.count()) as u64 ^ seed;
            (mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as u16
        };
        let samples = (0..count).map(sample);
        let samples =
            if wide { Samples::U16(samples.collect()) } else { Samples::U8(samples.map(|v| v as u8).collect()) };
        Raster::new(size, channels, samples)
    })
}

#[test]
fn a_lossless_round_trip_is_exact() {
    let config = ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() };
    for codec in super::codecs() {
        let Some(encoder) = &codec.encoder else { continue };
        for &channels in encoder.channels {
            for wide in if encoder.sixteen_bit { vec![false, true] } else { vec![false] } {
                let law = |raster: Raster| {
                    let picture = Picture::still(raster);
                    let bytes = super::encode(codec, &picture).expect("encodes");
                    prop_assert_eq!(codec::sniff(&bytes).map(|sniffed| family(sniffed.name)), Ok(family(codec.name)));
                    let sniffed = codec::sniff(&bytes).expect("sniffed");
                    prop_assert_eq!(super::decode(sniffed, &bytes), Ok(picture));
                    Ok(())
                };
                // A runner counts its cases over all its runs: each law needs its own.
                proptest::test_runner::TestRunner::new(config.clone())
                    .run(&rasters(channels, wide), law)
                    .unwrap_or_else(|error| panic!("{codec:?} {channels:?}: {error}"));
            }
        }
    }
}

/// `.pnm` writes what the other two rows read.
fn family(name: &str) -> &str {
    if matches!(name, "ppm" | "pgm") { "pnm" } else { name }
}

#[test]
fn the_largest_sides_of_a_format_are_written_and_read() {
    for (name, w, h) in [("ico", 256, 256), ("tga", 4096, 1), ("bmp", 1, 4096), ("tiff", 4096, 2), ("qoi", 4096, 3)] {
        let codec = codec::by_name(name).expect("a row");
        let channels = *codec.encoder.as_ref().expect("written").channels.last().expect("some");
        let size = Size::new(w, h);
        let raster = Raster::new(size, channels, Samples::U8(noise(size.pixels() as usize * channels.count())));
        let picture = Picture::still(raster);
        let bytes = super::encode(codec, &picture).expect("encodes");
        assert!(super::decode(codec, &bytes) == Ok(picture), "{name}");
    }
    let ico = codec::by_name("ico").expect("a row");
    let wide = Raster::new(Size::new(257, 1), Channels::Rgba, Samples::U8(noise(257 * 4)));
    assert!(matches!(super::encode(ico, &Picture::still(wide)), Err(Error::Encode { .. })));
}
