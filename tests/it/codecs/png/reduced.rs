//! Pictures are written in the fewest bits that hold them, and read back exactly.

use progimage::pipeline::codec::EncodeOptions;
use progimage::pipeline::{Channels, Deadline, Delay, Frame, Picture, Raster, Samples, Size};

use crate::codecs::{decode, encode, row};

/// Red, green, blue and alpha of every pixel in 16 bits, whatever channels and bits the raster has.
pub fn shown(raster: &Raster) -> Vec<[u16; 4]> {
    let samples: Vec<u16> = match raster.samples() {
        Samples::U8(samples) => samples.iter().map(|&sample| u16::from(sample) * 257).collect(),
        Samples::U16(samples) => samples.clone(),
    };
    let pixels = samples.chunks_exact(raster.channels().count());
    let rgba = |pixel: &[u16]| match *pixel {
        [gray] => [gray, gray, gray, u16::MAX],
        [gray, alpha] => [gray, gray, gray, alpha],
        [r, g, b] => [r, g, b, u16::MAX],
        _ => [pixel[0], pixel[1], pixel[2], pixel[3]],
    };
    pixels.map(rgba).collect()
}

/// Colour type and bits in the header.
fn form(png: &[u8]) -> (u8, u8) {
    (png[25], png[24])
}

const GRAY: u8 = 0;
const RGB: u8 = 2;
const PALETTE: u8 = 3;
const GRAY_ALPHA: u8 = 4;
const RGBA: u8 = 6;

const SIZE: Size = Size::new(61, 40);

fn picture(channels: Channels, pixel: impl Fn(u32) -> Vec<u8>) -> Picture {
    let samples = (0..SIZE.pixels() as u32).flat_map(pixel).collect();
    Picture::still(Raster::new(SIZE, channels, Samples::U8(samples)))
}

fn check(picture: &Picture, expected: (u8, u8)) {
    let file = encode("png", picture, None);
    assert_eq!(form(&file), expected, "{:?}", picture.first().channels());
    let decoded = decode(&file).expect("valid");
    assert_eq!((decoded.frames.len(), decoded.plays), (picture.frames.len(), picture.plays));
    for (decoded, source) in decoded.frames.iter().zip(&picture.frames) {
        assert_eq!(decoded.delay, source.delay);
        assert!(shown(&decoded.raster) == shown(&source.raster), "{expected:?}");
    }
}

/// The lower and the upper byte of a number: together, more than 256 colours.
fn low(at: u32) -> u8 {
    at as u8
}

fn high(at: u32) -> u8 {
    (at >> 8) as u8
}

#[test]
fn channels_that_say_nothing_are_left_out() {
    check(&picture(Channels::Rgba, |at| vec![low(at), high(at), 7, 255]), (RGB, 8));
    check(&picture(Channels::Rgba, |at| vec![low(at), low(at), low(at), 255]), (GRAY, 8));
    check(&picture(Channels::Rgba, |at| vec![low(at), low(at), low(at), high(at)]), (GRAY_ALPHA, 8));
    check(&picture(Channels::Rgb, |at| vec![low(at), low(at), low(at)]), (GRAY, 8));
    check(&picture(Channels::GrayAlpha, |at| vec![low(at), 255]), (GRAY, 8));
    check(&picture(Channels::Rgba, |at| vec![low(at), high(at), 7, 3]), (RGBA, 8));
    // Hidden colours are samples too.
    check(&picture(Channels::Rgba, |at| vec![low(at), high(at), 7, 0]), (RGBA, 8));
}

#[test]
fn few_colours_become_a_palette_or_shades() {
    for (colors, bits) in [(2, 1), (3, 2), (4, 2), (5, 4), (16, 4), (17, 8), (200, 8), (256, 8)] {
        let color = |at: u32| vec![(at % colors) as u8, 90, 200];
        check(&picture(Channels::Rgb, color), (PALETTE, bits));
        let alpha = |at: u32| vec![7, 90, 200, (at % colors) as u8];
        check(&picture(Channels::Rgba, alpha), (PALETTE, bits));
    }
    check(&picture(Channels::Rgb, |at| vec![(at % 257) as u8, (at % 257 / 256) as u8, 200]), (RGB, 8));
    for (step, bits) in [(255, 1), (85, 2), (17, 4)] {
        check(&picture(Channels::Gray, |at| vec![(at * step % 256) as u8 / step as u8 * step as u8]), (GRAY, bits));
    }
    check(&picture(Channels::Gray, |at| vec![(at % 2 * 100) as u8 + 3]), (PALETTE, 1));
    check(&picture(Channels::Gray, |at| vec![(at % 17) as u8]), (GRAY, 8));
    // A pixel is smaller than any palette.
    let one = Picture::still(Raster::new(Size::new(1, 1), Channels::Rgb, Samples::U8(vec![1, 2, 3])));
    assert_eq!(form(&encode("png", &one, None)), (RGB, 8));
}

#[test]
fn sixteen_bits_stay_unless_eight_say_as_much() {
    let wide = |added: u16| {
        let samples = (0..SIZE.pixels() as u32).flat_map(|at| [low(at), high(at), 9]);
        let samples = Samples::U16(samples.map(|sample| (u16::from(sample) * 257).saturating_add(added)).collect());
        Picture::still(Raster::new(SIZE, Channels::Rgb, samples))
    };
    check(&wide(1), (RGB, 16));
    check(&wide(0), (RGB, 8));
    let gray: Vec<u16> = (0..SIZE.pixels() as u16).flat_map(|at| [at, at, at, 65_535]).collect();
    check(&Picture::still(Raster::new(SIZE, Channels::Rgba, Samples::U16(gray))), (GRAY, 16));
}

#[test]
fn frames_of_an_animation_share_one_form() {
    let frames = |second: fn(u32) -> Vec<u8>| {
        let frame = |pixel: &dyn Fn(u32) -> Vec<u8>| Frame {
            raster: picture(Channels::Rgba, pixel).into_first(),
            delay: Delay::from_ms(70),
        };
        Picture {
            frames: vec![frame(&|at| vec![at as u8 % 3, 0, 0, 255]), frame(&second)],
            plays: 2,
            icc: None,
            missing: None,
        }
    };
    check(&frames(|at| vec![0, at as u8 % 5, 0, 255]), (PALETTE, 4));
    check(&frames(|at| vec![0, (at % 251) as u8, (at / 251) as u8, 255]), (RGB, 8));
    check(&frames(|at| vec![0, (at % 251) as u8, (at / 251) as u8, at as u8]), (RGBA, 8));
}

#[test]
fn a_profile_keeps_colour_coloured_and_gray_gray() {
    let deadline = Deadline::default();
    let options = EncodeOptions { profile: true, ..EncodeOptions::new(&deadline) };
    let form =
        |picture: &Picture| form(&(row("png").encoder.expect("written").encode)(picture, &options).expect("fits"));
    let v = |at: u32| (at * at % 251) as u8;
    assert_eq!(form(&picture(Channels::Rgba, |at| vec![v(at), v(at), v(at), 255])).0, PALETTE);
    assert_eq!(form(&picture(Channels::GrayAlpha, |at| vec![v(at) / 100 * 3, 255])), (GRAY, 8));
    assert_eq!(form(&picture(Channels::Gray, |at| vec![(at % 2 * 255) as u8])), (GRAY, 1));
}
