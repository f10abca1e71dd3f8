//! The expected pixels of fixtures of the mosaic, computed from it and never by a codec.

use progimage::pipeline::{Channels, Picture, Raster, Samples, Size, codec};

use crate::fixtures::mosaic::{self, H, W};
use crate::fixtures::read;

pub fn check(name: &str, expected: Raster) {
    let picture = decoded(name);
    assert_eq!(picture.frames.len(), 1, "{name}");
    let first = picture.first();
    assert_eq!((first.size(), first.channels()), (expected.size(), expected.channels()), "{name}");
    assert!(*first == expected, "{name}: {:?}\nexpected {:?}", first.samples(), expected.samples());
}

pub fn decoded(name: &str) -> Picture {
    let bytes = read(name);
    let codec = codec::sniff(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
    super::decode_small(codec, &bytes).unwrap_or_else(|error| panic!("{name}: {error}"))
}

pub const SCENE: Size = Size::new(W as u32, H as u32);

pub fn narrow<const N: usize>(channels: Channels, pixel: impl Fn(usize, usize) -> [u8; N]) -> Raster {
    Raster::new(SCENE, channels, Samples::U8(mosaic::samples(pixel)))
}

pub fn wide<const N: usize>(channels: Channels, pixel: impl Fn(usize, usize) -> [u8; N]) -> Raster {
    Raster::new(SCENE, channels, Samples::U16(mosaic::samples(|x, y| pixel(x, y).map(mosaic::wide))))
}

pub fn rgb() -> Raster {
    narrow(Channels::Rgb, mosaic::rgb)
}

pub fn rgba() -> Raster {
    narrow(Channels::Rgba, mosaic::rgba)
}

pub fn gray() -> Raster {
    narrow(Channels::Gray, |x, y| [mosaic::gray(x, y)])
}

pub fn palette(colours: usize) -> Raster {
    narrow(Channels::Rgb, mosaic::paletted(colours))
}

/// Gray of few bits, stretched.
pub fn levels(count: usize) -> Raster {
    narrow(Channels::Gray, move |x, y| [(mosaic::index(x, y, count) * 255 / (count - 1)) as u8])
}

/// The nearest 8-bit value of a sample of fewer bits.
pub fn stretched(sample: u8, bits: u32) -> u8 {
    let max = (1_u32 << bits) - 1;
    ((u32::from(sample >> (8 - bits)) * 255 + max / 2) / max) as u8
}

/// sRGB of linear light, by the definition.
fn encoded(linear: f32) -> f64 {
    let x = f64::from(linear).clamp(0.0, 1.0);
    65535.0 * if x <= 0.003_130_8 { 12.92 * x } else { 1.055 * x.powf(1.0 / 2.4) - 0.055 }
}

/// Compares 16-bit samples with linear light; the last of four is alpha.
pub fn check_light<const N: usize>(name: &str, channels: Channels, pixel: impl Fn(usize, usize) -> [f32; N]) {
    let picture = decoded(name);
    assert_eq!((picture.first().size(), picture.first().channels()), (SCENE, channels), "{name}");
    let Samples::U16(samples) = picture.first().samples() else { panic!("{name}: 8 bits") };
    for (index, (&sample, light)) in samples.iter().zip(mosaic::samples(pixel)).enumerate() {
        let expected = if index % N == 3 { f64::from(light.min(1.0)) * 65535.0 } else { encoded(light) };
        assert!((f64::from(sample) - expected).abs() <= 1.0, "{name}: sample {index} is {sample}, not {expected}");
    }
}
