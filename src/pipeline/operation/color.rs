//! Operations on colour, which change each pixel independently. They use sRGB-encoded samples, as CSS filters do,
//! with straight alpha, which only `opacity` changes. Nearly all are in one of three rooms: [`curves`], a table for each
//! sample; [`matrix`], three colours from three; [`tone`], a curve that is chosen from the picture. Tables have a fixed
//! size, covered by the constant part of a plan, so the rows state no working bytes.

mod curves;
pub(super) mod duotone;
mod lab;
mod matrix;
pub(super) mod opacity;
pub(super) mod tint;
mod tone;

pub(super) use curves::{brightness, contrast, exposure, gamma, invert, posterize, threshold};
pub(super) use matrix::{grayscale, hue, saturation, sepia};
pub(super) use tone::{equalize, normalize};

use super::{Context, Cost, Operation, Resolve, switch, unless_defaults, unless_off, with_first, with_firsts};
use crate::pipeline::color::{Sample, luminance, to_channels};
use crate::pipeline::param::{Args, Kind, Param, Value};
use crate::pipeline::plan::Step;
use crate::pipeline::{Channels, Deadline, Error, Raster, Samples, Shape};

/// Pixels between two checks of the deadline.
const BAND_PIXELS: usize = 1 << 16;

/// Kind of amounts from -100 % to 100 %, where 0 changes nothing.
const MORE_OR_LESS: Kind = Kind::Integer { min: -100, max: 100, step: 1, unit: "%" };

/// Makes the colour `name` opaque in the arguments, since its alpha has no effect.
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

/// `numerator / denominator` rounded to the nearest integer, halves upwards. The denominator must be positive.
fn rounded(numerator: i64, denominator: i64) -> i64 {
    (numerator + denominator / 2).div_euclid(denominator)
}

/// Largest value of a sample.
fn full<S: Sample>() -> i64 {
    let full: u32 = S::MAX.into();
    full.into()
}

/// A value as a sample, clamped to its range.
fn sample<S: Sample>(value: i64) -> S {
    S::try_from(value.clamp(0, full::<S>()) as u32).unwrap_or(S::MAX)
}

/// Changes red, green and blue of every pixel in place. The raster must have three colours.
fn change_rgb<S: Sample>(
    samples: &mut [S],
    channels: Channels,
    deadline: &Deadline,
    change: impl Fn([S; 3]) -> [S; 3],
) -> Result<(), Error> {
    for band in samples.chunks_mut(BAND_PIXELS * channels.count()) {
        deadline.check()?;
        for pixel in band.chunks_exact_mut(channels.count()) {
            let changed = change([pixel[0], pixel[1], pixel[2]]);
            pixel[..3].copy_from_slice(&changed);
        }
    }
    Ok(())
}
