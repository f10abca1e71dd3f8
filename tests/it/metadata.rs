//! `metadata=none|copyright|all` from every format that holds metadata to every other, and hostile blocks.

use bytes::Bytes;
use progimage::pipeline::codec::{self, Codec, DecodeOptions, Header};
use progimage::pipeline::color;
use progimage::pipeline::metadata::exif::{self, Exif};
use progimage::pipeline::metadata::{Blocks, Camera, Density, Keep, Metadata, Position};
use progimage::pipeline::{Channels, Deadline, Headers, Images, Limits, Orientation, Picture, Pipeline, Samples, Size};

use crate::fixtures::metadata::{self, MAKER_NOTE, SECONDS, THUMBNAIL, XMP};
use crate::fixtures::pattern::{SIZE, pattern};
use crate::fixtures::profiles;
use crate::fixtures::read;

const FORMATS: [&str; 5] = ["jpeg", "png", "webp", "avif", "tiff"];

fn sources() -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    ["metadata.jpg", "metadata.png", "metadata.webp", "metadata.avif", "metadata.tiff"]
        .map(|name| (name, read(name)))
        .into_iter()
}

/// The profile that is embedded in the fixtures.
fn display_p3() -> Vec<u8> {
    color::in_words(profiles::display_p3())
}

fn render(source: &[u8], text: &str) -> Vec<u8> {
    let pipeline: Pipeline = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
    let source = Bytes::copy_from_slice(source);
    let output = pipeline.run(&source, &Images::new(), &Limits::default(), &Deadline::default());
    output.unwrap_or_else(|error| panic!("{text}: {error}")).bytes.to_vec()
}

fn codec(bytes: &[u8]) -> &'static Codec {
    codec::sniff(bytes).expect("known")
}

fn header(bytes: &[u8]) -> Header {
    (codec(bytes).inspect)(bytes).expect("well formed")
}

fn decode(bytes: &[u8]) -> Picture {
    let (limits, deadline) = (Limits::default(), Deadline::default());
    let options = DecodeOptions::new(&limits, &deadline);
    (codec(bytes).decode)(bytes, &options).expect("decodes")
}

fn blocks(bytes: &[u8], bytes_max: usize) -> Blocks<'_> {
    (codec(bytes).metadata.expect("holds metadata").read)(bytes, bytes_max)
}

fn camera(bytes: &[u8]) -> Option<Camera> {
    progimage::pipeline::metadata::camera(codec(bytes), bytes, &Limits::default())
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn everything() -> Camera {
    let some = |text: &str| Some(text.to_owned());
    Camera {
        make: some("Maker"),
        model: some("Model 1"),
        lens: some("Lens 35mm"),
        software: some("Firmware 2.0"),
        taken: some("2024-05-06T07:08:09+02:00"),
        exposure_s: Some(0.004),
        f_number: Some(2.8),
        iso: Some(400),
        focal_length_mm: Some(35.0),
        artist: some("Ansel Artist"),
        copyright: some("(c) 2024 Ansel Artist"),
        gps: Some(Position { latitude: 48.208_497, longitude: -16.5 }),
    }
}

#[test]
fn fixtures_say_everything() {
    for (name, bytes) in sources() {
        assert_eq!(camera(&bytes), Some(everything()), "{name}");
        assert_eq!(decode(&bytes).icc, Some(display_p3()), "{name}");
        assert_eq!(blocks(&bytes, 1 << 20).xmp.as_deref(), Some(XMP.as_bytes()), "{name}");
        // AVIF turns by boxes, and these have none.
        let lying = if name.ends_with("avif") { Orientation::NoTransforms } else { Orientation::Rotate90 };
        assert_eq!(header(&bytes).orientation, lying, "{name}");
    }
}

#[test]
fn all_goes_from_every_format_to_every_other() {
    for (name, bytes) in sources() {
        for format in FORMATS {
            let case = format!("{name} to {format}");
            let made = render(&bytes, &format!("{format};metadata=all;"));
            assert_eq!(codec(&made).name, format);
            assert_eq!(camera(&made), Some(everything()), "{case}");
            assert_eq!(header(&made).orientation, Orientation::NoTransforms, "{case}");
            assert_eq!(decode(&made).icc, Some(display_p3()), "{case}");
            let xmp = XMP.replace("Orientation=\"6\"", "Orientation=\"1\"");
            let blocks = blocks(&made, 1 << 20);
            assert_eq!(blocks.xmp.as_deref(), Some(xmp.as_bytes()), "{case}");
            assert!(!holds(&made, THUMBNAIL) && !holds(&made, MAKER_NOTE), "{case}");
            let exif = Exif::read(
                blocks.exif.as_deref().unwrap(),
                1 << 20,
                |tag| matches!(tag, 274 | 34_665),
                |tag| tag >= 40_962,
            )
            .unwrap();
            let value =
                |fields: &[exif::Field], tag| fields.iter().find(|field| field.tag == tag).unwrap().bytes.to_vec();
            assert_eq!(value(&exif.main, 274)[..2], [1, 0], "{case}");
            let size = header(&made).size;
            assert_eq!(value(&exif.exif, 40_962), size.w.to_le_bytes(), "{case}");
            assert_eq!(value(&exif.exif, 40_963), size.h.to_le_bytes(), "{case}");
        }
    }
}

#[test]
fn copyright_keeps_two_fields_and_no_byte_more() {
    let (artist, copyright) = (everything().artist, everything().copyright);
    let expected = Camera { artist, copyright, ..Camera::default() };
    for (name, bytes) in sources() {
        for format in FORMATS {
            let made = render(&bytes, &format!("{format};metadata=copyright;"));
            assert_eq!(camera(&made), Some(expected.clone()), "{name} to {format}");
            assert_eq!(decode(&made).icc, None, "{name} to {format}");
            assert_eq!(blocks(&made, 1 << 20).xmp, None, "{name} to {format}");
            let seconds = [SECONDS.0.to_le_bytes(), SECONDS.0.to_be_bytes()];
            for part in [&seconds[0][..], &seconds[1], b"Maker", b"Model", b"Lens", b"2024:05", THUMBNAIL, MAKER_NOTE] {
                assert!(!holds(&made, part), "{name} to {format}: {part:?}");
            }
        }
    }
}

#[test]
fn nothing_is_kept_unless_it_is_asked_for() {
    for (name, bytes) in sources() {
        for format in FORMATS {
            let made = render(&bytes, &format!("{format};metadata=none;"));
            assert_eq!((camera(&made), decode(&made).icc), (None, None), "{name} to {format}");
            assert_eq!(blocks(&made, 1 << 20).xmp, None, "{name} to {format}");
            assert!(!holds(&made, b"Ansel"), "{name} to {format}");
        }
    }
}

#[test]
fn pixels_stay_in_the_space_of_the_profile_that_is_kept() {
    let source = read("metadata.png");
    let stored = decode(&source);
    let kept = render(&source, "png;metadata=all&orient=none;");
    assert_eq!(decode(&kept), stored);
    assert_eq!(header(&kept).orientation, Orientation::Rotate90);
    let converted = decode(&render(&source, "png;orient=none;"));
    assert_ne!(converted.first(), stored.first());
    let copyright = decode(&render(&source, "png;metadata=copyright&orient=none;"));
    assert_eq!(copyright, converted);
    // An operation takes them as they are.
    let inverted = decode(&render(&source, "png;metadata=all&orient=none;invert(on=true)"));
    let Samples::U8(samples) = stored.first().samples() else { panic!("8 bits") };
    let expected = samples.iter().map(|sample| !sample).collect();
    assert_eq!(inverted.first().samples(), &Samples::U8(expected));
}

#[test]
fn profiles_that_would_not_fit_are_applied() {
    let check = |name: &str, text: &str| {
        let made = render(&read(name), text);
        assert_eq!(decode(&made).icc, None, "{name}: {text}");
    };
    check("metadata.png", "png;metadata=all;grayscale(on=true)");
    let cmyk = Metadata { icc: Some(display_p3()), ..Metadata::default() };
    let cmyk = (codec::by_name("jpeg").unwrap().metadata.unwrap().write)(read("cmyk_adobe.jpg"), &cmyk).unwrap();
    assert_eq!(decode(&cmyk).icc, Some(display_p3()));
    assert_eq!(decode(&render(&cmyk, "png;metadata=all;")).icc, None);
    // A gray profile goes along where the format has gray.
    let icc = color::in_words(moxcms::ColorProfile::new_gray_with_gamma(1.0).encode().unwrap());
    let gray =
        metadata::file("png", &pattern(Channels::Gray), &Metadata { icc: Some(icc.clone()), ..Metadata::default() });
    assert_eq!(decode(&render(&gray, "jpeg;metadata=all;")).icc, Some(icc));
    assert_eq!(decode(&render(&gray, "webp;metadata=all;")).icc, None);
    assert_eq!(render(&gray, "webp;metadata=all&lossless=true;"), render(&gray, "webp;lossless=true;"));
}

#[test]
fn code_points_go_along_as_a_profile() {
    for name in ["cicp_display_p3.png", "cicp_display_p3.avif"] {
        let source = read(name);
        for format in FORMATS {
            let made = decode(&render(&source, &format!("{format};metadata=all;")));
            assert_eq!(made.icc, decode(&source).icc.map(color::in_words), "{name} to {format}");
        }
    }
}

#[test]
fn animations_keep_theirs() {
    let source = read("animated_dispose_and_blend.webp");
    let source = (codec::by_name("webp").unwrap().metadata.unwrap().write)(source, &metadata::all(true)).unwrap();
    for format in ["webp", "png"] {
        let made = render(&source, &format!("{format};metadata=all;"));
        assert_eq!(header(&made).frames, 3, "{format}");
        assert_eq!((camera(&made), decode(&made).icc), (Some(everything()), Some(display_p3())), "{format}");
    }
}

#[test]
fn texts_and_keys_say_what_is_kept() {
    let text = |text: &str| text.parse::<Pipeline>().expect(text).to_string();
    assert_eq!(text("jpeg;metadata=all;"), "jpeg;metadata=all;");
    assert_eq!(text("webp;metadata=copyright;flip(direction=h)"), "webp;metadata=copyright;flip(direction=h)");
    assert_eq!(text("gif;metadata=all;flip(direction=h)"), "gif;;flip(direction=h)");
    assert_eq!(text("gif;metadata=all;"), "gif;metadata=none;");
    assert!("jpeg;metadata=some;".parse::<Pipeline>().is_err());
    let source = progimage::digest::Digest::of(b"");
    let keys = ["none", "copyright", "all"]
        .map(|word| format!("jpeg;metadata={word};").parse::<Pipeline>().unwrap().key(&source));
    assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2]);
}

#[test]
fn plans_count_the_blocks_up_to_their_limits() {
    let bytes = read("metadata.jpg");
    let (header, limits) = (header(&bytes), Limits::default());
    let planned = |text: &str| {
        let pipeline: Pipeline = text.parse().unwrap();
        pipeline.plan((codec(&bytes), &header), &Headers::new(), &limits).unwrap().memory_bytes
    };
    let (blocks, icc) = (limits.metadata_bytes_max as u64, limits.icc_bytes_max as u64);
    assert_eq!(planned("png;metadata=copyright;") - planned("png;;"), 3 * blocks);
    assert_eq!(planned("png;metadata=all;") - planned("png;;"), 3 * (2 * blocks + icc));
}

#[test]
fn blocks_past_the_limits_are_left_out() {
    let source = read("metadata.png");
    let run = |limits: &Limits| {
        let pipeline: Pipeline = "png;metadata=all;".parse().unwrap();
        let output = pipeline.run(&source.clone().into(), &Images::new(), limits, &Deadline::default());
        output.unwrap().bytes.to_vec()
    };
    let longest = metadata::block(false).len().max(XMP.len());
    assert_eq!(longest, metadata::block(false).len());
    let limits = |metadata_bytes_max, icc_bytes_max| Limits { metadata_bytes_max, icc_bytes_max, ..Limits::default() };
    let icc = display_p3().len();
    assert_eq!(run(&limits(longest, icc)), run(&Limits::default()));
    let made = run(&limits(longest - 1, icc));
    assert_eq!((camera(&made), decode(&made).icc), (None, Some(display_p3())));
    let made = run(&limits(longest, icc - 1));
    assert_eq!((camera(&made), decode(&made).icc), (Some(everything()), None));
    let made = run(&limits(XMP.len() - 1, icc));
    assert_eq!(blocks(&made, 1 << 20).xmp, None);
}

#[test]
fn jpeg_leaves_out_what_is_longer_than_a_segment() {
    let with = |bytes: usize| {
        let xmp = XMP.replace("a test", &"x".repeat(bytes - XMP.len() + 6));
        let metadata = Metadata { xmp: Some(xmp.into()), ..Metadata::default() };
        let made = render(&metadata::file("png", &pattern(Channels::Rgb), &metadata), "jpeg;metadata=all;");
        blocks(&made, 1 << 20).xmp.map(|xmp| xmp.len())
    };
    let most = 65_533 - 29;
    assert_eq!(with(most), Some(most));
    assert_eq!(with(most + 1), None);
}

/// Reads a block as a render and `/info` do.
fn digest(block: &[u8]) {
    for keep in [Keep::Copyright, Keep::All] {
        let kept = exif::kept(block, keep, 1, Size::new(1, 1), 1 << 20);
        // What is written can be read, and stays as it is.
        if let Some(kept) = kept {
            assert_eq!(exif::kept(&kept, keep, 1, Size::new(1, 1), 1 << 20).as_ref(), Some(&kept));
        }
    }
    Camera::read(block, 1 << 20);
}

#[test]
fn damaged_blocks_never_panic() {
    for big_endian in [false, true] {
        let whole = metadata::block(big_endian);
        for len in 0..whole.len() {
            digest(&whole[..len]);
        }
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            digest(&flipped);
        }
    }
}

#[test]
fn damaged_files_with_blocks_never_panic() {
    for (name, bytes) in sources() {
        let format = codec(&bytes).metadata.unwrap();
        for len in (0..bytes.len()).step_by(3) {
            (format.read)(&bytes[..len], 1 << 20);
            let mut flipped = bytes.clone();
            flipped[len] ^= 1 << (len % 8);
            let blocks = (format.read)(&flipped, 1 << 20);
            if let Some(block) = blocks.exif {
                exif::kept(&block, Keep::All, 1, SIZE, 1 << 20);
            }
        }
        assert!(!name.is_empty());
    }
}

#[test]
fn fields_that_overlap_do_not_multiply() {
    // Every field of the Exif directory is the whole block.
    let (count, len) = (60_000_u32, 1 << 20);
    let mut block = b"II\x2a\0\x08\0\0\0\x01\0\x69\x87\x04\0\x01\0\0\0\x1a\0\0\0\0\0\0\0".to_vec();
    block.extend((count as u16).to_le_bytes());
    for tag in 0..count {
        block.extend((tag as u16).to_le_bytes());
        block.extend(7_u16.to_le_bytes());
        block.extend(((len - 8) as u32).to_le_bytes());
        block.extend(8_u32.to_le_bytes());
    }
    block.resize(len, 0);
    assert_eq!(exif::kept(&block, Keep::All, 1, SIZE, len), None);
    assert_eq!(Camera::read(&block, len), None);
    // A directory that is its own child ends there.
    let own = b"II\x2a\0\x08\0\0\0\x01\0\x69\x87\x04\0\x01\0\0\0\x08\0\0\0\0\0\0\0";
    assert_eq!(exif::kept(own, Keep::All, 1, SIZE, len), None);
}

#[test]
fn max_bytes_counts_what_is_kept_and_never_larger_keeps_it() {
    let photo = metadata::file("jpeg", &decode(&crate::fixtures::photo("toy.jpg")), &metadata::all(true));
    for format in ["jpeg", "webp", "avif"] {
        let made = render(&photo, &format!("{format};max_bytes=6000&metadata=all;resize(width=200)"));
        assert!(made.len() <= 6000, "{format}: {}", made.len());
        assert_eq!(camera(&made), Some(everything()), "{format}");
    }
    let without_icc = Metadata { icc: None, ..metadata::all(true) };
    let small = metadata::file("jpeg", &pattern(Channels::Rgb), &without_icc);
    let made = render(&small, "jpeg;quality=100&metadata=all&orient=none&never_larger=true;");
    assert!(made.len() <= small.len());
    assert_eq!(camera(&made), Some(everything()));
    assert!(!holds(&made, THUMBNAIL));
}

#[test]
fn no_format_adds_more_than_is_counted() {
    for format in FORMATS {
        for bytes in [1, 100, 10_000, 1 << 20] {
            // A generator's numbers: shrinking them makes no sense.
            let noise = (0..bytes as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
            let metadata = Metadata { icc: Some(noise), ..metadata::all(false) };
            let plain = metadata::file(format, &pattern(Channels::Rgb), &Metadata::default());
            let whole = metadata.written(codec(&plain), plain.clone()).unwrap();
            assert!((whole.len() - plain.len()) as u64 <= metadata.bytes_max(), "{format} with {bytes}");
        }
    }
}

#[test]
fn the_resolution_is_kept_with_metadata_and_set_by_dpi() {
    let plain = render(&read("metadata.png"), "png;metadata=none;");
    assert_eq!(header(&plain).density, None);
    for from in ["jpeg", "png", "tiff"] {
        let source = render(&plain, &format!("{from};dpi=300;"));
        assert_eq!(header(&source).density, Some(Density::square(30_000)), "{from}");
        for to in ["jpeg", "png", "tiff"] {
            let density = |text: &str| header(&render(&source, &format!("{to};{text};"))).density;
            assert_eq!(density("metadata=none"), None, "{from} to {to}");
            for keep in ["metadata=copyright", "metadata=all"] {
                assert_eq!(density(keep), Some(Density::square(30_000)), "{from} to {to}, {keep}");
            }
            // PNG counts whole pixels per metre.
            let set = density("metadata=all&dpi=72").expect("set");
            assert!(set.hundredths().iter().all(|each| each.abs_diff(7_200) <= 1), "{from} to {to}: {set:?}");
        }
    }
    assert!(decode(&render(&plain, "png;dpi=300;")) == decode(&plain), "no pixel changes");
}

/// The resolution in EXIF is that of the file.
#[test]
fn dpi_replaces_the_resolution_in_exif() {
    let source = read("metadata.jpg");
    let with = render(&source, "jpeg;metadata=all&dpi=144;");
    let block = blocks(&with, 1 << 20).exif.expect("kept");
    let exif = Exif::read(&block, block.len(), |_| true, |_| true).expect("well formed");
    for field in exif.main.iter().filter(|field| matches!(field.tag, 282 | 283)) {
        assert_eq!(field.bytes[..], [14_400_u32, 100].map(u32::to_le_bytes).concat()[..]);
    }
}
