//! WebP, AVIF and GIF over the codec table: what is decoded, what is written, and that damage never gives a picture.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use progimage::pipeline::codec::{self, Codec, DecodeOptions, Header};
use progimage::pipeline::{
    Channels, Deadline, Delay, Error, Frame, Limits, Orientation, Picture, Raster, Samples, Size,
};
use proptest::prelude::*;

use crate::fixtures::modern::{self, SIZE, anmf, av01, av1, avif, bmff, encode, ispe, pattern, plain, riff, vp8x};
use crate::fixtures::{read, sources};

fn codec(bytes: &[u8]) -> &'static Codec {
    codec::sniff(bytes).expect("a known format")
}

fn inspect(bytes: &[u8]) -> Result<Header, Error> {
    (codec(bytes).inspect)(bytes)
}

fn decode_with(bytes: &[u8], limits: &Limits, frames_max: u32) -> Result<Picture, Error> {
    let options = DecodeOptions { limits, at_least: None, frames_max, deadline: &Deadline::default() };
    (codec(bytes).decode)(bytes, &options)
}

fn decode(bytes: &[u8]) -> Result<Picture, Error> {
    decode_with(bytes, &Limits::default(), u32::MAX)
}

/// The fixtures of the three formats.
fn modern_sources() -> impl Iterator<Item = (String, Vec<u8>)> {
    let ours = |name: &String| [".webp", ".avif", ".gif"].iter().any(|extension| name.ends_with(extension));
    sources().into_iter().filter(move |(name, _)| ours(name))
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

#[test]
fn the_gate_tells_what_decoding_gives() {
    let mut seen = 0;
    for (name, bytes) in modern_sources() {
        let (header, picture) = (inspect(&bytes).unwrap(), decode(&bytes).unwrap());
        let raster = picture.first();
        let bits = if matches!(raster.samples(), Samples::U16(_)) { 16 } else { 8 };
        assert_eq!((header.size, header.channels), (raster.size(), raster.channels()), "{name}");
        assert_eq!((header.bits, header.frames), (bits, picture.frames.len() as u32), "{name}");
        assert_eq!(header.icc, picture.icc.is_some(), "{name}");
        assert_eq!(decode_with(&bytes, &Limits::default(), 1).unwrap().frames, picture.frames[..1], "{name}");
        seen += 1;
    }
    assert!(seen >= 25, "only {seen} fixtures");
}

#[test]
fn fixtures_show_the_pattern_they_were_made_of() {
    let check = |name: &str, expected: &Picture, at_least_db: f64| {
        let got = decode(&read(name)).unwrap();
        let psnr = psnr(got.first(), expected.first());
        assert!(psnr >= at_least_db, "{name}: {psnr:.1} dB");
    };
    // Hard edges between saturated colours cost what 4:2:0 costs: it is matrices and ranges that are held here.
    check("lossless.webp", &pattern(Channels::Rgb), f64::INFINITY);
    check("lossy.webp", &pattern(Channels::Rgb), 25.0);
    check("alpha.webp", &pattern(Channels::Rgba), 25.0);
    check("orientation_6.webp", &pattern(Channels::Rgb), 25.0);
    check("icc_display_p3.webp", &pattern(Channels::Rgb), 25.0);
    check("8bit_420.avif", &pattern(Channels::Rgb), 25.0);
    check("lossless_444.avif", &pattern(Channels::Rgb), f64::INFINITY);
    check("10bit.avif", &modern::deep_pattern(), 25.0);
    check("alpha.avif", &pattern(Channels::Rgba), 25.0);
    check("gray.avif", &pattern(Channels::Gray), 38.0);
    check("rotated_irot_1.avif", &pattern(Channels::Rgb), 25.0);
}

#[test]
fn premultiplied_avif_is_divided() {
    let got = decode(&read("premultiplied.avif")).unwrap();
    let Samples::U8(expected) = pattern(Channels::Rgb).first().samples().clone() else { panic!() };
    let expected = expected.as_chunks::<3>().0.iter().flat_map(|pixel| [pixel[0], pixel[1], pixel[2], 128]).collect();
    let expected = Raster::new(SIZE, Channels::Rgba, Samples::U8(expected));
    assert!(psnr(got.first(), &expected) > 26.0);
    assert_eq!(pixel(got.first(), 20, 20)[3], 128);
}

#[test]
fn orientation_comes_from_exif_irot_and_imir() {
    assert_eq!(inspect(&read("orientation_6.webp")).unwrap().orientation, Orientation::Rotate90);
    assert_eq!(inspect(&read("rotated_irot_1.avif")).unwrap().orientation, Orientation::Rotate270);
    assert_eq!(inspect(&read("mirrored_imir_1.avif")).unwrap().orientation, Orientation::FlipHorizontal);
    // The properties that libavif writes for each EXIF orientation.
    type Property = (&'static [u8; 4], u8);
    let table: [(u8, &[Property]); 8] = [
        (1, &[]),
        (2, &[(b"imir", 1)]),
        (3, &[(b"irot", 2)]),
        (4, &[(b"imir", 0)]),
        (5, &[(b"irot", 1), (b"imir", 0)]),
        (6, &[(b"irot", 3)]),
        (7, &[(b"irot", 3), (b"imir", 0)]),
        (8, &[(b"irot", 1)]),
    ];
    let data = av1(&pattern(Channels::Rgb), false);
    for (exif, transforms) in table {
        let properties = transforms.iter().map(|(kind, value)| (bmff(kind, &[*value]), true)).collect();
        let file = avif(&[av01(data.clone(), SIZE, properties)], &[]);
        assert_eq!(Some(inspect(&file).unwrap().orientation), Orientation::from_exif(exif), "{exif}");
    }
    // Mirrored first, then turned: the other diagonal.
    let properties = vec![(bmff(b"imir", &[0]), true), (bmff(b"irot", &[1]), true)];
    let file = avif(&[av01(data, SIZE, properties)], &[]);
    assert_eq!(inspect(&file).unwrap().orientation, Orientation::Rotate270FlipH);
}

#[test]
fn colour_beyond_srgb_comes_as_a_profile() {
    for name in ["icc_display_p3.webp", "icc_display_p3.avif"] {
        assert_eq!(decode(&read(name)).unwrap().icc, Some(modern::display_p3()), "{name}");
    }
    let profile = decode(&read("cicp_display_p3.avif")).unwrap().icc.expect("a profile made of CICP");
    moxcms::ColorProfile::new_from_slice(&profile).expect("a valid profile");
    let limits = Limits { icc_bytes_max: 10, ..Limits::default() };
    assert_eq!(decode_with(&read("icc_display_p3.webp"), &limits, 1).unwrap().icc, None);
}

#[test]
fn a_grid_is_put_together_and_cut() {
    let picture = decode(&read("grid.avif")).unwrap();
    let near = |x, expected: [u8; 3]| {
        let got = pixel(picture.first(), x, 49);
        assert!(got.iter().zip(expected).all(|(&got, expected)| got.abs_diff(expected) < 6), "{x}: {got:?}");
    };
    assert_eq!(picture.first().size(), Size::new(100, 50));
    near(0, [200, 40, 30]);
    near(63, [200, 40, 30]);
    near(64, [30, 60, 210]);
    near(99, [30, 60, 210]);
}

#[test]
fn webp_frames_are_disposed_of_and_blended() {
    let picture = decode(&read("animated_dispose_and_blend.webp")).unwrap();
    assert_eq!(picture.plays, 3);
    assert_eq!(picture.frames.iter().map(|frame| frame.delay.ms()).collect::<Vec<_>>(), [100, 50, 70]);
    let at = |frame: usize, x, y| pixel(&picture.frames[frame].raster, x, y);
    assert_eq!(at(0, 4, 4), [255, 0, 0, 255]);
    assert_eq!(at(1, 4, 4), [0, 255, 0, 255]);
    assert_eq!(at(2, 4, 4)[3], 0, "cleared");
    assert_eq!(at(2, 19, 11), [255, 0, 0, 255], "kept");
    let blended = at(2, 15, 5);
    assert!(blended[0].abs_diff(127) < 3 && blended[2].abs_diff(128) < 3 && blended[3] == 255, "{blended:?}");
}

#[test]
fn gif_frames_are_disposed_of_in_each_way() {
    const CLEAR: [u8; 4] = [0; 4];
    let check = |name: &str, left_behind: &[u8]| {
        let picture = decode(&read(name)).unwrap();
        assert_eq!(picture.plays, 5, "{name}: repetitions after the first");
        assert_eq!(picture.frames.iter().map(|frame| frame.delay.ms()).collect::<Vec<_>>(), [70, 0, 200], "{name}");
        let at = |frame: usize, x, y| pixel(&picture.frames[frame].raster, x, y);
        let count = left_behind.len();
        assert_eq!(at(0, 3, 4), [255, 0, 0, 255][..count], "{name}");
        assert_eq!(at(1, 3, 4), [0, 255, 0, 255][..count], "{name}");
        assert_eq!(at(2, 3, 4), left_behind, "{name}");
        assert_eq!(at(2, 7, 4), [0, 0, 255, 255][..count], "{name}");
        assert_eq!(at(2, 13, 10), [255, 0, 0, 255][..count], "{name}");
    };
    check("disposal_keep.gif", &[0, 255, 0]);
    check("disposal_background.gif", &CLEAR);
    check("disposal_previous.gif", &[255, 0, 0]);
}

#[test]
fn gif_palettes_interlacing_and_transparency() {
    assert_eq!(decode(&read("interlaced.gif")).unwrap(), decode(&read("still.gif")).unwrap());
    assert_eq!(pixel(decode(&read("local_palette.gif")).unwrap().first(), 3, 0), [60, 50, 40]);
    let transparent = decode(&read("transparent.gif")).unwrap();
    assert_eq!(
        (pixel(transparent.first(), 0, 0), pixel(transparent.first(), 3, 0)),
        (vec![255, 0, 0, 255], vec![0; 4])
    );
    assert_eq!(pixel(decode(&read("1x1.gif")).unwrap().first(), 0, 0), [255, 255, 0]);
}

fn animation(channels: Channels, frames: u8) -> Picture {
    let size = Size::new(9, 7);
    let frame = |index: u8| {
        let mut samples = Vec::new();
        for at in 0..size.pixels() as u32 {
            let moved = u32::from(index) * 5;
            samples.extend([if at < moved { 200 } else { 10 }, index, 30]);
            if channels.alpha() {
                samples.push(if (moved..moved + 9).contains(&at) { 0 } else { 255 });
            }
        }
        // What is transparent has no colour that could be kept.
        for pixel in samples.chunks_exact_mut(channels.count()).filter(|pixel| pixel.get(3) == Some(&0)) {
            pixel.fill(0);
        }
        let raster = Raster::new(size, channels, Samples::U8(samples));
        // One of them is shown for no time, which players take as they please.
        let ms = if index == 1 { 0 } else { 40 + 10 * u32::from(index) };
        Frame { raster, delay: Delay::from_ms(ms) }
    };
    Picture { frames: (0..frames).map(frame).collect(), plays: 2, icc: None }
}

#[test]
fn animations_keep_frames_delays_and_plays() {
    for (format, channels) in
        [("gif", Channels::Rgb), ("gif", Channels::Rgba), ("webp", Channels::Rgb), ("webp", Channels::Rgba)]
    {
        let picture = animation(channels, 5);
        let got = decode(&encode(format, &picture, None, true)).unwrap();
        let delays = |picture: &Picture| picture.frames.iter().map(|frame| frame.delay.ms()).collect::<Vec<_>>();
        assert_eq!((got.plays, delays(&got)), (2, delays(&picture)), "{format}");
        for (got, frame) in got.frames.iter().zip(&picture.frames) {
            let visible = |raster: &Raster| -> Vec<[u8; 4]> {
                let at = |index: u32| pixel(raster, index % 9, index / 9);
                (0..63).map(at).map(|p| [p[0], p[1], p[2], *p.get(3).unwrap_or(&255)]).collect()
            };
            assert_eq!(visible(&got.raster), visible(&frame.raster), "{format} {channels:?}");
        }
    }
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
            prop_assert_eq!(&decode(&encode("avif", picture, None, true)).unwrap(), picture);
        }
        prop_assert_eq!(&decode(&encode("webp", &rgb, None, true)).unwrap(), &rgb);
        // A picture that is opaque throughout comes back without alpha.
        let got = decode(&encode("webp", &rgba, None, true)).unwrap();
        prop_assert!(got == rgba || got.first().channels() == Channels::Rgb);
    }

    #[test]
    fn any_bytes_after_a_signature_err_or_succeed(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for start in [&b"GIF89a"[..], b"RIFF\xff\0\0\0WEBPVP8X", b"RIFF\xff\0\0\0WEBPVP8L", b"\0\0\0\x10ftypavif\0\0\0\0"] {
            let _ = decode(&[start, &bytes].concat());
        }
    }
}

#[test]
fn the_same_picture_gives_the_same_bytes_and_quality_costs_bytes() {
    for format in ["webp", "avif"] {
        let encode = |quality| encode(format, &pattern(Channels::Rgba), Some(quality), false);
        assert_eq!(encode(75), encode(75), "{format}");
        assert!(encode(20).len() < encode(95).len(), "{format}");
    }
    let gif = || encode("gif", &pattern(Channels::Rgba), None, false);
    assert_eq!(gif(), gif());
}

#[test]
fn gif_of_many_colours_is_close() {
    let picture = pattern(Channels::Rgb);
    let got = decode(&encode("gif", &picture, None, false)).unwrap();
    let psnr = psnr(got.first(), picture.first());
    assert!(psnr > 30.0, "{psnr:.1} dB");
}

#[test]
fn no_truncation_gives_a_picture() {
    for (name, bytes) in modern_sources() {
        for length in 0..bytes.len() {
            let cut = &bytes[..length];
            let Ok(codec) = codec::sniff(cut) else { continue };
            let options = DecodeOptions {
                limits: &Limits::default(),
                at_least: None,
                frames_max: 999,
                deadline: &Deadline::default(),
            };
            let _ = (codec.inspect)(cut);
            if let Ok(picture) = (codec.decode)(cut, &options) {
                // Only what follows the whole picture was cut off.
                let whole = (codec.decode)(&bytes, &options).expect("valid");
                assert!(name.starts_with("metadata.") && picture.first() == whole.first(), "{name} cut to {length}");
            }
        }
    }
}

#[test]
fn no_flipped_bit_panics() {
    let limits = Limits { pixels_max: 1 << 20, ..Limits::default() };
    for (name, bytes) in modern_sources() {
        // Every bit of small files, a spread of those of larger ones.
        let bits = bytes.len() * 8;
        for bit in (0..bits).step_by(bits.div_ceil(700)) {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let Ok(codec) = codec::sniff(&damaged) else { continue };
            let options =
                DecodeOptions { limits: &limits, at_least: None, frames_max: 9, deadline: &Deadline::default() };
            let (header, picture) = ((codec.inspect)(&damaged), (codec.decode)(&damaged, &options));
            if let Ok(picture) = picture {
                let header = header.unwrap_or_else(|error| panic!("{name}, bit {bit}: decoded, but {error}"));
                assert_eq!(header.size, picture.first().size(), "{name}, bit {bit}");
                assert_eq!(header.channels, picture.first().channels(), "{name}, bit {bit}");
            }
        }
    }
}

fn limit_name(result: Result<Picture, Error>) -> &'static str {
    match result {
        Err(Error::Limit { name, .. }) => name,
        other => panic!("not refused by a limit: {:?}", other.map(|picture| picture.frames.len())),
    }
}

#[test]
fn a_gif_of_35_bytes_that_asks_for_gigabytes_is_described_and_refused() {
    let huge = [0xff; 4];
    let bomb = |screen: [u8; 4]| {
        [
            &b"GIF89a"[..],
            &screen,
            &[0x80, 0, 0, 0, 0, 0, 255, 255, 255],
            &[0x2c, 0, 0, 0, 0],
            &huge,
            &[0, 2, 2, 0x44, 1, 0, 0x3b],
        ]
        .concat()
    };
    assert_eq!(bomb(huge).len(), 35);
    assert_eq!(inspect(&bomb(huge)).unwrap().size, Size::new(65_535, 65_535));
    assert_eq!(limit_name(decode(&bomb(huge))), "side_px_max");
    // The frame alone is as large: it is bounded even on a screen of one pixel.
    assert_eq!(limit_name(decode(&bomb([1, 0, 1, 0]))), "pixels_max");
}

#[test]
fn animations_of_100_000_frames_are_counted_and_refused() {
    let frame = modern::gif_frame((0, 0), (1, 1), &[1]);
    let one = modern::gif((1, 1), None, std::slice::from_ref(&frame));
    // Header, screen and palette of 8 colours come first, the trailer last.
    let (start, frame) = (&one[..13 + 24], &one[13 + 24..one.len() - 1]);
    let gif = [start, &frame.repeat(100_000), &[0x3b]].concat();
    let size = Size::new(1, 1);
    let frame = anmf((0, 0), size, 10, 0, &encode("webp", &plain(size, [1, 2, 3, 255]), None, true));
    let mut chunks = vec![vp8x(2, size), (b"ANIM", vec![0; 6])];
    chunks.extend(std::iter::repeat_n(frame, 100_000));
    for bytes in [gif, riff(&chunks)] {
        assert_eq!(inspect(&bytes).unwrap().frames, 100_000);
        assert_eq!(limit_name(decode(&bytes)), "frames_max");
        assert_eq!(decode_with(&bytes, &Limits::default(), 1).unwrap().frames.len(), 1);
    }
}

fn assert_corrupt(what: &str, bytes: &[u8]) {
    let got = decode(bytes);
    assert!(matches!(got, Err(Error::Corrupt { .. })), "{what}: {:?}", got.map(|picture| picture.first().size()));
}

#[test]
fn codestreams_that_differ_from_their_headers_are_refused() {
    let small = encode("webp", &pattern(Channels::Rgb), None, false);
    let image = (b"VP8 ", modern::image_chunks(&small)[8..].to_vec());
    assert_corrupt("VP8X of another size", &riff(&[vp8x(0, Size::new(90, 62)), image]));
    assert_corrupt(
        "ANMF of another size",
        &riff(&[vp8x(2, SIZE), (b"ANIM", vec![0; 6]), anmf((0, 0), Size::new(44, 31), 1, 0, &small)]),
    );
    assert_corrupt(
        "a frame outside the canvas",
        &riff(&[vp8x(2, SIZE), (b"ANIM", vec![0; 6]), anmf((2, 0), SIZE, 1, 0, &small)]),
    );
    let data = av1(&pattern(Channels::Rgb), false);
    for size in [Size::new(44, 31), Size::new(45, 32), Size::new(1, 1), Size::new(4000, 4000)] {
        assert_corrupt("ispe of another size", &avif(&[av01(data.clone(), size, vec![])], &[]));
    }
}

#[test]
fn sides_of_avif_whose_bytes_exceed_64_bits_are_counted_at_the_gate() {
    let size = Size::new(u32::MAX, u32::MAX);
    let bomb = avif(&[av01(av1(&pattern(Channels::Rgb), false), size, vec![])], &[]);
    assert_eq!(inspect(&bomb).unwrap().working_bytes, u64::MAX);
    assert_eq!(limit_name(decode_with(&bomb, &Limits::default(), 1)), "side_px_max");
}

#[test]
fn uses_of_avif_that_are_not_read_are_named() {
    let check = |what: &str, file: &[u8]| {
        let got = inspect(file);
        assert!(matches!(got, Err(Error::Unsupported { format: "avif", .. })), "{what}: {got:?}");
    };
    let data = av1(&pattern(Channels::Rgb), false);
    let with = |property| avif(&[av01(data.clone(), SIZE, vec![property])], &[]);
    check("a crop", &with((bmff(b"clap", &[0, 0, 0, 9, 0, 0, 0, 1].repeat(4)), true)));
    check("an unknown essential property", &with((bmff(b"lsel", &[0, 1]), true)));
    check("a sequence without a still image", &[bmff(b"ftyp", b"avis\0\0\0\0avis"), bmff(b"moov", b"")].concat());
    let hevc = modern::Item { kind: b"hvc1", data: vec![1], properties: vec![ispe(SIZE)] };
    check("another codec", &avif(&[hevc], &[]));
    let frame_headers = b"\x1a\x01\0".repeat(40);
    let data = [data, frame_headers].concat();
    check("many frames", &avif(&[av01(data, SIZE, vec![])], &[]));
}

#[test]
fn grids_whose_tiles_do_not_fit_are_refused() {
    let data = av1(&plain_rgb(Size::new(64, 64)), false);
    let grid = |rows: u8, columns: u8, w: u16, h: u16, tiles: u16| {
        let data_of_grid = [&[0, 0, rows - 1, columns - 1][..], &w.to_be_bytes(), &h.to_be_bytes()].concat();
        let size = ispe(Size::new(u32::from(w), u32::from(h)));
        let mut items = vec![modern::Item { kind: b"grid", data: data_of_grid, properties: vec![size] }];
        items.extend((0..tiles).map(|_| av01(data.clone(), Size::new(64, 64), vec![])));
        avif(&items, &[(b"dimg", 1, (2..2 + tiles).collect())])
    };
    assert!(decode(&grid(2, 2, 128, 128, 4)).is_ok());
    assert_corrupt("too few tiles", &grid(2, 2, 128, 128, 3));
    assert_corrupt("tiles that do not reach", &grid(2, 2, 129, 128, 4));
    assert_corrupt("tiles that are not seen", &grid(2, 2, 64, 128, 4));
    assert_corrupt("no size", &grid(1, 1, 0, 64, 1));
    let bomb = grid(1, 1, 65_535, 65_535, 1);
    assert_corrupt("a huge grid of one tile", &bomb);
}

/// 256 KiB of such a file took a gigabyte, at the gate.
#[test]
fn a_tile_in_parts_is_not_copied_for_each_place_that_names_it() {
    assert_eq!(decode(&modern::avif_grid(2)).unwrap(), decode(&read("grid.avif")).unwrap());
    let tile = Size::new(64, 64);
    let named = |times: u8, parts: usize| {
        let side = u16::from(times) * 64;
        let data = [&[0, 0, times - 1, times - 1][..], &side.to_be_bytes(), &side.to_be_bytes()].concat();
        let size = ispe(Size::new(u32::from(side), u32::from(side)));
        let grid = modern::Item { kind: b"grid", data, properties: vec![size] };
        let items = [grid, av01(av1(&plain_rgb(tile), false), tile, vec![])];
        modern::avif_in_parts(&items, &[(b"dimg", 1, vec![2; usize::from(times).pow(2)])], parts)
    };
    assert!(decode(&named(8, 1)).is_ok(), "what lies in one part is not copied");
    assert!(decode(&named(2, 2)).is_ok(), "few copies");
    let bomb = named(32, 2);
    assert!(matches!(inspect(&bomb), Err(Error::Corrupt { .. })), "more copies than the file is long");
}

fn plain_rgb(size: Size) -> Picture {
    let samples = vec![90; size.pixels() as usize * 3];
    Picture::still(Raster::new(size, Channels::Rgb, Samples::U8(samples)))
}

#[test]
fn limits_hold_in_decode_too() {
    for (name, bytes) in modern_sources() {
        let size = inspect(&bytes).unwrap().size;
        let side = size.w.max(size.h);
        assert!(decode_with(&bytes, &Limits { side_px_max: side, ..Limits::default() }, 1).is_ok(), "{name}");
        let limits = Limits { side_px_max: side.saturating_sub(1), ..Limits::default() };
        assert_eq!(limit_name(decode_with(&bytes, &limits, 1)), "side_px_max", "{name}");
    }
}

#[test]
fn animations_stop_when_nobody_waits() {
    let cancelled = Deadline::new(Instant::now() + Duration::from_secs(3600), Arc::new(AtomicBool::new(true)));
    for format in ["gif", "webp"] {
        let bytes = encode(format, &animation(Channels::Rgb, 3), None, true);
        let options = DecodeOptions { limits: &Limits::default(), at_least: None, frames_max: 9, deadline: &cancelled };
        assert_eq!((codec(&bytes).decode)(&bytes, &options), Err(Error::Cancelled), "{format}");
    }
}

/// Noise: what takes longest to write and to read.
fn noise(side: u32) -> Picture {
    let samples = (0..side * side * 3).map(|at| (at.wrapping_mul(0x9E37_79B1).rotate_left(9) ^ at) as u8).collect();
    Picture::still(Raster::new(Size::new(side, side), Channels::Rgb, Samples::U8(samples)))
}

fn in_ms(ms: u64) -> Deadline {
    Deadline::new(Instant::now() + Duration::from_millis(ms), Arc::default())
}

#[test]
fn encoders_stop_inside_a_frame() {
    let picture = noise(1500);
    for (format, lossless) in [("gif", false), ("webp", false), ("webp", true)] {
        let encoder = codec::by_name(format).unwrap().encoder.as_ref().unwrap();
        let deadline = in_ms(5);
        let options = codec::EncodeOptions { lossless, ..codec::EncodeOptions::new(&deadline) };
        assert_eq!((encoder.encode)(&picture, &options), Err(Error::Timeout), "{format}, lossless: {lossless}");
    }
}

#[test]
fn webp_stops_inside_a_frame_that_it_reads() {
    for lossless in [false, true] {
        let bytes = encode("webp", &noise(1000), None, lossless);
        let limits = Limits::default();
        let options = DecodeOptions { limits: &limits, at_least: None, frames_max: 1, deadline: &in_ms(1) };
        assert_eq!((codec(&bytes).decode)(&bytes, &options), Err(Error::Timeout), "lossless: {lossless}");
    }
}

#[test]
fn hidden_frames_of_avif_are_held_to_the_pixels_of_an_animation() {
    let hidden = b"\x1a\x01\0".repeat(2);
    let data = [av1(&pattern(Channels::Rgb), false), hidden].concat();
    let file = avif(&[av01(data, SIZE, vec![])], &[]);
    let limits = |frames_pixels_max| Limits { frames_pixels_max, ..Limits::default() };
    assert!(decode_with(&file, &limits(3 * SIZE.pixels()), 1).is_ok());
    assert_eq!(limit_name(decode_with(&file, &limits(3 * SIZE.pixels() - 1), 1)), "frames_pixels_max");
}

#[test]
fn photographs_are_close_to_their_originals() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let found = ["../shared/corpus/photos", "../../shared/corpus/photos"].map(|path| root.join(path));
    let Some(photos) = found.iter().find(|path| path.is_dir()) else {
        println!("skipped: shared/corpus/photos is not there");
        return;
    };
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
