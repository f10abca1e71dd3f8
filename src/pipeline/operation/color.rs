//! The operations on colour: each pixel by itself, on sRGB-encoded samples, which is how CSS filters are defined; alpha is straight
//! and stays, but for `opacity`. Nearly all are one of two things: [`curves`], a table for each sample, or a [`matrix::Matrix`];
//! `normalize` and `equalize` choose their curve from the picture ([`tone`]). Tables do not grow with the image: they are in what
//! a plan holds anyway, so the rows here state no working bytes.

pub(super) mod brightness;
pub(super) mod contrast;
pub(super) mod duotone;
pub(super) mod equalize;
pub(super) mod exposure;
pub(super) mod gamma;
pub(super) mod grayscale;
pub(super) mod hue;
pub(super) mod invert;
pub(super) mod normalize;
pub(super) mod opacity;
pub(super) mod posterize;
pub(super) mod saturation;
pub(super) mod sepia;
pub(super) mod threshold;
pub(super) mod tint;

mod curves;
mod lab;
mod matrix;
mod tone;

use super::{Context, Cost, Operation, Resolve, switch, unless_defaults, unless_off, with_first, with_firsts};
use crate::pipeline::color::{Sample, luminance, to_channels};
use crate::pipeline::param::{Args, Kind, Param, Value};
use crate::pipeline::plan::Step;
use crate::pipeline::{Channels, Error, Raster, Samples, Shape, Watch};

/// Pixels that are changed between two looks at the watch.
const BAND_PIXELS: usize = 1 << 16;

/// More or less of something: 0 leaves it.
const MORE_OR_LESS: Kind = Kind::Integer { min: -100, max: 100, step: 1, unit: "%" };

/// The arguments with the alpha of the colour `name` taken away: it means nothing here.
fn opaque(args: Args, name: &str) -> Args {
    match args.color(name) {
        Some([r, g, b, _]) => args.with(name, Value::Color([r, g, b, 255])),
        None => args,
    }
}

fn gray(of: Channels) -> Channels {
    Channels::of(true, of.alpha())
}

fn rgb(of: Channels) -> Channels {
    Channels::of(false, of.alpha())
}

fn plan_same(shape: Shape, _: &Args) -> Result<Cost, Error> {
    Ok(Cost::new(shape, 0))
}

fn plan_gray(shape: Shape, _: &Args) -> Result<Cost, Error> {
    Ok(Cost::new(Shape { channels: gray(shape.channels), ..shape }, 0))
}

fn plan_rgb(shape: Shape, _: &Args) -> Result<Cost, Error> {
    Ok(Cost::new(Shape { channels: rgb(shape.channels), ..shape }, 0))
}

/// `numerator / denominator`, which is positive, rounded to the nearest; halves upwards.
fn rounded(numerator: i64, denominator: i64) -> i64 {
    (numerator + denominator / 2).div_euclid(denominator)
}

/// The full range of a sample.
fn full<S: Sample>() -> i64 {
    let full: u32 = S::MAX.into();
    full.into()
}

/// A value as a sample; held within the range.
fn sample<S: Sample>(value: i64) -> S {
    S::try_from(value.clamp(0, full::<S>()) as u32).unwrap_or(S::MAX)
}

/// Changes red, green and blue of every pixel in place. There must be three colours.
fn change_rgb<S: Sample>(
    samples: &mut [S],
    channels: Channels,
    watch: &Watch,
    change: impl Fn([S; 3]) -> [S; 3],
) -> Result<(), Error> {
    for band in samples.chunks_mut(BAND_PIXELS * channels.count()) {
        watch.check()?;
        for pixel in band.chunks_exact_mut(channels.count()) {
            let changed = change([pixel[0], pixel[1], pixel[2]]);
            pixel[..3].copy_from_slice(&changed);
        }
    }
    Ok(())
}
