//! Laws over every codec and every fixture.

use progimage::pipeline::codec::{self, CODECS, Codec, DecodeOptions, EncodeOptions, Lossless};
use progimage::pipeline::{Channels, Deadline, Error, Limits, Picture, Raster, Samples, Size};
use proptest::prelude::*;

use super::{
    cancelled, corpus, decode, decode_frames, decode_small, files, fixtures, in_ms, inspect, limit_name, noise, psnr,
    row,
};
use crate::fixtures::{pattern, read, sources};

/// The formats that are always written without loss.
const EXACT: &[&str] = &["tiff", "bmp", "ico", "qoi", "ppm", "pgm", "pnm", "hdr", "exr", "farbfeld", "dds", "tga"];

fn exact() -> impl Iterator<Item = &'static Codec> {
    EXACT.iter().map(|name| row(name))
}

fn encode_exactly(codec: &Codec, picture: &Picture) -> Result<Vec<u8>, Error> {
    let encoder = codec.encoder.as_ref().expect("a format that is written");
    (encoder.encode)(picture, &EncodeOptions { lossless: true, ..EncodeOptions::new(&Deadline::default()) })
}

#[test]
fn every_codec_says_what_it_is() {
    for codec in exact() {
        assert!(codec.doc.len() > 20 && codec.doc.ends_with('.'), "{codec:?}: {:?}", codec.doc);
        assert!(codec.media_type.starts_with("image/"), "{codec:?}");
        let Some(encoder) = &codec.encoder else { continue };
        assert_eq!(encoder.lossless, Lossless::Always, "{codec:?}");
        assert!(!encoder.channels.is_empty() && !encoder.channels.contains(&Channels::Cmyk), "{codec:?}");
    }
}

/// A fixture with the codec of its extension.
fn with_codec((name, bytes): (String, Vec<u8>)) -> Option<(String, &'static Codec, Vec<u8>)> {
    let codec = codec::by_extension(name.rsplit_once('.')?.1)?;
    Some((name, codec, bytes))
}

#[test]
fn every_codec_has_fixtures_and_recognises_them() {
    let sources: Vec<(String, &Codec, Vec<u8>)> = sources().into_iter().filter_map(with_codec).collect();
    for codec in CODECS {
        assert!(sources.iter().any(|(_, of, _)| of == codec), "{codec:?} has no fixture");
    }
    for (name, codec, bytes) in sources {
        assert_eq!(codec::sniff(&bytes).ok(), Some(codec), "{name}");
        assert!(!codec::sniff(&bytes[..2]).is_ok_and(|sniffed| sniffed.name == "tga"), "{name}");
    }
}

#[test]
fn what_inspect_says_is_what_decode_gives() {
    for (name, bytes) in sources().into_iter().filter(|(_, bytes)| codec::sniff(bytes).is_ok()) {
        let header = inspect(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        let picture = decode(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        let first = picture.first();
        let bits = if matches!(first.samples(), Samples::U16(_)) { 16 } else { 8 };
        let decoded = (first.size(), first.channels(), bits, picture.frames.len() as u32, picture.icc.is_some());
        assert_eq!((header.size, header.channels, header.bits, header.frames, header.icc), decoded, "{name}");
        assert!(decode_frames(&bytes, &Limits::default(), 1).unwrap().frames == picture.frames[..1], "{name}");
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

#[test]
fn photographs_are_close_to_their_originals() {
    let Some(photos) = corpus("photos") else { return };
    let original = std::fs::File::open(photos.join("png/06.png")).unwrap();
    let mut original = png::Decoder::new(std::io::BufReader::new(original)).read_info().unwrap();
    let mut samples = vec![0; original.output_buffer_size().unwrap()];
    let info = original.next_frame(&mut samples).unwrap();
    assert_eq!(info.color_type, png::ColorType::Rgb);
    let original = Raster::new(Size::new(info.width, info.height), Channels::Rgb, Samples::U8(samples));
    for format in ["webp", "avif"] {
        let picture = decode(&std::fs::read(photos.join(format).join("06").with_extension(format)).unwrap()).unwrap();
        let psnr = psnr(picture.first(), &original);
        assert!(psnr > 38.0, "{format}: {psnr:.1} dB: a wrong matrix or range?");
    }
}

#[test]
fn limits_hold_in_decode_too() {
    // Of a cropped image all pixels are decoded.
    let whole = |(name, _): &(String, Vec<u8>)| name != "cropped_clap.avif";
    for (name, bytes) in fixtures(&["webp", "avif", "gif"]).into_iter().filter(whole) {
        let size = inspect(&bytes).unwrap().size;
        let limits = |pixels_max| Limits { side_px_max: 1, pixels_max, ..Limits::default() };
        assert!(decode_frames(&bytes, &limits(size.pixels()), 1).is_ok(), "{name}");
        let refused = decode_frames(&bytes, &limits(size.pixels() - 1), 1);
        assert_eq!(limit_name(refused), "pixels_max", "{name}");
    }
}

#[test]
fn jpeg_and_png_stop_when_cancelled() {
    let deadline = cancelled();
    for (name, bytes) in fixtures(&["jpg", "png"]) {
        let limits = Limits::default();
        let options = DecodeOptions { frames_max: 256, ..DecodeOptions::new(&limits, &deadline) };
        let codec = codec::sniff(&bytes).expect("a known format");
        assert_eq!((codec.decode)(&bytes, &options).err(), Some(Error::Cancelled), "{name}");
    }
    for format in ["jpeg", "png"] {
        let picture = decode(&read("rgb_8bit.png")).expect("valid");
        let options = EncodeOptions::new(&deadline);
        let encoder = row(format).encoder.as_ref().expect("it is written");
        assert_eq!((encoder.encode)(&picture, &options), Err(Error::Cancelled), "{format}");
    }
}

#[test]
fn tiff_bmp_tga_and_qoi_stop_when_cancelled() {
    let (limits, deadline) = (Limits::default(), cancelled());
    let picture = Picture::still(Raster::new(Size::new(512, 512), Channels::Rgb, Samples::U8(spread(512 * 512 * 3))));
    for name in ["tiff", "bmp", "tga", "qoi"] {
        let codec = row(name);
        let bytes = encode_exactly(codec, &picture).expect("encodes");
        let options = DecodeOptions::new(&limits, &deadline);
        assert_eq!((codec.decode)(&bytes, &options), Err(Error::Cancelled), "{name}");
    }
}

#[test]
fn encoders_stop_inside_a_frame() {
    let picture = noise(1500);
    for (format, lossless) in [("gif", false), ("webp", false), ("webp", true)] {
        let encoder = codec::by_name(format).unwrap().encoder.as_ref().unwrap();
        let deadline = in_ms(5);
        let options = EncodeOptions { lossless, ..EncodeOptions::new(&deadline) };
        assert_eq!((encoder.encode)(&picture, &options), Err(Error::Timeout), "{format}, lossless: {lossless}");
    }
}

/// Samples without a pattern.
fn spread(count: usize) -> Vec<u8> {
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
    for codec in exact() {
        let Some(encoder) = &codec.encoder else { continue };
        for &channels in encoder.channels {
            for wide in if encoder.sixteen_bit { vec![false, true] } else { vec![false] } {
                let law = |raster: Raster| {
                    let picture = Picture::still(raster);
                    let bytes = encode_exactly(codec, &picture).expect("encodes");
                    prop_assert_eq!(codec::sniff(&bytes).map(|sniffed| family(sniffed.name)), Ok(family(codec.name)));
                    let sniffed = codec::sniff(&bytes).expect("sniffed");
                    prop_assert_eq!(decode_small(sniffed, &bytes), Ok(picture));
                    Ok(())
                };
                // A runner counts its cases over all its runs, so each law needs its own.
                proptest::test_runner::TestRunner::new(config.clone())
                    .run(&rasters(channels, wide), law)
                    .unwrap_or_else(|error| panic!("{codec:?} {channels:?}: {error}"));
            }
        }
    }
}

/// The row `pnm` writes what the other two rows read.
fn family(name: &str) -> &str {
    if matches!(name, "ppm" | "pgm") { "pnm" } else { name }
}

#[test]
fn the_largest_sides_of_a_format_are_written_and_read() {
    for (name, w, h) in [("ico", 256, 256), ("tga", 4096, 1), ("bmp", 1, 4096), ("tiff", 4096, 2), ("qoi", 4096, 3)] {
        let codec = row(name);
        let channels = *codec.encoder.as_ref().expect("written").channels.last().expect("some");
        let size = Size::new(w, h);
        let raster = Raster::new(size, channels, Samples::U8(spread(size.pixels() as usize * channels.count())));
        let picture = Picture::still(raster);
        let bytes = encode_exactly(codec, &picture).expect("encodes");
        assert!(decode_small(codec, &bytes) == Ok(picture), "{name}");
    }
    let ico = row("ico");
    let wide = Raster::new(Size::new(257, 1), Channels::Rgba, Samples::U8(spread(257 * 4)));
    assert!(matches!(encode_exactly(ico, &Picture::still(wide)), Err(Error::Encode { .. })));
}

fn random(channels: Channels) -> impl Strategy<Value = Picture> {
    (1..40u32, 1..40u32).prop_flat_map(move |(w, h)| {
        let count = w as usize * h as usize * channels.count();
        let raster = move |samples| Raster::new(Size::new(w, h), channels, Samples::U8(samples));
        prop::collection::vec(any::<u8>(), count).prop_map(move |samples| Picture::still(raster(samples)))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn lossless_keeps_every_sample(
        rgb in random(Channels::Rgb),
        rgba in random(Channels::Rgba),
        gray in random(Channels::Gray),
        gray_alpha in random(Channels::GrayAlpha),
    ) {
        for picture in [&rgb, &rgba, &gray, &gray_alpha] {
            prop_assert_eq!(&decode(&pattern::encode("avif", picture, None, true)).unwrap(), picture);
        }
        prop_assert_eq!(&decode(&pattern::encode("webp", &rgb, None, true)).unwrap(), &rgb);
        // A picture that is opaque throughout comes back without alpha.
        let got = decode(&pattern::encode("webp", &rgba, None, true)).unwrap();
        prop_assert!(got == rgba || got.first().channels() == Channels::Rgb);
    }
}

#[test]
fn the_same_picture_gives_the_same_bytes_and_quality_costs_bytes() {
    for format in ["webp", "avif"] {
        let encode = |quality| pattern::encode(format, &pattern::pattern(Channels::Rgba), Some(quality), false);
        assert_eq!(encode(75), encode(75), "{format}");
        assert!(encode(20).len() < encode(95).len(), "{format}");
    }
    let gif = || pattern::encode("gif", &pattern::pattern(Channels::Rgba), None, false);
    assert_eq!(gif(), gif());
}
