//! Colour descriptions without an ICC profile: HDR by its code points, shown in sRGB or kept, and PNG's gamma and
//! chromaticities.

use bytes::Bytes;
use progimage::pipeline::codec::{self, DecodeOptions};
use progimage::pipeline::color::to_channels;
use progimage::pipeline::{Channels, Deadline, Error, Images, Limits, Pipeline, Samples};

use crate::fixtures::png::{Chunk, file, header, iccp};

/// A PNG of one row of 16-bit samples.
fn png(color: u8, chunk: Option<Chunk>, samples: &[u16]) -> Bytes {
    let count = if color == 0 { 1 } else { 3 };
    let row: Vec<u8> = std::iter::once(0).chain(samples.iter().flat_map(|sample| sample.to_be_bytes())).collect();
    let mut chunks = vec![header((samples.len() / count) as u32, 1, color, 16, 0)];
    chunks.extend(chunk);
    chunks.extend([(b"IDAT", fdeflate::compress_to_vec(&row)) as Chunk, (b"IEND", vec![])]);
    file(&chunks).into()
}

fn code_points(primaries: u8, transfer: u8) -> Option<Chunk> {
    Some((b"cICP", vec![primaries, transfer, 0, 1]))
}

fn codes(shares: &[f64]) -> Vec<u16> {
    shares.iter().map(|share| (share * 65_535.0).round() as u16).collect()
}

fn run(source: &Bytes, text: &str) -> Result<Bytes, Error> {
    let pipeline: Pipeline = text.parse()?;
    let output = pipeline.run(source, &Images::new(), &Limits::default(), &Deadline::default())?;
    Ok(output.bytes)
}

/// Samples of a render as 8-bit RGB, whatever form its format took for them.
fn shown(source: &Bytes, text: &str) -> Vec<u8> {
    let bytes = run(source, text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let (limits, deadline) = (Limits::default(), Deadline::default());
    let options = DecodeOptions::new(&limits, &deadline);
    let picture = (codec::sniff(&bytes).expect("a known format").decode)(&bytes, &options).expect("whole");
    let rgb = to_channels(picture.into_first(), Channels::Rgb).expect("small");
    match rgb.samples() {
        Samples::U8(samples) => samples.clone(),
        Samples::U16(samples) => samples.iter().map(|sample| (f64::from(*sample) / 257.0).round() as u8).collect(),
    }
}

#[track_caller]
fn near(got: &[u8], expected: &[u8], step: u8) {
    let alike = got.len() == expected.len() && got.iter().zip(expected).all(|(got, near)| got.abs_diff(*near) <= step);
    assert!(alike, "{got:?}, not {expected:?}");
}

const RENDERED: &str = "png;metadata=none;";

/// Codes, and what they are by the formulas of BT.2100 and sRGB with 203 cd/m2 as white; lighter rolls off.
const PQ: [(f64, u8); 5] = [(0.0, 0), (0.4, 111), (0.5, 180), (0.58, 245), (0.9, 255)];
const HLG: [(f64, u8); 4] = [(0.0, 0), (0.5, 137), (0.75, 245), (1.0, 255)];

#[test]
fn hdr_by_code_points_is_shown_with_reference_white_as_white() {
    let check = |transfer: u8, ramp: &[(f64, u8)]| {
        let (shares, expected): (Vec<f64>, Vec<u8>) = ramp.iter().copied().unzip();
        let triple = |values: &[u8]| values.iter().flat_map(|value| [*value; 3]).collect::<Vec<_>>();
        near(&shown(&png(0, code_points(9, transfer), &codes(&shares)), RENDERED), &triple(&expected), 2);
        let wide: Vec<f64> = shares.iter().flat_map(|share| [*share; 3]).collect();
        let rgb = png(2, code_points(9, transfer), &codes(&wide));
        near(&shown(&rgb, RENDERED), &triple(&expected), 2);
        // Its profile is none of a format for SDR.
        near(&shown(&rgb, "png;metadata=all;"), &triple(&expected), 2);
        near(&shown(&rgb, "jpeg;quality=100&chroma=444;"), &triple(&expected), 4);
    };
    check(16, &PQ);
    check(18, &HLG);
}

#[test]
fn hdr_by_an_icc_profile_is_shown_alike() {
    let half = codes(&[0.5; 3]);
    let profile = |transfer: u8, stated: bool| {
        let (primaries, transfer) = (9u8.try_into().expect("BT.2020"), transfer.try_into().expect("known"));
        let mut profile = progimage::pipeline::color::cicp_profile(primaries, transfer);
        profile.cicp = profile.cicp.filter(|_| stated);
        iccp(&profile.encode().expect("encodes"))
    };
    for stated in [true, false] {
        near(&shown(&png(2, Some((b"iCCP", profile(16, stated))), &half), RENDERED), &[180; 3], 2);
        near(&shown(&png(2, Some((b"iCCP", profile(18, stated))), &half), RENDERED), &[137; 3], 2);
    }
    // What stood for PQ before there was cICP.
    let named = [b"ITUR_2100_PQ_FULL\0\0".to_vec(), fdeflate::compress_to_vec(b"anything")].concat();
    near(&shown(&png(2, Some((b"iCCP", named)), &half), RENDERED), &[180; 3], 2);
}

#[test]
fn hdr_is_kept_in_avif_and_shown_alike_from_there() {
    let wide: Vec<f64> = PQ.iter().flat_map(|(share, _)| [*share; 3]).collect();
    let source = png(2, code_points(9, 16), &codes(&wide));
    for text in ["avif;lossless=true&hdr=keep;", "avif;quality=100&chroma=444&hdr=keep&metadata=all;"] {
        let kept = run(&source, text).expect("HDR is kept");
        assert!(memchr::memmem::find(&kept, b"colrnclx\x00\x09\x00\x10").is_some(), "{text}");
        assert!(memchr::memmem::find(&kept, b"colrprof").is_none(), "{text}");
        let header = (codec::sniff(&kept).expect("AVIF").inspect)(&kept).expect("whole");
        assert_eq!(header.bits, 16, "{text}");
        let expected: Vec<u8> = PQ.iter().flat_map(|(_, value)| [*value; 3]).collect();
        near(&shown(&kept, RENDERED), &expected, 4);
        // Kept a second time the codes are the same.
        let again = run(&kept, "avif;lossless=true&hdr=keep;").expect("HDR is kept");
        near(&shown(&again, RENDERED), &expected, 4);
    }
    // Gray and 8 bits stay what they are, but for the depth.
    let gray = png(0, code_points(9, 18), &codes(&[0.5, 0.75]));
    let kept = run(&gray, "avif;lossless=true&hdr=keep;").expect("HDR is kept");
    near(&shown(&kept, RENDERED), &[137, 137, 137, 245, 245, 245], 4);
}

#[test]
fn hdr_is_kept_by_no_other_format_and_in_no_other_source() {
    for format in ["png", "jpeg", "webp", "gif", "tiff"] {
        let refused = Pipeline::from_query(codec::by_name(format).unwrap(), &[("hdr".into(), "keep".into())]);
        let text = refused.expect_err(format).to_string();
        assert!(text.contains("hdr"), "{format}: {text}");
    }
    let sdr = png(2, None, &codes(&[0.2, 0.5, 0.9]));
    let (kept, usual) = (run(&sdr, "avif;hdr=keep;").unwrap(), run(&sdr, "avif;metadata=none;").unwrap());
    assert!(kept == usual, "SDR has nothing to keep");
}

fn gamma(value: u32) -> Option<Chunk> {
    Some((b"gAMA", value.to_be_bytes().to_vec()))
}

#[test]
fn gamma_is_applied_where_nothing_else_describes_the_samples() {
    // 128 of 255 in linear light, in 1/1.8 and in what means sRGB.
    let half = [0x8080];
    near(&shown(&png(0, gamma(100_000), &half), RENDERED), &[188; 3], 0);
    near(&shown(&png(2, gamma(100_000), &[0x8080; 3]), RENDERED), &[188; 3], 1);
    near(&shown(&png(0, gamma(55_556), &half), RENDERED), &[147; 3], 1);
    near(&shown(&png(0, gamma(45_455), &half), RENDERED), &[128; 3], 0);
    near(&shown(&png(0, None, &half), RENDERED), &[128; 3], 0);
    // A kept profile says the same.
    near(&shown(&png(2, gamma(100_000), &[0x8080; 3]), "png;metadata=all;"), &[128; 3], 0);
    // Deep darks keep their levels.
    let dark = shown(&png(0, gamma(100_000), &[0, 20, 200, 2_000]), RENDERED);
    near(&dark, &[0, 1, 10, 50].map(|value| [value; 3]).concat(), 1);
}

#[test]
fn chromaticities_are_applied_and_other_descriptions_go_first() {
    let p3 = [31_270u32, 32_900, 68_000, 32_000, 26_500, 69_000, 15_000, 6_000];
    let chromaticities = || -> Chunk { (b"cHRM", p3.map(u32::to_be_bytes).concat()) };
    let samples = [200u16, 100, 50].map(|sample| sample * 257);
    near(&shown(&png(2, Some(chromaticities()), &samples), RENDERED), &[215, 93, 31], 1);
    let described = |chunk: Chunk| {
        let row: Vec<u8> = std::iter::once(0).chain(samples.iter().flat_map(|sample| sample.to_be_bytes())).collect();
        let chunks = [header(1, 1, 2, 16, 0), gamma(100_000).unwrap(), chromaticities(), chunk];
        let rest: [Chunk; 2] = [(b"IDAT", fdeflate::compress_to_vec(&row)), (b"IEND", vec![])];
        shown(&file(&[&chunks[..], &rest].concat()).into(), RENDERED)
    };
    near(&described((b"sRGB", vec![0])), &[200, 100, 50], 0);
    near(&described((b"cICP", vec![1, 13, 0, 1])), &[200, 100, 50], 0);
}
