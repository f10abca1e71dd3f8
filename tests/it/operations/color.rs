//! The operations on colour: values by hand at both depths, identities, and comparisons with other programs
//! (`fixtures/golden/README.md` has the commands).

use std::collections::HashMap;

use proptest::prelude::*;

use super::{assert_like, render};
use crate::pipeline::laws::rasters;
use progimage::pipeline::codec::{EncodeOptions, by_extension};
use progimage::pipeline::color::to_channels;
use progimage::pipeline::operation::{Context, by_name};
use progimage::pipeline::param::Args;
use progimage::pipeline::{Channels, Deadline, Delay, Error, Frame, Picture, Raster, Samples, Size};

fn args(step: &str) -> (&str, Result<Option<Args>, Error>) {
    let (name, args) = step.strip_suffix(')').and_then(|step| step.split_once('(')).expect("a step");
    let operation = by_name(name).expect(name);
    (name, Args::parse(operation.params, args).and_then(operation.canonical))
}

/// The result of steps of the canonical text on a raster.
fn apply(raster: Raster, steps: &str) -> Raster {
    steps.split('/').fold(raster, |raster, step| {
        let (name, Ok(args)) = args(step) else { panic!("{step}") };
        let Some(args) = args else { return raster };
        let context = Context { deadline: &Deadline::default(), images: &HashMap::new() };
        (by_name(name).expect(name).apply)(raster, &args, &context).expect("small")
    })
}

fn row8(channels: Channels, samples: &[u8]) -> Raster {
    let w = samples.len() / channels.count();
    Raster::new(Size::new(w as u32, 1), channels, Samples::U8(samples.to_vec()))
}

fn row16(channels: Channels, samples: &[u16]) -> Raster {
    let w = samples.len() / channels.count();
    Raster::new(Size::new(w as u32, 1), channels, Samples::U16(samples.to_vec()))
}

use Channels::{Gray, GrayAlpha, Rgb, Rgba};

/// Checks one pixel at 8 bits, and at 16 bits within half a step of 8 bits.
fn check(step: &str, (channels, pixel): (Channels, &[u8]), (shape, expected): (Channels, &[u8])) {
    assert_eq!(apply(row8(channels, pixel), step), row8(shape, expected), "{step} of {pixel:?}");
    let wide: Vec<u16> = pixel.iter().map(|v| u16::from(*v) * 257).collect();
    let result = apply(row16(channels, &wide), step);
    let Samples::U16(samples) = result.samples() else { panic!("{step}: depth changed") };
    assert_eq!(result.channels(), shape);
    let near = samples.iter().zip(expected).all(|(got, v)| got.abs_diff(u16::from(*v) * 257) <= 200);
    assert!(near, "{step} of {wide:?}: {samples:?}");
}

#[test]
fn brightness_and_contrast_are_those_of_css() {
    check("brightness(amount=50)", (Rgba, &[100, 200, 0, 40]), (Rgba, &[150, 255, 0, 40]));
    check("brightness(amount=-100)", (GrayAlpha, &[200, 7]), (GrayAlpha, &[0, 7]));
    check("brightness(amount=-50)", (Gray, &[101]), (Gray, &[51]));
    check("contrast(amount=100)", (Rgb, &[100, 127, 200]), (Rgb, &[73, 127, 255]));
    check("contrast(amount=-50)", (Gray, &[0]), (Gray, &[64]));
    check("contrast(amount=-100)", (Rgba, &[0, 90, 255, 1]), (Rgba, &[128, 128, 128, 1]));
}

#[test]
fn matrices_are_those_of_css() {
    check("saturation(amount=-100)", (Rgb, &[255, 0, 0]), (Rgb, &[54, 54, 54]));
    check("saturation(amount=100)", (Rgba, &[100, 120, 140, 9]), (Rgba, &[83, 123, 163, 9]));
    check("saturation(amount=100)", (GrayAlpha, &[90, 9]), (GrayAlpha, &[90, 9]));
    // hue-rotate(180deg) of red: 2 x gray - red = 2 x 54.3 - 255 there, 2 x 54.3 - 0 elsewhere.
    check("hue(angle=180)", (Rgb, &[255, 0, 0]), (Rgb, &[0, 109, 109]));
    check("hue(angle=90)", (Gray, &[77]), (Gray, &[77]));
    check("sepia(amount=100)", (Rgb, &[255, 255, 255]), (Rgb, &[255, 255, 239]));
    check("sepia(amount=100)", (GrayAlpha, &[100, 8]), (Rgba, &[135, 120, 94, 8]));
    check("sepia(amount=50)", (Rgb, &[100, 0, 0]), (Rgb, &[70, 17, 14]));
    check("grayscale()", (Rgba, &[255, 0, 0, 3]), (GrayAlpha, &[54, 3]));
    check("grayscale()", (Rgb, &[0, 255, 255]), (Gray, &[201]));
    check("grayscale()", (Gray, &[33]), (Gray, &[33]));
}

#[test]
fn curves_are_those_of_their_sources() {
    check("gamma(gamma=2)", (Rgba, &[0, 64, 255, 64]), (Rgba, &[0, 128, 255, 64]));
    check("gamma(gamma=0.5)", (GrayAlpha, &[128, 1]), (GrayAlpha, &[64, 1]));
    check("gamma(gamma=0.1)", (Gray, &[254]), (Gray, &[245]));
    check("gamma(gamma=10)", (Gray, &[1]), (Gray, &[147]));
    // 128 is 0.2159 of full light: twice that is 176, a quarter 66; what is full stays full.
    check("exposure(stops=1)", (Rgba, &[0, 128, 255, 9]), (Rgba, &[0, 176, 255, 9]));
    check("exposure(stops=-2)", (Gray, &[128]), (Gray, &[66]));
    check("exposure(stops=5)", (Gray, &[60]), (Gray, &[255]));
    check("invert()", (Rgba, &[0, 100, 255, 9]), (Rgba, &[255, 155, 0, 9]));
    check("posterize(levels=2)", (Rgba, &[127, 128, 255, 77]), (Rgba, &[0, 255, 255, 77]));
    check("posterize(levels=3)", (Rgb, &[85, 86, 171]), (Rgb, &[0, 128, 255]));
    check("posterize(levels=64)", (Gray, &[255]), (Gray, &[255]));
    check("threshold(level=128)", (GrayAlpha, &[127, 5]), (GrayAlpha, &[0, 5]));
    check("threshold(level=128)", (Gray, &[128]), (Gray, &[255]));
    check("threshold(level=0)", (Gray, &[0]), (Gray, &[255]));
    check("threshold(level=255)", (Gray, &[254]), (Gray, &[0]));
    // Luminance of green in linear light, encoded: 219.8.
    check("threshold(level=219)", (Rgb, &[0, 255, 0]), (Gray, &[255]));
    check("threshold(level=221)", (Rgba, &[0, 255, 0, 9]), (GrayAlpha, &[0, 9]));
}

#[test]
fn tints_and_opacity() {
    check("tint(color=ff0000)", (Rgba, &[0, 0, 0, 9]), (Rgba, &[0, 0, 0, 9]));
    check("tint(color=ff0000)", (Gray, &[255]), (Rgb, &[255, 255, 255]));
    check("tint(color=808080)", (GrayAlpha, &[119, 3]), (Rgba, &[119, 119, 119, 3]));
    check("duotone(dark=102030&light=f0e0d0)", (Gray, &[0]), (Rgb, &[16, 32, 48]));
    check("duotone(dark=102030&light=f0e0d0)", (Rgba, &[255, 255, 255, 1]), (Rgba, &[240, 224, 208, 1]));
    check("duotone(dark=000000&light=ffffff)", (Rgb, &[255, 0, 0]), (Rgb, &[54, 54, 54]));
    check("opacity(amount=50)", (Rgb, &[1, 2, 3]), (Rgba, &[1, 2, 3, 128]));
    check("opacity(amount=10)", (GrayAlpha, &[80, 100]), (GrayAlpha, &[80, 10]));
    check("opacity(amount=0)", (Gray, &[80]), (GrayAlpha, &[80, 0]));
}

#[test]
fn lightness_is_stretched_and_equalized() {
    let low = [100, 120, 140].repeat(100);
    // L* of 42.4, 50.4 and 58.3: the middle one becomes 50.8.
    assert_eq!(apply(row8(Gray, &low), "normalize()"), row8(Gray, &[0, 121, 255].repeat(100)));
    let low = [100, 100, 110, 120, 120, 120].repeat(85);
    assert_eq!(apply(row8(Gray, &low), "equalize()"), row8(Gray, &[0, 0, 170, 255, 255, 255].repeat(85)));
    // Nothing to stretch, and too few pixels to equalize.
    for pixel in [&[9, 80, 200, 255], &[9, 80, 200, 0]] {
        let one = row8(Rgba, pixel);
        assert_eq!(apply(one.clone(), "normalize()/equalize()"), one);
    }
    // Transparent pixels do not count: the white here is invisible.
    let seen = [[20, 255], [60, 255], [255, 0]].repeat(300).concat();
    let Samples::U8(samples) = apply(row8(GrayAlpha, &seen), "normalize()").into_samples() else { panic!("depth") };
    assert_eq!(samples[..4], [0, 255, 255, 255]);
}

/// The second frame is darker: stretched by itself it would look like the first.
#[test]
fn an_animation_is_treated_as_its_first_frame() {
    let frame = |grays: [u8; 2]| {
        let raster = Raster::new(Size::new(32, 32), Gray, Samples::U8(grays.repeat(512)));
        Frame { raster, delay: Delay::from_ms(100) }
    };
    let picture = Picture::animation(vec![frame([50, 200]), frame([50, 125])], 0);
    let encoder = by_extension("png").and_then(|codec| codec.encoder.as_ref()).expect("png");
    let deadline = Deadline::default();
    let options = EncodeOptions::new(&deadline);
    let source: bytes::Bytes = (encoder.encode)(&picture, &options).expect("encodes").into();
    for operation in ["normalize", "equalize"] {
        let result = render(operation, source.clone());
        assert_eq!(result.frames.len(), 2);
        // The form of a PNG is the smallest that holds its pixels.
        let [first, second] = [0, 1].map(|place| {
            let gray = to_channels(result.frames[place].raster.clone(), Gray).expect("small");
            match gray.samples() {
                Samples::U8(samples) => [samples[0], samples[1]],
                Samples::U16(_) => panic!("depth changed"),
            }
        });
        assert_eq!((first, second[0]), ([0, 255], 0), "{operation}");
        // L* of 52.5 between 20.8 and 80.6; for equalize it is past more than half of the first frame's pixels.
        assert_eq!(second[1], if operation == "normalize" { 126 } else { 255 }, "{operation}");
    }
}

#[test]
fn a_cancelled_render_ends_within_the_operation() {
    let hour = std::time::Instant::now() + std::time::Duration::from_secs(3600);
    let deadline = Deadline::new(hour, std::sync::Arc::new(true.into()));
    let context = Context { deadline: &deadline, images: &HashMap::new() };
    for step in
        ["gamma(gamma=2)", "hue(angle=7)", "tint(color=ff0000)", "normalize()", "opacity(amount=9)", "grayscale()"]
    {
        let (name, args) = args(step);
        let args = args.expect(step).expect("a step");
        let result = (by_name(name).expect(name).apply)(row8(Rgb, &[1, 2, 3]), &args, &context);
        assert!(matches!(result, Err(Error::Cancelled)), "{step}: {result:?}");
    }
}

/// Steps that would change nothing are left out, and equal steps have one text.
#[test]
fn arguments_are_written_one_way() {
    let check = |step: &str, expected: Option<&str>| {
        let (_, args) = args(step);
        assert_eq!(args.expect(step).map(|args| args.to_string()).as_deref(), expected, "{step}");
    };
    for nothing in [
        "brightness(amount=0)",
        "contrast()",
        "saturation(amount=0)",
        "hue(angle=-360)",
        "gamma(gamma=1)",
        "exposure(stops=0)",
        "grayscale(on=false)",
        "sepia(amount=0)",
        "opacity(amount=100)",
    ] {
        check(nothing, None);
    }
    check("hue(angle=-90)", Some("angle=270"));
    check("grayscale()", Some("on=true"));
    check("tint(color=ff800011)", Some("color=ff8000ff"));
    check("duotone(dark=00000000&light=ffffff00)", Some("dark=000000ff&light=ffffffff"));
    for (incomplete, missing) in
        [("tint()", "color"), ("duotone(dark=000000)", "light"), ("posterize()", "levels"), ("threshold()", "level")]
    {
        let (_, args) = args(incomplete);
        assert!(matches!(args, Err(Error::Invalid { parameter, .. }) if parameter == missing), "{incomplete}");
    }
    for past in [
        "brightness(amount=101)",
        "contrast(amount=-101)",
        "saturation(amount=101)",
        "hue(angle=361)",
        "gamma(gamma=0.09)",
        "exposure(stops=5.01)",
        "exposure(stops=-5.01)",
        "gamma(gamma=10.01)",
        "sepia(amount=101)",
        "posterize(levels=1)",
        "posterize(levels=65)",
        "threshold(level=256)",
        "opacity(amount=-1)",
    ] {
        assert!(args(past).1.is_err(), "{past}");
    }
}

proptest! {
    #[test]
    fn identities_hold(raster in rasters()) {
        prop_assert_eq!(&apply(raster.clone(), "invert()/invert()"), &raster);
        let gray = apply(raster.clone(), "grayscale()");
        for once in ["grayscale()", "threshold(level=90)", "brightness(amount=-100)"] {
            let result = apply(raster.clone(), once);
            prop_assert_eq!(&apply(result.clone(), once), &result);
        }
        for of_gray in ["saturation(amount=70)", "hue(angle=200)"] {
            prop_assert_eq!(&apply(gray.clone(), of_gray), &gray);
        }
        let mapped = apply(raster.clone(), "duotone(dark=000000&light=ffffff)");
        prop_assert_eq!(&apply(mapped, "grayscale()"), &gray);
    }
}

fn same(query: &str, expected: &str, most: u8, mean_most: f64) {
    assert_like("color-source.png", query, expected, most, mean_most);
}

#[test]
fn css_filters_are_what_their_formulas_say() {
    // Halves of a step, which floating point may round either way.
    same("brightness=40", "brightness-css.png", 1, 0.01);
    same("contrast=-40", "contrast-css.png", 1, 0.01);
    same("saturation=100", "saturation-css.png", 1, 0.01);
    same("hue=130", "hue-css.png", 1, 0.01);
    same("sepia=70", "sepia-css.png", 1, 0.01);
}

#[test]
fn curves_are_what_other_programs_make() {
    same("invert", "invert-imagemagick.png", 0, 0.0);
    same("posterize=4", "posterize-pillow.png", 0, 0.0);
    same("grayscale", "grayscale-pillow.png", 0, 0.0);
    same("grayscale&equalize", "equalize-pillow.png", 0, 0.0);
    // ImageMagick doubles linear light that it has rounded to 16 bits.
    same("exposure=1", "exposure-imagemagick.png", 1, 0.2);
    // These two cut off what this rounds.
    same("gamma=1.8", "gamma-imagemagick.png", 1, 0.5);
    same("duotone=1e3264,ffd2a0", "duotone-pillow.png", 1, 0.5);
    // libvips is off by up to one in the gray that it starts from: that moves ten pixels of 6144 past the threshold,
    // and counts more in the dark, where L* is steep.
    same("threshold=128", "threshold-vips.png", 255, 10.0 * 255.0 / 6144.0);
    same("tint=ff8000", "tint-vips.png", 4, 0.25);
    // Its percentiles are L* in whole steps, cut off; these are grays, rounded.
    same("normalize", "normalize-vips.png", 5, 0.8);
}
